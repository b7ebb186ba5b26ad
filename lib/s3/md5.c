/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/md5.h"

#include <assert.h>
#include <endian.h>
#include <pthread.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* 2^32 times the absolute values of the sines of 1 to 64. */
static const uint32_t sines[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};

/*
 * The steps, for words and for vectors of them. `b` is what the step before has just made: it is
 * used as late as possible. In the second function no bit is set in both halves, so that they can
 * be added, the one without `b` first. SETTLED() keeps compilers from adding in another order,
 * which for vectors they do: a step would take five instructions' time instead of four.
 */
#define PICK(b, c, d) ((d) ^ ((b) & ((c) ^ (d))))
#define PARITY(b, c, d) ((b) ^ ((c) ^ (d)))
#define LAST(b, c, d) ((c) ^ ((b) | ~(d)))
#define TURN(x, by) (((x) << (by)) | ((x) >> (32 - (by))))
#define STEP(f, a, b, c, d, word, i, by)                                                           \
    do {                                                                                           \
        (a) += (word) + sines[i];                                                                  \
        SETTLED(a);                                                                                \
        (a) += f(b, c, d);                                                                         \
        (a) = TURN(a, by) + (b);                                                                   \
    } while (0)
#define STEP_PICK_BACK(a, b, c, d, word, i, by)                                                    \
    do {                                                                                           \
        (a) += (word) + sines[i];                                                                  \
        (a) += (c) & ~(d);                                                                         \
        SETTLED(a);                                                                                \
        (a) += (b) & (d);                                                                          \
        (a) = TURN(a, by) + (b);                                                                   \
    } while (0)

/* Four steps of each round; `i` counts the steps, the words' places are i times a factor, plus. */
#define FIRST(w, i)                                                                                \
    STEP(PICK, a, b, c, d, (w)[(i)], i, 7);                                                        \
    STEP(PICK, d, a, b, c, (w)[(i) + 1], (i) + 1, 12);                                             \
    STEP(PICK, c, d, a, b, (w)[(i) + 2], (i) + 2, 17);                                             \
    STEP(PICK, b, c, d, a, (w)[(i) + 3], (i) + 3, 22)
#define SECOND(w, i)                                                                               \
    STEP_PICK_BACK(a, b, c, d, (w)[(5 * (i) + 1) % 16], i, 5);                                     \
    STEP_PICK_BACK(d, a, b, c, (w)[(5 * (i) + 6) % 16], (i) + 1, 9);                               \
    STEP_PICK_BACK(c, d, a, b, (w)[(5 * (i) + 11) % 16], (i) + 2, 14);                             \
    STEP_PICK_BACK(b, c, d, a, (w)[(5 * (i) + 16) % 16], (i) + 3, 20)
#define THIRD(w, i)                                                                                \
    STEP(PARITY, a, b, c, d, (w)[(3 * (i) + 5) % 16], i, 4);                                       \
    STEP(PARITY, d, a, b, c, (w)[(3 * (i) + 8) % 16], (i) + 1, 11);                                \
    STEP(PARITY, c, d, a, b, (w)[(3 * (i) + 11) % 16], (i) + 2, 16);                               \
    STEP(PARITY, b, c, d, a, (w)[(3 * (i) + 14) % 16], (i) + 3, 23)
#define FOURTH(w, i)                                                                               \
    STEP(LAST, a, b, c, d, (w)[(7 * (i)) % 16], i, 6);                                             \
    STEP(LAST, d, a, b, c, (w)[(7 * (i) + 7) % 16], (i) + 1, 10);                                  \
    STEP(LAST, c, d, a, b, (w)[(7 * (i) + 14) % 16], (i) + 2, 15);                                 \
    STEP(LAST, b, c, d, a, (w)[(7 * (i) + 21) % 16], (i) + 3, 21)
#define ROUND(which, w, i)                                                                         \
    which(w, i);                                                                                   \
    which(w, (i) + 4);                                                                             \
    which(w, (i) + 8);                                                                             \
    which(w, (i) + 12)
#define ALL_ROUNDS(w)                                                                              \
    ROUND(FIRST, w, 0);                                                                            \
    ROUND(SECOND, w, 16);                                                                          \
    ROUND(THIRD, w, 32);                                                                           \
    ROUND(FOURTH, w, 48)

#define SETTLED(a) (void)0 /* words are added in the order above */

