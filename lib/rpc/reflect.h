/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reflect.h - the fields of a protobuf-c message by their descriptors. Private to lib/rpc.
 *
 * The rules of proto3 as protobuf-c lays it out: presence by non-default value, by pointer for
 * messages, by case for oneofs. No state: any thread.
 */
#ifndef RPC_REFLECT_H
#define RPC_REFLECT_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many values the field has: of a repeated one its length, else 1 if it is set, else 0. */
size_t reflect_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

/* The index-th of them, to be read by the functions below. */
const void *reflect_value(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          size_t index);

const char *reflect_string(const void *value); /* never NULL */
ProtobufCBinaryData reflect_bytes(const void *value);
const ProtobufCMessage *reflect_message(const void *value);
int64_t reflect_int(const ProtobufCFieldDescriptor *field, const void *value); /* bool, enum too */
uint64_t reflect_uint(const ProtobufCFieldDescriptor *field, const void *value);
double reflect_double(const ProtobufCFieldDescriptor *field, const void *value);
bool reflect_is_unsigned(const ProtobufCFieldDescriptor *field);
/* NULL for a number that has no name. */
const char *reflect_enum_name(const ProtobufCFieldDescriptor *field, int64_t value);

/* Bytes of one value of the field in memory. */
size_t reflect_size(const ProtobufCFieldDescriptor *field);

/* True if the type is what protoc makes of a map: key = 1, value = 2, named ...Entry. */
bool reflect_is_entry(const ProtobufCMessageDescriptor *type);
/* The key of an entry of map<string, X>; NULL if the message is no such entry. */
const char *reflect_entry_key(const ProtobufCMessage *message);

#endif
