/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/checksum.h"

#include <errno.h>
#include <isa-l.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <strings.h>

#include "s3/crc64.h"
#include "util/cleanup.h"
#include "util/encode.h"

static const struct {
    const char *name;
    const char *header;
    size_t size;
} kinds[S3_CHECKSUM_COUNT] = {
    [S3_CHECKSUM_NONE] = {"", "", 0},
    [S3_CHECKSUM_CRC32] = {"CRC32", "x-amz-checksum-crc32", 4},
    [S3_CHECKSUM_CRC32C] = {"CRC32C", "x-amz-checksum-crc32c", 4},
    [S3_CHECKSUM_CRC64NVME] = {"CRC64NVME", "x-amz-checksum-crc64nvme", 8},
    [S3_CHECKSUM_SHA1] = {"SHA1", "x-amz-checksum-sha1", 20},
    [S3_CHECKSUM_SHA256] = {"SHA256", "x-amz-checksum-sha256", 32},
    [S3_CHECKSUM_MD5] = {"MD5", "content-md5", 16},
};

/* Polynomials, bit-reflected. */
static const uint64_t crc32_poly = 0xEDB88320U;
static const uint64_t crc32c_poly = 0x82F63B78U;

const char *s3_checksum_name(enum s3_checksum_kind kind)
{
    return kinds[kind].name;
}

const char *s3_checksum_header(enum s3_checksum_kind kind)
{
    return kinds[kind].header;
}

size_t s3_checksum_size(enum s3_checksum_kind kind)
{
    return kinds[kind].size;
}

static bool same_word(struct slice text, const char *word)
{
    return text.len == strlen(word) && text.len > 0 && strncasecmp(text.data, word, text.len) == 0;
}

enum s3_checksum_kind s3_checksum_from_name(struct slice name)
{
    for (int kind = S3_CHECKSUM_CRC32; kind <= S3_CHECKSUM_SHA256; kind++) {
        if (same_word(name, kinds[kind].name)) {
            return (enum s3_checksum_kind)kind;
        }
    }
    return S3_CHECKSUM_NONE;
}

enum s3_checksum_kind s3_checksum_from_header(struct slice name)
{
    for (int kind = S3_CHECKSUM_CRC32; kind <= S3_CHECKSUM_SHA256; kind++) {
        if (same_word(name, kinds[kind].header)) {
            return (enum s3_checksum_kind)kind;
        }
    }
    return S3_CHECKSUM_NONE;
}

/* ---- incremental ---- */

/* Looked up once: that costs more than a short digest itself. */
static EVP_MD *digests[S3_CHECKSUM_COUNT];
static pthread_once_t digests_once = PTHREAD_ONCE_INIT;

static void fetch_digests(void)
{
    digests[S3_CHECKSUM_SHA1] = EVP_MD_fetch(NULL, "SHA1", NULL);
    digests[S3_CHECKSUM_SHA256] = EVP_MD_fetch(NULL, "SHA256", NULL);
    digests[S3_CHECKSUM_MD5] = EVP_MD_fetch(NULL, "MD5", NULL);
}

int s3_checksum_init(struct s3_checksum *sum, enum s3_checksum_kind kind)
{
    *sum = (struct s3_checksum){.kind = kind};
    if (kind < S3_CHECKSUM_SHA1) {
        return 0;
    }
    (void)pthread_once(&digests_once, fetch_digests);
    sum->digest = EVP_MD_CTX_new();
    if (sum->digest == NULL || digests[kind] == NULL ||
        EVP_DigestInit_ex2(sum->digest, digests[kind], NULL) != 1) {
        s3_checksum_done(sum);
        return -ENOMEM;
    }
    return 0;
}

void s3_checksum_done(struct s3_checksum *sum)
{
    EVP_MD_CTX_free(sum->digest);
    *sum = (struct s3_checksum){.kind = S3_CHECKSUM_NONE};
}

/* ISA-L reads only, but one of its functions does not say const. */
static unsigned char *not_const(const unsigned char *p)
{
    unsigned char *ret;

    memcpy(&ret, &p, sizeof(ret));
    return ret;
}

void s3_checksum_add(struct s3_checksum *sum, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;

    if (len == 0 || sum->kind == S3_CHECKSUM_NONE) {
        return;
    }
    switch (sum->kind) {
    case S3_CHECKSUM_CRC32:
        sum->crc = crc32_gzip_refl((uint32_t)sum->crc, p, len);
        break;
    case S3_CHECKSUM_CRC32C:
        while (len > 0) {
            size_t piece = len < 1 << 30 ? len : 1 << 30;

            sum->crc = ~crc32_iscsi(not_const(p), (int)piece, ~(uint32_t)sum->crc);
            p += piece;
            len -= piece;
        }
        break;
    case S3_CHECKSUM_CRC64NVME:
        sum->crc = crc64nvme(sum->crc, p, len);
        break;
    default:
        /* Cannot fail with a digest that was initialised. */
        (void)EVP_DigestUpdate(sum->digest, p, len);
        break;
    }
}

