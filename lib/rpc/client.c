/* SPDX-License-Identifier: Apache-2.0 */
/* client.c - the channel, unary calls and cancellation. */
#include "rpc/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "rpc/client_private.h"
#include "rpc/tls_private.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

enum {
    DEFAULT_TIMEOUT_MS = 60000,
    DEFAULT_REPLY_BYTES = 16 << 20,
    LOOK_AT_FILES_MS = 1000,
    CONNECT_MS = 5000,
    BACKOFF_FIRST_MS = 100,
    BACKOFF_MAX_MS = 2000,
    LOOK_AGAIN_MS = 100,
    PATH_SIZE = 256,
};

struct rpc_client {
    char *target;
    char *server_name;
    int max_message_bytes;
    bool has_tls;
    struct tls_files tls;
    struct mutex lock;
    grpc_channel *channel GUARDED_BY(lock);
    uint64_t looked_ms GUARDED_BY(lock); /* when the certificate files were last looked at */
};

struct rpc_cancel {
    struct mutex lock;
    bool fired GUARDED_BY(lock);
    LIST_HEAD(, rpc_stream) calls GUARDED_BY(lock);
};

static grpc_channel *create_channel(struct rpc_client *client,
                                    grpc_channel_credentials *credentials)
{
    grpc_arg args[9] = {
        core_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, client->max_message_bytes),
        core_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        core_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        core_arg(GRPC_ARG_KEEPALIVE_TIME_MS, RPC_KEEPALIVE_MS),
        core_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, RPC_KEEPALIVE_TIMEOUT_MS),
        core_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, CONNECT_MS),
        core_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, BACKOFF_FIRST_MS),
        core_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, BACKOFF_MAX_MS),
    };
    grpc_channel_args all = {.num_args = 8, .args = args};

    if (client->server_name != NULL) {
        args[8] = core_arg(GRPC_SSL_TARGET_NAME_OVERRIDE_ARG, 0);
        args[8].type = GRPC_ARG_STRING;
        args[8].value.string = client->server_name;
        all.num_args = 9;
    }
    return grpc_channel_create(client->target, credentials, &all);
}

static int connect_channel(struct rpc_client *client, grpc_channel **ret, struct error *err)
{
    grpc_channel_credentials *credentials;
    struct tls_texts texts = {{NULL}};

    if (client->has_tls) {
        int r = tls_files_load(&client->tls, &texts, err);

        if (r < 0) {
            return r;
        }
    }
    credentials =
        client->has_tls ? tls_channel_credentials(&texts) : grpc_insecure_credentials_create();
    tls_texts_done(&texts);
    if (credentials == NULL) {
        return error_set(err, -EINVAL, "the TLS files of the client cannot be used");
    }
    *ret = create_channel(client, credentials);
    grpc_channel_credentials_release(credentials);
    return *ret != NULL ? 0 : -ENOMEM;
}

int rpc_client_new(const struct rpc_client_config *config, struct rpc_client **ret,
                   struct error *err)
{
    struct rpc_client *client = calloc(1, sizeof(*client));
    int r;

    if (client == NULL) {
        return -ENOMEM;
    }
    core_init();
    mutex_init(&client->lock);
    client->has_tls = config->tls != NULL;
    client->max_message_bytes =
        config->max_message_bytes > 0 && config->max_message_bytes <= INT32_MAX
            ? (int)config->max_message_bytes
            : DEFAULT_REPLY_BYTES;
    r = tls_files_init(&client->tls, config->tls);
    client->target = strdup(config->target);
    client->server_name = config->server_name != NULL ? strdup(config->server_name) : NULL;
    if (r == 0 &&
        (client->target == NULL || (config->server_name != NULL && client->server_name == NULL))) {
        r = -ENOMEM;
    }
    if (r == 0) {
        (void)(client->has_tls && tls_files_changed(&client->tls)); /* what is loaded is seen */
        client->looked_ms = clock_monotonic_ms(clock_real());
        r = connect_channel(client, &client->channel, err);
    }
    if (r < 0) {
        rpc_client_free(client);
        return r;
    }
    *ret = client;
    return 0;
}

