/* SPDX-License-Identifier: Apache-2.0 */
#include "util/address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

#define IPVS_INTERFACE "kube-ipvs0"

enum { NODE_PORT_FIRST = 30000, NODE_PORT_LAST = 32767 };

bool address_v4_is_internal(uint32_t host_order)
{
    uint32_t a = host_order >> 24;

    return a == 0 || a == 127 || host_order >> 16 == 0xa9fe || a >= 224 ||
           host_order == 0x646464c8 || /* 100.100.100.200: metadata on Alibaba Cloud */
           host_order == 0xa83f8110;   /* 168.63.129.16: the host on Azure */
}

/* Such an IPv6 address carries an IPv4 one in its last bytes. */
static bool carries_v4(const struct in6_addr *address)
{
    static const uint8_t translated[12] = {0x00, 0x64, 0xff, 0x9b}; /* 64:ff9b::/96, NAT64 */

    return IN6_IS_ADDR_V4MAPPED(address) || IN6_IS_ADDR_V4COMPAT(address) ||
           memcmp(address->s6_addr, translated, sizeof(translated)) == 0;
}

bool address_v6_is_internal(const struct in6_addr *address)
{
    const uint8_t *b = address->s6_addr;
    uint32_t v4 = (uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 | (uint32_t)b[14] << 8 | b[15];

    if (carries_v4(address)) {
        return address_v4_is_internal(v4);
    }
    return IN6_IS_ADDR_LOOPBACK(address) || IN6_IS_ADDR_UNSPECIFIED(address) ||
           IN6_IS_ADDR_LINKLOCAL(address) || IN6_IS_ADDR_MULTICAST(address) ||
           (b[0] == 0xfd && b[1] == 0x00 && b[2] == 0x0e && b[3] == 0xc2); /* metadata on AWS */
}

bool address_is_internal(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;

        memcpy(&v4, address, sizeof(v4));
        return address_v4_is_internal(ntohl(v4.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;

        memcpy(&v6, address, sizeof(v6));
        return address_v6_is_internal(&v6.sin6_addr);
    }
    return true;
}

/* ---- where an endpoint of a user's may not lead ---- */

/* An address of either family, in one form. */
struct place {
    uint8_t bytes[16];
    uint16_t port;
};

static struct place place_of_v4(const struct in_addr *address)
{
    struct place ret = {.bytes = {[10] = 0xff, [11] = 0xff}};

    memcpy(ret.bytes + 12, address, 4);
    return ret;
}

static struct place place_of_v6(const struct in6_addr *address)
{
    struct place ret = {.port = 0};
    struct in_addr v4;

    if (carries_v4(address)) {
        memcpy(&v4, address->s6_addr + 12, sizeof(v4));
        return place_of_v4(&v4);
    }
    memcpy(ret.bytes, address->s6_addr, sizeof(ret.bytes));
    return ret;
}

/* False if it is neither IPv4 nor IPv6. */
static bool find_place(const struct sockaddr *address, struct place *ret)
{
    struct sockaddr_in6 v6;
    struct sockaddr_in v4;

    if (address->sa_family == AF_INET) {
        memcpy(&v4, address, sizeof(v4));
        *ret = place_of_v4(&v4.sin_addr);
        ret->port = ntohs(v4.sin_port);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        memcpy(&v6, address, sizeof(v6));
        *ret = place_of_v6(&v6.sin6_addr);
        ret->port = ntohs(v6.sin6_port);
        return true;
    }
    return false;
}

static bool is_same(const struct place *a, const struct place *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* 1, 0, or -1: the kernel does not say. */
static int is_own(const struct place *place)
{
    struct ifaddrs *all = NULL;
    struct place own;
    int ret = 0;

    if (getifaddrs(&all) < 0) {
        return -1;
    }
    for (const struct ifaddrs *one = all; one != NULL && ret == 0; one = one->ifa_next) {
        ret = one->ifa_addr != NULL && strcmp(one->ifa_name, IPVS_INTERFACE) != 0 &&
              find_place(one->ifa_addr, &own) && is_same(place, &own);
    }
    freeifaddrs(all);
    return ret;
}

static bool is_api_server(const struct place *place)
{
    const char *text = getenv("KUBERNETES_SERVICE_HOST");
    struct place api;
    struct in6_addr v6;
    struct in_addr v4;

    if (text != NULL && inet_pton(AF_INET, text, &v4) == 1) {
        api = place_of_v4(&v4);
    } else if (text != NULL && inet_pton(AF_INET6, text, &v6) == 1) {
        api = place_of_v6(&v6);
    } else {
        return false;
    }
    return is_same(place, &api);
}

/* etcd, the API server; kubelet, kube-proxy, controller manager, scheduler. */
static bool is_port_of_kubernetes(uint16_t port)
{
    return port == 2379 || port == 2380 || port == 6443 || (port >= 10248 && port <= 10259);
}

const char *address_refusal(const struct sockaddr *address)
{
    struct place place;
    int own;

    if (address_is_internal(address) || !find_place(address, &place)) {
        return "on this machine itself or link-local";
    }
    if (is_port_of_kubernetes(place.port)) {
        return "at a port of Kubernetes' own programs";
    }
    if (is_api_server(&place)) {
        return "the Kubernetes API server";
    }
    if (place.port >= NODE_PORT_FIRST && place.port <= NODE_PORT_LAST) {
        return NULL;
    }
    own = is_own(&place);
    return own < 0   ? "perhaps an address of this machine itself, which could not be looked up"
           : own > 0 ? "an address of this machine itself"
                     : NULL;
}
