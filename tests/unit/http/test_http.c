/* SPDX-License-Identifier: Apache-2.0 */
/* The client against a small server in this process, whose answer depends on the path. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/http.h"
#include "test.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/mutex.h"

enum { BIG = 3 << 20 };

/* ---- server ---- */

static int listener = -1;
static int port;
static atomic_int accepted;
static atomic_int dropped; /* requests that were read and never answered */

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return;
        }
        data += n;
        len -= (size_t)n;
    }
}

static void answer(int fd, const char *status, const char *body, size_t len)
{
    CLEANUP(buf_done) struct buf head = BUF_INIT(1024);

    buf_addf(&head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nX-Test:  some value \r\n\r\n", status,
             len);
    send_all(fd, buf_str(&head), buf_len(&head));
    send_all(fd, body, len);
}

/* Read until the empty line; false at the end of the connection. */
static bool read_head(int fd, char *head, size_t size)
{
    size_t len = 0;

    while (len + 1 < size) {
        if (recv(fd, head + len, 1, 0) != 1) {
            return false;
        }
        head[++len] = '\0';
        if (head[0] == 0x16) { /* TLS, which is not spoken here */
            send_all(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
            return false;
        }
        if (len >= 4 && strcmp(head + len - 4, "\r\n\r\n") == 0) {
            return true;
        }
    }
    return false;
}

static void echo(int fd, const char *head)
{
    const char *field = strstr(head, "Content-Length: ");
    size_t len = field != NULL ? strtoul(field + 16, NULL, 10) : 0;
    AUTOFREE char *body = malloc(len + 1);

    for (size_t got = 0; body != NULL && got < len;) {
        ssize_t n = recv(fd, body + got, len - got, 0);

        if (n <= 0) {
            return;
        }
        got += (size_t)n;
    }
    answer(fd, strstr(head, "Content-Type") == NULL ? "200 OK" : "415 What", body, len);
}

static void big(int fd)
{
    AUTOFREE char *body = malloc(BIG);

    if (body != NULL) {
        for (size_t i = 0; i < BIG; i++) {
            body[i] = (char)(i % 251);
        }
        answer(fd, "200 OK", body, BIG);
    }
}

/* False: close the connection. */
static bool serve_one(int fd, const char *head)
{
    const char *path = strchr(head, ' ') + 1;

    if (strncmp(head, "HEAD ", 5) == 0) {
        answer(fd, "200 OK", "", 0);
    } else if (strncmp(path, "/echo", 5) == 0) {
        echo(fd, head);
    } else if (strncmp(path, "/head", 5) == 0) {
        answer(fd, "200 OK", head, strlen(head));
    } else if (strncmp(path, "/big", 4) == 0) {
        big(fd);
    } else if (strncmp(path, "/missing", 8) == 0) {
        answer(fd, "404 Not Found", "no", 2);
    } else if (strncmp(path, "/slow", 5) == 0) {
        (void)sleep(3);
        return false;
    } else if (strncmp(path, "/cut", 4) == 0) {
        send_all(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", 45);
        return false;
    } else if (strncmp(path, "/drop", 5) == 0) {
        atomic_fetch_add(&dropped, 1);
        return false;
    } else if (strncmp(path, "/once", 5) == 0) {
        answer(fd, "200 OK", "once", 4);
        return false; /* without saying so: the client finds a dead connection next time */
    } else {
        answer(fd, "200 OK", "hello", 5);
    }
    return true;
}

static void *serve_connection(void *arg)
{
    int fd = *(int *)arg;
    char head[8192];

    free(arg);
    while (read_head(fd, head, sizeof(head)) && serve_one(fd, head)) {
    }
    (void)close(fd);
    return NULL;
}

static void *accept_all(UNUSED void *arg)
{
    for (;;) {
        int *fd = malloc(sizeof(*fd));
        pthread_t thread;

        if (fd == NULL) {
            return NULL;
        }
        *fd = accept(listener, NULL, NULL);
        if (*fd < 0) {
            free(fd);
            return NULL;
        }
        atomic_fetch_add(&accepted, 1);
        if (pthread_create(&thread, NULL, serve_connection, fd) == 0) {
            (void)pthread_detach(thread);
        }
    }
}

static pthread_t acceptor;

static int start_server(UNUSED void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t len = sizeof(address);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) < 0 ||
        listen(listener, 64) < 0 || getsockname(listener, (struct sockaddr *)&address, &len) < 0) {
        return -1;
    }
    port = ntohs(address.sin_port);
    return pthread_create(&acceptor, NULL, accept_all, NULL);
}

