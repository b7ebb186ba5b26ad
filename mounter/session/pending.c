/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/session/pending.h"

#include <assert.h>
#include <errno.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/session/eio.h"
#include "mounter/session/reply_errno.h"
#include "mounter/session/session_internal.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/file.h"

/*
 * Who answers:
 *
 *   WAITING --pending_claim, pending_reply_*--> CLAIMED --replied--> freed
 *      \--deadline, interrupt (watch thread)--> EXPIRED --pending_reply_*: -ECANCELED--> freed
 *
 * (NEW: in pending_begin() only, while nobody may answer because libfuse is being told of it.)
 *
 * A pending is in session->pendings from begin until it is freed. Only pending_reply_*() frees it,
 * so the operation's pointer is good until then. While the watch runs a cancel callback, the
 * pending is session->cancelling, and whoever ends it waits; the watch itself, ending it from
 * within the callback, does not, and takes the mark away so that nobody looks at it again.
 */
enum { LOOK_MS = 100, LOOK_SELDOM_MS = 1000 };

enum pending_state { PENDING_NEW, PENDING_WAITING, PENDING_CLAIMED, PENDING_EXPIRED };

struct pending {
    struct session *session; /* constant, like the next five */
    fuse_req_t req;
    uint64_t unique;
    uint64_t begun_ms;
    int slot;
    bool replay;
    uint32_t pid; /* the thread that waits; 0: not of our PID namespace */

    /* Guarded by session->lock. */
    enum pending_state state;
    bool interruptible;
    bool any_signal; /* interrupts; else only one that kills */
    bool interrupted;
    uint64_t look_ms;     /* when to look next whether the interrupted thread is being killed */
    uint64_t deadline_ms; /* monotonic */
    pending_cancel_fn *cancel;
    void *context;
    TAILQ_ENTRY(pending) link;
};

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

/* FORGETs have no answer, not even an error. */
static void refuse(fuse_req_t req, const struct dispatch *d, int errnum)
{
    const struct fuse_in_header *in = slots_data(d->session->slots, d->slot);

    if (in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET) {
        fuse_reply_none(req);
    } else {
        eio_log(in->opcode, in->nodeid, errnum);
        (void)fuse_reply_err(req, reply_errno(errnum, in->opcode));
    }
}

/*
 * libfuse calls this with the request's own lock held, perhaps from fuse_req_interrupt_func(),
 * which would touch the request after an answer has freed it. So the watch answers, not we.
 * `req` is compared, not used: the pending may have gone.
 */
static void interrupted(fuse_req_t req, void *data)
{
    struct session *s = data;
    struct pending *p;

    mutex_lock(&s->lock);
    TAILQ_FOREACH (p, &s->pendings, link) {
        if (p->req == req) {
            p->interrupted = true;
            p->look_ms = 0;
            cond_signal(&s->watched);
            break;
        }
    }
    mutex_unlock(&s->lock);
}

struct pending *pending_begin(fuse_req_t req)
{
    struct dispatch *d = &session_dispatch;
    struct session *s = d->session;
    struct pending *p = calloc(1, sizeof(*p));

    assert(s != NULL); /* called outside a handler */
    if (p == NULL) {
        refuse(req, d, ENOMEM);
        return NULL;
    }
    p->session = s;
    p->req = req;
    p->unique = d->unique;
    p->slot = d->slot;
    p->replay = d->replay;
    p->pid = ((const struct fuse_in_header *)slots_data(s->slots, d->slot))->pid;
    p->begun_ms = now_ms();
    d->begun = true;
    p->deadline_ms = p->begun_ms + s->deadline_ms;
    atomic_fetch_add(&s->use[p->slot].users, 1);
    atomic_fetch_add(&s->use[p->slot].unanswered, 1);
    mutex_lock(&s->lock);
    TAILQ_INSERT_TAIL(&s->pendings, p, link);
    s->in_flight++;
    mutex_unlock(&s->lock);
    fuse_req_interrupt_func(req, interrupted, s);
    mutex_lock(&s->lock);
    p->state = PENDING_WAITING;
    mutex_unlock(&s->lock);
    return p;
}

