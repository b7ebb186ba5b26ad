/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a call: authentication, the body, the operation, the reply. */
#include "s3proxy/call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3/form.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

enum {
    ARENA_MAX = 8 * 1024 * 1024,
    HEADERS_MAX = 64 * 1024,
    REPLY_MAX = 16 * 1024 * 1024,
    LENGTHLESS_MAX = 8 * 1024 * 1024 /* of a body whose length nobody told */
};

int call_new(const struct call_server *server, bool (*wake)(struct call *call), void *owner,
             struct call **ret)
{
    struct call *call = calloc(1, sizeof(*call));

    if (call == NULL) {
        return -ENOMEM;
    }
    call->server = server;
    call->wake = wake;
    call->owner = owner;
    call->arena = (struct arena)ARENA_INIT(ARENA_MAX);
    call->body = (struct buf)BUF_INIT(S3_XML_BODY_MAX);
    call->reply.headers = (struct buf)BUF_INIT(HEADERS_MAX);
    call->reply.body = (struct buf)BUF_INIT(REPLY_MAX);
    call->reply.mtime_s = -1;
    call->file.fd = -1;
    if (server->ids != NULL) {
        random_pool_id(server->ids, call->request_id);
    } else {
        random_id(call->request_id);
    }
    pipe_init(&call->pipe, server->spaces);
    mutex_init(&call->lock);
    *ret = call;
    return 0;
}

void call_free(struct call *call)
{
    call_leave(call);
    cleanup_close(&call->file.fd);
    pipe_done(&call->pipe);
    if (call->space != NULL) {
        spaces_give(call->server->spaces, call->space, call->space_size);
    }
    mutex_done(&call->lock);
    s3_chunked_free(call->chunked);
    s3_checksum_done(&call->sha);
    s3_xml_doc_free(call->doc);
    call_form_done(call);
    call_cors_done(call);
    call_access_done(call);
    buf_done(&call->body);
    (void)spaces_gather(call->server->spaces, 0, &call->gathered);
    buf_done(&call->reply.headers);
    buf_done(&call->reply.body);
    explicit_bzero(&call->key, sizeof(call->key));
    arena_done(&call->arena);
    free(call);
}

static int message_copy(struct call *call)
{
    const struct s3_message *m = &call->message;
    struct s3_header *headers = arena_array(&call->arena, m->header_count + 1, sizeof(*headers));
    struct slice *parts[] = {&call->message.method, &call->message.path, &call->message.query};

    for (size_t i = 0; headers != NULL && i < m->header_count; i++) {
        const struct s3_header *h = &m->headers[i];

        headers[i].name =
            (struct slice){arena_strndup(&call->arena, h->name.data, h->name.len), h->name.len};
        headers[i].value =
            (struct slice){arena_strndup(&call->arena, h->value.data, h->value.len), h->value.len};
        if (headers[i].name.data == NULL || headers[i].value.data == NULL) {
            return -ENOMEM;
        }
    }
    call->message.headers = headers;
    for (size_t i = 0; i < 3; i++) {
        parts[i]->data =
            arena_strndup(&call->arena, parts[i]->len > 0 ? parts[i]->data : "", parts[i]->len);
        if (parts[i]->data == NULL) {
            return -ENOMEM;
        }
    }
    call->query = call->message.query;
    call->query_names = s3_query_names(call->query);
    return headers != NULL ? 0 : -ENOMEM;
}

static int copy_name(struct call *call, const char *text, const char **ret)
{
    *ret = arena_strdup(&call->arena, text);
    return *ret != NULL || text == NULL ? 0 : -ENOMEM;
}

/* The buckets it may know of: the keys may be others before the reply is made. */
static int copy_buckets(struct call *call, const struct credential *key)
{
    const char **names;
    size_t count = 0;

    if (copy_name(call, key->account, &call->account) != 0 ||
        copy_name(call, key->display_name, &call->display_name) != 0) {
        return -ENOMEM;
    }
    while (key->buckets != NULL && key->buckets[count] != NULL) {
        count++;
    }
    if (count == 0) {
        return 0;
    }
    names = arena_array(&call->arena, count + 1, sizeof(*names));
    for (size_t i = 0; names != NULL && i < count; i++) {
        names[i] = arena_strndup(&call->arena, key->buckets[i], strlen(key->buckets[i]));
        if (names[i] == NULL) {
            return -ENOMEM;
        }
    }
    call->buckets = names;
    return names != NULL ? 0 : -ENOMEM;
}

