/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "objstore/dir.h"
#include "objstore/faults.h"
#include "objstore/objstore_call.h"
#include "objstore/retry.h"
#include "test.h"
#include "volume/volume.h"

#define ANSWER CLEANUP(objstore_answer_done) struct objstore_answer

static uint32_t tries; /* of the next memory_store(); 0: the default */

static struct objstore *memory_store(const char *rules, struct objstore **ret_retry)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore *store = NULL;
    struct error err = ERROR_INIT;
    const struct objstore_retry_config config = {.tries = tries, .base_ms = 1, .cap_ms = 5};
    struct objstore_request create = {.op = OBJSTORE_BUCKET_CREATE, .bucket = "bucket"};

    assert_int_equal(objstore_mem_new(&store, &err), 0);
    if (rules != NULL) {
        assert_int_equal(objstore_faults_new(store, rules, &store, &err), 0);
    }
    if (ret_retry != NULL) {
        assert_int_equal(objstore_retry_new(store, &config, &store), 0);
        *ret_retry = store;
    }
    assert_int_equal(objstore_call(store, &create, &a), 0);
    return store;
}

static int put(struct volume *v, const char *key, const char *text)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {
        .op = OBJSTORE_PUT, .key = key, .source = {.data = text, .size = strlen(text)}};

    return volume_call(v, &r, &a);
}

static int get(struct volume *v, const char *key, char *ret, size_t cap)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_GET, .key = key};
    int status = volume_call(v, &r, &a);

    (void)snprintf(ret, cap, "%s", buf_str(&a.body));
    return status;
}

static struct volume *volume_on(struct objstore *store, const char *prefix, bool read_only)
{
    const struct volume_config config = {
        .store = store, .bucket = "bucket", .prefix = prefix, .read_only = read_only};
    struct volume *v = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(volume_new(&config, &v, &err), 0);
    return v;
}

static void a_volume_sees_its_prefix_and_nothing_beside_it(void **state UNUSED)
{
    struct objstore *store = memory_store(NULL, NULL);
    struct volume *v = volume_on(store, "vol1/", false);
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request beside = {.op = OBJSTORE_PUT,
                                      .bucket = "bucket",
                                      .key = "vol10/x",
                                      .source = {.data = "n", .size = 1}};
    struct objstore_request head = {.op = OBJSTORE_HEAD, .bucket = "bucket", .key = "vol1/a/b"};
    struct objstore_request list = {.op = OBJSTORE_LIST};
    char text[32];

    assert_int_equal(objstore_call(store, &beside, &a), 0);
    assert_int_equal(put(v, "a/b", "mine"), 0);
    assert_int_equal(objstore_call(store, &head, &a), 0);
    assert_int_equal(get(v, "a/b", text, sizeof(text)), 0);
    assert_string_equal(text, "mine");
    assert_int_equal(volume_call(v, &list, &a), 0);
    assert_int_equal(a.result.count, 1);
    assert_string_equal(a.result.entries[0].key, "a/b");
    volume_free(v);
}

static void the_reserved_part_is_hidden_and_refused(void **state UNUSED)
{
    struct volume *v = volume_on(memory_store(NULL, NULL), "p/", false);
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request marker = {
        .op = OBJSTORE_PUT, .key = ".skyvol/volume.json", .source = {.data = "{}", .size = 2}};
    struct objstore_request list = {.op = OBJSTORE_LIST, .delimiter = "/"};
    struct objstore_request copy = {
        .op = OBJSTORE_COPY, .key = "stolen", .source_key = ".skyvol/volume.json"};
    struct objstore_victim victims[2] = {{.key = ".skyvol/volume.json"}, {.key = "seen"}};
    struct objstore_request batch = {
        .op = OBJSTORE_DELETE_BATCH, .victims = victims, .victims_count = 2};
    char text[32];

    assert_int_equal(volume_call(v, &marker, &a), -EACCES);
    assert_int_equal(volume_call_internal(v, &marker, &a), 0);
    assert_int_equal(get(v, ".skyvol/volume.json", text, sizeof(text)), -ENOENT);
    assert_int_equal(volume_call(v, &copy, &a), -ENOENT);
    assert_int_equal(put(v, "seen", "x"), 0);
    assert_int_equal(volume_call(v, &list, &a), 0);
    assert_int_equal(a.result.count, 1);
    assert_string_equal(a.result.entries[0].key, "seen");
    assert_int_equal(volume_call(v, &batch, &a), 0);
    assert_int_equal(victims[0].error, -EACCES);
    assert_int_equal(victims[1].error, 0);
    assert_int_equal(volume_call_internal(v, &list, &a), 0);
    assert_int_equal(a.result.count, 1);
    assert_string_equal(a.result.entries[0].key, ".skyvol/");
    volume_free(v);
}

