/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/dir_gather.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* From SQLite's description of the log's format: the head of a page, in which the second word is
 * not 0 if the page ends a transaction. */
enum { PAGE_HEAD = 24, PAGE_USUAL = 4096 };
/* SQLite's own code for files writes no more than 131071 bytes at once. */
enum { ROOM = 31 * (PAGE_HEAD + PAGE_USUAL) };
_Static_assert(ROOM < 1 << 17, "SQLite writes more in parts, or not at all");

struct dir_gather_log {
    sqlite3_file file; /* first: SQLite knows no more of us */
    bool on;
    bool last;        /* the head of the page that ends the transaction has come */
    int failed;       /* SQLite's code: no write or flush succeeds until the end */
    sqlite3_int64 at; /* where the bytes belong */
    int len;
    char *bytes; /* ROOM; NULL: there was no commit yet */
    /* SQLite's own follows */
};

/* Where SQLite's own file begins, which wants to be aligned. */
enum { OWN = (sizeof(struct dir_gather_log) + 15) / 16 * 16 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static sqlite3_vfs gathering;
static sqlite3_vfs *plain;
static bool usable;

static struct dir_gather_log *log_of(sqlite3_file *file)
{
    return (struct dir_gather_log *)(void *)file;
}

static sqlite3_file *own(struct dir_gather_log *log)
{
    return (sqlite3_file *)(void *)((char *)log + OWN);
}

static int write_out(struct dir_gather_log *log)
{
    if (log->len > 0 && log->failed == SQLITE_OK) {
        log->failed = own(log)->pMethods->xWrite(own(log), log->bytes, log->len, log->at);
    }
    log->len = 0;
    return log->failed;
}

/* Before anything that is no continuation. What follows may write again what has been written: the
 * heads of pages, without the pages. */
static int settle(sqlite3_file *file)
{
    struct dir_gather_log *log = log_of(file);

    log->on = log->on && log->len == 0;
    return write_out(log);
}

static bool ends_transaction(const void *bytes, int len)
{
    static const char none[4];

    return len == PAGE_HEAD && memcmp((const char *)bytes + 4, none, sizeof(none)) != 0;
}

static int log_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at)
{
    struct dir_gather_log *log = log_of(file);
    bool last = log->last;
    int code = log->failed;

    if (log->len > 0 && at != log->at + log->len) {
        code = settle(file);
    } else if (log->len + len > ROOM) {
        code = write_out(log);
    }
    if (code != SQLITE_OK) {
        return code;
    }
    if (!log->on || len > ROOM || at == 0) { /* there a log begins, and is flushed at once */
        return own(log)->pMethods->xWrite(own(log), bytes, len, at);
    }
    if (log->len == 0) {
        log->at = at;
    }
    memcpy(log->bytes + log->len, bytes, (size_t)len);
    log->len += len;
    log->last = ends_transaction(bytes, len);
    return last ? settle(file) : SQLITE_OK;
}

static int log_read(sqlite3_file *file, void *bytes, int len, sqlite3_int64 at)
{
    /* What was there before a write failed can be read, to undo. */
    int code = log_of(file)->len > 0 ? settle(file) : SQLITE_OK;

    return code != SQLITE_OK
               ? code
               : own(log_of(file))->pMethods->xRead(own(log_of(file)), bytes, len, at);
}

static int log_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    int code = settle(file);

    return code != SQLITE_OK ? code
                             : own(log_of(file))->pMethods->xTruncate(own(log_of(file)), size);
}

static int log_sync(sqlite3_file *file, int flags)
{
    int code = settle(file);

    return code != SQLITE_OK ? code : own(log_of(file))->pMethods->xSync(own(log_of(file)), flags);
}

static int log_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    int code = settle(file);

    return code != SQLITE_OK ? code
                             : own(log_of(file))->pMethods->xFileSize(own(log_of(file)), ret);
}

static int log_control(sqlite3_file *file, int command, void *argument)
{
    int code = settle(file);

    return code != SQLITE_OK
               ? code
               : own(log_of(file))->pMethods->xFileControl(own(log_of(file)), command, argument);
}

static int log_close(sqlite3_file *file)
{
    struct dir_gather_log *log = log_of(file);

    free(log->bytes);
    log->bytes = NULL;
    return own(log)->pMethods->xClose(own(log));
}

/* Nobody locks the log itself: SQLite locks its index. */
static int log_lock(sqlite3_file *file, int kind)
{
    return own(log_of(file))->pMethods->xLock(own(log_of(file)), kind);
}

static int log_unlock(sqlite3_file *file, int kind)
{
    return own(log_of(file))->pMethods->xUnlock(own(log_of(file)), kind);
}

static int log_reserved(sqlite3_file *file, int *ret)
{
    return own(log_of(file))->pMethods->xCheckReservedLock(own(log_of(file)), ret);
}

static int log_sector(sqlite3_file *file)
{
    return own(log_of(file))->pMethods->xSectorSize(own(log_of(file)));
}

static int log_device(sqlite3_file *file)
{
    return own(log_of(file))->pMethods->xDeviceCharacteristics(own(log_of(file)));
}

/* The first version: no shared memory and no mapping, which are the database's. */
static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = log_close,
    .xRead = log_read,
    .xWrite = log_write,
    .xTruncate = log_truncate,
    .xSync = log_sync,
    .xFileSize = log_size,
    .xLock = log_lock,
    .xUnlock = log_unlock,
    .xCheckReservedLock = log_reserved,
    .xFileControl = log_control,
    .xSectorSize = log_sector,
    .xDeviceCharacteristics = log_device,
};

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                     int *ret_flags)
{
    struct dir_gather_log *log = log_of(file);
    int code;

    (void)vfs;
    if ((flags & SQLITE_OPEN_WAL) == 0) {
        return plain->xOpen(plain, name, file, flags, ret_flags);
    }
    *log = (struct dir_gather_log){.on = false};
    own(log)->pMethods = NULL;
    code = plain->xOpen(plain, name, own(log), flags, ret_flags);
    /* SQLite closes what has methods, whatever the code is. */
    log->file.pMethods = own(log)->pMethods != NULL ? &methods : NULL;
    return code;
}

static void set_up(void)
{
    plain = sqlite3_vfs_find(NULL);
    if (plain == NULL) {
        return;
    }
    gathering = *plain;
    gathering.pNext = NULL;
    gathering.zName = "skyvol-gathered";
    gathering.szOsFile = OWN + plain->szOsFile;
    gathering.xOpen = open_file;
    usable = sqlite3_vfs_register(&gathering, 0) == SQLITE_OK;
}

const char *dir_gather_vfs(void)
{
    (void)pthread_once(&once, set_up);
    return usable ? gathering.zName : NULL;
}

void dir_gather_begin(sqlite3 *db, struct dir_gather *gather)
{
    sqlite3_file *file = NULL;
    struct dir_gather_log *log;

    gather->log = NULL;
    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file) != SQLITE_OK ||
        file == NULL || file->pMethods != &methods) {
        return;
    }
    log = log_of(file);
    if (log->bytes == NULL) {
        log->bytes = malloc(ROOM);
    }
    log->on = log->bytes != NULL;
    gather->log = log;
}

void dir_gather_end(struct dir_gather *gather)
{
    struct dir_gather_log *log = gather->log;

    if (log != NULL) {
        log->on = log->last = false;
        log->failed = SQLITE_OK;
        log->len = 0;
        gather->log = NULL;
    }
}
