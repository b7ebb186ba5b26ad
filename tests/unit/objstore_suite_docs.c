/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore_suite_docs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "objstore/objstore_call.h"
#include "test.h"

#define ANSWER CLEANUP(objstore_answer_done) struct objstore_answer
#define CALL(request, answer) objstore_call(one, &(request), &(answer))

void suite_documents(struct objstore *one, struct objstore *two, const char *bucket)
{
    static const char text[] = "<Tagging><TagSet><Tag><Key>colour</Key><Value>blue</Value></Tag>"
                               "</TagSet></Tagging>";
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char name[64];
    struct objstore_request own = {.op = OBJSTORE_BUCKET_CREATE, .bucket = name};
    struct objstore_request r = {.bucket = name, .doc = OBJSTORE_DOC_TAGGING, .document = text};
    struct objstore_request get = {
        .op = OBJSTORE_BUCKET_DOC_GET, .bucket = name, .doc = OBJSTORE_DOC_TAGGING};

    (void)snprintf(name, sizeof(name), "%.50s-docs", bucket);
    assert_true(CALL(get, a) < 0); /* each store says in its own way that there is no bucket */
    assert_int_equal(CALL(own, a), 0);
    assert_int_equal(CALL(get, a), -ENODATA);
    for (int i = 0; i < 2; i++) { /* the second bucket of that name has none of the first's */
        r.op = OBJSTORE_BUCKET_DOC_PUT;
        assert_int_equal(CALL(r, a), 0);
        assert_int_equal(objstore_call(two, &get, &a), 0);
        assert_non_null(strstr(a.result.document, "colour"));
        r.op = OBJSTORE_BUCKET_DOC_DELETE;
        if (i == 0) {
            assert_int_equal(CALL(r, a), 0);
            assert_int_equal(objstore_call(two, &get, &a), -ENODATA);
            continue;
        }
        own.op = OBJSTORE_BUCKET_DELETE;
        assert_int_equal(CALL(own, a), 0);
        own.op = OBJSTORE_BUCKET_CREATE;
        assert_int_equal(CALL(own, a), 0);
        assert_int_equal(CALL(get, a), -ENODATA);
    }
    own.op = OBJSTORE_BUCKET_DELETE;
    assert_int_equal(CALL(own, a), 0);
    r.op = OBJSTORE_BUCKET_DOC_PUT;
    r.document = "";
    assert_int_equal(CALL(r, a), -EINVAL);
}

static void assert_tags(struct objstore *store, const char *bucket, const char *key,
                        const char *tags)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    ANSWER head = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_TAGS_GET, .bucket = bucket, .key = key};

    assert_int_equal(objstore_call(store, &r, &a), 0);
    assert_string_equal(a.result.tags, tags);
    r.op = OBJSTORE_GET; /* some stores tell the number only here */
    assert_int_equal(objstore_call(store, &r, &head), 0);
    assert_int_equal(head.result.info.tag_count, tags[0] != '\0' ? 1 : 0);
}

static void put_tagged(struct objstore *one, const char *bucket, const char *key, const char *tags)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_PUT,
                                 .bucket = bucket,
                                 .key = key,
                                 .tags = tags,
                                 .source = {.data = "x", .size = 1}};

    assert_int_equal(CALL(r, a), 0);
}

static void upload_tagged(struct objstore *one, const char *bucket, const char *key)
{
    ANSWER created = OBJSTORE_ANSWER_INIT;
    ANSWER a = OBJSTORE_ANSWER_INIT;
    ANSWER done = OBJSTORE_ANSWER_INIT;
    struct objstore_part part = {.number = 1};
    struct objstore_request r = {
        .op = OBJSTORE_UPLOAD_CREATE, .bucket = bucket, .key = key, .tags = "up=load"};

    assert_int_equal(CALL(r, created), 0);
    r = (struct objstore_request){.op = OBJSTORE_UPLOAD_PART,
                                  .bucket = bucket,
                                  .key = key,
                                  .part_number = 1,
                                  .upload_id = created.result.upload_id,
                                  .source = {.data = "x", .size = 1}};
    assert_int_equal(CALL(r, a), 0);
    memcpy(part.etag, a.result.info.etag, sizeof(part.etag));
    r.op = OBJSTORE_UPLOAD_COMPLETE;
    r.source = (struct objstore_source){0};
    r.parts = &part;
    r.parts_count = 1;
    assert_int_equal(CALL(r, done), 0);
}

void suite_tags(struct objstore *one, struct objstore *two, const char *bucket)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {
        .op = OBJSTORE_TAGS_PUT, .bucket = bucket, .key = "tagged", .tags = "b%20c=%2B"};
    struct objstore_request copy = {.op = OBJSTORE_COPY,
                                    .bucket = bucket,
                                    .key = "tagged-copy",
                                    .source_bucket = bucket,
                                    .source_key = "tagged"};

    r.key = "absent";
    assert_true(CALL(r, a) < 0);
    r.key = "tagged";
    put_tagged(one, bucket, "tagged", "a=1");
    assert_tags(two, bucket, "tagged", "a=1");
    assert_int_equal(CALL(r, a), 0);
    assert_tags(two, bucket, "tagged", "b%20c=%2B");
    assert_int_equal(CALL(copy, a), 0);
    assert_tags(two, bucket, "tagged-copy", "b%20c=%2B");
    copy.replace_tags = true;
    copy.tags = "other=1";
    copy.key = "tagged-anew";
    assert_int_equal(CALL(copy, a), 0);
    assert_tags(two, bucket, "tagged-anew", "other=1");
    r.op = OBJSTORE_TAGS_DELETE;
    assert_int_equal(CALL(r, a), 0);
    assert_tags(two, bucket, "tagged", "");
    put_tagged(one, bucket, "tagged-copy", NULL); /* a new object has none of the old one's */
    assert_tags(two, bucket, "tagged-copy", "");
    upload_tagged(one, bucket, "tagged-parts");
    assert_tags(two, bucket, "tagged-parts", "up=load");
}
