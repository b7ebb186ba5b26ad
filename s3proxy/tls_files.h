/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls_files.h - our certificate and its key, looked at now and then: replaced files are taken
 * without a word from anybody. In Kubernetes, where a Secret is renewed, nobody sends SIGHUP.
 *
 *     r = tls_files_check(cert, key, &err);    before nginx, which would say it in its own words
 *     tls_files_init(&files, cert, key);       as they are now
 *     if (tls_files_changed(&files)) { reload }
 *
 * For one thread.
 */
#ifndef S3PROXY_TLS_FILES_H
#define S3PROXY_TLS_FILES_H

#include <stdbool.h>

#include "util/error.h"
#include "util/file.h"

enum { TLS_FILES_LOOK_MS = 5000 };

struct tls_files {
    const char *cert, *key; /* the caller's; NULL: there are none */
    struct file_stamp cert_stamp, key_stamp;
    uint64_t looked_ms; /* by the monotonic clock */
};

/* -EINVAL: not a certificate and its key; or why a file cannot be read. */
int tls_files_check(const char *cert, const char *key, struct error *err)
    __attribute__((warn_unused_result));

void tls_files_init(struct tls_files *files, const char *cert, const char *key);
/* True when they are others than at the last look and fit together; those that do not are told in
 * the log, once. Looks every TLS_FILES_LOOK_MS at most: call it as often as you like. */
bool tls_files_changed(struct tls_files *files);

#endif
