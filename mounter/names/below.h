/* SPDX-License-Identifier: Apache-2.0 */
/*
 * below.h - how many of a set of keys lie below each directory.
 *
 *     struct below below = {0};
 *
 *     below_add(&below, "a/b/c");
 *     below_count(&below, "a/")             1; so has "a/b/", and "a/b/c" has 0
 *     below_remove(&below, "a/b/c");
 *     below_done(&below);
 *
 * A key counts for each of its own beginnings that end in '/' and are shorter than it. The time is
 * that of the key's length, whatever the set has. Nothing fails: without memory it counts no more
 * until the set is empty, and below_known() says so. Not thread-safe.
 */
#ifndef MOUNTER_BELOW_H
#define MOUNTER_BELOW_H

#include <stdbool.h>
#include <stdint.h>

struct below_dir;

struct below {
    struct below_dir *dirs;
    uint32_t keys;
    bool lost; /* a count is missing */
};

/* Each key is added once, and removed once. */
void below_add(struct below *below, const char *key);
void below_remove(struct below *below, const char *key);
void below_done(struct below *below);

/* Whether below_count() can be believed. */
bool below_known(const struct below *below);
/* `dir` ends in '/'. */
uint32_t below_count(const struct below *below, const char *dir);

#endif
