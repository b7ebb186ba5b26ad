/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/dir.h"

#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "objstore/dir_internal.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/log.h"

enum {
    DEFAULT_THREADS = 8,
    DEFAULT_TIMEOUT_MS = 60000,
    COMMIT_MAX = 256,              /* jobs in one transaction */
    LOG_PAGES = 1000,              /* of the index are moved from its log to the database */
    LOG_PAGES_MAX = 8 * LOG_PAGES, /* then who writes does it */
    TICK_MS = 500,
    PART_MIN = 5 * 1024 * 1024,
};

enum job_next job_fail(struct job *job, int status, enum s3_code code, const char *format, ...)
{
    va_list args;

    job->result.status = status;
    job->result.s3_code = (int)code;
    job->result.error.code = status;
    va_start(args, format);
    (void)vsnprintf(job->result.error.text, sizeof(job->result.error.text), format, args);
    va_end(args);
    return JOB_DONE;
}

enum job_next job_fail_commit(struct job *job)
{
    int status = job->commit_status;

    switch (status) {
    case 0:
        return JOB_DONE;
    case -EEXIST:
    case -ESTALE:
        return job_fail(job, status, S3_PRECONDITION_FAILED, "the condition does not hold");
    case -ENOENT:
        return job_fail(job, status, S3_OK, "no such key or upload");
    case -EACCES:
        return job_fail(job, status, S3_ACCESS_DENIED, "the bucket is another's");
    default:
        return job_fail(job, status, S3_OK, "cannot write to the index: %s", strerror(-status));
    }
}

static void job_end(struct job *job)
{
    struct dir_store *store = job->store;
    struct objstore_request *request = job->request;

    dir_write_drop(job);
    if (job->result.status == -ENOSPC && job->result.s3_code == S3_OK) {
        dir_full_tell(job);
    }
    mutex_lock(&store->lock);
    request->store_private[0] = NULL; /* under the lock: a cancel may be looking */
    mutex_unlock(&store->lock);
    request->done(request, &job->result);
    arena_done(&job->arena);
    free(job);
    mutex_lock(&store->lock);
    if (--store->jobs == 0) {
        cond_broadcast(&store->idle);
    }
    mutex_unlock(&store->lock);
}

/*
 * One worker at a time is on its way; who arrives calls the next, if there is still something to
 * do. Of a burst of jobs most are so done by who is awake, and the switches of threads, which cost
 * more than a small GET, are few. True: `work` is to be signalled once the lock is open, or who is
 * called would come only to wait for it.
 */
static bool calls_worker_locked(struct dir_store *store) REQUIRES(&store->lock)
{
    bool calls = store->waiting > 0 && !store->called && !TAILQ_EMPTY(&store->queue);

    store->called = store->called || calls;
    return calls;
}

static void signal_if(struct cond *cond, bool calls)
{
    if (calls) {
        cond_signal(cond);
    }
}

static void enqueue_locked(struct dir_store *store, struct job *job) REQUIRES(&store->lock)
{
    job->place = JOB_QUEUED;
    TAILQ_INSERT_TAIL(&store->queue, job, link);
}

static void commit_locked(struct dir_store *store, struct job *job) REQUIRES(&store->lock)
{
    job->place = JOB_COMMITTING;
    TAILQ_INSERT_TAIL(&store->commits, job, link);
}

/* What the job's step said; the job may be gone afterwards. */
static void job_go_on(struct job *job, enum job_next next)
{
    struct dir_store *store = job->store;
    bool commits = next == JOB_COMMIT; /* the committer is woken when it need not wait for us */
    bool calls;

    if (next == JOB_DONE) {
        job_end(job);
        return;
    }
    mutex_lock(&store->lock);
    if (commits) {
        commit_locked(store, job);
    } else if (job->resumed || job->cancelled) {
        enqueue_locked(store, job);
    } else {
        job->place = JOB_PARKED;
        TAILQ_INSERT_TAIL(&store->parked, job, link);
    }
    calls = calls_worker_locked(store);
    mutex_unlock(&store->lock);
    signal_if(&store->work, calls);
    signal_if(&store->commit_work, commits);
}

