/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_survey.h - what lies in a directory of journals (mount/journal.h), for people and
 * metrics. Takes no lock for longer than a look, changes nothing, reads no data. Any thread.
 */
#ifndef MOUNT_JOURNAL_SURVEY_H
#define MOUNT_JOURNAL_SURVEY_H

#include <stdbool.h>

#include "mount/journal.h"

enum { JOURNAL_VOLUMES_MAX = 4096 };

struct journal_summary {
    char name[JOURNAL_NAME_MAX];
    struct mount_config volume; /* location NULL: volume.json is missing or damaged */
    uint64_t files, bytes;      /* that are to be uploaded */
    uint64_t damaged;           /* files set aside */
    int64_t oldest_ns;          /* realtime of the oldest of them; 0: none */
    bool in_use;                /* by a process */
};

struct journal_list {
    struct journal_summary *items;
    size_t count;
};

/* By name. A missing `dir` has none. -EACCES and what else opendir(3) says; -ENOMEM. */
int journal_survey(const char *dir, struct journal_list *ret) __attribute__((warn_unused_result));
/* One volume's. -ENOENT. */
int journal_survey_one(const char *dir, const char *name, struct journal_summary *ret)
    __attribute__((warn_unused_result));
void journal_list_done(struct journal_list *list);

#endif
