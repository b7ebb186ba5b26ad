/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of one operation: build and send, judge the answer, and either send again (the bucket is
 * in another region; newer credentials are there; the next key of a batch) or end.
 *
 * Between two sends the call belongs to the thread that got the answer. A cancel that falls into
 * that gap finds no HTTP request to cancel, so the flag is looked at again after each submit; the
 * reference taken around it keeps the call for that look, should the answer be there already.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "objstore/s3_private.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/log.h"

static void call_unref(struct s3_call *call)
{
    if (atomic_fetch_sub(&call->refs, 1) != 1) {
        return;
    }
    s3_body_done(call);
    s3_checksum_done(&call->sum);
    buf_done(&call->url);
    buf_done(&call->body);
    buf_done(&call->reply);
    arena_done(&call->arena);
    s3_identity_unref(call->identity);
    free(call);
}

void s3_call_end(struct s3_call *call)
{
    if (call->result.status < 0 && call->result.error.code == 0) {
        (void)error_set(&call->result.error, call->result.status, "%s: %s",
                        objstore_op_name(call->request->op), strerrordesc_np(-call->result.status));
    }
    call->request->done(call->request, &call->result);
    call_unref(call);
}

void s3_call_fail(struct s3_call *call, int status, const char *pattern, ...)
{
    va_list args;

    call->result = (struct objstore_result){.status = status};
    call->result.error.code = status;
    va_start(args, pattern);
    (void)vsnprintf(call->result.error.text, sizeof(call->result.error.text), pattern, args);
    va_end(args);
    s3_call_end(call);
}

/* ---- sending again ---- */

/* Can the bytes be sent once more? Rewinds the source. */
static bool can_send_again(struct s3_call *call)
{
    struct objstore_request *request = call->request;

    if (call->singly || (request->op != OBJSTORE_PUT && request->op != OBJSTORE_UPLOAD_PART) ||
        request->source.data != NULL || request->source.size == 0) {
        return true;
    }
    return request->source.rewind != NULL && request->source.rewind(request) == 0;
}

static bool for_region(struct s3_call *call, enum s3_code code)
{
    bool redirect = code == S3_PERMANENT_REDIRECT || code == S3_TEMPORARY_REDIRECT ||
                    code == S3_AUTHORIZATION_HEADER_MALFORMED || code == S3_BAD_REQUEST ||
                    code == S3_ACCESS_DENIED || code == S3_ILLEGAL_LOCATION_CONSTRAINT;

    if (!redirect || call->sent_again_for_region || call->request->bucket == NULL ||
        call->bucket_region[0] == '\0' || strcmp(call->bucket_region, call->region) == 0 ||
        call->request->op == OBJSTORE_BUCKET_CREATE) {
        return false;
    }
    call->sent_again_for_region = true;
    s3_store_learn_region(call->store, call->request->bucket, call->bucket_region);
    return can_send_again(call);
}

static bool for_credentials(struct s3_call *call, enum s3_code code)
{
    int error = s3_code_errno(code);

    if ((error != -EACCES && error != -EKEYEXPIRED && code != S3_BAD_REQUEST) ||
        call->sent_again_for_keys || !s3_store_has_newer(call->store, call->identity)) {
        return false;
    }
    call->sent_again_for_keys = true;
    return can_send_again(call);
}

static bool signed_for_another_time(const struct s3_call *call)
{
    int64_t wrong_s = call->answer_time_s - call->signed_s;

    return call->answer_time_s != 0 && (wrong_s >= S3_CLOCK_HINT_S || wrong_s <= -S3_CLOCK_HINT_S);
}

/*
 * A store refuses what is signed for another time than its own. Its answers tell that: it is taken
 * over, as this machine's clock may be wrong for as long as nobody looks. HEAD has no body to say
 * why it is refused, so any refusal counts when the clocks are that far apart.
 */
static bool for_clock(struct s3_call *call, enum s3_code code)
{
    struct s3_store *store = call->store;
    int64_t off_s = call->answer_time_s - s3_store_now_s(store);

    if ((code != S3_REQUEST_TIME_TOO_SKEWED && s3_code_errno(code) != -EACCES) ||
        call->sent_again_for_clock || !signed_for_another_time(call)) {
        return false;
    }
    call->sent_again_for_clock = true;
    if (off_s >= S3_CLOCK_HINT_S || off_s <= -S3_CLOCK_HINT_S) { /* nobody else was faster */
        (void)atomic_fetch_add(&store->clock_off_s, off_s);
        log_warn("the store's clock and this machine's differ: requests are signed by the store's",
                 "store", objstore_name(&store->base), "seconds", log_num(off_s), NULL);
    }
    return can_send_again(call);
}

/*
 * The answer to a HEAD has no body: why it was refused (keys that have expired, or that may not) is
 * told by a GET of one byte. Where that is not refused, the HEAD is sent again.
 */
static bool for_reason(struct s3_call *call)
{
    if (call->asking_why) {
        call->asking_why = false;
        return call->http_status != 403;
    }
    if (call->request->op != OBJSTORE_HEAD || call->http_status != 403 || call->asked_why ||
        call->identity->anonymous || signed_for_another_time(call)) {
        return false;
    }
    call->asked_why = true;
    call->asking_why = true;
    return true;
}