static int stop_server(UNUSED void **state)
{
    (void)shutdown(listener, SHUT_RDWR);
    (void)pthread_join(acceptor, NULL);
    return close(listener);
}

/* ---- one request and its outcome ---- */

struct exchange {
    struct http_request request;
    char url[128];
    struct mutex lock;
    struct cond changed;
    bool done;
    bool paused;
    struct http_result result;
    struct buf body;
    int status;
    char test_header[32];
    size_t to_read, has_read; /* for the source */
    bool pausing;
    bool waited; /* pausing: the pause before the next piece was taken */
};

static int on_head(struct http_request *request, const struct http_head *head)
{
    struct exchange *x = request->arg;
    struct slice value = http_head_get(head, "x-test");

    x->status = head->status;
    if (value.len < sizeof(x->test_header) && value.len > 0) {
        memcpy(x->test_header, value.data, value.len);
    }
    return 0;
}

/* With pausing set, every other call waits for a resume. */
static bool take_pause(struct exchange *x)
{
    bool pause = x->pausing && !x->waited;

    x->waited = pause;
    if (pause) {
        mutex_lock(&x->lock);
        x->paused = true;
        cond_signal(&x->changed);
        mutex_unlock(&x->lock);
    }
    return pause;
}

static int on_write(struct http_request *request, const void *data, size_t len)
{
    struct exchange *x = request->arg;

    if (take_pause(x)) {
        return -EAGAIN;
    }
    buf_add(&x->body, data, len);
    return buf_error(&x->body);
}

static ssize_t on_read(struct http_request *request, void *buffer, size_t cap)
{
    struct exchange *x = request->arg;
    size_t left = x->to_read - x->has_read;
    size_t n = left < cap ? left : cap;

    if (take_pause(x)) {
        return -EAGAIN;
    }
    for (size_t i = 0; i < n; i++) {
        ((char *)buffer)[i] = (char)((x->has_read + i) % 251);
    }
    x->has_read += n;
    return (ssize_t)n;
}

static void on_done(struct http_request *request, const struct http_result *result)
{
    struct exchange *x = request->arg;

    mutex_lock(&x->lock);
    x->result = *result;
    x->done = true;
    cond_signal(&x->changed);
    mutex_unlock(&x->lock);
}

static void exchange_init(struct exchange *x, const char *method, const char *path)
{
    memset(x, 0, sizeof(*x));
    mutex_init(&x->lock);
    cond_init(&x->changed);
    x->body.max = 2 * BIG;
    (void)snprintf(x->url, sizeof(x->url), "http://127.0.0.1:%d%s", port, path);
    x->request = (struct http_request){.method = method,
                                       .url = x->url,
                                       .head = on_head,
                                       .write = on_write,
                                       .done = on_done,
                                       .timeout_ms = 20000,
                                       .arg = x};
}

static void exchange_done(struct exchange *x)
{
    buf_done(&x->body);
    cond_done(&x->changed);
    mutex_done(&x->lock);
}

/* Wait for the end, and resume whatever pauses. */
static int wait_end(struct http_client *client, struct exchange *x)
{
    mutex_lock(&x->lock);
    while (!x->done) {
        if (x->paused) {
            x->paused = false;
            mutex_unlock(&x->lock);
            http_resume(client, &x->request);
            mutex_lock(&x->lock);
            continue;
        }
        cond_wait_ms(&x->changed, &x->lock, 100);
    }
    mutex_unlock(&x->lock);
    return x->result.status;
}

static int run(struct http_client *client, struct exchange *x)
{
    http_submit(client, &x->request);
    return wait_end(client, x);
}

static struct http_client *new_public_client(void)
{
    struct http_client_config config = {.threads = 1, .public_only = true};
    struct http_client *client = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(http_client_new(&config, &client, &err), 0);
    return client;
}

static struct http_client *new_client(uint32_t threads, uint32_t connections)
{
    struct http_client_config config = {.threads = threads, .max_connections = connections};
    struct http_client *client = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(http_client_new(&config, &client, &err), 0);
    return client;
}

/* ---- tests ---- */

