/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories: what the store lists, with what is not in the store yet, as one sorted array. It is
 * made when a directory is opened and read by cookies that are positions in it; for as long as
 * attributes are believed it also answers which names there are, and fetches the attributes of many
 * entries at once when the first is asked for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/fs.h"
#include "objstore/objstore_call.h"
#include "util/container.h"

enum { PREFETCH = 32, META_TIMEOUT_MS = 50000, ENTRIES_MAX = 20 * 1000 * 1000 };

struct entry {
    char *name;
    bool is_dir;
    bool asked; /* its attributes are being or have been fetched */
};

struct listing {
    struct entry *entries;
    size_t count, cap;
    unsigned users; /* handles that read it, and the node that remembers it */
    uint64_t made_ms;
    bool dropped_local; /* something was created or removed since */
};

/* Under fs->lock, but for a listing that only its maker knows. */
static void unref(struct listing *listing)
{
    if (listing == NULL || --listing->users > 0) {
        return;
    }
    for (size_t i = 0; i < listing->count; i++) {
        free(listing->entries[i].name);
    }
    free(listing->entries);
    free(listing);
}

void listing_free(struct listing *listing)
{
    unref(listing);
}

void listing_drop(struct node *dir)
{
    unref(dir->listing);
    dir->listing = NULL;
}

static int add(struct listing *listing, const char *name, bool is_dir)
{
    if (listing->count == listing->cap) {
        size_t cap = listing->cap == 0 ? 64 : 2 * listing->cap;
        struct entry *entries =
            cap <= ENTRIES_MAX ? realloc(listing->entries, cap * sizeof(*entries)) : NULL;

        if (entries == NULL) {
            return -ENOMEM;
        }
        listing->entries = entries;
        listing->cap = cap;
    }
    listing->entries[listing->count] = (struct entry){.name = strdup(name), .is_dir = is_dir};
    if (listing->entries[listing->count].name == NULL) {
        return -ENOMEM;
    }
    listing->count++;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    int order = strcmp(x->name, y->name);

    return order != 0 ? order : (int)y->is_dir - (int)x->is_dir; /* the directory first */
}

static struct entry *find_entry(const struct listing *listing, const char *name)
{
    size_t low = 0;
    size_t high = listing->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(listing->entries[middle].name, name);