void s3_checksum_raw(struct s3_checksum *sum, unsigned char ret[S3_CHECKSUM_MAX])
{
    size_t size = kinds[sum->kind].size;

    if (sum->digest != NULL) {
        unsigned char out[EVP_MAX_MD_SIZE] = {0};

        (void)EVP_DigestFinal_ex(sum->digest, out, NULL);
        memcpy(ret, out, size);
        return;
    }
    for (size_t i = 0; i < size; i++) {
        ret[i] = (unsigned char)(sum->crc >> (8 * (size - 1 - i)) & 255);
    }
}

static void to_base64(const unsigned char *raw, size_t size, char ret[S3_CHECKSUM_TEXT_SIZE])
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(S3_CHECKSUM_TEXT_SIZE - 1);

    encode_base64(&text, raw, size);
    memcpy(ret, buf_str(&text), buf_len(&text));
    ret[buf_len(&text)] = '\0';
}

static void to_hex(const unsigned char *raw, size_t size, char *ret)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        ret[2 * i] = digits[raw[i] >> 4];
        ret[2 * i + 1] = digits[raw[i] & 15];
    }
    ret[2 * size] = '\0';
}

void s3_checksum_base64(struct s3_checksum *sum, char ret[S3_CHECKSUM_TEXT_SIZE])
{
    unsigned char raw[S3_CHECKSUM_MAX];

    s3_checksum_raw(sum, raw);
    to_base64(raw, kinds[sum->kind].size, ret);
}

void s3_checksum_hex(struct s3_checksum *sum, char ret[2 * S3_CHECKSUM_MAX + 1])
{
    unsigned char raw[S3_CHECKSUM_MAX];

    s3_checksum_raw(sum, raw);
    to_hex(raw, kinds[sum->kind].size, ret);
}

int s3_checksum_hex_of(enum s3_checksum_kind kind, const void *bytes, size_t len,
                       char ret[2 * S3_CHECKSUM_MAX + 1])
{
    CLEANUP(s3_checksum_done) struct s3_checksum sum = {.kind = S3_CHECKSUM_NONE};
    int error = s3_checksum_init(&sum, kind);

    if (error < 0) {
        return error;
    }
    s3_checksum_add(&sum, bytes, len);
    s3_checksum_hex(&sum, ret);
    return 0;
}

int s3_checksum_base64_of(enum s3_checksum_kind kind, const void *bytes, size_t len,
                          char ret[S3_CHECKSUM_TEXT_SIZE])
{
    CLEANUP(s3_checksum_done) struct s3_checksum sum = {.kind = S3_CHECKSUM_NONE};
    int error = s3_checksum_init(&sum, kind);

    if (error < 0) {
        return error;
    }
    s3_checksum_add(&sum, bytes, len);
    s3_checksum_base64(&sum, ret);
    return 0;
}

bool s3_checksum_valid(enum s3_checksum_kind kind, struct slice base64)
{
    unsigned char raw[S3_CHECKSUM_MAX];
    size_t len = 0;

    return kind != S3_CHECKSUM_NONE && decode_base64(base64, raw, sizeof(raw), &len) == 0 &&
           len == kinds[kind].size;
}

bool s3_checksum_same(struct slice a, struct slice b)
{
    return a.len == b.len && CRYPTO_memcmp(a.data, b.data, a.len) == 0;
}

/* ---- combining: CRC(A|B) is CRC(A) * x^(8 |B|) + CRC(B) in GF(2)[x] modulo the polynomial ---- */

static uint64_t shift_by_bytes(uint64_t crc, uint64_t bytes, uint64_t poly, uint64_t top)
{
    uint64_t power = top >> 8; /* x^8 */

    for (; bytes > 0; bytes >>= 1) {
        if ((bytes & 1) != 0) {
            crc = crc_multiply(crc, power, poly, top);
        }
        power = crc_multiply(power, power, poly, top);
    }
    return crc;
}

static int crc_from_base64(const char *text, size_t size, uint64_t *ret)
{
    unsigned char raw[8];
    size_t len = 0;
    uint64_t crc = 0;

    if (decode_base64(slice_of(text), raw, sizeof(raw), &len) < 0 || len != size) {
        return -EINVAL;
    }
    for (size_t i = 0; i < size; i++) {
        crc = crc << 8 | raw[i];
    }
    *ret = crc;
    return 0;
}

int s3_checksum_combine(enum s3_checksum_kind kind, const char *a, const char *b, uint64_t b_len,
                        char ret[S3_CHECKSUM_TEXT_SIZE])
{
    uint64_t poly = kind == S3_CHECKSUM_CRC32    ? crc32_poly
                    : kind == S3_CHECKSUM_CRC32C ? crc32c_poly
                                                 : CRC64NVME_POLY;
    size_t size = kinds[kind].size;
    uint64_t top = size == 4 ? 1ULL << 31 : 1ULL << 63;
    struct s3_checksum sum = {.kind = kind};
    uint64_t crc_a = 0;
    uint64_t crc_b = 0;

    if (kind != S3_CHECKSUM_CRC32 && kind != S3_CHECKSUM_CRC32C && kind != S3_CHECKSUM_CRC64NVME) {
        return -EINVAL;
    }
    if (crc_from_base64(a, size, &crc_a) < 0 || crc_from_base64(b, size, &crc_b) < 0) {
        return -EINVAL;
    }
    sum.crc = shift_by_bytes(crc_a, b_len, poly, top) ^ crc_b;
    s3_checksum_base64(&sum, ret);
    return 0;
}
