/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/read/ahead.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/names/known.h"
#include "mounter/names/listing.h"
#include "mounter/names/walk.h"

enum {
    WAIT_MS = 55000,
    TIMEOUT_MS = 50000,
    FILE_BYTES_MAX = 1 << 20, /* of larger ones the attributes only */
    NEAR = 16,                /* keys that may lie between one open and the next of a walk */
    RUN_MIN = 3,              /* opens in order before files are fetched */
    RUN_SURE = 16,            /* so many are no accident */
    WINDOW_FIRST_FILES = 8,
    WINDOW_MAX_FILES = 96, /* more would keep others off the connections */
    BYTES_SHARE = 3,       /* of the reader's memory for what is in advance */
};

struct ahead_file {
    UT_hash_handle hh;
    TAILQ_ENTRY(ahead_file) link; /* by age */
    STAILQ_ENTRY(ahead_file) start_link;
    struct fs *fs;
    struct objstore_request head;
    bool arrived, failed;
    bool used;      /* somebody has asked for it */
    uint32_t users; /* those who wait, and the request */
    bool dropped;   /* not in the table any more */
    uint64_t made_ms;
    uint64_t bytes;
    struct remote remote;
    char key[];
};

struct ahead {
    struct cond arrived;
    struct ahead_file *files;
    TAILQ_HEAD(, ahead_file) by_age;
    uint64_t unused_bytes;
    uint32_t unused;               /* files in advance */
    uint32_t window;               /* how many there may be; 0: nobody walks */
    uint32_t run;                  /* opens in the order of keys, */
    uint32_t number_run;           /* of st_ino */
    bool listing;                  /* a page is being listed */
    uint64_t listed_ms;            /* when one was asked for last */
    char *last;                    /* the key opened last */
    char *frontier;                /* all keys before it have been looked at for fetching */
    char *list_prefix, *list_from; /* of the page that is being listed */
    struct walk *at;               /* in the order of st_ino: the file opened last, */
    struct walk *front;            /* and the last one that was looked at for fetching */
    bool front_set;
};

int ahead_new(struct fs *fs)
{
    fs->ahead = calloc(1, sizeof(*fs->ahead));
    if (fs->ahead == NULL) {
        return -ENOMEM;
    }
    cond_init(&fs->ahead->arrived);
    TAILQ_INIT(&fs->ahead->by_age);
    if (walk_new(&fs->ahead->at) != 0 || walk_new(&fs->ahead->front) != 0) {
        return -ENOMEM;
    }
    return 0;
}

static void free_file(struct ahead_file *file)
{
    if (file->arrived && !file->failed) {
        remote_done(&file->remote);
    }
    free(file);
}

static void count_used(struct ahead *ahead, struct ahead_file *file)
{
    if (!file->used) {
        file->used = true;
        ahead->unused--;
        ahead->unused_bytes -= file->bytes;
    }
}

static void drop(struct ahead *ahead, struct ahead_file *file)
{
    if (!file->dropped) {
        count_used(ahead, file);
        HASH_DEL(ahead->files, file);
        TAILQ_REMOVE(&ahead->by_age, file, link);
        file->dropped = true;
    }
    if (file->users == 0) {
        free_file(file);
    }
}

void ahead_free(struct fs *fs)
{
    struct ahead *ahead = fs->ahead;
    struct ahead_file *file;

    if (ahead == NULL) {
        return;
    }
    while ((file = TAILQ_FIRST(&ahead->by_age)) != NULL) {
        drop(ahead, file);
    }
    cond_done(&ahead->arrived);
    free(ahead->last);
    free(ahead->frontier);
    free(ahead->list_prefix);
    free(ahead->list_from);
    walk_free(ahead->at);
    walk_free(ahead->front);
    free(ahead);
    fs->ahead = NULL;
}

/* ---- answers ---- */

static void arrived(void *arg, const struct objstore_result *result)
{
    struct ahead_file *file = arg;
    struct fs *fs = file->fs;
    struct remote remote;
    int ret = result->status;

    ret = ret == 0 ? remote_interpret_now(fs, file->key, result, &remote) : ret;
    mutex_lock(&fs->lock);
    file->arrived = true;
    file->failed = ret != 0;
    if (ret == 0) {
        remote.asked = file->remote.asked;
        remote.made_ms = file->remote.made_ms;
        file->remote = remote;
    }
    file->users--;
    if (file->failed || file->dropped) {
        drop(fs->ahead, file);
    }
    cond_broadcast(&fs->ahead->arrived);
    mutex_unlock(&fs->lock);
}

static void head_done(struct objstore_request *request, const struct objstore_result *result)
{
    arrived(request->arg, result);
}

