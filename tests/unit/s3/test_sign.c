/* SPDX-License-Identifier: Apache-2.0 */
/* Against the signatures that AWS publishes: its SigV4 test suite and the examples of the S3 API.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "s3/chunked.h"
#include "s3/key_cache.h"
#include "s3/sign.h"
#include "test.h"
#include "util/cleanup.h"

#define S3_KEY "AKIAIOSFODNN7EXAMPLE"
#define S3_SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define S3_STAMP "20130524T000000Z"
#define S3_NOW 1369353600

enum { HEADERS_MAX = 12 };

static struct arena texts = ARENA_INIT(1 << 20);

static int drop_texts(UNUSED void **state)
{
    arena_done(&texts);
    return 0;
}

/* One case: headers as "Name:value" lines, NULL-terminated. */
struct vector {
    const char *title;
    const char *method;
    const char *path;
    const char *query;
    const char *headers[HEADERS_MAX];
    const char *payload_hash; /* NULL: of the empty body */
    const char *signature;
};

static size_t split_headers(const char *const *lines, struct s3_header *ret)
{
    size_t count = 0;

    for (; lines[count] != NULL; count++) {
        const char *colon = strchr(lines[count], ':');

        ret[count].name = (struct slice){lines[count], (size_t)(colon - lines[count])};
        ret[count].value = slice_of(colon + 1);
    }
    return count;
}

static struct s3_message message_of(const struct vector *v, struct s3_header *headers)
{
    return (struct s3_message){.method = slice_of(v->method),
                               .path = slice_of(v->path),
                               .query = slice_of(v->query),
                               .headers = headers,
                               .header_count = split_headers(v->headers, headers)};
}

static void check_vectors(const struct vector *vectors, size_t count, const char *secret,
                          const char *stamp, const char *service)
{
    struct s3_signing_key key;
    char date[9] = {0};

    memcpy(date, stamp, 8);
    assert_int_equal(s3_signing_key_derive(secret, date, "us-east-1", service, &key), 0);
    for (size_t i = 0; i < count; i++) {
        const struct vector *v = &vectors[i];
        struct s3_header headers[HEADERS_MAX];
        struct s3_message message = message_of(v, headers);
        CLEANUP(buf_done) struct buf value = BUF_INIT(4096);
        struct s3_sign_params params = {
            .key = &key, .access_key = "AK", .region = "us-east-1", .service = service};
        char signature[S3_HEX_SIZE];

        memcpy(params.timestamp, stamp, S3_TIMESTAMP_SIZE);
        assert_int_equal(s3_sign_header(&message, &params,
                                        v->payload_hash != NULL ? v->payload_hash : S3_EMPTY_SHA256,
                                        &value, signature),
                         0);
        if (strcmp(signature, v->signature) != 0) {
            print_error("%s\n", v->title);
        }
        assert_string_equal(signature, v->signature);
        assert_non_null(strstr(buf_str(&value), v->signature));
    }
}

#define SUITE_HEADERS "Host:example.amazonaws.com", "X-Amz-Date:20150830T123600Z"
#define UNRESERVED "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define PARAM1_HASH "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"

