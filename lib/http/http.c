/* SPDX-License-Identifier: Apache-2.0 */
#include "http/http.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/transfer.h"
#include "http/worker.h"
#include "util/clock.h"
#include "util/mutex.h"

struct slice http_head_get(const struct http_head *head, const char *name)
{
    for (size_t i = 0; i < head->count; i++) {
        if (slice_eq_str(head->fields[i].name, name)) {
            return head->fields[i].value;
        }
    }
    return (struct slice){NULL, 0};
}

static struct worker *least_loaded_locked(struct pool *pool) REQUIRES(&pool->lock)
{
    struct worker *best = &pool->workers[0];

    for (size_t i = 1; i < pool->worker_count; i++) {
        if (pool->workers[i].load < best->load) {
            best = &pool->workers[i];
        }
    }
    return best;
}

static void fail_now(struct http_request *request, int error, const char *text)
{
    struct http_result result = {0};

    result.status = error_set(&result.error, error, "%s", text);
    request->done(request, &result);
}

/* NULL: it is not taken. */
static struct worker *enqueue_locked(struct http_client *client, struct transfer *transfer)
    REQUIRES(&client->pool->lock)
{
    struct pool *pool = client->pool;
    struct worker *worker;
    size_t total = 0;

    for (size_t i = 0; i < pool->worker_count; i++) {
        total += pool->workers[i].load;
    }
    if (atomic_load(&client->stopping) || total >= pool->max_queued) {
        return NULL;
    }
    worker = least_loaded_locked(client->pool);
    worker->load++;
    client->running++;
    client->stats.pending++;
    transfer->worker = worker->index;
    transfer->lane = &client->lanes[worker->index];
    transfer->request->client_private = transfer;
    TAILQ_INSERT_TAIL(&worker->incoming, transfer, link);
    return worker;
}

void http_submit(struct http_client *client, struct http_request *request)
{
    struct transfer *transfer = NULL;
    struct worker *worker;
    bool stopping;
    bool must = false;

    if (transfer_new(request, clock_monotonic_ms(clock_real()), &transfer) < 0) {
        fail_now(request, -ENOMEM, "out of memory");
        return;
    }
    mutex_lock(&client->pool->lock);
    stopping = atomic_load(&client->stopping);
    worker = enqueue_locked(client, transfer);
    if (worker != NULL) {
        must = !worker->woken;
        worker->woken = true;
    }
    mutex_unlock(&client->pool->lock);
    if (worker == NULL) {
        transfer_free(transfer);
        fail_now(request, stopping ? -ECANCELED : -EBUSY,
                 stopping ? "the HTTP client is closing" : "too many requests are waiting");
        return;
    }
    if (must) {
        worker_wake(worker);
    }
}

static void signal_worker(struct http_client *client, struct http_request *request, bool cancel)
{
    struct pool *pool = client->pool;
    struct worker *worker = NULL;
    struct transfer *transfer;
    bool must = false;

    mutex_lock(&pool->lock);
    transfer = request->client_private;
    if (transfer != NULL) {
        worker = &pool->workers[transfer->worker];
        transfer->cancelled = transfer->cancelled || cancel;
        transfer->resumed = transfer->resumed || !cancel;
        if (!transfer->signalled) {
            transfer->signalled = true;
            TAILQ_INSERT_TAIL(&worker->signals, transfer, signal_link);
        }
        must = !worker->woken;
        worker->woken = true;
    }
    mutex_unlock(&pool->lock);
    if (must) {
        worker_wake(worker);
    }
}

void http_cancel(struct http_client *client, struct http_request *request)
{
    signal_worker(client, request, true);
}

void http_resume(struct http_client *client, struct http_request *request)
{
    signal_worker(client, request, false);
}

void http_client_stats(struct http_client *client, struct http_stats *ret)
{
    mutex_lock(&client->pool->lock);
    *ret = client->stats;
    mutex_unlock(&client->pool->lock);
}

/* ---- life ---- */

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static bool curl_ready;

static void init_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
}

static int check_file(const char *path, const char *what, struct error *err)
{
    if (path != NULL && access(path, R_OK) < 0) {
        int error = -errno;

        return error_set(err, error, "%s '%s' cannot be read: %s", what, path,
                         strerrordesc_np(-error));
    }
    return 0;
}

static int copy_string(struct pool *pool, size_t index, const char *from, const char **ret)
{
    if (from == NULL) {
        *ret = NULL;
        return 0;
    }
    pool->strings[index] = strdup(from);
    *ret = pool->strings[index];
    return *ret != NULL ? 0 : -ENOMEM;
}

static int copy_config(struct pool *pool, const struct http_client_config *config,
                       struct error *err)
{
    struct transfer_options *options = &pool->options;
    const char *agent = config->user_agent != NULL ? config->user_agent : "skyvol/" SKYVOL_VERSION;
    int error = check_file(config->ca_file, "CA file", err);

