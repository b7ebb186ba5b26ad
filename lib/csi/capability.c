/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/capability.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "csi/identity.h"

#define MODE(name) CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__##name

int csi_capability_check(const Csi__V1__VolumeCapability *capability, struct error *err)
{
    const Csi__V1__VolumeCapability__MountVolume *mount;

    if (capability == NULL) {
        return error_set(err, -EINVAL, "volume_capability is missing");
    }
    if (capability->access_type_case == CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK) {
        return error_set(err, -EINVAL,
                         "block volumes are not supported: set volumeMode to Filesystem");
    }
    if (capability->access_type_case != CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT) {
        return error_set(err, -EINVAL, "volume_capability has no access_type: set mount");
    }
    mount = capability->mount;
    if (mount != NULL && mount->fs_type[0] != '\0' && strcmp(mount->fs_type, "skyvol") != 0 &&
        strcmp(mount->fs_type, "fuse.skyvol") != 0) {
        return error_set(err, -EINVAL, "fsType '%.64s' is unknown: leave it out", mount->fs_type);
    }
    if (capability->access_mode == NULL || capability->access_mode->mode <= MODE(UNKNOWN) ||
        capability->access_mode->mode > MODE(SINGLE_NODE_MULTI_WRITER)) {
        return error_set(err, -EINVAL, "volume_capability has no access_mode that is known");
    }
    return 0;
}

int csi_capabilities_check(Csi__V1__VolumeCapability *const *capabilities, size_t count,
                           struct error *err)
{
    if (count == 0) {
        return error_set(err, -EINVAL, "volume_capabilities are missing");
    }
    for (size_t i = 0; i < count; i++) {
        int r = csi_capability_check(capabilities[i], err);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

bool csi_mode_read_only(Csi__V1__VolumeCapability__AccessMode__Mode mode)
{
    return mode == MODE(SINGLE_NODE_READER_ONLY) || mode == MODE(MULTI_NODE_READER_ONLY);
}

bool csi_mode_single_node(Csi__V1__VolumeCapability__AccessMode__Mode mode)
{
    return mode == MODE(SINGLE_NODE_WRITER) || mode == MODE(SINGLE_NODE_READER_ONLY) ||
           mode == MODE(SINGLE_NODE_SINGLE_WRITER) || mode == MODE(SINGLE_NODE_MULTI_WRITER);
}

bool csi_mode_many_targets(Csi__V1__VolumeCapability__AccessMode__Mode mode)
{
    return mode == MODE(MULTI_NODE_READER_ONLY) || mode == MODE(MULTI_NODE_SINGLE_WRITER) ||
           mode == MODE(MULTI_NODE_MULTI_WRITER) || mode == MODE(SINGLE_NODE_MULTI_WRITER);
}

bool csi_mode_one_node(Csi__V1__VolumeCapability__AccessMode__Mode mode)
{
    return mode == MODE(SINGLE_NODE_WRITER) || mode == MODE(SINGLE_NODE_READER_ONLY) ||
           mode == MODE(SINGLE_NODE_SINGLE_WRITER) || mode == MODE(SINGLE_NODE_MULTI_WRITER);
}

int csi_required(const char *value, const char *name, size_t max, struct error *err)
{
    size_t len = strlen(value);

    if (len == 0) {
        return error_set(err, -EINVAL, "%s is missing", name);
    }
    if (len > max) {
        return error_set(err, -EINVAL, "%s is too long: %zu bytes, at most %zu are possible", name,
                         len, max);
    }
    return 0;
}

int csi_path_parts(const char *path, const char *name, struct error *err)
{
    const char *part = path + (path[0] == '/');

    while (part != NULL) {
        size_t len = strcspn(part, "/");

        if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && memcmp(part, "..", 2) == 0)) {
            return error_set(err, -EINVAL,
                             "%s is not a plain path: no part of it may be empty, '.' or '..'",
                             name);
        }
        part = part[len] == '/' ? part + len + 1 : NULL;
    }
    return 0;
}

int csi_path(const char *path, const char *name, struct error *err)
{
    int r = csi_required(path, name, CSI_PATH_MAX, err);

    if (r == 0 && path[0] != '/') {
        r = error_set(err, -EINVAL, "%s is not absolute", name);
    }
    return r < 0 ? r : csi_path_parts(path, name, err);
}

int csi_capacity(const Csi__V1__CapacityRange *range, uint64_t fallback, uint64_t *ret,
                 struct error *err)
{
    int64_t required = range != NULL ? range->required_bytes : 0;
    int64_t limit = range != NULL ? range->limit_bytes : 0;

    if (required < 0 || limit < 0) {
        return error_set(err, -ERANGE, "capacity_range is negative");
    }
    if (limit != 0 && required > limit) {
        return error_set(err, -ERANGE, "required_bytes %" PRId64 " exceed limit_bytes %" PRId64,
                         required, limit);
    }
    if (required > 0) {
        *ret = (uint64_t)required;
    } else if (limit > 0 && (fallback == 0 || (uint64_t)limit < fallback)) {
        *ret = (uint64_t)limit;
    } else {
        *ret = fallback;
    }
    return 0;
}
