/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/stats.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { VERSION = 1, FIRST_US = 100, FACTOR = 4 };
static const uint64_t magic = 0x736b797374617473U; /* "skystats" */

/* Bytes and counts are shown as they are, milliseconds as seconds. */
static const struct shown {
    const char *name, *type, *help;
    bool ms;
} shown[STATS_NUMBERS] = {
    [STATS_STARTS] = {"mounter_starts_total", "counter", "Mounters that have begun.", false},
    [STATS_RETRIES] = {"store_retries_total", "counter", "Requests that were sent again.", false},
    [STATS_HEDGES] = {"store_hedges_total", "counter", "Second GETs against slow ones.", false},
    [STATS_PUBLICATIONS] = {"publications_total", "counter", "Files given to the store.", false},
    [STATS_PUBLICATION_ERRORS] = {"publication_errors_total", "counter",
                                  "Publications that failed; they are tried again.", false},
    [STATS_CONFLICTS] = {"conflicts_total", "counter", "Conflict copies that were made.", false},
    [STATS_LOST_FILES] = {"lost_files_total", "counter",
                          "Files of which bytes could not be kept; told as EIO.", false},
    [STATS_READ_HITS] = {"read_hits_total", "counter", "READs answered from memory.", false},
    [STATS_READ_MISSES] = {"read_misses_total", "counter", "READs that had to wait.", false},
    [STATS_DEADLINES] = {"deadlines_total", "counter", "Requests answered EIO for time.", false},
    [STATS_DIRTY_BYTES] = {"dirty_bytes", "gauge", "Not in the store yet.", false},
    [STATS_DIRTY_LIMIT] = {"dirty_limit_bytes", "gauge", "Then writers wait.", false},
    [STATS_INODES] = {"inodes", "gauge", "Inodes that are known.", false},
    [STATS_CACHE_BYTES] = {"cache_bytes", "gauge", "Bytes of objects in memory.", false},
    [STATS_CACHE_LIMIT] = {"cache_limit_bytes", "gauge", "Of these at most.", false},
    [STATS_IN_FLIGHT] = {"fuse_in_flight", "gauge", "Requests without an answer.", false},
    [STATS_OLDEST_MS] = {"fuse_oldest_seconds", "gauge", "Age of the oldest of them.", true},
    [STATS_STORE_FAILING_SINCE_MS] = {"store_failing_since_seconds", "gauge",
                                      "Unix time since which the store fails; 0: it does not.",
                                      true},
    [STATS_STORE_ERROR] = {"store_error", "gauge", "errno of that failure, or 0.", false},
    [STATS_KEYS_EXPIRE_MS] = {"keys_expire_seconds", "gauge",
                              "Unix time when the store's temporary keys end; 0: they do not.",
                              true},
};

void mount_stats_init(struct mount_stats *stats)
{
    if (!mount_stats_valid(stats, sizeof(*stats))) {
        memset(stats, 0, sizeof(*stats));
        stats->version = VERSION;
        stats->size = sizeof(*stats);
        atomic_store(&stats->magic, magic);
    }
    for (int i = STATS_DIRTY_BYTES; i < STATS_NUMBERS; i++) {
        mount_stats_set(stats, (enum mount_stats_number)i, 0);
    }
    mount_stats_add(stats, STATS_STARTS, 1);
}

bool mount_stats_valid(const struct mount_stats *stats, size_t size)
{
    return size >= sizeof(*stats) && atomic_load(&stats->magic) == magic &&
           stats->version == VERSION && stats->size == sizeof(*stats);
}

void mount_stats_count(struct mount_stats_row *row, uint64_t us, bool failed)
{
    uint64_t bound = FIRST_US;
    int i = 0;

    while (i < MOUNT_STATS_BUCKETS && us > bound) {
        bound *= FACTOR;
        i++;
    }
    if (i < MOUNT_STATS_BUCKETS) {
        (void)atomic_fetch_add_explicit(&row->buckets[i], 1, memory_order_relaxed);
    }
    (void)atomic_fetch_add_explicit(&row->sum_us, us, memory_order_relaxed);
    if (failed) {
        (void)atomic_fetch_add_explicit(&row->errors, 1, memory_order_relaxed);
    }
    (void)atomic_fetch_add_explicit(&row->count, 1, memory_order_relaxed);
}

static uint64_t get(const atomic_ullong *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void add_label(const char *name, const char *value, struct buf *out)
{
    buf_addf(out, "%s=\"", name);
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            buf_addstr(out, "\\");
        }
        buf_addf(out, "%c", *p == '\n' ? ' ' : *p);
    }
    buf_addstr(out, "\"");
}

void mount_stats_labels(const struct mount_stats_of *one, struct buf *out)
{
    add_label("volume", one->volume, out);
    if (one->mount != NULL) {
        buf_addstr(out, ",");
        add_label("mount", one->mount, out);
    }
}

static void add_volume(const struct mount_stats_of *one, struct buf *out)
{
    buf_addstr(out, "{");
    mount_stats_labels(one, out);
}

