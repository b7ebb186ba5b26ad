/* SPDX-License-Identifier: Apache-2.0 */
#include "util/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Many arenas hold but a few names. */
enum { CHUNK_FIRST = 1024, CHUNK_MIN = 4096 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t len;  /* bytes at data */
    size_t used; /* multiple of the alignment */
    alignas(max_align_t) char data[];
};

static struct arena_chunk *chunk_for(struct arena *arena, size_t len)
{
    struct arena_chunk *chunk = arena->chunks;
    size_t least = chunk == NULL ? CHUNK_FIRST : CHUNK_MIN;
    size_t size = len > least ? len : least;

    if (chunk != NULL && chunk->len - chunk->used >= len) {
        return chunk;
    }
    chunk = calloc(1, sizeof(*chunk) + size);
    if (chunk == NULL) {
        return NULL;
    }
    chunk->len = size;
    if (arena->chunks != NULL && len > CHUNK_MIN / 2) { /* what has room left stays the first */
        chunk->next = arena->chunks->next;
        arena->chunks->next = chunk;
        return chunk;
    }
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t len)
{
    const size_t align = alignof(max_align_t);
    struct arena_chunk *chunk;
    size_t rounded;
    void *ret;

    if (len > arena->max - arena->used || __builtin_add_overflow(len, align - 1, &rounded)) {
        return NULL;
    }
    rounded &= ~(align - 1);
    chunk = chunk_for(arena, rounded);
    if (chunk == NULL) {
        return NULL;
    }
    ret = chunk->data + chunk->used;
    chunk->used += rounded;
    arena->used += len;
    return ret;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t len;

    return __builtin_mul_overflow(count, size, &len) ? NULL : arena_alloc(arena, len);
}

char *arena_strndup(struct arena *arena, const char *bytes, size_t len)
{
    char *copy = len < SIZE_MAX ? arena_alloc(arena, len + 1) : NULL;

    if (copy != NULL && len > 0) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    return text != NULL ? arena_strndup(arena, text, strlen(text)) : NULL;
}

static void free_chunks(struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;

        free(chunk);
        chunk = next;
    }
}

void arena_done(struct arena *arena)
{
    free_chunks(arena->chunks);
    arena->chunks = NULL;
    arena->used = 0;
}

void arena_reset(struct arena *arena)
{
    struct arena_chunk *kept = arena->chunks;

    if (kept == NULL || kept->len > CHUNK_MIN) {
        arena_done(arena);
        return;
    }
    free_chunks(kept->next);
    memset(kept->data, 0, kept->used);
    kept->used = 0;
    kept->next = NULL;
    arena->used = 0;
}
