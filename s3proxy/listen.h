/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h - where skyvol-s3 may listen. No state. */
#ifndef S3PROXY_LISTEN_H
#define S3PROXY_LISTEN_H

#include <stdbool.h>

#include "s3proxy/nginx_conf.h"
#include "util/slice.h"

/* localhost, 127.x.y.z or [::1], with or without a port. */
bool listen_is_loopback(struct slice address);

/* -EINVAL: not an address, or one that more than the pod would reach where only the pod may. Makes
 * way for unix sockets: -EADDRINUSE when another process listens there. */
int listen_check(const struct proxy_config *config, struct error *err)
    __attribute__((warn_unused_result));

#endif
