/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials.h - the access keys that the S3 endpoint knows, from a JSON file that is read again
 * when it changes.
 *
 *     {"keys": [{"access_key": "AKIA...", "secret_key": "...", "read_only": false,
 *                "internal": false}]}
 *
 * The file must not be readable by group or others. When a changed file cannot be used, the keys
 * that were there stay. One thread.
 */
#ifndef S3PROXY_CREDENTIALS_H
#define S3PROXY_CREDENTIALS_H

#include <stdbool.h>

#include "util/buf.h"
#include "util/error.h"

struct credentials;

struct credential {
    char *access_key;
    char *secret_key;
    bool read_only;
    bool internal; /* Skyvol's own programs: sees and writes .skyvol/ */
};

int credentials_new(const char *path, struct credentials **ret, struct error *err)
    __attribute__((warn_unused_result));
void credentials_free(struct credentials *credentials);

/* Append a file that only its owner may read. Negative with err otherwise. */
int secret_file_read(const char *path, struct buf *out, struct error *err)
    __attribute__((warn_unused_result));

/* NULL when unknown; valid until the next call. Looks at the file at most once a second. */
const struct credential *credentials_find(struct credentials *credentials, const char *access_key);

#endif
