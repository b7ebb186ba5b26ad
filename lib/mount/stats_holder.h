/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats_holder.h - the statistics of all mounts of a node, read from what its holder keeps.
 *
 * No mounter is asked and no store: the numbers of one that hangs or is dead are there as well.
 */
#ifndef MOUNT_STATS_HOLDER_H
#define MOUNT_STATS_HOLDER_H

#include "mount/stats.h"
#include "util/error.h"

struct mount_stats_ask {
    const char *socket;  /* of the holder */
    const char *only;    /* key, volume or mount point of one mount; NULL: all */
    uint64_t timeout_ms; /* of each step */
};

/*
 * Append them as Prometheus text, with the labels volume and mount (the holder's key). Errors:
 * those of mount/holder.h; -ENOENT: there is no mount of that name.
 */
int mount_stats_collect(const struct mount_stats_ask *ask, struct buf *out, struct error *err)
    __attribute__((warn_unused_result));

/* The statistics of one mount, to be unmapped; -ENOENT: it has none. */
int mount_stats_fetch(const char *socket, const char *key, uint64_t timeout_ms,
                      struct mount_stats **ret) __attribute__((warn_unused_result));

#endif
