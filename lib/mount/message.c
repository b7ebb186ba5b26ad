/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/message.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/random.h"

void message_done(struct message *m)
{
    cJSON_Delete(m->json);
    m->json = NULL;
    for (unsigned i = 0; i < m->fd_count; i++) {
        if (m->fds[i] >= 0) {
            (void)close(m->fds[i]);
        }
    }
    m->fd_count = 0;
}

cJSON *message_op(const char *op)
{
    cJSON *json = cJSON_CreateObject();

    if (json != NULL && cJSON_AddStringToObject(json, "op", op) == NULL) {
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}

/* Wait for `events` until the deadline. 0, -ETIMEDOUT, or -errno. */
static int wait_for(int socket, short events, uint64_t until_ms)
{
    for (;;) {
        uint64_t now = clock_monotonic_ms(clock_real());
        uint64_t left = until_ms > now ? until_ms - now : 0;
        struct pollfd p = {.fd = socket, .events = events};
        int n = poll(&p, 1, left < 60000 ? (int)left : 60000);

        if (n > 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        if (n == 0 && left == 0) {
            return -ETIMEDOUT;
        }
    }
}

static uint64_t deadline(uint64_t timeout_ms)
{
    uint64_t now = clock_monotonic_ms(clock_real());

    return timeout_ms < UINT64_MAX - now ? now + timeout_ms : UINT64_MAX;
}

union control {
    char bytes[CMSG_SPACE(sizeof(int) * MESSAGE_FDS_MAX)];
    struct cmsghdr align;
};

static int send_text(int socket, char *text, const int *fds, unsigned count, uint64_t timeout_ms)
{
    struct iovec iov = {.iov_base = text, .iov_len = strlen(text)};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    union control control = {{0}};
    uint64_t until = deadline(timeout_ms);

    if (iov.iov_len > MESSAGE_SIZE_MAX || count > MESSAGE_FDS_MAX) {
        return -EMSGSIZE;
    }
    if (count > 0) {
        struct cmsghdr *c;

        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        c = CMSG_FIRSTHDR(&header);
        assert(c != NULL); /* there is room for it */
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
    }
    for (;;) {
        int r;

        if (sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
            return 0;
        }
        if (errno == ECONNRESET) {
            return -EPIPE;
        }
        if (errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        r = wait_for(socket, POLLOUT, until);
        if (r < 0) {
            return r;
        }
    }
}

int message_send(int socket, cJSON *json, const int *fds, unsigned count, uint64_t timeout_ms)
{
    AUTOFREE char *text = json != NULL ? cJSON_PrintUnformatted(json) : NULL;

    cJSON_Delete(json);
    return text == NULL ? -ENOMEM : send_text(socket, text, fds, count, timeout_ms);
}

static int take_descriptors(struct msghdr *header, struct message *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (m->fd_count < MESSAGE_FDS_MAX) {
                m->fds[m->fd_count++] = fd;
            } else {
                (void)close(fd);
            }
        }
    }
    return (header->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ? -EBADMSG : 0;
}

static int receive(int socket, char *text, struct message *m)
{
    struct iovec iov = {.iov_base = text, .iov_len = MESSAGE_SIZE_MAX};
    union control control;
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    int r;

    if (n < 0) {
        return errno == ECONNRESET ? -EPIPE : -errno;
    }
    r = take_descriptors(&header, m);
    if (n == 0) {
        return -EPIPE; /* an empty packet is never sent */
    }
    if (r < 0) {
        return r;
    }
    m->json = cJSON_ParseWithLength(text, (size_t)n);
    return cJSON_IsObject(m->json) ? 0 : -EBADMSG;
}

int message_receive(int socket, uint64_t timeout_ms, struct message *ret)
{
    CLEANUP(message_done) struct message m = MESSAGE_INIT;
    AUTOFREE char *text = malloc(MESSAGE_SIZE_MAX);
    uint64_t until = deadline(timeout_ms);
    int r;

    if (text == NULL) {
        return -ENOMEM;
    }
    do {
        r = wait_for(socket, POLLIN, until);
        if (r == 0) {
            r = receive(socket, text, &m);
        }
    } while (r == -EAGAIN || r == -EINTR);
    if (r < 0) {
        return r;
    }
    *ret = m;
    m = (struct message)MESSAGE_INIT;
    return 0;
}

const char *message_string(const struct message *m, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(m->json, name));

    return text != NULL ? text : "";
}

uint64_t message_number(const struct message *m, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(m->json, name);

    if (!cJSON_IsNumber(item) || !(item->valuedouble > 0)) {
        return 0;
    }
    return item->valuedouble < 9007199254740992.0 ? (uint64_t)item->valuedouble : 1ULL << 53;
}

bool message_true(const struct message *m, const char *name)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(m->json, name));
}

int message_take_fd(struct message *m, unsigned index)
{
    int fd = -1;

    if (index < m->fd_count) {
        fd = m->fds[index];
        m->fds[index] = -1;
    }
    return fd;
}

/* Sockets */

static int address_of(const char *path, struct sockaddr_un *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(ret->sun_path)) {
        return -ENAMETOOLONG;
    }
    memcpy(ret->sun_path, path, strlen(path));
    return 0;
}

/*
 * Bound under a name of its own and then renamed over the well-known one: at no moment is there a
 * path that nobody listens on, and a predecessor's socket is replaced while it still serves.
 */
int message_listen(const char *path, int *ret)
{
    AUTOCLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;
    char temporary[sizeof(address.sun_path)];
    char id[RANDOM_ID_SIZE];
    mode_t mask;
    int r;

    if (fd < 0) {
        return -errno;
    }
    random_id(id);
    r = snprintf(temporary, sizeof(temporary), "%s.%.8s", path, id);
    if (r < 0 || (size_t)r >= sizeof(temporary)) {
        return -ENAMETOOLONG;
    }
    r = address_of(temporary, &address);
    if (r < 0) {
        return r;
    }
    mask = umask(0177);
    r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    (void)umask(mask);
    if (r == 0 && (listen(fd, 64) < 0 || rename(temporary, path) < 0)) {
        r = -errno;
        (void)unlink(temporary);
    }
    if (r < 0) {
        return r;
    }
    *ret = take_fd(&fd);
    return 0;
}

int message_connect(const char *path, int *ret)
{
    AUTOCLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un address;
    int r = fd < 0 ? -errno : address_of(path, &address);

    if (r < 0) {
        return r;
    }
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        return -errno;
    }
    *ret = take_fd(&fd);
    return 0;
}

int message_check_peer(int socket, pid_t *ret_pid)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);

    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
        return -errno;
    }
    if (peer.uid != 0 && peer.uid != geteuid()) {
        return -EPERM;
    }
    if (ret_pid != NULL) {
        *ret_pid = peer.pid;
    }
    return 0;
}

int message_seal(const char *name, const void *bytes, size_t len, int *ret)
{
    AUTOCLOSE int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0) {
        return -errno;
    }
    if (len > 0) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 || (size_t)n != len) {
            return n < 0 ? -errno : -EIO;
        }
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0) {
        return -errno;
    }
    *ret = take_fd(&fd);
    return 0;
}
