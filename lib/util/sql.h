/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sql.h - what our SQLite databases have in common: error codes and a schema that has a version.
 *
 * As thread-safe as the handle: ours are opened with NOMUTEX, so one thread at a time.
 */
#ifndef UTIL_SQL_H
#define UTIL_SQL_H

#include <sqlite3.h>

#include "util/error.h"

struct sql_schema {
    const char *what;   /* for messages: "database" */
    int application_id; /* PRAGMA application_id: tells our files from others */
    int version;        /* how many migrations there are */
    /* Each brings the schema from version i to i + 1; they are never changed, only added to. */
    const char *const *migrations;
};

/*
 * Before the first connection of a process: SQLite does not count its memory, for which each piece
 * would take a lock of all connections; and what it keeps to undo a statement by is a piece that
 * malloc() need not ask the system for, each time. Later it changes nothing.
 */
void sql_set_up(void);

/* 0 for OK, ROW and DONE; -EBUSY, -EEXIST (constraint), -ENOSPC, -ENOMEM, -EACCES, -EUCLEAN, -EIO.
 */
int sql_errno(int sqlite_code);

/* Statements without parameters or results. */
int sql_execute(sqlite3 *db, const char *sql) __attribute__((warn_unused_result));

/*
 * Write-ahead logging, for a database that several processes may open at once: while one changes
 * the mode, SQLite lets the others fail instead of waiting. -EBUSY: still so after timeout_ms.
 */
int sql_use_wal(sqlite3 *db, unsigned timeout_ms) __attribute__((warn_unused_result));

/*
 * Bring the schema up to date, all or nothing; several processes may try at once. -EUCLEAN: the
 * file is another program's, or newer than we are.
 */
int sql_migrate(sqlite3 *db, const struct sql_schema *schema, struct error *err)
    __attribute__((warn_unused_result));

#endif
