/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/managed/locks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "mounter/managed/locks_internal.h"
#include "mounter/names/graves.h"
#include "mounter/session/eio.h"
#include "util/log.h"

static const char lost_reason[] = "a lock on the file was lost";

/* ---- what is held ---- */

static struct held *find(struct locks *l, const struct wish *w) REQUIRES(&l->lock)
{
    for (uint32_t i = 0; i < l->kept->used; i++) {
        struct held *h = &l->kept->held[i];

        if (h->ino == w->ino && h->family == (uint8_t)w->family && h->owner == w->owner) {
            return h;
        }
    }
    return NULL;
}

/* The name under which others of this mount have locked the file; or NULL. */
static const char *known_key(struct locks *l, uint32_t ino) REQUIRES(&l->lock)
{
    for (uint32_t i = 0; i < l->kept->used; i++) {
        if (l->kept->held[i].ino == ino) {
            return l->kept->held[i].key;
        }
    }
    return NULL;
}

static void drop(struct locks *l, struct held *h) REQUIRES(&l->lock)
{
    if (h->lost != 0) {
        h->lost = 0;
        atomic_fetch_sub(&l->lost, 1);
    }
    h->ino = 0;
    while (l->kept->used > 0 && l->kept->held[l->kept->used - 1].ino == 0) {
        l->kept->used--;
    }
}

