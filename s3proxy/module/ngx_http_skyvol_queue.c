/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies that wait for memory. Many uploads at a time share a few large pieces; with a small one
 * each costs half as much again. So who finds none waits for his turn, as long as pieces come back,
 * while the client's bytes wait in the kernel. Everything here runs in the event loop.
 */
#include "s3proxy/module/ngx_http_skyvol.h"

enum { TICK_MS = 5, MOST_MS = 2000 };

static struct skyvol_request
    *resumed; /* by the tick: if it has to wait on, it is the first again */

void skyvol_queue_leave(struct skyvol_request *request)
{
    if (request->place.taken) {
        TAILQ_REMOVE(&skyvol_worker.queue, request, place.entry);
        request->place.taken = false;
    }
}

static void tick(ngx_event_t *event)
{
    struct skyvol_request *first;
    bool waits = false;

    while (!waits && (first = TAILQ_FIRST(&skyvol_worker.queue)) != NULL) {
        skyvol_queue_leave(first);
        resumed = first;
        skyvol_progress(first);
        waits = resumed == NULL;
        resumed = NULL;
    }
    if (waits && !event->timer_set) {
        ngx_add_timer(event, TICK_MS);
    }
}

void skyvol_queue_init(void)
{
    TAILQ_INIT(&skyvol_worker.queue);
    skyvol_worker.queue_tick.handler = tick;
    skyvol_worker.queue_tick.log = ngx_cycle->log;
}

static void enter(struct skyvol_request *request)
{
    struct skyvol_place *place = &request->place;

    if (resumed == request) {
        TAILQ_INSERT_HEAD(&skyvol_worker.queue, request, place.entry);
        resumed = NULL;
    } else if (!place->taken) {
        TAILQ_INSERT_TAIL(&skyvol_worker.queue, request, place.entry);
    }
    place->taken = true;
    if (place->since == 0) {
        place->since = ngx_current_msec;
        limits_count(skyvol_worker.server.limits, LIMITS_MEMORY);
    }
    if (!skyvol_worker.queue_tick.timer_set) {
        ngx_add_timer(&skyvol_worker.queue_tick, TICK_MS);
    }
}

/* Who is the first, or would be, goes as soon as there is memory, or no hope of any. */
static bool is_next(const struct skyvol_request *request)
{
    const struct skyvol_request *first = TAILQ_FIRST(&skyvol_worker.queue);

    return (first == NULL || first == request || resumed == request) &&
           spaces_chance(&skyvol_worker.spaces) != SPACES_SOON;
}

bool skyvol_queue_waits(struct skyvol_request *request)
{
    const struct skyvol_place *place = &request->place;
    bool long_enough = place->since != 0 && ngx_current_msec - place->since >= MOST_MS;

    if (!call_wants_large(request->call) || long_enough || is_next(request)) {
        skyvol_queue_leave(request);
        return false;
    }
    enter(request);
    return true;
}
