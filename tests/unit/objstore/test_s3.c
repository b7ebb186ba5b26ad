/* SPDX-License-Identifier: Apache-2.0 */
/* The S3 backend against answers that real servers give too rarely to wait for. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "objstore/objstore_call.h"
#include "objstore/s3.h"
#include "s3/error.h"
#include "scripted_server.h"
#include "test.h"

#define ANSWER CLEANUP(objstore_answer_done) struct objstore_answer
#define OK_EMPTY "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: \"e1\"\r\n\r\n"
#define ERROR_HEAD(status, len) "HTTP/1.1 " status "\r\nContent-Length: " len "\r\n"
#define SECRET "very-secret-key"

static const struct objstore_s3_credentials keys = {.access_key = "AK", .secret_key = SECRET};

/* A store of one connection in front of a script. */
struct fixture {
    struct scripted_server *server;
    struct objstore *store;
};

/* Of the next fixture: */
static struct objstore_s3_wishes wishes;
static const char *endpoint_host = "127.0.0.1";
static bool unsigned_payload;

static struct fixture open_fixture(const char *const *answers, size_t count,
                                   const struct objstore_s3_credentials *credentials)
{
    struct fixture f = {.server = scripted_server_start(answers, count)};
    struct objstore_s3_config config = {.credentials = *credentials,
                                        .wishes = wishes,
                                        .unsigned_payload = unsigned_payload,
                                        .transfer_threads = 1,
                                        .max_connections = 1};
    char endpoint[64];
    struct error err = ERROR_INIT;

    (void)snprintf(endpoint, sizeof(endpoint), "http://%s:%d/", endpoint_host,
                   scripted_server_port(f.server));
    config.endpoint = endpoint;
    assert_int_equal(objstore_s3_new(&config, &f.store, &err), 0);
    return f;
}

static void close_fixture(struct fixture *f)
{
    objstore_free(f->store);
    scripted_server_stop(f->server);
}

#define OPEN(f, answers)                                                                           \
    CLEANUP(close_fixture)                                                                         \
    struct fixture f = open_fixture(answers, sizeof(answers) / sizeof((answers)[0]), &keys)

static int head(struct fixture *f, struct objstore_answer *answer)
{
    struct objstore_request request = {.op = OBJSTORE_HEAD, .bucket = "bucket", .key = "key"};

    return objstore_call(f->store, &request, answer);
}

static int get(struct fixture *f, struct objstore_range range, struct objstore_answer *answer)
{
    struct objstore_request request = {
        .op = OBJSTORE_GET, .bucket = "bucket", .key = "key", .range = range};

    return objstore_call(f->store, &request, answer);
}

static const struct objstore_range whole = {0, 0};

static void assert_asked(struct fixture *f, size_t index, const char *text)
{
    if (strstr(scripted_server_request(f->server, index), text) == NULL) {
        fail_msg("request %zu has no '%s':\n%s", index, text,
                 scripted_server_request(f->server, index));
    }
}

/* ---- regions ---- */

#define MALFORMED                                                                                  \
    "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message>"                         \
    "<Region>eu-west-1</Region></Error>"

static void a_bucket_in_another_region_is_found_and_remembered(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 400 Bad Request\r\nContent-Length: *\r\n\r\n" MALFORMED, OK_EMPTY, OK_EMPTY,
        "HTTP/1.1 301 Moved\r\nx-amz-bucket-region: ap-south-1\r\n\r\n", OK_EMPTY};
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .bucket = "bucket",
                                   .key = "key",
                                   .source = {.data = "data", .size = 4}};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(objstore_call(f.store, &put, &answer), 0);
    assert_asked(&f, 0, "/us-east-1/s3/aws4_request");
    assert_asked(&f, 1, "/eu-west-1/s3/aws4_request");
    assert_int_equal(head(&f, &answer), 0);
    assert_asked(&f, 2, "/eu-west-1/s3/aws4_request");
    assert_int_equal(head(&f, &answer), 0); /* moved, as HEAD tells it: by a header only */
    assert_asked(&f, 4, "/ap-south-1/s3/aws4_request");
    assert_int_equal(scripted_server_count(f.server), 5);
}