/* *ret_new: it was not there. -ENOLCK: too many; -EIO: it was lost. */
static int note(struct locks *l, const struct wish *w, const char *key, bool *ret_new)
    REQUIRES(&l->lock)
{
    struct held *h = find(l, w);

    *ret_new = h == NULL;
    if (h != NULL) {
        return h->lost != 0 ? eio(lost_reason) : 0;
    }
    for (uint32_t i = 0; i < l->kept->used && h == NULL; i++) {
        h = l->kept->held[i].ino == 0 ? &l->kept->held[i] : NULL;
    }
    if (h == NULL && l->kept->used == HELD_MAX) {
        return -ENOLCK;
    }
    h = h != NULL ? h : &l->kept->held[l->kept->used];
    (void)snprintf(h->key, sizeof(h->key), "%s", key);
    h->family = (uint8_t)w->family;
    h->owner = w->owner;
    h->lost = 0;
    if ((uint32_t)(h - l->kept->held) >= l->kept->used) {
        __atomic_store_n(&l->kept->used, (uint32_t)(h - l->kept->held) + 1, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&h->ino, w->ino, __ATOMIC_RELEASE);
    return 0;
}

static void forget(struct locks *l, const struct wish *w)
{
    struct held *h;

    mutex_lock(&l->lock);
    h = find(l, w);
    if (h != NULL) {
        drop(l, h);
    }
    mutex_unlock(&l->lock);
}

void locks_lost(struct locks *l)
{
    unsigned count = 0;

    if (l == NULL) {
        return;
    }
    mutex_lock(&l->lock);
    for (uint32_t i = 0; i < l->kept->used; i++) {
        struct held *h = &l->kept->held[i];

        if (h->ino != 0 && h->lost == 0) {
            h->lost = 1;
            count++;
            atomic_fetch_add(&l->lost, 1);
        }
    }
    mutex_unlock(&l->lock);
    if (count > 0) {
        log_error("locks are lost: their holders get EIO until they close or unlock", "locks",
                  log_num(count), NULL);
    }
}

bool locks_are_lost(struct locks *l, uint64_t ino)
{
    bool lost = false;

    if (l == NULL || atomic_load_explicit(&l->lost, memory_order_relaxed) == 0) {
        return false;
    }
    mutex_lock(&l->lock);
    for (uint32_t i = 0; i < l->kept->used && !lost; i++) {
        lost = l->kept->held[i].ino == ino && l->kept->held[i].lost != 0;
    }
    mutex_unlock(&l->lock);
    return lost;
}

bool locks_any(struct locks *l, uint64_t ino)
{
    bool any;

    if (l == NULL) {
        return false;
    }
    mutex_lock(&l->lock);
    any = known_key(l, (uint32_t)ino) != NULL;
    mutex_unlock(&l->lock);
    return any;
}

/* ---- the metaserver ---- */

static Skyvol__Meta__V1__LeaseKind kind_of(const struct wish *w)
{
    if (w->family == BSD_LOCK) {
        return w->type == F_RDLCK ? SKYVOL__META__V1__LEASE_KIND__LEASE_FLOCK_SHARED
                                  : SKYVOL__META__V1__LEASE_KIND__LEASE_FLOCK_EXCLUSIVE;
    }
    return w->type == F_RDLCK ? SKYVOL__META__V1__LEASE_KIND__LEASE_LOCK_SHARED
                              : SKYVOL__META__V1__LEASE_KIND__LEASE_LOCK_EXCLUSIVE;
}

static uint64_t length_of(const struct wish *w)
{
    return w->end >= INT64_MAX ? 0 : w->end - w->start + 1;
}

/* A connection that is being made is waited for: what is asked may be asked twice. */
static int call_leases(struct locks *l, const char *method, const ProtobufCMessage *in,
                       enum rpc_code *ret_code, ProtobufCMessage **ret)
{
    uint64_t until = fs_now_ms() + SESSION_MS;
    struct error err = ERROR_INIT;
    int r;

    for (;;) {
        uint64_t now = fs_now_ms();

        r = managed_call(l->fs->managed,
                         &(struct managed_request){.service = &skyvol__meta__v1__leases__descriptor,
                                                   .method = method,
                                                   .message = in,
                                                   .timeout_ms = CALL_MS,
                                                   .ret_code = ret_code,
                                                   .connect_ms = until > now ? until - now : 0},
                         ret, &err);
        if ((r != -ENOTCONN && r != -ECONNREFUSED) || fs_now_ms() >= until) {
            break;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
    }
    if (r != 0) {
        log_debug("no answer of skyvol-meta", "method", method, "error", error_text(&err, r), NULL);
    }
    return r;
}

/* As a program is told. */
static int lock_errno(int r, enum rpc_code code)
{
    return r == 0                               ? 0
           : code == RPC_FAILED_PRECONDITION    ? -EDEADLK
           : r == -EINVAL || r == -ENAMETOOLONG ? -EINVAL
           : r == -ENOENT || r == -ESTALE       ? eio("a lock: the file has gone")
                                                : -ENOLCK;
}

int locks_acquire(struct locks *l, const struct wish *w, const char *key, enum locks_ask ask,
                  Skyvol__Meta__V1__AcquireLeaseResponse **ret)
{
    Skyvol__Meta__V1__AcquireLeaseRequest in = SKYVOL__META__V1__ACQUIRE_LEASE_REQUEST__INIT;
    struct managed_session session;
    ProtobufCMessage *reply = NULL;
    enum rpc_code code = RPC_OK;
    int r = managed_session(l->fs->managed, SESSION_MS, &session);

    *ret = NULL;
    if (r != 0) {
        return r;
    }
    in.session_id = session.id;
    in.epoch = session.epoch;
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): read only */
    in.key = (char *)(uintptr_t)key;
    in.kind = kind_of(w);
    in.offset = w->start;
    in.len = length_of(w);
    in.owner = w->owner;
    in.pid = w->pid;
    in.test_only = ask == LOCKS_TEST;
    in.will_wait = ask == LOCKS_WAIT;
    r = call_leases(l, "AcquireLease", &in.base, &code, &reply);
    if (r != 0) {
        return lock_errno(r, code);
    }
    *ret = (void *)reply;
    return (*ret)->granted ? 0 : -EAGAIN;
}

int locks_give_up(struct locks *l, const struct wish *w, const char *key, bool waiting)
{
    Skyvol__Meta__V1__ReleaseLeaseRequest in = SKYVOL__META__V1__RELEASE_LEASE_REQUEST__INIT;
    struct managed_session session;
    ProtobufCMessage *reply = NULL;
    int r = managed_session(l->fs->managed, 0, &session);

    if (r != 0) {
        return 0; /* it has ended with its session, or will */
    }
    in.session_id = session.id;
    in.epoch = session.epoch;
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): read only */
    in.key = (char *)(uintptr_t)key;
    in.kind = kind_of(w);
    in.offset = w->start;
    in.len = length_of(w);
    in.owner = w->owner;
    in.only_waiting = waiting;
    r = call_leases(l, "ReleaseLease", &in.base, NULL, &reply);
    rpc_message_free(reply);
    if (r != 0 && r != -ENOENT && r != -ESTALE) {
        log_warn("a lock stays until it is given up again or its session ends", "error",
                 error_text(NULL, r), NULL);
    }
    return r == -ENOENT || r == -ESTALE ? 0 : r;
}

