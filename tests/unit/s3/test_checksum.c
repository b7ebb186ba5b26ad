/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "s3/checksum.h"
#include "s3/crc64.h"
#include "test.h"
#include "util/cleanup.h"

static const struct {
    enum s3_checksum_kind kind;
    const char *hex; /* of "123456789" */
} checks[] = {
    {S3_CHECKSUM_CRC32, "cbf43926"},
    {S3_CHECKSUM_CRC32C, "e3069283"},
    {S3_CHECKSUM_CRC64NVME, "ae8b14860a799888"},
    {S3_CHECKSUM_SHA1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"},
    {S3_CHECKSUM_SHA256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"},
    {S3_CHECKSUM_MD5, "25f9e794323b453885f5181f1b624d0b"},
};
enum { CHECKS = sizeof(checks) / sizeof(checks[0]), DATA_LEN = 100003 };

static void check_values_are_the_published_ones(UNUSED void **state)
{
    for (size_t i = 0; i < CHECKS; i++) {
        char hex[2 * S3_CHECKSUM_MAX + 1];

        assert_int_equal(s3_checksum_hex_of(checks[i].kind, "123456789", 9, hex), 0);
        assert_string_equal(hex, checks[i].hex);
    }
}

static void base64_is_what_the_sdks_send(UNUSED void **state)
{
    char text[S3_CHECKSUM_TEXT_SIZE];

    assert_int_equal(s3_checksum_base64_of(S3_CHECKSUM_CRC32, "aaaa", 4, text), 0);
    assert_string_equal(text, "rZjlRQ==");
    assert_int_equal(s3_checksum_base64_of(S3_CHECKSUM_MD5, "", 0, text), 0);
    assert_string_equal(text, "1B2M2Y8AsgTpgAmY7PhCfg==");
}

static char *make_data(void)
{
    char *data = malloc(DATA_LEN);

    assert_non_null(data);
    for (size_t i = 0; i < DATA_LEN; i++) {
        data[i] = (char)(i * 131 + i / 7);
    }
    return data;
}

static void pieces_give_the_same_as_the_whole(UNUSED void **state)
{
    static const size_t steps[] = {1, 3, 8, 63, 64, 65, 4096, 50000};
    AUTOFREE char *data = make_data();

    for (size_t i = 0; i < CHECKS; i++) {
        char whole[2 * S3_CHECKSUM_MAX + 1];

        assert_int_equal(s3_checksum_hex_of(checks[i].kind, data, DATA_LEN, whole), 0);
        for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
            CLEANUP(s3_checksum_done) struct s3_checksum sum;
            char pieces[2 * S3_CHECKSUM_MAX + 1];

            assert_int_equal(s3_checksum_init(&sum, checks[i].kind), 0);
            for (size_t at = 0; at < DATA_LEN; at += steps[s]) {
                s3_checksum_add(&sum, data + at,
                                DATA_LEN - at < steps[s] ? DATA_LEN - at : steps[s]);
            }
            s3_checksum_hex(&sum, pieces);
            assert_string_equal(pieces, whole);
        }
    }
}

static void crcs_combine_without_the_bytes(UNUSED void **state)
{
    static const size_t cuts[] = {0, 1, 9, 5000, 65536, DATA_LEN};
    AUTOFREE char *data = make_data();

    for (int kind = S3_CHECKSUM_CRC32; kind <= S3_CHECKSUM_CRC64NVME; kind++) {
        enum s3_checksum_kind k = (enum s3_checksum_kind)kind;
        char whole[S3_CHECKSUM_TEXT_SIZE];

        assert_int_equal(s3_checksum_base64_of(k, data, DATA_LEN, whole), 0);
        for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
            char a[S3_CHECKSUM_TEXT_SIZE];
            char b[S3_CHECKSUM_TEXT_SIZE];
            char both[S3_CHECKSUM_TEXT_SIZE];

            assert_int_equal(s3_checksum_base64_of(k, data, cuts[i], a), 0);
            assert_int_equal(s3_checksum_base64_of(k, data + cuts[i], DATA_LEN - cuts[i], b), 0);
            assert_int_equal(s3_checksum_combine(k, a, b, DATA_LEN - cuts[i], both), 0);
            assert_string_equal(both, whole);
        }
    }
}

