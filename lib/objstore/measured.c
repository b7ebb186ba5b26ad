/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measured.c - each request is passed on as a copy of its own, and looked at when it ends.
 *
 * A cancel or resume may come while the inner store ends the request. It pins the copy, and the end
 * waits for the pin: the inner store is never asked about a request whose done() has returned.
 */
#include "objstore/measured.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "objstore/objstore_backend.h"
#include "util/container.h"
#include "util/mutex.h"

struct measured_store {
    struct objstore base;
    struct objstore *inner;
    struct metric *requests, *errors, *read_bytes, *written_bytes, *seconds;
    struct mutex lock; /* of the requests' store_private and pins; a leaf */
    struct cond unpinned;
};

struct measuring {
    struct measured_store *store;
    struct objstore_request inner;
    struct objstore_request *outer;
    unsigned pins;
    uint64_t read_bytes;
    double started; /* seconds, from an arbitrary start */
};

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void count(const struct measuring *m, const struct objstore_result *result)
{
    const struct measured_store *store = m->store;
    enum objstore_op op = m->outer->op;
    const char *name = objstore_op_name(op);
    const char *error = strerrorname_np(-result->status);

    metric_add(store->requests, 1, name);
    metric_observe(store->seconds, now() - m->started, name);
    if (result->status < 0) {
        metric_add(store->errors, 1, name, error != NULL ? error : "other");
    } else if (op == OBJSTORE_PUT || op == OBJSTORE_UPLOAD_PART) {
        metric_add(store->written_bytes, (double)result->info.size, name);
    }
    if (m->read_bytes > 0) {
        metric_add(store->read_bytes, (double)m->read_bytes, name);
    }
}

static void on_done(struct objstore_request *inner, const struct objstore_result *result)
{
    struct measuring *m = inner->arg;
    struct measured_store *store = m->store;
    struct objstore_request *outer = m->outer;

    mutex_lock(&store->lock);
    outer->store_private[0] = NULL;
    while (m->pins > 0) {
        cond_wait(&store->unpinned, &store->lock);
    }
    mutex_unlock(&store->lock);
    count(m, result);
    outer->done(outer, result);
    free(m);
}

static int on_info(struct objstore_request *inner, const struct objstore_info *info,
                   struct objstore_range range)
{
    struct measuring *m = inner->arg;

    return m->outer->sink.info(m->outer, info, range);
}

static int on_write(struct objstore_request *inner, const void *data, size_t len)
{
    struct measuring *m = inner->arg;
    int r = m->outer->sink.write(m->outer, data, len);

    m->read_bytes += r == 0 ? len : 0;
    return r;
}

static int on_file(struct objstore_request *inner, int fd, struct objstore_range range)
{
    struct measuring *m = inner->arg;
    int r = m->outer->sink.file(m->outer, fd, range);

    m->read_bytes += r == 0 ? range.len : 0;
    return r;
}

static ssize_t on_read(struct objstore_request *inner, void *buffer, size_t cap)
{
    struct measuring *m = inner->arg;

    return m->outer->source.read(m->outer, buffer, cap);
}

static ssize_t on_lend(struct objstore_request *inner, const void **ret_bytes, size_t *ret_window)
{
    struct measuring *m = inner->arg;

    return m->outer->source.lend(m->outer, ret_bytes, ret_window);
}

static void on_release(struct objstore_request *inner, size_t len)
{
    struct measuring *m = inner->arg;

    m->outer->source.release(m->outer, len);
}

static int on_rewind(struct objstore_request *inner)
{
    struct measuring *m = inner->arg;

    return m->outer->source.rewind(m->outer);
}