/* ---- lock ---- */

/* Under which name the file is locked. */
static int key_of(struct locks *l, uint32_t ino, char *ret, size_t size)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(OBJSTORE_KEY_MAX + 1);
    struct fs *fs = l->fs;
    const char *known;
    int r = 0;

    mutex_lock(&l->lock);
    known = known_key(l, ino);
    if (known != NULL) {
        (void)snprintf(ret, size, "%s", known);
    }
    mutex_unlock(&l->lock);
    if (known != NULL) {
        return 0;
    }
    mutex_lock(&fs->lock);
    r = fs_node(fs, ino) != NULL ? fs_key(fs, ino, &key) : -ESTALE;
    if (r == -ESTALE && fs_node(fs, ino) != NULL) { /* unlinked: nobody else can open it */
        buf_reset(&key);
        buf_addf(&key, ".skyvol/unlinked/%llu", (unsigned long long)fs_node(fs, ino)->number);
        r = buf_error(&key);
    }
    mutex_unlock(&fs->lock);
    if (r == 0) {
        (void)snprintf(ret, size, "%s", buf_len(&key) > 0 ? buf_str(&key) : "/");
    }
    return r;
}

/*
 * Programs that share a file by locks tell each other by the files beside it, too, whose being
 * there may have been seen a moment ago.
 */
static void forget_beside(struct fs *fs, uint32_t ino)
{
    static const char *const endings[] = {"-journal", "-wal", "-shm", ".lock"};
    CLEANUP(buf_done) struct buf name = BUF_INIT(STATE_TEXT_MAX);
    const struct node *node;
    uint32_t parent = 0;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL && node->named) {
        parent = fs_rec(fs, node)->parent;
        state_text_get(fs->state, fs_rec(fs, node)->name, &name);
    }
    mutex_unlock(&fs->lock);
    for (size_t i = 0; parent != 0 && i < sizeof(endings) / sizeof(endings[0]); i++) {
        CLEANUP(buf_done) struct buf other = BUF_INIT(STATE_TEXT_MAX);
        struct node *beside;

        buf_addf(&other, "%s%s", buf_str(&name), endings[i]);
        if (buf_error(&other) != 0) {
            continue;
        }
        mutex_lock(&fs->lock);
        beside = fs_child(fs, parent, buf_str(&other));
        if (beside != NULL) {
            beside->valid_until_ms = 0;
            fs_touch(fs, beside);
        }
        fs_gone(fs, parent, buf_str(&other), false); /* what the store said before */
        mutex_unlock(&fs->lock);
        if (beside != NULL && fs->session != NULL) {
            (void)fuse_lowlevel_notify_inval_entry(session_fuse(fs->session), parent,
                                                   buf_str(&other), buf_len(&other));
        }
    }
}

/* It is ours: see what others have made of the file while it was theirs. */
static int granted(struct locks *l, const struct wish *w)
{
    int r = remote_follow(l->fs, w->ino);

    forget_beside(l->fs, w->ino);
    return r == -ENOENT || r == -ESTALE ? 0 : r; /* a file that has gone can be locked, too */
}