static void run_one(uint32_t (*states[])[4], const unsigned char *bytes[], size_t blocks)
{
    uint32_t *state = *states[0];
    const unsigned char *p = bytes[0];
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];

    for (; blocks > 0; blocks--, p += S3_MD5_BLOCK) {
        uint32_t before[4] = {a, b, c, d};
        uint32_t w[16];

        memcpy(w, p, sizeof(w));
        for (size_t i = 0; i < 16; i++) {
            w[i] = le32toh(w[i]);
        }
        ALL_ROUNDS(w);
        a += before[0];
        b += before[1];
        c += before[2];
        d += before[3];
    }
    state[0] = a;
    state[1] = b;
    state[2] = c;
    state[3] = d;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__

#undef SETTLED
#if defined(__x86_64__)
#define SETTLED(a) __asm__("" : "+v"(a))
#else
#define SETTLED(a) (void)0
#endif

typedef uint32_t four __attribute__((vector_size(16)));
typedef uint32_t eight __attribute__((vector_size(32)));
typedef uint32_t sixteen __attribute__((vector_size(64)));

#define ZIP_FOUR(first, second, x, y)                                                              \
    (first) = __builtin_shufflevector(x, y, 0, 4, 1, 5);                                           \
    (second) = __builtin_shufflevector(x, y, 2, 6, 3, 7)
#define ZIP_EIGHT(first, second, x, y)                                                             \
    (first) = __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11);                             \
    (second) = __builtin_shufflevector(x, y, 4, 12, 5, 13, 6, 14, 7, 15)
#define ZIP_SIXTEEN(first, second, x, y)                                                           \
    (first) =                                                                                      \
        __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);     \
    (second) = __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, \
                                       15, 31)

/* Rows of the streams' words become columns: zipping the first half of the rows with the second,
 * as many times as the number of rows can be halved. */
#define COLUMNS_FOUR(w, r)                                                                         \
    do {                                                                                           \
        four s0, s1, s2, s3;                                                                       \
                                                                                                   \
        ZIP_FOUR(s0, s1, (r)[0], (r)[2]);                                                          \
        ZIP_FOUR(s2, s3, (r)[1], (r)[3]);                                                          \
        ZIP_FOUR((w)[0], (w)[1], s0, s2);                                                          \
        ZIP_FOUR((w)[2], (w)[3], s1, s3);                                                          \
    } while (0)
#define COLUMNS_EIGHT(w, r)                                                                        \
    do {                                                                                           \
        eight s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3, t4, t5, t6, t7;                      \
                                                                                                   \
        ZIP_EIGHT(s0, s1, (r)[0], (r)[4]);                                                         \
        ZIP_EIGHT(s2, s3, (r)[1], (r)[5]);                                                         \
        ZIP_EIGHT(s4, s5, (r)[2], (r)[6]);                                                         \
        ZIP_EIGHT(s6, s7, (r)[3], (r)[7]);                                                         \
        ZIP_EIGHT(t0, t1, s0, s4);                                                                 \
        ZIP_EIGHT(t2, t3, s1, s5);                                                                 \
        ZIP_EIGHT(t4, t5, s2, s6);                                                                 \
        ZIP_EIGHT(t6, t7, s3, s7);                                                                 \
        ZIP_EIGHT((w)[0], (w)[1], t0, t4);                                                         \
        ZIP_EIGHT((w)[2], (w)[3], t1, t5);                                                         \
        ZIP_EIGHT((w)[4], (w)[5], t2, t6);                                                         \
        ZIP_EIGHT((w)[6], (w)[7], t3, t7);                                                         \
    } while (0)

#define ZIP_ALL_SIXTEEN(to, from)                                                                  \
    ZIP_SIXTEEN((to)[0], (to)[1], (from)[0], (from)[8]);                                           \
    ZIP_SIXTEEN((to)[2], (to)[3], (from)[1], (from)[9]);                                           \
    ZIP_SIXTEEN((to)[4], (to)[5], (from)[2], (from)[10]);                                          \
    ZIP_SIXTEEN((to)[6], (to)[7], (from)[3], (from)[11]);                                          \
    ZIP_SIXTEEN((to)[8], (to)[9], (from)[4], (from)[12]);                                          \
    ZIP_SIXTEEN((to)[10], (to)[11], (from)[5], (from)[13]);                                        \
    ZIP_SIXTEEN((to)[12], (to)[13], (from)[6], (from)[14]);                                        \
    ZIP_SIXTEEN((to)[14], (to)[15], (from)[7], (from)[15])
