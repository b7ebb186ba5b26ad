/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h - which bucket and key a request names, and whether S3's rules allow the names.
 *
 * No state: safe from any thread.
 */
#ifndef S3_NAMES_H
#define S3_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "s3/error.h"
#include "util/buf.h"
#include "util/slice.h"

/* For error texts: what most wrong names lack. */
#define S3_BUCKET_RULE                                                                             \
    "names are 3 to 63 of a-z, 0-9, '.' and '-', a letter or digit first and last"

enum { S3_KEY_MAX = 1024, S3_BUCKET_MIN = 3, S3_BUCKET_MAX = 63 };

/* S3's rules for new buckets: 3 to 63 of a-z 0-9 - . ; labels begin and end in a letter or digit;
 * no address; none of the reserved prefixes and suffixes. */
bool s3_bucket_valid(struct slice bucket);

/* 1 to 1024 bytes of UTF-8 without NUL; nothing else is forbidden. */
bool s3_key_valid(struct slice key);

/* Well-formed UTF-8 (RFC 3629). */
bool s3_utf8_valid(struct slice text);

/*
 * The bucket that a Host header names by "bucket.suffix[:port]", or an empty slice: path style.
 * `suffixes`: NULL-terminated array of domain names without a leading dot; NULL for none.
 */
struct slice s3_host_bucket(struct slice host, const char *const *suffixes);

struct s3_target {
    char bucket[S3_BUCKET_MAX + 1]; /* "": the service itself */
    char key[S3_KEY_MAX + 1];       /* "": the bucket itself */
};

/*
 * Split a raw request path ("/bucket/a%2Fb", or "/a%2Fb" with host_bucket). Nothing is normalised:
 * "..", "." and "//" are parts of a key like others. Faults: InvalidURI (bad escape, NUL, not
 * UTF-8, no leading '/'), KeyTooLongError, InvalidBucketName (too long to be one; other rules are
 * the caller's, as older buckets break them).
 */
int s3_target_parse(struct slice raw_path, struct slice host_bucket, struct s3_target *ret,
                    struct s3_fault *fault) __attribute__((warn_unused_result));

/* A parameter as it stands in the query, nothing decoded. */
struct s3_query_param {
    struct slice name, value; /* value: empty, too, when there is no '=' */
    bool has_value;           /* there is a '=' */
};

/* Takes the next one off the front of what is left; false: there is none. Empty ones are passed. */
bool s3_query_next(struct slice *left, struct s3_query_param *ret);

/* Whether a parameter's name, as it stands in the query, is this one. */
bool s3_query_is_named(struct slice raw, const char *name);

/*
 * Which names a query may have, as a set in which some others seem to be, too: for who asks for
 * many. `name` is not "", and does not begin with X-Amz-: those are left out. 0: it has none.
 */
uint64_t s3_query_names(struct slice raw_query);
bool s3_query_may_have(uint64_t names, const char *name);

/*
 * Find a query parameter; '+' and %XX are decoded into `value` (reset first). Returns 1 found (the
 * first of that name), 0 not there, or -EILSEQ, -EFBIG, -ENOMEM. `value` may be NULL.
 */
int s3_query_get(struct slice raw_query, const char *name, struct buf *value)
    __attribute__((warn_unused_result));

/* x-amz-copy-source: "[/]bucket/key[?versionId=v]", percent-encoded. version: "" when none. */
struct s3_copy_source {
    struct s3_target target;
    char version_id[256];
};
int s3_copy_source_parse(struct slice header, struct s3_copy_source *ret, struct s3_fault *fault)
    __attribute__((warn_unused_result));

#endif
