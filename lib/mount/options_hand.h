/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options_hand.h - what mount(8) and libfuse are told besides our options. Internal to options.c.
 */
#ifndef MOUNT_OPTIONS_HAND_H
#define MOUNT_OPTIONS_HAND_H

#include "mount/options.h"
#include "mount/options_table.h"
#include "util/slice.h"

/* Of MOUNT_OPTION_KERNEL, _SOURCE and _REFUSED; `value.data` NULL: none. -EINVAL, -ENOMEM. */
int mount_option_hand(struct mount_options *o, const struct mount_option_row *row,
                      struct slice value, enum mount_options_source source, struct error *err)
    __attribute__((warn_unused_result));

#endif
