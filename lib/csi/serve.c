/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/serve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "csi.pb-c.h"
#include "csi/identity.h"
#include "csi/secrets.h"
#include "util/log.h"
#include "util/signals.h"
#include "util/status.h"
#include "util/url.h"

enum {
    POOLS_MAX = 8,
    META_TIMEOUT_MS = 55000,
    DRAIN_MS = 10000,
    QUICK_THREADS = 4,
    PROBE_MS = 2000
};

struct serving {
    struct csi_identity identity;
    struct metrics *metrics;
    struct status *status;
    struct signals *signals;
    struct csi_meta meta;
    struct rpc_server *server;
    struct rpc_client *self; /* asks our own endpoint */
    char *address;           /* of it, unix:PATH */
    bool started, told;
};

/* unix:///path, unix:/path and /path. */
int csi_serve_path(const struct csi_serve_config *config, char **ret, struct error *err)
{
    const char *endpoint = config->endpoint != NULL ? config->endpoint : getenv("CSI_ENDPOINT");
    const char *path = endpoint;

    if (path == NULL || path[0] == '\0') {
        return error_set(err, -EINVAL, "no endpoint: set --endpoint or CSI_ENDPOINT");
    }
    if (strncmp(path, "unix:", 5) == 0) {
        path += 5;
        while (path[0] == '/' && path[1] == '/') {
            path++;
        }
    }
    if (path[0] != '/') {
        return error_set(err, -EINVAL, "endpoint '%.128s': a unix socket is needed, unix:///path",
                         url_shown(endpoint));
    }
    *ret = strdup(path);
    return *ret == NULL ? -ENOMEM : 0;
}

static int make_address(const struct csi_serve_config *config, char **ret, struct error *err)
{
    AUTOFREE char *path = NULL;
    int r = csi_serve_path(config, &path, err);

    if (r == 0 && asprintf(ret, "unix:%s", path) < 0) {
        *ret = NULL;
        r = -ENOMEM;
    }
    return r;
}

/* ---- /healthz ---- */

/*
 * What kubelet would be answered, by the way it takes: a socket that is gone, a server that hangs
 * and one that drains are all found, and nothing beyond this process is asked.
 */
static int healthy(void *context, struct buf *text)
{
    struct serving *s = context;
    Csi__V1__ProbeRequest in = CSI__V1__PROBE_REQUEST__INIT;
    struct rpc_request request = {.service = &csi__v1__identity__descriptor,
                                  .method = "Probe",
                                  .message = &in.base,
                                  .timeout_ms = PROBE_MS};
    CLEANUP(csi_meta_free) Csi__V1__ProbeResponse *out = NULL;
    ProtobufCMessage *reply = NULL;
    struct error err = ERROR_INIT;
    int r = access(s->address + strlen("unix:"), F_OK) < 0 ? -errno : 0;

    if (r < 0) {
        buf_addf(text, "the socket of the endpoint is gone");
        return r;
    }
    r = rpc_client_call(s->self, &request, &reply, &err);
    if (r < 0) {
        buf_addf(text, "Probe: %s", error_text(&err, r));
        return r;
    }
    memcpy(&out, &reply, sizeof(out));
    if (out->ready == NULL || !out->ready->value) {
        buf_addf(text, "not ready");
        return -EAGAIN;
    }
    return 0;
}

static int serve_status(const struct csi_serve_config *config, const struct csi_serve_hooks *hooks,
                        struct serving *s, struct error *err)
{
    const struct rpc_client_config client = {.target = s->address};
    const struct status_config status = {.address = config->status,
                                         .metrics = s->metrics,
                                         .health = healthy,
                                         .context = s,
                                         .more = hooks->metrics,
                                         .more_context = hooks->context};
    int r = rpc_client_new(&client, &s->self, err);

    return r < 0 ? r : status_new(&status, &s->status, err);
}

