/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/journal/journaled.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/journal/export.h"
#include "mounter/names/fences.h"
#include "mounter/names/graves.h"
#include "mounter/write/sweep.h"
#include "util/log.h"

enum { WAIT_MS = 120000, IDLE_MS = 10000, KICK_MS = 1000, LOOK_MS = 50, TELL_MS = 60000 };
enum { LEFT_FIRST_MS = 1000, LEFT_AGAIN_MS = 5000, MS_PER_S = 1000 }; /* what a drain tells */

/* Who waits for a file to be durable; freed by the last of both. */
struct wanted {
    TAILQ_ENTRY(wanted) link;
    uint32_t ino;
    int result;
    bool done, abandoned;
};

struct journaled {
    pthread_t thread;
    struct cond work; /* with fs->lock */
    struct cond done;
    TAILQ_HEAD(, wanted) wanted;
    uint32_t *obsolete; /* inodes */
    size_t obsolete_count, obsolete_cap;
    uint32_t removing; /* of them, at this moment */
    bool ending;
    bool export_wanted, export_running;
    uint64_t exports; /* how many have ended */
    uint64_t told_ms; /* that the journal could not take a file */
    int export_result;
    struct error export_error;
    uint32_t export_files;
};

static struct export exporter(struct fs *fs)
{
    return (struct export){.state = fs->state, .lock = &fs->lock, .journal = fs->journal, .fs = fs};
}

/* ---- files that are not needed any more ---- */

static bool is_obsolete(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);

    return rec->journal != 0 && (rec->flags & INODE_LOST) == 0 &&
           ((rec->flags & INODE_DIRTY) == 0 || (rec->flags & INODE_UNLINKED) != 0);
}

void journaled_obsolete(struct fs *fs, struct node *node)
{
    struct journaled *j = fs->journaled;

    if (j == NULL || node->journal_queued || !is_obsolete(fs, node)) {
        return;
    }
    if (j->obsolete_count == j->obsolete_cap) {
        size_t cap = j->obsolete_cap == 0 ? 64 : 2 * j->obsolete_cap;
        uint32_t *items = realloc(j->obsolete, cap * sizeof(*items));

        if (items == NULL) {
            return; /* the flusher's next round, or the next start, finds it */
        }
        j->obsolete = items;
        j->obsolete_cap = cap;
    }
    j->obsolete[j->obsolete_count++] = node->ino;
    node->journal_queued = true;
    cond_broadcast(&j->work);
}

static void forget_file(struct fs *fs, struct node *node, uint32_t number) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);

    if (rec->journal == number) {
        state_begin(fs->state);
        STATE_SET(fs->state, rec->journal, 0U);
        if (rec->attempt == 0 && !node->publishing) { /* the file knows of no later one */
            STATE_SET(fs->state, rec->token, (uint64_t)0);
        }
        state_commit(fs->state);
        node->imported = false;
    }
    fs_node_put(fs, node);
}

/* With the lock, which is given up on the way. */
static void remove_some(struct fs *fs, struct journaled *j) REQUIRES(&fs->lock)
{
    uint32_t inos[EXPORT_BATCH];
    uint32_t numbers[EXPORT_BATCH];
    uint32_t count = 0;

    while (j->obsolete_count > 0 && count < EXPORT_BATCH) {
        uint32_t ino = j->obsolete[--j->obsolete_count];
        struct node *node = fs_node(fs, ino);

        if (node != NULL) {
            node->journal_queued = false;
        }
        if (node != NULL && is_obsolete(fs, node)) {
            node->users++;
            inos[count] = ino;
            numbers[count++] = fs_rec(fs, node)->journal;
        }
    }
    j->removing = count;
    mutex_unlock(&fs->lock);
    for (uint32_t i = 0; i < count; i++) {
        int r = journal_remove(fs->journal, numbers[i]);

        if (r != 0) {
            log_error("a file of the journal cannot be removed", "journal",
                      journal_path(fs->journal), "error", strerror(-r), NULL);
            numbers[i] = 0; /* it stays known */
        }
    }
    mutex_lock(&fs->lock);
    for (uint32_t i = 0; i < count; i++) {
        struct node *node = fs_node(fs, inos[i]);

        node->users--;
        if (numbers[i] != 0) {
            forget_file(fs, node, numbers[i]);
        }
    }
    j->removing = 0;
    cond_broadcast(&j->done);
}

