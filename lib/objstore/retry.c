/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/retry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/objstore_backend.h"
#include "objstore/written.h"
#include "s3/error.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/delay.h"
#include "util/mutex.h"
#include "util/random.h"

enum {
    TOKENS_PER_RETRY = 10,
    REFILL_MS = 100 /* for one retry */,
    EXPIRED_WAIT_MS = 5000,
    LOOKS = 6, /* at an object that may be in the making */
    GARBLED_TRIES = 5,
};

/*
 * An attempt is the caller's request and what is sent for it: `inner`, the copy, or `look`, a HEAD
 * that tells whether a write happened. That is being SENT, RUNNING (the inner store has it) or OVER
 * (we have the answer); or the attempt is WAITING (for its pause to end).
 *
 * The inner store's request is cancelled and resumed under our lock, and only while it is RUNNING:
 * its done() needs the lock before anything else, so the request cannot end meanwhile.
 */
enum attempt_state { SENT, RUNNING, OVER, WAITING };

struct attempt {
    struct delay_entry delay;
    struct retry_store *store;
    struct objstore_request inner;
    struct objstore_request look;
    struct objstore_request *outer;
    struct objstore_request *sent; /* inner or look */
    uint32_t sendings;
    uint32_t refs; /* the request's, and that of who sends it */
    enum attempt_state state;
    bool cancelled;
    bool resumed;    /* while SENT */
    bool informed;   /* the sink's info() has been called */
    bool looking;    /* it is no longer sent, only looked for */
    bool answerless; /* an earlier attempt may have taken effect */
    uint32_t tries, looks;
    uint64_t received; /* bytes that the sink has taken */
    uint64_t watched;  /* of these, by earlier tries */
    uint64_t begun_ms, deadline_ms;
    uint64_t tried_ms; /* when the last try began */
    char etag[OBJSTORE_ETAG_MAX];
    struct objstore_range told; /* what info() was told */
    int failed_status;          /* while WAITING or looking: what to say if nothing better comes */
    int failed_code;
};

struct retry_store {
    struct objstore base;
    struct objstore *inner;
    struct objstore_retry_config config;
    struct delay *delay;
    struct mutex lock; /* of all below and attempts' refs, state, sent, cancelled, resumed */
    int64_t tokens;
    uint64_t refilled_ms;
    struct objstore_retry_stats stats;
};

static bool passing(int status)
{
    switch (status) {
    case -EBUSY:
    case -ETIMEDOUT:
    case -ECONNREFUSED:
    case -ECONNRESET:
    case -EHOSTUNREACH:
    case -EPIPE:
    case -EIO:
        return true;
    default:
        return false;
    }
}

/* What arrived is not what was sent: the store said so of a checksum that is our own. */
static bool garbled(const struct attempt *a, const struct objstore_result *result)
{
    bool ours = result->s3_code == S3_XAMZ_CONTENT_SHA256_MISMATCH ||
                (result->s3_code != S3_OK && a->outer->checksum_is_checked);

    return result->status == -EBADMSG && ours && a->tries < GARBLED_TRIES;
}

/* Keys that have expired are about to be replaced where somebody sees to that. */
static bool worth_another(const struct attempt *a, const struct objstore_result *result)
{
    if (result->lasting) {
        return false;
    }
    return passing(result->status) || garbled(a, result) ||
           (result->status == -EKEYEXPIRED &&
            clock_monotonic_ms(clock_real()) < a->begun_ms + EXPIRED_WAIT_MS);
}

/* The store cannot have done it: it said so, or was never reached. */
static bool certainly_undone(int status)
{
    return status == -EBUSY || status == -ECONNREFUSED || status == -EHOSTUNREACH ||
           status == -EKEYEXPIRED || status == -EBADMSG;
}

static bool repeatable(struct attempt *a)
{
    struct objstore_request *r = a->outer;

    if (r->op != OBJSTORE_PUT && r->op != OBJSTORE_UPLOAD_PART) {
        return true;
    }
    if (r->source.data != NULL || r->source.size == 0) {
        return true;
    }
    return r->source.rewind != NULL && r->source.rewind(r) == 0;
}

