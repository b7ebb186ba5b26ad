/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server is killed again and again under a live mount, and no program on the mount notices.
 *
 * The test process plays the holder: it opens /dev/fuse, mounts, and hands the device and the kept
 * memory to one forked server after another. The server is a file system of a few names whose
 * state lies in kept memory and whose changes go through a one-record redo journal, as the real
 * one's do. Programs on the mount do what cannot be done twice unnoticed: O_EXCL creates, renames,
 * unlinks, and an extended attribute whose setting adds to a counter.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "mounter/keep.h"
#include "mounter/pending.h"
#include "mounter/session.h"
#include "test.h"
#include "util/clock.h"
#include "util/mutex.h"

enum {
    NODES = 64,
    NAME_SIZE = 32,
    FILE_SIZE = 1 << 20,
    RECORDS = 16384,
    WORKERS = 3,
    KILLS = 50,
    ROUND_BYTES = 200000,
};

/* The file system's state, in the kept region "state" */

struct node {
    char name[NAME_SIZE]; /* "": unlinked, or free if nlookup is 0 */
    uint64_t nlookup;
    uint64_t size;
};

struct record {
    uint64_t unique;
    uint64_t ino;
    int32_t error;
    uint32_t value;
};

/* What one request changes, absolute values only: doing it twice is doing it once. */
struct change {
    struct record record;
    uint64_t next_record;
    uint64_t counter;
    uint32_t node[2];
    struct node after[2];
};

struct state {
    _Atomic uint32_t committed; /* the change below holds and is being applied */
    struct change change;
    uint64_t counter;
    uint64_t next_record;
    struct node nodes[NODES]; /* inode number = index; 0 is unused, 1 the root */
    struct record records[RECORDS];
};

struct memfs {
    struct mutex lock;
    struct state *state;
    char *data; /* FILE_SIZE for each node */
    struct session *session;
};

static struct memfs fs;

static void apply_locked(void) REQUIRES(&fs.lock)
{
    struct state *st = fs.state;
    const struct change *c = &st->change;

    for (int i = 0; i < 2; i++) {
        if (c->node[i] != 0) {
            st->nodes[c->node[i]] = c->after[i];
        }
    }
    st->counter = c->counter;
    st->records[(c->next_record - 1) % RECORDS] = c->record;
    st->next_record = c->next_record;
    atomic_store(&st->committed, 0);
}

static void begin_locked(struct change *c, uint64_t unique) REQUIRES(&fs.lock)
{
    memset(c, 0, sizeof(*c));
    c->record.unique = unique;
    c->next_record = fs.state->next_record + 1;
    c->counter = fs.state->counter;
}

static void commit_locked(const struct change *c) REQUIRES(&fs.lock)
{
    fs.state->change = *c;
    atomic_store(&fs.state->committed, 1);
    apply_locked();
}

static void set_node(struct change *c, int which, uint64_t ino)
{
    c->node[which] = (uint32_t)ino;
    c->after[which] = fs.state->nodes[ino];
}

static bool done_before_locked(const struct pending *p, uint64_t unique, struct record *ret)
    REQUIRES(&fs.lock)
{
    for (int i = 0; pending_replay(p) && i < RECORDS; i++) {
        if (fs.state->records[i].unique == unique) {
            *ret = fs.state->records[i];
            return true;
        }
    }
    return false;
}

static uint64_t find_locked(const char *name) REQUIRES(&fs.lock)
{
    for (uint64_t i = 2; i < NODES; i++) {
        if (strcmp(fs.state->nodes[i].name, name) == 0) {
            return i;
        }
    }
    return 0;
}

static void fill_attr(uint64_t ino, struct stat *st)
{
    memset(st, 0, sizeof(*st));
    st->st_ino = ino;
    st->st_mode = ino == 1 ? S_IFDIR | 0777 : S_IFREG | 0666;
    st->st_nlink = 1;
    st->st_size = ino == 1 ? 0 : (off_t)fs.state->nodes[ino].size;
}

static struct fuse_entry_param entry_of(uint64_t ino)
{
    struct fuse_entry_param e = {.ino = ino};

    fill_attr(ino, &e.attr);
    return e;
}

/* Operations that change something: run under the lock, answered from the record. */

typedef void operation_fn(struct change *c, uint64_t ino, const char *a, const char *b);

