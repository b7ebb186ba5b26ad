/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir_gather.h - what a commit adds to SQLite's write-ahead log is written by one call.
 *
 *     sqlite3_open_v2(path, &db, flags, dir_gather_vfs());
 *     ...
 *     dir_gather_begin(db, &gather);
 *     sqlite3_step(commit);
 *     dir_gather_end(&gather);
 *
 * SQLite writes each page by two calls: 24 bytes that are its head, and the page. Between begin and
 * end what continues the write before it is kept in memory, and goes to the file
 *
 *   - with the page whose head says that it ends the transaction,
 *   - when there is no room for more,
 *   - before anything else is done to the file: a flush, a read, a write somewhere else; and then
 *     whatever follows is written as it comes.
 *
 * So the file is what SQLite takes it for before it tells others of the commit (by the log's index,
 * in shared memory), and an error is told by the very write that ends the transaction, or by the
 * flush: both make the commit fail. What is left at the end was never part of a commit and is
 * dropped: another connection may have the lock by then. For the same reason nothing is gathered
 * but in a commit; pages that a large transaction writes earlier are of one that may be undone.
 *
 * Only for connections with synchronous=FULL, where a flush precedes the news in any case. The
 * database itself and all other files are SQLite's as ever, the locks, too.
 *
 * Any thread; a connection with its gather is one thread's at a time.
 */
#ifndef OBJSTORE_DIR_GATHER_H
#define OBJSTORE_DIR_GATHER_H

#include <sqlite3.h>

/* The name to open by. NULL, which is the default one's: it cannot be had, and nothing is gathered.
 */
const char *dir_gather_vfs(void);

struct dir_gather_log;
struct dir_gather {
    struct dir_gather_log *log; /* NULL: nothing is gathered */
};

/* Until the end the connection may not be closed, nor leave WAL mode. */
void dir_gather_begin(sqlite3 *db, struct dir_gather *gather);
void dir_gather_end(struct dir_gather *gather);

#endif
