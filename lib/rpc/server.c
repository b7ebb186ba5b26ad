/* SPDX-License-Identifier: Apache-2.0 */
/* server.c - configuration, listening, the poller threads, and the end of it all. */
#include "rpc/server.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "rpc/server_private.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/log.h"

enum {
    DEFAULT_THREADS = 16,
    DEFAULT_QUEUED = 256,
    DEFAULT_MESSAGE_BYTES = 4 << 20,
    STUCK_MS = 10000,
    MIN_PING_INTERVAL_MS = 5000,
    STREAMS_PER_CONNECTION = 1024,
};

static int add_metrics(struct rpc_server *server, struct metrics *metrics)
{
    int r;

    if (metrics == NULL) {
        return 0;
    }
    r = metrics_add(metrics,
                    &(struct metric_spec){.kind = METRIC_COUNTER,
                                          .name = "rpc_server_calls_total",
                                          .help = "Calls answered, by method and gRPC code.",
                                          .labels = {"method", "code"}},
                    &server->calls);
    if (r < 0) {
        return r;
    }
    return metrics_add(metrics,
                       &(struct metric_spec){.kind = METRIC_HISTOGRAM,
                                             .name = "rpc_server_seconds",
                                             .help = "Time from a call to its answer.",
                                             .labels = {"method"}},
                       &server->seconds);
}

static int add_pool(struct rpc_server *server, const struct rpc_pool *config)
{
    struct rpc_pool *own;

    for (size_t i = 0; i < server->pool_count; i++) {
        if (strcmp(server->pool_config[i].name, config->name) == 0) {
            return -EEXIST;
        }
    }
    if (server->pool_count == RPC_POOLS_MAX) {
        return -ENOSPC;
    }
    own = &server->pool_config[server->pool_count];
    server->pool_name[server->pool_count] = strdup(config->name);
    if (server->pool_name[server->pool_count] == NULL) {
        return -ENOMEM;
    }
    own->name = server->pool_name[server->pool_count];
    own->threads = config->threads > 0 ? config->threads : DEFAULT_THREADS;
    own->max_queued = config->max_queued > 0 ? config->max_queued : DEFAULT_QUEUED;
    server->pool_count++;
    return 0;
}

static int copy_config(struct rpc_server *server, const struct rpc_server_config *config,
                       struct error *err)
{
    int r;

    for (const char *const *address = config->listen; *address != NULL; address++) {
        if (server->listen_count == RPC_LISTEN_MAX) {
            return error_set(err, -EINVAL, "at most %d addresses to listen on", RPC_LISTEN_MAX);
        }
        server->listen[server->listen_count] = strdup(*address);
        if (server->listen[server->listen_count] == NULL) {
            return -ENOMEM;
        }
        server->listen_count++;
    }
    for (size_t i = 0; i < config->pool_count; i++) {
        r = add_pool(server, &config->pools[i]);
        if (r < 0) {
            return error_set(err, r, "thread pool '%s': %s", config->pools[i].name,
                             strerrordesc_np(-r));
        }
    }
    r = add_pool(server, &(struct rpc_pool){.name = "default"});
    if (r < 0 && r != -EEXIST) {
        return r;
    }
    return add_metrics(server, config->metrics);
}

int rpc_server_new(const struct rpc_server_config *config, struct rpc_server **ret,
                   struct error *err)
{
    struct rpc_server *server = calloc(1, sizeof(*server));
    int r;

    if (server == NULL) {
        return -ENOMEM;
    }
    core_init();
    mutex_init(&server->lock);
    cond_init(&server->changed);
    LIST_INIT(&server->live);
    atomic_init(&server->draining, false);
    server->config = *config;
    server->has_tls = config->tls != NULL;
    r = tls_files_init(&server->tls, config->tls);
    if (r == 0) {
        r = copy_config(server, config, err);
    }
    for (size_t i = 0; i < server->pool_count && r == 0; i++) {
        r = pool_new(&(struct pool_config){.name = server->pool_config[i].name,
                                           .threads = server->pool_config[i].threads,
                                           .max_queued = server->pool_config[i].max_queued,
                                           .run = call_run,
                                           .context = server},
                     &server->pools[i]);
    }
    if (r < 0) {
        rpc_server_free(server);
        return r;
    }
    *ret = server;
    return 0;
}

