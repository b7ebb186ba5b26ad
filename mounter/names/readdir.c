/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading directories. An open directory keeps the listing that its first read has made, so what
 * comes and goes meanwhile moves nothing; a rewind makes a new one. A cookie is the position in it
 * and a hash of the name before: who has lost the listing (a successor, too many open directories)
 * finds the place in a new one by the hash, also when names before it have come or gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/names/heads.h"
#include "mounter/names/listing.h"
#include "mounter/names/seen.h"

enum { HANDLES = 4096, REPLY_MAX = 131072, ENTRIES_MAX = 1024, HASH_BITS = 31 };

struct dir_handle {
    uint32_t ino;
    struct listing *listing;
};

/*
 * Under fs->lock. The handles of a process that died are numbers without meaning here: one that is
 * not in this set, or is another directory's, lists anew.
 */
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
    listing_unref(old);
    mutex_unlock(&fs->lock);
}

void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    set_handle_listing(fuse_req_userdata(req), fi->fh, (uint32_t)ino, NULL);
    (void)fuse_reply_err(req, 0);
}

/* ---- cookies ---- */

static uint64_t hash_of(const char *name)
{
    uint32_t hash = 2166136261U;

    for (; *name != '\0'; name++) {
        hash = (hash ^ (unsigned char)*name) * 16777619U; /* FNV-1a */
    }
    return hash & ((UINT64_C(1) << HASH_BITS) - 1);
}

/* Of what comes after position `at`: 0 is ".", 1 "..", then the entries. */
static uint64_t cookie_after(const struct listing *listing, uint64_t at)
{
    uint64_t hash = at < 2 ? 0 : hash_of(listing_name(listing, &listing->entries[at - 2]));

    return (at + 1) << HASH_BITS | hash;
}

/* The position that a cookie means; `same`: it was made for this listing. */
static uint64_t position_of(const struct listing *listing, uint64_t cookie, bool same)
{
    uint64_t at = cookie >> HASH_BITS;
    uint64_t hash = cookie & ((UINT64_C(1) << HASH_BITS) - 1);

    if (same || at <= 2) {
        return at;
    }
    for (uint64_t away = 0; away <= listing->count + at; away++) { /* the nearest such name */
        for (int side = 0; side < 2; side++) {
            uint64_t i = side == 0 ? at - 3 + away : at - 3 - away;

            if (i < listing->count &&
                hash_of(listing_name(listing, &listing->entries[i])) == hash) {
                return i + 3;
            }
        }
    }
    return at;
}

/* ---- answers ---- */

struct reply {
    struct op *op;
    struct listing *listing;
    bool plus;
    bool replay; /* its lookups may have been counted */
    struct buf prefix;
    char *data;
    size_t size, used;
    struct node *counted[ENTRIES_MAX]; /* whose lookup it counts */
    size_t count;
};

static uint64_t number_in(struct fs *fs, struct reply *r, const struct node *node, const char *name,
                          bool is_dir) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    if (node != NULL) {
        return node->ino == STATE_ROOT ? STATE_ROOT : node->number;
    }
    buf_addstr(&key, buf_str(&r->prefix));
    if (longs_component(fs->longs, name, &key) != 0) {
        return STATE_ROOT; /* ".." of the root */
    }
    buf_addstr(&key, is_dir ? "/" : "");
    return fs_number_of_key(fs, buf_str(&key));
}

/* The key of an entry, a directory's with '/'. */
static int entry_key(const struct buf *prefix, const char *name, bool is_dir, struct buf *ret)
{
    char component[NAMES_COMPONENT_MAX + 1];
    bool beside;

    if (names_to_key(name, &beside, component) != 0) {
        return -EINVAL;
    }
    buf_addstr(ret, buf_str(prefix));
    buf_addstr(ret, component);
    buf_addstr(ret, is_dir ? "/" : "");
    return buf_error(ret);
}

/* With attributes that were asked for ahead. -EAGAIN: they were not. */
static int merge_head(struct fs *fs, struct reply *r, const struct listing_entry *e,
                      const struct remote *listed, struct node **ret) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    const char *name = listing_name(r->listing, e);
    struct remote head;
    int ret_code;

    if (entry_key(&r->prefix, name, e->is_dir, &key) != 0 ||
        !heads_remote(fs, buf_str(&key), listed, &head)) {
        return -EAGAIN;
    }
    ret_code = remote_merge(fs, (uint32_t)r->op->ino, name, &head, ret);
    remote_done(&head);
    return ret_code;
}

/* The node of an entry whose attributes are known, as a lookup would find it. */
static struct node *known_node(struct fs *fs, struct reply *r, const struct listing_entry *e,
                               struct node *node) REQUIRES(&fs->lock)
{
    struct remote remote;
    int ret;

