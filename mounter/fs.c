/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/journal/journaled.h"
#include "mounter/names/collapse.h"
#include "mounter/names/fences.h"
#include "mounter/names/graves.h"
#include "mounter/names/hard.h"
#include "mounter/names/heads.h"
#include "mounter/names/known.h"
#include "mounter/names/listing.h"
#include "mounter/names/moves.h"
#include "mounter/names/pointer.h"
#include "mounter/names/seen.h"
#include "mounter/names/shed.h"
#include "mounter/ops.h"
#include "mounter/read/ahead.h"
#include "mounter/read/reader.h"
#include "mounter/write/hold.h"
#include "mounter/write/holes.h"
#include "mounter/write/sweep.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/hash.h"
#include "util/log.h"

enum {
    TASKS_MAX = 128,
    WRITERS_MAX = 32,
    STREAMS_MAX = 8,
    TICK_MS = 1000,
    PUBLISH_TICKS = 5,
    LINKS_TICKS = 300,
    LINKS_FIRST = 20,
    KNOWN_SHARE = 32
};
static const int64_t ns_per_s = 1000000000;

int64_t fs_now_ns(void)
{
    return clock_realtime_ns(clock_real());
}

uint64_t fs_now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

struct node *fs_node(struct fs *fs, uint64_t ino)
{
    return ino < fs->nodes_len && state_inode(fs->state, ino) != NULL ? fs->nodes[ino] : NULL;
}

/* ---- nodes ---- */

static uint64_t hash_name_key(const char *name_key)
{
    uint32_t parent;
    uint64_t hash;

    memcpy(&parent, name_key, sizeof(parent));
    hash = hash_bytes(&parent, sizeof(parent));
    return hash_more(hash, name_key + sizeof(parent), strlen(name_key + sizeof(parent)));
}

static uint64_t hash_of_name(struct chain *chain)
{
    return hash_name_key(container_of(chain, struct node, name_chain)->name_key);
}

static char *make_name_key(uint32_t parent, const char *name)
{
    size_t len = strlen(name);
    char *key = malloc(sizeof(parent) + len + 1);

    if (key != NULL) {
        memcpy(key, &parent, sizeof(parent));
        memcpy(key + sizeof(parent), name, len + 1);
    }
    return key;
}

struct node *fs_child(struct fs *fs, uint32_t parent, const char *name)
{
    uint64_t hash = hash_more(hash_bytes(&parent, sizeof(parent)), name, strlen(name));

    for (struct chain *c = chained_first(&fs->names, hash); c != NULL; c = c->next) {
        struct node *node = container_of(c, struct node, name_chain);

        if (memcmp(node->name_key, &parent, sizeof(parent)) == 0 &&
            strcmp(node->name_key + sizeof(parent), name) == 0) {
            return node;
        }
    }
    return NULL;
}

static int grow_nodes(struct fs *fs, uint32_t ino) REQUIRES(&fs->lock)
{
    uint32_t len = fs->nodes_len == 0 ? 1024 : fs->nodes_len;
    struct node **nodes;

    while (len <= ino) {
        len *= 2;
    }
    if (len == fs->nodes_len) {
        return 0;
    }
    nodes = realloc(fs->nodes, len * sizeof(*nodes));
    if (nodes == NULL) {
        return -ENOMEM;
    }
    memset(nodes + fs->nodes_len, 0, (len - fs->nodes_len) * sizeof(*nodes));
    fs->nodes = nodes;
    fs->nodes_len = len;
    return 0;
}

static int add_name(struct fs *fs, struct node *node, uint32_t parent, const char *name)
    REQUIRES(&fs->lock)
{
    struct node *dir = fs_node(fs, parent);

    free(node->name_key);
    node->name_key = make_name_key(parent, name);
    if (node->name_key == NULL) {
        return -ENOMEM;
    }
    chained_add(&fs->names, &node->name_chain);
    node->named = true;
    if (dir != NULL) {
        dir->children++;
        LIST_INSERT_HEAD(&dir->below, node, sibling);
        node->in_dir = true;
    }
    return 0;
}