LOCK_UNCHECKED
void rpc_client_free(struct rpc_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->channel != NULL) {
        grpc_channel_destroy(client->channel);
    }
    core_done();
    tls_files_done(&client->tls);
    mutex_done(&client->lock);
    free(client->target);
    free(client->server_name);
    free(client);
}

/* New certificates mean a new channel; calls that run keep the old one alive. */
static void renew(struct rpc_client *client)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    struct error err = ERROR_INIT;
    grpc_channel *channel = NULL;
    bool look;
    int r;

    mutex_lock(&client->lock);
    look = client->has_tls && now - client->looked_ms >= LOOK_AT_FILES_MS;
    client->looked_ms = look ? now : client->looked_ms;
    mutex_unlock(&client->lock);
    if (!look || !tls_files_changed(&client->tls)) {
        return;
    }
    r = connect_channel(client, &channel, &err);
    if (r < 0) {
        log_warn("new certificates cannot be used, the old ones stay", "error", error_text(&err, r),
                 NULL);
        return;
    }
    mutex_lock(&client->lock);
    grpc_channel *old = client->channel;
    client->channel = channel;
    mutex_unlock(&client->lock);
    grpc_channel_destroy(old);
}

/* True: it is connected, or *ret_watched: `tag` comes when the state has changed, or at the end. */
static bool watch(struct rpc_client *client, bool anew, uint64_t until,
                  grpc_completion_queue *events, void *tag, bool *ret_watched)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    grpc_connectivity_state state;

    mutex_lock(&client->lock);
    if (anew) { /* a connection that stands or is being made is not touched */
        grpc_channel_reset_connect_backoff(client->channel);
    }
    state = grpc_channel_check_connectivity_state(client->channel, 1);
    *ret_watched = state != GRPC_CHANNEL_READY && now < until;
    if (*ret_watched) {
        uint64_t left = until - now < LOOK_AGAIN_MS ? until - now : LOOK_AGAIN_MS;

        grpc_channel_watch_connectivity_state(client->channel, state, core_deadline(left), events,
                                              tag);
    }
    mutex_unlock(&client->lock);
    return state == GRPC_CHANNEL_READY;
}

int rpc_client_connect(struct rpc_client *client, uint64_t timeout_ms)
{
    uint64_t until = clock_monotonic_ms(clock_real()) + timeout_ms;
    grpc_completion_queue *events = grpc_completion_queue_create_for_pluck(NULL);
    bool watched = true;
    bool ready = false;
    bool anew = true;
    char tag;

    while (watched) {
        ready = watch(client, anew, until, events, &tag, &watched);
        if (watched) { /* not forever: the watch has a deadline. Who waits here also reads */
            grpc_event got = grpc_completion_queue_pluck(events, &tag,
                                                         gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);

            anew = got.success == 0;
        }
    }
    grpc_completion_queue_shutdown(events);
    (void)grpc_completion_queue_pluck(events, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_completion_queue_destroy(events);
    return ready ? 0 : -ETIMEDOUT;
}

static int cancel_join(struct rpc_cancel *cancel, struct rpc_stream *stream)
{
    bool fired;

    if (cancel == NULL) {
        return 0;
    }
    mutex_lock(&cancel->lock);
    fired = cancel->fired;
    if (!fired) {
        LIST_INSERT_HEAD(&cancel->calls, stream, link);
        stream->cancel = cancel;
    }
    mutex_unlock(&cancel->lock);
    return fired ? -ECANCELED : 0;
}

static int copy_metadata(struct rpc_stream *stream, const struct rpc_request *request)
{
    stream->metadata = calloc(request->metadata_count + 1, sizeof(*stream->metadata));
    if (stream->metadata == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < request->metadata_count; i++) {
        stream->metadata[i].key = grpc_slice_from_copied_string(request->metadata[i].name);
        stream->metadata[i].value = grpc_slice_from_copied_string(request->metadata[i].value);
        stream->metadata_count++;
    }
    return 0;
}

static grpc_call *create_call(struct rpc_client *client, const struct rpc_request *request,
                              grpc_completion_queue *events)
{
    uint64_t ms = request->timeout_ms > 0 ? request->timeout_ms : DEFAULT_TIMEOUT_MS;
    char path[PATH_SIZE];
    grpc_slice method;
    grpc_call *handle;

    (void)snprintf(path, sizeof(path), "/%s/%s", request->service->name, request->method);
    method = grpc_slice_from_copied_string(path);
    renew(client);
    mutex_lock(&client->lock);
    handle = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, events,
                                      method, NULL, core_deadline(ms), NULL);
    mutex_unlock(&client->lock);
    grpc_slice_unref(method);
    return handle;
}

