/* SPDX-License-Identifier: Apache-2.0 */
/* Against URLs that botocore's own signer made, its clock set to S3_NOW, valid for an hour. */
#include <stdio.h>
#include <string.h>

#include "s3/names.h"
#include "s3/sign_v2.h"
#include "test.h"
#include "util/cleanup.h"

#define S3_SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define S3_NOW 1369353600
#define ACCESS "AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE"
#define EXPIRES "&Expires=1369357200"
#define KEY_PATH "/a%20b/%C3%BC%2B~%26%3D.txt"
#define GET_PATH "/bucket" KEY_PATH
#define GET_QUERY ACCESS "&Signature=cJDSmVxO3TiIBYzNUbrPDfHddHo%3D" EXPIRES

static const struct vector {
    const char *title, *method, *host, *path, *query;
} vectors[] = {
    {"get", "GET", "s3.test:9000", "/bucket" KEY_PATH,
     ACCESS "&Signature=cJDSmVxO3TiIBYzNUbrPDfHddHo%3D" EXPIRES},
    {"head", "HEAD", "s3.test:9000", "/bucket" KEY_PATH,
     ACCESS "&Signature=xyeTnSL5zlCBzvzXT%2Fud0BdUaHg%3D" EXPIRES},
    {"put", "PUT", "s3.test:9000", "/bucket" KEY_PATH,
     ACCESS "&Signature=cR5cvIEwW%2FjsNq5%2FhTQmnrU9K8Y%3D" EXPIRES},
    {"delete", "DELETE", "s3.test:9000", "/bucket" KEY_PATH,
     ACCESS "&Signature=YFOAwLaeuLKV0Nn8yB2fJt9LR40%3D" EXPIRES},
    {"version", "GET", "s3.test:9000", "/bucket" KEY_PATH,
     "versionId=v%2F1%2B2%20%26x&" ACCESS "&Signature=5hzxZSXSq2qLW5u1JC%2BRGPr9OUg%3D" EXPIRES},
    {"overrides", "GET", "s3.test:9000", "/bucket" KEY_PATH,
     "response-content-disposition=attachment%3B%20filename%3D%22a%26b%20c.txt%22&response-content-"
     "type=text%2Fplain&versionId=x&" ACCESS "&Signature=khrvMM4hMNztoHcNPb3Iq2inDVY%3D" EXPIRES},
    {"metadata", "PUT", "s3.test:9000", "/bucket" KEY_PATH,
     ACCESS "&Signature=%2B8sZ4thnCxjrKSUfOwc%2FYWZtZlQ%3D&content-type=text%2Fplain&x-amz-meta-"
            "colour=blue%20%20sky&x-amz-meta-a=1&x-amz-acl=private" EXPIRES},
    {"part", "PUT", "s3.test:9000", "/bucket" KEY_PATH,
     "uploadId=u%2Bp%2F1%3D%3D&partNumber=7&" ACCESS
     "&Signature=yUaasVeYq79d1M5gQEFwctki6t4%3D" EXPIRES},
    {"copy", "PUT", "s3.test:9000", "/bucket" KEY_PATH,
     ACCESS
     "&Signature=%2Bst%2F88EKih0e17KMbGKnwkOAgYM%3D&x-amz-copy-source=other%2Fk%252520x" EXPIRES},
    {"tags", "GET", "s3.test:9000", "/bucket" KEY_PATH,
     "tagging&" ACCESS "&Signature=hJQjKN6%2BMKjhGu0yOHviZatNqo4%3D" EXPIRES},
    {"head bucket", "HEAD", "s3.test:9000", "/bucket",
     ACCESS "&Signature=uwOpalP320T46uVpjOUSRlrh4Gs%3D" EXPIRES},
    {"acl", "GET", "s3.test:9000", "/bucket",
     "acl&" ACCESS "&Signature=TomcGbmzDVu9GQBSqakjxOhFMQg%3D" EXPIRES},
    {"buckets", "GET", "s3.test:9000", "/",
     ACCESS "&Signature=2atzAsMyY7DGKrWIDEMKgNMBhyg%3D" EXPIRES},
    {"token", "GET", "s3.test:9000", "/bucket" KEY_PATH,
     ACCESS
     "&Signature=VtNGPdkxvYv1VDkjvu9yqOU6%2BrE%3D&x-amz-security-token=to%2Fken%2B1%3D%3D" EXPIRES},
    {"virtual", "GET", "bucket.s3.test:9000", KEY_PATH,
     ACCESS "&Signature=cJDSmVxO3TiIBYzNUbrPDfHddHo%3D" EXPIRES},
    {"virtual bucket", "HEAD", "bucket.s3.test:9000", "/",
     ACCESS "&Signature=uwOpalP320T46uVpjOUSRlrh4Gs%3D" EXPIRES},
};