static int connect_meta(const struct csi_serve_config *config, struct serving *s, struct error *err)
{
    struct rpc_tls tls = {
        .ca_file = config->ca, .cert_file = config->cert, .key_file = config->key};
    struct rpc_client_config client = {
        .target = config->meta,
        .tls = config->ca != NULL ? &tls : NULL,
        .server_name = config->meta_name,
    };
    int files = (config->ca != NULL) + (config->cert != NULL) + (config->key != NULL);

    if (files != 0 && files != 3) {
        return error_set(err, -EINVAL,
                         "TLS needs all of --tls-ca-file, --tls-cert-file and --tls-key-file");
    }
    s->meta.timeout_ms = META_TIMEOUT_MS;
    s->meta.address = config->meta;
    s->meta.server_name = config->meta_name;
    s->meta.ca_file = config->ca;
    s->meta.cert_file = config->cert;
    s->meta.key_file = config->key;
    return config->meta != NULL ? rpc_client_new(&client, &s->meta.client, err) : 0;
}

static int start(const struct csi_serve_config *config, const struct csi_serve_hooks *hooks,
                 struct serving *s, struct error *err)
{
    struct rpc_pool pools[POOLS_MAX] = {{.name = CSI_POOL_QUICK, .threads = QUICK_THREADS}};
    const char *listen[] = {NULL, NULL};
    struct rpc_server_config server = {.listen = listen, .pools = pools, .pool_count = 1};
    int r = make_address(config, &s->address, err);

    for (size_t i = 0; i < hooks->pool_count && server.pool_count < POOLS_MAX; i++) {
        pools[server.pool_count++] = hooks->pools[i];
    }
    listen[0] = s->address;
    server.metrics = s->metrics;
    r = r < 0 ? r : csi_identity_check(config->driver, err);
    r = r < 0 ? r : connect_meta(config, s, err);
    r = r < 0 ? r : rpc_server_new(&server, &s->server, err);
    r = r < 0 ? r : csi_identity_add(s->server, &s->identity, err);
    r = r < 0 ? r : hooks->add(s->server, &s->meta, hooks->context, err);
    r = r < 0 ? r : rpc_server_start(s->server, err);
    s->started = r == 0;
    if (r == 0 && config->status != NULL) {
        r = serve_status(config, hooks, s, err);
    }
    return r;
}

static int stop(struct serving *s, const struct csi_serve_hooks *hooks)
{
    int r;

    if (s->told && hooks->ends != NULL) {
        hooks->ends(hooks->context);
    }
    r = s->started ? rpc_server_drain(s->server, DRAIN_MS) : 0;
    status_free(s->status);
    rpc_client_free(s->self);
    free(s->address);
    if (r < 0) {
        log_error("a call has ignored its end", "what", "the process ends without cleaning up",
                  NULL);
        return r;
    }
    rpc_server_free(s->server);
    if (hooks->drained != NULL) {
        hooks->drained(hooks->context);
    }
    rpc_client_free(s->meta.client);
    signals_free(s->signals);
    metrics_free(s->metrics);
    return 0;
}

int csi_serve(const struct csi_serve_config *config, const struct csi_serve_hooks *hooks,
              struct error *err)
{
    struct serving s = {.identity = {.name = config->driver}};
    enum log_level level = LOG_INFO;
    int r;

    r = options_log_level(config->log_level, &level, err);
    if (r < 0) {
        return r;
    }
    log_set_level(level);
    signals_block();
    r = csi_secrets_init();
    r = r < 0 ? r : metrics_new(&s.metrics);
    r = r < 0 ? r : signals_new(&(struct signals_config){.context = NULL}, &s.signals);
    r = r < 0 ? r : start(config, hooks, &s, err);
    if (r == 0) {
        atomic_store(&s.identity.ready, true);
        r = hooks->ready != NULL ? hooks->ready(hooks->context, err) : 0;
        s.told = r == 0;
    }
    if (r == 0) {
        log_info("ready", "driver", config->driver, NULL);
        signals_wait_stop(s.signals);
        log_info("drains", NULL);
    }
    return stop(&s, hooks) < 0 && r == 0 ? -ETIMEDOUT : r;
}
