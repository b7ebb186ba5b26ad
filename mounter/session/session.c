/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/session/session.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>

#include "mount/stats.h"
#include "mounter/session/session_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"

/*
 * The kept region "session": what was agreed on in FUSE_INIT, and its request as it was read. The
 * request is read straight into `init`, whose first word says whether it has been: as with slots,
 * there is no moment at which it has left the kernel and is not here.
 */
enum { INIT_SIZE = 65536, KEPT_VERSION = 1 };
static const uint64_t kept_magic = 0x736b797373657373U; /* "skysess" */

struct kept_session {
    uint64_t magic;
    uint32_t version;
    uint32_t agreed; /* 1: the numbers below hold; written after them */
    uint32_t want;
    uint32_t max_write;
    uint32_t max_readahead;
    uint32_t max_background;
    uint32_t congestion_threshold;
    uint32_t time_gran;
    char reserved[4096 - 40];
    char init[INIT_SIZE]; /* page-aligned, as the region is */
};
_Static_assert(offsetof(struct kept_session, init) == 4096, "the header fills one page");

/* From linux/fuse.h of 6.9; the floor's headers do not have it. */
enum { NOTIFY_RESEND = 7 };

_Thread_local struct dispatch session_dispatch;
static _Thread_local bool answered_error; /* the answer that this thread has sent last */

/* INIT */

/*
 * A successor's file system may wish for something else than its predecessor did; the kernel goes
 * on with what it was told first, so both must.
 */
static void on_init(void *userdata, struct fuse_conn_info *conn)
{
    struct session *s = session_dispatch.session;
    struct kept_session *kept = s->kept;

    if (s->init != NULL) {
        s->init(userdata, conn);
    }
    if (kept->agreed != 0) {
        conn->want = kept->want & conn->capable;
        conn->max_write = kept->max_write;
        conn->max_readahead = kept->max_readahead;
        conn->max_background = kept->max_background;
        conn->congestion_threshold = kept->congestion_threshold;
        conn->time_gran = kept->time_gran;
        return;
    }
    conn->want &= ~(unsigned)FUSE_CAP_SPLICE_READ; /* requests are read into slots, by us */
    if (conn->max_write > SESSION_WRITE_MAX) {
        conn->max_write = SESSION_WRITE_MAX;
    }
    kept->want = conn->want;
    kept->max_write = conn->max_write;
    kept->max_readahead = conn->max_readahead;
    kept->max_background = conn->max_background;
    kept->congestion_threshold = conn->congestion_threshold;
    kept->time_gran = conn->time_gran;
    atomic_store((_Atomic uint32_t *)&kept->agreed, 1);
}

static int read_init(struct session *s, struct error *err)
{
    enum { TIMEOUT_MS = 10000 };
    struct pollfd poll_fd = {.fd = fuse_session_fd(s->fuse), .events = POLLIN};
    ssize_t n;

    memset(s->kept->init, 0, INIT_SIZE); /* pages present, see slots.h */
    if (poll(&poll_fd, 1, TIMEOUT_MS) != 1) {
        return error_set(err, -ETIMEDOUT, "the kernel has not opened the FUSE connection in %d s",
                         TIMEOUT_MS / 1000);
    }
    n = read(poll_fd.fd, s->kept->init, INIT_SIZE);
    if (n < 0) {
        return error_set(err, -errno, "reading FUSE_INIT: %s", error_text(NULL, errno));
    }
    return 0;
}

/* The kernel refuses the answer to an INIT that was answered before (ENOENT): no harm. */
static int do_init(struct session *s, struct error *err)
{
    struct fuse_in_header *in = (struct fuse_in_header *)(void *)s->kept->init;
    struct fuse_buf buf = {.mem = s->kept->init};

    if (in->len == 0) {
        int r = read_init(s, err);

        if (r < 0) {
            return r;
        }
    }
    if (in->opcode != FUSE_INIT || in->len > INIT_SIZE) {
        return error_set(err, -EPROTO, "the FUSE connection was opened by somebody else");
    }
    buf.size = in->len;
    session_dispatch = (struct dispatch){.session = s, .slot = SLOT_NONE, .init = true};
    fuse_session_process_buf(s->fuse, &buf);
    session_dispatch = (struct dispatch){0};
    if (fuse_session_exited(s->fuse)) {
        return error_set(err, -EPROTO, "kernel and file system do not agree on FUSE_INIT");
    }
    return 0;
}