int fs_node_add(struct fs *fs, uint32_t ino, const char *name, struct node **ret)
{
    struct node *node = calloc(1, sizeof(*node));
    int r = node == NULL ? -ENOMEM : grow_nodes(fs, ino);

    if (r != 0) {
        free(node);
        return r;
    }
    node->ino = ino;
    node->truncated_to = UINT64_MAX;
    fs->nodes[ino] = node;
    shed_added(fs);
    fs_number_add(fs, node);
    node->writers = state_inode(fs->state, ino)->opens; /* of a predecessor's: at most */
    if ((state_inode(fs->state, ino)->flags & INODE_DIRTY) != 0) {
        dirty_add(fs, node);
    }
    if (name != NULL) {
        r = add_name(fs, node, state_inode(fs->state, ino)->parent, name);
    }
    *ret = node;
    return r;
}

static void drop_child(struct fs *fs, struct node *node, uint32_t parent) REQUIRES(&fs->lock)
{
    struct node *dir = fs_node(fs, parent);

    if (node->in_dir) {
        LIST_REMOVE(node, sibling);
        node->in_dir = false;
    }
    if (dir != NULL) {
        dir->children--;
        fs_node_put(fs, dir);
    }
}

/* A listing that is older than the node may lack it, and nothing but the node tells that. */
static void note_unnamed(struct fs *fs, struct node *node, uint32_t parent) REQUIRES(&fs->lock)
{
    const char *name = node->name_key + sizeof(parent);
    bool is_dir = S_ISDIR(fs_rec(fs, node)->mode);
    struct node *dir = fs_node(fs, parent);
    struct listed *listed = dir != NULL ? listed_of(dir) : NULL;

    if ((fs_rec(fs, node)->flags & INODE_UNLINKED) != 0) {
        fs_gone(fs, parent, name, is_dir);
        return;
    }
    fs_gone_at(fs, parent, name, is_dir, node);
    if (listed == NULL) {
        fs->moved = fs->moved > node->changed ? fs->moved : node->changed;
    } else if (listed->floor < node->changed) {
        listed->floor = node->changed;
    }
}

void fs_node_unname(struct fs *fs, struct node *node)
{
    if (node->named) {
        uint32_t parent = fs_rec(fs, node)->parent;

        chained_remove(&fs->names, &node->name_chain);
        node->named = false;
        if (node->changed != 0) { /* what was asked before is as old without the node */
            note_unnamed(fs, node, parent);
        }
        drop_child(fs, node, parent);
    }
}

int fs_node_rename(struct fs *fs, struct node *node, uint32_t parent, const char *name)
{
    uint32_t from;

    /* The record has its new parent already: the old one is in the key. */
    if (node->named) {
        memcpy(&from, node->name_key, sizeof(from));
        fs_gone(fs, from, node->name_key + sizeof(from), S_ISDIR(fs_rec(fs, node)->mode));
        chained_remove(&fs->names, &node->name_chain);
        node->named = false;
        drop_child(fs, node, from);
    }
    fs_touch(fs, node);
    if (S_ISDIR(fs_rec(fs, node)->mode)) {
        fs->moved = fs->clock; /* and with it the keys of all that is below */
    }
    return add_name(fs, node, parent, name);
}

void fs_opened(struct node *node, const char *etag)
{
    node->opened_hash = etag[0] != '\0' ? hash_bytes(etag, strlen(etag)) | 1 : 0;
}

bool fs_opened_is(const struct node *node, const char *etag)
{
    return etag[0] != '\0' && node->opened_hash == (hash_bytes(etag, strlen(etag)) | 1);
}

