/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics, the status port that shows them, and small files. */
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/file.h"
#include "util/metrics.h"
#include "util/status.h"

static void metrics_are_written_as_prometheus_reads_them(void **state UNUSED)
{
    static const double bounds[] = {1, 2.5};
    struct metrics *metrics;
    struct metric *calls;
    struct metric *depth;
    struct metric *seconds;
    struct buf out = BUF_INIT(1 << 20);

    assert_int_equal(metrics_new(&metrics), 0);
    assert_int_equal(metrics_add(metrics,
                                 &(struct metric_spec){.kind = METRIC_COUNTER,
                                                       .name = "calls_total",
                                                       .help = "Calls.",
                                                       .labels = {"method", "code"}},
                                 &calls),
                     0);
    assert_int_equal(
        metrics_add(metrics,
                    &(struct metric_spec){.kind = METRIC_GAUGE, .name = "depth", .help = "Depth."},
                    &depth),
        0);
    assert_int_equal(metrics_add(metrics,
                                 &(struct metric_spec){.kind = METRIC_HISTOGRAM,
                                                       .name = "seconds",
                                                       .help = "Time.",
                                                       .buckets = bounds,
                                                       .bucket_count = 2},
                                 &seconds),
                     0);
    metric_add(calls, 1, "Say\"so", "OK");
    metric_add(calls, 2, "Say\"so", "OK");
    metric_set(depth, 7);
    metric_set(depth, 3);
    metric_observe(seconds, 0.5);
    metric_observe(seconds, 2);
    metric_observe(seconds, 100);
    metric_add(NULL, 1);
    assert_true(metric_get(calls, "Say\"so", "OK") == 3);
    assert_true(metric_get(calls, "other", "OK") == 0);
    metrics_write(metrics, &out);
    assert_int_equal(buf_error(&out), 0);
    assert_non_null(strstr(buf_str(&out), "# TYPE calls_total counter\n"
                                          "calls_total{method=\"Say\\\"so\",code=\"OK\"} 3\n"));
    assert_non_null(strstr(buf_str(&out), "\ndepth 3\n"));
    assert_non_null(strstr(buf_str(&out), "seconds_bucket{le=\"1\"} 1\n"
                                          "seconds_bucket{le=\"2.5\"} 2\n"
                                          "seconds_bucket{le=\"+Inf\"} 3\n"
                                          "seconds_sum 102.5\nseconds_count 3\n"));
    assert_non_null(strstr(buf_str(&out), "process_resident_memory_bytes "));
    buf_done(&out);
    metrics_free(metrics);
}

static void a_metric_has_a_limit_of_series(void **state UNUSED)
{
    struct metrics *metrics;
    struct metric *m;
    struct metric *again;
    struct metric_spec spec = {
        .kind = METRIC_COUNTER, .name = "many", .help = "Many.", .labels = {"id"}};
    char id[16];

    assert_int_equal(metrics_new(&metrics), 0);
    assert_int_equal(metrics_add(metrics, &spec, &m), 0);
    assert_int_equal(metrics_add(metrics, &spec, &again), 0);
    assert_ptr_equal(m, again);
    spec.kind = METRIC_GAUGE;
    assert_int_equal(metrics_add(metrics, &spec, &again), -EINVAL);
    spec.name = "not a name";
    assert_int_equal(metrics_add(metrics, &spec, &again), -EINVAL);
    for (int i = 0; i < METRIC_SERIES_MAX + 10; i++) {
        (void)snprintf(id, sizeof(id), "%d", i);
        metric_add(m, 1, id);
    }
    assert_true(metric_get(m, "999") == 1);
    assert_true(metric_get(m, "1000") == 0);
    assert_true(metric_get(m, "other") == 10);
    metrics_free(metrics);
}

