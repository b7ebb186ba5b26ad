/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slots.h - where requests lie from read(2) until they are answered, in kept memory.
 *
 * A slot is occupied exactly when its first word (fuse_in_header.len) is not 0. The kernel itself
 * sets that word when it copies the request into the slot, so there is no moment at which a
 * request has left the kernel and is not in a slot. Freeing stores 0 there, after the answer.
 *
 * Two sizes: readers own a large slot (1 MiB of payload) while they wait in read(2). A small
 * request is then moved to a small slot: copied, made valid, and only then freed in the large one.
 * A kill in between leaves both; slots_occupied() reports the pair once, as both carry one unique.
 *
 * The pages a reader's slot may need are touched before the read: the kernel copies into present
 * pages without looking at signals, while a fault inside read(2) of a killed process would end the
 * request with EIO. Large slots beyond the few in use give their pages back.
 *
 * Should that happen all the same, the slot holds half a request that the kernel has answered. So
 * each page of a large slot but the first begins with a mark until the request covers it: a mark
 * that is left within the request's length tells that the rest never came (slots_torn()).
 *
 * Threads: any; the free lists are under a lock of their own, a slot belongs to who took it.
 */
#ifndef MOUNTER_SLOTS_H
#define MOUNTER_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mounter/kept/keep.h"
#include "util/cleanup.h"
#include "util/error.h"

struct slots;

enum {
    SLOT_SMALL_SIZE = 4096,
    SLOT_LARGE_SIZE = (1 << 20) + 4096,
    SLOT_NONE = -1,
};

/*
 * Lays out the kept region "slots", or adopts the one that is there (its own numbers then win).
 * Errors: -EINVAL, -ENOMEM, -EUCLEAN (the region is not one of ours), those of keep_region().
 */
int slots_new(struct keep *keep, unsigned small, unsigned large, struct slots **ret,
              struct error *err) __attribute__((warn_unused_result));
void slots_free(struct slots *slots);
DEFINE_CLEANUP(struct slots *, slots_free);

/* Indices run over small slots first, then large ones. */
unsigned slots_count(const struct slots *slots);
void *slots_data(const struct slots *slots, int index);
size_t slots_size(const struct slots *slots, int index);

/* A free large slot, empty and with its pages present; waits at most timeout_ms. -ETIMEDOUT. */
int slots_take(struct slots *slots, uint64_t timeout_ms, int *ret)
    __attribute__((warn_unused_result));

/* Move a small request out of a large slot if there is room; returns where it is now. */
int slots_settle(struct slots *slots, int index);

/* Mark the slot empty for a successor, but keep its bytes: somebody may still be reading them. */
void slots_clear(struct slots *slots, int index);

/* Clear and give back for the next request. */
void slots_release(struct slots *slots, int index);

/* Free slots give their memory back: nothing has happened for a while. -ENOMEM. */
int slots_cool(struct slots *slots) __attribute__((warn_unused_result));

/* The request in this slot was not read to its end when the predecessor died. */
bool slots_torn(const struct slots *slots, int index);

/*
 * The occupied slots of a predecessor, ordered by unique, each unique once; `ret` has room for
 * slots_count(). Returns how many, or -ENOMEM. To be called once, before the first slots_take().
 */
int slots_occupied(struct slots *slots, int *ret) __attribute__((warn_unused_result));

#endif
