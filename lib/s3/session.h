/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - temporary credentials that nobody has to keep: the token says whose they are and
 * until when, a key (util/key_file.h) proves it, and the secret is made of both.
 *
 *     SVT1.<id of the key>.<access key>.<end, seconds since 1970>.<parent in hex>.<MAC in hex>
 *
 * The MAC is HMAC-SHA256 of "skyvol-session-token\n" and all before the last dot; the secret key is
 * base64 of the first 30 bytes of HMAC-SHA256 of "skyvol-session-secret\n" and the same. The token
 * is no secret: without the key nobody finds the secret key in it. Pure but for the random access
 * key; any thread.
 */
#ifndef S3_SESSION_H
#define S3_SESSION_H

#include <stdint.h>

#include "s3/sign.h"
#include "util/key_file.h"

enum { S3_SESSION_KEY_SIZE = 21, S3_SESSION_SECRET_SIZE = 41, S3_SESSION_TOKEN_SIZE = 512 };

struct s3_session {
    char access_key[S3_SESSION_KEY_SIZE]; /* "ASIA" and 16 more */
    char secret_key[S3_SESSION_SECRET_SIZE];
    char token[S3_SESSION_TOKEN_SIZE];
    char parent[S3_ACCESS_KEY_SIZE]; /* whose rights these are: what it means is the caller's */
    int64_t expires_s;
};

/* New ones, under the first key. -EINVAL: the parent is too long; -ENOMEM. Wipe *ret after use. */
int s3_session_issue(const struct key_file *keys, const char *parent, int64_t expires_s,
                     struct s3_session *ret) __attribute__((warn_unused_result));

/*
 * What a request shows: 0 and all of *ret; -EACCES: not a token of these keys, or of another access
 * key; -EKEYEXPIRED: it was one until now_s. The MAC is compared in constant time, before anything
 * else is believed. The signature of the request has still to be checked with the secret key.
 */
int s3_session_check(const struct key_file *keys, const char *access_key, const char *token,
                     int64_t now_s, struct s3_session *ret) __attribute__((warn_unused_result));

#endif