/* ---- what is to be deleted ---- */

int journaled_graves_file(struct fs *fs, uint32_t number)
{
    uint32_t *files =
        realloc(fs->grave_files, (fs->grave_files_count + 1) * sizeof(*fs->grave_files));

    if (files == NULL) {
        return -ENOMEM;
    }
    files[fs->grave_files_count] = number;
    fs->grave_files = files;
    fs->grave_files_count++;
    return 0;
}

/* All but the last `keep`, which say the same and more. The lock is given up on the way. */
static void remove_grave_files(struct fs *fs, size_t keep) REQUIRES(&fs->lock)
{
    while (fs->grave_files_count > keep) {
        uint32_t number = fs->grave_files[0];
        int r;

        fs->grave_files_count--;
        memmove(fs->grave_files, fs->grave_files + 1,
                fs->grave_files_count * sizeof(*fs->grave_files));
        mutex_unlock(&fs->lock);
        r = journal_remove(fs->journal, number);
        mutex_lock(&fs->lock);
        if (r != 0) {
            return; /* what it names is gone: the next start finds nothing to do */
        }
    }
}

static int keep_graves(struct fs *fs, const struct export *x)
{
    uint32_t number = 0;
    int r = export_graves(x, &number);

    if (r != 0 || number == 0) {
        return r;
    }
    mutex_lock(&fs->lock);
    r = journaled_graves_file(fs, number);
    if (r == 0) {
        remove_grave_files(fs, 1);
    }
    mutex_unlock(&fs->lock);
    return r;
}

/* ---- files that somebody waits for ---- */

static void answer(struct journaled *j, struct wanted *w, int result)
{
    TAILQ_REMOVE(&j->wanted, w, link);
    w->result = result;
    w->done = true;
    if (w->abandoned) {
        free(w);
    }
}

/* As many as came together become durable together. */
static void write_wanted(struct fs *fs, struct journaled *j) REQUIRES(&fs->lock)
{
    struct export x = exporter(fs);
    struct export_item items[EXPORT_BATCH];
    struct wanted *taken[4 * EXPORT_BATCH];
    size_t from[4 * EXPORT_BATCH];
    struct wanted *w;
    size_t count = 0;
    size_t n = 0;

    TAILQ_FOREACH (w, &j->wanted, link) {
        size_t i = 0;

        while (i < count && items[i].ino != w->ino) {
            i++;
        }
        if (i == EXPORT_BATCH || n == sizeof(taken) / sizeof(taken[0])) {
            break;
        }
        items[i] = (struct export_item){.ino = w->ino};
        count = i == count ? count + 1 : count;
        from[n] = i;
        taken[n++] = w;
    }
    mutex_unlock(&fs->lock);
    for (size_t i = 0; i < count; i++) {
        (void)!export_write(&x, &items[i]);
    }
    export_commit(&x, items, count);
    mutex_lock(&fs->lock);
    for (size_t i = 0; i < n; i++) {
        answer(j, taken[i], items[from[i]].result);
    }
    cond_broadcast(&j->done);
}

static bool is_kept(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);

    return rec->journal != 0 && node->edits_kept == node->edits;
}

int journaled_sync(struct fs *fs, uint32_t ino)
{
    uint64_t until = fs_now_ms() + WAIT_MS;
    struct journaled *j = fs->journaled;
    struct wanted *w = calloc(1, sizeof(*w));
    const struct node *node;
    int r = 0;

    if (w == NULL || j == NULL) {
        free(w);
        return -ENOMEM;
    }
    w->ino = ino;
    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node == NULL || is_kept(fs, node)) {
        mutex_unlock(&fs->lock);
        free(w);
        return 0;
    }
    TAILQ_INSERT_TAIL(&j->wanted, w, link);
    cond_broadcast(&j->work);
    while (!w->done && fs_now_ms() < until) {
        cond_wait_ms(&j->done, &fs->lock, KICK_MS);
    }
    if (w->done) {
        r = w->result;
        free(w);
    } else {
        w->abandoned = true;
        r = -ETIMEDOUT;
    }
    mutex_unlock(&fs->lock);
    return r;
}