static void attempt_unref(struct attempt *a)
{
    bool last;

    mutex_lock(&a->store->lock);
    last = --a->refs == 0;
    mutex_unlock(&a->store->lock);
    if (last) {
        free(a);
    }
}

static void attempt_end(struct attempt *a, const struct objstore_result *result)
{
    struct objstore_request *outer = a->outer;

    mutex_lock(&a->store->lock);
    outer->store_private[0] = NULL;
    mutex_unlock(&a->store->lock);
    outer->done(outer, result);
    attempt_unref(a);
}

static void attempt_fail(struct attempt *a, int status, const char *text)
{
    struct objstore_result result = {.status = status};

    (void)error_set(&result.error, status, "%s", text);
    attempt_end(a, &result);
}

static uint64_t pause_ms(const struct retry_store *store, uint32_t tries)
{
    uint64_t ceiling = store->config.base_ms;

    for (uint32_t i = 1; i < tries && ceiling < store->config.cap_ms; i++) {
        ceiling *= 2;
    }
    if (ceiling > store->config.cap_ms) {
        ceiling = store->config.cap_ms;
    }
    return random_below(ceiling) + 1;
}

static void earn(struct retry_store *store, int64_t tokens) REQUIRES(&store->lock)
{
    int64_t most = (int64_t)store->config.budget * TOKENS_PER_RETRY;

    store->tokens = store->tokens + tokens < most ? store->tokens + tokens : most;
}

/* A store that answers nobody still gets a few tries each second, to see when it is back. */
static bool pay(struct retry_store *store) REQUIRES(&store->lock)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    uint64_t earned = (now - store->refilled_ms) / REFILL_MS;

    if (earned > 0) {
        earn(store, (int64_t)(earned < store->config.budget ? earned : store->config.budget) *
                        TOKENS_PER_RETRY);
        store->refilled_ms = now;
    }
    if (store->tokens < TOKENS_PER_RETRY) {
        return false;
    }
    store->tokens -= TOKENS_PER_RETRY;
    return true;
}

/*
 * True when the attempt waits (and is no longer the caller's). It pays when its pause is over; who
 * then cannot pay waits again.
 */
static bool wait_for_next(struct attempt *a)
{
    struct retry_store *store = a->store;
    uint64_t due_ms = clock_monotonic_ms(clock_real()) +
                      pause_ms(store, a->failed_status == -EKEYEXPIRED ? 3 : a->tries + a->looks);
    bool queued = false;

    mutex_lock(&store->lock);
    if (!a->cancelled && due_ms < a->deadline_ms && delay_add(store->delay, &a->delay, due_ms)) {
        a->state = WAITING; /* under the lock that due() needs first */
        queued = true;
    }
    mutex_unlock(&store->lock);
    return queued;
}

/* Hands it to the inner store. What was asked while that did not have it yet is passed on then. */
static void send_inner(struct attempt *a, struct objstore_request *request)
{
    struct retry_store *store = a->store;
    uint32_t turn;

    mutex_lock(&store->lock);
    a->refs++;
    a->state = SENT;
    a->sent = request;
    a->resumed = false;
    turn = ++a->sendings;
    mutex_unlock(&store->lock);
    objstore_submit(store->inner, request);
    mutex_lock(&store->lock);
    if (a->state == SENT && a->sendings == turn) {
        a->state = RUNNING;
        if (a->cancelled) {
            objstore_cancel(store->inner, request);
        } else if (a->resumed) {
            objstore_resume(store->inner, request);
        }
    }
    mutex_unlock(&store->lock);
    attempt_unref(a);
}

/* The answer is here: from now on nobody cancels or resumes it. */
static void note_over(struct attempt *a)
{
    mutex_lock(&a->store->lock);
    a->state = OVER;
    mutex_unlock(&a->store->lock);
}

/*
 * Nothing is said before the object has been seen, as whoever hears that bytes are lost believes
 * it. A completion may go on behind a connection that has ended, so it is looked for a while.
 */