enum { HEADERS_MAX = 16 };

struct request {
    const char *method, *host, *path, *query;
    const char *headers[8]; /* "Name:value", NULL-terminated */
};

struct parsed {
    struct s3_header headers[HEADERS_MAX];
    struct s3_message message;
    struct s3_auth auth;
    struct s3_fault fault;
    struct arena arena;
    struct slice host;
};

static const char *const suffixes[] = {"s3.test", NULL};

static int parse_at(const struct request *r, int64_t now_s, struct parsed *p)
{
    const struct s3_auth_rules rules = {.now_s = now_s, .region = "us-east-1", .v2 = true};
    size_t count = 0;
    int ret;

    *p = (struct parsed){.arena = ARENA_INIT(1 << 20), .fault = S3_FAULT_INIT};
    p->headers[count++] = (struct s3_header){slice_of("Host"), slice_of(r->host)};
    for (size_t i = 0; r->headers[i] != NULL; i++) {
        const char *colon = strchr(r->headers[i], ':');

        p->headers[count++] = (struct s3_header){{r->headers[i], (size_t)(colon - r->headers[i])},
                                                 slice_of(colon + 1)};
    }
    p->message = (struct s3_message){.method = slice_of(r->method),
                                     .path = slice_of(r->path),
                                     .query = slice_of(r->query),
                                     .headers = p->headers,
                                     .header_count = count};
    p->host = s3_host_bucket(slice_of(r->host), suffixes);
    ret = s3_auth_parse(&p->message, &rules, &p->arena, &p->auth, &p->fault);
    if (ret == 0) {
        assert_int_equal(p->auth.kind, S3_AUTH_QUERY_V2);
        ret = s3_v2_parse(&p->message, &rules, &p->arena, &p->auth, &p->fault);
    }
    return ret;
}

/* What the client is told. */
static enum s3_code code_at(const struct request *r, int64_t now_s)
{
    struct parsed p;
    int ret = parse_at(r, now_s, &p);

    ret = ret == 0 ? s3_v2_verify(&p.message, p.host, &p.auth, S3_SECRET, &p.fault) : ret;
    arena_done(&p.arena);
    assert_int_equal(ret == 0, p.fault.code == S3_OK);
    return p.fault.code;
}

static enum s3_code code_of(const struct request *r)
{
    return code_at(r, S3_NOW);
}

static const char *header_of(const struct parsed *p, const char *name, char *ret, size_t size)
{
    struct slice value = s3_message_header(&p->message, name);

    (void)snprintf(ret, size, "%.*s", (int)value.len, value.len > 0 ? value.data : "");
    return ret;
}

static void what_botocore_signs_fits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const struct vector *v = &vectors[i];
        struct request r = {v->method, v->host, v->path, v->query, {NULL}};

        if (code_of(&r) != S3_OK) {
            print_error("%s\n", v->title);
        }
        assert_int_equal(code_of(&r), S3_OK);
        r.method = strcmp(v->method, "GET") == 0 ? "PUT" : "GET";
        assert_int_equal(code_of(&r), S3_SIGNATURE_DOES_NOT_MATCH);
    }
}

static void a_signature_of_another_secret_does_not_fit(void **state)
{
    const struct request r = {"GET", "s3.test:9000", GET_PATH, GET_QUERY, {NULL}};
    struct parsed p;

    (void)state;
    assert_int_equal(parse_at(&r, S3_NOW, &p), 0);
    assert_true(s3_v2_verify(&p.message, p.host, &p.auth, "another", &p.fault) < 0);
    assert_int_equal(p.fault.code, S3_SIGNATURE_DOES_NOT_MATCH);
    p.fault = (struct s3_fault)S3_FAULT_INIT;
    assert_true(s3_v2_verify(&p.message, p.host, &p.auth, "", &p.fault) < 0);
    p.auth.kind = S3_AUTH_QUERY;
    assert_true(s3_v2_verify(&p.message, p.host, &p.auth, S3_SECRET, &p.fault) < 0);
    arena_done(&p.arena);
}

