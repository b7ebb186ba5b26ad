/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probed.h - what the bucket can do, found out once in the life of a mount.
 *
 * The first mounter of a mount tries it out, and its successors find the result in kept memory: so
 * they begin without a request, also while the store answers nobody. A mounter of another version
 * tries anew.
 */
#ifndef MOUNTER_PROBED_H
#define MOUNTER_PROBED_H

#include "mounter/kept/keep.h"
#include "volume/volume.h"

/* Blocks. Errors: those of keep_region() and volume_probe(). */
int probed(struct volume *volume, struct keep *keep, struct error *err)
    __attribute__((warn_unused_result));

#endif
