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
 * A name that is no UTF-8 can be no key, and a program may make one that begins with ".%" and means
 * none of the above. Their components tell the name's bytes, '%' and what is no UTF-8 in hex:
 *
 *     ".%name%a%FF"   "a\xff"
 *     ".%name%.%25x"  ".%x"
 *
 * Components of more than 255 bytes have no name here but these: names_from_key() says
 * -ENAMETOOLONG, and longs.h finds one. Any byte but '/' and NUL may stand in a name; only those
 * that begin as those of longs.h do cannot be chosen. Pure: any thread.
 */
#ifndef MOUNTER_NAMES_H
#define MOUNTER_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "util/slice.h"

enum {
    NAMES_MAX = 255,                         /* bytes of a file name, without NUL */
    NAMES_COMPONENT_MAX = 7 + 3 * NAMES_MAX, /* of its component: ".%name%", every byte in hex */
};
#define NAMES_LONG ".%long%" /* how the names of longs.h begin */
#define NAMES_LONG_BESIDE ".%lfile%"

/* `beside`: a file that shares its component with a directory. -ENAMETOOLONG. */
int names_from_key(struct slice component, bool beside, char ret[NAMES_MAX + 1])
    __attribute__((warn_unused_result));

/* The component of a name; -EINVAL: no key has this name ("", ".", "..", those of longs.h);
 * -ENAMETOOLONG. */
int names_to_key(const char *name, bool *ret_beside, char ret[NAMES_COMPONENT_MAX + 1])
    __attribute__((warn_unused_result));

#endif
