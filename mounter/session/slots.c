/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/session/slots.h"

#include <assert.h>
#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "util/clock.h"
#include "util/log.h"
#include "util/mutex.h"
#include "util/random.h"

/*
 * The region: one page of header, the small slots, the large slots. What is kept says only which
 * slots are occupied; the free lists are this process's and are built from that at adoption.
 *
 * Life of a slot, by what its first word and the free list say:
 *
 *   free (0, listed) --take--> reader's (0, unlisted) --read(2)--> occupied (len, unlisted)
 *        ^                          |                                  |       |
 *        +------- release ----------+<------------- release -----------+   slots_clear
 *                                   ^                                          |
 *                                   +---- release ---- answered (0, unlisted) <+
 *
 * A large slot is hot while its pages are present in this process. Free hot slots stand before free
 * cold ones, so that the few slots that readers need are used again and again and the rest holds no
 * memory.
 */
enum {
    HEADER_SIZE = 4096,
    LAYOUT_VERSION = 2,
    SMALL_MAX = 65536,
    LARGE_MAX = 4096,
    PAGE = 4096,
};
static const uint64_t magic = 0x736b79736c6f7473U; /* "skyslots" */
static const uint64_t resend_bit = 1ULL << 63;

struct layout {
    uint64_t magic; /* written last, so a half-made header is none */
    uint32_t version;
    uint32_t small;
    uint32_t large;
    uint64_t mark; /* random: no payload has it */
};

struct slots {
    struct keep_region region;
    unsigned small; /* constant */
    unsigned large; /* constant */
    uint64_t mark;  /* constant */
    unsigned hot_max;

    struct mutex lock;
    struct cond freed;
    int *free_small GUARDED_BY(lock); /* stack */
    unsigned free_small_count GUARDED_BY(lock);
    int *free_large GUARDED_BY(lock); /* cold ones first, the hot ones on top */
    unsigned free_large_count GUARDED_BY(lock);
    unsigned free_hot_count GUARDED_BY(lock);
    bool *warmed; /* of each slot: its pages are in this process's page table; its owner's to see */
};

unsigned slots_count(const struct slots *slots)
{
    return slots->small + slots->large;
}

static bool is_small(const struct slots *slots, int index)
{
    return (unsigned)index < slots->small;
}

static size_t offset_of(const struct slots *slots, int index)
{
    size_t i = (size_t)index;

    assert(index >= 0 && i < slots_count(slots));
    if (is_small(slots, index)) {
        return HEADER_SIZE + i * SLOT_SMALL_SIZE;
    }
    return HEADER_SIZE + slots->small * (size_t)SLOT_SMALL_SIZE +
           (i - slots->small) * SLOT_LARGE_SIZE;
}

void *slots_data(const struct slots *slots, int index)
{
    return (char *)slots->region.data + offset_of(slots, index);
}

size_t slots_size(const struct slots *slots, int index)
{
    return is_small(slots, index) ? SLOT_SMALL_SIZE : SLOT_LARGE_SIZE;
}

static _Atomic uint32_t *length_of(const struct slots *slots, int index)
{
    return (_Atomic uint32_t *)slots_data(slots, index);
}

void slots_clear(struct slots *slots, int index)
{
    atomic_store_explicit(length_of(slots, index), 0, memory_order_release);
}

/* Construction */

static size_t region_size(unsigned small, unsigned large)
{
    return HEADER_SIZE + small * (size_t)SLOT_SMALL_SIZE + large * (size_t)SLOT_LARGE_SIZE;
}

static int lay_out(struct slots *slots, unsigned small, unsigned large, struct error *err)
{
    struct layout *layout = slots->region.data;

    if (atomic_load((_Atomic uint64_t *)&layout->magic) == 0) {
        layout->version = LAYOUT_VERSION;
        layout->small = small;
        layout->large = large;
        random_bytes(&layout->mark, sizeof(layout->mark));
        atomic_store((_Atomic uint64_t *)&layout->magic, magic);
    }
    if (layout->magic != magic || layout->version != LAYOUT_VERSION || layout->small == 0 ||
        layout->small > SMALL_MAX || layout->large == 0 || layout->large > LARGE_MAX ||
        region_size(layout->small, layout->large) > slots->region.size) {
        return error_set(err, -EUCLEAN, "request slots: not laid out by this version");
    }
    slots->small = layout->small;
    slots->large = layout->large;
    slots->mark = layout->mark;
    return 0;
}

static bool is_occupied(const struct slots *slots, int index)
{
    size_t offset = offset_of(slots, index);

    /* A slot that was never used, or was punched, is not made a page of by looking at it. */
    return keep_next_data(&slots->region, offset) < offset + PAGE &&
           atomic_load(length_of(slots, index)) != 0;
}

LOCK_UNCHECKED
static void list_free_slots(struct slots *slots)
{
    for (unsigned i = slots_count(slots); i-- > 0;) {
        if (is_occupied(slots, (int)i)) {
            continue;
        }
        if (i < slots->small) {
            slots->free_small[slots->free_small_count++] = (int)i;
        } else {
            slots->free_large[slots->free_large_count++] = (int)i;
        }
    }
}

