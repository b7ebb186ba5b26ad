/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seal.h - credentials at rest: AES-256-GCM under a key that is never in the database.
 *
 * The key file has one key a line, "ID HEX" with 64 hex digits; the first seals, all open, so a key
 * is rotated by putting a new line on top. What is sealed is bound to a context (the row it is of):
 * it cannot be moved to another row. Sealed form: "SK1", length of id, id, 12 bytes nonce,
 * ciphertext, 16 bytes tag. Any thread; seal_reload() when nobody else is in here is up to the lock
 * inside.
 */
#ifndef METASERVER_SEAL_H
#define METASERVER_SEAL_H

#include <stdbool.h>

#include "util/arena.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/error.h"

struct seal;

/* Makes the file with a first key (mode 0600) where there is none. -EINVAL: a line is not a key. */
int seal_open(const char *key_file, struct seal **ret, struct error *err)
    __attribute__((warn_unused_result));
void seal_close(struct seal *seal); /* wipes the keys; NULL is allowed */
DEFINE_CLEANUP(struct seal *, seal_close);
int seal_reload(struct seal *seal, struct error *err) __attribute__((warn_unused_result));

int seal_put(struct seal *seal, const char *context, const char *secret, struct buf *out)
    __attribute__((warn_unused_result));
/* -EBADMSG: changed, or of another row; -ENOKEY: its key is not in the file. NUL-terminated; wipe
 * it. */
int seal_get(struct seal *seal, const char *context, const void *sealed, size_t len,
             struct buf *out) __attribute__((warn_unused_result));

/* True if it was sealed under the key that seals now. */
bool seal_is_newest(struct seal *seal, const void *sealed, size_t len);

#endif