static void an_answer_comes_whole_with_its_head(UNUSED void **state)
{
    struct http_client *client = new_client(0, 0);
    struct exchange x;

    exchange_init(&x, "GET", "/");
    assert_int_equal(run(client, &x), 0);
    assert_int_equal(x.status, 200);
    assert_int_equal(x.result.http_status, 200);
    assert_string_equal(buf_str(&x.body), "hello");
    assert_string_equal(x.test_header, "some value");
    assert_int_equal(x.result.received_bytes, 5);
    exchange_done(&x);

    exchange_init(&x, "GET", "/missing");
    assert_int_equal(run(client, &x), 0); /* an answer, if not a kind one */
    assert_int_equal(x.result.http_status, 404);
    exchange_done(&x);
    http_client_free(client);
}

static void connections_are_kept_and_reused(UNUSED void **state)
{
    struct http_client *client = new_client(2, 8);
    struct http_stats stats = {0};

    for (int i = 0; i < 20; i++) {
        struct exchange x;

        exchange_init(&x, "GET", "/");
        assert_int_equal(run(client, &x), 0);
        assert_int_equal(x.result.reused, i > 0);
        exchange_done(&x);
    }
    http_client_stats(client, &stats);
    assert_int_equal(stats.requests, 20);
    assert_int_equal(stats.connections, 1);
    http_client_free(client);
}

/* The first request leaves a connection, and "/drop" is read and ends it. */
static int dropped_status(bool once)
{
    struct http_client *client = new_client(1, 1);
    struct exchange x;
    int ret;

    exchange_init(&x, "GET", "/");
    assert_int_equal(run(client, &x), 0);
    exchange_done(&x);
    atomic_store(&dropped, 0);
    exchange_init(&x, "POST", "/drop");
    x.request.once = once;
    ret = run(client, &x);
    assert_int_equal(x.result.http_status, 0);
    exchange_done(&x);
    http_client_free(client);
    return ret;
}

static void what_may_be_sent_only_once_is_not_sent_again(UNUSED void **state)
{
    assert_int_equal(dropped_status(true), -ECONNRESET);
    assert_int_equal(atomic_load(&dropped), 1);
    assert_int_equal(dropped_status(false), -ECONNRESET);
    assert_int_equal(atomic_load(&dropped), 2);
}

static void path_and_headers_go_out_as_they_are(UNUSED void **state)
{
    static const struct http_header headers[] = {{"x-one", "1"}, {"x-empty", ""}, {"Accept", NULL}};
    struct http_client *client = new_client(1, 1);
    struct exchange x;

    assert_int_equal(setenv("http_proxy", "http://127.0.0.1:1", 1), 0);
    exchange_init(&x, "DELETE", "/head/../a//b/./c%2F?x=%20");
    (void)snprintf(x.url, sizeof(x.url), "http://127.0.0.1:%d/head/../a//b/./c%%2F?x=%%20", port);
    x.request.headers = headers;
    x.request.header_count = 3;
    assert_int_equal(run(client, &x), 0);
    assert_non_null(strstr(buf_str(&x.body), "DELETE /head/../a//b/./c%2F?x=%20 HTTP/1.1\r\n"));
    assert_non_null(strstr(buf_str(&x.body), "x-one: 1\r\n"));
    assert_non_null(strstr(buf_str(&x.body), "x-empty:\r\n"));
    assert_null(strstr(buf_str(&x.body), "Accept"));
    assert_null(strstr(buf_str(&x.body), "Expect"));
    exchange_done(&x);
    assert_int_equal(unsetenv("http_proxy"), 0);
    http_client_free(client);
}

