/* SPDX-License-Identifier: Apache-2.0 */
/* Calls and lists against a server with prepared answers. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kube/kube.h"
#include "scripted_server.h"
#include "test.h"
#include "util/clock.h"
#include "util/file.h"

#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: *\r\n\r\n"
#define HEAD(status) "HTTP/1.1 " status "\r\nContent-Length: *\r\n\r\n"
#define SECRET "the-token-1"

static char token_path[64];

static void write_token(const char *token)
{
    assert_int_equal(file_replace(token_path, token, strlen(token), 0600), 0);
}

static int setup(UNUSED void **state)
{
    (void)snprintf(token_path, sizeof(token_path), "/tmp/test_kube.%d", (int)getpid());
    write_token(SECRET "\n");
    return 0;
}

static int teardown(UNUSED void **state)
{
    return unlink(token_path);
}

struct talk {
    struct scripted_server *server;
    struct kube_client *client;
    struct error err;
};

static void begin(struct talk *talk, const char *const *answers, size_t count)
{
    char url[64];
    struct kube_config config = {.server = url, .token_file = token_path, .ca_file = ""};

    *talk = (struct talk){.server = scripted_server_start(answers, count)};
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d/", scripted_server_port(talk->server));
    assert_int_equal(kube_client_new(&config, &talk->client, &talk->err), 0);
}

static void end(struct talk *talk)
{
    assert_null(strstr(talk->err.text, SECRET));
    kube_client_free(talk->client);
    scripted_server_stop(talk->server);
}

static const struct kube_request get_pod = {
    .verb = KUBE_GET, .resource = &kube_pods, .space = "default", .name = "web-0"};

static void test_an_object_is_asked_for_with_the_token(UNUSED void **state)
{
    static const char *const answers[] = {OK_HEAD "{\"spec\":{\"nodeName\":\"n1\"}}"};
    struct talk talk;
    cJSON *pod = NULL;

    begin(&talk, answers, 1);
    assert_int_equal(kube_call(talk.client, &get_pod, &pod, &talk.err), 0);
    assert_string_equal(kube_text(pod, "spec.nodeName"), "n1");
    assert_string_equal(kube_text(pod, "spec.nodeName.more"), "");
    assert_string_equal(kube_text(pod, "spec"), "");
    assert_string_equal(kube_text(NULL, "spec"), "");
    assert_non_null(strstr(scripted_server_request(talk.server, 0),
                           "GET /api/v1/namespaces/default/pods/web-0 HTTP/1.1\r\n"));
    assert_non_null(
        strstr(scripted_server_request(talk.server, 0), "Authorization: Bearer " SECRET "\r\n"));
    cJSON_Delete(pod);
    end(&talk);
}

static void test_each_verb_has_its_method_and_type(UNUSED void **state)
{
    static const struct {
        enum kube_verb verb;
        const char *line, *type;
    } cases[] = {
        {KUBE_CREATE, "POST /apis/authentication.k8s.io/v1/tokenreviews?fieldManager=skyvol HTTP",
         "application/json"},
        {KUBE_REPLACE, "PUT /apis/authentication.k8s.io/v1/tokenreviews/x%20y/status?",
         "application/json"},
        {KUBE_PATCH_JSON, "PATCH /apis/", "application/json-patch+json"},
        {KUBE_PATCH_MERGE, "PATCH /apis/", "application/merge-patch+json"},
        {KUBE_APPLY, "&force=true HTTP", "application/apply-patch+yaml"},
        {KUBE_DELETE, "DELETE /apis/authentication.k8s.io/v1/tokenreviews/x%20y/status HTTP",
         "application/json"},
    };
    static const char *const answers[] = {OK_HEAD "{}", OK_HEAD "{}", OK_HEAD "{}",
                                          OK_HEAD "{}", OK_HEAD "{}", OK_HEAD "{}"};
    cJSON *body = cJSON_Parse("{\"a\":1}");
    struct talk talk;

    begin(&talk, answers, 6);
    for (size_t i = 0; i < 6; i++) {
        bool create = cases[i].verb == KUBE_CREATE;
        struct kube_request request = {.verb = cases[i].verb,
                                       .resource = &kube_token_reviews,
                                       .name = create ? NULL : "x y",
                                       .subresource = create ? NULL : "status",
                                       .force = true,
                                       .body = body};
        const char *text;
        char type[64];

        assert_int_equal(kube_call(talk.client, &request, NULL, &talk.err), 0);
        text = scripted_server_request(talk.server, i);
        (void)snprintf(type, sizeof(type), "Content-Type: %s\r\n", cases[i].type);
        assert_non_null(strstr(text, cases[i].line));
        assert_non_null(strstr(text, type));
        assert_non_null(strstr(text, "\r\n\r\n{\"a\":1}"));
    }
    cJSON_Delete(body);
    end(&talk);
}

static void test_a_status_becomes_an_errno_value_and_a_sentence(UNUSED void **state)
{
    static const struct {
        const char *answer;
        int error;
        const char *text;
    } cases[] = {
        {HEAD("404 Not Found") "{\"reason\":\"NotFound\",\"message\":\"pods \\\"web-0\\\" "
                               "not\\nfound\"}",
         -ENOENT, "get pods default/web-0: 404 NotFound: pods \"web-0\" not found"},
        {HEAD("403 Forbidden") "{\"reason\":\"Forbidden\"}", -EACCES, "403 Forbidden"},
        {HEAD("409 Conflict") "{\"reason\":\"AlreadyExists\"}", -EEXIST, ""},
        {HEAD("409 Conflict") "{\"reason\":\"Conflict\"}", -ESTALE, ""},
        {HEAD("410 Gone") "not JSON", -ESTALE, "410"},
        {HEAD("422 Unprocessable Entity") "{}", -EINVAL, "422"},
        {HEAD("302 Found") "{}", -EPROTO, "302"},
        {OK_HEAD "[]", -EBADMSG, "no JSON object"},
        {OK_HEAD "{\"a\":", -EBADMSG, "no JSON object"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kube_request request = get_pod;
        struct kube_answer answer = {0};
        struct talk talk;

        request.answer = &answer;
        begin(&talk, &cases[i].answer, 1);
        assert_int_equal(kube_call(talk.client, &request, NULL, &talk.err), cases[i].error);
        assert_non_null(strstr(talk.err.text, cases[i].text));
        assert_true(answer.http_status >= 200);
        assert_int_equal(scripted_server_count(talk.server), 1);
        end(&talk);
    }
}

static void test_a_busy_server_is_asked_again_when_it_says(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: *\r\n\r\n{}",
        HEAD("503 Service Unavailable") "", OK_HEAD "{}"};
    uint64_t before = clock_monotonic_ms(clock_real());
    struct talk talk;

    begin(&talk, answers, 3);
    assert_int_equal(kube_call(talk.client, &get_pod, NULL, &talk.err), 0);
    assert_true(clock_monotonic_ms(clock_real()) - before >= 1000);
    assert_int_equal(scripted_server_count(talk.server), 3);
    end(&talk);
}

static void test_a_change_is_not_done_twice_unless_it_may_be(UNUSED void **state)
{
    static const char *const failed[] = {HEAD("500 Internal Server Error") "{}"};
    static const char *const cut[] = {"HTTP/1.1 200 OK\r\nContent-Le" SCRIPT_CLOSE};
    static const char *const then[] = {HEAD("500 Internal Server Error") "{}", OK_HEAD "{}"};
    struct kube_request create = {.verb = KUBE_CREATE, .resource = &kube_token_reviews};
    struct talk talk;

    begin(&talk, failed, 1);
    assert_int_equal(kube_call(talk.client, &create, NULL, &talk.err), -ECONNREFUSED);
    assert_int_equal(scripted_server_count(talk.server), 1);
    end(&talk);
    begin(&talk, cut, 1);
    assert_true(kube_call(talk.client, &create, NULL, &talk.err) < 0);
    assert_int_equal(scripted_server_count(talk.server), 1);
    end(&talk);
    create.again = true;
    begin(&talk, then, 2);
    assert_int_equal(kube_call(talk.client, &create, NULL, &talk.err), 0);
    end(&talk);
}

static void test_a_busy_server_is_given_up_at_the_deadline(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 20\r\nContent-Length: *\r\n\r\n{}"};
    struct kube_request request = get_pod;
    struct kube_answer answer = {0};
    struct talk talk;

    request.timeout_ms = 3000;
    request.answer = &answer;
    begin(&talk, answers, 1);
    assert_int_equal(kube_call(talk.client, &request, NULL, &talk.err), -EAGAIN);
    assert_int_equal(answer.retry_s, 20);
    assert_int_equal(scripted_server_count(talk.server), 1);
    end(&talk);
}

static void new_token(size_t index, UNUSED void *arg)
{
    if (index == 0) {
        write_token("the-token-2");
    }
}

static void test_a_token_that_was_replaced_is_read_again(UNUSED void **state)
{
    static const char *const answers[] = {HEAD("401 Unauthorized") "{\"reason\":\"Unauthorized\"}",
                                          OK_HEAD "{}"};
    struct talk talk;

    begin(&talk, answers, 2);
    scripted_server_hook(talk.server, new_token, NULL);
    assert_int_equal(kube_call(talk.client, &get_pod, NULL, &talk.err), 0);
    assert_non_null(strstr(scripted_server_request(talk.server, 1), "Bearer the-token-2\r\n"));
    end(&talk);
    write_token(SECRET);
}

static void test_a_token_that_is_refused_is_not_tried_for_ever(UNUSED void **state)
{
    static const char *const answers[] = {HEAD("401 Unauthorized") "{}"};
    struct talk talk;

    begin(&talk, answers, 1);
    assert_int_equal(kube_call(talk.client, &get_pod, NULL, &talk.err), -EKEYREJECTED);
    assert_int_equal(scripted_server_count(talk.server), 1);
    write_token("two\r\nX-Evil: words");
    assert_int_equal(kube_call(talk.client, &get_pod, NULL, &talk.err), -EKEYREJECTED);
    assert_int_equal(scripted_server_count(talk.server), 1);
    write_token("\n");
    assert_int_equal(kube_call(talk.client, &get_pod, NULL, &talk.err), -EKEYREJECTED);
    write_token(SECRET);
    end(&talk);
}

static void test_names_that_are_paths_never_leave(UNUSED void **state)
{
    static const char *const names[] = {"..", ".", "", "a/b", "a?b", "%2e%2e", "a#b"};
    static const char *const answers[] = {OK_HEAD "{}"};
    struct talk talk;

    begin(&talk, answers, 1);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct kube_request request = get_pod;

        request.name = names[i];
        assert_int_equal(kube_call(talk.client, &request, NULL, &talk.err), -EINVAL);
        request.name = "web-0";
        request.space = names[i];
        assert_int_equal(kube_call(talk.client, &request, NULL, &talk.err), -EINVAL);
    }
    assert_int_equal(scripted_server_count(talk.server), 0);
    end(&talk);
}

/* ---- lists ---- */

