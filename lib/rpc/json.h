/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - protobuf-c messages as JSON and back, by reflection, in protobuf's JSON mapping.
 *
 * Names in lowerCamelCase are written and both spellings read; 64-bit numbers are strings, bytes
 * base64, enums their names, maps objects, google.protobuf.Timestamp RFC 3339, wrappers plain
 * values. For people and tools (skyvolctl); the wire never sees it. No state: any thread.
 */
#ifndef RPC_JSON_H
#define RPC_JSON_H

#include <stdbool.h>

#include <cjson/cJSON.h>
#include <protobuf-c/protobuf-c.h>

#include "util/arena.h"
#include "util/error.h"

/* A new object (cJSON_Delete); fields that are not set are left out, secret ones (redact.h) are
 * "***" unless `with_secrets`. NULL: out of memory. */
cJSON *rpc_json_from(const ProtobufCMessage *message, bool with_secrets);

/* A message of that type in the arena. -EINVAL: unknown or wrong field (named in err), -ENOMEM. */
int rpc_json_to(const cJSON *json, const ProtobufCMessageDescriptor *type, struct arena *arena,
                ProtobufCMessage **ret, struct error *err) __attribute__((warn_unused_result));

#endif
