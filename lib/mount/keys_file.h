/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys_file.h - the keys of a store in the files in which people have them.
 *
 *     {"accessKey": "...", "secretKey": "..."}         ours, in any spelling (config.h)
 *     [default]                                        an AWS credentials or config file: the
 *     aws_access_key_id = ...                          profile `default`, or the only one
 *     aws_secret_access_key = ...
 *     {"metadata": {"accessId": "GOOG..."}, "secret": "..."}      an HMAC key of Google's, as its
 *                                                      tools print it
 *
 * What needs more than keys (a role, a process, single sign-on; the private key of a Google service
 * account) is refused with what to do. Error texts never hold a value.
 */
#ifndef MOUNT_KEYS_FILE_H
#define MOUNT_KEYS_FILE_H

#include "mount/config.h"

/* `ret` must be empty. Without any keys it stays so, and that is 0. -EINVAL, -ENOMEM. */
int mount_keys_parse(const char *text, struct mount_credentials *ret, struct error *err)
    __attribute__((warn_unused_result));

#endif
