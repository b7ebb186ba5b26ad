/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage.c - how many bytes the volume has, for statfs and for its size limit.
 *
 * The store is asked by listing all keys, in the background, when the mount begins and from time to
 * time; in between, what is done here is added. What others do meanwhile is known after the next
 * count, so several writers together may exceed the limit by what they write between two counts; on
 * a managed volume by what each writes in about a second: mounts tell each other through the
 * metaserver (mounter/managed/shared.h).
 */
#include <errno.h>
#include <stdlib.h>

#include "mounter/fs.h"
#include "mounter/managed/shared.h"
#include "mounter/names/graves.h"
#include "objstore/objstore_call.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/delay.h"
#include "util/log.h"

enum {
    LIST_TIMEOUT_MS = 30000,
    COUNT_EVERY_MS = 60000,
    AGAIN_MS = 10000,
    TELL_MS = 1000,
    DUTY = 100, /* counting takes at most a hundredth of the time */
};

struct usage {
    struct fs *fs;
    struct delay *delay;
    struct delay_entry entry;
    /* Of the delay's thread: */
    struct shared shared;
    uint64_t count_ms; /* when the next count is due */
    int64_t told;      /* fs->grown_bytes at the last report */
    int64_t base;      /* what others had added ever, when we counted */
    int64_t pending;   /* of these, was not in the store then */
};

/* Bytes that are only here. */
static int64_t unpublished(struct fs *fs) REQUIRES(&fs->lock)
{
    int64_t bytes = 0;

    const struct node *node;

    TAILQ_FOREACH (node, &fs->dirty, dirty_link) {
        const struct inode_rec *rec = fs_rec(fs, node);

        if (rec != NULL && S_ISREG(rec->mode) && (rec->flags & INODE_DIRTY) != 0 &&
            (rec->flags & (INODE_UNLINKED | INODE_DETACHED)) == 0) {
            bytes += (int64_t)rec->size;
            bytes -= (rec->flags & INODE_NEW) == 0 ? (int64_t)rec->base_size : 0;
        }
    }
    return bytes;
}

static bool ending(struct fs *fs)
{
    bool now;

    mutex_lock(&fs->lock);
    now = fs->ending;
    mutex_unlock(&fs->lock);
    return now;
}

static int count_below(struct fs *fs, const char *prefix, int64_t *ret)
{
    AUTOFREE char *token = NULL;
    int r;

    do {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        struct objstore_request list = {
            .op = OBJSTORE_LIST, .key = prefix, .token = token, .timeout_ms = LIST_TIMEOUT_MS};

        r = ending(fs)       ? -ECANCELED
            : prefix != NULL ? volume_call_internal(fs->volume, &list, &answer)
                             : volume_call(fs->volume, &list, &answer);
        mutex_lock(&fs->lock);
        for (size_t i = 0; r == 0 && i < answer.result.count; i++) {
            const struct objstore_entry *e = &answer.result.entries[i];

            *ret += graves_has(fs, e->key) ? 0 : (int64_t)e->info.size;
        }
        mutex_unlock(&fs->lock);
        free(token);
        token = NULL;
        if (r == 0 && answer.result.next_token != NULL) {
            token = strdup(answer.result.next_token);
            r = token == NULL ? -ENOMEM : 0;
        }
    } while (token != NULL);
    return r;
}

/* Files with hard links have their bytes apart: see mounter/names/hard.h. */
static int count(struct fs *fs, int64_t *ret)
{
    int r;

    *ret = 0;
    r = count_below(fs, NULL, ret);
    return r == 0 && fs->managed != NULL ? count_below(fs, VOLUME_LINKS, ret) : r;
}

/* What we have added is told, what others have is learned. `counting`: from now on. */
static void tell(struct usage *usage, bool counting)
{
    struct fs *fs = usage->fs;
    struct shared_bytes own;
    struct shared_bytes others;
    bool anew = false;
    int r;

    mutex_lock(&fs->lock);
    own.grown = fs->grown_bytes;
    own.unpublished = unpublished(fs);
    mutex_unlock(&fs->lock);
    r = shared_report(fs, &usage->shared, &own, &others, &anew);
    if (r != 0) {
        return; /* with the next report, or the next count */
    }
    usage->told = own.grown;
    if (counting) {
        usage->base = others.grown;
        usage->pending = others.unpublished;
        return; /* it counts when the store's count does */
    }
    if (anew) {
        usage->count_ms = 0;
        return;
    }
    mutex_lock(&fs->lock);
    fs->others_bytes = usage->pending + others.grown - usage->base;
    mutex_unlock(&fs->lock);
}

