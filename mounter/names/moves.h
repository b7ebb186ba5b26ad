/* SPDX-License-Identifier: Apache-2.0 */
/*
 * moves.h - moves of many keys, so that half of one is never left for good.
 *
 * Before the first copy a note goes to the store, ".skyvol/move/ID": what is moved where, and how
 * far an exchange has come. It goes when all is done. A request that comes again after the
 * mounter's death goes on with its note. If the whole node is lost, a later mount of the volume
 * finds the note, waits whether anybody renews it, and finishes the move. Whoever goes on with a
 * note writes it anew on condition that it is as he has read it (where the store has conditions),
 * so two never work on one exchange.
 */
#ifndef MOUNTER_MOVES_H
#define MOUNTER_MOVES_H

#include "mounter/fs.h"

/* ---- tree.c ---- */
/*
 * Move what lies below `from` (it ends in '/') below `to`: copies, 64 at a time, then one deletion
 * for each page of keys whose copies are there. What was moved before is not found any more, so it
 * can be called again after any failure. Waits.
 */
struct tree {
    const char *from, *to;
    int64_t before_ns;                          /* keys changed later stay; 0: none do */
    int (*progress)(void *arg, uint64_t moved); /* after each page; not 0 ends it. Or NULL */
    void *arg;
    uint64_t moved;
    unsigned idle; /* tree_move()'s own: pages in a row of which nothing was moved */
};
int tree_move(struct fs *fs, struct tree *tree) __attribute__((warn_unused_result));

/* ---- moves.c ---- */
enum { MOVES_DONE = 3 }; /* the phase of an exchange that is complete */

struct move_note {
    char id[20];
    bool exchange;
    bool a_dir, b_dir;          /* of a move: both */
    unsigned phase;             /* of an exchange: steps that are done */
    char *a, *b;                /* keys, without '/' at the end */
    int64_t begun_ns;           /* by the store's clock; 0: not known yet */
    char etag[STATE_ETAG_SIZE]; /* of the note in the store; "" : it is not there yet */
    uint64_t noted_ms;
    bool resumed;
};
void move_note_done(struct move_note *note);
/* Its own copies of a and b. */
int move_note_init(struct move_note *note, uint64_t token, const char *a, const char *b)
    __attribute__((warn_unused_result));
/* -ENOENT: no such note. */
int move_note_read(struct fs *fs, struct move_note *note) __attribute__((warn_unused_result));
/* Carries it out from its phase on; notes it first. The note stays until move_note_end(). Waits. */
int move_note_run(struct fs *fs, struct move_note *note) __attribute__((warn_unused_result));
void move_note_end(struct fs *fs, const struct move_note *note);

/* A move has failed half way: it is to be finished later, as if another had begun it. */
void moves_expect(struct fs *fs);
/* One of them is being finished, or is to be. */
bool moves_pending(const struct fs *fs) REQUIRES(&fs->lock);
/* Once a second: looks for notes of mounts that are gone. */
void moves_tick(struct fs *fs);

#endif
