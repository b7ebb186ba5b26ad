/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/md5_team.h"

#include "util/clock.h"

enum {
    ROUND_BLOCKS = 512, /* of each stream at a time: so long newcomers wait */
    ALONG_BLOCKS = 64,  /* with fewer, who can wait is not taken along */
    WAIT_BLOCKS = 384,  /* with fewer to hash, waiting for others costs more than it saves */
    PATIENCE_MS = 2
};

void s3_md5_team_init(struct s3_md5_team *team)
{
    *team = (struct s3_md5_team){.age = 1};
    mutex_init(&team->lock);
}

void s3_md5_team_done(struct s3_md5_team *team)
{
    mutex_done(&team->lock);
}

void s3_md5_team_join(struct s3_md5_team *team, struct s3_md5_seat *seat, struct s3_md5 *md5)
{
    *seat = (struct s3_md5_seat){.team = team, .md5 = md5};
    cond_init(&seat->turn);
    mutex_lock(&team->lock);
    team->seats++;
    mutex_unlock(&team->lock);
}

bool s3_md5_team_others(struct s3_md5_seat *seat)
{
    struct s3_md5_team *team = seat->team;
    bool others;

    mutex_lock(&team->lock);
    others = team->seats > 1;
    mutex_unlock(&team->lock);
    return others;
}

static bool ready_locked(const struct s3_md5_team *team, const struct s3_md5_seat *seat)
    REQUIRES(&team->lock)
{
    (void)team;
    return seat->waits || seat->blocks >= ROUND_BLOCKS;
}

/* Whether as many as there are lanes are ready, or all who are likely to be soon. */
static bool full_locked(const struct s3_md5_team *team) REQUIRES(&team->lock)
{
    size_t want = team->present < S3_MD5_LANES_MAX ? team->present : S3_MD5_LANES_MAX;

    for (const struct s3_md5_seat *seat = team->first; want > 0 && seat != NULL;
         seat = seat->next) {
        want -= ready_locked(team, seat) ? 1 : 0;
    }
    return want == 0;
}

/* Somebody who waits looks again. */
static void call_locked(struct s3_md5_team *team) REQUIRES(&team->lock)
{
    for (struct s3_md5_seat *seat = team->first; seat != NULL; seat = seat->next) {
        if (seat->waits && seat->blocks > seat->most) {
            cond_signal(&seat->turn);
            break;
        }
    }
}

/* One more is ready, or one less there: it may be that others wait just for this. */
static void call_if_full_locked(struct s3_md5_team *team) REQUIRES(&team->lock)
{
    if (team->patient > 0 && !team->led && full_locked(team)) {
        call_locked(team);
    }
}

static void note_locked(struct s3_md5_team *team, struct s3_md5_seat *seat) REQUIRES(&team->lock)
{
    if (seat->age != team->age && ready_locked(team, seat)) {
        seat->age = team->age;
        team->present++;
    }
}

/* Who is not ready now is not waited for before he has been again: he may be slow, or at his end.
 */
static void forget_locked(struct s3_md5_team *team) REQUIRES(&team->lock)
{
    team->age++;
    team->present = 0;
    for (struct s3_md5_seat *seat = team->first; seat != NULL; seat = seat->next) {
        note_locked(team, seat);
    }
}

/* True: they were added to what is posted. */
static bool append_locked(struct s3_md5_team *team, struct s3_md5_seat *seat,
                          const unsigned char *bytes, size_t blocks) REQUIRES(&team->lock)
{
    struct s3_md5_run *last = &seat->runs[seat->run_count > 0 ? seat->run_count - 1 : 0];

    if (seat->run_count > 0 && last->bytes + last->blocks * S3_MD5_BLOCK == bytes) {
        last->blocks += blocks;
    } else if (seat->run_count < S3_MD5_RUNS) {
        seat->runs[seat->run_count++] = (struct s3_md5_run){bytes, blocks};
    } else {
        return false;
    }
    if (team->patient > 0 && seat->blocks < ROUND_BLOCKS && seat->blocks + blocks >= ROUND_BLOCKS) {
        team->came_ms = clock_monotonic_ms(clock_real());
    }
    seat->blocks += blocks;
    if (!seat->listed) {
        struct s3_md5_seat **link = &team->first;

        while (*link != NULL) {
            link = &(*link)->next;
        }
        seat->listed = true;
        seat->next = NULL;
        *link = seat;
    }
    note_locked(team, seat);
    call_if_full_locked(team);
    return true;
}

static bool append(struct s3_md5_seat *seat, const unsigned char *bytes, size_t blocks)
{
    struct s3_md5_team *team = seat->team;
    bool ok;

    mutex_lock(&team->lock);
    ok = append_locked(team, seat, bytes, blocks);
    mutex_unlock(&team->lock);
    return ok;
}

void s3_md5_team_post(struct s3_md5_seat *seat, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    size_t blocks;

    if (seat->tail_len > 0 || s3_md5_team_hash(seat, SIZE_MAX) == 0) {
        size_t used;

        (void)s3_md5_team_hash(seat, 0); /* nobody else has the sum then */
        used = s3_md5_align(seat->md5, p, len);
        p += used;
        len -= used;
    }
    blocks = len / S3_MD5_BLOCK;
    seat->tail_len = len % S3_MD5_BLOCK;
    seat->tail = p + len - seat->tail_len;
    if (blocks > 0 && !append(seat, p, blocks)) {
        size_t tail_len = seat->tail_len;

        seat->tail_len = 0; /* it is behind these blocks */
        (void)s3_md5_team_hash(seat, 0);
        seat->tail_len = tail_len;
        (void)append(seat, p, blocks);
    }
}

