/* SPDX-License-Identifier: Apache-2.0 */
/*
 * redact.h - which fields are secret, and a message as text without them.
 *
 *     rpc_redact_add("csi.v1.NodeStageVolumeRequest", "secrets");
 *     rpc_redact_add_key("csi.v1.NodePublishVolumeRequest", "volume_context",
 *                        "csi.storage.k8s.io/serviceAccount.tokens");
 *
 * Filled at start, before any thread runs (generated code passes what the .proto marks); read-only
 * then, so that any thread may print. The strings must be static. Names that are not known match
 * nothing: rpc_redact_check() finds a misspelt one in a test.
 */
#ifndef RPC_REDACT_H
#define RPC_REDACT_H

#include <stdbool.h>
#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "util/buf.h"

enum { RPC_REDACT_MAX = 256 };

/* 0 or -ENOSPC: more than RPC_REDACT_MAX rules; the program must not go on then. Adding a rule
 * twice is fine. A secret field prints as "***", a map with the count of its entries. */
int rpc_redact_add(const char *message, const char *field) __attribute__((warn_unused_result));

/* One key of a map<string, string> field. */
int rpc_redact_add_key(const char *message, const char *field, const char *key)
    __attribute__((warn_unused_result));

bool rpc_redact_is_secret(const char *message, const char *field);
bool rpc_redact_is_secret_key(const char *message, const char *field, const char *key);

/* True if `type` is the message of some rule and each of its rules names a field of it. */
bool rpc_redact_check(const ProtobufCMessageDescriptor *type);

/* Append the fields that are set, as `name: value` in one line, with secrets redacted. Strings are
 * escaped; what exceeds the buffer's limit is an error of the buffer. */
void rpc_redact_text(struct buf *out, const ProtobufCMessage *message);

#endif