static struct record run(struct pending *p, operation_fn *operation, uint64_t ino, const char *a,
                         const char *b)
{
    struct record record;

    mutex_lock(&fs.lock);
    if (!done_before_locked(p, pending_unique(p), &record)) {
        struct change c;

        begin_locked(&c, pending_unique(p));
        operation(&c, ino, a, b);
        commit_locked(&c);
        record = c.record;
    }
    mutex_unlock(&fs.lock);
    return record;
}

static void op_lookup(struct change *c, uint64_t ino, const char *name, const char *b)
{
    (void)ino;
    (void)b;
    c->record.ino = find_locked(name);
    c->record.error = c->record.ino == 0 ? ENOENT : 0;
    if (c->record.ino != 0) {
        set_node(c, 0, c->record.ino);
        c->after[0].nlookup++;
    }
}

static void op_create(struct change *c, uint64_t ino, const char *name, const char *b)
{
    (void)b;
    c->record.error = find_locked(name) != 0 ? EEXIST : ENOSPC;
    for (ino = 2; c->record.error == ENOSPC && ino < NODES; ino++) {
        if (fs.state->nodes[ino].name[0] == '\0' && fs.state->nodes[ino].nlookup == 0) {
            set_node(c, 0, ino);
            c->after[0] = (struct node){.nlookup = 1};
            (void)snprintf(c->after[0].name, NAME_SIZE, "%s", name);
            c->record.ino = ino;
            c->record.error = 0;
        }
    }
}

static void op_unlink(struct change *c, uint64_t ino, const char *name, const char *b)
{
    (void)b;
    ino = find_locked(name);
    c->record.error = ino == 0 ? ENOENT : 0;
    if (ino != 0) {
        set_node(c, 0, ino);
        c->after[0].name[0] = '\0';
    }
}

static void op_rename(struct change *c, uint64_t ino, const char *from, const char *to)
{
    uint64_t target = find_locked(to);

    ino = find_locked(from);
    c->record.error = ino == 0 ? ENOENT : 0;
    if (ino != 0) {
        set_node(c, 0, ino);
        (void)snprintf(c->after[0].name, NAME_SIZE, "%s", to);
        if (target != 0) {
            set_node(c, 1, target);
            c->after[1].name[0] = '\0';
        }
    }
}

static void op_add(struct change *c, uint64_t ino, const char *a, const char *b)
{
    (void)ino;
    (void)a;
    (void)b;
    c->counter++;
}

static void op_forget(struct change *c, uint64_t ino, const char *count, const char *b)
{
    (void)b;
    set_node(c, 0, ino);
    c->after[0].nlookup -= *(const uint64_t *)(const void *)count;
}

static void op_grow(struct change *c, uint64_t ino, const char *end, const char *b)
{
    uint64_t size = *(const uint64_t *)(const void *)end;

    (void)b;
    set_node(c, 0, ino);
    if (size > c->after[0].size) {
        c->after[0].size = size;
    }
}

/* A second thread answers reads and writes, as a store's completion would. */

struct job {
    struct pending *pending;
    uint64_t ino;
    uint64_t offset;
    size_t size;
    const char *write; /* in the request's slot; NULL: a read */
    struct job *next;
};

static struct {
    struct mutex lock;
    struct cond added;
    struct job *first;
} queue;

static void enqueue(struct job job)
{
    struct job *copy = malloc(sizeof(*copy));

    assert_non_null(copy);
    *copy = job;
    mutex_lock(&queue.lock);
    copy->next = queue.first;
    queue.first = copy;
    cond_signal(&queue.added);
    mutex_unlock(&queue.lock);
}

static void finish(const struct job *job)
{
    char *data = fs.data + job->ino * FILE_SIZE + job->offset;

    if (job->write != NULL) {
        uint64_t end = job->offset + job->size;

        memcpy(data, job->write, job->size);
        (void)run(job->pending, op_grow, job->ino, (const char *)&end, NULL);
        (void)pending_reply_write(job->pending, job->size);
    } else {
        (void)pending_reply_buf(job->pending, data, job->size);
    }
}

LOCK_UNCHECKED
static void *completer(UNUSED void *argument)
{
    for (;;) {
        struct job *job;

        mutex_lock(&queue.lock);
        while (queue.first == NULL) {
            cond_wait(&queue.added, &queue.lock);
        }
        job = queue.first;
        queue.first = job->next;
        mutex_unlock(&queue.lock);
        finish(job);
        free(job);
    }
    return NULL;
}

