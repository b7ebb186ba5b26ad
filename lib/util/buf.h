/* SPDX-License-Identifier: Apache-2.0 */
/*
 * buf.h - growable byte buffer with a size limit and a sticky error.
 *
 * Building a request is a run of appends; only the end result matters. So
 * the appends return nothing: the first failure is remembered, later appends
 * do nothing, and the caller asks once:
 *
 *     CLEANUP(buf_done) struct buf b = BUF_INIT(64 * 1024);
 *
 *     buf_addf(&b, "GET /%s HTTP/1.1\r\n", key);
 *     buf_addstr(&b, "Host: ");
 *     buf_addstr(&b, host);
 *     buf_addstr(&b, "\r\n\r\n");
 *     if (buf_error(&b) < 0) {
 *         return buf_error(&b);
 *     }
 *
 * The content may hold NUL bytes; one more NUL always follows it.
 * Not thread-safe: a buffer belongs to one thread at a time.
 */
#ifndef UTIL_BUF_H
#define UTIL_BUF_H

#include <stddef.h>

/* Read the members through the functions below; only buf.c writes them. */
struct buf {
    char *data; /* NULL until the first append */
    size_t len;
    size_t cap; /* bytes allocated at data, the final NUL included */
    size_t max; /* content may not grow beyond this many bytes */
    int error;  /* 0, -EFBIG (limit), -ENOMEM, or -EILSEQ (bad format) */
};

/* Every buffer has a limit: one that can grow for ever is a denial of service. */
#define BUF_INIT(limit)                                                                            \
    {                                                                                              \
        .max = (limit)                                                                             \
    }

/* Free the content. The buffer is then empty, without error, and usable again. */
void buf_done(struct buf *b);

/* The same of one that has held a secret: its bytes are overwritten first. */
void buf_wipe(struct buf *b);

/* Empty the buffer and clear its error, but keep the memory for the next use. */
void buf_reset(struct buf *b);

void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_addstr(struct buf *b, const char *s);
void buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* 0, or the first error since the buffer was initialised or reset. */
static inline int buf_error(const struct buf *b)
{
    return b->error;
}

static inline size_t buf_len(const struct buf *b)
{
    return b->len;
}

/* The content as a C string, "" when empty; valid until the next change. */
static inline const char *buf_str(const struct buf *b)
{
    return b->data != NULL ? b->data : "";
}

/*
 * Move the content out. On success *ret is a NUL-terminated string of *ret_len
 * bytes that the caller frees, and the buffer is empty. ret_len may be NULL.
 * On failure returns the buffer's error (or -ENOMEM); outputs stay untouched.
 */
int buf_detach(struct buf *b, char **ret, size_t *ret_len) __attribute__((warn_unused_result));

#endif
