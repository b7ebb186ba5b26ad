/* SPDX-License-Identifier: Apache-2.0 */
/* register.c - a server of its own, which one thread makes anew when its socket has gone. */
#include "csi/node/register.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "pluginregistration.pb-c.h"
#include "rpc/server.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/mutex.h"

enum { LOOK_MS = 1000, GRACE_MS = 2000, THREADS = 2 };

struct registration {
    struct registration_config config;
    char *address;             /* unix:PATH */
    struct rpc_server *server; /* the thread's, once that runs; NULL: none could be made */
    pthread_t thread;
    bool has_thread;
    struct mutex lock;
    struct cond changed;
    bool stop GUARDED_BY(lock);
};

static const char *path_of(const struct registration *r)
{
    return r->address + strlen("unix:");
}

static int get_info(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                    struct error *err)
{
    const struct registration *r = rpc_call_context(call);
    Pluginregistration__PluginInfo *out = (void *)reply;

    (void)request;
    (void)err;
    out->type = rpc_call_strdup(call, "CSIPlugin");
    out->name = rpc_call_strdup(call, r->config.driver);
    out->endpoint = rpc_call_strdup(call, r->config.endpoint);
    out->supported_versions = rpc_call_alloc(call, sizeof(char *));
    if (out->supported_versions != NULL) {
        out->supported_versions[0] = rpc_call_strdup(call, "1.0.0");
        out->n_supported_versions = 1;
    }
    return out->type == NULL || out->name == NULL || out->endpoint == NULL ||
                   out->supported_versions == NULL || out->supported_versions[0] == NULL
               ? -ENOMEM
               : 0;
}

/* A refusal is kubelet's to try again, with growing pauses: there is nothing to end here for. */
static int notify(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                  struct error *err)
{
    const Pluginregistration__RegistrationStatus *in = (const void *)request;
    struct registration *r = rpc_call_context(call);

    (void)reply;
    (void)err;
    if (in->plugin_registered) {
        log_info("registered with kubelet", "driver", r->config.driver, NULL);
    } else {
        log_error("kubelet does not register the driver", "driver", r->config.driver, "endpoint",
                  r->config.endpoint, "error", in->error, NULL);
    }
    r->config.told(r->config.context, in->plugin_registered != 0);
    return 0;
}

static const struct rpc_method methods[] = {
    {.name = "GetInfo", .unary = get_info, .quiet = true},
    {.name = "NotifyRegistrationStatus", .unary = notify, .quiet = true},
};

static int serve(struct registration *r, struct error *err)
{
    const char *const listen[] = {r->address, NULL};
    const struct rpc_pool pool = {.name = "default", .threads = THREADS};
    const struct rpc_server_config config = {.listen = listen, .pools = &pool, .pool_count = 1};
    const struct rpc_service service = {
        .descriptor = &pluginregistration__registration__descriptor,
        .methods = methods,
        .method_count = sizeof(methods) / sizeof(methods[0]),
        .context = r,
    };
    struct rpc_server *server = NULL;
    int ret = rpc_server_new(&config, &server, err);

    ret = ret < 0 ? ret : rpc_server_add(server, &service, err);
    ret = ret < 0 ? ret : rpc_server_start(server, err);
    if (ret < 0) {
        rpc_server_free(server);
        return ret;
    }
    r->server = server;
    return 0;
}

/* gRPC removes the socket with its listener. */
static void unserve(struct registration *r)
{
    if (r->server != NULL && rpc_server_drain(r->server, GRACE_MS) == 0) {
        rpc_server_free(r->server);
    }
    r->server = NULL;
}

/* Whoever has emptied the directory has not told us; kubelet has seen it. */
static void look(struct registration *r)
{
    struct error err = ERROR_INIT;
    struct stat st;
    int ret;

    if (r->server != NULL && (lstat(path_of(r), &st) == 0 || errno != ENOENT)) {
        return;
    }
    if (r->server != NULL) {
        log_warn("the registration socket is gone: it is made anew", "path", path_of(r), NULL);
        r->config.told(r->config.context, false);
        unserve(r);
    }
    ret = serve(r, &err);
    if (ret < 0) {
        log_debug("no registration socket", "error", error_text(&err, ret), NULL);
    }
}

static void *watch(void *arg)
{
    struct registration *r = arg;
    bool stop;

    (void)pthread_setname_np(pthread_self(), "registration");
    do {
        mutex_lock(&r->lock);
        if (!r->stop) {
            cond_wait_ms(&r->changed, &r->lock, LOOK_MS);
        }
        stop = r->stop;
        mutex_unlock(&r->lock);
        if (!stop) {
            look(r);
        }
    } while (!stop);
    return NULL;
}

static int check_dir(const struct registration *r, struct error *err)
{
    struct stat st;

    if (stat(r->config.dir, &st) < 0 || !S_ISDIR(st.st_mode)) {
        return error_set(err, -ENOENT,
                         "--registration-dir %s is no directory: it is kubelet's plugins_registry",
                         r->config.dir);
    }
    if (strlen(path_of(r)) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
        return error_set(err, -ENAMETOOLONG, "%s is too long for a socket", path_of(r));
    }
    return 0;
}

int registration_new(const struct registration_config *config, struct registration **ret,
                     struct error *err)
{
    struct registration *r = calloc(1, sizeof(*r));
    int result;

    if (r == NULL) {
        return -ENOMEM;
    }
    r->config = *config;
    mutex_init(&r->lock);
    cond_init(&r->changed);
    if (asprintf(&r->address, "unix:%s/%s-reg.sock", config->dir, config->driver) < 0) {
        r->address = NULL;
        result = -ENOMEM;
    } else {
        result = check_dir(r, err);
    }
    result = result < 0 ? result : serve(r, err);
    if (result == 0) {
        result = -pthread_create(&r->thread, NULL, watch, r);
        r->has_thread = result == 0;
    }
    if (result < 0) {
        registration_free(r);
        return result;
    }
    *ret = r;
    return 0;
}

void registration_free(struct registration *registration)
{
    if (registration == NULL) {
        return;
    }
    if (registration->has_thread) {
        mutex_lock(&registration->lock);
        registration->stop = true;
        cond_signal(&registration->changed);
        mutex_unlock(&registration->lock);
        (void)pthread_join(registration->thread, NULL);
    }
    unserve(registration);
    cond_done(&registration->changed);
    mutex_done(&registration->lock);
    free(registration->address);
    free(registration);
}
