/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sts.h - ask a Security Token Service for temporary credentials of one bucket or prefix.
 *
 *     struct objstore_sts_config config = {.endpoint = "https://sts.example", .credentials = ...,
 *                                          .scope = {.bucket = "b", .prefix = "v-1/"}, ...};
 *     ret = objstore_sts_assume(&config, &answer, &lifetime_s, &err);
 *     s3_sts_answer_done(&answer);
 *
 * Blocking, at most `timeout_ms`; any thread. The key pair signs and never goes out. TLS is
 * verified, redirects are not followed, an answer is at most S3_STS_BODY_MAX bytes.
 *
 * Errors, told in err without a secret: -EACCES (refused, or an address that public_only forbids),
 * -EINVAL (the wish cannot be granted: role, duration, policy, endpoint), -EAGAIN (throttled, or
 * the service's own failure), -EPROTO (no answer of an STS), and those of http.h.
 */
#ifndef OBJSTORE_STS_H
#define OBJSTORE_STS_H

#include "objstore/s3.h"
#include "s3/sts.h"

struct objstore_sts_config {
    const char *endpoint; /* http(s)://host[:port]; NULL or "": AWS for the region */
    const char *region;   /* NULL or "": "us-east-1" */
    struct objstore_s3_credentials credentials;
    bool public_only; /* as in objstore/s3.h */
    const char *role_arn;
    const char *session_name;
    struct s3_sts_scope scope; /* partition and aws are set from the endpoint and role */
    uint32_t duration_s;
    uint32_t timeout_ms; /* 0: 15000 */
};

/* *ret_lifetime_s: how long they are good for from now on, by the clock of who made them. */
int objstore_sts_assume(const struct objstore_sts_config *config, struct s3_sts_answer *ret,
                        int64_t *ret_lifetime_s, struct error *err)
    __attribute__((warn_unused_result));

/* Could such an endpoint be asked? -EINVAL. NULL and "" can. */
int objstore_sts_check(const char *endpoint, struct error *err) __attribute__((warn_unused_result));

#endif
