/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/cors.h"

#include "test.h"
#include "util/cleanup.h"

#define RULE(inner) "<CORSRule>" inner "</CORSRule>"
#define DOC(rules) "<CORSConfiguration xmlns='x'>" rules "</CORSConfiguration>"
#define ORIGIN(text) "<AllowedOrigin>" text "</AllowedOrigin>"
#define METHOD(text) "<AllowedMethod>" text "</AllowedMethod>"
#define HEADER(text) "<AllowedHeader>" text "</AllowedHeader>"

static enum s3_code parsed(const char *text)
{
    struct s3_fault fault = S3_FAULT_INIT;
    struct s3_cors *cors = NULL;
    int ret = s3_cors_parse(text, strlen(text), &cors, &fault);

    s3_cors_free(cors);
    return ret == 0 ? S3_OK : fault.code;
}

static void rules_are_checked(void **state)
{
    static const struct {
        const char *text;
        enum s3_code code;
    } documents[] = {
        {DOC(RULE(ORIGIN("*") METHOD("GET"))), S3_OK},
        {DOC(RULE(ORIGIN("*") METHOD("GET") "<MaxAgeSeconds>-5</MaxAgeSeconds><ID>i</ID>")), S3_OK},
        {DOC(""), S3_MALFORMED_XML},
        {"", S3_MALFORMED_XML},
        {"<Other/>", S3_MALFORMED_XML},
        {DOC(RULE(ORIGIN("*"))), S3_MALFORMED_XML},
        {DOC(RULE(METHOD("GET"))), S3_MALFORMED_XML},
        {DOC(RULE(ORIGIN("") METHOD("GET"))), S3_MALFORMED_XML},
        {DOC(RULE(ORIGIN("*") METHOD("GET") "<Other/>")), S3_MALFORMED_XML},
        {DOC(RULE(ORIGIN("*") METHOD("GET") "<MaxAgeSeconds>x</MaxAgeSeconds>")), S3_MALFORMED_XML},
        {DOC(RULE(ORIGIN("*") METHOD("get"))), S3_INVALID_REQUEST},
        {DOC(RULE(ORIGIN("*") METHOD("OPTIONS"))), S3_INVALID_REQUEST},
        {DOC(RULE(ORIGIN("*") METHOD(""))), S3_INVALID_REQUEST},
        {DOC(RULE(ORIGIN("a*b*") METHOD("GET"))), S3_INVALID_REQUEST},
        {DOC(RULE(ORIGIN("*") METHOD("GET") HEADER("a b"))), S3_INVALID_REQUEST},
        {DOC(RULE(ORIGIN("*") METHOD("GET") HEADER("*-*"))), S3_INVALID_REQUEST},
        {DOC(RULE(ORIGIN("*") METHOD("GET") "<ExposeHeader>*</ExposeHeader>")), S3_INVALID_REQUEST},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++) {
        assert_int_equal(parsed(documents[i].text), documents[i].code);
    }
}

static void a_document_has_at_most_100_rules(void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(64 * 1024);

    (void)state;
    for (int rules = 100; rules <= 101; rules++) {
        buf_reset(&text);
        buf_addstr(&text, "<CORSConfiguration>");
        for (int i = 0; i < rules; i++) {
            buf_addstr(&text, RULE(ORIGIN("*") METHOD("GET")));
        }
        buf_addstr(&text, "</CORSConfiguration>");
        assert_int_equal(parsed(buf_str(&text)), rules == 100 ? S3_OK : S3_MALFORMED_XML);
    }
}

/* The value of a header of the reply, or NULL. */
static const char *value(const struct buf *headers, const char *name)
{
    const char *at = buf_str(headers), *end = at + buf_len(headers);

    while (at < end) {
        const char *text = at + strlen(at) + 1;

        if (strcmp(at, name) == 0) {
            return text;
        }
        at = text + strlen(text) + 1;
    }
    return NULL;
}

