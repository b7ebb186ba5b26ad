/* SPDX-License-Identifier: Apache-2.0 */
/*
 * holes.h - ranges of a file that read as zeros although the object it is based on has bytes there.
 *
 * A punched range costs no memory for dirty bytes, however long it is: it is a pair of offsets, in
 * kept memory with the inode. Dirty bytes lie over holes, holes over the object. Holes reach at
 * most to base_valid, or to the end of what is being sent (beyond it what is not dirty is zero
 * anyway), and end when an object that has the zeros in it becomes the base; those punched while it
 * was on its way stay.
 *
 * All with fs->lock held. Functions "in a transaction" note their change in the caller's.
 */
#ifndef MOUNTER_HOLES_H
#define MOUNTER_HOLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mounter/fs.h"

enum { HOLES_MAX = 256 }; /* of one file; more: it is published first */

/* In a transaction. -ENOSPC: too many, publish and come again; -ENOMEM. */
int holes_add(struct fs *fs, struct node *node, uint64_t from, uint64_t to) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* In a transaction: base_valid is this now, and nothing that comes after is a hole. */
void holes_cut(struct fs *fs, struct node *node, uint64_t size) REQUIRES(&fs->lock);
/* A publication takes its copy now. */
void holes_mark(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* In a transaction: what was marked is the base now, as far as `valid`; later holes stay. */
void holes_published(struct fs *fs, struct node *node, uint64_t valid) REQUIRES(&fs->lock);
/* In a transaction: there are none. */
void holes_clear(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* From the record, at a takeover. */
int holes_adopt(struct fs *fs, struct node *node) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
void holes_free(struct node *node);

/* Zero what is a hole of [offset, offset + len). */
void holes_lay(const struct node *node, uint64_t offset, char *buffer, size_t len);
/* All, some of [from, to) is a hole. */
bool holes_cover(const struct node *node, uint64_t from, uint64_t to);
bool holes_any(const struct node *node, uint64_t from, uint64_t to);
/* The first offset >= from that is in no hole; the first that is in one, UINT64_MAX: none. */
uint64_t holes_end(const struct node *node, uint64_t from);
uint64_t holes_next(const struct node *node, uint64_t from);

#endif
