/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arena.h - memory of one request or result, freed as a whole.
 *
 *     struct arena arena = ARENA_INIT(1 << 20);
 *     char *key = arena_strdup(&arena, text);        NULL: limit or memory
 *     arena_done(&arena);
 *
 * Pointers stay valid until arena_done(), also when the struct itself is moved. Nothing is freed
 * singly. The limit counts the bytes handed out. An arena belongs to one thread at a time.
 */
#ifndef UTIL_ARENA_H
#define UTIL_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* the first has room left, or none has */
    size_t used;                /* bytes handed out */
    size_t max;
};

#define ARENA_INIT(limit)                                                                          \
    {                                                                                              \
        .max = (limit)                                                                             \
    }

/* Zeroed and aligned for any type; NULL when the limit or memory is exhausted. len 0 gives a
 * pointer that must not be dereferenced. */
void *arena_alloc(struct arena *arena, size_t len) __attribute__((warn_unused_result));

/* An array of count elements, overflow-checked. */
void *arena_array(struct arena *arena, size_t count, size_t size)
    __attribute__((warn_unused_result));

/* A NUL-terminated copy; NULL stays NULL. */
char *arena_strdup(struct arena *arena, const char *text) __attribute__((warn_unused_result));
char *arena_strndup(struct arena *arena, const char *bytes, size_t len)
    __attribute__((warn_unused_result));

/* Free everything; the arena is empty and usable again. */
void arena_done(struct arena *arena);

/* The same, but a little memory is kept for the next use. arena_done() must follow some time. */
void arena_reset(struct arena *arena);

#endif
