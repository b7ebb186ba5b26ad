/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/write/parts.h"

#include <errno.h>
#include <stdlib.h>

enum { TIER = 1000 }; /* parts of one length */
static const uint64_t mib = 1 << 20;
static const uint64_t send_len = 8 << 20;
static const uint64_t equal_len = 64 << 20; /* at most, where parts must be equal */
/* A store copies some 100 MB/s and part; they run at once. */
static const uint64_t copy_len = 256 << 20;

static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* The power of two that is not larger. */
static uint64_t floor_power(uint64_t n)
{
    uint64_t power = 1;

    while (power <= n / 2) {
        power *= 2;
    }
    return power;
}

/* ---- schedules ---- */

void parts_schedule_make(const struct objstore_caps *caps, uint64_t base, uint64_t pool,
                         struct parts_schedule *ret)
{
    uint64_t cap = max_of(floor_power(pool / 4), send_len);
    uint64_t first = send_len;

    cap = min_of(cap, floor_power(caps->part_max));
    while (first < cap && first < base / (PARTS_MAX - 2 * TIER)) {
        first *= 2; /* so that it can at least double */
    }
    *ret = (struct parts_schedule){.copied = base, .first_len = first, .cap_len = cap};
    if (base > 0) {
        uint64_t least =
            base / (2 * TIER); /* at most 2000 parts are copies, if they can be that long */

        ret->copy_len = min_of(max_of(copy_len, (least + mib - 1) / mib * mib), caps->copy_max);
    }
    if (!caps->unequal_parts) {
        ret->cap_len = min_of(cap, equal_len);
        ret->first_len = ret->cap_len;
    }
}

bool parts_schedule_is_sound(const struct parts_schedule *s)
{
    uint64_t largest = UINT64_C(1) << 40;

    return s->first_len >= mib && s->first_len <= s->cap_len && s->cap_len <= largest &&
           (s->copied == 0 || (s->copy_len >= 2 * send_len && s->copy_len <= largest &&
                               s->copied / s->copy_len < PARTS_MAX));
}

uint32_t parts_copied(const struct parts_schedule *s)
{
    return s->copied == 0 ? 0 : (uint32_t)((s->copied + s->copy_len - 1) / s->copy_len);
}

uint64_t parts_offset(const struct parts_schedule *s, uint32_t part)
{
    uint32_t copies = parts_copied(s);
    uint64_t left = part - 1 - copies; /* of those that are sent */
    uint64_t offset = s->copied;
    uint64_t len = s->first_len;

    if (part <= copies) {
        offset = (part - 1) * s->copy_len;
        /* The last one must not be too short, as others follow. */
        return part > 1 ? min_of(offset, s->copied - send_len) : 0;
    }
    for (; left > TIER && len < s->cap_len; left -= TIER) {
        offset += TIER * len;
        len *= 2;
    }
    offset += left * len;
    /* After the copies parts begin where blocks of dirty bytes do; the first one makes up for it.
     */
    return part > copies + 1 ? offset / mib * mib : offset;
}