static int collect(void *context, const cJSON *item)
{
    char *names = context;

    strncat(names, item != NULL ? kube_text(item, "metadata.name") : "|", 8);
    return strcmp(kube_text(item, "metadata.name"), "bad") == 0 ? -EPERM : 0;
}

static const struct kube_request list_pods = {
    .verb = KUBE_LIST, .resource = &kube_pods, .labels = "app=a b"};

static void test_a_list_comes_in_pages_and_tells_its_version(UNUSED void **state)
{
    static const char *const answers[] = {
        OK_HEAD "{\"metadata\":{\"resourceVersion\":\"7\",\"continue\":\"a/b=\"},"
                "\"items\":[{\"metadata\":{\"name\":\"x\"}}]}",
        OK_HEAD
        "{\"metadata\":{\"resourceVersion\":\"7\"},\"items\":[{\"metadata\":{\"name\":\"y\"}}]}"};
    char version[KUBE_VERSION_MAX] = "";
    char names[64] = "";
    struct talk talk;

    begin(&talk, answers, 2);
    assert_int_equal(kube_list(talk.client, &list_pods, collect, names, version, &talk.err), 0);
    assert_string_equal(names, "xy");
    assert_string_equal(version, "7");
    assert_non_null(strstr(scripted_server_request(talk.server, 0),
                           "GET /api/v1/pods?labelSelector=app%3Da%20b&limit=500 HTTP"));
    assert_non_null(strstr(scripted_server_request(talk.server, 1), "&continue=a%2Fb%3D HTTP"));
    end(&talk);
}