/* One line a minute: a full disk is full for every file. */
static void tell_fallback(struct fs *fs, int error)
{
    struct journaled *j = fs->journaled;
    bool tell;

    mutex_lock(&fs->lock);
    tell = j->told_ms == 0 || fs_now_ms() - j->told_ms > TELL_MS;
    j->told_ms = tell ? fs_now_ms() : j->told_ms;
    mutex_unlock(&fs->lock);
    if (tell) {
        log_warn("the journal cannot take a file: close() and fsync() wait for the store",
                 "journal", journal_path(fs->journal), "error", strerror(-error), NULL);
    }
}

void journaled_op(struct op *op)
{
    struct fs *fs = op->fs;
    uint32_t ino = (uint32_t)op->ino;
    int r = journaled_sync(fs, ino);

    if (r == 0) {
        publish_soon(fs, ino);
    } else {
        tell_fallback(fs, r);
        r = publish_for(fs, ino, op->pending); /* also tells of lost bytes */
    }
    (void)fs_op_fail(op, r);
}

/* ---- all ---- */

static void write_all(struct fs *fs, struct journaled *j) REQUIRES(&fs->lock)
{
    struct export x = exporter(fs);
    struct error err = ERROR_INIT;
    uint32_t files = 0;
    int r;

    j->export_wanted = false;
    j->export_running = true;
    mutex_unlock(&fs->lock);
    r = keep_graves(fs, &x);
    if (r != 0) {
        (void)error_set(&err, r, "%s: %s: what was removed cannot be kept in mind there",
                        journal_path(fs->journal), strerror(-r));
    }
    r = r == 0 ? export_all(&x, &files, &err) : r;
    mutex_lock(&fs->lock);
    j->export_running = false;
    j->export_result = r;
    j->export_error = err;
    j->export_files = files;
    j->exports++;
    cond_broadcast(&j->done);
}

static bool has_work(const struct journaled *j)
{
    return !TAILQ_EMPTY(&j->wanted) || j->export_wanted || j->obsolete_count > 0;
}

static void *journaled_main(void *arg)
{
    struct fs *fs = arg;
    struct journaled *j = fs->journaled;

    (void)pthread_setname_np(pthread_self(), "journal");
    mutex_lock(&fs->lock);
    while (!j->ending || has_work(j)) {
        if (!TAILQ_EMPTY(&j->wanted)) {
            write_wanted(fs, j);
        } else if (j->export_wanted) {
            write_all(fs, j);
        } else if (j->obsolete_count > 0) {
            remove_some(fs, j);
        } else if (fs->grave_files_count > 0 && graves_count(fs) == 0) {
            remove_grave_files(fs, 0);
            cond_broadcast(&j->done);
        } else {
            cond_wait_ms(&j->work, &fs->lock, fs->grave_files_count > 0 ? KICK_MS : IDLE_MS);
        }
    }
    mutex_unlock(&fs->lock);
    return NULL;
}

/* A predecessor died before it could remove a file. */
static void find_obsolete(struct fs *fs) REQUIRES(&fs->lock)
{
    for (uint32_t ino = STATE_ROOT; ino < fs->nodes_len; ino++) {
        struct node *node = fs_node(fs, ino);

        if (node != NULL) {
            journaled_obsolete(fs, node);
        }
    }
}

static int start_thread(struct fs *fs)
{
    struct journaled *j = calloc(1, sizeof(*j));
    int r;

    if (j == NULL) {
        return -ENOMEM;
    }
    cond_init(&j->work);
    cond_init(&j->done);
    TAILQ_INIT(&j->wanted);
    mutex_lock(&fs->lock);
    fs->journaled = j;
    find_obsolete(fs);
    mutex_unlock(&fs->lock);
    r = -pthread_create(&j->thread, NULL, journaled_main, fs);
    if (r != 0) {
        fs->journaled = NULL;
        cond_done(&j->work);
        cond_done(&j->done);
        free(j->obsolete);
        free(j);
    }
    return r;
}

