/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objstore_call.h - the same operations, waiting for the answer.
 *
 * For programs whose threads may block (metaserver, tests, tools). objstore_call() submits a
 * request, waits, and copies the result into memory of its own:
 *
 *     CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
 *     struct objstore_request head = {.op = OBJSTORE_HEAD, .bucket = b, .key = k};
 *     int ret = objstore_call(store, &head, &answer);
 *
 * done and arg of the request are overwritten. Not from a store's callback.
 */
#ifndef OBJSTORE_OBJSTORE_CALL_H
#define OBJSTORE_OBJSTORE_CALL_H

#include "objstore/objstore.h"
#include "util/arena.h"
#include "util/buf.h"
#include "util/cleanup.h"

struct objstore_answer {
    struct objstore_result result; /* its pointers lead into `memory` */
    struct buf body;               /* GET without a sink: the bytes; set body.max to the limit */
    struct arena *memory;
};

#define OBJSTORE_ANSWER_INIT                                                                       \
    {                                                                                              \
        .body = BUF_INIT(64 * 1024 * 1024)                                                         \
    }

/* Returns result.status. */
int objstore_call(struct objstore *store, struct objstore_request *request,
                  struct objstore_answer *ret);
void objstore_answer_done(struct objstore_answer *answer);

/* The same for anything that takes such requests (lib/volume). */
typedef void objstore_submit_fn(void *target, struct objstore_request *request);

/*
 * Several at once: returns when all have been answered. answers[i] belongs to requests[i]. Returns
 * the first status that is not 0, in the order of the requests.
 */
int objstore_call_many_by(objstore_submit_fn *submit, void *target,
                          struct objstore_request *requests, struct objstore_answer *answers,
                          size_t count);
int objstore_call_by(objstore_submit_fn *submit, void *target, struct objstore_request *request,
                     struct objstore_answer *ret);

#endif
