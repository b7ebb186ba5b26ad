/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.h - the answer of the endpoint at which SDKs fetch temporary credentials, as containers
 * do at ECS (AWS_CONTAINER_CREDENTIALS_FULL_URI), without a word about the HTTP server.
 *
 *     {"AccessKeyId": "ASIA...", "SecretAccessKey": "...", "Token": "...",
 *      "Expiration": "2026-01-01T00:00:00Z"}
 *
 * Errors are {"code": ..., "message": ...}. Only who calls it by a loopback name is answered: a web
 * page that has its own name lead here is not. One thread.
 */
#ifndef S3PROXY_IDENTITY_H
#define S3PROXY_IDENTITY_H

#include "s3proxy/credentials.h"
#include "util/slice.h"

#define IDENTITY_PATH "/credentials"

struct identity_config {
    struct credentials *credentials;
    const char *token_file; /* what Authorization must be, read each time; NULL: nothing is asked */
    uint32_t lifetime_s;
};

struct identity_request {
    struct slice method, path, host, authorization; /* data NULL: not there */
};

/* The HTTP status; its JSON body is appended to `body`, and is the caller's to wipe. */
int identity_answer(const struct identity_config *config, const struct identity_request *request,
                    struct buf *body);

#endif
