/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options_table.h - the one table of mount options. Internal to options.c and its tests.
 *
 * A row is a spelling. Those of our own have `help`. Names are written with '_'; '-' is the same.
 */
#ifndef MOUNT_OPTIONS_TABLE_H
#define MOUNT_OPTIONS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mount_option_kind {
    MOUNT_OPTION_BOOL,    /* no value, or on/off, true/false, yes/no, 1/0 */
    MOUNT_OPTION_ID,      /* 0 to 2^32 - 2 */
    MOUNT_OPTION_MODE,    /* octal, up to 07777 */
    MOUNT_OPTION_SIZE,    /* bytes, or with K, M, G, T (KiB and so on); bare numbers times `unit` */
    MOUNT_OPTION_SECONDS, /* seconds, or 90s, 1m30s, 500ms, 1h; -1: for ever */
    MOUNT_OPTION_COUNT,   /* 1 to 2^31 - 1 */
    MOUNT_OPTION_WORD,    /* [A-Za-z0-9:._/-] */
    MOUNT_OPTION_CHOICE,  /* one of `choices`, separated by spaces */
    MOUNT_OPTION_URL,     /* http or https endpoint */
    MOUNT_OPTION_ENDPOINT, /* s3fs calls the region so: a URL is our endpoint, else our region */
    MOUNT_OPTION_PATH,     /* absolute path on the host: never a user's */
    MOUNT_OPTION_FIXED,    /* no value; sets `fixed` */
    MOUNT_OPTION_IGNORED,  /* means nothing here; a value may follow after '=' */
    MOUNT_OPTION_SKIPPED,  /* as ignored, and always takes a value */
    MOUNT_OPTION_KERNEL,  /* by hand: the kernel is told `choices`; of group `unit` the last wins */
    MOUNT_OPTION_SOURCE,  /* by hand: what df shows; else as skipped */
    MOUNT_OPTION_REFUSED, /* known, and `choices` says why it is not possible */
};

enum mount_option_owner { MOUNT_OPTION_OF_USER, MOUNT_OPTION_OF_OPERATOR };

struct mount_option_row {
    const char *spelling;
    const char *ours; /* NULL with MOUNT_OPTION_IGNORED and those after it */
    enum mount_option_kind kind;
    enum mount_option_owner owner;
    const char *choices; /* MOUNT_OPTION_CHOICE; with MOUNT_OPTION_FIXED: the value */
    const char *bare;    /* MOUNT_OPTION_CHOICE in a list without '=': the value; NULL: none */
    uint64_t unit;       /* MOUNT_OPTION_SIZE; 0 is 1 */
    const char *help;
    /* Of ours that are SIZE (bytes), COUNT or SECONDS; most 0: what the kind allows. */
    uint64_t least, most;
};

extern const struct mount_option_row mount_option_table[];
extern const size_t mount_option_table_count;

#endif
