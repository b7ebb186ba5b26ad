/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A transfer moves through three lists of its worker:
 *
 *   incoming (any thread puts, under the client's lock) -> waiting (the worker's own; no connection
 *   is free) -> active (in libcurl's multi handle) -> done()
 *
 * cancel and resume from other threads set flags and put the transfer on the worker's signal list;
 * the worker acts on them between two rounds of libcurl, so that no callback can cross them. The
 * client's lock guards incoming, signals, loads and request->client_private, and nothing is called
 * under it.
 *
 * A worker waits in epoll_wait() for its sockets, for libcurl's timer and for its eventfd (`wake`).
 * libcurl is told which socket is ready, so a round costs what is ready and not what is open; with
 * curl_multi_perform() each round would poll every transfer.
 */
#include "http/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "http/transfer.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/mutex.h"

enum { THREADS_MAX = 64, SPARE_MAX = 64, EVENTS_MAX = 64, TICK_MS = 1000, WAITING_TICK_MS = 50 };

TAILQ_HEAD(transfer_list, transfer);

struct worker {
    struct http_client *client;
    size_t index;
    pthread_t thread;
    bool started;
    CURLM *multi;
    CURLSH *share;
    int epoll;
    int wake;          /* eventfd */
    uint64_t timer_ms; /* when libcurl wants to be called; UINT64_MAX: not */
    size_t cap;        /* connections */

    struct transfer_list incoming GUARDED_BY(client->lock);
    struct transfer_list signals GUARDED_BY(client->lock);
    bool woken GUARDED_BY(client->lock);  /* and has not looked at the lists since */
    size_t load GUARDED_BY(client->lock); /* transfers not done yet */

    struct transfer_list waiting; /* the thread's own from here on */
    struct transfer_list active;
    size_t active_count;
    CURL *spare[SPARE_MAX];
    size_t spare_count;
};

struct http_client {
    struct mutex lock;
    bool stopping GUARDED_BY(lock);
    struct http_stats stats GUARDED_BY(lock);
    size_t max_queued;
    struct transfer_options options;
    char *strings[5]; /* what options point to */
    size_t worker_count;
    struct worker workers[THREADS_MAX];
};

struct slice http_head_get(const struct http_head *head, const char *name)
{
    for (size_t i = 0; i < head->count; i++) {
        if (slice_eq_str(head->fields[i].name, name)) {
            return head->fields[i].value;
        }
    }
    return (struct slice){NULL, 0};
}

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

static void wake(struct worker *worker)
{
    uint64_t one = 1;

    /* A full counter is as good as a written one: the worker will wake. */
    (void)!write(worker->wake, &one, sizeof(one));
}

/* ---- the worker's thread ---- */

/* Detach from everything that other threads can reach, then tell the caller. */
static void finish(struct worker *worker, struct transfer *transfer, CURLcode code)
{
    struct http_client *client = worker->client;
    struct http_request *request = transfer->request;
    struct http_result result = {0};
    long connects = 0;

    if (transfer->easy != NULL) {
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
    }
    transfer_result(transfer, code, now_ms(), &result);
    mutex_lock(&client->lock);
    if (transfer->signalled) {
        TAILQ_REMOVE(&worker->signals, transfer, signal_link);
    }
    request->client_private = NULL;
    worker->load--;
    client->stats.requests++;
    client->stats.connections += (uint64_t)connects;
    mutex_unlock(&client->lock);
    if (transfer->easy != NULL) {
        /* After a failure libcurl may keep state that the next request would meet. */
        if (result.status == 0 && worker->spare_count < SPARE_MAX) {
            transfer_release(transfer->easy);
            worker->spare[worker->spare_count++] = transfer->easy;
        } else {
            curl_easy_cleanup(transfer->easy);
        }
    }
    transfer_free(transfer);
    request->done(request, &result);
}

static void finish_active(struct worker *worker, struct transfer *transfer, CURLcode code)
{
    (void)curl_multi_remove_handle(worker->multi, transfer->easy);
    TAILQ_REMOVE(&worker->active, transfer, link);
    worker->active_count--;
    finish(worker, transfer, code);
}

static void fail_early(struct worker *worker, struct transfer *transfer, int error)
{
    transfer->callback_error = error;
    finish(worker, transfer, CURLE_OK);
}

static void start(struct worker *worker, struct transfer *transfer)
{
    struct transfer_options options = worker->client->options;
    CURL *easy;
    int error;

    options.share = worker->share;
    easy =
        worker->spare_count > 0 ? worker->spare[--worker->spare_count] : transfer_handle(&options);
    error = easy != NULL ? 0 : -ENOMEM;
    if (error == 0) {
        error = transfer_prepare(transfer, easy, &options, now_ms());
    }
    if (error == 0 && curl_multi_add_handle(worker->multi, easy) != CURLM_OK) {
        error = -EIO;
    }
    if (error < 0) {
        fail_early(worker, transfer, error);
        return;
    }
    TAILQ_INSERT_TAIL(&worker->active, transfer, link);
    worker->active_count++;
}

/* Take one signalled transfer off the list; its flags are cleared. */
static struct transfer *next_signal(struct worker *worker, bool *cancelled, bool *resumed)
{
    struct transfer *transfer;

    mutex_lock(&worker->client->lock);
    /* What was just submitted may be cancelled already: it has to be in our list by then. */
    TAILQ_CONCAT(&worker->waiting, &worker->incoming, link);
    transfer = TAILQ_FIRST(&worker->signals);
    if (transfer != NULL) {
        TAILQ_REMOVE(&worker->signals, transfer, signal_link);
        transfer->signalled = false;
        *cancelled = transfer->cancelled;
        *resumed = transfer->resumed;
        transfer->resumed = false;
    }
    mutex_unlock(&worker->client->lock);
    return transfer;
}

static void handle_signals(struct worker *worker)
{
    bool cancelled = false;
    bool resumed = false;
    struct transfer *transfer;

    while ((transfer = next_signal(worker, &cancelled, &resumed)) != NULL) {
        if (cancelled) {
            transfer->callback_error = -ECANCELED;
            if (transfer->easy != NULL) {
                finish_active(worker, transfer, CURLE_OK);
            } else {
                TAILQ_REMOVE(&worker->waiting, transfer, link);
                finish(worker, transfer, CURLE_OK);
            }
        } else if (resumed && transfer->paused) {
            transfer->paused = false;
            transfer->progress_ms = now_ms();
            /* May call write() with what was held back, and so pause again. */
            (void)curl_easy_pause(transfer->easy, CURLPAUSE_CONT);
        }
    }
}

/* Move what was submitted to our own list. Returns false when it is time to stop. */
static bool take_incoming(struct worker *worker)
{
    struct http_client *client = worker->client;
    bool go_on;

    mutex_lock(&client->lock);
    worker->woken = false;
    TAILQ_CONCAT(&worker->waiting, &worker->incoming, link);
    go_on = !client->stopping;
    mutex_unlock(&client->lock);
    return go_on;
}

static void start_waiting(struct worker *worker)
{
    while (worker->active_count < worker->cap && !TAILQ_EMPTY(&worker->waiting)) {
        struct transfer *transfer = TAILQ_FIRST(&worker->waiting);

        TAILQ_REMOVE(&worker->waiting, transfer, link);
        start(worker, transfer);
    }
}

/* The first transfer of a list whose time is over, or NULL. */
static struct transfer *find_late(struct transfer_list *list, uint64_t now, bool active)
{
    struct transfer *transfer;

    TAILQ_FOREACH (transfer, list, link) {
        uint32_t stall_ms = transfer->request->stall_ms;

        if (now >= transfer->deadline_ms || (active && stall_ms != 0 && !transfer->paused &&
                                             now >= transfer->progress_ms + stall_ms)) {
            return transfer;
        }
    }
    return NULL;
}

static void end_late(struct worker *worker)
{
    uint64_t now = now_ms();
    struct transfer *transfer;

    while ((transfer = find_late(&worker->waiting, now, false)) != NULL) {
        TAILQ_REMOVE(&worker->waiting, transfer, link);
        (void)snprintf(transfer->error_text, sizeof(transfer->error_text),
                       "no connection became free in time");
        finish(worker, transfer, CURLE_OPERATION_TIMEDOUT);
    }
    while ((transfer = find_late(&worker->active, now, true)) != NULL) {
        (void)snprintf(transfer->error_text, sizeof(transfer->error_text),
                       now >= transfer->deadline_ms ? "no complete answer in time"
                                                    : "the connection stalled");
        finish_active(worker, transfer, CURLE_OPERATION_TIMEDOUT);
    }
}

static void handle_ended(struct worker *worker)
{
    CURLMsg *message;
    int left = 0;

    while ((message = curl_multi_info_read(worker->multi, &left)) != NULL) {
        struct transfer *transfer = NULL;
        CURLcode code = message->data.result;

        if (message->msg == CURLMSG_DONE &&
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer) ==
                CURLE_OK) {
            finish_active(worker, transfer, code);
        }
    }
}

