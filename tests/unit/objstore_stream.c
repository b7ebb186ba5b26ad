/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore_stream.h"

#include <errno.h>
#include <string.h>

/* Every other call says -EAGAIN, so that pausing and going on are part of each transfer. */
static bool pauses(struct stream *s)
{
    bool now;

    mutex_lock(&s->lock);
    now = s->stall || !s->paused;
    s->paused = now;
    if (now) {
        cond_signal(&s->changed);
    }
    mutex_unlock(&s->lock);
    return now;
}

ssize_t stream_read(struct objstore_request *r, void *buffer, size_t cap)
{
    struct stream *s = r->arg;
    size_t n = s->size - s->sent;

    if (pauses(s)) {
        return -EAGAIN;
    }
    n = n > cap ? cap : n;
    n = n > 100000 ? 100000 : n;
    memset(buffer, 'p', n);
    s->sent += n;
    return (ssize_t)n;
}

int stream_write(struct objstore_request *r, const void *data, size_t len)
{
    struct stream *s = r->arg;

    if (pauses(s)) {
        return -EAGAIN;
    }
    buf_add(&s->body, data, len);
    return 0;
}

static void stream_done(struct objstore_request *r, const struct objstore_result *result)
{
    struct stream *s = r->arg;

    mutex_lock(&s->lock);
    s->status = result->status;
    s->ended = true;
    cond_signal(&s->changed);
    mutex_unlock(&s->lock);
}

int stream_run(struct objstore *one, struct stream *s, bool cancel)
{
    mutex_init(&s->lock);
    cond_init(&s->changed);
    s->request.done = stream_done;
    s->request.arg = s;
    objstore_submit(one, &s->request);
    mutex_lock(&s->lock);
    while (!s->ended) {
        bool paused = s->paused;

        if (!paused) {
            cond_wait_ms(&s->changed, &s->lock, 1000);
            continue;
        }
        mutex_unlock(&s->lock);
        if (cancel) {
            objstore_cancel(one, &s->request);
        } else {
            objstore_resume(one, &s->request);
        }
        mutex_lock(&s->lock);
        if (s->paused && !s->ended) {
            cond_wait_ms(&s->changed, &s->lock, 20);
        }
    }
    mutex_unlock(&s->lock);
    cond_done(&s->changed);
    mutex_done(&s->lock);
    return s->status;
}
