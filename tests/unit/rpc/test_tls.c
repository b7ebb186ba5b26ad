/* SPDX-License-Identifier: Apache-2.0 */
/* mTLS with certificates of util/authority, over TCP. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rpc/client.h"
#include "rpc/server.h"
#include "tests/echo.pb-c.h"
#include "util/authority.h"
#include "util/file.h"

struct fixture {
    char dir[64];
    char path[5][96]; /* ca, server certificate and key, client certificate and key */
    char target[64];
    struct key_pair ca;
    struct rpc_server *server;
};

enum { CA, SERVER_CERT, SERVER_KEY, CLIENT_CERT, CLIENT_KEY };

static int say(struct rpc_call *call, const ProtobufCMessage *request UNUSED,
               ProtobufCMessage *reply, struct error *err UNUSED)
{
    Test__V1__SayReply *out = (void *)reply;
    const struct rpc_peer *peer = rpc_call_peer(call);

    out->text = rpc_call_strdup(call, peer->common_name);
    out->peer = rpc_call_printf(call, "%d %zu %s", (int)peer->kind, peer->name_count,
                                peer->name_count > 0 ? peer->names[0] : "");
    return rpc_call_peer_is(call, "node-1.example") ? 0 : -EACCES;
}

static void write_file(const char *path, const char *text)
{
    assert_int_equal(file_replace(path, text, strlen(text), 0600), 0);
}

static void issue(struct fixture *f, const char *name, const char *alternative, int cert)
{
    struct authority_subject subject = {.common_name = name,
                                        .names = (const char *const[]){alternative, "127.0.0.1"},
                                        .name_count = 2,
                                        .days = 30};
    struct key_pair pair = {0};
    struct error err = ERROR_INIT;

    assert_int_equal(authority_issue(&f->ca, &subject, &pair, &err), 0);
    write_file(f->path[cert], pair.certificate);
    write_file(f->path[cert + 1], pair.key);
    key_pair_done(&pair);
}

static struct rpc_tls tls_of(struct fixture *f, int cert)
{
    return (struct rpc_tls){
        .ca_file = f->path[CA], .cert_file = f->path[cert], .key_file = f->path[cert + 1]};
}

static int setup(void **state)
{
    static const struct rpc_method methods[] = {{.name = "Say", .unary = say}};
    static const char *const names[] = {"ca", "s.crt", "s.key", "c.crt", "c.key"};
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;
    struct rpc_tls tls;

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/rpc-tls-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    for (int i = 0; i < 5; i++) {
        (void)snprintf(f->path[i], sizeof(f->path[i]), "%s/%s", f->dir, names[i]);
    }
    assert_int_equal(authority_root("test authority", 60, &f->ca, &err), 0);
    write_file(f->path[CA], f->ca.certificate);
    issue(f, "server", "meta.example", SERVER_CERT);
    issue(f, "client", "node-1.example", CLIENT_CERT);
    tls = tls_of(f, SERVER_CERT);
    assert_int_equal(rpc_server_new(
                         &(struct rpc_server_config){
                             .listen = (const char *const[]){"127.0.0.1:0", NULL}, .tls = &tls},
                         &f->server, &err),
                     0);
    assert_int_equal(rpc_server_add(f->server,
                                    &(struct rpc_service){.descriptor = &test__v1__echo__descriptor,
                                                          .methods = methods,
                                                          .method_count = 1},
                                    &err),
                     0);
    assert_int_equal(rpc_server_start(f->server, &err), 0);
    (void)snprintf(f->target, sizeof(f->target), "127.0.0.1:%u", rpc_server_port(f->server, 0));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(rpc_server_drain(f->server, 100), 0);
    rpc_server_free(f->server);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(unlink(f->path[i]), 0);
    }
    assert_int_equal(rmdir(f->dir), 0);
    key_pair_done(&f->ca);
    free(f);
    return 0;
}

/* One call on a client; the reply's text and peer into ret. */
static int call(struct rpc_client *client, char ret[128], struct error *err)
{
    Test__V1__SayRequest in = TEST__V1__SAY_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    Test__V1__SayReply *out;
    int r = rpc_client_call(client,
                            &(struct rpc_request){.service = &test__v1__echo__descriptor,
                                                  .method = "Say",
                                                  .message = &in.base,
                                                  .timeout_ms = 10000},
                            &reply, err);

    if (r == 0) {
        out = (void *)reply;
        (void)snprintf(ret, 128, "%s|%s", out->text, out->peer);
        rpc_message_free(reply);
    }
    return r;
}

static int connect_and_call(const char *target, const struct rpc_tls *tls, const char *server_name,
                            char ret[128], struct error *err)
{
    struct rpc_client *client;
    int r = rpc_client_new(
        &(struct rpc_client_config){.target = target, .tls = tls, .server_name = server_name},
        &client, err);

    if (r == 0) {
        r = call(client, ret, err);
        rpc_client_free(client);
    }
    return r;
}

