/* SPDX-License-Identifier: Apache-2.0 */
/* volume_internal.h - what open.c tells volume.c. */
#ifndef VOLUME_VOLUME_INTERNAL_H
#define VOLUME_VOLUME_INTERNAL_H

#include "volume/volume.h"

/* The S3 backend under the volume's store, borrowed; NULL for other backends. */
void volume_set_backend(struct volume *volume, struct objstore *backend);
struct objstore *volume_backend(const struct volume *volume);

#endif