bool pending_find(struct session *s, uint64_t unique)
{
    const struct pending *p;

    mutex_lock(&s->lock);
    TAILQ_FOREACH (p, &s->pendings, link) {
        if (p->unique == unique) {
            break;
        }
    }
    mutex_unlock(&s->lock);
    return p != NULL;
}

uint32_t pending_count(struct session *s, uint64_t *ret_oldest_ms)
{
    uint64_t now = now_ms();
    uint32_t count;
    const struct pending *oldest;

    mutex_lock(&s->lock);
    count = s->in_flight;
    oldest = TAILQ_FIRST(&s->pendings);
    *ret_oldest_ms = oldest != NULL && now > oldest->begun_ms ? now - oldest->begun_ms : 0;
    mutex_unlock(&s->lock);
    return count;
}

uint64_t pending_unique(const struct pending *p)
{
    return p->unique;
}

bool pending_replay(const struct pending *p)
{
    return p->replay;
}

fuse_req_t pending_req(const struct pending *p)
{
    return p->req;
}

int pending_set_deadline(struct pending *p, uint64_t ms)
{
    enum { DEADLINE_MAX_MS = 600000 };
    struct session *s = p->session;
    int r = -ECANCELED;

    mutex_lock(&s->lock);
    if (p->state != PENDING_EXPIRED) {
        p->deadline_ms = now_ms() + (ms < DEADLINE_MAX_MS ? ms : DEADLINE_MAX_MS);
        cond_signal(&s->watched);
        r = 0;
    }
    mutex_unlock(&s->lock);
    return r;
}

int pending_renew(struct pending *p, uint64_t more_ms)
{
    return pending_set_deadline(p, p->session->deadline_ms + more_ms);
}

int pending_claim(struct pending *p)
{
    struct session *s = p->session;
    int r = 0;

    mutex_lock(&s->lock);
    if (p->state == PENDING_EXPIRED) {
        r = -ECANCELED;
    } else {
        p->state = PENDING_CLAIMED;
    }
    mutex_unlock(&s->lock);
    return r;
}

/* Interrupts and deadlines */

static void interruptible(struct pending *p, pending_cancel_fn *cancel, void *context, bool any)
{
    struct session *s = p->session;

    mutex_lock(&s->lock);
    if (p->state == PENDING_WAITING) {
        p->interruptible = true;
        p->any_signal = any;
        p->look_ms = p->interrupted ? 0 : p->begun_ms + LOOK_SELDOM_MS;
        p->cancel = cancel;
        p->context = context;
        if (p->interrupted) {
            cond_signal(&s->watched);
        }
    }
    mutex_unlock(&s->lock);
}

void pending_interruptible(struct pending *p, pending_cancel_fn *cancel, void *context)
{
    interruptible(p, cancel, context, false);
}

void pending_interruptible_any(struct pending *p, pending_cancel_fn *cancel, void *context)
{
    interruptible(p, cancel, context, true);
}

/*
 * The kernel tells of any signal, but once only, and a fatal one has to wait for our answer.
 * Programs do not expect EINTR of files, so a handled signal is none of our business: we look
 * whether SIGKILL is pending, as it is for each thread of a process that any signal is about to
 * end, or whether the thread has been killed and this is its exit's own close, of which no
 * INTERRUPT tells.
 */
static bool is_being_killed(uint32_t pid, bool believed)
{
    enum {
        PF_EXITING = 4,
        FLAGS = 9,
        EXIT_CODE = 52,
        PROC_MAX = 8192
    }; /* proc(5): fields of stat */
    CLEANUP(buf_done) struct buf status = BUF_INIT(PROC_MAX);
    CLEANUP(buf_done) struct buf stat = BUF_INIT(PROC_MAX);
    char path[40];
    const char *at;
    bool exiting = false;

    (void)snprintf(path, sizeof(path), "/proc/%u/status", pid);
    if (pid == 0 || file_read(path, &status) != 0) {
        return believed;
    }
    at = strstr(buf_str(&status), "\nSigPnd:");
    if (at != NULL && (strtoull(at + 8, NULL, 16) & (UINT64_C(1) << (SIGKILL - 1))) != 0) {
        return true;
    }
    (void)snprintf(path, sizeof(path), "/proc/%u/stat", pid);
    at = file_read(path, &stat) == 0 ? strrchr(buf_str(&stat), ')') : NULL;
    if (at == NULL) {
        return believed;
    }
    for (int field = 3; field <= EXIT_CODE; field++) {
        at = strchr(at, ' ');
        if (at == NULL) {
            break;
        }
        at++;
        if (field == FLAGS) {
            exiting = (strtoull(at, NULL, 10) & PF_EXITING) != 0;
        } else if (field == EXIT_CODE) {
            return exiting && (strtoull(at, NULL, 10) & 0x7f) != 0; /* by a signal */
        }
    }
    return false;
}

