/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore_suite.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/objstore_call.h"
#include "objstore_stream.h"
#include "objstore_suite_docs.h"
#include "objstore_suite_versions.h"
#include "test.h"
#include "util/random.h"

static struct objstore *one, *two;
static char bucket[64];
static struct objstore_caps caps;

#define ANSWER CLEANUP(objstore_answer_done) struct objstore_answer
#define CALL(request, answer) objstore_call(one, &(request), &(answer))

static int put(const char *key, const void *data, size_t len, char *etag)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {
        .op = OBJSTORE_PUT, .bucket = bucket, .key = key, .source = {.data = data, .size = len}};
    int ret = CALL(r, a);

    if (ret == 0 && etag != NULL) {
        memcpy(etag, a.result.info.etag, OBJSTORE_ETAG_MAX);
    }
    return ret;
}

static int put_if(const char *key, const char *text, const char *if_match, const char *if_none)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_PUT,
                                 .bucket = bucket,
                                 .key = key,
                                 .if_match = if_match,
                                 .if_none_match = if_none,
                                 .source = {.data = text, .size = strlen(text)}};

    return CALL(r, a);
}

static int remove_key(const char *key)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_DELETE, .bucket = bucket, .key = key};

    return CALL(r, a);
}

/* Reads through the second handle, so that what one process wrote is what another sees. */
static void assert_content(const char *key, const void *data, size_t len)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_GET, .bucket = bucket, .key = key};

    assert_int_equal(objstore_call(two, &r, &a), 0);
    assert_int_equal(a.result.info.size, len);
    assert_int_equal(buf_len(&a.body), len);
    assert_memory_equal(buf_str(&a.body), data, len);
}

static int status_of(const char *key)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_HEAD, .bucket = bucket, .key = key};

    return objstore_call(two, &r, &a);
}

static void what_was_put_is_got(void **state UNUSED)
{
    char etag[OBJSTORE_ETAG_MAX];
    char *large = malloc(3 << 20);

    assert_non_null(large);
    for (size_t i = 0; i < 3 << 20; i++) {
        large[i] = (char)(i * 31 + i / 251);
    }
    assert_int_equal(put("a", "hello", 5, etag), 0);
    assert_string_equal(etag, "5d41402abc4b2a76b9719d911017c592");
    assert_content("a", "hello", 5);
    assert_int_equal(put("a", large, 3 << 20, NULL), 0);
    assert_content("a", large, 3 << 20);
    assert_int_equal(put("empty", "", 0, etag), 0);
    assert_content("empty", "", 0);
    free(large);
}

static void absent_things_are_enoent(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request get = {.op = OBJSTORE_GET, .bucket = bucket, .key = "absent"};
    struct objstore_request list = {.op = OBJSTORE_LIST, .bucket = "skyvol-no-such-bucket-1"};

    assert_int_equal(CALL(get, a), -ENOENT);
    assert_int_equal(status_of("absent"), -ENOENT);
    assert_int_equal(remove_key("absent"), 0);
    assert_int_equal(CALL(list, a), -ENOENT);
    get.bucket = "skyvol-no-such-bucket-1";
    assert_int_equal(CALL(get, a), -ENOENT);
}

static void bad_arguments_are_einval(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char key[OBJSTORE_KEY_MAX + 2];
    struct objstore_request r = {.op = OBJSTORE_HEAD, .bucket = "Bad_Bucket", .key = "k"};

    assert_int_equal(CALL(r, a), -EINVAL);
    r.bucket = "..";
    assert_int_equal(CALL(r, a), -EINVAL);
    r.bucket = bucket;
    r.key = "";
    assert_int_equal(CALL(r, a), -EINVAL);
    memset(key, 'k', sizeof(key));
    key[OBJSTORE_KEY_MAX + 1] = '\0';
    r.key = key;
    assert_int_equal(CALL(r, a), -EINVAL);
    r.op = (enum objstore_op)OBJSTORE_OP_COUNT;
    assert_int_equal(CALL(r, a), -EINVAL);
}

static const char *const odd_keys[] = {
    "foo",       "foo/bar",     "foo/",          "foo//bar", "with space", "pl+us",
    "per%cent",  "per%2Fcent",  "question?mark", "a&b=c",    "hash#mark",  "\xc3\xa4\xe2\x82\xac",
    "dot/.hid",  "semi;colon",  "quote'\"<>",    "~tilde",   "a*b(c)!",    "\xf0\x9f\x98\x80",
    "a:b@c,d$e", "back\\slash", "[brackets]",    "%",        "+",
};

