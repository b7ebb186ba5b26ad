/* SPDX-License-Identifier: Apache-2.0 */
/*
 * web.c - libmicrohttpd with GnuTLS. A daemon has its certificate for life: another certificate is
 * another daemon on the same listening socket.
 */
#include "util/web.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/authority.h"
#include "util/cleanup.h"
#include "util/listen.h"

enum {
    CONNECTIONS = 384,
    PER_ADDRESS = 256, /* an API server opens one for each request, 200 at a time by default */
    SECONDS = 10,
    BACKLOG = 128,
    ANSWER_MAX = 16 << 20,
    BODIES_MAX = 64 << 20,
    QUIET_MS = 3000,
};

struct web {
    struct web_config config;
    char *certificate, *key;
    int listener;
    uint16_t port;
    struct MHD_Daemon *daemon;
    atomic_size_t bodies; /* bytes that are held */
};

/* A request under way. */
struct pending {
    struct web *web;
    struct buf body;
    size_t counted;
    unsigned refused; /* status; 0: not */
};

static enum MHD_Result answer(struct MHD_Connection *connection, struct web_answer *a)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(buf_len(&a->body), a->body.data, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result;

    if (response == NULL) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, "Content-Type", a->content_type);
    (void)MHD_add_response_header(response, "Cache-Control", "no-store");
    result = MHD_queue_response(connection, a->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status)
{
    CLEANUP(buf_done) struct buf none = BUF_INIT(64);
    struct web_answer a = {.status = status, .content_type = "text/plain", .body = none};
    enum MHD_Result result;

    buf_addf(&a.body, "%u\n", status);
    result = answer(connection, &a);
    buf_done(&a.body);
    return result;
}

static void take(struct pending *p, const char *data, size_t len)
{
    size_t all = atomic_fetch_add(&p->web->bodies, len) + len;

    p->counted += len;
    if (p->refused == 0 && all > BODIES_MAX) {
        p->refused = MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    if (p->refused == 0) {
        buf_add(&p->body, data, len);
        p->refused = buf_error(&p->body) == -EFBIG ? MHD_HTTP_CONTENT_TOO_LARGE
                     : buf_error(&p->body) < 0     ? MHD_HTTP_SERVICE_UNAVAILABLE
                                                   : 0;
    }
}

static enum MHD_Result finish(struct pending *p, struct MHD_Connection *connection,
                              const char *method, const char *path)
{
    const char *type =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
    struct web_request request = {.method = method,
                                  .path = path,
                                  .content_type = type != NULL ? type : "",
                                  .body = {buf_str(&p->body), buf_len(&p->body)}};
    struct web_answer a = {
        .status = MHD_HTTP_OK, .content_type = "text/plain", .body = BUF_INIT(ANSWER_MAX)};
    enum MHD_Result result;

    if (p->refused != 0) {
        return refuse(connection, p->refused);
    }
    p->web->config.handle(p->web->config.context, &request, &a);
    result = buf_error(&a.body) < 0 ? MHD_NO : answer(connection, &a);
    buf_wipe(&a.body);
    return result;
}

/* libmicrohttpd prescribes it. NOLINTNEXTLINE(readability-function-size) */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state)
{
    struct web *web = context;
    struct pending *p = *state;

    (void)version;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 && strcmp(method, "POST") != 0) {
        return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED);
    }
    if (p == NULL) {
        p = calloc(1, sizeof(*p));
        *state = p;
        if (p == NULL) {
            return MHD_NO;
        }
        p->web = web;
        p->body.max = web->config.body_max;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        take(p, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    return finish(p, connection, method, url);
}

static void completed(void *context, struct MHD_Connection *connection, void **state,
                      enum MHD_RequestTerminationCode why)
{
    struct pending *p = *state;

    (void)context;
    (void)connection;
    (void)why;
    if (p != NULL) {
        atomic_fetch_sub(&p->web->bodies, p->counted);
        buf_wipe(&p->body);
        free(p);
        *state = NULL;
    }
}

/* ---- where ---- */

static int listen_on(struct web *web, const char *address, struct error *err)
{
    int r = listen_tcp(address, BACKLOG, &web->listener, &web->port);

    if (r == -EINVAL) {
        return error_set(err, r, "address '%s': give host:port or :port", address);
    }
    return r < 0 ? error_set(err, r, "cannot listen on '%s': %s", address, strerrordesc_np(-r)) : 0;
}

/* ---- life ---- */

static void texts_free(char *certificate, char *key)
{
    free(certificate);
    if (key != NULL) {
        explicit_bzero(key, strlen(key));
        free(key);
    }
}

/*
 * On a duplicate of the socket: a daemon that does not start closes what it was given. That happens
 * when memory or threads are out; certificates have been looked at before.
 */
static struct MHD_Daemon *start(struct web *web, const char *certificate, const char *key)
{
    int fd = fcntl(web->listener, F_DUPFD_CLOEXEC, 0);

    if (fd < 0) {
        return NULL;
    }
    return MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TLS | MHD_USE_ITC, 0, NULL, NULL, handle, web,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_HTTPS_MEM_CERT, certificate,
        MHD_OPTION_HTTPS_MEM_KEY, key, MHD_OPTION_HTTPS_PRIORITIES,
        "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS, MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)PER_ADDRESS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SECONDS, MHD_OPTION_NOTIFY_COMPLETED, completed,
        NULL, MHD_OPTION_END);
}

