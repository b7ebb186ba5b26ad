/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A browser's upload. Its fields come first and are looked at as a whole when the file begins: then
 * the form stands for the headers of a PUT, and the file for its body. Nothing is published before
 * the end of the file was seen and the signed policy's limits were kept.
 */
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "s3/form.h"
#include "s3/form_policy.h"
#include "s3/xml.h"
#include "s3proxy/call.h"
#include "util/clock.h"
#include "util/encode.h"

enum { TEXT_MAX = 16 * 1024, UNKNOWN_MAX = 8 * 1024 * 1024 };

struct call_form {
    struct s3_form *form;
    struct s3_form_auth auth;
    struct s3_form_limits limits;
    uint64_t seen; /* bytes of the file */
    bool opened;
};

void call_form_done(struct call *call)
{
    if (call->form != NULL) {
        s3_form_free(call->form->form);
    }
}

/* What a signature was made of, as far as whoever sent it may be told: not a session's token, which
 * stands in a policy of temporary credentials. */
void call_form_details(struct call *call, struct s3_xml_error *error)
{
    const struct s3_form *form = call->form->form;
    const struct s3_form_auth *auth = &call->form->auth;
    const char *signature;

    if (auth->kind == S3_FORM_ANONYMOUS) { /* or no form at all */
        return;
    }
    signature = s3_form_get(form, auth->kind == S3_FORM_V4 ? "x-amz-signature" : "signature");
    if (error->code == S3_INVALID_ACCESS_KEY_ID || error->code == S3_SIGNATURE_DOES_NOT_MATCH) {
        error->access_key = reply_text(auth->access_key);
    }
    if (error->code == S3_SIGNATURE_DOES_NOT_MATCH) {
        error->signature = reply_text(signature);
        error->string_to_sign = s3_form_get(form, "x-amz-security-token") == NULL
                                    ? reply_text(s3_form_get(form, "policy"))
                                    : NULL;
    }
}

/* What the policy lets it be, and what it is. */
static int wrong_size(enum s3_code code, uint64_t size, uint64_t bound, struct s3_fault *fault)
{
    char text[24];

    (void)s3_fault_set(fault, code, "%s", "");
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)size);
    (void)s3_fault_detail(fault, "ProposedSize", slice_of(text));
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)bound);
    return s3_fault_detail(fault, code == S3_ENTITY_TOO_SMALL ? "MinSizeAllowed" : "MaxSizeAllowed",
                           slice_of(text));
}

/* ---- the fields ---- */

/* In the arena; NULL without memory. */
static const char *kept(struct call *call, const struct buf *text)
{
    return buf_error(text) == 0 ? arena_strndup(&call->arena, buf_str(text), buf_len(text)) : NULL;
}

static int form_key(struct call *call, struct s3_fault *fault)
{
    static const char variable[] = "${filename}";
    const struct s3_form *form = call->form->form;
    const char *text = s3_form_get(form, "key");
    struct buf key = BUF_INIT(TEXT_MAX);
    int ret = 0;

    if (text == NULL || text[0] == '\0') {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT,
                            "Bucket POST must contain a field named 'key'.  If it is specified, "
                            "please check the order of the fields.");
    }
    while (*text != '\0') {
        const char *next = strstr(text, variable);
        size_t len = next != NULL ? (size_t)(next - text) : strlen(text);

        buf_add(&key, text, len);
        text += len;
        if (next != NULL) {
            buf_addstr(&key, s3_form_filename(form));
            text += sizeof(variable) - 1;
        }
    }
    if (buf_error(&key) != 0 || buf_len(&key) > S3_KEY_MAX) {
        ret = s3_fault_set(fault, S3_KEY_TOO_LONG, "%s", "");
    } else if (!s3_key_valid((struct slice){buf_str(&key), buf_len(&key)})) {
        ret = s3_fault_set(fault, S3_INVALID_ARGUMENT, "the key is not valid");
    } else {
        memcpy(call->target.key, buf_str(&key), buf_len(&key) + 1);
        call->op.key = call->target.key;
    }
    buf_done(&key);
    return ret;
}

