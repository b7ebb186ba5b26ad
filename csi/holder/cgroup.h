/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - a cgroup for each mount, apart from the holder's own.
 *
 * A container's runtime kills all that is in the container's cgroups when its first process ends.
 * With cgroup v1 these are many, one in each controller's hierarchy: a mounter is limited in
 * memory's, and put at the top of the others.
 *
 * No state beside the struct; one thread. Making and removing is best effort: a mount without a
 * limit is better than none.
 */
#ifndef HOLDER_CGROUP_H
#define HOLDER_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

enum { CGROUPS_OTHERS_MAX = 32, CGROUP_PATH_MAX = 512 };

struct cgroups {
    char *root;                       /* where each mount's is; NULL: none is made */
    char *others[CGROUPS_OTHERS_MAX]; /* tops of v1's other hierarchies */
    unsigned other_count;
};

/*
 * `path` is the directory to be made for them: in a cgroup2 or in v1's hierarchy of memory. Or its
 * parent holds v1's hierarchies, as /sys/fs/cgroup does: then it is made in memory's, and the
 * others are left, too. `path` NULL: none is wanted. -EINVAL: the parent is nothing of all this.
 * -ENOMEM.
 */
int cgroups_init(struct cgroups *cgroups, const char *path, struct error *err)
    __attribute__((warn_unused_result));
void cgroups_done(struct cgroups *cgroups); /* the directory goes, too, if no mount is in it */

/* Create the group of `key`, limit it to `memory_bytes` if that is not 0, and write its directory
 * to `ret`. False: there is none. */
bool cgroups_make(const struct cgroups *cgroups, const char *key, uint64_t memory_bytes,
                  char ret[static CGROUP_PATH_MAX]);
void cgroups_remove(const struct cgroups *cgroups, const char *key); /* once it is empty */

/* The calling process goes into `group`, as cgroups_make() told it. After fork(2), too. */
void cgroups_enter(const struct cgroups *cgroups, const char *group);

/* How often the kernel has killed in that group for lack of memory; 0 also if nobody counts. */
uint64_t cgroups_oom_kills(const struct cgroups *cgroups, const char *key);

#endif
