/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/managed/facts.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "mounter/names/listing.h"
#include "skyvol/meta/v1/meta.pb-c.h"
#include "util/log.h"

enum {
    BATCH = 500,       /* told at a time */
    QUEUE_MAX = 20000, /* not told yet; beyond, the oldest are left out */
    GATHER_MS = 100,   /* so long a batch may grow */
    AGAIN_MS = 1000,   /* after a failure */
    ASK_MAX = 1000,
    CALL_MS = 5000,
    ASK_MS = 2000,
    OFF_MS = 5000, /* a metaserver that has not answered is not asked for so long */
    STOP_MS = 2000,
};

struct told {
    TAILQ_ENTRY(told) link;
    char *key, *etag;
    size_t len; /* 0: it has gone */
    unsigned char packed[];
};

TAILQ_HEAD(told_list, told);

struct facts {
    struct fs *fs;
    struct mutex lock;
    struct cond changed;
    struct told_list queue GUARDED_BY(lock);
    size_t queued GUARDED_BY(lock);
    uint64_t off_until_ms GUARDED_BY(lock);
    bool quit GUARDED_BY(lock);
    bool started GUARDED_BY(lock);
    pthread_t thread;
};

static void told_free(struct told *told)
{
    if (told != NULL) {
        free(told->key);
        free(told->etag);
        free(told);
    }
}

/* ---- tell ---- */

static void add(struct facts *f, const char *key, const char *etag, const void *packed, size_t len)
{
    struct told *told = calloc(1, sizeof(*told) + len);
    struct told *old = NULL;

    if (told == NULL) {
        return;
    }
    told->key = strdup(key);
    told->etag = strdup(etag);
    told->len = len;
    memcpy(told->packed, packed, len);
    if (told->key == NULL || told->etag == NULL) {
        told_free(told);
        return;
    }
    mutex_lock(&f->lock);
    if (f->queued == QUEUE_MAX) {
        old = TAILQ_FIRST(&f->queue);
        TAILQ_REMOVE(&f->queue, old, link);
        f->queued--;
    }
    TAILQ_INSERT_TAIL(&f->queue, told, link);
    f->queued++;
    cond_broadcast(&f->changed);
    mutex_unlock(&f->lock);
    told_free(old);
}

void facts_tell(struct facts *f, const struct facts_told *what)
{
    unsigned char packed[FACTS_PACKED_MAX];
    size_t len;

    if (f == NULL || what->modified_ns == 0 || what->key[0] == '\0' || what->etag[0] == '\0') {
        return;
    }
    len = facts_pack(what, packed);
    if (len > 0) {
        add(f, what->key, what->etag, packed, len);
    }
}

void facts_learn(struct facts *f, const char *key, const struct remote *remote)
{
    if (f != NULL && remote->exists) {
        facts_tell(f, &(struct facts_told){.key = key,
                                           .etag = remote->info.etag,
                                           .attr = &remote->attr,
                                           .partly = true,
                                           .target = remote->target,
                                           .modified_ns = remote->info.mtime_ns,
                                           .exact = true});
    }
}

void facts_forget(struct facts *f, const char *key)
{
    if (f != NULL) {
        add(f, key, "", "", 0);
    }
}

static int send_batch(struct facts *f, const struct told_list *batch, size_t count,
                      uint64_t timeout_ms)
{
    Skyvol__Meta__V1__SetAttributesRequest in = SKYVOL__META__V1__SET_ATTRIBUTES_REQUEST__INIT;
    AUTOFREE Skyvol__Meta__V1__ObjectAttributes *objects = calloc(count, sizeof(*objects));
    AUTOFREE Skyvol__Meta__V1__ObjectAttributes **list = calloc(count, sizeof(*list));
    struct managed_session session;
    ProtobufCMessage *reply = NULL;
    const struct told *told;
    size_t i = 0;
    int r =
        objects == NULL || list == NULL ? -ENOMEM : managed_session(f->fs->managed, 0, &session);

    if (r != 0) {
        return r;
    }
    TAILQ_FOREACH (told, batch, link) {
        skyvol__meta__v1__object_attributes__init(&objects[i]);
        objects[i].key = told->key;
        objects[i].etag = told->etag;
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): read only */
        objects[i].packed.data = (uint8_t *)(uintptr_t)told->packed;
        objects[i].packed.len = told->len;
        list[i] = &objects[i];
        i++;
    }
    in.session_id = session.id;
    in.epoch = session.epoch;
    in.objects = list;
    in.n_objects = count;
    r = managed_call(f->fs->managed,
                     &(struct managed_request){.service = &skyvol__meta__v1__namespace__descriptor,
                                               .method = "SetAttributes",
                                               .message = &in.base,
                                               .timeout_ms = timeout_ms},
                     &reply, NULL);
    rpc_message_free(reply);
    return r;
}