/*
 * Answers go out here. libfuse of the floor knows nothing of FUSE_HANDLE_KILLPRIV_V2, with which
 * the kernel asks no more for security.capability at each write, but says when to clear suid.
 */
static ssize_t send_answer(int fd, struct iovec *iov, int count, void *userdata)
{
    struct session *s = session_dispatch.session;
    const struct fuse_out_header *head = iov[0].iov_base;

    (void)userdata;
    answered_error = head->unique != 0 && head->error != 0;
    if (session_dispatch.init && count > 1 &&
        iov[1].iov_len >= offsetof(struct fuse_init_out, max_write)) {
        const struct fuse_init_in *in =
            (const void *)(s->kept->init + sizeof(struct fuse_in_header));
        struct fuse_init_out *out = iov[1].iov_base;

        out->flags |= in->flags & FUSE_HANDLE_KILLPRIV_V2;
    }
    return writev(fd, iov, count);
}

static ssize_t read_nothing(int fd, void *buf, size_t len, void *userdata)
{
    (void)userdata;
    return read(fd, buf, len); /* not called: requests are read into slots */
}

static int own_io(struct fuse_session *fuse)
{
    const struct fuse_custom_io io = {.writev = send_answer, .read = read_nothing};

    return fuse_session_custom_io(fuse, &io, fuse_session_fd(fuse));
}

uint32_t session_request_flags(void)
{
    return session_dispatch.flags;
}

/* Dispatch */

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* By the thread that has just sent the answer. */
static void count(struct session *s, int slot)
{
    const struct slot_use *use = &s->use[slot];

    if (s->stats != NULL && use->opcode < MOUNT_STATS_FUSE) {
        mount_stats_count(&s->stats->fuse[use->opcode], (now_ns() - use->begun_ns) / 1000,
                          answered_error);
    }
    answered_error = false;
}

void session_slot_answered(struct session *s, int slot)
{
    const struct fuse_in_header *in = slots_data(s->slots, slot);
    bool several = in->opcode == FUSE_BATCH_FORGET;

    if (atomic_fetch_sub(&s->use[slot].unanswered, 1) == 1 || !several) {
        count(s, slot);
        slots_clear(s->slots, slot);
    }
}

void session_slot_done(struct session *s, int slot)
{
    if (atomic_fetch_sub(&s->use[slot].users, 1) == 1) {
        slots_release(s->slots, slot);
    }
}

/*
 * What libfuse of the floor does not know or hand on. A SETATTR it changes in place: a copy, as it
 * may have to be replayed.
 */
static void prepare(struct fuse_in_header *in, struct fuse_buf *buf, char *copy, size_t copy_size)
{
    const void *args = in + 1;

    if (in->opcode == FUSE_TMPFILE) {
        in->opcode = FUSE_CREATE; /* the same arguments; its name is "/", which no file has */
    } else if (in->opcode == FUSE_WRITE && in->len >= sizeof(*in) + sizeof(struct fuse_write_in)) {
        session_dispatch.flags = ((const struct fuse_write_in *)args)->write_flags;
    } else if (in->opcode == FUSE_SETATTR && in->len <= copy_size &&
               in->len >= sizeof(*in) + sizeof(struct fuse_setattr_in)) {
        session_dispatch.flags = ((const struct fuse_setattr_in *)args)->valid;
        memcpy(copy, in, in->len);
        buf->mem = copy;
    }
}

/*
 * Hand one request to libfuse. A handler that has begun no pending has answered already (or
 * libfuse has, for an operation that the table lacks): then the slot is empty when it returns.
 */
