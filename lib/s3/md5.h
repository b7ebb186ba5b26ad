/* SPDX-License-Identifier: Apache-2.0 */
/*
 * md5.h - MD5 of many streams at a time.
 *
 * An ETag is an MD5, and MD5 cannot be made faster within one stream: each step waits for the one
 * before it. So the blocks of several streams are hashed side by side in the lanes of one vector.
 *
 *     struct s3_md5 md5;
 *     s3_md5_init(&md5);
 *     s3_md5_add(&md5, bytes, len);       one stream alone
 *     s3_md5_raw(&md5, digest);           ends it
 *
 * s3/md5_team.h brings streams together. A struct owns no memory and belongs to one thread at a
 * time; the functions may be called by any.
 */
#ifndef S3_MD5_H
#define S3_MD5_H

#include <stddef.h>
#include <stdint.h>

enum { S3_MD5_SIZE = 16, S3_MD5_BLOCK = 64, S3_MD5_LANES_MAX = 16 };

struct s3_md5 {
    uint32_t state[4];
    uint64_t len;                     /* bytes so far */
    unsigned char rest[S3_MD5_BLOCK]; /* the last len % 64 of them */
};

void s3_md5_init(struct s3_md5 *md5);
void s3_md5_add(struct s3_md5 *md5, const void *bytes, size_t len);
void s3_md5_raw(struct s3_md5 *md5, unsigned char ret[S3_MD5_SIZE]);

/* Adds so many of the bytes that nothing rests, all if there are too few. Returns how many. */
size_t s3_md5_align(struct s3_md5 *md5, const void *bytes, size_t len);

/* A stream of which nothing rests, and whole blocks that follow. */
struct s3_md5_lane {
    struct s3_md5 *md5;
    const unsigned char *bytes;
};

/* Adds `blocks` blocks to each of `count` streams, 1 to S3_MD5_LANES_MAX, all different. */
void s3_md5_add_blocks(const struct s3_md5_lane *lanes, size_t count, size_t blocks);

/* How it can be done: the same result with other instructions. */
struct s3_md5_way {
    const char *name;
    size_t lanes; /* hashed at once */
    size_t least; /* streams from which it is faster than the ways before it */
    void (*run)(uint32_t (*states[])[4], const unsigned char *bytes[], size_t blocks);
};

/* The ways that this processor knows, the fastest last. For tests; there is at least one. */
size_t s3_md5_ways(const struct s3_md5_way **ret);

#endif