/* ---- asking ---- */

static bool is_young(const struct fs *fs, const struct ahead_file *file, uint64_t now)
{
    return now < file->made_ms + fs->options.attr_timeout_ms;
}

static bool set(char **text, const char *value)
{
    char *copy = strdup(value);

    if (copy != NULL) {
        free(*text);
        *text = copy;
    }
    return copy != NULL;
}

/* All before the key and the key itself have been looked at. */
static void set_frontier(struct ahead *ahead, const char *key)
{
    CLEANUP(buf_done) struct buf after = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    buf_addf(&after, "%s\x01", key); /* nothing lies between */
    if (buf_error(&after) == 0) {
        (void)set(&ahead->frontier, buf_str(&after));
    }
}

/* Files that nobody came for: fewer from now on. */
static void expire(struct fs *fs) REQUIRES(&fs->lock)
{
    struct ahead *ahead = fs->ahead;
    struct ahead_file *file = TAILQ_FIRST(&ahead->by_age);
    uint64_t now = fs_now_ms();
    uint32_t wasted = 0;

    while (file != NULL && !is_young(fs, file, now)) {
        struct ahead_file *next = TAILQ_NEXT(file, link);

        wasted += !file->used && file->arrived;
        if (file->arrived) {
            drop(ahead, file);
        }
        file = next;
    }
    if (wasted > 0) {
        ahead->window = wasted >= ahead->window / 2 ? 0 : ahead->window / 2;
        /* If their walker comes all the same, only late, it goes on from where it is. */
        ahead->front_set = false;
        if (ahead->last != NULL) {
            set_frontier(ahead, ahead->last);
        }
    }
}

static struct ahead_file *find(const struct ahead *ahead, const char *key)
{
    struct ahead_file *file;

    HASH_FIND_STR(ahead->files, key, file);
    return file;
}

/* Somebody has come for it. */
static void claim_file(struct ahead *ahead, struct ahead_file *file)
{
    count_used(ahead, file);
    if (!file->arrived) { /* too late for its walker */
        ahead->window = 2 * ahead->window < WINDOW_MAX_FILES ? 2 * ahead->window : WINDOW_MAX_FILES;
    }
}

/* Opened on the strength of what was known already: only the bytes were of use. */
static void opened_without(struct fs *fs, const char *key) REQUIRES(&fs->lock)
{
    struct ahead_file *file = find(fs->ahead, key);

    if (file != NULL) {
        claim_file(fs->ahead, file);
        drop(fs->ahead, file);
    }
}

bool ahead_find(struct fs *fs, const char *key, bool opens, struct remote *ret)
{
    struct ahead *ahead = fs->ahead;
    uint64_t until = fs_now_ms() + WAIT_MS;
    struct ahead_file *file;
    bool good;

    mutex_lock(&fs->lock);
    file = find(ahead, key);
    if (file == NULL || !is_young(fs, file, fs_now_ms())) {
        mutex_unlock(&fs->lock);
        return false;
    }
    claim_file(ahead, file);
    file->users++;
    while (!file->arrived && fs_now_ms() < until) {
        cond_wait_ms(&ahead->arrived, &fs->lock, WAIT_MS);
    }
    file->users--;
    good = file->arrived && !file->failed && remote_copy_file(&file->remote, ret) == 0;
    if (opens || file->dropped) {
        drop(ahead, file);
    }
    mutex_unlock(&fs->lock);
    return good;
}

/* ---- fetching ---- */

static void add_file(struct fs *fs, const struct known_entry *entry, struct ahead_start *start)
    REQUIRES(&fs->lock)
{
    struct ahead *ahead = fs->ahead;
    size_t len = strlen(entry->key);
    bool whole = entry->size > 0 && entry->size <= FILE_BYTES_MAX;
    struct ahead_file *file =
        whole || fs->options.open_asks ? calloc(1, sizeof(*file) + len + 1) : NULL;

    if (file == NULL) {
        return; /* no memory, or its open will need nothing */
    }
    file->fs = fs;
    file->made_ms = fs_now_ms();
    file->remote.asked = fs->clock;
    file->remote.made_ms = file->made_ms;
    memcpy(file->key, entry->key, len + 1);
    HASH_ADD_STR(ahead->files, key, file);
    if (file->hh.tbl == NULL) {
        free(file);
        return;
    }
    TAILQ_INSERT_TAIL(&ahead->by_age, file, link);
    ahead->unused++;
    file->users = 1;
    if (whole && reader_prefetch(fs,
                                 &(struct reader_file){.key = file->key,
                                                       .etag = entry->etag,
                                                       .size = entry->size,
                                                       .arrived = arrived,
                                                       .arg = file},
                                 &start->fetches) == 0) {
        file->bytes = entry->size;
        ahead->unused_bytes += file->bytes;
        return;
    }
    if (!fs->options.open_asks) { /* its bytes are here, and attributes nobody needs */
        file->users = 0;
        drop(ahead, file);
        return;
    }
    file->head = (struct objstore_request){.op = OBJSTORE_HEAD,
                                           .key = file->key,
                                           .timeout_ms = TIMEOUT_MS,
                                           .done = head_done,
                                           .arg = file};
    STAILQ_INSERT_TAIL(&start->heads, file, start_link);
}