static void dispatch(struct session *s, int slot, bool replay)
{
    struct fuse_in_header *in = slots_data(s->slots, slot);
    struct fuse_buf buf = {.mem = slots_data(s->slots, slot), .size = in->len};
    _Alignas(struct fuse_in_header) char copy[256];
    bool begun;

    atomic_store(&s->use[slot].users, 1);
    atomic_store(&s->use[slot].unanswered, 1);
    s->use[slot].opcode = in->opcode;
    s->use[slot].begun_ns = s->stats != NULL ? now_ns() : 0;
    session_dispatch = (struct dispatch){.session = s,
                                         .slot = slot,
                                         .unique = in->unique & ~SESSION_RESEND_BIT,
                                         .replay = replay || (in->unique & SESSION_RESEND_BIT)};
    atomic_fetch_add(session_dispatch.replay ? &s->replayed : &s->requests, 1);
    prepare(in, &buf, copy, sizeof(copy));
    fuse_session_process_buf(s->fuse, &buf);
    begun = session_dispatch.begun;
    session_dispatch = (struct dispatch){0};
    if (!begun || in->opcode == FUSE_BATCH_FORGET) {
        session_slot_answered(s, slot);
    }
    session_slot_done(s, slot);
}

/* Takeover */

/* 0: the kernel delivers all unanswered requests again. -EINVAL: it cannot (before 6.9). */
static int ask_resend(struct session *s)
{
    struct fuse_out_header out = {.len = sizeof(out), .error = NOTIFY_RESEND, .unique = 0};

    if (write(fuse_session_fd(s->fuse), &out, sizeof(out)) < 0) {
        return -errno;
    }
    return 0;
}

/*
 * What has no answer is not resent: FORGETs are handled from the slots in any case. INTERRUPTs
 * are: the kernel sends one after each interrupted request that it delivers again.
 */
static bool is_forget(const struct session *s, int slot)
{
    const struct fuse_in_header *in = slots_data(s->slots, slot);

    return in->opcode == FUSE_FORGET || in->opcode == FUSE_BATCH_FORGET;
}

static void replay(struct session *s)
{
    bool resent = false;

    if (s->resend && s->taken_over) {
        int r = ask_resend(s);

        resent = r == 0;
        log_debug("asked the kernel to resend", "result", r == 0 ? "ok" : error_text(NULL, r),
                  NULL);
    }
    /* A resent request carries another unique: an answer to the slot's copy would find nobody. */
    for (int i = 0; i < s->adopted_count; i++) {
        if (resent && !is_forget(s, s->adopted[i])) {
            slots_release(s->slots, s->adopted[i]);
        } else {
            dispatch(s, s->adopted[i], true);
        }
    }
}

/* Reading */

static void wake(struct session *s)
{
    uint64_t one = 1;

    if (write(s->wake, &one, sizeof(one)) < 0) {
        return; /* full: it wakes already */
    }
}

/* Returns false when there is nothing more to read, ever. */
static bool read_one(struct session *s, int slot)
{
    struct fuse_in_header *in = slots_data(s->slots, slot);
    ssize_t n = read(fuse_session_fd(s->fuse), in, SLOT_LARGE_SIZE);
    int error = errno;

    if (n >= (ssize_t)sizeof(*in) && in->len == (size_t)n) {
        if (atomic_load(&s->parking)) {
            park_end(s);
        }
        dispatch(s, slots_settle(s->slots, slot), false);
        return true;
    }
    slots_release(s->slots, slot);
    if (n >= 0) {
        log_error("short request from the kernel", "bytes", log_num(n), NULL);
        return true;
    }
    if (error == ENOENT || error == EINTR || error == EAGAIN) {
        return true; /* the request was interrupted before we had it; or session_stop() */
    }
    atomic_store(&s->gone, true);
    if (error != ENODEV && error != ECONNABORTED) {
        log_error("reading requests", "error", error_text(NULL, error), NULL);
    }
    return false;
}

/* Does nothing: being handled at all is what makes read(2) return EINTR. */
static void on_wake_signal(int signal)
{
    (void)signal;
}

