/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/pipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void pipe_init(struct pipe *pipe)
{
    *pipe = (struct pipe){.end = 1, .size = PIPE_SIZE};
    mutex_init(&pipe->lock);
}

void pipe_done(struct pipe *pipe)
{
    free(pipe->bytes);
    mutex_done(&pipe->lock);
}

void pipe_expect(struct pipe *pipe, uint64_t total)
{
    mutex_lock(&pipe->lock);
    if (pipe->bytes == NULL && total < PIPE_SIZE) {
        /* Never so small that the byte that is held back fills it. */
        pipe->size = total > PIPE_LEAST ? (size_t)total : PIPE_LEAST;
    }
    mutex_unlock(&pipe->lock);
}

size_t pipe_room(struct pipe *pipe, size_t held)
{
    size_t room;

    mutex_lock(&pipe->lock);
    room = pipe->size - pipe->len;
    room = room > held ? room - held : 0;
    pipe->writer_waits = room == 0;
    mutex_unlock(&pipe->lock);
    return room;
}

static ssize_t put_locked(struct pipe *pipe, const char *bytes, size_t len) REQUIRES(&pipe->lock)
{
    size_t at, first;

    if (pipe->bytes == NULL) {
        pipe->bytes = malloc(pipe->size);
        if (pipe->bytes == NULL) {
            return -ENOMEM;
        }
    }
    if (len > pipe->size - pipe->len) {
        len = pipe->size - pipe->len;
        pipe->writer_waits = true;
    }
    at = (pipe->start + pipe->len) % pipe->size;
    first = len < pipe->size - at ? len : pipe->size - at;
    memcpy(pipe->bytes + at, bytes, first);
    memcpy(pipe->bytes, bytes + first, len - first);
    pipe->len += len;
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

int pipe_write_all(struct pipe *pipe, const void *bytes, size_t len)
{
    ssize_t n = -EAGAIN;

    mutex_lock(&pipe->lock);
    if (len > pipe->size - pipe->len) {
        pipe->writer_waits = true;
    } else {
        n = put_locked(pipe, bytes, len);
    }
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

void pipe_end(struct pipe *pipe, int error)
{
    mutex_lock(&pipe->lock);
    pipe->end = pipe->end == 1 ? error : pipe->end;
    mutex_unlock(&pipe->lock);
}

static bool wake(struct pipe *pipe, bool *flag)
{
    bool was;

    mutex_lock(&pipe->lock);
    was = *flag;
    *flag = false;
    mutex_unlock(&pipe->lock);
    return was;
}

bool pipe_wake_writer(struct pipe *pipe)
{
    return wake(pipe, &pipe->writer_waits);
}

bool pipe_wake_reader(struct pipe *pipe)
{
    return wake(pipe, &pipe->reader_waits);
}