    if (node != NULL && ((fs_rec(fs, node)->flags & (INODE_NEW | INODE_DIRTY)) != 0 ||
                         fs_now_ms() < node->valid_until_ms)) {
        return node;
    }
    if (!listing_tells(fs, r->listing) ||
        fs_name_hidden(fs, (uint32_t)r->op->ino, listing_name(r->listing, e), e->is_dir,
                       r->listing->asked) ||
        !listing_remote(fs, r->listing, e, &remote)) {
        return NULL;
    }
    ret = remote_merge(fs, (uint32_t)r->op->ino, listing_name(r->listing, e), &remote, &node);
    if (ret == -EAGAIN) {
        ret = merge_head(fs, r, e, &remote, &node);
    }
    remote_done(&remote);
    return ret == 0 && node != NULL && fs_now_ms() < node->valid_until_ms ? node : NULL;
}

static void fill_entry(struct fs *fs, struct node *node, struct fuse_entry_out *ret)
    REQUIRES(&fs->lock)
{
    uint64_t now = fs_now_ms();
    uint64_t timeout = fs->options.attr_timeout_ms;
    uint64_t left = node->valid_until_ms > now ? node->valid_until_ms - now : timeout;

    left = left < timeout ? left : timeout;
    *ret = (struct fuse_entry_out){
        .nodeid = node->ino,
        .generation = fs_rec(fs, node)->generation,
        .entry_valid = left / 1000,
        .attr_valid = left / 1000,
        .entry_valid_nsec = (uint32_t)(left % 1000) * 1000000,
        .attr_valid_nsec = (uint32_t)(left % 1000) * 1000000,
    };
    fs_stat(fs, node, &ret->attr);
}

static uint32_t type_of(struct fs *fs, const struct node *node, bool is_dir) REQUIRES(&fs->lock)
{
    return node != NULL          ? fs_rec(fs, node)->mode & S_IFMT
           : is_dir              ? S_IFDIR
           : seen_only_files(fs) ? S_IFREG
                                 : 0; /* DT_UNKNOWN */
}

/* False: no room. */
static bool add_entry(struct fs *fs, struct reply *r, uint64_t at) REQUIRES(&fs->lock)
{
    const struct listing_entry *e = at < 2 ? NULL : &r->listing->entries[at - 2];
    const char *name = at == 0 ? "." : at == 1 ? ".." : listing_name(r->listing, e);
    struct node *node = at == 0   ? fs_node(fs, r->op->ino)
                        : at == 1 ? fs_node(fs, state_inode(fs->state, r->op->ino)->parent)
                                  : fs_child(fs, (uint32_t)r->op->ino, name);
    struct node *entry = e != NULL && r->plus && !r->replay ? known_node(fs, r, e, node) : NULL;
    bool is_dir = e == NULL || e->is_dir;
    struct fuse_entry_out out = {0};
    struct fuse_dirent dirent = {.off = cookie_after(r->listing, at),
                                 .namelen = (uint32_t)strlen(name)};
    size_t size = (r->plus ? sizeof(out) : 0) + FUSE_NAME_OFFSET + dirent.namelen;
    char *to = r->data + r->used;

    size = FUSE_DIRENT_ALIGN(size);
    if (size > r->size - r->used || r->count == ENTRIES_MAX) {
        return false;
    }
    node = entry != NULL ? entry : node;
    dirent.ino = number_in(fs, r, node, name, is_dir);
    dirent.type = type_of(fs, node, is_dir) >> 12;
    if (entry != NULL) {
        fill_entry(fs, entry, &out);
        r->counted[r->count++] = entry;
        entry->users++; /* until it is counted */
    }
    memset(to, 0, size);
    if (r->plus) {
        memcpy(to, &out, sizeof(out));
        to += sizeof(out);
    }
    memcpy(to, &dirent, FUSE_NAME_OFFSET);
    memcpy(to + FUSE_NAME_OFFSET, name, dirent.namelen);
    r->used += size;
    return true;
}

static void count_lookups(struct fs *fs, struct reply *r) REQUIRES(&fs->lock)
{

    if (r->count == 0) {
        return;
    }
    state_begin(fs->state);
    for (size_t i = 0; i < r->count; i++) {
        struct inode_rec *rec = fs_rec(fs, r->counted[i]);

        STATE_SET(fs->state, rec->nlookup, rec->nlookup + 1);
    }
    /* Should it come again: these are counted, so it must not count others. */
    (void)!state_intend(fs->state, &(const struct state_intent){.unique = r->op->unique});
    state_commit(fs->state);
    for (size_t i = 0; i < r->count; i++) {
        r->counted[i]->users--;
    }
}

static void uncount_lookups(struct fs *fs, struct reply *r) REQUIRES(&fs->lock)
{

    for (size_t i = 0; i < r->count; i++) {
        struct inode_rec *rec = fs_rec(fs, r->counted[i]);

        state_begin(fs->state);
        STATE_SET(fs->state, rec->nlookup, rec->nlookup - (rec->nlookup > 0));
        state_commit(fs->state);
        fs_node_put(fs, r->counted[i]);
    }
}

