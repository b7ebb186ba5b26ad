/* SPDX-License-Identifier: Apache-2.0 */
/* Byte-range locks of the sessions: conflicts, splitting, and circles of owners who wait. */
#include <errno.h>
#include <string.h>

#include "metaserver/live_private.h"

enum {
    WAITING_MS = 30000,
    CIRCLE_MAX = 64, /* owners that are looked at; a larger circle waits for its session's end */
};

/* What is in the way of a range: ?1 volume, ?2 key, ?3 family, ?4 start, ?5 last, ?6 exclusive,
 * ?7 session, ?8 owner. */
#define IN_THE_WAY                                                                                 \
    " l.volume = ?1 AND l.key = ?2 AND l.family = ?3 AND l.start <= ?5 AND l.last >= ?4 AND"       \
    " (l.exclusive OR ?6) AND NOT (l.session = ?7 AND l.owner = ?8)"
/* What an owner has in a range: the same parameters but for ?6, which is not looked at. */
#define OF_OWNER                                                                                   \
    " volume = ?1 AND key = ?2 AND family = ?3 AND start <= ?5 AND last >= ?4 AND ?6 = ?6 AND"     \
    " session = ?7 AND owner = ?8"

struct range {
    const char *volume, *session;
    const struct live_lock *lock;
};

#define RANGE_TYPES "ssiiiisi"
#define RANGE_VALUES(r)                                                                            \
    (r)->volume, (r)->lock->key, (int64_t)(r)->lock->family, (int64_t)(r)->lock->start,            \
        (int64_t)(r)->lock->end, (int64_t)(r)->lock->exclusive, (r)->session,                      \
        (int64_t)(r)->lock->owner

/* Returns how many rows went. */
static int punch(struct live *live, const struct range *r) REQUIRES(&live->lock)
{
    int n = live_run(live,
                     "INSERT INTO lock(volume, key, family, exclusive, start, last, session, owner,"
                     " pid) SELECT volume, key, family, exclusive, start, ?4 - 1, session, owner,"
                     " pid FROM lock WHERE start < ?4 AND" OF_OWNER,
                     RANGE_TYPES, RANGE_VALUES(r));

    n = n < 0 ? n
              : live_run(live,
                         "INSERT INTO lock(volume, key, family, exclusive, start, last, session,"
                         " owner, pid) SELECT volume, key, family, exclusive, ?5 + 1, last,"
                         " session, owner, pid FROM lock WHERE last > ?5 AND" OF_OWNER,
                         RANGE_TYPES, RANGE_VALUES(r));
    n = n < 0 ? n : live_run(live, "DELETE FROM lock WHERE" OF_OWNER, RANGE_TYPES, RANGE_VALUES(r));
    if (n > 0) {
        live_given_up(live);
    }
    return n;
}

/* -EAGAIN with *ret, or 0. */
static int find_conflict(struct live *live, const struct range *r, struct arena *arena,
                         struct live_answer *ret) REQUIRES(&live->lock)
{
    sqlite3_stmt *s =
        live_prepare(live,
                     "SELECT l.exclusive, l.start, l.last, l.pid, s.node, l.session = ?7, l.owner"
                     " FROM lock l JOIN session s ON s.id = l.session WHERE" IN_THE_WAY
                     " ORDER BY l.start LIMIT 1",
                     RANGE_TYPES, RANGE_VALUES(r));
    int n = 0;

    if (s == NULL) {
        return -EIO;
    }
    if (sqlite3_step(s) == SQLITE_ROW) {
        ret->lock = *r->lock;
        ret->lock.exclusive = sqlite3_column_int(s, 0) != 0;
        ret->lock.start = (uint64_t)sqlite3_column_int64(s, 1);
        ret->lock.end = (uint64_t)sqlite3_column_int64(s, 2);
        ret->lock.pid = (uint32_t)sqlite3_column_int64(s, 3);
        ret->lock.owner = (uint64_t)sqlite3_column_int64(s, 6);
        ret->node = live_text(s, 4, arena);
        ret->same_session = sqlite3_column_int(s, 5) != 0;
        n = ret->node == NULL ? -ENOMEM : -EAGAIN;
    }
    (void)sqlite3_finalize(s);
    return n;
}

/* ---- circles ---- */

struct waiter {
    const char *session;
    uint64_t owner;
};