/* All requests use one handle of libcurl, in turn: of each method, after each. */
static void nothing_of_a_request_is_in_the_next(UNUSED void **state)
{
    static const struct {
        const char *method, *path;
        size_t body;
    } kinds[] = {{"PUT", "/echo", 5},    {"GET", "/head", 0},   {"HEAD", "/head", 0},
                 {"DELETE", "/head", 0}, {"POST", "/echo", 26}, {"PUT", "/head", 0}};
    struct http_client *client = new_client(1, 1);

    for (size_t i = 0; i < 144; i++) { /* all pairs, bodies read or in memory */
        size_t kind = i % 2 == 0 ? i / 24 : i / 4 % 6;
        const struct http_header header = {i % 2 == 0 ? "x-even" : "x-odd", "1"};
        CLEANUP(buf_done) struct buf line = BUF_INIT(64);
        struct exchange x;

        exchange_init(&x, kinds[kind].method, kinds[kind].path);
        x.request.headers = &header;
        x.request.header_count = 1;
        x.request.size = x.to_read = kinds[kind].body;
        if ((x.request.has_body = x.to_read > 0)) {
            x.request.read = i % 4 < 2 ? on_read : NULL;
            x.request.data = i % 4 < 2 ? NULL : "a body that lies in memory";
        }
        assert_int_equal(run(client, &x), 0);
        assert_true(x.result.http_status == 200 && x.result.sent_bytes == x.to_read);
        buf_addf(&line, "%s /head HTTP/1.1\r\n", kinds[kind].method);
        if (kinds[kind].body > 0) {
            assert_int_equal(buf_len(&x.body), kinds[kind].body);
            assert_true(x.request.data == NULL || memcmp(x.body.data, "a bod", 5) == 0);
        } else if (strcmp(kinds[kind].method, "HEAD") != 0) {
            assert_memory_equal(buf_str(&x.body), buf_str(&line), buf_len(&line));
            assert_non_null(strstr(buf_str(&x.body), header.name));
            assert_null(strstr(buf_str(&x.body), i % 2 == 0 ? "x-odd" : "x-even"));
            assert_null(strcasestr(buf_str(&x.body), "Content-Length"));
        }
        exchange_done(&x);
    }
    http_client_free(client);
}

static void a_header_cannot_smuggle_another(UNUSED void **state)
{
    static const struct http_header header = {"x-one", "1\r\nx-two: 2"};
    struct http_client *client = new_client(1, 1);
    struct exchange x;

    exchange_init(&x, "GET", "/");
    x.request.headers = &header;
    x.request.header_count = 1;
    assert_int_equal(run(client, &x), -EINVAL);
    exchange_done(&x);
    http_client_free(client);
}

static void check_pattern(const struct buf *body, size_t len)
{
    assert_int_equal(buf_len(body), len);
    for (size_t i = 0; i < len; i++) {
        if (buf_str(body)[i] != (char)(i % 251)) {
            fail_msg("byte %zu is wrong", i);
        }
    }
}

static void bodies_stream_both_ways_and_may_pause(UNUSED void **state)
{
    struct http_client *client = new_client(1, 2);

    for (int pausing = 0; pausing < 2; pausing++) {
        struct exchange x;

        exchange_init(&x, "PUT", "/echo");
        x.request.has_body = true;
        x.request.size = 700001;
        x.to_read = 700001;
        x.request.read = on_read;
        x.pausing = pausing == 1;
        assert_int_equal(run(client, &x), 0);
        check_pattern(&x.body, 700001);
        assert_int_equal(x.result.sent_bytes, 700001);
        exchange_done(&x);

        exchange_init(&x, "GET", "/big");
        x.pausing = pausing == 1;
        assert_int_equal(run(client, &x), 0);
        check_pattern(&x.body, BIG);
        exchange_done(&x);
    }
    http_client_free(client);
}

static void a_source_of_another_length_ends_the_request(UNUSED void **state)
{
    struct http_client *client = new_client(1, 1);

    for (int pausing = 0; pausing < 2; pausing++) {
        for (size_t to_read = 4000; to_read <= 6000; to_read += 1000) {
            struct exchange x;

            exchange_init(&x, "PUT", "/echo");
            x.request.has_body = true;
            x.request.size = 5000;
            x.request.read = on_read;
            x.to_read = to_read;
            x.pausing = pausing == 1;
            assert_int_equal(run(client, &x), to_read == 5000 ? 0 : -EBADMSG);
            exchange_done(&x);
        }
    }
    http_client_free(client);
}

static void nothing_waits_beyond_its_deadline(UNUSED void **state)
{
    struct http_client *client = new_client(1, 1);
    struct exchange first;
    struct exchange queued;
    struct exchange stalled;

    exchange_init(&first, "GET", "/slow");
    exchange_init(&queued, "GET", "/");
    first.request.timeout_ms = 600;
    queued.request.timeout_ms = 200;
    http_submit(client, &first.request);
    http_submit(client, &queued.request);
    assert_int_equal(wait_end(client, &queued), -ETIMEDOUT);
    assert_int_equal(wait_end(client, &first), -ETIMEDOUT);
    assert_in_range(first.result.total_ms, 590, 2500);
    exchange_done(&first);
    exchange_done(&queued);

    exchange_init(&stalled, "GET", "/slow");
    stalled.request.stall_ms = 300;
    assert_int_equal(run(client, &stalled), -ETIMEDOUT);
    assert_in_range(stalled.result.total_ms, 290, 2500);
    exchange_done(&stalled);
    http_client_free(client);
}

