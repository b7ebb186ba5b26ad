/* SPDX-License-Identifier: Apache-2.0 */
/* skyvol-node: CSI Identity and Node services; mounts by skyvol-holder. */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "csi/node/journals.h"
#include "csi/node/keep.h"
#include "csi/node/node.h"
#include "csi/node/register.h"
#include "csi/node/taint.h"
#include "csi/serve.h"
#include "kube/options.h"
#include "mount/stats_holder.h"
#include "util/file.h"
#include "util/log.h"

struct config {
    struct csi_serve_config serve;
    struct option_list allow;
    char *node_id, *holder, *state, *mounts, *journal;
    char *registration_dir, *kubelet_path, *ready_taint;
    struct kube_options kube;
    bool pod_tokens;
    uint64_t drain_limit_ms;
};

static const struct option_spec specs[] = {
    CSI_SERVE_OPTIONS(struct config, serve),
    OPTION(struct config, node_id, OPTION_STRING, "node-id", "NAME", NULL,
           "name of this node (default: the host's)"),
    OPTION(struct config, holder, OPTION_STRING, "holder", "PATH", HOLDER_SOCKET_DEFAULT,
           "socket of skyvol-holder"),
    OPTION(struct config, state, OPTION_STRING, "state-dir", "PATH", "/var/lib/skyvol/node",
           "directory of the volumes' records; survives restarts"),
    OPTION(struct config, mounts, OPTION_STRING, "mounts-dir", "PATH",
           "/var/lib/kubelet/plugins/csi.skyvol.io/mounts",
           "where mounts of inline volumes are; the same path for the holder"),
    OPTION(struct config, journal, OPTION_STRING, "journal-dir", "PATH", "/var/lib/skyvol/journal",
           "skyvol-holder's: what is left there of ended mounts is told by metrics and conditions"),
    OPTION(struct config, drain_limit_ms, OPTION_DURATION_MS, "drain-limit", "TIME", "60s",
           "NodeUnstage waits so long for a store to take everything; then the rest is left in the "
           "journal of skyvol-holder (--journal-dir)"),
    OPTION(struct config, pod_tokens, OPTION_BOOL, "pod-tokens", NULL, "false",
           "show skyvol-meta the token that kubelet passes for the pod (audience skyvol-meta, see "
           "skyvol-meta --pod-tokens)"),
    OPTION(struct config, registration_dir, OPTION_STRING, "registration-dir", "PATH", NULL,
           "kubelet's plugins_registry: tell kubelet of this driver there (default: "
           "node-driver-registrar does)"),
    OPTION(struct config, kubelet_path, OPTION_STRING, "kubelet-registration-path", "PATH", NULL,
           "the socket of --endpoint as kubelet sees it (default: the same path)"),
    OPTION(struct config, ready_taint, OPTION_STRING, "ready-taint", "KEY", NULL,
           "a taint that is taken off this node (--node-id) when kubelet knows the driver and "
           "skyvol-holder answers, as csi.skyvol.io/agent-not-ready"),
    KUBE_OPTIONS(struct config, kube),
    OPTION(struct config, allow, OPTION_LIST, "allow-endpoints", "LIST", NULL,
           "endpoints that volumes may name: URLs, hosts, *.domain (default: all, those of Secrets "
           "and pods but on this machine, link-local, of a cloud's metadata or Kubernetes')"),
};

static const struct options_program program = {
    .name = "skyvol-node",
    .summary = "CSI node plugin: mounts volumes on this node by skyvol-holder",
    .environment = "SKYVOL_NODE_",
    .options = specs,
    .count = sizeof(specs) / sizeof(specs[0]),
};

/* All that runs, for the hooks. */
struct running {
    const struct config *config;
    char *path; /* of the CSI socket, as kubelet sees it */
    struct registration *registration;
    atomic_bool registered;
    atomic_bool asked; /* by kubelet, who we are: with a node-driver-registrar that has to do */
    _Atomic(struct taint *) taint;
    struct node node;
};

static void told(void *context, bool registered)
{
    struct running *running = context;

    atomic_store(&running->registered, registered);
    if (registered) {
        taint_registered(atomic_load(&running->taint));
    }
}

static void asked(void *context)
{
    struct running *running = context;

    atomic_store(&running->asked, true);
    if (running->config->registration_dir == NULL) {
        taint_registered(atomic_load(&running->taint));
    }
}

static int start_taint(struct running *running, struct error *err)
{
    const struct config *config = running->config;
    const struct taint_config taint = {.kube = kube_options_config(&config->kube),
                                       .node = running->node.id,
                                       .key = config->ready_taint,
                                       .holder = config->holder};
    struct taint *started = NULL;
    int r = config->ready_taint != NULL ? taint_new(&taint, &started, err) : 0;

    atomic_store(&running->taint, started);
    if (r == 0 && atomic_load(&running->asked)) { /* before it was there */
        asked(running);
    }
    return r;
}

