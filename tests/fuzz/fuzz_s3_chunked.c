/* SPDX-License-Identifier: Apache-2.0 */
/* First byte: the kind and how the rest is cut; second: the promised length. */
#include "fuzz.h"
#include "s3/chunked.h"

struct total {
    uint64_t bytes;
    enum s3_code code;
};

static struct total decode(const struct s3_chunked_config *config, const uint8_t *data, size_t size,
                           size_t step)
{
    struct s3_chunked *decoder = NULL;
    struct s3_fault fault = S3_FAULT_INIT;
    struct total total = {0};
    int ret = s3_chunked_new(config, &decoder, &fault);

    for (size_t at = 0; ret == 0 && at < size; at += step) {
        const uint8_t *piece = data + at;
        size_t len = size - at < step ? size - at : step;

        while (ret == 0 && len > 0) {
            struct slice bytes;
            size_t used = 0;

            ret = s3_chunked_decode(decoder, piece, len, &used, &bytes, &fault);
            if (ret == 0) {
                CHECK(used > 0 && used <= len && bytes.len <= used);
                total.bytes += bytes.len;
                piece += used;
                len -= used;
            }
        }
    }
    if (ret == 0) {
        ret = s3_chunked_finish(decoder, &fault);
        CHECK(ret < 0 || total.bytes == config->decoded_len);
    }
    CHECK(total.bytes <= config->decoded_len);
    CHECK((ret == 0) == (fault.code == S3_OK));
    s3_chunked_free(decoder);
    total.code = fault.code;
    return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum s3_payload kinds[] = {S3_PAYLOAD_STREAMING, S3_PAYLOAD_STREAMING_TRAILER,
                                            S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER,
                                            S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER};
    static const struct s3_chunk_chain chain = {.timestamp = "20130524T000000Z",
                                                .scope = "20130524/us-east-1/s3/aws4_request",
                                                .previous = S3_EMPTY_SHA256};
    struct s3_chunked_config config = {.chain = &chain};
    struct total whole;
    struct total cut;

    if (size < 2) {
        return 0;
    }
    config.payload = kinds[data[0] & 3];
    config.decoded_len = data[1];
    if ((data[0] & 3) == 1 || (data[0] & 3) == 2) {
        config.trailer = slice_of("x-amz-checksum-crc32");
    }
    /* How the bytes arrive must not matter. */
    whole = decode(&config, data + 2, size - 2, size);
    cut = decode(&config, data + 2, size - 2, (size_t)(data[0] >> 2) + 1);
    CHECK(whole.code == cut.code);
    return 0;
}
