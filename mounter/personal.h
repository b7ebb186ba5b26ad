/* SPDX-License-Identifier: Apache-2.0 */
/*
 * personal.h - what only a mount by hand has: the environment of AWS tools, and a log of its own.
 */
#ifndef MOUNTER_PERSONAL_H
#define MOUNTER_PERSONAL_H

#include "mount/config.h"
#include "util/error.h"

/*
 * AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, and AWS_REGION or AWS_DEFAULT_REGION, where an s3://
 * location of nobody but this person has no such option; a word on stderr about options that are
 * not read. -EINVAL: a variable's value is not possible, and err says which.
 */
int personal_options(struct mount_config *config, struct error *err)
    __attribute__((warn_unused_result));

#endif