uint32_t parts_count(const struct parts_schedule *s, uint64_t size)
{
    uint32_t low = 1; /* the first that may be the last */
    uint32_t high = PARTS_MAX + 1;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (parts_offset(s, middle + 1) < size) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* ---- plans ---- */

struct plan {
    const struct parts_file *file;
    uint64_t send, copy; /* lengths aimed at */
    struct parts_item *items;
    size_t count;
};

/*
 * Dirty ranges of at least the minimum, with gaps of at least the minimum between them. What is
 * beyond the base is dirty. Returns how many are left.
 */
static size_t widen(const struct parts_file *file, struct parts_range *ranges)
{
    uint64_t least = file->caps->part_min;
    size_t count = 0;

    for (size_t i = 0; i < file->dirty_count; i++) {
        struct parts_range r = file->dirty[i];

        if (r.from >= file->size) {
            break;
        }
        r.to = min_of(r.to, file->size);
        if (r.from < least) {
            r.from = 0;
        }
        if (r.to - r.from < least) {
            r.to = min_of(r.from + least, file->size);
        }
        if (count > 0 && r.from < ranges[count - 1].to + least) {
            ranges[count - 1].to = max_of(ranges[count - 1].to, r.to);
        } else {
            ranges[count++] = r;
        }
    }
    if (file->base < file->size) {
        struct parts_range end = {file->base < least ? 0 : file->base, file->size};

        while (count > 0 && ranges[count - 1].to + least > end.from) {
            end.from = min_of(end.from, ranges[--count].from);
        }
        ranges[count++] = end;
    }
    return count;
}

/* Pieces of about this length, cut where blocks of dirty bytes are. */
static int add(struct plan *plan, uint64_t from, uint64_t to, bool copy)
{
    uint64_t most = copy ? plan->file->caps->copy_max : plan->file->caps->part_max;
    uint64_t aim = copy ? plan->copy : plan->send;
    uint64_t pieces = max_of(2 * aim > most ? (to - from + aim - 1) / aim : (to - from) / aim, 1);
    uint64_t start = from;

    for (uint64_t i = 1; i <= pieces; i++) {
        uint64_t stop = i < pieces ? (start + (to - start) * i / pieces) / mib * mib : to;

        if (plan->count == PARTS_MAX) {
            return -EFBIG;
        }
        plan->items[plan->count++] = (struct parts_item){from, stop - from, copy};
        from = stop;
    }
    return 0;
}

static int fill(struct plan *plan, const struct parts_range *ranges, size_t count)
{
    uint64_t at = 0;
    int ret = 0;

    plan->count = 0;
    for (size_t i = 0; ret == 0 && i < count; i++) {
        if (ranges[i].from > at) {
            ret = add(plan, at, ranges[i].from, true);
        }
        ret = ret == 0 ? add(plan, ranges[i].from, ranges[i].to, false) : ret;
        at = ranges[i].to;
    }
    return ret == 0 && at < plan->file->size ? add(plan, at, plan->file->size, true) : ret;
}

/* All parts alike but the last. */
static int fill_equal(struct plan *plan)
{
    const struct parts_file *file = plan->file;
    size_t next = 0;

    plan->count = 0;
    for (uint64_t at = 0; at < file->size; at += plan->send) {
        uint64_t len = min_of(plan->send, file->size - at);
        bool clean;

        while (next < file->dirty_count && file->dirty[next].to <= at) {
            next++;
        }
        clean = next == file->dirty_count || file->dirty[next].from >= at + len;
        if (plan->count == PARTS_MAX) {
            return -EFBIG;
        }
        plan->items[plan->count++] = (struct parts_item){at, len, clean && at + len <= file->base};
    }
    return 0;
}

int parts_plan(const struct parts_file *file, struct parts_item **ret, size_t *ret_count)
{
    struct plan plan = {.file = file, .send = send_len, .copy = copy_len};
    /* One more than there are dirty, for what is beyond the base. */
    struct parts_range *ranges = calloc(file->dirty_count + 1, sizeof(*ranges));
    size_t count;
    int r = -EFBIG;

    plan.items = calloc(PARTS_MAX, sizeof(*plan.items));
    if (ranges == NULL || plan.items == NULL) {
        free(ranges);
        free(plan.items);
        return -ENOMEM;
    }
    count = widen(file, ranges);
    for (uint64_t last = 0; r == -EFBIG && last < file->caps->part_max;) {
        r = file->caps->unequal_parts ? fill(&plan, ranges, count) : fill_equal(&plan);
        last = plan.send;
        plan.send = min_of(2 * plan.send, file->caps->part_max - mib); /* cuts are rounded */
        plan.copy = min_of(2 * plan.copy, file->caps->copy_max - mib);
        last = plan.send == last ? file->caps->part_max : last;
    }
    free(ranges);
    if (r != 0) {
        free(plan.items);
        return r;
    }
    *ret = plan.items;
    *ret_count = plan.count;
    return 0;
}
