/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rotate.h - takes over keys that change in the credentials file under a running mount.
 *
 * For mounts that a person made; a held one gets fresh keys from the holder. A thread looks once a
 * second whether the file (also behind a symbolic link) is another one or has changed. A file that
 * cannot be read, or that holds no keys, is reported and the old keys stay.
 */
#ifndef MOUNTER_ROTATE_H
#define MOUNTER_ROTATE_H

#include "volume/volume.h"

struct rotate;

/*
 * Watches the file that setup_personal_credentials() has read; *ret is NULL when it read none. The
 * volume is borrowed until rotate_free(). -ENOMEM, or what pthread_create(3) says.
 */
int rotate_new(struct volume *volume, struct rotate **ret) __attribute__((warn_unused_result));

/* NULL is allowed. */
void rotate_free(struct rotate *r);

#endif