bool fs_is_below(struct fs *fs, uint32_t ino, uint32_t dir)
{
    for (int depth = 0; depth < 1024; depth++) {
        const struct inode_rec *rec = state_inode(fs->state, ino);

        if (ino == dir) {
            return true;
        }
        if (ino == STATE_ROOT || rec == NULL) {
            return false;
        }
        ino = rec->parent;
    }
    return false;
}

void fs_node_put(struct fs *fs, struct node *node)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    bool unwanted;
    bool old; /* what is cached of it is of no use to anybody */

    if (rec->journal != 0) {
        journaled_obsolete(fs, node);
    }
    if (node->ino == STATE_ROOT || rec->nlookup > 0 || rec->opens > 0 || node->users > 0 ||
        node->children > 0 || node->publishing || node->streaming > 0) {
        return;
    }
    unwanted = (rec->flags & (INODE_UNLINKED | INODE_LOST)) != 0;
    old = (rec->flags & (INODE_UNLINKED | INODE_LOST | INODE_DETACHED)) != 0;
    if ((rec->flags & INODE_DIRTY) != 0 && !unwanted) {
        return; /* the flusher publishes it, and puts it again */
    }
    if (rec->journal != 0 && fs->journal != NULL && (rec->flags & INODE_LOST) == 0) {
        return; /* its file is removed first; that of a lost one stays, for the next mount */
    }
    hidden_drop(fs, node); /* it was closed while its bytes were being put aside */
    dirty_forget(fs, node);
    fs_node_unname(fs, node);
    publish_upload_forget(fs, node);
    data_drop(fs, node);
    reader_detach(fs, node, old);
    state_begin(fs->state);
    state_inode_release(fs->state, node->ino);
    state_commit(fs->state);
    fs->nodes[node->ino] = NULL;
    shed_gone(fs, node);
    fs_number_drop(fs, node);
    holes_free(node);
    if (node->listed != NULL && node->listed->floor > fs->moved) {
        fs->moved = node->listed->floor; /* nobody else remembers it */
    }
    listed_free(node);
    free(node->name_key);
    free(node);
}

int fs_inode_make(struct fs *fs, const struct fs_new_inode *what, uint32_t *ret_ino)
{
    uint32_t ino = state_inode_alloc(fs->state);
    CLEANUP(buf_done) struct buf component = BUF_INIT(OBJSTORE_KEY_MAX + 1);
    struct slice begin;
    bool beside;
    struct inode_rec rec = {
        .flags = INODE_USED | what->flags,
        .parent = what->parent,
        .number = fs_number_choose(fs, what),
        .mode = what->attr.mode,
        .uid = what->attr.uid,
        .gid = what->attr.gid,
        .rdev = what->attr.rdev,
        .links = what->links,
        .size = what->size,
        .base_size = what->size,
        .base_valid = what->size,
        .mtime_ns = what->attr.mtime_ns,
        .ctime_ns = what->attr.ctime_ns,
        .atime_ns = what->attr.atime_ns,
        .dirty_since_ns = (what->flags & INODE_DIRTY) != 0 ? fs_now_ns() : 0,
    };
    int r;

    if (ino == 0) {
        return -ENOMEM;
    }
    r = state_text_new(fs->state, what->name, strlen(what->name), &rec.name);
    if (r == 0 && longs_is(what->name, &beside, &begin)) {
        r = longs_find(fs->longs, what->name, &component) != 0 ? -EINVAL : 0;
        r = r == 0 ? state_text_new(fs->state, buf_str(&component), buf_len(&component),
                                    &rec.component)
                   : r;
    }
    if (r == 0 && what->target != NULL) {
        r = state_text_new(fs->state, what->target, strlen(what->target), &rec.target);
    }
    if (r == 0 && what->attr.xattr != NULL && what->attr.xattr[0] != '\0') {
        r = state_text_new(fs->state, what->attr.xattr, strlen(what->attr.xattr), &rec.xattr);
    }
    if (r != 0) {
        return r;
    }
    if (what->etag != NULL) {
        (void)snprintf(rec.etag, sizeof(rec.etag), "%s", what->etag);
    }
    state_inode_fill(fs->state, ino, &rec);
    *ret_ino = ino;
    return 0;
}

