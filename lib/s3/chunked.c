/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoder: a machine over bytes.
 *
 *   HEADER --size line--> DATA --all bytes--> DATA_END --CRLF--> HEADER
 *   HEADER --size 0--> TRAILER (one line at a time) --empty line--> END
 *
 * A line is collected in `line` until its LF. Signed kinds hash the bytes of a chunk as they pass
 * and compare when the chunk is whole. Bytes behind END are refused.
 *
 * Senders differ in the trailer's line ends: some write LF inside it and an empty line more, so a
 * bare LF ends a trailer line too, and the final empty line may be missing at the end of the body.
 */
#include "s3/chunked.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <strings.h>

#include "util/cleanup.h"

enum { LINE_MAX_BYTES = 1024, TRAILERS_MAX_BYTES = 4096, TRAILER_LINES_MAX = 16 };

enum state { STATE_HEADER, STATE_DATA, STATE_DATA_END, STATE_TRAILER, STATE_END, STATE_FAILED };

struct s3_chunked {
    enum state state;
    bool is_signed;
    bool trailer_wanted;
    bool trailer_seen;
    bool trailer_signed;
    struct s3_chunk_chain chain;
    uint64_t decoded_len; /* promised */
    uint64_t seen_len;
    uint64_t chunk_left;
    char chunk_signature[S3_HEX_SIZE];
    struct s3_checksum chunk_hash; /* SHA-256 of the running chunk */
    struct s3_checksum sum;        /* of the whole body, when a trailer is declared */
    char sum_text[S3_CHECKSUM_TEXT_SIZE];
    enum s3_checksum_kind sum_kind;
    size_t line_len;
    char line[LINE_MAX_BYTES];
    size_t trailer_lines;
    struct buf trailers; /* "name:value\n" of each, as they are signed */
};

static bool streaming_is_signed(enum s3_payload payload)
{
    return payload == S3_PAYLOAD_STREAMING || payload == S3_PAYLOAD_STREAMING_TRAILER;
}

static int fail(struct s3_chunked *decoder, struct s3_fault *fault, enum s3_code code,
                const char *text)
{
    decoder->state = STATE_FAILED;
    return s3_fault_set(fault, code, "%s", text);
}

int s3_chunked_new(const struct s3_chunked_config *config, struct s3_chunked **ret,
                   struct s3_fault *fault)
{
    struct slice trailer = slice_trim(config->trailer);
    enum s3_checksum_kind kind = s3_checksum_from_header(trailer);
    struct s3_chunked *decoder;

    if (config->payload != S3_PAYLOAD_STREAMING &&
        config->payload != S3_PAYLOAD_STREAMING_TRAILER &&
        config->payload != S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER) {
        return s3_fault_set(fault, S3_INVALID_REQUEST, "This body is not streamed in chunks");
    }
    if (trailer.len > 0 && kind == S3_CHECKSUM_NONE) {
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "The value specified in the x-amz-trailer header is not supported");
    }
    if (trailer.len > 0 && config->payload == S3_PAYLOAD_STREAMING) {
        return s3_fault_set(fault, S3_INVALID_REQUEST, "x-amz-trailer needs a -TRAILER payload");
    }
    if (trailer.len == 0 && config->payload == S3_PAYLOAD_STREAMING_TRAILER) {
        return s3_fault_set(fault, S3_MALFORMED_TRAILER, "x-amz-trailer is missing");
    }
    decoder = calloc(1, sizeof(*decoder));
    if (decoder == NULL) {
        return -ENOMEM;
    }
    decoder->is_signed = streaming_is_signed(config->payload);
    decoder->trailer_wanted = trailer.len > 0;
    decoder->decoded_len = config->decoded_len;
    decoder->trailers.max = TRAILERS_MAX_BYTES;
    if (decoder->is_signed) {
        decoder->chain = *config->chain;
    }
    if (s3_checksum_init(&decoder->sum, kind) < 0) {
        free(decoder);
        return -ENOMEM;
    }
    *ret = decoder;
    return 0;
}

void s3_chunked_free(struct s3_chunked *decoder)
{
    if (decoder != NULL) {
        s3_checksum_done(&decoder->chunk_hash);
        s3_checksum_done(&decoder->sum);
        buf_done(&decoder->trailers);
        OPENSSL_cleanse(&decoder->chain, sizeof(decoder->chain));
        free(decoder);
    }
}

static bool valid_signature(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) {
            return false;
        }
    }
    return text.len == S3_HEX_SIZE - 1;
}

/* Up to 16 hex digits; at most what is still promised, so that no sum can overflow. */
static bool parse_size(struct slice *line, uint64_t *ret)
{
    uint64_t size = 0;
    size_t digits = 0;

    for (; digits < line->len; digits++) {
        char c = line->data[digits];
        int value = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;

        if (value < 0) {
            break;
        }
        if (digits == 16) {
            return false;
        }
        size = size << 4 | (uint64_t)value;
    }
    line->data += digits;
    line->len -= digits;
    *ret = size;
    return digits > 0;
}

