/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker.h - the transfer threads of clients that share them; private to lib/http.
 *
 * A transfer moves through three lists of its worker:
 *
 *   incoming (any thread puts, under the pool's lock) -> waiting (the worker's own, a list for each
 *   client; no connection is free) -> active (in libcurl's multi handle) -> done()
 *
 * A pool is what clients share that were made beside each other: threads, connections, limits. Of
 * those that wait, the client with the fewest active ones is next, and none gets more than twice as
 * many connections as it leaves free: so there is one for a client that had nothing to do.
 *
 * cancel and resume from other threads set flags and put the transfer on the worker's signal list;
 * the worker acts on them between two rounds of libcurl, so that no callback can cross them. The
 * pool's lock guards incoming, signals, loads and request->client_private, and nothing is called
 * under it.
 *
 * A worker waits in epoll_wait() for its sockets, for libcurl's timer and for its eventfd (`wake`).
 * libcurl is told which socket is ready, so a round costs what is ready and not what is open; with
 * curl_multi_perform() each round would poll every transfer.
 */
#ifndef HTTP_WORKER_H
#define HTTP_WORKER_H

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "http/transfer.h"
#include "util/mutex.h"

enum { WORKERS_MAX = 64, SPARE_MAX = 64 };

TAILQ_HEAD(transfer_list, transfer);

/* A client's at one worker. The worker's own. */
struct lane {
    TAILQ_ENTRY(lane) link; /* of those where something waits */
    struct http_client *client;
    struct transfer_list waiting;
    size_t active;
};

struct worker {
    struct pool *pool;
    size_t index;
    pthread_t thread;
    bool started;
    CURLM *multi;
    CURLSH *share;
    int epoll;
    int wake;          /* eventfd */
    uint64_t timer_ms; /* when libcurl wants to be called; UINT64_MAX: not */
    size_t cap;        /* connections */

    struct transfer_list incoming GUARDED_BY(pool->lock);
    struct transfer_list signals GUARDED_BY(pool->lock);
    bool woken GUARDED_BY(pool->lock);  /* and has not looked at the lists since */
    size_t load GUARDED_BY(pool->lock); /* transfers not done yet */

    TAILQ_HEAD(, lane) lanes; /* the thread's own from here on */
    bool shared;              /* there is more than one client */
    struct transfer_list active;
    size_t active_count;
    CURL *spare[SPARE_MAX];
    size_t spare_count;
};

struct pool {
    struct mutex lock;
    struct cond idle; /* a client that is being freed has nothing under way any more */
    size_t clients GUARDED_BY(lock);
    size_t ending GUARDED_BY(lock); /* clients that are being freed beside others */
    bool stopping GUARDED_BY(lock);
    size_t max_queued;
    struct transfer_options options;
    char *strings[5]; /* what options point to */
    size_t worker_count;
    struct worker workers[WORKERS_MAX];
};

struct http_client {
    struct pool *pool;
    atomic_bool stopping;                  /* set under the pool's lock */
    size_t running GUARDED_BY(pool->lock); /* submitted, and done() has not come back yet */
    struct http_stats stats GUARDED_BY(pool->lock);
    struct lane lanes[]; /* one a worker */
};

/* Before anything else. `cap`: connections. */
void worker_init(struct worker *worker, struct pool *pool, size_t index, size_t cap);
/* 0 or a negative errno value; worker_stop() in any case, with the pool's `stopping` set. */
int worker_start(struct worker *worker) __attribute__((warn_unused_result));
void worker_stop(struct worker *worker);
/* Any thread: there is something in its lists. */
void worker_wake(struct worker *worker);

#endif
