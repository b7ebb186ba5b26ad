/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/heads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/managed/facts.h"
#include "mounter/names/listing.h"
#include "mounter/names/seen.h"
#include "objstore/objstore_call.h"

enum {
    HEADS_MAX = 8192,
    WINDOW_MIN = 32,
    WINDOW_MAX = 256,
    TIMEOUT_MS = 50000,
    SAME_AFTER_S = 3, /* as remote.c: a younger object may change in the same second */
};
static const int64_t ns_per_s = 1000000000;

struct head {
    UT_hash_handle hh;
    TAILQ_ENTRY(head) link;
    uint64_t asked, made_ms;
    int64_t mtime_ns;
    bool lasts; /* longer than attributes are believed */
    struct attr attr;
    char *xattr;
    char etag[OBJSTORE_ETAG_MAX];
    char key[];
};

struct heads {
    struct head *by_key;
    TAILQ_HEAD(, head) oldest;
    size_t window;
    char last[OBJSTORE_KEY_MAX + 1]; /* the end of the last window */
};

int heads_new(struct heads **ret)
{
    struct heads *heads = calloc(1, sizeof(*heads));

    if (heads == NULL) {
        return -ENOMEM;
    }
    TAILQ_INIT(&heads->oldest);
    *ret = heads;
    return 0;
}

static void drop(struct heads *heads, struct head *head)
{
    HASH_DEL(heads->by_key, head);
    TAILQ_REMOVE(&heads->oldest, head, link);
    free(head->xattr);
    free(head);
}

void heads_free(struct heads *heads)
{
    struct head *head;

    if (heads != NULL) {
        while ((head = TAILQ_FIRST(&heads->oldest)) != NULL) {
            drop(heads, head);
        }
        free(heads);
    }
}

static struct head *find(struct fs *fs, const char *key) REQUIRES(&fs->lock)
{
    struct head *head = NULL;

    if (fs->heads->by_key != NULL) {
        HASH_FIND_STR(fs->heads->by_key, key, head);
    }
    return head;
}

static bool is_of(struct fs *fs, const struct head *head, const char *etag, int64_t mtime_ns)
    REQUIRES(&fs->lock)
{
    return head != NULL && strcmp(head->etag, etag) == 0 &&
           head->mtime_ns / ns_per_s == mtime_ns / ns_per_s &&
           (head->lasts || listing_young(fs, head->made_ms));
}

bool heads_remote(struct fs *fs, const char *key, const struct remote *listed, struct remote *ret)
{
    const struct head *head = find(fs, key);

    if (!is_of(fs, head, listed->info.etag, listed->info.mtime_ns)) {
        return false;
    }
    *ret = (struct remote){.asked = listed->asked < head->asked ? listed->asked : head->asked,
                           .made_ms = listed->made_ms,
                           .exists = true,
                           .is_dir = listed->is_dir,
                           .marker = listed->marker,
                           .info = listed->info,
                           .attr = head->attr,
                           .arena = ARENA_INIT(1 << 20)};
    return true;
}

/* ---- asking ---- */

struct window {
    size_t max, count;
    size_t known; /* in a row at its beginning: enough of them, and nothing is asked for yet */
    char *keys[WINDOW_MAX];
};

static void add_key(struct fs *fs, struct window *w, const struct known_entry *e)
    REQUIRES(&fs->lock)
{
    size_t len = strlen(e->key);
    bool is_dir = len > 0 && e->key[len - 1] == '/';

    if (w->count == w->max || len == 0 || seen_enough(fs, is_dir)) {
        return;
    }
    if (is_of(fs, find(fs, e->key), e->etag, e->mtime_ns)) {
        w->known += w->count == 0;
        w->max = w->known >= WINDOW_MIN ? 0 : w->max;
        return;
    }
    w->keys[w->count] = strdup(e->key);
    w->count += w->keys[w->count] != NULL;
}

/* From the listing of its directory, where no page goes on. */
static void from_listing(struct fs *fs, const struct heads_place *place, struct window *w)
    REQUIRES(&fs->lock)
{
    const struct node *dir = fs_node(fs, place->dir);
    const struct listing *listing =
        dir != NULL && dir->listed != NULL ? dir->listed->listing : NULL;
    const struct listing_entry *e = listing != NULL ? listing_find(listing, place->name) : NULL;

    for (; e != NULL && e < listing->entries + listing->count && w->count < w->max; e++) {
        CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
        struct known_entry entry = {
            .etag = listing->text + e->etag, .size = e->size, .mtime_ns = e->mtime_ns};

        if (e->told && fs_child_key(fs, place->dir, listing_name(listing, e), &key) == 0) {
            buf_addstr(&key, e->is_dir ? "/" : "");
            entry.key = buf_str(&key);
            add_key(fs, w, &entry);
        }
    }
}

