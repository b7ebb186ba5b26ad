/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore_suite_versions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "objstore/objstore_call.h"
#include "s3/error.h"
#include "s3/xml.h"
#include "test.h"

#define ANSWER CLEANUP(objstore_answer_done) struct objstore_answer
#define CALL(request, answer) objstore_call(one, &(request), &(answer))

typedef char version_id[OBJSTORE_VERSION_MAX];

static struct objstore *one, *two;
static char name[64];

/* Some stores leave "null" out where they tell ids, but for lists. */
static void assert_id(const char *told, const char *expected)
{
    if (strcmp(expected, "null") != 0 || told[0] != '\0') {
        assert_string_equal(told, expected);
    }
}

static int set_versioning(const char *status)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1024);
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {
        .op = OBJSTORE_BUCKET_DOC_PUT, .bucket = name, .doc = OBJSTORE_DOC_VERSIONING};
    int ret;

    s3_xml_versioning(&text, status);
    r.document = buf_str(&text);
    ret = CALL(r, a);
    if (ret == 0) {
        r.op = OBJSTORE_BUCKET_DOC_GET;
        assert_int_equal(objstore_call(two, &r, &a), 0);
        assert_non_null(strstr(a.result.document, status));
    }
    return ret;
}

static void put(const char *key, const char *text, version_id ret)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_PUT,
                                 .bucket = name,
                                 .key = key,
                                 .source = {.data = text, .size = strlen(text)}};

    assert_int_equal(CALL(r, a), 0);
    memcpy(ret, a.result.info.version_id, OBJSTORE_VERSION_MAX);
}

static void assert_content(const char *key, const char *version, const char *text,
                           const char *told_version)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {
        .op = OBJSTORE_GET, .bucket = name, .key = key, .version_id = version};

    assert_int_equal(objstore_call(two, &r, &a), 0);
    assert_string_equal(buf_str(&a.body), text);
    assert_id(a.result.info.version_id, told_version);
}

/* A delete marker: where `version` is NULL, as the current one. */
static void assert_marked(const char *key, const char *version, const char *marker)
{
    const enum objstore_op ops[] = {OBJSTORE_GET, OBJSTORE_HEAD};

    for (int i = 0; i < 2; i++) {
        ANSWER a = OBJSTORE_ANSWER_INIT;
        struct objstore_request r = {
            .op = ops[i], .bucket = name, .key = key, .version_id = version};

        assert_int_equal(objstore_call(two, &r, &a), -ENOENT);
        assert_true(a.result.delete_marker);
        assert_id(a.result.info.version_id, marker);
        assert_int_equal(a.result.s3_code == (int)S3_METHOD_NOT_ALLOWED, version != NULL);
    }
}

/* Of that version, or what stands there; the id of the marker made or of what was deleted. */
static int drop(const char *key, const char *version, const char *if_match, bool *ret_marker,
                version_id ret)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_DELETE,
                                 .bucket = name,
                                 .key = key,
                                 .version_id = version,
                                 .if_match = if_match};
    int status = CALL(r, a);

    *ret_marker = a.result.delete_marker;
    memcpy(ret, a.result.info.version_id, OBJSTORE_VERSION_MAX);
    return status;
}

struct expected {
    const char *key, *version;
    bool marker, latest;
};

