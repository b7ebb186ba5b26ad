/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.h - which network addresses lead to the machine itself or to the metadata service of its
 * cloud: what a person who may not log in there must not make our programs talk to.
 *
 * Loopback, link-local, unspecified and multicast ones, in IPv6 also those that carry such an IPv4
 * address, and the few public-looking addresses at which clouds answer machines about themselves.
 * Private networks are no part of it: stores live there. Pure functions but the last; any thread.
 */
#ifndef UTIL_ADDRESS_H
#define UTIL_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

bool address_v4_is_internal(uint32_t host_order);
bool address_v6_is_internal(const struct in6_addr *address);

/* Anything but an IPv4 or IPv6 address is internal. */
bool address_is_internal(const struct sockaddr *address);

/*
 * Why an endpoint that such a person names may not be connected to, as the end of "which is ...",
 * or NULL: it may. Beside what is internal there are
 *   - addresses that this machine has now, but for ports of NodePort Services (30000 to 32767), and
 *     for what IPVS keeps on kube-ipvs0, which are all Services of the cluster;
 *   - the Kubernetes API server's Service (KUBERNETES_SERVICE_HOST of the environment);
 *   - the ports of Kubernetes' own programs (API server, etcd, kubelet and others) anywhere, since
 *     other nodes' addresses are not known here.
 * Asks the kernel for the machine's addresses: microseconds, for each new connection.
 */
const char *address_refusal(const struct sockaddr *address);

#endif