static void both_sides_are_known_by_their_certificates(void **state)
{
    struct fixture *f = *state;
    struct rpc_tls tls = tls_of(f, CLIENT_CERT);
    struct error err = ERROR_INIT;
    char text[128];

    assert_int_equal(connect_and_call(f->target, &tls, NULL, text, &err), 0);
    assert_string_equal(text, "client|1 2 node-1.example");
    assert_int_equal(connect_and_call(f->target, &tls, "meta.example", text, &err), 0);
    assert_int_equal(connect_and_call(f->target, &tls, "other.example", text, &err), -ECONNREFUSED);
}

static void a_client_without_certificate_is_rejected(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    char text[128];

    assert_int_equal(connect_and_call(f->target, NULL, NULL, text, &err), -ECONNREFUSED);
}

static void a_certificate_of_another_authority_is_rejected(void **state)
{
    struct fixture *f = *state;
    struct rpc_tls tls = tls_of(f, CLIENT_CERT);
    struct key_pair ours = f->ca;
    struct error err = ERROR_INIT;
    char text[128];

    assert_int_equal(authority_root("test authority", 60, &f->ca, &err), 0);
    issue(f, "client", "node-1.example", CLIENT_CERT);
    key_pair_done(&f->ca);
    f->ca = ours;
    assert_int_equal(connect_and_call(f->target, &tls, NULL, text, &err), -ECONNREFUSED);
}

static void renewed_certificates_are_used_without_a_restart(void **state)
{
    struct fixture *f = *state;
    struct rpc_tls tls = tls_of(f, CLIENT_CERT);
    struct error err = ERROR_INIT;
    struct rpc_client *client;
    char text[128];

    assert_int_equal(rpc_client_new(&(struct rpc_client_config){.target = f->target, .tls = &tls},
                                    &client, &err),
                     0);
    assert_int_equal(call(client, text, &err), 0);
    /* A new authority and new certificates on both sides: the old ones are worth nothing. */
    key_pair_done(&f->ca);
    assert_int_equal(authority_root("second authority", 60, &f->ca, &err), 0);
    write_file(f->path[CA], f->ca.certificate);
    issue(f, "server", "meta.example", SERVER_CERT);
    issue(f, "client-2", "node-1.example", CLIENT_CERT);
    (void)usleep(1100000); /* the client looks at its files once a second */
    assert_int_equal(call(client, text, &err), 0);
    assert_string_equal(text, "client-2|1 2 node-1.example");
    rpc_client_free(client);
}

static void a_key_that_does_not_fit_is_told_at_once(void **state)
{
    struct fixture *f = *state;
    struct rpc_tls tls = tls_of(f, CLIENT_CERT);
    struct error err = ERROR_INIT;
    struct rpc_client *client;

    tls.key_file = f->path[SERVER_KEY];
    assert_int_equal(rpc_client_new(&(struct rpc_client_config){.target = f->target, .tls = &tls},
                                    &client, &err),
                     -EINVAL);
    assert_non_null(strstr(err.text, "the key is not that of the certificate"));
    tls.key_file = "/nonexistent/key";
    assert_int_equal(rpc_client_new(&(struct rpc_client_config){.target = f->target, .tls = &tls},
                                    &client, &err),
                     -ENOENT);
}

static void a_certificate_tells_what_it_was_issued_for(void **state)
{
    struct fixture *f = *state;
    struct arena arena = ARENA_INIT(1 << 16);
    struct authority_subject subject = {
        .common_name = "x",
        .names = (const char *const[]){"a.example", "10.0.0.1", "::1", "spiffe://skyvol/node"},
        .name_count = 4,
        .days = 400};
    struct authority_subject got;
    struct key_pair pair = {0};
    struct error err = ERROR_INIT;
    int64_t end;

    assert_int_equal(authority_issue(&f->ca, &subject, &pair, &err), 0);
    assert_int_equal(authority_read(pair.certificate, &arena, &got, &end), 0);
    assert_string_equal(got.common_name, "x");
    assert_int_equal(got.name_count, 4);
    assert_string_equal(got.names[1], "10.0.0.1");
    assert_string_equal(got.names[2], "::1");
    assert_string_equal(got.names[3], "spiffe://skyvol/node");
    /* Not beyond its authority's 60 days. */
    assert_in_range(end - time(NULL), 59 * 86400, 61 * 86400);
    key_pair_done(&pair);
    subject.names = (const char *const[]){"a,DNS:b", "b", "c", "d"};
    assert_int_equal(authority_issue(&f->ca, &subject, &pair, &err), -EINVAL);
    subject.name_count = 0;
    subject.days = 0;
    assert_int_equal(authority_issue(&f->ca, &subject, &pair, &err), -EINVAL);
    arena_done(&arena);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(both_sides_are_known_by_their_certificates),
        TEST(a_client_without_certificate_is_rejected),
        TEST(a_certificate_of_another_authority_is_rejected),
        TEST(renewed_certificates_are_used_without_a_restart),
        TEST(a_key_that_does_not_fit_is_told_at_once),
        TEST(a_certificate_tells_what_it_was_issued_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
