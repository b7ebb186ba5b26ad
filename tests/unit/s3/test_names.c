/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "s3/conditions.h"
#include "s3/names.h"
#include "test.h"
#include "util/cleanup.h"

static void bucket_names_follow_the_rules_of_s3(UNUSED void **state)
{
    static const char *const good[] = {"abc",     "a.b",  "a-b.c9",
                                       "1bucket", "0123", "123.456.789.abc"};
    static const char *const bad[] = {
        "",
        "ab",
        "Abc",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "a..b",
        "a.-b",
        "a-.b",
        "a b",
        "a/b",
        "192.168.5.4",
        "xn--abc",
        "sthree-abc",
        "abc-s3alias",
        "abc--ol-s3",
        "abc--x-s3",
        "0123456789012345678901234567890123456789012345678901234567890123"};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(s3_bucket_valid(slice_of(good[i])));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (s3_bucket_valid(slice_of(bad[i]))) {
            fail_msg("'%s' was taken for a bucket", bad[i]);
        }
    }
}

static void keys_are_utf8_of_up_to_1024_bytes(UNUSED void **state)
{
    char longest[S3_KEY_MAX + 2];

    memset(longest, 'k', sizeof(longest));
    assert_true(s3_key_valid((struct slice){longest, S3_KEY_MAX}));
    assert_false(s3_key_valid((struct slice){longest, S3_KEY_MAX + 1}));
    assert_false(s3_key_valid(slice_of("")));
    assert_false(s3_key_valid((struct slice){"a\0b", 3}));
    assert_true(s3_key_valid(slice_of("../..//\x01 \xF0\x9F\x98\x80")));
    assert_false(s3_key_valid(slice_of("\xC0\xAF")));         /* overlong '/' */
    assert_false(s3_key_valid(slice_of("\xED\xA0\x80")));     /* surrogate */
    assert_false(s3_key_valid(slice_of("\xF4\x90\x80\x80"))); /* above U+10FFFF */
    assert_false(s3_key_valid(slice_of("\xE2\x82")));         /* cut */
    assert_false(s3_key_valid(slice_of("\x80")));
}

static void a_host_names_a_bucket_only_below_our_domain(UNUSED void **state)
{
    static const char *const ours[] = {"s3.example", "store.local", NULL};

    assert_true(slice_eq_str(s3_host_bucket(slice_of("bucket.s3.example"), ours), "bucket"));
    assert_true(slice_eq_str(s3_host_bucket(slice_of("a.b.S3.EXAMPLE:8080"), ours), "a.b"));
    assert_null(s3_host_bucket(slice_of("s3.example"), ours).data);
    assert_null(s3_host_bucket(slice_of("buckets3.example"), ours).data);
    assert_null(s3_host_bucket(slice_of("127.0.0.1:9000"), ours).data);
    assert_null(s3_host_bucket(slice_of("[::1]:9000"), ours).data);
    assert_null(s3_host_bucket(slice_of("bucket.s3.example"), NULL).data);
    assert_null(s3_host_bucket(slice_of(""), ours).data);
}

struct target_case {
    const char *path;
    const char *host_bucket; /* NULL: path style */
    const char *bucket;
    const char *key;
    enum s3_code code;
};

