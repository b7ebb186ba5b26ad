/* SPDX-License-Identifier: Apache-2.0 */
/* The module as nginx sees it: directives, the store of each worker, the event loop's bell. */
#include "s3proxy/module/ngx_http_skyvol.h"

#include <malloc.h>
#include <sys/eventfd.h>

#include "util/log.h"
#include "util/memory.h"
#include "util/sql.h"

enum { KEY_SLOTS = 256, POLICY_SLOTS = 128, SUFFIXES_MAX = 16, VOLUMES_MAX = 1024 };
/* Bytes for bodies under way, of all workers; a worker has an eighth at least, and at most half. */
enum { SPACES_SHARES = 8, SPACES_LEAST_SHARES = 2, TRIM_MS = 2000 };
/* Of malloc(): what is as large goes back to the system when it is freed, and so does the end of
 * the heap. By itself glibc lets both grow to what was freed once, and large buffers then keep a
 * heap apart whose gaps nobody needs. */
enum { MALLOC_MAPPED = 64 * 1024, MALLOC_TRIMMED = 1024 * 1024 };

typedef struct {
    ngx_str_t store, store_endpoint, store_region, store_credentials, store_ca;
    ngx_int_t store_connections;
    ngx_flag_t store_virtual_host, presign_v2, reads_by_threads;
    ngx_array_t *volumes;
    ngx_str_t credentials, meta_keys, session_keys, identity_token;
    time_t session_lifetime;
    ngx_str_t region;
    ngx_str_t counters, limits;
    struct limits_bounds bounds;
    uint64_t per_address, grace_ms, least_rate, body_memory;
    ngx_array_t *suffixes;
} skyvol_main_conf_t;

struct skyvol_worker skyvol_worker;
static const char *suffixes[SUFFIXES_MAX + 1];

static char *set_handler(ngx_conf_t *cf, ngx_command_t *command, void *conf);
static char *set_limit(ngx_conf_t *cf, ngx_command_t *command, void *conf);

/* As ngx_string(), which casts const away where clang can see it. */
#define NAME(text)                                                                                 \
    {                                                                                              \
        sizeof(text) - 1, (u_char[])                                                               \
        {                                                                                          \
            text                                                                                   \
        }                                                                                          \
    }

#define MAIN_STRING(name_, member)                                                                 \
    {                                                                                              \
        NAME(name_), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot,                   \
            NGX_HTTP_MAIN_CONF_OFFSET, offsetof(skyvol_main_conf_t, member), NULL                  \
    }