/* The first to be looked at now, or NULL; then *ret_wait_ms is when to look again at the latest. */
static struct pending *overdue_locked(struct session *s, uint64_t now, uint64_t *ret_wait_ms)
    REQUIRES(&s->lock)
{
    struct pending *p;

    TAILQ_FOREACH (p, &s->pendings, link) {
        uint64_t at;

        if (p->state != PENDING_WAITING) {
            continue;
        }
        at = p->interruptible && p->look_ms < p->deadline_ms ? p->look_ms : p->deadline_ms;
        if (now >= at) {
            return p;
        }
        if (at - now < *ret_wait_ms) {
            *ret_wait_ms = at - now;
        }
    }
    return NULL;
}

/* False: it goes on, or is another's by now. Releases the lock in between. */
LOCK_UNCHECKED
static bool has_to_end_locked(struct session *s, struct pending **p)
{
    uint64_t unique = (*p)->unique;
    uint32_t pid = (*p)->pid;
    bool believed = (*p)->interrupted;
    bool killed;

    if (now_ms() >= (*p)->deadline_ms || ((*p)->any_signal && believed)) {
        return true;
    }
    (*p)->look_ms = now_ms() + (believed ? LOOK_MS : LOOK_SELDOM_MS);
    mutex_unlock(&s->lock);
    killed = is_being_killed(pid, believed);
    mutex_lock(&s->lock);
    TAILQ_FOREACH (*p, &s->pendings, link) {
        if ((*p)->unique == unique && (*p)->state == PENDING_WAITING) {
            return killed;
        }
    }
    return false;
}

/* Answer for the operation, then tell it. Releases the lock in between. */
LOCK_UNCHECKED
static void expire_locked(struct session *s, struct pending *p)
{
    bool by_interrupt = now_ms() < p->deadline_ms;
    pending_cancel_fn *cancel = p->cancel;
    void *context = p->context;

    p->state = PENDING_EXPIRED;
    s->cancelling = p;
    mutex_unlock(&s->lock);
    atomic_fetch_add(by_interrupt ? &s->interrupts : &s->deadlines, 1);
    refuse(p->req, &(struct dispatch){.session = s, .slot = p->slot},
           by_interrupt ? EINTR : ETIMEDOUT);
    session_slot_answered(s, p->slot);
    if (cancel != NULL) {
        cancel(context); /* may free p */
    }
    mutex_lock(&s->lock);
    if (s->cancelling == p) {
        s->cancelling = NULL;
        cond_broadcast(&s->changed);
    }
}

LOCK_UNCHECKED
static void *watch_main(void *argument)
{
    struct session *s = argument;
    uint64_t idle_ms = s->deadline_ms < 1000 ? s->deadline_ms : 1000; /* new ones are no sooner */

    (void)pthread_setname_np(pthread_self(), "fuse-watch");
    mutex_lock(&s->lock);
    while (!s->watch_quits) {
        uint64_t wait_ms = idle_ms;
        struct pending *p = overdue_locked(s, now_ms(), &wait_ms);

        if (p != NULL && has_to_end_locked(s, &p)) {
            expire_locked(s, p);
        } else if (p == NULL) {
            cond_wait_ms(&s->watched, &s->lock, wait_ms);
        }
    }
    mutex_unlock(&s->lock);
    return NULL;
}

int pending_watch_start(struct session *s)
{
    int error = pthread_create(&s->watch, NULL, watch_main, s);

    s->watch_started = error == 0;
    return -error;
}

void pending_watch_stop(struct session *s)
{
    if (!s->watch_started) {
        return;
    }
    mutex_lock(&s->lock);
    s->watch_quits = true;
    cond_signal(&s->watched);
    mutex_unlock(&s->lock);
    (void)pthread_join(s->watch, NULL);
    s->watch_started = false;
}

