/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key_entry.h - one access key of a credentials file, with what it may (credentials.h).
 *
 * Names of members are known in any spelling: case, '_', '-' and '.' do not matter. A member that
 * is not known is refused, as a restriction that is passed over would be a key that may everything.
 * What else a Secret with keys holds (endpoint, region, session token, a whole file) is passed
 * over.
 *
 * Errors tell names of members and access keys, never values. Threads: no state.
 */
#ifndef S3PROXY_KEY_ENTRY_H
#define S3PROXY_KEY_ENTRY_H

#include <cjson/cJSON.h>

#include "s3proxy/credentials.h"

/* Into *ret, which is all zero; what it holds then, also after an error, is key_entry_done()'s. */
int key_entry_read(const cJSON *object, struct credential *ret, struct error *err)
    __attribute__((warn_unused_result));
/* Overwrites the secret before it is freed. */
void key_entry_done(struct credential *key);

/* The member of that name in any spelling, NULL: none; `word` as mount_key_word() makes it. */
const cJSON *key_entry_member(const cJSON *object, const char *word);

/* A name that a file says, for an error's text: cut, and without what is no printable ASCII. */
enum { KEY_ENTRY_SHOWN = 65 };
const char *key_entry_shown(const char *name, char buffer[KEY_ENTRY_SHOWN]);

/* Seconds since 1970, a number or the text of one; -EINVAL. */
int key_entry_time(const cJSON *item, int64_t *ret) __attribute__((warn_unused_result));

#endif
