/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c - a metric is a list of series, one per set of label values.
 *
 * Series are found by walking a hash of the joined label values (each followed by 0xff, which no
 * UTF-8 text holds). They are never removed. Lock order: registry, then metric; updates take the
 * metric's lock alone.
 */
#include "util/metrics.h"

#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/queue.h>

#include <uthash.h>

#include "util/cleanup.h"
#include "util/file.h"
#include "util/mutex.h"

enum { KEY_MAX = 512, UPDATES_MAX = 16 };

struct series {
    UT_hash_handle hh;
    double value;                         /* counter, gauge; histogram: the sum */
    uint64_t count;                       /* histogram */
    uint64_t buckets[METRIC_BUCKETS_MAX]; /* histogram: not cumulative */
    char key[];
};

struct metric {
    struct metric_spec spec;
    size_t label_count;
    STAILQ_ENTRY(metric) link;
    struct mutex lock;
    struct series *series GUARDED_BY(lock);
};

struct update {
    void (*update)(void *context);
    void *context;
};

struct metrics {
    struct mutex lock;
    STAILQ_HEAD(, metric) all GUARDED_BY(lock);
    struct update updates[UPDATES_MAX] GUARDED_BY(lock);
    size_t update_count GUARDED_BY(lock);
};

static const double seconds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                 0.25,   0.5,   1,      2.5,   5,    10,    30,   60};

int metrics_new(struct metrics **ret)
{
    struct metrics *metrics = calloc(1, sizeof(*metrics));

    if (metrics == NULL) {
        return -ENOMEM;
    }
    mutex_init(&metrics->lock);
    STAILQ_INIT(&metrics->all);
    *ret = metrics;
    return 0;
}

LOCK_UNCHECKED
static void metric_free(struct metric *metric)
{
    struct series *s;
    struct series *next;

    HASH_ITER(hh, metric->series, s, next)
    {
        HASH_DEL(metric->series, s);
        free(s);
    }
    mutex_done(&metric->lock);
    free(metric);
}

LOCK_UNCHECKED
void metrics_free(struct metrics *metrics)
{
    struct metric *metric;

    if (metrics == NULL) {
        return;
    }
    while ((metric = STAILQ_FIRST(&metrics->all)) != NULL) {
        STAILQ_REMOVE_HEAD(&metrics->all, link);
        metric_free(metric);
    }
    mutex_done(&metrics->lock);
    free(metrics);
}

static bool name_ok(const char *name)
{
    size_t len = name != NULL ? strlen(name) : 0;

    return len > 0 && len < 128 && (name[0] < '0' || name[0] > '9') &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:") == len;
}

static int spec_check(const struct metric_spec *spec)
{
    if (!name_ok(spec->name) || spec->help == NULL || spec->bucket_count > METRIC_BUCKETS_MAX) {
        return -EINVAL;
    }
    for (size_t i = 0; i < METRIC_LABELS_MAX && spec->labels[i] != NULL; i++) {
        if (!name_ok(spec->labels[i])) {
            return -EINVAL;
        }
    }
    return 0;
}

static struct metric *find_locked(struct metrics *metrics, const char *name)
    REQUIRES(&metrics->lock)
{
    struct metric *metric;

    STAILQ_FOREACH(metric, &metrics->all, link)
    {
        if (strcmp(metric->spec.name, name) == 0) {
            return metric;
        }
    }
    return NULL;
}

static int add_locked(struct metrics *metrics, const struct metric_spec *spec, struct metric **ret)
    REQUIRES(&metrics->lock)
{
    struct metric *metric = find_locked(metrics, spec->name);

    if (metric != NULL) {
        if (metric->spec.kind != spec->kind) {
            return -EINVAL;
        }
        *ret = metric;
        return 0;
    }
    metric = calloc(1, sizeof(*metric));
    if (metric == NULL) {
        return -ENOMEM;
    }
    metric->spec = *spec;
    if (spec->buckets == NULL) {
        metric->spec.buckets = seconds;
        metric->spec.bucket_count = sizeof(seconds) / sizeof(seconds[0]);
    }
    while (metric->label_count < METRIC_LABELS_MAX && spec->labels[metric->label_count] != NULL) {
        metric->label_count++;
    }
    mutex_init(&metric->lock);
    STAILQ_INSERT_TAIL(&metrics->all, metric, link);
    *ret = metric;
    return 0;
}