/* What is fetched is used before it is too old: so the walker must be near. */
static bool has_room(struct fs *fs) REQUIRES(&fs->lock)
{
    const struct ahead_file *oldest = TAILQ_FIRST(&fs->ahead->by_age);

    while (oldest != NULL && oldest->used) {
        oldest = TAILQ_NEXT(oldest, link);
    }
    return fs->ahead->unused < fs->ahead->window &&
           fs->ahead->unused_bytes < reader_limit(fs) / BYTES_SHARE &&
           (oldest == NULL || fs_now_ms() < oldest->made_ms + fs->options.attr_timeout_ms / 2);
}

static bool is_file_key(const char *key)
{
    size_t len = strlen(key);

    return len > 0 && key[len - 1] != '/';
}

/* One page at a time. */
static void list_page(struct ahead *ahead, const char *prefix, const char *from,
                      struct ahead_start *start)
{
    if (!ahead->listing && set(&ahead->list_prefix, prefix) && set(&ahead->list_from, from)) {
        ahead->listing = start->list = true;
        ahead->listed_ms = fs_now_ms();
    }
}

/* From the frontier on, as far as keys are known and the window goes. */
static void fill(struct fs *fs, const char *walk, struct ahead_start *start) REQUIRES(&fs->lock)
{
    static const struct known_oldest any = {0};
    struct ahead *ahead = fs->ahead;
    struct known_position pos;
    struct known_entry entry;

    while (has_room(fs) && strncmp(ahead->frontier, walk, strlen(walk)) == 0) {
        const char *reached = NULL;
        bool more = true;

        if (!known_seek(fs->known, ahead->frontier, &any, &pos)) {
            CLEANUP(buf_done) struct buf from = BUF_INIT(2 * OBJSTORE_KEY_MAX);

            listing_up_to(ahead->frontier, &from);
            list_page(ahead, walk, buf_str(&from), start);
            return;
        }
        while (has_room(fs) && (more = known_next(&pos, &entry))) {
            reached = entry.key;
            if (is_file_key(entry.key) && find(ahead, entry.key) == NULL) {
                add_file(fs, &entry, start);
            }
        }
        if (!more && !set(&ahead->frontier, pos.end)) {
            return;
        }
        if (more && reached != NULL) {
            set_frontier(ahead, reached);
        }
    }
}

/* One page was not enough for this directory, which will be read when its walker comes there. */
static bool was_listed(const struct fs *fs, const char *dir)
{
    const struct ahead *ahead = fs->ahead;

    return ahead->list_prefix != NULL && strcmp(ahead->list_prefix, dir) == 0 &&
           ahead->list_from[0] == '\0' &&
           fs_now_ms() < ahead->listed_ms + fs->options.attr_timeout_ms;
}

/* The same in the order of numbers. */
static void fill_by_number(struct fs *fs, struct ahead_start *start) REQUIRES(&fs->lock)
{
    struct ahead *ahead = fs->ahead;
    struct known_entry entry;
    const char *unknown = NULL;

    if (!ahead->front_set) {
        ahead->front_set = walk_copy(ahead->front, ahead->at);
    }
    while (has_room(fs) && walk_next(fs, ahead->front, &entry, &unknown)) {
        if (find(ahead, entry.key) == NULL) {
            add_file(fs, &entry, start);
        }
    }
    if (unknown != NULL && !was_listed(fs, unknown)) {
        list_page(ahead, unknown, "", start);
    }
}

/* The key is one of the next after the one opened last. */
static bool is_next(struct fs *fs, const char *key) REQUIRES(&fs->lock)
{
    static const struct known_oldest any = {0};
    struct known_position pos;
    struct known_entry entry;

    if (fs->ahead->last == NULL || strcmp(key, fs->ahead->last) <= 0 ||
        !known_seek(fs->known, fs->ahead->last, &any, &pos)) {
        return false;
    }
    for (int i = 0; i < NEAR && known_next(&pos, &entry); i++) {
        if (strcmp(entry.key, key) == 0) {
            return true;
        }
    }
    return false;
}

