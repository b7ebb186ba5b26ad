/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/shed_internal.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "mounter/names/known.h"
#include "mounter/names/listing.h"
#include "mounter/read/reader.h"
#include "util/log.h"

/*
 * A hand goes round the table of inodes, as in the clock algorithm: in the first round it spares
 * what the kernel may still believe (it was looked at within attr_timeout), in the second it does
 * not. An inode that was asked back is marked, so that it is not asked back again before the hand
 * has come round once more: the kernel may refuse, silently.
 */
enum {
    LOOK_MAX = 16384, /* records that are looked at without leaving the lock */
    SHARE = 4,        /* of memory= */
    FREE_SHARE = 16,  /* of memory=, before readers give way */
    LOW_EIGHTHS = 7,  /* of the share: down to there */
    STEP = 1024,      /* nodes between two looks */
    TICK_MS = 1000,
    PATIENCE_MS = 20, /* for FORGETs to come */
    NOTIFY_PRUNE = 9, /* FUSE_NOTIFY_PRUNE of Linux 6.18 */
    STOP_S = 5,
};

/* fuse_notify_prune_out: not in the headers of the floor. */
struct prune {
    struct fuse_out_header header;
    uint32_t count, padding;
    uint64_t spare;
};

void shed_added(struct fs *fs)
{
    fs->node_count++;
    if (fs->shed != NULL && fs->node_count >= fs->shed->next) {
        fs->shed->next = UINT32_MAX; /* until it has looked */
        cond_signal(&fs->shed->wake);
    }
}

void shed_gone(struct fs *fs, const struct node *node)
{
    fs->node_count--;
    if (fs->shed != NULL && node->asked_back != 0 && fs->shed->waiting > 0) {
        fs->shed->waiting--;
    }
}

void shed_get_stats(struct fs *fs, struct shed_stats *ret)
{
    const struct shed *shed = fs->shed;

    *ret = (struct shed_stats){.inodes = fs->node_count,
                               .inodes_max = shed->max,
                               .asked = shed->asked,
                               .told = shed->told,
                               .prunes = shed->prunes};
}

/* ---- who goes ---- */

static bool may_go(struct fs *fs, const struct node *node, bool young_too) REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);
    const uint32_t busy = INODE_DIRTY | INODE_NEW | INODE_UNLINKED | INODE_LOST | INODE_DETACHED;

    return node->ino != STATE_ROOT && rec->nlookup > 0 && rec->opens == 0 && node->users == 0 &&
           node->children == 0 && node->named && (rec->flags & busy) == 0 && !node->publishing &&
           node->streaming == 0 && (fs->shed->prunes || S_ISREG(rec->mode)) &&
           (young_too || fs_now_ms() >= node->valid_until_ms) &&
           (node->asked_back == 0 || node->asked_back + 1 < fs->shed->round);
}

static void add_victim(struct fs *fs, struct shed_batch *batch, struct node *node)
    REQUIRES(&fs->lock)
{
    struct shed_victim *v = &batch->victims[batch->count];

    *v = (struct shed_victim){.ino = node->ino, .parent = fs_rec(fs, node)->parent};
    if (!fs->shed->prunes) {
        v->name = strdup(node->name_key + sizeof(uint32_t));
        if (v->name == NULL) {
            return;
        }
    }
    fs->shed->waiting += node->asked_back == 0 ? 1 : 0;
    node->asked_back = (uint32_t)fs->shed->round;
    batch->count++;
}

/* How many should go now. */
static uint32_t surplus(const struct fs *fs) REQUIRES(&fs->lock)
{
    const struct shed *shed = fs->shed;
    uint64_t low = (uint64_t)shed->max / 8 * LOW_EIGHTHS;
    uint64_t count = fs->node_count > shed->waiting ? fs->node_count - shed->waiting : 0;

    return count > low ? (uint32_t)(count - low) : 0;
}

bool shed_choose(struct fs *fs, struct shed_batch *batch, bool young_too)
{
    struct shed *shed = fs->shed;
    uint32_t limit = state_inode_limit(fs->state);
    uint32_t want = surplus(fs);

    want = want < SHED_BATCH ? want : SHED_BATCH;
    for (uint32_t looked = 0; looked < LOOK_MAX && batch->count < want; looked++) {
        struct node *node;

        if (++shed->hand >= limit) {
            shed->hand = STATE_ROOT;
            shed->round++;
            shed->waiting = batch->count; /* what the kernel has not given back, it needs */
            return batch->count > 0;
        }
        node = fs_node(fs, shed->hand);
        if (node != NULL && may_go(fs, node, young_too)) {
            add_victim(fs, batch, node);
        }
    }
    return true;
}

/* ---- telling the kernel ---- */

/* -EINVAL: the kernel does not know it. */
static int prune(struct fs *fs, const struct shed_batch *batch)
{
    uint64_t nodes[SHED_BATCH];
    struct prune head = {.header = {.error = NOTIFY_PRUNE}, .count = batch->count};
    struct iovec iov[2] = {{&head, sizeof(head)}, {nodes, batch->count * sizeof(nodes[0])}};

    for (unsigned i = 0; i < batch->count; i++) {
        nodes[i] = batch->victims[i].ino;
    }
    head.header.len = (uint32_t)(iov[0].iov_len + iov[1].iov_len);
    return writev(fuse_session_fd(session_fuse(fs->session)), iov, 2) < 0 ? -errno : 0;
}