static void keys_are_bytes_and_not_paths(void **state UNUSED)
{
    char longest[OBJSTORE_KEY_MAX + 1];
    size_t count = sizeof(odd_keys) / sizeof(odd_keys[0]);

    for (size_t i = 0; i < count; i++) {
        if (put(odd_keys[i], odd_keys[i], strlen(odd_keys[i]), NULL) != 0) {
            print_message("         not taken by this store: %s\n", odd_keys[i]);
            assert_true(!caps.unequal_parts || strstr(odd_keys[i], "//") != NULL ||
                        strncmp(odd_keys[i], "foo", 3) == 0 || strchr(odd_keys[i], '\\') != NULL);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (status_of(odd_keys[i]) == 0 && odd_keys[i][strlen(odd_keys[i]) - 1] != '/') {
            assert_content(odd_keys[i], odd_keys[i], strlen(odd_keys[i]));
        }
    }
    memset(longest, 'x', sizeof(longest));
    for (size_t i = 0; i < OBJSTORE_KEY_MAX; i += 128) {
        longest[i] = i == 0 ? 'x' : '/';
    }
    longest[OBJSTORE_KEY_MAX] = '\0';
    if (put(longest, "1", 1, NULL) == 0) {
        assert_content(longest, "1", 1);
        assert_int_equal(remove_key(longest), 0);
    }
    for (size_t i = 0; i < count; i++) {
        if (status_of(odd_keys[i]) == 0) {
            assert_int_equal(remove_key(odd_keys[i]), 0);
        }
    }
}

static void ranges_give_just_those_bytes(void **state UNUSED)
{
    static const struct {
        uint64_t offset, len;
        const char *bytes;
    } cases[] = {
        {0, 1, "0"},   {3, 4, "3456"},       {5, OBJSTORE_TO_END, "56789"},
        {9, 100, "9"}, {0, 0, "0123456789"},
    };

    assert_int_equal(put("digits", "0123456789", 10, NULL), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ANSWER a = OBJSTORE_ANSWER_INIT;
        struct objstore_request r = {.op = OBJSTORE_GET,
                                     .bucket = bucket,
                                     .key = "digits",
                                     .range = {cases[i].offset, cases[i].len}};

        assert_int_equal(CALL(r, a), 0);
        assert_string_equal(buf_str(&a.body), cases[i].bytes);
        assert_int_equal(a.result.info.size, 10);
    }
    {
        ANSWER a = OBJSTORE_ANSWER_INIT;
        struct objstore_request r = {
            .op = OBJSTORE_GET, .bucket = bucket, .key = "digits", .range = {10, 1}};

        assert_int_equal(CALL(r, a), -ERANGE);
    }
}

static const char *user_value(const struct objstore_meta *meta, const char *name)
{
    for (size_t i = 0; i < meta->user_count; i++) {
        if (strcmp(meta->user[i].name, name) == 0) {
            return meta->user[i].value;
        }
    }
    return NULL;
}

static void metadata_is_kept(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    const struct objstore_pair user[] = {{"mode", "33188"}, {"note", "two words"}};
    const struct objstore_meta meta = {.content_type = "text/x-test",
                                       .cache_control = "no-cache",
                                       .content_disposition = "inline",
                                       .user = user,
                                       .user_count = 2};
    struct objstore_request r = {.op = OBJSTORE_PUT,
                                 .bucket = bucket,
                                 .key = "m",
                                 .meta = &meta,
                                 .source = {.data = "x", .size = 1}};
    struct objstore_request head = {.op = OBJSTORE_HEAD, .bucket = bucket, .key = "m"};

    assert_int_equal(CALL(r, a), 0);
    assert_int_equal(objstore_call(two, &head, &a), 0);
    assert_string_equal(a.result.info.meta.content_type, "text/x-test");
    assert_string_equal(a.result.info.meta.cache_control, "no-cache");
    assert_string_equal(user_value(&a.result.info.meta, "mode"), "33188");
    assert_string_equal(user_value(&a.result.info.meta, "note"), "two words");
    assert_true(a.result.info.mtime_ns > INT64_C(1600000000000000000));
}

static void conditions_hold_or_change_nothing(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char etag[OBJSTORE_ETAG_MAX];
    struct objstore_request get = {.op = OBJSTORE_GET, .bucket = bucket, .key = "c"};

    (void)remove_key("c");
    if (caps.if_none_match_put) {
        assert_int_equal(put_if("c", "first", NULL, "*"), 0);
        assert_int_equal(put_if("c", "second", NULL, "*"), -EEXIST);
        assert_content("c", "first", 5);
    }
    assert_int_equal(put("c", "first", 5, etag), 0);
    if (caps.if_match_put) {
        assert_int_equal(put_if("c", "other", "00000000000000000000000000000000", NULL), -ESTALE);
        assert_content("c", "first", 5);
        assert_int_equal(put_if("c", "third", etag, NULL), 0);
        assert_content("c", "third", 5);
        assert_int_equal(put_if("c", "late", etag, NULL), -ESTALE);
        assert_int_equal(put_if("c-absent", "x", etag, NULL), -ENOENT);
    }
    assert_int_equal(put("c", "first", 5, etag), 0);
    get.if_match = etag;
    assert_int_equal(CALL(get, a), 0);
    get.if_none_match = etag;
    get.if_match = NULL;
    assert_int_equal(CALL(get, a), -EEXIST);
    get.if_none_match = NULL;
    get.if_match = "00000000000000000000000000000000";
    assert_int_equal(CALL(get, a), -ESTALE);
}

static void conditional_delete_spares_another_version(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char etag[OBJSTORE_ETAG_MAX];
    struct objstore_request r = {.op = OBJSTORE_DELETE,
                                 .bucket = bucket,
                                 .key = "d",
                                 .if_match = "00000000000000000000000000000000"};

    if (!caps.conditional_delete) {
        return;
    }
    assert_int_equal(put("d", "x", 1, etag), 0);
    assert_int_equal(CALL(r, a), -ESTALE);
    assert_int_equal(status_of("d"), 0);
    r.if_match = etag;
    assert_int_equal(CALL(r, a), 0);
    assert_int_equal(status_of("d"), -ENOENT);
}

/* Lists everything by pages of `page` and joins the names: "a b/ c". */
static void list_all(const char *prefix, const char *delimiter, uint32_t page, const char *after,
                     struct buf *out)
{
    char *token = NULL;
    bool more = true;
    int pages = 0;

    buf_reset(out);
    while (more && pages++ < 100) {
        ANSWER a = OBJSTORE_ANSWER_INIT;
        struct objstore_request r = {.op = OBJSTORE_LIST,
                                     .bucket = bucket,
                                     .key = prefix,
                                     .delimiter = delimiter,
                                     .max_entries = page,
                                     .start_after = after,
                                     .token = token};

        assert_int_equal(objstore_call(two, &r, &a), 0);
        assert_true(a.result.count <= page);
        for (size_t i = 0; i < a.result.count; i++) {
            const struct objstore_entry *e = &a.result.entries[i];

            buf_addf(out, "%s%s", buf_len(out) > 0 ? " " : "", e->key);
            assert_int_equal(e->prefix, delimiter != NULL && e->key[strlen(e->key) - 1] == '/' &&
                                            strcmp(e->key, prefix != NULL ? prefix : "") != 0);
        }
        more = a.result.truncated;
        free(token);
        token = more ? strdup(a.result.next_token) : NULL;
    }
    assert_false(more);
    free(token);
}

static void listing_is_ordered_paged_and_grouped(void **state UNUSED)
{
    static const char *const keys[] = {"l/a", "l/b/1", "l/b/2", "l/b0", "l/c", "l/d/e/f"};
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);

    for (size_t i = 6; i-- > 0;) {
        assert_int_equal(put(keys[i], "x", 1, NULL), 0);
    }
    for (uint32_t page = 1; page <= 7; page += 2) {
        list_all("l/", NULL, page, NULL, &out);
        assert_string_equal(buf_str(&out), "l/a l/b/1 l/b/2 l/b0 l/c l/d/e/f");
        list_all("l/", "/", page, NULL, &out);
        assert_string_equal(buf_str(&out), "l/a l/b/ l/b0 l/c l/d/");
        list_all("l/b", "/", page, NULL, &out);
        assert_string_equal(buf_str(&out), "l/b/ l/b0");
        list_all("l/", NULL, page, "l/b/1", &out);
        assert_string_equal(buf_str(&out), "l/b/2 l/b0 l/c l/d/e/f");
    }
    list_all("l/zz", NULL, 5, NULL, &out);
    assert_string_equal(buf_str(&out), "");
    list_all("l/b/", "/", 5, NULL, &out);
    assert_string_equal(buf_str(&out), "l/b/1 l/b/2");
}