static void measured_submit(struct objstore *base, struct objstore_request *request)
{
    struct measured_store *store = container_of(base, struct measured_store, base);
    struct measuring *m = calloc(1, sizeof(*m));
    struct objstore_request *inner;

    if (m == NULL) {
        objstore_fail(request, -ENOMEM, "out of memory");
        return;
    }
    m->store = store;
    m->outer = request;
    m->started = now();
    inner = &m->inner;
    *inner = *request;
    inner->arg = m;
    inner->done = on_done;
    inner->sink.info = request->sink.info != NULL ? on_info : NULL;
    inner->sink.write = request->sink.write != NULL ? on_write : NULL;
    inner->sink.file = request->sink.file != NULL ? on_file : NULL;
    inner->source.lend = request->source.lend != NULL ? on_lend : NULL;
    inner->source.release = request->source.lend != NULL ? on_release : NULL;
    inner->source.read = request->source.read != NULL ? on_read : NULL;
    inner->source.rewind = request->source.rewind != NULL ? on_rewind : NULL;
    mutex_lock(&store->lock);
    request->store_private[0] = m;
    mutex_unlock(&store->lock);
    objstore_submit(store->inner, inner);
}

static struct measuring *pin(struct measured_store *store, const struct objstore_request *request)
{
    struct measuring *m;

    mutex_lock(&store->lock);
    m = request->store_private[0];
    if (m != NULL) {
        m->pins++;
    }
    mutex_unlock(&store->lock);
    return m;
}

static void unpin(struct measuring *m)
{
    struct measured_store *store = m->store;

    mutex_lock(&store->lock);
    m->pins--;
    cond_broadcast(&store->unpinned);
    mutex_unlock(&store->lock);
}

static void measured_cancel(struct objstore *base, struct objstore_request *request)
{
    struct measured_store *store = container_of(base, struct measured_store, base);
    struct measuring *m = pin(store, request);

    if (m != NULL) {
        objstore_cancel(store->inner, &m->inner);
        unpin(m);
    }
}

static void measured_resume(struct objstore *base, struct objstore_request *request)
{
    struct measured_store *store = container_of(base, struct measured_store, base);
    struct measuring *m = pin(store, request);

    if (m != NULL) {
        objstore_resume(store->inner, &m->inner);
        unpin(m);
    }
}

static void measured_free(struct objstore *base)
{
    struct measured_store *store = container_of(base, struct measured_store, base);

    objstore_free(store->inner);
    cond_done(&store->unpinned);
    mutex_done(&store->lock);
    objstore_base_done(&store->base);
    free(store);
}

static const struct objstore_ops measured_ops = {
    .submit = measured_submit,
    .cancel = measured_cancel,
    .resume = measured_resume,
    .free = measured_free,
};

static int add_metrics(struct measured_store *store, struct metrics *metrics)
{
    const struct {
        struct metric_spec spec;
        struct metric **ret;
    } all[] = {
        {{.name = "objstore_requests_total",
          .help = "Requests to object stores that were answered.",
          .labels = {"op"}},
         &store->requests},
        {{.name = "objstore_errors_total",
          .help = "Requests to object stores that failed, after retries.",
          .labels = {"op", "error"}},
         &store->errors},
        {{.name = "objstore_read_bytes_total",
          .help = "Bytes read from object stores.",
          .labels = {"op"}},
         &store->read_bytes},
        {{.name = "objstore_written_bytes_total",
          .help = "Bytes written to object stores.",
          .labels = {"op"}},
         &store->written_bytes},
        {{.kind = METRIC_HISTOGRAM,
          .name = "objstore_seconds",
          .help = "Time that requests to object stores took, retries included.",
          .labels = {"op"}},
         &store->seconds},
    };
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(all) / sizeof(all[0]); i++) {
        r = metrics_add(metrics, &all[i].spec, all[i].ret);
    }
    return r;
}

int objstore_measured_new(struct objstore *inner, struct metrics *metrics, struct objstore **ret)
{
    struct measured_store *store = calloc(1, sizeof(*store));
    int r;

    if (store == NULL) {
        objstore_free(inner);
        return -ENOMEM;
    }
    store->inner = inner;
    store->base.changes = inner->changes;
    mutex_init(&store->lock);
    cond_init(&store->unpinned);
    r = objstore_base_init(&store->base, &measured_ops, "%s", objstore_name(inner));
    r = r == 0 ? add_metrics(store, metrics) : r;
    if (r != 0) {
        measured_free(&store->base);
        return r;
    }
    *ret = &store->base;
    return 0;
}