static void invalidate(struct fs *fs, const struct shed_batch *batch)
{
    for (unsigned i = 0; i < batch->count; i++) {
        const struct shed_victim *v = &batch->victims[i];

        (void)fuse_lowlevel_notify_inval_entry(session_fuse(fs->session), v->parent, v->name,
                                               strlen(v->name));
    }
}

static int tell(struct fs *fs, struct shed_batch *batch, bool prunes)
{
    int ret = 0;

    if (prunes) {
        ret = prune(fs, batch);
    } else {
        invalidate(fs, batch);
    }
    for (unsigned i = 0; i < batch->count; i++) {
        free(batch->victims[i].name);
    }
    return ret == -EINVAL || ret == -ENOSYS ? -EINVAL : 0;
}

/* ---- the thread ---- */

/* What inodes and listings take of memory. */
static uint64_t taken(const struct fs *fs) REQUIRES(&fs->lock)
{
    return (uint64_t)fs->node_count * SHED_NODE_BYTES + listing_bytes() + known_bytes(fs->known);
}

static void give_way(struct fs *fs)
{
    uint64_t memory = fs->options.memory_bytes;
    uint64_t bytes;

    mutex_lock(&fs->lock);
    listing_expire(fs, memory / FREE_SHARE);
    bytes = taken(fs);
    mutex_unlock(&fs->lock);
    reader_give_way(fs, bytes > memory / FREE_SHARE ? bytes - memory / FREE_SHARE : 0);
}

/* Asks some back. True: at once again. */
static bool shed_some(struct fs *fs, bool young_too)
{
    struct shed *shed = fs->shed;
    struct shed_batch batch = {.count = 0};
    bool prunes;
    bool more;

    mutex_lock(&fs->lock);
    prunes = shed->prunes;
    more = shed_choose(fs, &batch, young_too);
    shed->asked += batch.count;
    shed->told += batch.count > 0 ? 1 : 0;
    mutex_unlock(&fs->lock);
    if (batch.count > 0 && tell(fs, &batch, prunes) == -EINVAL) {
        mutex_lock(&fs->lock);
        shed->prunes = false;
        shed->waiting = 0;
        shed->round += 2; /* so that all of them may be asked again */
        mutex_unlock(&fs->lock);
        log_debug("the kernel cannot prune: names of files are invalidated", NULL);
    }
    return more;
}

static void shed_all(struct fs *fs)
{
    bool young_too = false;
    bool more = true;

    mutex_lock(&fs->lock);
    while (more && !fs->shed->ending && fs->session != NULL && surplus(fs) > 0) {
        uint64_t round = fs->shed->round;

        mutex_unlock(&fs->lock);
        more = shed_some(fs, young_too) || !young_too;
        mutex_lock(&fs->lock);
        young_too = young_too || fs->shed->round > round;
    }
    mutex_unlock(&fs->lock);
}

static void *shed_main(void *arg)
{
    struct fs *fs = arg;
    struct shed *shed = fs->shed;

    mutex_lock(&fs->lock);
    while (!shed->ending) {
        bool over = fs->node_count >= shed->max;
        struct session *session = fs->session;

        mutex_unlock(&fs->lock);
        if (session != NULL && session_tick(session)) {
            (void)malloc_trim(0); /* nothing happens now, and what was freed stays unused */
        }
        give_way(fs);
        if (over) {
            shed_all(fs);
        }
        mutex_lock(&fs->lock);
        shed->next = fs->node_count + STEP;
        if (!shed->ending) {
            cond_wait_ms(&shed->wake, &fs->lock, surplus(fs) > 0 && over ? PATIENCE_MS : TICK_MS);
        }
    }
    mutex_unlock(&fs->lock);
    return NULL;
}

int shed_new(struct fs *fs, struct shed **ret)
{
    struct shed *shed = calloc(1, sizeof(*shed));
    int r;

    if (shed == NULL) {
        return -ENOMEM;
    }
    cond_init(&shed->wake);
    shed->prunes = getenv("SKYVOL_TEST_NO_PRUNE") == NULL;
    shed->round = 1;
    shed->next = STEP;
    shed->max = (uint32_t)(fs->options.memory_bytes / SHARE / SHED_NODE_BYTES);
    *ret = shed;
    r = -pthread_create(&shed->thread, NULL, shed_main, fs);
    shed->started = r == 0;
    return r;
}

bool shed_stop(struct fs *fs)
{
    struct shed *shed = fs->shed;
    struct timespec until;

    if (shed != NULL && shed->started) {
        mutex_lock(&fs->lock);
        shed->ending = true;
        cond_signal(&shed->wake);
        mutex_unlock(&fs->lock);
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += STOP_S;
        if (pthread_timedjoin_np(shed->thread, NULL, &until) != 0) {
            return false;
        }
        shed->started = false;
    }
    return true;
}

void shed_free(struct shed *shed)
{
    if (shed != NULL) {
        cond_done(&shed->wake);
        free(shed);
    }
}