static int add(struct rpc_server *server, const struct csi_meta *meta, void *context,
               struct error *err)
{
    struct running *running = context;
    struct node *node = &running->node;
    struct keep *keep = NULL;
    int r;

    node->meta = *meta;
    r = node_add(server, node, err);
    return r < 0 ? r : keep_new(node, &keep);
}

/* kubelet asks us as soon as it is told of us. */
static int ready(void *context, struct error *err)
{
    struct running *running = context;
    const struct config *config = running->config;
    const struct registration_config registration = {
        .dir = config->registration_dir,
        .driver = config->serve.driver,
        .endpoint = running->path,
        .told = told,
        .context = running,
    };

    int r = start_taint(running, err);

    return r == 0 && config->registration_dir != NULL
               ? registration_new(&registration, &running->registration, err)
               : r;
}

static void ends(void *context)
{
    struct running *running = context;

    registration_free(running->registration);
    running->registration = NULL;
}

static void drained(void *context)
{
    struct running *running = context;

    taint_free(atomic_load(&running->taint)); /* no call is left that could tell it anything */
    keep_free(running->node.keep);
}

/* Of the mounts, from the holder; without one there are none. */
static void mount_metrics(void *context, struct buf *out)
{
    const struct running *running = context;
    const struct node *node = &running->node;
    const struct mount_stats_ask ask = {.socket = node->socket, .timeout_ms = NODE_QUICK_MS};
    struct error err = ERROR_INIT;
    int r = mount_stats_collect(&ask, out, &err);

    if (r != 0) {
        log_debug("no numbers of mounts", "error", error_text(&err, r), NULL);
    }
    journals_write(node->journal_dir, out);
    if (running->config->registration_dir != NULL) {
        buf_addf(out,
                 "# HELP skyvol_node_registered Whether kubelet has the driver registered.\n"
                 "# TYPE skyvol_node_registered gauge\nskyvol_node_registered %d\n",
                 atomic_load(&running->registered));
    }
}

static int make_dir(const char *path, struct error *err)
{
    int r = file_make_dir(path, 0700);

    return r == 0 ? 0 : error_set(err, r, "cannot make %s: %s", path, strerrordesc_np(-r));
}

/* Duplicates of every mount's descriptors are kept. */
static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int serve(struct running *running, struct error *err)
{
    static const struct rpc_pool pools[] = {
        {.name = NODE_POOL_UNPUBLISH}, {.name = NODE_POOL_UNSTAGE}, {.name = NODE_POOL_STATS}};
    const struct config *config = running->config;
    const struct csi_serve_hooks hooks = {.add = add,
                                          .ready = ready,
                                          .ends = ends,
                                          .drained = drained,
                                          .metrics = mount_metrics,
                                          .context = running,
                                          .pools = pools,
                                          .pool_count = sizeof(pools) / sizeof(pools[0])};
    int r = 0;

    if (config->kubelet_path != NULL) {
        running->path = strdup(config->kubelet_path);
        r = running->path == NULL ? -ENOMEM : 0;
    } else if (config->registration_dir != NULL) {
        r = csi_serve_path(&config->serve, &running->path, err);
    }
    r = r < 0 ? r : csi_serve(&config->serve, &hooks, err);
    free(running->path);
    return r;
}

static int run(const struct config *config, struct error *err)
{
    char host[256] = "";
    struct running running = {
        .config = config,
        .node = {.id = config->node_id,
                 .socket = config->holder,
                 .state_dir = config->state,
                 .mounts_dir = config->mounts,
                 .journal_dir = config->journal,
                 .pod_tokens = config->pod_tokens,
                 .drain_limit_ms = config->drain_limit_ms,
                 .policy = {.endpoints = config->allow.items,
                            .endpoint_count = config->allow.count}},
    };
    struct node *node = &running.node;
    int r;

    node->asked = asked;
    node->asked_context = &running;
    if (node->id == NULL) {
        if (gethostname(host, sizeof(host) - 1) < 0) {
            return error_set(err, -errno, "cannot tell the host's name: set --node-id");
        }
        node->id = host;
    } else if (node->id[0] == '\0') {
        return error_set(err, -EINVAL, "--node-id is empty: kubelet takes no node without a name");
    }
    mutex_init(&node->lock);
    LIST_INIT(&node->busy);
    raise_limit();
    r = make_dir(config->state, err);
    r = r < 0 ? r : make_dir(config->mounts, err);
    r = r < 0 ? r : serve(&running, err);
    mutex_done(&node->lock);
    return r;
}

int main(int argc, char **argv)
{
    struct config config = {0};
    struct error err = ERROR_INIT;
    int r = options_parse(&program, argc, argv, &config, &err);

    if (r == 0) {
        r = run(&config, &err);
        options_done(&program, &config);
    }
    return r != 0 ? options_exit(&program, r, &err) : 0;
}