LOCK_UNCHECKED
int slots_new(struct keep *keep, unsigned small, unsigned large, struct slots **ret,
              struct error *err)
{
    CLEANUP(slots_free_p) struct slots *slots = NULL;
    int r;

    if (small == 0 || small > SMALL_MAX || large == 0 || large > LARGE_MAX) {
        return error_set(err, -EINVAL, "request slots: %u small and %u large are out of range",
                         small, large);
    }
    slots = calloc(1, sizeof(*slots));
    if (slots == NULL) {
        return -ENOMEM;
    }
    mutex_init(&slots->lock);
    cond_init(&slots->freed);
    r = keep_region(keep, "slots", region_size(small, large), &slots->region, err);
    if (r < 0) {
        return r;
    }
    r = lay_out(slots, small, large, err);
    if (r < 0) {
        return r;
    }
    slots->hot_max = slots->large < 8 ? slots->large : 8;
    slots->free_small = calloc(slots->small, sizeof(int));
    slots->free_large = calloc(slots->large, sizeof(int));
    slots->warmed = calloc(slots_count(slots), sizeof(bool));
    if (slots->free_small == NULL || slots->free_large == NULL || slots->warmed == NULL) {
        return -ENOMEM;
    }
    list_free_slots(slots);
    *ret = TAKE(slots);
    return 0;
}

LOCK_UNCHECKED
void slots_free(struct slots *slots)
{
    if (slots == NULL) {
        return;
    }
    free(slots->free_small);
    free(slots->free_large);
    free(slots->warmed);
    cond_done(&slots->freed);
    mutex_done(&slots->lock);
    free(slots);
}

/* Taking and giving back */

/* Make every page of the slot present and writable, without changing a byte. */
static void warm(const struct slots *slots, int index)
{
    char *data = slots_data(slots, index);

#ifdef MADV_POPULATE_WRITE
    if (madvise(data, SLOT_LARGE_SIZE, MADV_POPULATE_WRITE) == 0) {
        return;
    }
#endif
    for (size_t i = 0; i < SLOT_LARGE_SIZE; i += PAGE) {
        atomic_fetch_or((_Atomic uint32_t *)(void *)(data + i), 0U);
    }
}

/* The first word of a page, by its number in the slot. */
static uint64_t *word_of(const struct slots *slots, int index, size_t page)
{
    return (uint64_t *)(void *)((char *)slots_data(slots, index) + page * PAGE);
}

/* `all`: nothing is known of the pages; else a request has covered them from the first one on. */
static void set_marks(struct slots *slots, int index, bool all)
{
    for (size_t page = 1; page < SLOT_LARGE_SIZE / PAGE; page++) {
        uint64_t *word = word_of(slots, index, page);

        if (*word == slots->mark + page && !all) {
            break;
        }
        *word = slots->mark + page;
    }
}

bool slots_torn(const struct slots *slots, int index)
{
    uint32_t len = atomic_load(length_of(slots, index));

    for (size_t page = 1; !is_small(slots, index) && page * PAGE < len; page++) {
        if (*word_of(slots, index, page) == slots->mark + page) {
            return true;
        }
    }
    return false;
}

int slots_take(struct slots *slots, uint64_t timeout_ms, int *ret)
{
    uint64_t until = clock_monotonic_ms(clock_real()) + timeout_ms;
    bool hot = false;
    int index = SLOT_NONE;

    mutex_lock(&slots->lock);
    while (slots->free_large_count == 0) {
        uint64_t now = clock_monotonic_ms(clock_real());

        if (now >= until) {
            break;
        }
        cond_wait_ms(&slots->freed, &slots->lock, until - now);
    }
    if (slots->free_large_count > 0) {
        index = slots->free_large[--slots->free_large_count];
        hot = slots->free_hot_count > 0;
        slots->free_hot_count -= hot ? 1 : 0;
    }
    mutex_unlock(&slots->lock);
    if (index == SLOT_NONE) {
        return -ETIMEDOUT;
    }
    if (!hot) {
        warm(slots, index);
        set_marks(slots, index, true);
        slots->warmed[index] = true;
    }
    *ret = index;
    return 0;
}

static void release_large(struct slots *slots, int index)
{
    bool hot;

    if (slots->warmed[index]) {
        set_marks(slots, index, false);
    }
    mutex_lock(&slots->lock);
    /* One that a predecessor has filled is in the memory, but not in our page table. */
    hot = slots->free_hot_count < slots->hot_max && slots->warmed[index];
    if (hot) {
        slots->free_large[slots->free_large_count++] = index;
        slots->free_hot_count++;
        cond_signal(&slots->freed);
    }
    mutex_unlock(&slots->lock);
    if (hot) {
        return;
    }
    slots->warmed[index] = false;
    if (keep_punch(&slots->region, offset_of(slots, index), SLOT_LARGE_SIZE) < 0) {
        log_debug("request slot keeps its pages", NULL);
    }
    mutex_lock(&slots->lock);
    /* Below the hot ones: the lowest hot slot moves to the top to make room. */
    slots->free_large[slots->free_large_count] =
        slots->free_large[slots->free_large_count - slots->free_hot_count];
    slots->free_large[slots->free_large_count - slots->free_hot_count] = index;
    slots->free_large_count++;
    cond_signal(&slots->freed);
    mutex_unlock(&slots->lock);
}

