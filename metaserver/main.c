/* SPDX-License-Identifier: Apache-2.0 */
/* skyvol-meta: the metadata server. Parse, open, serve, drain, close. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "csi/secrets.h"
#include "kube/options.h"
#include "metaserver/meta.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/log.h"
#include "util/options.h"
#include "util/signals.h"
#include "util/status.h"

enum {
    DRAIN_MS = 15000,
    WAITERS = 256,  /* sessions that wait for a lock at a time: a thread each */
    ATTACHERS = 32, /* they wait for the Kubernetes API */
    LEASE_MIN_MS = 1000,
    LEASE_MAX_MS = 3600 * 1000,
    BELIEVE_MS = 300 * 1000, /* that a pod has its volume */
};

struct config {
    struct option_list listen;
    char *database;
    char *key_file;
    char *cluster;
    char *status;
    char *log_level;
    uint64_t create_timeout_ms;
    uint64_t lease_ms;
    char *ca_file, *cert_file, *tls_key_file;
    char *node_name, *audience, *driver;
    bool pod_tokens;
    struct kube_options kube;
};

static const struct option_spec options[] = {
    OPTION(
        struct config, listen, OPTION_LIST, "listen", "ADDRESS", "unix:/run/skyvol/meta.sock",
        "where to serve gRPC: unix:/path or host:port, several with commas; TCP without TLS files "
        "serves every user of this machine, with all rights"),
    OPTION(struct config, database, OPTION_STRING, "database", "FILE",
           "/var/lib/skyvol/meta.sqlite", "the SQLite database; made if absent"),
    OPTION(struct config, key_file, OPTION_STRING, "seal-key-file", "FILE",
           "/var/lib/skyvol/seal.keys",
           "keys that credentials are sealed under; made if absent. Back it up apart from the "
           "database"),
    OPTION(struct config, cluster, OPTION_STRING, "cluster", "NAME", "default",
           "who we are among several, for the markers in buckets"),
    OPTION(struct config, create_timeout_ms, OPTION_DURATION_MS, "create-timeout", "TIME", "10m",
           "undo a creation that was cut off and that nobody has come back for after this"),
    OPTION(struct config, lease_ms, OPTION_DURATION_MS, "session-lease", "TIME", "30s",
           "a mount that has not been heard of for so long loses its session and its locks"),
    OPTION(struct config, status, OPTION_STRING, "status", "ADDRESS", NULL,
           "serve /healthz and /metrics here, as 127.0.0.1:9101"),
    OPTION(struct config, log_level, OPTION_STRING, "log-level", "LEVEL", "info",
           "error, warn, info or debug"),
    OPTION(struct config, ca_file, OPTION_STRING, "tls-ca-file", "FILE", NULL,
           "authority that callers' certificates must come from (with TCP)"),
    OPTION(struct config, cert_file, OPTION_STRING, "tls-cert-file", "FILE", NULL,
           "our certificate"),
    OPTION(struct config, tls_key_file, OPTION_STRING, "tls-key-file", "FILE", NULL,
           "its private key"),
    OPTION(
        struct config, node_name, OPTION_STRING, "node-certificate", "NAME", "skyvol-node",
        "a caller with this name in its certificate is a node: it may attach volumes and do what "
        "mounts do, and nothing else"),
    OPTION(struct config, pod_tokens, OPTION_BOOL, "pod-tokens", NULL, "false",
           "a node gets a volume only with the token of a pod that runs there and has it, as "
           "Kubernetes says (TokenReview)"),
    OPTION(struct config, audience, OPTION_STRING, "pod-token-audience", "NAME", "skyvol-meta",
           "audience of these tokens: one of the CSIDriver's tokenRequests"),
    OPTION(struct config, driver, OPTION_STRING, "driver", "NAME", "csi.skyvol.io",
           "name of the CSI driver in PersistentVolumes"),
    KUBE_OPTIONS(struct config, kube),
};

static const struct options_program program = {
    .name = "skyvol-meta",
    .summary = "Skyvol's metadata server: stores, volumes and their credentials",
    .environment = "SKYVOL_META_",
    .options = options,
    .count = sizeof(options) / sizeof(options[0]),
};

static void reload(void *context)
{
    struct meta *meta = context;
    struct error err = ERROR_INIT;
    int ret = seal_reload(meta->seal, &err);

    if (ret != 0) {
        log_error("keys not reloaded, the old ones stay", "error", err.text, NULL);
    } else {
        log_info("keys reloaded", NULL);
        meta_reseal(meta);
        meta_keys_reseal(meta);
    }
}

