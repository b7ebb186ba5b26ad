/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "s3/chunked.h"
#include "test.h"
#include "util/cleanup.h"

/* The worked examples of the S3 API: 66560 bytes of 'a' as 64 KiB, 1 KiB and the last chunk. */
#define SEED "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
#define CHUNK1 "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"
#define CHUNK2 "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"
#define CHUNK3 "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"
#define T_SEED "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
#define T_CHUNK1 "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"
#define T_CHUNK2 "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"
#define T_CHUNK3 "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"
#define T_TRAILER "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"

enum { TOTAL = 66560, BODY_MAX = 70000 };

static struct s3_chunk_chain chain_of(const char *seed)
{
    struct s3_signing_key key;
    struct s3_chunk_chain chain;

    assert_int_equal(s3_signing_key_derive("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524",
                                           "us-east-1", "s3", &key),
                     0);
    assert_int_equal(s3_chunk_chain_init(&chain, &key, "20130524T000000Z", "us-east-1", seed), 0);
    return chain;
}

static void add_as(struct buf *body, size_t count)
{
    char block[1024];

    memset(block, 'a', sizeof(block));
    for (; count > 0; count -= count < sizeof(block) ? count : sizeof(block)) {
        buf_add(body, block, count < sizeof(block) ? count : sizeof(block));
    }
}

static void published_body(struct buf *body, const char *const signatures[3], const char *trailer)
{
    buf_addf(body, "10000;chunk-signature=%s\r\n", signatures[0]);
    add_as(body, 65536);
    buf_addf(body, "\r\n400;chunk-signature=%s\r\n", signatures[1]);
    add_as(body, 1024);
    buf_addf(body, "\r\n0;chunk-signature=%s\r\n%s\r\n", signatures[2], trailer);
    assert_int_equal(buf_error(body), 0);
}

struct outcome {
    int ret;
    enum s3_code code;
    size_t bytes;
    bool all_a;
    char checksum[S3_CHECKSUM_TEXT_SIZE];
};

static int decode_pieces(struct s3_chunked *decoder, struct slice body, size_t step,
                         struct outcome *outcome, struct s3_fault *fault)
{
    for (size_t at = 0; at < body.len; at += step) {
        const char *data = body.data + at;
        size_t len = body.len - at < step ? body.len - at : step;

        while (len > 0) {
            struct slice bytes;
            size_t used = 0;
            int ret = s3_chunked_decode(decoder, data, len, &used, &bytes, fault);

            if (ret < 0) {
                return ret;
            }
            assert_true(used > 0 && used <= len);
            for (size_t i = 0; i < bytes.len; i++) {
                outcome->all_a = outcome->all_a && bytes.data[i] == 'a';
            }
            outcome->bytes += bytes.len;
            data += used;
            len -= used;
        }
    }
    return s3_chunked_finish(decoder, fault);
}

static struct outcome decode(const struct s3_chunked_config *config, struct slice body, size_t step)
{
    struct outcome outcome = {.all_a = true};
    struct s3_chunked *decoder = NULL;
    struct s3_fault fault = S3_FAULT_INIT;

    outcome.ret = s3_chunked_new(config, &decoder, &fault);
    if (outcome.ret == 0) {
        outcome.ret = decode_pieces(decoder, body, step, &outcome, &fault);
        memcpy(outcome.checksum, s3_chunked_checksum(decoder), sizeof(outcome.checksum));
    }
    s3_chunked_free(decoder);
    outcome.code = fault.code;
    return outcome;
}

static struct slice slice_of_buf(const struct buf *b)
{
    return (struct slice){buf_str(b), buf_len(b)};
}

static void the_published_chunks_decode_in_pieces_of_any_size(UNUSED void **state)
{
    static const size_t steps[] = {1, 7, 100, 65536, BODY_MAX};
    CLEANUP(buf_done) struct buf body = BUF_INIT(BODY_MAX);
    struct s3_chunk_chain chain = chain_of(SEED);
    struct s3_chunked_config config = {
        .payload = S3_PAYLOAD_STREAMING, .decoded_len = TOTAL, .chain = &chain};

    published_body(&body, (const char *const[3]){CHUNK1, CHUNK2, CHUNK3}, "");
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct outcome outcome = decode(&config, slice_of_buf(&body), steps[i]);

        assert_int_equal(outcome.ret, 0);
        assert_int_equal(outcome.bytes, TOTAL);
        assert_true(outcome.all_a);
    }
}

