/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key_sync.h - bring the access keys of skyvol-meta into a file that the workers
 * of skyvol-s3 read (s3proxy/credentials.h), and keep it true.
 *
 *     {"valid_until_s": 1700000000, "keys": [{"access_key": ..., "secret_key": ..., ...}]}
 *
 * A thread asks every KEY_SYNC_POLL_MS. Every answer, also that nothing has
 * changed, makes the file valid for `max_age_ms` more; without answers it ends then. The file is
 * written in whole, mode 0600, in the run directory of skyvol-s3, and outlives a restart.
 */
#ifndef S3KEYS_KEY_SYNC_H
#define S3KEYS_KEY_SYNC_H

#include <stdint.h>

#include "util/error.h"

enum { KEY_SYNC_POLL_MS = 2000 };

struct key_sync;

struct key_sync_config {
    const char *address;                        /* of skyvol-meta */
    const char *ca_file, *cert_file, *key_file; /* NULL: no TLS */
    const char *server_name;                    /* NULL: the address's host */
    const char *file;                           /* what is written */
    uint64_t max_age_ms;
};

/* Asks once, for at most 5 s; then goes on by itself. That nobody answers is logged and no error:
 * what the file held is used as long as it is valid. */
int key_sync_new(const struct key_sync_config *config, struct key_sync **ret, struct error *err)
    __attribute__((warn_unused_result));
void key_sync_free(struct key_sync *sync); /* NULL is allowed */

#endif
