/* SPDX-License-Identifier: Apache-2.0 */
/* What the wrapper does with requests that others have in hand at the same time. */
#include "test.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "objstore/objstore_backend.h"
#include "objstore/retry.h"
#include "util/container.h"

/* Answers PUTs at once, the first as if the connection had ended; keeps the HEAD. */
struct stub {
    struct objstore base;
    struct objstore *retry;
    struct objstore_request *outer;
    struct objstore_request *head;
    unsigned puts;
    atomic_bool submitting; /* the HEAD: nobody may touch it yet */
    atomic_bool touched;
    atomic_bool cancelled;
};

static void stub_submit(struct objstore *base, struct objstore_request *request)
{
    struct stub *stub = container_of(base, struct stub, base);

    if (request->op == OBJSTORE_PUT) {
        objstore_fail(request, stub->puts++ == 0 ? -ECONNRESET : -EEXIST, "as the test has it");
        return;
    }
    stub->head = request;
    atomic_store(&stub->submitting, true);
    objstore_cancel(stub->retry, stub->outer); /* as another thread might, at this moment */
    atomic_store(&stub->submitting, false);
}

static void stub_cancel(struct objstore *base, struct objstore_request *request)
{
    struct stub *stub = container_of(base, struct stub, base);

    if (atomic_load(&stub->submitting)) {
        atomic_store(&stub->touched, true);
    }
    atomic_store(&stub->cancelled, request == stub->head);
}

static void stub_resume(UNUSED struct objstore *base, UNUSED struct objstore_request *request)
{
}

static void stub_free(struct objstore *base)
{
    objstore_base_done(base);
    free(container_of(base, struct stub, base));
}

static const struct objstore_ops stub_ops = {
    .submit = stub_submit, .cancel = stub_cancel, .resume = stub_resume, .free = stub_free};

static void note(struct objstore_request *request, const struct objstore_result *result)
{
    *(atomic_int *)request->arg = result->status;
}

static void wait_for_bool(atomic_bool *flag)
{
    for (int i = 0; i < 2000 && !atomic_load(flag); i++) {
        (void)nanosleep(&(const struct timespec){.tv_nsec = 5000000}, NULL);
    }
    assert_true(atomic_load(flag));
}

static void who_looks_for_an_earlier_try_is_cancelled_once_the_store_has_it(UNUSED void **state)
{
    const struct objstore_retry_config config = {.base_ms = 1, .cap_ms = 2};
    const struct objstore_result gone = {.status = -ECANCELED};
    struct stub *stub = calloc(1, sizeof(*stub));
    struct objstore *retry = NULL;
    atomic_int status = 1;
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .bucket = "bucket",
                                   .key = "k",
                                   .source = {.data = "x", .size = 1},
                                   .if_none_match = "*",
                                   .done = note,
                                   .arg = &status};

    assert_non_null(stub);
    assert_int_equal(objstore_base_init(&stub->base, &stub_ops, "stub"), 0);
    assert_int_equal(objstore_retry_new(&stub->base, &config, &retry), 0);
    stub->retry = retry;
    stub->outer = &put;
    objstore_submit(retry, &put);
    wait_for_bool(&stub->cancelled);
    assert_false(atomic_load(&stub->touched));
    assert_int_equal(stub->puts, 2);
    assert_int_equal(atomic_load(&status), 1); /* cancelling alone answers nobody */
    stub->head->done(stub->head, &gone);
    assert_int_equal(atomic_load(&status), -ETIMEDOUT); /* nobody knows what became of the first */
    objstore_free(retry);
}

/* ---- a source that has to begin anew ---- */

/* What a layer below may do with a source: read it, begin anew, read it again. */
static void rereading_submit(UNUSED struct objstore *base, struct objstore_request *request)
{
    const struct objstore_result done = {.status = 0};
    char bytes[8];

    assert_int_equal(request->source.read(request, bytes, 2), 2);
    assert_int_equal(request->source.rewind(request), 0);
    assert_int_equal(request->source.read(request, bytes, sizeof(bytes)), 4);
    assert_memory_equal(bytes, "data", 4);
    request->done(request, &done);
}

