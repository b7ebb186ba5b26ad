/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims. A claimed node has `publishing` set; that is in this process's memory only, so nobody's
 * death leaves one behind. What a predecessor was moving or removing when it died is claimed anew
 * for the request that will come again (held_for), so that nothing is published to a key that may
 * be gone already; if it does not come, the claim ends by itself.
 *
 * Nobody waits for a claim while he has one, and no publication waits for another: so there is no
 * circle. `wanted` keeps new publications away from a node while somebody waits for its claim.
 */
#include <errno.h>

#include "mounter/fs.h"
#include "mounter/names/collapse.h"
#include "mounter/names/graves.h"

enum { CLAIM_WAIT_MS = 50000, PUBLISH_WAIT_MS = 600000, ADOPTED_MS = 15000, TICK_MS = 1000 };

/* Is the node, or a directory above it, claimed? `also_wanted`: or does somebody wait for that? */
static bool held_from(struct fs *fs, uint32_t ino, const struct node *first, bool also_wanted)
    REQUIRES(&fs->lock)
{
    for (int depth = 0; depth < 1024; depth++) {
        const struct inode_rec *rec = state_inode(fs->state, ino);
        const struct node *at = fs_node(fs, ino);

        if (rec == NULL || at == NULL) {
            return false;
        }
        if ((at->publishing && !(at->marking && at != first)) || (also_wanted && at->wanted > 0)) {
            return true;
        }
        if (ino == STATE_ROOT) {
            return false;
        }
        ino = rec->parent;
    }
    return false;
}

static bool held(struct fs *fs, uint32_t ino, bool also_wanted) REQUIRES(&fs->lock)
{
    return held_from(fs, ino, fs_node(fs, ino), also_wanted);
}

static void note_busy(struct fs *fs, struct node *node) REQUIRES(&fs->lock)
{
    bool busy = node->publishing || node->streaming > 0;

    if (busy && !node->busy_listed) {
        TAILQ_INSERT_TAIL(&fs->busy, node, busy_link);
    } else if (!busy && node->busy_listed) {
        TAILQ_REMOVE(&fs->busy, node, busy_link);
    }
    node->busy_listed = busy;
}

void claim_set(struct fs *fs, struct node *node, bool claimed)
{
    node->publishing = claimed;
    node->marking = claimed && node->marking;
    note_busy(fs, node);
}

void claim_streaming(struct fs *fs, struct node *node, int change)
{
    node->streaming += (uint32_t)change;
    note_busy(fs, node);
}

bool claim_held(struct fs *fs, const struct node *node)
{
    return held(fs, node->ino, false);
}

bool claim_below(struct fs *fs, const struct node *dir)
{
    return held_from(fs, dir->ino, NULL, true);
}

bool claim_blocked(struct fs *fs, const struct node *node)
{
    return node->streaming > 0 || held(fs, node->ino, true) || graves_block(fs, node);
}

int claim_wait(struct fs *fs, uint32_t ino, struct pending *waiter, struct node **ret)
{
    uint64_t until = fs_now_ms() + PUBLISH_WAIT_MS;
    uint64_t seen = 0;

    while ((*ret = fs_node(fs, ino)) != NULL && claim_blocked(fs, *ret)) {
        if (fs_now_ms() >= until) {
            return -ETIMEDOUT;
        }
        if (waiter != NULL && (*ret)->progress_ms > seen) { /* of somebody else's publication */
            uint64_t now = fs_now_ms();

            seen = (*ret)->progress_ms;
            (void)pending_renew(waiter, seen > now ? seen - now : 0);
        }
        cond_wait_ms(&fs->changed, &fs->lock, TICK_MS);
    }
    return *ret == NULL ? -ESTALE : 0;
}

/* Somebody is at work on a node below this directory. */
static bool busy_below(struct fs *fs, uint32_t dir) REQUIRES(&fs->lock)
{
    const struct node *node;

    TAILQ_FOREACH (node, &fs->busy, busy_link) {
        if (node->ino != dir && fs_is_below(fs, node->ino, dir)) {
            return true;
        }
    }
    return false;
}

static bool is_free(struct fs *fs, uint32_t ino, uint64_t unique) REQUIRES(&fs->lock)
{
    const struct node *node = ino != 0 ? fs_node(fs, ino) : NULL;

    if (node == NULL || (unique != 0 && node->held_for == unique)) {
        return true;
    }
    return node->streaming == 0 && !held(fs, ino, false) &&
           (node->children == 0 || !busy_below(fs, ino)) && !collapse_below(fs, ino);
}

static void set(struct fs *fs, uint32_t ino, bool claimed) REQUIRES(&fs->lock)
{
    struct node *node = ino != 0 ? fs_node(fs, ino) : NULL;

    if (node != NULL) {
        claim_set(fs, node, claimed);
        node->held_for = 0;
        if (!claimed) {
            fs_node_put(fs, node);
        }
    }
}

/* Both at once: who held one and waited for the other could wait for a directory above both. */
int claim(struct fs *fs, uint32_t ino, uint32_t other, uint64_t unique)
{
    struct node *nodes[2] = {ino != 0 ? fs_node(fs, ino) : NULL,
                             other != 0 ? fs_node(fs, other) : NULL};
    uint64_t until = fs_now_ms() + CLAIM_WAIT_MS;
    int ret = 0;

    if ((ino != 0 && nodes[0] == NULL) || (other != 0 && nodes[1] == NULL)) {
        return -ESTALE;
    }
    for (int i = 0; i < 2; i++) {
        if (nodes[i] != NULL) { /* it stays while we wait */
            nodes[i]->users++;
            nodes[i]->wanted++;
        }
    }
    while (ret == 0 && !(is_free(fs, ino, unique) && is_free(fs, other, unique))) {
        if (fs_now_ms() >= until) {
            ret = -ETIMEDOUT;
        } else {
            cond_wait_ms(&fs->changed, &fs->lock, TICK_MS);
        }
    }
    for (int i = 0; i < 2; i++) {
        if (nodes[i] != NULL) {
            nodes[i]->users--;
            nodes[i]->wanted--;
        }
    }
    set(fs, ret == 0 ? ino : 0, true);
    set(fs, ret == 0 ? other : 0, true);
    for (int i = 0; ret != 0 && i < 2; i++) {
        if (nodes[i] != NULL) {
            fs_node_put(fs, nodes[i]);
        }
    }
    cond_broadcast(&fs->changed);
    return ret;
}

void claim_end(struct fs *fs, uint32_t ino, uint32_t other)
{
    set(fs, ino, false);
    set(fs, other, false);
    cond_broadcast(&fs->changed);
}

void claim_adopt(struct fs *fs)
{
    struct state_intent intent;
    uint32_t at = 0;

    while (state_next_intent(fs->state, &at, &intent)) {
        for (int i = 0; i < 2; i++) {
            struct node *node = intent.inos[i] != 0 ? fs_node(fs, intent.inos[i]) : NULL;

            if (node != NULL) {
                claim_set(fs, node, true);
                node->held_for = intent.unique;
                fs->adopted_until_ms = fs_now_ms() + ADOPTED_MS;
            }
        }
    }
}

void claim_expire(struct fs *fs)
{
    if (fs->adopted_until_ms == 0 || fs_now_ms() < fs->adopted_until_ms) {
        return;
    }
    fs->adopted_until_ms = 0;
    for (uint32_t ino = STATE_ROOT + 1; ino < fs->nodes_len; ino++) {
        const struct node *node = fs_node(fs, ino);

        if (node != NULL && node->held_for != 0) {
            set(fs, ino, false);
        }
    }
    cond_broadcast(&fs->changed);
}