#define TRAILER "x-amz-checksum-crc32c:sOO8/Q==\r\n"

static void the_published_signed_trailer_is_verified(UNUSED void **state)
{
    static const char *const signatures[3] = {T_CHUNK1, T_CHUNK2, T_CHUNK3};
    CLEANUP(buf_done) struct buf body = BUF_INIT(BODY_MAX);
    struct s3_chunk_chain chain = chain_of(T_SEED);
    struct s3_chunked_config config = {.payload = S3_PAYLOAD_STREAMING_TRAILER,
                                       .decoded_len = TOTAL,
                                       .chain = &chain,
                                       .trailer = slice_of("x-amz-checksum-crc32c")};
    struct outcome outcome;

    published_body(&body, signatures, TRAILER "x-amz-trailer-signature:" T_TRAILER "\r\n");
    outcome = decode(&config, slice_of_buf(&body), 1000);
    assert_int_equal(outcome.ret, 0);
    assert_string_equal(outcome.checksum, "sOO8/Q==");

    buf_reset(&body);
    published_body(&body, signatures, TRAILER "x-amz-trailer-signature:" CHUNK1 "\r\n");
    assert_int_equal(decode(&config, slice_of_buf(&body), 1000).code, S3_SIGNATURE_DOES_NOT_MATCH);

    buf_reset(&body);
    published_body(&body, signatures, TRAILER);
    assert_int_equal(decode(&config, slice_of_buf(&body), 1000).code, S3_SIGNATURE_DOES_NOT_MATCH);

    buf_reset(&body);
    published_body(&body, signatures, "");
    assert_int_equal(decode(&config, slice_of_buf(&body), 1000).code, S3_MALFORMED_TRAILER);
}

static void a_changed_byte_or_signature_is_refused(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf body = BUF_INIT(BODY_MAX);
    struct s3_chunk_chain chain = chain_of(SEED);
    struct s3_chunk_chain wrong = chain_of(T_SEED);
    struct s3_chunked_config config = {
        .payload = S3_PAYLOAD_STREAMING, .decoded_len = TOTAL, .chain = &chain};

    published_body(&body, (const char *const[3]){CHUNK1, CHUNK2, CHUNK3}, "");
    body.data[60000] = 'b';
    assert_int_equal(decode(&config, slice_of_buf(&body), 5000).code, S3_SIGNATURE_DOES_NOT_MATCH);
    body.data[60000] = 'a';
    config.chain = &wrong;
    assert_int_equal(decode(&config, slice_of_buf(&body), 5000).code, S3_SIGNATURE_DOES_NOT_MATCH);
    buf_reset(&body);
    published_body(&body, (const char *const[3]){CHUNK1, CHUNK2, CHUNK2}, "");
    config.chain = &chain;
    assert_int_equal(decode(&config, slice_of_buf(&body), 5000).code, S3_SIGNATURE_DOES_NOT_MATCH);
}

struct unsigned_case {
    const char *body;
    uint64_t decoded_len;
    const char *trailer;
    enum s3_code code;
};

/* CRC32 of "aaaa" is 0xad98e545. */
#define CRC_AAAA "x-amz-checksum-crc32:rZjlRQ=="