static void end_all(struct worker *worker)
{
    struct transfer *transfer;

    (void)take_incoming(worker);
    while ((transfer = TAILQ_FIRST(&worker->waiting)) != NULL) {
        TAILQ_REMOVE(&worker->waiting, transfer, link);
        fail_early(worker, transfer, -ECANCELED);
    }
    while ((transfer = TAILQ_FIRST(&worker->active)) != NULL) {
        transfer->callback_error = -ECANCELED;
        finish_active(worker, transfer, CURLE_OK);
    }
}

/* libcurl's wish for a socket; `known` is not NULL for one that epoll has already. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    struct worker *worker = arg;
    struct epoll_event event = {.data.fd = fd};

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        /*
         * libcurl may have closed it before, and another thread may have got the number since: then
         * our set does not hold it and nothing happens. ThreadSanitizer knows of the number, not of
         * the set, and would call it a race; so the call goes by its side.
         */
        (void)syscall(SYS_epoll_ctl, worker->epoll, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    event.events = ((what & CURL_POLL_IN) != 0 ? (uint32_t)EPOLLIN : 0U) |
                   ((what & CURL_POLL_OUT) != 0 ? (uint32_t)EPOLLOUT : 0U);
    if (known == NULL) {
        (void)curl_multi_assign(worker->multi, fd, worker);
    }
    if (epoll_ctl(worker->epoll, known == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) < 0 &&
        epoll_ctl(worker->epoll, known == NULL ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) < 0) {
        return -1; /* libcurl ends the transfer */
    }
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
    struct worker *worker = arg;

    (void)multi;
    worker->timer_ms = timeout_ms < 0 ? UINT64_MAX : now_ms() + (uint64_t)timeout_ms;
    return 0;
}

