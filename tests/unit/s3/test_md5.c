/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3/checksum.h"
#include "s3/md5.h"
#include "s3/md5_team.h"
#include "test.h"
#include "util/cleanup.h"
#include "util/clock.h"

enum { DATA_LEN = 1 << 20, STREAMS = 24, TIMES = 6, MANY = S3_MD5_LANES_MAX + 4 };

/* The same each time, and nothing like a pattern. */
static uint32_t next(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

static unsigned char *make_data(void)
{
    unsigned char *data = malloc(DATA_LEN);
    uint32_t seed = 7;

    assert_non_null(data);
    for (size_t i = 0; i < DATA_LEN; i++) {
        data[i] = (unsigned char)next(&seed);
    }
    return data;
}

static void hex_of(struct s3_md5 *md5, char ret[2 * S3_MD5_SIZE + 1])
{
    unsigned char raw[S3_MD5_SIZE];

    s3_md5_raw(md5, raw);
    for (size_t i = 0; i < S3_MD5_SIZE; i++) {
        (void)snprintf(ret + 2 * i, 3, "%02x", raw[i]);
    }
}

static void assert_sum(struct s3_md5 *md5, const void *bytes, size_t len)
{
    char found[2 * S3_MD5_SIZE + 1];
    char expected[2 * S3_CHECKSUM_MAX + 1];

    hex_of(md5, found);
    assert_int_equal(s3_checksum_hex_of(S3_CHECKSUM_MD5, bytes, len, expected), 0);
    assert_string_equal(found, expected);
}

static void sums_are_those_of_rfc_1321(UNUSED void **state)
{
    static const char *const known[][2] = {
        {"", "d41d8cd98f00b204e9800998ecf8427e"},
        {"a", "0cc175b9c0f1b6a831c399e269772661"},
        {"abc", "900150983cd24fb0d6963f7d28e17f72"},
        {"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
        {"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
         "d174ab98d277d9f5a5611c2c9f419d9f"},
        {"1234567890123456789012345678901234567890"
         "1234567890123456789012345678901234567890",
         "57edf4a22be3c955ac49da2e2107b67a"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct s3_md5 md5;
        char found[2 * S3_MD5_SIZE + 1];

        s3_md5_init(&md5);
        s3_md5_add(&md5, known[i][0], strlen(known[i][0]));
        hex_of(&md5, found);
        assert_string_equal(found, known[i][1]);
    }
}

static void every_length_and_cut_gives_the_sum(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();
    uint32_t seed = 1;

    for (size_t len = 0; len < 300; len++) {
        struct s3_md5 md5;
        size_t at = 0;

        s3_md5_init(&md5);
        while (at < len) {
            size_t some = 1 + next(&seed) % 90;

            some = some < len - at ? some : len - at;
            s3_md5_add(&md5, data + at, some);
            at += some;
        }
        assert_sum(&md5, data, len);
    }
}

static void every_way_gives_the_same(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();
    const struct s3_md5_way *ways;
    size_t count = s3_md5_ways(&ways);

    assert_int_equal(ways[0].lanes, 1);
    assert_int_equal(ways[0].least, 1);
    for (size_t w = 0; w < count; w++) {
        for (size_t blocks = 0; blocks < 20; blocks++) {
            struct s3_md5 md5[S3_MD5_LANES_MAX];
            uint32_t(*states[S3_MD5_LANES_MAX])[4];
            const unsigned char *bytes[S3_MD5_LANES_MAX];

            for (size_t i = 0; i < ways[w].lanes; i++) {
                s3_md5_init(&md5[i]);
                states[i] = &md5[i].state;
                bytes[i] = data + i * 10007; /* odd addresses, too */
            }
            ways[w].run(states, bytes, blocks);
            for (size_t i = 0; i < ways[w].lanes; i++) {
                md5[i].len = blocks * S3_MD5_BLOCK;
                assert_sum(&md5[i], data + i * 10007, blocks * S3_MD5_BLOCK);
            }
        }
    }
}

static void streams_side_by_side_do_not_mix(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();

    for (size_t count = 1; count <= S3_MD5_LANES_MAX; count++) {
        struct s3_md5 md5[S3_MD5_LANES_MAX];
        struct s3_md5_lane lanes[S3_MD5_LANES_MAX];

        for (size_t i = 0; i < count; i++) {
            s3_md5_init(&md5[i]);
            lanes[i] = (struct s3_md5_lane){&md5[i], data + i * 5001};
        }
        s3_md5_add_blocks(lanes, count, 7);
        for (size_t i = 0; i < count; i++) {
            lanes[i].bytes += 7L * S3_MD5_BLOCK;
        }
        s3_md5_add_blocks(lanes, count, 12);
        for (size_t i = 0; i < count; i++) {
            s3_md5_add(&md5[i], data + i * 5001 + 19L * S3_MD5_BLOCK, i);
            assert_sum(&md5[i], data + i * 5001, 19L * S3_MD5_BLOCK + i);
        }
    }
}

struct stream {
    pthread_t thread;
    struct s3_md5_team *team;
    const unsigned char *data;
    uint32_t seed;
    struct s3_md5 sums[TIMES];
    size_t lengths[TIMES];
    int wrong; /* how often more was left than may be: cmocka hears nothing of other threads */
};

static void *hash_some(void *arg)
{
    struct stream *s = arg;

    for (size_t k = 0; k < TIMES; k++) {
        size_t len = next(&s->seed) % DATA_LEN, at = 0;
        struct s3_md5_seat seat;
        size_t most = next(&s->seed) % 2 == 0 ? 0 : 100000;

        s3_md5_init(&s->sums[k]);
        s3_md5_team_join(s->team, &seat, &s->sums[k]);
        s->lengths[k] = len;
        while (at < len) { /* pieces of any size and beginning, large ones often enough */
            size_t some = 1 + next(&s->seed) % (next(&s->seed) % 2 == 0 ? 400000 : 70000);

            some = some < len - at ? some : len - at;
            s3_md5_team_post(&seat, s->data + at, some);
            for (uint32_t pause = next(&s->seed) % 3; pause > 0; pause--) {
                sched_yield(); /* others may hash it meanwhile */
            }
            s->wrong += s3_md5_team_hash(&seat, most) > most;
            at += some;
        }
        if (next(&s->seed) % 4 == 0) { /* the stream is cut off: nobody wants its sum */
            s3_md5_team_leave(&seat);
            s3_md5_init(&s->sums[k]);
            s->lengths[k] = 0;
            continue;
        }
        s->wrong += s3_md5_team_hash(&seat, 0) > 0;
        s3_md5_team_leave(&seat);
    }
    return NULL;
}

static void assert_empty(const struct s3_md5_team *team)
{
    assert_null(team->first);
    assert_false(team->led);
    assert_int_equal(team->seats, 0);
}

static void who_hashes_takes_the_others_along(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();
    struct s3_md5_team team;
    struct s3_md5 md5[MANY];
    struct s3_md5_seat seats[MANY];

    s3_md5_team_init(&team);
    for (size_t i = 0; i < MANY; i++) {
        s3_md5_init(&md5[i]);
        s3_md5_team_join(&team, &seats[i], &md5[i]);
        assert_int_equal(s3_md5_team_others(&seats[i]), i > 0);
        s3_md5_team_post(&seats[i], data + i, DATA_LEN / 2 + 1000 * i);
    }
    assert_int_equal(s3_md5_team_hash(&seats[MANY - 1], 0), 0); /* the longest of the first round */
    for (size_t i = 0; i < MANY; i++) {
        size_t left = s3_md5_team_hash(&seats[i], SIZE_MAX);

        /* A tail is its owner's to hash, and few blocks go along with nobody. */
        assert_true(i < S3_MD5_LANES_MAX - 1 || i == MANY - 1 ? left < 64L * S3_MD5_BLOCK
                                                              : left > DATA_LEN / 4);
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(s3_md5_team_hash(&seats[i], 0), 0);
        s3_md5_team_leave(&seats[i]);
    }
    assert_empty(&team);
    assert_true(team.lanes[S3_MD5_LANES_MAX] > 0);
    for (size_t i = 0; i < MANY; i++) {
        assert_sum(&md5[i], data + i, DATA_LEN / 2 + 1000 * i);
    }
    s3_md5_team_done(&team);
}

/* What is left is what came last, and no more than was allowed; others get on by the way. */
static void a_stream_leaves_what_it_may(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();
    struct s3_md5_team team;
    struct s3_md5 md5[2];
    struct s3_md5_seat seats[2];
    size_t piece = 128L * 1024;

    s3_md5_team_init(&team);
    for (size_t i = 0; i < 2; i++) {
        s3_md5_init(&md5[i]);
        s3_md5_team_join(&team, &seats[i], &md5[i]);
    }
    for (size_t at = 0; at < 8 * piece; at += piece) { /* a ring of four pieces */
        s3_md5_team_post(&seats[0], data + at % (4 * piece), piece);
        s3_md5_team_post(&seats[1], data + at, piece);
        assert_true(s3_md5_team_hash(&seats[0], 3 * piece) <= 3 * piece);
        assert_int_equal(s3_md5_team_hash(&seats[0], SIZE_MAX),
                         s3_md5_team_hash(&seats[1], SIZE_MAX));
    }
    assert_int_equal(s3_md5_team_hash(&seats[0], SIZE_MAX), 3 * piece);
    assert_int_equal(seats[0].run_count, 1);
    assert_int_equal(s3_md5_team_hash(&seats[1], 0), 0);
    assert_int_equal(s3_md5_team_hash(&seats[0], 0), 0);
    assert_int_equal(team.lanes[1], 0);
    s3_md5_team_leave(&seats[0]);
    s3_md5_team_leave(&seats[1]);
    assert_empty(&team);
    assert_sum(&md5[1], data, 8 * piece);
    s3_md5_team_done(&team);
}

/* What is behind the last block counts among what is left. */
static void a_stream_leaves_no_byte_more_than_it_may(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();

    for (size_t tail = 0; tail < S3_MD5_BLOCK; tail++) {
        for (size_t most = 0; most <= 3 * S3_MD5_BLOCK; most++) {
            struct s3_md5_team team;
            struct s3_md5 md5;
            struct s3_md5_seat seat;

            s3_md5_team_init(&team);
            s3_md5_init(&md5);
            s3_md5_team_join(&team, &seat, &md5);
            s3_md5_team_post(&seat, data, 2 * S3_MD5_BLOCK + tail);
            assert_true(s3_md5_team_hash(&seat, most) <= most);
            assert_int_equal(s3_md5_team_hash(&seat, 0), 0);
            s3_md5_team_leave(&seat);
            assert_sum(&md5, data, 2 * S3_MD5_BLOCK + tail);
            s3_md5_team_done(&team);
        }
    }
}

/* A stream and what it is about to hash, with all that is needed to do it again. */
struct pair {
    struct s3_md5_team team;
    struct s3_md5 md5[2];
    struct s3_md5_seat seats[2];
    const unsigned char *data;
    size_t posted[2];
};

static void pair_init(struct pair *pair, const unsigned char *data)
{
    *pair = (struct pair){.data = data};
    s3_md5_team_init(&pair->team);
    for (size_t i = 0; i < 2; i++) {
        s3_md5_init(&pair->md5[i]);
        s3_md5_team_join(&pair->team, &pair->seats[i], &pair->md5[i]);
    }
}

static void pair_post(struct pair *pair, size_t i, size_t len)
{
    s3_md5_team_post(&pair->seats[i], pair->data + pair->posted[i], len);
    pair->posted[i] += len;
}

static void pair_done(struct pair *pair)
{
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(s3_md5_team_hash(&pair->seats[i], 0), 0);
        s3_md5_team_leave(&pair->seats[i]);
        assert_sum(&pair->md5[i], pair->data, pair->posted[i]);
    }
    assert_int_equal(pair->team.present, 0);
    assert_empty(&pair->team);
    s3_md5_team_done(&pair->team);
}

static void who_waited_in_vain_does_not_wait_again(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();
    size_t piece = 64L * 1024;
    struct pair pair;

    pair_init(&pair, data);
    pair_post(&pair, 0, piece);
    pair_post(&pair, 1, piece);
    assert_int_equal(s3_md5_team_hash(&pair.seats[0], 0), 0);
    assert_int_equal(s3_md5_team_hash(&pair.seats[1], SIZE_MAX), 0);
    assert_int_equal(pair.team.lanes[2], 2 * piece / S3_MD5_BLOCK);
    assert_int_equal(pair.team.present, 2);
    assert_int_equal(pair.team.age, 1);

    pair_post(&pair, 0, piece);
    assert_int_equal(s3_md5_team_hash(&pair.seats[0], 0), 0); /* the other does not come */
    assert_int_equal(pair.team.lanes[1], piece / S3_MD5_BLOCK);
    assert_int_equal(pair.team.present, 1);
    assert_int_equal(pair.team.age, 2);

    pair_post(&pair, 1, 8L * 1024); /* too little to be waited for */
    pair_post(&pair, 0, piece);
    assert_int_equal(s3_md5_team_hash(&pair.seats[0], 0), 0);
    assert_int_equal(pair.team.age, 2); /* nobody was waited for */
    assert_int_equal(s3_md5_team_hash(&pair.seats[1], 0), 0);

    pair_post(&pair, 1, piece); /* is back */
    pair_post(&pair, 0, piece);
    assert_int_equal(pair.team.present, 2);
    s3_md5_team_leave(&pair.seats[1]); /* a stream that is gone is not waited for either */
    s3_md5_init(&pair.md5[1]);
    pair.posted[1] = 0;
    s3_md5_team_join(&pair.team, &pair.seats[1], &pair.md5[1]);
    assert_int_equal(pair.team.present, 1);
    pair_done(&pair);
}

static void *hash_first(void *arg)
{
    struct pair *pair = arg;

    assert_int_equal(s3_md5_team_hash(&pair->seats[0], 0), 0);
    return NULL;
}

/* The other comes in time, or is too late where the machine has better to do: then once more. */
static bool meets(const unsigned char *data)
{
    size_t piece = 64L * 1024;
    bool waits = false, met;
    struct pair pair;
    pthread_t thread;

    pair_init(&pair, data);
    pair_post(&pair, 0, piece);
    pair_post(&pair, 1, piece);
    assert_int_equal(s3_md5_team_hash(&pair.seats[0], 0), 0);
    pair_post(&pair, 0, piece);
    assert_int_equal(pthread_create(&thread, NULL, hash_first, &pair), 0);
    for (bool over = false; !waits && !over;) {
        mutex_lock(&pair.team.lock);
        waits = pair.team.patient > 0;
        over = pair.team.age > 1;
        mutex_unlock(&pair.team.lock);
        sched_yield();
    }
    pair_post(&pair, 1, piece);
    assert_int_equal(pthread_join(thread, NULL), 0);
    met = waits && pair.team.age == 1 && pair.team.lanes[1] == 0;
    pair_done(&pair);
    return met;
}

static void who_waits_is_woken_by_who_comes(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();
    bool met = false;

    for (size_t i = 0; i < 2000 && !met; i++) {
        met = meets(data);
    }
    assert_true(met);
}

/* Of three who were ready one comes again at once and one never: the first has waited for longer
 * than for nobody, the machine being as slow as it likes. */
static void who_comes_gives_the_next_one_time(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();
    size_t piece = 64L * 1024;
    struct pair pair;
    struct s3_md5 md5;
    struct s3_md5_seat third;
    uint64_t before;

    pair_init(&pair, data);
    s3_md5_init(&md5);
    s3_md5_team_join(&pair.team, &third, &md5);
    s3_md5_team_post(&third, data, piece);
    pair_post(&pair, 0, piece);
    pair_post(&pair, 1, piece);
    assert_int_equal(s3_md5_team_hash(&pair.seats[0], 0), 0);
    assert_int_equal(pair.team.present, 3);
    before = clock_monotonic_ms(clock_real());
    mutex_lock(&pair.team.lock);
    pair.team.came_ms = before + 100; /* as if somebody came then */
    mutex_unlock(&pair.team.lock);
    pair_post(&pair, 0, piece);
    assert_int_equal(s3_md5_team_hash(&pair.seats[0], 0), 0);
    assert_true(clock_monotonic_ms(clock_real()) >= before + 100);
    assert_int_equal(pair.team.age, 2);
    s3_md5_team_leave(&third);
    pair_done(&pair);
}

/* While somebody waits, it is noted when the next one is ready. */
static void it_is_noted_when_somebody_comes(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();
    struct pair pair;

    pair_init(&pair, data);
    pair_post(&pair, 0, 64L * 1024);
    assert_int_equal(pair.team.came_ms, 0); /* nobody waits */
    mutex_lock(&pair.team.lock);
    pair.team.patient = 1;
    mutex_unlock(&pair.team.lock);
    pair_post(&pair, 1, 16L * 1024);
    assert_int_equal(pair.team.came_ms, 0); /* too little */
    pair_post(&pair, 1, 16L * 1024);
    assert_true(pair.team.came_ms > 0);
    pair.team.came_ms = 0;
    pair_post(&pair, 1, 64L * 1024); /* was ready before */
    assert_int_equal(pair.team.came_ms, 0);
    mutex_lock(&pair.team.lock);
    pair.team.patient = 0;
    mutex_unlock(&pair.team.lock);
    pair_done(&pair);
}

static void nobody_looks_at_what_was_left_behind(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();
    struct s3_md5_team team;
    struct s3_md5 gone, md5;
    struct s3_md5_seat seat = {0}, other;

    s3_md5_team_leave(&seat); /* has not joined */
    s3_md5_team_init(&team);
    s3_md5_init(&gone);
    s3_md5_init(&md5);
    s3_md5_team_join(&team, &seat, &gone);
    s3_md5_team_join(&team, &other, &md5);
    s3_md5_team_post(&seat, data, DATA_LEN);
    s3_md5_team_post(&other, data, DATA_LEN);
    s3_md5_team_leave(&seat);
    assert_int_equal(s3_md5_team_hash(&other, 0), 0);
    assert_int_equal(gone.len, 0);
    assert_int_equal(team.lanes[1], DATA_LEN / S3_MD5_BLOCK);
    s3_md5_team_leave(&other);
    assert_empty(&team);
    assert_sum(&md5, data, DATA_LEN);
    s3_md5_team_done(&team);
}

/* More threads than lanes. */
static void threads_that_hash_together_get_their_own_sums(UNUSED void **state)
{
    AUTOFREE unsigned char *data = make_data();
    static struct stream streams[STREAMS];
    struct s3_md5_team team;

    s3_md5_team_init(&team);
    for (uint32_t i = 0; i < STREAMS; i++) {
        streams[i] = (struct stream){.team = &team, .data = data, .seed = i};
        assert_int_equal(pthread_create(&streams[i].thread, NULL, hash_some, &streams[i]), 0);
    }
    for (size_t i = 0; i < STREAMS; i++) {
        assert_int_equal(pthread_join(streams[i].thread, NULL), 0);
    }
    assert_empty(&team);
    s3_md5_team_done(&team);
    for (size_t i = 0; i < STREAMS; i++) {
        assert_int_equal(streams[i].wrong, 0);
        for (size_t k = 0; k < TIMES; k++) {
            assert_sum(&streams[i].sums[k], data, streams[i].lengths[k]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_rfc_1321),
        cmocka_unit_test(every_length_and_cut_gives_the_sum),
        cmocka_unit_test(every_way_gives_the_same),
        cmocka_unit_test(streams_side_by_side_do_not_mix),
        cmocka_unit_test(who_hashes_takes_the_others_along),
        cmocka_unit_test(a_stream_leaves_what_it_may),
        cmocka_unit_test(a_stream_leaves_no_byte_more_than_it_may),
        cmocka_unit_test(who_waited_in_vain_does_not_wait_again),
        cmocka_unit_test(who_waits_is_woken_by_who_comes),
        cmocka_unit_test(who_comes_gives_the_next_one_time),
        cmocka_unit_test(it_is_noted_when_somebody_comes),
        cmocka_unit_test(nobody_looks_at_what_was_left_behind),
        cmocka_unit_test(threads_that_hash_together_get_their_own_sums),
    };

    return cmocka_run_group_tests_name("s3/md5", tests, NULL, NULL);
}