/* Answers */

/* The end of every pending. */
static void end(struct pending *p)
{
    struct session *s = p->session;

    mutex_lock(&s->lock);
    if (s->cancelling == p && pthread_equal(pthread_self(), s->watch)) {
        s->cancelling = NULL; /* we are in its callback */
    }
    while (s->cancelling == p) {
        cond_wait(&s->changed, &s->lock); /* callbacks do not block */
    }
    TAILQ_REMOVE(&s->pendings, p, link);
    mutex_unlock(&s->lock);
    session_slot_done(s, p->slot);
    free(p);
    mutex_lock(&s->lock);
    s->in_flight--; /* the last step: who waits for it frees the session and its slots */
    cond_broadcast(&s->changed);
    mutex_unlock(&s->lock);
}

/* After the reply: whatever the device said, the request is over. */
static int replied(struct pending *p, int result)
{
    session_slot_answered(p->session, p->slot);
    end(p);
    return result > 0 ? -result : result;
}

static int too_late(struct pending *p)
{
    end(p);
    return -ECANCELED;
}

int pending_reply_err(struct pending *p, int errnum)
{
    const struct fuse_in_header *in = slots_data(p->session->slots, p->slot);

    if (pending_claim(p) < 0) {
        eio_forget();
        return too_late(p);
    }
    eio_log(in->opcode, in->nodeid, errnum);
    return replied(p, fuse_reply_err(p->req, reply_errno(errnum, in->opcode)));
}

void pending_reply_none(struct pending *p)
{
    if (pending_claim(p) < 0) {
        (void)too_late(p);
        return;
    }
    fuse_reply_none(p->req);
    (void)replied(p, 0);
}

int pending_reply_entry(struct pending *p, const struct fuse_entry_param *e)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    return replied(p, fuse_reply_entry(p->req, e));
}

int pending_reply_create(struct pending *p, const struct fuse_entry_param *e,
                         const struct fuse_file_info *fi)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    return replied(p, fuse_reply_create(p->req, e, fi));
}

int pending_reply_attr(struct pending *p, const struct stat *attr, double timeout_s)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    return replied(p, fuse_reply_attr(p->req, attr, timeout_s));
}

int pending_reply_readlink(struct pending *p, const char *target)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    return replied(p, fuse_reply_readlink(p->req, target));
}

int pending_reply_open(struct pending *p, const struct fuse_file_info *fi)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    return replied(p, fuse_reply_open(p->req, fi));
}

int pending_reply_write(struct pending *p, size_t count)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    return replied(p, fuse_reply_write(p->req, count));
}

/*
 * A kill during the kernel's copy of an answer is harmless while the answer's pages are present;
 * a fault there would end the request with EIO. So look at each page first.
 */
static void touch(const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++) {
        const volatile char *data = iov[i].iov_base;

        for (size_t at = 0; at < iov[i].iov_len; at += 4096) {
            (void)data[at];
        }
        if (iov[i].iov_len > 0) {
            (void)data[iov[i].iov_len - 1];
        }
    }
}

int pending_reply_iov(struct pending *p, const struct iovec *iov, int count)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    touch(iov, count);
    return replied(p, fuse_reply_iov(p->req, iov, count));
}

int pending_reply_buf(struct pending *p, const void *data, size_t len)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    for (size_t at = 0; at < len; at += 4096) {
        (void)((const volatile char *)data)[at]; /* as touch() */
    }
    return replied(p, fuse_reply_buf(p->req, data, len));
}

int pending_reply_statfs(struct pending *p, const struct statvfs *stat)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    return replied(p, fuse_reply_statfs(p->req, stat));
}

int pending_reply_xattr(struct pending *p, size_t size)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    return replied(p, fuse_reply_xattr(p->req, size));
}

int pending_reply_lock(struct pending *p, const struct flock *lock)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    return replied(p, fuse_reply_lock(p->req, lock));
}

int pending_reply_lseek(struct pending *p, off_t offset)
{
    if (pending_claim(p) < 0) {
        return too_late(p);
    }
    return replied(p, fuse_reply_lseek(p->req, offset));
}