int fs_node_make(struct fs *fs, const struct fs_new_inode *what, struct node **ret)
{
    uint32_t ino;
    int r;

    state_begin(fs->state);
    r = fs_inode_make(fs, what, &ino);
    if (r != 0) {
        state_abort(fs->state);
        return r;
    }
    state_commit(fs->state);
    return fs_node_add(fs, ino, what->name[0] != '\0' ? what->name : NULL, ret);
}

void fs_node_detach(struct fs *fs, struct node *node)
{
    struct inode_rec *rec = fs_rec(fs, node);

    fs_node_unname(fs, node);
    state_begin(fs->state);
    STATE_SET(fs->state, rec->flags, rec->flags | INODE_DETACHED);
    state_commit(fs->state);
    fs_node_put(fs, node);
}

/* Nanoseconds count forwards also before 1970: -1 ns is the last one of the second -1. */
static uint32_t rest_of(int64_t ns)
{
    int64_t rest = ns % ns_per_s;

    return (uint32_t)(rest < 0 ? rest + ns_per_s : rest);
}

static uint64_t seconds_of(int64_t ns)
{
    return (uint64_t)(ns / ns_per_s - (ns % ns_per_s < 0 ? 1 : 0));
}

void fs_stat(struct fs *fs, struct node *node, struct fuse_attr *ret)
{
    const struct inode_rec *rec = fs_rec(fs, node);

    node->untold = false;
    node->told_ms = fs_now_ms();
    *ret = (struct fuse_attr){
        .ino = node->ino == STATE_ROOT ? STATE_ROOT : rec->number,
        .size = S_ISDIR(rec->mode) ? 4096 : rec->size,
        .blocks = (rec->size + 511) / 512,
        .atime = seconds_of(rec->atime_ns),
        .mtime = seconds_of(rec->mtime_ns),
        .ctime = seconds_of(rec->ctime_ns),
        .atimensec = rest_of(rec->atime_ns),
        .mtimensec = rest_of(rec->mtime_ns),
        .ctimensec = rest_of(rec->ctime_ns),
        .mode = rec->mode,
        .nlink = (rec->flags & INODE_UNLINKED) != 0 ? 0
                 : S_ISDIR(rec->mode)               ? 2
                 : rec->links > 0                   ? rec->links
                                                    : 1,
        .uid = rec->uid,
        .gid = fs->options.one_group ? fs->options.group : rec->gid,
        .rdev = rec->rdev,
        .blksize = 65536,
    };
}

void fs_attr(struct fs *fs, const struct node *node, struct attr *ret, struct arena *arena)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    CLEANUP(buf_done) struct buf xattr = BUF_INIT(STATE_TEXT_MAX);

    state_text_get(fs->state, rec->xattr, &xattr);
    *ret = (struct attr){
        .mode = rec->mode,
        .uid = rec->uid,
        .gid = rec->gid,
        .rdev = rec->rdev,
        .mtime_ns = rec->mtime_ns,
        .ctime_ns = rec->ctime_ns,
        .atime_ns = rec->atime_ns,
        .times_set = (rec->flags & INODE_TIMES) != 0,
        .xattr = buf_len(&xattr) > 0 ? arena_strdup(arena, buf_str(&xattr)) : NULL,
    };
}

void fs_mark_dirty(struct fs *fs, struct node *node)
{
    struct inode_rec *rec = fs_rec(fs, node);

    node->meta_changed = true;
    dirty_add(fs, node);
    node->edits++;
    STATE_SET(fs->state, rec->flags, rec->flags | INODE_DIRTY | INODE_ATTRS);
    if (rec->dirty_since_ns == 0) {
        STATE_SET(fs->state, rec->dirty_since_ns, fs_now_ns());
    }
}