        if (order == 0) {
            return &listing->entries[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* One listed key as a name; those that have none (too long) are left out. */
static int add_listed(struct listing *listing, const char *prefix, const struct objstore_entry *e)
{
    struct slice component = slice_of(e->key + strlen(prefix));
    char name[NAMES_MAX + 1];

    if (component.len == 0) {
        return 0; /* the directory's own marker */
    }
    if (e->prefix || component.data[component.len - 1] == '/') {
        component.len--;
    }
    return names_from_key(component, false, name) == 0 ? add(listing, name, e->prefix) : 0;
}

static int fetch_pages(struct fs *fs, const char *prefix, struct listing *listing)
{
    AUTOFREE char *token = NULL;
    bool more = true;
    int ret = 0;

    while (ret == 0 && more) {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        struct objstore_request list = {.op = OBJSTORE_LIST,
                                        .key = prefix,
                                        .delimiter = "/",
                                        .token = token,
                                        .timeout_ms = META_TIMEOUT_MS};

        ret = volume_call(fs->volume, &list, &answer);
        for (size_t i = 0; ret == 0 && i < answer.result.count; i++) {
            ret = add_listed(listing, prefix, &answer.result.entries[i]);
        }
        more = answer.result.truncated && answer.result.next_token != NULL;
        free(token);
        token = more ? strdup(answer.result.next_token) : NULL;
        ret = more && token == NULL ? -ENOMEM : ret;
    }
    return ret;
}

/* A file and a directory of one name: the file is shown under its other name. */
static int separate(struct listing *listing)
{
    int ret = 0;

    for (size_t i = 1; ret == 0 && i < listing->count; i++) {
        struct entry *e = &listing->entries[i];
        char other[NAMES_MAX + 1];

        if (strcmp(e->name, listing->entries[i - 1].name) == 0 && !e->is_dir &&
            names_from_key(slice_of(e->name), true, other) == 0) {
            free(e->name);
            e->name = strdup(other);
            ret = e->name == NULL ? -ENOMEM : 0;
        }
    }
    return ret;
}

/* What is only here yet, and without what is here no more. */
static int merge_local(struct fs *fs, uint32_t dir, struct listing *listing) REQUIRES(&fs->lock)
{
    struct node *node;
    struct node *next;
    size_t listed = listing->count;
    int ret = 0;

    HASH_ITER(hh, fs->names, node, next)
    {
        const struct inode_rec *rec = fs_rec(fs, node);
        const char *name = node->name_key + sizeof(uint32_t);
        struct listing view = {.entries = listing->entries, .count = listed};

        if (rec->parent == dir && (rec->flags & INODE_NEW) != 0 && ret == 0 &&
            find_entry(&view, name) == NULL) {
            ret = add(listing, name, S_ISDIR(rec->mode));
        }
    }
    return ret;
}

static void sort(struct listing *listing)
{
    if (listing->count > 0) {
        qsort(listing->entries, listing->count, sizeof(*listing->entries), by_name);
    }
}

static int make_listing(struct fs *fs, uint32_t dir, struct listing **ret)
{
    CLEANUP(buf_done) struct buf prefix = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct listing *listing = calloc(1, sizeof(*listing));
    int r;

    if (listing == NULL) {
        return -ENOMEM;
    }
    listing->users = 1;
    mutex_lock(&fs->lock);
    r = fs_node(fs, dir) != NULL ? fs_key(fs, dir, &prefix) : -ESTALE;
    mutex_unlock(&fs->lock);
    r = r == 0 ? fetch_pages(fs, buf_str(&prefix), listing) : r;
    if (r == 0) {
        sort(listing);
        r = separate(listing);
        sort(listing);
    }
    if (r == 0) {
        mutex_lock(&fs->lock);
        r = merge_local(fs, dir, listing);
        mutex_unlock(&fs->lock);
        sort(listing);
    }
    if (r != 0) {
        unref(listing);
        return r;
    }
    listing->made_ms = fs_now_ms();
    *ret = listing;
    return 0;
}

/* A directory handle: its listing, made by the first read and again by a rewind. */
struct dir_handle {
    uint32_t ino;
    struct listing *listing;
};

/*
 * Under fs->lock. The handles of a process that died are numbers without meaning here: one that is
 * not in this set, or is another directory's, lists anew.
 */
enum { HANDLES = 4096 };
static struct dir_handle handles[HANDLES];

void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct fs *fs = fuse_req_userdata(req);
    static uint64_t next;

    mutex_lock(&fs->lock);
    fi->fh = HANDLES; /* none free: every read lists anew */
    for (unsigned i = 0; i < HANDLES && fi->fh == HANDLES; i++) {
        unsigned slot = (unsigned)((next + i) % HANDLES);

        if (handles[slot].ino == 0) {
            handles[slot].ino = (uint32_t)ino;
            fi->fh = slot;
        }
    }
    next = fi->fh + 1;
    mutex_unlock(&fs->lock);
    (void)fuse_reply_open(req, fi);
}

static struct listing *handle_listing(struct fs *fs, uint64_t fh, uint32_t ino)
{
    struct listing *listing = NULL;

    mutex_lock(&fs->lock);
    if (fh < HANDLES && handles[fh].ino == ino && handles[fh].listing != NULL) {
        listing = handles[fh].listing;
        listing->users++;
    }
    mutex_unlock(&fs->lock);
    return listing;
}

static void set_handle_listing(struct fs *fs, uint64_t fh, uint32_t ino, struct listing *listing)
{
    struct listing *old = NULL;

    mutex_lock(&fs->lock);
    if (fh < HANDLES && (handles[fh].ino == ino || handles[fh].ino == 0)) {
        old = handles[fh].listing;
        handles[fh].ino = listing != NULL ? ino : 0;
        handles[fh].listing = listing;
        if (listing != NULL) {
            listing->users++;
        }
    }
    unref(old);
    mutex_unlock(&fs->lock);
}

void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    set_handle_listing(fuse_req_userdata(req), fi->fh, (uint32_t)ino, NULL);
    (void)fuse_reply_err(req, 0);
}

static size_t add_dirent(struct op *op, char *buffer, size_t room, const char *name, uint64_t next,
                         bool is_dir)
{
    struct stat st = {.st_ino = 2, .st_mode = is_dir ? S_IFDIR : 0}; /* 0: DT_UNKNOWN */

    return fuse_add_direntry(pending_req(op->pending), buffer, room, name, &st, (off_t)next);
}

static void reply_entries(struct op *op, const struct listing *listing)
{
    size_t size = op->size < 65536 ? op->size : 65536;
    AUTOFREE char *buffer = malloc(size);
    size_t used = 0;

    if (buffer == NULL) {
        (void)fs_op_fail(op, -ENOMEM);
        return;
    }
    for (uint64_t at = op->offset; at < listing->count + 2; at++) {
        const char *name = at == 0 ? "." : at == 1 ? ".." : listing->entries[at - 2].name;
        bool is_dir = at < 2 || listing->entries[at - 2].is_dir;
        size_t needed = add_dirent(op, buffer + used, size - used, name, at + 1, is_dir);

        if (needed > size - used) {
            break;
        }
        used += needed;
    }
    (void)fs_op_data(op, buffer, used);
}

static void readdir_run(struct op *op)
{
    struct fs *fs = op->fs;
    uint32_t ino = (uint32_t)op->ino;
    struct listing *listing = op->offset > 0 ? handle_listing(fs, op->flags, ino) : NULL;
    struct node *node;

    if (listing == NULL) {
        int ret = make_listing(fs, ino, &listing);

        if (ret != 0) {
            (void)fs_op_fail(op, ret);
            return;
        }
        set_handle_listing(fs, op->flags, ino, listing);
        mutex_lock(&fs->lock);
        node = fs_node(fs, ino);
        if (node != NULL) {
            listing_drop(node);
            node->listing = listing;
            listing->users++;
        }
        mutex_unlock(&fs->lock);
    }
    reply_entries(op, listing);
    mutex_lock(&fs->lock);
    unref(listing);
    mutex_unlock(&fs->lock);
}

void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct op *op = fs_op_new(req);
    struct listing *listing;