static void get(int fd, const char *request, char *ret, size_t size)
{
    size_t len = 0;
    ssize_t n;

    assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
    while (len + 1 < size && (n = recv(fd, ret + len, size - 1 - len, 0)) > 0) {
        len += (size_t)n;
    }
    ret[len] = '\0';
    assert_int_equal(close(fd), 0);
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static int sick(void *context, struct buf *text)
{
    if (*(int *)context != 0) {
        buf_addstr(text, "the database is gone");
    }
    return *(int *)context;
}

static void the_status_port_tells_health_and_metrics(void **state UNUSED)
{
    struct metrics *metrics;
    struct status *status;
    struct status *second;
    struct error err = ERROR_INIT;
    char text[8192];
    int health = 0;

    assert_int_equal(metrics_new(&metrics), 0);
    assert_int_equal(status_new(&(struct status_config){.address = "127.0.0.1:0",
                                                        .metrics = metrics,
                                                        .health = sick,
                                                        .context = &health},
                                &status, &err),
                     0);
    get(connect_to(status_port(status)), "GET /healthz HTTP/1.0\r\n\r\n", text, sizeof(text));
    assert_non_null(strstr(text, " 200 "));
    assert_non_null(strstr(text, "\r\n\r\nok\n"));
    health = -EIO;
    get(connect_to(status_port(status)), "GET /healthz HTTP/1.0\r\n\r\n", text, sizeof(text));
    assert_non_null(strstr(text, " 503 "));
    assert_non_null(strstr(text, "the database is gone"));
    get(connect_to(status_port(status)), "GET /metrics HTTP/1.0\r\n\r\n", text, sizeof(text));
    assert_non_null(strstr(text, "process_cpu_seconds_total"));
    get(connect_to(status_port(status)), "GET / HTTP/1.0\r\n\r\n", text, sizeof(text));
    assert_non_null(strstr(text, " 404 "));
    get(connect_to(status_port(status)), "DELETE /metrics HTTP/1.0\r\n\r\n", text, sizeof(text));
    assert_non_null(strstr(text, " 405 "));
    (void)snprintf(text, sizeof(text), "127.0.0.1:%u", status_port(status));
    assert_int_equal(status_new(&(struct status_config){.address = text}, &second, &err),
                     -EADDRINUSE);
    assert_int_equal(status_new(&(struct status_config){.address = "nonsense"}, &second, &err),
                     -EINVAL);
    status_free(status);
    metrics_free(metrics);
}

static void the_status_socket_is_private_and_removed(void **state UNUSED)
{
    char dir[] = "/tmp/status-XXXXXX";
    char address[64];
    struct status *status;
    struct error err = ERROR_INIT;
    struct stat st;

    assert_non_null(mkdtemp(dir));
    (void)snprintf(address, sizeof(address), "unix:%s/s", dir);
    assert_int_equal(status_new(&(struct status_config){.address = address}, &status, &err), 0);
    assert_int_equal(stat(address + 5, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    status_free(status);
    assert_int_equal(rmdir(dir), 0);
}

static void a_file_is_replaced_whole_and_created_once(void **state UNUSED)
{
    char dir[] = "/tmp/file-XXXXXX";
    char path[64];
    struct buf text = BUF_INIT(16);
    struct file_stamp before;
    struct file_stamp after;
    struct stat st;

    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/f", dir);
    assert_int_equal(file_read(path, &text), -ENOENT);
    assert_int_equal(file_create(path, "one", 3, 0600), 0);
    assert_int_equal(file_create(path, "two", 3, 0600), -EEXIST);
    assert_int_equal(file_stamp(path, &before), 0);
    assert_int_equal(file_read(path, &text), 0);
    assert_string_equal(buf_str(&text), "one");
    assert_int_equal(file_replace(path, "three", 5, 0640), 0);
    assert_int_equal(file_stamp(path, &after), 0);
    assert_false(file_stamp_eq(&before, &after));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    buf_reset(&text);
    assert_int_equal(file_read(path, &text), 0);
    assert_string_equal(buf_str(&text), "three");
    buf_reset(&text);
    assert_int_equal(file_replace(path, "far too long for it", 19, 0600), 0);
    assert_int_equal(file_read(path, &text), -EFBIG);
    buf_reset(&text);
    assert_int_equal(file_read(dir, &text), -EISDIR);
    assert_int_equal(file_replace("/nonexistent/x", "", 0, 0600), -ENOENT);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0); /* no temporary file is left */
    buf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_are_written_as_prometheus_reads_them),
        cmocka_unit_test(a_metric_has_a_limit_of_series),
        cmocka_unit_test(the_status_port_tells_health_and_metrics),
        cmocka_unit_test(the_status_socket_is_private_and_removed),
        cmocka_unit_test(a_file_is_replaced_whole_and_created_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
