/* SPDX-License-Identifier: Apache-2.0 */
#include "http/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/clock.h"

enum { EVENTS_MAX = 64, TICK_MS = 1000, WAITING_TICK_MS = 50 };

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

void worker_wake(struct worker *worker)
{
    uint64_t one = 1;

    /* A full counter is as good as a written one: the worker will wake. */
    (void)!write(worker->wake, &one, sizeof(one));
}

/* Detach from everything that other threads can reach, then tell the caller. */
static void finish(struct worker *worker, struct transfer *transfer, CURLcode code)
{
    struct http_client *client = transfer->lane->client;
    struct pool *pool = worker->pool;
    struct http_request *request = transfer->request;
    struct http_result result = {0};
    long connects = 0;

    if (transfer->easy != NULL) {
        (void)curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
    }
    transfer_result(transfer, code, now_ms(), &result);
    mutex_lock(&pool->lock);
    if (transfer->signalled) {
        TAILQ_REMOVE(&worker->signals, transfer, signal_link);
    }
    request->client_private = NULL;
    worker->load--;
    client->stats.pending--;
    client->stats.requests++;
    client->stats.connections += (uint64_t)connects;
    mutex_unlock(&pool->lock);
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
    mutex_lock(&pool->lock);
    if (--client->running == 0 && pool->ending > 0) {
        cond_broadcast(&pool->idle);
    }
    mutex_unlock(&pool->lock);
}

/* Put what was submitted to the lists of its clients. */
static void sort_incoming_locked(struct worker *worker) REQUIRES(&worker->pool->lock)
{
    struct transfer *transfer;

    while ((transfer = TAILQ_FIRST(&worker->incoming)) != NULL) {
        struct lane *lane = transfer->lane;

        TAILQ_REMOVE(&worker->incoming, transfer, link);
        if (TAILQ_EMPTY(&lane->waiting)) {
            TAILQ_INSERT_TAIL(&worker->lanes, lane, link);
        }
        TAILQ_INSERT_TAIL(&lane->waiting, transfer, link);
    }
}

/* It waits no longer; its client's others come after those of all other clients. */
static void leave_lane(struct worker *worker, struct transfer *transfer)
{
    struct lane *lane = transfer->lane;

    TAILQ_REMOVE(&lane->waiting, transfer, link);
    TAILQ_REMOVE(&worker->lanes, lane, link);
    if (!TAILQ_EMPTY(&lane->waiting)) {
        TAILQ_INSERT_TAIL(&worker->lanes, lane, link);
    }
}

static void finish_active(struct worker *worker, struct transfer *transfer, CURLcode code)
{
    (void)curl_multi_remove_handle(worker->multi, transfer->easy);
    TAILQ_REMOVE(&worker->active, transfer, link);
    worker->active_count--;
    transfer->lane->active--;
    finish(worker, transfer, code);
}

static void fail_early(struct worker *worker, struct transfer *transfer, int error)
{
    transfer->callback_error = error;
    finish(worker, transfer, CURLE_OK);
}

static void start(struct worker *worker, struct transfer *transfer)
{
    struct transfer_options options = worker->pool->options;
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
    transfer->lane->active++;
}

/* Take one signalled transfer off the list; its flags are cleared. */
static struct transfer *next_signal(struct worker *worker, bool *cancelled, bool *resumed)
{
    struct transfer *transfer;

    mutex_lock(&worker->pool->lock);
    /* What was just submitted may be cancelled already: it has to be in our list by then. */
    sort_incoming_locked(worker);
    transfer = TAILQ_FIRST(&worker->signals);
    if (transfer != NULL) {
        TAILQ_REMOVE(&worker->signals, transfer, signal_link);
        transfer->signalled = false;
        *cancelled = transfer->cancelled;
        *resumed = transfer->resumed;
        transfer->resumed = false;
    }
    mutex_unlock(&worker->pool->lock);
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
                leave_lane(worker, transfer);
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

/* The first transfer of a client that is being freed, or NULL. */
static struct transfer *find_ending(struct worker *worker)
{
    struct transfer *transfer;
    struct lane *lane;

