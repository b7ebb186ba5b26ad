/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory backend's answers at once: the steps of a GET or HEAD on the caller's thread, with
 * a connection to the index that never waits. Nothing is told to the caller before all of it was
 * found in memory: until then it can still go the other way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "objstore/dir_hurry.h"
#include "objstore/dir_internal.h"
#include "util/container.h"
#include "util/log.h"

enum { MEMORY_MAX = 32 * 1024 * 1024 };

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
    int ret;

    *ok = false;
    dir_hurry_begin(DIR_HURRY_READ);
    ret = dir_index_read_begin(worker->index);
    if (ret == 0 && dir_owner_enter(worker, job)) {
        (void)dir_get_find(worker, job, ok);
    }
    dir_index_read_end(worker->index);
    ret = ret == 0 ? dir_hurry_end() : (dir_hurry_end(), -EAGAIN);
    if (ret == -ENOTSUP) {
        atomic_store(&worker->store->now_useless, true);
    }
    return ret == 0 && is_answer(job->result.status);
}

/* The bytes of a GET into the worker's buffer, or a look at those that are given as a file. */
static bool bytes_are_here(struct dir_worker *worker, const struct job *job)
{
    const struct objstore_request *r = job->request;
    uint64_t len = job->end - job->done_bytes;
    struct iovec part = {worker->buffer, (size_t)len};

    if (r->op == OBJSTORE_HEAD || len == 0) {
        return true;
    }
    if (len > DIR_GIVE_MIN) {
        return r->sink.file != NULL && dir_files_cached(job->fd, job->done_bytes, job->end);
    }
    return preadv2(job->fd, &part, 1, (off_t)job->done_bytes, RWF_NOWAIT) == (ssize_t)len;
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
        ret = r->sink.write(r, worker->buffer, (size_t)range.len);
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
        (void)close(job.fd);
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
    worker->buffer = malloc(DIR_GIVE_MIN);
    if (worker->buffer == NULL) {
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
    free(store->now.buffer);
    arena_done(&store->now.arena);
}
