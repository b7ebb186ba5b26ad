/* SPDX-License-Identifier: Apache-2.0 */
#include "scripted_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/buf.h"
#include "util/cleanup.h"
#include "util/mutex.h"

enum { REQUESTS_MAX = 64, REQUEST_MAX = 4 << 20 };

struct scripted_server {
    int listener;
    int port;
    pthread_t thread;
    atomic_bool stopping;
    const char *const *answers;
    size_t answer_count;
    void (*hook)(size_t index, void *arg);
    void *hook_arg;
    struct mutex lock;
    size_t count GUARDED_BY(lock);
    struct buf requests[REQUESTS_MAX];
};

static bool readable(struct scripted_server *server, int fd)
{
    while (!atomic_load(&server->stopping)) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

        if (poll(&poll_fd, 1, 20) > 0) {
            return true;
        }
    }
    return false;
}

/* Head, and as much body as Content-Length says. */
static bool read_request(struct scripted_server *server, int fd, struct buf *request)
{
    const char *end;
    const char *field;
    size_t body = 0;

    while (strstr(buf_str(request), "\r\n\r\n") == NULL) {
        char byte;

        if (!readable(server, fd) || recv(fd, &byte, 1, 0) != 1) {
            return false;
        }
        buf_add(request, &byte, 1);
    }
    field = strcasestr(buf_str(request), "\r\ncontent-length: ");
    body = field != NULL ? strtoul(field + 18, NULL, 10) : 0;
    end = strstr(buf_str(request), "\r\n\r\n") + 4;
    body += (size_t)(end - buf_str(request));
    while (buf_len(request) < body) {
        char block[4096];
        size_t want =
            body - buf_len(request) < sizeof(block) ? body - buf_len(request) : sizeof(block);
        ssize_t n;

        if (!readable(server, fd) || (n = recv(fd, block, want, 0)) <= 0) {
            return false;
        }
        buf_add(request, block, (size_t)n);
    }
    return buf_error(request) == 0;
}

static bool send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return false;
        }
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static bool send_answer(int fd, const char *answer)
{
    size_t len = strlen(answer);
    bool close_after = len > 0 && answer[len - 1] == SCRIPT_CLOSE[0];
    const char *star = strstr(answer, "Content-Length: *");
    const char *body = strstr(answer, "\r\n\r\n");
    CLEANUP(buf_done) struct buf text = BUF_INIT(REQUEST_MAX);

    len -= close_after ? 1 : 0;
    if (star != NULL && body != NULL) {
        size_t at = (size_t)(star - answer) + strlen("Content-Length: ");

        buf_add(&text, answer, at);
        buf_addf(&text, "%zu", len - (size_t)(body + 4 - answer));
        buf_add(&text, answer + at + 1, len - at - 1);
    } else {
        buf_add(&text, answer, len);
    }
    return send_all(fd, buf_str(&text), buf_len(&text)) && !close_after;
}

static bool serve_one(struct scripted_server *server, int fd)
{
    static const char beyond[] = "HTTP/1.1 599 Beyond\r\nContent-Length: 0\r\n\r\n";
    size_t index;

    mutex_lock(&server->lock);
    index = server->count;
    mutex_unlock(&server->lock);
    if (index == REQUESTS_MAX || !read_request(server, fd, &server->requests[index])) {
        buf_reset(&server->requests[index % REQUESTS_MAX]);
        return false;
    }
    mutex_lock(&server->lock);
    server->count++;
    mutex_unlock(&server->lock);
    if (server->hook != NULL) {
        server->hook(index, server->hook_arg);
    }
    return send_answer(fd, index < server->answer_count ? server->answers[index] : beyond);
}

static void *serve(void *arg)
{
    struct scripted_server *server = arg;

    while (readable(server, server->listener)) {
        int fd = accept(server->listener, NULL, NULL);

        if (fd < 0) {
            continue;
        }
        while (serve_one(server, fd)) {
        }
        (void)close(fd);
    }
    return NULL;
}

struct scripted_server *scripted_server_start(const char *const *answers, size_t count)
{
    struct scripted_server *server = calloc(1, sizeof(*server));
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);

    if (server == NULL) {
        abort();
    }
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->answers = answers;
    server->answer_count = count;
    atomic_init(&server->stopping, false);
    mutex_init(&server->lock);
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        server->requests[i].max = REQUEST_MAX;
    }
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->listener < 0 || bind(server->listener, (struct sockaddr *)&address, len) < 0 ||
        listen(server->listener, 16) < 0 ||
        getsockname(server->listener, (struct sockaddr *)&address, &len) < 0 ||
        pthread_create(&server->thread, NULL, serve, server) != 0) {
        abort();
    }
    server->port = ntohs(address.sin_port);
    return server;
}

int scripted_server_port(const struct scripted_server *server)
{
    return server->port;
}

void scripted_server_hook(struct scripted_server *server, void (*hook)(size_t index, void *arg),
                          void *arg)
{
    server->hook_arg = arg;
    server->hook = hook;
}

size_t scripted_server_count(struct scripted_server *server)
{
    size_t count;

    mutex_lock(&server->lock);
    count = server->count;
    mutex_unlock(&server->lock);
    return count;
}

const char *scripted_server_request(struct scripted_server *server, size_t index)
{
    return buf_str(&server->requests[index]);
}

void scripted_server_stop(struct scripted_server *server)
{
    atomic_store(&server->stopping, true);
    (void)pthread_join(server->thread, NULL);
    (void)close(server->listener);
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        buf_done(&server->requests[i]);
    }
    mutex_done(&server->lock);
    free(server);
}
