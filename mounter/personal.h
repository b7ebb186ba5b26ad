/* SPDX-License-Identifier: Apache-2.0 */
/*
 * personal.h - what only a mount by hand has: the environment of AWS tools, and a log of its own.
 */
#ifndef MOUNTER_PERSONAL_H
#define MOUNTER_PERSONAL_H

#include <stdbool.h>

#include "mount/config.h"
#include "util/error.h"

/*
 * AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, and AWS_REGION or AWS_DEFAULT_REGION, where an s3://
 * location of nobody but this person has no such option; a word on stderr about options that are
 * not read. -EINVAL: a variable's value is not possible, and err says which.
 */
int personal_options(struct mount_config *config, struct error *err)
    __attribute__((warn_unused_result));

/*
 * The log of a mount that leaves the terminal, or that has -o log_file=PATH: that file (made with
 * mode 0600, appended to), else syslogd. open: early, as it may not be possible; *ret_fd -1: it has
 * none. begin: stderr is the file from here on (`fd` is closed). reopen: on SIGHUP, by any thread.
 */
int personal_log_open(const struct mount_config *config, int *ret_fd, struct error *err)
    __attribute__((warn_unused_result));
void personal_log_begin(int fd, bool background);
void personal_log_reopen(const struct mount_config *config);

#endif
