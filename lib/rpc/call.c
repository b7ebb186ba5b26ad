/* SPDX-License-Identifier: Apache-2.0 */
/* call.c - one call on the server, from accept slot to answer; see server_private.h. */
#include "rpc/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "rpc/server_private.h"
#include "rpc/utf8.h"
#include "util/clock.h"

enum { REQUEST_ID_MAX = 64 };

static void call_free(struct rpc_call *call)
{
    if (call->handle != NULL) {
        grpc_call_unref(call->handle);
    }
    if (call->received != NULL) {
        grpc_byte_buffer_destroy(call->received);
    }
    if (call->sending != NULL) {
        grpc_byte_buffer_destroy(call->sending);
    }
    grpc_slice_unref(call->status_text);
    grpc_call_details_destroy(&call->details);
    grpc_metadata_array_destroy(&call->metadata);
    arena_done(&call->recv_arena);
    arena_done(&call->arena);
    cond_done(&call->changed);
    mutex_done(&call->lock);
    free(call);
}

static void call_unref(struct rpc_call *call)
{
    struct rpc_server *server = call->server;
    bool last;

    mutex_lock(&call->lock);
    last = --call->refs == 0;
    mutex_unlock(&call->lock);
    if (last) {
        server_call_left(server, call);
        call_free(call);
        server_call_ended(server);
    }
}

/* Undo the taking of a reference by one who has another: never the last. */
static void call_put_back(struct rpc_call *call)
{
    mutex_lock(&call->lock);
    call->refs--;
    mutex_unlock(&call->lock);
}

void call_accept(struct rpc_server *server)
{
    struct rpc_call *call;

    if (!server_slot_begun(server)) {
        return;
    }
    call = calloc(1, sizeof(*call));
    if (call == NULL) {
        server_slot_ended(server);
        return;
    }
    call->server = server;
    for (int i = 0; i < EVENT_COUNT; i++) {
        call->tags[i] = (struct call_tag){.call = call, .event = (enum call_event)i};
    }
    mutex_init(&call->lock);
    cond_init(&call->changed);
    call->arena.max = RPC_ARENA_MAX;
    call->recv_arena.max = RPC_ARENA_MAX;
    call->status_text = grpc_empty_slice();
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    CORE_GIVE(&call->tags[EVENT_ACCEPT]);
    CORE_GIVE(call);
    if (grpc_server_request_call(server->handle, &call->handle, &call->details, &call->metadata,
                                 server->events, server->events,
                                 &call->tags[EVENT_ACCEPT]) != GRPC_CALL_OK) {
        call_free(call);
        server_slot_ended(server);
    }
}

/* Give a batch to gRPC, with a reference of its own. */
static int start(struct rpc_call *call, const grpc_op *ops, size_t count, enum call_event event)
{
    mutex_lock(&call->lock);
    call->refs++;
    mutex_unlock(&call->lock);
    CORE_GIVE(&call->tags[event]);
    CORE_GIVE(call);
    if (grpc_call_start_batch(call->handle, ops, count, &call->tags[event], NULL) != GRPC_CALL_OK) {
        call_put_back(call);
        return -EIO;
    }
    return 0;
}

/* Headers (unless sent), the reply if there is one, and the status. The end of the call. */
static void finish(struct rpc_call *call, enum rpc_code code, const char *text,
                   grpc_byte_buffer *reply)
{
    grpc_op ops[3] = {0};
    size_t n = 0;

    if (!call->headers_sent) {
        call->headers_sent = true;
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    }
    if (reply != NULL) {
        call->sending = reply;
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = reply;
    }
    call->status_text = core_text_slice(text);
    ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[n].data.send_status_from_server.status = (grpc_status_code)code;
    ops[n++].data.send_status_from_server.status_details = &call->status_text;
    if (start(call, ops, n, EVENT_FINISH) < 0) {
        (void)grpc_call_cancel(call->handle, NULL);
    }
}

static int receive(struct rpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};

    op.data.recv_message.recv_message = &call->received;
    return start(call, &op, 1, EVENT_RECV);
}

/* End a call that no handler has seen. */
static void refuse(struct rpc_call *call, enum rpc_code code, const char *text)
{
    call_log_end(call, NULL, code, text);
    finish(call, code, text, NULL);
}

static void to_pool(struct rpc_call *call)
{
    mutex_lock(&call->lock);
    call->refs++;
    mutex_unlock(&call->lock);
    if (pool_submit(call->binding->pool, call) < 0) {
        refuse(call, RPC_RESOURCE_EXHAUSTED, "too many calls wait for a thread: try again later");
        call_put_back(call);
    }
}

/* The caller's id, if it can stand in a log line as it is. */
static const char *find_request_id(struct rpc_call *call)
{
    const char *given = rpc_call_metadata(call, "x-request-id");
    char *own;

    if (given != NULL && given[0] != '\0' && strlen(given) <= REQUEST_ID_MAX &&
        strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") ==
            strlen(given)) {
        return given;
    }
    own = arena_alloc(&call->arena, RANDOM_ID_SIZE);
    if (own == NULL) {
        return "";
    }
    random_id(own);
    return own;
}

