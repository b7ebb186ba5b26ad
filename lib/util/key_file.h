/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key_file.h - secret keys of 256 bits in a file: one a line, "ID HEX" with 64 hex digits, '#'
 * begins a comment. The first one makes, all of them check and open: a key is rotated by a new line
 * on top, and the old one goes when nothing of it is left. No state: any thread.
 */
#ifndef UTIL_KEY_FILE_H
#define UTIL_KEY_FILE_H

#include <stddef.h>

#include "util/error.h"

enum { KEY_FILE_KEYS = 16, KEY_FILE_KEY_SIZE = 32, KEY_FILE_ID_MAX = 32 };

struct key_file_key {
    char id[KEY_FILE_ID_MAX + 1];
    unsigned char bytes[KEY_FILE_KEY_SIZE];
};

struct key_file {
    struct key_file_key keys[KEY_FILE_KEYS];
    size_t count; /* at least 1 once read */
};

/* Make the file with one random key and mode 0600, and its directory with 0700, where there is
 * none. */
int key_file_make(const char *path, struct error *err) __attribute__((warn_unused_result));

/* -EINVAL: a line is not a key, or there is none; else why it cannot be read. What was in *ret
 * stays then. Warns in the log when others may read the file. */
int key_file_read(const char *path, struct key_file *ret, struct error *err)
    __attribute__((warn_unused_result));

/* The key of this id; NULL. */
const struct key_file_key *key_file_find(const struct key_file *keys, const char *id);

/* Overwrite what is in it. */
void key_file_wipe(struct key_file *keys);

#endif