static void a_request_can_be_cancelled_wherever_it_is(UNUSED void **state)
{
    struct http_client *client = new_client(1, 1);
    struct exchange running;
    struct exchange queued;

    exchange_init(&running, "GET", "/slow");
    exchange_init(&queued, "GET", "/");
    http_submit(client, &running.request);
    http_submit(client, &queued.request);
    http_cancel(client, &queued.request);
    assert_int_equal(wait_end(client, &queued), -ECANCELED);
    http_cancel(client, &running.request);
    assert_int_equal(wait_end(client, &running), -ECANCELED);
    exchange_done(&running);
    exchange_done(&queued);

    exchange_init(&running, "GET", "/slow");
    exchange_init(&queued, "GET", "/");
    http_submit(client, &running.request);
    http_submit(client, &queued.request);
    http_client_free(client); /* ends both */
    assert_true(running.done && queued.done);
    assert_int_equal(running.result.status, -ECANCELED);
    assert_int_equal(queued.result.status, -ECANCELED);
    exchange_done(&running);
    exchange_done(&queued);
}

static void failures_are_told_by_errno_and_without_the_query(UNUSED void **state)
{
    struct http_client *client = new_client(1, 2);
    struct exchange x;

    exchange_init(&x, "GET", "/cut?secret=1");
    assert_int_equal(run(client, &x), -ECONNRESET);
    assert_int_equal(x.result.http_status, 200);
    assert_null(strstr(x.result.error.text, "secret"));
    exchange_done(&x);

    exchange_init(&x, "GET", "/");
    (void)snprintf(x.url, sizeof(x.url), "http://127.0.0.1:1/?secret=1");
    assert_int_equal(run(client, &x), -ECONNREFUSED);
    assert_non_null(strstr(x.result.error.text, "127.0.0.1:1"));
    assert_null(strstr(x.result.error.text, "secret"));
    exchange_done(&x);

    exchange_init(&x, "GET", "/");
    (void)snprintf(x.url, sizeof(x.url), "ftp://127.0.0.1/");
    assert_int_equal(run(client, &x), -EINVAL);
    exchange_done(&x);

    exchange_init(&x, "GET", "/");
    (void)snprintf(x.url, sizeof(x.url), "https://127.0.0.1:%d/", port);
    assert_int_equal(run(client, &x), -EPROTO);
    assert_non_null(strstr(x.result.error.text, "CA file"));
    exchange_done(&x);
    http_client_free(client);
}

static void a_connection_that_died_is_replaced(UNUSED void **state)
{
    struct http_client *client = new_client(1, 1);

    for (int i = 0; i < 5; i++) {
        struct exchange x;

        exchange_init(&x, "PUT", i % 2 == 0 ? "/once" : "/echo");
        x.request.has_body = true;
        x.request.data = "0123456789";
        x.request.size = i % 2 == 0 ? 0 : 10;
        assert_int_equal(run(client, &x), 0);
        assert_string_equal(buf_str(&x.body), i % 2 == 0 ? "once" : "0123456789");
        exchange_done(&x);
    }
    http_client_free(client);
}

static void whoever_may_not_reach_this_machine_is_not_connected_to_it(UNUSED void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]",
                                        "0.0.0.0"};
    struct http_client *client = new_public_client();
    int before = atomic_load(&accepted);

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        CLEANUP(buf_done) struct buf url = BUF_INIT(256);
        struct exchange x;

        exchange_init(&x, "GET", "/");
        buf_addf(&url, "http://%s:%d/", hosts[i], port);
        x.request.url = buf_str(&url);
        assert_int_equal(run(client, &x), -EACCES);
        assert_non_null(strstr(x.result.error.text, hosts[i]));
        assert_non_null(strstr(x.result.error.text, "on this machine itself or link-local"));
        exchange_done(&x);
    }
    assert_int_equal(atomic_load(&accepted), before);
    http_client_free(client);
}

static void many_requests_share_few_connections(UNUSED void **state)
{
    enum { MANY = 400 };
    struct http_client *client = new_client(2, 4);
    AUTOFREE struct exchange *x = calloc(MANY, sizeof(*x));
    int before = atomic_load(&accepted);
    struct http_stats stats = {0};

    assert_non_null(x);
    for (int i = 0; i < MANY; i++) {
        exchange_init(&x[i], "GET", "/");
        http_submit(client, &x[i].request);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(wait_end(client, &x[i]), 0);
        assert_string_equal(buf_str(&x[i].body), "hello");
        exchange_done(&x[i]);
    }
    http_client_stats(client, &stats);
    assert_in_range(stats.connections, 1, 4);
    assert_in_range(atomic_load(&accepted) - before, 1, 4);
    http_client_free(client);
}

