/* SPDX-License-Identifier: Apache-2.0 */
/* call.c - JSON to message, call, message to JSON. */
#include "cli/call.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "csi/secrets.h"
#include "mount/keys_file.h"
#include "rpc/client.h"
#include "rpc/json.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/secret_file.h"

enum { JSON_MAX = 4 << 20, TOKEN_MAX = 16384, ARENA_MAX = 64 << 20, ADDRESS_SIZE = 512 };

static int connect_to(const struct call *call, struct rpc_client **ret, struct error *err)
{
    const struct call_options *o = call->options;
    struct rpc_tls tls = {.ca_file = o->ca, .cert_file = o->cert, .key_file = o->key};
    bool some = o->ca != NULL || o->cert != NULL || o->key != NULL;
    bool all = o->ca != NULL && o->cert != NULL && o->key != NULL;
    bool is_path = strchr(call->address, '/') != NULL && strchr(call->address, ':') == NULL;
    char address[ADDRESS_SIZE];

    if (some && !all) {
        return error_set(err, -EINVAL,
                         "mTLS needs all of --tls-ca-file, "
                         "--tls-cert-file and --tls-key-file");
    }
    if (snprintf(address, sizeof(address), "%s%s", is_path ? "unix:" : "", call->address) >=
        (int)sizeof(address)) {
        return error_set(err, -EINVAL, "the address is too long");
    }
    return rpc_client_new(&(struct rpc_client_config){.target = address,
                                                      .tls = all ? &tls : NULL,
                                                      .server_name = o->server_name},
                          ret, err);
}

/* "Bearer TOKEN" without the file's white space. */
static int read_token(const char *path, struct buf *ret, struct error *err)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(TOKEN_MAX);
    int r = file_read(path, &text);

    if (r < 0) {
        return error_set(err, r, "cannot read the token file '%s': %s", path, strerrordesc_np(-r));
    }
    buf_addstr(ret, "Bearer ");
    buf_add(ret, buf_str(&text), strcspn(buf_str(&text), " \t\r\n"));
    return buf_error(ret);
}

static int send_message(struct rpc_client *client, const struct call *call,
                        const ProtobufCMessage *in, ProtobufCMessage **ret, struct error *err)
{
    CLEANUP(buf_done) struct buf token = BUF_INIT(TOKEN_MAX);
    enum rpc_code code = RPC_OK;
    struct rpc_metadata metadata = {.name = "authorization"};
    struct rpc_request request = {.service = call->service,
                                  .method = call->method,
                                  .message = in,
                                  .timeout_ms = call->options->timeout_ms,
                                  .metadata = &metadata,
                                  .ret_code = &code};
    int r = 0;

    if (call->options->token_file != NULL) {
        r = read_token(call->options->token_file, &token, err);
        metadata.value = buf_str(&token);
        request.metadata_count = 1;
    }
    if (r < 0) {
        return r;
    }
    r = rpc_client_call(client, &request, ret, err);
    if (r < 0) {
        (void)error_prefix(err, "%s", rpc_code_name(code));
    }
    return r;
}

int call_message(const struct call *call, const ProtobufCMessage *in, ProtobufCMessage **ret,
                 struct error *err)
{
    struct rpc_client *client = NULL;
    int r = connect_to(call, &client, err);

    if (r == 0) {
        r = send_message(client, call, in, ret, err);
    }
    rpc_client_free(client);
    return r;
}

int call_json(const struct call *call, cJSON **ret, struct error *err)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(ARENA_MAX);
    CLEANUP(cJSON_Delete_p) cJSON *empty = cJSON_CreateObject();
    const ProtobufCMethodDescriptor *method =
        protobuf_c_service_descriptor_get_method_by_name(call->service, call->method);
    ProtobufCMessage *in = NULL;
    ProtobufCMessage *reply = NULL;
    int r;

    if (empty == NULL) {
        return -ENOMEM;
    }
    if (method == NULL) {
        (void)error_set(err, -EINVAL, "%s has no method '%s'", call->service->name, call->method);
        return -EINVAL;
    }
    r = rpc_json_to(call->in != NULL ? call->in : empty, method->input, &arena, &in, err);
    r = r < 0 ? r : call_message(call, in, &reply, err);
    if (r < 0) {
        return r;
    }
    *ret = rpc_json_from(reply, false);
    rpc_message_free(reply);
    return *ret != NULL ? 0 : -ENOMEM;
}

static int read_text(const char *path, struct buf *out, struct error *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int r = file_read(is_stdin ? "/dev/stdin" : path, out);

    return r < 0 ? error_set(err, r, "cannot read %s: %s", is_stdin ? "stdin" : path,
                             strerrordesc_np(-r))
                 : 0;
}

int call_read_json(const char *path, cJSON **ret, struct error *err)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(JSON_MAX);
    int r = read_text(path, &text, err);
    cJSON *json;

    if (r < 0) {
        return r;
    }
    json = cJSON_ParseWithOpts(buf_str(&text), NULL, true);
    OPENSSL_cleanse(text.data, text.len);
    if (json == NULL) {
        return error_set(err, -EINVAL, "%s is not JSON", strcmp(path, "-") == 0 ? "stdin" : path);
    }
    *ret = json;
    return 0;
}

int call_read_keys(const char *path, struct mount_credentials *ret, struct error *err)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(JSON_MAX);
    int r;

    if (path == NULL) {
        return 0;
    }
    /* Whoever reads keys from a pipe has them in no file. */
    r = strcmp(path, "-") == 0 ? read_text(path, &text, err) : secret_file_read(path, &text, err);
    r = r < 0 ? r : mount_keys_parse(buf_str(&text), ret, err);
    if (text.data != NULL) {
        OPENSSL_cleanse(text.data, text.len);
    }
    if (r == 0 && ret->access_key == NULL) {
        r = error_set(
            err, -EINVAL,
            "the credentials file must be {\"accessKey\": ..., \"secretKey\": ...}, or an "
            "AWS credentials file");
    }
    return r;
}

const char *call_secret_in(const cJSON *json)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, json)
    {
        const char *found;

        if (item->string != NULL &&
            (strcmp(item->string, "secrets") == 0 || strcmp(item->string, CSI_TOKENS_KEY) == 0)) {
            return item->string;
        }
        found = call_secret_in(item);
        if (found != NULL) {
            return found;
        }
    }
    return NULL;
}

int call_add_map(cJSON *json, const char *name, const struct option_list *words, struct error *err)
{
    cJSON *map;

    if (words->count == 0) {
        return 0;
    }
    map = cJSON_AddObjectToObject(json, name);
    for (size_t i = 0; i < words->count; i++) {
        char *equals = strchr(words->items[i], '=');
        bool ok;

        if (equals == NULL || equals == words->items[i]) {
            return error_set(err, -EINVAL, "each of the %s must be KEY=VALUE", name);
        }
        *equals = '\0';
        ok = cJSON_AddStringToObject(map, words->items[i], equals + 1) != NULL;
        *equals = '=';
        if (!ok) {
            return -ENOMEM;
        }
    }
    return 0;
}
