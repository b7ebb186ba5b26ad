/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/pipe.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096 };

void pipe_init(struct pipe *pipe, struct spaces *spaces)
{
    *pipe = (struct pipe){.end = 1, .most = PIPE_SIZE, .spaces = spaces};
    mutex_init(&pipe->lock);
}

static void drop_bytes(struct pipe *pipe)
{
    if (pipe->lent) {
        spaces_give(pipe->spaces, pipe->bytes, pipe->size);
    } else {
        free(pipe->bytes);
    }
}

void pipe_done(struct pipe *pipe)
{
    drop_bytes(pipe);
    mutex_done(&pipe->lock);
}

void pipe_expect(struct pipe *pipe, uint64_t total)
{
    mutex_lock(&pipe->lock);
    if (pipe->bytes == NULL && total < PIPE_SIZE) {
        /* Never so small that the byte that is held back fills it. */
        pipe->most = total > PIPE_LEAST ? (size_t)total : PIPE_LEAST;
    }
    mutex_unlock(&pipe->lock);
}

/* What is in it moves into other bytes. */
static void move_locked(struct pipe *pipe, char *bytes, size_t size, bool lent)
    REQUIRES(&pipe->lock)
{
    size_t first = pipe->size - pipe->start;

    first = pipe->len < first ? pipe->len : first;
    if (pipe->len > 0) {
        memcpy(bytes, pipe->bytes + pipe->start, first);
        memcpy(bytes + first, pipe->bytes, pipe->len - first);
    }
    drop_bytes(pipe);
    pipe->bytes = bytes;
    pipe->size = size;
    pipe->start = 0;
    pipe->lent = lent;
}

/* Room for so many bytes, as far as it can be had; -ENOMEM: not even the first. */
static int grow_locked(struct pipe *pipe, size_t wanted) REQUIRES(&pipe->lock)
{
    if (pipe->bytes == NULL) {
        size_t size = PIPE_FIRST;
        char *bytes = spaces_take(pipe->spaces, &size);

        if (bytes == NULL) {
            return -ENOMEM;
        }
        move_locked(pipe, bytes, size, true);
    }
    pipe->narrow = (pipe->narrow || pipe->refused || pipe->size - pipe->len < wanted) &&
                   pipe->size < pipe->most;
    if (pipe->out > 0 || pipe->placed) {
        return 0;
    }
    if (pipe->refused) { /* what somebody gives back is large */
        wanted = pipe->most - pipe->len;
    } else if (pipe->narrow && wanted <= pipe->size - pipe->len) {
        wanted = pipe->size - pipe->len + 1;
    }
    pipe->narrow = pipe->refused = false;
    while (pipe->size - pipe->len < wanted && pipe->size < pipe->most) {
        size_t size = wanted < pipe->most - pipe->len ? pipe->len + wanted : pipe->most;
        char *bytes = spaces_take(pipe->spaces, &size);

        if (bytes == NULL) { /* rather little than none */
            size = pipe->size + 1;
            bytes = spaces_take(pipe->spaces, &size);
        }
        if (bytes == NULL) {
            pipe->refused = true;
            break;
        }
        move_locked(pipe, bytes, size, true);
    }
    return 0;
}

static size_t room_locked(struct pipe *pipe, size_t held) REQUIRES(&pipe->lock)
{
    size_t room;

    /* Who does not fill half of what there is needs no more. */
    (void)grow_locked(pipe, held + (pipe->bytes != NULL ? pipe->size / 2 : 0));
    room = pipe->size - pipe->len;
    room = pipe->bytes != NULL ? room : PIPE_FIRST; /* no memory: the first write tells */
    room = room > held ? room - held : 0;
    pipe->writer_waits = room == 0;
    return room;
}

size_t pipe_room(struct pipe *pipe, size_t held)
{
    size_t room;

    mutex_lock(&pipe->lock);
    room = room_locked(pipe, held);
    mutex_unlock(&pipe->lock);
    return room;
}

bool pipe_wants_large(struct pipe *pipe)
{
    bool wants;

    mutex_lock(&pipe->lock);
    wants = pipe->bytes != NULL && pipe->size <= PIPE_FIRST && pipe->most > PIPE_FIRST &&
            pipe->out == 0 &&
            (pipe->narrow || pipe->refused || pipe->size - pipe->len < pipe->size / 2);
    mutex_unlock(&pipe->lock);
    return wants;
}

void *pipe_place(struct pipe *pipe, size_t *ret_len)
{
    char *place = NULL;
    size_t at, room;

    mutex_lock(&pipe->lock);
    pipe->placed = false;
    room = room_locked(pipe, 0);
    if (room > 0 && pipe->bytes != NULL) {
        at = (pipe->start + pipe->len) % pipe->size;
        place = pipe->bytes + at;
        *ret_len = room < pipe->size - at ? room : pipe->size - at;
        pipe->placed = true;
    }
    mutex_unlock(&pipe->lock);
    return place;
}

