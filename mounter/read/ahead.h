/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ahead.h - small files fetched before they are asked for.
 *
 * Who opens files in the order of their keys (cp -r, tar, grep -r) will open the next ones: their
 * bytes are fetched to the reader's memory, and the attributes that come with them are kept here
 * for the lookup and the open to come, which then ask nothing. How many files are in advance grows
 * when the walker has to wait for one, and falls to none when they are not used. What was fetched
 * longer ago than attributes are believed (fs->options.attr_timeout_ms) is not used: then the store
 * is asked as always, and with a timeout of 0 nothing is fetched in advance.
 *
 * Under fs->lock, but for ahead_find().
 */
#ifndef MOUNTER_AHEAD_H
#define MOUNTER_AHEAD_H

#include "mounter/fs.h"
#include "mounter/read/reader.h"

int ahead_new(struct fs *fs) __attribute__((warn_unused_result));
/* When no request is under way any more. */
void ahead_free(struct fs *fs);

/* A file is being opened for reading. *start: to be given to ahead_start(), without the lock. */
struct ahead_file;
STAILQ_HEAD(ahead_list, ahead_file);
struct ahead_start {
    struct fetch_list fetches;
    struct ahead_list heads;
    bool list; /* the next page of keys is to be listed */
};
void ahead_opened(struct fs *fs, struct node *node, struct ahead_start *start) REQUIRES(&fs->lock);
void ahead_start(struct fs *fs, struct ahead_start *start);

/*
 * What was fetched of this key, as remote_find() would say; true: remote_done() it. Waits if it is
 * under way. Without the lock. `opens`: this is its open, it will not be asked for again.
 */
bool ahead_find(struct fs *fs, const char *key, bool opens, struct remote *ret);

#endif