    TAILQ_FOREACH (lane, &worker->lanes, link) {
        if (atomic_load(&lane->client->stopping)) {
            return TAILQ_FIRST(&lane->waiting);
        }
    }
    TAILQ_FOREACH (transfer, &worker->active, link) {
        if (atomic_load(&transfer->lane->client->stopping)) {
            return transfer;
        }
    }
    return NULL;
}

static void end_transfer(struct worker *worker, struct transfer *transfer)
{
    if (transfer->easy == NULL) {
        leave_lane(worker, transfer);
        fail_early(worker, transfer, -ECANCELED);
    } else {
        transfer->callback_error = -ECANCELED;
        finish_active(worker, transfer, CURLE_OK);
    }
}

/* Move what was submitted to our own lists, and end what is of clients that are being freed.
 * Returns false when it is time to stop. */
static bool take_incoming(struct worker *worker)
{
    struct transfer *transfer;
    bool ending;
    bool go_on;

    mutex_lock(&worker->pool->lock);
    worker->woken = false;
    sort_incoming_locked(worker);
    worker->shared = worker->pool->clients > 1;
    ending = worker->pool->ending > 0;
    go_on = !worker->pool->stopping;
    mutex_unlock(&worker->pool->lock);
    while (ending && (transfer = find_ending(worker)) != NULL) {
        end_transfer(worker, transfer);
    }
    return go_on;
}

/* Whose turn it is, or NULL: nobody's who may. */
static struct lane *next_lane(const struct worker *worker)
{
    size_t left = worker->cap - worker->active_count;
    struct lane *best = TAILQ_FIRST(&worker->lanes);
    struct lane *lane;

    TAILQ_FOREACH (lane, &worker->lanes, link) {
        best = lane->active < best->active ? lane : best;
    }
    return best != NULL && left > 0 && (!worker->shared || best->active < 2 * left) ? best : NULL;
}

static void start_waiting(struct worker *worker)
{
    struct lane *lane;

    while ((lane = next_lane(worker)) != NULL) {
        struct transfer *transfer = TAILQ_FIRST(&lane->waiting);

        leave_lane(worker, transfer);
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

static struct transfer *find_late_waiting(struct worker *worker, uint64_t now)
{
    struct transfer *transfer = NULL;
    struct lane *lane;

    TAILQ_FOREACH (lane, &worker->lanes, link) {
        transfer = transfer == NULL ? find_late(&lane->waiting, now, false) : transfer;
    }
    return transfer;
}

static void end_late(struct worker *worker)
{
    uint64_t now = now_ms();
    struct transfer *transfer;

    while ((transfer = find_late_waiting(worker, now)) != NULL) {
        leave_lane(worker, transfer);
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
    struct lane *lane;

    (void)take_incoming(worker);
    while ((lane = TAILQ_FIRST(&worker->lanes)) != NULL) {
        end_transfer(worker, TAILQ_FIRST(&lane->waiting));
    }
    while ((transfer = TAILQ_FIRST(&worker->active)) != NULL) {
        end_transfer(worker, transfer);
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
    uint64_t longest = TAILQ_EMPTY(&worker->lanes) ? TICK_MS : WAITING_TICK_MS;
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

LOCK_UNCHECKED
void worker_init(struct worker *worker, struct pool *pool, size_t index, size_t cap)
{
    worker->pool = pool;
    worker->index = index;
    worker->epoll = -1;
    worker->wake = -1;
    worker->timer_ms = UINT64_MAX;
    worker->cap = cap > 0 ? cap : 1;
    TAILQ_INIT(&worker->incoming);
    TAILQ_INIT(&worker->signals);
    TAILQ_INIT(&worker->lanes);
    TAILQ_INIT(&worker->active);
}

int worker_start(struct worker *worker)
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

void worker_stop(struct worker *worker)
{
    if (worker->started) {
        worker_wake(worker);
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
