/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folding: a 128-bit register R followed by D bits of message and then the next 128 bits N stands
 * for R x^D + N, and R x^D may be replaced by anything congruent to it modulo the polynomial. With
 * R = H x^64 + L that is H (x^(D+64) mod P) + L (x^D mod P): two carry-less products. In the
 * bit-reflected order of this CRC a product comes out multiplied by x, so the factors used are
 * x^(D+63) and x^(D-1). Four registers run side by side to keep the multiplier busy; at the end one
 * is left, and the table gives the CRC of its 16 bytes and of the rest.
 */
#include "s3/crc64.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

enum { SLICES = 8 };

static uint64_t table[SLICES][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const uint64_t top_bit = 1ULL << 63; /* x^0 */

static bool can_fold;
static uint64_t fold_512[2]; /* factors of the high and the low half for D = 512 */
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
    fold_512[0] = power_of_x(512 + 63);
    fold_512[1] = power_of_x(512 - 1);
    fold_128[0] = power_of_x(128 + 63);
    fold_128[1] = power_of_x(128 - 1);
#if defined(__x86_64__)
    can_fold = __builtin_cpu_supports("pclmul") != 0;
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

/* At least 64 bytes. */
FOLDS static uint64_t raw_by_folding(uint64_t crc, const unsigned char *p, size_t len)
{
    __m128i far = _mm_set_epi64x((long long)fold_512[1], (long long)fold_512[0]);
    __m128i near = _mm_set_epi64x((long long)fold_128[1], (long long)fold_128[0]);
    __m128i a = _mm_xor_si128(load(p), _mm_set_epi64x(0, (long long)crc));
    __m128i b = load(p + 16);
    __m128i c = load(p + 32);
    __m128i d = load(p + 48);
    unsigned char last[16];

    for (p += 64, len -= 64; len >= 64; p += 64, len -= 64) {
        a = fold(a, far, load(p));
        b = fold(b, far, load(p + 16));
        c = fold(c, far, load(p + 32));
        d = fold(d, far, load(p + 48));
    }
    a = fold(fold(fold(a, near, b), near, c), near, d);
    for (; len >= 16; p += 16, len -= 16) {
        a = fold(a, near, load(p));
    }
    memcpy(last, &a, sizeof(last));
    return raw_by_table(raw_by_table(0, last, sizeof(last)), p, len);
}
#else
static uint64_t raw_by_folding(uint64_t crc, const unsigned char *p, size_t len)
{
    return raw_by_table(crc, p, len);
}
#endif

uint64_t crc64nvme(uint64_t crc, const void *bytes, size_t len)
{
    (void)pthread_once(&once, prepare);
    return ~(can_fold && len >= 64 ? raw_by_folding(~crc, bytes, len)
                                   : raw_by_table(~crc, bytes, len));
}

uint64_t crc64nvme_by_table(uint64_t crc, const void *bytes, size_t len)
{
    (void)pthread_once(&once, prepare);
    return ~raw_by_table(~crc, bytes, len);
}
