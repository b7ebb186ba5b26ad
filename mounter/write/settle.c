/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publications whose end we have not seen: killed between the store's doing and our noting it, or
 * no answer. Each carries a token in the object's metadata, one for all attempts until one is known
 * to have succeeded. `attempt` in the inode's record says that there has been one, and how much of
 * what was sent still counts: it only ever shrinks, as truncation cuts it.
 */
#include "mounter/write/settle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/names/graves.h"
#include "mounter/write/copy.h"
#include "mounter/write/holes.h"
#include "objstore/objstore_call.h"
#include "util/random.h"

static const char token_name[] = "skyvol-put";

int publish_add_mark(uint64_t mark, struct arena *arena, struct objstore_meta *meta)
{
    struct objstore_pair *pairs = arena_array(arena, meta->user_count + 1, sizeof(*pairs));
    char text[24];

    if (pairs == NULL) {
        return -ENOMEM;
    }
    memcpy(pairs, meta->user, meta->user_count * sizeof(*pairs));
    (void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)mark);
    pairs[meta->user_count] = (struct objstore_pair){token_name, arena_strdup(arena, text)};
    meta->user = pairs;
    meta->user_count++;
    return pairs[meta->user_count - 1].value == NULL ? -ENOMEM : 0;
}

uint64_t publish_mark_of(const struct objstore_meta *meta)
{
    for (size_t i = 0; i < meta->user_count; i++) {
        if (strcmp(meta->user[i].name, token_name) == 0) {
            return strtoull(meta->user[i].value, NULL, 16);
        }
    }
    return 0;
}

/* The next publication's token, made when it is needed first, into the metadata. */
int publish_add_token(struct fs *fs, struct inode_rec *rec, struct arena *arena,
                      struct objstore_meta *meta)
{
    if (rec->token == 0) {
        uint64_t token;

        random_bytes(&token, sizeof(token));
        state_begin(fs->state);
        STATE_SET(fs->state, rec->token, token | 1);
        state_commit(fs->state);
    }
    return publish_add_mark(rec->token, arena, meta);
}

/* What was sent first may still arrive, so of two attempts the shorter one counts. */
void publish_mark_attempt(struct fs *fs, struct inode_rec *rec, uint64_t size)
{
    if (rec->attempt == 0) {
        state_begin(fs->state);
        STATE_SET(fs->state, rec->attempt, size + 1);
        state_commit(fs->state);
    }
}

void publish_set_late(struct fs *fs, struct inode_rec *rec)
{
    STATE_SET(fs->state, rec->late_s, graves_seconds(fs_now_ms() + GRAVES_LATE_MS));
}

bool publish_is_late(const struct inode_rec *rec)
{
    return rec->attempt != 0 || fs_now_ms() / 1000 < rec->late_s;
}

static void wait_until(struct fs *fs, uint64_t until_ms)
{
    enum { TICK_MS = 100 };

    mutex_lock(&fs->lock);
    while (fs_now_ms() < until_ms && !fs->ending) {
        cond_wait_ms(&fs->changed, &fs->lock, TICK_MS);
    }
    mutex_unlock(&fs->lock);
}

void publish_wait_blind(struct fs *fs)
{
    wait_until(fs, fs->blind_until_ms);
}

void publish_wait_copy(struct fs *fs, const struct node *node)
{
    uint64_t until_ms = 0;

    mutex_lock(&fs->lock);
    if (fs_rec(fs, node)->blind != 0) {
        until_ms = node->copied_ms != 0 ? node->copied_ms + GRAVES_LATE_MS : fs->blind_until_ms;
    }
    mutex_unlock(&fs->lock);
    wait_until(fs, until_ms);
}

int publish_mark(struct fs *fs, struct node *node, const struct copy_what *what,
                 struct arena *arena, struct objstore_meta *meta)
{
    struct inode_rec *rec = fs_rec(fs, node);
    int ret = publish_add_token(fs, rec, arena, meta);

    if (ret == 0) {
        node->copied_ms = 0;
        if (remote_copy_is_blind(fs, what)) {
            state_note_blind(fs->state);
            state_begin(fs->state);
            STATE_SET(fs->state, rec->blind, 1U);
            state_commit(fs->state);
        }
        publish_mark_attempt(fs, rec, rec->size);
    }
    return ret;
}

/*
 * As long as there is a file in the journal that carries the token, what is published carries it,
 * too: should that file be read again, the object is known as ours.
 */
void publish_settled(struct fs *fs, struct inode_rec *rec)
{
    if (rec->journal == 0) {
        STATE_SET(fs->state, rec->token, (uint64_t)0);
    }
    STATE_SET(fs->state, rec->attempt, (uint64_t)0);
    STATE_SET(fs->state, rec->blind, 0U);
}

