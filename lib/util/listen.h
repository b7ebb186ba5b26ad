/* SPDX-License-Identifier: Apache-2.0 */
/*
 * listen.h - a TCP socket that takes connections, from what a person writes. Any thread.
 */
#ifndef UTIL_LISTEN_H
#define UTIL_LISTEN_H

#include <stdint.h>

/*
 * `address`: "host:port", "[v6]:port" or ":port" (all addresses, IPv6 and IPv4); port 0: a free
 * one. The socket is the caller's; *ret_port is the one it has. -EINVAL: the address is none of
 * these, or its host is not known; else why it cannot be listened on.
 */
int listen_tcp(const char *address, int backlog, int *ret_fd, uint16_t *ret_port)
    __attribute__((warn_unused_result));

#endif