static void unsigned_bodies_are_taken_or_refused_for_their_reason(UNUSED void **state)
{
    static const struct unsigned_case cases[] = {
        {"4\r\naaaa\r\n0\r\n" CRC_AAAA "\r\n\r\n", 4, "x-amz-checksum-crc32", S3_OK},
        {"1\r\na\r\n3\r\naaa\r\n0\r\n" CRC_AAAA "\r\n\r\n", 4, "x-amz-checksum-crc32", S3_OK},
        {"4\r\naaaa\r\n0\r\n" CRC_AAAA "\n\r\n\r\n", 4, "x-amz-checksum-crc32", S3_OK},
        {"4\r\naaaa\r\n0\r\n" CRC_AAAA, 4, "X-Amz-Checksum-Crc32", S3_OK},
        {"4\r\naaaa\r\n0\r\n\r\n", 4, "", S3_OK},
        {"0\r\n\r\n", 0, "", S3_OK},
        {"4\r\naaab\r\n0\r\n" CRC_AAAA "\r\n\r\n", 4, "x-amz-checksum-crc32", S3_BAD_DIGEST},
        {"4\r\naaaa\r\n0\r\nx-amz-checksum-crc32:rZjl\r\n\r\n", 4, "x-amz-checksum-crc32",
         S3_INVALID_REQUEST},
        {"4\r\naaaa\r\n0\r\n\r\n", 4, "x-amz-checksum-crc32", S3_MALFORMED_TRAILER},
        {"4\r\naaaa\r\n0\r\n" CRC_AAAA "\r\n\r\n", 4, "x-amz-checksum-crc32c",
         S3_MALFORMED_TRAILER},
        {"4\r\naaaa\r\n0\r\n" CRC_AAAA "\r\n" CRC_AAAA "\r\n\r\n", 4, "x-amz-checksum-crc32",
         S3_MALFORMED_TRAILER},
        {"4\r\naaaa\r\n0\r\nno colon\r\n\r\n", 4, "x-amz-checksum-crc32", S3_MALFORMED_TRAILER},
        {"4\r\naaaa\r\n", 4, "", S3_INCOMPLETE_BODY},
        {"4\r\naaa", 4, "", S3_INCOMPLETE_BODY},
        {"", 0, "", S3_INCOMPLETE_BODY},
        {"4\r\naaaa\r\n0\r\n\r\n", 5, "", S3_INCOMPLETE_BODY},
        {"4\r\naaaa\r\n0\r\n\r\n", 3, "", S3_INCOMPLETE_BODY},
        {"4\r\naaaaa\r\n0\r\n\r\n", 4, "", S3_INCOMPLETE_BODY},
        {"4\naaaa\r\n0\r\n\r\n", 4, "", S3_INCOMPLETE_BODY},
        {"-4\r\naaaa\r\n0\r\n\r\n", 4, "", S3_INCOMPLETE_BODY},
        {"0x4\r\naaaa\r\n0\r\n\r\n", 4, "", S3_INCOMPLETE_BODY},
        {"4;x=1\r\naaaa\r\n0\r\n\r\n", 4, "", S3_INCOMPLETE_BODY},
        {"fffffffffffffffff\r\n", 4, "", S3_INCOMPLETE_BODY},
        {"ffffffffffffffff\r\n", 4, "", S3_INCOMPLETE_BODY},
        {"4\r\naaaa\r\n0\r\n\r\nmore", 4, "", S3_INCOMPLETE_BODY},
        {"0\r\n\r\n", 0, "x-amz-meta-a", S3_INVALID_REQUEST},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct s3_chunked_config config = {.payload = S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER,
                                           .decoded_len = cases[i].decoded_len,
                                           .trailer = slice_of(cases[i].trailer)};

        for (size_t step = 1; step < 64; step += 13) {
            struct outcome outcome = decode(&config, slice_of(cases[i].body), step);

            if (outcome.code != cases[i].code) {
                print_error("case %zu: %s\n", i, s3_code_name(outcome.code));
            }
            assert_int_equal(outcome.code, cases[i].code);
            assert_int_equal(outcome.ret == 0, cases[i].code == S3_OK);
        }
    }
}

static void a_framing_line_without_end_is_refused(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf body = BUF_INIT(BODY_MAX);
    struct s3_chunked_config config = {.payload = S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER,
                                       .decoded_len = 1};

    add_as(&body, 5000);
    assert_int_equal(decode(&config, slice_of_buf(&body), 10).code, S3_INCOMPLETE_BODY);
}

static void a_failed_decoder_stays_failed(UNUSED void **state)
{
    struct s3_chunked_config config = {.payload = S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER};
    struct s3_chunked *decoder = NULL;
    struct s3_fault fault = S3_FAULT_INIT;
    struct slice bytes;
    size_t used = 0;

    assert_int_equal(s3_chunked_new(&config, &decoder, &fault), 0);
    assert_int_equal(s3_chunked_decode(decoder, "x\r\n", 3, &used, &bytes, &fault), -EBADMSG);
    assert_int_equal(s3_chunked_decode(decoder, "0\r\n\r\n", 5, &used, &bytes, &fault), -EBADMSG);
    assert_int_equal(s3_chunked_finish(decoder, &fault), -EBADMSG);
    s3_chunked_free(decoder);
}