static int copy_principal(struct call *call, const struct credential *key)
{
    const char *name = key->access_key != NULL ? key->access_key : "";
    size_t len = strlen(name);
    char *text = arena_alloc(&call->arena, sizeof(S3_POLICY_ARN) + len);

    if (text != NULL) {
        memcpy(text, S3_POLICY_ARN, sizeof(S3_POLICY_ARN) - 1);
        memcpy(text + sizeof(S3_POLICY_ARN) - 1, name, len + 1);
    }
    call->principal = text;
    return text != NULL ? 0 : -ENOMEM;
}

bool call_sees(const struct call *call, const char *bucket)
{
    for (size_t i = 0; call->buckets != NULL && call->buckets[i] != NULL; i++) {
        if (strcmp(call->buckets[i], bucket) == 0) {
            return true;
        }
    }
    return call->buckets == NULL;
}

int call_identify(struct call *call, const struct claim *claim, struct identity *ret,
                  struct s3_fault *fault)
{
    int error = credentials_identify(call->server->credentials, claim, ret, fault);

    if (error != 0) {
        return error;
    }
    call->key_id = arena_strndup(&call->arena, claim->access_key, strlen(claim->access_key));
    if (call->key_id == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    call->read_only = ret->key->read_only;
    call->internal = ret->internal;
    error = copy_principal(call, ret->key);
    error = error == 0 ? copy_buckets(call, ret->key) : error;
    error = error == 0 ? s3_key_cache_get(call->server->keys, claim->access_key, ret->secret,
                                          call->auth, &call->key)
                       : error;
    return error == 0         ? 0
           : error == -ENOMEM ? s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory")
                              : s3_fault_set(fault, S3_INTERNAL_ERROR, "cannot check it");
}

/* Who it would be, and whether the signature proves it. */
static int identify(struct call *call, int64_t now_s, struct s3_fault *fault)
{
    const struct claim claim = {
        .access_key = call->auth->access_key,
        .token = call->auth->session_token,
        .now_s = now_s,
    };
    struct identity who;
    int ret = call_identify(call, &claim, &who, fault);

    ret = ret == 0 ? call_verify(call, who.secret, fault) : ret;
    ret = ret == 0 ? call_admit(call, who.key, fault) : ret;
    explicit_bzero(&who, sizeof(who));
    return ret;
}

static int authenticate(struct call *call, struct s3_fault *fault)
{
    struct s3_auth_rules rules = {
        .now_s = clock_realtime_ns(clock_real()) / 1000000000,
        .region = call->server->region,
        .v2 = call->server->presign_v2,
    };
    int ret;

    call->auth = arena_alloc(&call->arena, sizeof(*call->auth));
    if (call->auth == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    *call->auth = (struct s3_auth){.session_token = "", .signed_headers_text = ""};
    if (slice_eq_str(call->message.method, "OPTIONS")) {
        call->anonymous = true; /* a browser asks before it signs */
        return call_admit(call, NULL, fault);
    }
    ret = s3_auth_parse(&call->message, &rules, &call->arena, call->auth, fault);
    ret = ret == 0 ? call_presigned(call, &rules, fault) : ret;
    if (ret != 0) {
        return ret;
    }
    if (call->auth->kind == S3_AUTH_NONE) {
        call->anonymous = true;
        return call_admit(call, NULL, fault);
    }
    return identify(call, rules.now_s, fault);
}

static int body_chunked(struct call *call, struct s3_fault *fault)
{
    const struct s3_auth *auth = call->auth;
    const char *decoded = call_header(call, "x-amz-decoded-content-length");
    bool is_signed = auth->payload != S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER;
    struct s3_chunk_chain chain;
    struct s3_chunked_config config = {
        .payload = auth->payload,
        .chain = is_signed ? &chain : NULL,
        .trailer = s3_message_header(&call->message, "x-amz-trailer"),
    };
    char *end;
    int ret = 0;

    if (decoded == NULL || decoded[0] < '0' || decoded[0] > '9') {
        return s3_fault_set(fault, S3_MISSING_CONTENT_LENGTH, "%s", "");
    }
    errno = 0;
    config.decoded_len = strtoull(decoded, &end, 10);
    if (*end != '\0' || errno != 0) {
        return s3_fault_set(fault, S3_MISSING_CONTENT_LENGTH, "bad x-amz-decoded-content-length");
    }
    call->body_size = config.decoded_len;
    if (is_signed) {
        ret =
            s3_chunk_chain_init(&chain, &call->key, auth->timestamp, auth->region, auth->signature);
    }
    if (ret != 0) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "cannot check the body");
    }
    ret = s3_chunked_new(&config, &call->chunked, fault);
    explicit_bzero(&chain, sizeof(chain));
    return ret;
}