static void batches_delete_what_is_there(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_victim victims[3] = {{.key = "x/1"}, {.key = "x/absent"}, {.key = "x/2 &<>"}};
    struct objstore_request r = {
        .op = OBJSTORE_DELETE_BATCH, .bucket = bucket, .victims = victims, .victims_count = 3};

    if (!caps.batch_delete) {
        return;
    }
    assert_int_equal(put("x/1", "x", 1, NULL), 0);
    assert_int_equal(put("x/2 &<>", "x", 1, NULL), 0);
    assert_int_equal(put("x/3", "x", 1, NULL), 0);
    assert_int_equal(CALL(r, a), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(victims[i].error, 0);
    }
    assert_int_equal(status_of("x/1"), -ENOENT);
    assert_int_equal(status_of("x/2 &<>"), -ENOENT);
    assert_int_equal(status_of("x/3"), 0);
}

static void copies_are_made_by_the_store(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    const struct objstore_pair user[] = {{"k", "v"}};
    const struct objstore_meta meta = {.user = user, .user_count = 1};
    struct objstore_request r = {.op = OBJSTORE_COPY,
                                 .bucket = bucket,
                                 .key = "copy",
                                 .source_bucket = bucket,
                                 .source_key = "orig i+nal%"};
    struct objstore_request head = {.op = OBJSTORE_HEAD, .bucket = bucket, .key = "copy"};

    assert_int_equal(CALL(r, a), -ENOENT);
    assert_int_equal(put("orig i+nal%", "original", 8, NULL), 0);
    assert_int_equal(CALL(r, a), 0);
    assert_content("copy", "original", 8);
    r.replace_meta = true;
    r.meta = &meta;
    assert_int_equal(CALL(r, a), 0);
    assert_int_equal(CALL(head, a), 0);
    assert_string_equal(user_value(&a.result.info.meta, "k"), "v");
    /* Onto itself: how attributes are changed. */
    r.source_key = "copy";
    r.key = "copy";
    assert_int_equal(CALL(r, a), 0);
    assert_content("copy", "original", 8);
}