static void a_wrong_region_is_tried_once_only(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 400 Bad Request\r\nContent-Length: *\r\n\r\n" MALFORMED,
        "HTTP/1.1 301 Moved\r\nx-amz-bucket-region: ap-south-1\r\nContent-Length: 0\r\n\r\n"};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(get(&f, whole, &answer), -EHOSTUNREACH);
    assert_non_null(strstr(answer.result.error.text, "ap-south-1"));
    assert_int_equal(scripted_server_count(f.server), 2);
}

/* objstore_call() uses the request's arg itself. */
static size_t source_left;

static ssize_t read_source(UNUSED struct objstore_request *request, void *buffer, size_t cap)
{
    size_t n = source_left < cap ? source_left : cap;

    memset(buffer, 'r', n);
    source_left -= n;
    return (ssize_t)n;
}

static int rewind_source(UNUSED struct objstore_request *request)
{
    source_left = 1000;
    return 0;
}

/* ---- credentials ---- */

static void replace_keys(size_t index, void *arg)
{
    static const struct objstore_s3_credentials fresh = {
        .access_key = "NEW", .secret_key = SECRET, .session_token = "token"};

    if (index == 0) {
        assert_int_equal(objstore_s3_set_credentials(arg, &fresh), 0);
    }
}

#define EXPIRED "<Error><Code>ExpiredToken</Code><Message>expired</Message></Error>"

static void a_request_that_old_keys_spoiled_is_sent_with_the_new(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 400 Bad Request\r\nContent-Length: *\r\n\r\n" EXPIRED, OK_EMPTY,
        "HTTP/1.1 400 Bad Request\r\nContent-Length: *\r\n\r\n" EXPIRED};
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .bucket = "bucket",
                                   .key = "key",
                                   .source = {.data = "data", .size = 4}};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    scripted_server_hook(f.server, replace_keys, f.store);
    assert_int_equal(objstore_call(f.store, &put, &answer), 0);
    assert_asked(&f, 0, "Credential=AK/");
    assert_asked(&f, 1, "Credential=NEW/");
    assert_asked(&f, 1, "x-amz-security-token: token");
    assert_asked(&f, 1, ";x-amz-security-token");
    assert_int_equal(objstore_call(f.store, &put, &answer), -EKEYEXPIRED); /* none newer */
    assert_int_equal(scripted_server_count(f.server), 3);
    assert_null(strstr(answer.result.error.text, SECRET));
    assert_null(strstr(answer.result.error.text, "token"));
}

static void without_keys_nothing_is_signed(UNUSED void **state)
{
    static const char *const answers[] = {OK_EMPTY, ERROR_HEAD("403 Forbidden", "0") "\r\n"};
    static const struct objstore_s3_credentials none = {.access_key = NULL};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(close_fixture) struct fixture f = open_fixture(answers, 2, &none);

    assert_int_equal(head(&f, &answer), 0);
    assert_null(strcasestr(scripted_server_request(f.server, 0), "authorization"));
    assert_int_equal(head(&f, &answer), -EACCES);
    assert_non_null(strstr(answer.result.error.text, "no credentials"));
}

