/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.h - counters, gauges and histograms with labels, as Prometheus reads them.
 *
 *     struct metric *calls;
 *     r = metrics_add(metrics, &(struct metric_spec){.kind = METRIC_COUNTER,
 *         .name = "rpc_server_calls_total", .help = "Calls answered.",
 *         .labels = {"method", "code"}}, &calls);
 *     metric_add(calls, 1, "/csi.v1.Node/Probe", "OK");
 *
 * Metrics are added at start and live as long as their registry. A NULL metric swallows all
 * updates, so that code need not ask whether it is measured. A metric has at most
 * METRIC_SERIES_MAX sets of label values; what comes beyond is counted under "other".
 * Updates are safe from any thread and take a short lock.
 */
#ifndef UTIL_METRICS_H
#define UTIL_METRICS_H

#include <stddef.h>

#include "util/buf.h"

enum { METRIC_LABELS_MAX = 4, METRIC_BUCKETS_MAX = 24, METRIC_SERIES_MAX = 1000 };

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_spec {
    enum metric_kind kind;
    const char *name; /* all strings must be static */
    const char *help;
    const char *labels[METRIC_LABELS_MAX]; /* names; NULL after the last */
    const double *buckets;                 /* upper bounds, rising; NULL: METRIC_SECONDS */
    size_t bucket_count;
};

struct metrics;
struct metric;

int metrics_new(struct metrics **ret) __attribute__((warn_unused_result));
void metrics_free(struct metrics *metrics);

/* Adding a name again gives the metric that is there. -EINVAL: bad name, or of another kind;
 * -ENOMEM. */
int metrics_add(struct metrics *metrics, const struct metric_spec *spec, struct metric **ret)
    __attribute__((warn_unused_result));

/* After the value come as many `const char *` as the metric has labels. */
void metric_add(struct metric *metric, double value, ...);
void metric_set(struct metric *metric, double value, ...);     /* gauges */
void metric_observe(struct metric *metric, double value, ...); /* histograms */

/* The value of a counter or gauge, the count of a histogram; 0 if there is none. For tests. */
double metric_get(struct metric *metric, ...);

/* Called by metrics_write() before it writes, to set gauges. At most 16 of them; -ENOSPC. */
int metrics_on_write(struct metrics *metrics, void (*update)(void *context), void *context)
    __attribute__((warn_unused_result));

/* Append the text exposition format (version 0.0.4), process_* included. */
void metrics_write(struct metrics *metrics, struct buf *out);

#endif