/* ---- life ---- */

static void tick(struct fs *fs, unsigned number)
{
    reader_tick(fs);
    moves_tick(fs);
    collapse_tick(fs);
    sweep_tick(fs);
    stats_tick(fs);
    if (number % LINKS_TICKS == LINKS_FIRST) {
        hard_sweep(fs);
    }
    if (number % PUBLISH_TICKS == 0) {
        publish_old(fs);
    }
}

static void *flusher_main(void *arg)
{
    struct fs *fs = arg;
    uint64_t tick_ms = fs_now_ms();
    unsigned ticks = 0;
    uint64_t told = 0;

    mutex_lock(&fs->lock);
    while (!fs->ending) {
        uint64_t lost = fs->lost;

        claim_expire(fs);
        mutex_unlock(&fs->lock);
        hold_run(fs);
        if (fs_now_ms() >= tick_ms) {
            tick_ms = fs_now_ms() + TICK_MS;
            tick(fs, ++ticks);
        }
        if (lost > told) {
            told = lost;
            log_error("bytes of files could not be kept: nothing of these files is published",
                      "files", log_num((long long)told), NULL);
        }
        mutex_lock(&fs->lock);
        if (!fs->ending) {
            cond_wait_ms(&fs->end, &fs->lock, hold_left_ms(fs, TICK_MS));
        }
    }
    mutex_unlock(&fs->lock);
    return NULL;
}

/* Nodes for the inodes that a predecessor left. Parents first does not matter: counts come last. */
static int adopt_nodes(struct fs *fs) REQUIRES(&fs->lock)
{
    int ret = 0;

    for (uint32_t ino = STATE_ROOT; ret == 0 && ino < state_inode_limit(fs->state); ino++) {
        struct node *node;

        if (state_inode(fs->state, ino) != NULL) {
            ret = fs_node_add(fs, ino, NULL, &node);
            ret = ret == 0 ? holes_adopt(fs, node) : ret;
            if (ret == 0) {
                node->edits = 1; /* its file in the journal may be older */
                node->others = true;
            }
        }
    }
    for (uint32_t ino = STATE_ROOT + 1; ret == 0 && ino < state_inode_limit(fs->state); ino++) {
        const struct inode_rec *rec = state_inode(fs->state, ino);
        CLEANUP(buf_done) struct buf name = BUF_INIT(NAMES_MAX + 1);

        if (rec == NULL || (rec->flags & (INODE_UNLINKED | INODE_DETACHED)) != 0) {
            continue;
        }
        state_text_get(fs->state, rec->name, &name);
        ret = add_name(fs, fs->nodes[ino], rec->parent, buf_str(&name));
    }
    ret = ret == 0 ? data_adopt(fs) : ret;
    claim_adopt(fs);
    lost_adopt(fs);
    return ret == 0 ? collapse_adopt(fs) : ret;
}

static void set_up_root(struct fs *fs) REQUIRES(&fs->lock)
{
    struct inode_rec *root = state_inode(fs->state, STATE_ROOT);
    int64_t now = fs_now_ns();

    state_begin(fs->state);
    STATE_SET(fs->state, root->mode, S_IFDIR | fs->options.dir_mode);
    STATE_SET(fs->state, root->uid, fs->options.uid);
    STATE_SET(fs->state, root->gid, fs->options.gid);
    STATE_SET(fs->state, root->mtime_ns, now);
    STATE_SET(fs->state, root->ctime_ns, now);
    STATE_SET(fs->state, root->atime_ns, now);
    STATE_SET(fs->state, root->flags, root->flags | INODE_MARKER);
    state_commit(fs->state);
}

/* An empty one, or what a predecessor has left. */
static int begin_state(struct fs *fs)
{
    int r;

    mutex_lock(&fs->lock);
    if (!state_adopted(fs->state)) {
        set_up_root(fs);
    } else {
        fs->blind_until_ms = state_blind_until(fs->state, fs_now_ms() + GRAVES_LATE_MS);
    }
    r = adopt_nodes(fs);
    mutex_unlock(&fs->lock);
    return r;
}

