/* SPDX-License-Identifier: Apache-2.0 */
/*
 * window.h - how far to read ahead of the readers of one file.
 *
 * Each handle may read at several places at once; a place that moves forward is a stream. A stream
 * has a window: bytes to have, or to have asked for, beyond what was read last. The window starts
 * small, grows when the reader had to wait for bytes that were too late, and is bounded by what
 * memory allows. Reads that continue no stream are random and get nothing ahead.
 *
 * No I/O, no clock, no lock: whoever calls guards it.
 */
#ifndef MOUNTER_WINDOW_H
#define MOUNTER_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

enum {
    WINDOW_STREAMS = 8,       /* of one file; the one unused for longest gives way */
    WINDOW_FIRST = 1 << 20,   /* of a reader that begins at the file's start */
    WINDOW_SECOND = 8 << 20,  /* once it goes on */
    WINDOW_FAST = 16 << 20,   /* up to here it grows fourfold: each step costs a round trip */
    WINDOW_GET_MIN = 1 << 20, /* bytes of one GET ahead */
    WINDOW_GET_MAX = 8 << 20,
    WINDOW_BACK = 1 << 20, /* reads of one stream come in disorder by so much */
};

struct window_stream {
    uint64_t handle;
    uint64_t next;    /* where the reader is expected to go on */
    uint64_t asked;   /* GETs have been started up to here */
    uint64_t size;    /* of the window; 0: random so far */
    uint64_t grow_at; /* `next` before which it does not grow again */
    uint64_t used_ms; /* 0: no stream */
    uint32_t gets;    /* that share its window; 0: not told yet */
};

struct windows {
    struct window_stream streams[WINDOW_STREAMS];
};

/* A handle reads [offset, offset + len). Returns its stream; *ret_before_ms: its last read. */
struct window_stream *window_read(struct windows *windows, uint64_t handle, uint64_t offset,
                                  uint64_t len, uint64_t now_ms, uint64_t *ret_before_ms);

/* So many bytes it may have, as one of so many streams. */
void window_bound(struct window_stream *stream, uint64_t limit, uint32_t streams);

/* The reader has to wait for bytes. */
void window_starved(struct window_stream *stream, uint64_t limit);

/*
 * The next range to be asked for ahead, if it is time: at most to `end` (the object's). Moves
 * stream->asked on. `grain`: ranges begin at and have multiples of it (but at the end).
 */
bool window_next(struct window_stream *stream, uint64_t end, uint64_t grain, uint64_t *ret_offset,
                 uint64_t *ret_len);

#endif