/* Handlers */

static void fs_lookup(fuse_req_t req, UNUSED fuse_ino_t parent, const char *name)
{
    struct pending *p = pending_begin(req);
    struct record r = run(p, op_lookup, 0, name, NULL);
    struct fuse_entry_param e = entry_of(r.ino);

    (void)(r.error != 0 ? pending_reply_err(p, r.error) : pending_reply_entry(p, &e));
}

/* A record for each: our change has room for two nodes only. */
static void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct pending *p = pending_begin(req);

    mutex_lock(&fs.lock);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t unique = pending_unique(p) | i << 48;
        struct record done;
        struct change c;

        if (!done_before_locked(p, unique, &done)) {
            begin_locked(&c, unique);
            op_forget(&c, forgets[i].ino, (const char *)&forgets[i].nlookup, NULL);
            commit_locked(&c);
        }
    }
    mutex_unlock(&fs.lock);
    pending_reply_none(p);
}

static void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    struct fuse_forget_data one = {.ino = ino, .nlookup = nlookup};

    fs_forget_multi(req, 1, &one);
}

static void fs_getattr(fuse_req_t req, fuse_ino_t ino, UNUSED struct fuse_file_info *fi)
{
    struct stat st;

    mutex_lock(&fs.lock);
    fill_attr(ino, &st);
    mutex_unlock(&fs.lock);
    (void)fuse_reply_attr(req, &st, 0); /* changes nothing: no pending needed */
}

static void fs_create(fuse_req_t req, UNUSED fuse_ino_t parent, const char *name,
                      UNUSED mode_t mode, struct fuse_file_info *fi)
{
    struct pending *p = pending_begin(req);
    struct record r = run(p, op_create, 0, name, NULL);
    struct fuse_entry_param e = entry_of(r.ino);

    fi->fh = r.ino;
    fi->direct_io = 1;
    (void)(r.error != 0 ? pending_reply_err(p, r.error) : pending_reply_create(p, &e, fi));
}

static void fs_open(fuse_req_t req, UNUSED fuse_ino_t ino, struct fuse_file_info *fi)
{
    fi->direct_io = 1;
    (void)fuse_reply_open(req, fi);
}

static void fs_unlink(fuse_req_t req, UNUSED fuse_ino_t parent, const char *name)
{
    struct pending *p = pending_begin(req);

    (void)pending_reply_err(p, run(p, op_unlink, 0, name, NULL).error);
}

static void fs_rename(fuse_req_t req, UNUSED fuse_ino_t parent, const char *from,
                      UNUSED fuse_ino_t new_parent, const char *to, UNUSED unsigned flags)
{
    struct pending *p = pending_begin(req);

    (void)pending_reply_err(p, run(p, op_rename, 0, from, to).error);
}

static void fs_setxattr(fuse_req_t req, UNUSED fuse_ino_t ino, UNUSED const char *name,
                        UNUSED const char *value, UNUSED size_t size, UNUSED int flags)
{
    struct pending *p = pending_begin(req);

    (void)pending_reply_err(p, run(p, op_add, 0, NULL, NULL).error);
}

static void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    UNUSED struct fuse_file_info *fi)
{
    uint64_t end;

    mutex_lock(&fs.lock);
    end = fs.state->nodes[ino].size;
    mutex_unlock(&fs.lock);
    if ((uint64_t)offset >= end) {
        size = 0;
    } else if ((uint64_t)offset + size > end) {
        size = end - (uint64_t)offset;
    }
    enqueue((struct job){
        .pending = pending_begin(req), .ino = ino, .offset = (uint64_t)offset, .size = size});
}

static void fs_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                     UNUSED struct fuse_file_info *fi)
{
    enqueue((struct job){.pending = pending_begin(req),
                         .ino = ino,
                         .offset = (uint64_t)offset,
                         .size = size,
                         .write = data});
}

static void fs_ok(fuse_req_t req, UNUSED fuse_ino_t ino, UNUSED struct fuse_file_info *fi)
{
    (void)fuse_reply_err(req, 0);
}