static void a_get_tells_why_a_head_was_refused(UNUSED void **state)
{
    static const char *const answers[] = {
        ERROR_HEAD("403 Forbidden", "0") "\r\n",
        ERROR_HEAD("403 Forbidden",
                   "61") "\r\n"
                         "<Error><Code>ExpiredToken</Code><Message>m</Message></Error>\n",
        ERROR_HEAD("403 Forbidden", "0") "\r\n",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx", OK_EMPTY};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(head(&f, &answer), -EKEYEXPIRED);
    assert_asked(&f, 1, "GET /bucket/key HTTP/1.1");
    assert_asked(&f, 1, "bytes=0-0");
    assert_int_equal(head(&f, &answer), 0);
    assert_asked(&f, 4, "HEAD /bucket/key HTTP/1.1");
}

#define SKEWED                                                                                     \
    "HTTP/1.1 403 Forbidden\r\nDate: Fri, 24 May 2013 00:00:00 GMT\r\nContent-Length: 69\r\n\r\n"  \
    "<Error><Code>RequestTimeTooSkewed</Code><Message>m</Message></Error>\n"

static void the_time_of_the_store_is_taken_over_when_it_objects_to_ours(UNUSED void **state)
{
    static const char *const answers[] = {
        SKEWED, OK_EMPTY, OK_EMPTY,
        "HTTP/1.1 403 Forbidden\r\nDate: Sat, 25 May 2013 12:00:00 GMT\r\n\r\n", OK_EMPTY};
    struct objstore_request put = {
        .op = OBJSTORE_PUT, .bucket = "bucket", .key = "key", .source = {.data = "d", .size = 1}};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(objstore_call(f.store, &put, &answer), 0);
    assert_asked(&f, 1, "x-amz-date: 20130524T0000");
    assert_int_equal(head(&f, &answer), 0);
    assert_asked(&f, 2, "x-amz-date: 20130524T0000");
    assert_int_equal(head(&f, &answer), 0); /* it was set meanwhile; HEAD tells no reason */
    assert_asked(&f, 4, "x-amz-date: 20130525T1200");
    assert_int_equal(scripted_server_count(f.server), 5);
}

static void no_error_text_holds_the_secret_and_a_wrong_clock_is_named(UNUSED void **state)
{
    static const char *const answers[] = {SKEWED, SKEWED};
    struct objstore_request list = {.op = OBJSTORE_LIST, .bucket = "bucket"};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(objstore_call(f.store, &list, &answer), -EACCES);
    assert_non_null(strstr(answer.result.error.text, "clock is"));
    assert_non_null(strstr(answer.result.error.text, "ahead of"));
    assert_null(strstr(answer.result.error.text, SECRET));
}

/* ---- errors in answers of 200 ---- */

#define SLOW_DOWN "<Error><Code>SlowDown</Code><Message>m</Message></Error>"

static void an_error_inside_an_answer_of_200_is_an_error(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: *\r\n\r\n" SLOW_DOWN,
        "HTTP/1.1 200 OK\r\nContent-Length: *\r\n\r\n" SLOW_DOWN,
        "HTTP/1.1 200 OK\r\nContent-Length: *\r\n\r\n<html",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    };
    struct objstore_part part = {.number = 1, .etag = "e"};
    struct objstore_request copy = {.op = OBJSTORE_COPY,
                                    .bucket = "bucket",
                                    .key = "key",
                                    .source_bucket = "bucket",
                                    .source_key = "other"};
    struct objstore_request complete = {.op = OBJSTORE_UPLOAD_COMPLETE,
                                        .bucket = "bucket",
                                        .key = "key",
                                        .upload_id = "id",
                                        .parts = &part,
                                        .parts_count = 1};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(objstore_call(f.store, &copy, &answer), -EBUSY);
    assert_int_equal(objstore_call(f.store, &complete, &answer), -EBUSY);
    assert_int_equal(objstore_call(f.store, &copy, &answer), -EIO);
    assert_non_null(strstr(answer.result.error.text, "endpoint"));
    assert_int_equal(objstore_call(f.store, &complete, &answer), -EIO);
}

#define GARBAGE "garbage\r\n\r\n" SCRIPT_CLOSE

static void answers_that_are_not_s3s_are_told_as_such(UNUSED void **state)
{
    static const char *const answers[] = {
        ERROR_HEAD("404 Not Found", "*") "\r\n<html>not here</html>\n",
        ERROR_HEAD("503 Service Unavailable", "0") "\r\n",
        ERROR_HEAD("500 Oops", "0") "\r\n",
        ERROR_HEAD("507 Full", "0") "\r\n",
        GARBAGE,
    };
    static const int statuses[] = {-ENOENT, -EBUSY, -EIO, -ENOSPC};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        assert_int_equal(get(&f, whole, &answer), statuses[i]);
        assert_non_null(strstr(answer.result.error.text, "HTTP status"));
    }
    assert_true(get(&f, whole, &answer) < 0);
}

static void a_list_that_says_more_but_not_where_is_refused(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: *\r\n\r\n"
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"};
    struct objstore_request list = {.op = OBJSTORE_LIST, .bucket = "bucket"};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(objstore_call(f.store, &list, &answer), -EIO);
}

/* ---- GET ---- */

#define NO_RANGE "HTTP/1.1 206 Partial\r\nContent-Length: 3\r\n\r\n456" SCRIPT_CLOSE
#define OTHER_RANGE                                                                                \
    "HTTP/1.1 206 Partial\r\nContent-Length: 3\r\nContent-Range: bytes "                           \
    "4-6/10\r\n\r\n456" SCRIPT_CLOSE