static struct pool *find_pool(const struct rpc_server *server, const char *name)
{
    for (size_t i = 0; i < server->pool_count; i++) {
        if (strcmp(server->pool_config[i].name, name != NULL ? name : "default") == 0) {
            return server->pools[i];
        }
    }
    return NULL;
}

const struct binding *server_find(const struct rpc_server *server, const char *path, size_t len)
{
    for (size_t i = 0; i < server->binding_count; i++) {
        if (strlen(server->bindings[i].path) == len &&
            memcmp(server->bindings[i].path, path, len) == 0) {
            return &server->bindings[i];
        }
    }
    return NULL;
}

static int add_method(struct rpc_server *server, const struct rpc_service *service,
                      const struct rpc_method *method, struct error *err)
{
    struct binding b = {.method = *method, .service = *service};

    b.descriptor =
        protobuf_c_service_descriptor_get_method_by_name(service->descriptor, method->name);
    b.pool = find_pool(server, method->pool);
    if (b.descriptor == NULL || (method->unary == NULL) == (method->stream == NULL)) {
        return error_set(err, -EINVAL, "service %s: no method '%s', or not exactly one handler",
                         service->descriptor->name, method->name);
    }
    if (b.pool == NULL) {
        return error_set(err, -EINVAL, "method %s: no thread pool '%s'", method->name,
                         method->pool);
    }
    if (server->binding_count == RPC_METHODS_MAX) {
        return error_set(err, -ENOSPC, "more than %d methods", RPC_METHODS_MAX);
    }
    if (asprintf(&b.path, "/%s/%s", service->descriptor->name, method->name) < 0) {
        return -ENOMEM;
    }
    if (server_find(server, b.path, strlen(b.path)) != NULL) {
        free(b.path);
        return error_set(err, -EEXIST, "method %s was added twice", method->name);
    }
    server->bindings[server->binding_count++] = b;
    return 0;
}

int rpc_server_add(struct rpc_server *server, const struct rpc_service *service, struct error *err)
{
    int r = 0;

    for (size_t i = 0; i < service->method_count && r == 0; i++) {
        r = add_method(server, service, &service->methods[i], err);
    }
    return r;
}

static int bind_unix(struct rpc_server *server, const char *address, struct error *err)
{
    const char *path = address + strlen("unix:");
    mode_t mode = server->config.socket_mode != 0 ? server->config.socket_mode : 0600;
    grpc_server_credentials *plain;
    int r = file_make_parent(path, 0700);
    mode_t before;
    int port;

    r = r < 0 ? r : file_remove_socket(path);
    if (r < 0) {
        return error_set(err, r, "cannot listen on %s: %s", address,
                         r == -EADDRINUSE ? "another process does" : strerrordesc_np(-r));
    }
    plain = grpc_insecure_server_credentials_create();
    /* Of the whole process: a file that another thread creates meanwhile is only more private. */
    before = umask((mode_t)(0777 & ~mode));
    port = grpc_server_add_http2_port(server->handle, address, plain);
    (void)umask(before);
    grpc_server_credentials_release(plain);
    if (port == 0) {
        return error_set(err, -EACCES, "cannot listen on %s: is its directory writable?", address);
    }
    return 0;
}

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "localhost:", 10) == 0 ||
           strncmp(address, "[::1]:", 6) == 0;
}

