/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folding: a 128-bit register R followed by D bits of message and then the next 128 bits N stands
 * for R x^D + N, and R x^D may be replaced by anything congruent to it modulo the polynomial. With
 * R = H x^64 + L that is H (x^(D+64) mod P) + L (x^D mod P): two carry-less products. In the
 * bit-reflected order of this CRC a product comes out multiplied by x, so the factors used are
 * x^(D+63) and x^(D-1). Four registers run side by side to keep the multiplier busy; at the end one
 * is left, and the table gives the CRC of its 16 bytes and of the rest. Where the processor
 * multiplies four at once, sixteen run.
 */
#include "s3/crc64.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { SLICES = 8 };

static uint64_t table[SLICES][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const uint64_t top_bit = 1ULL << 63; /* x^0 */

static bool can_fold, can_fold_wide;
static uint64_t fold_2048[2]; /* factors of the high and the low half for D = 2048 */
static uint64_t fold_512[2];
static uint64_t fold_128[2];

uint64_t crc_multiply(uint64_t a, uint64_t b, uint64_t poly, uint64_t top)
{
    uint64_t product = 0;

    for (uint64_t bit = top; bit != 0; bit >>= 1) {
        if ((a & bit) != 0) {
            product ^= b;
        }
        b = (b & 1) != 0 ? (b >> 1) ^ poly : b >> 1;
    }
    return product;
}

static uint64_t power_of_x(unsigned int exponent)
{
    uint64_t power = top_bit;

    for (; exponent > 0; exponent--) {
        power = crc_multiply(power, top_bit >> 1, CRC64NVME_POLY, top_bit);
    }
    return power;
}

static void set_fold(uint64_t fold[2], unsigned int distance)
{
    fold[0] = power_of_x(distance + 63);
    fold[1] = power_of_x(distance - 1);
}

static void prepare(void)
{
    for (unsigned int byte = 0; byte < 256; byte++) {
        uint64_t crc = byte;

        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? CRC64NVME_POLY : 0);
        }
        table[0][byte] = crc;
    }
    for (unsigned int slice = 1; slice < SLICES; slice++) {
        for (unsigned int byte = 0; byte < 256; byte++) {
            uint64_t crc = table[slice - 1][byte];

            table[slice][byte] = (crc >> 8) ^ table[0][crc & 255];
        }
    }
    set_fold(fold_2048, 2048);
    set_fold(fold_512, 512);
    set_fold(fold_128, 128);
#if defined(__x86_64__)
    can_fold = __builtin_cpu_supports("pclmul") != 0;
    can_fold_wide = can_fold && __builtin_cpu_supports("avx512f") != 0 &&
                    __builtin_cpu_supports("vpclmulqdq") != 0;
#endif
}

/* The register as it is, without the inversions at both ends. */
static uint64_t raw_by_table(uint64_t crc, const unsigned char *p, size_t len)
{
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word = 0;

        for (unsigned int i = 0; i < 8; i++) {
            word |= (uint64_t)p[i] << (8 * i); /* one load on little-endian machines */
        }
        word ^= crc;
        crc = table[7][word & 255] ^ table[6][word >> 8 & 255] ^ table[5][word >> 16 & 255] ^
              table[4][word >> 24 & 255] ^ table[3][word >> 32 & 255] ^ table[2][word >> 40 & 255] ^
              table[1][word >> 48 & 255] ^ table[0][word >> 56];
    }
    for (; len > 0; p++, len--) {
        crc = (crc >> 8) ^ table[0][(crc ^ *p) & 255];
    }
    return crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define FOLDS __attribute__((target("pclmul")))
#define FOLDS_WIDE __attribute__((target("pclmul,avx512f,vpclmulqdq")))

FOLDS static __m128i load(const unsigned char *p)
{
    __m128i ret;

    memcpy(&ret, p, sizeof(ret));
    return ret;
}

FOLDS static __m128i fold(__m128i state, __m128i factors, __m128i next)
{
    __m128i high = _mm_clmulepi64_si128(state, factors, 0x00);
    __m128i low = _mm_clmulepi64_si128(state, factors, 0x11);

    return _mm_xor_si128(_mm_xor_si128(high, low), next);
}

FOLDS static __m128i factors(const uint64_t fold[2])
{
    return _mm_set_epi64x((long long)fold[1], (long long)fold[0]);
}

