/* SPDX-License-Identifier: Apache-2.0 */
/*
 * links.h - which names a file with hard links has, as the metaserver of a managed volume knows it.
 *
 * Numbers of names are 64 random bits, the lower 16 of which count its renames: who finds the
 * number n + 1 knows that n was the one before. All calls wait, each with a deadline, changes for
 * a session too; none is made with fs->lock held. -ENOTSUP: the volume is not managed;
 * -EIO: the metaserver is away; those of managed_call().
 */
#ifndef MOUNTER_LINKS_H
#define MOUNTER_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fs;

enum { LINKS_FILE_SIZE = 65 }; /* of a file's id, with NUL */

struct links_name {
    uint64_t number;
    const char *key;
};
struct links_add {
    const char *file;
    struct links_name names[2];
    size_t count;
    bool make; /* the file is new */
};
/* *ret_links: how many names it has now. -ENOENT: there is no such file any more. */
int links_add(struct fs *fs, const struct links_add *what, uint32_t *ret_links)
    __attribute__((warn_unused_result));

/* The metaserver answers. */
int links_ready(struct fs *fs) __attribute__((warn_unused_result));

struct links_left {
    char file[LINKS_FILE_SIZE]; /* "": the name was not known */
    uint32_t links;
    char *last_key; /* where the last one that is left was put; or NULL. To be freed */
    bool alone;     /* one is left, and no other mount has a session */
};
int links_remove(struct fs *fs, uint64_t number, struct links_left *ret)
    __attribute__((warn_unused_result));

/* -ENOENT: not known. 0 links: its object is to be deleted. */
int links_count(struct fs *fs, const char *file, uint32_t *ret) __attribute__((warn_unused_result));
/* The object of a file without a name is deleted. */
int links_drop(struct fs *fs, const char *file) __attribute__((warn_unused_result));
/* Calls visit() for files whose last name was taken away a while ago. */
int links_unlinked(struct fs *fs, void (*visit)(struct fs *fs, const char *file))
    __attribute__((warn_unused_result));
/* Calls visit() for files with one name; for none while another mount has a session. */
int links_single(struct fs *fs,
                 void (*visit)(struct fs *fs, const char *file, const struct links_name *last))
    __attribute__((warn_unused_result));

#endif
