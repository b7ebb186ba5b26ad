/* SPDX-License-Identifier: Apache-2.0 */
/* A real server and a real client of this library, over unix sockets and TCP. */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rpc/client.h"
#include "rpc/server.h"
#include "tests/echo.pb-c.h"
#include "util/cleanup.h"
#include "util/clock.h"

struct fixture {
    char dir[64];
    char address[96];
    struct rpc_server *server;
    struct rpc_client *client;
    atomic_int streams_ended;
    atomic_int streams_running;
};

static int say(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
               struct error *err)
{
    const Test__V1__SayRequest *in = (const void *)request;
    Test__V1__SayReply *out = (void *)reply;
    const char *authorization = rpc_call_metadata(call, "authorization");
    char thread[16];

    if (in->sleep_ms > 0 && rpc_call_sleep(call, (uint64_t)in->sleep_ms) < 0 &&
        rpc_call_cancelled(call)) {
        return -ECANCELED;
    }
    if (in->code > 0) {
        return rpc_call_fail(call, (enum rpc_code)in->code, "asked for: %s", in->text);
    }
    if (in->error > 0) {
        return error_set(err, -in->error, "error asked for: %s", in->text);
    }
    (void)pthread_getname_np(pthread_self(), thread, sizeof(thread));
    out->text = rpc_call_printf(call, "you said %s", in->text);
    out->peer = rpc_call_strdup(call, rpc_call_peer(call)->kind == RPC_PEER_UNIX ? "unix" : "tcp");
    out->request_id = rpc_call_strdup(call, rpc_call_request_id(call));
    out->thread = rpc_call_strdup(call, thread);
    out->left_ms = (int64_t)rpc_call_left_ms(call);
    if (authorization != NULL) {
        out->authorization = rpc_call_strdup(call, authorization);
    }
    return 0;
}

static int count(struct rpc_call *call, const ProtobufCMessage *request, struct error *err)
{
    const Test__V1__CountRequest *in = (const void *)request;
    struct fixture *f = rpc_call_context(call);
    int r = 0;

    atomic_fetch_add(&f->streams_running, 1);
    for (int64_t i = 0; (in->count < 0 || i < in->count) && r == 0; i++) {
        Test__V1__SayReply reply = TEST__V1__SAY_REPLY__INIT;
        char text[32];

        (void)snprintf(text, sizeof(text), "%lld", (long long)i);
        reply.text = text;
        r = rpc_call_send(call, &reply.base, 5000);
        if (r == 0 && in->pause_ms > 0) {
            r = rpc_call_sleep(call, (uint64_t)in->pause_ms);
        }
    }
    atomic_fetch_add(&f->streams_ended, 1);
    return r < 0 ? error_set(err, r, "the stream was ended") : 0;
}

static int sum(struct rpc_call *call, const ProtobufCMessage *request, struct error *err)
{
    const ProtobufCMessage *message;
    Test__V1__SayReply reply = TEST__V1__SAY_REPLY__INIT;
    int64_t total = 0;
    char text[32];
    int r;

    assert_null(request);
    while ((r = rpc_call_recv(call, 5000, &message)) == 1) {
        total += ((const Test__V1__CountRequest *)(const void *)message)->count;
    }
    if (r < 0) {
        return error_set(err, r, "receiving failed");
    }
    (void)snprintf(text, sizeof(text), "%lld", (long long)total);
    reply.text = text;
    return rpc_call_send(call, &reply.base, 5000);
}

static int chat(struct rpc_call *call, const ProtobufCMessage *request UNUSED, struct error *err)
{
    const ProtobufCMessage *message;
    int r;

    while ((r = rpc_call_recv(call, 5000, &message)) == 1) {
        Test__V1__SayReply reply = TEST__V1__SAY_REPLY__INIT;

        reply.text = ((const Test__V1__SayRequest *)(const void *)message)->text;
        r = rpc_call_send(call, &reply.base, 5000);
        if (r < 0) {
            return r;
        }
    }
    return r < 0 ? error_set(err, r, "chat ended early") : 0;
}

static const struct rpc_method methods[] = {
    {.name = "Say", .unary = say, .pool = "quick"},
    {.name = "Count", .stream = count},
    {.name = "Sum", .stream = sum, .client_streams = true},
    {.name = "Chat", .stream = chat, .client_streams = true},
};