static void fs_fsync(fuse_req_t req, UNUSED fuse_ino_t ino, UNUSED int datasync,
                     UNUSED struct fuse_file_info *fi)
{
    (void)fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = fs_lookup,
    .forget = fs_forget,
    .forget_multi = fs_forget_multi,
    .getattr = fs_getattr,
    .create = fs_create,
    .open = fs_open,
    .unlink = fs_unlink,
    .rename = fs_rename,
    .setxattr = fs_setxattr,
    .read = fs_read,
    .write = fs_write,
    .flush = fs_ok,
    .release = fs_ok,
    .fsync = fs_fsync,
};

/* The server process */

LOCK_UNCHECKED
static void serve(struct keep *keep, int device, bool resend)
{
    struct session_config config = {
        .ops = &operations, .keep = keep, .device = device, .resend = resend, .threads = 3};
    struct keep_region state;
    struct keep_region data;
    struct error err = ERROR_INIT;
    pthread_t thread;

    assert_int_equal(keep_region(keep, "state", sizeof(struct state), &state, &err), 0);
    assert_int_equal(keep_region(keep, "data", (size_t)NODES * FILE_SIZE, &data, &err), 0);
    mutex_init(&fs.lock);
    mutex_init(&queue.lock);
    cond_init(&queue.added);
    fs.state = state.data;
    fs.data = data.data;
    if (atomic_load(&fs.state->committed) != 0) {
        apply_locked();
    }
    if (pthread_create(&thread, NULL, completer, NULL) != 0) {
        _exit(3);
    }
    if (session_new(&config, &fs.session, &err) < 0 || session_start(fs.session, &err) < 0) {
        (void)fprintf(stderr, "server: %s\n", err.text);
        _exit(3);
    }
    _exit(session_wait(fs.session, UINT64_MAX) == -ENODEV ? 0 : 4);
}

/* The holder's side */

struct holder {
    char *mountpoint;
    int device;
    int fds[8];
    char names[8][KEEP_NAME_MAX];
    int count;
    bool resend;
};

/* Made before any server starts, so that handing over is plain inheritance. */
static void make_regions(struct holder *h)
{
    static const char *const names[] = {"state", "data", "session", "slots"};

    for (h->count = 0; h->count < 4; h->count++) {
        h->fds[h->count] = memfd_create(names[h->count], MFD_CLOEXEC);
        assert_true(h->fds[h->count] >= 0);
        (void)snprintf(h->names[h->count], KEEP_NAME_MAX, "%s", names[h->count]);
    }
}

static pid_t start_server(const struct holder *h)
{
    pid_t pid = fork();

    if (pid == 0) {
        struct keep *keep;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* leave nothing behind when the test fails */
        if (keep_new(&keep) < 0) {
            _exit(3);
        }
        for (int i = 0; i < h->count; i++) {
            if (keep_adopt(keep, h->names[i], h->fds[i]) < 0) {
                _exit(3);
            }
        }
        serve(keep, h->device, h->resend);
    }
    assert_true(pid > 0);
    return pid;
}

static void mount_here(struct holder *h)
{
    char options[128];

    h->device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    assert_true(h->device >= 0);
    (void)snprintf(options, sizeof(options),
                   "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", h->device);
    assert_int_equal(mount("test", h->mountpoint, "fuse.test", MS_NOSUID | MS_NODEV, options), 0);
}

/* Programs on the mount */

struct shared {
    _Atomic uint64_t last_ms[WORKERS]; /* when an operation last returned */
    _Atomic uint64_t operations;
    _Atomic uint64_t added;
    _Atomic uint64_t slowest_ms;
    _Atomic bool stop;
};
static struct shared *shared;

static void must(bool good, const char *what)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    static uint64_t last;

    if (!good) {
        (void)fprintf(stderr, "worker: %s: %s\n", what, strerror(errno));
        _exit(5);
    }
    if (last != 0 && now - last > atomic_load(&shared->slowest_ms)) {
        atomic_store(&shared->slowest_ms, now - last);
    }
    last = now;
    atomic_fetch_add(&shared->operations, 1);
}