struct search {
    struct waiter seen[CIRCLE_MAX];
    size_t count;
    struct waiter closer; /* of the circle, if one is found */
    struct arena *arena;
};

static bool same(const struct waiter *a, const struct waiter *b)
{
    return a->owner == b->owner && strcmp(a->session, b->session) == 0;
}

/* Add those who are in the way of a waiter; true: the closer is one. */
static bool add_blockers(struct live *live, struct search *search, const struct range *r)
    REQUIRES(&live->lock)
{
    sqlite3_stmt *s =
        live_prepare(live, "SELECT DISTINCT l.session, l.owner FROM lock l WHERE" IN_THE_WAY,
                     RANGE_TYPES, RANGE_VALUES(r));
    bool closed = false;

    while (s != NULL && !closed && sqlite3_step(s) == SQLITE_ROW) {
        const struct waiter one = {live_text(s, 0, search->arena),
                                   (uint64_t)sqlite3_column_int64(s, 1)};
        bool known = one.session == NULL || search->count == CIRCLE_MAX;

        closed = one.session != NULL && same(&one, &search->closer);
        for (size_t i = 0; i < search->count && !known; i++) {
            known = same(&one, &search->seen[i]);
        }
        if (!known) {
            search->seen[search->count++] = one;
        }
    }
    (void)sqlite3_finalize(s);
    return closed;
}

/* What `waiter` waits for, if it waits. */
static bool follow(struct live *live, struct search *search, const struct waiter *waiter)
    REQUIRES(&live->lock)
{
    sqlite3_stmt *s =
        live_prepare(live,
                     "SELECT volume, key, exclusive, start, last FROM waiting WHERE session = ?1"
                     " AND owner = ?2 AND family = 0 AND until_ms > ?3",
                     "sii", waiter->session, (int64_t)waiter->owner, live_now_ms());
    struct live_lock lock = {.family = LIVE_POSIX, .owner = waiter->owner};
    struct range range = {.session = waiter->session, .lock = &lock};
    bool waits = s != NULL && sqlite3_step(s) == SQLITE_ROW;

    if (waits) {
        range.volume = live_text(s, 0, search->arena);
        lock.key = live_text(s, 1, search->arena);
        lock.exclusive = sqlite3_column_int(s, 2) != 0;
        lock.start = (uint64_t)sqlite3_column_int64(s, 3);
        lock.end = (uint64_t)sqlite3_column_int64(s, 4);
    }
    (void)sqlite3_finalize(s);
    return waits && range.volume != NULL && lock.key != NULL && add_blockers(live, search, &range);
}

static bool closes_circle(struct live *live, const struct range *r, struct arena *arena)
    REQUIRES(&live->lock)
{
    struct search search = {.arena = arena, .closer = {r->session, r->lock->owner}};
    bool closed = add_blockers(live, &search, r);

    for (size_t i = 0; i < search.count && !closed; i++) {
        const struct waiter next = search.seen[i];

        closed = follow(live, &search, &next);
    }
    return closed;
}

static int stop_waiting(struct live *live, const struct range *r) REQUIRES(&live->lock)
{
    return live_run(live, "DELETE FROM waiting WHERE session = ?1 AND owner = ?2 AND family = ?3",
                    "sii", r->session, (int64_t)r->lock->owner, (int64_t)r->lock->family);
}

static int start_waiting(struct live *live, const struct range *r) REQUIRES(&live->lock)
{
    return live_run(live,
                    "INSERT OR REPLACE INTO waiting VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                    "sissiiiii", r->session, (int64_t)r->lock->owner, r->volume, r->lock->key,
                    (int64_t)r->lock->family, (int64_t)r->lock->exclusive, (int64_t)r->lock->start,
                    (int64_t)r->lock->end, live_now_ms() + WAITING_MS);
}

/* ---- lock and unlock ---- */