static ssize_t put_locked(struct pipe *pipe, const char *bytes, size_t len) REQUIRES(&pipe->lock)
{
    size_t at, first;

    if (grow_locked(pipe, len) != 0) {
        return -ENOMEM;
    }
    if (len > pipe->size - pipe->len) {
        len = pipe->size - pipe->len;
        pipe->writer_waits = true;
    }
    at = (pipe->start + pipe->len) % pipe->size;
    first = len < pipe->size - at ? len : pipe->size - at;
    if (bytes != pipe->bytes + at) {
        memcpy(pipe->bytes + at, bytes, first);
        memcpy(pipe->bytes, bytes + first, len - first);
    }
    pipe->len += len;
    pipe->placed = false;
    return (ssize_t)len;
}

ssize_t pipe_write(struct pipe *pipe, const void *bytes, size_t len)
{
    ssize_t n;

    mutex_lock(&pipe->lock);
    n = put_locked(pipe, bytes, len);
    mutex_unlock(&pipe->lock);
    return n;
}

/* A piece that would never fit otherwise. */
static int fit_locked(struct pipe *pipe, size_t len) REQUIRES(&pipe->lock)
{
    char *bytes;

    if (pipe->len > 0 || len <= pipe->size || len > PIPE_SIZE) {
        return 0;
    }
    bytes = malloc(len);
    if (bytes == NULL) {
        return -ENOMEM;
    }
    move_locked(pipe, bytes, len, false);
    return 0;
}

int pipe_write_all(struct pipe *pipe, const void *bytes, size_t len)
{
    ssize_t n;

    mutex_lock(&pipe->lock);
    n = grow_locked(pipe, len);
    n = n == 0 ? fit_locked(pipe, len) : n;
    if (n == 0 && len > pipe->size - pipe->len) {
        pipe->writer_waits = true;
        n = -EAGAIN;
    }
    n = n == 0 ? put_locked(pipe, bytes, len) : n;
    mutex_unlock(&pipe->lock);
    return n < 0 ? (int)n : 0;
}

static ssize_t take_locked(struct pipe *pipe, char *buffer, size_t cap, bool hold)
    REQUIRES(&pipe->lock)
{
    size_t there = hold && pipe->end == 1 && pipe->len > 0 ? pipe->len - 1 : pipe->len;
    size_t len = there < cap ? there : cap, first;

    if (pipe->end < 0) {
        return pipe->end;
    }
    if (len == 0) {
        pipe->reader_waits = pipe->end == 1;
        return pipe->end == 1 ? -EAGAIN : 0;
    }
    first = len < pipe->size - pipe->start ? len : pipe->size - pipe->start;
    memcpy(buffer, pipe->bytes + pipe->start, first);
    memcpy(buffer + first, pipe->bytes, len - first);
    pipe->start = (pipe->start + len) % pipe->size;
    pipe->len -= len;
    return (ssize_t)len;
}

ssize_t pipe_read(struct pipe *pipe, void *buffer, size_t cap, bool hold)
{
    ssize_t n;

    mutex_lock(&pipe->lock);
    n = take_locked(pipe, buffer, cap, hold);
    mutex_unlock(&pipe->lock);
    return n;
}

static ssize_t lend_locked(struct pipe *pipe, const void **ret) REQUIRES(&pipe->lock)
{
    size_t there = pipe->len - pipe->out, at;

    if (pipe->end < 0) {
        return pipe->end;
    }
    if (there > 0) {
        at = (pipe->start + pipe->out) % pipe->size;
        there -= pipe->end == 1 ? 1 : 0;
        there = there < pipe->size - at ? there : pipe->size - at;
        there -= pipe->end == 1 ? (at + there) % PAGE : 0;
        *ret = pipe->bytes + at;
    }
    pipe->out += there;
    pipe->reader_waits = there == 0 && pipe->end == 1;
    return pipe->reader_waits ? -EAGAIN : (ssize_t)there;
}

ssize_t pipe_lend(struct pipe *pipe, const void **ret, size_t *ret_window)
{
    ssize_t n;

    mutex_lock(&pipe->lock);
    n = lend_locked(pipe, ret);
    *ret_window = pipe->size;
    mutex_unlock(&pipe->lock);
    return n;
}

void pipe_release(struct pipe *pipe, size_t len)
{
    mutex_lock(&pipe->lock);
    assert(len <= pipe->out);
    pipe->start = len > 0 ? (pipe->start + len) % pipe->size : pipe->start;
    pipe->len -= len;
    pipe->out -= len;
    mutex_unlock(&pipe->lock);
}

void pipe_end(struct pipe *pipe, int error)
{
    mutex_lock(&pipe->lock);
    pipe->end = pipe->end == 1 ? error : pipe->end;
    mutex_unlock(&pipe->lock);
}

bool pipe_wake_writer(struct pipe *pipe)
{
    bool was;

    mutex_lock(&pipe->lock);
    was = pipe->writer_waits;
    pipe->writer_waits = false;
    mutex_unlock(&pipe->lock);
    return was;
}

bool pipe_wake_reader(struct pipe *pipe, size_t least)
{
    size_t there;
    bool wake;

    mutex_lock(&pipe->lock);
    there = pipe->len - pipe->out;
    wake = pipe->reader_waits &&
           (there >= least || there >= (pipe->size - pipe->out) / 2 || pipe->end != 1);
    pipe->reader_waits = pipe->reader_waits && !wake;
    mutex_unlock(&pipe->lock);
    return wake;
}
