/* SPDX-License-Identifier: Apache-2.0 */
#include "util/address.h"

#include <arpa/inet.h>
#include <string.h>

bool address_v4_is_internal(uint32_t host_order)
{
    uint32_t a = host_order >> 24;

    return a == 0 || a == 127 || host_order >> 16 == 0xa9fe || a >= 224 ||
           host_order == 0x646464c8 || /* 100.100.100.200: metadata on Alibaba Cloud */
           host_order == 0xa83f8110;   /* 168.63.129.16: the host on Azure */
}

bool address_v6_is_internal(const struct in6_addr *address)
{
    static const uint8_t translated[12] = {0x00, 0x64, 0xff, 0x9b}; /* 64:ff9b::/96, NAT64 */
    const uint8_t *b = address->s6_addr;
    uint32_t v4 = (uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 | (uint32_t)b[14] << 8 | b[15];

    if (IN6_IS_ADDR_V4MAPPED(address) || IN6_IS_ADDR_V4COMPAT(address) ||
        memcmp(b, translated, sizeof(translated)) == 0) {
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
