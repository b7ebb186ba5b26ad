/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status.h - the HTTP port where a program tells how it is: /metrics and /healthz.
 *
 *     r = status_new(&(struct status_config){.address = "127.0.0.1:9100", .metrics = metrics,
 *                                            .health = healthy, .context = node}, &status, err);
 *
 * /healthz answers 200 "ok" or 503 with the text of `health`; it must come from the process itself,
 * without a store, a lock held for long, or a network. GET and HEAD only; at most 32 connections, 5
 * s each.
 */
#ifndef UTIL_STATUS_H
#define UTIL_STATUS_H

#include <stdint.h>

#include "util/buf.h"
#include "util/error.h"
#include "util/metrics.h"

struct status;

struct status_config {
    const char *address; /* "127.0.0.1:9100", "[::1]:9100", ":9100" (all), port 0 for a free one,
                            or "unix:/path" (mode 0600) */
    struct metrics *metrics; /* NULL, and no `more`: /metrics is 404 */
    /* 0 and nothing, or a negative errno value and why; NULL: always healthy. Any thread. */
    int (*health)(void *context, struct buf *text);
    void *context;
    /* Appends to /metrics what others count; NULL: nobody. Any thread, not for long. */
    void (*more)(void *context, struct buf *out);
    void *more_context; /* NULL: `context` */
};

int status_new(const struct status_config *config, struct status **ret, struct error *err)
    __attribute__((warn_unused_result));
uint16_t status_port(const struct status *status); /* 0 for a unix socket */
void status_free(struct status *status);

#endif
