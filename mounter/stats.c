/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/stats.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>

#include "mounter/fs.h"
#include "mounter/read/reader.h"
#include "mounter/session/session.h"
#include "util/clock.h"

static const char *const fuse_names[MOUNT_STATS_FUSE] = {
    [FUSE_LOOKUP] = "lookup",
    [FUSE_FORGET] = "forget",
    [FUSE_GETATTR] = "getattr",
    [FUSE_SETATTR] = "setattr",
    [FUSE_READLINK] = "readlink",
    [FUSE_SYMLINK] = "symlink",
    [FUSE_MKNOD] = "mknod",
    [FUSE_MKDIR] = "mkdir",
    [FUSE_UNLINK] = "unlink",
    [FUSE_RMDIR] = "rmdir",
    [FUSE_RENAME] = "rename",
    [FUSE_LINK] = "link",
    [FUSE_OPEN] = "open",
    [FUSE_READ] = "read",
    [FUSE_WRITE] = "write",
    [FUSE_STATFS] = "statfs",
    [FUSE_RELEASE] = "release",
    [FUSE_FSYNC] = "fsync",
    [FUSE_SETXATTR] = "setxattr",
    [FUSE_GETXATTR] = "getxattr",
    [FUSE_LISTXATTR] = "listxattr",
    [FUSE_REMOVEXATTR] = "removexattr",
    [FUSE_FLUSH] = "flush",
    [FUSE_OPENDIR] = "opendir",
    [FUSE_READDIR] = "readdir",
    [FUSE_RELEASEDIR] = "releasedir",
    [FUSE_FSYNCDIR] = "fsyncdir",
    [FUSE_GETLK] = "getlk",
    [FUSE_SETLK] = "setlk",
    [FUSE_SETLKW] = "setlkw",
    [FUSE_ACCESS] = "access",
    [FUSE_CREATE] = "create",
    [FUSE_INTERRUPT] = "interrupt",
    [FUSE_IOCTL] = "ioctl",
    [FUSE_POLL] = "poll",
    [FUSE_BATCH_FORGET] = "batch_forget",
    [FUSE_FALLOCATE] = "fallocate",
    [FUSE_READDIRPLUS] = "readdirplus",
    [FUSE_RENAME2] = "rename2",
    [FUSE_LSEEK] = "lseek",
    [FUSE_COPY_FILE_RANGE] = "copy_file_range",
    [FUSE_TMPFILE] = "tmpfile",
};

_Static_assert((int)OBJSTORE_OP_COUNT <= (int)MOUNT_STATS_STORE, "each operation has a row");

int stats_open(struct keep *keep, struct mount_stats **ret, struct error *err)
{
    struct keep_region region;
    struct mount_stats *stats;
    int r = keep_region(keep, MOUNT_STATS_NAME, sizeof(*stats), &region, err);

    if (r != 0) {
        return r;
    }
    stats = region.data;
    mount_stats_init(stats);
    for (size_t i = 0; i < MOUNT_STATS_FUSE; i++) {
        if (fuse_names[i] != NULL) {
            (void)snprintf(stats->fuse[i].name, sizeof(stats->fuse[i].name), "%s", fuse_names[i]);
        }
    }
    for (size_t i = 0; i < OBJSTORE_OP_COUNT; i++) {
        (void)snprintf(stats->store[i].name, sizeof(stats->store[i].name), "%s",
                       objstore_op_name((enum objstore_op)i));
    }
    *ret = stats;
    return 0;
}

/* It said no, or nothing at all: a key that is absent or a condition that fails is an answer. */
static bool is_trouble(int status)
{
    return status != 0 && status != -ENOENT && status != -EEXIST && status != -ESTALE &&
           status != -ECANCELED && status != -ENOTSUP && status != -ERANGE && status != -EINVAL;
}

void stats_store(void *context, const struct objstore_watched *watched)
{
    struct mount_stats *stats = context;
    struct mount_stats_row *row = &stats->store[watched->op % MOUNT_STATS_STORE];
    bool trouble = is_trouble(watched->status);

    mount_stats_count(row, watched->ms * 1000, watched->status != 0);
    (void)atomic_fetch_add_explicit(&row->bytes, watched->bytes, memory_order_relaxed);
    if (watched->again) {
        mount_stats_add(stats, STATS_RETRIES, 1);
    }
    if (trouble && mount_stats_get(stats, STATS_STORE_FAILING_SINCE_MS) == 0) {
        mount_stats_set(stats, STATS_STORE_FAILING_SINCE_MS,
                        (uint64_t)(clock_realtime_ns(clock_real()) / 1000000));
    } else if (!trouble && watched->status != -ECANCELED) {
        mount_stats_set(stats, STATS_STORE_FAILING_SINCE_MS, 0);
    }
    if (watched->status != -ECANCELED) {
        mount_stats_set(stats, STATS_STORE_ERROR, trouble ? (uint64_t)-watched->status : 0);
    }
}

void stats_tick(struct fs *fs)
{
    struct mount_stats *stats = fs->options.stats;
    struct reader_stats reader;
    struct session_stats session = {0};
    struct session *serving;

    if (stats == NULL) {
        return;
    }
    reader_get_stats(fs, &reader);
    mutex_lock(&fs->lock);
    serving = fs->session;
    mutex_unlock(&fs->lock);
    if (serving != NULL) {
        session_stats(serving, &session);
    }
    mount_stats_set(stats, STATS_CACHE_BYTES, reader.bytes);
    mount_stats_set(stats, STATS_CACHE_LIMIT, reader.limit);
    mount_stats_set(stats, STATS_IN_FLIGHT, session.in_flight);
    mount_stats_set(stats, STATS_OLDEST_MS, session.oldest_age_ms);
    mutex_lock(&fs->lock);
    mount_stats_set(stats, STATS_DIRTY_BYTES, state_pool_used(fs->state));
    mount_stats_set(stats, STATS_DIRTY_LIMIT, state_pool_size(fs->state));
    mount_stats_set(stats, STATS_INODES, fs->node_count);
    mount_stats_add(stats, STATS_CONFLICTS, fs->conflicts - fs->told_conflicts);
    mount_stats_add(stats, STATS_LOST_FILES, fs->lost - fs->told_lost);
    mount_stats_add(stats, STATS_DEADLINES, session.deadlines - fs->told_deadlines);
    fs->told_conflicts = fs->conflicts;
    fs->told_lost = fs->lost;
    fs->told_deadlines = session.deadlines;
    mutex_unlock(&fs->lock);
}
