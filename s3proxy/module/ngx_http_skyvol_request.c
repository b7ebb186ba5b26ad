/* SPDX-License-Identifier: Apache-2.0 */
/* One HTTP request: nginx's side of a call. Everything here runs in the event loop, but wake(). */
#include <sys/eventfd.h>

#include "s3proxy/module/ngx_http_skyvol.h"

enum {
    OUT_SIZE = 256 * 1024,
    OUT_FIRST = 16 * 1024, /* when the worker has no more */
    FILE_SIZE = 2 * 1024 * 1024,
    OUT_MIN = 1024,
    KEEP_ALIVE_MS = 200
};

static bool wake(struct call *call)
{
    struct skyvol_request *request = call->owner;
    struct skyvol_loop *loop = &skyvol_worker.loop;
    bool ring = false;

    mutex_lock(&loop->lock);
    if (!request->queued) {
        ring = loop->first == NULL; /* else it was rung for those before */
        request->queued = true;
        request->next = loop->first;
        loop->first = request;
    }
    mutex_unlock(&loop->lock);
    return ring;
}

void skyvol_ring(void)
{
    (void)eventfd_write(skyvol_worker.loop.event_fd, 1);
}

static void free_room(struct skyvol_request *request)
{
    if (request->room_lent) {
        spaces_give(&skyvol_worker.spaces, request->room, request->room_size);
    } else {
        free(request->room);
    }
}

/* Bytes that wait for the client. */
static int find_room(struct skyvol_request *request)
{
    request->room_size = OUT_SIZE;
    request->room = spaces_take(&skyvol_worker.spaces, &request->room_size);
    request->room_lent = request->room != NULL;
    if (request->room == NULL) {
        request->room_size = OUT_FIRST;
        request->room = malloc(OUT_FIRST);
    }
    return request->room != NULL ? 0 : -ENOMEM;
}

static bool free_if_idle(struct skyvol_request *request)
{
    bool queued;

    if (request->http != NULL || !call_idle(request->call)) {
        return false;
    }
    mutex_lock(&skyvol_worker.loop.lock);
    queued = request->queued;
    mutex_unlock(&skyvol_worker.loop.lock);
    if (queued) {
        return false;
    }
    skyvol_worker.live--;
    call_free(request->call);
    free_room(request);
    free(request);
    return true;
}

/* The pool of the HTTP request ends: the client has its reply, or has gone. */
static void http_gone(void *data)
{
    struct skyvol_request *request = data;
    const ngx_http_request_t *http = request->http;
    const struct call *call = request->call;
    const struct counters_request count = {
        .operation = call->operation,
        .status = request->head_sent ? (int)http->headers_out.status : 0,
        .us = call_now_us() - request->began_us,
        .store_us = request->store_us,
        .received = (uint64_t)http->request_length,
        .sent = (uint64_t)http->connection->sent,
        .at_once = call->at_once,
    };

    counters_count(skyvol_worker.counters, &count);
    if (request->pace.timer_set) {
        ngx_del_timer(&request->pace);
    }
    if (request->pace.posted) {
        ngx_delete_posted_event(&request->pace);
    }
    skyvol_queue_leave(request);
    skyvol_connection_waits(http->connection);
    request->http = NULL;
    if (!call_idle(request->call)) {
        call_cancel(request->call);
    }
    /* Where the operation goes on, its done() wakes the loop, which frees the request. */
    (void)free_if_idle(request);
}

/* ---- rates ---- */

static void go_on(struct skyvol_request *request);

static void pace_over(ngx_event_t *event)
{
    struct skyvol_request *request = event->data;
    ngx_connection_t *connection = request->http->connection; /* else the timer would be gone */

    go_on(request);
    ngx_http_run_posted_requests(connection);
}

static ngx_event_t *pace_event(struct skyvol_request *request)
{
    request->pace.handler = pace_over;
    request->pace.data = request;
    request->pace.log = request->http->connection->log;
    return &request->pace;
}

/* True while the rate of the key lets nothing through; it goes on by itself then. */
static bool paced(struct skyvol_request *request, enum limits_way way)
{
    uint64_t wait_ms;

    if (request->pace.timer_set) {
        return true;
    }
    wait_ms = call_charge(request->call, way, 0);
    if (wait_ms == 0) {
        return false;
    }
    ngx_add_timer(pace_event(request), (ngx_msec_t)wait_ms);
    return true;
}