static size_t take_batch(struct facts *f, struct told_list *batch) REQUIRES(&f->lock)
{
    struct told *told;
    size_t count = 0;

    while (count < BATCH && (told = TAILQ_FIRST(&f->queue)) != NULL) {
        TAILQ_REMOVE(&f->queue, told, link);
        TAILQ_INSERT_TAIL(batch, told, link);
        f->queued--;
        count++;
    }
    return count;
}

static void drop_batch(struct told_list *batch)
{
    struct told *told;

    while ((told = TAILQ_FIRST(batch)) != NULL) {
        TAILQ_REMOVE(batch, told, link);
        told_free(told);
    }
}

/* Send one batch. What cannot be told now stays, in its order, unless it is refused. */
static int tell_some(struct facts *f, uint64_t timeout_ms)
{
    struct told_list batch = TAILQ_HEAD_INITIALIZER(batch);
    size_t count;
    int r;

    mutex_lock(&f->lock);
    count = take_batch(f, &batch);
    mutex_unlock(&f->lock);
    r = count > 0 ? send_batch(f, &batch, count, timeout_ms) : 0;
    if (r == 0 || r == -EINVAL || r == -ENOTSUP) {
        drop_batch(&batch);
        return r == 0 ? 0 : r;
    }
    mutex_lock(&f->lock);
    TAILQ_CONCAT(&batch, &f->queue, link);
    TAILQ_CONCAT(&f->queue, &batch, link);
    f->queued += count;
    mutex_unlock(&f->lock);
    return r;
}

static void *facts_main(void *arg)
{
    struct facts *f = arg;

    (void)pthread_setname_np(pthread_self(), "facts");
    mutex_lock(&f->lock);
    while (!f->quit) {
        uint64_t now = fs_now_ms();
        uint64_t until = now + GATHER_MS;
        int r;

        if (TAILQ_EMPTY(&f->queue)) {
            cond_wait(&f->changed, &f->lock);
            continue;
        }
        while (!f->quit && f->queued < BATCH && (now = fs_now_ms()) < until) {
            cond_wait_ms(&f->changed, &f->lock, until - now);
        }
        mutex_unlock(&f->lock);
        r = tell_some(f, CALL_MS);
        mutex_lock(&f->lock);
        until = fs_now_ms() + AGAIN_MS;
        while (r != 0 && !f->quit && (now = fs_now_ms()) < until) {
            cond_wait_ms(&f->changed, &f->lock, until - now);
        }
    }
    mutex_unlock(&f->lock);
    return NULL;
}

/* ---- ask ---- */

/* What is asked for: entries of a listing that nobody has asked for, from one name on. */
struct asked {
    struct fs *fs;
    uint32_t dir;
    struct listing *listing;
    size_t entries[ASK_MAX];
    char *keys[ASK_MAX];
    char *etags[ASK_MAX];
    size_t count;
    bool first; /* the first of them has been found */
};

static void asked_done(struct asked *a)
{
    for (size_t i = 0; i < a->count; i++) {
        free(a->keys[i]);
    }
    mutex_lock(&a->fs->lock);
    listing_unref(a->listing);
    mutex_unlock(&a->fs->lock);
}

static bool add_asked(struct asked *a, size_t index) REQUIRES(&a->fs->lock)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    const struct listing_entry *e = &a->listing->entries[index];

    if (fs_child_key(a->fs, a->dir, listing_name(a->listing, e), &key) != 0) {
        return false;
    }
    if (e->is_dir) {
        buf_addstr(&key, "/");
    }
    a->keys[a->count] = buf_error(&key) == 0 ? strdup(buf_str(&key)) : NULL;
    if (a->keys[a->count] == NULL) {
        return false;
    }
    a->etags[a->count] = a->listing->text + e->etag;
    a->entries[a->count++] = index;
    return true;
}

static int choose(struct asked *a, const char *name)
{
    const struct node *node;
    struct listing_entry *e = NULL;

    mutex_lock(&a->fs->lock);
    node = fs_node(a->fs, a->dir);
    a->listing = node != NULL && node->listed != NULL ? node->listed->listing : NULL;
    if (a->listing != NULL) {
        a->listing->users++;
        e = listing_find(a->listing, name);
    }
    if (e != NULL && e->told && listing_young(a->fs, a->listing->made_ms) &&
        add_asked(a, (size_t)(e - a->listing->entries))) {
        for (e++; e < a->listing->entries + a->listing->count && a->count < ASK_MAX; e++) {
            if (e->told && !e->asked && !e->hidden) {
                (void)add_asked(a, (size_t)(e - a->listing->entries));
            }
        }
    }
    mutex_unlock(&a->fs->lock);
    return a->count > 0 ? 0 : -EAGAIN;
}

