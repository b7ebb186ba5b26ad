/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chunked.h - the aws-chunked body framing, in all its forms, decoded and encoded piece by piece.
 *
 * Decoder (server): hand it what arrives; it points at the object's bytes in it, without a copy.
 *
 *     while (len > 0) {
 *         ret = s3_chunked_decode(decoder, data, len, &used, &bytes, &fault);
 *         if (ret < 0) ...refuse
 *         store(bytes.data, bytes.len);
 *         data += used; len -= used;
 *     }
 *     at the end of the body: ret = s3_chunked_finish(decoder, &fault);
 *
 * Bytes come out before the signature of their chunk has been checked: nothing may be published
 * before s3_chunked_finish() returned 0. It is 0 only if the last chunk, all signatures, the
 * declared trailer with its checksum, and the decoded length were there and right.
 *
 * Faults: IncompleteBody (also a malformed frame), SignatureDoesNotMatch, MalformedTrailerError,
 * BadDigest, InvalidRequest. A failed decoder stays failed.
 *
 * Encoder (client): one chunk at a time, sizes known in advance. Objects belong to one thread at a
 * time.
 */
#ifndef S3_CHUNKED_H
#define S3_CHUNKED_H

#include "s3/checksum.h"
#include "s3/sign.h"

struct s3_chunked;

struct s3_chunked_config {
    enum s3_payload payload;            /* one of the three streaming kinds */
    uint64_t decoded_len;               /* x-amz-decoded-content-length */
    const struct s3_chunk_chain *chain; /* copied; NULL for S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER */
    struct slice trailer;               /* value of x-amz-trailer; empty: none declared */
};

/* -EINVAL with a fault for a trailer that is not a known checksum, or none where one must be. */
int s3_chunked_new(const struct s3_chunked_config *config, struct s3_chunked **ret,
                   struct s3_fault *fault) __attribute__((warn_unused_result));
void s3_chunked_free(struct s3_chunked *decoder);

int s3_chunked_decode(struct s3_chunked *decoder, const void *data, size_t len, size_t *ret_used,
                      struct slice *ret_bytes, struct s3_fault *fault)
    __attribute__((warn_unused_result));
int s3_chunked_finish(struct s3_chunked *decoder, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* The checksum that the trailer carried (verified), "" before it came or when there is none. */
enum s3_checksum_kind s3_chunked_checksum_kind(const struct s3_chunked *decoder);
const char *s3_chunked_checksum(const struct s3_chunked *decoder);

/* ---- encoder ---- */

struct s3_chunk_encoder {
    enum s3_payload payload;
    struct s3_chunk_chain chain;
    struct s3_checksum sum; /* of kind NONE when there is no trailer */
};

/* `chain` NULL for the unsigned form; `kind` NONE for no trailer. 0 or -ENOMEM. */
int s3_chunk_encoder_init(struct s3_chunk_encoder *encoder, enum s3_payload payload,
                          const struct s3_chunk_chain *chain, enum s3_checksum_kind kind)
    __attribute__((warn_unused_result));
void s3_chunk_encoder_done(struct s3_chunk_encoder *encoder);

/* Append the line before a chunk of `len` > 0 bytes; the bytes and "\r\n" follow it. */
int s3_chunk_encode(struct s3_chunk_encoder *encoder, const void *bytes, size_t len,
                    struct buf *out) __attribute__((warn_unused_result));
/* Append the last chunk and the trailer. */
int s3_chunk_encode_end(struct s3_chunk_encoder *encoder, struct buf *out)
    __attribute__((warn_unused_result));

/* Length of the whole encoded body, when every chunk but the last has chunk_size bytes. */
uint64_t s3_chunk_encoded_len(enum s3_payload payload, enum s3_checksum_kind kind,
                              uint64_t decoded_len, uint64_t chunk_size);

#endif
