/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper.h - the first process of the holder: it keeps descriptors and starts the supervisor.
 *
 * The keeper does so little that it has no reason to die: a table of (mount, name) -> descriptor
 * of fixed size, one socket to its child, no allocation, no parsing. The supervisor does all the
 * rest; when it dies, the keeper starts another, which asks for the table.
 *
 * keeper_run() is the keeper; the keeper_*() below are what the supervisor, being its child, asks.
 * They block for a moment, at most KEEPER_TIMEOUT_MS. Errors: -ENOSPC (table full), -ETIMEDOUT,
 * -EPIPE (the keeper is gone: exit, the mounters wait for the next holder).
 */
#ifndef HOLDER_KEEPER_H
#define HOLDER_KEEPER_H

#include <stdint.h>

#include "mount/holder.h"

enum {
    KEEPER_NAME_MAX = 32,
    KEEPER_ENTRIES_MAX = HOLDER_LIST_MAX * HOLDER_FDS_MAX,
    KEEPER_TIMEOUT_MS = 5000,
};

/* Exit status of a supervisor that could not begin to work, and of options that are wrong: another
 * try would end alike. */
enum { KEEPER_CANNOT_START = 2 };

/*
 * Start `argv` (NULL-terminated; the last argument's room takes "--keeper-fd=N") as the supervisor
 * again and again. Returns the exit status of the program: after SIGTERM, keeper_exit(), or with
 * KEEPER_CANNOT_START when the supervisor said so while nothing is kept, so nothing is lost by it.
 */
int keeper_run(char *const *argv);

/* Keep a duplicate of fd under these names, in place of what is there. */
int keeper_put(int keeper, const char *key, const char *name, int fd)
    __attribute__((warn_unused_result));

/* Forget all of a mount. */
int keeper_drop(int keeper, const char *key) __attribute__((warn_unused_result));

/* `visit` owns fd. */
typedef void keeper_visit_fn(void *context, const char *key, const char *name, int fd);
int keeper_list(int keeper, keeper_visit_fn *visit, void *context)
    __attribute__((warn_unused_result));

/* Everything has been handed over: keeper_run() returns 0 when the supervisor has ended. */
int keeper_exit(int keeper) __attribute__((warn_unused_result));

#endif