static void copy_onto_another_version_is_refused(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char etag[OBJSTORE_ETAG_MAX];
    struct objstore_request r = {.op = OBJSTORE_COPY,
                                 .bucket = bucket,
                                 .key = "onto",
                                 .source_bucket = bucket,
                                 .source_key = "from",
                                 .if_match = "00000000000000000000000000000000"};
    int ret;

    assert_int_equal(put("from", "new", 3, NULL), 0);
    assert_int_equal(put("onto", "old", 3, etag), 0);
    ret = CALL(r, a);
    assert_true(ret == -ESTALE || ret == -ENOTSUP); /* but never done all the same */
    assert_content("onto", "old", 3);
    r.if_match = etag;
    assert_int_equal(CALL(r, a), ret == -ESTALE ? 0 : -ENOTSUP);
    assert_content("onto", ret == -ESTALE ? "new" : "old", 3);
}

static void upload_create(const char *key, char id[OBJSTORE_UPLOAD_MAX])
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_UPLOAD_CREATE, .bucket = bucket, .key = key};

    assert_int_equal(CALL(r, a), 0);
    assert_non_null(a.result.upload_id);
    (void)snprintf(id, OBJSTORE_UPLOAD_MAX, "%s", a.result.upload_id);
}

static int upload_part(const char *key, const char *id, uint32_t number, const char *data,
                       size_t len, struct objstore_part *ret)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_UPLOAD_PART,
                                 .bucket = bucket,
                                 .key = key,
                                 .upload_id = id,
                                 .part_number = number,
                                 .source = {.data = data, .size = len}};
    int status = CALL(r, a);

    *ret = (struct objstore_part){.number = number};
    memcpy(ret->etag, a.result.info.etag, OBJSTORE_ETAG_MAX);
    return status;
}

static int upload_complete(const char *key, const char *id, const struct objstore_part *parts,
                           size_t count)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_UPLOAD_COMPLETE,
                                 .bucket = bucket,
                                 .key = key,
                                 .upload_id = id,
                                 .parts = parts,
                                 .parts_count = count};

    return CALL(r, a);
}