static int form_authenticate(struct call *call, struct s3_fault *fault)
{
    const struct s3_form *form = call->form->form;
    const char *token = s3_form_get(form, "x-amz-security-token");
    const char *region = call->server->region;
    struct s3_form_target target = {call->target.bucket, call->target.key};
    struct claim claim = {.token = token != NULL ? token : "",
                          .now_s = clock_realtime_ns(clock_real()) / 1000000000};
    struct s3_form_auth *auth = &call->form->auth;
    struct identity who;
    int ret = s3_form_auth_parse(form, region, auth, fault);

    if (ret != 0 || auth->kind == S3_FORM_ANONYMOUS) {
        return ret; /* then the bucket's policy has the word, and the form's own none */
    }
    claim.access_key = auth->access_key;
    (void)snprintf(call->auth->date, sizeof(call->auth->date), "%s", auth->date);
    (void)snprintf(call->auth->region, sizeof(call->auth->region), "%s", region);
    ret = call_identify(call, &claim, &who, fault);
    ret = ret == 0 ? s3_form_auth_verify(form, auth, who.secret, &call->key, fault) : ret;
    ret = ret == 0 ? call_admit(call, who.key, fault) : ret;
    explicit_bzero(&who, sizeof(who));
    call->anonymous = ret != 0;
    call->form_v2 = auth->kind == S3_FORM_V2;
    call_access_who(call);
    ret = ret == 0 ? call_own(call, fault) : ret;
    return ret == 0 ? s3_form_policy_check(form, &target, claim.now_s, &call->form->limits, fault)
                    : ret;
}

/* A field that is as a header of a PUT would be. */
static bool is_header(const char *name)
{
    static const char *const signs[] = {"x-amz-algorithm",      "x-amz-credential",
                                        "x-amz-date",           "x-amz-signature",
                                        "x-amz-security-token", "Content-Length"};
    static const char *const names[] = {"Cache-Control", "Expires", "acl"};

    for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
        if (strcasecmp(name, signs[i]) == 0) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return true;
        }
    }
    return strncasecmp(name, "x-amz-", 6) == 0 || strncasecmp(name, "Content-", 8) == 0;
}

/* The form's fields take the place of the request's headers, but for whom and where they tell. */
static int form_headers(struct call *call, struct s3_fault *fault)
{
    size_t count, n = 0;
    const struct s3_form_field *fields = s3_form_fields(call->form->form, &count);
    struct s3_header *headers = arena_array(&call->arena, count + 3, sizeof(*headers));
    struct slice host = s3_message_header(&call->message, "host");
    struct slice page = s3_message_header(&call->message, "referer");
    struct slice agent = s3_message_header(&call->message, "user-agent");

    if (headers == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = fields[i].name;

        for (const char *c = fields[i].value; *c != '\0'; c++) {
            if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f) {
                if (is_header(name) || strncasecmp(name, "success_action_", 15) == 0) {
                    return s3_fault_set(fault, S3_INVALID_ARGUMENT, "%.64s is no header", name);
                }
            }
        }
        if (is_header(name) && fields[i].value[0] != '\0') {
            name = strcasecmp(name, "acl") == 0 ? "x-amz-acl" : name;
            headers[n++] = (struct s3_header){slice_of(name), slice_of(fields[i].value)};
        }
    }
    headers[n++] = (struct s3_header){slice_of("host"), host};
    if (page.data != NULL) {
        headers[n++] = (struct s3_header){slice_of("referer"), page};
    }
    if (agent.data != NULL) {
        headers[n++] = (struct s3_header){slice_of("user-agent"), agent};
    }
    call->message.headers = headers;
    call->message.header_count = n;
    return 0;
}

