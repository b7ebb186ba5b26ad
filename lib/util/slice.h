/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slice.h - a view of bytes that somebody else owns.
 *
 * A slice is passed by value and never freed; it is valid as long as the bytes it looks at.
 * The bytes need not end in NUL and may hold NUL.
 */
#ifndef UTIL_SLICE_H
#define UTIL_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *data; /* may be NULL when len is 0 */
    size_t len;
};

static inline struct slice slice_of(const char *s)
{
    return (struct slice){.data = s, .len = s != NULL ? strlen(s) : 0};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_eq_str(struct slice a, const char *b)
{
    return slice_eq(a, slice_of(b));
}

static inline bool slice_starts_with(struct slice a, struct slice prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.data, prefix.data, prefix.len) == 0);
}

/* Without the spaces and tabs at both ends. */
static inline struct slice slice_trim(struct slice s)
{
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t')) {
        s.data++;
        s.len--;
    }
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t')) {
        s.len--;
    }
    return s;
}

#endif