enum { PART = 5 << 20 };

static void an_upload_becomes_one_object(void **state UNUSED)
{
    char id[OBJSTORE_UPLOAD_MAX];
    struct objstore_part parts[3];
    char *data = malloc(2 * PART + 3);

    assert_non_null(data);
    for (size_t i = 0; i < 2 * PART + 3; i++) {
        data[i] = (char)(i * 7 + i / 253);
    }
    upload_create("multi", id);
    assert_int_equal(upload_part("multi", id, 2, data + PART, PART, &parts[1]), 0);
    assert_int_equal(upload_part("multi", id, 1, "wrong", 5, &parts[0]), 0);
    assert_int_equal(upload_part("multi", id, 1, data, PART, &parts[0]), 0); /* resent */
    assert_int_equal(upload_part("multi", id, 7, data + 2 * PART, 3, &parts[2]), 0);
    assert_int_equal(status_of("multi"), -ENOENT); /* nothing shows before the end */
    assert_int_equal(upload_complete("multi", id, parts, 3), 0);
    assert_content("multi", data, 2 * PART + 3);
    assert_true(upload_complete("multi", id, parts, 2) < 0 || status_of("multi") == 0);
    assert_content("multi", data, 2 * PART + 3);
    free(data);
}

static void an_aborted_upload_leaves_nothing(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char id[OBJSTORE_UPLOAD_MAX];
    struct objstore_part part;
    struct objstore_request r = {
        .op = OBJSTORE_UPLOAD_ABORT, .bucket = bucket, .key = "ab", .upload_id = id};
    struct objstore_request list = {.op = OBJSTORE_UPLOAD_LIST, .bucket = bucket, .key = "ab"};

    upload_create("ab", id);
    assert_int_equal(upload_part("ab", id, 1, "x", 1, &part), 0);
    assert_int_equal(CALL(list, a), 0);
    assert_int_equal(a.result.count, 1);
    assert_string_equal(a.result.uploads[0].key, "ab");
    assert_int_equal(CALL(r, a), 0);
    assert_int_equal(upload_part("ab", id, 1, "x", 1, &part), -ENOENT);
    assert_int_equal(upload_complete("ab", id, &part, 1) < 0, true);
    assert_int_equal(status_of("ab"), -ENOENT);
    assert_int_equal(CALL(list, a), 0);
    assert_int_equal(a.result.count, 0);
}

static void parts_can_be_copied_and_listed(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char id[OBJSTORE_UPLOAD_MAX];
    struct objstore_part parts[2];
    char *data = malloc(PART + 10);
    struct objstore_request copy = {.op = OBJSTORE_UPLOAD_PART_COPY,
                                    .bucket = bucket,
                                    .key = "pc",
                                    .upload_id = id,
                                    .part_number = 1,
                                    .source_bucket = bucket,
                                    .source_key = "pc-source",
                                    .range = {10, PART}};
    struct objstore_request list = {
        .op = OBJSTORE_UPLOAD_LIST_PARTS, .bucket = bucket, .key = "pc", .upload_id = id};

    assert_non_null(data);
    for (size_t i = 0; i < PART + 10; i++) {
        data[i] = (char)(i * 13 + i / 255);
    }
    if (!caps.part_copy) {
        free(data);
        return;
    }
    assert_int_equal(put("pc-source", data, PART + 10, NULL), 0);
    upload_create("pc", id);
    assert_int_equal(CALL(copy, a), 0);
    parts[0] = (struct objstore_part){.number = 1};
    memcpy(parts[0].etag, a.result.info.etag, OBJSTORE_ETAG_MAX);
    assert_int_equal(upload_part("pc", id, 2, "tail", 4, &parts[1]), 0);
    assert_int_equal(CALL(list, a), 0);
    assert_int_equal(a.result.count, 2);
    assert_int_equal(a.result.parts[0].size, PART);
    assert_int_equal(a.result.parts[1].size, 4);
    assert_string_equal(a.result.parts[1].etag, parts[1].etag);
    assert_int_equal(upload_complete("pc", id, parts, 2), 0);
    memmove(data, data + 10, PART - 10);
    {
        ANSWER tail = OBJSTORE_ANSWER_INIT;
        struct objstore_request get = {
            .op = OBJSTORE_GET, .bucket = bucket, .key = "pc", .range = {PART - 2, 6}};

        assert_int_equal(CALL(get, tail), 0);
        assert_memory_equal(buf_str(&tail.body) + 2, "tail", 4);
    }
    free(data);
}

