/* SPDX-License-Identifier: Apache-2.0 */
#include "util/listen.h"

#include <errno.h>
#include <netdb.h>
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

int listen_tcp(const char *address, int backlog, int *ret_fd, uint16_t *ret_port)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    AUTOCLOSE int fd = -1;
    char host[HOST_SIZE];
    const char *port;
    int one = 1;
    int r = 0;

    if (split(address, host, &port) < 0 ||
        getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &found) != 0) {
        return -EINVAL;
    }
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, backlog) < 0) {
        r = -errno;
    }
    freeaddrinfo(found);
    r = r < 0 ? r : port_of(fd, ret_port);
    if (r == 0) {
        *ret_fd = take_fd(&fd);
    }
    return r;
}