/* The accept slot has a call in it. The poller's reference keeps it until the end of this. */
static void accepted(struct rpc_call *call)
{
    struct rpc_server *server = call->server;
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    const char *path = (const char *)GRPC_SLICE_START_PTR(call->details.method);
    size_t len = GRPC_SLICE_LENGTH(call->details.method);

    mutex_lock(&call->lock);
    call->refs = 1;
    mutex_unlock(&call->lock);
    server_call_begun(server, call);
    call_accept(server);
    call->started_ms = clock_monotonic_ms(clock_real());
    call->binding = server_find(server, path, len);
    call->path = arena_strndup(&call->arena, path, len);
    call->request_id = find_request_id(call);
    op.data.recv_close_on_server.cancelled = &call->close_cancelled;
    if (start(call, &op, 1, EVENT_CLOSE) < 0) {
        (void)grpc_call_cancel(call->handle, NULL);
    } else if (call->binding == NULL) {
        refuse(call, RPC_UNIMPLEMENTED, "this server has no such method");
    } else if (call->binding->method.client_streams) {
        to_pool(call);
    } else {
        mutex_lock(&call->lock);
        call->waiting_first = true;
        call->recv_state = RECV_PENDING;
        mutex_unlock(&call->lock);
        if (receive(call) < 0) {
            (void)grpc_call_cancel(call->handle, NULL);
        }
    }
    call_unref(call);
}

static void recv_done(struct rpc_call *call)
{
    bool first;

    mutex_lock(&call->lock);
    first = call->waiting_first;
    call->waiting_first = false;
    call->recv_state = RECV_READY;
    cond_broadcast(&call->changed);
    mutex_unlock(&call->lock);
    if (first && call->received == NULL) {
        refuse(call, RPC_CANCELLED, "the call ended before its request had come");
    } else if (first) {
        to_pool(call);
    }
}

void call_complete(struct call_tag *tag, bool ok)
{
    struct rpc_call *call;

    CORE_TAKE(tag);
    call = tag->call;
    CORE_TAKE(call);
    switch (tag->event) {
    case EVENT_ACCEPT:
        if (ok) {
            accepted(call);
        } else {
            struct rpc_server *server = call->server;

            call_free(call);
            server_slot_ended(server);
        }
        return;
    case EVENT_RECV:
        recv_done(call);
        break;
    case EVENT_CLOSE:
        mutex_lock(&call->lock);
        call->cancelled = call->close_cancelled != 0 || !ok;
        cond_broadcast(&call->changed);
        mutex_unlock(&call->lock);
        break;
    case EVENT_SEND:
        mutex_lock(&call->lock);
        call->send_state = ok ? SEND_DONE : SEND_FAILED;
        cond_broadcast(&call->changed);
        mutex_unlock(&call->lock);
        break;
    default: /* EVENT_FINISH: only its reference matters */
        break;
    }
    call_unref(call);
}

/* The request of a unary call or a server stream, checked. */
static int decode(struct rpc_call *call, struct arena *arena, const ProtobufCMessage **ret,
                  struct error *err)
{
    ProtobufCAllocator allocator = core_arena_allocator(arena);
    ProtobufCMessage *message = NULL;
    const char *bad;
    int r = core_unpack(call->received, call->binding->descriptor->input, &allocator, &message);

    grpc_byte_buffer_destroy(call->received);
    call->received = NULL;
    if (r < 0) {
        return error_set(err, r, "the request is not a %s", call->binding->descriptor->input->name);
    }
    bad = utf8_bad_field(message);
    if (bad != NULL) {
        return error_set(err, -EBADMSG, "field '%s' of the request is not UTF-8", bad);
    }
    *ret = message;
    return 0;
}

struct answer {
    enum rpc_code code;
    struct error err;
    ProtobufCMessage *reply;
};

static int run_handler(struct rpc_call *call, const ProtobufCMessage *request,
                       struct answer *answer)
{
    const struct binding *b = call->binding;
    int r = b->service.allow != NULL ? b->service.allow(call, &answer->err) : 0;

    if (r < 0) {
        return r;
    }
    if (b->method.stream != NULL) {
        return b->method.stream(call, request, &answer->err);
    }
    answer->reply = rpc_call_message(call, b->descriptor->output);
    if (answer->reply == NULL) {
        return -ENOMEM;
    }
    return b->method.unary(call, request, answer->reply, &answer->err);
}

static void answer_of(struct rpc_call *call, int r, struct answer *answer)
{
    if (r >= 0) {
        answer->code = RPC_OK;
        answer->err.text[0] = '\0';
        return;
    }
    answer->code = rpc_code_from_errno(r);
    if (call->fail_code != RPC_OK) {
        answer->code = call->fail_code;
        answer->err = call->fail_error;
    } else if (answer->err.text[0] == '\0') {
        (void)error_set(&answer->err, r, "%s", strerrordesc_np(-r));
    }
    answer->reply = NULL;
}