/* A walk that goes on asks for more and more at once. */
static void choose(struct fs *fs, const struct heads_place *place, struct window *w)
    REQUIRES(&fs->lock)
{
    struct heads *heads = fs->heads;
    struct known_oldest oldest = listing_oldest(fs, fs_node(fs, place->dir));
    struct known_position pos;
    struct known_entry entry;

    heads->window = heads->last[0] == '\0' || strcmp(place->key, heads->last) < 0
                        ? WINDOW_MIN
                        : 2 * heads->window;
    heads->window = heads->window < WINDOW_MIN   ? WINDOW_MIN
                    : heads->window > WINDOW_MAX ? WINDOW_MAX
                                                 : heads->window;
    w->max = heads->window;
    if (known_seek(fs->known, place->key, &oldest, &pos)) {
        while (w->count < w->max && known_next(&pos, &entry)) {
            add_key(fs, w, &entry);
        }
    } else {
        from_listing(fs, place, w);
    }
    if (w->count == 0 && find(fs, place->key) == NULL) {
        w->keys[0] = strdup(place->key);
        w->count = w->keys[0] != NULL;
    }
    if (w->count > 0) {
        (void)snprintf(heads->last, sizeof(heads->last), "%s", w->keys[w->count - 1]);
    }
}

/* A link's target is not in the answer: who looks it up asks once more. */
static void keep(struct fs *fs, const char *key, const struct remote *remote, uint64_t asked)
    REQUIRES(&fs->lock)
{
    struct heads *heads = fs->heads;
    struct head *head = find(fs, key);
    size_t size = strlen(key) + 1;

    if (head != NULL) {
        drop(heads, head);
    }
    while (HASH_COUNT(heads->by_key) >= HEADS_MAX) {
        drop(heads, TAILQ_FIRST(&heads->oldest));
    }
    head = calloc(1, sizeof(*head) + size);
    if (head == NULL) {
        return;
    }
    memcpy(head->key, key, size);
    head->asked = asked;
    head->made_ms = fs_now_ms();
    head->mtime_ns = remote->info.mtime_ns;
    head->lasts = fs_now_ns() - remote->info.mtime_ns > SAME_AFTER_S * ns_per_s;
    head->attr = remote->attr;
    head->xattr = remote->attr.xattr != NULL ? strdup(remote->attr.xattr) : NULL;
    head->attr.xattr = head->xattr;
    memcpy(head->etag, remote->info.etag, sizeof(head->etag));
    HASH_ADD_STR(heads->by_key, key, head);
    TAILQ_INSERT_TAIL(&heads->oldest, head, link);
}

static void take(struct fs *fs, const char *key, const struct objstore_result *result,
                 uint64_t asked)
{
    struct remote remote;

    if (result->status != 0 || remote_interpret_now(fs, key, result, &remote) != 0) {
        return;
    }
    facts_learn(fs->facts, key, &remote);
    mutex_lock(&fs->lock);
    if (remote.exists && !S_ISLNK(remote.attr.mode)) {
        keep(fs, key, &remote, asked);
    }
    mutex_unlock(&fs->lock);
    remote_done(&remote);
}

void heads_fetch(struct fs *fs, const struct heads_place *place)
{
    AUTOFREE struct objstore_request *requests = calloc(WINDOW_MAX, sizeof(*requests));
    AUTOFREE struct objstore_answer *answers = calloc(WINDOW_MAX, sizeof(*answers));
    AUTOFREE struct window *w = calloc(1, sizeof(*w));
    uint64_t asked = fs_asked(fs);

    if (requests == NULL || answers == NULL || w == NULL) {
        return;
    }
    mutex_lock(&fs->lock);
    choose(fs, place, w);
    mutex_unlock(&fs->lock);
    for (size_t i = 0; i < w->count; i++) {
        answers[i] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
        requests[i] = (struct objstore_request){
            .op = OBJSTORE_HEAD, .key = w->keys[i], .timeout_ms = TIMEOUT_MS};
    }
    if (w->count > 0) {
        (void)volume_call_many(fs->volume, requests, answers, w->count);
    }
    for (size_t i = 0; i < w->count; i++) {
        take(fs, w->keys[i], &answers[i].result, asked);
        objstore_answer_done(&answers[i]);
        free(w->keys[i]);
    }
}