/* ---- the answer ---- */

static void answered(struct s3_call *call)
{
    enum objstore_op op = call->request->op;
    enum s3_code code = S3_OK;

    if (for_reason(call)) {
        s3_call_send(call);
        return;
    }
    call->result.status = 0;
    if (call->http_status < 300) {
        s3_reply_success(call);
    } else {
        s3_reply_failure(call, &code);
    }
    if (code != S3_OK &&
        (for_region(call, code) || for_credentials(call, code) || for_clock(call, code))) {
        s3_call_send(call);
        return;
    }
    if (op == OBJSTORE_DELETE_BATCH &&
        (call->result.status == 0 || call->singly || call->result.status == -ENOTSUP)) {
        s3_batch_next(call);
        return;
    }
    if (op == OBJSTORE_DELETE && call->result.status == -ENOENT &&
        call->result.s3_code == (int)S3_NO_SUCH_KEY) {
        call->result = (struct objstore_result){.status = 0}; /* what is not there is deleted */
    }
    s3_call_end(call);
}

static void on_done(struct http_request *http, const struct http_result *result)
{
    struct s3_call *call = container_of(http, struct s3_call, http);

    if (result->status == 0) {
        answered(call);
        return;
    }
    if (call->singly) {
        call->result.status = result->status;
        s3_batch_next(call);
        return;
    }
    s3_call_fail(call, result->status, "%s '%s%s%.120s': %s", objstore_op_name(call->request->op),
                 call->request->bucket != NULL ? call->request->bucket : "",
                 call->request->key != NULL ? "/" : "",
                 call->request->key != NULL ? call->request->key : "",
                 error_text(&result->error, result->status));
}

/* ---- sending ---- */

static uint32_t time_left(const struct s3_call *call)
{
    uint64_t now = clock_monotonic_ms(clock_real());

    return now < call->deadline_ms ? (uint32_t)(call->deadline_ms - now) : 0;
}

/* A connection that nothing moves on is given up long before the request is: the next one may do.
 */
static uint32_t stall_ms(enum objstore_op op)
{
    switch (op) {
    case OBJSTORE_COPY: /* the store's own work */
    case OBJSTORE_UPLOAD_PART_COPY:
    case OBJSTORE_UPLOAD_COMPLETE:
        return 120000;
    default:
        return 15000;
    }
}

static void forget_answer(struct s3_call *call)
{
    call->http_status = 0;
    call->to_sink = false;
    call->bucket_region[0] = '\0';
    buf_reset(&call->reply);
    call->reply.max = S3_XML_BODY_MAX;
    s3_checksum_done(&call->sum);
    call->result = (struct objstore_result){.status = 0};
}

static int build(struct s3_call *call)
{
    struct objstore_request *request = call->request;

    s3_identity_unref(call->identity);
    call->identity = s3_store_identity(call->store);
    if (call->singly) {
        return s3_request_build_delete(call, &request->victims[call->victim]);
    }
    return s3_request_build(call);
}

void s3_call_send(struct s3_call *call)
{
    int error;

    forget_answer(call);
    if (atomic_load(&call->cancelled)) {
        s3_call_fail(call, -ECANCELED, "%s was cancelled", objstore_op_name(call->request->op));
        return;
    }
    call->http.timeout_ms = time_left(call);
    call->http.stall_ms = stall_ms(call->request->op);
    if (call->http.timeout_ms == 0) {
        s3_call_fail(call, -ETIMEDOUT, "%s: no answer in time",
                     objstore_op_name(call->request->op));
        return;
    }
    error = build(call);
    if (error < 0) {
        s3_call_fail(call, error, "%s: the request cannot be built: %s",
                     objstore_op_name(call->request->op), strerrordesc_np(-error));
        return;
    }
    (void)atomic_fetch_add(&call->refs, 1);
    http_submit(call->store->http, &call->http);
    if (atomic_load(&call->cancelled)) {
        http_cancel(call->store->http, &call->http);
    }
    call_unref(call);
}

void s3_call_start(struct s3_store *store, struct objstore_request *request)
{
    struct s3_call *call = calloc(1, sizeof(*call));
    uint32_t timeout_ms = request->timeout_ms != 0 ? request->timeout_ms : store->timeout_ms;

    if (call == NULL) {
        objstore_fail(request, -ENOMEM, "out of memory");
        return;
    }
    atomic_init(&call->refs, 1);
    atomic_init(&call->cancelled, false);
    call->store = store;
    call->request = request;
    call->arena.max = S3_ARENA_MAX;
    call->deadline_ms = clock_monotonic_ms(clock_real()) + timeout_ms;
    call->http.head = s3_reply_head;
    call->http.write = s3_reply_write;
    call->http.done = on_done;
    request->store_private[0] = call;
    if (request->op == OBJSTORE_DELETE_BATCH) {
        s3_batch_start(call);
    } else {
        s3_call_send(call);
    }
}

void s3_call_cancel(struct s3_store *store, struct objstore_request *request)
{
    struct s3_call *call = request->store_private[0];

    if (call != NULL) {
        atomic_store(&call->cancelled, true);
        http_cancel(store->http, &call->http);
    }
}
