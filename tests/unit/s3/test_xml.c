/* SPDX-License-Identifier: Apache-2.0 */
/* What the writers write, the reader reads; and what a hostile peer may send. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "s3/xml.h"
#include "s3/xml_parse.h"
#include "test.h"
#include "util/cleanup.h"

#define WHEN 1369353600123000000

DEFINE_CLEANUP(struct s3_xml_doc *, s3_xml_doc_free);
#define DOC CLEANUP(s3_xml_doc_free_p) struct s3_xml_doc

static struct s3_xml_doc *parse(const struct buf *text)
{
    struct s3_xml_doc *doc = NULL;
    struct s3_fault fault = S3_FAULT_INIT;

    assert_int_equal(buf_error(text), 0);
    if (s3_xml_parse(buf_str(text), buf_len(text), &doc, &fault) != 0) {
        fail_msg("%s\n%s", s3_fault_text(&fault), buf_str(text));
    }
    return doc;
}

static int parse_text(const char *text)
{
    DOC *doc = NULL;

    return s3_xml_parse(text, strlen(text), &doc, NULL);
}

static void what_xml_cannot_hold_is_replaced(UNUSED void **state)
{
    static const char text[] = "\t\n\r\x7f a\x01\x1f\xEF\xBF\xBE\xEF\xBF\xBF\xEF\xBF\xBD\xEF\xBE";
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);

    s3_xml_escape(&out, text);
    assert_string_equal(buf_str(&out),
                        "&#x9;&#xA;&#xD;&#x7F; a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
                        "\xEF\xBF\xBD\xEF\xBE");
    assert_true(s3_xml_can_write(""));
    assert_true(s3_xml_can_write("\t\n\r\x7f\xEF\xBF\xBD\xEF\xBF"));
    assert_false(s3_xml_can_write("a\x0b"));
    assert_false(s3_xml_can_write("a\xEF\xBF\xBE"));
    assert_false(s3_xml_can_write("a\xEF\xBF\xBF"));
}

static void details_are_elements_of_their_own(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    struct s3_xml_error error = {.code = S3_ACCESS_DENIED};
    struct s3_fault fault = S3_FAULT_INIT;
    char long_value[300];

    memset(long_value, 'n', sizeof(long_value));
    (void)s3_fault_set(&fault, S3_ACCESS_DENIED, "%s", "");
    assert_int_equal(s3_fault_detail(&fault, "HeadersNotSigned", slice_of("a, <b>\n\xff=c")),
                     s3_code_errno(S3_ACCESS_DENIED));
    (void)s3_fault_detail(&fault, "Other", slice_of("x"));
    (void)s3_fault_detail(&fault, "Long", (struct slice){long_value, sizeof(long_value)});
    (void)s3_fault_detail(&fault, "Lost", slice_of("x"));
    error.details = fault.detail;
    error.access_key = "who";
    s3_xml_error(&text, &error);
    assert_non_null(strstr(buf_str(&text), "<HeadersNotSigned>a, &lt;b&gt;?"
                                           "?=c</HeadersNotSigned>"
                                           "<Other>x</Other><Long>nnn"));
    assert_null(strstr(buf_str(&text), "Lost"));
    assert_non_null(strstr(buf_str(&text), "<AWSAccessKeyId>who</AWSAccessKeyId>"));
    (void)s3_fault_set(&fault, S3_ACCESS_DENIED, "%s", "");
    assert_string_equal(fault.detail, "");
}

static void an_error_keeps_code_message_and_region(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    struct s3_xml_error error = {.code = S3_AUTHORIZATION_HEADER_MALFORMED,
                                 .message = "a <b> & \"c\"",
                                 .region = "eu-west-1",
                                 .bucket = "b",
                                 .key = "k",
                                 .resource = "/b/k",
                                 .request_id = "1"};
    DOC *doc = NULL;

    s3_xml_error(&text, &error);
    doc = parse(&text);
    assert_int_equal(doc->root, S3_XML_ERROR);
    assert_string_equal(doc->code, "AuthorizationHeaderMalformed");
    assert_string_equal(doc->message, "a <b> & \"c\"");
    assert_string_equal(doc->region, "eu-west-1");
    assert_string_equal(doc->key, "k");

    buf_reset(&text);
    error = (struct s3_xml_error){.code = S3_NO_SUCH_KEY};
    s3_xml_error(&text, &error);
    assert_non_null(strstr(buf_str(&text), "<Message>The specified key does not exist.</Message>"));
}

static void buckets_are_listed_with_their_dates(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    DOC *doc = NULL;

    s3_xml_buckets_begin(&text, "id", "name");
    s3_xml_buckets_entry(&text, "one", "us-east-1", WHEN);
    s3_xml_buckets_entry(&text, "two", NULL, 0);
    s3_xml_buckets_end(&text, NULL, NULL);
    doc = parse(&text);
    assert_int_equal(doc->root, S3_XML_BUCKETS);
    assert_int_equal(doc->count, 2);
    assert_string_equal(doc->items[0].key, "one");
    assert_int_equal(doc->items[0].time_ns, WHEN);
    assert_string_equal(doc->items[1].key, "two");
}

static const char *const odd_keys[] = {"plain", "a b/c+d",  "<&>\"'", "\xC3\xA4/\xF0\x9F\x98\x80",
                                       "100%",  "a//b/../c"};
enum { ODD = sizeof(odd_keys) / sizeof(odd_keys[0]) };

static void write_list(struct buf *text, struct s3_xml_list *list)
{
    s3_xml_list_begin(text, list);
    for (size_t i = 0; i < ODD; i++) {
        struct s3_xml_key key = {.key = odd_keys[i],
                                 .size = 1ULL << 40,
                                 .etag = "e1-3",
                                 .mtime_ns = WHEN,
                                 .checksum = S3_CHECKSUM_CRC32C,
                                 .version_id = "v1",
                                 .latest = i == 0,
                                 .delete_marker = list->kind == S3_XML_LIST_VERSIONS && i == 1};

        s3_xml_list_key(text, list, &key);
    }
    s3_xml_list_prefix(text, list, "pre fix/");
    s3_xml_list_end(text, list);
}

static void check_list(const struct s3_xml_doc *doc, bool versions)
{
    assert_int_equal(doc->root, versions ? S3_XML_VERSIONS : S3_XML_LIST);
    assert_int_equal(doc->count, ODD + 1);
    for (size_t i = 0; i < ODD; i++) {
        bool marker = versions && i == 1;

        assert_int_equal(doc->items[i].kind, marker ? S3_XML_MARKER : S3_XML_KEY);
        assert_string_equal(doc->items[i].key, odd_keys[i]);
        assert_int_equal(doc->items[i].time_ns, WHEN);
        assert_string_equal(doc->items[i].etag, marker ? "" : "e1-3");
        assert_int_equal(doc->items[i].size, marker ? 0 : 1ULL << 40);
        assert_int_equal(doc->items[i].latest, versions && i == 0);
    }
    assert_int_equal(doc->items[ODD].kind, S3_XML_PREFIX);
    assert_string_equal(doc->items[ODD].key, "pre fix/");
}

static void lists_of_every_kind_come_back_with_and_without_url_encoding(UNUSED void **state)
{
    for (int round = 0; round < 6; round++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
        struct s3_xml_list list = {.kind = (enum s3_xml_list_kind)(round % 3),
                                   .encode_url = round >= 3,
                                   .truncated = true,
                                   .max_keys = 1000,
                                   .key_count = ODD + 1,
                                   .bucket = "b",
                                   .prefix = "a b",
                                   .delimiter = "/",
                                   .next_marker = "next +",
                                   .next_marker2 = "v2",
                                   .next_token = "tok+en",
                                   .owner_id = "o"};
        DOC *doc = NULL;

        write_list(&text, &list);
        doc = parse(&text);
        check_list(doc, list.kind == S3_XML_LIST_VERSIONS);
        assert_true(doc->truncated);
        assert_string_equal(doc->bucket, "b");
        if (list.kind == S3_XML_LIST_V2) {
            assert_string_equal(doc->next_token, "tok+en");
        } else {
            assert_string_equal(doc->next_marker, "next +");
        }
    }
}

static void a_prefix_of_version_1_is_encoded_no_more_than_needed(UNUSED void **state)
{
    static const char *const told[][2] = {{"a b/\xC3\xA9", "<Prefix>a b/\xC3\xA9</Prefix>"},
                                          {"\n", "<Prefix>&#xA;</Prefix>"},
                                          {"a+b%41<", "<Prefix>a%2Bb%2541&lt;</Prefix>"},
                                          {"\x01 +", "<Prefix>%01%20%2B</Prefix>"}};

    for (size_t i = 0; i < sizeof(told) / sizeof(told[0]); i++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
        struct s3_xml_list list = {
            .kind = S3_XML_LIST_V1, .encode_url = true, .bucket = "b", .prefix = told[i][0]};

        s3_xml_list_begin(&text, &list);
        assert_non_null(strstr(buf_str(&text), told[i][1]));
    }
}

static void multipart_replies_come_back(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    struct s3_xml_completed completed = {.location = "http://h/b/k",
                                         .bucket = "b",
                                         .key = "k",
                                         .etag = "e-2",
                                         .checksum_kind = S3_CHECKSUM_SHA1,
                                         .checksum = "sum-2",
                                         .composite = true};
    DOC *created = NULL;
    DOC *done = NULL;
    DOC *copied = NULL;

    s3_xml_upload_created(&text, "b", "k", "id&1");
    created = parse(&text);
    assert_int_equal(created->root, S3_XML_CREATED);
    assert_string_equal(created->upload_id, "id&1");

    buf_reset(&text);
    s3_xml_completed(&text, &completed);
    done = parse(&text);
    assert_int_equal(done->root, S3_XML_COMPLETED);
    assert_string_equal(done->etag, "e-2");
    assert_int_equal(done->checksum_kind, S3_CHECKSUM_SHA1);
    assert_string_equal(done->checksum, "sum-2");
    assert_true(done->composite);

    buf_reset(&text);
    s3_xml_copy_result(&text, true, "e1", WHEN, S3_CHECKSUM_NONE, NULL);
    copied = parse(&text);
    assert_int_equal(copied->root, S3_XML_COPIED);
    assert_string_equal(copied->etag, "e1");
    assert_int_equal(copied->time_ns, WHEN);
}

static void uploads_and_parts_come_back(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    struct s3_xml_uploads list = {.bucket = "b",
                                  .key = "k",
                                  .upload_id = "id",
                                  .next_key_marker = "n+ ",
                                  .next_upload_id_marker = "nid",
                                  .next_part_marker = 2,
                                  .max_entries = 10,
                                  .truncated = true,
                                  .encode_url = true,
                                  .owner_id = "o"};
    struct s3_xml_part part = {.number = 2,
                               .etag = "e2",
                               .size = 5,
                               .mtime_ns = WHEN,
                               .checksum_kind = S3_CHECKSUM_CRC32,
                               .checksum = "rZjlRQ=="};
    DOC *uploads = NULL;
    DOC *parts = NULL;

    s3_xml_uploads_begin(&text, &list);
    s3_xml_uploads_entry(&text, &list,
                         &(struct s3_xml_upload){.key = "k 1",
                                                 .upload_id = "id1",
                                                 .started_ns = WHEN,
                                                 .checksum_kind = S3_CHECKSUM_SHA256,
                                                 .composite = true});
    s3_xml_uploads_prefix(&text, &list, "p/");
    s3_xml_uploads_end(&text, &list);
    uploads = parse(&text);
    assert_int_equal(uploads->root, S3_XML_UPLOADS);
    assert_int_equal(uploads->count, 2);
    assert_string_equal(uploads->items[0].key, "k 1");
    assert_string_equal(uploads->items[0].upload_id, "id1");
    assert_int_equal(uploads->items[0].time_ns, WHEN);
    assert_int_equal(uploads->items[0].checksum_kind, S3_CHECKSUM_SHA256);
    assert_true(uploads->items[0].composite);
    assert_int_equal(uploads->items[1].kind, S3_XML_PREFIX);
    assert_string_equal(uploads->next_marker, "n+ ");
    assert_string_equal(uploads->next_marker2, "nid");

    buf_reset(&text);
    s3_xml_parts_begin(&text, &list);
    s3_xml_parts_entry(&text, &part);
    s3_xml_parts_end(&text);
    parts = parse(&text);
    assert_int_equal(parts->root, S3_XML_PARTS);
    assert_int_equal(parts->count, 1);
    assert_int_equal(parts->items[0].number, 2);
    assert_int_equal(parts->items[0].size, 5);
    assert_string_equal(parts->items[0].checksum, "rZjlRQ==");
    assert_string_equal(parts->next_marker, "2");
}

static void deletes_come_back_as_request_and_as_result(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    DOC *request = NULL;
    DOC *result = NULL;

    s3_xml_delete_begin(&text, true);
    s3_xml_delete_key(&text, "a<b", NULL, NULL);
    s3_xml_delete_key(&text, "c", "v1", "0123");
    s3_xml_delete_end(&text);
    request = parse(&text);
    assert_int_equal(request->root, S3_XML_DELETE);
    assert_true(request->quiet);
    assert_int_equal(request->count, 2);
    assert_string_equal(request->items[0].key, "a<b");
    assert_string_equal(request->items[1].version_id, "v1");
    assert_string_equal(request->items[0].etag, "");
    assert_string_equal(request->items[1].etag, "0123");

    buf_reset(&text);
    s3_xml_delete_result_begin(&text);
    s3_xml_deleted(&text, "a", NULL, "m1");
    s3_xml_delete_error(&text, "c", "v1", S3_ACCESS_DENIED, NULL);
    s3_xml_delete_result_end(&text);
    result = parse(&text);
    assert_int_equal(result->root, S3_XML_DELETED);
    assert_int_equal(result->items[0].kind, S3_XML_KEY);
    assert_true(result->items[0].marker);
    assert_string_equal(result->items[0].marker_id, "m1");
    assert_int_equal(result->items[1].kind, S3_XML_FAILURE);
    assert_string_equal(result->items[1].code, "AccessDenied");
    assert_string_equal(result->items[1].key, "c");
}

static void the_other_requests_come_back(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);
    DOC *complete = NULL;
    DOC *create = NULL;
    DOC *location = NULL;

    s3_xml_complete_begin(&text);
    s3_xml_complete_part(&text, 1, "e1", S3_CHECKSUM_CRC32C, "AAAAAA==");
    s3_xml_complete_part(&text, 7, "e7", S3_CHECKSUM_NONE, "");
    s3_xml_complete_end(&text);
    complete = parse(&text);
    assert_int_equal(complete->root, S3_XML_COMPLETE);
    assert_int_equal(complete->items[1].number, 7);
    assert_string_equal(complete->items[1].etag, "e7");
    assert_int_equal(complete->items[0].checksum_kind, S3_CHECKSUM_CRC32C);

    buf_reset(&text);
    s3_xml_create_bucket(&text, "eu-west-1");
    create = parse(&text);
    assert_int_equal(create->root, S3_XML_CREATE_BUCKET);
    assert_string_equal(create->location, "eu-west-1");

    buf_reset(&text);
    s3_xml_location(&text, "eu-west-1");
    location = parse(&text);
    assert_int_equal(location->root, S3_XML_LOCATION);
    assert_string_equal(location->location, "eu-west-1");
    buf_reset(&text);
    s3_xml_location(&text, "us-east-1");
    assert_null(strstr(buf_str(&text), "us-east-1"));
}

static void hostile_documents_are_refused(UNUSED void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "not xml",
        "<html><body>404</body></html>",
        "<Delete>",
        "<Delete><Object></Delete>",
        "<Delete/><Delete/>",
        "<!DOCTYPE Delete [<!ENTITY a \"b\">]><Delete><Object><Key>&a;</Key></Object></Delete>",
        "<!DOCTYPE Delete SYSTEM \"file:///etc/passwd\"><Delete/>",
        "<Delete><Object><Key>&undefined;</Key></Object></Delete>",
        "<Delete><Object><Key>&#1;</Key></Object></Delete>",
        "<Delete><Object><Key>\xff</Key></Object></Delete>",
        "<ListBucketResult><Contents><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Size>99999999999999999999</Size></Contents>"
        "</ListBucketResult>",
        "<ListBucketResult><Contents><LastModified>today</LastModified></Contents>"
        "</ListBucketResult>",
        "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%zz</Key></Contents>"
        "</ListBucketResult>",
        "<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part>"
        "</CompleteMultipartUpload>",
        "<Delete><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></a>"
        "</a></a></a></a></a></a></a></a></Delete>",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (parse_text(bad[i]) != -EINVAL) {
            fail_msg("taken: %s", bad[i]);
        }
    }
    assert_int_equal(parse_text("<Delete xmlns='urn:x'><Object><Key>k</Key><More>1</More></Object>"
                                "<Other><Key>x</Key></Other></Delete>"),
                     0);
    assert_int_equal(parse_text("<s3:Delete xmlns:s3='urn:x'></s3:Delete>"), 0);
}

static void a_completion_tells_its_numbers_as_they_were_written(UNUSED void **state)
{
    static const char text[] =
        "<CompleteMultipartUpload><Part><PartNumber>-4</PartNumber></Part>"
        "<Part><ETag>e</ETag></Part><Part><PartNumber>0</PartNumber></Part>"
        "<Part><PartNumber>99999999999</PartNumber><ChecksumCRC32>a</ChecksumCRC32>"
        "<ChecksumSHA1>b</ChecksumSHA1></Part></CompleteMultipartUpload>";
    struct s3_fault fault = S3_FAULT_INIT;
    DOC *doc = NULL;

    assert_int_equal(s3_xml_parse(text, sizeof(text) - 1, &doc, &fault), 0);
    assert_int_equal(doc->count, 4);
    assert_int_equal(doc->items[0].number, 0);
    assert_string_equal(doc->items[0].value, "-4");
    assert_string_equal(doc->items[1].value, "");
    assert_int_equal(doc->items[1].checksums, 0);
    assert_string_equal(doc->items[2].value, "0");
    assert_int_equal(doc->items[3].number, UINT32_MAX);
    assert_int_equal(doc->items[3].checksums, 2);
    assert_int_equal(parse_text("<ListPartsResult><Part><PartNumber>-4</PartNumber></Part>"
                                "</ListPartsResult>"),
                     -EINVAL);
}

static void a_deletion_may_have_conditions(UNUSED void **state)
{
    static const char text[] =
        "<Delete><Object><Key>a</Key><ETag>\"e\"</ETag><Size>0</Size>"
        "<LastModifiedTime>Wed, 21 Oct 2015 07:28:00 GMT</LastModifiedTime></Object>"
        "<Object><Key>b</Key><LastModifiedTime>2015-10-21T07:28:00Z</LastModifiedTime></Object>"
        "<Object><Key>c</Key></Object></Delete>";
    CLEANUP(buf_done) struct buf buf = BUF_INIT(4096);
    DOC *doc = NULL;

    buf_addstr(&buf, text);
    doc = parse(&buf);
    assert_int_equal(doc->count, 3);
    assert_string_equal(doc->items[0].etag, "e");
    assert_true(doc->items[0].has_size && doc->items[0].has_time);
    assert_int_equal(doc->items[0].time_ns / 1000000000, 1445412480);
    assert_true(!doc->items[1].has_size && doc->items[1].has_time);
    assert_int_equal(doc->items[1].time_ns, doc->items[0].time_ns);
    assert_true(!doc->items[2].has_size && !doc->items[2].has_time);
    assert_int_equal(
        parse_text("<Delete><Object><Key>a</Key><LastModifiedTime>soon</LastModifiedTime>"
                   "</Object></Delete>"),
        -EINVAL);
}

static void texts_and_lists_have_a_limit(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4 << 20);

    buf_addstr(&text, "<Delete><Object><Key>");
    for (int i = 0; i <= S3_XML_TEXT_MAX; i++) {
        buf_addstr(&text, "k");
    }
    buf_addstr(&text, "</Key></Object></Delete>");
    assert_int_equal(parse_text(buf_str(&text)), -EINVAL);

    buf_reset(&text);
    buf_addstr(&text, "<Delete>");
    for (int i = 0; i < S3_XML_ITEMS_MAX; i++) {
        buf_addstr(&text, "<Object><Key>k</Key></Object>");
    }
    buf_addstr(&text, "</Delete>");
    assert_int_equal(parse_text(buf_str(&text)), 0);
    text.len -= strlen("</Delete>");
    buf_addstr(&text, "<Object><Key>k</Key></Object></Delete>");
    assert_int_equal(parse_text(buf_str(&text)), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_xml_cannot_hold_is_replaced),
        cmocka_unit_test(details_are_elements_of_their_own),
        cmocka_unit_test(an_error_keeps_code_message_and_region),
        cmocka_unit_test(buckets_are_listed_with_their_dates),
        cmocka_unit_test(lists_of_every_kind_come_back_with_and_without_url_encoding),
        cmocka_unit_test(a_prefix_of_version_1_is_encoded_no_more_than_needed),
        cmocka_unit_test(multipart_replies_come_back),
        cmocka_unit_test(uploads_and_parts_come_back),
        cmocka_unit_test(deletes_come_back_as_request_and_as_result),
        cmocka_unit_test(the_other_requests_come_back),
        cmocka_unit_test(hostile_documents_are_refused),
        cmocka_unit_test(a_completion_tells_its_numbers_as_they_were_written),
        cmocka_unit_test(a_deletion_may_have_conditions),
        cmocka_unit_test(texts_and_lists_have_a_limit),
    };

    return cmocka_run_group_tests_name("s3/xml", tests, NULL, NULL);
}