/* The signature of the chunk that just ended is right (or the form has none). */
static int check_chunk(struct s3_chunked *decoder, struct s3_fault *fault)
{
    char hash[2 * S3_CHECKSUM_MAX + 1];

    if (!decoder->is_signed) {
        return 0;
    }
    s3_checksum_hex(&decoder->chunk_hash, hash);
    s3_checksum_done(&decoder->chunk_hash);
    if (s3_chunk_chain_next(&decoder->chain, hash) < 0) {
        decoder->state = STATE_FAILED;
        return -ENOMEM;
    }
    if (CRYPTO_memcmp(decoder->chain.previous, decoder->chunk_signature, S3_HEX_SIZE) != 0) {
        return fail(decoder, fault, S3_SIGNATURE_DOES_NOT_MATCH,
                    "The signature of a chunk does not match");
    }
    return 0;
}

/* "SIZE[;chunk-signature=HEX]" */
static int header_line(struct s3_chunked *decoder, struct slice line, struct s3_fault *fault)
{
    static const char field[] = ";chunk-signature=";
    uint64_t size = 0;

    if (!parse_size(&line, &size)) {
        return fail(decoder, fault, S3_INCOMPLETE_BODY, "A chunk's size is malformed");
    }
    if (decoder->is_signed) {
        struct slice signature = {line.data + sizeof(field) - 1, line.len - (sizeof(field) - 1)};

        if (!slice_starts_with(line, slice_of(field)) || !valid_signature(signature)) {
            return fail(decoder, fault, S3_INCOMPLETE_BODY, "A chunk has no well-formed signature");
        }
        memcpy(decoder->chunk_signature, signature.data, signature.len);
        if (s3_checksum_init(&decoder->chunk_hash, S3_CHECKSUM_SHA256) < 0) {
            decoder->state = STATE_FAILED;
            return -ENOMEM;
        }
    } else if (line.len > 0) {
        return fail(decoder, fault, S3_INCOMPLETE_BODY, "A chunk's size line is malformed");
    }
    if (size > decoder->decoded_len - decoder->seen_len) {
        return fail(decoder, fault, S3_INCOMPLETE_BODY,
                    "The body is longer than x-amz-decoded-content-length");
    }
    decoder->chunk_left = size;
    if (size > 0) {
        decoder->state = STATE_DATA;
        return 0;
    }
    decoder->state = STATE_TRAILER;
    return check_chunk(decoder, fault);
}

static int trailer_signature(struct s3_chunked *decoder, struct slice value, struct s3_fault *fault)
{
    struct slice signed_text = {buf_str(&decoder->trailers), buf_len(&decoder->trailers)};

    if (!decoder->is_signed || decoder->trailer_signed || !valid_signature(value)) {
        return fail(decoder, fault, S3_MALFORMED_TRAILER, "The trailer signature is malformed");
    }
    if (s3_chunk_chain_trailer(&decoder->chain, signed_text) < 0) {
        decoder->state = STATE_FAILED;
        return -ENOMEM;
    }
    if (CRYPTO_memcmp(decoder->chain.previous, value.data, value.len) != 0) {
        return fail(decoder, fault, S3_SIGNATURE_DOES_NOT_MATCH,
                    "The signature of the trailer does not match");
    }
    decoder->trailer_signed = true;
    return 0;
}

/* "name:value" */
static int trailer_line(struct s3_chunked *decoder, struct slice line, struct s3_fault *fault)
{
    const char *colon = memchr(line.data, ':', line.len);
    struct slice name;
    struct slice value;

    if (colon == NULL || ++decoder->trailer_lines > TRAILER_LINES_MAX || decoder->trailer_signed) {
        return fail(decoder, fault, S3_MALFORMED_TRAILER, "");
    }
    name = slice_trim((struct slice){line.data, (size_t)(colon - line.data)});
    value = slice_trim((struct slice){colon + 1, line.len - (size_t)(colon - line.data) - 1});
    if (slice_eq_str(name, "x-amz-trailer-signature")) {
        return trailer_signature(decoder, value, fault);
    }
    if (!decoder->trailer_wanted || decoder->trailer_seen ||
        s3_checksum_from_header(name) != decoder->sum.kind) {
        return fail(decoder, fault, S3_MALFORMED_TRAILER,
                    "The trailer is not the one that x-amz-trailer declares");
    }
    if (!s3_checksum_valid(decoder->sum.kind, value)) {
        return fail(decoder, fault, S3_INVALID_REQUEST,
                    "The value of the trailing checksum is malformed");
    }
    buf_add(&decoder->trailers, name.data, name.len);
    buf_addstr(&decoder->trailers, ":");
    buf_add(&decoder->trailers, value.data, value.len);
    buf_addstr(&decoder->trailers, "\n");
    decoder->trailer_seen = true;
    decoder->sum_kind = decoder->sum.kind;
    s3_checksum_base64(&decoder->sum, decoder->sum_text);
    if (!s3_checksum_same(value, slice_of(decoder->sum_text))) {
        return fail(decoder, fault, S3_BAD_DIGEST,
                    "The checksum of the trailer does not match the body");
    }
    return 0;
}

