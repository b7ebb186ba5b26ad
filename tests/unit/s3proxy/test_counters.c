/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/counters.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objstore/objstore.h"
#include "test.h"

static char path[64];

static int set_up(void **state UNUSED)
{
    int fd;

    (void)snprintf(path, sizeof(path), "/tmp/skyvol-test-counters.XXXXXX");
    fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state UNUSED)
{
    return unlink(path);
}

static void count(struct counters *c, int operation, int status)
{
    const struct counters_request request = {.operation = operation,
                                             .status = status,
                                             .us = 1500000,
                                             .store_us = 500000,
                                             .received = 10,
                                             .sent = 20,
                                             .at_once = status == 200};

    counters_count(c, &request);
}

static void a_worker(void)
{
    struct counters *c = NULL;

    if (counters_open(path, &c) != 0) {
        _exit(1);
    }
    count(c, OBJSTORE_PUT, 200);
    count(c, OBJSTORE_PUT, 503);
    count(c, -1, 403);
    count(c, 4711, 999);
    counters_close(c);
    _exit(0);
}

static void what_other_processes_count_is_shown_once(void **state UNUSED)
{
    struct counters *c = NULL;
    struct metrics *metrics = NULL;
    struct buf text = BUF_INIT(1024 * 1024);

    assert_int_equal(counters_create(path, &c), 0);
    assert_int_equal(metrics_new(&metrics), 0);
    assert_int_equal(counters_show(c, NULL, metrics), 0);
    for (int i = 0; i < 2; i++) {
        int status;
        pid_t child = fork();

        if (child == 0) {
            a_worker();
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        buf_reset(&text);
        metrics_write(metrics, &text);
    }
    buf_reset(&text);
    metrics_write(metrics, &text);
    assert_non_null(strstr(buf_str(&text), "s3_requests_total{op=\"put\",status=\"2xx\"} 2\n"));
    assert_non_null(strstr(buf_str(&text), "s3_requests_total{op=\"put\",status=\"5xx\"} 2\n"));
    assert_non_null(strstr(buf_str(&text), "s3_requests_total{op=\"none\",status=\"4xx\"} 2\n"));
    assert_non_null(strstr(buf_str(&text), "s3_requests_total{op=\"none\",status=\"5xx\"} 2\n"));
    assert_non_null(strstr(buf_str(&text), "s3_request_seconds_total{op=\"put\"} 6\n"));
    assert_non_null(strstr(buf_str(&text), "s3_store_seconds_total{op=\"put\"} 2\n"));
    assert_non_null(strstr(buf_str(&text), "s3_received_bytes_total{op=\"put\"} 40\n"));
    assert_non_null(strstr(buf_str(&text), "s3_sent_bytes_total{op=\"none\"} 80\n"));
    assert_non_null(strstr(buf_str(&text), "s3_at_once_total{op=\"put\"} 2\n"));
    assert_non_null(strstr(buf_str(&text), "s3_limited_total{reason=\"rate\"} 0\n"));
    assert_non_null(strstr(buf_str(&text), "s3_requests_in_flight 0\n"));
    buf_done(&text);
    metrics_free(metrics);
    counters_close(c);
}

static void a_file_of_another_layout_is_refused(void **state UNUSED)
{
    struct counters *c = NULL;

    assert_int_equal(counters_create(path, &c), 0);
    counters_close(c);
    assert_int_equal(truncate(path, 8), 0);
    c = NULL;
    assert_int_equal(counters_open(path, &c), -EINVAL);
    assert_null(c);
    assert_int_equal(counters_open("/tmp/skyvol-no-such-file", &c), -ENOENT);
    count(NULL, OBJSTORE_PUT, 200); /* and nobody minds */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_other_processes_count_is_shown_once),
        cmocka_unit_test(a_file_of_another_layout_is_refused),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
