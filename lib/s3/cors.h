/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cors.h - the rules by which a bucket lets pages of other origins use it (CORSConfiguration).
 *
 *     ret = s3_cors_parse(body, len, &cors, &fault);     MalformedXML, InvalidRequest
 *     if (s3_cors_match(cors, &request, &headers)) ...   headers for the reply
 *     s3_cors_free(cors);
 *
 * The first rule that fits counts. Limits: 64 KiB, 100 rules, 100 entries of each kind in a rule.
 * No I/O. A document may be read by many threads at a time.
 */
#ifndef S3_CORS_H
#define S3_CORS_H

#include <stdbool.h>

#include "s3/error.h"
#include "util/buf.h"
#include "util/slice.h"

enum { S3_CORS_TEXT_MAX = 64 * 1024, S3_CORS_RULES_MAX = 100, S3_CORS_ENTRIES_MAX = 100 };

struct s3_cors;

struct s3_cors_request {
    struct slice origin;
    struct slice method;  /* of the request that is asked for, or that came */
    struct slice headers; /* Access-Control-Request-Headers; data NULL: absent */
};

int s3_cors_parse(const void *body, size_t len, struct s3_cors **ret, struct s3_fault *fault)
    __attribute__((warn_unused_result));
void s3_cors_free(struct s3_cors *cors);

/* What a request asks for must be well-formed: BadRequest otherwise. */
int s3_cors_request_check(const struct s3_cors_request *request, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* Append "name NUL value NUL" pairs; false, and nothing, where no rule fits. */
bool s3_cors_match(const struct s3_cors *cors, const struct s3_cors_request *request,
                   struct buf *headers);

#endif
