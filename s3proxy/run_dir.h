/* SPDX-License-Identifier: Apache-2.0 */
/* run_dir.h - the directory of one skyvol-s3: its nginx.conf, its counts, its temporary files. */
#ifndef S3PROXY_RUN_DIR_H
#define S3PROXY_RUN_DIR_H

#include "util/error.h"

/*
 * Make it if absent and take it for ourselves: the lock ends with *ret_fd or with this process,
 * however it ends, and no other program inherits it. -EPERM: not a directory of ours with mode
 * 0700; -EBUSY: another skyvol-s3 has it; or what mkdir(2), open(2) and flock(2) say.
 */
int run_dir_take(const char *path, int *ret_fd, struct error *err)
    __attribute__((warn_unused_result));

#endif
