/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.h - what is published in a moment, and not at once.
 *
 * Programs that unpack or copy a tree set times, mode and owner just after they have closed a file,
 * and of a directory after all that is in it: what is held meanwhile goes with one PUT. It is in
 * kept memory; fsync and the end of the mount do not wait for the moment to pass.
 *   a file       60 ms after its close
 *   a directory  0.2 s after it was made, its attributes changed, or anything was made below it;
 *                10 s after the first of these at the latest
 * Under pressure the one that waits longest goes at once. With sync=close nothing is held.
 */
#ifndef MOUNTER_HOLD_H
#define MOUNTER_HOLD_H

#include "mounter/fs.h"

/* The file has been closed. */
void hold_file(struct fs *fs, uint32_t ino);
/* The directory's own object is to be put. */
void hold_dir(struct fs *fs, uint32_t ino);
/* Something is made in this directory: it and those above wait on. */
void hold_longer(struct fs *fs, struct node *dir) REQUIRES(&fs->lock);
/* It is published now, or goes. */
void hold_end(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* Publish those whose moment is over. */
void hold_run(struct fs *fs);
/* In how many ms to come again for that; at most `most`. */
uint64_t hold_left_ms(const struct fs *fs, uint64_t most) REQUIRES(&fs->lock);

/* ---- background.c ---- */
/* It is dirty, and is to be in the store. */
bool publish_is_wanted(struct fs *fs, const struct node *node) REQUIRES(&fs->lock);
/* What is closed in a directory, so that its names are there: for fsync of it. */
int publish_names(struct fs *fs, uint32_t dir, uint64_t deadline_ms)
    __attribute__((warn_unused_result));

#endif
