/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hash.h - FNV-1a of 64 bits: a short name for bytes, against accident and not against malice.
 * Values are kept in memory that outlives a process and in databases, so the function never
 * changes. Pure.
 */
#ifndef UTIL_HASH_H
#define UTIL_HASH_H

#include <stddef.h>
#include <stdint.h>

/* What `hash` becomes when these bytes follow. */
static inline uint64_t hash_more(uint64_t hash, const void *data, size_t len)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

static inline uint64_t hash_bytes(const void *data, size_t len)
{
    return hash_more(UINT64_C(14695981039346656037), data, len);
}

#endif
