/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/counters.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "objstore/objstore.h"
#include "s3proxy/shared_file.h"
#include "util/cleanup.h"

enum { OPERATIONS = OBJSTORE_OP_COUNT + 1, CLASSES = 6, LAYOUT = 4, STORE_FULL = 507 };

/* By class of status: 0 (gone) and 1xx to 5xx. */
static const char *const classes[CLASSES] = {"gone", "1xx", "2xx", "3xx", "4xx", "5xx"};

struct shared {
    uint64_t layout;
    atomic_uint_least64_t requests[OPERATIONS][CLASSES];
    atomic_uint_least64_t us[OPERATIONS], store_us[OPERATIONS];
    atomic_uint_least64_t received[OPERATIONS], sent[OPERATIONS];
    atomic_uint_least64_t at_once[OPERATIONS];
    atomic_uint_least64_t full;
};

struct counters {
    struct shared *shared;
    struct shared shown; /* the launcher's: what the metrics have already */
    const struct limits *limits;
    uint64_t limited_shown[LIMITS_REASONS];
    struct metric *requests, *seconds, *store_seconds, *received, *sent, *at_once, *limited,
        *in_flight, *body_memory, *full;
};

static int wrap(void *shared, struct counters **ret)
{
    struct counters *c = calloc(1, sizeof(*c));

    if (c == NULL) {
        (void)munmap(shared, sizeof(struct shared));
        return -ENOMEM;
    }
    c->shared = shared;
    *ret = c;
    return 0;
}

int counters_create(const char *path, struct counters **ret)
{
    void *shared;
    int r = shared_file_create(path, sizeof(struct shared), LAYOUT, &shared);

    return r == 0 ? wrap(shared, ret) : r;
}

int counters_open(const char *path, struct counters **ret)
{
    AUTOCLOSE int fd = -1;
    void *shared;
    int r = shared_file_open(path, sizeof(struct shared), LAYOUT, &shared, &fd);

    return r == 0 ? wrap(shared, ret) : r;
}

void counters_close(struct counters *counters)
{
    if (counters != NULL) {
        (void)munmap(counters->shared, sizeof(*counters->shared));
        free(counters);
    }
}

static void add(atomic_uint_least64_t *counter, uint64_t value)
{
    (void)atomic_fetch_add_explicit(counter, value, memory_order_relaxed);
}

void counters_count(struct counters *counters, const struct counters_request *request)
{
    int operation = request->operation, class = request->status / 100;

    if (counters == NULL) {
        return;
    }
    operation = operation >= 0 && operation < OBJSTORE_OP_COUNT ? operation : OBJSTORE_OP_COUNT;
    class = class >= 0 && class < CLASSES ? class : CLASSES - 1;
    add(&counters->shared->requests[operation][class], 1);
    add(&counters->shared->us[operation], request->us);
    add(&counters->shared->store_us[operation], request->store_us);
    add(&counters->shared->received[operation], request->received);
    add(&counters->shared->sent[operation], request->sent);
    add(&counters->shared->at_once[operation], request->at_once ? 1 : 0);
    add(&counters->shared->full, request->status == STORE_FULL ? 1 : 0);
}

const char *counters_operation(int operation)
{
    return operation >= 0 && operation < OBJSTORE_OP_COUNT
               ? objstore_op_name((enum objstore_op)operation)
               : "none";
}

/* What has come since the last time. */
static double fresh(atomic_uint_least64_t *now, atomic_uint_least64_t *shown)
{
    uint64_t value = atomic_load_explicit(now, memory_order_relaxed);
    uint64_t before = atomic_load_explicit(shown, memory_order_relaxed);

    atomic_store_explicit(shown, value, memory_order_relaxed);
    return (double)(value - before);
}