int session_wake_signal(void)
{
    return SIGRTMIN + 3;
}

static void *reader_main(void *argument)
{
    enum { SLOT_WAIT_MS = 100 };
    struct session *s = argument;
    sigset_t signals;

    (void)pthread_setname_np(pthread_self(), "fuse-reader");
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, session_wake_signal());
    (void)pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    while (!atomic_load(&s->stopping) && !atomic_load(&s->gone)) {
        int slot;

        if (atomic_load(&s->parking)) {
            park_here(s);
        }
        if (slots_take(s->slots, SLOT_WAIT_MS, &slot) == 0 && !read_one(s, slot)) {
            break;
        }
    }
    atomic_fetch_sub(&s->running, 1);
    wake(s);
    return NULL;
}

static int start_readers(struct session *s, struct error *err)
{
    struct sigaction action = {.sa_handler = on_wake_signal};

    if (sigaction(session_wake_signal(), &action, NULL) < 0) {
        return -errno;
    }
    for (unsigned i = 0; i < s->thread_count; i++) {
        int error;

        atomic_fetch_add(&s->running, 1);
        error = pthread_create(&s->threads[i], NULL, reader_main, s);
        if (error != 0) {
            atomic_fetch_sub(&s->running, 1);
            return error_set(err, -error, "starting a thread: %s", error_text(NULL, error));
        }
        atomic_fetch_add(&s->started, 1);
    }
    return 0;
}

int session_start(struct session *s, struct error *err)
{
    int r = do_init(s, err);

    if (r == 0) {
        r = pending_watch_start(s);
    }
    if (r < 0) {
        return r;
    }
    replay(s);
    return start_readers(s, err);
}

void session_stop(struct session *s)
{
    int saved = errno;

    atomic_store(&s->stopping, true);
    wake(s);
    errno = saved;
}

static void join_readers(struct session *s)
{
    park_joins(s);
    while (s->started > 0) {
        (void)pthread_join(s->threads[--s->started], NULL);
    }
}

int session_wait(struct session *s, uint64_t timeout_ms)
{
    enum { NUDGE_MS = 5 };
    uint64_t now = clock_monotonic_ms(clock_real());
    uint64_t until = timeout_ms < UINT64_MAX - now ? now + timeout_ms : UINT64_MAX;

    while (atomic_load(&s->running) > 0) {
        struct pollfd poll_fd = {.fd = s->wake, .events = POLLIN};
        bool stopping = atomic_load(&s->stopping) || atomic_load(&s->gone);
        uint64_t left;
        uint64_t count;

        now = clock_monotonic_ms(clock_real());
        if (now >= until) {
            return -ETIMEDOUT;
        }
        if (stopping) {
            park_end(s);
        }
        /* A reader may go to sleep in read(2) just after a signal: so again and again. */
        for (unsigned i = 0; stopping && i < s->started; i++) {
            (void)pthread_kill(s->threads[i], session_wake_signal());
        }
        left = until - now < INT32_MAX ? until - now : INT32_MAX;
        (void)poll(&poll_fd, 1, stopping ? NUDGE_MS : (int)left);
        if (poll_fd.revents != 0 && read(s->wake, &count, sizeof(count)) < 0) {
            continue; /* another waiter was faster */
        }
    }
    join_readers(s);
    return atomic_load(&s->gone) ? -ENODEV : 0;
}

void session_unmount(struct session *s)
{
    if (s->mounted_here) {
        fuse_session_unmount(s->fuse);
        s->mounted_here = false;
    }
}

/* The number stays taken: a late answer must not go into a file that was opened under it. */
bool session_abandon(struct session *s)
{
    struct pollfd poll_fd = {.fd = fuse_session_fd(s->fuse)};
    bool unmounted = poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLERR) != 0;
    bool ours = s->mounted_here && !unmounted;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (null >= 0) {
        (void)dup3(null, poll_fd.fd, O_CLOEXEC);
        (void)close(null);
    }
    s->mounted_here = false;
    return ours;
}

