/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory backend's answers at once: the steps of a GET or HEAD on the caller's thread, with
 * a connection to the index that never waits. Nothing is told to the caller before all of it was
 * found in memory: until then it can still go the other way.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "objstore/dir_cached.h"
#include "objstore/dir_hurry.h"
#include "objstore/dir_internal.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/hash.h"
#include "util/log.h"

enum { MEMORY_MAX = 32 * 1024 * 1024, OPENED = 128, TRIED = 8, OPENED_MS = 1000, KEPT_MAX = 8192 };

/*
 * Files that were read lately stay open for a second or two. The index is asked for a name each
 * time, and a name is never used twice: so nobody gets bytes that a key had once. They are closed
 * by the committer, as the last close of a file that was removed may wait for the disk.
 *
 * The bytes of a small one are kept, too, from the second time on that they are read, and are
 * believed while the file's times are those from before they were read.
 */
struct dir_opened {
    int fd; /* -1: none */
    uint64_t since_ms;
    char *bytes; /* all of it; NULL: not kept */
    struct timespec modified, changed;
    bool was_read;
    char name[DIR_FILE_NAME_MAX];
};

/* Where the name is, or may be put: in one of a few places, a free one if there is one. */
static struct dir_opened *place_of(struct dir_worker *worker, const char *name)
{
    size_t hash = (size_t)hash_bytes(name, strlen(name));
    struct dir_opened *free_place = NULL, *place = NULL;

    for (size_t i = 0; i < TRIED; i++) {
        place = &worker->opened[(hash + i) % OPENED];
        if (place->fd >= 0 && strcmp(place->name, name) == 0) {
            return place;
        }
        free_place = place->fd < 0 && free_place == NULL ? place : free_place;
    }
    return free_place != NULL ? free_place : place;
}

