/* SPDX-License-Identifier: Apache-2.0 */
/* call_api.c - what a handler asks of its call, besides its streams. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "rpc/call.h"
#include "rpc/server_private.h"

const struct rpc_peer *rpc_call_peer(struct rpc_call *call)
{
    static const struct rpc_peer unknown = {
        .kind = RPC_PEER_INSECURE, .address = "", .common_name = ""};

    if (call->peer == NULL) {
        call->peer = call_find_peer(call);
    }
    return call->peer != NULL ? call->peer : &unknown;
}

bool rpc_call_peer_is(struct rpc_call *call, const char *name)
{
    const struct rpc_peer *peer = rpc_call_peer(call);

    if (peer->kind != RPC_PEER_TLS) {
        return false;
    }
    if (strcmp(peer->common_name, name) == 0) {
        return true;
    }
    for (size_t i = 0; i < peer->name_count; i++) {
        if (strcmp(peer->names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

const char *rpc_call_path(const struct rpc_call *call)
{
    return call->path != NULL ? call->path : "";
}

void *rpc_call_context(const struct rpc_call *call)
{
    return call->binding->service.context;
}

const char *rpc_call_request_id(const struct rpc_call *call)
{
    return call->request_id;
}

const char *rpc_call_metadata(struct rpc_call *call, const char *name)
{
    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *m = &call->metadata.metadata[i];

        if (grpc_slice_str_cmp(m->key, name) == 0) {
            return arena_strndup(&call->arena, (const char *)GRPC_SLICE_START_PTR(m->value),
                                 GRPC_SLICE_LENGTH(m->value));
        }
    }
    return NULL;
}

uint64_t rpc_call_left_ms(const struct rpc_call *call)
{
    return core_left_ms(call->details.deadline);
}

bool rpc_call_cancelled(struct rpc_call *call)
{
    bool cancelled;

    mutex_lock(&call->lock);
    cancelled = call->cancelled;
    mutex_unlock(&call->lock);
    return cancelled;
}

bool rpc_call_draining(struct rpc_call *call)
{
    return atomic_load(&call->server->draining);
}

struct arena *rpc_call_arena(struct rpc_call *call)
{
    return &call->arena;
}

void *rpc_call_alloc(struct rpc_call *call, size_t len)
{
    return arena_alloc(&call->arena, len);
}

char *rpc_call_strdup(struct rpc_call *call, const char *text)
{
    return arena_strdup(&call->arena, text);
}

char *rpc_call_printf(struct rpc_call *call, const char *format, ...)
{
    va_list args;
    char *text;
    int len;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0) {
        return NULL;
    }
    text = arena_alloc(&call->arena, (size_t)len + 1);
    if (text == NULL) {
        return NULL;
    }
    va_start(args, format);
    (void)vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return text;
}

void *rpc_call_message(struct rpc_call *call, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = arena_alloc(&call->arena, type->sizeof_message);

    if (message != NULL) {
        protobuf_c_message_init(type, message);
    }
    return message;
}

int rpc_call_fail(struct rpc_call *call, enum rpc_code code, const char *format, ...)
{
    va_list args;
    char text[ERROR_TEXT_MAX];

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    call->fail_code = code;
    return error_set(&call->fail_error, rpc_code_to_errno(code), "%s", text);
}