int metrics_add(struct metrics *metrics, const struct metric_spec *spec, struct metric **ret)
{
    int r = spec_check(spec);

    if (r < 0) {
        return r;
    }
    mutex_lock(&metrics->lock);
    r = add_locked(metrics, spec, ret);
    mutex_unlock(&metrics->lock);
    return r;
}

/* The label values, each cut to its share of the room and followed by 0xff. */
static size_t make_key(const struct metric *metric, va_list values, char key[KEY_MAX])
{
    size_t share = KEY_MAX / METRIC_LABELS_MAX - 2;
    size_t len = 0;

    for (size_t i = 0; i < metric->label_count; i++) {
        const char *value = va_arg(values, const char *);
        size_t n = value != NULL ? strnlen(value, share) : 0;

        if (n > 0) {
            memcpy(key + len, value, n);
        }
        len += n;
        key[len++] = (char)0xff;
    }
    key[len] = '\0';
    return len;
}

static struct series *series_locked(struct metric *metric, const char *key, size_t len)
    REQUIRES(&metric->lock)
{
    struct series *s = NULL;
    char other[KEY_MAX];

    HASH_FIND(hh, metric->series, key, len, s);
    if (s != NULL) {
        return s;
    }
    if (metric->label_count > 0 && HASH_COUNT(metric->series) >= METRIC_SERIES_MAX) {
        len = 0;
        for (size_t i = 0; i < metric->label_count; i++) {
            memcpy(other + len, "other\xff", 6);
            len += 6;
        }
        other[len] = '\0';
        key = other;
        HASH_FIND(hh, metric->series, key, len, s);
        if (s != NULL) {
            return s;
        }
    }
    s = calloc(1, sizeof(*s) + len + 1);
    if (s == NULL) {
        return NULL;
    }
    memcpy(s->key, key, len);
    HASH_ADD_KEYPTR(hh, metric->series, s->key, len, s);
    if (s->hh.tbl == NULL) { /* uthash found no memory */
        free(s);
        return NULL;
    }
    return s;
}

enum change { CHANGE_ADD, CHANGE_SET, CHANGE_OBSERVE };

static void apply(struct metric *metric, enum change change, double value, va_list values)
{
    char key[KEY_MAX];
    size_t len = make_key(metric, values, key);
    struct series *s;

    mutex_lock(&metric->lock);
    s = series_locked(metric, key, len);
    if (s != NULL && change == CHANGE_SET) {
        s->value = value;
    } else if (s != NULL) {
        s->value += value;
    }
    if (s != NULL && change == CHANGE_OBSERVE) {
        s->count++;
        for (size_t i = 0; i < metric->spec.bucket_count; i++) {
            if (value <= metric->spec.buckets[i]) {
                s->buckets[i]++;
                break;
            }
        }
    }
    mutex_unlock(&metric->lock);
}

void metric_add(struct metric *metric, double value, ...)
{
    va_list values;

    if (metric != NULL) {
        va_start(values, value);
        apply(metric, CHANGE_ADD, value, values);
        va_end(values);
    }
}

void metric_set(struct metric *metric, double value, ...)
{
    va_list values;

    if (metric != NULL) {
        va_start(values, value);
        apply(metric, CHANGE_SET, value, values);
        va_end(values);
    }
}

void metric_observe(struct metric *metric, double value, ...)
{
    va_list values;

    if (metric != NULL) {
        va_start(values, value);
        apply(metric, CHANGE_OBSERVE, value, values);
        va_end(values);
    }
}

double metric_get(struct metric *metric, ...)
{
    char key[KEY_MAX];
    struct series *s = NULL;
    double value = 0;
    va_list values;
    size_t len;

    va_start(values, metric);
    len = make_key(metric, values, key);
    va_end(values);
    mutex_lock(&metric->lock);
    HASH_FIND(hh, metric->series, key, len, s);
    if (s != NULL) {
        value = metric->spec.kind == METRIC_HISTOGRAM ? (double)s->count : s->value;
    }
    mutex_unlock(&metric->lock);
    return value;
}

int metrics_on_write(struct metrics *metrics, void (*update)(void *context), void *context)
{
    int r = -ENOSPC;

    mutex_lock(&metrics->lock);
    if (metrics->update_count < UPDATES_MAX) {
        metrics->updates[metrics->update_count].update = update;
        metrics->updates[metrics->update_count].context = context;
        metrics->update_count++;
        r = 0;
    }
    mutex_unlock(&metrics->lock);
    return r;
}