/* Removed or cut behind the index's back: a thread finds the words for it. */
static bool is_sound(int fd, uint64_t size, struct stat *ret)
{
    return fstat(fd, ret) == 0 && ret->st_nlink > 0 && (uint64_t)ret->st_size >= size;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Bytes that are kept are no longer the file's if somebody has written into it. */
static void check_bytes(struct dir_opened *o, const struct stat *st)
{
    if (o->bytes != NULL &&
        (!same_time(&o->modified, &st->st_mtim) || !same_time(&o->changed, &st->st_ctim))) {
        free(o->bytes);
        o->bytes = NULL;
    }
    if (o->bytes == NULL) {
        o->modified = st->st_mtim;
        o->changed = st->st_ctim;
    }
}

int dir_now_read(struct dir_worker *worker, const struct dir_object *object, int *ret_fd)
{
    struct dir_opened *place = place_of(worker, object->file);
    bool here = place->fd >= 0 && strcmp(place->name, object->file) == 0;
    struct stat st;
    int ret = 0;

    worker->borrowed = here ? place : NULL;
    if (here) {
        *ret_fd = place->fd;
    } else {
        ret = dir_files_read_now(worker->store->files, object->file, ret_fd);
    }
    if (ret == 0 && !here && place->fd < 0 && strlen(object->file) < sizeof(place->name)) {
        place->fd = *ret_fd;
        place->since_ms = clock_monotonic_ms(clock_real());
        place->was_read = false;
        memcpy(place->name, object->file, strlen(object->file) + 1);
        worker->borrowed = place;
    }
    if (ret == 0 && !is_sound(*ret_fd, object->info.size, &st)) {
        return -EAGAIN;
    }
    if (ret == 0 && worker->borrowed != NULL) {
        check_bytes(worker->borrowed, &st);
    }
    return ret;
}

void dir_now_close_file(struct dir_worker *worker, int fd)
{
    if (worker->borrowed == NULL) {
        (void)close(fd);
    }
}

static void close_opened(struct dir_worker *worker, uint64_t now_ms, uint64_t age_ms)
{
    for (size_t i = 0; worker->opened != NULL && i < OPENED; i++) {
        struct dir_opened *o = &worker->opened[i];

        if (o->fd >= 0 && now_ms - o->since_ms >= age_ms) {
            (void)close(o->fd);
            free(o->bytes);
            o->bytes = NULL;
            o->fd = -1;
        }
    }
}

void dir_now_close_files(struct dir_store *store)
{
    uint64_t now_ms = clock_monotonic_ms(clock_real());

    if (store->now.index == NULL || now_ms < store->now_closes_ms ||
        atomic_flag_test_and_set(&store->now_busy)) { /* who reads must not wait, and so do we */
        return;
    }
    close_opened(&store->now, now_ms, OPENED_MS);
    atomic_flag_clear(&store->now_busy);
    store->now_closes_ms = now_ms + OPENED_MS / 2;
}

/* What the index said, rather than what kept us from asking it. */
static bool is_answer(int status)
{
    switch (status) {
    case 0:
    case -ENOENT:
    case -ESTALE:
    case -EEXIST:
    case -ERANGE:
    case -EACCES:
    case -EINVAL:
        return true;
    default:
        return false;
    }
}

/* True with *ok telling whether there is something to be read. */
static bool find(struct dir_worker *worker, struct job *job, bool *ok)
{
    uint64_t changes;
    int ret;

    *ok = false;
    if (objstore_changes(&worker->store->base, &changes)) {
        dir_index_trust(worker->index, changes, clock_monotonic_ms(clock_real()));
    }
    dir_hurry_begin(DIR_HURRY_READ);
    if (dir_owner_enter(worker, job)) {
        (void)dir_get_find(worker, job, ok);
    }
    ret = dir_hurry_end();
    if (ret == -ENOTSUP) {
        atomic_store(&worker->store->now_useless, true);
    }
    return ret == 0 && is_answer(job->result.status);
}

/* What is given away is not one of those that stay open. */
static bool own_file(struct dir_worker *worker, struct job *job)
{
    if (worker->borrowed != NULL) {
        job->fd = fcntl(job->fd, F_DUPFD_CLOEXEC, 0);
        worker->borrowed = NULL;
    }
    return job->fd >= 0;
}

static bool read_now(int fd, void *buffer, uint64_t len, uint64_t offset)
{
    struct iovec part = {buffer, (size_t)len};

    return preadv2(fd, &part, 1, (off_t)offset, RWF_NOWAIT) == (ssize_t)len;
}

/* Whether a write that came after the times were asked for would have left others: a file system
 * may have steps of some milliseconds. */
static bool is_settled(const struct dir_opened *o)
{
    int64_t now_s = clock_realtime_ns(clock_real()) / 1000000000;

    return now_s - o->changed.tv_sec > 1 && now_s - o->modified.tv_sec > 1;
}

/* The file's bytes, if they are kept or can be from now on; else NULL. */
static const char *kept_bytes(struct dir_opened *o, uint64_t size)
{
    bool again = o->was_read;

    o->was_read = true;
    if (o->bytes == NULL && again && size <= KEPT_MAX && is_settled(o)) {
        o->bytes = malloc((size_t)size);
        if (o->bytes != NULL && !read_now(o->fd, o->bytes, size, 0)) {
            free(o->bytes);
            o->bytes = NULL;
        }
    }
    return o->bytes;
}

/* The bytes of a GET into the worker's buffer, or a look at those that are given as a file. */
static bool bytes_are_here(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    uint64_t len = job->end - job->done_bytes;

    if (r->op == OBJSTORE_HEAD || len == 0 || job->held != NULL) {
        return true;
    }
    if (len > DIR_GIVE_MIN) {
        return r->sink.file != NULL && dir_cached(job->fd, job->done_bytes, job->end) &&
               own_file(worker, job);
    }
    if (worker->borrowed != NULL) {
        job->held = kept_bytes(worker->borrowed, job->object.info.size);
    }
    return job->held != NULL || read_now(job->fd, worker->buffer, len, job->done_bytes);
}

static void give(struct dir_worker *worker, struct job *job)
{
    struct objstore_request *r = job->request;
    const struct objstore_range range = {job->done_bytes, job->end - job->done_bytes};
    int ret = 0;

    if (range.len > DIR_GIVE_MIN) {
        ret = r->sink.file(r, job->fd, range);
        job->fd = ret == 0 ? -1 : job->fd;
    } else if (range.len > 0 && r->sink.write != NULL) {
        ret = r->sink.write(r, job->held != NULL ? job->held + job->done_bytes : worker->buffer,
                            (size_t)range.len);
    }
    if (ret != 0) {
        (void)job_fail(job, ret, S3_OK, "the receiver failed: %s", strerror(-ret));
    }
}

static bool answer(struct dir_worker *worker, struct objstore_request *request)
{
    struct job job = {.store = worker->store, .request = request, .arena = worker->arena, .fd = -1};
    bool ok;
    bool found = find(worker, &job, &ok) && (!ok || bytes_are_here(worker, &job));

    if (found && ok && dir_get_tell(&job) == 0 && request->op == OBJSTORE_GET) {
        give(worker, &job);
    }
    if (job.fd >= 0) {
        dir_now_close_file(worker, job.fd);
    }
    if (found) {
        request->done(request, &job.result);
    }
    arena_reset(&job.arena);
    worker->arena = job.arena;
    return found;
}

bool dir_now(struct objstore *base, struct objstore_request *request)
{
    struct dir_store *store = container_of(base, struct dir_store, base);
    bool ret;

    if (store->now.index == NULL || atomic_load(&store->now_useless) ||
        atomic_flag_test_and_set(&store->now_busy)) {
        return false;
    }
    ret = answer(&store->now, request);
    atomic_flag_clear(&store->now_busy);
    return ret;
}

int dir_now_open(struct dir_store *store, const char *index, struct error *err)
{
    struct dir_worker *worker = &store->now;
    struct error why = ERROR_INIT;
    int ret;

    atomic_flag_clear(&store->now_busy);
    worker->store = store;
    worker->now = true;
    worker->arena = (struct arena)ARENA_INIT(MEMORY_MAX);
    worker->opened = calloc(OPENED, sizeof(*worker->opened));
    for (size_t i = 0; worker->opened != NULL && i < OPENED; i++) {
        worker->opened[i].fd = -1;
    }
    worker->buffer = malloc(DIR_GIVE_MIN);
    if (worker->buffer == NULL || worker->opened == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    ret = dir_index_open_hurried(index, &worker->index, &why);
    if (ret != 0) { /* slower, but all the same */
        log_warn("store: reads need a thread each", "store", objstore_name(&store->base), "error",
                 error_text(&why, ret), NULL);
    }
    return 0;
}

void dir_now_close(struct dir_store *store)
{
    dir_index_close(store->now.index);
    close_opened(&store->now, 0, 0);
    free(store->now.opened);
    free(store->now.buffer);
    arena_done(&store->now.arena);
}