static const struct vector suite[] = {
    {"get-vanilla",
     "GET",
     "/",
     "",
     {SUITE_HEADERS},
     NULL,
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
    {"get-vanilla-empty-query-key",
     "GET",
     "/",
     "Param1=value1",
     {SUITE_HEADERS},
     NULL,
     "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
    {"get-vanilla-query-order-key-case",
     "GET",
     "/",
     "Param2=value2&Param1=value1",
     {SUITE_HEADERS},
     NULL,
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
    {"get-vanilla-query-unreserved",
     "GET",
     "/",
     UNRESERVED "=" UNRESERVED,
     {SUITE_HEADERS},
     NULL,
     "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
    {"get-vanilla-utf8-query",
     "GET",
     "/",
     "\xE1\x88\xB4=bar",
     {SUITE_HEADERS},
     NULL,
     "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
    {"get-unreserved",
     "GET",
     "/" UNRESERVED,
     "",
     {SUITE_HEADERS},
     NULL,
     "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
    {"get-utf8",
     "GET",
     "/\xE1\x88\xB4",
     "",
     {SUITE_HEADERS},
     NULL,
     "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
    {"get-header-key-duplicate",
     "GET",
     "/",
     "",
     {"Host:example.amazonaws.com", "My-Header1:value2", "My-Header1:value2", "My-Header1:value1",
      "X-Amz-Date:20150830T123600Z"},
     NULL,
     "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
    {"get-header-value-order",
     "GET",
     "/",
     "",
     {"Host:example.amazonaws.com", "My-Header1:value4", "My-Header1:value1", "My-Header1:value3",
      "My-Header1:value2", "X-Amz-Date:20150830T123600Z"},
     NULL,
     "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
    {"get-header-value-trim",
     "GET",
     "/",
     "",
     {"Host:example.amazonaws.com", "My-Header1: value1", "My-Header2: \"a   b   c\"",
      "X-Amz-Date:20150830T123600Z"},
     NULL,
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
    {"get-header-value-multiline",
     "GET",
     "/",
     "",
     {"Host:example.amazonaws.com", "My-Header1:value1\n  value2\n     value3",
      "X-Amz-Date:20150830T123600Z"},
     NULL,
     "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd"},
    {"post-vanilla",
     "POST",
     "/",
     "",
     {SUITE_HEADERS},
     NULL,
     "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
    {"post-vanilla-query",
     "POST",
     "/",
     "Param1=value1",
     {SUITE_HEADERS},
     NULL,
     "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
    {"post-header-key-sort",
     "POST",
     "/",
     "",
     {"Host:example.amazonaws.com", "My-Header1:value1", "X-Amz-Date:20150830T123600Z"},
     NULL,
     "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
    {"post-header-value-case",
     "POST",
     "/",
     "",
     {"Host:example.amazonaws.com", "My-Header1:VALUE1", "X-Amz-Date:20150830T123600Z"},
     NULL,
     "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
    {"post-x-www-form-urlencoded",
     "POST",
     "/",
     "",
     {"Content-Type:application/x-www-form-urlencoded", SUITE_HEADERS},
     PARAM1_HASH,
     "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
    {"post-x-www-form-urlencoded-parameters",
     "POST",
     "/",
     "",
     {"Content-Type:application/x-www-form-urlencoded; charset=utf8", SUITE_HEADERS},
     PARAM1_HASH,
     "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"},
};

static void signatures_match_the_aws_test_suite(UNUSED void **state)
{

    check_vectors(suite, sizeof(suite) / sizeof(suite[0]),
                  "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830T123600Z", "service");
}

#define S3_HOST "Host:examplebucket.s3.amazonaws.com"
#define S3_EMPTY_HEADER "x-amz-content-sha256:" S3_EMPTY_SHA256
#define S3_DATE_HEADER "x-amz-date:" S3_STAMP
#define WELCOME_HASH "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"

static const struct vector s3_examples[] = {
    {"GET object",
     "GET",
     "/test.txt",
     "",
     {S3_HOST, "Range:bytes=0-9", S3_EMPTY_HEADER, S3_DATE_HEADER},
     NULL,
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
    {"PUT object",
     "PUT",
     "/test$file.text",
     "",
     {"Date:Fri, 24 May 2013 00:00:00 GMT", S3_HOST, S3_DATE_HEADER,
      "x-amz-storage-class:REDUCED_REDUNDANCY", "x-amz-content-sha256:" WELCOME_HASH},
     WELCOME_HASH,
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
    {"GET lifecycle",
     "GET",
     "/",
     "lifecycle",
     {S3_HOST, S3_EMPTY_HEADER, S3_DATE_HEADER},
     NULL,
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
    {"list objects",
     "GET",
     "/",
     "max-keys=2&prefix=J",
     {S3_HOST, S3_EMPTY_HEADER, S3_DATE_HEADER},
     NULL,
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
    {"chunked upload",
     "PUT",
     "/examplebucket/chunkObject.txt",
     "",
     {"Host:s3.amazonaws.com", S3_DATE_HEADER, "x-amz-storage-class:REDUCED_REDUNDANCY",
      "x-amz-content-sha256:STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "Content-Encoding:aws-chunked",
      "x-amz-decoded-content-length:66560", "Content-Length:66824"},
     "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
     "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"},
    {"chunked upload with trailer",
     "PUT",
     "/examplebucket/chunkObject.txt",
     "",
     {"Host:s3.amazonaws.com", S3_DATE_HEADER, "x-amz-storage-class:REDUCED_REDUNDANCY",
      "x-amz-content-sha256:STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
      "Content-Encoding:aws-chunked", "x-amz-decoded-content-length:66560",
      "x-amz-trailer:x-amz-checksum-crc32c"},
     "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
     "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"},
};
enum { EXAMPLES = sizeof(s3_examples) / sizeof(s3_examples[0]) };

static void signatures_match_the_examples_of_the_s3_api(UNUSED void **state)
{
    check_vectors(s3_examples, EXAMPLES, S3_SECRET, S3_STAMP, "s3");
}

/* The example as a client sends it: headers plus Authorization. */
static int verify_example(const struct vector *v, const char *authorization, const char *secret,
                          struct s3_auth *auth, struct s3_fault *fault)
{
    struct s3_header headers[HEADERS_MAX + 1];
    struct s3_message message = message_of(v, headers);
    struct s3_auth_rules rules = {.now_s = S3_NOW + 60, .region = "us-east-1"};
    struct s3_signing_key key;
    int ret;

    headers[message.header_count++] =
        (struct s3_header){slice_of("Authorization"), slice_of(authorization)};
    ret = s3_auth_parse(&message, &rules, &texts, auth, fault);
    if (ret < 0) {
        return ret;
    }
    assert_int_equal(s3_signing_key_derive(secret, auth->date, auth->region, "s3", &key), 0);
    return s3_auth_verify(&message, auth, &key, fault);
}

#define AUTH(names, signature)                                                                     \
    "AWS4-HMAC-SHA256 Credential=" S3_KEY                                                          \
    "/20130524/us-east-1/s3/aws4_request, SignedHeaders=" names ", Signature=" signature
#define GET_NAMES "host;range;x-amz-content-sha256;x-amz-date"
#define GET_SIGNATURE "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"

static void a_server_accepts_the_published_signature(UNUSED void **state)
{
    struct s3_auth auth;
    struct s3_fault fault = S3_FAULT_INIT;

    assert_int_equal(
        verify_example(&s3_examples[0], AUTH(GET_NAMES, GET_SIGNATURE), S3_SECRET, &auth, &fault),
        0);
    assert_int_equal(auth.kind, S3_AUTH_HEADER);
    assert_string_equal(auth.access_key, S3_KEY);
    assert_string_equal(auth.region, "us-east-1");
    assert_string_equal(auth.timestamp, S3_STAMP);
    assert_int_equal(auth.payload, S3_PAYLOAD_SHA256);
    assert_string_equal(auth.payload_hash, S3_EMPTY_SHA256);
}

struct refusal {
    const char *title;
    const char *authorization;
    enum s3_code code;
};

static void a_server_refuses_what_is_not_exactly_right(UNUSED void **state)
{
    static const struct refusal refusals[] = {
        {"other signature",
         AUTH(GET_NAMES, "a0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd9"
                         "1039c6036bdb41"),
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"short signature", AUTH(GET_NAMES, "f0e8"), S3_AUTHORIZATION_HEADER_MALFORMED},
        {"host not signed", AUTH("range;x-amz-content-sha256;x-amz-date", GET_SIGNATURE),
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"x-amz header not signed", AUTH("host;range;x-amz-date", GET_SIGNATURE), S3_ACCESS_DENIED},
        {"a signed header that is not there", AUTH(GET_NAMES ";x-more", GET_SIGNATURE),
         S3_SIGNATURE_DOES_NOT_MATCH},
        {"empty", "", S3_ACCESS_DENIED},
        {"basic", "Basic abc", S3_INVALID_ARGUMENT},
        {"v2", "AWS " S3_KEY ":abc", S3_INVALID_REQUEST},
        {"v4a", "AWS4-ECDSA-P256-SHA256 Credential=x", S3_NOT_IMPLEMENTED},
        {"other region",
         "AWS4-HMAC-SHA256 Credential=" S3_KEY "/20130524/eu-west-1/s3/aws4_request,"
         "SignedHeaders=" GET_NAMES ",Signature=" GET_SIGNATURE,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"other service",
         "AWS4-HMAC-SHA256 Credential=" S3_KEY "/20130524/us-east-1/iam/aws4_request,"
         "SignedHeaders=" GET_NAMES ",Signature=" GET_SIGNATURE,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"other day",
         "AWS4-HMAC-SHA256 Credential=" S3_KEY "/20130525/us-east-1/s3/aws4_request,"
         "SignedHeaders=" GET_NAMES ",Signature=" GET_SIGNATURE,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"two signatures", AUTH(GET_NAMES, GET_SIGNATURE) ",Signature=" GET_SIGNATURE,
         S3_AUTHORIZATION_HEADER_MALFORMED},
        {"no credential", "AWS4-HMAC-SHA256 SignedHeaders=" GET_NAMES ",Signature=" GET_SIGNATURE,
         S3_AUTHORIZATION_HEADER_MALFORMED},
    };

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct s3_auth auth;
        struct s3_fault fault = S3_FAULT_INIT;

        if (verify_example(&s3_examples[0], refusals[i].authorization, S3_SECRET, &auth, &fault) ==
                0 ||
            fault.code != refusals[i].code) {
            print_error("%s: %s\n", refusals[i].title, s3_code_name(fault.code));
        }
        assert_int_equal(fault.code, refusals[i].code);
    }
}

static void a_wrong_secret_does_not_match_and_is_not_told(UNUSED void **state)
{
    struct s3_auth auth;
    struct s3_fault fault = S3_FAULT_INIT;

    assert_int_equal(
        verify_example(&s3_examples[0], AUTH(GET_NAMES, GET_SIGNATURE), "guess", &auth, &fault),
        -EACCES);
    assert_int_equal(fault.code, S3_SIGNATURE_DOES_NOT_MATCH);
    assert_null(strstr(s3_fault_text(&fault), "guess"));
}

static enum s3_code parse_at(int64_t now_s, const char *authorization, const char *query)
{
    struct s3_header headers[HEADERS_MAX + 1];
    struct s3_message message = message_of(&s3_examples[0], headers);
    struct s3_auth_rules rules = {.now_s = now_s, .region = "us-east-1"};
    struct s3_auth auth;
    struct s3_fault fault = S3_FAULT_INIT;

    message.query = slice_of(query);
    if (authorization != NULL) {
        headers[message.header_count++] =
            (struct s3_header){slice_of("authorization"), slice_of(authorization)};
    }
    return s3_auth_parse(&message, &rules, &texts, &auth, &fault) == 0 ? S3_OK : fault.code;
}

static void the_clock_may_be_fifteen_minutes_off_and_no_more(UNUSED void **state)
{
    const char *auth = AUTH(GET_NAMES, GET_SIGNATURE);

    assert_int_equal(parse_at(S3_NOW + 900, auth, ""), S3_OK);
    assert_int_equal(parse_at(S3_NOW - 900, auth, ""), S3_OK);
    assert_int_equal(parse_at(S3_NOW + 901, auth, ""), S3_REQUEST_TIME_TOO_SKEWED);
    assert_int_equal(parse_at(S3_NOW - 901, auth, ""), S3_REQUEST_TIME_TOO_SKEWED);
}

/* Signed by ourselves, with the header there twice. */
static enum s3_code verify_twice(const char *name)
{
    CLEANUP(buf_done) struct buf authorization = BUF_INIT(4096);
    struct s3_header headers[] = {
        {slice_of("Host"), slice_of("examplebucket.s3.amazonaws.com")},
        {slice_of("x-amz-content-sha256"), slice_of(S3_EMPTY_SHA256)},
        {slice_of("x-amz-date"), slice_of(S3_STAMP)},
        {slice_of(name), slice_of("one")},
        {slice_of(name), slice_of("two")},
        {slice_of("Authorization"), {NULL, 0}},
    };
    struct s3_message message = {slice_of("PUT"), slice_of("/test.txt"), slice_of(""), headers, 5};
    const struct s3_auth_rules rules = {.now_s = S3_NOW, .region = "us-east-1"};
    struct s3_signing_key key;
    const struct s3_sign_params params = {.key = &key,
                                          .access_key = S3_KEY,
                                          .region = "us-east-1",
                                          .service = "s3",
                                          .timestamp = S3_STAMP};
    struct s3_fault fault = S3_FAULT_INIT;
    struct s3_auth auth;
    int ret;

    assert_int_equal(s3_signing_key_derive(S3_SECRET, "20130524", "us-east-1", "s3", &key), 0);
    assert_int_equal(s3_sign_header(&message, &params, S3_EMPTY_SHA256, &authorization, NULL), 0);
    headers[message.header_count++].value = slice_of(buf_str(&authorization));
    ret = s3_auth_parse(&message, &rules, &texts, &auth, &fault);
    ret = ret == 0 ? s3_auth_verify(&message, &auth, &key, &fault) : ret;
    return ret == 0 ? S3_OK : fault.code;
}

static void a_signed_header_of_which_the_first_counts_is_the_only_one(UNUSED void **state)
{
    static const char *const single[] = {"x-amz-copy-source", "X-Amz-Acl",     "x-amz-tagging",
                                         "content-type",      "content-md5",   "range",
                                         "if-none-match",     "cache-control", "x-amz-meta-"};
    static const char *const several[] = {"x-amz-meta-a", "X-Amz-Meta-B",
                                          "x-amz-object-attributes"};

    for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++) {
        assert_int_equal(verify_twice(single[i]), S3_INVALID_REQUEST);
    }
    for (size_t i = 0; i < sizeof(several) / sizeof(several[0]); i++) {
        assert_int_equal(verify_twice(several[i]), S3_OK);
    }
}

/* ---- presigned ---- */

#define PRESIGN_QUERY                                                                              \
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" S3_KEY                                    \
    "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=" S3_STAMP                             \
    "&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
#define PRESIGN_SIGNATURE "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"

static struct s3_message presign_message(const char *query, struct s3_header *host)
{
    *host = (struct s3_header){slice_of("host"), slice_of("examplebucket.s3.amazonaws.com")};
    return (struct s3_message){.method = slice_of("GET"),
                               .path = slice_of("/test.txt"),
                               .query = slice_of(query),
                               .headers = host,
                               .header_count = 1};
}

static void a_presigned_url_is_the_published_one(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf query = BUF_INIT(4096);
    struct s3_header host;
    struct s3_message message = presign_message("", &host);
    struct s3_signing_key key;
    struct s3_sign_params params = {.key = &key,
                                    .access_key = S3_KEY,
                                    .region = "us-east-1",
                                    .service = "s3",
                                    .timestamp = S3_STAMP};

    assert_int_equal(s3_signing_key_derive(S3_SECRET, "20130524", "us-east-1", "s3", &key), 0);
    assert_int_equal(s3_presign(&message, &params, 86400, &query), 0);
    assert_string_equal(buf_str(&query), PRESIGN_QUERY "&X-Amz-Signature=" PRESIGN_SIGNATURE);
    assert_int_equal(s3_presign(&message, &params, 0, &query), -EINVAL);
    assert_int_equal(s3_presign(&message, &params, 604801, &query), -EINVAL);
}

static enum s3_code verify_presigned(const char *method, const char *query, int64_t now_s)
{
    struct s3_header host;
    struct s3_message message = presign_message(query, &host);
    struct s3_auth_rules rules = {.now_s = now_s, .region = "us-east-1"};
    struct s3_signing_key key;
    struct s3_auth auth;
    struct s3_fault fault = S3_FAULT_INIT;
    int ret;

    message.method = slice_of(method);
    assert_int_equal(s3_signing_key_derive(S3_SECRET, "20130524", "us-east-1", "s3", &key), 0);
    ret = s3_auth_parse(&message, &rules, &texts, &auth, &fault);
    if (ret == 0) {
        assert_int_equal(auth.kind, S3_AUTH_QUERY);
        assert_int_equal(auth.payload, S3_PAYLOAD_UNSIGNED);
        ret = s3_auth_verify(&message, &auth, &key, &fault);
    }
    return ret == 0 ? S3_OK : fault.code;
}

static void a_presigned_url_opens_once_valid_and_until_it_expires(UNUSED void **state)
{
    const char *good = PRESIGN_QUERY "&X-Amz-Signature=" PRESIGN_SIGNATURE;

    assert_int_equal(verify_presigned("GET", good, S3_NOW), S3_OK);
    assert_int_equal(verify_presigned("GET", good, S3_NOW + 86400), S3_OK);
    assert_int_equal(verify_presigned("GET", good, S3_NOW + 86401), S3_REQUEST_EXPIRED);
    assert_int_equal(verify_presigned("GET", good, S3_NOW - 3600), S3_ACCESS_DENIED);
    assert_int_equal(verify_presigned("PUT", good, S3_NOW), S3_SIGNATURE_DOES_NOT_MATCH);
    assert_int_equal(
        verify_presigned("GET", PRESIGN_QUERY "&x=1&X-Amz-Signature=" PRESIGN_SIGNATURE, S3_NOW),
        S3_SIGNATURE_DOES_NOT_MATCH);
}

static void a_presigned_query_must_be_whole(UNUSED void **state)
{
    static const struct {
        const char *query;
        enum s3_code code;
    } bad[] = {
        {PRESIGN_QUERY, S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR},
        {"X-Amz-Credential=" S3_KEY "%2F20130524%2Fus-east-1%2Fs3%2Faws4_request",
         S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR},
        {"X-Amz-Signature=" PRESIGN_SIGNATURE, S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR},
        {PRESIGN_QUERY "&X-Amz-Expires=1&X-Amz-Signature=" PRESIGN_SIGNATURE,
         S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR},
        {"AWSAccessKeyId=" S3_KEY "&Signature=x&Expires=1", S3_INVALID_REQUEST},
    };
    static const char *const expires[] = {"0", "-1", "604801", "", "1e3", "4294967297"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(verify_presigned("GET", bad[i].query, S3_NOW), bad[i].code);
    }
    for (size_t i = 0; i < sizeof(expires) / sizeof(expires[0]); i++) {
        CLEANUP(buf_done) struct buf query = BUF_INIT(4096);

        buf_addf(&query,
                 "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" S3_KEY
                 "/20130524/us-east-1/s3/aws4_request&X-Amz-Date=" S3_STAMP
                 "&X-Amz-Expires=%s&X-Amz-SignedHeaders=host&X-Amz-Signature=" PRESIGN_SIGNATURE,
                 expires[i]);
        assert_int_equal(verify_presigned("GET", buf_str(&query), S3_NOW),
                         S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR);
    }
}

static void both_forms_at_once_are_refused_and_none_is_anonymous(UNUSED void **state)
{
    struct s3_header host;
    struct s3_message message = presign_message("list-type=2", &host);
    struct s3_auth_rules rules = {.now_s = S3_NOW};
    struct s3_signing_key key = {{0}};
    struct s3_auth auth;
    struct s3_fault fault = S3_FAULT_INIT;

    assert_int_equal(parse_at(S3_NOW, AUTH(GET_NAMES, GET_SIGNATURE), "X-Amz-Signature=x"),
                     S3_INVALID_ARGUMENT);
    assert_int_equal(s3_auth_parse(&message, &rules, &texts, &auth, &fault), 0);
    assert_int_equal(auth.kind, S3_AUTH_NONE);
    assert_int_equal(s3_auth_verify(&message, &auth, &key, &fault), -EACCES);
}

/* ---- the cache ---- */

static void the_cache_gives_the_same_key_and_follows_a_new_secret(UNUSED void **state)
{
    struct s3_key_cache *cache = NULL;
    struct s3_auth auth = {.date = "20130524", .region = "us-east-1"};
    struct s3_signing_key key;
    struct s3_signing_key other;
    struct s3_signing_key expected;

    assert_int_equal(s3_key_cache_new(0, &cache), -EINVAL);
    assert_int_equal(s3_key_cache_new(4, &cache), 0);
    assert_int_equal(s3_signing_key_derive(S3_SECRET, auth.date, auth.region, "s3", &expected), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(s3_key_cache_get(cache, S3_KEY, S3_SECRET, &auth, &key), 0);
        assert_memory_equal(key.bytes, expected.bytes, sizeof(key.bytes));
    }
    assert_int_equal(s3_key_cache_get(cache, S3_KEY, "another", &auth, &other), 0);
    assert_memory_not_equal(other.bytes, expected.bytes, sizeof(key.bytes));
    memcpy(auth.date, "20130525", 9);
    assert_int_equal(s3_key_cache_get(cache, S3_KEY, S3_SECRET, &auth, &other), 0);
    assert_memory_not_equal(other.bytes, expected.bytes, sizeof(key.bytes));
    s3_key_cache_free(cache);
    s3_key_cache_free(NULL);
}

static void timestamps_go_both_ways(UNUSED void **state)
{
    char text[S3_TIMESTAMP_SIZE];
    int64_t time_s = 0;

    s3_timestamp_format(S3_NOW, text);
    assert_string_equal(text, S3_STAMP);
    assert_int_equal(s3_timestamp_parse(slice_of(S3_STAMP), &time_s), 0);
    assert_int_equal(time_s, S3_NOW);
    assert_int_equal(s3_timestamp_parse(slice_of("20130524T000000"), &time_s), -EINVAL);
    assert_int_equal(s3_timestamp_parse(slice_of("20131324T000000Z"), &time_s), -EINVAL);
    assert_int_equal(s3_timestamp_parse(slice_of("2013052aT000000Z"), &time_s), -EINVAL);
}

/* ---- canonical requests ---- */

static int canonical(const char *path, const char *query, bool presigned, struct buf *out)
{
    const struct s3_header host = {slice_of("host"), slice_of("h")};
    const struct s3_message message = {.method = slice_of("GET"),
                                       .path = slice_of(path),
                                       .query = slice_of(query),
                                       .headers = &host,
                                       .header_count = 1};

    buf_reset(out);
    return s3_canonical_request(&message, slice_of("host"), S3_UNSIGNED_PAYLOAD, presigned, out);
}

static void check_canonical(const char *path, const char *query, bool presigned,
                            const char *expected)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf all = BUF_INIT(4096);

    buf_addf(&all, "GET\n%shost:h\n\nhost\n" S3_UNSIGNED_PAYLOAD, expected);
    assert_int_equal(canonical(path, query, presigned, &out), 0);
    assert_string_equal(buf_str(&out), buf_str(&all));
}

static void a_query_is_sorted_and_encoded_in_one_way(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);

    check_canonical("/b/k", "", false, "/b/k\n\n");
    check_canonical("/b/k", "c=3&a=2&a=1&b", false, "/b/k\na=1&a=2&b=&c=3\n");
    check_canonical("/b/k", "&&b=&=x&a", false, "/b/k\n=x&a=&b=\n");
    check_canonical("/b/k", "k=%2F%C3%A4%00", false, "/b/k\nk=%2F%C3%A4%00\n");
    check_canonical("/b/k", "k=%2f%41+/", false, "/b/k\nk=%2FA%20%2F\n");
    check_canonical("/b/k", "a=b=c&a=%3D", false, "/b/k\na=%3D&a=b%3Dc\n");
    check_canonical("/b/k", "X-Amz-Signature=1&X-Amz-Date=2", true, "/b/k\nX-Amz-Date=2\n");
    check_canonical("/b/k", "X-Amz-Signature=1", true, "/b/k\n\n");
    check_canonical("/b/k", "X-Amz-Signature=1", false, "/b/k\nX-Amz-Signature=1\n");
    check_canonical("/b/%2f%41+%20", "", false, "/b//A%2B%20\n\n");
    check_canonical("/b/%C3%A4~", "", false, "/b/%C3%A4~\n\n");
    check_canonical("", "", false, "/\n\n");
    assert_int_equal(canonical("/b", "a=%4", false, &out), -EINVAL);
    assert_int_equal(canonical("/b", "a=1&%zz=1", false, &out), -EINVAL);
    assert_int_equal(canonical("/b%2", "a=1", false, &out), -EINVAL);
}

/* What is taken as it came is what would have been made of it: more parameters go the long way. */
static void short_queries_are_as_long_ones(UNUSED void **state)
{
    static const char *const pieces[] = {"a", "b", "%2F", "%2f", "%41", "=",
                                         "&", "+", "/",   "Z",   "%"};
    CLEANUP(buf_done) struct buf one = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf other = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf query = BUF_INIT(4096);
    uint32_t random = 1;

    for (int i = 0; i < 20000; i++) {
        int ret;

        buf_reset(&query);
        for (uint32_t n = random >> 28; n > 0; n--) {
            random = random * 1664525 + 1013904223;
            buf_addstr(&query, pieces[(random >> 16) % (sizeof(pieces) / sizeof(pieces[0]))]);
        }
        random = random * 1664525 + 1013904223;
        ret = canonical("/", buf_str(&query), false, &one);
        for (int j = 0; j < 17; j++) {
            buf_addstr(&query, "&~~~~=~~~~");
        }
        assert_int_equal(canonical("/", buf_str(&query), false, &other), ret);
        if (ret == 0) {
            const char *rest = strstr(buf_str(&other), "~~~~=");
            size_t same = (size_t)(rest - buf_str(&other)) - (rest[-1] == '&');

            assert_memory_equal(buf_str(&one), buf_str(&other), same);
            assert_int_equal(buf_str(&one)[same], '\n');
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_match_the_aws_test_suite),
        cmocka_unit_test(signatures_match_the_examples_of_the_s3_api),
        cmocka_unit_test(a_server_accepts_the_published_signature),
        cmocka_unit_test(a_server_refuses_what_is_not_exactly_right),
        cmocka_unit_test(a_wrong_secret_does_not_match_and_is_not_told),
        cmocka_unit_test(the_clock_may_be_fifteen_minutes_off_and_no_more),
        cmocka_unit_test(a_signed_header_of_which_the_first_counts_is_the_only_one),
        cmocka_unit_test(a_presigned_url_is_the_published_one),
        cmocka_unit_test(a_presigned_url_opens_once_valid_and_until_it_expires),
        cmocka_unit_test(a_presigned_query_must_be_whole),
        cmocka_unit_test(both_forms_at_once_are_refused_and_none_is_anonymous),
        cmocka_unit_test(the_cache_gives_the_same_key_and_follows_a_new_secret),
        cmocka_unit_test(a_query_is_sorted_and_encoded_in_one_way),
        cmocka_unit_test(short_queries_are_as_long_ones),
        cmocka_unit_test(timestamps_go_both_ways),
    };

    return cmocka_run_group_tests_name("s3/sign", tests, NULL, drop_texts);
}
