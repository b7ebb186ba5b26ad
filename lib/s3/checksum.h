/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checksum.h - the checksums S3 knows, incremental.
 *
 *     struct s3_checksum sum;
 *     s3_checksum_init(&sum, S3_CHECKSUM_CRC32C);
 *     s3_checksum_add(&sum, bytes, len);
 *     s3_checksum_base64(&sum, text);        ends it; then s3_checksum_done()
 *     s3_checksum_done(&sum);
 *
 * A struct belongs to one thread at a time. CRCs use the processor's carry-less multiply where it
 * has one. CRC values of a part and of what follows it can be combined without the bytes.
 */
#ifndef S3_CHECKSUM_H
#define S3_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/slice.h"

/* The first six have the values and order of enum objstore_checksum_kind. */
enum s3_checksum_kind {
    S3_CHECKSUM_NONE,
    S3_CHECKSUM_CRC32,
    S3_CHECKSUM_CRC32C,
    S3_CHECKSUM_CRC64NVME,
    S3_CHECKSUM_SHA1,
    S3_CHECKSUM_SHA256,
    S3_CHECKSUM_MD5,
    S3_CHECKSUM_COUNT
};

enum {
    S3_CHECKSUM_MAX = 32,      /* bytes */
    S3_CHECKSUM_TEXT_SIZE = 48 /* base64 and NUL */
};

struct s3_checksum {
    enum s3_checksum_kind kind;
    uint64_t crc;
    void *digest; /* EVP_MD_CTX of SHA1, SHA256, MD5 */
};

/* "CRC32", ... as in x-amz-checksum-algorithm; "x-amz-checksum-crc32", ...; bytes of the value. */
const char *s3_checksum_name(enum s3_checksum_kind kind);
const char *s3_checksum_header(enum s3_checksum_kind kind);
size_t s3_checksum_size(enum s3_checksum_kind kind);

/* From either spelling, any case; S3_CHECKSUM_NONE when unknown (MD5 is not one of these names). */
enum s3_checksum_kind s3_checksum_from_name(struct slice name);
enum s3_checksum_kind s3_checksum_from_header(struct slice name);

/* 0 or -ENOMEM. */
int s3_checksum_init(struct s3_checksum *sum, enum s3_checksum_kind kind)
    __attribute__((warn_unused_result));
void s3_checksum_done(struct s3_checksum *sum); /* a zeroed struct is allowed */

void s3_checksum_add(struct s3_checksum *sum, const void *bytes, size_t len);

/* End it. Raw, base64 or hex form; the sum may only be released afterwards. */
void s3_checksum_raw(struct s3_checksum *sum, unsigned char ret[S3_CHECKSUM_MAX]);
void s3_checksum_base64(struct s3_checksum *sum, char ret[S3_CHECKSUM_TEXT_SIZE]);
void s3_checksum_hex(struct s3_checksum *sum, char ret[2 * S3_CHECKSUM_MAX + 1]);

/* One shot. 0 or -ENOMEM. */
int s3_checksum_hex_of(enum s3_checksum_kind kind, const void *bytes, size_t len,
                       char ret[2 * S3_CHECKSUM_MAX + 1]) __attribute__((warn_unused_result));
int s3_checksum_base64_of(enum s3_checksum_kind kind, const void *bytes, size_t len,
                          char ret[S3_CHECKSUM_TEXT_SIZE]) __attribute__((warn_unused_result));

/* True for base64 text of the right length for the kind. */
bool s3_checksum_valid(enum s3_checksum_kind kind, struct slice base64);

/* Same value, in constant time. */
bool s3_checksum_same(struct slice a, struct slice b);

/* The CRC of A|B from base64 of both and B's length. -EINVAL: not a CRC kind or bad text. */
int s3_checksum_combine(enum s3_checksum_kind kind, const char *a, const char *b, uint64_t b_len,
                        char ret[S3_CHECKSUM_TEXT_SIZE]) __attribute__((warn_unused_result));

#endif
