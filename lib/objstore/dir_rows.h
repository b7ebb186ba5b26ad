/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir_rows.h - objects that one connection to the index has read lately, told without asking it.
 *
 *     if (!dir_rows_find(rows, bucket, key, arena, &object)) {
 *         read it from the index, with nothing else open there
 *         dir_rows_keep(rows, bucket, key, &object);
 *     }
 *
 * A row counts as long as the head of SQLite's write-ahead log in shared memory is, to the last
 * bit, what it was before and after the row was read. Whoever commits changes that head before
 * his commit returns, whatever program he is, and so before anybody hears of the change; SQLite
 * itself goes by it to tell whether the pages that it holds are still good. So what is found here
 * is what SQLite would say at that moment, without its locks.
 *
 * A few hundred rows, those with few words; a newer one takes the place of an older one. Belongs
 * to its connection: one thread at a time, freed before that is closed.
 */
#ifndef OBJSTORE_DIR_ROWS_H
#define OBJSTORE_DIR_ROWS_H

#include <sqlite3.h>
#include <stdbool.h>

#include "objstore/dir_index.h"

struct dir_rows;

/* Of a connection that has read from its log already. NULL: it cannot be, or there is no memory. */
struct dir_rows *dir_rows_new(sqlite3 *db);
void dir_rows_free(struct dir_rows *rows); /* NULL is allowed */

/* The current version; the strings are copied into the arena. */
bool dir_rows_find(struct dir_rows *rows, const struct dir_bucket *bucket, const char *key,
                   struct arena *arena, struct dir_object *ret);
/* What the index has said since dir_rows_find() found nothing. */
void dir_rows_keep(struct dir_rows *rows, const struct dir_bucket *bucket, const char *key,
                   const struct dir_object *object);

#endif
