/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.h - one gRPC call of any method, as JSON in and JSON out.
 *
 * Secrets come from a file or stdin, never from an argument, which every user of the machine can
 * read; in what is printed they are "***". One thread.
 */
#ifndef CLI_CALL_H
#define CLI_CALL_H

#include <cjson/cJSON.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "mount/config.h"
#include "util/cleanup.h"
#include "util/error.h"
#include "util/options.h"

DEFINE_CLEANUP(cJSON *, cJSON_Delete); /* CLEANUP(cJSON_Delete_p) cJSON *json */

/* Where and how to call; embedded in a command's options, filled by CALL_OPTIONS. */
struct call_options {
    char *ca;
    char *cert;
    char *key;
    char *server_name;
    char *token_file; /* sent as "authorization: Bearer ..." */
    uint64_t timeout_ms;
};

#define CALL_OPTIONS(type, member)                                                                 \
    OPTION(type, member.ca, OPTION_STRING, "tls-ca-file", "FILE", NULL,                            \
           "authority for mTLS (PEM)"),                                                            \
        OPTION(type, member.cert, OPTION_STRING, "tls-cert-file", "FILE", NULL,                    \
               "our certificate (PEM)"),                                                           \
        OPTION(type, member.key, OPTION_STRING, "tls-key-file", "FILE", NULL, "our key (PEM)"),    \
        OPTION(type, member.server_name, OPTION_STRING, "server-name", "NAME", NULL,               \
               "name expected in the server's certificate"),                                       \
        OPTION(type, member.token_file, OPTION_STRING, "token-file", "FILE", NULL,                 \
               "file with a bearer token to send"),                                                \
        OPTION(type, member.timeout_ms, OPTION_DURATION_MS, "timeout", "TIME", "60s",              \
               "how long to wait for the answer")

/*
 * Call address ("/path", "./path", "unix:/path" or "host:port"). `in` is the request as JSON, NULL
 * for an empty one. On success *ret is the reply, to be freed with cJSON_Delete. -EINVAL: no such
 * method, or JSON that does not fit; else what the server answered, its code's name before its
 * text.
 */
struct call {
    const char *address;
    const struct call_options *options;
    const ProtobufCServiceDescriptor *service;
    const char *method;
    const cJSON *in;
};
int call_json(const struct call *call, cJSON **ret, struct error *err)
    __attribute__((warn_unused_result));

/* The same with messages instead of JSON; `in` of the struct is not looked at. The reply may hold
 * secrets: rpc_message_free() it. */
int call_message(const struct call *call, const ProtobufCMessage *in, ProtobufCMessage **ret,
                 struct error *err) __attribute__((warn_unused_result));

/* A JSON value from a file, "-" for stdin; at most 4 MiB. */
int call_read_json(const char *path, cJSON **ret, struct error *err)
    __attribute__((warn_unused_result));

/* Keys of a store from such a file; none for a NULL path. -EINVAL also when it holds no pair. */
int call_read_keys(const char *path, struct mount_credentials *ret, struct error *err)
    __attribute__((warn_unused_result));

/* The first member of that value, at any depth, that only a file may give ("secrets" and service
 * account tokens); NULL if there is none. */
const char *call_secret_in(const cJSON *json);

/* Put the words KEY=VALUE into a new object member `name` of json, if there are any. */
int call_add_map(cJSON *json, const char *name, const struct option_list *words, struct error *err)
    __attribute__((warn_unused_result));

#endif