static int fill(struct fs *fs, struct reply *r, bool same) REQUIRES(&fs->lock)
{
    struct op *op = r->op;
    int ret = fs_node(fs, op->ino) != NULL ? 0 : -ESTALE;

    if (ret == 0 && fs_key(fs, (uint32_t)op->ino, &r->prefix) != 0) {
        ret = -ESTALE;
    }
    r->replay = state_intended(fs->state, op->unique);
    for (uint64_t at = position_of(r->listing, op->offset, same);
         ret == 0 && at < r->listing->count + 2 && add_entry(fs, r, at); at++) {
    }
    count_lookups(fs, r);
    return ret;
}

/* Takes over the caller's use of the listing. `same`: that the cookie was made for. */
static void reply_entries(struct op *op, struct listing *listing, bool same)
{
    struct fs *fs = op->fs;
    struct reply *r = calloc(1, sizeof(*r));
    int ret = -ENOMEM;

    if (r != NULL) {
        r->op = op;
        r->listing = listing;
        r->plus = op->plus;
        r->prefix = (struct buf)BUF_INIT(2 * OBJSTORE_KEY_MAX);
        r->size = op->size < REPLY_MAX ? op->size : REPLY_MAX;
        r->data = malloc(r->size);
        ret = r->data == NULL ? -ENOMEM : 0;
    }
    if (ret == 0) {
        mutex_lock(&fs->lock);
        ret = fill(fs, r, same);
        mutex_unlock(&fs->lock);
    }
    if (ret != 0) {
        (void)fs_op_fail(op, ret);
    } else {
        int sent = fs_op_data(op, r->data, r->used);

        if (sent == -ENOENT || sent == -ECANCELED) {
            mutex_lock(&fs->lock);
            r->op = &(struct op){.fs = fs};
            uncount_lookups(fs, r);
            mutex_unlock(&fs->lock);
        }
    }
    mutex_lock(&fs->lock);
    listing_unref(listing);
    mutex_unlock(&fs->lock);
    if (r != NULL) {
        buf_done(&r->prefix);
        free(r->data);
        free(r);
    }
}

/* Its node has what the entry's version has. */
static bool is_at_hand(struct fs *fs, const struct op *op, const struct listing *listing,
                       const struct listing_entry *e) REQUIRES(&fs->lock)
{
    const struct node *node = fs_child(fs, (uint32_t)op->ino, listing_name(listing, e));

    return node != NULL && ((fs_rec(fs, node)->flags & (INODE_NEW | INODE_DIRTY)) != 0 ||
                            fs_now_ms() < node->valid_until_ms ||
                            strcmp(fs_rec(fs, node)->etag, listing->text + e->etag) == 0);
}

/* What a READDIRPLUS wants to tell, and what the walk needs next. Waits. */
static void fetch_heads(struct op *op, const struct listing *listing)
{
    CLEANUP(buf_done) struct buf prefix = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct fs *fs = op->fs;
    uint64_t at = position_of(listing, op->offset, true);
    const struct listing_entry *e;
    bool wanted;

    at = at < 2 ? 0 : at - 2;
    if (!op->plus || at >= listing->count) {
        return;
    }
    mutex_lock(&fs->lock);
    while (at < listing->count - 1 && is_at_hand(fs, op, listing, &listing->entries[at])) {
        at++;
    }
    e = &listing->entries[at];
    wanted = !is_at_hand(fs, op, listing, e) && !seen_enough(fs, false) &&
             fs_key(fs, (uint32_t)op->ino, &prefix) == 0 &&
             entry_key(&prefix, listing_name(listing, e), e->is_dir, &key) == 0;
    mutex_unlock(&fs->lock);
    if (wanted &&
        (e->is_dir || facts_prefetch(fs, (uint32_t)op->ino, listing_name(listing, e)) != 0)) {
        heads_fetch(fs, &(const struct heads_place){.dir = (uint32_t)op->ino,
                                                    .name = listing_name(listing, e),
                                                    .key = buf_str(&key)});
    }
}

static void readdir_run(struct op *op)
{
    struct fs *fs = op->fs;
    uint32_t ino = (uint32_t)op->ino;
    struct listing *listing = NULL;
    int ret = listing_make(fs, ino, op->pending, &listing);

    if (ret != 0) {
        (void)fs_op_fail(op, ret);
        return;
    }
    set_handle_listing(fs, op->flags, ino, listing);
    fetch_heads(op, listing);
    reply_entries(op, listing, false);
}

static void start(fuse_req_t req, fuse_ino_t ino, const struct op *what)
{
    struct op *op = fs_op_new(req);
    struct listing *listing;

    if (op == NULL) {
        return;
    }
    op->ino = ino;
    op->size = what->size;
    op->offset = what->offset;
    op->flags = what->flags;
    op->plus = what->plus;
    listing = op->offset > 0 ? handle_listing(op->fs, op->flags, (uint32_t)ino) : NULL;
    if (listing == NULL) {
        fs_op_start(op, readdir_run);
    } else {
        reply_entries(op, listing, true);
    }
}

void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    start(req, ino,
          &(const struct op){.size = size, .offset = (uint64_t)off, .flags = (uint32_t)fi->fh});
}

void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    start(req, ino,
          &(const struct op){
              .size = size, .offset = (uint64_t)off, .flags = (uint32_t)fi->fh, .plus = true});
}
