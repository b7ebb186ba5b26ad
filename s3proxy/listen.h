/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h - where skyvol-s3 may listen. No state. */
#ifndef S3PROXY_LISTEN_H
#define S3PROXY_LISTEN_H

#include <stdbool.h>

#include "s3proxy/nginx_conf.h"
#include "util/buf.h"
#include "util/slice.h"

/* localhost, 127.x.y.z or [::1], with or without a port. */
bool listen_is_loopback(struct slice address);

/* -EINVAL: not an address, or one that more than the pod would reach where only the pod may. */
int listen_check(const struct proxy_config *config, struct error *err)
    __attribute__((warn_unused_result));

/* For addresses that were checked: removes unix sockets that nobody listens on, and tells before
 * nginx does what cannot be listened on. -EADDRINUSE: another process has it, and keeps it for two
 * seconds; -EINVAL: a host that is not known; or what bind(2) says. */
int listen_make_way(const struct proxy_config *config, struct error *err)
    __attribute__((warn_unused_result));

/* The directives "listen" of nginx, each with `more` behind it; ":port" is all addresses, of IPv6
 * where the machine has it and of IPv4. */
void listen_write(const char *address, const char *more, struct buf *out);

#endif
