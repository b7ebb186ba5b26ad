/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that have no request let in: fresh ones, handshakes, heads that trickle, strangers,
 * and those that wait for their next request. They may be half of all that a worker can have; of
 * more, the one that has waited longest is ended. One address may have so many at a time, if so
 * configured, counted over all workers.
 *
 * To end one is to let nginx's own timer run out at once: whatever the connection is doing, nginx
 * waits for the client then, and knows what to clean up.
 */
#include <sys/ioctl.h>

#include "s3proxy/module/ngx_http_skyvol.h"

/* OpenSSL does not tell how much it has read of records that it has not decrypted: no more than
 * this. */
enum { RECORD_MAX = 17 * 1024 };

struct skyvol_connection {
    ngx_queue_t link; /* in `waiting`, oldest first */
    ngx_connection_t *connection;
    struct limits_ticket ticket; /* of its address */
    bool waits;
};

static struct skyvol_connection *all; /* as nginx's own array */
static ngx_queue_t waiting;
static size_t waiting_count, waiting_max, all_count;
static uint64_t per_address;

static struct skyvol_connection *of(const ngx_connection_t *connection)
{
    size_t i = (size_t)(connection - ngx_cycle->connections);

    return all != NULL && i < all_count ? &all[i] : NULL;
}

static void stop_waiting(struct skyvol_connection *c)
{
    if (c->waits) {
        c->waits = false;
        ngx_queue_remove(&c->link);
        waiting_count--;
    }
}

/* The first that is waited for by a timer. */
static void end_oldest(void)
{
    for (ngx_queue_t *q = ngx_queue_head(&waiting); q != ngx_queue_sentinel(&waiting);
         q = ngx_queue_next(q)) {
        struct skyvol_connection *c = ngx_queue_data(q, struct skyvol_connection, link);
        ngx_event_t *read = c->connection->read;

        if (read->timer_set) {
            ngx_del_timer(read);
            read->timedout = 1;
            ngx_post_event(read, &ngx_posted_events);
            stop_waiting(c);
            limits_count(skyvol_worker.server.limits, LIMITS_UNFINISHED);
            return;
        }
    }
}

static void start_waiting(struct skyvol_connection *c)
{
    if (!c->waits) {
        if (waiting_count >= waiting_max) {
            end_oldest();
        }
        c->waits = true;
        ngx_queue_insert_tail(&waiting, &c->link);
        waiting_count++;
    }
}

static void closed(void *data)
{
    struct skyvol_connection *c = data;

    stop_waiting(c);
    limits_leave(skyvol_worker.server.limits, &c->ticket);
    c->connection = NULL;
}

/* False: its address has enough. */
static bool let_in(struct skyvol_connection *c)
{
    const ngx_str_t *text = &c->connection->addr_text;
    const struct limits_bounds bounds = {.key.concurrent = per_address, .address = true};
    char name[NGX_SOCKADDR_STRLEN];
    size_t len = text->len;

    if (per_address == 0 || c->connection->sockaddr->sa_family == AF_UNIX ||
        len > NGX_SOCKADDR_STRLEN - 1) {
        return true;
    }
    memcpy(name, text->data, len);
    name[len] = '\0';
    if (limits_enter(skyvol_worker.server.limits, name, &bounds, ngx_current_msec * 1000000,
                     &c->ticket) == LIMITS_NONE) {
        return true;
    }
    limits_count(skyvol_worker.server.limits, LIMITS_ADDRESS);
    return false;
}

static bool is_loopback(const struct sockaddr *peer)
{
    if (peer->sa_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)peer)->sin6_addr;

        return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
    }
    return peer->sa_family == AF_INET &&
           ntohl(((const struct sockaddr_in *)peer)->sin_addr.s_addr) >> 24 == 127;
}

/* Many nodes send by BBR, which spreads what it sends over time, by timers: within one machine that
 * keeps nothing from being congested, and takes more than half of the CPU of a large GET. Reno is
 * in each kernel, and open to all. Connections have it from what they come to, if that is of the
 * loopback, too, but for those that came before the first worker; one that began by BBR keeps some
 * of its timers. */
static void send_at_once(int fd)
{
    static const char reno[] = "reno";

    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof(reno) - 1);
}

static void accepted(ngx_connection_t *connection)
{
    struct skyvol_connection *c = of(connection);
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(connection->pool, 0);

    if (c == NULL || cleanup == NULL) {
        ngx_http_close_connection(connection);
        return;
    }
    *c = (struct skyvol_connection){.connection = connection};
    cleanup->handler = closed;
    cleanup->data = c;
    if (!let_in(c)) {
        ngx_http_close_connection(connection);
        return;
    }
    start_waiting(c);
    if (is_loopback(connection->sockaddr)) {
        send_at_once(connection->fd);
    }
    ngx_http_init_connection(connection);
}

void skyvol_connection_busy(ngx_connection_t *connection)
{
    struct skyvol_connection *c = of(connection);

    if (c != NULL) {
        stop_waiting(c);
    }
}

void skyvol_connection_waits(ngx_connection_t *connection)
{
    struct skyvol_connection *c = of(connection);

    if (c != NULL && c->connection == connection) {
        start_waiting(c);
    }
}

int skyvol_connections_init(ngx_cycle_t *cycle, uint64_t max_per_address)
{
    ngx_listening_t *listening = cycle->listening.elts;

    ngx_queue_init(&waiting);
    per_address = max_per_address;
    all_count = cycle->connection_n;
    waiting_max = all_count / 2;
    all = calloc(all_count, sizeof(*all));
    for (ngx_uint_t i = 0; all != NULL && i < cycle->listening.nelts; i++) {
        if (listening[i].handler == ngx_http_init_connection) {
            listening[i].handler = accepted;
            if (is_loopback(listening[i].sockaddr)) {
                send_at_once(listening[i].fd);
            }
        }
    }
    return all != NULL ? 0 : -ENOMEM;
}

void skyvol_connections_done(void)
{
    free(all);
    all = NULL;
}

bool skyvol_client_gone(const ngx_http_request_t *http)
{
    const ngx_connection_t *connection = http->connection;
    int here = 0;

    if (!connection->read->pending_eof || !http->reading_body) {
        return false;
    }
    if (http->headers_in.chunked || ioctl(connection->fd, FIONREAD, &here) != 0) {
        return true; /* nobody knows how much is missing */
    }
    if (connection->ssl != NULL) {
        SSL *ssl = connection->ssl->connection;

        here += SSL_pending(ssl) + (SSL_has_pending(ssl) == 1 ? RECORD_MAX : 0);
    }
    return here < http->request_body->rest;
}
