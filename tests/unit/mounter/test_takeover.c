/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server is killed again and again under a live mount, and no program on the mount notices.
 *
 * The test process plays the holder: it opens /dev/fuse, mounts, and hands the device and the kept
 * memory to one forked server after another. The server is a file system of a few names whose
 * state lies in kept memory and whose changes go through a one-record redo journal, as the real
 * one's do. Programs on the mount do what cannot be done twice unnoticed: O_EXCL creates, renames,
 * unlinks, and an extended attribute whose setting adds to a counter.
 *
 * The same file system and the same programs serve tests/integration/test_holder.py, which lets
 * the real holder do the killing: `test_takeover --holder-fd=3` is a mounter, and
 * `test_takeover --work DIRECTORY SECONDS` works there and says what it has seen;
 * `--make-bucket` serves test_kill_mounter.py, `--put-keys` and `--list-keys` test_posix.py.
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

#include "memfs.h"
#include "mounter/kept/keep.h"
#include "mounter/session/held.h"
#include "mounter/session/pending.h"
#include "mounter/session/session.h"
#include "objstore/objstore_call.h"
#include "test.h"
#include "util/clock.h"
#include "util/mutex.h"
#include "volume/open.h"

enum {
    WORKERS = 3,
    KILLS = 50,
    ROUND_BYTES = 200000,
};

/* The server process */

LOCK_UNCHECKED
static int start(struct keep *keep, int device, bool resend, struct error *err)
{
    struct session_config config = {
        .ops = &operations, .keep = keep, .device = device, .resend = resend, .threads = 3};
    struct keep_region state;
    struct keep_region data;
    pthread_t thread;
    int r = keep_region(keep, "state", sizeof(struct state), &state, err);

    if (r == 0) {
        r = keep_region(keep, "data", (size_t)NODES * FILE_SIZE, &data, err);
    }
    if (r < 0) {
        return r;
    }
    mutex_init(&fs.lock);
    mutex_init(&queue.lock);
    cond_init(&queue.added);
    fs.state = state.data;
    fs.data = data.data;
    if (atomic_load(&fs.state->committed) != 0) {
        apply_locked();
    }
    if (pthread_create(&thread, NULL, completer, NULL) != 0) {
        return -EAGAIN;
    }
    r = session_new(&config, &fs.session, err);
    return r < 0 ? r : session_start(fs.session, err);
}

