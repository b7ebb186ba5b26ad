/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key_cache.h - signing keys of the day, so that a server does one HMAC a request instead of five.
 *
 *     struct s3_key_cache *cache;          one per server
 *     s3_key_cache_get(cache, auth.access_key, secret, auth.date, auth.region, &key);
 *
 * A bounded table; an entry is used only while the secret is the one it was made from, so rotation
 * needs no call. Keys and secrets are wiped when they leave. Any thread may call.
 */
#ifndef S3_KEY_CACHE_H
#define S3_KEY_CACHE_H

#include "s3/sign.h"

struct s3_key_cache;

/* 0 or -ENOMEM. `slots`: 1 to 65536 entries. */
int s3_key_cache_new(size_t slots, struct s3_key_cache **ret) __attribute__((warn_unused_result));
void s3_key_cache_free(struct s3_key_cache *cache);

/* As s3_signing_key_derive() for service "s3". */
int s3_key_cache_get(struct s3_key_cache *cache, const char *access_key, const char *secret,
                     const struct s3_auth *auth, struct s3_signing_key *ret)
    __attribute__((warn_unused_result));

#endif