static void the_string_to_sign_has_all_that_counts(void **state)
{
    static const char want[] = "PUT\n"
                               "bWQ1\n"
                               "text/plain\n"
                               "1369357200\n"
                               "x-amz-acl:private\n"
                               "x-amz-meta-a:1,2\n"
                               "x-amz-meta-b:q\n"
                               "/bucket/k?partNumber=7&uploadId=a b";
    const struct request r = {"PUT",
                              "bucket.s3.test",
                              "/k",
                              "uploadId=a+b&" ACCESS "&Signature=cJDSmVxO3TiIBYzNUbrPDfHddHo%3D"
                              "&x-amz-meta-b=q&X-Amz-Acl=private&partNumber=7" EXPIRES,
                              {"Content-Type: text/plain ", "X-Amz-Meta-A: 1", "Content-MD5:bWQ1",
                               "Range:bytes=0-1", "x-amz-meta-a:2", "Date:today", NULL}};
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct parsed p;

    (void)state;
    assert_int_equal(parse_at(&r, S3_NOW, &p), 0);
    assert_int_equal(s3_v2_string_to_sign(&p.message, p.host, &p.auth, false, &out), 0);
    assert_string_equal(buf_str(&out), want);
    arena_done(&p.arena);
}

static void what_the_query_says_of_headers_is_one(void **state)
{
    struct request r = {"PUT",
                        "s3.test",
                        "/bucket/k",
                        ACCESS "&Signature=cJDSmVxO3TiIBYzNUbrPDfHddHo%3D&content-type=text%2Fplain"
                               "&x-amz-security-token=to%2Bken&x-amz-meta-a=%20b%20" EXPIRES,
                        {"content-type:text/plain", NULL}};
    char text[64];
    struct parsed p;

    (void)state;
    assert_int_equal(parse_at(&r, S3_NOW, &p), 0);
    assert_string_equal(p.auth.session_token, "to+ken");
    assert_string_equal(p.auth.access_key, "AKIAIOSFODNN7EXAMPLE");
    assert_int_equal(p.auth.payload, S3_PAYLOAD_UNSIGNED);
    assert_string_equal(header_of(&p, "x-amz-meta-a", text, sizeof(text)), "b");
    assert_string_equal(header_of(&p, "content-type", text, sizeof(text)), "text/plain");
    assert_int_equal(p.message.header_count, 4); /* no second content-type */
    arena_done(&p.arena);
    r.headers[0] = "content-type:text/html";
    assert_int_equal(code_of(&r), S3_ACCESS_DENIED);
    r.headers[0] = "x-amz-meta-a:c";
    assert_int_equal(code_of(&r), S3_ACCESS_DENIED);
}

/* Added to a URL that is good. */
static void what_is_not_signed_is_refused(void **state)
{
    static const char *const added[] = {
        "list-type=2", "prefix=a", "delimiter=/", "max-keys=1", "marker=a", "encoding-type=url",
        "attributes", "policyStatus", "publicAccessBlock", "ownershipControls", "encryption",
        "legal-hold", "retention", "x-id=GetObject", "fetch-owner=true", "key-marker=a",
        "continuation-token=a", "VersionId=x", "versionid=x", "unknown", "=", "=x", "%00=x",
        "versionId=%0a", "versionId=%7f", "x-amz-meta-a=%0Ax-amz-acl:private", "x-amz-=x",
        "x-amz-meta-a%3Ab=c", "x-amz-meta-a", "x-amz-meta-a%0A=c", "content-md5", "versionId=%zz",
        "versionId=%", "%4", "awsaccesskeyid=x", "expires=1369357201",
        /* one value that reads like two parameters */
        "response-content-type=a%26versionId=b", "response-content-type=a%26acl",
        "response-content-type=a%26acl%26b", "partNumber=1%26uploadId%3Dx"};

    (void)state;
    for (size_t i = 0; i < sizeof(added) / sizeof(added[0]); i++) {
        char query[512];
        const struct request r = {"GET", "s3.test:9000", GET_PATH, query, {NULL}};

        (void)snprintf(query, sizeof(query), "%s&%s", GET_QUERY, added[i]);
        if (code_of(&r) != S3_ACCESS_DENIED) {
            print_error("%s\n", added[i]);
        }
        assert_int_equal(code_of(&r), S3_ACCESS_DENIED);
        (void)snprintf(query, sizeof(query), "%s&%s", added[i], GET_QUERY);
        assert_int_equal(code_of(&r), S3_ACCESS_DENIED);
    }
}