/* The same in the order of numbers; moves ahead->at to the file in any case, if it can be. */
static bool is_next_by_number(struct fs *fs, const struct node *node, const char *key)
    REQUIRES(&fs->lock)
{
    struct ahead *ahead = fs->ahead;
    struct known_entry entry;
    const char *unknown;

    for (int i = 0; i < NEAR && walk_next(fs, ahead->at, &entry, &unknown); i++) {
        if (strcmp(entry.key, key) == 0) {
            return true;
        }
    }
    (void)walk_seek(fs, ahead->at, node);
    return false;
}

static bool is_foreseen(const struct ahead *ahead, const char *key)
{
    return ahead->window > 0 && ahead->run >= RUN_MIN && ahead->frontier != NULL &&
           ahead->last != NULL && strcmp(key, ahead->last) > 0 && strcmp(key, ahead->frontier) < 0;
}

/* Which order does the walker follow? */
static void recognize(struct fs *fs, const struct node *node, const char *key) REQUIRES(&fs->lock)
{
    struct ahead *ahead = fs->ahead;

    const struct node *dir = fs_node(fs, fs_rec(fs, node)->parent);
    bool foreseen = is_foreseen(ahead, key);

    if (foreseen || is_next(fs, key)) {
        ahead->run++;
        if (ahead->frontier == NULL || strcmp(ahead->frontier, key) <= 0 || ahead->window == 0) {
            set_frontier(ahead, key);
        }
    } else {
        ahead->run = 0;
    }
    if (ahead->run > RUN_SURE && ahead->run > ahead->number_run) {
        ahead->number_run = 0;
        ahead->front_set = false;
    } else if (dir != NULL && listing_walked(dir) && is_next_by_number(fs, node, key)) {
        ahead->number_run++;
    } else { /* into a part that was not known: its order will be the same */
        ahead->number_run = ahead->number_run > RUN_SURE ? RUN_MIN : 0;
        ahead->front_set = false;
    }
    if (ahead->run == 0 && ahead->number_run == 0) {
        ahead->window = 0;
    }
}

void ahead_opened(struct fs *fs, struct node *node, struct ahead_start *start)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(buf_done) struct buf walk = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct ahead *ahead = fs->ahead;
    const struct inode_rec *rec = fs_rec(fs, node);

    STAILQ_INIT(&start->fetches);
    STAILQ_INIT(&start->heads);
    start->list = false;
    if (fs->options.attr_timeout_ms == 0 || fs->unordered ||
        (rec->flags & (INODE_DIRTY | INODE_NEW | INODE_UNLINKED | INODE_DETACHED)) != 0 ||
        fs_key(fs, node->ino, &key) != 0) {
        return;
    }
    opened_without(fs, buf_str(&key));
    expire(fs);
    recognize(fs, node, buf_str(&key));
    if (!set(&ahead->last, buf_str(&key))) {
        return;
    }
    if (ahead->run >= RUN_MIN || ahead->number_run >= RUN_MIN) {
        ahead->window = ahead->window == 0 ? WINDOW_FIRST_FILES : ahead->window;
    }
    if (ahead->number_run >= RUN_MIN && ahead->number_run > ahead->run) {
        fill_by_number(fs, start);
    } else if (ahead->run >= RUN_MIN && listing_walk(fs, rec->parent, &walk) == 0) {
        fill(fs, buf_str(&walk), start);
    }
}

static void list_more(void *arg)
{
    struct fs *fs = arg;
    CLEANUP(buf_done) struct buf walk = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(buf_done) struct buf from = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    mutex_lock(&fs->lock);
    buf_addstr(&walk, fs->ahead->list_prefix);
    buf_addstr(&from, fs->ahead->list_from);
    mutex_unlock(&fs->lock);
    if (buf_error(&walk) == 0 && buf_error(&from) == 0) {
        (void)!listing_flat(fs, buf_str(&walk), buf_str(&from));
    }
    mutex_lock(&fs->lock);
    fs->ahead->listing = false;
    mutex_unlock(&fs->lock);
}

void ahead_start(struct fs *fs, struct ahead_start *start)
{
    struct ahead_file *file;

    reader_start(fs, &start->fetches);
    while ((file = STAILQ_FIRST(&start->heads)) != NULL) {
        STAILQ_REMOVE_HEAD(&start->heads, start_link);
        volume_submit(fs->volume, &file->head);
    }
    if (start->list && tasks_add(fs->tasks, list_more, fs) != 0) {
        mutex_lock(&fs->lock);
        fs->ahead->listing = false;
        mutex_unlock(&fs->lock);
    }
}
