/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that are cut anywhere, and a watch over its ends, its failures and a server that forgets.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kube/frames.h"
#include "kube/watch.h"
#include "scripted_server.h"
#include "test.h"
#include "util/clock.h"
#include "util/mutex.h"

#define HEAD(status) "HTTP/1.1 " status "\r\nContent-Length: *\r\n\r\n"
#define EVENT(type, name, version)                                                                 \
    "{\"type\":\"" type "\",\"object\":{\"metadata\":{\"name\":\"" name                            \
    "\",\"resourceVersion\":\"" version "\"}}}\n"

/* ---- frames ---- */

static void test_lines_are_whole_wherever_they_were_cut(UNUSED void **state)
{
    static const char text[] = EVENT("ADDED", "a", "1") "\r\n" EVENT("DELETED", "b", "2")
        EVENT("BOOKMARK", "", "9") "{\"type\":\"ERROR\",\"object\":{\"code\":410}}\n";
    static const enum kube_frame_type types[] = {KUBE_FRAME_ADDED, KUBE_FRAME_DELETED,
                                                 KUBE_FRAME_BOOKMARK, KUBE_FRAME_ERROR};

    for (size_t step = 1; step < sizeof(text); step++) {
        struct kube_frames frames = KUBE_FRAMES_INIT;
        size_t count = 0;

        for (size_t at = 0; at < sizeof(text) - 1; at += step) {
            size_t len = sizeof(text) - 1 - at < step ? sizeof(text) - 1 - at : step;
            struct kube_frame frame;
            int r;

            assert_int_equal(kube_frames_add(&frames, text + at, len), 0);
            while ((r = kube_frames_next(&frames, &frame)) == 1) {
                assert_true(count < 4);
                assert_int_equal(frame.type, types[count++]);
                assert_int_equal(frame.code, frame.type == KUBE_FRAME_ERROR ? 410 : 0);
                kube_frame_done(&frame);
            }
            assert_int_equal(r, 0);
        }
        assert_int_equal(count, 4);
        kube_frames_done(&frames);
    }
}

static void test_what_is_no_event_is_said_to_be_none(UNUSED void **state)
{
    static const char *const lines[] = {
        "nonsense\n",
        "[]\n",
        "{\"type\":\"ADDED\"}\n",
        "{\"type\":\"ADDED\",\"object\":{}}\n",
        "{\"type\":\"OTHER\",\"object\":{\"metadata\":{\"resourceVersion\":\"1\"}}}\n",
        "{\"type\":\"ADDED\",\"object\":[]}\n",
        "{\"object\":{}}\n"};

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct kube_frames frames = KUBE_FRAMES_INIT;
        struct kube_frame frame;

        assert_int_equal(kube_frames_add(&frames, lines[i], strlen(lines[i])), 0);
        assert_int_equal(kube_frames_next(&frames, &frame), -EBADMSG);
        kube_frames_done(&frames);
    }
}

/* ---- a watch ---- */

struct seen {
    struct mutex lock;
    struct cond changed;
    char text[512];
};

static void on_event(void *context, enum kube_event event, const cJSON *object)
{
    static const char signs[] = {'[', '+', '~', '-', ']'};
    struct seen *seen = context;

    mutex_lock(&seen->lock);
    (void)snprintf(seen->text + strlen(seen->text), sizeof(seen->text) - strlen(seen->text), "%c%s",
                   signs[event], kube_text(object, "metadata.name"));
    cond_signal(&seen->changed);
    mutex_unlock(&seen->lock);
}

static void run(const char *const *answers, size_t count, const char *expected,
                struct scripted_server **ret)
{
    struct seen seen = {.text = ""};
    char url[64];
    struct kube_config config = {.server = url, .token_file = "", .ca_file = ""};
    struct kube_watch_config watching = {
        .what = {.resource = &kube_nodes, .fields = "metadata.name=n1"},
        .event = on_event,
        .context = &seen};
    struct kube_watch *watch = NULL;
    struct error err = ERROR_INIT;

    mutex_init(&seen.lock);
    cond_init(&seen.changed);
    *ret = scripted_server_start(answers, count);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d", scripted_server_port(*ret));
    assert_int_equal(kube_client_new(&config, &watching.client, &err), 0);
    assert_int_equal(kube_watch_new(&watching, &watch, &err), 0);
    mutex_lock(&seen.lock);
    for (int i = 0; i < 200 && strlen(seen.text) < strlen(expected); i++) {
        cond_wait_ms(&seen.changed, &seen.lock, 100);
    }
    mutex_unlock(&seen.lock);
    kube_watch_free(watch);
    kube_client_free(watching.client);
    assert_string_equal(seen.text, expected);
    cond_done(&seen.changed);
    mutex_done(&seen.lock);
}

