/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool of dirty bytes. A block is 128 KiB of a sparse file and takes as much memory as it has
 * pages that were written to: a small file takes a page or a few, and so does a small write into a
 * large file. There are as many blocks as the pool has pages; what is limited is the sum of touched
 * pages, those of free blocks included.
 *
 * Free blocks keep their pages, so that a stream of writes costs no system calls; they are given
 * back when others need the memory. Whoever needs little takes a block that has little.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/kept/state_internal.h"

enum { BLOCKS_MOST = 256 * 1024, FULL = BLOCK_PAGES / 2, PIN_FREED = 1 << 15 };

uint32_t state_pool_blocks(uint64_t pool_bytes)
{
    uint64_t least = pool_bytes / STATE_BLOCK_SIZE;
    uint64_t most = pool_bytes / PAGE < BLOCKS_MOST ? pool_bytes / PAGE : BLOCKS_MOST;

    return (uint32_t)(least > most ? least : most);
}

uint32_t state_block_limit(const struct state *state)
{
    return state->header->block_high;
}

uint32_t state_block_used(const struct state *state)
{
    return state->pool.blocks_used;
}

uint64_t state_pool_size(const struct state *state)
{
    return state->pool.pages_max * PAGE;
}

uint64_t state_pool_used(const struct state *state)
{
    return state->pool.pages_used * PAGE;
}

struct block_rec *state_block(const struct state *state, uint32_t block)
{
    struct block_rec *blocks = state_at(state, R_BLOCKS);

    return &blocks[block];
}

static char *block_bytes(const struct state *state, uint32_t block)
{
    return (char *)state_at(state, R_POOL) + (size_t)block * STATE_BLOCK_SIZE;
}

const char *state_block_data(const struct state *state, uint32_t block)
{
    return block_bytes(state, block);
}

/* ---- checksums ---- */

/* Against damage, not against malice: four lanes, so that it runs at the speed of memory. */
static uint64_t sum_page(const char *page)
{
    uint64_t lanes[4] = {1, 2, 3, 4};
    uint64_t sum = 0;

    for (size_t i = 0; i < PAGE; i += sizeof(lanes)) {
        for (size_t lane = 0; lane < 4; lane++) {
            uint64_t word;

            memcpy(&word, page + i + lane * sizeof(word), sizeof(word));
            lanes[lane] = (lanes[lane] ^ word) * UINT64_C(0x9e3779b97f4a7c15);
            lanes[lane] ^= lanes[lane] >> 29;
        }
    }
    for (size_t lane = 0; lane < 4; lane++) {
        sum = (sum ^ lanes[lane]) * UINT64_C(0xff51afd7ed558ccd);
        sum ^= sum >> 32;
    }
    return sum;
}

void state_pool_sum(struct state *state, uint32_t block, uint32_t from, uint32_t to)
{
    uint64_t *sums = (uint64_t *)state_at(state, R_SUMS) + (size_t)block * BLOCK_PAGES;

    for (uint32_t page = from / PAGE; page < BLOCK_PAGES && page * PAGE < to; page++) {
        sums[page] = sum_page(block_bytes(state, block) + (size_t)page * PAGE);
    }
}

bool state_pool_is_whole(const struct state *state, uint32_t block)
{
    const struct block_rec *rec = state_block(state, block);
    const uint64_t *sums = (const uint64_t *)state_at(state, R_SUMS) + (size_t)block * BLOCK_PAGES;
    uint32_t before = 0;

    if (rec->count == 0 || rec->count > STATE_EXTENTS) {
        return false;
    }
    for (uint32_t i = 0; i < rec->count; i++) {
        struct block_extent e = rec->extents[i];

        if (e.from >= e.to || e.to > STATE_BLOCK_SIZE || (i > 0 && e.from <= before)) {
            return false;
        }
        for (uint32_t page = e.from / PAGE; page * PAGE < e.to; page++) {
            if (sums[page] != sum_page(state_block_data(state, block) + (size_t)page * PAGE)) {
                return false;
            }
        }
        before = e.to;
    }
    return true;
}

/* ---- pages ---- */

static uint32_t count_of(uint32_t pages)
{
    return (uint32_t)__builtin_popcount(pages);
}

/* A bit for each page of [from, to). */
static uint32_t pages_of(uint32_t from, uint32_t to)
{
    uint32_t first = from / PAGE;
    uint32_t end = (to + PAGE - 1) / PAGE;

    return from >= to ? 0 : (UINT32_MAX >> (BLOCK_PAGES - (end - first))) << first;
}

static uint32_t pages_of_extents(const struct block_rec *rec)
{
    uint32_t pages = 0;

    for (uint32_t i = 0; i < rec->count && i < STATE_EXTENTS; i++) {
        pages |= pages_of(rec->extents[i].from, rec->extents[i].to);
    }
    return pages;
}

static void give_back(struct state *state, uint32_t block)
{
    if (keep_punch(&state->regions[R_POOL], (size_t)block * STATE_BLOCK_SIZE, STATE_BLOCK_SIZE) ==
        0) {
        state->pool.pages_warm -= count_of(state->pool.touched[block]);
        state->pool.touched[block] = 0;
    }
}

/* Free blocks give up pages until this many more can be touched. */
static void make_room(struct state *state, uint32_t pages)
{
    struct state_pool *pool = &state->pool;
    uint32_t block;

    while (pool->pages_used + pool->pages_warm + pages > pool->pages_max &&
           (free_list_pop(&pool->full, &block) || free_list_pop(&pool->small, &block))) {
        give_back(state, block);
        (void)free_list_push(&pool->cold, block);
    }
}

