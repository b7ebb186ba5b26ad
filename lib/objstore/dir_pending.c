/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/dir_pending.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "util/clock.h"
#include "util/log.h"
#include "util/mutex.h"

enum {
    FLUSH_MS = 1000,
    RETRY_MAX_MS = 64000,
    FLUSH_ROWS = 1024, /* are flushed before their time */
    ROWS_MAX = 4096,   /* then writes flush themselves: 64 MiB of the index */
    ROW_MEMORY_MAX = 1 << 20,
    GARBAGE_MAX = 2048, /* files of one flush */
    GARBAGE_MEMORY_MAX = 4 << 20,
    NOW_MS = 2000,
    SOON_MS = 100, /* deletions that gather before one */
};

struct dir_pending {
    struct dir_files *files;
    struct dir_index *index; /* the thread's, as long as there is one */
    const char *name;
    bool grouped;               /* rows may be made at all */
    bool suspect;               /* a flush failed: nobody knows what is on the disk. The thread's */
    bool more;                  /* garbage than one flush takes. The thread's */
    uint64_t wait_ms;           /* the thread's */
    uint64_t due_ms;            /* of the next flush. The thread's */
    atomic_bool failed;         /* until a flush succeeds */
    atomic_uint_least64_t rows; /* about so many */
    pthread_t thread;
    bool has_thread;

    struct mutex lock; /* of everything below */
    struct cond wake, ended;
    uint64_t begun, done; /* looks for work */
    bool called, soon, ending;
    bool log;     /* is to be moved */
    bool reserve; /* room may be held back again, once there is some */
};

void dir_pending_collect_soon(struct dir_pending *pending)
{
    mutex_lock(&pending->lock);
    pending->soon = pending->reserve = true;
    cond_signal(&pending->wake);
    mutex_unlock(&pending->lock);
}

void dir_pending_move_log(struct dir_pending *pending)
{
    mutex_lock(&pending->lock);
    if (!pending->log) {
        pending->log = true;
        cond_signal(&pending->wake);
    }
    mutex_unlock(&pending->lock);
}

void dir_pending_collect_now(struct dir_pending *pending)
{
    uint64_t until_ms = clock_monotonic_ms(clock_real()) + NOW_MS;
    uint64_t now_ms = until_ms - NOW_MS;
    uint64_t mine;

    mutex_lock(&pending->lock);
    mine = pending->begun + 1;
    while (pending->done < mine && now_ms < until_ms) {
        pending->called = pending->reserve = true;
        cond_signal(&pending->wake);
        cond_wait_ms(&pending->ended, &pending->lock, until_ms - now_ms);
        now_ms = clock_monotonic_ms(clock_real());
    }
    mutex_unlock(&pending->lock);
}

bool dir_pending_takes(struct dir_pending *pending, uint64_t size)
{
    return pending->grouped && size > 0 && size <= DIR_PENDING_MAX &&
           !atomic_load(&pending->failed) && atomic_load(&pending->rows) < ROWS_MAX;
}

void dir_pending_count(struct dir_pending *pending)
{
    if ((atomic_fetch_add(&pending->rows, 1) + 1) % FLUSH_ROWS == 0) {
        mutex_lock(&pending->lock);
        pending->called = true;
        cond_signal(&pending->wake);
        mutex_unlock(&pending->lock);
    }
}

/*
 * The object may go between the look and the file's coming. Then the file is garbage since a
 * transaction that this flush does not look at: a later one, of any process, removes it, as nobody
 * removes garbage or forgets it without the lock that we hold.
 */
static int write_file(struct dir_pending *pending, const struct dir_pending_row *row)
{
    bool anew = pending->suspect || !dir_files_syncs_all(pending->files);
    int ret = anew ? -EEXIST : dir_files_write(pending->files, row->file, row->bytes, row->len);

    return ret == -EEXIST ? dir_files_restore(pending->files, row->file, row->bytes, row->len)
                          : ret;
}

static int write_rows(struct dir_pending *pending, int64_t last)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(ROW_MEMORY_MAX);
    struct dir_pending_row row = {.id = 0};

    for (;;) {
        int ret;

        arena_reset(&arena);
        ret = dir_index_pending_next(pending->index, row.id, last, &arena, &row);
        if (ret != 0) {
            return ret == -ENOENT ? 0 : ret;
        }
        ret = write_file(pending, &row);
        if (ret != 0) {
            return ret;
        }
    }
}

/* Who replaces an object whose file was never begun leaves no garbage. */
static int begin_rows(struct dir_pending *pending, int64_t last)
{
    int ret = dir_index_begin(pending->index);

    if (ret != 0) {
        return ret;
    }
    ret = dir_index_pending_begin(pending->index, last);
    ret = ret == 0 ? dir_index_commit(pending->index) : ret;
    if (ret != 0) {
        dir_index_rollback(pending->index);
    }
    return ret;
}

