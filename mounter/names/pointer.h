/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pointer.h - the small objects that the names of a file with hard links are (hard.h).
 *
 * FILE is at most LINKS_FILE_SIZE - 1 of 0-9 a-f and '-'; its bytes are in the object that
 * pointer_file_key() names. What asks the store waits, at most 50 s, and is called without
 * fs->lock.
 */
#ifndef MOUNTER_POINTER_H
#define MOUNTER_POINTER_H

#include "mounter/fs.h"
#include "mounter/managed/links.h"

enum { POINTER_FILE_KEY = sizeof(VOLUME_LINKS) + LINKS_FILE_SIZE };

bool pointer_is_file(const char *file);
void pointer_file_key(const char *file, char ret[POINTER_FILE_KEY]);
/* What the metadata of a pointer say. False: they are not one's. */
bool pointer_parse(const char *value, char ret_file[LINKS_FILE_SIZE], uint64_t *ret_number);

/* What is at a key. */
struct pointer {
    bool exists;
    uint64_t number; /* 0: it is no pointer */
    char file[LINKS_FILE_SIZE];
    char etag[STATE_ETAG_SIZE];
    uint64_t mark; /* as publish_add_mark() wrote it; 0: none */
    uint64_t size;
    int64_t mtime_ns;
};
int pointer_read(struct fs *fs, const char *key, struct pointer *ret)
    __attribute__((warn_unused_result));

/*
 * What was last read or put here at the key, if that is remembered: it may have changed since, as a
 * request with its ETag as condition finds. False: not known, or it was no pointer.
 */
bool pointer_known(struct fs *fs, const char *key, struct pointer *ret);
void pointer_free(struct fs *fs); /* what is remembered */

/* What is to be put where. */
struct pointer_put {
    const char *key, *file;
    uint64_t number;
    const char *if_match; /* "": only if there is nothing; NULL: in any case */
};
/* 0 also if it is there already. -ESTALE, -EEXIST: the condition failed. */
int pointer_put(struct fs *fs, const struct pointer_put *what) __attribute__((warn_unused_result));

#endif