static void what_is_signed_cannot_be_added(void **state)
{
    static const char *const added[] = {"acl",
                                        "versionId=x",
                                        "versionId=",
                                        "partNumber=1",
                                        "uploadId=x",
                                        "tagging",
                                        "uploads",
                                        "delete",
                                        "versions",
                                        "policy",
                                        "cors",
                                        "lifecycle",
                                        "response-content-type=a%26b",
                                        "%76ersionId=x",
                                        "x-amz-acl=private",
                                        "x-amz-copy-source=bucket/other",
                                        "content-type=a/b",
                                        "X-AMZ-SECURITY-TOKEN=x",
                                        "location",
                                        "restore",
                                        "response-expires=now"};

    (void)state;
    for (size_t i = 0; i < sizeof(added) / sizeof(added[0]); i++) {
        char query[512];
        const struct request r = {"GET", "s3.test:9000", GET_PATH, query, {NULL}};

        (void)snprintf(query, sizeof(query), "%s&%s", GET_QUERY, added[i]);
        if (code_of(&r) != S3_SIGNATURE_DOES_NOT_MATCH) {
            print_error("%s\n", added[i]);
        }
        assert_int_equal(code_of(&r), S3_SIGNATURE_DOES_NOT_MATCH);
    }
}

static void a_changed_url_does_not_fit(void **state)
{
    static const struct request changed[] = {
        {"GET", "s3.test", "/bucket/a%20b/%C3%BC%2B~%26%3D.tx", GET_QUERY, {NULL}},
        {"GET", "s3.test", "/other" KEY_PATH, GET_QUERY, {NULL}},
        {"GET", "other.s3.test", KEY_PATH, GET_QUERY, {NULL}},
        {"GET", "s3.test", GET_PATH "/", GET_QUERY, {NULL}},
        {"GET", "s3.test", "/bucket/a b/%C3%BC%2B~%26%3D.txt", GET_QUERY, {NULL}},
        {"GET", "s3.test", GET_PATH, GET_QUERY, {"content-type:text/plain", NULL}},
        {"GET", "s3.test", GET_PATH, GET_QUERY, {"content-md5:bWQ1", NULL}},
        {"GET", "s3.test", GET_PATH, GET_QUERY, {"x-amz-acl:private", NULL}},
        {"GET",
         "s3.test",
         GET_PATH,
         ACCESS "&Signature=cJDSmVxO3TiIBYzNUbrPDfHddHo%3D&Expires=1369357201",
         {NULL}},
        {"GET",
         "s3.test",
         GET_PATH,
         ACCESS "&Signature=cJDSmVxO3TiIBYzNUbrPDfHddHp%3D&Expires=1369357200",
         {NULL}},
        {"GET", "s3.test", GET_PATH, ACCESS "&Signature=cJDS&Expires=1369357200", {NULL}},
        {"GET", "s3.test", GET_PATH, ACCESS "&Signature=&Expires=1369357200", {NULL}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++) {
        assert_int_equal(code_of(&changed[i]), S3_SIGNATURE_DOES_NOT_MATCH);
    }
}

static void three_parameters_once_each(void **state)
{
#define SIGNATURE "Signature=cJDSmVxO3TiIBYzNUbrPDfHddHo%3D"
    static const struct {
        const char *query;
        enum s3_code code;
    } cases[] = {
        {ACCESS "&" SIGNATURE, S3_ACCESS_DENIED},
        {ACCESS EXPIRES, S3_ACCESS_DENIED},
        {SIGNATURE EXPIRES, S3_ACCESS_DENIED},
        {"AWSAccessKeyId=&" SIGNATURE EXPIRES, S3_INVALID_ACCESS_KEY_ID},
        {"AWSAccessKeyId&" SIGNATURE EXPIRES, S3_ACCESS_DENIED},
        {ACCESS "&" GET_QUERY, S3_ACCESS_DENIED},
        {GET_QUERY "&" SIGNATURE, S3_ACCESS_DENIED},
        {GET_QUERY EXPIRES, S3_ACCESS_DENIED},
        {GET_QUERY "&versionId=a&versionId=a", S3_ACCESS_DENIED},
        {GET_QUERY "&x-amz-meta-a=1&X-Amz-Meta-A=1", S3_ACCESS_DENIED},
        {GET_QUERY "&X-Amz-Algorithm=AWS4-HMAC-SHA256", S3_INVALID_ARGUMENT},
        {GET_QUERY "&X-Amz-Signature=00", S3_INVALID_ARGUMENT},
        {GET_QUERY "&X-Amz-Credential=a", S3_INVALID_ARGUMENT},
        {GET_QUERY "&X-Amz-Expires=1", S3_INVALID_ARGUMENT},
        {GET_QUERY "&&", S3_OK},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct request r = {"GET", "s3.test", GET_PATH, cases[i].query, {NULL}};

        if (code_of(&r) != cases[i].code) {
            print_error("%s\n", cases[i].query);
        }
        assert_int_equal(code_of(&r), cases[i].code);
    }
}

static void it_is_valid_for_a_while(void **state)
{
    static const char *const none[] = {"", "x", "-1", "1369357200x", "0x5", "1e9", "999999999999"};
    struct request r = {"GET", "s3.test", GET_PATH, GET_QUERY, {NULL}};
    const int64_t end = S3_NOW + 3600;

    (void)state;
    assert_int_equal(code_at(&r, end), S3_OK);
    assert_int_equal(code_at(&r, end + 1), S3_REQUEST_EXPIRED);
    assert_int_equal(code_at(&r, end - S3_PRESIGN_MAX_S - S3_SKEW_S), S3_OK);
    assert_int_equal(code_at(&r, end - S3_PRESIGN_MAX_S - S3_SKEW_S - 1),
                     S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR);
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        char query[256];

        (void)snprintf(query, sizeof(query), "%s&Expires=%s", ACCESS "&" SIGNATURE, none[i]);
        r.query = query;
        assert_int_equal(code_of(&r), S3_ACCESS_DENIED);
    }
}

