/* SPDX-License-Identifier: Apache-2.0 */
/* The checksum of an object that its source has made already. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "objstore/dir.h"
#include "objstore/objstore_call.h"
#include "s3/checksum.h"
#include "test.h"
#include "util/cleanup.h"

enum { SMALL = 1000, LARGE = 300000 };

static struct objstore *store;
static char data[LARGE];
static size_t next;

static ssize_t read_pieces(struct objstore_request *request, void *buffer, size_t cap)
{
    size_t left = (size_t)request->source.size - next, n = left < 5000 ? left : 5000;

    n = n < cap ? n : cap;
    memcpy(buffer, data + next, n);
    next += n;
    return (ssize_t)n;
}

/* What is told of an object that was put with this sum and, unless NULL, this checksum. */
static int put(size_t size, bool in_pieces, const struct s3_checksum *sum,
               enum objstore_checksum_kind kind, const char *value, struct objstore_checksum *ret)
{
    CLEANUP(objstore_answer_done) struct objstore_answer a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_PUT,
                                 .bucket = "bucket",
                                 .key = "k",
                                 .source = {.size = size, .sum = sum},
                                 .checksum = {.kind = kind}};
    int status;

    if (value != NULL) {
        (void)snprintf(r.checksum.value, sizeof(r.checksum.value), "%s", value);
    }
    next = 0;
    r.source.data = in_pieces ? NULL : data;
    r.source.read = in_pieces ? read_pieces : NULL;
    status = objstore_call(store, &r, &a);
    *ret = a.result.info.checksum;
    return status;
}

static void sum_of(enum s3_checksum_kind kind, size_t size, struct s3_checksum *ret,
                   char text[S3_CHECKSUM_TEXT_SIZE])
{
    assert_int_equal(s3_checksum_init(ret, kind), 0);
    s3_checksum_add(ret, data, size);
    s3_checksum_base64(ret, text);
}

/* Another than the bytes have shows that it was not made again. */
static void a_sum_that_is_given_is_the_object_s(void **state UNUSED)
{
    static const size_t sizes[] = {SMALL, LARGE};
    struct objstore_checksum told;
    struct s3_checksum other;
    char text[S3_CHECKSUM_TEXT_SIZE];

    for (size_t i = 0; i < 4; i++) {
        sum_of(S3_CHECKSUM_CRC64NVME, SMALL / 2, &other, text);
        assert_int_equal(put(sizes[i / 2], i % 2 == 1, &other, OBJSTORE_CHECKSUM_NONE, NULL, &told),
                         0);
        assert_int_equal(told.kind, OBJSTORE_CHECKSUM_CRC64NVME);
        assert_string_equal(told.value, text);
    }
}

static void it_is_compared_with_what_the_client_says(void **state UNUSED)
{
    struct objstore_checksum told;
    struct s3_checksum sum, other;
    char text[S3_CHECKSUM_TEXT_SIZE];
    char other_text[S3_CHECKSUM_TEXT_SIZE];

    for (size_t i = 0; i < 2; i++) {
        sum_of(S3_CHECKSUM_CRC32, LARGE, &sum, text);
        sum_of(S3_CHECKSUM_CRC32, SMALL, &other, other_text);
        assert_int_equal(put(LARGE, i == 1, &sum, OBJSTORE_CHECKSUM_CRC32, text, &told), 0);
        assert_string_equal(told.value, text);
        assert_int_equal(put(LARGE, i == 1, &sum, OBJSTORE_CHECKSUM_CRC32, other_text, &told),
                         -EBADMSG);
        assert_int_equal(put(LARGE, i == 1, &other, OBJSTORE_CHECKSUM_CRC32, text, &told),
                         -EBADMSG);
    }
}

static void one_of_another_kind_is_not_taken(void **state UNUSED)
{
    struct objstore_checksum told;
    struct s3_checksum sum, wanted;
    char text[S3_CHECKSUM_TEXT_SIZE];

    sum_of(S3_CHECKSUM_CRC64NVME, SMALL, &sum, text);
    sum_of(S3_CHECKSUM_CRC32C, LARGE, &wanted, text);
    assert_int_equal(put(LARGE, true, &sum, OBJSTORE_CHECKSUM_CRC32C, text, &told), 0);
    assert_string_equal(told.value, text);
    sum_of(S3_CHECKSUM_CRC64NVME, LARGE, &wanted, text);
    assert_int_equal(put(LARGE, true, NULL, OBJSTORE_CHECKSUM_NONE, NULL, &told), 0);
    assert_string_equal(told.value, text);
}

static int open_store(void **state UNUSED)
{
    CLEANUP(objstore_answer_done) struct objstore_answer a = OBJSTORE_ANSWER_INIT;
    struct objstore_request make = {.op = OBJSTORE_BUCKET_CREATE, .bucket = "bucket"};
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < LARGE; i++) {
        data[i] = (char)(i * 7 + i / 251);
    }
    return objstore_mem_new(&store, &err) == 0 ? objstore_call(store, &make, &a) : -1;
}

static int close_store(void **state UNUSED)
{
    objstore_free(store);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_that_is_given_is_the_object_s),
        cmocka_unit_test(it_is_compared_with_what_the_client_says),
        cmocka_unit_test(one_of_another_kind_is_not_taken),
    };

    return cmocka_run_group_tests(tests, open_store, close_store);
}
