/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/md5_team.h"

enum {
    ROUND_BLOCKS = 512, /* of each stream at a time: so long newcomers wait */
    BLOCKS_MIN = 512    /* with fewer, hashing costs less than meeting */
};

void s3_md5_team_init(struct s3_md5_team *team)
{
    *team = (struct s3_md5_team){0};
    mutex_init(&team->lock);
}

void s3_md5_team_done(struct s3_md5_team *team)
{
    mutex_done(&team->lock);
}

void s3_md5_team_post(struct s3_md5_team *team, struct s3_md5_seat *seat, struct s3_md5 *md5,
                      const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    size_t used = s3_md5_align(md5, p, len);
    struct s3_md5_seat **link;

    *seat = (struct s3_md5_seat){
        .lane = {md5, p + used},
        .blocks = (len - used) / S3_MD5_BLOCK,
        .tail = p + used,
        .tail_len = len - used,
    };
    if (seat->blocks < BLOCKS_MIN) {
        seat->blocks = 0;
        return;
    }
    seat->tail_len = (len - used) % S3_MD5_BLOCK;
    seat->tail = p + len - seat->tail_len;
    seat->posted = true;
    cond_init(&seat->turn);
    mutex_lock(&team->lock);
    for (link = &team->first; *link != NULL;) {
        link = &(*link)->next;
    }
    *link = seat;
    mutex_unlock(&team->lock);
}

/* One round: as many as there are lanes, as long as the shortest. The lock is open meanwhile. */
static void round_locked(struct s3_md5_team *team) REQUIRES(&team->lock)
{
    struct s3_md5_lane lanes[S3_MD5_LANES_MAX];
    size_t blocks = ROUND_BLOCKS, count = 0;
    struct s3_md5_seat *seat;

    for (seat = team->first; seat != NULL && count < S3_MD5_LANES_MAX; seat = seat->next) {
        lanes[count++] = seat->lane;
        blocks = seat->blocks < blocks ? seat->blocks : blocks;
    }
    mutex_unlock(&team->lock);
    s3_md5_add_blocks(lanes, count, blocks);
    mutex_lock(&team->lock);
    seat = team->first; /* those who came meanwhile sit behind */
    for (size_t i = 0; i < count; i++, seat = seat->next) {
        seat->lane.bytes += blocks * S3_MD5_BLOCK;
        seat->blocks -= blocks;
    }
}

/* Whose blocks are all hashed leaves. */
static void leave_locked(struct s3_md5_team *team) REQUIRES(&team->lock)
{
    struct s3_md5_seat **link = &team->first, *seat;

    while ((seat = *link) != NULL) {
        if (seat->blocks > 0) {
            link = &seat->next;
            continue;
        }
        *link = seat->next;
        if (seat->waits && !seat->leads) {
            cond_signal(&seat->turn); /* it goes once it has the lock */
        }
    }
}

static void lead_locked(struct s3_md5_team *team, struct s3_md5_seat *seat) REQUIRES(&team->lock)
{
    struct s3_md5_seat **link = &team->first;

    team->led = true;
    seat->leads = true;
    while (*link != seat) {
        link = &(*link)->next;
    }
    *link = seat->next;
    seat->next = team->first;
    team->first = seat;
    while (seat->blocks > 0) {
        round_locked(team);
        leave_locked(team);
    }
    team->led = false;
    for (seat = team->first; seat != NULL && !seat->waits;) {
        seat = seat->next;
    }
    if (seat != NULL) {
        cond_signal(&seat->turn);
    }
}

void s3_md5_team_finish(struct s3_md5_team *team, struct s3_md5_seat *seat)
{
    if (seat->posted) {
        mutex_lock(&team->lock);
        seat->waits = true;
        while (seat->blocks > 0) {
            if (team->led) {
                cond_wait(&seat->turn, &team->lock);
            } else {
                lead_locked(team, seat);
            }
        }
        mutex_unlock(&team->lock);
        cond_done(&seat->turn);
    }
    s3_md5_add(seat->lane.md5, seat->tail, seat->tail_len);
}