int fs_new(const struct fs_config *config, struct fs **ret, struct error *err)
{
    struct fs *fs = calloc(1, sizeof(*fs));
    struct state_config state = {.keep = config->keep, .pool_bytes = config->options.dirty_bytes};
    int r;

    if (fs == NULL) {
        volume_free(config->volume);
        journal_free(config->journal);
        return error_set(err, -ENOMEM, "out of memory");
    }
    fs->options = config->options;
    fs->volume = config->volume;
    volume_open_links(fs->volume);
    fs->journal = config->journal;
    fs->caps = *volume_caps(config->volume);
    TAILQ_INIT(&fs->busy);
    TAILQ_INIT(&fs->dirty);
    TAILQ_INIT(&fs->ready);
    TAILQ_INIT(&fs->held_files.nodes);
    TAILQ_INIT(&fs->held_dirs.nodes);
    TAILQ_INIT(&fs->thirsty);
    mutex_init(&fs->lock);
    cond_init(&fs->changed);
    cond_init(&fs->end);
    fs->gone = calloc(GONE_SETS, sizeof(*fs->gone));
    r = fs->gone == NULL ? -ENOMEM : chained_init(&fs->names, hash_of_name);
    r = r == 0 ? fs_numbers_init(fs) : r;
    r = r == 0 ? known_new(fs->options.memory_bytes / KNOWN_SHARE, &fs->known) : r;
    r = r == 0 ? state_new(&state, &fs->state, err) : r;
    r = r == 0 ? reader_new(fs, fs->options.reader_bytes) : r;
    r = r == 0 ? ahead_new(fs) : r;
    r = r == 0 ? longs_new(&fs->longs) : r;
    r = r == 0 ? tasks_new(TASKS_MAX, &fs->tasks) : r;
    r = r == 0 ? tasks_new(WRITERS_MAX, &fs->writers) : r;
    r = r == 0 ? tasks_new(STREAMS_MAX, &fs->streams) : r;
    if (r == 0) {
        r = begin_state(fs);
    }
    r = r == 0 ? graves_new(fs, &fs->graves) : r;
    r = r == 0 ? heads_new(&fs->heads) : r;
    r = r == 0 ? seen_new(fs, state_adopted(fs->state), &fs->seen) : r;
    r = r == 0 ? shed_new(fs, &fs->shed) : r;
    r = r == 0 ? manage_start(fs, config, err) : r;
    r = r == 0 && fs->journal != NULL ? journaled_start(fs) : r;
    r = r == 0 ? -pthread_create(&fs->flusher, NULL, flusher_main, fs) : r;
    fs->has_flusher = r == 0;
    r = r == 0 ? usage_start(fs) : r;
    if (r != 0) {
        fs_free(fs);
        return err != NULL && err->code != 0 ? r
                                             : error_set(err, r, "cannot start: %s", strerror(-r));
    }
    *ret = fs;
    return 0;
}

void fs_set_session(struct fs *fs, struct session *session)
{
    mutex_lock(&fs->lock);
    fs->session = session;
    mutex_unlock(&fs->lock);
}

static void node_free(struct fs *fs, struct node *node) REQUIRES(&fs->lock)
{
    struct block_ref *ref;
    struct block_ref *next;

    HASH_ITER(hh, node->blocks, ref, next)
    {
        HASH_DEL(node->blocks, ref);
        free(ref);
    }
    holes_free(node);
    free(node->copied);
    listed_free(node);
    reader_detach(fs, node, false);
    free(node->name_key);
    free(node);
}