static void merge_one(struct asked *a, const Skyvol__Meta__V1__ObjectAttributes *o)
{
    char copy[FACTS_PACKED_MAX + 2];
    struct facts_packed packed;
    struct listing_entry *e;
    struct remote remote;
    struct node *node = NULL;
    struct fs *fs = a->fs;

    if (o->index >= a->count || !facts_unpack(o->packed.data, o->packed.len, copy, &packed)) {
        return;
    }
    e = &a->listing->entries[a->entries[o->index]];
    if (!facts_match(&packed, e->mtime_ns) ||
        (S_ISLNK(packed.attr.mode) && packed.target == NULL)) {
        return;
    }
    mutex_lock(&fs->lock);
    if (listing_remote(fs, a->listing, e, &remote)) {
        if (remote_add_attr(fs, &packed.attr, packed.target, &remote) == 0 &&
            fs_node(fs, a->dir) != NULL &&
            remote_merge(fs, a->dir, listing_name(a->listing, e), &remote, &node) == 0 &&
            node != NULL) {
            e->asked = true;
            a->first = a->first || o->index == 0;
        }
        remote_done(&remote);
    }
    mutex_unlock(&fs->lock);
}

static int ask(struct asked *a)
{
    Skyvol__Meta__V1__GetAttributesRequest in = SKYVOL__META__V1__GET_ATTRIBUTES_REQUEST__INIT;
    const Skyvol__Meta__V1__GetAttributesResponse *out;
    struct managed_session session;
    ProtobufCMessage *reply = NULL;
    int r = managed_session(a->fs->managed, 0, &session);

    if (r != 0) {
        return r;
    }
    in.session_id = session.id;
    in.epoch = session.epoch;
    in.keys = a->keys;
    in.n_keys = a->count;
    in.etags = a->etags;
    in.n_etags = a->count;
    r = managed_call(a->fs->managed,
                     &(struct managed_request){.service = &skyvol__meta__v1__namespace__descriptor,
                                               .method = "GetAttributes",
                                               .message = &in.base,
                                               .timeout_ms = ASK_MS},
                     &reply, NULL);
    out = (const void *)reply;
    for (size_t i = 0; r == 0 && i < out->n_objects; i++) {
        merge_one(a, out->objects[i]);
    }
    rpc_message_free(reply);
    return r;
}

int facts_prefetch(struct fs *fs, uint32_t dir, const char *name)
{
    struct facts *f = fs->facts;
    AUTOFREE struct asked *a = NULL;
    bool off;
    int r;

    if (f == NULL) {
        return -EAGAIN;
    }
    mutex_lock(&f->lock);
    off = fs_now_ms() < f->off_until_ms || f->quit;
    mutex_unlock(&f->lock);
    a = off ? NULL : calloc(1, sizeof(*a));
    if (a == NULL) {
        return -EAGAIN;
    }
    a->fs = fs;
    a->dir = dir;
    r = choose(a, name);
    r = r == 0 ? ask(a) : r;
    if (r != 0 && r != -EAGAIN) {
        mutex_lock(&f->lock);
        f->off_until_ms = fs_now_ms() + OFF_MS;
        mutex_unlock(&f->lock);
    }
    r = a->first ? 0 : -EAGAIN;
    asked_done(a);
    return r;
}

/* ---- begin, end ---- */

LOCK_UNCHECKED
int facts_new(struct fs *fs, struct facts **ret, struct error *err)
{
    struct facts *f = calloc(1, sizeof(*f));
    int r;

    if (f == NULL) {
        return -ENOMEM;
    }
    f->fs = fs;
    TAILQ_INIT(&f->queue);
    mutex_init(&f->lock);
    cond_init(&f->changed);
    r = -pthread_create(&f->thread, NULL, facts_main, f);
    if (r != 0) {
        facts_free(f);
        return error_set(err, r, "cannot start a thread");
    }
    f->started = true;
    *ret = f;
    return 0;
}

void facts_stop(struct facts *f)
{
    uint64_t until = fs_now_ms() + STOP_MS;
    bool started;
    bool more;
    int r = 0;

    if (f == NULL) {
        return;
    }
    mutex_lock(&f->lock);
    f->quit = true;
    started = f->started;
    f->started = false;
    cond_broadcast(&f->changed);
    mutex_unlock(&f->lock);
    if (!started) {
        return;
    }
    (void)pthread_join(f->thread, NULL);
    do {
        uint64_t now = fs_now_ms();

        r = now < until ? tell_some(f, until - now) : -ETIMEDOUT;
        mutex_lock(&f->lock);
        more = f->queued > 0;
        mutex_unlock(&f->lock);
    } while (r == 0 && more);
}

LOCK_UNCHECKED
void facts_free(struct facts *f)
{
    if (f != NULL) {
        drop_batch(&f->queue);
        cond_done(&f->changed);
        mutex_done(&f->lock);
        free(f);
    }
}