/* Adjoining ones of the same kind become one. Returns a negative value, or 0 with *ret_id. */
static int take(struct live *live, const struct range *r, int64_t *ret_id) REQUIRES(&live->lock)
{
    struct live_lock whole = *r->lock;
    struct range wide = {r->volume, r->session, &whole};
    int64_t count = 0;
    int64_t number = 0;
    int n =
        live_number(live, &count, "SELECT count(*) FROM lock WHERE session = ?1", "s", r->session);

    if (n < 0 || count >= LIVE_LOCKS_MAX) {
        return n < 0 ? n : -ENOLCK;
    }
    whole.start -= whole.start > 0;
    whole.end += whole.end < INT64_MAX;
    n = live_number(live, &number,
                    "SELECT min(start) FROM lock WHERE exclusive = ?6 AND" OF_OWNER
                    " HAVING count(*) > 0",
                    RANGE_TYPES, RANGE_VALUES(&wide));
    if (n == 0) {
        n = live_number(live, &count,
                        "SELECT max(last) FROM lock WHERE exclusive = ?6 AND" OF_OWNER
                        " HAVING count(*) > 0",
                        RANGE_TYPES, RANGE_VALUES(&wide));
    }
    whole = *r->lock;
    if (n == 0) { /* there are some */
        whole.start = (uint64_t)number < whole.start ? (uint64_t)number : whole.start;
        whole.end = (uint64_t)count > whole.end ? (uint64_t)count : whole.end;
    }
    n = n == -ENOENT ? 0 : n;
    n = n < 0 ? n : punch(live, &wide);
    n = n < 0 ? n
              : live_run(live,
                         "INSERT INTO lock(volume, key, family, start, last, exclusive, session,"
                         " owner, pid) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                         RANGE_TYPES "i", RANGE_VALUES(&wide), (int64_t)whole.pid);
    *ret_id = sqlite3_last_insert_rowid(live->sqlite);
    return n < 0 ? n : 0;
}

/* On a conflict, what is to be committed all the same; else rolled back. */
static int refuse(struct live *live, const struct range *r, enum live_lock_how how,
                  struct arena *arena) REQUIRES(&live->lock)
{
    if (how != LIVE_LOCK_WAIT) {
        return 0;
    }
    if (r->lock->family == LIVE_POSIX && closes_circle(live, r, arena)) {
        int n = stop_waiting(live, r);

        return n < 0 ? n : -EDEADLK;
    }
    return start_waiting(live, r);
}

int live_lock(struct live *live, const struct live_session *session, const struct live_lock *lock,
              enum live_lock_how how, struct arena *arena, struct live_answer *ret)
{
    const struct range range = {session->volume, session->id, lock};
    int answer = 0;
    int n = live_begin(live);

    n = n < 0 ? n : live_check(live, session->id, session->epoch);
    if (n == 0 && lock->family == LIVE_FLOCK && how != LIVE_LOCK_TEST) {
        n = punch(live, &range); /* flock(2): a conversion gives up first what it had */
    }
    answer = n < 0 ? n : find_conflict(live, &range, arena, ret);
    if (answer == -EAGAIN) {
        n = refuse(live, &range, how, arena);
        answer = n == -EDEADLK ? n : answer;
        n = n == -EDEADLK ? 0 : n;
    } else if (answer == 0 && how != LIVE_LOCK_TEST) {
        n = stop_waiting(live, &range);
        n = n < 0 ? n : take(live, &range, &ret->id);
    } else {
        n = answer;
    }
    n = live_end(live, n);
    return n < 0 ? n : answer;
}

int live_unlock(struct live *live, const struct live_session *session, const struct live_lock *lock)
{
    const struct range range = {session->volume, session->id, lock};
    int n = live_begin(live);

    n = n < 0 ? n : live_check(live, session->id, session->epoch);
    n = n < 0 ? n : stop_waiting(live, &range);
    n = n < 0 ? n : punch(live, &range);
    n = live_end(live, n);
    return n < 0 ? n : 0;
}

int live_stop_waiting(struct live *live, const struct live_session *session,
                      const struct live_lock *lock)
{
    const struct range range = {session->volume, session->id, lock};
    int n = live_begin(live);

    n = n < 0 ? n : stop_waiting(live, &range);
    n = live_end(live, n);
    return n < 0 ? n : 0;
}

int live_unlock_id(struct live *live, const struct live_session *session, int64_t id)
{
    int n = live_begin(live);

    n = n < 0 ? n : live_check(live, session->id, session->epoch);
    n = n < 0 ? n
              : live_run(live, "DELETE FROM lock WHERE id = ?1 AND session = ?2", "is", id,
                         session->id);
    if (n > 0) {
        live_given_up(live);
    }
    n = live_end(live, n);
    return n < 0 ? n : 0;
}