static void looked(struct objstore_request *look, const struct objstore_result *result)
{
    struct attempt *a = look->arg;
    bool told = result->status == 0 || result->status == -ENOENT;
    bool in_the_making = told && a->outer->op == OBJSTORE_UPLOAD_COMPLETE && ++a->looks < LOOKS;
    struct objstore_result mapped = *result;

    note_over(a);
    if (result->status == 0 && objstore_was_written(a->outer, result->info.etag)) {
        attempt_end(a, &mapped);
        return;
    }
    if ((in_the_making || passing(result->status)) && wait_for_next(a)) {
        return;
    }
    mapped = (struct objstore_result){.status = a->failed_status, .s3_code = a->failed_code};
    if (told) {
        (void)error_set(&mapped.error, a->failed_status,
                        "the first answer was lost, and the object is not what was sent");
    } else { /* it is as unknown as after the first try */
        mapped.status = error_set(&mapped.error, -ETIMEDOUT,
                                  "the first answer was lost, and the store does not tell what "
                                  "came of it: %s",
                                  result->error.text);
    }
    attempt_end(a, &mapped);
}

/* A later attempt failed in a way that an earlier, unanswered one would explain. */
static bool explained_by_first(const struct attempt *a, int status)
{
    const struct objstore_request *r = a->outer;

    if (!a->answerless) {
        return false;
    }
    switch (r->op) {
    case OBJSTORE_PUT:
    case OBJSTORE_COPY:
        return (status == -EEXIST && r->if_none_match != NULL) ||
               (status == -ESTALE && r->if_match != NULL);
    case OBJSTORE_UPLOAD_COMPLETE:
        return status == -ENOENT || status == -EEXIST || status == -ESTALE;
    default:
        return false;
    }
}

static void look_at_object(struct attempt *a)
{
    a->look = (struct objstore_request){.op = OBJSTORE_HEAD,
                                        .bucket = a->outer->bucket,
                                        .key = a->outer->key,
                                        .timeout_ms = 10000,
                                        .done = looked,
                                        .arg = a};
    send_inner(a, &a->look);
}

static void tell(struct attempt *a, const struct objstore_request *inner,
                 const struct objstore_result *result)
{
    const struct objstore_retry_config *config = &a->store->config;
    bool writes = inner->op == OBJSTORE_PUT || inner->op == OBJSTORE_UPLOAD_PART;
    uint64_t now = clock_monotonic_ms(clock_real());
    int status = result->status;
    const struct objstore_watched watched = {
        .op = inner->op,
        .status = status,
        .text = error_text(&result->error, status),
        .again = a->tries > 1,
        .ms = now - a->begun_ms,
        .try_ms = now - a->tried_ms,
        .bytes = writes ? (status == 0 ? inner->source.size : 0) : a->received - a->watched};

    a->watched = a->received;
    if (config->watch != NULL) {
        config->watch(config->watch_context, &watched);
    }
}

static void attempt_done(struct objstore_request *inner, const struct objstore_result *result)
{
    struct attempt *a = inner->arg;
    struct retry_store *store = a->store;
    int status = result->status;

    tell(a, inner, result);
    note_over(a);
    if (status == 0) { /* a retry that succeeds has cost nothing */
        mutex_lock(&store->lock);
        earn(store, a->tries > 1 ? TOKENS_PER_RETRY : 1);
        mutex_unlock(&store->lock);
    }
    if (status == -ENOENT && a->answerless &&
        (a->outer->op == OBJSTORE_DELETE || a->outer->op == OBJSTORE_UPLOAD_ABORT)) {
        struct objstore_result gone = {.status = 0};

        attempt_end(a, &gone);
        return;
    }
    if (explained_by_first(a, status)) {
        a->failed_status = status;
        a->failed_code = result->s3_code;
        a->looking = true;
        look_at_object(a);
        return;
    }
    if (!worth_another(a, result) || a->tries >= store->config.tries || !repeatable(a)) {
        attempt_end(a, result);
        return;
    }
    a->answerless |= !certainly_undone(status);
    a->failed_status = status;
    if (!wait_for_next(a)) {
        attempt_end(a, result);
    }
}

static int attempt_info(struct objstore_request *inner, const struct objstore_info *info,
                        struct objstore_range range)
{
    struct attempt *a = inner->arg;

    if (a->informed) {
        return 0;
    }
    a->informed = true;
    memcpy(a->etag, info->etag, sizeof(a->etag));
    a->told = range;
    return a->outer->sink.info != NULL ? a->outer->sink.info(a->outer, info, range) : 0;
}

