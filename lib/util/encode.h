/* SPDX-License-Identifier: Apache-2.0 */
/*
 * encode.h - bytes as text and back: hex, base64, percent-encoding.
 *
 * Encoders append to a struct buf, whose sticky error tells of failure. Decoders return 0 or
 * -EILSEQ (not such a text) or -EFBIG (does not fit). No state: safe from any thread.
 */
#ifndef UTIL_ENCODE_H
#define UTIL_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/slice.h"

/* Lower-case hex. */
void encode_hex(struct buf *out, const void *bytes, size_t len);
int decode_hex(struct slice text, void *ret, size_t cap, size_t *ret_len)
    __attribute__((warn_unused_result));

/* RFC 4648 base64 with padding. */
void encode_base64(struct buf *out, const void *bytes, size_t len);
int decode_base64(struct slice text, void *ret, size_t cap, size_t *ret_len)
    __attribute__((warn_unused_result));

/*
 * Percent-encode all but RFC 3986's unreserved characters, with upper-case hex, as S3's signature
 * wants it. `keep_slash` leaves '/' as it is.
 */
void encode_percent(struct buf *out, struct slice text, bool keep_slash);
/* Whether there is nothing in it to encode; then there is nothing to decode either. */
bool encode_percent_is_same(struct slice text);
/* Whether it is what encode_percent() would make of what decode_percent() makes of it. */
bool encode_percent_is_done(struct slice text, bool keep_slash);

/* Decode %XX into `out`; '+' becomes a space only with `plus_is_space`. -EILSEQ: a bad escape. */
int decode_percent(struct buf *out, struct slice text, bool plus_is_space)
    __attribute__((warn_unused_result));

#endif
