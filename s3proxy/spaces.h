/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spaces.h - memory for bodies under way, of which a worker has only so much.
 *
 * Every transfer goes on in SPACES_SMALL bytes, of which there are always some; more, which makes
 * it cheaper, it has only while there is some left here. What is given back is kept for the next,
 * of the small ones not all. None of it is in the heap, where what is small and stays would keep
 * it.
 *
 *     size_t size = wanted;
 *     void *bytes = spaces_take(spaces, &size);     NULL: there is none left
 *     spaces_give(spaces, bytes, size);
 *
 * What one worker does not need another may have, but for a quarter of its part, of which each is
 * sure. What is kept and not needed goes back by spaces_trim().
 *
 * Bodies that must be whole before anybody can use them lie elsewhere, and are only counted here:
 * beside what is given out, and up to SPACES_GATHERED times as much.
 *
 * Any thread.
 */
#ifndef S3PROXY_SPACES_H
#define S3PROXY_SPACES_H

#include <stdbool.h>
#include <stddef.h>

#include "s3proxy/limits.h"
#include "util/mutex.h"

enum { SPACES_GATHERED = 2 };
enum { SPACES_CLASSES = 3, SPACES_SMALL = 32 * 1024, SPACES_LARGEST = 1024 * 1024 };

struct spaces_free {
    struct spaces_free *next;
};

struct spaces {
    struct mutex lock; /* of what follows; a leaf */
    size_t used, max;  /* bytes, those that are kept included; without the small ones */
    size_t part, gathered;
    uint64_t given_ms; /* when a large one was given back */
    struct spaces_free *kept[SPACES_CLASSES];
    size_t kept_count[SPACES_CLASSES], unneeded[SPACES_CLASSES]; /* the fewest since a trim */
    struct limits *limits;                                       /* NULL: shares with nobody */
    size_t of_all, of_least; /* of all workers together; of this one, whatever the others have */
};

void spaces_init(struct spaces *spaces, size_t part);
/* Before the first is taken: with so many workers, this one among them, who have parts of the same
 * size and the same limits. Those outlive the spaces; NULL: nothing is shared. */
void spaces_share(struct spaces *spaces, struct limits *limits, size_t workers);
/* All were given back. */
void spaces_done(struct spaces *spaces);

/* At least *size bytes, at most SPACES_LARGEST; *size becomes what they are. NULL: there is no
 * more (never for SPACES_SMALL or less), or no memory. */
void *spaces_take(struct spaces *spaces, size_t *size) __attribute__((warn_unused_result));
/* A body that counts for *mine bytes, 0 at first, has `wanted` bytes now, 0 when it is gone. False:
 * there is no room for it beside others. By itself it may have any size, and the first SPACES_SMALL
 * bytes of each count for nothing. */
bool spaces_gather(struct spaces *spaces, size_t wanted, size_t *mine);

void spaces_give(struct spaces *spaces, void *bytes, size_t size);

enum spaces_chance { SPACES_THERE, SPACES_SOON, SPACES_LATE };

/* Whether there is one of SPACES_LARGEST now, or there will be soon: others were given back lately.
 */
enum spaces_chance spaces_chance(struct spaces *spaces);

/* Unmaps what was kept and not needed since the last time. True: there may be more the next time.
 */
bool spaces_trim(struct spaces *spaces);

#endif