int journaled_start(struct fs *fs)
{
    int r = import_journal(fs, &fs->imported);

    r = r == 0 ? start_thread(fs) : r;
    for (uint32_t ino = STATE_ROOT; r == 0 && ino < state_inode_limit(fs->state); ino++) {
        const struct inode_rec *rec;
        bool dirty;

        mutex_lock(&fs->lock);
        rec = state_inode(fs->state, ino);
        dirty = rec != NULL && rec->journal != 0 && (rec->flags & INODE_DIRTY) != 0;
        mutex_unlock(&fs->lock);
        if (dirty) {
            publish_soon(fs, ino);
        }
    }
    return r;
}

void journaled_stop(struct fs *fs)
{
    struct journaled *j = fs->journaled;

    if (j == NULL) {
        return;
    }
    mutex_lock(&fs->lock);
    j->ending = true;
    cond_broadcast(&j->work);
    mutex_unlock(&fs->lock);
    (void)pthread_join(j->thread, NULL);
    mutex_lock(&fs->lock);
    fs->journaled = NULL;
    mutex_unlock(&fs->lock);
    cond_done(&j->work);
    cond_done(&j->done);
    free(j->obsolete);
    free(j);
}

/* ---- the end of a mount ---- */

void journaled_end(struct fs *fs)
{
    struct journal *journal;

    journaled_stop(fs);
    mutex_lock(&fs->lock);
    journal = TAKE(fs->journal);
    mutex_unlock(&fs->lock);
    journal_free(journal);
    free(TAKE(fs->grave_files));
}

/* How many are dirty; if `kick`, each is on its way from now on. */
static size_t send_dirty(struct fs *fs, bool kick)
{
    struct node *node;
    size_t count = 0;

    mutex_lock(&fs->lock);
    TAILQ_FOREACH (node, &fs->dirty, dirty_link) {
        uint32_t flags = fs_rec(fs, node)->flags;

        if ((flags & INODE_DIRTY) == 0 || (flags & (INODE_UNLINKED | INODE_LOST)) != 0) {
            continue;
        }
        count++;
        if (kick && !node->publishing) {
            publish_queue(fs, node);
        }
    }
    mutex_unlock(&fs->lock);
    if (kick) {
        publish_next(fs);
    }
    return count;
}

size_t journaled_left(struct fs *fs)
{
    size_t left = send_dirty(fs, false);

    mutex_lock(&fs->lock);
    left += graves_count(fs);
    mutex_unlock(&fs->lock);
    return left;
}

void journaled_give_up(struct fs *fs)
{
    mutex_lock(&fs->lock);
    fs->given_up = true;
    cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
}

bool journaled_given_up(struct fs *fs)
{
    bool given_up;

    mutex_lock(&fs->lock);
    given_up = fs->given_up;
    mutex_unlock(&fs->lock);
    return given_up;
}

/* A drain: until when, and when it next tells what is left. */
struct draining {
    struct fs *fs;
    uint64_t until_ms, tell_ms;
};

static void tell_left(struct draining *d, size_t files)
{
    uint64_t now = fs_now_ms();
    uint64_t left_ms = d->until_ms > now ? d->until_ms - now : 0;
    uint64_t bytes;
    size_t removals;

    if (now < d->tell_ms) {
        return;
    }
    d->tell_ms = now + LEFT_AGAIN_MS;
    mutex_lock(&d->fs->lock);
    bytes = state_pool_used(d->fs->state);
    removals = graves_count(d->fs);
    mutex_unlock(&d->fs->lock);
    log_info("waiting for the store to take the rest", "files", log_num(files), "bytes",
             log_num(bytes), "removals", log_num(removals), "seconds_left",
             log_num((left_ms + MS_PER_S - 1) / MS_PER_S), NULL);
}