void locks_end(struct locks *l, struct op *op, const struct wish *w, const char *key, int r)
{
    if (r == 0) {
        r = granted(l, w);
        if (r != 0) {
            (void)!locks_give_up(l, w, key, false);
            r = eio(lost_reason);
        }
    }
    r = fs_op_fail(op, r);
    if (r == -ECANCELED || r == -ENOENT) { /* nobody hears of it: it was killed, or interrupted */
        (void)!locks_give_up(l, w, key, false);
    }
}

static void lock(struct locks *l, struct op *op, const struct wish *w)
{
    Skyvol__Meta__V1__AcquireLeaseResponse *answer = NULL;
    char key[OBJSTORE_KEY_MAX + 8];
    bool fresh = false;
    int r = key_of(l, w->ino, key, sizeof(key));

    mutex_lock(&l->lock);
    r = r == 0 ? note(l, w, key, &fresh) : r;
    mutex_unlock(&l->lock);
    if (r != 0) {
        (void)fs_op_fail(op, r);
        return;
    }
    r = locks_acquire(l, w, key, w->sleep ? LOCKS_WAIT : LOCKS_TRY, &answer);
    if (r == -EAGAIN && w->sleep) {
        r = locks_wait_for(l, op, w, key);
        rpc_message_free(answer);
        if (r == 0) {
            return; /* the op is the waiter's */
        }
    } else {
        rpc_message_free(answer);
    }
    if (r != 0 && fresh) {
        forget(l, w);
    }
    locks_end(l, op, w, key, r);
}

/* ---- unlock ---- */

static int publish_dirty(struct fs *fs, uint32_t ino, struct pending *waiter)
{
    uint32_t flags;

    mutex_lock(&fs->lock);
    flags = fs_node(fs, ino) != NULL ? fs_rec(fs, fs_node(fs, ino))->flags : 0;
    mutex_unlock(&fs->lock);
    if ((flags & INODE_DIRTY) == 0 || (flags & (INODE_UNLINKED | INODE_LOST)) != 0) {
        return 0;
    }
    return waiter != NULL ? publish_for(fs, ino, waiter) : publish(fs, ino);
}

/* What was removed beside it is to be gone for the next one, too. */
static void bury_beside(struct fs *fs, uint32_t ino)
{
    CLEANUP(buf_done) struct buf dir = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    const struct node *node;
    bool any;
    int r = -ESTALE;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    any = graves_count(fs) > 0;
    if (any && node != NULL && node->named) {
        r = fs_key(fs, fs_rec(fs, node)->parent, &dir);
    }
    mutex_unlock(&fs->lock);
    r = r == 0 ? graves_wait(fs, buf_str(&dir), true, fs_now_ms() + CALL_MS) : 0;
    if (r != 0) {
        log_warn("a lock is given up before all removals beside it", "error", error_text(NULL, r),
                 NULL);
    }
}

static int unlock(struct locks *l, const struct wish *w, struct pending *waiter)
{
    char key[OBJSTORE_KEY_MAX + 8] = "";
    const struct held *h;
    bool lost = false;
    int published;
    int r;

    mutex_lock(&l->lock);
    h = find(l, w);
    if (h != NULL) {
        (void)snprintf(key, sizeof(key), "%s", h->key);
        lost = h->lost != 0;
    }
    mutex_unlock(&l->lock);
    if (h == NULL) {
        return 0;
    }
    published = lost ? 0 : publish_dirty(l->fs, w->ino, waiter);
    bury_beside(l->fs, w->ino);
    r = locks_give_up(l, w, key, false);
    if (lost || (r == 0 && w->start == 0 && w->end >= INT64_MAX)) {
        forget(l, w);
    }
    return published == -ESTALE ? 0
           : published != 0     ? eio("a lock was given up, and the file could not be published")
           : r != 0             ? -ENOLCK
                                : 0;
}

