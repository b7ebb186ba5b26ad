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

enum {
    HEADS_MAX = 8192,
    WINDOW_MIN = 32,
    WINDOW_MAX = 256,
    TIMEOUT_MS = 50000,
    WAIT_MS = 55000,
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

/* A HEAD under way: it owns itself. */
struct ask {
    UT_hash_handle hh;
    STAILQ_ENTRY(ask) link;
    struct fs *fs;
    struct objstore_request request;
    uint64_t asked;
    unsigned waiting; /* threads */
    char key[];
};

struct heads {
    struct head *by_key;
    struct ask *asking;
    TAILQ_HEAD(, head) oldest;
    size_t window;
    size_t used;                     /* of what was fetched, since the last window */
    char last[OBJSTORE_KEY_MAX + 1]; /* the end of the last window */
    char at[OBJSTORE_KEY_MAX + 1];   /* where the next one begins, while `filling` */
    bool filling;
    bool stopping;
    unsigned telling; /* threads that tell fs->facts */
    struct cond arrived;
};

int heads_new(struct heads **ret)
{
    struct heads *heads = calloc(1, sizeof(*heads));

    if (heads == NULL) {
        return -ENOMEM;
    }
    TAILQ_INIT(&heads->oldest);
    cond_init(&heads->arrived);
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
        cond_done(&heads->arrived);
        free(heads);
    }
}

void heads_stop(struct fs *fs)
{
    if (fs->heads == NULL) {
        return;
    }
    mutex_lock(&fs->lock);
    fs->heads->stopping = true;
    while (fs->heads->telling > 0) { /* which waits for nobody */
        cond_wait_ms(&fs->heads->arrived, &fs->lock, WAIT_MS);
    }
    mutex_unlock(&fs->lock);
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

/* ---- answers ---- */

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
    struct heads *heads = fs->heads;
    struct remote remote;
    bool tell;

    if (result->status != 0 || remote_interpret_now(fs, key, result, &remote) != 0) {
        return;
    }
    mutex_lock(&fs->lock);
    tell = !heads->stopping;
    heads->telling += tell;
    mutex_unlock(&fs->lock);
    if (tell) {
        facts_learn(fs->facts, key, &remote);
    }
    mutex_lock(&fs->lock);
    heads->telling -= tell;
    if (remote.exists && !S_ISLNK(remote.attr.mode)) {
        keep(fs, key, &remote, asked);
    }
    if (heads->stopping) {
        cond_broadcast(&heads->arrived);
    }
    mutex_unlock(&fs->lock);
    remote_done(&remote);
}

static void ask_done(struct objstore_request *request, const struct objstore_result *result)
{
    struct ask *ask = request->arg;
    struct fs *fs = ask->fs;

    take(fs, ask->key, result, ask->asked);
    mutex_lock(&fs->lock);
    HASH_DEL(fs->heads->asking, ask);
    if (ask->waiting > 0) {
        cond_broadcast(&fs->heads->arrived);
    }
    mutex_unlock(&fs->lock);
    free(ask);
}

/* ---- asking ---- */

STAILQ_HEAD(asks, ask);

struct window {
    size_t max;
    size_t ahead; /* that are here, or on their way */
    const char *last;
    struct asks asks;
};

static struct ask *find_ask(struct fs *fs, const char *key) REQUIRES(&fs->lock)
{
    struct ask *ask = NULL;

    if (fs->heads->asking != NULL) {
        HASH_FIND_STR(fs->heads->asking, key, ask);
    }
    return ask;
}

static void add_ask(struct fs *fs, struct window *w, const char *key) REQUIRES(&fs->lock)
{
    size_t size = strlen(key) + 1;
    struct ask *ask = calloc(1, sizeof(*ask) + size);

    if (ask == NULL) {
        return;
    }
    memcpy(ask->key, key, size);
    ask->fs = fs;
    ask->asked = fs->clock;
    ask->request = (struct objstore_request){.op = OBJSTORE_HEAD,
                                             .key = ask->key,
                                             .timeout_ms = TIMEOUT_MS,
                                             .done = ask_done,
                                             .arg = ask};
    HASH_ADD_STR(fs->heads->asking, key, ask);
    if (ask->hh.tbl == NULL) {
        free(ask);
        return;
    }
    STAILQ_INSERT_TAIL(&w->asks, ask, link);
    w->ahead++;
    w->last = ask->key;
}

static void add_key(struct fs *fs, struct window *w, const struct known_entry *e)
    REQUIRES(&fs->lock)
{
    size_t len = strlen(e->key);
    bool is_dir = len > 0 && e->key[len - 1] == '/';

    if (len == 0 || seen_enough(fs, is_dir)) {
        return;
    }
    if (is_of(fs, find(fs, e->key), e->etag, e->mtime_ns) || find_ask(fs, e->key) != NULL) {
        w->ahead++;
        return;
    }
    add_ask(fs, w, e->key);
}

