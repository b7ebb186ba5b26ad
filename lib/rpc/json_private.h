/* SPDX-License-Identifier: Apache-2.0 */
/* json_private.h - what both ways of json.h share. Private to lib/rpc. */
#ifndef RPC_JSON_PRIVATE_H
#define RPC_JSON_PRIVATE_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

enum { JSON_NAME_MAX = 128 };

/* volume_id as volumeId. */
void json_name(const char *name, char ret[JSON_NAME_MAX]);

bool json_is_timestamp(const ProtobufCMessageDescriptor *type);
/* google.protobuf.StringValue and its like. */
bool json_is_wrapper(const ProtobufCMessageDescriptor *type);

#endif