#define COLUMNS_SIXTEEN(w, r)                                                                      \
    do {                                                                                           \
        sixteen t[16];                                                                             \
                                                                                                   \
        ZIP_ALL_SIXTEEN(t, r);                                                                     \
        ZIP_ALL_SIXTEEN(w, t);                                                                     \
        ZIP_ALL_SIXTEEN(t, w);                                                                     \
        ZIP_ALL_SIXTEEN(w, t);                                                                     \
    } while (0)

/* The body of a way of `n` lanes of the type `vector`. */
#define RUN_LANES(vector, n, columns)                                                              \
    vector a, b, c, d, w[16], rows[n];                                                             \
                                                                                                   \
    for (size_t lane = 0; lane < (n); lane++) {                                                    \
        a[lane] = (*states[lane])[0];                                                              \
        b[lane] = (*states[lane])[1];                                                              \
        c[lane] = (*states[lane])[2];                                                              \
        d[lane] = (*states[lane])[3];                                                              \
    }                                                                                              \
    for (size_t at = 0; at < blocks * S3_MD5_BLOCK; at += S3_MD5_BLOCK) {                          \
        vector before[4] = {a, b, c, d};                                                           \
                                                                                                   \
        for (size_t i = 0; i < 16; i += (n)) {                                                     \
            for (size_t lane = 0; lane < (n); lane++) {                                            \
                memcpy(&rows[lane], bytes[lane] + at + 4 * i, sizeof(vector));                     \
            }                                                                                      \
            columns(w + i, rows);                                                                  \
        }                                                                                          \
        ALL_ROUNDS(w);                                                                             \
        a += before[0];                                                                            \
        b += before[1];                                                                            \
        c += before[2];                                                                            \
        d += before[3];                                                                            \
    }                                                                                              \
    for (size_t lane = 0; lane < (n); lane++) {                                                    \
        (*states[lane])[0] = a[lane];                                                              \
        (*states[lane])[1] = b[lane];                                                              \
        (*states[lane])[2] = c[lane];                                                              \
        (*states[lane])[3] = d[lane];                                                              \
    }

static void run_four(uint32_t (*states[])[4], const unsigned char *bytes[], size_t blocks)
{
    RUN_LANES(four, 4, COLUMNS_FOUR)
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void run_eight(uint32_t (*states[])[4],
                                                      const unsigned char *bytes[], size_t blocks){
    RUN_LANES(eight, 8, COLUMNS_EIGHT)}

/* With these a rotation is one instruction, and so is each of the four functions: even one stream
 * is faster by them. */
#define TARGET_512 __attribute__((target("avx2,avx512f,avx512vl")))

TARGET_512
    static void run_one_512(uint32_t (*states[])[4], const unsigned char *bytes[], size_t blocks)
{
    uint32_t *state = *states[0];
    const unsigned char *p = bytes[0];
    four a = {state[0]}, b = {state[1]}, c = {state[2]}, d = {state[3]};

    for (; blocks > 0; blocks--, p += S3_MD5_BLOCK) {
        four before[4] = {a, b, c, d}, w[16];

        for (size_t i = 0; i < 16; i++) {
            uint32_t word;

            memcpy(&word, p + 4 * i, sizeof(word));
            w[i] = (four){word, word, word, word}; /* it is loaded so */
        }
        ALL_ROUNDS(w);
        a += before[0];
        b += before[1];
        c += before[2];
        d += before[3];
    }
    state[0] = a[0];
    state[1] = b[0];
    state[2] = c[0];
    state[3] = d[0];
}

TARGET_512 static void run_eight_512(uint32_t (*states[])[4], const unsigned char *bytes[],
                                     size_t blocks){RUN_LANES(eight, 8, COLUMNS_EIGHT)}

TARGET_512
    static void run_sixteen(uint32_t (*states[])[4], const unsigned char *bytes[], size_t blocks)
{
    RUN_LANES(sixteen, 16, COLUMNS_SIXTEEN)
}
#endif
#endif

static struct s3_md5_way ways[6];
static size_t way_count;

static void find_ways(void)
{
    ways[way_count++] = (struct s3_md5_way){"one", 1, 1, run_one};
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    ways[way_count++] = (struct s3_md5_way){"four", 4, 2, run_four};
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        ways[way_count++] = (struct s3_md5_way){"eight", 8, 5, run_eight};
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512vl")) {
        ways[way_count++] = (struct s3_md5_way){"one by avx512vl", 1, 1, run_one_512};
        ways[way_count++] = (struct s3_md5_way){"eight by avx512vl", 8, 2, run_eight_512};
        ways[way_count++] = (struct s3_md5_way){"sixteen", 16, 9, run_sixteen};
    }
#endif
#endif
}