static void a_read_only_volume_refuses_every_write(void **state UNUSED)
{
    struct volume *v = volume_on(memory_store(NULL, NULL), "", true);
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {.op = OBJSTORE_LIST};

    for (int op = OBJSTORE_GET; op < OBJSTORE_OP_COUNT; op++) {
        struct objstore_request r = {.op = (enum objstore_op)op,
                                     .key = "k",
                                     .source_key = "s",
                                     .upload_id = "u",
                                     .part_number = 1};

        if (!objstore_op_reads(r.op)) {
            assert_int_equal(volume_call(v, &r, &a), -EROFS);
        }
    }
    assert_int_equal(volume_call(v, &list, &a), 0);
    volume_free(v);
}

static void bad_prefixes_are_told(void **state UNUSED)
{
    const char *const bad[] = {"no-slash", "/rooted/"};

    for (size_t i = 0; i < 2; i++) {
        struct objstore *store = memory_store(NULL, NULL);
        struct volume_config config = {.store = store, .bucket = "bucket", .prefix = bad[i]};
        struct volume *v = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(volume_new(&config, &v, &err), -EINVAL);
        assert_non_null(strstr(err.text, bad[i]));
    }
}

static void passing_failures_are_tried_again(void **state UNUSED)
{
    struct objstore *retry;
    struct volume *v = volume_on(
        memory_store("put:1:EBUSY,put:2:ECONNRESET,get:1:EIO,head:*:EACCES", &retry), "", false);
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = "k"};
    struct objstore_retry_stats stats;
    char text[32];

    assert_int_equal(put(v, "k", "value"), 0);
    assert_int_equal(get(v, "k", text, sizeof(text)), 0);
    assert_string_equal(text, "value");
    assert_int_equal(volume_call(v, &head, &a), -EACCES); /* and this is not */
    objstore_retry_get_stats(retry, &stats);
    assert_int_equal(stats.retries, 3);
    volume_free(v);
}

static void a_get_goes_on_where_it_was_cut(void **state UNUSED)
{
    struct objstore *retry;
    struct volume *v = volume_on(memory_store("get:1:cut=3,get:2:cut=2", &retry), "", false);
    char text[32];

    assert_int_equal(put(v, "k", "0123456789"), 0);
    assert_int_equal(get(v, "k", text, sizeof(text)), 0);
    assert_string_equal(text, "0123456789");
    volume_free(v);
}

static int put_mine_if_new(struct volume *v, uint32_t timeout_ms, struct objstore_answer *ret)
{
    struct objstore_request r = {.op = OBJSTORE_PUT,
                                 .key = "k",
                                 .if_none_match = "*",
                                 .timeout_ms = timeout_ms,
                                 .source = {.data = "mine", .size = 4}};

    return volume_call(v, &r, ret);
}

static void a_conditional_put_whose_answer_was_lost_has_succeeded(void **state UNUSED)
{
    struct objstore *retry;
    struct volume *v = volume_on(memory_store("put:1:lost", &retry), "", false);
    ANSWER a = OBJSTORE_ANSWER_INIT;

    assert_int_equal(put_mine_if_new(v, 0, &a), 0);
    assert_string_equal(a.result.info.etag, "918b81db5e91d031548b963c93845e5b");
    volume_free(v);
}

static void a_look_at_what_became_of_a_put_is_repeated_as_well(void **state UNUSED)
{
    struct objstore *retry;
    struct volume *v =
        volume_on(memory_store("put:1:lost,head:1:ECONNRESET,head:2:EBUSY", &retry), "", false);
    ANSWER a = OBJSTORE_ANSWER_INIT;

    assert_int_equal(put_mine_if_new(v, 0, &a), 0);
    volume_free(v);
}

static void what_nobody_could_look_at_is_not_called_a_conflict(void **state UNUSED)
{
    struct objstore *retry;
    struct volume *v = volume_on(memory_store("put:1:lost,head:*:EBUSY", &retry), "", false);
    ANSWER a = OBJSTORE_ANSWER_INIT;

    assert_int_equal(put_mine_if_new(v, 200, &a), -ETIMEDOUT);
    volume_free(v);
}

static void another_ones_object_is_not_taken_for_ours(void **state UNUSED)
{
    struct objstore *retry;
    struct volume *v = volume_on(memory_store("put:2:ECONNRESET", &retry), "", false);
    ANSWER a = OBJSTORE_ANSWER_INIT;

    assert_int_equal(put(v, "k", "theirs"), 0);
    assert_int_equal(put_mine_if_new(v, 0, &a), -EEXIST);
    volume_free(v);
}