/* One look at an exchange: cancel it now and then, else resume it. True when it has ended. */
static bool poke(struct http_client *client, struct exchange *x, unsigned int dice)
{
    bool ended;

    mutex_lock(&x->lock); /* done() needs it too, so it cannot end under our hands */
    ended = x->done;
    if (!ended && dice % 97 == 0) {
        http_cancel(client, &x->request);
    } else if (!ended) {
        http_resume(client, &x->request);
    }
    mutex_unlock(&x->lock);
    return ended;
}

static void cancel_and_resume_may_come_at_any_time(UNUSED void **state)
{
    enum { STORM = 60 };
    struct http_client *client = new_client(2, 8);
    AUTOFREE struct exchange *x = calloc(STORM, sizeof(*x));
    size_t ended = 0;

    assert_non_null(x);
    for (size_t i = 0; i < STORM; i++) {
        exchange_init(&x[i], "PUT", i % 2 == 0 ? "/big" : "/echo");
        x[i].request.has_body = i % 2 == 1;
        x[i].request.size = x[i].request.has_body ? 300000 : 0;
        x[i].to_read = 300000;
        x[i].request.read = on_read;
        x[i].pausing = true;
        http_submit(client, &x[i].request);
    }
    for (unsigned int dice = 1; ended < STORM; dice++) {
        ended = 0;
        for (size_t i = 0; i < STORM; i++) {
            ended += poke(client, &x[i], dice * 31 + (unsigned int)i) ? 1 : 0;
        }
        (void)usleep(500);
    }
    for (size_t i = 0; i < STORM; i++) {
        assert_true(x[i].result.status == 0 || x[i].result.status == -ECANCELED);
        exchange_done(&x[i]);
    }
    http_client_free(client);
}

static void the_queue_has_an_end(UNUSED void **state)
{
    struct http_client_config config = {.threads = 1, .max_connections = 1, .max_queued = 2};
    struct http_client *client = NULL;
    struct error err = ERROR_INIT;
    struct exchange x[3];

    assert_int_equal(http_client_new(&config, &client, &err), 0);
    for (int i = 0; i < 3; i++) {
        exchange_init(&x[i], "GET", "/slow");
        http_submit(client, &x[i].request);
    }
    assert_int_equal(wait_end(client, &x[2]), -EBUSY);
    http_client_free(client);
    for (int i = 0; i < 3; i++) {
        exchange_done(&x[i]);
    }
}

static void files_that_cannot_be_read_are_named(UNUSED void **state)
{
    struct http_client_config config = {.ca_file = "/no/such/ca.pem"};
    struct http_client *client = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(http_client_new(&config, &client, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/no/such/ca.pem"));
    config = (struct http_client_config){.threads = 65};
    assert_int_equal(http_client_new(&config, &client, &err), -EINVAL);
    http_client_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_whole_with_its_head),
        cmocka_unit_test(connections_are_kept_and_reused),
        cmocka_unit_test(what_may_be_sent_only_once_is_not_sent_again),
        cmocka_unit_test(path_and_headers_go_out_as_they_are),
        cmocka_unit_test(nothing_of_a_request_is_in_the_next),
        cmocka_unit_test(a_header_cannot_smuggle_another),
        cmocka_unit_test(bodies_stream_both_ways_and_may_pause),
        cmocka_unit_test(a_source_of_another_length_ends_the_request),
        cmocka_unit_test(nothing_waits_beyond_its_deadline),
        cmocka_unit_test(a_request_can_be_cancelled_wherever_it_is),
        cmocka_unit_test(failures_are_told_by_errno_and_without_the_query),
        cmocka_unit_test(a_connection_that_died_is_replaced),
        cmocka_unit_test(whoever_may_not_reach_this_machine_is_not_connected_to_it),
        cmocka_unit_test(many_requests_share_few_connections),
        cmocka_unit_test(cancel_and_resume_may_come_at_any_time),
        cmocka_unit_test(the_queue_has_an_end),
        cmocka_unit_test(files_that_cannot_be_read_are_named),
    };

    return cmocka_run_group_tests_name("http", tests, start_server, stop_server);
}