static int write_files(struct dir_pending *pending, int64_t last)
{
    int ret = begin_rows(pending, last);

    /* One transaction to read, or each row would be looked for in a cache that others' changes have
     * emptied. */
    ret = ret == 0 ? dir_index_look(pending->index) : ret;
    if (ret != 0) {
        return ret;
    }
    ret = write_rows(pending, last);
    dir_index_rollback(pending->index);
    return ret;
}

struct round {
    struct arena arena;
    const char **garbage; /* removed; `count` of them */
    size_t count;
    uint64_t rows;
    int64_t last;
};

/*
 * Files that are garbage since an earlier transaction: all that opened them hold them open. They go
 * before their entries do, and without the index's write lock, for which other processes wait: no
 * file is ever named again.
 */
static int remove_garbage(struct dir_pending *pending, struct round *round)
{
    size_t count = 0;
    int ret =
        dir_index_garbage(pending->index, GARBAGE_MAX, &round->arena, &round->garbage, &count);

    for (size_t i = 0; i < count && ret == 0; i++) {
        const char *file = round->garbage[i];

        if (file != NULL && dir_files_remove(pending->files, file) == 0) {
            round->garbage[round->count++] = file;
        }
    }
    pending->more = round->count == GARBAGE_MAX;
    return ret;
}

static int forget(struct dir_pending *pending, const struct round *round)
{
    int ret = dir_index_begin(pending->index);

    if (ret != 0) {
        return ret;
    }
    ret = round->rows > 0 ? dir_index_pending_forget(pending->index, round->last) : 0;
    for (size_t i = 0; i < round->count && ret == 0; i++) {
        ret = dir_index_garbage_forget(pending->index, round->garbage[i]);
    }
    ret = ret == 0 ? dir_index_commit(pending->index) : ret;
    if (ret != 0) {
        dir_index_rollback(pending->index);
    }
    return ret;
}

/* With the lock of all processes: nobody else begins rows, writes their files or forgets them. */
static int flush_locked(struct dir_pending *pending)
{
    struct round round = {.arena = ARENA_INIT(GARBAGE_MEMORY_MAX)};
    int ret = dir_index_pending_span(pending->index, &round.last, &round.rows);

    pending->more = false;
    ret = ret == 0 ? remove_garbage(pending, &round) : ret;
    if (ret == 0 && (round.rows > 0 || round.count > 0)) {
        ret = round.rows > 0 ? write_files(pending, round.last) : 0;
        ret = ret == 0 && (pending->grouped || round.rows > 0) ? dir_files_sync_all(pending->files)
                                                               : ret;
        pending->suspect |= ret != 0;
        ret = ret == 0 ? forget(pending, &round) : ret;
    }
    pending->suspect &= ret != 0;
    arena_done(&round.arena);
    return ret;
}

/* -EAGAIN: another process is at it. */
static int flush(struct dir_pending *pending, bool wait)
{
    uint64_t count;
    int64_t last;
    int ret = dir_files_flush_lock(pending->files, wait);

    if (ret == 0) {
        ret = flush_locked(pending);
        dir_files_flush_unlock(pending->files);
    }
    if (dir_index_pending_span(pending->index, &last, &count) == 0) {
        atomic_store(&pending->rows, count);
    }
    return ret;
}

static void note(struct dir_pending *pending, int ret)
{
    bool before = atomic_load(&pending->failed);

    if (ret == -EAGAIN) {
        return;
    }
    atomic_store(&pending->failed, ret != 0);
    if (ret != 0) {
        pending->wait_ms =
            2 * pending->wait_ms < RETRY_MAX_MS ? 2 * pending->wait_ms : RETRY_MAX_MS;
        if (!before) {
            log_error("store: small objects could not be flushed to their files; the index keeps "
                      "their bytes, and each write flushes its own file",
                      "store", pending->name, "error", strerror(-ret), NULL);
        }
        return;
    }
    pending->wait_ms = FLUSH_MS;
    if (before) {
        log_info("store: small objects are flushed in groups again", "store", pending->name, NULL);
    }
}

static bool has_work(struct dir_pending *pending)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(ROW_MEMORY_MAX);
    const char **garbage;
    size_t count;
    uint64_t rows;
    int64_t last;

    return dir_index_pending_span(pending->index, &last, &rows) != 0 || rows > 0 ||
           dir_index_garbage(pending->index, 1, &arena, &garbage, &count) != 0 || count > 0;
}

