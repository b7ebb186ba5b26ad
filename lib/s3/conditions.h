/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conditions.h - HTTP dates, byte ranges and conditional headers, as S3 reads them.
 *
 * No state: safe from any thread.
 */
#ifndef S3_CONDITIONS_H
#define S3_CONDITIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "s3/error.h"
#include "util/slice.h"

enum { S3_HTTP_DATE_SIZE = 30, S3_ISO_DATE_SIZE = 25 };

/* "Fri, 24 May 2013 00:00:00 GMT". Parsing also takes RFC 850 and asctime forms. -EINVAL. */
void s3_http_date_format(int64_t time_s, char ret[S3_HTTP_DATE_SIZE]);
int s3_http_date_parse(struct slice text, int64_t *ret_s) __attribute__((warn_unused_result));

/* "2013-05-24T00:00:00.000Z" as in XML. Parsing takes any number of decimals, also none. */
void s3_iso_date_format(int64_t time_ns, char ret[S3_ISO_DATE_SIZE]);
int s3_iso_date_parse(struct slice text, int64_t *ret_ns) __attribute__((warn_unused_result));

/* A Range header with one range, before the object's size is known. */
struct s3_range {
    enum { S3_RANGE_NONE, S3_RANGE_FROM, S3_RANGE_SUFFIX } kind;
    uint64_t first; /* S3_RANGE_FROM */
    uint64_t last;  /* S3_RANGE_FROM: inclusive, UINT64_MAX for open; S3_RANGE_SUFFIX: length */
};

/* A header that is not one well-formed byte range is ignored (NONE), as RFC 9110 and S3 do. */
struct s3_range s3_range_parse(struct slice header);

/* Apply to an object's size: 0 with offset and length (a NONE range: all), or -ERANGE. */
int s3_range_resolve(const struct s3_range *range, uint64_t size, uint64_t *ret_offset,
                     uint64_t *ret_len) __attribute__((warn_unused_result));

/* x-amz-copy-source-range: "bytes=first-last" and nothing else; -EINVAL. */
int s3_copy_range_parse(struct slice header, uint64_t *ret_first, uint64_t *ret_last)
    __attribute__((warn_unused_result));

/* The four conditional headers; an empty slice (data NULL) is an absent header. */
struct s3_conditions {
    struct slice if_match;
    struct slice if_none_match;
    struct slice if_modified_since;
    struct slice if_unmodified_since;
};

/*
 * RFC 9110 §13.2.2 against an object that exists: S3_OK, S3_NOT_MODIFIED (reads only) or
 * S3_PRECONDITION_FAILED. `etag` without quotes; lists, quotes, W/ and '*' are understood.
 * If-Match that holds beats If-Unmodified-Since; If-None-Match that does not match beats
 * If-Modified-Since. Dates that do not parse are ignored.
 */
enum s3_code s3_conditions_check(const struct s3_conditions *conditions, const char *etag,
                                 int64_t mtime_s, bool read);

/* True when an If-Match or If-None-Match value names this ETag ('*' names every one). */
bool s3_etag_matches(struct slice header, const char *etag);

/* The one ETag of a header without quotes and W/ ("*" stays); -EINVAL for a list or nothing. */
int s3_etag_single(struct slice header, struct slice *ret) __attribute__((warn_unused_result));

#endif