static void nothing_in_a_path_is_normalised(UNUSED void **state)
{
    static const struct target_case cases[] = {
        {"/", NULL, "", "", S3_OK},
        {"/bucket", NULL, "bucket", "", S3_OK},
        {"/bucket/", NULL, "bucket", "", S3_OK},
        {"/bucket/key", NULL, "bucket", "key", S3_OK},
        {"/bucket//key", NULL, "bucket", "/key", S3_OK},
        {"/bucket/a/../../other/x", NULL, "bucket", "a/../../other/x", S3_OK},
        {"/bucket/%2e%2e%2fother", NULL, "bucket", "../other", S3_OK},
        {"/bucket/a%20b+c%2B", NULL, "bucket", "a b+c+", S3_OK},
        {"/bucket/\\..\\x", NULL, "bucket", "\\..\\x", S3_OK},
        {"/a/b", "bucket", "bucket", "a/b", S3_OK},
        {"/", "bucket", "bucket", "", S3_OK},
        {"", NULL, "", "", S3_INVALID_URI},
        {"bucket/key", NULL, "", "", S3_INVALID_URI},
        {"/bucket/%00", NULL, "", "", S3_INVALID_URI},
        {"/bucket/%zz", NULL, "", "", S3_INVALID_URI},
        {"/bucket/%2", NULL, "", "", S3_INVALID_URI},
        {"/bucket/%ff", NULL, "", "", S3_INVALID_URI},
        {"//key", NULL, "", "", S3_INVALID_BUCKET_NAME},
        {"/a%2Fb/key", NULL, "", "", S3_INVALID_BUCKET_NAME},
        {"/0123456789012345678901234567890123456789012345678901234567890123", NULL, "", "",
         S3_INVALID_BUCKET_NAME},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct s3_target target;
        struct s3_fault fault = S3_FAULT_INIT;
        int ret = s3_target_parse(slice_of(cases[i].path), slice_of(cases[i].host_bucket), &target,
                                  &fault);

        if (fault.code != cases[i].code) {
            print_error("%s: %s\n", cases[i].path, s3_code_name(fault.code));
        }
        assert_int_equal(fault.code, cases[i].code);
        assert_int_equal(ret == 0, cases[i].code == S3_OK);
        if (ret == 0) {
            assert_string_equal(target.bucket, cases[i].bucket);
            assert_string_equal(target.key, cases[i].key);
        }
    }
}

static void a_key_of_1025_bytes_is_too_long(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf path = BUF_INIT(8192);
    struct s3_target target;
    struct s3_fault fault = S3_FAULT_INIT;

    buf_addstr(&path, "/bucket/");
    for (int i = 0; i < S3_KEY_MAX; i++) {
        buf_addstr(&path, "%61");
    }
    assert_int_equal(s3_target_parse((struct slice){buf_str(&path), buf_len(&path)},
                                     (struct slice){NULL, 0}, &target, &fault),
                     0);
    buf_addstr(&path, "a");
    assert_int_equal(s3_target_parse((struct slice){buf_str(&path), buf_len(&path)},
                                     (struct slice){NULL, 0}, &target, &fault),
                     -EINVAL);
    assert_int_equal(fault.code, S3_KEY_TOO_LONG);
}

static void query_parameters_are_found_and_decoded(UNUSED void **state)
{
    const struct slice query = slice_of("uploads&prefix=a%2Fb+c&empty=&pre%66ix2=x&prefix=second");
    CLEANUP(buf_done) struct buf value = BUF_INIT(16);

    assert_int_equal(s3_query_get(query, "uploads", &value), 1);
    assert_string_equal(buf_str(&value), "");
    assert_int_equal(s3_query_get(query, "prefix", &value), 1);
    assert_string_equal(buf_str(&value), "a/b c");
    assert_int_equal(s3_query_get(query, "prefix2", &value), 1);
    assert_string_equal(buf_str(&value), "x");
    assert_int_equal(s3_query_get(query, "empty", NULL), 1);
    assert_int_equal(s3_query_get(query, "upload", &value), 0);
    assert_int_equal(s3_query_get(query, "uploads2", &value), 0);
    assert_int_equal(s3_query_get(slice_of("upload%00=1"), "upload", &value), 0);
    assert_int_equal(s3_query_get(slice_of("upload%7=1&up%7=2"), "upload", &value), 0);
    assert_int_equal(s3_query_get(slice_of("a+b=1"), "a b", &value), 1);
    assert_int_equal(s3_query_get(slice_of(""), "x", &value), 0);
    assert_int_equal(s3_query_get(slice_of("x=%zz"), "x", &value), -EILSEQ);
    assert_int_equal(s3_query_get(slice_of("x=01234567890123456"), "x", &value), -EFBIG);
}

static void a_set_of_names_misses_none(UNUSED void **state)
{
    static const char *const queries[] = {"uploads&prefix=a%2Fb+c&empty=", "pre%66ix=x&uploads",
                                          "=&&prefix&uploads=%zz", "a+b&uploads", ""};
    static const char *const names[] = {"uploads", "prefix", "empty", "a b", " b"};

    for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++) {
        uint64_t set = s3_query_names(slice_of(queries[i]));

        for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
            assert_true(s3_query_may_have(set, names[k]) ||
                        s3_query_get(slice_of(queries[i]), names[k], NULL) == 0);
        }
    }
    assert_false(s3_query_may_have(s3_query_names(slice_of("prefix=uploads")), "uploads"));
    assert_false(s3_query_may_have(s3_query_names(slice_of("")), "uploads"));
    assert_int_equal(s3_query_names(slice_of("X-Amz-Date=1&X-Amz-Signature=uploads")), 0);
    assert_true(s3_query_may_have(s3_query_names(slice_of("X-Amz-Date&uploads")), "uploads"));
}

