/* SPDX-License-Identifier: Apache-2.0 */
#include "util/sql.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

enum { STATEMENT_JOURNAL = 48 * 1024 /* then it is a file; by default 64 KiB */ };

void sql_set_up(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    (void)sqlite3_config(SQLITE_CONFIG_STMTJRNL_SPILL, STATEMENT_JOURNAL);
}

int sql_errno(int sqlite_code)
{
    switch (sqlite_code & 0xff) { /* the rest tells more than we need */
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_CONSTRAINT:
        return -EEXIST;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return -EACCES;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    default:
        return -EIO;
    }
}

int sql_execute(sqlite3 *db, const char *sql)
{
    return sql_errno(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

int sql_use_wal(sqlite3 *db, unsigned timeout_ms)
{
    enum { PAUSE_MS = 10 };
    int ret = sql_execute(db, "PRAGMA journal_mode=WAL");

    for (unsigned waited = 0; ret == -EBUSY && waited < timeout_ms; waited += PAUSE_MS) {
        (void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
        ret = sql_execute(db, "PRAGMA journal_mode=WAL");
    }
    return ret;
}

static int read_number(sqlite3 *db, const char *sql, int *ret)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    if (code == SQLITE_OK) {
        code = sqlite3_step(statement);
        *ret = sqlite3_column_int(statement, 0);
    }
    (void)sqlite3_finalize(statement);
    return sql_errno(code);
}

/* In a transaction. */
static int migrate(sqlite3 *db, const struct sql_schema *schema, struct error *err)
{
    int version = 0;
    int application = 0;
    char pragma[96];
    int ret = read_number(db, "PRAGMA user_version", &version);

    ret = ret == 0 ? read_number(db, "PRAGMA application_id", &application) : ret;
    if (ret == 0 && version != 0 && application != schema->application_id) {
        return error_set(err, -EUCLEAN, "the %s is another program's", schema->what);
    }
    if (ret == 0 && version > schema->version) {
        return error_set(
            err, -EUCLEAN,
            "the %s has format %d, this program knows up to %d: use the newer program, "
            "or restore an older backup",
            schema->what, version, schema->version);
    }
    for (int i = version; ret == 0 && i < schema->version; i++) {
        ret = sql_execute(db, schema->migrations[i]);
    }
    if (ret == 0 && version < schema->version) {
        (void)snprintf(pragma, sizeof(pragma), "PRAGMA user_version=%d; PRAGMA application_id=%d",
                       schema->version, schema->application_id);
        ret = sql_execute(db, pragma);
    }
    return ret;
}

int sql_migrate(sqlite3 *db, const struct sql_schema *schema, struct error *err)
{
    int ret = sql_execute(db, "BEGIN IMMEDIATE");

    if (ret != 0) {
        return error_set(err, ret, "cannot prepare the %s: %s", schema->what, sqlite3_errmsg(db));
    }
    ret = migrate(db, schema, err);
    ret = ret == 0 ? sql_execute(db, "COMMIT") : ret;
    if (ret != 0) {
        if (err != NULL && err->code == 0) {
            (void)error_set(err, ret, "cannot prepare the %s: %s", schema->what,
                            sqlite3_errmsg(db));
        }
        if (sql_execute(db, "ROLLBACK") != 0) {
            return ret; /* the handle is about to be closed, which rolls back as well */
        }
    }
    return ret;
}
