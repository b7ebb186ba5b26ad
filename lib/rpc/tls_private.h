/* SPDX-License-Identifier: Apache-2.0 */
/* tls_private.h - certificates from files, read again when they change. Private to lib/rpc. */
#ifndef RPC_TLS_PRIVATE_H
#define RPC_TLS_PRIVATE_H

#include <stdbool.h>

#include "rpc/core.h"
#include "rpc/tls.h"
#include "util/error.h"
#include "util/file.h"
#include "util/mutex.h"

enum { TLS_FILES = 3 };

struct tls_stamps {
    struct file_stamp file[TLS_FILES];
};

/* PEM texts of ca, certificate and key. */
struct tls_texts {
    char *text[TLS_FILES];
};

/* The files of one configuration and when they were last looked at. Any thread. */
struct tls_files {
    char *path[TLS_FILES];
    struct mutex lock;
    struct tls_stamps seen GUARDED_BY(lock);
};

/* NULL tls: everything stays empty and tls_files_done is still fine. */
int tls_files_init(struct tls_files *files, const struct rpc_tls *tls)
    __attribute__((warn_unused_result));
void tls_files_done(struct tls_files *files);

/* Read and check them: PEM, key belongs to certificate, not unreadable. Frees with texts_done. */
int tls_files_load(struct tls_files *files, struct tls_texts *ret, struct error *err)
    __attribute__((warn_unused_result));
void tls_texts_done(struct tls_texts *texts);

/* True if they changed since the last call that said so; never twice for the same change. */
bool tls_files_changed(struct tls_files *files);

/* Credentials that fetch from `files`, which must outlive them. NULL: out of memory. */
grpc_server_credentials *tls_server_credentials(struct tls_files *files);
grpc_channel_credentials *tls_channel_credentials(const struct tls_texts *texts);

#endif