static int serve(const struct config *config, struct meta *meta, struct error *err)
{
    const struct rpc_tls tls = {config->ca_file, config->cert_file, config->tls_key_file};
    const struct rpc_pool pools[] = {
        {.name = "slow", .threads = 16},
        {.name = "attach", .threads = ATTACHERS},
        {.name = "lock", .threads = 64, .max_queued = 1024},
        {.name = "wait", .threads = WAITERS, .max_queued = WAITERS},
    };
    struct rpc_server_config server_config = {
        .listen = (const char *const *)config->listen.items,
        .tls = config->cert_file != NULL ? &tls : NULL,
        .pools = pools,
        .pool_count = sizeof(pools) / sizeof(pools[0]),
        .metrics = meta->metrics,
    };
    struct rpc_server *server = NULL;
    struct signals *signals = NULL;
    struct status *status = NULL;
    int ret = rpc_server_new(&server_config, &server, err);

    ret = ret == 0 ? meta_serve(meta, server, err) : ret;
    ret = ret == 0 ? rpc_server_start(server, err) : ret;
    if (ret == 0 && config->status != NULL) {
        ret =
            status_new(&(struct status_config){.address = config->status, .metrics = meta->metrics},
                       &status, err);
    }
    ret = ret == 0
              ? signals_new(&(struct signals_config){.reload = reload, .context = meta}, &signals)
              : ret;
    if (ret == 0) {
        log_info("serving", "program", "skyvol-meta", "listen", config->listen.items[0], NULL);
        signals_wait_stop(signals);
        pods_stop(meta->pods);
        ret = rpc_server_drain(server, DRAIN_MS);
    }
    signals_free(signals);
    status_free(status);
    if (ret == 0 || server != NULL) {
        rpc_server_free(server);
    }
    return ret;
}

/* SQLite would let two of us write in turns, each with its own idea of what is under way. The lock
 * is a file of its own, kept: closing a descriptor of the database would drop SQLite's locks. */
static int lock_database(const char *database, int *ret, struct error *err)
{
    AUTOFREE char *path = NULL;
    AUTOCLOSE int fd = -1;
    int r = file_make_parent(database, 0700);

    if (r == 0 && asprintf(&path, "%s.lock", database) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    fd = r == 0 ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd < 0) {
        r = r == 0 ? -errno : r;
        return error_set(err, r, "cannot make %s.lock: %s", database, strerrordesc_np(-r));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        return error_set(err, -EBUSY, "another skyvol-meta has the database %s", database);
    }
    *ret = take_fd(&fd);
    return 0;
}

/* The files beside the database, which may be lost. */
static int open_beside(const struct config *config, struct meta *meta, struct error *err)
{
    AUTOFREE char *live = NULL;
    AUTOFREE char *facts = NULL;
    int r;

    if (asprintf(&live, "%s.live", config->database) < 0) {
        live = NULL;
    }
    if (asprintf(&facts, "%s.facts", config->database) < 0) {
        facts = NULL;
    }
    r = live == NULL || facts == NULL ? -ENOMEM : 0;
    r = r == 0 ? live_open(live, config->lease_ms, &meta->live, err) : r;
    return r == 0 ? facts_open(facts, &meta->facts, err) : r;
}

static int open_pods(const struct config *config, struct meta *meta, struct error *err)
{
    const struct pods_config pods = {.kube = kube_options_config(&config->kube),
                                     .audience = config->audience,
                                     .driver = config->driver,
                                     .believe_ms = BELIEVE_MS};

    return config->pod_tokens ? pods_new(&pods, &meta->pods, err) : 0;
}

static int check(const struct config *config, struct error *err)
{
    int files =
        (config->ca_file != NULL) + (config->cert_file != NULL) + (config->tls_key_file != NULL);
    enum log_level level = LOG_INFO;
    int r;

    if (files != 0 && files != 3) {
        return error_set(err, -EINVAL,
                         "TLS needs all of --tls-ca-file, --tls-cert-file and --tls-key-file");
    }
    if (config->lease_ms < LEASE_MIN_MS || config->lease_ms > LEASE_MAX_MS) {
        return error_set(err, -EINVAL, "--session-lease: 1s to 1h");
    }
    r = options_log_level(config->log_level, &level, err);
    log_set_level(level);
    return r;
}

int main(int argc, char **argv)
{
    struct config config = {0};
    struct meta meta = {0};
    struct error err = ERROR_INIT;
    int lock = -1;
    int ret;

    signals_block();
    ret = options_parse(&program, argc, argv, &config, &err);
    if (ret != 0) {
        return options_exit(&program, ret, &err);
    }
    ret = check(&config, &err);
    if (ret != 0) {
        options_done(&program, &config);
        return options_exit(&program, ret, &err);
    }
    meta.cluster = config.cluster;
    meta.node_name = config.node_name[0] != '\0' ? config.node_name : NULL;
    meta.create_timeout_ms = config.create_timeout_ms;
    ret = csi_secrets_init();
    ret = ret == 0 ? metrics_new(&meta.metrics) : ret;
    ret = ret == 0 ? lock_database(config.database, &lock, &err) : ret;
    ret = ret == 0 ? db_open(config.database, &meta.db, &err) : ret;
    ret = ret == 0 ? seal_open(config.key_file, &meta.seal, &err) : ret;
    ret = ret == 0 ? open_beside(&config, &meta, &err) : ret;
    ret = ret == 0 ? open_pods(&config, &meta, &err) : ret;
    ret = ret == 0 ? meta_start(&meta, &err) : ret;
    if (ret == 0) {
        meta_reseal(&meta);
        meta_keys_reseal(&meta);
        ret = serve(&config, &meta, &err);
        meta_stop(&meta);
    }
    if (ret != 0) {
        (void)fprintf(stderr, "skyvol-meta: %s\n", error_text(&err, ret));
    }
    pods_free(meta.pods);
    seal_close(meta.seal);
    live_close(meta.live);
    facts_close(meta.facts);
    db_close(meta.db);
    cleanup_close(&lock);
    metrics_free(meta.metrics);
    options_done(&program, &config);
    return ret != 0 ? 1 : 0;
}