static size_t wait_published(struct draining *d)
{
    struct fs *fs = d->fs;
    uint64_t kick_ms = 0;
    size_t left;

    for (;;) {
        uint64_t now = fs_now_ms();

        left = send_dirty(fs, now >= kick_ms);
        kick_ms = now >= kick_ms ? now + KICK_MS : kick_ms;
        if (left == 0 || now >= d->until_ms || journaled_given_up(fs)) {
            return left;
        }
        tell_left(d, left);
        mutex_lock(&fs->lock);
        cond_wait_ms(&fs->changed, &fs->lock,
                     d->until_ms - now < LOOK_MS ? d->until_ms - now : LOOK_MS);
        mutex_unlock(&fs->lock);
    }
}

static int wait_deleted(struct draining *d, size_t files)
{
    uint64_t now;
    int r;

    do {
        now = fs_now_ms();
        r = graves_wait(d->fs, "", true, d->until_ms < now + KICK_MS ? d->until_ms : now + KICK_MS);
        if (r != 0) {
            tell_left(d, files);
        }
    } while (r != 0 && now < d->until_ms && !journaled_given_up(d->fs));
    return r;
}

/* What has been published leaves no file behind, as far as the disk lets us. */
static void wait_removed(struct fs *fs, struct journaled *j)
{
    uint64_t until = fs_now_ms() + KICK_MS;

    mutex_lock(&fs->lock);
    cond_broadcast(&j->work);
    while ((j->obsolete_count > 0 || j->removing > 0 ||
            (fs->grave_files_count > 0 && graves_count(fs) == 0)) &&
           fs_now_ms() < until) {
        cond_wait_ms(&j->done, &fs->lock, LOOK_MS);
    }
    mutex_unlock(&fs->lock);
}

static int keep_all(struct fs *fs, struct journaled *j, uint32_t *ret_files, struct error *err)
{
    uint64_t until = fs_now_ms() + WAIT_MS;
    uint64_t before;
    int r;

    mutex_lock(&fs->lock);
    before = j->exports + (j->export_running ? 1 : 0); /* one under way may have passed by */
    j->export_wanted = true;
    cond_broadcast(&j->work);
    while (j->exports <= before && fs_now_ms() < until) {
        cond_wait_ms(&j->done, &fs->lock, KICK_MS);
    }
    r = j->exports > before ? j->export_result : -ETIMEDOUT;
    *ret_files = j->export_files;
    if (r < 0 && err != NULL) {
        *err = j->export_error;
    }
    mutex_unlock(&fs->lock);
    return r;
}

int journaled_drain(struct fs *fs, uint64_t drain_ms, bool keep, uint32_t *ret_files,
                    struct error *err)
{
    struct journaled *j = fs->journaled;
    uint64_t now = fs_now_ms();
    struct draining d = {.fs = fs, .until_ms = now + drain_ms, .tell_ms = now + LEFT_FIRST_MS};
    size_t left = wait_published(&d);
    int removed = wait_deleted(&d, left);
    int r;

    if (removed == 0) {
        (void)!fences_wait(fs, "", true, d.until_ms); /* else the next mount does without */
    }
    *ret_files = 0;
    if (j != NULL) {
        wait_removed(fs, j);
    }
    if (removed != 0 && left == 0 && !(keep && j != NULL)) {
        return error_set(err, removed, "objects that were removed are still in the store");
    }
    if (left == 0 && removed == 0) {
        sweep_end(fs);
        return 0;
    }
    if (!keep || j == NULL) {
        return error_set(err, -ETIMEDOUT, "%zu files are still not in the store%s", left,
                         keep ? ", and there is no journal that could keep them (--journal-dir of "
                                "skyvol-holder, -o journal=DIR)"
                              : "");
    }
    r = keep_all(fs, j, ret_files, err);
    if (r == 0) {
        log_warn("the store has not taken everything: the rest is in the journal, for the next "
                 "mount here or skyvolctl recover",
                 "journal", journal_path(fs->journal), "files", log_num(*ret_files), "bytes",
                 log_num(journal_bytes(fs->journal)), NULL);
        return 0;
    }
    (void)error_prefix(
        err, "%zu files are still not in the store, and the journal cannot keep them", left);
    return r;
}
