/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core.h - what server and client share of gRPC C core. Private to lib/rpc.
 *
 * The only private header that includes grpc/: everything of gRPC stays behind lib/rpc.
 */
#ifndef RPC_CORE_H
#define RPC_CORE_H

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/arena.h"

enum { RPC_KEEPALIVE_MS = 60000, RPC_KEEPALIVE_TIMEOUT_MS = 20000, RPC_METADATA_MAX = 32768 };

/*
 * A tag given to gRPC comes back in another thread, and all that was written before is seen there.
 * ThreadSanitizer cannot know that, as gRPC is not built with it: tell it.
 */
#if defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define CORE_GIVE(tag) __tsan_release(tag)
#define CORE_TAKE(tag) __tsan_acquire(tag)
#else
#define CORE_GIVE(tag) (void)(tag)
#define CORE_TAKE(tag) (void)(tag)
#endif

/* grpc_init and its logs through ours; pairs with core_done, which waits for gRPC's threads. */
void core_init(void);
void core_done(void);

/* Integer channel argument. */
grpc_arg core_arg(const char *key, int value);

/* now + ms; never for UINT64_MAX. */
gpr_timespec core_deadline(uint64_t ms);
/* Milliseconds until then: 0 when over, UINT64_MAX for never. */
uint64_t core_left_ms(gpr_timespec deadline);

/* The packed message, to be destroyed by grpc_byte_buffer_destroy; NULL: out of memory. */
grpc_byte_buffer *core_pack(const ProtobufCMessage *message);

/* Unpack with `allocator` (NULL: malloc). 0, -EBADMSG, -ENOMEM. */
int core_unpack(grpc_byte_buffer *bytes, const ProtobufCMessageDescriptor *type,
                ProtobufCAllocator *allocator, ProtobufCMessage **ret)
    __attribute__((warn_unused_result));

/* An allocator that takes from the arena and frees nothing. */
ProtobufCAllocator core_arena_allocator(struct arena *arena);

/* A slice with `text` made valid UTF-8 without control characters, at most 1024 bytes. */
grpc_slice core_text_slice(const char *text);
/* The other way: what a peer sent, made printable, into ret. */
void core_slice_text(grpc_slice slice, char *ret, size_t size);

#endif