size_t s3_md5_ways(const struct s3_md5_way **ret)
{
    (void)pthread_once(&once, find_ways);
    *ret = ways;
    return way_count;
}

/* Lanes that nobody has go along with the first one, for nothing. */
static void run_some(const struct s3_md5_way *way, const struct s3_md5_lane *lanes, size_t count,
                     size_t blocks)
{
    uint32_t(*states[S3_MD5_LANES_MAX])[4];
    const unsigned char *bytes[S3_MD5_LANES_MAX];
    uint32_t nobody[S3_MD5_LANES_MAX][4];

    for (size_t i = 0; i < way->lanes; i++) {
        if (i >= count) {
            memcpy(nobody[i], lanes[0].md5->state, sizeof(nobody[i]));
        }
        states[i] = i < count ? &lanes[i].md5->state : &nobody[i];
        bytes[i] = lanes[i < count ? i : 0].bytes;
    }
    way->run(states, bytes, blocks);
}

static const struct s3_md5_way *way_for(size_t streams)
{
    const struct s3_md5_way *way;
    size_t i = s3_md5_ways(&way);

    while (way[i - 1].least > streams) { /* the first one's is 1 */
        i--;
    }
    return &way[i - 1];
}

void s3_md5_add_blocks(const struct s3_md5_lane *lanes, size_t count, size_t blocks)
{
    size_t done = 0;

    assert(count <= S3_MD5_LANES_MAX);
    while (done < count) {
        const struct s3_md5_way *way = way_for(count - done);
        size_t some = count - done < way->lanes ? count - done : way->lanes;

        run_some(way, lanes + done, some, blocks);
        done += some;
    }
    for (size_t i = 0; i < count; i++) {
        assert(lanes[i].md5->len % S3_MD5_BLOCK == 0);
        lanes[i].md5->len += (uint64_t)blocks * S3_MD5_BLOCK;
    }
}

static void add_alone(struct s3_md5 *md5, const unsigned char *bytes, size_t blocks)
{
    way_for(1)->run((uint32_t(*[])[4]){&md5->state}, (const unsigned char *[]){bytes}, blocks);
}

void s3_md5_init(struct s3_md5 *md5)
{
    *md5 = (struct s3_md5){.state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}};
}

size_t s3_md5_align(struct s3_md5 *md5, const void *bytes, size_t len)
{
    size_t have = md5->len % S3_MD5_BLOCK;
    size_t want = have > 0 ? S3_MD5_BLOCK - have : 0;

    len = len < want ? len : want;
    if (len > 0) {
        memcpy(md5->rest + have, bytes, len);
        md5->len += len;
    }
    if (len > 0 && len == want) {
        add_alone(md5, md5->rest, 1);
    }
    return len;
}

void s3_md5_add(struct s3_md5 *md5, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    size_t used = s3_md5_align(md5, p, len);
    size_t blocks = (len - used) / S3_MD5_BLOCK;

    if (blocks > 0) {
        add_alone(md5, p + used, blocks);
        md5->len += (uint64_t)blocks * S3_MD5_BLOCK;
        used += blocks * S3_MD5_BLOCK;
    }
    if (used < len) {
        memcpy(md5->rest, p + used, len - used);
        md5->len += len - used;
    }
}

void s3_md5_raw(struct s3_md5 *md5, unsigned char ret[S3_MD5_SIZE])
{
    static const unsigned char pad[S3_MD5_BLOCK] = {0x80};
    uint64_t bits = md5->len * 8;
    size_t have = md5->len % S3_MD5_BLOCK;
    unsigned char length[8];

    for (size_t i = 0; i < sizeof(length); i++) {
        length[i] = (unsigned char)(bits >> (8 * i));
    }
    s3_md5_add(md5, pad, (have < 56 ? 56 : 56 + S3_MD5_BLOCK) - have);
    s3_md5_add(md5, length, sizeof(length));
    for (size_t i = 0; i < S3_MD5_SIZE; i++) {
        ret[i] = (unsigned char)(md5->state[i / 4] >> (8 * (i % 4)));
    }
}
