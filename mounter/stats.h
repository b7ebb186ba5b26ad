/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h - where a mounter counts (mount/stats.h): kept memory, so that numbers outlive it.
 */
#ifndef MOUNTER_STATS_H
#define MOUNTER_STATS_H

#include "mount/stats.h"
#include "mounter/kept/keep.h"
#include "volume/open.h"

/* Borrowed from the keep. */
int stats_open(struct keep *keep, struct mount_stats **ret, struct error *err)
    __attribute__((warn_unused_result));

/* Each try of a request to the store; `context` is the struct mount_stats. */
void stats_store(void *context, const struct objstore_watched *watched);

#endif