/* How long the file is follows from the length of the whole, if it is the form's last field. */
static int form_body(struct call *call, struct s3_fault *fault)
{
    const struct s3_form *form = call->form->form;
    uint64_t around = s3_form_before(form) + s3_form_behind(form);

    if (call->wire_size == UINT64_MAX || call->wire_size <= around + PIPE_SIZE) {
        call->body.max = call->wire_size == UINT64_MAX ? UNKNOWN_MAX : 2 * PIPE_SIZE;
        return 0;
    }
    call->body_kind = CALL_BODY_PIPE;
    call->op.source.size = call->wire_size - around;
    return call->op.source.size > call->form->limits.max
               ? wrong_size(S3_ENTITY_TOO_LARGE, call->op.source.size, call->form->limits.max,
                            fault)
               : 0;
}

static int form_open(struct call *call, struct s3_fault *fault)
{
    const char *bucket = s3_form_get(call->form->form, "bucket");
    int ret = form_key(call, fault);

    ret = ret == 0 ? form_authenticate(call, fault) : ret;
    if (ret == 0 && bucket != NULL && strcmp(bucket, call->target.bucket) != 0) {
        ret = s3_fault_set(fault, S3_ACCESS_DENIED, "the form names another bucket");
    }
    if (ret == 0 && (call->read_only || call_reserved(call, call->target.key))) {
        ret = s3_fault_set(fault, S3_ACCESS_DENIED,
                           call->read_only ? "this access key only reads"
                                           : "keys under .skyvol/ are Skyvol's own");
    }
    ret = ret == 0 ? form_headers(call, fault) : ret;
    ret = ret == 0 ? call_put_headers(call, fault) : ret;
    ret = ret == 0 ? call_tag_field(call, s3_form_get(call->form->form, "tagging"), fault) : ret;
    ret = ret == 0 ? call_access_form(call, fault) : ret;
    ret = ret == 0 ? call_refuse_headers(call, fault) : ret;
    return ret == 0 ? form_body(call, fault) : ret;
}

/* ---- the file ---- */

/* As far as it is known before its end: from the length of the whole where that was told, if the
 * file is its last field. */
static uint64_t proposed_size(const struct call *call)
{
    const struct s3_form *form = call->form->form;
    uint64_t around = s3_form_before(form) + s3_form_behind(form);

    return call->wire_size != UINT64_MAX && call->wire_size >= around + call->form->seen
               ? call->wire_size - around
               : call->form->seen;
}

void call_form_feed(struct call *call, const char *bytes, size_t len)
{
    struct call_form *form = call->form;
    struct s3_fault fault = S3_FAULT_INIT;
    int ret = 0;

    while (ret == 0 && len > 0 && !call->failed) {
        struct slice file;
        size_t eaten = 0;

        ret = s3_form_feed(form->form, bytes, len, &eaten, &file, &fault);
        if (ret == 0 && s3_form_opened(form->form) && !form->opened) {
            form->opened = true;
            ret = form_open(call, &fault);
        }
        if (ret == 0 && file.len > 0) {
            form->seen += file.len;
            if (form->seen > form->limits.max) {
                ret =
                    wrong_size(S3_ENTITY_TOO_LARGE, proposed_size(call), form->limits.max, &fault);
            } else {
                (void)call_keep(call, file.data, file.len);
            }
        }
        bytes += eaten;
        len -= eaten;
    }
    if (ret != 0) {
        call_fail_with(call, &fault);
    }
}

int call_form_finish(struct call *call, struct s3_fault *fault)
{
    const struct call_form *form = call->form;
    int ret = s3_form_finish(form->form, fault);

    if (ret == 0 && form->seen < form->limits.min) {
        ret = wrong_size(S3_ENTITY_TOO_SMALL, form->seen, form->limits.min, fault);
    }
    if (ret == 0 && call->streaming && form->seen != call->op.source.size) {
        ret = s3_fault_set(fault, S3_MALFORMED_POST,
                           "the file must be the last field of a form over 1 MiB");
    }
    return ret;
}

