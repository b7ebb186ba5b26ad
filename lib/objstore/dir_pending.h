/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir_pending.h - small objects, whose files are made in groups. Internal to the directory backend.
 *
 * A small object has its bytes in a row of the index's table `pending`, made by the transaction
 * that names its file, whose flush is the only one of the write. About once a second one process of
 * those that have the store open writes the files of the rows, makes all of them durable by one
 * call and removes the rows. What was replaced or deleted by then has no row any more: no file is
 * made of it. Until there is a file, whole, who reads takes the row (dir_open.c).
 *
 * What a loss of power leaves of the rows is written to files anew by who opens the store first:
 * all of it, as nobody knows which of the files are whole. Files have names that are never used
 * twice, so that this brings nothing back. Who opens a store that others have open does the same
 * with the next flush: what those know of a flush that failed ends with them.
 *
 * The same thread removes the files that are garbage. The same call makes that durable: their rows
 * of the table `garbage` go after it, as a file that a loss of power brings back would be nobody's.
 *
 * Where a flush fails the rows stay, and their files are written anew before the next one: the
 * kernel gives up pages that it could not write. Until one succeeds, where too many rows wait, and
 * on file systems that cannot tell of such failures, each write makes and flushes its own file.
 */
#ifndef OBJSTORE_DIR_PENDING_H
#define OBJSTORE_DIR_PENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "objstore/dir_files.h"

/* One of them lasts as long as its files do. */
struct dir_pending;

/* Bytes of the largest. Beyond it writing them twice costs more than the flushes of the file: rows
 * are written to the log, from there to the database. */
enum { DIR_PENDING_MAX = 16 * 1024 };

/* Writes what is left of another time's rows; starts a thread. `name`: of the store, for logs. */
int dir_pending_open(struct dir_files *files, const char *index, bool durable, const char *name,
                     struct dir_pending **ret, struct error *err)
    __attribute__((warn_unused_result));
/* Flushes what there is. NULL is allowed. */
void dir_pending_close(struct dir_pending *pending);

/* Whether a file of this size is to have a row instead of its own flush. Any thread. */
bool dir_pending_takes(struct dir_pending *pending, uint64_t size);
/* A row is about to be made. */
void dir_pending_count(struct dir_pending *pending);

/* The index's log is long enough to be moved into the database. Any thread. */
void dir_pending_move_log(struct dir_pending *pending);

/* There are files that are garbage, and their room is wanted. Any thread. */
void dir_pending_collect_soon(struct dir_pending *pending);
/* The same, for who cannot go on without: returns when a look for garbage that began after the call
 * has ended, or after a while. */
void dir_pending_collect_now(struct dir_pending *pending);

#endif
