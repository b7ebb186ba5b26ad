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

enum option_kind {
    OPTION_BOOL,     /* no value, or on/off, true/false, yes/no, 1/0 */
    OPTION_ID,       /* 0 to 2^32 - 2 */
    OPTION_MODE,     /* octal, up to 07777 */
    OPTION_SIZE,     /* bytes, or with K, M, G, T (KiB and so on); bare numbers times `unit` */
    OPTION_SECONDS,  /* seconds, or 90s, 1m30s, 500ms, 1h; -1: for ever */
    OPTION_COUNT,    /* 1 to 2^31 - 1 */
    OPTION_WORD,     /* [A-Za-z0-9:._/-] */
    OPTION_CHOICE,   /* one of `choices`, separated by spaces */
    OPTION_URL,      /* http or https endpoint */
    OPTION_ENDPOINT, /* s3fs calls the region so: a URL is our endpoint, else our region */
    OPTION_PATH,     /* absolute path on the host: never a user's */
    OPTION_FIXED,    /* no value; sets `fixed` */
    OPTION_IGNORED,  /* means nothing here; a value may follow after '=' */
    OPTION_SKIPPED,  /* as ignored, and always takes a value */
};

enum option_owner { OWNER_USER, OWNER_OPERATOR };

struct option_row {
    const char *spelling;
    const char *ours; /* NULL with OPTION_IGNORED and OPTION_SKIPPED */
    enum option_kind kind;
    enum option_owner owner;
    const char *choices; /* OPTION_CHOICE; with OPTION_FIXED: the value */
    uint64_t unit;       /* OPTION_SIZE; 0 is 1 */
    const char *help;
};

extern const struct option_row option_table[];
extern const size_t option_table_count;

#endif
