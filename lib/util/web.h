/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web.h - an HTTPS server for few callers and small requests: each is read whole and answered by a
 * function, from memory.
 *
 *     r = web_new(&(struct web_config){.address = ":8443", .certificate = pem, .key = pem,
 *                 .body_max = 4 << 20, .handle = handle, .context = x}, &web, err);
 *     r = web_certificate(web, pem, pem, err);      another one, without a break
 *     web_free(web);
 *
 * TLS 1.2 and 1.3. At most 384 connections, 256 of one address, 10 s each without a byte; bodies of
 * all together at most 64 MiB, above that 503; a body above body_max is 413. GET, HEAD and POST.
 * web_new, web_certificate and web_free are for one thread.
 */
#ifndef UTIL_WEB_H
#define UTIL_WEB_H

#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/error.h"
#include "util/slice.h"

struct web;

struct web_request {
    const char *method, *path;
    const char *content_type; /* "" if none */
    struct slice body;
};

struct web_answer {
    unsigned status; /* 200 */
    const char *content_type;
    struct buf body; /* at most 16 MiB */
};

struct web_config {
    const char *address;           /* as status.h has it, but no unix socket */
    const char *certificate, *key; /* PEM; copied */
    size_t body_max;
    /* From the server's thread, one at a time; not for long. */
    void (*handle)(void *context, const struct web_request *request, struct web_answer *answer);
    void *context;
};

int web_new(const struct web_config *config, struct web **ret, struct error *err)
    __attribute__((warn_unused_result));

/* For connections from now on; those that are open end when their requests have been answered. On
 * failure the old one stays. */
int web_certificate(struct web *web, const char *certificate, const char *key, struct error *err)
    __attribute__((warn_unused_result));

uint16_t web_port(const struct web *web);

/* NULL is fine. */
void web_free(struct web *web);

#endif