static void only_crcs_of_the_right_length_combine(UNUSED void **state)
{
    char ret[S3_CHECKSUM_TEXT_SIZE];

    assert_int_equal(s3_checksum_combine(S3_CHECKSUM_SHA256, "", "", 0, ret), -EINVAL);
    assert_int_equal(s3_checksum_combine(S3_CHECKSUM_NONE, "", "", 0, ret), -EINVAL);
    assert_int_equal(s3_checksum_combine(S3_CHECKSUM_CRC32, "rZjlRQ==", "rZjl", 4, ret), -EINVAL);
    assert_int_equal(s3_checksum_combine(S3_CHECKSUM_CRC32, "?", "rZjlRQ==", 4, ret), -EINVAL);
}

static void folding_gives_the_same_as_the_table(UNUSED void **state)
{
    AUTOFREE char *data = make_data();

    for (size_t len = 0; len < 1400; len++) {
        for (size_t shift = 0; shift < 17; shift += 8) {
            uint64_t crc = crc64nvme_by(CRC64_TABLE, len, data + shift, len);

            assert_true(crc64nvme_by(CRC64_FOLDING, len, data + shift, len) == crc);
            assert_true(crc64nvme_by(CRC64_FOLDING_WIDE, len, data + shift, len) == crc);
        }
    }
    assert_true(crc64nvme(0, data, DATA_LEN) == crc64nvme_by(CRC64_TABLE, 0, data, DATA_LEN));
}

static void names_go_both_ways(UNUSED void **state)
{
    for (int kind = S3_CHECKSUM_CRC32; kind <= S3_CHECKSUM_SHA256; kind++) {
        enum s3_checksum_kind k = (enum s3_checksum_kind)kind;

        assert_int_equal(s3_checksum_from_name(slice_of(s3_checksum_name(k))), k);
        assert_int_equal(s3_checksum_from_header(slice_of(s3_checksum_header(k))), k);
    }
    assert_int_equal(s3_checksum_from_name(slice_of("crc32c")), S3_CHECKSUM_CRC32C);
    assert_int_equal(s3_checksum_from_header(slice_of("X-Amz-Checksum-Sha1")), S3_CHECKSUM_SHA1);
    assert_int_equal(s3_checksum_from_name(slice_of("MD5")), S3_CHECKSUM_NONE);
    assert_int_equal(s3_checksum_from_header(slice_of("content-md5")), S3_CHECKSUM_NONE);
    assert_int_equal(s3_checksum_from_name(slice_of("")), S3_CHECKSUM_NONE);
}

static void only_text_of_the_right_length_is_valid(UNUSED void **state)
{
    assert_true(s3_checksum_valid(S3_CHECKSUM_CRC32, slice_of("rZjlRQ==")));
    assert_false(s3_checksum_valid(S3_CHECKSUM_CRC64NVME, slice_of("rZjlRQ==")));
    assert_false(s3_checksum_valid(S3_CHECKSUM_CRC32, slice_of("rZjlRQ=")));
    assert_false(s3_checksum_valid(S3_CHECKSUM_CRC32, slice_of("")));
    assert_true(s3_checksum_same(slice_of("abc"), slice_of("abc")));
    assert_false(s3_checksum_same(slice_of("abc"), slice_of("abd")));
    assert_false(s3_checksum_same(slice_of("abc"), slice_of("ab")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_values_are_the_published_ones),
        cmocka_unit_test(base64_is_what_the_sdks_send),
        cmocka_unit_test(pieces_give_the_same_as_the_whole),
        cmocka_unit_test(crcs_combine_without_the_bytes),
        cmocka_unit_test(only_crcs_of_the_right_length_combine),
        cmocka_unit_test(folding_gives_the_same_as_the_table),
        cmocka_unit_test(names_go_both_ways),
        cmocka_unit_test(only_text_of_the_right_length_is_valid),
    };

    return cmocka_run_group_tests_name("s3/checksum", tests, NULL, NULL);
}