int client_begin(struct rpc_client *client, const struct rpc_request *request,
                 struct rpc_stream **ret, struct error *err)
{
    struct rpc_stream *stream = calloc(1, sizeof(*stream));
    int r;

    if (stream == NULL) {
        return -ENOMEM;
    }
    stream->status_text = grpc_empty_slice();
    stream->ret_code = request->ret_code;
    if (stream->ret_code != NULL) {
        *stream->ret_code = RPC_UNKNOWN;
    }
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    stream->events = grpc_completion_queue_create_for_pluck(NULL);
    stream->method =
        protobuf_c_service_descriptor_get_method_by_name(request->service, request->method);
    r = copy_metadata(stream, request);
    if (r == 0 && stream->method == NULL) {
        r = error_set(err, -EINVAL, "%s has no method %s", request->service->name, request->method);
    }
    if (r == 0) {
        stream->handle = create_call(client, request, stream->events);
        r = stream->handle != NULL ? cancel_join(request->cancel, stream) : -ENOMEM;
    }
    if (r < 0) {
        rpc_stream_free(stream);
        return r;
    }
    *ret = stream;
    return 0;
}

int client_wait(struct rpc_stream *stream, enum client_event event, uint64_t timeout_ms)
{
    grpc_event got = grpc_completion_queue_pluck(stream->events, &stream->tags[event],
                                                 core_deadline(timeout_ms), NULL);

    if (got.type != GRPC_OP_COMPLETE) {
        return -ETIMEDOUT;
    }
    stream->pending[event] = false;
    return got.success != 0 ? 1 : 0;
}

int client_status(struct rpc_stream *stream, struct error *err)
{
    enum rpc_code code = stream->status > GRPC_STATUS_UNAUTHENTICATED || stream->status < 0
                             ? RPC_UNKNOWN
                             : (enum rpc_code)stream->status;
    char text[ERROR_TEXT_MAX];

    if (stream->ret_code != NULL) {
        *stream->ret_code = code;
    }
    if (code == RPC_OK) {
        return 0;
    }
    core_slice_text(stream->status_text, text, sizeof(text));
    return error_set(err, rpc_code_to_errno(code), "%s",
                     text[0] != '\0' ? text : rpc_code_name(code));
}

static size_t unary_ops(struct rpc_stream *s, grpc_op ops[6])
{
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].data.send_initial_metadata.count = s->metadata_count;
    ops[0].data.send_initial_metadata.metadata = s->metadata;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = s->sending;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &s->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &s->received;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &s->trailing;
    ops[5].data.recv_status_on_client.status = &s->status;
    ops[5].data.recv_status_on_client.status_details = &s->status_text;
    return 6;
}

