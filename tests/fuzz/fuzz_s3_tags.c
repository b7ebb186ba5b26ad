/* SPDX-License-Identifier: Apache-2.0 */
/* First byte: which form; the rest: tags. What is accepted is written and read again as it was. */
#include <string.h>

#include "fuzz.h"
#include "s3/tags.h"
#include "util/cleanup.h"

static void check_same(const struct s3_tags *a, const struct s3_tags *b)
{
    CHECK(a->count == b->count);
    for (size_t i = 0; i < a->count; i++) {
        CHECK(strcmp(a->tags[i].name, b->tags[i].name) == 0);
        CHECK(strcmp(a->tags[i].value, b->tags[i].value) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(16 << 20);
    CLEANUP(buf_done) struct buf query = BUF_INIT(S3_TAGS_TEXT_MAX);
    CLEANUP(buf_done) struct buf xml = BUF_INIT(S3_TAGS_TEXT_MAX);
    struct s3_fault fault = S3_FAULT_INIT;
    struct s3_tags tags, again;
    int ret;

    if (size == 0) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        ret = s3_tags_from_query((struct slice){(const char *)data + 1, size - 1}, &arena, &tags,
                                 &fault);
    } else {
        ret = s3_tags_from_xml(data + 1, size - 1, &arena, &tags, &fault);
    }
    CHECK((ret == 0) == (fault.code == S3_OK));
    if (ret != 0 || s3_tags_check(&tags, S3_TAGS_OF_OBJECT, &fault) != 0) {
        CHECK(fault.code != S3_OK);
        return 0;
    }
    CHECK(tags.count <= S3_TAGS_OF_OBJECT);
    s3_tags_to_query(&query, &tags);
    s3_tags_to_xml(&xml, &tags);
    CHECK(s3_tags_count(buf_str(&query)) == tags.count);
    CHECK(s3_tags_from_query(slice_of(buf_str(&query)), &arena, &again, NULL) == 0);
    check_same(&tags, &again);
    CHECK(s3_tags_from_xml(buf_str(&xml), buf_len(&xml), &arena, &again, NULL) == 0);
    check_same(&tags, &again);
    return 0;
}