/* From now on it is the client's turn, or ours. */
static void turn(struct skyvol_request *request, bool client)
{
    if (request->client_next) {
        request->client_ms += ngx_current_msec - request->since;
    }
    request->client_next = client;
    request->since = ngx_current_msec;
}

/* Whether so many bytes are too few for the time that the client had. */
static bool too_slow(const struct skyvol_request *request, uint64_t bytes)
{
    ngx_msec_t grace = skyvol_worker.grace, had = request->client_ms;

    if (skyvol_worker.least_rate == 0 || had <= grace ||
        bytes >= skyvol_worker.least_rate * had / 1000) {
        return false;
    }
    limits_count(skyvol_worker.server.limits, LIMITS_SLOW);
    return true;
}

/* ---- the reply ---- */

ngx_int_t skyvol_add_header(ngx_http_request_t *http, const char *name, const char *value)
{
    ngx_table_elt_t *header = ngx_list_push(&http->headers_out.headers);
    size_t name_len = strlen(name), value_len = strlen(value);
    u_char *copy = ngx_pnalloc(http->pool, name_len + value_len + 2);

    if (header == NULL || copy == NULL) {
        return NGX_ERROR;
    }
    *header = (ngx_table_elt_t){.hash = 1};
    header->key.data = copy;
    header->key.len = name_len;
    header->value.data = copy + name_len + 1;
    header->value.len = value_len;
    memcpy(copy, name, name_len + 1);
    memcpy(copy + name_len + 1, value, value_len + 1);
    return NGX_OK;
}

/* "name NUL value NUL" ... */
static ngx_int_t add_headers(ngx_http_request_t *http, struct slice pairs)
{
    const char *at = pairs.data, *end = at != NULL ? at + pairs.len : NULL;
    ngx_int_t rc = NGX_OK;

    while (rc == NGX_OK && at < end) {
        const char *value = at + strlen(at) + 1;

        rc = skyvol_add_header(http, at, value);
        at = value + strlen(value) + 1;
    }
    return rc;
}

static ngx_int_t send_head(struct skyvol_request *request)
{
    ngx_http_request_t *http = request->http;
    const struct reply *reply = &request->call->reply;
    ngx_int_t rc = skyvol_add_header(http, "x-amz-request-id", request->call->request_id);

    rc = rc == NGX_OK ? add_headers(http, (struct slice){reply->headers.data, reply->headers.len})
                      : rc;
    rc = rc == NGX_OK ? add_headers(http, call_cors_headers(request->call)) : rc;
    request->store_us = call_store_us(request->call);
    http->disable_not_modified = 1;
    http->headers_out.status = (ngx_uint_t)reply->status;
    http->headers_out.content_length_n = (off_t)reply->length;
    http->headers_out.last_modified_time = (time_t)reply->mtime_s;
    if (reply->status == 204 || reply->status == 304) {
        http->headers_out.content_length_n = -1;
        http->header_only = 1;
    }
    if (reply->content_type != NULL) {
        size_t len = strlen(reply->content_type);
        u_char *copy = ngx_pnalloc(http->pool, len + 1);

        if (copy == NULL) {
            return NGX_ERROR;
        }
        memcpy(copy, reply->content_type, len + 1);
        http->headers_out.content_type.data = copy;
        http->headers_out.content_type.len = len;
        http->headers_out.content_type_len = len;
    }
    request->head_sent = true;
    return rc == NGX_OK ? ngx_http_send_header(http) : rc;
}

/* A body in memory, or none. It waits for those before it: small ones have a rate, too. */
static void send_whole(struct skyvol_request *request)
{
    ngx_http_request_t *http = request->http;
    const struct buf *body = &request->call->reply.body;
    size_t len = http->header_only || request->call->head ? 0 : buf_len(body);
    ngx_buf_t *b;
    ngx_int_t rc;

    if (len > 0 && request->call->reply.status < 300 && paced(request, LIMITS_DOWN)) {
        return;
    }
    (void)call_charge(request->call, LIMITS_DOWN, len);
    if (len <= OUT_SIZE) {
        call_leave(request->call); /* else the client could ask again before we know it */
    }
    rc = send_head(request);
    request->output_ended = true;
    if (rc == NGX_ERROR || rc > NGX_OK || http->header_only || request->call->head) {
        ngx_http_finalize_request(http, rc);
        return;
    }
    b = &request->out_buf;
    *b = (ngx_buf_t){.pos = (u_char *)body->data, .memory = len > 0, .last_buf = 1};
    b->start = b->pos;
    b->last = b->end = b->pos + len;
    request->out = (ngx_chain_t){.buf = b}; /* both live as long as the pool */
    ngx_http_finalize_request(http, ngx_http_output_filter(http, &request->out));
}

