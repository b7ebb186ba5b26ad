/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

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

/* As nginx wants one: with a port. */
static bool local_port(const char *address)
{
    const char *colon = strrchr(address, ':');

    return colon != NULL && colon[1] >= '0' && colon[1] <= '9' && strchr(colon, ']') == NULL &&
           listen_is_loopback(slice_of(address));
}

int listen_check(const struct proxy_config *config, struct error *err)
{
    const char *address = config->listen;
    int ret;

    if (strchr(address, ':') == NULL || (is_unix(address) && address[strlen(UNIX)] != '/')) {
        return error_set(err, -EINVAL, "--listen %s: wants host:port or unix:/path", address);
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
    ret = is_unix(address) ? file_remove_socket(address + strlen(UNIX)) : 0;
    return ret != 0 ? error_set(err, ret, "--listen %s: %s", address,
                                ret == -EADDRINUSE ? "another process listens there"
                                                   : strerrordesc_np(-ret))
                    : 0;
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