    if (error == 0) {
        error = check_file(config->cert_file, "certificate file", err);
    }
    if (error == 0) {
        error = check_file(config->key_file, "key file", err);
    }
    if (error < 0) {
        return error;
    }
    if (copy_string(pool, 0, config->ca_file, &options->ca_file) < 0 ||
        copy_string(pool, 1, config->cert_file, &options->cert_file) < 0 ||
        copy_string(pool, 2, config->key_file, &options->key_file) < 0 ||
        copy_string(pool, 3, config->proxy, &options->proxy) < 0 ||
        copy_string(pool, 4, agent, &options->user_agent) < 0) {
        return -ENOMEM;
    }
    options->ca_only = config->ca_only;
    options->insecure = config->insecure;
    options->public_only = config->public_only;
    options->connect_timeout_ms =
        config->connect_timeout_ms != 0 ? config->connect_timeout_ms : 10000;
    options->buffer_bytes = config->buffer_bytes != 0 ? config->buffer_bytes : TRANSFER_BUFFER_MAX;
    options->idle_close_s = config->idle_close_s != 0 ? config->idle_close_s : 60;
    pool->max_queued = config->max_queued != 0 ? config->max_queued : 65536;
    return 0;
}

static void init_workers(struct pool *pool, size_t count, size_t connections)
{
    pool->worker_count = count;
    for (size_t i = 0; i < count; i++) {
        worker_init(&pool->workers[i], pool, i,
                    connections / count + (i < connections % count ? 1U : 0U));
    }
}

static void pool_free(struct pool *pool)
{
    for (size_t i = 0; i < pool->worker_count; i++) {
        worker_stop(&pool->workers[i]);
    }
    for (size_t i = 0; i < sizeof(pool->strings) / sizeof(pool->strings[0]); i++) {
        free(pool->strings[i]);
    }
    cond_done(&pool->idle);
    mutex_done(&pool->lock);
    free(pool);
}

/* Without threads yet. */
static int pool_new(const struct http_client_config *config, struct pool **ret, struct error *err)
{
    size_t threads = config->threads != 0 ? config->threads : 2;
    size_t connections = config->max_connections != 0 ? config->max_connections : 64;
    struct pool *pool;
    int error;

    if (threads > WORKERS_MAX) {
        return error_set(err, -EINVAL, "%zu transfer threads: at most %d", threads, WORKERS_MAX);
    }
    if (config->buffer_bytes > TRANSFER_BUFFER_MAX) {
        return error_set(err, -EINVAL, "buffers of a transfer: at most %d bytes",
                         TRANSFER_BUFFER_MAX);
    }
    (void)pthread_once(&curl_once, init_curl);
    pool = calloc(1, sizeof(*pool));
    if (pool == NULL || !curl_ready) {
        free(pool);
        return error_set(err, -ENOMEM, "out of memory for the HTTP client");
    }
    mutex_init(&pool->lock);
    cond_init(&pool->idle);
    init_workers(pool, threads < connections ? threads : connections, connections);
    error = copy_config(pool, config, err);
    if (error < 0) {
        pool_free(pool);
        return error;
    }
    *ret = pool;
    return 0;
}

static int start_pool(struct pool *pool, struct error *err)
{
    int error = 0;

    for (size_t i = 0; error == 0 && i < pool->worker_count; i++) {
        error = worker_start(&pool->workers[i]);
    }
    return error < 0 ? error_set(err, error, "cannot start a transfer thread: %s",
                                 strerrordesc_np(-error))
                     : 0;
}

static struct http_client *join_pool(struct pool *pool)
{
    struct http_client *client =
        calloc(1, sizeof(*client) + pool->worker_count * sizeof(client->lanes[0]));

    if (client == NULL) {
        return NULL;
    }
    client->pool = pool;
    for (size_t i = 0; i < pool->worker_count; i++) {
        client->lanes[i].client = client;
        TAILQ_INIT(&client->lanes[i].waiting);
    }
    mutex_lock(&pool->lock);
    pool->clients++;
    mutex_unlock(&pool->lock);
    return client;
}

int http_client_new(const struct http_client_config *config, struct http_client **ret,
                    struct error *err)
{
    struct pool *pool = config->beside != NULL ? config->beside->pool : NULL;
    struct http_client *client;
    int error = pool == NULL ? pool_new(config, &pool, err) : 0;

    if (error < 0) {
        return error;
    }
    client = join_pool(pool);
    if (client == NULL) {
        if (config->beside == NULL) {
            pool_free(pool);
        }
        return error_set(err, -ENOMEM, "out of memory for the HTTP client");
    }
    error = config->beside == NULL ? start_pool(pool, err) : 0;
    if (error < 0) {
        http_client_free(client);
        return error;
    }
    *ret = client;
    return 0;
}

void http_client_free(struct http_client *client)
{
    struct pool *pool = client != NULL ? client->pool : NULL;
    bool last;

    if (client == NULL) {
        return;
    }
    mutex_lock(&pool->lock);
    atomic_store(&client->stopping, true);
    last = --pool->clients == 0;
    pool->stopping = last;
    pool->ending += !last;
    mutex_unlock(&pool->lock);
    for (size_t i = 0; !last && i < pool->worker_count; i++) {
        worker_wake(&pool->workers[i]);
    }
    mutex_lock(&pool->lock);
    while (!last && client->running > 0) {
        cond_wait(&pool->idle, &pool->lock);
    }
    pool->ending -= !last;
    mutex_unlock(&pool->lock);
    if (last) {
        pool_free(pool);
    }
    free(client);
}