static void serve(struct keep *keep, int device, bool resend)
{
    struct error err = ERROR_INIT;

    if (start(keep, device, resend, &err) < 0) {
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

    (void)snprintf(a, sizeof(a), "a%d.%u", worker % 1000000, round % 3);
    (void)snprintf(b, sizeof(b), "b%d", worker % 1000000);
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

static void prepare_shared(void)
{
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
}

static void survive_kills(bool resend)
{
    char mountpoint[] = "/tmp/takeover.XXXXXX";
    struct holder h = {.mountpoint = mkdtemp(mountpoint), .resend = resend};
    pid_t workers[WORKERS];
    pid_t server;

    assert_non_null(h.mountpoint);
    prepare_shared();
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

/* For the integration test: a mounter of the real holder */

static void on_credentials(void *context)
{
    struct keep *keep = held_keep(*(struct held **)context);
    char *text = NULL;
    size_t len = 0;

    if (keep_blob_get(keep, "credentials", &text, &len) == 0) {
        (void)fprintf(stderr, "mounter: new credentials of %zu bytes\n", len);
    }
    keep_secret_free(text, len);
}

static void on_quiesce(UNUSED void *context)
{
    session_stop(fs.session);
}

static int on_drain(UNUSED void *context, UNUSED const struct held_drain *drain,
                    UNUSED uint32_t *kept_files, UNUSED struct error *err)
{
    return 0;
}

static int be_mounter(int socket)
{
    static const struct held_events events = {on_credentials, on_quiesce, on_drain};
    struct error err = ERROR_INIT;
    struct held *held = NULL;
    char *config = NULL;
    size_t len = 0;
    int r = held_new(socket, &events, &held, &held, &err);

    if (r == 0) {
        r = keep_blob_get(held_keep(held), "config", &config, &len);
    }
    if (r == 0 && strstr(config, "\"fail\"") != NULL) {
        (void)error_set(&err, -EACCES, "the bucket does not want us");
        held_failed(held, &err);
        return 1;
    }
    if (r == 0 && strstr(config, "\"crash\"") != NULL) {
        abort();
    }
    keep_secret_free(config, len);
    if (r == 0) {
        r = start(held_keep(held), held_device(held), held_resend(held), &err);
    }
    if (r == 0) {
        r = held_ready(held, &err);
    }
    if (r < 0) {
        (void)fprintf(stderr, "mounter: %s\n", error_text(&err, r));
        return 1;
    }
    r = session_wait(fs.session, UINT64_MAX);
    return r == 0 || r == -ENODEV ? 0 : 1;
}

/* For the integration test: programs on a mount, and what they have seen */

static int work(char *directory, long seconds)
{
    struct holder h = {.mountpoint = directory};
    pid_t workers[WORKERS];
    char text[32] = "";
    int failures = 0;
    uint64_t before;

    prepare_shared();
    if (getxattr(directory, "user.add", text, sizeof(text) - 1) < 0) {
        return 1;
    }
    before = strtoull(text, NULL, 10);
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = start_worker(&h, (int)getpid() * 10 + i);
    }
    for (long ms = 0; ms < seconds * 1000; ms += 50) {
        nap_ms(50);
    }
    atomic_store(&shared->stop, true);
    for (int i = 0; i < WORKERS; i++) {
        failures += exit_status(&h, workers[i]) != 0;
    }
    memset(text, 0, sizeof(text));
    if (getxattr(directory, "user.add", text, sizeof(text) - 1) < 0) {
        return 1;
    }
    (void)printf("{\"operations\": %llu, \"slowest_ms\": %llu, \"failures\": %d, "
                 "\"added\": %llu, \"counted\": %llu}\n",
                 (unsigned long long)shared->operations, (unsigned long long)shared->slowest_ms,
                 failures, (unsigned long long)shared->added, strtoull(text, NULL, 10) - before);
    return failures;
}

/* For test_kill_mounter.py: a store to mount from, before any server of ours runs. */
static int make_bucket(const char *location, const char *bucket)
{
    struct volume_open_config config = {.location = location};
    struct objstore_request create = {.op = OBJSTORE_BUCKET_CREATE, .bucket = bucket};
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore *store = NULL;
    struct error err = ERROR_INIT;
    int r = volume_open_store(&config, &store, &err);

    if (r == 0) {
        r = objstore_call(store, &create, &answer);
        objstore_free(store);
    }
    return r < 0 ? 1 : 0;
}

/* Keys that HTTP clients do not send as they are: from stdin, a NUL after each; each its own
 * content. */
static int put_keys(struct objstore *store, const char *bucket)
{
    char *key = NULL;
    size_t cap = 0;
    int r = 0;

    while (r == 0 && getdelim(&key, &cap, '\0', stdin) > 0) {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        bool dir = key[strlen(key) - 1] == '/';
        struct objstore_request put = {.op = OBJSTORE_PUT,
                                       .bucket = bucket,
                                       .key = key,
                                       .source = {.data = key, .size = dir ? 0 : strlen(key)}};

        r = objstore_call(store, &put, &answer);
    }
    free(key);
    return r;
}

/* At most a page of them, a NUL after each. */
static int list_keys(struct objstore *store, const char *bucket)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {.op = OBJSTORE_LIST, .bucket = bucket};
    int r = objstore_call(store, &list, &answer);

    for (size_t i = 0; r == 0 && i < answer.result.count; i++) {
        (void)fwrite(answer.result.entries[i].key, 1, strlen(answer.result.entries[i].key) + 1,
                     stdout);
    }
    return r;
}

static int with_store(const char *what, const char *location, const char *bucket)
{
    struct volume_open_config config = {.location = location};
    struct objstore *store = NULL;
    struct error err = ERROR_INIT;
    int r = volume_open_store(&config, &store, &err);

    if (r == 0) {
        r = strcmp(what, "--put-keys") == 0 ? put_keys(store, bucket) : list_keys(store, bucket);
        objstore_free(store);
    }
    return r < 0 ? 1 : 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_survive_kills_by_slots_alone),
        cmocka_unit_test(programs_survive_kills_with_resend),
    };

    if (argc == 2 && strncmp(argv[1], "--holder-fd=", 12) == 0) {
        return be_mounter((int)strtol(argv[1] + 12, NULL, 10));
    }
    if (argc == 4 && strcmp(argv[1], "--make-bucket") == 0) {
        return make_bucket(argv[2], argv[3]);
    }
    if (argc == 4 && (strcmp(argv[1], "--put-keys") == 0 || strcmp(argv[1], "--list-keys") == 0)) {
        return with_store(argv[1], argv[2], argv[3]);
    }
    if (argc == 4 && strcmp(argv[1], "--work") == 0) {
        return work(argv[2], strtol(argv[3], NULL, 10));
    }
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) < 0) {
        print_message("left out: needs root and /dev/fuse\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