static void nothing(UNUSED struct objstore *base, UNUSED struct objstore_request *request)
{
}

static const struct objstore_ops rereading_ops = {
    .submit = rereading_submit, .cancel = nothing, .resume = nothing, .free = stub_free};

struct outer {
    struct objstore_request request;
    size_t at;
    int status;
};

static ssize_t outer_read(struct objstore_request *request, void *buffer, size_t cap)
{
    struct outer *outer = request->arg;
    size_t len = 4 - outer->at < cap ? 4 - outer->at : cap;

    memcpy(buffer, &"data"[outer->at], len);
    outer->at += len;
    return (ssize_t)len;
}

static int outer_rewind(struct objstore_request *request)
{
    struct outer *outer = request->arg;

    assert_ptr_equal(request, &outer->request); /* not somebody's copy of it */
    outer->at = 0;
    return 0;
}

static void outer_done(struct objstore_request *request, const struct objstore_result *result)
{
    ((struct outer *)request->arg)->status = result->status;
}

static void a_source_begins_anew_under_the_wrapper(UNUSED void **state)
{
    const struct objstore_retry_config config = {.base_ms = 1, .cap_ms = 2};
    struct stub *stub = calloc(1, sizeof(*stub));
    struct objstore *retry = NULL;
    struct outer outer = {
        .request = {.op = OBJSTORE_PUT,
                    .bucket = "bucket",
                    .key = "k",
                    .source = {.read = outer_read, .rewind = outer_rewind, .size = 4},
                    .done = outer_done},
        .status = 1};

    assert_non_null(stub);
    outer.request.arg = &outer;
    assert_int_equal(objstore_base_init(&stub->base, &rereading_ops, "stub"), 0);
    assert_int_equal(objstore_retry_new(&stub->base, &config, &retry), 0);
    objstore_submit(retry, &outer.request);
    assert_int_equal(outer.status, 0);
    objstore_free(retry);
}

/* ---- damage ---- */

struct damaged {
    struct objstore base;
    bool lasting;
    unsigned asked;
};

static void damaged_submit(struct objstore *base, struct objstore_request *request)
{
    struct damaged *store = container_of(base, struct damaged, base);
    const struct objstore_result result = {.status = -EIO, .lasting = store->lasting};

    store->asked++;
    request->done(request, &result);
}

static void damaged_free(struct objstore *base)
{
    objstore_base_done(base);
}

static const struct objstore_ops damaged_ops = {
    .submit = damaged_submit, .cancel = stub_cancel, .resume = stub_resume, .free = damaged_free};

static unsigned asked_of(bool lasting)
{
    const struct objstore_retry_config config = {.tries = 3, .base_ms = 1, .cap_ms = 2};
    struct damaged store = {.lasting = lasting};
    struct objstore *retry = NULL;
    atomic_int status = 1;
    struct objstore_request get = {
        .op = OBJSTORE_GET, .bucket = "bucket", .key = "k", .done = note, .arg = &status};

    assert_int_equal(objstore_base_init(&store.base, &damaged_ops, "damaged"), 0);
    assert_int_equal(objstore_retry_new(&store.base, &config, &retry), 0);
    objstore_submit(retry, &get);
    for (int i = 0; i < 2000 && atomic_load(&status) == 1; i++) {
        (void)nanosleep(&(const struct timespec){.tv_nsec = 5000000}, NULL);
    }
    assert_int_equal(atomic_load(&status), -EIO);
    objstore_free(retry);
    return store.asked;
}

static void damage_is_told_at_once(UNUSED void **state)
{
    assert_int_equal(asked_of(false), 3);
    assert_int_equal(asked_of(true), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_begins_anew_under_the_wrapper),
        cmocka_unit_test(damage_is_told_at_once),
        cmocka_unit_test(who_looks_for_an_earlier_try_is_cancelled_once_the_store_has_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