void slots_release(struct slots *slots, int index)
{
    slots_clear(slots, index);
    if (!is_small(slots, index)) {
        release_large(slots, index);
        return;
    }
    mutex_lock(&slots->lock);
    slots->free_small[slots->free_small_count++] = index;
    mutex_unlock(&slots->lock);
}

/* Large ones that are hot, and small ones, as many as there are; *ret_small. */
static unsigned take_idle(struct slots *slots, int *large, int *small, unsigned *ret_small)
{
    unsigned count = 0;

    mutex_lock(&slots->lock);
    while (slots->free_hot_count > 0) {
        large[count++] = slots->free_large[--slots->free_large_count];
        slots->free_hot_count--;
    }
    *ret_small = slots->free_small_count;
    memcpy(small, slots->free_small, slots->free_small_count * sizeof(*small));
    slots->free_small_count = 0;
    mutex_unlock(&slots->lock);
    return count;
}

int slots_cool(struct slots *slots)
{
    AUTOFREE int *large = calloc(slots->large, sizeof(*large));
    AUTOFREE int *small = calloc(slots->small, sizeof(*small));
    unsigned large_count;
    unsigned small_count;

    if (large == NULL || small == NULL) {
        return -ENOMEM;
    }
    large_count = take_idle(slots, large, small, &small_count);
    for (unsigned i = 0; i < small_count; i++) {
        size_t offset = offset_of(slots, small[i]);

        if (keep_next_data(&slots->region, offset) == offset) {
            (void)!keep_punch(&slots->region, offset, SLOT_SMALL_SIZE);
        }
    }
    for (unsigned i = 0; i < large_count; i++) {
        slots->warmed[large[i]] = false;
        release_large(slots, large[i]);
    }
    mutex_lock(&slots->lock);
    for (unsigned i = 0; i < small_count; i++) {
        slots->free_small[slots->free_small_count++] = small[i];
    }
    mutex_unlock(&slots->lock);
    return 0;
}

int slots_settle(struct slots *slots, int index)
{
    uint32_t len = atomic_load(length_of(slots, index));
    const char *from = slots_data(slots, index);
    int small = SLOT_NONE;

    if (is_small(slots, index) || len > SLOT_SMALL_SIZE || len < sizeof(len)) {
        return index;
    }
    mutex_lock(&slots->lock);
    if (slots->free_small_count > 0) {
        small = slots->free_small[--slots->free_small_count];
    }
    mutex_unlock(&slots->lock);
    if (small == SLOT_NONE) {
        return index;
    }
    memcpy((char *)slots_data(slots, small) + sizeof(len), from + sizeof(len), len - sizeof(len));
    atomic_store_explicit(length_of(slots, small), len, memory_order_release);
    slots_release(slots, index);
    return small;
}

/* Adoption */

struct found {
    uint64_t unique;
    int index;
};

/* By name; of two with one name the resent one first, then the one in the small slot. */
static int by_unique(const void *a, const void *b)
{
    const struct found *x = a;
    const struct found *y = b;
    uint64_t ux = x->unique & ~resend_bit;
    uint64_t uy = y->unique & ~resend_bit;

    if (ux != uy) {
        return ux < uy ? -1 : 1;
    }
    if (x->unique != y->unique) {
        return x->unique > y->unique ? -1 : 1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

static bool is_plausible(const struct slots *slots, int index)
{
    const struct fuse_in_header *in = slots_data(slots, index);

    return in->len >= sizeof(*in) && in->len <= slots_size(slots, index) && in->unique != 0;
}

int slots_occupied(struct slots *slots, int *ret)
{
    AUTOFREE struct found *found = calloc(slots_count(slots), sizeof(*found));
    unsigned count = 0;
    int kept = 0;

    if (found == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < (int)slots_count(slots); i++) {
        const struct fuse_in_header *in = slots_data(slots, i);

        if (!is_occupied(slots, i)) {
            continue;
        }
        if (!is_plausible(slots, i)) {
            log_error("request slot holds no request", "slot", log_num(i), NULL);
            slots_release(slots, i);
            continue;
        }
        found[count++] = (struct found){.unique = in->unique, .index = i};
    }
    qsort(found, count, sizeof(*found), by_unique);
    for (unsigned i = 0; i < count; i++) {
        if (i > 0 && ((found[i].unique ^ found[i - 1].unique) & ~resend_bit) == 0) {
            slots_release(slots, found[i].index);
        } else {
            ret[kept++] = found[i].index;
        }
    }
    return kept;
}