/* Until a flush is due: true; or the log is to be moved. Deletions come in crowds. */
static bool wait_locked(struct dir_pending *pending) REQUIRES(&pending->lock)
{
    uint64_t now_ms = clock_monotonic_ms(clock_real());

    if (!pending->called && !pending->soon && !pending->more && now_ms < pending->due_ms) {
        if (!pending->log) {
            cond_wait_ms(&pending->wake, &pending->lock, pending->due_ms - now_ms);
        }
        if (pending->log && !pending->called && !pending->soon) {
            return false;
        }
    }
    if (pending->soon && !pending->called && !pending->ending) {
        cond_wait_ms(&pending->wake, &pending->lock, SOON_MS);
    }
    pending->called = pending->soon = false;
    return true;
}

/* True if nothing is left over that could be removed. */
static bool work(struct dir_pending *pending, bool reserve)
{
    int ret = 0;

    if (pending->suspect || atomic_load(&pending->failed) || has_work(pending)) {
        ret = flush(pending, false);
        note(pending, ret);
    }
    if (ret != 0 || pending->more) {
        return false;
    }
    if (reserve) {
        dir_files_reserve(pending->files);
    }
    return true;
}

/* Nobody is told of an error: who writes next finds it, or tries again. */
static void move_log_locked(struct dir_pending *pending) REQUIRES(&pending->lock)
{
    mutex_unlock(&pending->lock);
    if (dir_index_move_log(pending->index, false) != 0) {
        log_debug("store: the index's log could not be moved", "store", pending->name, NULL);
    }
    mutex_lock(&pending->lock);
    pending->log = false; /* what was called for meanwhile was done */
}

static void *flusher_main(void *arg)
{
    struct dir_pending *pending = arg;
    bool reserve;
    bool done;

    mutex_lock(&pending->lock);
    while (!pending->ending) {
        bool due = wait_locked(pending);

        if (pending->ending) {
            break;
        }
        if (!due) {
            move_log_locked(pending);
            continue;
        }
        reserve = pending->reserve;
        pending->reserve = false;
        pending->begun++;
        mutex_unlock(&pending->lock);
        done = work(pending, reserve);
        mutex_lock(&pending->lock);
        pending->reserve |= reserve && !done;
        pending->done++;
        pending->due_ms = clock_monotonic_ms(clock_real()) + pending->wait_ms;
        cond_broadcast(&pending->ended);
    }
    mutex_unlock(&pending->lock);
    return NULL;
}

/* What processes that are no more left: nobody else has the store open. */
static void replay(struct dir_pending *pending)
{
    uint64_t count = 0;
    int64_t last = 0;
    int ret = dir_index_pending_span(pending->index, &last, &count);

    if (ret == 0 && count == 0) {
        return;
    }
    pending->suspect = true;
    ret = ret == 0 ? flush(pending, true) : ret;
    note(pending, ret);
    if (ret == 0) {
        log_info("store: finished small objects of another process, which runs or was killed",
                 "store", pending->name, "rows", log_num(count), NULL);
    }
}

int dir_pending_open(struct dir_files *files, const char *index, bool durable, const char *name,
                     struct dir_pending **ret, struct error *err)
{
    struct dir_pending *pending = calloc(1, sizeof(*pending));
    int r;

    if (pending == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    pending->files = files;
    pending->name = name;
    pending->grouped = durable && dir_files_syncs_all(files);
    pending->wait_ms = FLUSH_MS;
    pending->soon = pending->reserve = true; /* a predecessor may have left garbage */
    mutex_init(&pending->lock);
    cond_init(&pending->wake);
    cond_init(&pending->ended);
    r = dir_index_open(index, durable, &pending->index, err);
    if (r == 0) {
        r = dir_index_relax(pending->index);
        r = r == 0 ? dir_index_take_turns(pending->index, index) : r;
        r = r != 0 ? error_set(err, r, "cannot use the index: %s", strerror(-r)) : 0;
    }
    if (r == 0) {
        if (dir_files_is_first(files)) {
            replay(pending);
            dir_files_joined(files);
        } else {
            pending->suspect = true;
        }
        dir_files_reserve(files);
        r = -pthread_create(&pending->thread, NULL, flusher_main, pending);
        pending->has_thread = r == 0;
        r = r != 0 ? error_set(err, r, "cannot start a thread: %s", strerror(-r)) : 0;
    }
    if (r != 0) {
        dir_pending_close(pending);
        return r;
    }
    *ret = pending;
    return 0;
}

void dir_pending_close(struct dir_pending *pending)
{
    if (pending == NULL) {
        return;
    }
    if (pending->has_thread) {
        mutex_lock(&pending->lock);
        pending->ending = true;
        cond_signal(&pending->wake);
        mutex_unlock(&pending->lock);
        (void)pthread_join(pending->thread, NULL);
        if (has_work(pending)) {
            note(pending, flush(pending, true));
        }
    }
    dir_index_close(pending->index);
    cond_done(&pending->wake);
    cond_done(&pending->ended);
    mutex_done(&pending->lock);
    free(pending);
}