static void write_histogram(const struct mount_stats_of *one, const struct mount_stats_row *row,
                            const char *metric, struct buf *out)
{
    uint64_t sum = 0;
    uint64_t bound = FIRST_US;
    uint64_t count = get(&row->count);

    for (int i = 0; i < MOUNT_STATS_BUCKETS; i++, bound *= FACTOR) { /* in us */
        sum += get(&row->buckets[i]);
        buf_addf(out, "skyvol_mount_%s_seconds_bucket", metric);
        add_volume(one, out);
        buf_addf(out, ",op=\"%s\",le=\"%g\"} %llu\n", row->name, (double)bound / 1e6,
                 (unsigned long long)sum);
    }
    count = count < sum ? sum : count; /* they are not of one instant */
    buf_addf(out, "skyvol_mount_%s_seconds_bucket", metric);
    add_volume(one, out);
    buf_addf(out, ",op=\"%s\",le=\"+Inf\"} %llu\n", row->name, (unsigned long long)count);
    buf_addf(out, "skyvol_mount_%s_seconds_sum", metric);
    add_volume(one, out);
    buf_addf(out, ",op=\"%s\"} %.6f\n", row->name, (double)get(&row->sum_us) / 1e6);
    buf_addf(out, "skyvol_mount_%s_seconds_count", metric);
    add_volume(one, out);
    buf_addf(out, ",op=\"%s\"} %llu\n", row->name, (unsigned long long)count);
}

static void write_column(const struct mount_stats_of *one, const struct mount_stats_row *row,
                         const char *metric, uint64_t value, struct buf *out)
{
    buf_addf(out, "skyvol_mount_%s_total", metric);
    add_volume(one, out);
    buf_addf(out, ",op=\"%s\"} %llu\n", row->name, (unsigned long long)value);
}

enum column { SECONDS, ERRORS, BYTES };

static void write_rows(const struct mount_stats_of *one, bool store, enum column column,
                       const char *metric, struct buf *out)
{
    const struct mount_stats_row *rows = store ? one->stats->store : one->stats->fuse;
    size_t count = store ? MOUNT_STATS_STORE : MOUNT_STATS_FUSE;

    for (size_t i = 0; i < count; i++) {
        const struct mount_stats_row *row = &rows[i];

        if (row->name[0] == '\0' || get(&row->count) == 0) {
            continue;
        }
        if (column == SECONDS) {
            write_histogram(one, row, metric, out);
        } else {
            write_column(one, row, metric, get(column == ERRORS ? &row->errors : &row->bytes), out);
        }
    }
}

void mount_stats_write(const struct mount_stats_of *mounts, size_t count, struct buf *out)
{
    static const struct {
        const char *metric, *type, *suffix, *help;
        enum column column;
        bool store;
    } tables[] = {
        {"fuse", "histogram", "_seconds", "From a request of the kernel to its answer.", SECONDS,
         false},
        {"fuse_errors", "counter", "_total", "Answered with an error.", ERRORS, false},
        {"store", "histogram", "_seconds", "Requests to the store, each try.", SECONDS, true},
        {"store_errors", "counter", "_total", "Of these, those that failed.", ERRORS, true},
        {"store_bytes", "counter", "_total", "Bytes of objects, moved by them.", BYTES, true},
    };

    for (size_t i = 0; i < STATS_NUMBERS; i++) {
        buf_addf(out, "# HELP skyvol_mount_%s %s\n# TYPE skyvol_mount_%s %s\n", shown[i].name,
                 shown[i].help, shown[i].name, shown[i].type);
        for (size_t j = 0; j < count; j++) {
            uint64_t value = get(&mounts[j].stats->numbers[i]);

            buf_addf(out, "skyvol_mount_%s", shown[i].name);
            add_volume(&mounts[j], out);
            buf_addf(out, "} %.*f\n", shown[i].ms ? 3 : 0,
                     (double)value / (shown[i].ms ? 1000 : 1));
        }
    }
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        buf_addf(out, "# HELP skyvol_mount_%s%s %s\n# TYPE skyvol_mount_%s%s %s\n",
                 tables[i].metric, tables[i].suffix, tables[i].help, tables[i].metric,
                 tables[i].suffix, tables[i].type);
        for (size_t j = 0; j < count; j++) {
            write_rows(&mounts[j], tables[i].store, tables[i].column, tables[i].metric, out);
        }
    }
}

int mount_stats_map(int fd, struct mount_stats **ret)
{
    struct stat st;
    void *data;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (st.st_size < (off_t)sizeof(struct mount_stats)) {
        return -EBADMSG;
    }
    data = mmap(NULL, sizeof(struct mount_stats), PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        return -errno;
    }
    if (!mount_stats_valid(data, sizeof(struct mount_stats))) {
        (void)munmap(data, sizeof(struct mount_stats));
        return -EBADMSG;
    }
    *ret = data;
    return 0;
}

void mount_stats_unmap(struct mount_stats *stats)
{
    if (stats != NULL) {
        (void)munmap(stats, sizeof(*stats));
    }
}
