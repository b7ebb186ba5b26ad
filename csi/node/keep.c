/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.c - the list belongs to the lock, and so does what is forgotten of it; descriptors are
 * fetched and offered without it, by the one thread, which is also the only one that changes an
 * entry's descriptors and takes entries out.
 */
#include "csi/node/keep.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "csi/node/mounts.h"
#include "mount/mountinfo.h"
#include "util/log.h"

enum { TICK_MS = 2000, DROP_DRAIN_MS = 1500, TRIES_TOLD = 2 };

struct kept {
    LIST_ENTRY(kept) link;
    char key[HOLDER_KEY_MAX];
    char *at;
    pid_t mounter;
    bool forgotten;                /* under the list's lock */
    struct holder_descriptors fds; /* the thread's */
};

struct keep {
    struct node *node;
    pthread_t thread;
    struct mutex lock;
    struct cond changed;
    int missed; /* tries in a row that no holder answered, up to TRIES_TOLD; the thread's */
    LIST_HEAD(, kept) list GUARDED_BY(lock);
    bool stop GUARDED_BY(lock);
    bool awake GUARDED_BY(lock);
};

static void kept_free(struct kept *k)
{
    holder_descriptors_done(&k->fds);
    free(k->at);
    free(k);
}

void keep_add(struct keep *keep, const char *key, const char *at)
{
    struct kept *k = keep != NULL ? calloc(1, sizeof(*k)) : NULL;
    struct kept *other;

    if (k == NULL || (k->at = strdup(at)) == NULL) {
        free(k);
        return; /* the next sweep finds it by its record */
    }
    (void)snprintf(k->key, sizeof(k->key), "%s", key);
    mutex_lock(&keep->lock);
    LIST_FOREACH (other, &keep->list, link) {
        if (strcmp(other->key, key) == 0 && !other->forgotten) {
            break;
        }
    }
    if (other == NULL) {
        LIST_INSERT_HEAD(&keep->list, k, link);
        k = NULL;
    }
    keep->awake = true;
    cond_signal(&keep->changed);
    mutex_unlock(&keep->lock);
    if (k != NULL) {
        kept_free(k);
    }
}

void keep_forget(struct keep *keep, const char *key)
{
    struct kept *k;

    if (keep == NULL) {
        return;
    }
    mutex_lock(&keep->lock);
    LIST_FOREACH (k, &keep->list, link) {
        if (strcmp(k->key, key) == 0) {
            k->forgotten = true;
            keep->awake = true;
        }
    }
    cond_signal(&keep->changed);
    mutex_unlock(&keep->lock);
}

void keep_wake(struct keep *keep)
{
    if (keep != NULL) {
        mutex_lock(&keep->lock);
        keep->awake = true;
        cond_signal(&keep->changed);
        mutex_unlock(&keep->lock);
    }
}

/* Free what is forgotten or mounted no more. */
static void purge(struct keep *keep)
{
    struct kept *k;
    struct kept *next;

    mutex_lock(&keep->lock);
    for (k = LIST_FIRST(&keep->list); k != NULL; k = next) {
        next = LIST_NEXT(k, link);
        if (k->forgotten) {
            LIST_REMOVE(k, link);
            kept_free(k);
        }
    }
    mutex_unlock(&keep->lock);
}

static const struct holder_status *find(const struct holder_status *list, size_t count,
                                        const char *key)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].key, key) == 0) {
            return &list[i];
        }
    }
    return NULL;
}

static void forget(struct keep *keep, struct kept *k)
{
    mutex_lock(&keep->lock);
    k->forgotten = true;
    mutex_unlock(&keep->lock);
}

/* One entry against the holder's list: fetch what is new, offer what it has lost. */
static void compare(struct keep *keep, struct kept *k, const struct holder_status *status)
{
    struct holder_descriptors fresh = {.count = 0};
    struct mountinfo m;
    struct error err = ERROR_INIT;
    int r = 0;

    if (mountinfo_find(k->at, &m) < 0) {
        forget(keep, k); /* unmounted: an offer would revive nothing */
    } else if (status == NULL && k->fds.count > 0) {
        r = holder_offer(keep->node->socket, k->key, &k->fds, NODE_QUICK_MS, &err);
        log_warn("a holder has lost a mount and is offered it", "mount", k->key, "result",
                 r < 0 ? error_text(&err, r) : "taken", NULL);
    } else if (status != NULL && status->state == HOLDER_RUNNING &&
               (k->fds.count == 0 || k->mounter != status->mounter) &&
               holder_fetch(keep->node->socket, k->key, NODE_QUICK_MS, &fresh, &err) == 0) {
        holder_descriptors_done(&k->fds);
        k->fds = fresh;
        k->mounter = status->mounter;
    }
}