/* ---- who hashes ---- */

/* Adds seats to a round, those whose owners wait, or those of others. */
static size_t take_locked(struct s3_md5_team *team, struct s3_md5_seat **taken, size_t count,
                          bool waiting) REQUIRES(&team->lock)
{
    for (struct s3_md5_seat *seat = team->first; seat != NULL && count < S3_MD5_LANES_MAX;
         seat = seat->next) {
        if (!seat->taken && !seat->leaves && seat->waits == waiting &&
            (waiting || seat->runs[0].blocks >= ALONG_BLOCKS)) {
            seat->taken = true;
            taken[count++] = seat;
        }
    }
    return count;
}

static void advance_locked(struct s3_md5_team *team, struct s3_md5_seat *seat, size_t blocks)
    REQUIRES(&team->lock)
{
    struct s3_md5_run *run = &seat->runs[0];

    seat->taken = false;
    seat->blocks -= blocks;
    run->bytes += blocks * S3_MD5_BLOCK;
    run->blocks -= blocks;
    if (run->blocks == 0) {
        seat->runs[0] = seat->runs[1];
        seat->run_count--;
    }
    if (seat->blocks == 0) {
        struct s3_md5_seat **link = &team->first;

        while (*link != seat) {
            link = &(*link)->next;
        }
        *link = seat->next;
        seat->listed = false;
    }
    if (seat->leaves || (seat->waits && seat->blocks <= seat->most)) {
        cond_signal(&seat->turn); /* it goes once it has the lock */
    }
}

/* One round: as many as there are lanes, as long as the shortest. The lock is open meanwhile. */
static void round_locked(struct s3_md5_team *team, struct s3_md5_seat *leader) REQUIRES(&team->lock)
{
    struct s3_md5_seat *taken[S3_MD5_LANES_MAX] = {leader};
    struct s3_md5_lane lanes[S3_MD5_LANES_MAX];
    size_t blocks = ROUND_BLOCKS, count = 1;

    leader->taken = true;
    count = take_locked(team, taken, count, true);
    count = take_locked(team, taken, count, false);
    for (size_t i = 0; i < count; i++) {
        const struct s3_md5_run *run = &taken[i]->runs[0];

        lanes[i] = (struct s3_md5_lane){taken[i]->md5, run->bytes};
        blocks = run->blocks < blocks ? run->blocks : blocks;
    }
    team->lanes[count] += blocks * count;
    mutex_unlock(&team->lock);
    s3_md5_add_blocks(lanes, count, blocks);
    mutex_lock(&team->lock);
    for (size_t i = 0; i < count; i++) {
        advance_locked(team, taken[i], blocks);
    }
}

/* `patient`: only as long as the lanes are full, but one round at least. */
static void lead_locked(struct s3_md5_team *team, struct s3_md5_seat *seat, bool patient)
    REQUIRES(&team->lock)
{
    team->led = true;
    do {
        round_locked(team, seat);
    } while (seat->blocks > seat->most && (!patient || full_locked(team)));
    team->led = false;
    call_locked(team);
}

/* False: that was long enough. */
static bool gather_locked(struct s3_md5_team *team, struct s3_md5_seat *seat, uint64_t *until_ms)
    REQUIRES(&team->lock)
{
    uint64_t now = clock_monotonic_ms(clock_real());

    if (*until_ms == 0) {
        *until_ms = now + PATIENCE_MS;
    }
    if (team->came_ms + PATIENCE_MS > *until_ms) {
        *until_ms = team->came_ms + PATIENCE_MS;
    }
    if (now >= *until_ms) {
        forget_locked(team);
        return false;
    }
    team->patient++;
    cond_wait_ms(&seat->turn, &team->lock, *until_ms - now);
    team->patient--;
    return true;
}

size_t s3_md5_team_hash(struct s3_md5_seat *seat, size_t most)
{
    struct s3_md5_team *team = seat->team;
    size_t left;
    uint64_t until_ms = 0;
    bool patient;

    mutex_lock(&team->lock);
    /* The tail counts, and is hashed only when all blocks are. */
    seat->most = most > seat->tail_len ? (most - seat->tail_len) / S3_MD5_BLOCK : 0;
    patient = seat->blocks >= seat->most + WAIT_BLOCKS;
    while (seat->blocks > seat->most) {
        seat->waits = true;
        note_locked(team, seat);
        if (team->led) {
            cond_wait(&seat->turn, &team->lock);
        } else if (!patient || full_locked(team)) {
            lead_locked(team, seat, patient);
        } else {
            patient = gather_locked(team, seat, &until_ms);
        }
    }
    seat->waits = false;
    left = seat->blocks * S3_MD5_BLOCK;
    mutex_unlock(&team->lock);
    if (left == 0 && most < seat->tail_len) {
        s3_md5_add(seat->md5, seat->tail, seat->tail_len);
        seat->tail_len = 0;
    }
    return left + seat->tail_len;
}

void s3_md5_team_leave(struct s3_md5_seat *seat)
{
    struct s3_md5_team *team = seat->team;
    struct s3_md5_seat **link;

    if (team == NULL) {
        return;
    }
    mutex_lock(&team->lock);
    seat->leaves = true;
    while (seat->taken) { /* for one round at most */
        cond_wait(&seat->turn, &team->lock);
    }
    for (link = &team->first; *link != NULL && *link != seat;) {
        link = &(*link)->next;
    }
    if (*link == seat) {
        *link = seat->next;
    }
    team->seats--;
    team->present -= seat->age == team->age ? 1 : 0;
    call_if_full_locked(team);
    mutex_unlock(&team->lock);
    cond_done(&seat->turn);
    *seat = (struct s3_md5_seat){0};
}