static void some_requests_are_never_presigned(void **state)
{
    static const char *const methods[] = {"POST", "OPTIONS", "get", "PATCH", ""};
    struct request r = {"GET", "s3.test", GET_PATH, GET_QUERY, {"authorization:AWS a:b", NULL}};

    (void)state;
    assert_int_equal(code_of(&r), S3_INVALID_ARGUMENT);
    r.headers[0] = "x-amz-content-sha256:STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    assert_int_equal(code_of(&r), S3_ACCESS_DENIED);
    r.headers[0] = "x-amz-security-token:a";
    r.headers[1] = "x-amz-security-token:b";
    assert_int_equal(code_of(&r), S3_ACCESS_DENIED);
    r.headers[0] = "x-amz-copy-source:a";
    r.headers[1] = "X-Amz-Copy-Source:b";
    assert_int_equal(code_of(&r), S3_ACCESS_DENIED);
    r.headers[0] = "x-amz-meta-a:a";
    r.headers[1] = "X-Amz-Meta-A:b";
    assert_int_equal(code_of(&r), S3_SIGNATURE_DOES_NOT_MATCH);
    r.headers[0] = NULL;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        r.method = methods[i];
        assert_int_equal(code_of(&r), S3_ACCESS_DENIED);
    }
}

static void without_the_rule_it_is_refused(void **state)
{
    const struct s3_auth_rules rules = {.now_s = S3_NOW, .region = "us-east-1"};
    const struct s3_message message = {
        .method = slice_of("GET"), .path = slice_of(GET_PATH), .query = slice_of(GET_QUERY)};
    const struct s3_signing_key key = {{0}};
    struct s3_auth auth = {.kind = S3_AUTH_QUERY_V2};
    struct s3_fault fault = S3_FAULT_INIT;
    struct arena arena = ARENA_INIT(1 << 16);

    (void)state;
    assert_true(s3_auth_parse(&message, &rules, &arena, &auth, &fault) < 0);
    assert_int_equal(fault.code, S3_INVALID_REQUEST);
    fault = (struct s3_fault)S3_FAULT_INIT;
    assert_true(s3_auth_verify(&message, &auth, &key, &fault) < 0);
    assert_int_equal(fault.code, S3_ACCESS_DENIED);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_botocore_signs_fits),
        cmocka_unit_test(a_signature_of_another_secret_does_not_fit),
        cmocka_unit_test(the_string_to_sign_has_all_that_counts),
        cmocka_unit_test(what_the_query_says_of_headers_is_one),
        cmocka_unit_test(what_is_not_signed_is_refused),
        cmocka_unit_test(what_is_signed_cannot_be_added),
        cmocka_unit_test(a_changed_url_does_not_fit),
        cmocka_unit_test(three_parameters_once_each),
        cmocka_unit_test(it_is_valid_for_a_while),
        cmocka_unit_test(some_requests_are_never_presigned),
        cmocka_unit_test(without_the_rule_it_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