/* Of one register and of what follows it. */
FOLDS static uint64_t end_of_folding(__m128i state, const unsigned char *p, size_t len)
{
    __m128i near = factors(fold_128);
    unsigned char last[16];

    for (; len >= 16; p += 16, len -= 16) {
        state = fold(state, near, load(p));
    }
    memcpy(last, &state, sizeof(last));
    return raw_by_table(raw_by_table(0, last, sizeof(last)), p, len);
}

/* At least 64 bytes. */
FOLDS static uint64_t raw_by_folding(uint64_t crc, const unsigned char *p, size_t len)
{
    __m128i far = factors(fold_512), near = factors(fold_128);
    __m128i a = _mm_xor_si128(load(p), _mm_set_epi64x(0, (long long)crc));
    __m128i b = load(p + 16);
    __m128i c = load(p + 32);
    __m128i d = load(p + 48);

    for (p += 64, len -= 64; len >= 64; p += 64, len -= 64) {
        a = fold(a, far, load(p));
        b = fold(b, far, load(p + 16));
        c = fold(c, far, load(p + 32));
        d = fold(d, far, load(p + 48));
    }
    a = fold(fold(fold(a, near, b), near, c), near, d);
    return end_of_folding(a, p, len);
}

FOLDS_WIDE static __m512i load_wide(const unsigned char *p)
{
    return _mm512_loadu_si512(p);
}

FOLDS_WIDE static __m512i fold_wide(__m512i state, __m512i factors, __m512i next)
{
    __m512i high = _mm512_clmulepi64_epi128(state, factors, 0x00);
    __m512i low = _mm512_clmulepi64_epi128(state, factors, 0x11);

    return _mm512_ternarylogic_epi64(high, low, next, 0x96); /* the sum of all three */
}

/* At least 256 bytes. */
FOLDS_WIDE static uint64_t raw_by_wide_folding(uint64_t crc, const unsigned char *p, size_t len)
{
    __m512i far = _mm512_broadcast_i32x4(factors(fold_2048));
    __m512i near = _mm512_broadcast_i32x4(factors(fold_512));
    __m512i a =
        _mm512_xor_si512(load_wide(p), _mm512_zextsi128_si512(_mm_set_epi64x(0, (long long)crc)));
    __m512i b = load_wide(p + 64);
    __m512i c = load_wide(p + 128);
    __m512i d = load_wide(p + 192);
    __m128i close = factors(fold_128), e;

    for (p += 256, len -= 256; len >= 256; p += 256, len -= 256) {
        a = fold_wide(a, far, load_wide(p));
        b = fold_wide(b, far, load_wide(p + 64));
        c = fold_wide(c, far, load_wide(p + 128));
        d = fold_wide(d, far, load_wide(p + 192));
    }
    a = fold_wide(fold_wide(fold_wide(a, near, b), near, c), near, d);
    for (; len >= 64; p += 64, len -= 64) {
        a = fold_wide(a, near, load_wide(p));
    }
    e = fold(_mm512_extracti32x4_epi32(a, 0), close, _mm512_extracti32x4_epi32(a, 1));
    e = fold(e, close, _mm512_extracti32x4_epi32(a, 2));
    e = fold(e, close, _mm512_extracti32x4_epi32(a, 3));
    return end_of_folding(e, p, len);
}
#else
static uint64_t raw_by_folding(uint64_t crc, const unsigned char *p, size_t len)
{
    return raw_by_table(crc, p, len);
}

static uint64_t raw_by_wide_folding(uint64_t crc, const unsigned char *p, size_t len)
{
    return raw_by_table(crc, p, len);
}
#endif

uint64_t crc64nvme_by(enum crc64_way way, uint64_t crc, const void *bytes, size_t len)
{
    (void)pthread_once(&once, prepare);
    if (way >= CRC64_FOLDING_WIDE && can_fold_wide && len >= 256) {
        return ~raw_by_wide_folding(~crc, bytes, len);
    }
    if (way >= CRC64_FOLDING && can_fold && len >= 64) {
        return ~raw_by_folding(~crc, bytes, len);
    }
    return ~raw_by_table(~crc, bytes, len);
}

uint64_t crc64nvme(uint64_t crc, const void *bytes, size_t len)
{
    return crc64nvme_by(CRC64_FOLDING_WIDE, crc, bytes, len);
}