static void serve(struct fixture *f, const char *const *listen, const struct rpc_tls *tls)
{
    static const struct rpc_pool pools[] = {{.name = "quick", .threads = 4, .max_queued = 256}};
    struct error err = ERROR_INIT;

    assert_int_equal(rpc_server_new(
                         &(struct rpc_server_config){
                             .listen = listen, .tls = tls, .pools = pools, .pool_count = 1},
                         &f->server, &err),
                     0);
    assert_int_equal(rpc_server_add(f->server,
                                    &(struct rpc_service){.descriptor = &test__v1__echo__descriptor,
                                                          .methods = methods,
                                                          .method_count = 4,
                                                          .context = f},
                                    &err),
                     0);
    assert_int_equal(rpc_server_start(f->server, &err), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/rpc-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->address, sizeof(f->address), "unix:%s/s.sock", f->dir);
    serve(f, (const char *const[]){f->address, NULL}, NULL);
    assert_int_equal(
        rpc_client_new(&(struct rpc_client_config){.target = f->address}, &f->client, &err), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    rpc_client_free(f->client);
    if (f->server != NULL) {
        assert_int_equal(rpc_server_drain(f->server, 100), 0);
        rpc_server_free(f->server);
    }
    (void)unlink(f->address + 5);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static struct rpc_request request_of(const char *method, const ProtobufCMessage *message)
{
    return (struct rpc_request){.service = &test__v1__echo__descriptor,
                                .method = method,
                                .message = message,
                                .timeout_ms = 20000};
}

static void a_unary_call_is_answered_with_all_it_asked_for(void **state)
{
    struct fixture *f = *state;
    Test__V1__SayRequest in = TEST__V1__SAY_REQUEST__INIT;
    struct rpc_metadata metadata[] = {{"authorization", "Bearer t"}, {"x-request-id", "r-17"}};
    struct rpc_request request = request_of("Say", &in.base);
    struct error err = ERROR_INIT;
    ProtobufCMessage *reply = NULL;
    enum rpc_code code;
    Test__V1__SayReply *out;

    in.text = (char[]){"h\xc3\xa4llo"};
    request.metadata = metadata;
    request.metadata_count = 2;
    request.ret_code = &code;
    assert_int_equal(rpc_client_call(f->client, &request, &reply, &err), 0);
    out = (void *)reply;
    assert_string_equal(out->text, "you said h\xc3\xa4llo");
    assert_string_equal(out->peer, "unix");
    assert_string_equal(out->request_id, "r-17");
    assert_string_equal(out->authorization, "Bearer t");
    assert_string_equal(out->thread, "quick");
    assert_in_range(out->left_ms, 1, 21000);
    assert_int_equal(code, RPC_OK);
    rpc_message_free(reply);
}

static void the_socket_is_private_and_a_dead_one_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct rpc_server *second = NULL;
    struct error err = ERROR_INIT;
    char path[100];
    struct stat st;
    int fd;

    assert_int_equal(stat(f->address + 5, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* Somebody listens there: refused, and the first one goes on. */
    assert_int_equal(
        rpc_server_new(
            &(struct rpc_server_config){.listen = (const char *const[]){f->address, NULL}}, &second,
            &err),
        0);
    assert_int_equal(rpc_server_start(second, &err), -EADDRINUSE);
    rpc_server_free(second);
    assert_int_equal(stat(f->address + 5, &st), 0);
    /* Nobody listens there. */
    (void)snprintf(path, sizeof(path), "unix:%.64s/dead.sock", f->dir);
    memcpy(address.sun_path, path + 5, strlen(path + 5));
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(
        rpc_server_new(&(struct rpc_server_config){.listen = (const char *const[]){path, NULL}},
                       &second, &err),
        0);
    assert_int_equal(rpc_server_start(second, &err), 0);
    assert_int_equal(rpc_server_drain(second, 100), 0);
    rpc_server_free(second);
    (void)unlink(path + 5);
}

static void errors_come_with_code_and_clean_text(void **state)
{
    struct fixture *f = *state;
    Test__V1__SayRequest in = TEST__V1__SAY_REQUEST__INIT;
    struct rpc_request request = request_of("Say", &in.base);
    struct error err = ERROR_INIT;
    ProtobufCMessage *reply = NULL;
    enum rpc_code code;

    request.ret_code = &code;
    in.text = (char[]){"so \"what\"\n"};
    in.error = ENOENT;
    assert_int_equal(rpc_client_call(f->client, &request, &reply, &err), -ENOENT);
    assert_int_equal(code, RPC_NOT_FOUND);
    assert_string_equal(err.text, "error asked for: so \"what\"?");
    in.code = RPC_DATA_LOSS;
    assert_int_equal(rpc_client_call(f->client, &request, &reply, &err), -EUCLEAN);
    assert_int_equal(code, RPC_DATA_LOSS);
    request.method = "Missing";
    assert_int_equal(rpc_client_call(f->client, &request, &reply, &err), -ENOTSUP);
    assert_int_equal(code, RPC_UNIMPLEMENTED);
    request.method = "Say";
    in.code = 0;
    in.error = 0;
    in.text = (char[]){"bad \xff"};
    assert_int_equal(rpc_client_call(f->client, &request, &reply, &err), -EINVAL);
    assert_string_equal(err.text, "field 'text' of the request is not UTF-8");
    assert_null(reply);
}

static void a_deadline_ends_the_call_on_both_sides(void **state)
{
    struct fixture *f = *state;
    Test__V1__SayRequest in = TEST__V1__SAY_REQUEST__INIT;
    struct rpc_request request = request_of("Say", &in.base);
    struct error err = ERROR_INIT;
    ProtobufCMessage *reply;
    uint64_t before = clock_monotonic_ms(clock_real());

    in.sleep_ms = 60000;
    request.timeout_ms = 150;
    assert_int_equal(rpc_client_call(f->client, &request, &reply, &err), -ETIMEDOUT);
    assert_int_equal(rpc_server_drain(f->server, 5000), 0);
    assert_true(clock_monotonic_ms(clock_real()) - before < 5000);
    rpc_server_free(f->server);
    f->server = NULL;
}

struct canceller {
    struct rpc_cancel *cancel;
    struct fixture *f;
};

static void *cancel_when_running(void *arg)
{
    struct canceller *c = arg;

    while (atomic_load(&c->f->streams_running) == 0) {
        (void)usleep(1000);
    }
    rpc_cancel_now(c->cancel);
    return NULL;
}

static void a_cancelled_stream_ends_its_handler(void **state)
{
    struct fixture *f = *state;
    Test__V1__CountRequest in = TEST__V1__COUNT_REQUEST__INIT;
    struct rpc_request request = request_of("Count", &in.base);
    struct canceller c = {.f = f};
    struct error err = ERROR_INIT;
    struct rpc_stream *stream;
    ProtobufCMessage *message = NULL;
    pthread_t thread;
    int r;

    in.count = -1;
    in.pause_ms = 5;
    assert_int_equal(rpc_cancel_new(&c.cancel), 0);
    request.cancel = c.cancel;
    request.timeout_ms = UINT64_MAX;
    assert_int_equal(rpc_stream_open(f->client, &request, &stream, &err), 0);
    assert_int_equal(pthread_create(&thread, NULL, cancel_when_running, &c), 0);
    while ((r = rpc_stream_recv(stream, 5000, &message, &err)) == 1) {
        rpc_message_free(message);
    }
    assert_int_equal(r, -ECANCELED);
    rpc_stream_free(stream);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 5000 && atomic_load(&f->streams_ended) == 0; i++) {
        (void)usleep(1000);
    }
    assert_int_equal(atomic_load(&f->streams_ended), 1);
    assert_int_equal(rpc_client_call(f->client, &request, &message, &err), -ECANCELED);
    rpc_cancel_free(c.cancel);
}

/* The other process of the next test: read an endless stream until killed. */
static int read_for_ever(const char *address)
{
    Test__V1__CountRequest in = TEST__V1__COUNT_REQUEST__INIT;
    struct rpc_request request = request_of("Count", &in.base);
    struct error err = ERROR_INIT;
    struct rpc_client *client;
    struct rpc_stream *stream;
    ProtobufCMessage *message;

    in.count = -1;
    in.pause_ms = 1;
    request.timeout_ms = UINT64_MAX;
    if (rpc_client_new(&(struct rpc_client_config){.target = address}, &client, &err) < 0 ||
        rpc_stream_open(client, &request, &stream, &err) < 0) {
        return 1;
    }
    while (rpc_stream_recv(stream, 60000, &message, &err) == 1) {
        rpc_message_free(message);
    }
    return 1;
}

static void a_killed_client_ends_its_handler(void **state)
{
    struct fixture *f = *state;
    char self[] = "/proc/self/exe";
    char *argv[] = {self, f->address, NULL};
    char *environment[] = {NULL};
    int status;
    pid_t pid;

    assert_int_equal(posix_spawn(&pid, self, NULL, NULL, argv, environment), 0);
    for (int i = 0; i < 20000 && atomic_load(&f->streams_running) == 0; i++) {
        (void)usleep(1000);
    }
    assert_int_equal(atomic_load(&f->streams_running), 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    for (int i = 0; i < 5000 && atomic_load(&f->streams_ended) == 0; i++) {
        (void)usleep(1000);
    }
    assert_int_equal(atomic_load(&f->streams_ended), 1);
}

static void a_server_stream_comes_whole_and_in_order(void **state)
{
    struct fixture *f = *state;
    Test__V1__CountRequest in = TEST__V1__COUNT_REQUEST__INIT;
    struct rpc_request request = request_of("Count", &in.base);
    struct error err = ERROR_INIT;
    struct rpc_stream *stream;
    ProtobufCMessage *message;
    char text[32];

    in.count = 500;
    assert_int_equal(rpc_stream_open(f->client, &request, &stream, &err), 0);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(rpc_stream_recv(stream, 5000, &message, &err), 1);
        (void)snprintf(text, sizeof(text), "%d", i);
        assert_string_equal(((Test__V1__SayReply *)(void *)message)->text, text);
        rpc_message_free(message);
    }
    assert_int_equal(rpc_stream_recv(stream, 5000, &message, &err), 0);
    assert_int_equal(rpc_stream_recv(stream, 5000, &message, &err), 0);
    rpc_stream_free(stream);
}

static void a_receive_that_timed_out_can_be_tried_again(void **state)
{
    struct fixture *f = *state;
    Test__V1__CountRequest in = TEST__V1__COUNT_REQUEST__INIT;
    struct rpc_request request = request_of("Count", &in.base);
    struct error err = ERROR_INIT;
    struct rpc_stream *stream;
    ProtobufCMessage *message;

    in.count = 2;
    in.pause_ms = 300;
    assert_int_equal(rpc_stream_open(f->client, &request, &stream, &err), 0);
    assert_int_equal(rpc_stream_recv(stream, 5000, &message, &err), 1);
    rpc_message_free(message);
    assert_int_equal(rpc_stream_recv(stream, 20, &message, &err), -ETIMEDOUT);
    assert_int_equal(rpc_stream_recv(stream, 5000, &message, &err), 1);
    assert_string_equal(((Test__V1__SayReply *)(void *)message)->text, "1");
    rpc_message_free(message);
    rpc_stream_free(stream); /* in the middle of the call */
}

static void a_client_stream_is_summed_up(void **state)
{
    struct fixture *f = *state;
    struct rpc_request request = request_of("Sum", NULL);
    struct error err = ERROR_INIT;
    struct rpc_stream *stream;
    ProtobufCMessage *message;

    assert_int_equal(rpc_stream_open(f->client, &request, &stream, &err), 0);
    for (int i = 1; i <= 100; i++) {
        Test__V1__CountRequest in = TEST__V1__COUNT_REQUEST__INIT;

        in.count = i;
        assert_int_equal(rpc_stream_send(stream, &in.base, 5000, &err), 0);
    }
    assert_int_equal(rpc_stream_close(stream), 0);
    assert_int_equal(rpc_stream_recv(stream, 5000, &message, &err), 1);
    assert_string_equal(((Test__V1__SayReply *)(void *)message)->text, "5050");
    rpc_message_free(message);
    assert_int_equal(rpc_stream_recv(stream, 5000, &message, &err), 0);
    rpc_stream_free(stream);
}

static void both_sides_of_a_stream_talk_in_turn(void **state)
{
    struct fixture *f = *state;
    struct rpc_request request = request_of("Chat", NULL);
    struct error err = ERROR_INIT;
    struct rpc_stream *stream;
    ProtobufCMessage *message;

    assert_int_equal(rpc_stream_open(f->client, &request, &stream, &err), 0);
    for (int i = 0; i < 20; i++) {
        Test__V1__SayRequest in = TEST__V1__SAY_REQUEST__INIT;
        char text[32];

        (void)snprintf(text, sizeof(text), "word %d", i);
        in.text = text;
        assert_int_equal(rpc_stream_send(stream, &in.base, 5000, &err), 0);
        assert_int_equal(rpc_stream_recv(stream, 5000, &message, &err), 1);
        assert_string_equal(((Test__V1__SayReply *)(void *)message)->text, text);
        rpc_message_free(message);
    }
    assert_int_equal(rpc_stream_close(stream), 0);
    assert_int_equal(rpc_stream_recv(stream, 5000, &message, &err), 0);
    rpc_stream_free(stream);
}

static void a_drain_lets_calls_finish_and_ends_endless_streams(void **state)
{
    struct fixture *f = *state;
    Test__V1__CountRequest in = TEST__V1__COUNT_REQUEST__INIT;
    struct rpc_request request = request_of("Count", &in.base);
    struct error err = ERROR_INIT;
    struct rpc_stream *streams[8];
    ProtobufCMessage *message;
    int r;

    in.count = -1; /* without a pause: these handlers never ask whether the server drains */
    request.timeout_ms = UINT64_MAX;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(rpc_stream_open(f->client, &request, &streams[i], &err), 0);
        assert_int_equal(rpc_stream_recv(streams[i], 5000, &message, &err), 1);
        rpc_message_free(message);
    }
    assert_int_equal(rpc_server_drain(f->server, 50), 0);
    assert_int_equal(atomic_load(&f->streams_ended), 8);
    rpc_server_free(f->server);
    f->server = NULL;
    for (int i = 0; i < 8; i++) {
        while ((r = rpc_stream_recv(streams[i], 5000, &message, &err)) == 1) {
            rpc_message_free(message);
        }
        assert_true(r < 0);
        rpc_stream_free(streams[i]);
    }
    request.timeout_ms = 1000;
    request.method = "Say";
    Test__V1__SayRequest more = TEST__V1__SAY_REQUEST__INIT;
    request.message = &more.base;
    assert_int_equal(rpc_client_call(f->client, &request, &message, &err), -ECONNREFUSED);
}

struct caller {
    struct fixture *f;
    int failures;
};

static void *call_often(void *arg)
{
    struct caller *caller = arg;

    for (int i = 0; i < 20; i++) {
        Test__V1__SayRequest in = TEST__V1__SAY_REQUEST__INIT;
        struct rpc_request request = request_of("Say", &in.base);
        struct error err = ERROR_INIT;
        ProtobufCMessage *reply = NULL;

        in.text = (char[]){"x"};
        if (rpc_client_call(caller->f->client, &request, &reply, &err) != 0 ||
            strcmp(((Test__V1__SayReply *)(void *)reply)->text, "you said x") != 0) {
            caller->failures++;
        }
        rpc_message_free(reply);
    }
    return NULL;
}

static void sixty_four_callers_at_once_are_all_served(void **state)
{
    struct caller callers[64];
    pthread_t threads[64];

    for (int i = 0; i < 64; i++) {
        callers[i] = (struct caller){.f = *state};
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < 64; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(callers[i].failures, 0);
    }
}

static void tcp_on_a_free_port_serves_as_well(void **state)
{
    struct fixture *f = *state;
    struct fixture other = {.server = NULL};
    Test__V1__SayRequest in = TEST__V1__SAY_REQUEST__INIT;
    struct rpc_request request = request_of("Say", &in.base);
    struct error err = ERROR_INIT;
    ProtobufCMessage *reply = NULL;
    char target[64];

    serve(&other, (const char *const[]){"127.0.0.1:0", NULL}, NULL);
    assert_int_equal(rpc_server_port(f->server, 0), 0);
    assert_int_not_equal(rpc_server_port(other.server, 0), 0);
    (void)snprintf(target, sizeof(target), "127.0.0.1:%u", rpc_server_port(other.server, 0));
    assert_int_equal(
        rpc_client_new(&(struct rpc_client_config){.target = target}, &other.client, &err), 0);
    assert_int_equal(rpc_client_call(other.client, &request, &reply, &err), 0);
    assert_string_equal(((Test__V1__SayReply *)(void *)reply)->peer, "tcp");
    rpc_message_free(reply);
    rpc_client_free(other.client);
    assert_int_equal(rpc_server_drain(other.server, 1000), 0);
    rpc_server_free(other.server);
}

static void plain_tcp_beyond_this_machine_is_refused(void **state UNUSED)
{
    static const char *const addresses[] = {"0.0.0.0:0", "[::]:0", ":0", "example.org:0"};

    for (int i = 0; i < 4; i++) {
        struct rpc_server *server = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(
            rpc_server_new(
                &(struct rpc_server_config){.listen = (const char *const[]){addresses[i], NULL}},
                &server, &err),
            0);
        assert_int_equal(rpc_server_start(server, &err), -EACCES);
        assert_non_null(strstr(err.text, "plain TCP"));
        rpc_server_free(server);
    }
}

/* And not only by chance, as calls do that fail at once. */
static void who_waits_for_a_server_has_it_when_it_is_back(void **state)
{
    struct fixture *f = *state;
    Test__V1__SayRequest in = TEST__V1__SAY_REQUEST__INIT;
    const struct rpc_request request = request_of("Say", &in.base);
    struct error err = ERROR_INIT;
    ProtobufCMessage *reply = NULL;

    in.text = (char[]){"x"};
    assert_int_equal(rpc_client_connect(f->client, 20000), 0);
    assert_int_equal(rpc_server_drain(f->server, 100), 0);
    rpc_server_free(TAKE(f->server));
    assert_int_equal(rpc_client_connect(f->client, 300), -ETIMEDOUT);
    assert_int_equal(rpc_client_call(f->client, &request, &reply, &err), -ECONNREFUSED);
    serve(f, (const char *const[]){f->address, NULL}, NULL);
    assert_int_equal(rpc_client_connect(f->client, 20000), 0);
    assert_int_equal(rpc_client_call(f->client, &request, &reply, &err), 0);
    rpc_message_free(reply);
}

static void a_wrong_method_table_is_refused(void **state)
{
    static const struct rpc_method none[] = {{.name = "NoSuch", .unary = say}};
    static const struct rpc_method pool[] = {{.name = "Missing", .unary = say, .pool = "no"}};
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    struct rpc_service service = {
        .descriptor = &test__v1__echo__descriptor, .methods = none, .method_count = 1};

    assert_int_equal(rpc_server_add(f->server, &service, &err), -EINVAL);
    service.methods = pool;
    assert_int_equal(rpc_server_add(f->server, &service, &err), -EINVAL);
    service.methods = methods;
    assert_int_equal(rpc_server_add(f->server, &service, &err), -EEXIST);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_unary_call_is_answered_with_all_it_asked_for),
        TEST(the_socket_is_private_and_a_dead_one_is_replaced),
        TEST(errors_come_with_code_and_clean_text),
        TEST(a_deadline_ends_the_call_on_both_sides),
        TEST(a_cancelled_stream_ends_its_handler),
        TEST(a_killed_client_ends_its_handler),
        TEST(a_server_stream_comes_whole_and_in_order),
        TEST(a_receive_that_timed_out_can_be_tried_again),
        TEST(a_client_stream_is_summed_up),
        TEST(both_sides_of_a_stream_talk_in_turn),
        TEST(a_drain_lets_calls_finish_and_ends_endless_streams),
        TEST(sixty_four_callers_at_once_are_all_served),
        TEST(tcp_on_a_free_port_serves_as_well),
        TEST(plain_tcp_beyond_this_machine_is_refused),
        TEST(who_waits_for_a_server_has_it_when_it_is_back),
        TEST(a_wrong_method_table_is_refused),
    };

    if (argc > 1) {
        return read_for_ever(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