static void test_a_list_that_the_server_has_forgotten_begins_anew(UNUSED void **state)
{
    static const char *const answers[] = {
        OK_HEAD "{\"metadata\":{\"continue\":\"c\"},\"items\":[{\"metadata\":{\"name\":\"x\"}}]}",
        HEAD("410 Gone") "{\"reason\":\"Expired\"}",
        OK_HEAD "{\"metadata\":{},\"items\":[{\"metadata\":{\"name\":\"z\"}}]}"};
    char names[64] = "";
    struct talk talk;

    begin(&talk, answers, 3);
    assert_int_equal(kube_list(talk.client, &list_pods, collect, names, NULL, &talk.err), 0);
    assert_string_equal(names, "x|z");
    end(&talk);
}

static void test_a_list_ends_with_what_its_reader_says(UNUSED void **state)
{
    static const char *const answers[] = {
        OK_HEAD "{\"metadata\":{\"continue\":\"c\"},\"items\":[{\"metadata\":{\"name\":\"bad\"}},"
                "{\"metadata\":{\"name\":\"y\"}}]}"};
    char names[64] = "";
    struct talk talk;

    begin(&talk, answers, 1);
    assert_int_equal(kube_list(talk.client, &list_pods, collect, names, NULL, &talk.err), -EPERM);
    assert_string_equal(names, "bad");
    end(&talk);
}