static void update_operation(struct counters *c, int op)
{
    const struct {
        struct metric *metric;
        atomic_uint_least64_t *now, *shown;
        double unit;
    } sums[] = {
        {c->seconds, &c->shared->us[op], &c->shown.us[op], 1e-6},
        {c->store_seconds, &c->shared->store_us[op], &c->shown.store_us[op], 1e-6},
        {c->received, &c->shared->received[op], &c->shown.received[op], 1},
        {c->sent, &c->shared->sent[op], &c->shown.sent[op], 1},
        {c->at_once, &c->shared->at_once[op], &c->shown.at_once[op], 1},
    };
    const char *name = counters_operation(op < OBJSTORE_OP_COUNT ? op : -1);

    for (int class = 0; class < CLASSES; class ++) {
        double n = fresh(&c->shared->requests[op][class], &c->shown.requests[op][class]);

        if (n > 0) {
            metric_add(c->requests, n, name, classes[class]);
        }
    }
    for (size_t i = 0; i < sizeof(sums) / sizeof(sums[0]); i++) {
        double n = fresh(sums[i].now, sums[i].shown);

        if (n > 0) {
            metric_add(sums[i].metric, n * sums[i].unit, name);
        }
    }
}

static void update(void *context)
{
    struct counters *c = context;

    for (int op = 0; op < OPERATIONS; op++) {
        update_operation(c, op);
    }
    for (int reason = LIMITS_NONE + 1; reason < LIMITS_REASONS; reason++) {
        uint64_t now = limits_counted(c->limits, (enum limits_reason)reason);

        metric_add(c->limited, (double)(now - c->limited_shown[reason]),
                   limits_reason_name((enum limits_reason)reason));
        c->limited_shown[reason] = now;
    }
    metric_add(c->full, fresh(&c->shared->full, &c->shown.full));
    metric_set(c->in_flight, (double)limits_inside(c->limits));
    metric_set(c->body_memory, (double)limits_held(c->limits));
}

int counters_show(struct counters *counters, const struct limits *limits, struct metrics *metrics)
{
    const struct {
        struct metric_spec spec;
        struct metric **ret;
    } all[] = {
        {{.name = "s3_requests_total",
          .help = "S3 requests that ended, by operation and class of the HTTP status.",
          .labels = {"op", "status"}},
         &counters->requests},
        {{.name = "s3_request_seconds_total",
          .help = "Time from the heads of S3 requests to their ends.",
          .labels = {"op"}},
         &counters->seconds},
        {{.name = "s3_store_seconds_total",
          .help = "Of it, from the ends of requests to the heads of their replies.",
          .labels = {"op"}},
         &counters->store_seconds},
        {{.name = "s3_received_bytes_total", .help = "Bytes of S3 requests.", .labels = {"op"}},
         &counters->received},
        {{.name = "s3_sent_bytes_total",
          .help = "Bytes of replies to S3 requests.",
          .labels = {"op"}},
         &counters->sent},
        {{.name = "s3_at_once_total",
          .help = "S3 requests that were answered from memory, without a thread of the store.",
          .labels = {"op"}},
         &counters->at_once},
        {{.name = "s3_limited_total",
          .help = "Requests and connections refused or ended by a limit.",
          .labels = {"reason"}},
         &counters->limited},
        {{.name = "s3_store_full_total",
          .help = "S3 requests that failed because the store had no room (507)."},
         &counters->full},
        {{.kind = METRIC_GAUGE,
          .name = "s3_requests_in_flight",
          .help = "S3 requests under way that were let in."},
         &counters->in_flight},
        {{.kind = METRIC_GAUGE,
          .name = "s3_body_memory_bytes",
          .help = "Memory that workers have for S3 bodies under way or to come."},
         &counters->body_memory},
    };
    int r = 0;

    counters->limits = limits;
    for (size_t i = 0; r == 0 && i < sizeof(all) / sizeof(all[0]); i++) {
        r = metrics_add(metrics, &all[i].spec, all[i].ret);
    }
    return r == 0 ? metrics_on_write(metrics, update, counters) : r;
}