static void copy_sources_come_in_several_spellings(UNUSED void **state)
{
    static const struct {
        const char *header, *bucket, *key, *version;
    } good[] = {
        {"/bucket/a%20b", "bucket", "a b", ""},
        {"bucket/a/b", "bucket", "a/b", ""},
        {"bucket%2Fa%2Fb", "bucket", "a/b", ""},
        {"/bucket/key?versionId=v%2F1", "bucket", "key", "v/1"},
        {"bucket/que%3Fry", "bucket", "que?ry", ""},
    };
    static const char *const bad[] = {"",      "/",          "bucket",     "/bucket/",
                                      "//key", "bucket/%00", "/bucket/%zz"};
    struct s3_copy_source source;
    struct s3_fault fault = S3_FAULT_INIT;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(s3_copy_source_parse(slice_of(good[i].header), &source, &fault), 0);
        assert_string_equal(source.target.bucket, good[i].bucket);
        assert_string_equal(source.target.key, good[i].key);
        assert_string_equal(source.version_id, good[i].version);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(s3_copy_source_parse(slice_of(bad[i]), &source, &fault), -EINVAL);
    }
}

/* ---- conditions.h ---- */

#define NO_ZONE "Sun, 06 Nov 1994 08:49:37"
#define NO_SUCH_DAY "Sun, 32 Nov 1994 08:49:37 GMT"

static void http_dates_are_read_in_all_three_forms(UNUSED void **state)
{
    static const char *const good[] = {
        "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 -0000", "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun Nov  6 08:49:37 1994"};
    static const char *const bad[] = {"",
                                      "Sun",
                                      NO_ZONE,
                                      NO_SUCH_DAY,
                                      "Sun, 06 Nov 1994 25:49:37 GMT",
                                      "Sun, 06 Xxx 1994 08:49:37 GMT",
                                      "784111777",
                                      "Sun, 06 Nov 1994 08:49:37 +0100",
                                      "Sun, 06 Nov 1994 08:49:37 GMT+1"};
    char text[S3_HTTP_DATE_SIZE];
    int64_t time_s = 0;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(s3_http_date_parse(slice_of(good[i]), &time_s), 0);
        assert_int_equal(time_s, 784111777);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(s3_http_date_parse(slice_of(bad[i]), &time_s), -EINVAL);
    }
    s3_http_date_format(784111777, text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
}

static void xml_dates_keep_milliseconds(UNUSED void **state)
{
    char text[S3_ISO_DATE_SIZE];
    int64_t time_ns = 0;

    s3_iso_date_format(1369353600123456789, text);
    assert_string_equal(text, "2013-05-24T00:00:00.123Z");
    assert_int_equal(s3_iso_date_parse(slice_of("2013-05-24T00:00:00.123Z"), &time_ns), 0);
    assert_int_equal(time_ns, 1369353600123000000);
    assert_int_equal(s3_iso_date_parse(slice_of("2013-05-24T00:00:00Z"), &time_ns), 0);
    assert_int_equal(time_ns, 1369353600000000000);
    assert_int_equal(s3_iso_date_parse(slice_of("2013-05-24T00:00:00.1234567891234Z"), &time_ns),
                     0);
    assert_int_equal(time_ns, 1369353600123456789);
    assert_int_equal(s3_iso_date_parse(slice_of("2013-05-24"), &time_ns), -EINVAL);
    assert_int_equal(s3_iso_date_parse(slice_of("9999-05-24T00:00:00Z"), &time_ns), -EINVAL);
}

struct range_case {
    const char *header;
    uint64_t size, offset, len;
    int ret;
};

