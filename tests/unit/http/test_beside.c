/* SPDX-License-Identifier: Apache-2.0 */
/* Clients that share their connections, against a server that answers when it is told to. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/http.h"
#include "test.h"
#include "util/cleanup.h"

enum { CONNECTIONS = 6, MANY = 20, WAIT_MS = 20000 };

static int listener = -1;
static int port;
static atomic_int accepted;
static atomic_int held[3]; /* requests for /a, /b, /c that wait for their answer */
static atomic_int answers; /* that may still be given */

static bool take_answer(void)
{
    int left = atomic_load(&answers);

    return left > 0 && atomic_compare_exchange_strong(&answers, &left, left - 1);
}

static void *serve(void *arg)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    int fd = *(int *)arg;
    char head[4096];

    free(arg);
    for (;;) {
        ssize_t n = recv(fd, head, sizeof(head), 0); /* a head comes in one piece here */
        size_t which;
        bool alive = true;

        if (n < 6) {
            break;
        }
        which = (size_t)(head[5] - 'a');
        (void)atomic_fetch_add(&held[which], 1);
        while (!take_answer() && alive) {
            (void)usleep(1000);
            alive = recv(fd, head, 1, MSG_DONTWAIT | MSG_PEEK) != 0;
        }
        (void)atomic_fetch_sub(&held[which], 1);
        if (!alive || send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL) < 0) {
            break;
        }
    }
    (void)close(fd);
    return NULL;
}

static void *accept_all(UNUSED void *arg)
{
    for (;;) {
        int *fd = malloc(sizeof(*fd));
        pthread_t thread;

        *fd = accept(listener, NULL, NULL);
        if (*fd < 0) {
            free(fd);
            return NULL;
        }
        (void)atomic_fetch_add(&accepted, 1);
        assert_int_equal(pthread_create(&thread, NULL, serve, fd), 0);
        (void)pthread_detach(thread);
    }
}

static int start_server(UNUSED void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    pthread_t thread;

    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 64), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&thread, NULL, accept_all, NULL), 0);
    return pthread_detach(thread);
}

struct exchange {
    struct http_request request;
    char url[64];
    atomic_int done; /* 1 with status */
    int status;
};

static void on_done(struct http_request *request, const struct http_result *result)
{
    struct exchange *x = request->arg;

    x->status = result->status;
    atomic_store(&x->done, 1);
}

static void submit(struct http_client *client, struct exchange *x, size_t count, char which)
{
    for (size_t i = 0; i < count; i++) {
        atomic_init(&x[i].done, 0);
        (void)snprintf(x[i].url, sizeof(x[i].url), "http://127.0.0.1:%d/%c", port, which);
        x[i].request = (struct http_request){
            .method = "GET", .url = x[i].url, .done = on_done, .timeout_ms = WAIT_MS, .arg = &x[i]};
        http_submit(client, &x[i].request);
    }
}

static void assert_ended(struct exchange *x, size_t count, int status)
{
    for (size_t i = 0; i < count; i++) {
        for (int ms = 0; ms < WAIT_MS && atomic_load(&x[i].done) == 0; ms++) {
            (void)usleep(1000);
        }
        assert_int_equal(atomic_load(&x[i].done), 1);
        assert_int_equal(x[i].status, status);
    }
}

/* So many become held, and stay so. */
static void assert_held(size_t which, int count)
{
    for (int ms = 0; ms < WAIT_MS && atomic_load(&held[which]) != count; ms++) {
        (void)usleep(1000);
    }
    (void)usleep(50000);
    assert_int_equal(atomic_load(&held[which]), count);
}

static struct http_client *new_client(struct http_client *beside)
{
    struct http_client_config config = {
        .beside = beside, .threads = 1, .max_connections = CONNECTIONS};
    struct http_client *client = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(http_client_new(&config, &client, &err), 0);
    return client;
}

static int set_up(UNUSED void **state)
{
    atomic_store(&accepted, 0);
    atomic_store(&answers, 0);
    return 0;
}

static void a_client_by_itself_has_all_connections(UNUSED void **state)
{
    struct http_client *client = new_client(NULL);
    struct exchange x[MANY];

    submit(client, x, MANY, 'a');
    assert_held(0, CONNECTIONS);
    atomic_store(&answers, MANY);
    assert_ended(x, MANY, 0);
    http_client_free(client);
}

static void clients_beside_each_other_share_connections_fairly(UNUSED void **state)
{
    struct http_client *a = new_client(NULL);
    struct http_client *b = new_client(a);
    struct http_client *c = new_client(b);
    struct exchange of_a[MANY], of_b[MANY], of_c[MANY];

    submit(a, of_a, MANY, 'a');
    assert_held(0, 4); /* two thirds */
    submit(b, of_b, MANY, 'b');
    assert_held(1, 2); /* what is left */
    submit(c, of_c, MANY, 'c');
    assert_held(2, 0);
    atomic_store(&answers, 1); /* whosever it is, c has none */
    assert_held(2, 1);
    assert_int_equal(atomic_load(&held[0]) + atomic_load(&held[1]), CONNECTIONS - 1);
    atomic_store(&answers, 3 * MANY - 1);
    assert_ended(of_a, MANY, 0);
    assert_ended(of_b, MANY, 0);
    assert_ended(of_c, MANY, 0);
    assert_int_equal(atomic_load(&accepted), CONNECTIONS);
    http_client_free(b);
    http_client_free(a);
    http_client_free(c);
}

static void freeing_a_client_ends_its_requests_and_no_others(UNUSED void **state)
{
    struct http_client *a = new_client(NULL);
    struct http_client *b = new_client(a);
    struct exchange of_a[MANY], of_b[MANY], more;
    struct http_stats stats = {0};

    submit(b, of_b, MANY, 'b');
    assert_held(1, 4);
    submit(a, of_a, MANY, 'a');
    assert_held(0, 2);
    http_client_free(a);
    assert_ended(of_a, MANY, -ECANCELED);
    assert_held(1, CONNECTIONS); /* alone now */
    atomic_store(&answers, MANY + 1);
    assert_ended(of_b, MANY, 0);
    submit(b, &more, 1, 'b');
    assert_ended(&more, 1, 0);
    http_client_stats(b, &stats);
    assert_int_equal(stats.requests, MANY + 1);
    assert_int_equal(stats.pending, 0);
    http_client_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_client_by_itself_has_all_connections, set_up),
        cmocka_unit_test_setup(clients_beside_each_other_share_connections_fairly, set_up),
        cmocka_unit_test_setup(freeing_a_client_ends_its_requests_and_no_others, set_up),
    };

    return cmocka_run_group_tests_name("beside", tests, start_server, NULL);
}
