/* SPDX-License-Identifier: Apache-2.0 */
/* Forms in pieces of every size, what is no form, and what a policy lets a form be. */
#include "s3/form.h"

#include <stdio.h>

#include "s3/form_policy.h"
#include "test.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/encode.h"

#define KIND "multipart/form-data; charset=x; boundary=\"bound\""

static void add_field(struct buf *out, const char *name, const char *value)
{
    buf_addf(out, "--bound\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", name,
             value);
}

static void add_file(struct buf *out, const char *body)
{
    buf_addf(out,
             "--bound\r\nX: y\r\ncontent-disposition: form-data; name=file; filename=\"a/b.c\"\r\n"
             "\r\n%s\r\n--bound--\r\n",
             body);
}

/* The fault's code, or S3_OK with the form (which the caller frees) and its file. */
static enum s3_code read_form(const struct buf *text, size_t step, struct s3_form **form,
                              struct buf *file)
{
    struct s3_fault fault = S3_FAULT_INIT;
    const char *at = buf_str(text);
    size_t left = buf_len(text);

    assert_int_equal(s3_form_new(slice_of(KIND), form, &fault), 0);
    while (left > 0) {
        size_t eaten = 0;
        struct slice bytes;

        if (s3_form_feed(*form, at, step < left ? step : left, &eaten, &bytes, &fault) != 0) {
            return fault.code;
        }
        buf_add(file, bytes.data != NULL ? bytes.data : "", bytes.len);
        at += eaten;
        left -= eaten;
    }
    return s3_form_finish(*form, &fault) == 0 ? S3_OK : fault.code;
}

static void a_form_comes_in_pieces_of_any_size(void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096), file = BUF_INIT(4096);

    (void)state;
    add_field(&text, "key", "a");
    add_field(&text, "empty", "");
    add_file(&text, "\r\n--boun\r\n--\r\r\n--boun d\r\n-bound");
    for (size_t step = 1; step < buf_len(&text); step++) {
        struct s3_form *form = NULL;

        buf_reset(&file);
        assert_int_equal(read_form(&text, step, &form, &file), S3_OK);
        assert_string_equal(buf_str(&file), "\r\n--boun\r\n--\r\r\n--boun d\r\n-bound");
        assert_string_equal(s3_form_get(form, "KEY"), "a");
        assert_string_equal(s3_form_get(form, "empty"), "");
        assert_null(s3_form_get(form, "file"));
        assert_string_equal(s3_form_filename(form), "b.c");
        assert_int_equal(s3_form_before(form) + buf_len(&file) + s3_form_behind(form),
                         buf_len(&text));
        s3_form_free(form);
    }
}

static void what_is_no_form_is_refused(void **state)
{
    static const struct {
        const char *text;
        enum s3_code code;
    } bad[] = {
        {"", S3_MALFORMED_POST},
        {"preamble\r\n--bound", S3_MALFORMED_POST},
        {"--bound--\r\n", S3_INVALID_ARGUMENT},
        {"--boundX\r\n", S3_MALFORMED_POST},
        {"--bound\r\n\r\n\r\n\r\nx\r\n--bound--", S3_MALFORMED_POST},
        {"--bound\r\nContent-Disposition: form-data\r\n\r\nx\r\n--bound--", S3_MALFORMED_POST},
        {"--bound\r\nContent-Disposition: form-data; name=\"a\r\n\r\nx\r\n--bound--",
         S3_MALFORMED_POST},
        {"--bound\r\nContent-Disposition: form-data; name=file\r\n\r\nx", S3_MALFORMED_POST},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(4096), file = BUF_INIT(4096);
        struct s3_form *form = NULL;

        buf_addstr(&text, bad[i].text);
        assert_int_equal(read_form(&text, 3, &form, &file), bad[i].code);
        s3_form_free(form);
    }
}

static void a_boundary_has_1_to_70_bytes(void **state)
{
    char type[128];

    (void)state;
    for (int len = 0; len <= 71; len++) {
        struct s3_form *form = NULL;
        struct s3_fault fault = S3_FAULT_INIT;

        (void)snprintf(type, sizeof(type), "multipart/form-data; boundary=%.*s", len,
                       "0123456789012345678901234567890123456789012345678901234567890123456789x");
        assert_int_equal(s3_form_new(slice_of(type), &form, &fault) == 0, len >= 1 && len <= 70);
        s3_form_free(form);
    }
}

static void fields_have_limits(void **state)
{
    (void)state;
    for (int count = S3_FORM_FIELDS_MAX; count <= S3_FORM_FIELDS_MAX + 1; count++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20), file = BUF_INIT(4096);
        struct s3_form *form = NULL;
        char name[16];

        for (int i = 0; i < count; i++) {
            (void)snprintf(name, sizeof(name), "f%d", i);
            add_field(&text, name, "");
        }
        add_file(&text, "x");
        assert_int_equal(read_form(&text, 100, &form, &file),
                         count == S3_FORM_FIELDS_MAX ? S3_OK : S3_INVALID_ARGUMENT);
        s3_form_free(form);
    }
}

/* What a policy says of a form with these two fields. */
static enum s3_code judged(const char *policy, struct s3_form_limits *limits)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20), file = BUF_INIT(64);
    CLEANUP(buf_done) struct buf coded = BUF_INIT(1 << 20);
    const struct s3_form_target target = {"b", "k/a"};
    struct s3_fault fault = S3_FAULT_INIT;
    struct s3_form *form = NULL;
    int ret;

    encode_base64(&coded, policy, strlen(policy));
    add_field(&text, "key", "k/${filename}");
    add_field(&text, "policy", buf_str(&coded));
    add_field(&text, "Content-Type", "text/a, text/b");
    add_file(&text, "x");
    assert_int_equal(read_form(&text, 1000, &form, &file), S3_OK);
    ret = s3_form_policy_check(form, &target, 1000, limits, &fault);
    s3_form_free(form);
    return ret == 0 ? S3_OK : fault.code;
}