static enum job_next run_step(struct dir_worker *worker, struct job *job, bool cancelled)
{
    if (cancelled && !job->committed) {
        return job_fail(job, job->timed_out ? -ETIMEDOUT : -ECANCELED, S3_REQUEST_TIMEOUT,
                        job->timed_out ? "the bytes did not come or go in time" : "cancelled");
    }
    return dir_owner_enter(worker, job) ? job->step(worker, job) : JOB_DONE;
}

static void *worker_main(void *arg)
{
    struct dir_worker *worker = arg;
    struct dir_store *store = worker->store;

    mutex_lock(&store->lock);
    for (;;) {
        struct job *job = TAILQ_FIRST(&store->queue);
        bool cancelled, calls;

        if (job == NULL) {
            if (store->ending && store->jobs == 0) {
                break;
            }
            store->waiting++;
            cond_wait(&store->work, &store->lock);
            store->waiting--;
            store->called = false;
            continue;
        }
        TAILQ_REMOVE(&store->queue, job, link);
        calls = calls_worker_locked(store);
        job->place = JOB_RUNNING;
        job->resumed = false;
        cancelled = job->cancelled;
        mutex_unlock(&store->lock);
        signal_if(&store->work, calls);
        job_go_on(job, run_step(worker, job, cancelled));
        mutex_lock(&store->lock);
    }
    mutex_unlock(&store->lock);
    return NULL;
}

static void apply_change(struct dir_index *index, struct job *job)
{
    int ret = job->folder_status != 0 ? job->folder_status : dir_index_savepoint(index);

    if (ret == 0) {
        /* Once more: the bucket may be a new one of its name. */
        ret = dir_owner_check(index, job);
        ret = ret == 0 ? job->change(index, job) : ret;
        if (ret == 0) {
            dir_index_release(index);
        } else {
            dir_index_undo(index);
        }
    }
    job->commit_status = ret;
    if (job->request->op != OBJSTORE_PUT) { /* it may have been about the bucket itself */
        dir_index_remember(index);
    }
}

static bool frees(const struct job *job)
{
    enum objstore_op op = job->request->op;

    return op == OBJSTORE_DELETE || op == OBJSTORE_DELETE_BATCH || op == OBJSTORE_UPLOAD_ABORT;
}

/* What came while others held the index goes with the rest, if the names of its files are flushed.
 */
static void join_batch(struct dir_store *store, struct job_list *batch)
{
    struct job *job;
    int count = 0;

    TAILQ_FOREACH (job, batch, link) {
        count++;
    }
    mutex_lock(&store->lock);
    while (count++ < COMMIT_MAX && (job = TAILQ_FIRST(&store->commits)) != NULL &&
           !job->unflushed) {
        TAILQ_REMOVE(&store->commits, job, link);
        TAILQ_INSERT_TAIL(batch, job, link);
    }
    mutex_unlock(&store->lock);
}

/* All jobs in one transaction; or, once more, those that free room and found none to do it in. */
static void try_batch(struct dir_store *store, struct job_list *batch, bool again)
{
    struct job *job;
    bool commit_failed = false;
    int ret = dir_index_begin(store->commit_index);

    if (!again) {
        join_batch(store, batch);
    }
    TAILQ_FOREACH (job, batch, link) {
        job->chosen = !again || (frees(job) && job->commit_status == -ENOSPC);
    }
    if (ret == 0) {
        dir_index_remember(store->commit_index); /* till the commit nobody else changes it */
        TAILQ_FOREACH (job, batch, link) {
            if (job->chosen) {
                apply_change(store->commit_index, job);
            }
        }
        ret = dir_index_commit(store->commit_index);
        if (ret != 0) {
            commit_failed = true;
            dir_index_rollback(store->commit_index);
        }
    }
    TAILQ_FOREACH (job, batch, link) {
        if (job->chosen) {
            job->commit_status = ret != 0 ? ret : job->commit_status;
            job->commit_unknown = commit_failed;
            job->committed = true;
        }
    }
}

/* The names of all files of the batch, by one call for each folder. */
static void flush_folders(struct dir_store *store, const struct job_list *batch)
{
    struct job *job;
    struct job *other;

    TAILQ_FOREACH (job, batch, link) {
        if (job->unflushed) {
            int status = dir_files_flush_folder(store->files, job->file);

            for (other = job; other != NULL; other = TAILQ_NEXT(other, link)) {
                if (other->unflushed && dir_files_same_folder(job->file, other->file)) {
                    other->folder_status = status;
                    other->unflushed = false;
                }
            }
        }
    }
}