static void work_once(int worker, unsigned round)
{
    static char out[ROUND_BYTES];
    static char in[ROUND_BYTES];
    char a[NAME_SIZE];
    char b[NAME_SIZE];
    int fd;

    (void)snprintf(a, sizeof(a), "a%d.%u", worker, round % 3);
    (void)snprintf(b, sizeof(b), "b%d", worker);
    for (size_t i = 0; i < sizeof(out); i++) {
        out[i] = (char)(i * 31 + round + (unsigned)worker);
    }
    fd = open(a, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
    must(fd >= 0, "create");
    must(write(fd, out, sizeof(out)) == (ssize_t)sizeof(out), "write");
    must(pread(fd, in, sizeof(in), 0) == (ssize_t)sizeof(in), "read");
    must(memcmp(in, out, sizeof(in)) == 0, "what was read is what was written");
    must(fsync(fd) == 0, "fsync");
    must(rename(a, b) == 0, "rename");
    must(access(a, F_OK) < 0 && errno == ENOENT, "the old name is gone");
    must(setxattr(b, "user.add", "1", 1, 0) == 0, "add");
    atomic_fetch_add(&shared->added, 1);
    must(close(fd) == 0, "close");
    must(unlink(b) == 0, "unlink");
}

static pid_t start_worker(const struct holder *h, int worker)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        must(chdir(h->mountpoint) == 0, "chdir");
        for (unsigned round = 0; !atomic_load(&shared->stop); round++) {
            work_once(worker, round);
        }
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}

static void nap_ms(long ms)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* A request that nobody answers hangs its program for ever: after 30 s the connection goes. */
static int exit_status(const struct holder *h, pid_t pid)
{
    int status = 0;
    pid_t gone = 0;

    for (int waited_ms = 0; gone == 0; waited_ms += 2) {
        gone = waitpid(pid, &status, WNOHANG);
        if (waited_ms == 30000) {
            (void)umount2(h->mountpoint, MNT_FORCE | MNT_DETACH);
            fail_msg("a process hangs");
        }
        nap_ms(gone == 0 ? 2 : 0);
    }
    assert_int_equal(gone, pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static pid_t kill_and_replace(const struct holder *h, pid_t server)
{
    assert_int_equal(kill(server, SIGKILL), 0);
    assert_int_equal(exit_status(h, server), -SIGKILL);
    return start_server(h);
}

/* Every node must have been forgotten exactly as often as it was looked up. */
static void expect_all_forgotten(const struct holder *h)
{
    struct state *st = mmap(NULL, sizeof(*st), PROT_READ, MAP_SHARED, h->fds[0], 0);
    bool left = true;

    assert_ptr_not_equal(st, MAP_FAILED);
    for (int tries = 0; left && tries < 100; tries++) {
        left = false;
        for (int i = 2; i < NODES; i++) {
            left = left || st->nodes[i].nlookup != 0 || st->nodes[i].name[0] != '\0';
        }
        nap_ms(left ? 20 : 0);
    }
    assert_false(left);
    assert_int_equal(st->counter, atomic_load(&shared->added));
    assert_int_equal(munmap(st, sizeof(*st)), 0);
}

static void survive_kills(bool resend)
{
    char mountpoint[] = "/tmp/takeover.XXXXXX";
    struct holder h = {.mountpoint = mkdtemp(mountpoint), .resend = resend};
    pid_t workers[WORKERS];
    pid_t server;

    assert_non_null(h.mountpoint);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    make_regions(&h);
    mount_here(&h);
    server = start_server(&h);
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = start_worker(&h, i);
    }
    for (int i = 0; i < KILLS; i++) {
        nap_ms(5 + (i * 7) % 40);
        server = kill_and_replace(&h, server);
    }
    nap_ms(50);
    atomic_store(&shared->stop, true);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(exit_status(&h, workers[i]), 0);
    }
    expect_all_forgotten(&h);
    print_message("resend=%s: %d kills, %llu operations, slowest %llu ms\n", resend ? "on" : "off",
                  KILLS, (unsigned long long)shared->operations,
                  (unsigned long long)shared->slowest_ms);
    assert_int_equal(umount2(h.mountpoint, 0), 0);
    assert_int_equal(exit_status(&h, server), 0);
    assert_int_equal(rmdir(h.mountpoint), 0);
    assert_int_equal(munmap(shared, sizeof(*shared)), 0);
    (void)close(h.device);
    for (int i = 0; i < h.count; i++) {
        (void)close(h.fds[i]);
    }
}

static void programs_survive_kills_by_slots_alone(UNUSED void **state)
{
    survive_kills(false);
}

static void programs_survive_kills_with_resend(UNUSED void **state)
{
    survive_kills(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_survive_kills_by_slots_alone),
        cmocka_unit_test(programs_survive_kills_with_resend),
    };

    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0) {
        print_message("left out: needs root and /dev/fuse\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
