/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mounter.h - running skyvol-mount with keys that stand in no argument, variable or file: they go
 * into a sealed memfd that it inherits and reads as a credentials file. One thread.
 */
#ifndef CLI_MOUNTER_H
#define CLI_MOUNTER_H

#include <limits.h>

#include "mount/config.h"
#include "util/buf.h"
#include "util/error.h"

enum { MOUNTER_ENVIRONMENT_MAX = 1024 };

/* A descriptor that survives exec; -1 in *ret when there are no keys (NULL or ""). */
int mounter_seal_keys(const struct mount_credentials *keys, int *ret)
    __attribute__((warn_unused_result));

/* Whatever else the mounter is to know and nobody else: the bytes of `text`, which are wiped then.
 * A descriptor that survives exec. Errors: buf_error(), those of message_seal(). */
int mounter_seal(const char *name, struct buf *text, int *ret) __attribute__((warn_unused_result));

/* Our environment without AWS's keys, and with where they are now, if keys >= 0; `file` is room for
 * that. -E2BIG. */
int mounter_environment(int keys, char file[64], char *ret[MOUNTER_ENVIRONMENT_MAX])
    __attribute__((warn_unused_result));

/* skyvol-mount beside us, unless `named`. */
int mounter_program(const char *named, char ret[PATH_MAX], struct error *err)
    __attribute__((warn_unused_result));

#endif