static void ranges_resolve_against_the_size(UNUSED void **state)
{
    static const struct range_case cases[] = {
        {"bytes=0-9", 100, 0, 10, 0},
        {"bytes=90-", 100, 90, 10, 0},
        {"bytes=90-1000", 100, 90, 10, 0},
        {"bytes=-10", 100, 90, 10, 0},
        {"bytes=-1000", 100, 0, 100, 0},
        {"bytes=99-99", 100, 99, 1, 0},
        {"bytes=100-", 100, 0, 0, -ERANGE},
        {"bytes=0-", 0, 0, 0, -ERANGE},
        {"bytes=-0", 100, 0, 0, -ERANGE},
        {"bytes=-1", 0, 0, 0, -ERANGE},
        {"", 100, 0, 100, 0},
        {"bytes=5-3", 100, 0, 100, 0},
        {"bytes=0-1,3-4", 100, 0, 100, 0},
        {"items=0-1", 100, 0, 100, 0},
        {"bytes=a-b", 100, 0, 100, 0},
        {"bytes=-", 100, 0, 100, 0},
        {"bytes=0-18446744073709551615", 100, 0, 100, 0},
        {"bytes=0-99999999999999999999", 100, 0, 100, 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct s3_range range = s3_range_parse(slice_of(cases[i].header));
        uint64_t offset = 0;
        uint64_t len = 0;

        assert_int_equal(s3_range_resolve(&range, cases[i].size, &offset, &len), cases[i].ret);
        assert_int_equal(offset, cases[i].offset);
        assert_int_equal(len, cases[i].len);
    }
}

static void copy_ranges_have_one_form_only(UNUSED void **state)
{
    static const char *const bad[] = {"",          "bytes=0", "bytes=0-",      "bytes=-5",
                                      "bytes=5-4", "0-5",     "bytes=0-5,7-8", "bytes=0-5 "};
    uint64_t first = 0;
    uint64_t last = 0;

    assert_int_equal(s3_copy_range_parse(slice_of("bytes=5-9"), &first, &last), 0);
    assert_int_equal(first, 5);
    assert_int_equal(last, 9);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(s3_copy_range_parse(slice_of(bad[i]), &first, &last), -EINVAL);
    }
}

#define MTIME 784111777
#define AT "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"

static void conditions_follow_the_precedence_of_the_rfc(UNUSED void **state)
{
    static const struct {
        const char *match, *none_match, *modified, *unmodified;
        enum s3_code read, write;
    } cases[] = {
        {NULL, NULL, NULL, NULL, S3_OK, S3_OK},
        {"\"e1\"", NULL, NULL, NULL, S3_OK, S3_OK},
        {"e1", NULL, NULL, NULL, S3_OK, S3_OK},
        {"*", NULL, NULL, NULL, S3_OK, S3_OK},
        {"\"e0\", W/\"e1\"", NULL, NULL, NULL, S3_OK, S3_OK},
        {"\"e2\"", NULL, NULL, NULL, S3_PRECONDITION_FAILED, S3_PRECONDITION_FAILED},
        {NULL, "\"e1\"", NULL, NULL, S3_NOT_MODIFIED, S3_PRECONDITION_FAILED},
        {NULL, "*", NULL, NULL, S3_NOT_MODIFIED, S3_PRECONDITION_FAILED},
        {NULL, "\"e2\"", NULL, NULL, S3_OK, S3_OK},
        {NULL, NULL, AT, NULL, S3_NOT_MODIFIED, S3_OK},
        {NULL, NULL, BEFORE, NULL, S3_OK, S3_OK},
        {NULL, NULL, NULL, AT, S3_OK, S3_OK},
        {NULL, NULL, NULL, BEFORE, S3_PRECONDITION_FAILED, S3_PRECONDITION_FAILED},
        {"\"e1\"", NULL, NULL, BEFORE, S3_OK, S3_OK},
        {NULL, "\"e2\"", AT, NULL, S3_OK, S3_OK},
        {NULL, NULL, "yesterday", "tomorrow", S3_OK, S3_OK},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct s3_conditions c = {.if_match = slice_of(cases[i].match),
                                  .if_none_match = slice_of(cases[i].none_match),
                                  .if_modified_since = slice_of(cases[i].modified),
                                  .if_unmodified_since = slice_of(cases[i].unmodified)};

        assert_int_equal(s3_conditions_check(&c, "e1", MTIME, true), cases[i].read);
        assert_int_equal(s3_conditions_check(&c, "e1", MTIME, false), cases[i].write);
    }
}