static void a_range_is_cut_out_when_all_is_sent(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789",
        "HTTP/1.1 206 Partial\r\nContent-Length: 3\r\nContent-Range: bytes 3-5/10\r\n\r\n345",
        OTHER_RANGE,
        NO_RANGE,
    };
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(get(&f, (struct objstore_range){3, 4}, &answer), 0);
    assert_string_equal(buf_str(&answer.body), "3456");
    assert_int_equal(get(&f, (struct objstore_range){7, OBJSTORE_TO_END}, &answer), 0);
    assert_string_equal(buf_str(&answer.body), "789");
    assert_asked(&f, 1, "range: bytes=7-\r\n");
    assert_int_equal(get(&f, (struct objstore_range){10, 1}, &answer), -ERANGE);
    assert_int_equal(get(&f, (struct objstore_range){3, 3}, &answer), 0);
    assert_string_equal(buf_str(&answer.body), "345");
    assert_int_equal(answer.result.info.size, 10);
    assert_int_equal(get(&f, (struct objstore_range){3, 3}, &answer), -EBADMSG);
    assert_int_equal(get(&f, (struct objstore_range){3, 3}, &answer), -EBADMSG);
}

static void a_body_that_is_not_whole_or_not_itself_is_refused(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nx-amz-checksum-crc32: rZjlRQ==\r\n\r\naaaa",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nx-amz-checksum-crc32: rZjlRQ==\r\n\r\naaab",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nx-amz-checksum-crc32: rZjlRQ==-2\r\n\r\naaab",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\naaab" SCRIPT_CLOSE,
        "HTTP/1.1 200 OK\r\n\r\naaaa" SCRIPT_CLOSE,
    };
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(get(&f, whole, &answer), 0);
    assert_asked(&f, 0, "x-amz-checksum-mode: ENABLED");
    assert_int_equal(get(&f, whole, &answer), -EBADMSG);
    assert_int_equal(get(&f, whole, &answer), 0); /* of the parts' checksums: says nothing here */
    assert_true(answer.result.info.checksum.composite);
    assert_int_equal(get(&f, whole, &answer), -ECONNRESET);
    assert_int_equal(get(&f, whole, &answer), -EBADMSG); /* no length: could be cut */
}

static void metadata_in_rfc_2047_words_is_decoded(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: W/\"e9\"\r\nLast-Modified: Fri, 24 May 2013 "
        "00:00:00 GMT\r\nX-Amz-Meta-One: =?UTF-8?B?w6Q=?= =?UTF-8?Q?_=C3=A4?=\r\nx-amz-meta-two: "
        "=?plain\r\nx-amz-version-id: v1\r\nContent-Type: text/x\r\n\r\n"};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    const struct objstore_info *info = &answer.result.info;
    OPEN(f, answers);

    assert_int_equal(head(&f, &answer), 0);
    assert_string_equal(info->etag, "e9");
    assert_string_equal(info->version_id, "v1");
    assert_int_equal(info->size, 5);
    assert_int_equal(info->mtime_ns, 1369353600000000000);
    assert_string_equal(info->meta.content_type, "text/x");
    assert_int_equal(info->meta.user_count, 2);
    assert_string_equal(info->meta.user[0].name, "one");
    assert_string_equal(info->meta.user[0].value, "\xC3\xA4 \xC3\xA4");
    assert_string_equal(info->meta.user[1].value, "=?plain");
}

/* ---- batch delete ---- */

static void without_batch_delete_each_key_is_deleted_singly(UNUSED void **state)
{
    static const char *const answers[] = {
        ERROR_HEAD("501 Not Implemented", "0") "\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        ERROR_HEAD("403 Forbidden", "0") "\r\n",
        ERROR_HEAD("404 Not Found", "0") "\r\n",
    };
    struct objstore_victim victims[] = {{.key = "a"}, {.key = "b"}, {.key = "c"}};
    struct objstore_request batch = {
        .op = OBJSTORE_DELETE_BATCH, .bucket = "bucket", .victims = victims, .victims_count = 3};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(objstore_call(f.store, &batch, &answer), 0);
    assert_int_equal(victims[0].error, 0);
    assert_int_equal(victims[1].error, -EACCES);
    assert_int_equal(victims[2].error, 0);
    assert_asked(&f, 2, "DELETE /bucket/b HTTP/1.1");
    assert_int_equal(answer.result.s3_code, S3_NOT_IMPLEMENTED); /* the probe reads this */
}