static void write_ready(ngx_http_request_t *http);

static void wait_to_write(struct skyvol_request *request)
{
    ngx_http_request_t *http = request->http;
    ngx_http_core_loc_conf_t *conf = ngx_http_get_module_loc_conf(http, ngx_http_core_module);
    ngx_event_t *event = http->connection->write;

    request->waits_to_write = true;
    turn(request, true);
    http->write_event_handler = write_ready;
    ngx_add_timer(event, conf->send_timeout);
    if (ngx_handle_write_event(event, conf->send_lowat) != NGX_OK) {
        ngx_http_finalize_request(http, NGX_ERROR);
    }
}

/* Of a rate, an eighth of a second at a time. */
static size_t out_size(const struct call *call)
{
    uint64_t some = call->ticket.rate[LIMITS_DOWN] / 8;

    return some == 0 || some > OUT_SIZE ? OUT_SIZE : some < OUT_MIN ? OUT_MIN : (size_t)some;
}

/* The next bytes into out_buf: how many, 0 at the end, or negative as call_output(). */
static ssize_t fill_out(struct skyvol_request *request)
{
    ngx_buf_t *b = &request->out_buf;
    size_t most = out_size(request->call);
    ssize_t n;

    if (request->room == NULL && find_room(request) != 0) {
        return -ENOMEM;
    }
    most = most < request->room_size ? most : request->room_size;
    n = call_output(request->call, request->room, most);
    if (n >= 0) {
        *b = (ngx_buf_t){.pos = request->room, .last = request->room + n, .start = request->room};
        b->end = request->room + request->room_size;
        b->temporary = n > 0;
        b->flush = 1;
        b->last_buf = n == 0;
    }
    return n;
}

/* The same of a file, which the kernel sends without our copying it; the last bytes are the end. */
static ssize_t fill_from_file(struct skyvol_request *request, struct call_file *file)
{
    static u_char file_name[] = "an object's file";
    ngx_buf_t *b = &request->out_buf;
    uint64_t left = file->end - file->at;
    size_t most =
        request->call->ticket.rate[LIMITS_DOWN] != 0 ? out_size(request->call) : FILE_SIZE;
    size_t n = left < most ? (size_t)left : most;

    request->file = (ngx_file_t){.fd = file->fd, .log = request->http->connection->log};
    ngx_str_set(&request->file.name, file_name); /* nginx tells it of one that is cut off */
    *b = (ngx_buf_t){.file = &request->file, .in_file = 1, .flush = 1, .last_buf = n == left};
    b->file_pos = (off_t)file->at;
    b->file_last = (off_t)(file->at + n);
    file->at += n;
    return (ssize_t)n;
}

/* True while there is more to do at once; the request may be gone after false. */
static bool send_some(struct skyvol_request *request)
{
    ngx_http_request_t *http = request->http;
    struct call_file *file = call_file(request->call);
    ssize_t n;
    ngx_int_t rc;

    if (paced(request, LIMITS_DOWN)) {
        return false;
    }
    n = file != NULL ? fill_from_file(request, file) : fill_out(request);
    if (n == -EAGAIN) {
        return false;
    }
    (void)call_charge(request->call, LIMITS_DOWN, n > 0 ? (uint64_t)n : 0);
    if (n < 0) { /* the head promised more: only a broken connection tells the client */
        http->keepalive = 0;
        ngx_http_finalize_request(http, NGX_ERROR);
        return false;
    }
    request->out = (ngx_chain_t){.buf = &request->out_buf};
    rc = ngx_http_output_filter(http, &request->out);
    if (request->out_buf.last_buf || rc == NGX_ERROR) {
        request->output_ended = true;
        ngx_http_finalize_request(http, rc);
        return false;
    }
    if (rc == NGX_AGAIN) {
        wait_to_write(request);
        return false;
    }
    return true;
}

