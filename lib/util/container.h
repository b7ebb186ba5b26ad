/* SPDX-License-Identifier: Apache-2.0 */
/* container.h - from an embedded member to the structure around it. */
#ifndef UTIL_CONTAINER_H
#define UTIL_CONTAINER_H

#include <stddef.h>

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
