/* SPDX-License-Identifier: Apache-2.0 */
/* core.c - glue between gRPC C core, protobuf-c and lib/util. */
#include "rpc/core.h"

#include <errno.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <string.h>

#include "rpc/utf8.h"
#include "util/log.h"

enum { TEXT_MAX = 1024 };

static void log_from_grpc(gpr_log_func_args *args)
{
    log_debug("grpc", "file", args->file, "line", log_num(args->line), "text", args->message, NULL);
}

void core_init(void)
{
    gpr_set_log_function(log_from_grpc);
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_ERROR);
    grpc_init();
}

void core_done(void)
{
    grpc_shutdown_blocking();
}

grpc_arg core_arg(const char *key, int value)
{
    grpc_arg arg = {.type = GRPC_ARG_INTEGER, .value = {.integer = value}};

    /* gRPC only reads it, but its struct says char *. */
    memcpy(&arg.key, &key, sizeof(arg.key));
    return arg;
}

gpr_timespec core_deadline(uint64_t ms)
{
    gpr_timespec left;

    if (ms > (uint64_t)INT64_MAX / 2) {
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    }
    left = gpr_time_from_millis((int64_t)ms, GPR_TIMESPAN);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), left);
}

uint64_t core_left_ms(gpr_timespec deadline)
{
    gpr_timespec now;

    if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) {
        return UINT64_MAX;
    }
    now = gpr_now(deadline.clock_type);
    if (gpr_time_cmp(deadline, now) <= 0) {
        return 0;
    }
    return (uint64_t)gpr_time_to_millis(gpr_time_sub(deadline, now));
}

grpc_byte_buffer *core_pack(const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    grpc_slice slice = grpc_slice_malloc(len);
    grpc_byte_buffer *bytes;

    (void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    bytes = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bytes;
}

int core_unpack(grpc_byte_buffer *bytes, const ProtobufCMessageDescriptor *type,
                ProtobufCAllocator *allocator, ProtobufCMessage **ret)
{
    grpc_byte_buffer_reader reader;
    ProtobufCMessage *message;
    grpc_slice slice;

    if (!grpc_byte_buffer_reader_init(&reader, bytes)) {
        return -EBADMSG;
    }
    slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    message = protobuf_c_message_unpack(type, allocator, GRPC_SLICE_LENGTH(slice),
                                        GRPC_SLICE_START_PTR(slice));
    grpc_slice_unref(slice);
    if (message == NULL) {
        return -EBADMSG;
    }
    *ret = message;
    return 0;
}

static void *arena_take(void *arena, size_t len)
{
    return arena_alloc(arena, len);
}

static void arena_keep(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

ProtobufCAllocator core_arena_allocator(struct arena *arena)
{
    return (ProtobufCAllocator){.alloc = arena_take, .free = arena_keep, .allocator_data = arena};
}

grpc_slice core_text_slice(const char *text)
{
    char clean[TEXT_MAX];
    size_t len =
        utf8_clean((struct slice){.data = text, .len = strlen(text)}, clean, sizeof(clean));

    return grpc_slice_from_copied_buffer(clean, len);
}

void core_slice_text(grpc_slice slice, char *ret, size_t size)
{
    struct slice text = {.data = (const char *)GRPC_SLICE_START_PTR(slice),
                         .len = GRPC_SLICE_LENGTH(slice)};

    (void)utf8_clean(text, ret, size);
}
