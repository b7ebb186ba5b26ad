/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objstore_backend.h - what a backend or a wrapper implements. Callers use objstore.h.
 *
 * A backend embeds `struct objstore`, points it to a constant table, and gets back to its own
 * structure with container_of(). objstore.c has checked the arguments before submit() is called.
 * A wrapper (retry, faults, measured) owns an inner store and passes requests on: it submits a
 * request of its own, copied from the caller's, so that request->store_private is never shared.
 * cancel() and resume() never call done() themselves: a wrapper's done() waits for those that run.
 */
#ifndef OBJSTORE_OBJSTORE_BACKEND_H
#define OBJSTORE_OBJSTORE_BACKEND_H

#include <stdatomic.h>

#include "objstore/objstore.h"

struct objstore_ops {
    void (*submit)(struct objstore *store, struct objstore_request *request);
    /* objstore_now(), for a valid GET or HEAD; NULL: never. A wrapper may hand the request itself
     * to its inner store, as it is over when that returns. */
    bool (*now)(struct objstore *store, struct objstore_request *request);
    void (*cancel)(struct objstore *store, struct objstore_request *request);
    void (*resume)(struct objstore *store, struct objstore_request *request);
    void (*free)(struct objstore *store);
};

struct objstore {
    const struct objstore_ops *ops;
    char *name; /* freed by objstore_base_done() */
    /* What objstore_changes() tells; a wrapper's is that of its inner store. NULL: nothing. */
    const atomic_uint_least64_t *changes;
};

/* Set up the embedded base; the name is formatted and kept. 0 or -ENOMEM. */
int objstore_base_init(struct objstore *store, const struct objstore_ops *ops, const char *format,
                       ...) __attribute__((warn_unused_result, format(printf, 3, 4)));
void objstore_base_done(struct objstore *store);

/* End a request with an error and a text. */
void objstore_fail(struct objstore_request *request, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
