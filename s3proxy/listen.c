/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "util/cleanup.h"
#include "util/file.h"

#define UNIX "unix:"

static bool is_unix(const char *address)
{
    return strncmp(address, UNIX, strlen(UNIX)) == 0;
}

bool listen_is_loopback(struct slice address)
{
    const char *colon = address.len > 0 ? memrchr(address.data, ':', address.len) : NULL;
    char host[INET_ADDRSTRLEN];
    struct in_addr v4;

    if (colon != NULL && address.data[address.len - 1] != ']') {
        address.len = (size_t)(colon - address.data);
    }
    if (slice_eq_str(address, "localhost") || slice_eq_str(address, "[::1]")) {
        return true;
    }
    if (address.len == 0 || address.len >= sizeof(host)) {
        return false;
    }
    memcpy(host, address.data, address.len);
    host[address.len] = '\0';
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

/* Of "host:port", "[v6]:port" and ":port"; NULL: there is none, or none that exists. */
static const char *port_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;

    return colon != NULL && strlen(colon + 1) <= 5 && options_parse_number(colon + 1, &port) == 0 &&
                   port > 0 && port <= UINT16_MAX
               ? colon + 1
               : NULL;
}

/* As nginx wants one: with a port. */
static bool local_port(const char *address)
{
    return port_of(address) != NULL && listen_is_loopback(slice_of(address));
}

int listen_check(const struct proxy_config *config, struct error *err)
{
    const char *address = config->listen;

    if (is_unix(address) ? address[strlen(UNIX)] != '/' : strchr(address, ':') == NULL) {
        return error_set(err, -EINVAL, "--listen %s: wants host:port, :port or unix:/path",
                         address);
    }
    if (!is_unix(address) && port_of(address) == NULL) {
        return error_set(err, -EINVAL, "--listen %s: '%s' is not a port: wants 1 to 65535", address,
                         strrchr(address, ':') + 1);
    }
    if (config->sidecar && !is_unix(address) && !local_port(address)) {
        return error_set(err, -EINVAL,
                         "--listen %s: a sidecar serves its pod only; wants 127.0.0.1:PORT, "
                         "[::1]:PORT or unix:/path",
                         address);
    }
    if (config->identity != NULL && !local_port(config->identity)) {
        return error_set(err, -EINVAL,
                         "--identity-listen %s: who can reach it gets credentials; wants "
                         "127.0.0.1:PORT or [::1]:PORT",
                         config->identity);
    }
    return 0;
}

/* As nginx will bind it. 0 also where the machine has no such family: nginx is not told of it. */
static int try_bind(const struct addrinfo *at)
{
    AUTOCLOSE int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0) {
        return errno == EAFNOSUPPORT ? 0 : -errno;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (at->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    return bind(fd, at->ai_addr, at->ai_addrlen) < 0 ? -errno : 0;
}

/* -EINVAL: the host has no address. */
static int try_address(const char *address)
{
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    const char *port = port_of(address);
    size_t len = (size_t)(port - 1 - address);
    bool bracketed = len >= 2 && address[0] == '[' && address[len - 1] == ']';
    AUTOFREE char *host = bracketed ? strndup(address + 1, len - 2) : strndup(address, len);
    bool all = len == 0 || (len == 1 && address[0] == '*');
    struct addrinfo *found = NULL;
    int ret = 0;

    if (host == NULL || getaddrinfo(all ? NULL : host, port, &hints, &found) != 0) {
        return host == NULL ? -ENOMEM : -EINVAL;
    }
    for (const struct addrinfo *at = found; at != NULL && ret == 0; at = at->ai_next) {
        ret = try_bind(at);
    }
    freeaddrinfo(found);
    return ret;
}

/* What ends just now may hold its port for a moment longer. */
static int make_way(const char *option, const char *address, struct error *err)
{
    static const struct timespec pause = {.tv_nsec = 500 * 1000 * 1000};
    int ret;

    if (is_unix(address)) {
        ret = file_remove_socket(address + strlen(UNIX));
    } else {
        ret = try_address(address);
        for (int i = 0; ret == -EADDRINUSE && i < 4; i++) {
            (void)nanosleep(&pause, NULL);
            ret = try_address(address);
        }
    }
    return ret == 0 ? 0
                    : error_set(err, ret, "--%s %s: %s", option, address,
                                ret == -EADDRINUSE ? "another process listens there"
                                : ret == -EINVAL   ? "that host has no address"
                                                   : strerrordesc_np(-ret));
}

int listen_make_way(const struct proxy_config *config, struct error *err)
{
    int ret = make_way("listen", config->listen, err);

    return ret == 0 && config->identity != NULL ? make_way("identity-listen", config->identity, err)
                                                : ret;
}

static bool has_ipv6(void)
{
    AUTOCLOSE int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd >= 0;
}

void listen_write(const char *address, const char *more, struct buf *out)
{
    if (address[0] != ':') {
        buf_addf(out, "    listen %s%s;\n", address, more);
        return;
    }
    /* Two sockets: on one, IPv4 clients would have addresses that no policy's condition means. */
    buf_addf(out, "    listen %s%s;\n", address + 1, more);
    if (has_ipv6()) {
        buf_addf(out, "    listen [::]%s%s;\n", address, more);
    }
}
