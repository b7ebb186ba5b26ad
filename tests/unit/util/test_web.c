/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTPS server, asked by lib/http with its authority alone trusted. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "http/http.h"
#include "test.h"
#include "util/authority.h"
#include "util/file.h"
#include "util/mutex.h"
#include "util/web.h"

enum { BODY_MAX = 64 * 1024 };

static char ca_path[64];

/* A certificate of an authority of its own, which the client is to trust from here on. */
static struct key_pair make_pair(void)
{
    static const char *const names[] = {"127.0.0.1"};
    const struct authority_subject subject = {
        .common_name = "test", .names = names, .name_count = 1, .days = 2};
    struct key_pair ca = {NULL, NULL};
    struct key_pair pair = {NULL, NULL};

    assert_int_equal(authority_root("test-ca", 3, &ca, NULL), 0);
    assert_int_equal(authority_issue(&ca, &subject, &pair, NULL), 0);
    assert_int_equal(file_replace(ca_path, ca.certificate, strlen(ca.certificate), 0600), 0);
    key_pair_done(&ca);
    return pair;
}

static void echo(UNUSED void *context, const struct web_request *request, struct web_answer *answer)
{
    answer->status = strcmp(request->path, "/echo") == 0 ? 200 : 404;
    answer->content_type = "text/x-test";
    buf_addf(&answer->body, "%s %s ", request->method, request->content_type);
    buf_add(&answer->body, request->body.data, request->body.len);
}

struct exchange {
    struct mutex lock;
    struct cond changed;
    bool done;
    struct http_result result;
    struct buf body;
};

static int on_write(struct http_request *request, const void *data, size_t len)
{
    struct exchange *e = request->arg;

    buf_add(&e->body, data, len);
    return buf_error(&e->body);
}

static void on_done(struct http_request *request, const struct http_result *result)
{
    struct exchange *e = request->arg;

    mutex_lock(&e->lock);
    e->result = *result;
    e->done = true;
    cond_signal(&e->changed);
    mutex_unlock(&e->lock);
}

/* The status; 0: it failed. What was answered is compared with `expected`, if that is given. */
static int post(const struct web *web, const char *path, size_t len, const char *expected)
{
    static const struct http_header headers[] = {{"Content-Type", "text/plain"}};
    const struct http_client_config config = {.threads = 1, .ca_file = ca_path, .ca_only = true};
    struct exchange e = {.body = BUF_INIT(2 * BODY_MAX)};
    char *bytes = calloc(1, len + 1);
    struct http_client *client = NULL;
    struct error err = ERROR_INIT;
    char url[96];
    struct http_request request = {.method = "POST",
                                   .url = url,
                                   .headers = headers,
                                   .header_count = 1,
                                   .has_body = true,
                                   .data = bytes,
                                   .size = len,
                                   .write = on_write,
                                   .done = on_done,
                                   .timeout_ms = 10000,
                                   .arg = &e};

    assert_non_null(bytes);
    memset(bytes, 'x', len);
    (void)snprintf(url, sizeof(url), "https://127.0.0.1:%u%s", web_port(web), path);
    mutex_init(&e.lock);
    cond_init(&e.changed);
    assert_int_equal(http_client_new(&config, &client, &err), 0);
    http_submit(client, &request);
    mutex_lock(&e.lock);
    while (!e.done) {
        cond_wait(&e.changed, &e.lock);
    }
    mutex_unlock(&e.lock);
    http_client_free(client);
    if (expected != NULL) {
        assert_string_equal(buf_str(&e.body), expected);
    }
    buf_done(&e.body);
    cond_done(&e.changed);
    mutex_done(&e.lock);
    free(bytes);
    return e.result.http_status;
}

static int start_at(const char *address, struct web **ret)
{
    struct key_pair pair = make_pair();
    const struct web_config config = {.address = address,
                                      .certificate = pair.certificate,
                                      .key = pair.key,
                                      .body_max = BODY_MAX,
                                      .handle = echo};
    struct error err = ERROR_INIT;
    int r = web_new(&config, ret, &err);

    key_pair_done(&pair);
    return r;
}

static struct web *start(void)
{
    struct web *web = NULL;

    assert_int_equal(start_at("127.0.0.1:0", &web), 0);
    return web;
}

static void test_a_request_is_answered_whole(UNUSED void **state)
{
    struct web *web = start();

    assert_int_equal(post(web, "/echo", 3, "POST text/plain xxx"), 200);
    assert_int_equal(post(web, "/echo", BODY_MAX, NULL), 200);
    assert_int_equal(post(web, "/other", 0, "POST text/plain "), 404);
    web_free(web);
}

static void test_a_body_beyond_the_bound_is_refused(UNUSED void **state)
{
    struct web *web = start();
    int status = post(web, "/echo", BODY_MAX + 1, NULL);

    assert_int_equal(status, 413);
    assert_int_equal(post(web, "/echo", 3, "POST text/plain xxx"), 200);
    web_free(web);
}

static void test_another_certificate_takes_the_place_of_the_first(UNUSED void **state)
{
    struct web *web = start();
    struct key_pair pair = make_pair(); /* the first authority is trusted no more */
    struct error err = ERROR_INIT;

    assert_int_equal(post(web, "/echo", 3, NULL), 0);
    assert_int_equal(web_certificate(web, pair.certificate, pair.key, &err), 0);
    assert_int_equal(post(web, "/echo", 3, "POST text/plain xxx"), 200);
    assert_int_equal(web_certificate(web, "none", "none", &err), -EINVAL);
    assert_int_equal(post(web, "/echo", 3, "POST text/plain xxx"), 200);
    key_pair_done(&pair);
    web_free(web);
}

static void test_an_address_or_certificate_that_is_none_is_refused(UNUSED void **state)
{
    struct web_config config = {.address = "nonsense",
                                .certificate = "none",
                                .key = "none",
                                .body_max = BODY_MAX,
                                .handle = echo};
    struct web *web = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(web_new(&config, &web, &err), -EINVAL);
    config.address = "127.0.0.1:0";
    assert_int_equal(web_new(&config, &web, &err), -EINVAL);
}

static void test_an_address_of_ipv6_is_in_brackets(UNUSED void **state)
{
    struct web *web = NULL;
    int r = start_at("[::1]:0", &web);

    /* a machine may have no IPv6; the address is understood */
    assert_true(r == 0 || r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT);
    web_free(web);
}

static int setup(UNUSED void **state)
{
    (void)snprintf(ca_path, sizeof(ca_path), "/tmp/test_web.%d", (int)getpid());
    return 0;
}

static int teardown(UNUSED void **state)
{
    return unlink(ca_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_request_is_answered_whole),
        cmocka_unit_test(test_a_body_beyond_the_bound_is_refused),
        cmocka_unit_test(test_another_certificate_takes_the_place_of_the_first),
        cmocka_unit_test(test_an_address_or_certificate_that_is_none_is_refused),
        cmocka_unit_test(test_an_address_of_ipv6_is_in_brackets),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