int session_drain(struct session *s, uint64_t timeout_ms)
{
    uint64_t until = clock_monotonic_ms(clock_real()) + timeout_ms;
    int r = 0;

    mutex_lock(&s->lock);
    while (s->in_flight > 0 && r == 0) {
        uint64_t now = clock_monotonic_ms(clock_real());

        if (now >= until) {
            r = -ETIMEDOUT;
        } else {
            cond_wait_ms(&s->changed, &s->lock, until - now);
        }
    }
    mutex_unlock(&s->lock);
    return r;
}

/* Construction */

static int open_kept(struct session *s, struct keep *keep, struct error *err)
{
    struct keep_region region;
    int r = keep_region(keep, "session", sizeof(struct kept_session), &region, err);

    if (r < 0) {
        return r;
    }
    s->kept = region.data;
    if (s->kept->magic == 0) {
        s->kept->version = KEPT_VERSION;
        atomic_store((_Atomic uint64_t *)&s->kept->magic, kept_magic);
    }
    if (s->kept->magic != kept_magic || s->kept->version != KEPT_VERSION) {
        return error_set(err, -EUCLEAN, "kept session: not laid out by this version");
    }
    s->taken_over = ((struct fuse_in_header *)(void *)s->kept->init)->len != 0;
    return 0;
}

/* Half a request is none: its answer has gone out. Returns how many are left. */
static int drop_torn(struct session *s, const struct session_config *config, int count)
{
    int kept = 0;

    for (int i = 0; i < count; i++) {
        const struct fuse_in_header *in = slots_data(s->slots, s->adopted[i]);

        if (!slots_torn(s->slots, s->adopted[i])) {
            s->adopted[kept++] = s->adopted[i];
            continue;
        }
        log_error("a request was half read", "opcode", log_num(in->opcode), "inode",
                  log_num((long long)in->nodeid), NULL);
        if (in->opcode == FUSE_WRITE && config->torn != NULL) {
            config->torn(config->userdata, in->nodeid);
        }
        slots_release(s->slots, s->adopted[i]);
    }
    return kept;
}

static int open_slots(struct session *s, const struct session_config *config, struct error *err)
{
    unsigned threads = s->thread_count;
    unsigned large = config->large_slots != 0 ? config->large_slots : 4 * threads;
    unsigned small = config->small_slots != 0 ? config->small_slots : SESSION_SMALL_DEFAULT;
    int count;

    if (large <= threads) {
        return error_set(err, -EINVAL, "%u large slots are too few for %u threads", large, threads);
    }
    count = slots_new(config->keep, small, large, &s->slots, err);
    if (count < 0) {
        return count;
    }
    s->use = calloc(slots_count(s->slots), sizeof(*s->use));
    s->adopted = calloc(slots_count(s->slots), sizeof(*s->adopted));
    s->adopted_unique = calloc(slots_count(s->slots), sizeof(*s->adopted_unique));
    if (s->use == NULL || s->adopted == NULL || s->adopted_unique == NULL) {
        return -ENOMEM;
    }
    count = slots_occupied(s->slots, s->adopted);
    if (count < 0) {
        return count;
    }
    s->adopted_count = drop_torn(s, config, count);
    count = s->adopted_count;
    for (int i = 0; i < count; i++) {
        const struct fuse_in_header *in = slots_data(s->slots, s->adopted[i]);

        s->adopted_unique[i] = in->unique & ~SESSION_RESEND_BIT;
    }
    return 0;
}