/* Who remembers what a bucket's documents say asks again from now on. */
static void tell_changes(struct dir_store *store, const struct job_list *batch)
{
    const struct job *job;

    TAILQ_FOREACH (job, batch, link) {
        enum objstore_op op = job->request->op;

        if (op == OBJSTORE_BUCKET_DOC_PUT || op == OBJSTORE_BUCKET_DOC_DELETE ||
            op == OBJSTORE_BUCKET_CREATE || op == OBJSTORE_BUCKET_DELETE) {
            dir_changes_count(store->changes);
        }
    }
}

/* Deleting must not need the room that it is there to give. */
static bool lacks_room(const struct job_list *batch)
{
    const struct job *job;

    TAILQ_FOREACH (job, batch, link) {
        if (frees(job) && job->commit_status == -ENOSPC) {
            return true;
        }
    }
    return false;
}

static void commit_batch(struct dir_store *store, struct job_list *batch)
{
    flush_folders(store, batch);
    try_batch(store, batch, false);
    if (lacks_room(batch) && dir_files_release(store->files)) {
        log_warn("store: the disk is full; its reserve is used to delete", "store",
                 objstore_name(&store->base), NULL);
        try_batch(store, batch, true);
    }
    if (lacks_room(batch)) { /* what was deleted before it may not have gone yet */
        dir_pending_collect_now(store->pending);
        try_batch(store, batch, true);
    }
    tell_changes(store, batch);
}

static void expire_parked_locked(struct dir_store *store) REQUIRES(&store->lock)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    struct job *job = TAILQ_FIRST(&store->parked);

    while (job != NULL) {
        struct job *next = TAILQ_NEXT(job, link);

        if (now >= job->deadline_ms) {
            TAILQ_REMOVE(&store->parked, job, link);
            job->cancelled = true;
            job->timed_out = true;
            enqueue_locked(store, job);
        }
        job = next;
    }
}

/* Takes what has gathered, up to COMMIT_MAX; true if there was anything. */
static bool take_batch_locked(struct dir_store *store, struct job_list *batch)
    REQUIRES(&store->lock)
{
    struct job *job;
    int count = 0;

    TAILQ_INIT(batch);
    while (count++ < COMMIT_MAX && (job = TAILQ_FIRST(&store->commits)) != NULL) {
        TAILQ_REMOVE(&store->commits, job, link);
        TAILQ_INSERT_TAIL(batch, job, link);
    }
    return !TAILQ_EMPTY(batch);
}

/* What was deleted is to be free soon; what was replaced goes with more of its kind. */
static void note_garbage(struct dir_store *store, const struct job_list *batch)
{
    const struct job *job;

    TAILQ_FOREACH (job, batch, link) {
        if (frees(job)) {
            dir_pending_collect_soon(store->pending);
            break;
        }
    }
}

/* The index's log is moved by another thread, unless that does not keep up. */
static void shorten_log(struct dir_store *store)
{
    uint64_t pages = dir_index_log_pages(store->commit_index);

    if (pages >= LOG_PAGES_MAX) {
        (void)dir_index_move_log(store->commit_index, true);
    } else if (pages >= LOG_PAGES) {
        dir_pending_move_log(store->pending);
    }
}

/* What is left of a job is a step of its own, unless all that it does is to call back. */
static void end_batch(struct dir_store *store, struct job_list *batch)
{
    struct job *job, *next;
    bool calls;

    for (job = TAILQ_FIRST(batch); job != NULL; job = next) {
        next = TAILQ_NEXT(job, link);
        if (job->ready) {
            TAILQ_REMOVE(batch, job, link);
            job_go_on(job, job->step(NULL, job));
        }
    }
    if (TAILQ_EMPTY(batch)) {
        return;
    }
    mutex_lock(&store->lock);
    while ((job = TAILQ_FIRST(batch)) != NULL) {
        TAILQ_REMOVE(batch, job, link);
        enqueue_locked(store, job);
    }
    calls = calls_worker_locked(store);
    mutex_unlock(&store->lock);
    signal_if(&store->work, calls);
}