static int attempt_write(struct objstore_request *inner, const void *data, size_t len)
{
    struct attempt *a = inner->arg;
    int ret = a->outer->sink.write(a->outer, data, len);

    if (ret == 0) {
        a->received += len;
    }
    return ret;
}

static int attempt_file(struct objstore_request *inner, int fd, struct objstore_range range)
{
    struct attempt *a = inner->arg;
    int ret = a->outer->sink.file(a->outer, fd, range);

    if (ret == 0) {
        a->received += range.len;
    }
    return ret;
}

static ssize_t attempt_read(struct objstore_request *inner, void *buffer, size_t cap)
{
    struct attempt *a = inner->arg;

    return a->outer->source.read(a->outer, buffer, cap);
}

static ssize_t attempt_lend(struct objstore_request *inner, const void **ret_bytes,
                            size_t *ret_window)
{
    struct attempt *a = inner->arg;

    return a->outer->source.lend(a->outer, ret_bytes, ret_window);
}

static void attempt_release(struct objstore_request *inner, size_t len)
{
    struct attempt *a = inner->arg;

    a->outer->source.release(a->outer, len);
}

static int attempt_rewind(struct objstore_request *inner)
{
    struct attempt *a = inner->arg;

    return a->outer->source.rewind(a->outer);
}

/* The copy is made afresh; a GET's range goes on where it stopped. */
static void prepare(struct attempt *a)
{
    uint64_t now = clock_monotonic_ms(clock_real());

    a->tried_ms = now;
    a->inner = *a->outer;
    memset(a->inner.store_private, 0, sizeof(a->inner.store_private));
    a->inner.arg = a;
    a->inner.done = attempt_done;
    a->inner.timeout_ms = now < a->deadline_ms ? (uint32_t)(a->deadline_ms - now) : 1;
    a->inner.source.lend = a->outer->source.lend != NULL ? attempt_lend : NULL;
    a->inner.source.release = a->outer->source.lend != NULL ? attempt_release : NULL;
    a->inner.source.read = a->outer->source.read != NULL ? attempt_read : NULL;
    a->inner.source.rewind = a->outer->source.rewind != NULL ? attempt_rewind : NULL;
    if (a->inner.op == OBJSTORE_GET && a->outer->sink.write != NULL) {
        a->inner.sink.info = attempt_info;
        a->inner.sink.write = attempt_write;
        a->inner.sink.file = a->outer->sink.file != NULL && a->received == 0 ? attempt_file : NULL;
        if (a->received > 0) {
            struct objstore_range *range = &a->inner.range;

            if (a->inner.part_number > 0) { /* the part lay where the first answer said */
                *range = a->told;
                a->inner.part_number = 0;
            }
            range->len = range->len == 0 || range->len == OBJSTORE_TO_END
                             ? OBJSTORE_TO_END
                             : range->len - a->received;
            range->offset += a->received;
            a->inner.if_none_match = NULL;
            if (a->etag[0] != '\0') {
                a->inner.if_match = a->etag;
            }
        }
    }
}

static void attempt_send(struct attempt *a)
{
    a->tries++;
    prepare(a);
    send_inner(a, &a->inner);
}

static void due(struct delay_entry *entry, bool early)
{
    struct attempt *a = container_of(entry, struct attempt, delay);
    struct retry_store *store = a->store;
    bool cancelled;
    bool paid = false;

    mutex_lock(&store->lock);
    cancelled = a->cancelled || early;
    if (!cancelled) {
        paid = pay(store);
        store->stats.retries += paid;
        store->stats.refused += !paid;
    }
    mutex_unlock(&store->lock);
    if (cancelled) {
        attempt_fail(a, -ECANCELED, "cancelled");
    } else if (paid) {
        if (a->looking) {
            look_at_object(a);
        } else {
            attempt_send(a);
        }
    } else if (!wait_for_next(a)) {
        attempt_fail(a, a->looking ? -ETIMEDOUT : a->failed_status,
                     "the store is in trouble, and the deadline has passed");
    }
}