/* ---- cancelling ---- */

static void cancel_it(UNUSED size_t index, void *arg)
{
    kube_cancel_now(arg);
    (void)usleep(50000);
}

static void test_a_call_can_be_cancelled_under_way_and_before(UNUSED void **state)
{
    static const char *const answers[] = {HEAD("503 Unavailable") "{}", OK_HEAD "{}"};
    struct kube_cancel *cancel = NULL;
    struct kube_request request = get_pod;
    struct talk talk;

    assert_int_equal(kube_cancel_new(&cancel), 0);
    request.cancel = cancel;
    begin(&talk, answers, 2);
    scripted_server_hook(talk.server, cancel_it, cancel);
    assert_int_equal(kube_call(talk.client, &request, NULL, &talk.err), -ECANCELED);
    assert_int_equal(kube_call(talk.client, &request, NULL, &talk.err), -ECANCELED);
    assert_int_equal(scripted_server_count(talk.server), 1);
    end(&talk);
    kube_cancel_free(cancel);
}

static void test_a_server_that_says_nothing_is_left_at_the_deadline(UNUSED void **state)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"};
    struct kube_request request = get_pod;
    struct talk talk;

    request.timeout_ms = 300;
    begin(&talk, answers, 1);
    assert_int_equal(kube_call(talk.client, &request, NULL, &talk.err), -ETIMEDOUT);
    end(&talk);
}

static void test_the_configuration_is_checked(UNUSED void **state)
{
    static const char *const servers[] = {"http://example.com:80", "api:6443", "ftp://x",
                                          "http://127.0.0.1:80@evil.example"};
    struct kube_client *client = NULL;
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < 4; i++) {
        struct kube_config config = {.server = servers[i], .token_file = "", .ca_file = ""};

        assert_int_equal(kube_client_new(&config, &client, &err), -EINVAL);
    }
    unsetenv("KUBERNETES_SERVICE_HOST");
    assert_int_equal(kube_client_new(&(struct kube_config){0}, &client, &err), -ENOENT);
    setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
    setenv("KUBERNETES_SERVICE_PORT", "443", 1);
    assert_int_equal(kube_client_new(&(struct kube_config){.ca_file = ""}, &client, &err), 0);
    kube_client_free(client);
    assert_true(kube_client_new(&(struct kube_config){.ca_file = "/nowhere"}, &client, &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_object_is_asked_for_with_the_token),
        cmocka_unit_test(test_each_verb_has_its_method_and_type),
        cmocka_unit_test(test_a_status_becomes_an_errno_value_and_a_sentence),
        cmocka_unit_test(test_a_busy_server_is_asked_again_when_it_says),
        cmocka_unit_test(test_a_change_is_not_done_twice_unless_it_may_be),
        cmocka_unit_test(test_a_busy_server_is_given_up_at_the_deadline),
        cmocka_unit_test(test_a_token_that_was_replaced_is_read_again),
        cmocka_unit_test(test_a_token_that_is_refused_is_not_tried_for_ever),
        cmocka_unit_test(test_names_that_are_paths_never_leave),
        cmocka_unit_test(test_a_list_comes_in_pages_and_tells_its_version),
        cmocka_unit_test(test_a_list_that_the_server_has_forgotten_begins_anew),
        cmocka_unit_test(test_a_list_ends_with_what_its_reader_says),
        cmocka_unit_test(test_a_call_can_be_cancelled_under_way_and_before),
        cmocka_unit_test(test_a_server_that_says_nothing_is_left_at_the_deadline),
        cmocka_unit_test(test_the_configuration_is_checked),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
