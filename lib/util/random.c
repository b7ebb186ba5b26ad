/* SPDX-License-Identifier: Apache-2.0 */
#include "util/random.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *ret, size_t len)
{
    unsigned char *p = ret;

    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno != EINTR) {
            abort();
        }
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
}

uint64_t random_below(uint64_t bound)
{
    uint64_t limit;
    uint64_t n;

    if (bound == 0) {
        return 0;
    }
    limit = UINT64_MAX - UINT64_MAX % bound;
    do {
        random_bytes(&n, sizeof(n));
    } while (n >= limit);
    return n % bound;
}

enum { ID_BYTES = (RANDOM_ID_SIZE - 1) / 2 };

static void to_id(const unsigned char bytes[ID_BYTES], char ret[RANDOM_ID_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < ID_BYTES; i++) {
        ret[2 * i] = digits[bytes[i] >> 4];
        ret[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret[RANDOM_ID_SIZE - 1] = '\0';
}

void random_id(char ret[RANDOM_ID_SIZE])
{
    unsigned char bytes[ID_BYTES];

    random_bytes(bytes, sizeof(bytes));
    to_id(bytes, ret);
}

void random_pool_id(struct random_pool *pool, char ret[RANDOM_ID_SIZE])
{
    if (pool->left < ID_BYTES) {
        random_bytes(pool->bytes, sizeof(pool->bytes));
        pool->left = sizeof(pool->bytes);
    }
    pool->left -= ID_BYTES;
    to_id(pool->bytes + pool->left, ret);
}
