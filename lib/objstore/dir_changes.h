/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir_changes.h - a number that all processes of one directory store share and count up whenever
 * the documents of a bucket may have changed: the file `changes`, mapped.
 *
 * It is counted up after the commit and before anybody is told of it, and whenever the store is
 * opened: a process that died between the two is followed by another one. Any thread.
 */
#ifndef OBJSTORE_DIR_CHANGES_H
#define OBJSTORE_DIR_CHANGES_H

#include <stdatomic.h>
#include <stdint.h>

/* NULL where there is no room for the file, or no shared memory: then nobody can be told. */
atomic_uint_least64_t *dir_changes_open(const char *root);
/* Both take NULL. */
void dir_changes_close(atomic_uint_least64_t *changes);
void dir_changes_count(atomic_uint_least64_t *changes);

#endif
