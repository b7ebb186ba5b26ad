/* SPDX-License-Identifier: Apache-2.0 */
/* live_private.h - the connection and its statements. Private to metaserver/live*.c. */
#ifndef METASERVER_LIVE_PRIVATE_H
#define METASERVER_LIVE_PRIVATE_H

#include <sqlite3.h>

#include "metaserver/live.h"
#include "util/mutex.h"

struct live {
    struct mutex lock;
    struct cond changed; /* position */
    sqlite3 *sqlite;
    uint64_t lease_ms;
    uint64_t position GUARDED_BY(lock);
};

int64_t live_now_ms(void);

/* Lock the connection and begin a transaction; live_end() unlocks, also when this has failed. */
int live_begin(struct live *live) ACQUIRES(&live->lock) __attribute__((warn_unused_result));
/* Commits if r is 0 or positive, else rolls back; r, or why it could not. */
int live_end(struct live *live, int r) RELEASES(&live->lock) __attribute__((warn_unused_result));

/*
 * A statement with its parameters: a letter each, 's' a text (const char *), 'i' an int64_t.
 * NULL: not possible. Texts must live until it is finalized.
 */
sqlite3_stmt *live_prepare(struct live *live, const char *sql, const char *types, ...)
    REQUIRES(&live->lock);
/* The same, run to its end. Returns how many rows were changed, or an error. */
int live_run(struct live *live, const char *sql, const char *types, ...) REQUIRES(&live->lock);
/* The same; the one number it gives. -ENOENT: no row. */
int live_number(struct live *live, int64_t *ret, const char *sql, const char *types, ...)
    REQUIRES(&live->lock);
const char *live_text(sqlite3_stmt *s, int column, struct arena *arena);

/* Locks were given up: who waits is to look again. */
void live_given_up(struct live *live) REQUIRES(&live->lock);
/* With all that it holds. Returns how many rows went. */
int live_drop(struct live *live, const char *session) REQUIRES(&live->lock);
/* As live_session_get(), in the caller's transaction. */
int live_check(struct live *live, const char *id, uint64_t epoch) REQUIRES(&live->lock);

#endif