static void keys_that_xml_cannot_carry_are_deleted_singly(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: *\r\n\r\n"
        "<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code></Error></DeleteResult>        "
        " ",
        "HTTP/1.1 204 No Content\r\n\r\n",
    };
    struct objstore_victim victims[] = {{.key = "a"}, {.key = "b"}, {.key = "c\x01"}};
    struct objstore_request batch = {
        .op = OBJSTORE_DELETE_BATCH, .bucket = "bucket", .victims = victims, .victims_count = 3};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(objstore_call(f.store, &batch, &answer), 0);
    assert_null(strstr(scripted_server_request(f.server, 0), "c\x01"));
    assert_non_null(strstr(scripted_server_request(f.server, 0), "<Key>a</Key>"));
    assert_asked(&f, 1, "DELETE /bucket/c%01 HTTP/1.1");
    assert_int_equal(victims[0].error, 0);
    assert_int_equal(victims[1].error, -EACCES);
    assert_int_equal(victims[2].error, 0);
}

/* ---- what goes out ---- */

static void only_a_source_that_rewinds_is_sent_again(UNUSED void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 400 Bad Request\r\nContent-Length: *\r\n\r\n" MALFORMED,
        "HTTP/1.1 301 Moved\r\nx-amz-bucket-region: ap-south-1\r\nContent-Length: 0\r\n\r\n",
        OK_EMPTY};
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .bucket = "bucket",
                                   .key = "key",
                                   .source = {.read = read_source, .size = 1000}};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    source_left = 1000;
    assert_int_equal(objstore_call(f.store, &put, &answer), -EHOSTUNREACH);
    assert_int_equal(scripted_server_count(f.server), 1);
    source_left = 1000;
    put.source.rewind = rewind_source;
    assert_int_equal(objstore_call(f.store, &put, &answer), 0);
    assert_asked(&f, 2, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    assert_asked(&f, 2, "\r\n3e8;chunk-signature=");
}

static void an_answer_may_have_hundreds_of_headers(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    const char *answers[1];
    ANSWER answer = OBJSTORE_ANSWER_INIT;

    buf_addstr(&text, "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 7\r\n");
    for (int i = 0; i < 300; i++) { /* 2 KiB of metadata, each with a name of its own */
        buf_addf(&text, "x-amz-meta-%d: v\r\n", i);
    }
    buf_addstr(&text, "\r\n");
    answers[0] = buf_str(&text);
    OPEN(f, answers);
    assert_int_equal(head(&f, &answer), 0);
    assert_int_equal(answer.result.info.size, 7);
    assert_int_equal(answer.result.info.meta.user_count, OBJSTORE_META_MAX);
}

/* The store reads the body and ends a connection that was kept: nobody may send it again but who
 * looks first what has become of it. */
static void a_body_is_not_sent_again_behind_our_back(UNUSED void **state)
{
    static const char *const answers[] = {OK_EMPTY, SCRIPT_CLOSE, OK_EMPTY};
    struct objstore_request put = {
        .op = OBJSTORE_PUT,
        .bucket = "bucket",
        .key = "key",
        .checksum = {.kind = OBJSTORE_CHECKSUM_CRC32C, .value = "AAAAAA=="}, /* byte for byte */
        .checksum_is_checked = true,
        .source = {.read = read_source, .rewind = rewind_source, .size = 200000}};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(head(&f, &answer), 0);
    source_left = 200000;
    assert_int_equal(objstore_call(f.store, &put, &answer), -ECONNRESET);
    assert_int_equal(scripted_server_count(f.server), 2);
    assert_int_equal(source_left, 0); /* and was not begun anew */
}

static int put_summed(struct fixture *f, bool checked, const char *value)
{
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .bucket = "bucket",
                                   .key = "key",
                                   .checksum = {.kind = OBJSTORE_CHECKSUM_CRC32C},
                                   .checksum_is_checked = checked,
                                   .source = {.data = "123456789", .size = 9}};

    (void)snprintf(put.checksum.value, sizeof(put.checksum.value), "%s", value);
    return objstore_call(f->store, &put, &answer);
}