static void retry_submit(struct objstore *base, struct objstore_request *request)
{
    struct retry_store *store = container_of(base, struct retry_store, base);
    struct attempt *a = calloc(1, sizeof(*a));
    uint32_t timeout = request->timeout_ms != 0 ? request->timeout_ms : store->config.timeout_ms;

    if (a == NULL) {
        objstore_fail(request, -ENOMEM, "out of memory");
        return;
    }
    a->store = store;
    a->refs = 1;
    a->outer = request;
    a->begun_ms = clock_monotonic_ms(clock_real());
    a->deadline_ms = a->begun_ms + timeout;
    mutex_lock(&store->lock);
    request->store_private[0] = a;
    mutex_unlock(&store->lock);
    attempt_send(a);
}

static void retry_cancel(struct objstore *base, struct objstore_request *request)
{
    struct retry_store *store = container_of(base, struct retry_store, base);
    struct attempt *a;

    mutex_lock(&store->lock);
    a = request->store_private[0];
    if (a != NULL) {
        a->cancelled = true;
        if (a->state == WAITING) {
            (void)delay_cancel(store->delay, &a->delay);
        } else if (a->state == RUNNING) {
            objstore_cancel(store->inner, a->sent);
        }
    }
    mutex_unlock(&store->lock);
}

static void retry_resume(struct objstore *base, struct objstore_request *request)
{
    struct retry_store *store = container_of(base, struct retry_store, base);
    struct attempt *a;

    mutex_lock(&store->lock);
    a = request->store_private[0];
    if (a != NULL && a->state == RUNNING) {
        objstore_resume(store->inner, a->sent);
    } else if (a != NULL) {
        a->resumed = true;
    }
    mutex_unlock(&store->lock);
}

static void retry_free(struct objstore *base)
{
    struct retry_store *store = container_of(base, struct retry_store, base);

    delay_end(store->delay); /* nothing is sent from there any more */
    objstore_free(store->inner);
    delay_free(store->delay);
    mutex_done(&store->lock);
    objstore_base_done(&store->base);
    free(store);
}

/* What is answered at once is nothing to try again. */
static bool retry_now(struct objstore *base, struct objstore_request *request)
{
    return objstore_now(container_of(base, struct retry_store, base)->inner, request);
}

static const struct objstore_ops retry_ops = {
    .submit = retry_submit,
    .now = retry_now,
    .cancel = retry_cancel,
    .resume = retry_resume,
    .free = retry_free,
};

int objstore_retry_new(struct objstore *inner, const struct objstore_retry_config *config,
                       struct objstore **ret)
{
    struct retry_store *store = calloc(1, sizeof(*store));
    int r = -ENOMEM;

    if (store == NULL) {
        objstore_free(inner);
        return r;
    }
    store->inner = inner;
    store->base.changes = inner->changes;
    store->config = *config;
    store->config.tries = config->tries != 0 ? config->tries : 10;
    store->config.base_ms = config->base_ms != 0 ? config->base_ms : 50;
    store->config.cap_ms = config->cap_ms != 0 ? config->cap_ms : 5000;
    store->config.budget = config->budget != 0 ? config->budget : 50;
    store->config.timeout_ms = config->timeout_ms != 0 ? config->timeout_ms : 60000;
    store->tokens = (int64_t)store->config.budget * TOKENS_PER_RETRY;
    store->refilled_ms = clock_monotonic_ms(clock_real());
    mutex_init(&store->lock);
    r = objstore_base_init(&store->base, &retry_ops, "%s", objstore_name(inner));
    r = r == 0 ? delay_new(due, &store->delay) : r;
    if (r != 0) {
        objstore_free(inner);
        mutex_done(&store->lock);
        objstore_base_done(&store->base);
        free(store);
        return r;
    }
    *ret = &store->base;
    return 0;
}

void objstore_retry_get_stats(struct objstore *base, struct objstore_retry_stats *ret)
{
    struct retry_store *store = container_of(base, struct retry_store, base);

    mutex_lock(&store->lock);
    *ret = store->stats;
    mutex_unlock(&store->lock);
}

struct objstore *objstore_retry_inner(struct objstore *base)
{
    return container_of(base, struct retry_store, base)->inner;
}