static struct wish wish_of(const struct op *op)
{
    return (struct wish){.ino = (uint32_t)op->ino,
                         .family = (op->flags & 1) != 0 ? BSD_LOCK : POSIX_LOCK,
                         .sleep = (op->flags & 2) != 0,
                         .close = (op->flags & 4) != 0,
                         .owner = op->ino2,
                         .start = op->offset,
                         .end = op->size,
                         .pid = op->uid,
                         .type = (int)op->mode};
}

static void lock_run(struct op *op)
{
    struct locks *l = op->fs->locks;
    const struct wish w = wish_of(op);

    if (w.type != F_UNLCK) {
        lock(l, op, &w);
        return;
    }
    (void)fs_op_fail(op, unlock(l, &w, op->pending));
}

/* Takes over the wish; in a task. */
static void start(struct op *op, const struct wish *w, void (*run)(struct op *op))
{
    op->ino = w->ino;
    op->ino2 = w->owner;
    op->offset = w->start;
    op->size = w->end;
    op->uid = w->pid;
    op->mode = (uint32_t)w->type;
    op->flags = (w->family == BSD_LOCK ? 1U : 0U) | (w->sleep ? 2U : 0U) | (w->close ? 4U : 0U);
    fs_op_start(op, run);
}

/* ---- the handlers ---- */

static uint64_t end_of(const struct flock *lock)
{
    return lock->l_len == 0 ? INT64_MAX : (uint64_t)lock->l_start + (uint64_t)lock->l_len - 1;
}

void fs_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
              int sleep)
{
    struct op *op = fs_op_new(req);

    if (op != NULL) {
        const struct wish w = {.ino = (uint32_t)ino,
                               .owner = fi->lock_owner,
                               .start = (uint64_t)lock->l_start,
                               .end = end_of(lock),
                               .pid = (uint32_t)lock->l_pid,
                               .type = lock->l_type,
                               .sleep = sleep != 0};

        start(op, &w, lock_run);
    }
}

/*
 * The owner is the open file, which its handle names. What the kernel gives as the owner is the
 * address of its struct file, and that is another's as soon as the file is closed: the next one's
 * flock() would meet the RELEASE of the one before, and lose its lock by it or never give it up.
 */
void fs_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int how)
{
    struct op *op = fs_op_new(req);
    int type = (how & LOCK_UN) != 0 ? F_UNLCK : (how & LOCK_SH) != 0 ? F_RDLCK : F_WRLCK;

    if (op != NULL) {
        const struct wish w = {.ino = (uint32_t)ino,
                               .family = BSD_LOCK,
                               .owner = fi->fh,
                               .end = INT64_MAX,
                               .type = type,
                               .sleep = (how & LOCK_NB) == 0};

        start(op, &w, lock_run);
    }
}

static void getlk_run(struct op *op)
{
    struct locks *l = op->fs->locks;
    const struct wish w = wish_of(op);
    Skyvol__Meta__V1__AcquireLeaseResponse *answer = NULL;
    struct flock found = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    char key[OBJSTORE_KEY_MAX + 8];
    int r = key_of(l, w.ino, key, sizeof(key));

    r = r == 0 ? locks_acquire(l, &w, key, LOCKS_TEST, &answer) : r;
    if (r == -EAGAIN && answer != NULL && answer->conflict != NULL) {
        const Skyvol__Meta__V1__LeaseConflict *c = answer->conflict;

        found.l_type =
            c->kind == SKYVOL__META__V1__LEASE_KIND__LEASE_LOCK_SHARED ? F_RDLCK : F_WRLCK;
        found.l_start = (off_t)c->offset;
        found.l_len = (off_t)c->len;
        found.l_pid = (pid_t)c->pid;
        r = 0;
    }
    rpc_message_free(answer);
    if (r != 0) {
        (void)fs_op_fail(op, r);
        return;
    }
    (void)fs_op_lock(op, &found);
}