static void a_checksum_does_for_a_signature_where_nobody_is_between(UNUSED void **state)
{
    static const char *const answers[] = {OK_EMPTY, OK_EMPTY, OK_EMPTY};
    OPEN(f, answers);

    assert_int_equal(put_summed(&f, true, "4waSgw=="), 0);
    assert_asked(&f, 0, "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n");
    assert_asked(&f, 0, "x-amz-checksum-crc32c: 4waSgw==\r\n");
    assert_asked(&f, 0, "SignedHeaders=host;x-amz-checksum-crc32c;x-amz-content-sha256;");
    assert_asked(&f, 0, "\r\n\r\n123456789");
    assert_int_equal(put_summed(&f, true, ""), 0); /* computed */
    assert_asked(&f, 1, "x-amz-checksum-crc32c: 4waSgw==\r\n");
    assert_asked(&f, 1, "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n");
    assert_int_equal(put_summed(&f, false, "4waSgw=="), 0); /* who knows whether it is */
    assert_asked(&f, 2, "x-amz-content-sha256: 15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fb");
}

static void over_a_network_a_checksum_does_only_if_somebody_said_so(UNUSED void **state)
{
    static const char *const answers[] = {OK_EMPTY, OK_EMPTY};

    endpoint_host = "0.0.0.0"; /* leads here, but is no loopback address */
    for (int said = 0; said < 2; said++) {
        unsigned_payload = said != 0;
        OPEN(f, answers);
        assert_int_equal(put_summed(&f, true, "4waSgw=="), 0);
        assert_asked(&f, 0,
                     said != 0 ? "x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n"
                               : "x-amz-content-sha256: 15e2b0d3c33891ebb0f1ef609ec41942");
    }
    endpoint_host = "127.0.0.1";
    unsigned_payload = false;
}

static void odd_keys_and_conditions_go_out_encoded(UNUSED void **state)
{
    static const char *const answers[] = {OK_EMPTY, OK_EMPTY, OK_EMPTY};
    static const struct objstore_pair user[] = {{"name", "\xC3\xA4"}, {"mode", "0644"}};
    static const struct objstore_meta meta = {.content_type = "a/b", .user = user, .user_count = 2};
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .bucket = "bucket",
                                   .key = "a b/../+\xC3\xA4?#%",
                                   .meta = &meta,
                                   .if_match = "e1",
                                   .source = {.data = "x", .size = 1}};
    ANSWER answer = OBJSTORE_ANSWER_INIT;
    OPEN(f, answers);

    assert_int_equal(objstore_call(f.store, &put, &answer), 0);
    assert_asked(&f, 0, "PUT /bucket/a%20b/../%2B%C3%A4%3F%23%25 HTTP/1.1\r\n");
    assert_asked(&f, 0, "if-match: \"e1\"\r\n");
    assert_asked(&f, 0, "x-amz-meta-name: =?UTF-8?B?w6Q=?=\r\n");
    assert_asked(&f, 0, "x-amz-meta-mode: 0644\r\n");
    put.if_match = NULL;
    put.if_none_match = "*";
    assert_int_equal(objstore_call(f.store, &put, &answer), 0);
    assert_asked(&f, 1, "if-none-match: *\r\n");
    /* A condition on a copy's target is known to be ignored by stores: refused here. */
    put.op = OBJSTORE_COPY;
    put.source_bucket = "bucket";
    put.source_key = "x";
    assert_int_equal(objstore_call(f.store, &put, &answer), -ENOTSUP);
    assert_int_equal(scripted_server_count(f.server), 2);
    put.target_is_checked = true; /* unless this one is known not to */
    (void)objstore_call(f.store, &put, &answer);
    assert_asked(&f, 2, "if-none-match: *\r\n");
}

static void new_objects_get_what_the_mount_wishes(UNUSED void **state)
{
    static const char *const answers[] = {OK_EMPTY, OK_EMPTY, OK_EMPTY};
    static const struct objstore_meta glacier = {.storage_class = "GLACIER_IR"};
    struct objstore_request put = {
        .op = OBJSTORE_PUT, .bucket = "bucket", .key = "key", .source = {.data = "d", .size = 1}};
    struct objstore_request part = {.op = OBJSTORE_UPLOAD_PART,
                                    .bucket = "bucket",
                                    .key = "key",
                                    .upload_id = "u",
                                    .part_number = 1,
                                    .source = {.data = "d", .size = 1}};
    ANSWER answer = OBJSTORE_ANSWER_INIT;

    wishes = (struct objstore_s3_wishes){.storage_class = "STANDARD_IA",
                                         .acl = "bucket-owner-full-control",
                                         .sse = "aws:kms",
                                         .sse_key = "alias/k",
                                         .requester_pays = true};
    OPEN(f, answers);
    wishes = (struct objstore_s3_wishes){0};

    assert_int_equal(objstore_call(f.store, &put, &answer), 0);
    assert_asked(&f, 0, "x-amz-storage-class: STANDARD_IA\r\n");
    assert_asked(&f, 0, "x-amz-acl: bucket-owner-full-control\r\n");
    assert_asked(&f, 0, "x-amz-server-side-encryption: aws:kms\r\n");
    assert_asked(&f, 0, "x-amz-server-side-encryption-aws-kms-key-id: alias/k\r\n");
    assert_asked(&f, 0, "x-amz-request-payer: requester\r\n");
    put.meta = &glacier; /* of the object itself: it wins */
    assert_int_equal(objstore_call(f.store, &put, &answer), 0);
    assert_asked(&f, 1, "x-amz-storage-class: GLACIER_IR\r\n");
    assert_int_equal(objstore_call(f.store, &part, &answer), 0);
    assert_null(strstr(scripted_server_request(f.server, 2), "x-amz-server-side"));
    assert_asked(&f, 2, "x-amz-request-payer: requester\r\n");
}

