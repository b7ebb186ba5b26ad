/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options_range.h - the least and the most of an option that is a number. Internal to options.c.
 *
 * The range stands in the row of our own spelling. Beyond it, ours is refused; of another program's
 * spelling, what is too much there is as much as is possible here, and said: its numbers were
 * chosen for that program. No I/O, no state: any thread.
 */
#ifndef MOUNT_OPTIONS_RANGE_H
#define MOUNT_OPTIONS_RANGE_H

#include "mount/options_table.h"
#include "util/buf.h"

enum mount_option_fit { MOUNT_OPTION_FITS, MOUNT_OPTION_TOO_LITTLE, MOUNT_OPTION_TOO_MUCH };

/* Of a canonical value; `ours` is the row of our own spelling, which may have no range. */
enum mount_option_fit mount_option_fit(const struct mount_option_row *ours, const char *value);

/* "16MiB to 1TiB", "1s to 1d", "1 to 512"; nothing without a range. */
void mount_option_range(const struct mount_option_row *ours, struct buf *out);

/* One number of an option of that kind: "16MiB". */
void mount_option_number(enum mount_option_kind kind, uint64_t value, struct buf *out);

#endif