static void *committer_main(void *arg)
{
    struct dir_store *store = arg;
    struct job_list batch;
    bool calls;

    mutex_lock(&store->lock);
    while (!store->ending || store->jobs > 0) {
        if (take_batch_locked(store, &batch)) {
            mutex_unlock(&store->lock);
            commit_batch(store, &batch);
            note_garbage(store, &batch);
            end_batch(store, &batch);
            shorten_log(store);
            dir_now_close_files(store);
            mutex_lock(&store->lock);
            continue;
        }
        cond_wait_ms(&store->commit_work, &store->lock, TICK_MS);
        expire_parked_locked(store);
        calls = calls_worker_locked(store);
        mutex_unlock(&store->lock);
        signal_if(&store->work, calls);
        dir_now_close_files(store);
        mutex_lock(&store->lock);
    }
    mutex_unlock(&store->lock);
    return NULL;
}

static enum job_next (*const first_step[OBJSTORE_OP_COUNT])(struct dir_worker *, struct job *) = {
    [OBJSTORE_BUCKET_LIST] = dir_step_bucket,
    [OBJSTORE_BUCKET_CREATE] = dir_step_bucket,
    [OBJSTORE_BUCKET_HEAD] = dir_step_bucket,
    [OBJSTORE_BUCKET_DELETE] = dir_step_bucket,
    [OBJSTORE_BUCKET_PROBE] = dir_step_bucket,
    [OBJSTORE_GET] = dir_step_get,
    [OBJSTORE_HEAD] = dir_step_get,
    [OBJSTORE_PUT] = dir_step_put,
    [OBJSTORE_COPY] = dir_step_copy,
    [OBJSTORE_DELETE] = dir_step_delete,
    [OBJSTORE_DELETE_BATCH] = dir_step_delete,
    [OBJSTORE_LIST] = dir_step_list,
    [OBJSTORE_LIST_VERSIONS] = dir_step_list,
    [OBJSTORE_UPLOAD_CREATE] = dir_step_upload,
    [OBJSTORE_UPLOAD_PART] = dir_step_put,
    [OBJSTORE_UPLOAD_PART_COPY] = dir_step_copy,
    [OBJSTORE_UPLOAD_COMPLETE] = dir_step_complete,
    [OBJSTORE_UPLOAD_ABORT] = dir_step_upload,
    [OBJSTORE_UPLOAD_LIST] = dir_step_upload,
    [OBJSTORE_UPLOAD_LIST_PARTS] = dir_step_upload,
    [OBJSTORE_TAGS_GET] = dir_step_tags,
    [OBJSTORE_TAGS_PUT] = dir_step_tags,
    [OBJSTORE_TAGS_DELETE] = dir_step_tags,
    [OBJSTORE_BUCKET_DOC_GET] = dir_step_doc,
    [OBJSTORE_BUCKET_DOC_PUT] = dir_step_doc,
    [OBJSTORE_BUCKET_DOC_DELETE] = dir_step_doc,
};

static void job_init(struct job *job, struct dir_store *store, struct objstore_request *request)
{
    *job = (struct job){.store = store, .request = request, .step = first_step[request->op]};
    job->arena = (struct arena)ARENA_INIT(32 * 1024 * 1024);
    job->fd = -1;
    job->deadline_ms = clock_monotonic_ms(clock_real()) +
                       (request->timeout_ms != 0 ? request->timeout_ms : DEFAULT_TIMEOUT_MS);
}

static void dir_submit(struct objstore *base, struct objstore_request *request)
{
    struct dir_store *store = container_of(base, struct dir_store, base);
    struct job *job = malloc(sizeof(*job));
    bool ending, ready, calls;

    if (job == NULL) {
        objstore_fail(request, -ENOMEM, "out of memory");
        return;
    }
    job_init(job, store, request);
    ready = dir_put_prepare(job);
    if (!ready && request->op == OBJSTORE_PUT) { /* it may have been begun */
        job_init(job, store, request);
    }
    request->store_private[0] = job;
    (void)atomic_fetch_add(&store->calling, 1);
    mutex_lock(&store->lock);
    ending = store->ending;
    if (!ending) {
        store->jobs++;
        if (ready) {
            commit_locked(store, job);
        } else {
            enqueue_locked(store, job);
        }
    }
    calls = calls_worker_locked(store);
    mutex_unlock(&store->lock); /* from here on the job may be gone, but not the store */
    signal_if(&store->work, calls);
    signal_if(&store->commit_work, ready && !ending);
    (void)atomic_fetch_sub(&store->calling, 1);
    if (ending) {
        request->store_private[0] = NULL;
        dir_write_drop(job);
        free(job);
        objstore_fail(request, -ECANCELED, "the store is being closed");
    }
}