void call_run(void *job, void *server)
{
    struct rpc_call *call = job;
    const ProtobufCMessage *request = NULL;
    struct answer answer = {.code = RPC_OK, .err = ERROR_INIT};
    grpc_byte_buffer *reply;
    int r = 0;

    (void)server;
    if (!call->binding->method.client_streams) {
        r = decode(call, &call->arena, &request, &answer.err);
        if (r < 0) {
            call->fail_code = RPC_INVALID_ARGUMENT;
            call->fail_error = answer.err;
        }
    }
    if (r == 0 && rpc_call_cancelled(call)) {
        r = -ECANCELED; /* gone while it waited for this thread */
    }
    if (r == 0) {
        r = run_handler(call, request, &answer);
    }
    answer_of(call, r, &answer);
    reply = answer.reply != NULL ? core_pack(answer.reply) : NULL;
    call_log_end(call, request, answer.code, answer.err.text);
    arena_done(&call->recv_arena);
    arena_done(&call->arena);
    finish(call, answer.code, answer.err.text, reply);
    call_unref(call);
}

/* Wait for a change until `until_ms`; false when that is over. */
static bool wait_locked(struct rpc_call *call, uint64_t until_ms) REQUIRES(&call->lock)
{
    uint64_t now = clock_monotonic_ms(clock_real());

    if (now >= until_ms) {
        return false;
    }
    cond_wait_ms(&call->changed, &call->lock, until_ms - now);
    return true;
}

static uint64_t until_of(uint64_t timeout_ms)
{
    uint64_t now = clock_monotonic_ms(clock_real());

    return timeout_ms > INT32_MAX ? now + INT32_MAX : now + timeout_ms;
}

int rpc_call_sleep(struct rpc_call *call, uint64_t timeout_ms)
{
    uint64_t until = until_of(timeout_ms);
    int r = 0;

    mutex_lock(&call->lock);
    while (!call->cancelled && !atomic_load(&call->server->draining) && wait_locked(call, until)) {
    }
    if (call->cancelled || atomic_load(&call->server->draining)) {
        r = -ECANCELED;
    }
    mutex_unlock(&call->lock);
    return r;
}

int rpc_call_recv(struct rpc_call *call, uint64_t timeout_ms, const ProtobufCMessage **ret)
{
    uint64_t until = until_of(timeout_ms);
    bool begin;
    int r = 0;

    if (!call->binding->method.client_streams) {
        return 0;
    }
    mutex_lock(&call->lock);
    begin = call->recv_state == RECV_IDLE;
    call->recv_state = begin ? RECV_PENDING : call->recv_state;
    mutex_unlock(&call->lock);
    if (begin && receive(call) < 0) {
        return -ECANCELED;
    }
    mutex_lock(&call->lock);
    while (call->recv_state == RECV_PENDING && wait_locked(call, until)) {
    }
    if (call->recv_state == RECV_PENDING) {
        r = -ETIMEDOUT;
    } else if (call->cancelled) {
        r = -ECANCELED;
    } else if (call->received != NULL) {
        call->recv_state = RECV_IDLE;
        r = 1;
    } /* else the end, which stays READY without a message */
    mutex_unlock(&call->lock);
    if (r == 1) {
        struct error err = ERROR_INIT;

        arena_done(&call->recv_arena);
        r = decode(call, &call->recv_arena, ret, &err);
        return r < 0 ? r : 1;
    }
    return r;
}

static int start_send(struct rpc_call *call, const ProtobufCMessage *message)
{
    grpc_op ops[2] = {0};
    size_t n = 0;

    call->sending = core_pack(message);
    if (call->sending == NULL) {
        return -ENOMEM;
    }
    if (!call->headers_sent) {
        call->headers_sent = true;
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    }
    ops[n].op = GRPC_OP_SEND_MESSAGE;
    ops[n++].data.send_message.send_message = call->sending;
    mutex_lock(&call->lock);
    call->send_state = SEND_PENDING;
    mutex_unlock(&call->lock);
    return start(call, ops, n, EVENT_SEND) < 0 ? -ECANCELED : 0;
}

int rpc_call_send(struct rpc_call *call, const ProtobufCMessage *message, uint64_t timeout_ms)
{
    uint64_t until = until_of(timeout_ms);
    enum send_state state;
    bool over;
    int r;

    mutex_lock(&call->lock);
    over = call->cancelled || call->send_state == SEND_PENDING; /* one has timed out */
    mutex_unlock(&call->lock);
    if (over) {
        return -ECANCELED;
    }
    r = start_send(call, message);
    if (r < 0) {
        return r;
    }
    mutex_lock(&call->lock);
    while (call->send_state == SEND_PENDING && wait_locked(call, until)) {
    }
    state = call->send_state;
    mutex_unlock(&call->lock);
    if (state == SEND_PENDING) {
        (void)grpc_call_cancel(call->handle, NULL);
        return -ETIMEDOUT; /* `sending` is gRPC's until the batch ends; call_free frees it */
    }
    grpc_byte_buffer_destroy(call->sending);
    call->sending = NULL;
    return state == SEND_DONE ? 0 : -ECANCELED;
}