static int open_fuse(struct session *s, const struct session_config *config, struct error *err)
{
    char program[] = "skyvol-mount";
    char flag[] = "-o";
    char *argv[] = {program, flag, NULL, NULL};
    AUTOFREE char *options = strdup(config->options != NULL ? config->options : "");
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    char path[32];
    int device = -1;
    int r;

    if (options == NULL) {
        return -ENOMEM;
    }
    if (config->device >= 0) {
        device = fcntl(config->device, F_DUPFD_CLOEXEC, 3); /* libfuse will close it */
        if (device < 0) {
            return -errno;
        }
    }
    if (config->device < 0 && options[0] != '\0') {
        argv[2] = options;
        args.argc = 3;
    }
    s->fuse = fuse_session_new(&args, &s->ops, sizeof(s->ops), config->userdata);
    fuse_opt_free_args(&args);
    if (s->fuse == NULL) {
        cleanup_close(&device);
        return error_set(err, -EINVAL, "libfuse refuses the mount options");
    }
    (void)snprintf(path, sizeof(path), "/dev/fd/%d", device);
    if (fuse_session_mount(s->fuse, config->device < 0 ? config->mountpoint : path) < 0) {
        cleanup_close(&device);
        return error_set(err, -EIO, "cannot mount on %s",
                         config->device < 0 ? config->mountpoint : path);
    }
    s->mounted_here = config->device < 0;
    r = own_io(s->fuse);
    return r < 0 ? error_set(err, r, "libfuse: %s", error_text(NULL, r)) : 0;
}

static int check(const struct session_config *config, struct error *err)
{
    if (config->threads > SESSION_THREADS_MAX) {
        return error_set(err, -EINVAL, "%u threads: at most %d", config->threads,
                         SESSION_THREADS_MAX);
    }
    if (config->device < 0 && config->mountpoint == NULL) {
        return error_set(err, -EINVAL, "no mount point");
    }
    return 0;
}

LOCK_UNCHECKED
int session_new(const struct session_config *config, struct session **ret, struct error *err)
{
    CLEANUP(session_free_p) struct session *s = NULL;
    int r = check(config, err);

    if (r < 0) {
        return r;
    }
    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    park_init(s);
    mutex_init(&s->lock);
    cond_init(&s->watched);
    cond_init(&s->changed);
    TAILQ_INIT(&s->pendings);
    s->resend = config->resend;
    s->stats = config->stats;
    s->thread_count = config->threads != 0 ? config->threads : SESSION_THREADS_DEFAULT;
    s->deadline_ms = config->deadline_ms != 0 ? config->deadline_ms : SESSION_DEADLINE_DEFAULT_MS;
    s->ops = *config->ops;
    s->init = s->ops.init;
    s->ops.init = on_init;
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake < 0) {
        return -errno;
    }
    r = open_kept(s, config->keep, err);
    if (r == 0) {
        r = open_slots(s, config, err);
    }
    if (r == 0) {
        r = open_fuse(s, config, err);
    }
    if (r < 0) {
        return r;
    }
    *ret = TAKE(s);
    return 0;
}

LOCK_UNCHECKED
void session_free(struct session *s)
{
    if (s == NULL) {
        return;
    }
    pending_watch_stop(s);
    assert(s->started == 0);
    if (s->fuse != NULL) {
        session_unmount(s);
        fuse_session_destroy(s->fuse);
    }
    if (s->wake >= 0) {
        (void)close(s->wake);
    }
    slots_free(s->slots);
    free(s->use);
    free(s->adopted);
    free(s->adopted_unique);
    cond_done(&s->changed);
    cond_done(&s->watched);
    mutex_done(&s->lock);
    park_done(s);
    free(s);
}

/* Questions */

bool session_taken_over(const struct session *s)
{
    return s->taken_over;
}

struct fuse_session *session_fuse(const struct session *s)
{
    return s->fuse;
}

static int compare_unique(const void *key, const void *element)
{
    const uint64_t *a = key;
    const uint64_t *b = element;

    return *a < *b ? -1 : *a > *b;
}

bool session_in_flight(struct session *s, uint64_t unique)
{
    return pending_find(s, unique) ||
           (s->adopted_count > 0 && bsearch(&unique, s->adopted_unique, (size_t)s->adopted_count,
                                            sizeof(unique), compare_unique) != NULL);
}

void session_stats(struct session *s, struct session_stats *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->requests = atomic_load(&s->requests);
    ret->replayed = atomic_load(&s->replayed);
    ret->deadlines = atomic_load(&s->deadlines);
    ret->interrupts = atomic_load(&s->interrupts);
    ret->in_flight = pending_count(s, &ret->oldest_age_ms);
}
