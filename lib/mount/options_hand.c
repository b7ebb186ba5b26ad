/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/options_hand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FSNAME_LIMIT = 2048 };

/* Under a holder its mounts are nosuid and nodev, and exec: what asks for that is no question. */
static int set_kernel(struct mount_options *o, const struct mount_option_row *row,
                      enum mount_options_source source, struct error *err)
{
    if (source == MOUNT_OPTIONS_BY_HAND) {
        o->kernel[row->unit] = row->choices;
        return 0;
    }
    if (row->owner == MOUNT_OPTION_OF_OPERATOR) {
        return error_set(err, -EINVAL, "mount option '%s' is of mounts by hand only",
                         row->spelling);
    }
    return 0;
}

/* What mountinfo shows must be one line of text. */
static int set_source(struct mount_options *o, struct slice value, struct error *err)
{
    char *copy;

    if (value.data == NULL || value.len == 0 || value.len > FSNAME_LIMIT) {
        return error_set(err, -EINVAL, "mount option 'fsname' needs a text of 1 to %d bytes",
                         FSNAME_LIMIT);
    }
    for (size_t i = 0; i < value.len; i++) {
        if ((unsigned char)value.data[i] < ' ' || value.data[i] == 0x7f) {
            return error_set(err, -EINVAL, "mount option 'fsname' has a control character");
        }
    }
    copy = strndup(value.data, value.len);
    if (copy == NULL) {
        return -ENOMEM;
    }
    free(o->fsname);
    o->fsname = copy;
    return 0;
}

int mount_option_hand(struct mount_options *o, const struct mount_option_row *row,
                      struct slice value, enum mount_options_source source, struct error *err)
{
    switch (row->kind) {
    case MOUNT_OPTION_KERNEL:
        return set_kernel(o, row, source, err);
    case MOUNT_OPTION_SOURCE:
        return source == MOUNT_OPTIONS_BY_HAND ? set_source(o, value, err) : 0;
    default:
        return error_set(err, -EINVAL, "mount option '%s' is not possible: %s", row->spelling,
                         row->choices);
    }
}

/* libfuse splits its options at commas and takes a backslash as the mark of what is meant so. */
void mount_options_hand(const struct mount_options *o, const char *location, struct buf *out)
{
    buf_addstr(out, "fsname=");
    for (const char *c = o->fsname != NULL ? o->fsname : location; *c != '\0'; c++) {
        if (*c == ',' || *c == '\\') {
            buf_addstr(out, "\\");
        }
        buf_add(out, c, 1);
    }
    for (size_t i = 0; i < MOUNT_OPTIONS_KERNEL; i++) {
        if (o->kernel[i] != NULL) {
            buf_addf(out, ",%s", o->kernel[i]);
        }
    }
}