/* Before the store hears of it, which costs it less, if there is memory for all of it. */
static bool gather(struct call *call)
{
    if (call->body_size > PIPE_FIRST) {
        call->space_size = (size_t)call->body_size;
        call->space = spaces_take(call->server->spaces, &call->space_size);
        return call->space != NULL;
    }
    return true;
}

static int body_prepare(struct call *call, struct s3_fault *fault)
{
    int ret = 0;

    call->body_size = call->wire_size;
    if (call->auth->payload >= S3_PAYLOAD_STREAMING) {
        ret = body_chunked(call, fault);
    } else if (call->auth->payload == S3_PAYLOAD_SHA256) {
        ret = s3_checksum_init(&call->sha, S3_CHECKSUM_SHA256);
    }
    if (ret != 0) {
        return ret;
    }
    if (call->body_kind == CALL_BODY_PIPE && call->wire_size == 0 && call->form == NULL &&
        s3_message_header(&call->message, "content-length").data == NULL) {
        return s3_fault_set(fault, S3_MISSING_CONTENT_LENGTH, "%s", "");
    }
    if (call->body_kind == CALL_BODY_PIPE) {
        call->op.source.size = call->body_size;
        if (call->body_size == UINT64_MAX &&
            !stores_embedded(&call->server->stores, call->op.bucket)) {
            call->body.max = LENGTHLESS_MAX;
            call->body_kind = CALL_BODY_MEMORY;
        } else if (call->body_size <= PIPE_SIZE && !call->expects && gather(call)) {
            call->body_kind = CALL_BODY_MEMORY;
        }
    }
    return 0;
}

void call_fault_set(struct call *call, const struct s3_fault *fault)
{
    mutex_lock(&call->lock);
    if (call->fault.code == S3_OK) {
        call->fault = *fault;
    }
    mutex_unlock(&call->lock);
}

void call_fault(struct call *call, enum s3_code code, const char *text)
{
    struct s3_fault fault = S3_FAULT_INIT;

    (void)s3_fault_set(&fault, code, "%s", text);
    call_fault_set(call, &fault);
}

/* The head was all right: what may go on does. */
static void let_go(struct call *call)
{
    if (call->expects && call->body_kind == CALL_BODY_PIPE && call->body_size > 0) {
        call_open_stream(call);
    } else if (call->ended) {
        call_feed_end(call);
    } else if (call->held) {
        mutex_lock(&call->lock);
        call->wanted = true;
        mutex_unlock(&call->lock);
    }
}

/* What nobody does here is told to who may ask for it; a form's fields are looked at when they are
 * there. */
static int refuse_headers(struct call *call, struct s3_fault *fault)
{
    return call->preflight || call->form != NULL ? 0 : call_refuse_headers(call, fault);
}

static void access_answered(struct call *call)
{
    struct s3_fault fault = S3_FAULT_INIT;
    int ret = call_access_go_on(call, &fault);

    ret = ret == 0 ? refuse_headers(call, &fault) : ret;
    if (ret < 0) {
        call_fail_with(call, &fault);
    } else if (ret == 0 && !call->failed) {
        let_go(call);
    }
}

void call_continue(struct call *call)
{
    bool again, answered;

    mutex_lock(&call->lock);
    answered = call->answered;
    mutex_unlock(&call->lock);
    if (answered) {
        access_answered(call);
    }
    mutex_lock(&call->lock);
    again = call->again && !call->running;
    call->again = again ? false : call->again;
    mutex_unlock(&call->lock);
    if (again) {
        call_submit(call);
    }
}

/* Under the lock: call_done() waits for it, so that the store still knows the request. */
void call_resume(struct call *call)
{
    mutex_lock(&call->lock);
    if (call->running && call->volume != NULL) {
        volume_resume(call->volume, &call->op);
    } else if (call->running) {
        objstore_resume(call->server->stores.store, &call->op);
    }
    mutex_unlock(&call->lock);
}

/* The store wants the body. */
static void asked(struct call *call)
{
    bool first;

    mutex_lock(&call->lock);
    first = !call->wanted;
    call->wanted = true;
    mutex_unlock(&call->lock);
    if (first && call->expects) {
        call_wake(call);
    }
}

static ssize_t read_pipe(struct objstore_request *op, void *buffer, size_t cap)
{
    struct call *call = op->arg;
    ssize_t n = pipe_read(&call->pipe, buffer, cap, true);

    asked(call);
    if (n > 0 && pipe_wake_writer(&call->pipe)) {
        call_wake(call);
    }
    return n;
}