void publish_upload_forget(struct fs *fs, struct node *node)
{
    struct inode_rec *rec = fs_rec(fs, node);

    if (rec->upload != 0) {
        struct upload_rec *upload = state_upload(fs->state, rec->upload - 1);

        state_begin(fs->state);
        STATE_SET(fs->state, upload->inode, 0U);
        STATE_SET(fs->state, rec->upload, 0U);
        state_commit(fs->state);
    }
}

/*
 * The object is what we sent: all of it counts that has not been cut off since. What was dirty then
 * is dirty still and lies over it.
 */
static void adopt(struct fs *fs, struct node *node, const struct objstore_info *info)
    REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);
    uint64_t valid = rec->attempt - 1 < info->size ? rec->attempt - 1 : info->size;
    char etag[STATE_ETAG_SIZE] = "";

    (void)snprintf(etag, sizeof(etag), "%s", info->etag);
    state_begin(fs->state);
    state_set(fs->state, rec->etag, etag, sizeof(etag));
    STATE_SET(fs->state, rec->base_size, info->size);
    STATE_SET(fs->state, rec->base_valid, valid);
    holes_cut(fs, node, valid);
    STATE_SET(fs->state, rec->flags, rec->flags & ~(uint32_t)(INODE_NEW | INODE_CONFLICT));
    publish_settled(fs, rec);
    state_commit(fs->state);
    publish_upload_forget(fs, node);
    fs_touch(fs, node);
    fs_opened(node, rec->etag);
}

/*
 * Taken in from the journal, and what is there was published by us later: it is the truth, and the
 * journal's file an older one. Every change moves ctime.
 */
static bool is_older(struct fs *fs, const struct node *node, const struct attr *attr)
    REQUIRES(&fs->lock)
{
    return node->imported && node->edits == node->edits_kept &&
           attr->ctime_ns > fs_rec(fs, node)->ctime_ns;
}

static void adopt_newer(struct fs *fs, struct node *node, const struct objstore_info *info,
                        const struct attr *attr) REQUIRES(&fs->lock)
{
    struct inode_rec *rec = fs_rec(fs, node);

    usage_resized(fs, rec->size, info->size);
    state_begin(fs->state);
    STATE_SET(fs->state, rec->size, info->size);
    STATE_SET(fs->state, rec->mtime_ns, attr->mtime_ns);
    STATE_SET(fs->state, rec->ctime_ns, attr->ctime_ns);
    STATE_SET(fs->state, rec->attempt, info->size + 1);
    STATE_SET(fs->state, rec->dirty_since_ns, (int64_t)0);
    STATE_SET(fs->state, rec->flags, rec->flags & ~(uint32_t)INODE_DIRTY);
    holes_clear(fs, node);
    state_commit(fs->state);
    data_drop(fs, node);
    adopt(fs, node, info);
    node->valid_until_ms = 0; /* the rest of the attributes */
}

/* With node->publishing set by the caller. -EAGAIN: it was ours, and the inode has a new base. */
int publish_settle_now(struct fs *fs, struct node *node, const char *key)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
    const struct objstore_info *info = &answer.result.info;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = key};
    struct attr attr;
    int ret = volume_call_internal(fs->volume, &head, &answer);

    if (ret != 0) {
        return ret == -ENOENT ? 0 : ret;
    }
    attr_read(&info->meta, &arena, &attr);
    mutex_lock(&fs->lock);
    if (fs_rec(fs, node)->attempt != 0 && publish_mark_of(&info->meta) == fs_rec(fs, node)->token &&
        strcmp(info->etag, fs_rec(fs, node)->etag) != 0) { /* else it is still what it was */
        if (is_older(fs, node, &attr)) {
            adopt_newer(fs, node, info, &attr);
        } else {
            adopt(fs, node, info);
        }
        ret = -EAGAIN;
    }
    mutex_unlock(&fs->lock);
    return ret;
}

int publish_settle(struct fs *fs, uint32_t ino)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct node *node;
    int ret;

    mutex_lock(&fs->lock);
    ret = claim_wait(fs, ino, NULL, &node);
    if (ret == -ETIMEDOUT) {
        mutex_unlock(&fs->lock);
        return ret;
    }
    if (node == NULL || fs_rec(fs, node)->attempt == 0) {
        mutex_unlock(&fs->lock);
        return 0;
    }
    claim_set(fs, node, true);
    ret = fs_data_key(fs, node, &key);
    mutex_unlock(&fs->lock);
    ret = ret == 0 ? publish_settle_now(fs, node, buf_str(&key)) : ret;
    mutex_lock(&fs->lock);
    claim_set(fs, node, false);
    cond_broadcast(&fs->changed);
    fs_node_put(fs, node);
    mutex_unlock(&fs->lock);
    return ret == -EAGAIN ? 0 : ret;
}
