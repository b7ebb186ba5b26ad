/* SPDX-License-Identifier: Apache-2.0 */
/* state_internal.h - how kept memory is laid out: for state.c and state_pool.c. */
#ifndef MOUNTER_STATE_INTERNAL_H
#define MOUNTER_STATE_INTERNAL_H

#include <stdatomic.h>

#include "mounter/kept/state.h"

enum {
    LOG_SIZE = 64 * 1024,
    CELL_TEXT = 28,
    PAGE = 4096,
    BLOCK_PAGES = STATE_BLOCK_SIZE / PAGE, /* as many as a uint32_t has bits */
};

/*
 * The kept regions:
 *   "state"   header and log
 *   "inodes"  struct inode_rec[]     "texts"   struct cell[]
 *   "blocks"  struct block_rec[]     "pool"    bytes of the blocks
 *   "uploads" struct upload_rec[]    "applied" struct applied[]
 *   "sums"    uint64_t[]: checksums of the pool's pages
 *   "graves"  struct grave_rec[]
 * They are sparse: what was never used costs nothing.
 */
struct header {
    uint64_t magic;
    uint32_t version;
    uint32_t inodes;
    uint64_t pool_bytes;
    uint32_t inode_high, cell_high, block_high; /* never used from here on */
    uint32_t
        writing; /* block + 1 whose bytes are being copied: those pages need not fit their sums */
    uint32_t writing_from, writing_to;
    _Atomic uint64_t log_len; /* not 0: the log below is valid and must be carried out */
    char log[LOG_SIZE];
    uint64_t mount_id;
    _Atomic uint32_t blind; /* this process, or its predecessor, has sent blind requests */
    uint64_t blind_until_ms;
};

struct cell {
    uint32_t next; /* 0: the last */
    uint8_t len;
    uint8_t used;
    char text[CELL_TEXT - 2];
};

struct applied {
    uint64_t unique; /* 0: free */
    uint32_t len;
    uint32_t reserved;
    char reply[STATE_REPLY_MAX];
};

/* A note in the log: where, and the bytes that follow, padded to 8. */
struct note {
    uint32_t region;
    uint32_t len;
    uint64_t offset;
};

enum region {
    R_HEADER,
    R_INODES,
    R_TEXTS,
    R_BLOCKS,
    R_UPLOADS,
    R_APPLIED,
    R_POOL,
    R_SUMS,
    R_GRAVES,
    R_COUNT
};
/* Free records as a stack of indexes; rebuilt by reading the tables when a state is adopted. */
struct free_list {
    uint32_t *items;
    uint32_t count, cap;
};

/*
 * Blocks are many more than the pool has memory for: what counts is which of their pages have been
 * touched. See state_pool.c.
 */
struct state_pool {
    struct free_list full, small, cold; /* free ones by how many touched pages they have */
    uint32_t blocks_max, blocks_used;
    uint64_t pages_max;
    uint64_t pages_used; /* touched, of blocks that are in use */
    uint64_t pages_warm; /* touched, of free ones */
    uint32_t *touched;   /* of each block, a bit for each page */
    uint16_t *pins;      /* of each block; PIN_FREED: it is free once they are gone */
};

struct state {
    struct keep_region regions[R_COUNT];
    struct header *header;
    bool adopted;
    bool open; /* a transaction is under way */
    uint64_t log_len;
    struct free_list inodes, cells;
    uint32_t cells_max;
    struct state_pool pool;
    uint32_t pending_inode_high, pending_cell_high, pending_block_high;
};

static inline void *state_at(const struct state *state, enum region region)
{
    return state->regions[region].data;
}

int free_list_push(struct free_list *list, uint32_t item);
bool free_list_pop(struct free_list *list, uint32_t *ret);

/* ---- state_pool.c ---- */
uint32_t state_pool_blocks(uint64_t pool_bytes);
int state_pool_init(struct state *state, uint64_t bytes_max) __attribute__((warn_unused_result));
void state_pool_done(struct state *state);
/* Which blocks are free, from the table; gives back what free ones have. */
int state_pool_read(struct state *state) __attribute__((warn_unused_result));
void state_pool_sum(struct state *state, uint32_t block, uint32_t from, uint32_t to);
bool state_pool_is_whole(const struct state *state, uint32_t block);

#endif