static void a_single_etag_is_taken_out_of_its_quotes(UNUSED void **state)
{
    struct slice etag;

    assert_int_equal(s3_etag_single(slice_of(" \"abc\" "), &etag), 0);
    assert_true(slice_eq_str(etag, "abc"));
    assert_int_equal(s3_etag_single(slice_of("*"), &etag), 0);
    assert_true(slice_eq_str(etag, "*"));
    assert_int_equal(s3_etag_single(slice_of("\"a\", \"b\""), &etag), -EINVAL);
    assert_int_equal(s3_etag_single(slice_of(""), &etag), -EINVAL);
}

/* ---- error.h ---- */

static void every_code_has_a_name_a_status_and_an_errno(UNUSED void **state)
{
    for (int i = S3_OK + 1; i < S3_CODE_COUNT; i++) {
        enum s3_code code = (enum s3_code)i;

        assert_true(s3_code_name(code)[0] != '\0');
        assert_true(s3_code_message(code)[0] != '\0');
        assert_in_range(s3_code_status(code), 300, 599);
        assert_true(s3_code_errno(code) < 0);
        if (code != S3_REQUEST_EXPIRED) { /* AWS calls it AccessDenied */
            assert_int_equal(s3_code_from_name(slice_of(s3_code_name(code)), 400), code);
        }
    }
}

static void unknown_names_fall_back_to_the_status(UNUSED void **state)
{
    assert_int_equal(s3_code_from_name(slice_of("Whatever"), 404), S3_NO_SUCH_KEY);
    assert_int_equal(s3_code_from_name(slice_of("Whatever"), 503), S3_SERVICE_UNAVAILABLE);
    assert_int_equal(s3_code_from_name(slice_of("Whatever"), 200), S3_INTERNAL_ERROR);
    assert_int_equal(s3_code_from_name(slice_of("SlowDownWrite"), 503), S3_SLOW_DOWN);
    assert_int_equal(s3_code_from_name(slice_of("NewConflict"), 409), S3_INVALID_REQUEST);
    assert_int_equal(s3_code_from_name(slice_of(""), 409), S3_OPERATION_ABORTED);
    assert_int_equal(s3_code_from_status(418), S3_BAD_REQUEST);
    assert_int_equal(s3_code_from_status(599), S3_INTERNAL_ERROR);
    assert_int_equal(s3_code_from_status(204), S3_OK);
}

static void errno_values_become_the_codes_a_client_expects(UNUSED void **state)
{
    assert_int_equal(s3_code_from_errno(0, false), S3_OK);
    assert_int_equal(s3_code_from_errno(-ENOENT, false), S3_NO_SUCH_KEY);
    assert_int_equal(s3_code_from_errno(-ENOENT, true), S3_NO_SUCH_BUCKET);
    assert_int_equal(s3_code_from_errno(-EEXIST, false), S3_PRECONDITION_FAILED);
    assert_int_equal(s3_code_from_errno(-ESTALE, false), S3_PRECONDITION_FAILED);
    assert_int_equal(s3_code_from_errno(-EBUSY, false), S3_SLOW_DOWN);
    assert_int_equal(s3_code_from_errno(-ENOTSUP, false), S3_NOT_IMPLEMENTED);
    assert_int_equal(s3_code_from_errno(-EXDEV, false), S3_INTERNAL_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bucket_names_follow_the_rules_of_s3),
        cmocka_unit_test(keys_are_utf8_of_up_to_1024_bytes),
        cmocka_unit_test(a_host_names_a_bucket_only_below_our_domain),
        cmocka_unit_test(nothing_in_a_path_is_normalised),
        cmocka_unit_test(a_key_of_1025_bytes_is_too_long),
        cmocka_unit_test(query_parameters_are_found_and_decoded),
        cmocka_unit_test(a_set_of_names_misses_none),
        cmocka_unit_test(copy_sources_come_in_several_spellings),
        cmocka_unit_test(http_dates_are_read_in_all_three_forms),
        cmocka_unit_test(xml_dates_keep_milliseconds),
        cmocka_unit_test(ranges_resolve_against_the_size),
        cmocka_unit_test(copy_ranges_have_one_form_only),
        cmocka_unit_test(conditions_follow_the_precedence_of_the_rfc),
        cmocka_unit_test(a_single_etag_is_taken_out_of_its_quotes),
        cmocka_unit_test(every_code_has_a_name_a_status_and_an_errno),
        cmocka_unit_test(unknown_names_fall_back_to_the_status),
        cmocka_unit_test(errno_values_become_the_codes_a_client_expects),
    };

    return cmocka_run_group_tests_name("s3/names", tests, NULL, NULL);
}