/* Returns after which pause again. */
static uint64_t count_now(struct usage *usage)
{
    struct fs *fs = usage->fs;
    uint64_t start = clock_monotonic_ms(clock_real());
    uint64_t took;
    int64_t bytes;
    int r;

    tell(usage, true);
    r = count(fs, &bytes);
    took = clock_monotonic_ms(clock_real()) - start;
    if (r == 0) {
        mutex_lock(&fs->lock);
        fs->used_bytes = bytes + unpublished(fs);
        fs->others_bytes = usage->pending;
        mutex_unlock(&fs->lock);
        return took * DUTY > COUNT_EVERY_MS ? took * DUTY : COUNT_EVERY_MS;
    }
    if (r != -ECANCELED) {
        log_warn("the volume's size could not be counted", "error", error_text(NULL, r), NULL);
    }
    return AGAIN_MS;
}

static void count_run(struct delay_entry *entry, bool early)
{
    struct usage *usage = container_of(entry, struct usage, entry);
    struct fs *fs = usage->fs;
    bool shared = fs->managed != NULL && !managed_exclusive(fs->managed);
    uint64_t now = clock_monotonic_ms(clock_real());
    bool grown;

    if (early) {
        return;
    }
    mutex_lock(&fs->lock);
    grown = fs->grown_bytes != usage->told;
    mutex_unlock(&fs->lock);
    if (now >= usage->count_ms) {
        uint64_t pause = count_now(usage);

        now = clock_monotonic_ms(clock_real());
        usage->count_ms = now + pause;
    } else if (shared && grown) {
        tell(usage, false);
    }
    if (!delay_add(usage->delay, entry, shared ? now + TELL_MS : usage->count_ms)) {
        return; /* being ended */
    }
}

int usage_start(struct fs *fs)
{
    struct usage *usage;
    int r;

    if (fs->options.size_bytes == 0) {
        return 0; /* nothing depends on it: save the requests */
    }
    usage = calloc(1, sizeof(*usage));
    if (usage == NULL) {
        return -ENOMEM;
    }
    usage->fs = fs;
    r = delay_new(count_run, &usage->delay);
    if (r != 0) {
        free(usage);
        return r;
    }
    fs->usage = usage;
    return delay_add(usage->delay, &usage->entry, 1) ? 0 : -ECANCELED;
}

void usage_stop(struct fs *fs)
{
    if (fs->usage != NULL) {
        delay_free(fs->usage->delay);
        free(fs->usage);
        fs->usage = NULL;
    }
}

void usage_set_size(struct fs *fs, uint64_t size_bytes)
{
    uint64_t before;

    mutex_lock(&fs->lock);
    before = fs->options.size_bytes;
    if (before != 0) {
        fs->options.size_bytes = size_bytes;
        *fs->kept_size = size_bytes;
    }
    mutex_unlock(&fs->lock);
    if (before != 0 && before != size_bytes) {
        log_info("the volume has another size", "bytes", log_num((long long)size_bytes), "before",
                 log_num((long long)before), NULL);
    }
}

uint64_t usage_bytes(const struct fs *fs)
{
    int64_t bytes = fs->used_bytes + fs->others_bytes;

    return bytes > 0 ? (uint64_t)bytes : 0;
}

int usage_resize(struct fs *fs, const struct inode_rec *rec, uint64_t size)
{
    uint64_t growth = size > rec->size ? size - rec->size : 0;

    if (size > fs->caps.object_max) {
        return -EFBIG;
    }
    return growth > 0 && fs->options.size_bytes != 0 &&
                   usage_bytes(fs) + growth > fs->options.size_bytes
               ? -ENOSPC
               : 0;
}

void usage_resized(struct fs *fs, uint64_t from, uint64_t to)
{
    fs->used_bytes += (int64_t)to - (int64_t)from;
    fs->grown_bytes += (int64_t)to - (int64_t)from;
}

void usage_removed(struct fs *fs, const struct inode_rec *rec)
{
    if (S_ISREG(rec->mode)) {
        usage_resized(fs, rec->size, 0);
    }
}