static void streams_pause_and_go_on(void **state UNUSED)
{
    struct stream up = {.request = {.op = OBJSTORE_PUT,
                                    .bucket = bucket,
                                    .key = "stream",
                                    .source = {.size = 700001, .read = stream_read}},
                        .size = 700001};
    struct stream down = {.request = {.op = OBJSTORE_GET,
                                      .bucket = bucket,
                                      .key = "stream",
                                      .sink = {.write = stream_write}},
                          .body = BUF_INIT(1 << 20)};

    assert_int_equal(stream_run(one, &up, false), 0);
    assert_int_equal(stream_run(one, &down, false), 0);
    assert_int_equal(buf_len(&down.body), 700001);
    buf_done(&down.body);
}

static void a_body_of_another_length_is_refused(void **state UNUSED)
{
    struct stream few = {.request = {.op = OBJSTORE_PUT,
                                     .bucket = bucket,
                                     .key = "few",
                                     .source = {.size = 5000, .read = stream_read}},
                         .size = 4000};
    struct stream many = {.request = {.op = OBJSTORE_PUT,
                                      .bucket = bucket,
                                      .key = "many",
                                      .source = {.size = 5000, .read = stream_read}},
                          .size = 6000};

    assert_int_equal(stream_run(one, &few, false), -EBADMSG);
    assert_int_equal(status_of("few"), -ENOENT);
    assert_int_equal(stream_run(one, &many, false), -EBADMSG);
    assert_int_equal(status_of("many"), -ENOENT);
}

static void a_cancelled_put_leaves_nothing(void **state UNUSED)
{
    struct stream up = {.request = {.op = OBJSTORE_PUT,
                                    .bucket = bucket,
                                    .key = "cancelled",
                                    .source = {.size = 700001, .read = stream_read}},
                        .size = 700001,
                        .stall = true};

    assert_int_equal(stream_run(one, &up, true), -ECANCELED);
    assert_int_equal(status_of("cancelled"), -ENOENT);
}

static void a_stalled_stream_ends_at_its_deadline(void **state UNUSED)
{
    struct stream up = {.request = {.op = OBJSTORE_PUT,
                                    .bucket = bucket,
                                    .key = "stalled",
                                    .timeout_ms = 300,
                                    .source = {.size = 700001, .read = stream_read}},
                        .size = 700001,
                        .stall = true};

    assert_int_equal(stream_run(one, &up, false), -ETIMEDOUT);
    assert_int_equal(status_of("stalled"), -ENOENT);
}

enum { RACERS = 64 };

static void *race(void *arg)
{
    struct objstore *store = (*(int *)arg & 1) != 0 ? one : two;
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request r = {.op = OBJSTORE_PUT,
                                 .bucket = bucket,
                                 .key = "race",
                                 .if_none_match = "*",
                                 .source = {.data = "r", .size = 1}};

    *(int *)arg = objstore_call(store, &r, &a);
    return NULL;
}

static void of_many_conditional_puts_one_wins(void **state UNUSED)
{
    pthread_t threads[RACERS];
    int results[RACERS];
    int winners = 0;

    if (!caps.if_none_match_put) {
        return;
    }
    for (int i = 0; i < RACERS; i++) {
        results[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, race, &results[i]), 0);
    }
    for (int i = 0; i < RACERS; i++) {
        (void)pthread_join(threads[i], NULL);
        winners += results[i] == 0;
        assert_true(results[i] == 0 || results[i] == -EEXIST || results[i] == -EBUSY);
    }
    assert_int_equal(winners, 1);
}

static void buckets_are_made_listed_and_removed(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char name[64];
    bool found = false;
    int again;
    struct objstore_request r = {.op = OBJSTORE_BUCKET_CREATE, .bucket = name};
    struct objstore_request list = {.op = OBJSTORE_BUCKET_LIST};

    (void)snprintf(name, sizeof(name), "%.50s-two", bucket);
    assert_int_equal(CALL(r, a), 0);
    again = CALL(r, a); /* S3 in us-east-1 lets its owner make it again */
    assert_true(again == -EEXIST || again == 0);
    assert_int_equal(objstore_call(two, &list, &a), 0);
    for (size_t i = 0; i < a.result.count; i++) {
        found |= strcmp(a.result.buckets[i].name, name) == 0;
    }
    assert_true(found);
    r.op = OBJSTORE_BUCKET_DELETE;
    assert_int_equal(CALL(r, a), 0);
    assert_int_equal(CALL(r, a), -ENOENT);
    assert_int_equal(put("keep", "x", 1, NULL), 0);
    r.bucket = bucket;
    assert_int_equal(CALL(r, a), -ENOTEMPTY);
}