/* ---- the reply ---- */

static const char *form_location(struct call *call)
{
    struct slice host = s3_message_header(&call->message, "host"), path = call->message.path;
    struct buf text = BUF_INIT(TEXT_MAX);
    const char *ret;

    while (path.len > 0 && path.data[path.len - 1] == '/') {
        path.len--;
    }
    buf_addf(&text, "%s%.*s%.*s/", call->tls ? "https://" : "http://", (int)host.len, host.data,
             (int)path.len, path.data);
    encode_percent(&text, slice_of(call->target.key), true);
    ret = kept(call, &text);
    buf_done(&text);
    return ret;
}

/* NULL: none that can be followed. */
static const char *form_redirect(struct call *call, const char *etag)
{
    const struct s3_form *form = call->form->form;
    const char *url = s3_form_get(form, "success_action_redirect");
    struct buf text = BUF_INIT(TEXT_MAX);
    const char *ret;

    url = url != NULL ? url : s3_form_get(form, "redirect");
    if (url == NULL ||
        (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)) {
        return NULL;
    }
    for (const char *c = url; *c != '\0'; c++) {
        if ((unsigned char)*c <= ' ' || *c == 0x7f) {
            return NULL;
        }
    }
    buf_addf(&text, "%s%cbucket=%s&key=", url, strchr(url, '?') != NULL ? '&' : '?',
             call->target.bucket);
    encode_percent(&text, slice_of(call->target.key), false);
    buf_addf(&text, "&etag=%%22%s%%22", etag);
    ret = kept(call, &text);
    buf_done(&text);
    return ret;
}

static void format_form(struct call *call, const struct objstore_result *result)
{
    struct reply *reply = &call->reply;
    const char *redirect = form_redirect(call, result->info.etag);
    const char *location = form_location(call);
    const char *status = s3_form_get(call->form->form, "success_action_status");
    char quoted[OBJSTORE_ETAG_MAX + 2];

    reply_put(call, result);
    if (redirect != NULL) {
        reply_header(reply, "Location", redirect);
        reply->status = 303;
        return;
    }
    reply_header(reply, "Location", location);
    reply->status = 204;
    if (status != NULL && strcmp(status, "200") == 0) {
        reply->status = 200;
    } else if (status != NULL && strcmp(status, "201") == 0) {
        (void)snprintf(quoted, sizeof(quoted), "\"%s\"", result->info.etag);
        buf_addstr(&reply->body, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse>");
        s3_xml_text(&reply->body, "Location", location);
        s3_xml_text(&reply->body, "Bucket", call->target.bucket);
        s3_xml_text(&reply->body, "Key", call->target.key);
        s3_xml_text(&reply->body, "ETag", quoted);
        buf_addstr(&reply->body, "</PostResponse>");
        reply_xml(reply);
        reply->status = 201;
    }
}

int call_route_form(struct call *call, struct s3_fault *fault)
{
    static const char kind[] = "multipart/form-data";
    struct slice type = s3_message_header(&call->message, "content-type");

    if (type.len < sizeof(kind) - 1 || strncasecmp(type.data, kind, sizeof(kind) - 1) != 0) {
        return s3_fault_set(fault, S3_PRECONDITION_FAILED,
                            "Bucket POST must be of the enclosure-type multipart/form-data");
    }
    call->form = arena_alloc(&call->arena, sizeof(*call->form));
    if (call->form == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    call->form->limits.max = UINT64_MAX;
    call->auth->payload = S3_PAYLOAD_UNSIGNED; /* the policy says nothing about it */
    call->op.op = OBJSTORE_PUT;
    call->op.bucket = call->target.bucket;
    call->body_kind = CALL_BODY_MEMORY;
    call->format = format_form;
    return s3_form_new(type, &call->form->form, fault);
}
