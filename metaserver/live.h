/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live.h - what lives only as long as a volume is mounted: sessions, and the locks they hold.
 *
 * A SQLite file of its own beside the database. Its commits are not flushed to the disk one by one:
 * it survives the death of the metaserver, and of a power failure at most the last moments are
 * missing (their sessions are then NOT_FOUND to who held them, as after a lapse). It needs no
 * backup. Times of leases are those of a clock that counts from the machine's start: live_open()
 * grants every session a full lease anew.
 *
 * Any thread; one connection under one lock. Strings of results are copied into the caller's arena.
 */
#ifndef METASERVER_LIVE_H
#define METASERVER_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/arena.h"
#include "util/cleanup.h"
#include "util/error.h"

struct live;

int live_open(const char *path, uint64_t lease_ms, struct live **ret, struct error *err)
    __attribute__((warn_unused_result));
void live_close(struct live *live); /* NULL is allowed */
DEFINE_CLEANUP(struct live *, live_close);
uint64_t live_lease_ms(const struct live *live);

/* ---- sessions ---- */

struct live_session {
    const char *id; /* secret */
    const char *volume, *node, *mount;
    bool read_only, exclusive;
    uint64_t epoch;
    int64_t opened_ns;
    uint64_t left_ms; /* of its lease */
    uint32_t locks;
};

/*
 * `session` without id, epoch and times: they are set. Fences what the same mount of the node had.
 * -EBUSY: another node has the volume, and it or we want it alone; `err` names it and tells when
 * its lease ends.
 */
int live_session_add(struct live *live, struct live_session *session, struct arena *arena,
                     struct error *err) __attribute__((warn_unused_result));
/* -ENOENT: it has lapsed, or never was; -ESTALE: fenced, or of another epoch. */
int live_session_get(struct live *live, const char *id, uint64_t epoch, struct arena *arena,
                     struct live_session *ret) __attribute__((warn_unused_result));
int live_session_renew(struct live *live, const char *id, uint64_t epoch)
    __attribute__((warn_unused_result));
/* With all its locks. *ret_volume: whose it was. 0 also if there is none. */
int live_session_remove(struct live *live, const char *id, uint64_t epoch)
    __attribute__((warn_unused_result));
/* Those of a volume; "": of all. At most 1000. */
int live_session_list(struct live *live, const char *volume, struct arena *arena,
                      struct live_session **ret, size_t *ret_count)
    __attribute__((warn_unused_result));
/* The same question alone: 0, or -EBUSY. */
int live_check_alone(struct live *live, const struct live_session *session, struct error *err)
    __attribute__((warn_unused_result));
/* *ret: no other session has its volume. */
int live_session_alone(struct live *live, const struct live_session *session, bool *ret)
    __attribute__((warn_unused_result));
/* -EBUSY: somebody has the volume mounted; `err` says which nodes. */
int live_check_unused(struct live *live, const char *volume, struct error *err)
    __attribute__((warn_unused_result));
/* End what has lapsed. Returns how many, or an error. */
int live_sweep(struct live *live) __attribute__((warn_unused_result));

struct live_usage {
    int64_t grown, unpublished; /* bytes */
    uint64_t instance;          /* of the process: with another, `grown` begins anew */
};
/* What the session has added since it began; *ret: all others' of its volume. */
int live_usage(struct live *live, const struct live_session *session, const struct live_usage *own,
               struct live_usage *ret) __attribute__((warn_unused_result));

struct live_counts {
    uint64_t sessions, locks;
};
int live_count(struct live *live, struct live_counts *ret) __attribute__((warn_unused_result));

/* ---- locks ---- */

enum live_family { LIVE_POSIX = 0, LIVE_FLOCK = 1 };

struct live_lock {
    const char *key;
    enum live_family family;
    bool exclusive;
    uint64_t start, end; /* the last byte, at most INT64_MAX */
    uint64_t owner;
    uint32_t pid;
};

/* What live_lock() tells. */
struct live_answer {
    int64_t id; /* of the lock that was taken */
    /* What is in the way: its lock, whose; the lock's key is not set. */
    struct live_lock lock;
    const char *node;
    bool same_session;
};

enum live_lock_how {
    LIVE_LOCK_TRY,
    LIVE_LOCK_TEST, /* take nothing */
    LIVE_LOCK_WAIT, /* if it is not granted, the owner waits: he is part of the search for circles
                     */
};

enum { LIVE_LOCKS_MAX = 65536 /* of one session */ };

/*
 * 0: taken. -EAGAIN: another is in the way. -EDEADLK: waiting would close a
 * circle. -ENOLCK: the session has too many. Those of live_session_get().
 */
int live_lock(struct live *live, const struct live_session *session, const struct live_lock *lock,
              enum live_lock_how how, struct arena *arena, struct live_answer *ret)
    __attribute__((warn_unused_result));
/* What the owner has in the range; his waiting ends, too. */
int live_unlock(struct live *live, const struct live_session *session,
                const struct live_lock *range) __attribute__((warn_unused_result));
/* The owner does not wait (any longer). */
int live_stop_waiting(struct live *live, const struct live_session *session,
                      const struct live_lock *lock) __attribute__((warn_unused_result));
int live_unlock_id(struct live *live, const struct live_session *session, int64_t id)
    __attribute__((warn_unused_result));

/* Grows whenever a lock of any volume is given up. */
uint64_t live_position(struct live *live);
/* Until it is not `position` any more, or timeout_ms are over. Returns what it is now. */
uint64_t live_wait(struct live *live, uint64_t position, uint64_t timeout_ms);

#endif
