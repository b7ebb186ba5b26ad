/* SPDX-License-Identifier: Apache-2.0 */
/*
 * md5_team.h - streams that are under way at the same time are hashed together.
 *
 *     struct s3_md5_seat seat;
 *     s3_md5_team_join(&team, &seat, &md5);
 *     s3_md5_team_post(&seat, bytes, len);      whoever hashes from now on takes them along
 *     left = s3_md5_team_hash(&seat, most);     no more than `most` bytes are left to be hashed
 *     s3_md5_team_leave(&seat);
 *
 * Bytes that are posted lie there until somebody has to hash, who takes others along in the
 * lanes of one vector. So a stream that can keep some of its bytes for a while
 * (s3_md5_team_others(): somebody may come) leaves them posted, and hashes when it has no more
 * room; what is left is always what came last.
 *
 * Who has to hash much, while others that had as much lately have not now, waits for them: two
 * milliseconds, and for each who comes two more. Whom it was waited for in vain nobody waits for
 * before he has come again. So one stream alone, or beside slow ones, hardly ever waits.
 *
 * A seat is one thread's at a time, the team any number's. The team outlives the seats.
 */
#ifndef S3_MD5_TEAM_H
#define S3_MD5_TEAM_H

#include <stdbool.h>

#include "s3/md5.h"
#include "util/mutex.h"

enum { S3_MD5_RUNS = 2 }; /* a ring that goes on at its beginning */

struct s3_md5_run {
    const unsigned char *bytes;
    size_t blocks;
};

/* Only for the functions below. From join to leave it must stay where it is, as must the sum, which
 * nobody else may touch, and each byte until it is hashed. */
struct s3_md5_seat {
    struct s3_md5_team *team; /* NULL: it has not joined */
    struct s3_md5_seat *next;
    struct s3_md5 *md5;
    const unsigned char *tail; /* behind the blocks; the owner's */
    size_t tail_len;

    struct s3_md5_run runs[S3_MD5_RUNS]; /* under the team's lock, as what follows */
    size_t run_count;
    size_t blocks, most; /* of all runs; what its owner waits for */
    bool listed;         /* in the team's list: there are blocks */
    bool taken;          /* of the round that goes on */
    bool waits, leaves;
    uint64_t age; /* the team's, when it was last ready */
    struct cond turn;
};

struct s3_md5_team {
    struct mutex lock; /* of what follows, and of the seats; a leaf */
    struct s3_md5_seat *first;
    size_t seats;
    bool led;         /* somebody hashes: only he takes blocks out */
    size_t patient;   /* seats that wait for others */
    size_t present;   /* seats that were ready since `age` began */
    uint64_t age;     /* a new one begins when somebody has waited in vain */
    uint64_t came_ms; /* one more was ready, while others waited */
    /* Blocks that were hashed with so many lanes taken; for tests. */
    uint64_t lanes[S3_MD5_LANES_MAX + 1];
};

void s3_md5_team_init(struct s3_md5_team *team);
void s3_md5_team_done(struct s3_md5_team *team);

void s3_md5_team_join(struct s3_md5_team *team, struct s3_md5_seat *seat, struct s3_md5 *md5);
/* What is not hashed yet is not looked at any more. Nothing for a seat that is all zero. */
void s3_md5_team_leave(struct s3_md5_seat *seat);
bool s3_md5_team_others(struct s3_md5_seat *seat);

/* After a length that is no multiple of S3_MD5_BLOCK, the next one has to hash that first. */
void s3_md5_team_post(struct s3_md5_seat *seat, const void *bytes, size_t len);
/* Returns how many bytes are left, SIZE_MAX: without hashing any. 0: md5 is the caller's again
 * until the next post. Waits for who hashes, and for others that may come. */
size_t s3_md5_team_hash(struct s3_md5_seat *seat, size_t most);

#endif
