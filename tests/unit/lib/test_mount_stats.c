/* SPDX-License-Identifier: Apache-2.0 */
/* What a mount counts, and how it is shown. */
#include "mount/stats.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test.h"
#include "util/cleanup.h"

static void write_one(const struct mount_stats *stats, struct buf *out)
{
    const struct mount_stats_of one = {.volume = "a\"b", .mount = "k", .stats = stats};

    mount_stats_write(&one, 1, out);
    assert_int_equal(buf_error(out), 0);
}

static void counted_requests_are_a_histogram_of_their_operation(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(1 << 20);
    static struct mount_stats stats;

    mount_stats_init(&stats);
    (void)snprintf(stats.fuse[15].name, sizeof(stats.fuse[15].name), "read");
    mount_stats_count(&stats.fuse[15], 100, false);
    mount_stats_count(&stats.fuse[15], 101, true);
    mount_stats_count(&stats.fuse[15], UINT64_C(3600) * 1000000, false); /* beyond all bounds */
    write_one(&stats, &out);
    assert_non_null(strstr(buf_str(&out), "skyvol_mount_fuse_seconds_bucket{volume=\"a\\\"b\","
                                          "mount=\"k\",op=\"read\",le=\"0.0001\"} 1\n"));
    assert_non_null(strstr(buf_str(&out), "op=\"read\",le=\"0.0004\"} 2\n"));
    assert_non_null(strstr(buf_str(&out), "op=\"read\",le=\"6.5536\"} 2\n"));
    assert_non_null(strstr(buf_str(&out), "op=\"read\",le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(buf_str(&out), "skyvol_mount_fuse_errors_total{volume=\"a\\\"b\","
                                          "mount=\"k\",op=\"read\"} 1\n"));
    assert_null(strstr(buf_str(&out), "op=\"\"")); /* what has no name is not shown */
}

static void a_successor_counts_on_and_begins_anew_with_how_it_is(UNUSED void **state)
{
    static struct mount_stats stats;

    memset(&stats, 0, sizeof(stats));
    mount_stats_init(&stats);
    mount_stats_add(&stats, STATS_CONFLICTS, 2);
    mount_stats_set(&stats, STATS_DIRTY_BYTES, 4096);
    mount_stats_init(&stats);
    assert_int_equal(mount_stats_get(&stats, STATS_CONFLICTS), 2);
    assert_int_equal(mount_stats_get(&stats, STATS_DIRTY_BYTES), 0);
    assert_int_equal(mount_stats_get(&stats, STATS_STARTS), 2);
}

static void memory_of_another_version_is_not_read(UNUSED void **state)
{
    static struct mount_stats stats;
    struct mount_stats *mapped = NULL;
    int fd = memfd_create("stats", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(mount_stats_map(fd, &mapped), -EBADMSG); /* too short */
    memset(&stats, 0, sizeof(stats));
    mount_stats_init(&stats);
    assert_int_equal(write(fd, &stats, sizeof(stats)), sizeof(stats));
    assert_int_equal(mount_stats_map(fd, &mapped), 0);
    assert_int_equal(mount_stats_get(mapped, STATS_STARTS), 1);
    mount_stats_unmap(mapped);
    stats.version++;
    assert_int_equal(pwrite(fd, &stats, sizeof(stats), 0), sizeof(stats));
    assert_int_equal(mount_stats_map(fd, &mapped), -EBADMSG);
    mount_stats_unmap(NULL);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counted_requests_are_a_histogram_of_their_operation),
        cmocka_unit_test(a_successor_counts_on_and_begins_anew_with_how_it_is),
        cmocka_unit_test(memory_of_another_version_is_not_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
