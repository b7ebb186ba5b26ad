/* SPDX-License-Identifier: Apache-2.0 */
#include "util/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "util/cleanup.h"

enum { HOST_SIZE = 256 };

/* As getaddrinfo wants them. */
static int split(const char *address, char host[HOST_SIZE], const char **ret_port)
{
    const char *colon = strrchr(address, ':');
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;

    if (colon == NULL || colon[1] == '\0' || len >= HOST_SIZE) {
        return -EINVAL;
    }
    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    memcpy(host, address, len);
    host[len] = '\0';
    *ret_port = colon + 1;
    return 0;
}

static int port_of(int fd, uint16_t *ret)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    char port[8];

    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0) {
        return -errno;
    }
    if (getnameinfo((const struct sockaddr *)&address, len, NULL, 0, port, sizeof(port),
                    NI_NUMERICSERV) != 0) {
        return -EIO;
    }
    *ret = (uint16_t)strtoul(port, NULL, 10);
    return 0;
}

/* `both`: an IPv6 socket that gets IPv4, too, as mapped addresses. */
static int listen_on(const struct addrinfo *at, bool both, int backlog, int *ret)
{
    AUTOCLOSE int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    int zero = 0;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        (both && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)) < 0) ||
        bind(fd, at->ai_addr, at->ai_addrlen) < 0 || listen(fd, backlog) < 0) {
        return -errno;
    }
    *ret = take_fd(&fd);
    return 0;
}

static int resolve(const char *host, const char *port, int family, struct addrinfo **ret)
{
    const struct addrinfo hints = {
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_family = family, .ai_socktype = SOCK_STREAM};

    return getaddrinfo(host, port, &hints, ret) == 0 ? 0 : -EINVAL;
}

int listen_tcp(const char *address, int backlog, int *ret_fd, uint16_t *ret_port)
{
    struct addrinfo *found = NULL;
    AUTOCLOSE int fd = -1;
    char host[HOST_SIZE];
    const char *port;
    int r = split(address, host, &port);

    if (r == 0 && host[0] == '\0') {
        r = resolve(NULL, port, AF_INET6, &found);
        r = r < 0 ? r : listen_on(found, true, backlog, &fd);
        if (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL) { /* a machine without IPv6 */
            freeaddrinfo(found);
            found = NULL;
            r = resolve(NULL, port, AF_INET, &found);
            r = r < 0 ? r : listen_on(found, false, backlog, &fd);
        }
    } else if (r == 0) {
        r = resolve(host, port, AF_UNSPEC, &found);
        r = r < 0 ? r : listen_on(found, false, backlog, &fd);
    }
    if (found != NULL) {
        freeaddrinfo(found);
    }
    r = r < 0 ? r : port_of(fd, ret_port);
    if (r == 0) {
        *ret_fd = take_fd(&fd);
    }
    return r;
}