static int call_unary(struct rpc_stream *stream, const ProtobufCMessage *message,
                      ProtobufCMessage **ret, struct error *err)
{
    grpc_op ops[6] = {0};
    size_t count;
    int r;

    stream->sending = core_pack(message);
    count = unary_ops(stream, ops);
    if (stream->sending == NULL ||
        grpc_call_start_batch(stream->handle, ops, count, &stream->tags[CLIENT_UNARY], NULL) !=
            GRPC_CALL_OK) {
        return -ENOMEM;
    }
    stream->pending[CLIENT_UNARY] = true;
    /* Not forever: the call has a deadline, at which the batch completes. */
    r = client_wait(stream, CLIENT_UNARY, UINT64_MAX);
    if (r < 0) {
        return r;
    }
    stream->ended = true;
    r = client_status(stream, err);
    if (r < 0) {
        return r;
    }
    if (stream->received == NULL) {
        return error_set(err, -EBADMSG, "%s answered without a message", stream->method->name);
    }
    r = core_unpack(stream->received, stream->method->output, NULL, ret);
    return r < 0 ? error_set(err, r, "the answer is not a %s", stream->method->output->name) : 0;
}

int rpc_client_call(struct rpc_client *client, const struct rpc_request *request,
                    ProtobufCMessage **ret, struct error *err)
{
    struct rpc_request bounded = *request;
    struct rpc_stream *stream;
    int r;

    if (bounded.timeout_ms == UINT64_MAX) {
        bounded.timeout_ms = 0;
    }
    r = client_begin(client, &bounded, &stream, err);
    if (r < 0) {
        return r;
    }
    r = call_unary(stream, request->message, ret, err);
    rpc_stream_free(stream);
    return r;
}

void rpc_message_free(void *message)
{
    if (message != NULL) {
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

int rpc_cancel_new(struct rpc_cancel **ret)
{
    struct rpc_cancel *cancel = calloc(1, sizeof(*cancel));

    if (cancel == NULL) {
        return -ENOMEM;
    }
    mutex_init(&cancel->lock);
    LIST_INIT(&cancel->calls);
    *ret = cancel;
    return 0;
}

void rpc_cancel_now(struct rpc_cancel *cancel)
{
    struct rpc_stream *stream;

    /* grpc_call_cancel neither blocks nor calls back; the lock keeps the calls alive. */
    mutex_lock(&cancel->lock);
    cancel->fired = true;
    LIST_FOREACH (stream, &cancel->calls, link) {
        (void)grpc_call_cancel(stream->handle, NULL);
    }
    mutex_unlock(&cancel->lock);
}

void rpc_cancel_free(struct rpc_cancel *cancel)
{
    if (cancel != NULL) {
        mutex_done(&cancel->lock);
        free(cancel);
    }
}

static void cancel_leave(struct rpc_stream *stream)
{
    if (stream->cancel != NULL) {
        mutex_lock(&stream->cancel->lock);
        LIST_REMOVE(stream, link);
        mutex_unlock(&stream->cancel->lock);
    }
}

/* Take what gRPC still owes, so that it uses none of our memory any more. */
static void close_events(struct rpc_stream *stream)
{
    for (int i = 0; i < CLIENT_EVENTS; i++) {
        if (stream->pending[i]) {
            (void)grpc_completion_queue_pluck(stream->events, &stream->tags[i],
                                              gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        }
    }
    grpc_completion_queue_shutdown(stream->events);
    (void)grpc_completion_queue_pluck(stream->events, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC),
                                      NULL);
    grpc_completion_queue_destroy(stream->events);
}

void rpc_stream_free(struct rpc_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    cancel_leave(stream);
    if (stream->handle != NULL && !stream->ended) {
        (void)grpc_call_cancel(stream->handle, NULL);
    }
    close_events(stream);
    if (stream->handle != NULL) {
        grpc_call_unref(stream->handle);
    }
    for (size_t i = 0; i < stream->metadata_count; i++) {
        grpc_slice_unref(stream->metadata[i].key);
        grpc_slice_unref(stream->metadata[i].value);
    }
    free(stream->metadata);
    if (stream->sending != NULL) {
        grpc_byte_buffer_destroy(stream->sending);
    }
    if (stream->received != NULL) {
        grpc_byte_buffer_destroy(stream->received);
    }
    grpc_slice_unref(stream->status_text);
    grpc_metadata_array_destroy(&stream->initial);
    grpc_metadata_array_destroy(&stream->trailing);
    free(stream);
}