static void wake(struct objstore *base, struct objstore_request *request, bool cancel)
{
    struct dir_store *store = container_of(base, struct dir_store, base);
    struct job *job;
    bool calls;

    (void)atomic_fetch_add(&store->calling, 1);
    mutex_lock(&store->lock);
    job = request->store_private[0];
    if (job != NULL) {
        job->resumed = true;
        job->cancelled |= cancel;
        if (job->place == JOB_PARKED) {
            TAILQ_REMOVE(&store->parked, job, link);
            enqueue_locked(store, job);
        }
    }
    calls = calls_worker_locked(store);
    mutex_unlock(&store->lock); /* from here on as in dir_submit() */
    signal_if(&store->work, calls);
    (void)atomic_fetch_sub(&store->calling, 1);
}

static void dir_cancel(struct objstore *base, struct objstore_request *request)
{
    wake(base, request, true);
}

static void dir_resume(struct objstore *base, struct objstore_request *request)
{
    wake(base, request, false);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

static void cancel_all_locked(struct dir_store *store) REQUIRES(&store->lock)
{
    struct job *job;

    TAILQ_FOREACH (job, &store->queue, link) {
        job->cancelled = true;
    }
    while ((job = TAILQ_FIRST(&store->parked)) != NULL) {
        TAILQ_REMOVE(&store->parked, job, link);
        job->cancelled = true;
        enqueue_locked(store, job);
    }
}

static void dir_free(struct objstore *base)
{
    struct dir_store *store = container_of(base, struct dir_store, base);

    mutex_lock(&store->lock);
    store->ending = true;
    while (store->jobs > 0) {
        cancel_all_locked(store);
        signal_if(&store->work, calls_worker_locked(store));
        cond_wait_ms(&store->idle, &store->lock, TICK_MS);
    }
    cond_broadcast(&store->work);
    cond_broadcast(&store->commit_work);
    mutex_unlock(&store->lock);
    while (atomic_load(&store->calling) > 0) {
        (void)sched_yield();
    }
    if (store->has_committer) {
        (void)pthread_join(store->committer, NULL);
    }
    for (unsigned i = 0; i < store->worker_count; i++) {
        (void)pthread_join(store->workers[i].thread, NULL);
        dir_index_close(store->workers[i].index);
        free(store->workers[i].buffer);
    }
    dir_now_close(store);
    dir_pending_close(store->pending);
    dir_index_close(store->commit_index);
    dir_files_close(store->files);
    dir_changes_close(store->changes);
    if (store->private_root != NULL) {
        (void)nftw(store->private_root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        free(store->private_root);
    }
    cond_done(&store->work);
    cond_done(&store->idle);
    cond_done(&store->commit_work);
    s3_md5_team_done(&store->md5_team);
    mutex_done(&store->lock);
    objstore_base_done(&store->base);
    free(store);
}

static const struct objstore_ops dir_ops = {
    .submit = dir_submit,
    .now = dir_now,
    .cancel = dir_cancel,
    .resume = dir_resume,
    .free = dir_free,
};

static int start_worker(struct dir_store *store, const char *index, bool durable, struct error *err)
{
    struct dir_worker *worker = &store->workers[store->worker_count];
    int ret = dir_index_open(index, durable, &worker->index, err);

    if (ret != 0) {
        return ret;
    }
    worker->store = store;
    worker->buffer = malloc(DIR_BUFFER_SIZE);
    ret = worker->buffer != NULL ? -pthread_create(&worker->thread, NULL, worker_main, worker)
                                 : -ENOMEM;
    if (ret != 0) {
        free(worker->buffer);
        dir_index_close(worker->index);
        return error_set(err, ret, "cannot start a thread: %s", strerror(-ret));
    }
    store->worker_count++;
    return 0;
}

static int start(struct dir_store *store, const struct objstore_dir_config *config,
                 struct error *err)
{
    bool durable = !config->not_durable;
    unsigned threads = config->threads != 0 ? config->threads : DEFAULT_THREADS;
    AUTOFREE char *index = NULL;
    int swept;
    int ret;

    if (threads > DIR_WORKERS_MAX) {
        return error_set(err, -EINVAL, "at most %d threads", DIR_WORKERS_MAX);
    }
    ret = dir_files_open(config->root, durable, &store->files, err);
    if (ret != 0) {
        return ret;
    }
    if (asprintf(&index, "%s/index.sqlite", config->root) < 0) {
        index = NULL;
        return error_set(err, -ENOMEM, "out of memory");
    }
    ret = dir_index_open(index, durable, &store->commit_index, err);
    if (ret != 0) {
        return ret;
    }
    ret = dir_index_take_turns(store->commit_index, index);
    if (ret != 0) {
        return error_set(err, ret, "cannot use the index %s: %s", index, strerror(-ret));
    }
    store->changes = dir_changes_open(config->root);
    store->base.changes = store->changes;
    swept = dir_files_sweep(store->files, store->commit_index);
    if (swept != 0) {
        log_info("store: swept what a process left unfinished", "root", config->root, "files",
                 log_num(swept), NULL);
    }
    ret = dir_pending_open(store->files, index, durable, objstore_name(&store->base),
                           &store->pending, err);
    for (unsigned i = 0; ret == 0 && i < threads; i++) {
        ret = start_worker(store, index, durable, err);
    }
    ret = ret == 0 && config->now ? dir_now_open(store, index, err) : ret;
    ret = ret == 0 ? -pthread_create(&store->committer, NULL, committer_main, store) : ret;
    store->has_committer = ret == 0;
    return ret;
}

int objstore_dir_new(const struct objstore_dir_config *config, struct objstore **ret,
                     struct error *err)
{
    struct dir_store *store = calloc(1, sizeof(*store));
    int r;

    if (store == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    store->part_min = config->part_min != 0 ? config->part_min : PART_MIN;
    store->caps = (struct objstore_caps){
        .if_match_put = true,
        .if_none_match_put = true,
        .conditional_complete = true,
        .conditional_delete = true,
        .conditional_copy = true,
        .part_copy = true,
        .batch_delete = true,
        .conditional_batch = true,
        .unequal_parts = true,
        .checksums = true,
        .part_checksums = true,
        .part_min = store->part_min,
        .part_max = UINT64_C(5) << 30,
        .object_max = UINT64_C(5) << 40,
        .copy_max = UINT64_C(5) << 40,
    };
    TAILQ_INIT(&store->queue);
    TAILQ_INIT(&store->parked);
    TAILQ_INIT(&store->commits);
    s3_md5_team_init(&store->md5_team);
    mutex_init(&store->lock);
    cond_init(&store->work);
    cond_init(&store->idle);
    cond_init(&store->commit_work);
    r = objstore_base_init(&store->base, &dir_ops, "dir %s", config->root);
    r = r == 0 ? start(store, config, err) : error_set(err, r, "out of memory");
    if (r != 0) {
        dir_free(&store->base);
        return r;
    }
    *ret = &store->base;
    return 0;
}

int objstore_mem_new(struct objstore **ret, struct error *err)
{
    const char *parents[] = {"/dev/shm", getenv("TMPDIR"), "/tmp"};
    struct objstore_dir_config config = {.threads = 4, .not_durable = true};
    AUTOFREE char *root = NULL;
    int r;

    for (size_t i = 0; i < sizeof(parents) / sizeof(parents[0]); i++) {
        if (parents[i] == NULL || asprintf(&root, "%s/skyvol-mem.XXXXXX", parents[i]) < 0) {
            root = NULL;
            continue;
        }
        if (mkdtemp(root) != NULL) {
            break;
        }
        free(root);
        root = NULL;
    }
    if (root == NULL) {
        return error_set(err, -EACCES, "no directory for a store in memory: set TMPDIR");
    }
    config.root = root;
    r = objstore_dir_new(&config, ret, err);
    if (r != 0) {
        (void)nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        return r;
    }
    container_of(*ret, struct dir_store, base)->private_root = TAKE(root);
    return 0;
}
