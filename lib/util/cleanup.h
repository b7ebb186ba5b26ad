/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleanup.h - release a resource when the variable that owns it leaves scope.
 *
 * Use this for every owning local variable; keep `goto out` for the rare
 * function that must undo steps in reverse order. TAKE() hands ownership on:
 *
 *     AUTOFREE char *name = strdup(arg);
 *     if (name == NULL) {
 *         return -ENOMEM;
 *     }
 *     volume->name = TAKE(name);
 */
#ifndef UTIL_CLEANUP_H
#define UTIL_CLEANUP_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Return the value of the pointer variable `p` and set `p` to NULL. */
#define TAKE(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })

/* Define `fn##_p`, the form of destructor `fn` that CLEANUP() wants. */
#define DEFINE_CLEANUP(type, fn)                                                                   \
    static inline void fn##_p(type *p)                                                             \
    {                                                                                              \
        fn(*p);                                                                                    \
    }                                                                                              \
    struct fn##_p_needs_a_semicolon

static inline void cleanup_free(void *variable)
{
    void *p;

    memcpy(&p, variable, sizeof(p)); /* any pointer type, without an aliasing cast */
    free(p);
}
#define AUTOFREE CLEANUP(cleanup_free)

static inline void cleanup_close(const int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}
#define AUTOCLOSE CLEANUP(cleanup_close)

/* Return the descriptor in `*fd` and set it to -1: TAKE() for AUTOCLOSE. */
static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

#endif