static void a_lost_completion_has_happened_once(void **state UNUSED)
{
    struct objstore *retry;
    struct volume *v = volume_on(memory_store("upload_complete:1:lost", &retry), "", false);
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char id[OBJSTORE_UPLOAD_MAX];
    struct objstore_part part = {.number = 1};
    struct objstore_request create = {.op = OBJSTORE_UPLOAD_CREATE, .key = "k"};
    struct objstore_request send = {.op = OBJSTORE_UPLOAD_PART,
                                    .key = "k",
                                    .upload_id = id,
                                    .part_number = 1,
                                    .source = {.data = "part", .size = 4}};
    struct objstore_request complete = {.op = OBJSTORE_UPLOAD_COMPLETE,
                                        .key = "k",
                                        .upload_id = id,
                                        .parts = &part,
                                        .parts_count = 1};
    char text[32];

    assert_int_equal(volume_call(v, &create, &a), 0);
    (void)snprintf(id, sizeof(id), "%s", a.result.upload_id);
    assert_int_equal(volume_call(v, &send, &a), 0);
    memcpy(part.etag, a.result.info.etag, sizeof(part.etag));
    assert_int_equal(volume_call(v, &complete, &a), 0);
    assert_int_equal(get(v, "k", text, sizeof(text)), 0);
    assert_string_equal(text, "part");
    volume_free(v);
}

enum { STORM = 100 }; /* requests at once */

static void the_budget_bounds_the_retries(void **state UNUSED)
{
    struct objstore *retry;
    struct objstore_retry_stats stats;
    struct volume *v = volume_on(memory_store("head:*:EBUSY", &retry), "", false);
    struct objstore_request heads[STORM];
    struct objstore_answer answers[STORM];

    for (int i = 0; i < STORM; i++) {
        heads[i] = (struct objstore_request){.op = OBJSTORE_HEAD, .key = "k", .timeout_ms = 1000};
        answers[i] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
    }
    assert_int_equal(volume_call_many(v, heads, answers, STORM), -EBUSY);
    for (int i = 0; i < STORM; i++) {
        assert_int_equal(answers[i].result.status, -EBUSY);
        objstore_answer_done(&answers[i]);
    }
    objstore_retry_get_stats(retry, &stats);
    assert_true(stats.retries >= 50 && stats.refused > 0);
    assert_true(stats.retries <= 50 + 10 * 5); /* ten a second; 5 s, should this machine be slow */
    volume_free(v);
}

static void a_storm_is_ridden_out(void **state UNUSED)
{
    struct objstore *retry;
    struct objstore_request lists[STORM];
    struct objstore_answer answers[STORM];
    struct volume *v;

    tries = 1000;
    v = volume_on(memory_store("list:p=0.5:EBUSY", &retry), "", false);
    tries = 0;
    for (int i = 0; i < STORM; i++) {
        lists[i] = (struct objstore_request){.op = OBJSTORE_LIST};
        answers[i] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
    }
    assert_int_equal(volume_call_many(v, lists, answers, STORM), 0);
    for (int i = 0; i < STORM; i++) {
        objstore_answer_done(&answers[i]);
    }
    volume_free(v);
}

static void a_hanging_store_ends_at_the_deadline(void **state UNUSED)
{
    struct objstore *retry;
    struct volume *v = volume_on(memory_store("head:*:hang", &retry), "", false);
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = "k", .timeout_ms = 50};

    assert_int_equal(volume_call(v, &head, &a), -ETIMEDOUT);
    volume_free(v);
}

static void bad_fault_rules_are_told(void **state UNUSED)
{
    const char *const bad[] = {"put", "put:1", "nope:1:EIO", "put:0:EIO", "put:1:EWHAT"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct objstore *store = NULL;
        struct error err = ERROR_INIT;

        assert_int_equal(objstore_mem_new(&store, &err), 0);
        assert_int_equal(objstore_faults_new(store, bad[i], &store, &err), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_volume_sees_its_prefix_and_nothing_beside_it),
        cmocka_unit_test(the_reserved_part_is_hidden_and_refused),
        cmocka_unit_test(a_read_only_volume_refuses_every_write),
        cmocka_unit_test(bad_prefixes_are_told),
        cmocka_unit_test(passing_failures_are_tried_again),
        cmocka_unit_test(a_get_goes_on_where_it_was_cut),
        cmocka_unit_test(a_conditional_put_whose_answer_was_lost_has_succeeded),
        cmocka_unit_test(a_look_at_what_became_of_a_put_is_repeated_as_well),
        cmocka_unit_test(what_nobody_could_look_at_is_not_called_a_conflict),
        cmocka_unit_test(another_ones_object_is_not_taken_for_ours),
        cmocka_unit_test(a_lost_completion_has_happened_once),
        cmocka_unit_test(the_budget_bounds_the_retries),
        cmocka_unit_test(a_storm_is_ridden_out),
        cmocka_unit_test(a_hanging_store_ends_at_the_deadline),
        cmocka_unit_test(bad_fault_rules_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