/* A client that reads as fast as we send must not have the worker for itself: with TLS a socket
 * may never be full. */
static void send_stream(struct skyvol_request *request)
{
    const ngx_connection_t *connection = request->http->connection;
    off_t begun;

    if (!request->head_sent) {
        ngx_int_t rc = send_head(request);

        if (rc == NGX_ERROR || rc > NGX_OK) {
            ngx_http_finalize_request(request->http, rc);
            return;
        }
        request->http->read_event_handler = ngx_http_test_reading;
    }
    begun = connection->sent;
    while (!request->waits_to_write && send_some(request)) {
        if (connection->sent - begun >= FILE_SIZE) { /* go on when others had their turn */
            ngx_event_t *event = pace_event(request);

            ngx_post_event(event, &ngx_posted_next_events);
            return;
        }
    }
}

static void write_ready(ngx_http_request_t *http)
{
    struct skyvol_request *request = ngx_http_get_module_ctx(http, ngx_http_skyvol_module);
    ngx_int_t rc;

    if (http->connection->write->timedout) {
        http->connection->timedout = 1;
        ngx_http_finalize_request(http, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }
    if (!request->waits_to_write) {
        return;
    }
    turn(request, false);
    if (too_slow(request, (uint64_t)http->connection->sent)) {
        http->connection->timedout = 1;
        ngx_http_finalize_request(http, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }
    rc = ngx_http_output_filter(http, NULL);
    if (rc == NGX_ERROR) {
        ngx_http_finalize_request(http, NGX_ERROR);
        return;
    }
    if (rc == NGX_AGAIN) {
        wait_to_write(request);
        return;
    }
    if (http->connection->write->timer_set) {
        ngx_del_timer(http->connection->write);
    }
    request->waits_to_write = false;
    send_stream(request);
}

/* ---- the body ---- */

/* False: the pipe is full. */
static bool feed(struct skyvol_request *request)
{
    while (request->body != NULL) {
        ngx_buf_t *b = request->body->buf;
        ngx_chain_t *link = request->body;

        while (b->pos < b->last) {
            size_t n = call_feed(request->call, b->pos, (size_t)(b->last - b->pos));

            if (n == 0) {
                return false;
            }
            b->pos += n;
            request->taken += n;
            (void)call_charge(request->call, LIMITS_UP, n);
        }
        request->body = link->next;
        ngx_free_chain(request->http->pool, link);
    }
    return true;
}

/* Where the client is still there it gets a reply, once the operation under way has given up. */
static void body_broken(struct skyvol_request *request, ngx_int_t rc)
{
    ngx_http_request_t *http = request->http;
    ngx_connection_t *connection = http->connection;

    request->body_ended = true;
    http->keepalive = 0; /* nobody knows where the next request would begin */
    call_fail(request->call,
              rc == NGX_HTTP_REQUEST_TIME_OUT ? S3_REQUEST_TIMEOUT : S3_INCOMPLETE_BODY, "");
    if (connection->error || connection->timedout) {
        request->output_ended = true;
        ngx_http_finalize_request(http, rc);
        return;
    }
    http->read_event_handler = ngx_http_test_reading;
}

/* There is nothing to do before the store, or a timer, calls again. */
static void body_waits(struct skyvol_request *request)
{
    ngx_http_request_t *http = request->http;
    ngx_event_t *event = http->connection->read;

    if (event->timer_set) {
        ngx_del_timer(event); /* it is the store that is slow, or we */
    }
    if (skyvol_client_gone(http)) {
        http->connection->error = 1;
        body_broken(request, NGX_HTTP_CLIENT_CLOSED_REQUEST);
    }
}

/* nginx reads into a buffer of each request, which would be large for many: all that it had in
 * there was fed, so that it may as well read where the bytes belong, or into one that all requests
 * have in common, which is fed before anybody else reads. False: there is no room. */
static bool aim(struct skyvol_request *request)
{
    static u_char common[OUT_SIZE];
    ngx_buf_t *b = request->http->request_body->buf;
    size_t len = 0;
    u_char *place = call_place(request->call, &len);

    if (place == NULL) {
        place = common;
        len = call_room(request->call);
    }
    len = len < sizeof(common) ? len : sizeof(common); /* so that they are in the cache after it */
    if (b != NULL && len > 0) {
        b->start = b->pos = b->last = place;
        b->end = place + len;
    }
    return len > 0;
}

static void take_body(struct skyvol_request *request)
{
    ngx_http_request_t *http = request->http;

    turn(request, false);
    if (!request->body_ended && too_slow(request, request->taken)) {
        body_broken(request, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }
    while (!request->body_ended && !call_head_ready(request->call)) {
        ngx_int_t rc;

        if (!feed(request) || paced(request, LIMITS_UP)) {
            body_waits(request);
            return;
        }
        if (!http->reading_body) {
            request->body_ended = true;
            call_feed_end(request->call);
            http->read_event_handler = ngx_http_test_reading;
            return;
        }
        if (skyvol_queue_waits(request) || !aim(request)) {
            body_waits(request);
            return;
        }
        rc = ngx_http_read_unbuffered_request_body(http);
        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            body_broken(request, rc);
            return;
        }
        request->body = http->request_body->bufs;
        http->request_body->bufs = NULL;
        if (request->body == NULL && rc == NGX_AGAIN) {
            turn(request, true);
            return;
        }
    }
}

static void body_event(ngx_http_request_t *http)
{
    go_on(ngx_http_get_module_ctx(http, ngx_http_skyvol_module));
}

static void body_begins(ngx_http_request_t *http)
{
    struct skyvol_request *request = ngx_http_get_module_ctx(http, ngx_http_skyvol_module);

    if (http->request_body != NULL) {
        request->body = http->request_body->bufs;
        http->request_body->bufs = NULL;
    }
    http->read_event_handler = body_event;
    go_on(request);
}

/* Refused before a byte of the body was asked for, and so it may or may not come. */
static ngx_int_t refuse_body(ngx_http_request_t *http)
{
    if (http->headers_in.expect != NULL) {
        http->expect_tested = 1;
        http->keepalive = 0;
    }
    return ngx_http_discard_request_body(http);
}

/* False: not yet, or the request may be gone. */
static bool let_go(struct skyvol_request *request)
{
    ngx_http_request_t *http = request->http;
    ngx_int_t rc;

    if (call_head_ready(request->call)) {
        request->held = false;
        request->body_ended = true;
        rc = refuse_body(http);
        if (rc != NGX_OK) {
            request->output_ended = true;
            ngx_http_finalize_request(http, rc);
            return false;
        }
        return true;
    }
    if (call_wants_body(request->call)) {
        request->held = false;
        http->request_body_no_buffering = 1;
        rc = ngx_http_read_client_request_body(http, body_begins);
        ngx_http_finalize_request(http, rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE);
    }
    return false;
}

/* Goes on with what can be done now; the request may be gone afterwards. */
static void go_on(struct skyvol_request *request)
{
    struct call *call = request->call;

    call_continue(call);
    if (request->held && !let_go(request)) {
        return;
    }
    if (!request->body_ended) {
        ngx_http_request_t *http = request->http;

        http->main->count++; /* a failure in there must not free what is looked at below */
        take_body(request);
        if (request->http != NULL && call_head_ready(call) && !request->output_ended) {
            request->body_ended = true;
        }
        http->main->count--;
    }
    if (request->output_ended || !call_head_ready(call)) {
        return;
    }
    if (call_streams(call)) {
        send_stream(request);
    } else if (call_idle(call)) {
        send_whole(request);
    }
}

void skyvol_progress(struct skyvol_request *request)
{
    ngx_connection_t *connection;

    if (request->http == NULL) {
        (void)free_if_idle(request);
        return;
    }
    connection = request->http->connection;
    go_on(request);
    ngx_http_run_posted_requests(connection);
}

/* ---- the head ---- */

static ngx_int_t message_fill(ngx_http_request_t *http, struct s3_message *message)
{
    const ngx_str_t *uri = &http->unparsed_uri;
    const char *path = (const char *)uri->data, *mark = memchr(path, '?', uri->len);
    size_t len = mark != NULL ? (size_t)(mark - path) : uri->len, count = 0;
    struct s3_header *headers;

    message->method = (struct slice){(const char *)http->method_name.data, http->method_name.len};
    message->path = (struct slice){path, len};
    if (mark != NULL) {
        message->query = (struct slice){mark + 1, uri->len - len - 1};
    }
    for (ngx_list_part_t *p = &http->headers_in.headers.part; p != NULL; p = p->next) {
        count += p->nelts;
    }
    headers = ngx_pcalloc(http->pool, (count + 1) * sizeof(*headers));
    if (headers == NULL) {
        return NGX_ERROR;
    }
    message->headers = headers;
    message->header_count = count;
    for (ngx_list_part_t *p = &http->headers_in.headers.part; p != NULL; p = p->next) {
        const ngx_table_elt_t *elements = p->elts;

        for (size_t i = 0; i < p->nelts; i++, headers++) {
            headers->name = (struct slice){(const char *)elements[i].key.data, elements[i].key.len};
            headers->value =
                (struct slice){(const char *)elements[i].value.data, elements[i].value.len};
        }
    }
    return NGX_OK;
}

static void keep_alive(ngx_event_t *event)
{
    skyvol_worker.kept_alive = skyvol_worker.live > 0;
    if (skyvol_worker.kept_alive) {
        ngx_add_timer(event, KEEP_ALIVE_MS);
    }
}

static void count_request(void)
{
    ngx_event_t *event = &skyvol_worker.keep_alive;

    skyvol_trim_later();
    skyvol_worker.live++;
    event->handler = keep_alive;
    event->log = ngx_cycle->log;
    if (!skyvol_worker.kept_alive) {
        skyvol_worker.kept_alive = true;
        ngx_add_timer(event, KEEP_ALIVE_MS);
    }
}

static struct skyvol_request *request_new(ngx_http_request_t *http)
{
    struct skyvol_request *request = calloc(1, sizeof(*request)); /* not nginx's: outlives `http` */
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(http->pool, 0);

    if (request == NULL || cleanup == NULL ||
        call_new(&skyvol_worker.server, wake, request, &request->call) != 0) {
        free(request);
        return NULL;
    }
    count_request();
    request->http = http;
    request->began_us = call_now_us();
    cleanup->handler = http_gone;
    cleanup->data = request;
    ngx_http_set_ctx(http, request, ngx_http_skyvol_module);
    return request;
}

ngx_int_t skyvol_handler(ngx_http_request_t *http)
{
    struct skyvol_request *request = request_new(http);
    off_t length = http->headers_in.content_length_n;
    ngx_int_t rc;

    if (request == NULL || message_fill(http, &request->call->message) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (http->connection->sockaddr->sa_family != AF_UNIX) {
        const ngx_str_t *peer = &http->connection->addr_text;

        size_t most = sizeof(request->call->peer) - 1, len = peer->len < most ? peer->len : most;

        memcpy(request->call->peer, peer->data, len);
        request->call->peer[len] = '\0';
    }
    request->call->tls = http->connection->ssl != NULL;
    request->call->expects =
        http->headers_in.expect != NULL && http->http_version > NGX_HTTP_VERSION_10;
    request->call->wire_size = http->headers_in.chunked ? UINT64_MAX
                               : length > 0             ? (uint64_t)length
                                                        : 0;
    call_begin(request->call);
    if (request->call->ticket.inside) {
        skyvol_connection_busy(http->connection);
    }
    if (call_head_ready(request->call) || request->call->failed) {
        request->body_ended = true;
        rc = refuse_body(http);
        if (rc != NGX_OK) {
            return rc;
        }
        http->main->count++;
        go_on(request);
        return NGX_DONE;
    }
    if (length <= 0 && !http->headers_in.chunked) {
        request->body_ended = true;
        http->main->count++;
        http->read_event_handler = ngx_http_test_reading;
        call_feed_end(request->call);
        go_on(request);
        return NGX_DONE;
    }
    if (call_opened(request->call)) {
        request->held = true;
        http->main->count++;
        http->read_event_handler = ngx_http_test_reading;
        go_on(request);
        return NGX_DONE;
    }
    http->request_body_no_buffering = 1;
    rc = ngx_http_read_client_request_body(http, body_begins);
    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}

bool skyvol_is_counted(const ngx_http_request_t *http)
{
    for (const ngx_pool_cleanup_t *c = http->pool->cleanup; c != NULL; c = c->next) {
        if (c->handler == http_gone) {
            return true;
        }
    }
    return false;
}