static int take_line(struct s3_chunked *decoder, struct slice line, struct s3_fault *fault)
{
    bool bare_lf = line.len == 0 || line.data[line.len - 1] != '\r';

    if (bare_lf && decoder->state != STATE_TRAILER) {
        return fail(decoder, fault, S3_INCOMPLETE_BODY, "A chunk does not end in CRLF");
    }
    line.len -= bare_lf ? 0 : 1;
    switch (decoder->state) {
    case STATE_HEADER:
        return header_line(decoder, line, fault);
    case STATE_DATA_END:
        if (line.len > 0) {
            return fail(decoder, fault, S3_INCOMPLETE_BODY, "A chunk is longer than its size");
        }
        decoder->state = STATE_HEADER;
        return check_chunk(decoder, fault);
    default:
        if (line.len > 0) {
            return trailer_line(decoder, line, fault);
        }
        /* An empty line ends the body, but one before the trailer's signature does not. */
        if (!decoder->trailer_wanted ||
            (decoder->trailer_seen && (!decoder->is_signed || decoder->trailer_signed))) {
            decoder->state = STATE_END;
        }
        return 0;
    }
}

/* Collect a line; returns bytes used or a negative errno value. */
static int feed_line(struct s3_chunked *decoder, const char *data, size_t len, size_t *used,
                     struct s3_fault *fault)
{
    const char *lf = memchr(data, '\n', len);
    size_t part = lf != NULL ? (size_t)(lf - data) : len;
    struct slice line;

    if (part > LINE_MAX_BYTES - decoder->line_len) {
        return fail(decoder, fault,
                    decoder->state == STATE_TRAILER ? S3_MALFORMED_TRAILER : S3_INCOMPLETE_BODY,
                    "A line of the body's framing is too long");
    }
    memcpy(decoder->line + decoder->line_len, data, part);
    decoder->line_len += part;
    *used = part;
    if (lf == NULL) {
        return 0;
    }
    *used = part + 1;
    line = (struct slice){decoder->line, decoder->line_len};
    decoder->line_len = 0;
    return take_line(decoder, line, fault);
}

int s3_chunked_decode(struct s3_chunked *decoder, const void *data, size_t len, size_t *ret_used,
                      struct slice *ret_bytes, struct s3_fault *fault)
{
    const char *p = data;
    size_t used = 0;

    *ret_bytes = (struct slice){NULL, 0};
    while (used < len) {
        size_t step = 0;
        int error;

        if (decoder->state == STATE_DATA) {
            size_t piece =
                len - used < decoder->chunk_left ? len - used : (size_t)decoder->chunk_left;

            s3_checksum_add(&decoder->chunk_hash, p + used, piece);
            s3_checksum_add(&decoder->sum, p + used, piece);
            decoder->seen_len += piece;
            decoder->chunk_left -= piece;
            if (decoder->chunk_left == 0) {
                decoder->state = STATE_DATA_END;
            }
            *ret_bytes = (struct slice){p + used, piece};
            used += piece;
            break;
        }
        if (decoder->state == STATE_FAILED) {
            return s3_fault_set(fault, S3_INCOMPLETE_BODY, "%s", "");
        }
        if (decoder->state == STATE_END) {
            /* Some senders end the body with one empty line more. */
            if (p[used] != '\r' && p[used] != '\n') {
                return fail(decoder, fault, S3_INCOMPLETE_BODY, "Bytes follow the last chunk");
            }
            used++;
            continue;
        }
        error = feed_line(decoder, p + used, len - used, &step, fault);
        if (error < 0) {
            return error;
        }
        used += step;
    }
    *ret_used = used;
    return 0;
}