static void bad_configurations_are_told(UNUSED void **state)
{
    static const char *const endpoints[] = {"s3.example",   "ftp://s3.example", "http://",
                                            "http://a/b",   "http://user@host", "http://a b",
                                            "https://:9000"};
    struct objstore *store = NULL;

    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        struct objstore_s3_config config = {.endpoint = endpoints[i]};
        struct error err = ERROR_INIT;

        assert_int_equal(objstore_s3_new(&config, &store, &err), -EINVAL);
        assert_non_null(
            strstr(err.text, strchr(endpoints[i], '@') == NULL ? endpoints[i] : "not shown"));
        assert_null(strstr(err.text, "user@"));
    }
    {
        struct objstore_s3_config config = {.endpoint = "http://h:80",
                                            .credentials = {.access_key = "AK"}};
        struct error err = ERROR_INIT;

        assert_int_equal(objstore_s3_new(&config, &store, &err), -EINVAL);
        config.credentials.secret_key = SECRET;
        config.region = "not a region";
        assert_int_equal(objstore_s3_new(&config, &store, &err), -EINVAL);
        assert_null(strstr(err.text, SECRET));
        config.region = NULL;
        assert_int_equal(objstore_s3_new(&config, &store, &err), 0);
        assert_string_equal(objstore_name(store), "s3 http://h");
        objstore_free(store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_in_another_region_is_found_and_remembered),
        cmocka_unit_test(a_wrong_region_is_tried_once_only),
        cmocka_unit_test(a_request_that_old_keys_spoiled_is_sent_with_the_new),
        cmocka_unit_test(without_keys_nothing_is_signed),
        cmocka_unit_test(a_get_tells_why_a_head_was_refused),
        cmocka_unit_test(the_time_of_the_store_is_taken_over_when_it_objects_to_ours),
        cmocka_unit_test(no_error_text_holds_the_secret_and_a_wrong_clock_is_named),
        cmocka_unit_test(an_error_inside_an_answer_of_200_is_an_error),
        cmocka_unit_test(answers_that_are_not_s3s_are_told_as_such),
        cmocka_unit_test(a_list_that_says_more_but_not_where_is_refused),
        cmocka_unit_test(a_range_is_cut_out_when_all_is_sent),
        cmocka_unit_test(a_body_that_is_not_whole_or_not_itself_is_refused),
        cmocka_unit_test(metadata_in_rfc_2047_words_is_decoded),
        cmocka_unit_test(without_batch_delete_each_key_is_deleted_singly),
        cmocka_unit_test(keys_that_xml_cannot_carry_are_deleted_singly),
        cmocka_unit_test(only_a_source_that_rewinds_is_sent_again),
        cmocka_unit_test(a_body_is_not_sent_again_behind_our_back),
        cmocka_unit_test(an_answer_may_have_hundreds_of_headers),
        cmocka_unit_test(a_checksum_does_for_a_signature_where_nobody_is_between),
        cmocka_unit_test(over_a_network_a_checksum_does_only_if_somebody_said_so),
        cmocka_unit_test(odd_keys_and_conditions_go_out_encoded),
        cmocka_unit_test(new_objects_get_what_the_mount_wishes),
        cmocka_unit_test(bad_configurations_are_told),
    };

    return cmocka_run_group_tests_name("objstore/s3", tests, NULL, NULL);
}
