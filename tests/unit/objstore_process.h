/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objstore_process.h - a store whose work another process does, with a handle of its own.
 *
 * For the suite: what one process writes, another reads, and both may change one key. Requests and
 * answers lie in memory that both share at the same address. Calls wait for their answer inside
 * objstore_submit(). Streams, uploads and batches are not passed on: they answer -ENOTSUP.
 *
 * The process is forked here: call it before any thread runs.
 */
#ifndef TESTS_UNIT_OBJSTORE_PROCESS_H
#define TESTS_UNIT_OBJSTORE_PROCESS_H

#include "objstore/objstore.h"

/* `open` is called in the new process. objstore_free() ends it, and checks that it ended well. */
struct objstore *objstore_process_new(struct objstore *(*open)(const char *root), const char *root);

#endif