/* Takes no more connections; its socket is the caller's to close. */
static int quiesce(struct MHD_Daemon *daemon)
{
    return daemon != NULL ? MHD_quiesce_daemon(daemon) : -1;
}

/* Lets requests end that are under way. */
static void stop(struct MHD_Daemon *daemon, int fd)
{
    const struct timespec step = {.tv_nsec = 20 * 1000 * 1000};

    if (daemon == NULL) {
        return;
    }
    for (int i = 0; i < QUIET_MS / 20; i++) {
        const union MHD_DaemonInfo *info =
            MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

        if (info == NULL || info->num_connections == 0) {
            break;
        }
        (void)nanosleep(&step, NULL);
    }
    MHD_stop_daemon(daemon);
    cleanup_close(&fd);
}

int web_certificate(struct web *web, const char *certificate, const char *key, struct error *err)
{
    char *new_certificate = strdup(certificate);
    char *new_key = strdup(key);
    const struct key_pair pair = {new_certificate, new_key};
    struct MHD_Daemon *old = web->daemon;
    struct MHD_Daemon *new = NULL;
    int r = new_certificate == NULL || new_key == NULL ? -ENOMEM
                                                       : authority_check(certificate, &pair, err);
    int fd;

    if (r == 0) {
        new = start(web, new_certificate, new_key);
        r = new == NULL ? error_set(err, -EIO, "the HTTPS server does not start") : 0;
    }
    if (r < 0) {
        texts_free(new_certificate, new_key);
        return r;
    }
    /* For a moment both take connections, and then the new one alone. */
    fd = quiesce(old);
    web->daemon = new;
    stop(old, fd);
    texts_free(web->certificate, web->key);
    web->certificate = new_certificate;
    web->key = new_key;
    return 0;
}

int web_new(const struct web_config *config, struct web **ret, struct error *err)
{
    struct web *web = calloc(1, sizeof(*web));
    int r;

    if (web == NULL) {
        return -ENOMEM;
    }
    web->config = *config;
    web->listener = -1;
    r = listen_on(web, config->address, err);
    r = r < 0 ? r : web_certificate(web, config->certificate, config->key, err);
    if (r < 0) {
        web_free(web);
        return r;
    }
    *ret = web;
    return 0;
}

uint16_t web_port(const struct web *web)
{
    return web->port;
}

void web_free(struct web *web)
{
    int fd;

    if (web == NULL) {
        return;
    }
    fd = quiesce(web->daemon);
    stop(web->daemon, fd);
    texts_free(web->certificate, web->key);
    cleanup_close(&web->listener);
    free(web);
}
