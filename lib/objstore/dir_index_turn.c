/* SPDX-License-Identifier: Apache-2.0 */
/* When a connection that changes the index waits for others, and who moves its log. */
#include "objstore/dir_index_internal.h"
#include "util/clock.h"
#include "util/sql.h"

enum { PATIENCE_MS = 30000, PATIENCE_TO_MOVE_MS = 100 };

/* SQLite found it locked. Zero: it is to say so. */
static int wait_turn(void *arg, int tries)
{
    struct dir_index *index = arg;
    uint64_t now_ms = clock_monotonic_ms(clock_real());

    if (tries == 0) {
        index->busy_since_ms = now_ms;
    } else if (now_ms - index->busy_since_ms >= index->patience_ms) {
        return 0;
    }
    dir_turn_wait(&index->turn);
    return 1;
}

static int note_log(void *arg, sqlite3 *db, const char *database, int pages)
{
    struct dir_index *index = arg;

    (void)db;
    (void)database;
    index->log_pages = (uint64_t)pages;
    return SQLITE_OK;
}

int dir_index_take_turns(struct dir_index *index, const char *path)
{
    dir_turn_open(&index->turn, path);
    index->patience_ms = PATIENCE_MS;
    (void)sqlite3_wal_hook(index->db, note_log, index); /* instead of SQLite's own */
    return sql_errno(sqlite3_busy_handler(index->db, wait_turn, index));
}

uint64_t dir_index_log_pages(const struct dir_index *index)
{
    return index->log_pages;
}

int dir_index_move_log(struct dir_index *index, bool try)
{
    int logged = 0, moved = 0;
    int code =
        sqlite3_wal_checkpoint_v2(index->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &logged, &moved);

    if (code == SQLITE_OK && !try) {
        /* What came meanwhile, with writers kept out, so that there is an end and the log begins
         * again: else each commit would call for what the one before it has added. */
        index->patience_ms = PATIENCE_TO_MOVE_MS;
        dir_turn_begin(&index->turn);
        code = sqlite3_wal_checkpoint_v2(index->db, NULL, SQLITE_CHECKPOINT_FULL, &logged, &moved);
        (void)dir_turn_end(&index->turn);
        index->patience_ms = PATIENCE_MS;
    }
    return code == SQLITE_BUSY ? 0 : sql_errno(code);
}
