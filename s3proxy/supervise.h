/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervise.h - run nginx until it ends, hand signals on to it, and tell how it is.
 *
 * SIGTERM, SIGINT and SIGQUIT mean to drain, a second one to end at once; SIGHUP reloads, and so
 * does a replaced certificate. Where `status` is given, /metrics and /healthz are served there:
 * healthy until draining begins. The log has a line (level info) when all workers serve, again when
 * they were replaced, and at the end how many requests were under way and were waited for.
 */
#ifndef S3PROXY_SUPERVISE_H
#define S3PROXY_SUPERVISE_H

#include "s3proxy/key_helper.h"
#include "util/error.h"

struct supervise_config {
    const char *nginx;    /* the program */
    const char *run_dir;  /* its prefix */
    const char *conf;     /* its configuration */
    const char *status;   /* as status.h has addresses; NULL: none */
    const char *counters; /* file of counters.h, made anew; only with status */
    const char *limits;   /* file of limits.h, made anew */
    const char *tls_cert; /* its certificate and key, watched; NULL: none */
    const char *tls_key;
    struct key_helper *helper; /* runs beside nginx; NULL: none */
    uint64_t workers;
    void (*serves)(const void *context); /* once, when all workers do: says so in the log */
    const void *context;
};

/* nginx's exit status, or negative with err. Blocks signals: call it from the only thread. */
int supervise(const struct supervise_config *config, struct error *err)
    __attribute__((warn_unused_result));

#endif
