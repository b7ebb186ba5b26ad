/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - libmicrohttpd on a socket of ours, so that addresses and modes are ours too. */
#include "util/status.h"

#include <microhttpd.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <errno.h>

#include "util/cleanup.h"
#include "util/listen.h"

enum { CONNECTIONS = 32, SECONDS = 5, BACKLOG = 32, BODY_MAX = 8 << 20 };

struct status {
    struct status_config config;
    struct MHD_Daemon *daemon;
    char *path; /* of the unix socket, to remove it */
    uint16_t port;
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              struct buf *body)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(buf_len(body), body->data, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result;

    if (response == NULL) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, "Content-Type", type);
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static unsigned fill(const struct status *status, const char *url, struct buf *body)
{
    if (strcmp(url, "/healthz") == 0) {
        int r =
            status->config.health != NULL ? status->config.health(status->config.context, body) : 0;

        if (buf_len(body) == 0) {
            buf_addf(body, "%s", r == 0 ? "ok" : strerrordesc_np(-r));
        }
        buf_addstr(body, "\n");
        return r == 0 ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    if (strcmp(url, "/metrics") == 0 &&
        (status->config.metrics != NULL || status->config.more != NULL)) {
        if (status->config.metrics != NULL) {
            metrics_write(status->config.metrics, body);
        }
        if (status->config.more != NULL) {
            status->config.more(status->config.more_context != NULL ? status->config.more_context
                                                                    : status->config.context,
                                body);
        }
        return MHD_HTTP_OK;
    }
    buf_addstr(body, "there are /healthz and /metrics\n");
    return MHD_HTTP_NOT_FOUND;
}

/* libmicrohttpd prescribes it. NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, /* NOLINT(readability-non-const-parameter): */
                              void **state)        /* prescribed too */
{
    CLEANUP(buf_done) struct buf body = BUF_INIT(BODY_MAX);
    unsigned code;

    (void)version;
    (void)upload;
    (void)state;
    if (*upload_size > 0) {
        return MHD_NO;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        buf_addstr(&body, "only GET and HEAD\n");
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", &body);
    }
    code = fill(context, url, &body);
    if (buf_error(&body) < 0) {
        return MHD_NO;
    }
    return answer(connection, code, "text/plain; version=0.0.4; charset=utf-8", &body);
}

static int listen_unix(struct status *status, const char *path, int *ret, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTOCLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(address.sun_path)) {
        return error_set(err, -ENAMETOOLONG, "status address: '%s' is too long for a socket", path);
    }
    memcpy(address.sun_path, path, strlen(path));
    (void)unlink(path);
    /* On Linux the mode of the descriptor becomes that of the file. */
    if (fd < 0 || fchmod(fd, 0600) < 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, BACKLOG) < 0) {
        return error_set(err, -errno, "status address: cannot listen on '%s': %s", path,
                         strerrordesc_np(errno));
    }
    status->path = strdup(path);
    if (status->path == NULL) {
        return -ENOMEM;
    }
    *ret = take_fd(&fd);
    return 0;
}

static int listen_on(struct status *status, const char *text, int *ret, struct error *err)
{
    int r = listen_tcp(text, BACKLOG, ret, &status->port);

    if (r == -EINVAL) {
        return error_set(err, r, "status address '%s': give host:port, :port or unix:/path", text);
    }
    return r < 0 ? error_set(err, r, "status address: cannot listen on '%s': %s", text,
                             strerrordesc_np(-r))
                 : 0;
}

int status_new(const struct status_config *config, struct status **ret, struct error *err)
{
    struct status *status = calloc(1, sizeof(*status));
    int fd = -1;
    int r;

    if (status == NULL) {
        return -ENOMEM;
    }
    status->config = *config;
    r = strncmp(config->address, "unix:", 5) == 0
            ? listen_unix(status, config->address + 5, &fd, err)
            : listen_on(status, config->address, &fd, err);
    if (r == 0) {
        status->daemon = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, handle, status, MHD_OPTION_LISTEN_SOCKET,
            fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
            (unsigned)SECONDS, MHD_OPTION_END);
        if (status->daemon == NULL) {
            (void)close(fd);
            r = error_set(err, -EIO, "status address: the HTTP server does not start");
        }
    }
    if (r < 0) {
        status_free(status);
        return r;
    }
    *ret = status;
    return 0;
}

uint16_t status_port(const struct status *status)
{
    return status->port;
}

void status_free(struct status *status)
{
    if (status == NULL) {
        return;
    }
    if (status->daemon != NULL) {
        MHD_stop_daemon(status->daemon);
    }
    if (status->path != NULL) {
        (void)unlink(status->path);
        free(status->path);
    }
    free(status);
}