static int wait_ms(const struct worker *worker)
{
    uint64_t now = now_ms();
    uint64_t longest = TAILQ_EMPTY(&worker->waiting) ? TICK_MS : WAITING_TICK_MS;
    uint64_t left = worker->timer_ms > now ? worker->timer_ms - now : 0;

    return (int)(left < longest ? left : longest);
}

/* Wait once and let libcurl work on what is ready. */
static void poll_once(struct worker *worker)
{
    struct epoll_event events[EVENTS_MAX];
    int running = 0;
    int count = epoll_wait(worker->epoll, events, EVENTS_MAX, wait_ms(worker));

    for (int i = 0; i < count; i++) {
        uint32_t ready = events[i].events;
        int flags = ((ready & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                    ((ready & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                    ((ready & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);

        if (events[i].data.fd == worker->wake) {
            uint64_t times;

            (void)!read(worker->wake, &times, sizeof(times));
        } else {
            (void)curl_multi_socket_action(worker->multi, events[i].data.fd, flags, &running);
        }
    }
    if (now_ms() >= worker->timer_ms) {
        worker->timer_ms = UINT64_MAX;
        (void)curl_multi_socket_action(worker->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    uint64_t checked_ms = 0;

    while (take_incoming(worker)) {
        uint64_t now = now_ms();

        handle_signals(worker);
        start_waiting(worker);
        poll_once(worker);
        handle_ended(worker);
        if (now >= checked_ms + WAITING_TICK_MS) {
            end_late(worker);
            checked_ms = now;
        }
    }
    end_all(worker);
    return NULL;
}

/* ---- any thread ---- */

static struct worker *least_loaded_locked(struct http_client *client) REQUIRES(&client->lock)
{
    struct worker *best = &client->workers[0];

    for (size_t i = 1; i < client->worker_count; i++) {
        if (client->workers[i].load < best->load) {
            best = &client->workers[i];
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

void http_submit(struct http_client *client, struct http_request *request)
{
    struct transfer *transfer = NULL;
    struct worker *worker = NULL;
    size_t total = 0;
    bool stopping;
    bool must = false;

    request->client_private = NULL;
    if (transfer_new(request, now_ms(), &transfer) < 0) {
        fail_now(request, -ENOMEM, "out of memory");
        return;
    }
    mutex_lock(&client->lock);
    stopping = client->stopping;
    for (size_t i = 0; i < client->worker_count; i++) {
        total += client->workers[i].load;
    }
    if (!stopping && total < client->max_queued) {
        worker = least_loaded_locked(client);
        worker->load++;
        transfer->worker = worker->index;
        request->client_private = transfer;
        TAILQ_INSERT_TAIL(&worker->incoming, transfer, link);
        must = !worker->woken;
        worker->woken = true;
    }
    mutex_unlock(&client->lock);
    if (worker == NULL) {
        transfer_free(transfer);
        fail_now(request, stopping ? -ECANCELED : -EBUSY,
                 stopping ? "the HTTP client is closing" : "too many requests are waiting");
        return;
    }
    if (must) {
        wake(worker);
    }
}

static void signal_worker(struct http_client *client, struct http_request *request, bool cancel)
{
    struct worker *worker = NULL;
    struct transfer *transfer;
    bool must = false;

    mutex_lock(&client->lock);
    transfer = request->client_private;
    if (transfer != NULL) {
        worker = &client->workers[transfer->worker];
        transfer->cancelled = transfer->cancelled || cancel;
        transfer->resumed = transfer->resumed || !cancel;
        if (!transfer->signalled) {
            transfer->signalled = true;
            TAILQ_INSERT_TAIL(&worker->signals, transfer, signal_link);
        }
        must = !worker->woken;
        worker->woken = true;
    }
    mutex_unlock(&client->lock);
    if (must) {
        wake(worker);
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
    mutex_lock(&client->lock);
    *ret = client->stats;
    for (size_t i = 0; i < client->worker_count; i++) {
        ret->pending += client->workers[i].load;
    }
    mutex_unlock(&client->lock);
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

static int copy_string(struct http_client *client, size_t index, const char *from, const char **ret)
{
    if (from == NULL) {
        *ret = NULL;
        return 0;
    }
    client->strings[index] = strdup(from);
    *ret = client->strings[index];
    return *ret != NULL ? 0 : -ENOMEM;
}

static int copy_config(struct http_client *client, const struct http_client_config *config,
                       struct error *err)
{
    struct transfer_options *options = &client->options;
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
    if (copy_string(client, 0, config->ca_file, &options->ca_file) < 0 ||
        copy_string(client, 1, config->cert_file, &options->cert_file) < 0 ||
        copy_string(client, 2, config->key_file, &options->key_file) < 0 ||
        copy_string(client, 3, config->proxy, &options->proxy) < 0 ||
        copy_string(client, 4, agent, &options->user_agent) < 0) {
        return -ENOMEM;
    }
    options->ca_only = config->ca_only;
    options->insecure = config->insecure;
    options->public_only = config->public_only;
    options->connect_timeout_ms =
        config->connect_timeout_ms != 0 ? config->connect_timeout_ms : 10000;
    options->buffer_bytes = config->buffer_bytes != 0 ? config->buffer_bytes : TRANSFER_BUFFER_MAX;
    options->idle_close_s = config->idle_close_s != 0 ? config->idle_close_s : 60;
    client->max_queued = config->max_queued != 0 ? config->max_queued : 65536;
    return 0;
}

static int start_worker(struct worker *worker)
{
    char name[16];
    struct epoll_event wake_event = {.events = EPOLLIN};

    worker->epoll = epoll_create1(EPOLL_CLOEXEC);
    worker->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    wake_event.data.fd = worker->wake;
    worker->multi = curl_multi_init();
    worker->share = curl_share_init();
    if (worker->multi == NULL || worker->share == NULL ||
        curl_share_setopt(worker->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) !=
            CURLSHE_OK ||
        curl_multi_setopt(worker->multi, CURLMOPT_MAXCONNECTS, (long)worker->cap) != CURLM_OK ||
        curl_multi_setopt(worker->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)worker->cap) !=
            CURLM_OK ||
        curl_multi_setopt(worker->multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
        curl_multi_setopt(worker->multi, CURLMOPT_SOCKETDATA, worker) != CURLM_OK ||
        curl_multi_setopt(worker->multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
        curl_multi_setopt(worker->multi, CURLMOPT_TIMERDATA, worker) != CURLM_OK) {
        return -ENOMEM;
    }
    if (worker->epoll < 0 || worker->wake < 0 ||
        epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->wake, &wake_event) < 0) {
        return -errno;
    }
    if (pthread_create(&worker->thread, NULL, work, worker) != 0) {
        return -EAGAIN;
    }
    worker->started = true;
    (void)snprintf(name, sizeof(name), "http-%u", (unsigned int)worker->index % 1000U);
    (void)pthread_setname_np(worker->thread, name);
    return 0;
}

LOCK_UNCHECKED
static void init_workers(struct http_client *client, size_t count, size_t connections)
{
    client->worker_count = count;
    for (size_t i = 0; i < count; i++) {
        struct worker *worker = &client->workers[i];

        worker->client = client;
        worker->index = i;
        worker->epoll = -1;
        worker->wake = -1;
        worker->timer_ms = UINT64_MAX;
        worker->cap = connections / count + (i < connections % count ? 1U : 0U);
        worker->cap = worker->cap > 0 ? worker->cap : 1;
        TAILQ_INIT(&worker->incoming);
        TAILQ_INIT(&worker->signals);
        TAILQ_INIT(&worker->waiting);
        TAILQ_INIT(&worker->active);
    }
}

int http_client_new(const struct http_client_config *config, struct http_client **ret,
                    struct error *err)
{
    size_t threads = config->threads != 0 ? config->threads : 2;
    size_t connections = config->max_connections != 0 ? config->max_connections : 64;
    struct http_client *client;
    int error;

    if (threads > THREADS_MAX) {
        return error_set(err, -EINVAL, "%zu transfer threads: at most %d", threads, THREADS_MAX);
    }
    if (config->buffer_bytes > TRANSFER_BUFFER_MAX) {
        return error_set(err, -EINVAL, "buffers of a transfer: at most %d bytes",
                         TRANSFER_BUFFER_MAX);
    }
    (void)pthread_once(&curl_once, init_curl);
    client = calloc(1, sizeof(*client));
    if (client == NULL || !curl_ready) {
        free(client);
        return error_set(err, -ENOMEM, "out of memory for the HTTP client");
    }
    mutex_init(&client->lock);
    init_workers(client, threads < connections ? threads : connections, connections);
    error = copy_config(client, config, err);
    for (size_t i = 0; error == 0 && i < client->worker_count; i++) {
        error = start_worker(&client->workers[i]);
        if (error < 0) {
            error_set(err, error, "cannot start a transfer thread: %s", strerrordesc_np(-error));
        }
    }
    if (error < 0) {
        http_client_free(client);
        return error;
    }
    *ret = client;
    return 0;
}

static void stop_worker(struct worker *worker)
{
    if (worker->started) {
        wake(worker);
        (void)pthread_join(worker->thread, NULL);
    }
    for (size_t i = 0; i < worker->spare_count; i++) {
        curl_easy_cleanup(worker->spare[i]);
    }
    (void)curl_multi_cleanup(worker->multi);
    (void)curl_share_cleanup(worker->share);
    cleanup_close(&worker->epoll);
    cleanup_close(&worker->wake);
}

void http_client_free(struct http_client *client)
{
    if (client == NULL) {
        return;
    }
    mutex_lock(&client->lock);
    client->stopping = true;
    mutex_unlock(&client->lock);
    for (size_t i = 0; i < client->worker_count; i++) {
        stop_worker(&client->workers[i]);
    }
    for (size_t i = 0; i < sizeof(client->strings) / sizeof(client->strings[0]); i++) {
        free(client->strings[i]);
    }
    mutex_done(&client->lock);
    free(client);
}
