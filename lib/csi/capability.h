/* SPDX-License-Identifier: Apache-2.0 */
/*
 * capability.h - which ways of using a volume Skyvol knows.
 *
 * A file system mount in every access mode; no block devices; no file system type but "" or ours.
 * Errors: -EINVAL with a text that says what to change. No state: any thread.
 */
#ifndef CSI_CAPABILITY_H
#define CSI_CAPABILITY_H

#include <stdbool.h>
#include <stddef.h>

#include "csi.pb-c.h"
#include "util/error.h"

int csi_capability_check(const Csi__V1__VolumeCapability *capability, struct error *err)
    __attribute__((warn_unused_result));

/* At least one, and each of them. */
int csi_capabilities_check(Csi__V1__VolumeCapability *const *capabilities, size_t count,
                           struct error *err) __attribute__((warn_unused_result));

/* True for the modes under which nobody may write. */
bool csi_mode_read_only(Csi__V1__VolumeCapability__AccessMode__Mode mode);

/* True for the modes under which one node at a time has the volume. */
bool csi_mode_single_node(Csi__V1__VolumeCapability__AccessMode__Mode mode);

/* True for the modes under which one node may publish the volume at several paths. */
bool csi_mode_many_targets(Csi__V1__VolumeCapability__AccessMode__Mode mode);

/* True for the modes under which one node at a time has the volume. */
bool csi_mode_one_node(Csi__V1__VolumeCapability__AccessMode__Mode mode);

/* Id and path of a request: present, no longer than they may be. `name` is the field's. */
int csi_required(const char *value, const char *name, size_t max, struct error *err)
    __attribute__((warn_unused_result));

/*
 * A path of a request: present, and written as the kernel's mount table writes it: absolute,
 * without empty, '.' or '..' parts. By any other spelling what is mounted now
 * would not be found again by the next call, and it could be anywhere.
 */
int csi_path(const char *path, const char *name, struct error *err)
    __attribute__((warn_unused_result));
int csi_path_parts(const char *path, const char *name, struct error *err)
    __attribute__((warn_unused_result)); /* the parts alone: of a path that is only looked up */

/*
 * The size to give: required_bytes, else limit_bytes if smaller than `fallback`, else fallback.
 * -ERANGE: less than nothing, or more required than the limit allows. `range` may be NULL.
 */
int csi_capacity(const Csi__V1__CapacityRange *range, uint64_t fallback, uint64_t *ret,
                 struct error *err) __attribute__((warn_unused_result));

#endif