static const char document[] = DOC(RULE(
    ORIGIN("http://a.com") ORIGIN("http://*.b.com") METHOD("PUT") METHOD("GET") HEADER("x-amz-*")
        HEADER("Date") "<ExposeHeader>ETag</ExposeHeader>"
                       "<ExposeHeader>x-b</ExposeHeader><MaxAgeSeconds>7</MaxAgeSeconds>")
                                       RULE(ORIGIN("*") METHOD("GET")));

static bool matched(const char *origin, const char *method, const char *asked, struct buf *headers)
{
    struct s3_fault fault = S3_FAULT_INIT;
    const struct s3_cors_request request = {slice_of(origin), slice_of(method), slice_of(asked)};
    struct s3_cors *cors = NULL;
    bool ret;

    buf_reset(headers);
    assert_int_equal(s3_cors_parse(document, strlen(document), &cors, &fault), 0);
    ret = s3_cors_match(cors, &request, headers);
    s3_cors_free(cors);
    return ret;
}

static void the_first_rule_that_fits_counts(void **state)
{
    CLEANUP(buf_done) struct buf headers = BUF_INIT(4096);

    (void)state;
    assert_true(matched("http://a.com", "PUT", "X-Amz-Date, DATE", &headers));
    assert_string_equal(value(&headers, "Access-Control-Allow-Origin"), "http://a.com");
    assert_string_equal(value(&headers, "Access-Control-Allow-Methods"), "PUT, GET");
    assert_string_equal(value(&headers, "Access-Control-Allow-Headers"), "x-amz-date, date");
    assert_string_equal(value(&headers, "Access-Control-Expose-Headers"), "ETag, x-b");
    assert_string_equal(value(&headers, "Access-Control-Max-Age"), "7");
    assert_string_equal(value(&headers, "Access-Control-Allow-Credentials"), "true");
    assert_non_null(value(&headers, "Vary"));
    assert_true(matched("http://x.b.com", "GET", NULL, &headers));
    assert_null(value(&headers, "Access-Control-Allow-Headers"));
    assert_true(matched("null", "GET", NULL, &headers));
    assert_string_equal(value(&headers, "Access-Control-Allow-Origin"), "*");
    assert_null(value(&headers, "Access-Control-Allow-Credentials"));
}

static void nothing_is_said_where_no_rule_fits(void **state)
{
    CLEANUP(buf_done) struct buf headers = BUF_INIT(4096);

    (void)state;
    assert_false(matched("http://c.com", "PUT", NULL, &headers));
    assert_false(matched("http://a.com", "DELETE", NULL, &headers));
    assert_false(matched("http://a.com", "PUT", "x-other", &headers));
    assert_false(matched("http://.b.co", "PUT", NULL, &headers));
    assert_false(matched("HTTP://A.COM", "PUT", NULL, &headers));
    assert_int_equal(buf_len(&headers), 0);
}

static void what_a_preflight_asks_for_must_be_well_formed(void **state)
{
    static const struct {
        const char *method, *headers;
        bool good;
    } cases[] = {{"GET", NULL, true},        {"GET", "", true},      {"PUT", "a, b", true},
                 {NULL, NULL, false},        {"get", NULL, false},   {"PATCH", NULL, false},
                 {"GET", "a b", false},      {"GET", "a,,b", false}, {"GET", "a(b)", false},
                 {"GET", "a\xc3\xa4", false}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct s3_cors_request request = {slice_of("o"), slice_of(cases[i].method),
                                                slice_of(cases[i].headers)};
        struct s3_fault fault = S3_FAULT_INIT;

        assert_int_equal(s3_cors_request_check(&request, &fault) == 0, cases[i].good);
        assert_int_equal(fault.code, cases[i].good ? S3_OK : S3_BAD_REQUEST);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_checked),
        cmocka_unit_test(a_document_has_at_most_100_rules),
        cmocka_unit_test(the_first_rule_that_fits_counts),
        cmocka_unit_test(nothing_is_said_where_no_rule_fits),
        cmocka_unit_test(what_a_preflight_asks_for_must_be_well_formed),
    };

    return cmocka_run_group_tests_name("s3/cors", tests, NULL, NULL);
}
