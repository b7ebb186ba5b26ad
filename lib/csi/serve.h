/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.h - what controller and node plugin do alike: start, serve on CSI_ENDPOINT, drain, end.
 *
 *     struct config { struct csi_serve_config serve; ... };
 *     static const struct option_spec specs[] = {CSI_SERVE_OPTIONS(struct config, serve), ...};
 *
 *     r = csi_serve(&config.serve, &(struct csi_serve_hooks){.add = add, .context = x}, &err);
 */
#ifndef CSI_SERVE_H
#define CSI_SERVE_H

#include "csi/meta.h"
#include "rpc/server.h"
#include "util/options.h"

struct csi_serve_config {
    char *endpoint; /* unix:///csi/csi.sock; CSI_ENDPOINT when it is not given */
    char *driver;   /* the driver's name */
    char *meta;     /* the metaserver's address; NULL: none */
    char *meta_name;
    char *ca, *cert, *key; /* mTLS to the metaserver */
    char *status;          /* address of /metrics and /healthz; NULL: none */
    char *log_level;
};

#define CSI_SERVE_OPTIONS(config, member)                                                          \
    OPTION(config, member.endpoint, OPTION_STRING, "endpoint", "ADDRESS", NULL,                    \
           "unix socket of the CSI services (default: CSI_ENDPOINT)"),                             \
        OPTION(config, member.driver, OPTION_STRING, "driver", "NAME", "csi.skyvol.io",            \
               "name of the CSI driver"),                                                          \
        OPTION(config, member.meta, OPTION_STRING, "meta", "ADDRESS", NULL,                        \
               "skyvol-meta: host:port or unix:/path"),                                            \
        OPTION(config, member.meta_name, OPTION_STRING, "meta-name", "NAME", NULL,                 \
               "name in skyvol-meta's certificate (default: its host)"),                           \
        OPTION(config, member.ca, OPTION_STRING, "tls-ca-file", "FILE", NULL,                      \
               "authority of skyvol-meta's certificate"),                                          \
        OPTION(config, member.cert, OPTION_STRING, "tls-cert-file", "FILE", NULL,                  \
               "our certificate for skyvol-meta"),                                                 \
        OPTION(config, member.key, OPTION_STRING, "tls-key-file", "FILE", NULL,                    \
               "its private key"),                                                                 \
        OPTION(config, member.status, OPTION_STRING, "status", "ADDRESS", NULL,                    \
               "serve /metrics and /healthz there"),                                               \
        OPTION(config, member.log_level, OPTION_STRING, "log-level", "LEVEL", "info",              \
               "error, warn, info or debug")

struct csi_serve_hooks {
    /* Add the services; `meta` lives until the server has drained. */
    int (*add)(struct rpc_server *server, const struct csi_meta *meta, void *context,
               struct error *err);
    /* Once calls are answered and Probe says so: whoever is to know may be told. May be NULL. */
    int (*ready)(void *context, struct error *err);
    void (*ends)(void *context);                     /* before the drain, if ready() succeeded */
    void (*drained)(void *context);                  /* may be NULL */
    void (*metrics)(void *context, struct buf *out); /* appends to /metrics; may be NULL */
    void *context;
    const struct rpc_pool *pools; /* besides "quick" */
    size_t pool_count;
};

/* The path of --endpoint or CSI_ENDPOINT, to be freed. -EINVAL. */
int csi_serve_path(const struct csi_serve_config *config, char **ret, struct error *err)
    __attribute__((warn_unused_result));

/* Returns after SIGTERM and a drain. --status has /healthz, which is what Probe answers on the
 * endpoint: the programs' own state, never a store's, and what a livenessprobe beside it would ask.
 * Errors with err. */
int csi_serve(const struct csi_serve_config *config, const struct csi_serve_hooks *hooks,
              struct error *err) __attribute__((warn_unused_result));

#endif