static ssize_t lend_pipe(struct objstore_request *op, const void **ret, size_t *ret_window)
{
    struct call *call = op->arg;
    ssize_t n = pipe_lend(&call->pipe, ret, ret_window);

    asked(call);
    return n;
}

static void release_pipe(struct objstore_request *op, size_t len)
{
    struct call *call = op->arg;

    pipe_release(&call->pipe, len);
    if (pipe_wake_writer(&call->pipe)) {
        call_wake(call);
    }
}

/* The operation starts before the body is there. */
void call_open_stream(struct call *call)
{
    call->streaming = true;
    if (call->form == NULL) {
        pipe_expect(&call->pipe, call->body_size);
    }
    call->op.source.read = read_pipe;
    call->op.source.lend = lend_pipe;
    call->op.source.release = release_pipe;
    call_sum_begin(call);
    call_submit(call);
}

/* Whose the bucket is, and what a bucket that is a volume cannot do. */
static int find_volume(struct call *call, struct s3_fault *fault)
{
    const struct stores *stores = &call->server->stores;
    const struct objstore_request *op = &call->op;

    if (op->bucket == NULL) {
        return 0;
    }
    call->volume = stores_volume(stores, op->bucket);
    if (call->volume == NULL && stores->store == NULL) {
        return op->op == OBJSTORE_BUCKET_CREATE
                   ? s3_fault_set(fault, S3_ACCESS_DENIED, "only volumes are served here")
                   : s3_fault_set(fault, S3_NO_SUCH_BUCKET, "%s", "");
    }
    if (op->source_bucket != NULL && stores_volume(stores, op->source_bucket) != call->volume) {
        if (call->anonymous || !call_sees(call, op->source_bucket)) { /* as if there were none */
            return s3_fault_set(fault, S3_ACCESS_DENIED, "%s",
                                call->anonymous ? "anonymous requests are not allowed"
                                                : "this access key is for other buckets");
        }
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "a copy stays inside its volume");
    }
    if (call->volume != NULL && op->op == OBJSTORE_BUCKET_CREATE) {
        return s3_fault_set(fault, S3_BUCKET_ALREADY_OWNED_BY_YOU, "%s", "");
    }
    if (call->volume != NULL && op->op == OBJSTORE_BUCKET_DELETE) {
        return s3_fault_set(fault, S3_ACCESS_DENIED, "a volume is not deleted by S3");
    }
    return 0;
}

/* What needs no signature, or brings it in its body. */
static int route_anonymous(struct call *call, struct s3_fault *fault)
{
    if (slice_eq_str(call->message.method, "OPTIONS")) {
        return call_route_preflight(call, fault);
    }
    if (slice_eq_str(call->message.method, "POST") && call->target.bucket[0] != '\0' &&
        call->target.key[0] == '\0' && !call_has(call, "delete")) {
        return call_route_form(call, fault);
    }
    return call_route(call, fault);
}

void call_begin(struct call *call)
{
    struct s3_fault *fault = &call->fault;
    struct slice host;
    int ret = message_copy(call);

    call->head = slice_eq_str(call->message.method, "HEAD");
    host = s3_host_bucket(s3_message_header(&call->message, "host"), call->server->suffixes);
    ret = ret == 0 ? authenticate(call, fault) : ret;
    ret = ret == 0 ? s3_target_parse(call->message.path, host, &call->target, fault) : ret;
    call_access_who(call);
    if (ret == 0) {
        ret = call->anonymous ? route_anonymous(call, fault) : call_route(call, fault);
    }
    ret = ret == 0 ? call_access_check(call, fault) : ret;
    call->operation = ret == 0 ? (int)call->op.op : -1;
    ret = ret == 0 ? call_own(call, fault) : ret;
    ret = ret == 0 ? find_volume(call, fault) : ret;
    if (ret == 0 && call->read_only && (call->writes || !objstore_op_reads(call->op.op))) {
        ret = s3_fault_set(fault, S3_ACCESS_DENIED, "this access key only reads");
    }
    if (ret == 0 && call->target.key[0] != '\0' &&
        (!call->writes && objstore_op_reads(call->op.op) ? call_hidden(call, call->target.key)
                                                         : call_reserved(call, call->target.key))) {
        ret = s3_fault_set(fault, S3_ACCESS_DENIED, "keys under .skyvol/ are Skyvol's own");
    }
    ret = ret == 0 ? body_prepare(call, fault) : ret;
    ret = ret == 0 ? call_access_begin(call, fault) : ret;
    ret = ret == 0 && !call_access_waits(call) ? refuse_headers(call, fault) : ret;
    call->failed = ret != 0;
    if (fault->code != S3_SLOW_DOWN) {
        call_cors_begin(call); /* else it would be one more question to the store */
    }
    if (ret != 0) {
        reply_fault(call);
    } else if (!call_access_waits(call)) {
        let_go(call);
    }
}

