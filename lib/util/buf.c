/* SPDX-License-Identifier: Apache-2.0 */
#include "util/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_CAP_MIN = 256, BUF_CAP_SMALL = 1024 };

void buf_done(struct buf *b)
{
    free(b->data);
    *b = (struct buf)BUF_INIT(b->max);
}

void buf_wipe(struct buf *b)
{
    if (b->data != NULL) {
        explicit_bzero(b->data, b->cap);
    }
    buf_done(b);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->error = 0;
    if (b->data != NULL) {
        b->data[0] = '\0';
    }
}

/* The next capacity: twice the last (small: four times, as most end there), at least `need`, never
 * beyond the limit. */
static size_t next_cap(const struct buf *b, size_t need)
{
    size_t cap = b->cap > SIZE_MAX / 2 ? SIZE_MAX : b->cap * (b->cap < BUF_CAP_SMALL ? 4 : 2);

    if (cap < BUF_CAP_MIN) {
        cap = BUF_CAP_MIN;
    }
    if (cap > b->max + 1) {
        cap = b->max + 1;
    }
    return cap > need ? cap : need;
}

/* Make room for `extra` more bytes and the NUL, or set the error. */
static bool reserve(struct buf *b, size_t extra)
{
    assert(b->max < SIZE_MAX);
    assert(b->len <= b->max);

    if (b->error != 0) {
        return false;
    }
    if (extra > b->max - b->len) {
        b->error = -EFBIG;
        return false;
    }
    size_t need = b->len + extra + 1;
    if (need <= b->cap) {
        return true;
    }
    size_t cap = next_cap(b, need);
    char *data = realloc(b->data, cap);
    if (data == NULL) {
        b->error = -ENOMEM;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_add(struct buf *b, const void *bytes, size_t len)
{
    bool fits = b->error == 0 && len < b->cap - b->len; /* as nearly always */

    if (!fits && !reserve(b, len)) {
        return;
    }
    if (len > 0) { /* memcpy() from NULL is undefined even for 0 bytes */
        memcpy(b->data + b->len, bytes, len);
    }
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_addstr(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addf(struct buf *b, const char *format, ...)
{
    va_list args;

    size_t room = b->error == 0 ? b->cap - b->len : 0;

    va_start(args, format);
    int len = vsnprintf(room > 0 ? b->data + b->len : NULL, room, format, args);
    va_end(args);

    if (len < 0) {
        if (room > 0) {
            b->data[b->len] = '\0';
        }
        b->error = b->error != 0 ? b->error : -EILSEQ;
        return;
    }
    if ((size_t)len < room) {
        b->len += (size_t)len;
        return;
    }
    if (room > 0) {
        b->data[b->len] = '\0'; /* there was no room for all of it */
    }
    if (!reserve(b, (size_t)len)) {
        return;
    }
    va_start(args, format);
    int written = vsnprintf(b->data + b->len, (size_t)len + 1, format, args);
    va_end(args);

    assert(written == len);
    (void)written;
    b->len += (size_t)len;
}

int buf_detach(struct buf *b, char **ret, size_t *ret_len)
{
    buf_add(b, "", 0); /* an empty buffer detaches as "", not as NULL */
    if (b->error != 0) {
        return b->error;
    }
    *ret = b->data;
    if (ret_len != NULL) {
        *ret_len = b->len;
    }
    *b = (struct buf)BUF_INIT(b->max);
    return 0;
}
