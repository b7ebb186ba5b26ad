/* SPDX-License-Identifier: Apache-2.0 */
/* What the metrics wrapper counts, over a store in memory that fails when it is told to. */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "objstore/dir.h"
#include "objstore/faults.h"
#include "objstore/measured.h"
#include "objstore/objstore_call.h"
#include "objstore/retry.h"
#include "util/mutex.h"

struct fixture {
    struct metrics *metrics;
    struct objstore *store;
};

#define ANSWER CLEANUP(objstore_answer_done) struct objstore_answer

static int call(struct fixture *f, enum objstore_op op, const char *key, const char *data)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = op, .bucket = "bucket", .key = key};

    if (data != NULL) {
        r.source.data = data;
        r.source.size = strlen(data);
    }
    return objstore_call(f->store, &r, &a);
}

static void open_with(struct fixture *f, const char *rules, bool retry)
{
    struct error err = ERROR_INIT;

    assert_int_equal(metrics_new(&f->metrics), 0);
    assert_int_equal(objstore_mem_new(&f->store, &err), 0);
    if (rules != NULL) {
        assert_int_equal(objstore_faults_new(f->store, rules, &f->store, &err), 0);
    }
    if (retry) {
        const struct objstore_retry_config config = {.base_ms = 1};

        assert_int_equal(objstore_retry_new(f->store, &config, &f->store), 0);
    }
    assert_int_equal(objstore_measured_new(f->store, f->metrics, &f->store), 0);
    assert_int_equal(call(f, OBJSTORE_BUCKET_CREATE, NULL, NULL), 0);
}

static void close_all(struct fixture *f)
{
    objstore_free(f->store);
    metrics_free(f->metrics);
}

static void assert_written(struct fixture *f, const char *line)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20);

    metrics_write(f->metrics, &text);
    assert_int_equal(buf_error(&text), 0);
    if (strstr(buf_str(&text), line) == NULL) {
        print_error("no \"%s\" in:\n%s\n", line, buf_str(&text));
        fail();
    }
}

static void requests_errors_bytes_and_seconds_are_counted_by_operation(void **state UNUSED)
{
    struct fixture f;

    open_with(&f, "put:3:ENOSPC", false);
    assert_int_equal(call(&f, OBJSTORE_PUT, "a", "hello"), 0);
    assert_int_equal(call(&f, OBJSTORE_PUT, "b", "hello!!"), 0);
    assert_int_equal(call(&f, OBJSTORE_PUT, "c", "not counted"), -ENOSPC);
    assert_int_equal(call(&f, OBJSTORE_GET, "a", NULL), 0);
    assert_int_equal(call(&f, OBJSTORE_GET, "a", NULL), 0);
    assert_int_equal(call(&f, OBJSTORE_GET, "none", NULL), -ENOENT);
    assert_int_equal(call(&f, OBJSTORE_HEAD, "b", NULL), 0);
    assert_written(&f, "\nobjstore_requests_total{op=\"put\"} 3\n");
    assert_written(&f, "\nobjstore_requests_total{op=\"get\"} 3\n");
    assert_written(&f, "\nobjstore_requests_total{op=\"head\"} 1\n");
    assert_written(&f, "\nobjstore_requests_total{op=\"bucket_create\"} 1\n");
    assert_written(&f, "\nobjstore_errors_total{op=\"put\",error=\"ENOSPC\"} 1\n");
    assert_written(&f, "\nobjstore_errors_total{op=\"get\",error=\"ENOENT\"} 1\n");
    assert_written(&f, "\nobjstore_written_bytes_total{op=\"put\"} 12\n");
    assert_written(&f, "\nobjstore_read_bytes_total{op=\"get\"} 10\n");
    assert_written(&f, "\nobjstore_seconds_count{op=\"put\"} 3\n");
    close_all(&f);
}

static void a_request_that_was_tried_again_is_one(void **state UNUSED)
{
    struct fixture f;

    open_with(&f, "put:1:EBUSY,put:2:ECONNRESET,put:3:delay=30", true);
    assert_int_equal(call(&f, OBJSTORE_PUT, "a", "hello"), 0);
    assert_written(&f, "\nobjstore_requests_total{op=\"put\"} 1\n");
    assert_written(&f, "\nobjstore_written_bytes_total{op=\"put\"} 5\n");
    assert_written(&f, "\nobjstore_seconds_bucket{op=\"put\",le=\"0.025\"} 0\n");
    assert_written(&f, "\nobjstore_seconds_count{op=\"put\"} 1\n");
    close_all(&f);
}

static void bytes_that_a_cut_get_has_handed_on_are_counted(void **state UNUSED)
{
    struct fixture f;

    open_with(&f, "get:1:cut=3", false);
    assert_int_equal(call(&f, OBJSTORE_PUT, "a", "hello"), 0);
    assert_int_equal(call(&f, OBJSTORE_GET, "a", NULL), -ECONNRESET);
    assert_written(&f, "\nobjstore_read_bytes_total{op=\"get\"} 3\n");
    assert_written(&f, "\nobjstore_errors_total{op=\"get\",error=\"ECONNRESET\"} 1\n");
    close_all(&f);
}

/* ---- cancel against the end ---- */

enum { ROUNDS = 300 };

struct racer {
    struct objstore *store;
    struct objstore_request request;
    struct mutex lock;
    struct cond ended;
    bool done;
};

static void race_done(struct objstore_request *request, const struct objstore_result *result UNUSED)
{
    struct racer *r = request->arg;

    mutex_lock(&r->lock);
    r->done = true;
    cond_broadcast(&r->ended);
    mutex_unlock(&r->lock);
}

static void *cancel_it(void *arg)
{
    struct racer *r = arg;

    objstore_cancel(r->store, &r->request);
    objstore_resume(r->store, &r->request);
    return NULL;
}

static void a_cancel_may_meet_the_end_of_its_request(void **state UNUSED)
{
    struct fixture f;
    struct racer r = {.request = {.op = OBJSTORE_HEAD, .bucket = "bucket", .key = "a"}};

    open_with(&f, NULL, true);
    assert_int_equal(call(&f, OBJSTORE_PUT, "a", "hello"), 0);
    mutex_init(&r.lock);
    cond_init(&r.ended);
    r.store = f.store;
    r.request.done = race_done;
    r.request.arg = &r;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_t thread;

        r.done = false;
        objstore_submit(f.store, &r.request);
        assert_int_equal(pthread_create(&thread, NULL, cancel_it, &r), 0);
        (void)pthread_join(thread, NULL);
        mutex_lock(&r.lock);
        while (!r.done) {
            cond_wait(&r.ended, &r.lock);
        }
        mutex_unlock(&r.lock);
    }
    cond_done(&r.ended);
    mutex_done(&r.lock);
    assert_written(&f, "\nobjstore_requests_total{op=\"head\"} 300\n");
    close_all(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_errors_bytes_and_seconds_are_counted_by_operation),
        cmocka_unit_test(a_request_that_was_tried_again_is_one),
        cmocka_unit_test(bytes_that_a_cut_get_has_handed_on_are_counted),
        cmocka_unit_test(a_cancel_may_meet_the_end_of_its_request),
    };

    return cmocka_run_group_tests_name("measured", tests, NULL, NULL);
}
