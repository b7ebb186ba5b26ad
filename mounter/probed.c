/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/probed.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct kept {
    char version[32];
    struct objstore_caps caps;
    atomic_uint whole; /* set last: who died before has left nothing */
};

int probed(struct volume *volume, struct keep *keep, struct error *err)
{
    struct keep_region region;
    struct kept *kept;
    int ret = keep_region(keep, "probed", sizeof(*kept), &region, err);

    if (ret != 0) {
        return ret;
    }
    kept = region.data;
    if (atomic_load(&kept->whole) == sizeof(*kept) &&
        strncmp(kept->version, SKYVOL_VERSION, sizeof(kept->version)) == 0) {
        volume_set_caps(volume, &kept->caps);
        return 0;
    }
    ret = volume_probe(volume, err);
    if (ret == 0) {
        atomic_store(&kept->whole, 0U);
        (void)snprintf(kept->version, sizeof(kept->version), "%s", SKYVOL_VERSION);
        kept->caps = *volume_caps(volume);
        atomic_store(&kept->whole, (unsigned)sizeof(*kept));
    }
    return ret;
}