static void documents_of_a_bucket_are_kept_and_go_with_it(void **state UNUSED)
{
    suite_documents(one, two, bucket);
}

static void tags_are_an_objects_and_not_its_names(void **state UNUSED)
{
    suite_tags(one, two, bucket);
}

static void versions_are_kept_told_apart_and_removed(void **state UNUSED)
{
    suite_versions(one, two, bucket);
}

static int set_up(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    char id[RANDOM_ID_SIZE];
    struct objstore_request r = {.op = OBJSTORE_BUCKET_CREATE, .bucket = bucket};

    random_id(id);
    (void)snprintf(bucket, sizeof(bucket), "skyvol-suite-%.12s", id);
    if (CALL(r, a) != 0) {
        print_error("cannot create a bucket: %s\n", a.result.error.text);
        return -1;
    }
    r.op = OBJSTORE_BUCKET_PROBE;
    r.key = ".skyvol/probe/";
    if (CALL(r, a) != 0 || a.result.caps == NULL) {
        print_error("cannot probe: %s\n", a.result.error.text);
        return -1;
    }
    caps = *a.result.caps;
    return 0;
}

/* Also shows that probing and the tests leave no upload and no key that a listing hides. */
static int tear_down(void **state UNUSED)
{
    ANSWER a = OBJSTORE_ANSWER_INIT;
    struct objstore_request uploads = {.op = OBJSTORE_UPLOAD_LIST, .bucket = bucket};
    struct objstore_request list = {.op = OBJSTORE_LIST, .bucket = bucket};
    struct objstore_request drop = {.op = OBJSTORE_BUCKET_DELETE, .bucket = bucket};

    if (CALL(uploads, a) != 0 || a.result.count != 0) {
        print_error("open uploads are left\n");
        return -1;
    }
    do {
        ANSWER page = OBJSTORE_ANSWER_INIT;

        if (CALL(list, page) != 0) {
            return -1;
        }
        for (size_t i = 0; i < page.result.count; i++) {
            (void)remove_key(page.result.entries[i].key);
        }
        if (page.result.count == 0) {
            break;
        }
    } while (true);
    return CALL(drop, a);
}

int objstore_suite_run(const char *name, struct objstore *first, struct objstore *second)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_got),
        cmocka_unit_test(absent_things_are_enoent),
        cmocka_unit_test(bad_arguments_are_einval),
        cmocka_unit_test(keys_are_bytes_and_not_paths),
        cmocka_unit_test(ranges_give_just_those_bytes),
        cmocka_unit_test(metadata_is_kept),
        cmocka_unit_test(conditions_hold_or_change_nothing),
        cmocka_unit_test(conditional_delete_spares_another_version),
        cmocka_unit_test(listing_is_ordered_paged_and_grouped),
        cmocka_unit_test(batches_delete_what_is_there),
        cmocka_unit_test(copies_are_made_by_the_store),
        cmocka_unit_test(copy_onto_another_version_is_refused),
        cmocka_unit_test(an_upload_becomes_one_object),
        cmocka_unit_test(an_aborted_upload_leaves_nothing),
        cmocka_unit_test(parts_can_be_copied_and_listed),
        cmocka_unit_test(streams_pause_and_go_on),
        cmocka_unit_test(a_body_of_another_length_is_refused),
        cmocka_unit_test(a_cancelled_put_leaves_nothing),
        cmocka_unit_test(a_stalled_stream_ends_at_its_deadline),
        cmocka_unit_test(of_many_conditional_puts_one_wins),
        cmocka_unit_test(buckets_are_made_listed_and_removed),
        cmocka_unit_test(documents_of_a_bucket_are_kept_and_go_with_it),
        cmocka_unit_test(tags_are_an_objects_and_not_its_names),
        cmocka_unit_test(versions_are_kept_told_apart_and_removed),
    };

    one = first;
    two = second;
    return cmocka_run_group_tests_name(name, tests, set_up, tear_down);
}