static void write_number(struct buf *out, double value)
{
    if (value == floor(value) && fabs(value) < 1e15) {
        buf_addf(out, "%.0f\n", value);
    } else {
        buf_addf(out, "%.9g\n", value);
    }
}

/* name_suffix{label="value",...,le="bound"} */
static void write_name(struct buf *out, const struct metric *metric, const char *suffix,
                       const char *key, const char *le)
{
    const char *comma = "";

    buf_addf(out, "%s%s", metric->spec.name, suffix);
    if (metric->label_count == 0 && le == NULL) {
        buf_addstr(out, " ");
        return;
    }
    buf_addstr(out, "{");
    for (size_t i = 0; i < metric->label_count; i++) {
        buf_addf(out, "%s%s=\"", comma, metric->spec.labels[i]);
        for (; *key != (char)0xff; key++) {
            if (*key == '\\' || *key == '"') {
                buf_addf(out, "\\%c", *key);
            } else if (*key == '\n') {
                buf_addstr(out, "\\n");
            } else {
                buf_add(out, key, 1);
            }
        }
        key++;
        buf_addstr(out, "\"");
        comma = ",";
    }
    if (le != NULL) {
        buf_addf(out, "%sle=\"%s\"", comma, le);
    }
    buf_addstr(out, "} ");
}

static void write_histogram(struct buf *out, const struct metric *metric, const struct series *s)
{
    uint64_t sum = 0;
    char le[32];

    for (size_t i = 0; i < metric->spec.bucket_count; i++) {
        sum += s->buckets[i];
        (void)snprintf(le, sizeof(le), "%.9g", metric->spec.buckets[i]);
        write_name(out, metric, "_bucket", s->key, le);
        buf_addf(out, "%llu\n", (unsigned long long)sum);
    }
    write_name(out, metric, "_bucket", s->key, "+Inf");
    buf_addf(out, "%llu\n", (unsigned long long)s->count);
    write_name(out, metric, "_sum", s->key, NULL);
    write_number(out, s->value);
    write_name(out, metric, "_count", s->key, NULL);
    buf_addf(out, "%llu\n", (unsigned long long)s->count);
}

static void write_metric(struct metric *metric, struct buf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};

    buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->spec.name, metric->spec.help,
             metric->spec.name, kinds[metric->spec.kind]);
    mutex_lock(&metric->lock);
    for (struct series *s = metric->series; s != NULL; s = s->hh.next) {
        if (metric->spec.kind == METRIC_HISTOGRAM) {
            write_histogram(out, metric, s);
        } else {
            write_name(out, metric, "", s->key, NULL);
            write_number(out, s->value);
        }
    }
    mutex_unlock(&metric->lock);
}

/* CPU time and memory of the process, under the names Prometheus knows. */
static void write_process(struct buf *out)
{
    CLEANUP(buf_done) struct buf statm = BUF_INIT(4096);
    struct timespec cpu;
    char *end;
    unsigned long long pages;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0) {
        buf_addf(out,
                 "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %lld.%03ld\n",
                 (long long)cpu.tv_sec, cpu.tv_nsec / 1000000);
    }
    if (file_read("/proc/self/statm", &statm) == 0) {
        (void)strtoull(buf_str(&statm), &end, 10);
        pages = strtoull(end, NULL, 10);
        buf_addf(out,
                 "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %llu\n",
                 pages * (unsigned long long)sysconf(_SC_PAGESIZE));
    }
}

void metrics_write(struct metrics *metrics, struct buf *out)
{
    struct update updates[UPDATES_MAX];
    struct metric *metric;
    size_t count;

    mutex_lock(&metrics->lock);
    count = metrics->update_count;
    for (size_t i = 0; i < count; i++) {
        updates[i] = metrics->updates[i];
    }
    metric = STAILQ_FIRST(&metrics->all);
    mutex_unlock(&metrics->lock);
    for (size_t i = 0; i < count; i++) {
        updates[i].update(updates[i].context);
    }
    /* Metrics are only ever appended, so that the list can be walked from lock to lock. */
    while (metric != NULL) {
        write_metric(metric, out);
        mutex_lock(&metrics->lock);
        metric = STAILQ_NEXT(metric, link);
        mutex_unlock(&metrics->lock);
    }
    write_process(out);
}
