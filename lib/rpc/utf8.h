/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - is it UTF-8, and if not, make it so. No state: safe from any thread. */
#ifndef RPC_UTF8_H
#define RPC_UTF8_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>

#include "util/slice.h"

/* RFC 3629: no overlong forms, no surrogates, at most U+10FFFF. */
bool utf8_valid(struct slice text);

/* A copy of what fits whole into size bytes with NUL, bad bytes and control characters as '?'.
 * Returns its length. size must be at least 1. */
size_t utf8_clean(struct slice text, char *ret, size_t size);

/* Every string field of the message and of those in it. The name of the first bad field, or NULL.
 */
const char *utf8_bad_field(const ProtobufCMessage *message);

#endif