/* From the listing of its directory, where no page goes on. */
static void from_listing(struct fs *fs, const struct heads_place *place, struct window *w)
    REQUIRES(&fs->lock)
{
    const struct node *dir = fs_node(fs, place->dir);
    const struct listing *listing =
        dir != NULL && dir->listed != NULL ? dir->listed->listing : NULL;
    const struct listing_entry *e = listing != NULL ? listing_find(listing, place->name) : NULL;

    for (; e != NULL && e < listing->entries + listing->count && w->ahead < w->max; e++) {
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

/* False: pages do not know the key. An old page will do: its ETags are compared. */
static bool from_pages(struct fs *fs, const char *key, struct window *w) REQUIRES(&fs->lock)
{
    static const struct known_oldest any = {0};
    struct known_position pos;
    struct known_entry entry;

    if (!known_seek(fs->known, key, &any, &pos)) {
        return false;
    }
    do {
        while (w->ahead < w->max && known_next(&pos, &entry)) {
            add_key(fs, w, &entry);
        }
    } while (w->ahead < w->max && known_seek(fs->known, pos.end, &any, &pos));
    return true;
}

static void end_window(struct heads *heads, const struct window *w)
{
    heads->used = 0;
    if (w->last != NULL) {
        (void)snprintf(heads->last, sizeof(heads->last), "%s", w->last);
    }
}

static void grow(struct heads *heads)
{
    heads->window = 2 * heads->window < WINDOW_MAX ? 2 * heads->window : WINDOW_MAX;
}

/* The metaserver, if there is one, tells what the files in a directory are. */
static bool goes_alone(const struct fs *fs, const char *key)
{
    size_t len = strlen(key);

    return fs->facts != NULL && len > 0 && key[len - 1] == '/';
}

/* A walk that goes on asks for more and more at once. */
static void choose(struct fs *fs, const struct heads_place *place, struct window *w)
    REQUIRES(&fs->lock)
{
    struct heads *heads = fs->heads;

    if (goes_alone(fs, place->key)) {
        if (find_ask(fs, place->key) == NULL) {
            add_ask(fs, w, place->key);
        }
        return;
    }
    if (heads->window == 0 || heads->last[0] == '\0' || strcmp(place->key, heads->last) < 0) {
        heads->window = WINDOW_MIN;
    } else {
        grow(heads);
    }
    w->max = heads->window;
    if (!from_pages(fs, place->key, w)) {
        from_listing(fs, place, w);
    }
    if (find_ask(fs, place->key) == NULL && find(fs, place->key) == NULL) {
        add_ask(fs, w, place->key);
    }
    end_window(heads, w);
}

static void submit(struct fs *fs, struct asks *asks)
{
    struct ask *ask;

    while ((ask = STAILQ_FIRST(asks)) != NULL) {
        STAILQ_REMOVE_HEAD(asks, link);
        volume_submit(fs->volume, &ask->request);
    }
}

void heads_fetch(struct fs *fs, const struct heads_place *place)
{
    uint64_t until = fs_now_ms() + WAIT_MS;
    struct ask *ask;
    struct window w = {.asks = STAILQ_HEAD_INITIALIZER(w.asks)};

    mutex_lock(&fs->lock);
    choose(fs, place, &w);
    mutex_unlock(&fs->lock);
    submit(fs, &w.asks);
    mutex_lock(&fs->lock);
    while ((ask = find_ask(fs, place->key)) != NULL && fs_now_ms() < until && !fs->ending) {
        ask->waiting++;
        cond_wait_ms(&fs->heads->arrived, &fs->lock, WAIT_MS);
    }
    mutex_unlock(&fs->lock);
}

/* The walk goes on: ask for more before it has to wait. */
static void fill_run(void *arg)
{
    struct fs *fs = arg;
    struct heads *heads = fs->heads;
    struct window w = {.asks = STAILQ_HEAD_INITIALIZER(w.asks)};

    mutex_lock(&fs->lock);
    grow(heads);
    w.max = heads->window;
    (void)from_pages(fs, heads->at, &w);
    end_window(heads, &w);
    heads->filling = false;
    mutex_unlock(&fs->lock);
    submit(fs, &w.asks);
}

static void count_use(struct fs *fs, const char *key) REQUIRES(&fs->lock)
{
    struct heads *heads = fs->heads;

    if (++heads->used < heads->window / 4 || heads->filling || heads->stopping || fs->ending ||
        strcmp(key, heads->last) > 0) {
        return;
    }
    (void)snprintf(heads->at, sizeof(heads->at), "%s", key);
    heads->filling = tasks_add(fs->tasks, fill_run, fs) == 0;
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
    count_use(fs, key);
    return true;
}
