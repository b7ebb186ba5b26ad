/* SPDX-License-Identifier: Apache-2.0 */
/*
 * credentials.h - the access keys that the S3 endpoint knows, from a file that is read again when
 * it changes, and the temporary credentials that are made of them.
 *
 *     {"keys": [{"access_key": "AKIA...", "secret_key": "...", "read_only": false,
 *                "internal": false, "buckets": ["a", "b"], "account": "ann",
 *                "display_name": "Ann", "requests_per_second": 100,
 *                "request_burst": 200, "concurrent_requests": 10, "upload_rate": 1000000,
 *                "download_rate": 1000000}]}
 *
 * or one such entry alone; or a directory with a file for each member, as a Secret is mounted. The
 * file must not be readable by group or others, those of a directory not by others. When what has
 * changed cannot be used, the keys that were there stay.
 *
 * A request shows an access key, and with temporary credentials a token (s3/session.h):
 *
 *     ret = credentials_identify(c, &claim, &identity, &fault);    who that would be
 *     check the signature with identity.secret
 *
 * One thread.
 */
#ifndef S3PROXY_CREDENTIALS_H
#define S3PROXY_CREDENTIALS_H

#include <stdbool.h>

#include "s3/session.h"
#include "s3proxy/limits.h"
#include "util/buf.h"
#include "util/error.h"

struct credentials;

struct credential {
    char *access_key;
    char *secret_key;
    bool read_only;
    bool internal;  /* Skyvol's own programs: sees and writes .skyvol/ */
    char **buckets; /* all that it knows of, NULL after the last; NULL: every one */
    /* Whose buckets it has to do with, and how lists call him; NULL: everybody's. */
    char *account, *display_name;
    int64_t expires_s; /* 0: never */
    /* Members that the file does not tell are KEY_LIMITS_UNTOLD. */
    struct key_limits limits;
};

struct credentials_config {
    const char *path; /* file or directory; NULL: none */
    /* A file of skyvol-meta's keys (key_sync.h), which need not be there yet; NULL: none. It says
     * itself until when it counts: after that unknown keys get ServiceUnavailable. */
    const char *meta_keys;
    const char *session_keys; /* key file of the tokens, which must be there; NULL: none is valid */
};

int credentials_new(const struct credentials_config *config, struct credentials **ret,
                    struct error *err) __attribute__((warn_unused_result));
void credentials_free(struct credentials *credentials);

/* How many keys its files hold now. */
size_t credentials_count(const struct credentials *credentials);

/* NULL when unknown; valid until the next call. Looks at the files at most once a second. */
const struct credential *credentials_find(struct credentials *credentials, const char *access_key);

struct claim {
    const char *access_key;
    const char *token; /* "": none */
    int64_t now_s;
};

struct identity {
    const struct credential *key; /* whose rights they are; valid until the next call */
    bool internal;                /* temporary credentials never are */
    const char *secret;           /* the key's or the session's */
    struct s3_session session;    /* wipe it after use */
};

/* 0, or a fault: InvalidAccessKeyId, InvalidToken, ExpiredToken, ServiceUnavailable. */
int credentials_identify(struct credentials *credentials, const struct claim *claim,
                         struct identity *ret, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* Temporary credentials with the rights of the first key in `path`, whichever that is while they
 * are used; without a file they may do all but what internal keys may. -ENOENT: there is no key
 * (any more), or no session key. Wipe *ret after use. */
int credentials_issue(struct credentials *credentials, int64_t expires_s, struct s3_session *ret)
    __attribute__((warn_unused_result));

#endif
