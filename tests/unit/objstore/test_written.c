/* SPDX-License-Identifier: Apache-2.0 */
/* Whether what is in the store is what was sent. */
#include <errno.h>
#include <string.h>

#include "objstore/written.h"
#include "test.h"

#define MD5_OF_MINE "918b81db5e91d031548b963c93845e5b"

struct replay {
    const char *text;
    size_t at;
};

static ssize_t replay_read(struct objstore_request *request, void *buffer, size_t cap)
{
    struct replay *replay = request->arg;
    size_t left = strlen(replay->text) - replay->at;
    size_t n = left < cap ? left : cap;

    n = n > 3 ? 3 : n; /* in pieces */
    memcpy(buffer, replay->text + replay->at, n);
    replay->at += n;
    return (ssize_t)n;
}

static int replay_rewind(struct objstore_request *request)
{
    ((struct replay *)request->arg)->at = 0;
    return 0;
}

static void a_put_is_known_by_its_md5(void **state UNUSED)
{
    struct objstore_request put = {.op = OBJSTORE_PUT, .source = {.data = "mine", .size = 4}};

    assert_true(objstore_was_written(&put, MD5_OF_MINE));
    assert_false(objstore_was_written(&put, "d41d8cd98f00b204e9800998ecf8427e"));
    put.source = (struct objstore_source){.data = NULL, .size = 0};
    assert_true(objstore_was_written(&put, "d41d8cd98f00b204e9800998ecf8427e"));
}

static void a_source_that_can_be_read_again_is(void **state UNUSED)
{
    struct replay replay = {.text = "mine", .at = 4};
    struct objstore_request put = {
        .op = OBJSTORE_PUT,
        .source = {.size = 4, .read = replay_read, .rewind = replay_rewind},
        .arg = &replay};

    assert_true(objstore_was_written(&put, MD5_OF_MINE));
    replay.text = "else";
    assert_false(objstore_was_written(&put, MD5_OF_MINE));
    put.source.rewind = NULL;
    assert_false(objstore_was_written(&put, MD5_OF_MINE));
}

static void a_completion_is_known_by_the_md5_of_its_parts(void **state UNUSED)
{
    const struct objstore_part parts[] = {{.number = 1, .etag = MD5_OF_MINE},
                                          {.number = 2, .etag = MD5_OF_MINE}};
    struct objstore_request complete = {
        .op = OBJSTORE_UPLOAD_COMPLETE, .parts = parts, .parts_count = 2};

    assert_true(objstore_was_written(&complete, "9e69c4015133addc667aab7903f0eafd-2"));
    assert_false(objstore_was_written(&complete, "ffffffffffffffffffffffffffffffff-2"));
    complete.parts_count = 1;
    assert_true(objstore_was_written(&complete, "5d683c00bbff6c014ce26e116a9a12f8-1"));
    assert_false(objstore_was_written(&complete, MD5_OF_MINE));
}

static void parts_without_md5_leave_their_number_and_the_version_before(void **state UNUSED)
{
    const struct objstore_part parts[] = {{.number = 1, .etag = "kms-1"},
                                          {.number = 2, .etag = MD5_OF_MINE}};
    struct objstore_request complete = {
        .op = OBJSTORE_UPLOAD_COMPLETE, .parts = parts, .parts_count = 2, .if_match = "before-2"};

    assert_true(objstore_was_written(&complete, "after-2"));
    assert_false(objstore_was_written(&complete, "before-2"));
    assert_false(objstore_was_written(&complete, "after-3"));
    assert_false(objstore_was_written(&complete, "after"));
}

static void a_copy_has_its_sources_etag(void **state UNUSED)
{
    struct objstore_request copy = {.op = OBJSTORE_COPY, .source_if_match = "e"};

    assert_true(objstore_was_written(&copy, "e"));
    assert_false(objstore_was_written(&copy, "f"));
    copy.source_if_match = NULL;
    assert_false(objstore_was_written(&copy, "e"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_put_is_known_by_its_md5),
        cmocka_unit_test(a_source_that_can_be_read_again_is),
        cmocka_unit_test(a_completion_is_known_by_the_md5_of_its_parts),
        cmocka_unit_test(parts_without_md5_leave_their_number_and_the_version_before),
        cmocka_unit_test(a_copy_has_its_sources_etag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