/* One that starts beside us, or anew, is none the first time. */
static void holder_missed(struct keep *keep, const char *why)
{
    if (keep->missed < TRIES_TOLD && ++keep->missed == TRIES_TOLD) {
        log_warn("skyvol-holder does not answer: no volume can be mounted on this node until it "
                 "runs; what is mounted stays so",
                 "socket", keep->node->socket, "error", why, NULL);
    }
}

static void holder_seen(struct keep *keep)
{
    if (keep->missed >= TRIES_TOLD) {
        log_info("skyvol-holder answers", "socket", keep->node->socket, NULL);
    }
    keep->missed = 0;
}

/* The one behind `k`, or the first. Others insert before: a walk sees each entry once at most. */
static struct kept *next_wanted(struct keep *keep, struct kept *k)
{
    mutex_lock(&keep->lock);
    k = k == NULL ? LIST_FIRST(&keep->list) : LIST_NEXT(k, link);
    while (k != NULL && k->forgotten) {
        k = LIST_NEXT(k, link);
    }
    mutex_unlock(&keep->lock);
    return k;
}

static void exchange(struct keep *keep)
{
    AUTOFREE struct holder_status *list = NULL;
    struct error err = ERROR_INIT;
    struct kept *k;
    size_t count = 0;
    int r = holder_list(keep->node->socket, NODE_QUICK_MS, &list, &count, &err);

    if (r < 0) {
        holder_missed(keep, error_text(&err, r));
        return;
    }
    holder_seen(keep);
    for (k = next_wanted(keep, NULL); k != NULL; k = next_wanted(keep, k)) {
        compare(keep, k, find(list, count, k->key));
    }
}

/* Mounts in a record that neither Stage nor a target uses: gone, or tried again at the next. */
static void sweep_record(struct node *node, const char *file)
{
    CLEANUP(record_done) struct record record = RECORD_INIT;
    CLEANUP(record_done) struct record again = RECORD_INIT;
    struct node_busy busy;
    struct error err = ERROR_INIT;
    size_t i = 0;
    int r = record_load_file(node->state_dir, file, &record, &err);

    if (r < 0 || node_lock(node, &busy, record.volume) < 0) {
        return;
    }
    r = record_load_file(node->state_dir, file, &again, &err);
    while (r == 0 && i < again.mount_count) {
        AUTOFREE char *key = strdup(again.mounts[i].key);

        keep_add(node->keep, again.mounts[i].key, again.mounts[i].at);
        if (key == NULL || record_uses(&again, key) ||
            mounts_drop(node, &again, key, &(struct mounts_drain){.ms = DROP_DRAIN_MS}, &err) < 0) {
            i++;
        }
    }
    node_unlock(node, &busy);
}

static void sweep(struct node *node)
{
    DIR *dir = opendir(node->state_dir);
    const struct dirent *entry;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): safe in glibc, one thread per DIR */
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        size_t len = strlen(entry->d_name);

        if (len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0) {
            sweep_record(node, entry->d_name);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
}

static bool wait_tick(struct keep *keep)
{
    bool stop;

    mutex_lock(&keep->lock);
    if (!keep->stop && !keep->awake) {
        cond_wait_ms(&keep->changed, &keep->lock, TICK_MS);
    }
    keep->awake = false;
    stop = keep->stop;
    mutex_unlock(&keep->lock);
    return !stop;
}

static void *keep_main(void *arg)
{
    struct keep *keep = arg;

    do {
        purge(keep);
        sweep(keep->node);
        exchange(keep);
        mutex_lock(&keep->lock);
        keep->awake = false;
        mutex_unlock(&keep->lock);
    } while (wait_tick(keep));
    return NULL;
}

int keep_new(struct node *node, struct keep **ret)
{
    struct keep *keep = calloc(1, sizeof(*keep));
    int r;

    if (keep == NULL) {
        return -ENOMEM;
    }
    keep->node = node;
    mutex_init(&keep->lock);
    cond_init(&keep->changed);
    node->keep = keep;
    r = pthread_create(&keep->thread, NULL, keep_main, keep);
    if (r != 0) {
        node->keep = NULL;
        cond_done(&keep->changed);
        mutex_done(&keep->lock);
        free(keep);
        return -r;
    }
    *ret = keep;
    return 0;
}

LOCK_UNCHECKED
void keep_free(struct keep *keep)
{
    struct kept *k;

    if (keep == NULL) {
        return;
    }
    mutex_lock(&keep->lock);
    keep->stop = true;
    cond_signal(&keep->changed);
    mutex_unlock(&keep->lock);
    (void)pthread_join(keep->thread, NULL);
    while ((k = LIST_FIRST(&keep->list)) != NULL) {
        LIST_REMOVE(k, link);
        kept_free(k);
    }
    cond_done(&keep->changed);
    mutex_done(&keep->lock);
    free(keep);
}
