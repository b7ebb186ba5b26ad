/* SPDX-License-Identifier: Apache-2.0 */
/*
 * retry.h - a store that tries again what failed for a passing reason.
 *
 * Tried again, after an exponential pause with full jitter, within the request's own timeout_ms:
 * -EBUSY, -ETIMEDOUT of one attempt, lost or refused connections, and -EIO; for up to 5 s also
 * -EKEYEXPIRED, as fresh keys may be on their way; up to four times what the store says has
 * arrived garbled (by our SHA-256, or a checksum that the request says is checked). A request whose
 * source can be neither kept nor rewound is not. All requests share a budget: every success pays in
 * a tenth of a retry, a retry that succeeds pays in itself, and so do 100 ms; who finds the budget
 * used up waits longer. So a store in trouble gets a tenth more load and ten tries a second, not a
 * multiple, and a storm of 503 is ridden out within the request's own timeout_ms.
 *
 * What a retry must not do:
 *   - GET goes on at the byte it had reached, under if_match with the first answer's ETag, and
 * info() is not called twice.
 *   - A write whose answer was lost may have happened. When the second attempt then fails for it
 *     (-EEXIST, -ESTALE, -ENOENT of the upload), the object is looked at: if it holds what was sent
 *     (by ETag), the request has succeeded.
 *
 * Owns the inner store. Contract and errors: objstore.h.
 */
#ifndef OBJSTORE_RETRY_H
#define OBJSTORE_RETRY_H

#include "objstore/objstore.h"

/* One try, as it ended. */
struct objstore_watched {
    enum objstore_op op;
    int status;       /* 0 or a negative errno value */
    const char *text; /* why it failed, for people; valid during the call */
    bool again;       /* it was not the first try */
    uint64_t ms;      /* since the first one began */
    uint64_t try_ms;  /* since this one did */
    uint64_t bytes;   /* of the object that it moved, if it succeeded; of a GET in any case */
};

struct objstore_retry_config {
    uint32_t tries;      /* attempts at most; 0: 10, which take about 10 s */
    uint32_t base_ms;    /* the first pause is up to this; doubles; 0: 50 */
    uint32_t cap_ms;     /* the longest; 0: 5000 */
    uint32_t budget;     /* retries that may be used at once; 0: 50 */
    uint32_t timeout_ms; /* of requests that name none; 0: 60000 */
    /* Told of every try, from the threads of the inner store, with no lock held; NULL: nobody. */
    void (*watch)(void *context, const struct objstore_watched *watched);
    void *watch_context;
};

/* `inner` becomes the new store's, also on failure. -ENOMEM. */
int objstore_retry_new(struct objstore *inner, const struct objstore_retry_config *config,
                       struct objstore **ret) __attribute__((warn_unused_result));

/* Retries made so far, and how often one had to wait for the budget. */
struct objstore_retry_stats {
    uint64_t retries;
    uint64_t refused;
};
void objstore_retry_get_stats(struct objstore *store, struct objstore_retry_stats *ret);

/* The store inside, for what only a backend can do (new credentials). */
struct objstore *objstore_retry_inner(struct objstore *store);

#endif