#define LIST(name, version)                                                                        \
    HEAD("200 OK")                                                                                 \
    "{\"metadata\":{\"resourceVersion\":\"" version                                                \
    "\"},\"items\":[{\"metadata\":{\"name\":\"" name "\"}}]}"
/* What never ends, so that the test has its end here. */
#define HANGS "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"

static void test_a_watch_goes_on_after_what_it_has_seen(UNUSED void **state)
{
    static const char *const answers[] = {
        LIST("a", "5"),
        HEAD("200 OK") EVENT("MODIFIED", "a", "6") EVENT("BOOKMARK", "", "60"),
        HEAD("200 OK") EVENT("DELETED", "a", "61"),
        "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" EVENT(
            "ADDED", "b", "70") "{\"type\":\"MODI" SCRIPT_CLOSE,
        HANGS EVENT("ADDED", "c", "71"),
    };
    struct scripted_server *server;

    run(answers, 5, "[+a]~a-a+b+c", &server);
    assert_non_null(strstr(scripted_server_request(server, 0),
                           "GET /api/v1/nodes?fieldSelector=metadata.name%3Dn1&limit=500 HTTP"));
    assert_non_null(strstr(scripted_server_request(server, 1), "&resourceVersion=5 HTTP"));
    assert_non_null(strstr(scripted_server_request(server, 1), "watch=true&allowWatchBookmarks="));
    assert_non_null(strstr(scripted_server_request(server, 2), "&resourceVersion=60 HTTP"));
    assert_non_null(strstr(scripted_server_request(server, 3), "&resourceVersion=61 HTTP"));
    assert_non_null(strstr(scripted_server_request(server, 4), "&resourceVersion=70 HTTP"));
    scripted_server_stop(server);
}

static void test_a_server_that_forgets_is_asked_for_all_again(UNUSED void **state)
{
    static const char *const answers[] = {
        LIST("a", "5"),  HEAD("410 Gone") "{\"code\":410}",
        LIST("b", "20"), HEAD("200 OK") "{\"type\":\"ERROR\",\"object\":{\"code\":410}}\n",
        LIST("c", "30"), HANGS,
    };
    struct scripted_server *server;

    run(answers, 6, "[+a][+b][+c]", &server);
    scripted_server_stop(server);
}

static void test_a_server_in_trouble_is_asked_again(UNUSED void **state)
{
    static const char *const answers[] = {
        HEAD("403 Forbidden") "{}",      LIST("a", "5"), HEAD("500 Internal Server Error") "{}",
        HEAD("200 OK") "not an event\n", LIST("b", "6"), HANGS,
    };
    struct scripted_server *server;

    run(answers, 6, "[+a][+b]", &server);
    assert_non_null(strstr(scripted_server_request(server, 3), "&resourceVersion=5 HTTP"));
    scripted_server_stop(server);
}

static void test_a_server_that_always_forgets_is_asked_more_and_more_seldom(UNUSED void **state)
{
#define FORGETS HEAD("200 OK") "{\"type\":\"ERROR\",\"object\":{\"code\":410}}\n"
    static const char *const answers[] = {
        LIST("a", "5"), FORGETS,        LIST("b", "6"), FORGETS,        LIST("c", "7"),
        FORGETS,        LIST("d", "8"), FORGETS,        LIST("e", "9"), HANGS,
    };
    uint64_t began = clock_monotonic_ms(clock_real());
    struct scripted_server *server;

    run(answers, sizeof(answers) / sizeof(answers[0]), "[+a][+b][+c][+d][+e]", &server);
    /* pauses of at least 50, 100, 200 and 400 ms: half of each is chance */
    assert_true(clock_monotonic_ms(clock_real()) - began >= 750);
    scripted_server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_whole_wherever_they_were_cut),
        cmocka_unit_test(test_what_is_no_event_is_said_to_be_none),
        cmocka_unit_test(test_a_watch_goes_on_after_what_it_has_seen),
        cmocka_unit_test(test_a_server_that_forgets_is_asked_for_all_again),
        cmocka_unit_test(test_a_server_in_trouble_is_asked_again),
        cmocka_unit_test(test_a_server_that_always_forgets_is_asked_more_and_more_seldom),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
