/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h - key components to file names and back, for every key a bucket can hold.
 *
 * A component that is a good file name is its own name. The others get a name that begins with
 * ".%", and so do the few components that themselves begin so:
 *
 *     ""           ".%empty"      (of "a//b")
 *     "." and ".." ".%dot" ".%dotdot"
 *     ".%x"        ".%%.%x"       (any component that begins with ".%")
 *     a file "a" beside the directory "a/"   ".%file%a"
 *
 * Components of more than 255 bytes have no name: names_from_key() says -ENAMETOOLONG. Any byte but
 * '/' and NUL may stand in both. Pure: any thread.
 */
#ifndef MOUNTER_NAMES_H
#define MOUNTER_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "util/slice.h"

enum { NAMES_MAX = 255 }; /* bytes of a file name, without NUL */

/* `beside`: a file that shares its component with a directory. -ENAMETOOLONG. */
int names_from_key(struct slice component, bool beside, char ret[NAMES_MAX + 1])
    __attribute__((warn_unused_result));

/* The component of a name; -EINVAL: no key has this name ("", ".", "..", ".%strange"). */
int names_to_key(const char *name, bool *ret_beside, char ret[NAMES_MAX + 1])
    __attribute__((warn_unused_result));

#endif