static void encode_all(enum s3_payload payload, const struct s3_chunk_chain *chain,
                       enum s3_checksum_kind kind, size_t total, struct buf *out)
{
    struct s3_chunk_encoder encoder;
    CLEANUP(buf_done) struct buf data = BUF_INIT(BODY_MAX);

    add_as(&data, total);
    assert_int_equal(s3_chunk_encoder_init(&encoder, payload, chain, kind), 0);
    for (size_t at = 0; at < total; at += 65536) {
        size_t len = total - at < 65536 ? total - at : 65536;

        assert_int_equal(s3_chunk_encode(&encoder, data.data + at, len, out), 0);
        buf_add(out, data.data + at, len);
        buf_addstr(out, "\r\n");
    }
    assert_int_equal(s3_chunk_encode_end(&encoder, out), 0);
    s3_chunk_encoder_done(&encoder);
    assert_int_equal(buf_error(out), 0);
    assert_int_equal(buf_len(out), s3_chunk_encoded_len(payload, kind, total, 65536));
}

static void what_the_encoder_writes_is_the_published_body(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf expected = BUF_INIT(BODY_MAX);
    CLEANUP(buf_done) struct buf out = BUF_INIT(BODY_MAX);
    struct s3_chunk_chain chain = chain_of(SEED);

    published_body(&expected, (const char *const[3]){CHUNK1, CHUNK2, CHUNK3}, "");
    encode_all(S3_PAYLOAD_STREAMING, &chain, S3_CHECKSUM_NONE, TOTAL, &out);
    assert_string_equal(buf_str(&out), buf_str(&expected));
    assert_int_equal(buf_len(&out), 66824); /* the Content-Length of the example */

    buf_reset(&expected);
    buf_reset(&out);
    chain = chain_of(T_SEED);
    published_body(&expected, (const char *const[3]){T_CHUNK1, T_CHUNK2, T_CHUNK3},
                   TRAILER "x-amz-trailer-signature:" T_TRAILER "\r\n");
    encode_all(S3_PAYLOAD_STREAMING_TRAILER, &chain, S3_CHECKSUM_CRC32C, TOTAL, &out);
    assert_string_equal(buf_str(&out), buf_str(&expected));
}

static void what_the_encoder_writes_the_decoder_reads(UNUSED void **state)
{
    static const size_t totals[] = {0, 1, 65535, 65536, 65537};

    for (int kind = S3_CHECKSUM_NONE; kind <= S3_CHECKSUM_SHA256; kind++) {
        for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++) {
            CLEANUP(buf_done) struct buf out = BUF_INIT(BODY_MAX);
            struct s3_chunked_config config = {
                .payload = S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER,
                .decoded_len = totals[i],
                .trailer = slice_of(s3_checksum_header((enum s3_checksum_kind)kind))};
            struct outcome outcome;

            encode_all(config.payload, NULL, (enum s3_checksum_kind)kind, totals[i], &out);
            outcome = decode(&config, slice_of_buf(&out), 4096);
            assert_int_equal(outcome.ret, 0);
            assert_int_equal(outcome.bytes, totals[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_chunks_decode_in_pieces_of_any_size),
        cmocka_unit_test(the_published_signed_trailer_is_verified),
        cmocka_unit_test(a_changed_byte_or_signature_is_refused),
        cmocka_unit_test(unsigned_bodies_are_taken_or_refused_for_their_reason),
        cmocka_unit_test(a_framing_line_without_end_is_refused),
        cmocka_unit_test(a_failed_decoder_stays_failed),
        cmocka_unit_test(what_the_encoder_writes_is_the_published_body),
        cmocka_unit_test(what_the_encoder_writes_the_decoder_reads),
    };

    return cmocka_run_group_tests_name("s3/chunked", tests, NULL, NULL);
}