int s3_chunked_finish(struct s3_chunked *decoder, struct s3_fault *fault)
{
    if (decoder->state == STATE_TRAILER && decoder->line_len > 0) {
        /* The last trailer line came without its line end. */
        struct slice line = {decoder->line, decoder->line_len};
        int error;

        decoder->line_len = 0;
        error = take_line(decoder, line, fault);
        if (error < 0) {
            return error;
        }
    }
    if (decoder->state != STATE_TRAILER && decoder->state != STATE_END) {
        return fail(decoder, fault, S3_INCOMPLETE_BODY, "The body ends before its last chunk");
    }
    if (decoder->seen_len != decoder->decoded_len) {
        return fail(decoder, fault, S3_INCOMPLETE_BODY,
                    "The body is shorter than x-amz-decoded-content-length");
    }
    if (decoder->trailer_wanted && !decoder->trailer_seen) {
        return fail(decoder, fault, S3_MALFORMED_TRAILER,
                    "The trailer that x-amz-trailer declares is missing");
    }
    if (decoder->trailer_wanted && decoder->is_signed && !decoder->trailer_signed) {
        return fail(decoder, fault, S3_SIGNATURE_DOES_NOT_MATCH, "The trailer is not signed");
    }
    return 0;
}

enum s3_checksum_kind s3_chunked_checksum_kind(const struct s3_chunked *decoder)
{
    return decoder->sum_kind;
}

const char *s3_chunked_checksum(const struct s3_chunked *decoder)
{
    return decoder->sum_text;
}

/* ---- encoder ---- */

int s3_chunk_encoder_init(struct s3_chunk_encoder *encoder, enum s3_payload payload,
                          const struct s3_chunk_chain *chain, enum s3_checksum_kind kind)
{
    *encoder = (struct s3_chunk_encoder){.payload = payload};
    if (chain != NULL) {
        encoder->chain = *chain;
    }
    return s3_checksum_init(&encoder->sum, kind);
}

void s3_chunk_encoder_done(struct s3_chunk_encoder *encoder)
{
    s3_checksum_done(&encoder->sum);
    OPENSSL_cleanse(&encoder->chain, sizeof(encoder->chain));
}

int s3_chunk_encode(struct s3_chunk_encoder *encoder, const void *bytes, size_t len,
                    struct buf *out)
{
    s3_checksum_add(&encoder->sum, bytes, len);
    if (streaming_is_signed(encoder->payload)) {
        char hash[2 * S3_CHECKSUM_MAX + 1];
        int error = s3_checksum_hex_of(S3_CHECKSUM_SHA256, bytes, len, hash);

        if (error == 0) {
            error = s3_chunk_chain_next(&encoder->chain, hash);
        }
        if (error < 0) {
            return error;
        }
        buf_addf(out, "%zx;chunk-signature=%s\r\n", len, encoder->chain.previous);
    } else {
        buf_addf(out, "%zx\r\n", len);
    }
    return buf_error(out);
}

int s3_chunk_encode_end(struct s3_chunk_encoder *encoder, struct buf *out)
{
    CLEANUP(buf_done) struct buf trailer = BUF_INIT(256);
    char sum[S3_CHECKSUM_TEXT_SIZE];
    int error = s3_chunk_encode(encoder, "", 0, out);

    if (error < 0) {
        return error;
    }
    if (encoder->sum.kind != S3_CHECKSUM_NONE) {
        s3_checksum_base64(&encoder->sum, sum);
        buf_addf(&trailer, "%s:%s\n", s3_checksum_header(encoder->sum.kind), sum);
        buf_addf(out, "%s:%s\r\n", s3_checksum_header(encoder->sum.kind), sum);
        if (streaming_is_signed(encoder->payload)) {
            error = s3_chunk_chain_trailer(&encoder->chain,
                                           (struct slice){buf_str(&trailer), buf_len(&trailer)});
            if (error < 0) {
                return error;
            }
            buf_addf(out, "x-amz-trailer-signature:%s\r\n", encoder->chain.previous);
        }
    }
    buf_addstr(out, "\r\n");
    return buf_error(out);
}

static uint64_t chunk_len(enum s3_payload payload, uint64_t len)
{
    char text[24];
    int digits = snprintf(text, sizeof(text), "%llx", (unsigned long long)len);

    return (uint64_t)digits + len + 2 + (len > 0 ? 2U : 0U) +
           (streaming_is_signed(payload) ? strlen(";chunk-signature=") + S3_HEX_SIZE - 1 : 0U);
}

uint64_t s3_chunk_encoded_len(enum s3_payload payload, enum s3_checksum_kind kind,
                              uint64_t decoded_len, uint64_t chunk_size)
{
    uint64_t whole = decoded_len / chunk_size;
    uint64_t rest = decoded_len % chunk_size;
    uint64_t total = whole * chunk_len(payload, chunk_size) +
                     (rest > 0 ? chunk_len(payload, rest) : 0) + chunk_len(payload, 0) + 2;

    if (kind != S3_CHECKSUM_NONE) {
        total += strlen(s3_checksum_header(kind)) + 1 + (s3_checksum_size(kind) + 2) / 3 * 4 + 2;
        if (streaming_is_signed(payload)) {
            total += strlen("x-amz-trailer-signature:") + S3_HEX_SIZE - 1 + 2;
        }
    }
    return total;
}
