/* SPDX-License-Identifier: Apache-2.0 */
/*
 * md5_team.h - threads that hash at the same time do it together.
 *
 *     struct s3_md5_seat seat;
 *     s3_md5_team_post(&team, &seat, &md5, bytes, len);      whoever hashes now takes them along
 *     fsync(fd);                                             anything that takes its time
 *     s3_md5_team_finish(&team, &seat);                      now they are in the sum
 *
 * Who finishes and finds nobody hashing does it himself, at once, and takes all others that are
 * posted along in the lanes of one vector, 32 KiB of each at a time, until his own are done; then
 * somebody else who waits goes on. So a lone stream waits for nobody, and of many the sums are
 * mostly there when they are asked for.
 *
 * Any number of threads. The team and the seats are the caller's; the team outlives the seats.
 */
#ifndef S3_MD5_TEAM_H
#define S3_MD5_TEAM_H

#include <stdbool.h>

#include "s3/md5.h"
#include "util/mutex.h"

/* Only for the functions below. From post to finish it must stay where it is, as must the bytes and
 * the sum, which nobody else may touch. */
struct s3_md5_seat {
    struct s3_md5_seat *next;
    struct s3_md5_lane lane;
    size_t blocks; /* to go; those who hash move on */
    const unsigned char *tail;
    size_t tail_len;
    bool posted; /* else only the tail is to be hashed */
    bool waits, leads;
    struct cond turn;
};

struct s3_md5_team {
    struct mutex lock; /* of what follows, and of the seats; a leaf */
    struct s3_md5_seat *first;
    bool led; /* somebody hashes: only he takes seats out, and moves them */
};

void s3_md5_team_init(struct s3_md5_team *team);
void s3_md5_team_done(struct s3_md5_team *team);

void s3_md5_team_post(struct s3_md5_team *team, struct s3_md5_seat *seat, struct s3_md5 *md5,
                      const void *bytes, size_t len);
/* Once for each post, also when nobody wants the sum any more. */
void s3_md5_team_finish(struct s3_md5_team *team, struct s3_md5_seat *seat);

#endif