static int bind_tcp(struct rpc_server *server, size_t index, struct error *err)
{
    CLEANUP(buf_done) struct buf address = BUF_INIT(512);
    grpc_server_credentials *credentials;
    struct tls_texts texts = {{NULL}};
    int port;
    int r;

    if (!server->has_tls && !is_loopback(server->listen[index])) {
        return error_set(err, -EACCES,
                         "plain TCP on %s would serve everybody: give TLS files, or listen on "
                         "127.0.0.1 or a unix socket",
                         server->listen[index]);
    }
    if (server->has_tls) {
        r = tls_files_load(&server->tls, &texts, err); /* for its error text: gRPC has none */
        tls_texts_done(&texts);
        if (r < 0) {
            return r;
        }
    }
    credentials = server->has_tls ? tls_server_credentials(&server->tls)
                                  : grpc_insecure_server_credentials_create();
    if (credentials == NULL) {
        return -ENOMEM;
    }
    /* gRPC takes [::] for all addresses of both families, also where there is no IPv6 */
    buf_addf(&address, "%s%s", server->listen[index][0] == ':' ? "[::]" : "",
             server->listen[index]);
    port = buf_error(&address) < 0
               ? 0
               : grpc_server_add_http2_port(server->handle, buf_str(&address), credentials);
    grpc_server_credentials_release(credentials);
    if (port == 0) {
        return error_set(
            err, -EADDRINUSE,
            "cannot listen on %s: is another program on that port, or the address none of "
            "this machine? (host:port; port 0: any that is free)",
            server->listen[index]);
    }
    server->ports[index] = (uint16_t)port;
    return 0;
}

static void create_handle(struct rpc_server *server)
{
    uint32_t bytes = server->config.max_message_bytes;
    grpc_arg args[] = {
        core_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
                 bytes > 0 && bytes <= INT32_MAX ? (int)bytes : DEFAULT_MESSAGE_BYTES),
        core_arg(GRPC_ARG_ALLOW_REUSEPORT, 0),
        core_arg(GRPC_ARG_KEEPALIVE_TIME_MS, RPC_KEEPALIVE_MS),
        core_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, RPC_KEEPALIVE_TIMEOUT_MS),
        core_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        core_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, MIN_PING_INTERVAL_MS),
        core_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_PER_CONNECTION),
        core_arg(GRPC_ARG_MAX_METADATA_SIZE, RPC_METADATA_MAX),
    };
    grpc_channel_args all = {.num_args = sizeof(args) / sizeof(args[0]), .args = args};

    server->handle = grpc_server_create(&all, NULL);
    server->events = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(server->handle, server->events, NULL);
}

static void *poll_events(void *arg)
{
    struct rpc_server *server = arg;
    grpc_event event;

    (void)pthread_setname_np(pthread_self(), "rpc-poll");
    do {
        event =
            grpc_completion_queue_next(server->events, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_OP_COMPLETE && event.tag == server) {
            mutex_lock(&server->lock);
            server->shut_down = true;
            cond_broadcast(&server->changed);
            mutex_unlock(&server->lock);
        } else if (event.type == GRPC_OP_COMPLETE) {
            call_complete(event.tag, event.success != 0);
        }
    } while (event.type != GRPC_QUEUE_SHUTDOWN);
    return NULL;
}

int rpc_server_start(struct rpc_server *server, struct error *err)
{
    int r = 0;

    create_handle(server);
    for (size_t i = 0; i < server->listen_count && r == 0; i++) {
        r = strncmp(server->listen[i], "unix:", 5) == 0 ? bind_unix(server, server->listen[i], err)
                                                        : bind_tcp(server, i, err);
    }
    if (r < 0) {
        return r;
    }
    while (server->poller_count < RPC_POLLERS) {
        r = pthread_create(&server->pollers[server->poller_count], NULL, poll_events, server);
        if (r != 0 && server->poller_count == 0) {
            return error_set(err, -r, "cannot start a thread: %s", strerrordesc_np(r));
        }
        if (r != 0) {
            break; /* one poller serves as well, only slower */
        }
        server->poller_count++;
    }
    grpc_server_start(server->handle);
    server->started = true;
    for (int i = 0; i < RPC_ACCEPT_SLOTS; i++) {
        call_accept(server);
    }
    return 0;
}

uint16_t rpc_server_port(const struct rpc_server *server, size_t index)
{
    return index < server->listen_count ? server->ports[index] : 0;
}