static void touch(struct state *state, uint32_t block, uint32_t pages)
{
    uint32_t fresh = pages & ~state->pool.touched[block];

    if (fresh != 0) {
        make_room(state, count_of(fresh));
        state->pool.touched[block] |= fresh;
        state->pool.pages_used += count_of(fresh);
    }
}

bool state_pool_has(const struct state *state, const struct state_need *need)
{
    const struct state_pool *pool = &state->pool;

    return need->blocks <= pool->blocks_max - pool->blocks_used &&
           pool->pages_used + need->pages <= pool->pages_max;
}

void state_pool_need(const struct state *state, uint32_t block, uint32_t from, uint32_t to,
                     struct state_need *need)
{
    uint32_t pages = pages_of(from, to);

    if (block == UINT32_MAX) {
        need->blocks++;
    } else if (state_block_pinned(state, block)) {
        need->blocks++;
        pages |= pages_of_extents(state_block(state, block));
    } else {
        pages &= ~state->pool.touched[block];
    }
    need->pages += count_of(pages);
}

/* ---- blocks ---- */

void state_block_write(struct state *state, uint32_t block, uint32_t from, const char *data,
                       uint32_t len)
{
    struct header *h = state->header;
    _Atomic uint32_t *writing = (_Atomic uint32_t *)&h->writing;

    assert(from <= STATE_BLOCK_SIZE && len <= STATE_BLOCK_SIZE - from);
    touch(state, block, pages_of(from, from + len));
    h->writing_from = from;
    h->writing_to = from + len;
    atomic_store(writing, block + 1);
    memcpy(block_bytes(state, block) + from, data, len);
    state_pool_sum(state, block, from, from + len);
    atomic_store(writing, 0);
}

uint32_t state_block_take(struct state *state, uint32_t len)
{
    struct state_pool *pool = &state->pool;
    bool large = len / PAGE >= FULL;
    uint32_t block;

    if (!(large && free_list_pop(&pool->full, &block)) && !free_list_pop(&pool->small, &block) &&
        !free_list_pop(&pool->cold, &block)) {
        if (state->pending_block_high < pool->blocks_max) {
            block = state->pending_block_high++;
        } else if (free_list_pop(&pool->full, &block)) {
            give_back(state, block);
        } else {
            return UINT32_MAX;
        }
    }
    pool->blocks_used++;
    pool->pages_warm -= count_of(pool->touched[block]);
    pool->pages_used += count_of(pool->touched[block]);
    return block;
}

static void set_free(struct state *state, uint32_t block)
{
    struct state_pool *pool = &state->pool;
    uint32_t pages = count_of(pool->touched[block]);

    pool->blocks_used--;
    pool->pages_used -= pages;
    pool->pages_warm += pages;
    (void)free_list_push(pages >= FULL ? &pool->full
                         : pages > 0   ? &pool->small
                                       : &pool->cold,
                         block);
}

void state_block_untake(struct state *state, uint32_t block)
{
    set_free(state, block);
}

void state_block_release(struct state *state, uint32_t block)
{
    struct block_rec *rec = state_block(state, block);
    uint32_t none = 0;

    state_set(state, &rec->inode, &none, sizeof(none));
    if (state->pool.pins[block] > 0) {
        state->pool.pins[block] |= PIN_FREED;
    } else {
        set_free(state, block);
    }
}

void state_block_pin(struct state *state, uint32_t block)
{
    uint16_t *pins = &state->pool.pins[block];

    assert((*pins & ~(unsigned)PIN_FREED) < PIN_FREED - 1);
    (*pins)++;
}

void state_block_unpin(struct state *state, uint32_t block)
{
    uint16_t *pins = &state->pool.pins[block];

    assert((*pins & ~(unsigned)PIN_FREED) > 0);
    (*pins)--;
    if (*pins == PIN_FREED) {
        *pins = 0;
        set_free(state, block);
    }
}

bool state_block_pinned(const struct state *state, uint32_t block)
{
    return state->pool.pins[block] != 0;
}

/* ---- life ---- */

int state_pool_init(struct state *state, uint64_t bytes_max)
{
    struct state_pool *pool = &state->pool;
    uint64_t bytes = state->header->pool_bytes;

    pool->pages_max = (bytes < bytes_max ? bytes : bytes_max) / PAGE;
    pool->blocks_max = state_pool_blocks(state->header->pool_bytes);
    pool->touched = calloc(pool->blocks_max, sizeof(*pool->touched));
    pool->pins = calloc(pool->blocks_max, sizeof(*pool->pins));
    return pool->touched == NULL || pool->pins == NULL ? -ENOMEM : 0;
}

void state_pool_done(struct state *state)
{
    free(state->pool.full.items);
    free(state->pool.small.items);
    free(state->pool.cold.items);
    free(state->pool.touched);
    free(state->pool.pins);
}

/* What a predecessor's free blocks have is not known: it is given back. */
int state_pool_read(struct state *state)
{
    struct state_pool *pool = &state->pool;
    uint32_t high = state->header->block_high;
    uint32_t run = 0; /* free blocks before this one */
    int ret = 0;

    for (uint32_t block = 0; ret == 0 && block <= high; block++) {
        if (block < high && state_block(state, block)->inode == 0) {
            ret = free_list_push(&pool->cold, block);
            run++;
            continue;
        }
        if (run > 0) {
            (void)!keep_punch(&state->regions[R_POOL], (size_t)(block - run) * STATE_BLOCK_SIZE,
                              (size_t)run * STATE_BLOCK_SIZE);
            run = 0;
        }
        if (block < high) {
            pool->blocks_used++;
            pool->touched[block] = pages_of_extents(state_block(state, block));
            pool->pages_used += count_of(pool->touched[block]);
        }
    }
    return ret;
}