void fs_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
    struct op *op = fs_op_new(req);

    if (op != NULL) {
        const struct wish w = {.ino = (uint32_t)ino,
                               .owner = fi->lock_owner,
                               .start = (uint64_t)lock->l_start,
                               .end = end_of(lock),
                               .type = lock->l_type};

        start(op, &w, getlk_run);
    }
}

static bool has(struct locks *l, const struct wish *w)
{
    bool found;

    mutex_lock(&l->lock);
    found = find(l, w) != NULL;
    mutex_unlock(&l->lock);
    return found;
}

bool locks_flush(struct fs *fs, fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi)
{
    const struct wish w = {.ino = (uint32_t)ino,
                           .owner = fi->lock_owner,
                           .end = INT64_MAX,
                           .type = F_UNLCK,
                           .close = true};
    struct op *op;

    if (fs->locks == NULL || !has(fs->locks, &w)) {
        return false;
    }
    op = fs_op_new(req);
    if (op != NULL) {
        pending_interruptible(op->pending, NULL, NULL);
        start(op, &w, lock_run);
    }
    return true;
}

struct closing {
    struct fs *fs;
    struct wish wish;
};

static void closing_run(void *arg)
{
    struct closing *closing = arg;

    (void)!unlock(closing->fs->locks, &closing->wish, NULL);
    free(closing);
}

void locks_release(struct fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi)
{
    struct closing *closing;

    if (fs->locks == NULL || !fi->flock_release) {
        return;
    }
    closing = malloc(sizeof(*closing));
    if (closing == NULL) {
        return; /* it ends with the session */
    }
    closing->fs = fs;
    closing->wish = (struct wish){.ino = (uint32_t)ino,
                                  .family = BSD_LOCK,
                                  .owner = fi->fh,
                                  .end = INT64_MAX,
                                  .type = F_UNLCK,
                                  .close = true};
    if (!has(fs->locks, &closing->wish) || tasks_add(fs->tasks, closing_run, closing) != 0) {
        free(closing);
    }
}

/* ---- begin, end ---- */

static int adopt(struct locks *l, struct keep *keep, struct error *err)
{
    struct keep_region region;
    int r = keep_region(keep, "locks", sizeof(*l->kept), &region, err);

    if (r != 0) {
        return r;
    }
    l->kept = region.data;
    if (region.fresh) {
        l->kept->version = KEPT_VERSION;
        l->kept->magic = kept_magic;
    } else if (l->kept->magic != kept_magic || l->kept->version != KEPT_VERSION ||
               l->kept->used > HELD_MAX) {
        return error_set(err, -EUCLEAN, "kept memory 'locks' is not one of ours");
    }
    for (uint32_t i = 0; i < l->kept->used; i++) {
        l->kept->held[i].key[sizeof(l->kept->held[i].key) - 1] = '\0';
        atomic_fetch_add(&l->lost, l->kept->held[i].ino != 0 && l->kept->held[i].lost != 0);
    }
    mutex_lock(&l->fs->lock);
    for (uint32_t i = 0; i < l->kept->used; i++) {
        struct node *node = fs_node(l->fs, l->kept->held[i].ino);

        if (node != NULL) {
            node->follows = true;
        }
    }
    mutex_unlock(&l->fs->lock);
    return 0;
}

LOCK_UNCHECKED
int locks_new(struct fs *fs, struct keep *keep, struct locks **ret, struct error *err)
{
    struct locks *l = calloc(1, sizeof(*l));
    int r;

    if (l == NULL) {
        return -ENOMEM;
    }
    l->fs = fs;
    TAILQ_INIT(&l->waiting);
    mutex_init(&l->lock);
    cond_init(&l->changed);
    r = adopt(l, keep, err);
    if (r != 0) {
        locks_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

void locks_free(struct locks *l)
{
    if (l != NULL) {
        cond_done(&l->changed);
        mutex_done(&l->lock);
        free(l);
    }
}