static void assert_list(const char *prefix, uint32_t page, const struct expected *expected,
                        size_t count)
{
    char marker[64] = "";
    version_id marker2 = "";
    size_t i = 0;
    bool more = true;

    while (more) {
        ANSWER a = OBJSTORE_ANSWER_INIT;
        struct objstore_request r = {.op = OBJSTORE_LIST_VERSIONS,
                                     .bucket = name,
                                     .key = prefix,
                                     .max_entries = page,
                                     .marker = marker[0] != '\0' ? marker : NULL,
                                     .marker2 = marker2[0] != '\0' ? marker2 : NULL};

        int ret = objstore_call(two, &r, &a);

        if (ret != 0 && a.result.s3_code == (int)S3_INTERNAL_ERROR && page < OBJSTORE_BATCH_MAX) {
            print_message("         pages of versions are not for this store\n"); /* MinIO */
            assert_list(prefix, OBJSTORE_BATCH_MAX, expected, count);
            return;
        }
        assert_int_equal(ret, 0);
        assert_true(a.result.count <= page);
        for (size_t n = 0; n < a.result.count; n++, i++) {
            const struct objstore_entry *e = &a.result.entries[n];

            assert_true(i < count);
            assert_string_equal(e->key, expected[i].key);
            assert_string_equal(e->info.version_id, expected[i].version);
            assert_int_equal(e->delete_marker, expected[i].marker);
            assert_int_equal(e->latest, expected[i].latest);
        }
        more = a.result.truncated;
        (void)snprintf(marker, sizeof(marker), "%s", more ? a.result.next_marker : "");
        (void)snprintf(marker2, sizeof(marker2), "%s",
                       more && a.result.next_marker2 != NULL ? a.result.next_marker2 : "");
    }
    assert_int_equal(i, count);
}

static void purge(void)
{
    for (int pages = 0; pages < 20; pages++) {
        ANSWER a = OBJSTORE_ANSWER_INIT;
        struct objstore_request r = {.op = OBJSTORE_LIST_VERSIONS, .bucket = name};

        assert_int_equal(CALL(r, a), 0);
        if (a.result.count == 0) {
            return;
        }
        for (size_t i = 0; i < a.result.count; i++) {
            const struct objstore_entry *e = &a.result.entries[i];
            version_id id;
            bool marker;

            assert_int_equal(drop(e->key, e->info.version_id, NULL, &marker, id), 0);
        }
    }
    fail_msg("versions stay");
}

static void copy_and_tags(const char *first, const char *second)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request copy = {.op = OBJSTORE_COPY,
                                    .bucket = name,
                                    .key = "copy",
                                    .source_bucket = name,
                                    .source_key = "k",
                                    .source_version_id = first};
    struct objstore_request tags = {.op = OBJSTORE_TAGS_PUT,
                                    .bucket = name,
                                    .key = "k",
                                    .version_id = first,
                                    .tags = "of=first"};

    assert_int_equal(CALL(copy, a), 0);
    assert_string_equal(a.result.source_version_id, first);
    assert_content("copy", NULL, "one", a.result.info.version_id);
    assert_int_equal(CALL(tags, a), 0);
    tags.op = OBJSTORE_TAGS_GET;
    assert_int_equal(objstore_call(two, &tags, &a), 0);
    assert_string_equal(a.result.tags, "of=first");
    tags.version_id = second;
    assert_int_equal(objstore_call(two, &tags, &a), 0);
    assert_string_equal(a.result.tags, "");
}

static void upload(const char *first)
{
    ANSWER created = OBJSTORE_ANSWER_INIT;
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_part part = {.number = 1};
    struct objstore_request r = {.op = OBJSTORE_UPLOAD_CREATE, .bucket = name, .key = "up"};

    assert_int_equal(CALL(r, created), 0);
    r.op = OBJSTORE_UPLOAD_PART_COPY;
    r.part_number = 1;
    r.upload_id = created.result.upload_id;
    r.source_bucket = name;
    r.source_key = "k";
    r.source_version_id = first;
    assert_int_equal(CALL(r, a), 0);
    memcpy(part.etag, a.result.info.etag, sizeof(part.etag));
    r = (struct objstore_request){.op = OBJSTORE_UPLOAD_COMPLETE,
                                  .bucket = name,
                                  .key = "up",
                                  .upload_id = created.result.upload_id,
                                  .parts = &part,
                                  .parts_count = 1};
    assert_int_equal(CALL(r, a), 0);
    assert_true(a.result.info.version_id[0] != '\0');
    assert_content("up", a.result.info.version_id, "one", a.result.info.version_id);
}

