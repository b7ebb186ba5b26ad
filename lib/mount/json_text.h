/* SPDX-License-Identifier: Apache-2.0 */
/* json_text.h - a string as JSON writes it. */
#ifndef MOUNT_JSON_TEXT_H
#define MOUNT_JSON_TEXT_H

#include "util/buf.h"

/* Appends it with its quotes; what was copied meanwhile is wiped: it may be a key. */
void json_add_text(struct buf *out, const char *text);

#endif
