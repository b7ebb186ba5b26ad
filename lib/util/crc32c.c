/* SPDX-License-Identifier: Apache-2.0 */
#include "util/crc32c.h"

#include <pthread.h>
#include <string.h>

enum { TABLES = 8 };
static const uint32_t polynomial = 0x82f63b78; /* reflected */

/* tables[k][b]: the CRC of byte b with k zero bytes behind it. */
static uint32_t tables[TABLES][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_tables(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;

        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? polynomial : 0);
        }
        tables[0][b] = crc;
    }
    for (uint32_t b = 0; b < 256; b++) {
        for (int k = 1; k < TABLES; k++) {
            tables[k][b] = (tables[k - 1][b] >> 8) ^ tables[0][tables[k - 1][b] & 0xff];
        }
    }
}

uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;

    (void)pthread_once(&once, make_tables);
    crc = ~crc;
    for (; len >= TABLES; len -= TABLES, p += TABLES) {
        uint32_t low =
            crc ^ (p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);

        crc = tables[7][low & 0xff] ^ tables[6][low >> 8 & 0xff] ^ tables[5][low >> 16 & 0xff] ^
              tables[4][low >> 24] ^ tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^
              tables[0][p[7]];
    }
    for (; len > 0; len--, p++) {
        crc = (crc >> 8) ^ tables[0][(crc ^ *p) & 0xff];
    }
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const void *bytes,
                                                                 size_t len)
{
    const unsigned char *p = bytes;
    uint64_t wide = ~crc;
    uint32_t narrow;

    for (; len >= sizeof(uint64_t); len -= sizeof(uint64_t), p += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, p, sizeof(word));
        wide = __builtin_ia32_crc32di(wide, word);
    }
    narrow = (uint32_t)wide;
    for (; len > 0; len--, p++) {
        narrow = __builtin_ia32_crc32qi(narrow, *p);
    }
    return ~narrow;
}
#endif

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return by_instruction(crc, bytes, len);
    }
#endif
    return crc32c_portable(crc, bytes, len);
}
