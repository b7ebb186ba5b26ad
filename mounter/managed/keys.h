/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys.h - the store's keys of a managed volume, where they are temporary.
 *
 * The metaserver gives keys that reach this volume only and end after a while. The session's thread
 * asks for newer ones in time (keys_step), and whoever reads and writes never waits for that. They
 * lie in the kept region "keys", too, so that a successor does not begin with those of the mount.
 *
 *     r = keys_new(&config, &keys, err);
 *     pause = keys_step(keys, m);      by the session's thread, while there is a session
 *     keys_ask(keys);                  there may be others than we know
 *
 * Lock order: none is held by a caller; keys' own is taken alone.
 */
#ifndef MOUNTER_KEYS_H
#define MOUNTER_KEYS_H

#include <stdint.h>

#include "mount/stats.h"
#include "mounter/kept/keep.h"
#include "util/error.h"
#include "volume/open.h"

struct keys;
struct managed;

struct keys_config {
    struct volume *volume; /* borrowed; its credentials are set */
    struct keep *keep;
    struct mount_stats *stats; /* or NULL */
    const char *name;          /* of the volume, for logs; copied */
};

/* What a predecessor had is used at once. */
int keys_new(const struct keys_config *config, struct keys **ret, struct error *err)
    __attribute__((warn_unused_result));
void keys_free(struct keys *keys); /* NULL is allowed */

/* Ask at the next step. Any thread. */
void keys_ask(struct keys *keys);

enum { KEYS_STEP_NEVER_MS = 3600 * 1000 };

/* Ask if it is time. Returns when the next step is due, in milliseconds from now. */
uint64_t keys_step(struct keys *keys, struct managed *m) __attribute__((warn_unused_result));

#endif
