/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipe.h - a bounded queue of bytes between a store's thread and the event loop.
 *
 * The last byte is held back until pipe_end(): what reads cannot be finished before the writer has
 * said that all was right. Any thread; one that writes and one that reads.
 *
 * It begins with PIPE_FIRST bytes, and grows to PIPE_SIZE while the spaces of its worker last.
 */
#ifndef S3PROXY_PIPE_H
#define S3PROXY_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "s3proxy/spaces.h"
#include "util/mutex.h"

enum { PIPE_SIZE = SPACES_LARGEST, PIPE_FIRST = SPACES_SMALL, PIPE_LEAST = 4096 };

struct pipe {
    struct mutex lock;     /* of all below; taken before that of the spaces */
    struct spaces *spaces; /* to grow from */
    char *bytes;           /* NULL until there is something to write */
    size_t most;           /* it need not become larger */
    size_t size, start, len;
    size_t out;   /* the first of them, which the reader has borrowed */
    bool placed;  /* the writer has a place in it: it must not move */
    bool narrow;  /* it would have grown if it could have moved, */
    bool refused; /* or if there had been memory for it */
    bool lent;    /* `bytes` are of the spaces */
    int end;      /* 1: open; 0: ended well; negative errno value */
    bool writer_waits, reader_waits;
};

/* The spaces outlive it. */
void pipe_init(struct pipe *pipe, struct spaces *spaces);
void pipe_done(struct pipe *pipe);

/* Before the first write: no more than so many bytes will come in all. */
void pipe_expect(struct pipe *pipe, uint64_t total);
/* How much can be put in now beside `held` bytes; the writer is woken when it was none. */
size_t pipe_room(struct pipe *pipe, size_t held);
/* Whether it is as small as it began, and will grow with the next bytes if it can. */
bool pipe_wants_large(struct pipe *pipe);
/* Put in as much as there is room for: bytes taken, 0 when full, or -ENOMEM. */
ssize_t pipe_write(struct pipe *pipe, const void *bytes, size_t len);
/* As pipe_write(), but all or nothing: 0, -EAGAIN or -ENOMEM. At most PIPE_SIZE; an empty pipe
 * takes them, whatever the spaces say. */
int pipe_write_all(struct pipe *pipe, const void *bytes, size_t len)
    __attribute__((warn_unused_result));
/* Where the next bytes may be put, to be told by a pipe_write() of them: as pipe_room(), but no
 * more than lie in a row. NULL: none. */
void *pipe_place(struct pipe *pipe, size_t *ret_len);
/* Bytes, 0 at the end, -EAGAIN when there is none now, or what pipe_end() was given. `hold`: keep
 * the last byte back while the pipe is open. */
ssize_t pipe_read(struct pipe *pipe, void *buffer, size_t cap, bool hold);
/* The same without a copy, in whole pages while the pipe is open, the last byte kept back: they lie
 * at *ret until they are released. Who reads so does it always. *ret_window: how many can be lent
 * at a time. */
ssize_t pipe_lend(struct pipe *pipe, const void **ret, size_t *ret_window);
void pipe_release(struct pipe *pipe, size_t len);
/* 0 for all written, or a negative errno value; the first call counts. */
void pipe_end(struct pipe *pipe, int error);
/* True once after the other side was refused: it wants to be woken. */
bool pipe_wake_writer(struct pipe *pipe);
/* `least`: not for fewer new bytes than that, while there is room for more. */
bool pipe_wake_reader(struct pipe *pipe, size_t least);

#endif