static void batch(const char *first)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_victim victims[] = {{.key = "k", .version_id = first}, {.key = "copy"}};
    struct objstore_request r = {.op = OBJSTORE_DELETE_BATCH,
                                 .bucket = name,
                                 .victims = victims,
                                 .victims_count = 2,
                                 .tell_markers = true};
    struct objstore_request get = {
        .op = OBJSTORE_GET, .bucket = name, .key = "k", .version_id = first};

    assert_int_equal(CALL(r, a), 0);
    assert_int_equal(victims[0].error, 0);
    assert_int_equal(victims[1].error, 0);
    assert_false(victims[0].marked);
    assert_true(victims[1].marked);
    assert_marked("copy", NULL, victims[1].marker_id);
    assert_int_equal(CALL(get, a), -ENOENT);
    assert_false(a.result.delete_marker);
}

/* What is made while they are suspended is "null", and there is one of it. */
static void suspended(void)
{
    version_id id, marked, before;
    bool marker;

    put("s", "versioned", before);
    assert_int_equal(set_versioning("Suspended"), 0);
    put("s", "null one", id);
    assert_id(id, "null");
    put("s", "null two", id);
    assert_content("s", NULL, "null two", "null");
    assert_content("s", "null", "null two", "null");
    assert_content("s", before, "versioned", before);
    assert_int_equal(drop("s", NULL, NULL, &marker, marked), 0); /* MinIO does not say so */
    assert_id(marked, "null");
    assert_list("s", 1, (struct expected[]){{"s", "null", true, true}, {"s", before, false, false}},
                2);
    assert_int_equal(drop("s", "null", NULL, &marker, marked), 0);
    assert_content("s", NULL, "versioned", before);
}

void suite_versions(struct objstore *first, struct objstore *second, const char *bucket)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request own = {.op = OBJSTORE_BUCKET_CREATE, .bucket = name};
    version_id nulls, v1, v2, v3, m, id;
    bool marker;
    int ret;

    one = first;
    two = second;
    (void)snprintf(name, sizeof(name), "%.50s-vers", bucket);
    assert_int_equal(CALL(own, a), 0);
    put("k", "null", nulls); /* before there are versions */
    ret = set_versioning("Enabled");
    if (ret == -ENOTSUP) {
        assert_int_equal(drop("k", NULL, NULL, &marker, id), 0);
        own.op = OBJSTORE_BUCKET_DELETE;
        assert_int_equal(CALL(own, a), 0);
        return;
    }
    assert_int_equal(ret, 0);
    put("k", "one", v1);
    put("k", "two", v2);
    assert_true(strcmp(v1, v2) != 0 && v1[0] != '\0');
    assert_content("k", v1, "one", v1);
    assert_content("k", "null", "null", "null");
    assert_content("k", NULL, "two", v2);
    copy_and_tags(v1, v2);
    upload(v1);
    assert_int_equal(drop("k", NULL, NULL, &marker, m), 0);
    assert_true(marker);
    assert_marked("k", NULL, m);
    assert_marked("k", m, m);
    put("k", "three", v3);
    assert_list("k", 2,
                (struct expected[]){{"k", v3, false, true},
                                    {"k", m, true, false},
                                    {"k", v2, false, false},
                                    {"k", v1, false, false},
                                    {"k", "null", false, false}},
                5);
    own.op = OBJSTORE_BUCKET_DELETE;
    assert_int_equal(drop("k", v3, NULL, &marker, id), 0);
    assert_false(marker);
    assert_string_equal(id, v3);
    assert_marked("k", NULL, m);
    assert_int_equal(drop("k", m, NULL, &marker, id), 0);
    assert_true(marker);
    assert_content("k", NULL, "two", v2);
    batch(v1);
    suspended();
    assert_int_equal(CALL(own, a), -ENOTEMPTY);
    purge();
    assert_int_equal(CALL(own, a), 0);
}