bool call_opened(const struct call *call)
{
    return call->streaming || call->held;
}

bool call_wants_body(struct call *call)
{
    bool wanted;

    mutex_lock(&call->lock);
    wanted = call->wanted;
    mutex_unlock(&call->lock);
    return wanted;
}

void call_fail(struct call *call, enum s3_code code, const char *text)
{
    struct s3_fault fault = S3_FAULT_INIT;

    (void)s3_fault_set(&fault, code, "%s", text);
    call_fail_with(call, &fault);
}

void call_fail_with(struct call *call, const struct s3_fault *fault)
{
    bool running, made;

    mutex_lock(&call->lock);
    running = call->running;
    made = call->head_ready;
    mutex_unlock(&call->lock);
    call->failed = true;
    call_fault_set(call, fault);
    if (running) {
        pipe_end(&call->pipe, -EBADMSG);
        call_resume(call);
    } else if (!made) {
        reply_fault(call);
    }
}

static int body_check(struct call *call, struct s3_fault *fault)
{
    char hex[2 * S3_CHECKSUM_MAX + 1];

    if (call->chunked != NULL) {
        return s3_chunked_finish(call->chunked, fault);
    }
    if (call->wire_size != UINT64_MAX && call->body_seen != call->wire_size) {
        return s3_fault_set(fault, S3_INCOMPLETE_BODY, "%s", "");
    }
    if (call->auth->payload == S3_PAYLOAD_SHA256) {
        s3_checksum_hex(&call->sha, hex);
        if (!s3_checksum_same(slice_of(hex), slice_of(call->auth->payload_hash))) {
            return s3_fault_set(fault, S3_XAMZ_CONTENT_SHA256_MISMATCH, "%s", "");
        }
    }
    return 0;
}

void call_feed_end(struct call *call)
{
    struct s3_fault fault = S3_FAULT_INIT;
    int ret;

    call->ended = true;
    if (call->failed || call_access_waits(call)) {
        return;
    }
    ret = body_check(call, &fault);
    ret = ret == 0 && call->form != NULL ? call_form_finish(call, &fault) : ret;
    if (ret == 0 && !call->streaming && call->parse != NULL) {
        ret = call->parse(call, &fault);
    }
    ret = ret == 0 ? call_access_body(call, &fault) : ret;
    if (ret != 0) {
        call_fail_with(call, &fault);
        return;
    }
    call->asked_us = call_now_us();
    if (call->streaming) {
        pipe_end(&call->pipe, 0);
        call_resume(call);
        return;
    }
    if (call->op.op == OBJSTORE_PUT || call->op.op == OBJSTORE_UPLOAD_PART) {
        bool space = call->space != NULL;

        call->op.source.data = space ? call->space : buf_str(&call->body);
        call->op.source.size = space ? call->space_len : buf_len(&call->body);
    }
    call_submit(call);
}

bool call_head_ready(struct call *call)
{
    bool ready;

    mutex_lock(&call->lock);
    ready = call->head_ready && !call->looking;
    mutex_unlock(&call->lock);
    return ready;
}

enum s3_code call_error(struct call *call)
{
    enum s3_code code;

    mutex_lock(&call->lock);
    code = call->fault.code;
    mutex_unlock(&call->lock);
    return code;
}

bool call_idle(struct call *call)
{
    bool idle;

    mutex_lock(&call->lock);
    idle = !call->running && !call->looking && !call->asking;
    mutex_unlock(&call->lock);
    return idle;
}

void call_cancel(struct call *call)
{
    mutex_lock(&call->lock); /* as in call_resume() */
    if (call->running && call->volume != NULL) {
        volume_cancel(call->volume, &call->op);
    } else if (call->running) {
        objstore_cancel(call->server->stores.store, &call->op);
    }
    if (call->asking) {
        call_access_cancel(call);
    }
    mutex_unlock(&call->lock);
}

struct call_file *call_file(struct call *call)
{
    return call->file.fd >= 0 ? &call->file : NULL; /* set before call_streams() was true */
}

bool call_streams(struct call *call)
{
    bool streams;

    mutex_lock(&call->lock);
    streams = call->streams;
    mutex_unlock(&call->lock);
    return streams;
}

ssize_t call_output(struct call *call, void *buffer, size_t cap)
{
    ssize_t n = pipe_read(&call->pipe, buffer, cap, false);

    if (n > 0 && pipe_wake_writer(&call->pipe)) {
        call_resume(call);
    }
    return n;
}
