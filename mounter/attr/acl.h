/* SPDX-License-Identifier: Apache-2.0 */
/*
 * acl.h - POSIX access control lists, as the values of system.posix_acl_access and _default.
 *
 * The kernel checks them; keeping them in step with the mode, and giving new files what their
 * directory's default list says, is the file system's part. The values are those of getxattr(2):
 * version 2, entries in the order of their tags. Pure: any thread.
 */
#ifndef MOUNTER_ACL_H
#define MOUNTER_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/*
 * The nine bits that this list means, in *mode (its other bits stay). *ret_minimal: the mode says
 * all of it. -EINVAL: not a list.
 */
int acl_to_mode(const void *value, size_t len, uint32_t *mode, bool *ret_minimal)
    __attribute__((warn_unused_result));

/* After a chmod: the list changed in place. -EINVAL. */
int acl_chmod(void *value, size_t len, uint32_t mode) __attribute__((warn_unused_result));

/*
 * A file is made with *mode in a directory with this default list: `value` becomes its own list,
 * *mode what is left of it. *ret_minimal as above: it needs no list. -EINVAL.
 */
int acl_create(void *value, size_t len, uint32_t *mode, bool *ret_minimal)
    __attribute__((warn_unused_result));

#endif