bool server_slot_begun(struct rpc_server *server)
{
    bool yes;

    mutex_lock(&server->lock);
    yes = !atomic_load(&server->draining);
    server->slots += yes ? 1 : 0;
    mutex_unlock(&server->lock);
    return yes;
}

void server_slot_ended(struct rpc_server *server)
{
    mutex_lock(&server->lock);
    server->slots--;
    cond_broadcast(&server->changed);
    mutex_unlock(&server->lock);
}

void server_call_begun(struct rpc_server *server, struct rpc_call *call)
{
    mutex_lock(&server->lock);
    LIST_INSERT_HEAD(&server->live, call, link);
    server->live_count++;
    server->slots--;
    mutex_unlock(&server->lock);
}

void server_call_left(struct rpc_server *server, struct rpc_call *call)
{
    mutex_lock(&server->lock);
    LIST_REMOVE(call, link);
    mutex_unlock(&server->lock);
}

void server_call_ended(struct rpc_server *server)
{
    mutex_lock(&server->lock);
    server->live_count--;
    cond_broadcast(&server->changed);
    mutex_unlock(&server->lock);
}

/* Wake the handlers that sleep, so that they see the drain. */
static void wake_calls(struct rpc_server *server)
{
    struct rpc_call *call;

    mutex_lock(&server->lock);
    LIST_FOREACH (call, &server->live, link) {
        mutex_lock(&call->lock);
        cond_broadcast(&call->changed);
        mutex_unlock(&call->lock);
    }
    mutex_unlock(&server->lock);
}

static bool wait_quiet(struct rpc_server *server, uint64_t timeout_ms)
{
    uint64_t until = clock_monotonic_ms(clock_real()) + timeout_ms;
    uint64_t now;
    bool quiet;

    mutex_lock(&server->lock);
    for (;;) {
        quiet = server->live_count == 0 && server->slots == 0 && server->shut_down;
        now = clock_monotonic_ms(clock_real());
        if (quiet || now >= until) {
            break;
        }
        cond_wait_ms(&server->changed, &server->lock, until - now);
    }
    mutex_unlock(&server->lock);
    return quiet;
}

int rpc_server_drain(struct rpc_server *server, uint64_t grace_ms)
{
    if (!server->started) {
        return 0;
    }
    mutex_lock(&server->lock);
    atomic_store(&server->draining, true);
    mutex_unlock(&server->lock);
    grpc_server_shutdown_and_notify(server->handle, server->events, server);
    wake_calls(server);
    if (!wait_quiet(server, grace_ms)) {
        grpc_server_cancel_all_calls(server->handle);
        if (!wait_quiet(server, STUCK_MS)) {
            return -ETIMEDOUT;
        }
    }
    server->started = false;
    return 0;
}

void rpc_server_free(struct rpc_server *server)
{
    if (server == NULL || server->started) {
        return;
    }
    /* Handlers drop their last reference in a pool thread, so these end before the queue does. */
    for (size_t i = 0; i < server->pool_count; i++) {
        pool_free(server->pools[i]);
        free(server->pool_name[i]);
    }
    if (server->handle != NULL) {
        if (server->poller_count == 0) { /* bound, never started */
            grpc_server_shutdown_and_notify(server->handle, server->events, server);
            (void)grpc_completion_queue_next(server->events, core_deadline(STUCK_MS), NULL);
        }
        grpc_completion_queue_shutdown(server->events);
        for (size_t i = 0; i < server->poller_count; i++) {
            (void)pthread_join(server->pollers[i], NULL);
        }
        if (server->poller_count == 0) {
            (void)grpc_completion_queue_next(server->events, core_deadline(STUCK_MS), NULL);
        }
        grpc_server_destroy(server->handle);
        grpc_completion_queue_destroy(server->events);
    }
    for (size_t i = 0; i < server->binding_count; i++) {
        free(server->bindings[i].path);
    }
    for (size_t i = 0; i < server->listen_count; i++) {
        free(server->listen[i]);
    }
    core_done();
    tls_files_done(&server->tls);
    cond_done(&server->changed);
    mutex_done(&server->lock);
    free(server);
}
