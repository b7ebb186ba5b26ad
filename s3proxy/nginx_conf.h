/* SPDX-License-Identifier: Apache-2.0 */
/* nginx_conf.h - the nginx configuration that skyvol-s3 runs. No state. */
#ifndef S3PROXY_NGINX_CONF_H
#define S3PROXY_NGINX_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/error.h"
#include "util/options.h"

struct proxy_config {
    char *listen;
    char *dir;   /* the same as store dir://DIR */
    char *store; /* as stores.h has it, like all that begins with store */
    char *store_endpoint, *store_region, *store_credentials, *store_ca;
    uint64_t store_connections;
    bool store_virtual_host;
    bool reads_by_threads;
    struct option_list volumes;
    char *credentials; /* NULL: only temporary ones */
    char *meta;        /* skyvol-meta's address; NULL: no keys of its */
    char *meta_ca, *meta_cert, *meta_key, *meta_name;
    uint64_t meta_age_ms;
    char *meta_keys;    /* not an option: where those are kept */
    bool sidecar;       /* for the pod beside us only */
    char *session_keys; /* NULL: no temporary credentials */
    char *identity;     /* where they are fetched; NULL: nowhere */
    char *identity_token;
    uint64_t session_ms;
    char *tls_cert, *tls_key;
    uint64_t workers;
    char *run_dir;
    char *module;
    char *region;
    bool presign_v2; /* Signature Version 2 in URLs */
    struct option_list host_suffix;
    uint64_t key_requests, key_burst, key_concurrent, key_upload, key_download; /* 0: no limit */
    uint64_t body_memory;
    uint64_t max_requests, max_connections, max_per_address, client_ms, client_rate;
    char *status; /* NULL: nothing is counted */
    char *nginx;
    char *log_level; /* error, warn, info or debug; NULL: warn */
};

/* Append the configuration. -EINVAL: a value that cannot stand in one (quotes, control bytes). */
int nginx_conf_write(const struct proxy_config *config, const char *user, struct buf *out,
                     struct error *err) __attribute__((warn_unused_result));

#endif
