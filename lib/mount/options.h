/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - mount options: ours, and those of GeeseFS, s3fs, rclone and mountpoint-s3.
 *
 * One table says for each spelling which of our options it is, and whether a user (a claim's
 * author) may set it or only the operator (StorageClass, static PersistentVolume, command line).
 *
 *     CLEANUP(mount_options_done) struct mount_options o = MOUNT_OPTIONS_INIT;
 *
 *     r = mount_options_parse(&o, "--memory-limit 512 --uid 1000", MOUNT_OPTIONS_USER, &err);
 *     r = r < 0 ? r : mount_options_parse(&o, "allow_other,ro,attr_timeout=5",
 * MOUNT_OPTIONS_OPERATOR, &err); mount_options_get(&o, "memory");          "536870912"
 *
 * Both forms are understood: "a,b=c" as mount -o has it, and "--a b --c=d -o e" as the programs
 * have it. The last setting of an option wins. Refused, by name: an unknown option (the nearest
 * known one is suggested), a value out of range (another program's that is too much: as much as is
 * possible, with a note), and from a user: an operator's option, one that
 * names a path of the host, an endpoint that is link-local, loopback or not http(s).
 * Options that mean nothing here (fuse tuning of others) are accepted and ignored, as the table
 * says. No I/O, no state: any thread.
 */
#ifndef MOUNT_OPTIONS_H
#define MOUNT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "util/buf.h"
#include "util/error.h"

enum {
    MOUNT_OPTIONS_MAX = 64,
    MOUNT_OPTION_VALUE_MAX = 4096,
    MOUNT_OPTIONS_NOTE_MAX = 512,
    MOUNT_OPTIONS_KERNEL = 3,
};

/* By hand is an operator's mount of which this program makes the system call itself. */
enum mount_options_source { MOUNT_OPTIONS_OPERATOR, MOUNT_OPTIONS_USER, MOUNT_OPTIONS_BY_HAND };

struct mount_option {
    const char *name; /* ours; points into the table */
    char *value;      /* canonical: bytes, seconds, octal modes, "true", "false" */
};

struct mount_options {
    struct mount_option items[MOUNT_OPTIONS_MAX];
    size_t count;
    /* By hand only, and not in the JSON: what the kernel is told, and the source it shows. */
    const char *kernel[MOUNT_OPTIONS_KERNEL]; /* as "noexec"; NULL: not said */
    char *fsname;                             /* NULL: not said */
    char
        note[MOUNT_OPTIONS_NOTE_MAX]; /* what was understood otherwise than it was written, or "" */
};

#define MOUNT_OPTIONS_INIT                                                                         \
    {                                                                                              \
        .count = 0                                                                                 \
    }

void mount_options_done(struct mount_options *o);

/* -EINVAL: refused, and err says which and why; o then holds what came before. -ENOMEM, -E2BIG. */
int mount_options_parse(struct mount_options *o, const char *text, enum mount_options_source source,
                        struct error *err) __attribute__((warn_unused_result));

/* One option by any of its spellings, as mount_options_parse() does. */
int mount_options_set(struct mount_options *o, const char *name, const char *value,
                      enum mount_options_source source, struct error *err)
    __attribute__((warn_unused_result));

/* The canonical value by our name, or NULL. Valid until the option is set again. */
const char *mount_options_get(const struct mount_options *o, const char *name);
bool mount_options_true(const struct mount_options *o, const char *name);

/* All as a JSON object of strings, sorted by name: part of the key and of a mounter's config. */
void mount_options_json(const struct mount_options *o, struct buf *out);

/* "fsname=LOCATION,noexec" for libfuse; what fsname= says, goes before. Escaped as it wants. */
void mount_options_hand(const struct mount_options *o, const char *location, struct buf *out);

/* Our options with their help, one a line, for --help and the manual. */
void mount_options_help(struct buf *out);

#endif
