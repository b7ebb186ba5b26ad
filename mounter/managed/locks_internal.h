/* SPDX-License-Identifier: Apache-2.0 */
/* locks_internal.h - what locks.c (what is held, the handlers) and locks_wait.c (who waits) share.
 */
#ifndef MOUNTER_LOCKS_INTERNAL_H
#define MOUNTER_LOCKS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "mounter/fs.h"
#include "skyvol/meta/v1/meta.pb-c.h"

enum {
    HELD_MAX = 4096, /* owners with locks, of all files */
    KEPT_VERSION = 1,
    CALL_MS = 10000,
    SESSION_MS = 3000, /* so long a lock waits for a session */
    RETRY_MS = 50,
    POLL_MS = 10000,
    AGAIN_MS = 500,
    DEADLINE_MS = 60000, /* of who waits, moved on as long as it does */
};
static const uint64_t kept_magic = 0x736b796c6f636b73U; /* "skylocks" */

enum family { POSIX_LOCK, BSD_LOCK };

/* An owner has, or may have, locks of a file: noted before the metaserver is asked. */
struct held {
    uint32_t ino; /* 0: free; written last */
    uint8_t family;
    uint8_t lost;
    uint16_t reserved;
    uint64_t owner;
    char key[OBJSTORE_KEY_MAX + 8]; /* the name that was locked: it stays when the file is moved */
};

struct kept_locks {
    uint64_t magic;
    uint32_t version;
    uint32_t used; /* no record beyond is in use */
    struct held held[HELD_MAX];
};

/* One F_SETLK, flock() and the like. */
struct wish {
    uint32_t ino;
    enum family family;
    uint64_t owner;
    uint64_t start, end;
    uint32_t pid;
    int type; /* F_RDLCK, F_WRLCK, F_UNLCK */
    bool sleep;
    bool close; /* by close(2): all that the owner has */
};

struct waiter {
    TAILQ_ENTRY(waiter) link;
    struct op *op;
    struct wish wish;
    char key[OBJSTORE_KEY_MAX + 8];
    bool cancelled; /* guarded by the lock */
    int result;
};

TAILQ_HEAD(waiters, waiter);

struct locks {
    struct fs *fs;
    struct kept_locks *kept;
    struct mutex lock;
    struct cond changed;
    struct waiters waiting GUARDED_BY(lock);
    struct rpc_cancel *poll GUARDED_BY(lock);
    bool woken GUARDED_BY(lock); /* the list has changed: do not wait for the metaserver */
    bool quit GUARDED_BY(lock);
    pthread_t thread;
    bool started GUARDED_BY(lock);
    atomic_uint lost; /* records that are */
};

enum locks_ask { LOCKS_TRY, LOCKS_WAIT, LOCKS_TEST };

/* Ask the metaserver. 0 granted; -EAGAIN with the reply, which the caller frees in any case. */
int locks_acquire(struct locks *l, const struct wish *w, const char *key, enum locks_ask ask,
                  Skyvol__Meta__V1__AcquireLeaseResponse **ret) __attribute__((warn_unused_result));
/* `waiting`: only the wait ends. */
int locks_give_up(struct locks *l, const struct wish *w, const char *key, bool waiting)
    __attribute__((warn_unused_result));
/* Answer a lock that was granted (0) or not. */
void locks_end(struct locks *l, struct op *op, const struct wish *w, const char *key, int r);
/* From now on the op is the waiters', unless this fails. */
int locks_wait_for(struct locks *l, struct op *op, const struct wish *w, const char *key)
    __attribute__((warn_unused_result));

#endif
