/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tags.h - tags of objects and buckets: S3's header, its XML, its limits.
 *
 *     struct s3_tags tags;
 *     int ret = s3_tags_from_query(header, &arena, &tags, &fault);
 *     ret = ret == 0 ? s3_tags_check(&tags, S3_TAGS_OF_OBJECT, &fault) : ret;
 *
 * The form of the header, "name=value&name2=value2" with both percent-encoded, is also how tags
 * are kept (struct objstore_request). Strings live in the arena given. No state.
 */
#ifndef S3_TAGS_H
#define S3_TAGS_H

#include <stddef.h>

#include "s3/error.h"
#include "util/arena.h"
#include "util/buf.h"
#include "util/slice.h"

enum { S3_TAGS_OF_OBJECT = 10, S3_TAGS_OF_BUCKET = 50 }; /* how many there may be */

enum {
    S3_TAG_NAME_MAX = 128, /* characters */
    S3_TAG_VALUE_MAX = 256,
    S3_TAGS_READ_MAX = 128,       /* more are refused by the readers; fewer, by s3_tags_check() */
    S3_TAGS_TEXT_MAX = 128 * 1024 /* bytes of either form */
};

struct s3_tag {
    const char *name;
    const char *value;
};

struct s3_tags {
    struct s3_tag tags[S3_TAGS_READ_MAX];
    size_t count;
};

/* InvalidArgument: not encoded as it should be, or a name that comes twice. */
int s3_tags_from_query(struct slice text, struct arena *arena, struct s3_tags *ret,
                       struct s3_fault *fault) __attribute__((warn_unused_result));

/* The document <Tagging>. MalformedXML. */
int s3_tags_from_xml(const void *body, size_t len, struct arena *arena, struct s3_tags *ret,
                     struct s3_fault *fault) __attribute__((warn_unused_result));

/* Number, lengths, characters, names that come twice or begin with "aws:". InvalidTag; BadRequest
 * for too many on a bucket. */
int s3_tags_check(const struct s3_tags *tags, size_t max, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* How many tags the kept form has; NULL and "": none. */
size_t s3_tags_count(const char *query);

void s3_tags_to_query(struct buf *out, const struct s3_tags *tags);
void s3_tags_to_xml(struct buf *out, const struct s3_tags *tags);

#endif