static void a_policy_is_kept_to(void **state)
{
#define POLICY(more)                                                                               \
    "{\"expiration\":\"1970-01-01T00:16:41Z\",\"conditions\":[{\"bucket\":\"b\"}," more "]}"
    struct s3_form_limits limits = {7, 7};

    (void)state;
    assert_int_equal(judged(POLICY("[\"starts-with\",\"$key\",\"k/\"],"
                                   "[\"starts-with\",\"$content-type\",\"text/\"],"
                                   "[\"content-length-range\",2,\"5\"],"
                                   "[\"content-length-range\",1,9]"),
                            &limits),
                     S3_OK);
    assert_int_equal(limits.min, 2);
    assert_int_equal(limits.max, 5);
    assert_int_equal(
        judged(POLICY("{\"key\":\"k/a\"},[\"starts-with\",\"$Content-Type\",\"\"]"), &limits),
        S3_OK);
    assert_int_equal(limits.max, UINT64_MAX);
    assert_int_equal(judged(POLICY("{\"key\":\"k/b\"},{\"Content-Type\":\"x\"}"), &limits),
                     S3_ACCESS_DENIED);
    assert_int_equal(judged(POLICY("{\"key\":\"k/a\"}"), &limits), S3_ACCESS_DENIED);
    assert_int_equal(judged(POLICY("{\"key\":\"k/a\"},[\"starts-with\",\"$Content-Type\","
                                   "\"text/a\"]"),
                            &limits),
                     S3_ACCESS_DENIED);
    assert_int_equal(judged("{\"expiration\":\"1970-01-01T00:16:40Z\",\"conditions\":[]}", &limits),
                     S3_ACCESS_DENIED);
    assert_int_equal(judged(POLICY("[\"content-length-range\",1,1e300]"), &limits),
                     S3_INVALID_POLICY_DOCUMENT);
    assert_int_equal(judged("[]", &limits), S3_INVALID_POLICY_DOCUMENT);
    assert_int_equal(judged("", &limits), S3_INVALID_POLICY_DOCUMENT);
}

/* The fault of a form that is signed by version 4 but for this field; NULL: without it. */
static struct s3_fault fault_of(const char *name, const char *value)
{
    static const char *const fields[][2] = {
        {"policy", "e30="},
        {"x-amz-algorithm", "AWS4-HMAC-SHA256"},
        {"x-amz-credential", "a/b/20260101/moon/s3/aws4_request"},
        {"x-amz-date", "20260101T000000Z"},
        {"x-amz-signature", "0"},
    };
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096), file = BUF_INIT(4096);
    struct s3_fault fault = S3_FAULT_INIT;
    struct s3_form *form = NULL;
    struct s3_form_auth auth;

    for (size_t i = 0; i < 5; i++) {
        bool other = strcmp(fields[i][0], name) != 0;

        if (other || value != NULL) {
            add_field(&text, fields[i][0], other ? fields[i][1] : value);
        }
    }
    add_file(&text, "x");
    assert_int_equal(read_form(&text, 1000, &form, &file), S3_OK);
    if (s3_form_auth_parse(form, "moon", &auth, &fault) == 0) {
        assert_string_equal(auth.access_key, "a/b");
    }
    s3_form_free(form);
    return fault;
}

static void what_is_wrong_with_a_signatures_field_is_told(void **state)
{
    static const struct {
        const char *name, *value, *text;
    } bad[] = {
        {"policy", NULL, "a field named 'policy'"},
        {"x-amz-signature", NULL, "a field named 'x-amz-signature'"},
        {"x-amz-algorithm", "none", "Only AWS4-HMAC-SHA256"},
        {"x-amz-date", "today", "ISO8601"},
        {"x-amz-credential", "x", "mal-formed"},
        {"x-amz-credential", "a/2026/moon/s3/aws4_request", "date format \"2026\""},
        {"x-amz-credential", "a/20260101/sun/s3/aws4_request", "\"sun\" is wrong"},
        {"x-amz-credential", "a/20260101/moon/s4/aws4_request", "service \"s4\""},
        {"x-amz-credential", "a/20260101/moon/s3/aws5", "terminal \"aws5\""},
    };
    char detail[256];

    (void)state;
    assert_int_equal(fault_of("", "").code, S3_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct s3_fault fault = fault_of(bad[i].name, bad[i].value);

        (void)snprintf(detail, sizeof(detail), "ArgumentName=%s\nArgumentValue=%s\n", bad[i].name,
                       bad[i].value != NULL ? bad[i].value : "");
        assert_int_equal(fault.code, S3_INVALID_ARGUMENT);
        assert_non_null(strstr(fault.text, bad[i].text));
        assert_string_equal(fault.detail, detail);
    }
    assert_int_equal(fault_of("x-amz-credential", "/20260101/moon/s3/aws4_request").code,
                     S3_INVALID_ACCESS_KEY_ID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_form_comes_in_pieces_of_any_size),
        cmocka_unit_test(what_is_no_form_is_refused),
        cmocka_unit_test(a_boundary_has_1_to_70_bytes),
        cmocka_unit_test(fields_have_limits),
        cmocka_unit_test(a_policy_is_kept_to),
        cmocka_unit_test(what_is_wrong_with_a_signatures_field_is_told),
    };

    return cmocka_run_group_tests_name("s3/form", tests, NULL, NULL);
}
