/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/fences.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/names/graves.h"

enum { TICK_MS = 1000, MS_PER_S = 1000, ENDS_AT_ONCE = 1000 };

struct fence {
    UT_hash_handle hh;
    uint32_t index; /* of its record */
    uint64_t until_ms;
    char key[];
};

struct fences {
    struct fence *by_key;
    uint64_t next_ms; /* none ends before */
};

int fences_new(struct fences **ret)
{
    *ret = calloc(1, sizeof(**ret));
    return *ret == NULL ? -ENOMEM : 0;
}

void fences_free(struct fences *fences)
{
    struct fence *fence;
    struct fence *next;

    if (fences == NULL) {
        return;
    }
    HASH_ITER(hh, fences->by_key, fence, next)
    {
        HASH_DEL(fences->by_key, fence);
        free(fence);
    }
    free(fences);
}

static struct fence *find(const struct fs *fs, const char *key) REQUIRES(&fs->lock)
{
    struct fence *fence = NULL;

    if (fs->fences->by_key != NULL) {
        HASH_FIND(hh, fs->fences->by_key, key, strlen(key), fence);
    }
    return fence;
}

/* The kept record says this now. */
static void learn(struct fences *fences, struct fence *fence, const struct grave_rec *rec)
{
    fence->until_ms = (uint64_t)rec->not_before_s * MS_PER_S;
    if (fence->until_ms < fences->next_ms) {
        fences->next_ms = fence->until_ms;
    }
}

int fences_add(struct fs *fs, const char *key, uint32_t index, const struct grave_rec *rec)
{
    struct fences *fences = fs->fences;
    size_t len = strlen(key);
    struct fence *fence = calloc(1, sizeof(*fence) + len + 1);

    if (fence == NULL) {
        return -ENOMEM;
    }
    memcpy(fence->key, key, len + 1);
    fence->index = index;
    fences->next_ms = fences->by_key == NULL ? UINT64_MAX : fences->next_ms;
    learn(fences, fence, rec);
    HASH_ADD_KEYPTR(hh, fences->by_key, fence->key, len, fence);
    return 0;
}

bool fences_renew(struct fs *fs, const char *key, const struct grave_rec *rec)
{
    struct fence *fence = find(fs, key);
    struct grave_rec *kept;

    if (fence == NULL) {
        return false;
    }
    kept = state_grave(fs->state, fence->index);
    if (rec->not_before_s > kept->not_before_s) {
        state_begin(fs->state);
        STATE_SET(fs->state, kept->not_before_s, rec->not_before_s);
        state_commit(fs->state);
    }
    learn(fs->fences, fence, kept);
    return true;
}

static void end(struct fs *fs, struct fence *fence) REQUIRES(&fs->lock)
{
    struct grave_rec *rec = state_grave(fs->state, fence->index);

    state_begin(fs->state);
    state_text_release(fs->state, rec->key);
    STATE_SET(fs->state, rec->key, 0U);
    state_commit(fs->state);
    HASH_DEL(fs->fences->by_key, fence);
    free(fence);
}

uint64_t fences_expire(struct fs *fs, uint64_t max_ms)
{
    struct fences *fences = fs->fences;
    uint64_t now = fs_now_ms();
    struct fence *fence;
    struct fence *next;
    size_t ended = 0;

    if (fences->by_key != NULL && now >= fences->next_ms) {
        fences->next_ms = UINT64_MAX;
        HASH_ITER(hh, fences->by_key, fence, next)
        {
            if (fence->until_ms <= now && ended < ENDS_AT_ONCE) {
                end(fs, fence);
                ended++;
            } else if (fence->until_ms < fences->next_ms) {
                fences->next_ms = fence->until_ms;
            }
        }
    }
    if (ended > 0) {
        cond_broadcast(&fs->changed);
    }
    if (fences->by_key == NULL) {
        return max_ms;
    }
    now = fences->next_ms > now ? fences->next_ms - now : 0;
    return now < max_ms ? now : max_ms;
}

size_t fences_count(const struct fs *fs)
{
    return HASH_COUNT(fs->fences->by_key);
}

bool fences_has(const struct fs *fs, const char *key)
{
    return find(fs, key) != NULL;
}

static bool bars_below(const struct fs *fs, const char *dir) REQUIRES(&fs->lock)
{
    size_t len = strlen(dir);
    const struct fence *fence;

    for (fence = fs->fences->by_key; fence != NULL; fence = fence->hh.next) {
        if (strncmp(fence->key, dir, len) == 0 &&
            (len == 0 || dir[len - 1] == '/' || fence->key[len] == '/')) {
            return true;
        }
    }
    return false;
}

bool fences_block(struct fs *fs, const struct node *node)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    return fs->fences->by_key != NULL && (fs_rec(fs, node)->flags & INODE_NEW) != 0 &&
           fs_key(fs, node->ino, &key) == 0 && fences_has(fs, buf_str(&key));
}

int fences_wait(struct fs *fs, const char *key, bool below, uint64_t deadline_ms)
{
    int ret = graves_wait(fs, key, below, deadline_ms);

    mutex_lock(&fs->lock);
    while (ret == 0 && (fences_has(fs, key) || (below && bars_below(fs, key)))) {
        uint64_t now = fs_now_ms();

        if (now >= deadline_ms || fs->ending || fs->given_up) {
            ret = -ETIMEDOUT;
        } else {
            cond_wait_ms(&fs->changed, &fs->lock,
                         deadline_ms - now < TICK_MS ? deadline_ms - now : TICK_MS);
        }
    }
    mutex_unlock(&fs->lock);
    return ret;
}
