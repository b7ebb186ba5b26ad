/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/read/window.h"

#include <stddef.h>
#include <string.h>

/*
 * GETs of all windows together: enough to fill many connections, few enough to cost little. Each
 * of several that share the memory has fewer, for its GETs would be too short to be worth one.
 */
enum { GETS_ALL = 32, GETS_MAX = 20, GETS_MIN = 4 };

static bool continues(const struct window_stream *s, uint64_t handle, uint64_t offset)
{
    uint64_t ahead = s->size > WINDOW_BACK ? s->size : s->size > 0 ? WINDOW_BACK : 0;

    return s->used_ms != 0 && s->handle == handle && offset <= s->next + ahead &&
           offset + (s->size > 0 ? WINDOW_BACK : 0) >= s->next;
}

/* The stream whose end is nearest to the offset, or NULL. */
static struct window_stream *find(struct windows *windows, uint64_t handle, uint64_t offset)
{
    struct window_stream *best = NULL;
    uint64_t best_far = UINT64_MAX;

    for (int i = 0; i < WINDOW_STREAMS; i++) {
        struct window_stream *s = &windows->streams[i];
        uint64_t far = offset > s->next ? offset - s->next : s->next - offset;

        if (far < best_far && continues(s, handle, offset)) {
            best = s;
            best_far = far;
        }
    }
    return best;
}

/* Random ones go first. */
static struct window_stream *victim(struct windows *windows)
{
    struct window_stream *worst = &windows->streams[0];

    for (int i = 1; i < WINDOW_STREAMS; i++) {
        struct window_stream *s = &windows->streams[i];
        bool both = (s->size == 0) == (worst->size == 0);

        if (both ? s->used_ms < worst->used_ms : s->size == 0) {
            worst = s;
        }
    }
    return worst;
}

struct window_stream *window_read(struct windows *windows, uint64_t handle, uint64_t offset,
                                  uint64_t len, uint64_t now_ms, uint64_t *ret_before_ms)
{
    struct window_stream *s = find(windows, handle, offset);

    if (s == NULL) {
        s = victim(windows);
        *s = (struct window_stream){
            .handle = handle,
            .next = offset + len,
            .asked = offset,
            .size = offset == 0 ? WINDOW_FIRST : 0,
            .grow_at = offset + len + 1, /* that the first bytes are not there tells nothing */
        };
    } else if (offset + len > s->next) {
        s->next = offset + len;
        s->size = s->size > WINDOW_FIRST ? s->size : s->size > 0 ? WINDOW_SECOND : WINDOW_FIRST;
    }
    *ret_before_ms = s->used_ms;
    s->used_ms = now_ms > 0 ? now_ms : 1;
    return s;
}

void window_bound(struct window_stream *stream, uint64_t limit, uint32_t streams)
{
    uint32_t gets = GETS_ALL / (streams > 0 ? streams : 1);

    stream->size = stream->size < limit ? stream->size : limit;
    stream->gets = gets < GETS_MIN ? GETS_MIN : gets > GETS_MAX ? GETS_MAX : gets;
}

void window_starved(struct window_stream *stream, uint64_t limit)
{
    uint64_t by;

    if (stream->size == 0 || stream->next < stream->grow_at) {
        return;
    }
    by = stream->size < WINDOW_FAST ? 4 : 2;
    stream->size = stream->size < limit / by ? stream->size * by : limit;
    stream->grow_at = stream->next + stream->size / 4;
}

bool window_next(struct window_stream *stream, uint64_t end, uint64_t grain, uint64_t *ret_offset,
                 uint64_t *ret_len)
{
    uint64_t get = stream->size / (stream->gets > 0 ? stream->gets : GETS_MAX);
    uint64_t here = stream->next / grain * grain;
    uint64_t from = stream->asked > here ? stream->asked : here;
    uint64_t to;

    if (stream->size == 0 || from >= end) {
        return false;
    }
    get = get < WINDOW_GET_MIN ? WINDOW_GET_MIN : get > WINDOW_GET_MAX ? WINDOW_GET_MAX : get;
    get = get < stream->size ? get : stream->size;
    to = (from + get) / grain * grain;
    to = to <= from ? from + grain : to;
    /* A GET is started when the window has room for it whole, so that there are few. */
    if (to > stream->next + stream->size && from > stream->next) {
        return false;
    }
    *ret_offset = from;
    *ret_len = (to < end ? to : end) - from;
    stream->asked = from + *ret_len;
    return true;
}