    if (op == NULL) {
        return;
    }
    op->ino = ino;
    op->size = size;
    op->offset = (uint64_t)off;
    op->flags = (uint32_t)fi->fh;
    listing = off > 0 ? handle_listing(op->fs, fi->fh, (uint32_t)ino) : NULL;
    if (listing == NULL) {
        fs_op_start(op, readdir_run);
        return;
    }
    {
        struct fs *fs = op->fs;

        reply_entries(op, listing);
        mutex_lock(&fs->lock);
        unref(listing);
        mutex_unlock(&fs->lock);
    }
}

static bool young(const struct fs *fs, const struct listing *listing)
{
    return listing != NULL && fs_now_ms() < listing->made_ms + fs->options.attr_timeout_ms;
}

enum listing_says listing_ask(struct fs *fs, struct node *dir, const char *name)
{
    const struct entry *e;

    if (dir == NULL || !young(fs, dir->listing)) {
        return LISTING_UNKNOWN;
    }
    e = find_entry(dir->listing, name);
    return e == NULL ? LISTING_UNKNOWN : e->is_dir ? LISTING_DIR : LISTING_FILE;
}

/* Names to ask for: `name` and the files after it that nobody has asked for. */
static size_t choose(struct fs *fs, uint32_t dir, const char *name, char *names[PREFETCH])
{
    struct node *node;
    struct entry *e;
    size_t count = 0;

    mutex_lock(&fs->lock);
    node = fs_node(fs, dir);
    e = node != NULL && node->listing != NULL ? find_entry(node->listing, name) : NULL;
    for (; e != NULL && e < node->listing->entries + node->listing->count && count < PREFETCH;
         e++) {
        if (!e->is_dir && (!e->asked || count == 0)) {
            e->asked = true;
            names[count] = strdup(e->name);
            count += names[count] != NULL;
        }
    }
    mutex_unlock(&fs->lock);
    return count;
}

static int child_keys(struct fs *fs, uint32_t dir, char *const names[PREFETCH], size_t count,
                      struct buf keys[PREFETCH])
{
    int ret = 0;

    mutex_lock(&fs->lock);
    if (fs_node(fs, dir) == NULL) {
        ret = -ESTALE;
    }
    for (size_t i = 0; ret == 0 && i < count; i++) {
        ret = fs_child_key(fs, dir, names[i], &keys[i]);
    }
    mutex_unlock(&fs->lock);
    return ret;
}

int listing_prefetch(struct fs *fs, uint32_t dir, const char *name)
{
    char *names[PREFETCH];
    struct buf keys[PREFETCH];
    struct objstore_request requests[PREFETCH];
    struct objstore_answer answers[PREFETCH];
    uint64_t asked = fs_asked(fs);
    size_t count = choose(fs, dir, name, names);
    int ret;

    for (size_t i = 0; i < count; i++) {
        keys[i] = (struct buf)BUF_INIT(2 * OBJSTORE_KEY_MAX);
        answers[i] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
    }
    ret = count == 0 ? -ENOENT : child_keys(fs, dir, names, count, keys);
    for (size_t i = 0; i < count; i++) {
        requests[i] = (struct objstore_request){
            .op = OBJSTORE_HEAD, .key = buf_str(&keys[i]), .timeout_ms = META_TIMEOUT_MS};
    }
    if (ret == 0) {
        (void)volume_call_many(fs->volume, requests, answers, count);
    }
    for (size_t i = 0; i < count; i++) {
        struct remote remote;
        struct node *node;

        if (ret == 0 && remote_interpret(fs, buf_str(&keys[i]), &answers[i].result, &remote) == 0) {
            remote.asked = asked;
            mutex_lock(&fs->lock);
            if (remote.exists && fs_node(fs, dir) != NULL) {
                (void)remote_merge(fs, dir, names[i], &remote, &node);
            }
            mutex_unlock(&fs->lock);
            remote_done(&remote);
        }
        objstore_answer_done(&answers[i]);
        buf_done(&keys[i]);
        free(names[i]);
    }
    return ret;
}