static ngx_command_t commands[] = {
    MAIN_STRING("skyvol_store", store),
    MAIN_STRING("skyvol_store_endpoint", store_endpoint),
    MAIN_STRING("skyvol_store_region", store_region),
    MAIN_STRING("skyvol_store_credentials", store_credentials),
    MAIN_STRING("skyvol_store_ca", store_ca),
    {NAME("skyvol_store_connections"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_num_slot,
     NGX_HTTP_MAIN_CONF_OFFSET, offsetof(skyvol_main_conf_t, store_connections), NULL},
    {NAME("skyvol_store_virtual_host"), NGX_HTTP_MAIN_CONF | NGX_CONF_FLAG, ngx_conf_set_flag_slot,
     NGX_HTTP_MAIN_CONF_OFFSET, offsetof(skyvol_main_conf_t, store_virtual_host), NULL},
    {NAME("skyvol_reads_by_threads"), NGX_HTTP_MAIN_CONF | NGX_CONF_FLAG, ngx_conf_set_flag_slot,
     NGX_HTTP_MAIN_CONF_OFFSET, offsetof(skyvol_main_conf_t, reads_by_threads), NULL},
    {NAME("skyvol_volume"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_array_slot,
     NGX_HTTP_MAIN_CONF_OFFSET, offsetof(skyvol_main_conf_t, volumes), NULL},
    MAIN_STRING("skyvol_credentials", credentials),
    MAIN_STRING("skyvol_meta_keys", meta_keys),
    MAIN_STRING("skyvol_session_keys", session_keys),
    {NAME("skyvol_session_lifetime"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_sec_slot,
     NGX_HTTP_MAIN_CONF_OFFSET, offsetof(skyvol_main_conf_t, session_lifetime), NULL},
    MAIN_STRING("skyvol_identity_token", identity_token),
    MAIN_STRING("skyvol_region", region),
    {NAME("skyvol_presign_v2"), NGX_HTTP_MAIN_CONF | NGX_CONF_FLAG, ngx_conf_set_flag_slot,
     NGX_HTTP_MAIN_CONF_OFFSET, offsetof(skyvol_main_conf_t, presign_v2), NULL},
    MAIN_STRING("skyvol_counters", counters),
    MAIN_STRING("skyvol_limits", limits),
    {NAME("skyvol_limit"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE2, set_limit,
     NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL},
    {NAME("skyvol_host_suffix"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_array_slot,
     NGX_HTTP_MAIN_CONF_OFFSET, offsetof(skyvol_main_conf_t, suffixes), NULL},
    {NAME("skyvol_s3"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, set_handler, 0, 0, NULL},
    {NAME("skyvol_identity"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, set_handler, 0, 0, NULL},
    {NAME("skyvol_fault"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, set_handler, 0, 0, NULL},
    ngx_null_command,
};

static void *create_main_conf(ngx_conf_t *cf)
{
    skyvol_main_conf_t *conf = ngx_pcalloc(cf->pool, sizeof(*conf));

    if (conf != NULL) {
        conf->suffixes = NGX_CONF_UNSET_PTR;
        conf->volumes = NGX_CONF_UNSET_PTR;
        conf->store_connections = NGX_CONF_UNSET;
        conf->store_virtual_host = NGX_CONF_UNSET;
        conf->presign_v2 = NGX_CONF_UNSET;
        conf->reads_by_threads = NGX_CONF_UNSET;
        conf->session_lifetime = NGX_CONF_UNSET;
    }
    return conf;
}

static ngx_http_module_t context = {
    .preconfiguration = skyvol_log_variables,
    .postconfiguration = skyvol_log_filter,
    .create_main_conf = create_main_conf,
};

static ngx_int_t init_module(ngx_cycle_t *cycle);
static ngx_int_t init_process(ngx_cycle_t *cycle);
static void exit_process(ngx_cycle_t *cycle);

ngx_module_t ngx_http_skyvol_module = {
    NGX_MODULE_V1, &context, commands, NGX_HTTP_MODULE, NULL, init_module,
    init_process,  NULL,     NULL,     exit_process,    NULL, NGX_MODULE_V1_PADDING,
};

/* What nginx's loader reads beside the module: kept here, as objs/ngx_*_modules.c would be. */
extern char *ngx_module_order[];
static char name[] = "ngx_http_skyvol_module";
ngx_module_t *ngx_modules[] = {&ngx_http_skyvol_module, NULL};
char *ngx_module_names[] = {name, NULL};
char *ngx_module_order[] = {NULL};

static char *set_handler(ngx_conf_t *cf, ngx_command_t *command, void *conf)
{
    ngx_http_core_loc_conf_t *location =
        ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    (void)conf;
    location->handler = command->name.len == sizeof("skyvol_s3") - 1      ? skyvol_handler
                        : command->name.len == sizeof("skyvol_fault") - 1 ? skyvol_fault_handler
                                                                          : skyvol_identity_handler;
    return NGX_CONF_OK;
}

/* skyvol_limit NAME NUMBER */
static char *set_limit(ngx_conf_t *cf, ngx_command_t *command, void *conf)
{
    static const struct {
        const char *name;
        size_t offset;
    } limits[] = {
        {"requests", offsetof(skyvol_main_conf_t, bounds.key.requests)},
        {"burst", offsetof(skyvol_main_conf_t, bounds.key.burst)},
        {"concurrent", offsetof(skyvol_main_conf_t, bounds.key.concurrent)},
        {"upload", offsetof(skyvol_main_conf_t, bounds.key.upload)},
        {"download", offsetof(skyvol_main_conf_t, bounds.key.download)},
        {"all", offsetof(skyvol_main_conf_t, bounds.max)},
        {"per_address", offsetof(skyvol_main_conf_t, per_address)},
        {"grace_ms", offsetof(skyvol_main_conf_t, grace_ms)},
        {"least_rate", offsetof(skyvol_main_conf_t, least_rate)},
        {"body_memory", offsetof(skyvol_main_conf_t, body_memory)},
    };
    static char wrong[] = "names no limit";
    const ngx_str_t *words = cf->args->elts;
    off_t number = ngx_atoof(words[2].data, words[2].len);

    (void)command;
    for (size_t i = 0; number >= 0 && i < sizeof(limits) / sizeof(limits[0]); i++) {
        if (strcmp((const char *)words[1].data, limits[i].name) == 0) {
            uint64_t value = (uint64_t)number;

            memcpy((char *)conf + limits[i].offset, &value, sizeof(value));
            return NGX_CONF_OK;
        }
    }
    return wrong;
}

static void bell(ngx_event_t *event)
{
    struct skyvol_loop *loop = &skyvol_worker.loop;
    struct skyvol_request *first;
    eventfd_t count;

    (void)event;
    /* Where each ring is told once, however high the bell has counted, nobody need set it back. */
    if ((ngx_event_flags & NGX_USE_CLEAR_EVENT) == 0) {
        (void)eventfd_read(loop->event_fd, &count);
    }
    mutex_lock(&loop->lock);
    first = loop->first;
    loop->first = NULL;
    mutex_unlock(&loop->lock);
    while (first != NULL) {
        struct skyvol_request *next;

        mutex_lock(&loop->lock);
        next = first->next;
        first->queued = false;
        mutex_unlock(&loop->lock);
        skyvol_progress(first);
        first = next;
    }
}

static void trim(ngx_event_t *event)
{
    if (spaces_trim(&skyvol_worker.spaces)) {
        ngx_add_timer(event, TRIM_MS);
    }
}

void skyvol_trim_later(void)
{
    ngx_event_t *event = &skyvol_worker.trim;

    if (!event->timer_set) {
        event->handler = trim;
        event->log = ngx_cycle->log;
        event->cancelable = 1;
        ngx_add_timer(event, TRIM_MS);
    }
}

static ngx_int_t listen_to_bell(ngx_cycle_t *cycle)
{
    struct skyvol_loop *loop = &skyvol_worker.loop;
    ngx_connection_t *connection;

    mutex_init(&loop->lock);
    loop->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->event_fd < 0) {
        return NGX_ERROR;
    }
    connection = ngx_get_connection(loop->event_fd, cycle->log);
    if (connection == NULL) {
        return NGX_ERROR;
    }
    connection->read->handler = bell;
    connection->read->log = cycle->log;
    connection->read->channel = 1; /* so that an exiting worker does not wait for it */
    return ngx_add_event(connection->read, NGX_READ_EVENT,
                         (ngx_event_flags & NGX_USE_CLEAR_EVENT) != 0 ? NGX_CLEAR_EVENT
                                                                      : NGX_LEVEL_EVENT);
}

/* NULL-terminated; the texts are the configuration's. */
static const char **take_list(const ngx_array_t *from, const char **into, size_t max)
{
    const ngx_str_t *items;

    if (from == NGX_CONF_UNSET_PTR || from == NULL) {
        return NULL;
    }
    items = from->elts;
    for (size_t i = 0; i < from->nelts && i < max; i++) {
        into[i] = (const char *)items[i].data;
    }
    return into;
}

static int open_stores(const skyvol_main_conf_t *conf, struct error *err)
{
    static const char *volumes[VOLUMES_MAX + 1];
    const struct stores_config config = {
        .store = (const char *)conf->store.data,
        .endpoint = (const char *)conf->store_endpoint.data,
        .region = (const char *)conf->store_region.data,
        .credentials_file = (const char *)conf->store_credentials.data,
        .ca_file = (const char *)conf->store_ca.data,
        .connections = conf->store_connections > 0 ? (uint32_t)conf->store_connections : 0,
        .virtual_host_style = conf->store_virtual_host == 1,
        .now = conf->reads_by_threads != 1,
        .volumes = take_list(conf->volumes, volumes, VOLUMES_MAX),
    };

    return stores_init(&skyvol_worker.server.stores, &config, err);
}

static int open_credentials(const skyvol_main_conf_t *conf, struct error *err)
{
    const struct credentials_config config = {
        .path = (const char *)conf->credentials.data,
        .meta_keys = (const char *)conf->meta_keys.data,
        .session_keys = (const char *)conf->session_keys.data,
    };
    struct credentials **credentials = &skyvol_worker.server.credentials;
    int ret = credentials_new(&config, credentials, err);

    skyvol_worker.identity = (struct identity_config){
        .credentials = *credentials,
        .token_file = (const char *)conf->identity_token.data,
        .lifetime_s = conf->session_lifetime > 0 ? (uint32_t)conf->session_lifetime : 0,
    };
    return ret;
}

static int open_limits(ngx_cycle_t *cycle, const skyvol_main_conf_t *conf, struct error *err)
{
    struct skyvol_worker *worker = &skyvol_worker;
    int ret = 0;

    worker->server.bounds = conf->bounds;
    if (conf->bounds.max == 0) {
        worker->server.bounds.max = LIMITS_COUNTED; /* no limit, but a number to be shown */
    }
    worker->grace = (ngx_msec_t)conf->grace_ms;
    worker->least_rate = conf->least_rate;
    if (conf->counters.len > 0) {
        ret = counters_open((const char *)conf->counters.data, &worker->counters);
    }
    if (ret == 0 && conf->limits.len > 0) {
        ret = limits_open((const char *)conf->limits.data, &worker->server.limits);
    }
    ret = ret == 0 ? skyvol_connections_init(cycle, conf->per_address) : ret;
    return ret == 0 ? 0 : error_set(err, ret, "limits and counters: %s", strerror(-ret));
}

static size_t worker_count(const ngx_cycle_t *cycle)
{
    const ngx_core_conf_t *conf =
        (const ngx_core_conf_t *)ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    return conf->worker_processes > 0 ? (size_t)conf->worker_processes : 1;
}

static size_t shares(const ngx_cycle_t *cycle)
{
    size_t count = worker_count(cycle);

    return count < SPACES_LEAST_SHARES ? SPACES_LEAST_SHARES
           : count > SPACES_SHARES     ? SPACES_SHARES
                                       : count;
}

/* In the master, which has the workers do the rest. */
static ngx_int_t init_module(ngx_cycle_t *cycle)
{
    (void)cycle;
    memory_give_back();
    return NGX_OK;
}

/* Our own lines are of the level that nginx was told for its. */
static enum log_level level_of(const ngx_cycle_t *cycle)
{
    ngx_uint_t level = cycle->log->log_level;

    return level <= NGX_LOG_ERR    ? LOG_ERROR
           : level <= NGX_LOG_WARN ? LOG_WARN
           : level <= NGX_LOG_INFO ? LOG_INFO
                                   : LOG_DEBUG;
}

static ngx_int_t init_process(ngx_cycle_t *cycle)
{
    skyvol_main_conf_t *conf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_skyvol_module);
    struct call_server *server = &skyvol_worker.server;
    struct error err = ERROR_INIT;
    int ret;

    if (conf == NULL ||
        (conf->credentials.len == 0 && conf->session_keys.len == 0 && conf->meta_keys.len == 0)) {
        return NGX_OK;
    }
    log_set_level(level_of(cycle));
    (void)mallopt(M_MMAP_THRESHOLD, MALLOC_MAPPED);
    (void)mallopt(M_TRIM_THRESHOLD, MALLOC_TRIMMED);
    sql_set_up();
    spaces_init(&skyvol_worker.spaces, (size_t)conf->body_memory / shares(cycle));
    skyvol_queue_init();
    server->spaces = &skyvol_worker.spaces;
    server->ids = &skyvol_worker.ids;
    server->ring = skyvol_ring;
    server->region = (const char *)conf->region.data;
    server->presign_v2 = conf->presign_v2 == 1;
    server->suffixes = take_list(conf->suffixes, suffixes, SUFFIXES_MAX);
    ret = open_stores(conf, &err);
    ret = ret == 0 ? open_credentials(conf, &err) : ret;
    ret = ret == 0 ? s3_key_cache_new(KEY_SLOTS, &server->keys) : ret;
    ret = ret == 0 ? policies_new(POLICY_SLOTS, &server->policies) : ret;
    ret = ret == 0 ? open_limits(cycle, conf, &err) : ret;
    spaces_share(&skyvol_worker.spaces, server->limits, worker_count(cycle));
    if (ret != 0) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "skyvol: %s", error_text(&err, ret));
        return NGX_ERROR;
    }
    memory_give_back();
    return listen_to_bell(cycle);
}

static void exit_process(ngx_cycle_t *cycle)
{
    struct call_server *server = &skyvol_worker.server;

    (void)cycle;
    stores_done(&server->stores);
    credentials_free(server->credentials);
    s3_key_cache_free(server->keys);
    policies_free(server->policies);
    counters_close(skyvol_worker.counters);
    skyvol_worker.counters = NULL;
    limits_close(server->limits);
    server->limits = NULL;
    skyvol_connections_done();
}