void fs_free(struct fs *fs)
{
    mutex_lock(&fs->lock);
    fs->ending = true;
    cond_broadcast(&fs->end);
    cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
    if (fs->has_flusher) {
        (void)pthread_join(fs->flusher, NULL);
    }
    if (!shed_stop(fs)) {
        return; /* it uses all this */
    }
    usage_stop(fs);
    graves_stop(fs);
    locks_stop(fs->locks);
    tasks_free(fs->tasks);
    tasks_free(fs->writers);
    tasks_free(fs->streams);
    collapse_free(fs);
    pointer_free(fs);
    journaled_end(fs);
    manage_free(fs);
    reader_stop(fs);
    volume_free(fs->volume);
    mutex_lock(&fs->lock);
    for (uint32_t i = 0; i < fs->nodes_len; i++) {
        if (fs->nodes[i] != NULL) {
            node_free(fs, fs->nodes[i]);
        }
    }
    ahead_free(fs);
    reader_free(fs);
    mutex_unlock(&fs->lock);
    free(fs->nodes);
    chained_done(&fs->names);
    chained_done(&fs->numbers);
    known_free(fs->known);
    graves_free(fs->graves);
    fences_free(fs->fences);
    seen_free(fs->seen);
    heads_free(fs->heads);
    shed_free(fs->shed);
    free(fs->gone);
    free(fs->moves);
    free(fs->sweep);
    longs_free(fs->longs);
    state_free(fs->state);
    cond_done(&fs->end);
    cond_done(&fs->changed);
    mutex_done(&fs->lock);
    free(fs);
}

static void fs_init(void *userdata, struct fuse_conn_info *conn)
{
    const struct fs *fs = userdata;

    conn->max_write = SESSION_WRITE_MAX;
    conn->max_readahead = 1 << 20;
    conn->max_background = 64;
    conn->time_gran = 1;
    /*
     * With ATOMIC_O_TRUNC a file would be cut before the kernel looks whether it may be: an open
     * that is refused (ETXTBSY) would have emptied a program that is running.
     */
    conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_WRITE |
                              FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_HANDLE_KILLPRIV);
    if (fs->locks == NULL) { /* the kernel's own do, and cost nothing */
        conn->want &= ~(unsigned)(FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS);
    }
    conn->want |=
        conn->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_DIO |
                         FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
    /* A default list goes before the umask: so the umask is ours to apply. */
    if ((conn->capable & FUSE_CAP_POSIX_ACL) != 0 && (conn->capable & FUSE_CAP_DONT_MASK) != 0) {
        conn->want |= FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK;
    }
}

const struct fuse_lowlevel_ops *fs_ops(void)
{
    static const struct fuse_lowlevel_ops ops = {
        .init = fs_init,
        .lookup = fs_lookup,
        .forget = fs_forget,
        .forget_multi = fs_forget_multi,
        .getattr = fs_getattr,
        .getlk = fs_getlk,
        .setlk = fs_setlk,
        .flock = fs_flock,
        .setattr = fs_setattr,
        .readlink = fs_readlink,
        .mknod = fs_mknod,
        .mkdir = fs_mkdir,
        .unlink = fs_unlink,
        .rmdir = fs_rmdir,
        .symlink = fs_symlink,
        .rename = fs_rename,
        .link = fs_link,
        .open = fs_open,
        .create = fs_create,
        .read = fs_read,
        .write = fs_write,
        .flush = fs_flush,
        .release = fs_release,
        .fsync = fs_fsync,
        .opendir = fs_opendir,
        .readdir = fs_readdir,
        .readdirplus = fs_readdirplus,
        .releasedir = fs_releasedir,
        .fsyncdir = fs_fsyncdir,
        .statfs = fs_statfs,
        .fallocate = fs_fallocate,
        .lseek = fs_lseek,
        .copy_file_range = fs_copy_file_range,
        .setxattr = fs_setxattr,
        .getxattr = fs_getxattr,
        .listxattr = fs_listxattr,
        .removexattr = fs_removexattr,
    };

    return &ops;
}
