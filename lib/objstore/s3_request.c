/* SPDX-License-Identifier: Apache-2.0 */
/* From an operation to URL, headers and signature. Everything built lives in the call. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "objstore/s3_private.h"
#include "s3/checksum.h"
#include "s3/conditions.h"
#include "s3/xml.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/encode.h"

enum { HASH_AT_ONCE_MAX = 256 * 1024, URL_MAX = 32 * 1024, FORMAT_USUAL = 256 };

/* ---- building blocks; the first failure is kept in build_error ---- */

static void failed(struct s3_call *call, int error)
{
    if (call->build_error == 0) {
        call->build_error = error;
    }
}

static const char *format(struct s3_call *call, const char *pattern, ...)
    __attribute__((format(printf, 2, 3)));

static const char *format(struct s3_call *call, const char *pattern, ...)
{
    char text[FORMAT_USUAL];
    char *copy;
    va_list args;
    int len;

    va_start(args, pattern);
    len = vsnprintf(text, sizeof(text), pattern, args);
    va_end(args);
    copy = len >= 0 ? arena_alloc(&call->arena, (size_t)len + 1) : NULL;
    if (copy == NULL) {
        failed(call, -ENOMEM);
        return "";
    }
    if ((size_t)len < sizeof(text)) {
        memcpy(copy, text, (size_t)len + 1);
        return copy;
    }
    va_start(args, pattern);
    (void)vsnprintf(copy, (size_t)len + 1, pattern, args);
    va_end(args);
    return copy;
}

/* `value` must live as long as the call; NULL adds nothing. */
static void header(struct s3_call *call, const char *name, const char *value)
{
    if (value == NULL) {
        return;
    }
    if (call->header_count == S3_HEADERS_MAX || strpbrk(value, "\r\n") != NULL) {
        failed(call, -EINVAL);
        return;
    }
    call->headers[call->header_count++] = (struct http_header){.name = name, .value = value};
}

static void etag_header(struct s3_call *call, const char *name, const char *etag)
{
    if (etag != NULL) {
        header(call, name, strcmp(etag, "*") == 0 ? "*" : format(call, "\"%s\"", etag));
    }
}

static void query(struct s3_call *call, const char *name, const char *value)
{
    buf_addstr(&call->url, call->query_at == 0 ? "?" : "&");
    if (call->query_at == 0) {
        call->query_at = buf_len(&call->url);
    }
    buf_addstr(&call->url, name);
    buf_addstr(&call->url, "=");
    encode_percent(&call->url, slice_of(value), false);
}

static void query_if(struct s3_call *call, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0') {
        query(call, name, value);
    }
}

/* ---- the URL ---- */

static const char *aws_suffix(const char *region)
{
    return strncmp(region, "cn-", 3) == 0 ? "amazonaws.com.cn" : "amazonaws.com";
}

/* Scheme, host and path; also the host header. */
static void start_url(struct s3_call *call, const char *bucket, const char *key)
{
    const struct s3_store *store = call->store;
    /* A bucket with dots would not be covered by the wildcard of the certificate. */
    bool in_host = bucket != NULL && (store->virtual_host || store->aws) &&
                   !(store->tls && strchr(bucket, '.') != NULL);
    const char *host;

    if (store->aws) {
        host = format(call, "%s%ss3.%s.%s", in_host ? bucket : "", in_host ? "." : "", call->region,
                      aws_suffix(call->region));
    } else {
        host = format(call, "%s%s%s", in_host ? bucket : "", in_host ? "." : "", store->host);
    }
    buf_reset(&call->url);
    call->url.max = URL_MAX;
    call->query_at = 0;
    buf_addf(&call->url, "%s://%s", store->tls ? "https" : "http", host);
    call->path_at = buf_len(&call->url);
    buf_addstr(&call->url, "/");
    if (bucket != NULL && !in_host) {
        buf_addstr(&call->url, bucket);
        if (key != NULL) {
            buf_addstr(&call->url, "/");
        }
    }
    if (key != NULL) {
        encode_percent(&call->url, slice_of(key), true);
    }
    header(call, "host", host);
}

/* ---- metadata ---- */

/* A value that HTTP would change or refuse goes as an RFC 2047 word, as S3 itself answers it. */
static bool plain_value(const char *value)
{
    size_t len = strlen(value);

    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)value[i] < 0x20 || (unsigned char)value[i] > 0x7E) {
            return false;
        }
    }
    return len == 0 || (value[0] != ' ' && value[len - 1] != ' ' && strncmp(value, "=?", 2) != 0);
}

static bool token(const char *name)
{
    return name[0] != '\0' && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                           "0123456789!#$%&'*+-.^_`|~") == strlen(name);
}

static void user_header(struct s3_call *call, const struct objstore_pair *pair)
{
    const char *name = format(call, "x-amz-meta-%s", pair->name);

    if (!token(pair->name)) {
        failed(call, -EINVAL);
        return;
    }
    if (plain_value(pair->value)) {
        header(call, name, pair->value);
    } else {
        CLEANUP(buf_done) struct buf text = BUF_INIT(S3_VALUE_MAX);

        encode_base64(&text, pair->value, strlen(pair->value));
        header(call, name, format(call, "=?UTF-8?B?%s?=", buf_str(&text)));
    }
}

/* Of requests that make an object: what the mount wishes for, but for what the request says. */
static void wish_headers(struct s3_call *call)
{
    const struct s3_store *store = call->store;
    const struct objstore_meta *meta = call->request->meta;

    if (meta == NULL || meta->storage_class == NULL) {
        header(call, "x-amz-storage-class", store->storage_class);
    }
    header(call, "x-amz-acl", store->acl);
    header(call, "x-amz-server-side-encryption", store->sse);
    header(call, "x-amz-server-side-encryption-aws-kms-key-id", store->sse_key);
}

static void meta_headers(struct s3_call *call)
{
    const struct objstore_meta *meta = call->request->meta;
    const char *tags = call->request->tags;

    if (call->request->op != OBJSTORE_COPY && tags != NULL && tags[0] != '\0') {
        header(call, "x-amz-tagging", tags);
    }
    if (meta == NULL) {
        return;
    }
    header(call, "content-type", meta->content_type);
    header(call, "content-encoding", meta->content_encoding);
    header(call, "content-language", meta->content_language);
    header(call, "content-disposition", meta->content_disposition);
    header(call, "cache-control", meta->cache_control);
    header(call, "expires", meta->expires);
    header(call, "x-amz-storage-class", meta->storage_class);
    for (size_t i = 0; i < meta->user_count; i++) {
        user_header(call, &meta->user[i]);
    }
}

static void date_header(struct s3_call *call, const char *name, const int64_t *time_s)
{
    char text[S3_HTTP_DATE_SIZE];

    if (time_s != NULL) {
        s3_http_date_format(*time_s, text);
        header(call, name, format(call, "%s", text));
    }
}

static void source_headers(struct s3_call *call)
{
    const struct objstore_request *request = call->request;
    CLEANUP(buf_done) struct buf text = BUF_INIT(URL_MAX);

    buf_addf(&text, "/%s/", request->source_bucket);
    encode_percent(&text, slice_of(request->source_key), true);
    if (request->source_version_id != NULL) {
        buf_addstr(&text, "?versionId=");
        encode_percent(&text, slice_of(request->source_version_id), false);
    }
    header(call, "x-amz-copy-source", format(call, "%s", buf_str(&text)));
    etag_header(call, "x-amz-copy-source-if-match", request->source_if_match);
    etag_header(call, "x-amz-copy-source-if-none-match", request->source_if_none_match);
    date_header(call, "x-amz-copy-source-if-modified-since", request->source_if_modified_since);
    date_header(call, "x-amz-copy-source-if-unmodified-since", request->source_if_unmodified_since);
}

static const char *range_text(struct s3_call *call, struct objstore_range range)
{
    uint64_t last;

    if (range.len == OBJSTORE_TO_END ||
        __builtin_add_overflow(range.offset, range.len - 1, &last)) {
        return format(call, "bytes=%llu-", (unsigned long long)range.offset);
    }
    return format(call, "bytes=%llu-%llu", (unsigned long long)range.offset,
                  (unsigned long long)last);
}

/* ---- the operations ---- */

static void checksum_of_value(struct s3_call *call)
{
    const struct objstore_checksum *sum = &call->request->checksum;

    if (sum->kind != OBJSTORE_CHECKSUM_NONE && sum->value[0] != '\0') {
        header(call, s3_checksum_header((enum s3_checksum_kind)sum->kind), sum->value);
    }
}

static const char *checksum_type(const struct objstore_checksum *sum)
{
    return sum->composite ? "COMPOSITE" : "FULL_OBJECT";
}

static void build_read(struct s3_call *call)
{
    const struct objstore_request *request = call->request;
    bool ranged = request->op == OBJSTORE_GET && request->range.len != 0 &&
                  !(request->range.offset == 0 && request->range.len == OBJSTORE_TO_END);

    call->method = request->op == OBJSTORE_GET || call->asking_why ? "GET" : "HEAD";
    query_if(call, "versionId", request->version_id);
    if (request->part_number > 0) {
        query(call, "partNumber", format(call, "%u", request->part_number));
    }
    if (call->asking_why && request->part_number == 0) {
        header(call, "range", "bytes=0-0");
    } else if (ranged) {
        header(call, "range", range_text(call, request->range));
    } else {
        header(call, "x-amz-checksum-mode", "ENABLED");
    }
    etag_header(call, "if-match", request->if_match);
    etag_header(call, "if-none-match", request->if_none_match);
}

static void build_put(struct s3_call *call)
{
    const struct objstore_request *request = call->request;

    call->method = "PUT";
    if (request->op == OBJSTORE_UPLOAD_PART) {
        query(call, "partNumber", format(call, "%u", request->part_number));
        query(call, "uploadId", request->upload_id);
    } else {
        meta_headers(call);
        wish_headers(call);
        etag_header(call, "if-match", request->if_match);
        etag_header(call, "if-none-match", request->if_none_match);
    }
    header(call, "content-md5", request->content_md5);
    checksum_of_value(call);
    call->http.has_body = true;
}

static void build_copy(struct s3_call *call)
{
    const struct objstore_request *request = call->request;

    call->method = "PUT";
    source_headers(call);
    if (request->op == OBJSTORE_UPLOAD_PART_COPY) {
        query(call, "partNumber", format(call, "%u", request->part_number));
        query(call, "uploadId", request->upload_id);
        if (request->range.len != 0 && request->range.len != OBJSTORE_TO_END) {
            header(call, "x-amz-copy-source-range", range_text(call, request->range));
        }
        return;
    }
    /* Stores other than AWS are known to ignore a condition on the target: worse than refusing. */
    if ((request->if_match != NULL || request->if_none_match != NULL) && !call->store->aws &&
        !request->target_is_checked) {
        failed(call, -ENOTSUP);
        return;
    }
    etag_header(call, "if-match", request->if_match);
    etag_header(call, "if-none-match", request->if_none_match);
    if (request->replace_meta) {
        header(call, "x-amz-metadata-directive", "REPLACE");
        meta_headers(call);
    } else if (request->meta != NULL) { /* a copy's own, whatever its source's is */
        header(call, "x-amz-storage-class", request->meta->storage_class);
    }
    if (request->replace_tags) {
        header(call, "x-amz-tagging-directive", "REPLACE");
        header(call, "x-amz-tagging", request->tags != NULL ? request->tags : "");
    }
    wish_headers(call);
}

static void build_list(struct s3_call *call)
{
    const struct objstore_request *request = call->request;
    uint32_t max = request->max_entries != 0 ? request->max_entries : OBJSTORE_BATCH_MAX;

    call->method = "GET";
    if (request->op == OBJSTORE_LIST) {
        query(call, "list-type", "2");
        query_if(call, "continuation-token", request->token);
        if (request->token == NULL) {
            query_if(call, "start-after", request->start_after);
        }
    } else if (request->op == OBJSTORE_LIST_VERSIONS) {
        query(call, "versions", "");
        query_if(call, "key-marker", request->marker);
        query_if(call, "version-id-marker", request->marker2);
    } else {
        query(call, "uploads", "");
        query_if(call, "key-marker", request->marker);
        query_if(call, "upload-id-marker", request->marker2);
    }
    query(call, request->op == OBJSTORE_UPLOAD_LIST ? "max-uploads" : "max-keys",
          format(call, "%u", max < OBJSTORE_BATCH_MAX ? max : OBJSTORE_BATCH_MAX));
    query_if(call, "prefix", request->key);
    query_if(call, "delimiter", request->delimiter);
    query(call, "encoding-type", "url");
}

static void build_parts(struct s3_call *call)
{
    const struct objstore_request *request = call->request;
    uint32_t max = request->max_entries != 0 ? request->max_entries : OBJSTORE_BATCH_MAX;

    call->method = "GET";
    query(call, "uploadId", request->upload_id);
    query(call, "max-parts",
          format(call, "%u", max < OBJSTORE_BATCH_MAX ? max : OBJSTORE_BATCH_MAX));
    query_if(call, "part-number-marker", request->marker);
}

static void build_complete(struct s3_call *call)
{
    const struct objstore_request *request = call->request;

    call->method = "POST";
    query(call, "uploadId", request->upload_id);
    etag_header(call, "if-match", request->if_match);
    etag_header(call, "if-none-match", request->if_none_match);
    checksum_of_value(call);
    if (request->check_composite) {
        header(call, "x-amz-checksum-type", checksum_type(&request->checksum));
    }
    if (request->whole_size != NULL) {
        header(call, "x-amz-mp-object-size",
               format(call, "%llu", (unsigned long long)*request->whole_size));
    }
    header(call, "content-type", "application/xml");
    buf_reset(&call->body);
    call->body.max = S3_XML_BODY_MAX;
    s3_xml_complete_begin(&call->body);
    for (size_t i = 0; i < request->parts_count; i++) {
        const struct objstore_part *part = &request->parts[i];

        s3_xml_complete_part(&call->body, part->number, part->etag,
                             (enum s3_checksum_kind)part->checksum.kind, part->checksum.value);
    }
    s3_xml_complete_end(&call->body);
    call->http.has_body = true;
}

static void build_upload_create(struct s3_call *call)
{
    const struct objstore_checksum *sum = &call->request->checksum;

    call->method = "POST";
    query(call, "uploads", "");
    meta_headers(call);
    wish_headers(call);
    if (sum->kind != OBJSTORE_CHECKSUM_NONE) {
        header(call, "x-amz-checksum-algorithm",
               s3_checksum_name((enum s3_checksum_kind)sum->kind));
        /* Only where it is not the default: older stores do not know the header. */
        if (!sum->composite &&
            (sum->kind == OBJSTORE_CHECKSUM_CRC32 || sum->kind == OBJSTORE_CHECKSUM_CRC32C)) {
            header(call, "x-amz-checksum-type", checksum_type(sum));
        }
    }
    call->http.has_body = true;
}

static void build_bucket_create(struct s3_call *call)
{
    call->method = "PUT";
    buf_reset(&call->body);
    call->body.max = 4096;
    if (strcmp(call->region, "us-east-1") != 0) {
        s3_xml_create_bucket(&call->body, call->region);
    }
    call->http.has_body = true;
}

static void build_batch(struct s3_call *call)
{
    char md5[S3_CHECKSUM_TEXT_SIZE];
    int error = s3_batch_body(call);

    call->method = "POST";
    query(call, "delete", "");
    header(call, "content-type", "application/xml");
    if (error == 0) {
        error =
            s3_checksum_base64_of(S3_CHECKSUM_MD5, buf_str(&call->body), buf_len(&call->body), md5);
    }
    if (error < 0) {
        failed(call, error);
        return;
    }
    header(call, "content-md5", format(call, "%s", md5));
    call->http.has_body = true;
}

/* A document of a bucket, or the tags of an object. */
static void build_doc(struct s3_call *call)
{
    const struct objstore_request *request = call->request;
    bool tags = request->op >= OBJSTORE_TAGS_GET;
    char md5[S3_CHECKSUM_TEXT_SIZE];
    int error;

    query(call, tags ? "tagging" : objstore_doc_name(request->doc), "");
    query_if(call, "versionId", tags ? request->version_id : NULL);
    if (request->op != OBJSTORE_BUCKET_DOC_PUT && request->op != OBJSTORE_TAGS_PUT) {
        call->method = objstore_op_reads(request->op) ? "GET" : "DELETE";
        return;
    }
    call->method = "PUT";
    error = s3_docs_body(call);
    error = error == 0 ? s3_checksum_base64_of(S3_CHECKSUM_MD5, buf_str(&call->body),
                                               buf_len(&call->body), md5)
                       : error;
    if (error < 0) {
        failed(call, error);
        return;
    }
    header(call, "content-type",
           !tags && request->doc == OBJSTORE_DOC_POLICY ? "application/json" : "application/xml");
    header(call, "content-md5", format(call, "%s", md5));
    call->http.has_body = true;
}

static void build_plain_get(struct s3_call *call)
{
    call->method = "GET";
}

static void build_bucket_head(struct s3_call *call)
{
    call->method = "HEAD";
}

static void build_delete(struct s3_call *call)
{
    const struct objstore_request *request = call->request;

    call->method = "DELETE";
    query_if(call, "versionId", request->version_id);
    query_if(call, "uploadId", request->upload_id);
    etag_header(call, "if-match", request->if_match);
}

static void (*const builders[OBJSTORE_OP_COUNT])(struct s3_call *call) = {
    [OBJSTORE_BUCKET_LIST] = build_plain_get,
    [OBJSTORE_BUCKET_CREATE] = build_bucket_create,
    [OBJSTORE_BUCKET_HEAD] = build_bucket_head,
    [OBJSTORE_BUCKET_DELETE] = build_delete,
    [OBJSTORE_GET] = build_read,
    [OBJSTORE_HEAD] = build_read,
    [OBJSTORE_PUT] = build_put,
    [OBJSTORE_COPY] = build_copy,
    [OBJSTORE_DELETE] = build_delete,
    [OBJSTORE_DELETE_BATCH] = build_batch,
    [OBJSTORE_LIST] = build_list,
    [OBJSTORE_LIST_VERSIONS] = build_list,
    [OBJSTORE_UPLOAD_CREATE] = build_upload_create,
    [OBJSTORE_UPLOAD_PART] = build_put,
    [OBJSTORE_UPLOAD_PART_COPY] = build_copy,
    [OBJSTORE_UPLOAD_COMPLETE] = build_complete,
    [OBJSTORE_UPLOAD_ABORT] = build_delete,
    [OBJSTORE_UPLOAD_LIST] = build_list,
    [OBJSTORE_UPLOAD_LIST_PARTS] = build_parts,
    [OBJSTORE_TAGS_GET] = build_doc,
    [OBJSTORE_TAGS_PUT] = build_doc,
    [OBJSTORE_TAGS_DELETE] = build_doc,
    [OBJSTORE_BUCKET_DOC_GET] = build_doc,
    [OBJSTORE_BUCKET_DOC_PUT] = build_doc,
    [OBJSTORE_BUCKET_DOC_DELETE] = build_doc,
};

static void build_operation(struct s3_call *call)
{
    if (builders[call->request->op] == NULL) {
        failed(call, -ENOTSUP);
    } else {
        builders[call->request->op](call);
    }
}

/* ---- body and signature ---- */

static bool sends_object(const struct s3_call *call)
{
    return !call->singly &&
           (call->request->op == OBJSTORE_PUT || call->request->op == OBJSTORE_UPLOAD_PART);
}

/*
 * How the body goes and what x-amz-content-sha256 says: over TLS, and where a checksum will do,
 * unsigned, else hashed at once when it is small and in memory, else in signed chunks. A checksum
 * that is only asked for by kind is computed: before, when the bytes are in memory, else as a
 * trailer.
 */
static enum s3_payload plan_payload(struct s3_call *call, enum s3_checksum_kind *trailer)
{
    const struct objstore_request *request = call->request;
    const struct objstore_source *source = &request->source;
    enum s3_checksum_kind kind = (enum s3_checksum_kind)request->checksum.kind;
    bool in_memory = source->data != NULL || source->size == 0;
    bool at_once = in_memory && source->size <= HASH_AT_ONCE_MAX;

    *trailer = S3_CHECKSUM_NONE;
    if (kind != S3_CHECKSUM_NONE && request->checksum.value[0] == '\0') {
        if (at_once || (in_memory && kind <= S3_CHECKSUM_CRC64NVME)) {
            char value[S3_CHECKSUM_TEXT_SIZE];

            if (s3_checksum_base64_of(kind, source->data, (size_t)source->size, value) < 0) {
                failed(call, -ENOMEM);
            } else {
                header(call, s3_checksum_header(kind), format(call, "%s", value));
            }
        } else {
            *trailer = kind;
        }
    }
    if (call->store->tls || call->identity->anonymous) {
        return *trailer != S3_CHECKSUM_NONE ? S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER
                                            : S3_PAYLOAD_UNSIGNED;
    }
    if (*trailer != S3_CHECKSUM_NONE) {
        return S3_PAYLOAD_STREAMING_TRAILER;
    }
    if (kind != S3_CHECKSUM_NONE && request->checksum_is_checked && call->store->is_private) {
        return S3_PAYLOAD_UNSIGNED;
    }
    return at_once ? S3_PAYLOAD_SHA256 : S3_PAYLOAD_STREAMING;
}

static bool streamed(enum s3_payload payload)
{
    return payload != S3_PAYLOAD_UNSIGNED && payload != S3_PAYLOAD_SHA256;
}

/* Point the HTTP request at its body. */
static void set_body(struct s3_call *call, enum s3_payload payload, enum s3_checksum_kind trailer)
{
    const struct objstore_source *source = &call->request->source;
    struct http_request *http = &call->http;

    http->data = NULL;
    http->read = NULL;
    http->rewind = NULL;
    if (!sends_object(call)) {
        http->data = buf_str(&call->body);
        http->size = buf_len(&call->body);
        return;
    }
    http->size = source->size;
    if (streamed(payload)) {
        http->size = s3_chunk_encoded_len(payload, trailer, source->size, S3_CHUNK);
    } else if (source->data != NULL) {
        http->data = source->data;
        return;
    }
    http->read = s3_body_read;
    http->rewind = s3_body_rewind;
}

static const char *payload_hash(struct s3_call *call, enum s3_payload payload)
{
    char hash[2 * S3_CHECKSUM_MAX + 1];
    const void *data = call->http.data;

    if (!call->http.has_body || (call->http.size == 0 && !streamed(payload))) {
        return S3_EMPTY_SHA256;
    }
    if (payload != S3_PAYLOAD_SHA256) {
        return s3_payload_name(payload);
    }
    if (s3_checksum_hex_of(S3_CHECKSUM_SHA256, data, (size_t)call->http.size, hash) < 0) {
        failed(call, -ENOMEM);
        return "";
    }
    return format(call, "%s", hash);
}

static struct s3_message message_of(struct s3_call *call, struct s3_header *headers)
{
    const char *url = buf_str(&call->url);
    size_t path_end = call->query_at != 0 ? call->query_at - 1 : buf_len(&call->url);

    for (size_t i = 0; i < call->header_count; i++) {
        headers[i] =
            (struct s3_header){slice_of(call->headers[i].name), slice_of(call->headers[i].value)};
    }
    return (struct s3_message){
        .method = slice_of(call->method),
        .path = {url + call->path_at, path_end - call->path_at},
        .query = {url + path_end + 1,
                  call->query_at != 0 ? buf_len(&call->url) - call->query_at : 0},
        .headers = headers,
        .header_count = call->header_count};
}

static int sign(struct s3_call *call, const char *hash, struct s3_chunk_chain *chain)
{
    CLEANUP(buf_done) struct buf value = BUF_INIT(S3_VALUE_MAX);
    struct s3_header headers[S3_HEADERS_MAX];
    struct s3_signing_key key;
    struct s3_sign_params params = {.key = &key,
                                    .access_key = call->identity->access_key,
                                    .region = call->region,
                                    .service = "s3"};
    struct s3_message message;
    char signature[S3_HEX_SIZE];
    int error;

    call->signed_s = s3_store_now_s(call->store);
    s3_timestamp_format(call->signed_s, params.timestamp);
    header(call, "x-amz-date", format(call, "%s", params.timestamp));
    header(call, "x-amz-security-token", call->identity->session_token);
    if (call->build_error < 0) {
        return call->build_error;
    }
    error = s3_store_signing_key(call->store, call->identity, params.timestamp, call->region, &key);
    if (error < 0) {
        return error;
    }
    message = message_of(call, headers);
    error = s3_sign_header(&message, &params, hash, &value, signature);
    if (error < 0) {
        return error;
    }
    header(call, "authorization", format(call, "%s", buf_str(&value)));
    return s3_chunk_chain_init(chain, &key, params.timestamp, call->region, signature);
}

/* Body, hash, signature; the URL and all other headers are there. */
static int finish_build(struct s3_call *call)
{
    enum s3_checksum_kind trailer = S3_CHECKSUM_NONE;
    enum s3_payload payload = S3_PAYLOAD_SHA256;
    struct s3_chunk_chain chain = {.previous = ""};
    const char *hash;
    int error = 0;

    if (sends_object(call)) {
        payload = plan_payload(call, &trailer);
    }
    if (call->http.has_body) {
        set_body(call, payload, trailer);
    }
    hash = payload_hash(call, payload);
    if (streamed(payload)) {
        header(call, "x-amz-decoded-content-length",
               format(call, "%llu", (unsigned long long)call->request->source.size));
        if (trailer != S3_CHECKSUM_NONE) {
            header(call, "x-amz-trailer", s3_checksum_header(trailer));
        }
    }
    if (!call->identity->anonymous || streamed(payload)) {
        header(call, "x-amz-content-sha256", hash);
    }
    header(call, "x-amz-request-payer", call->store->requester_pays ? "requester" : NULL);
    if (call->build_error == 0 && !call->identity->anonymous) {
        error = sign(call, hash, &chain);
    }
    if (error == 0 && call->build_error == 0 && streamed(payload)) {
        error = s3_body_prepare(call, &chain, payload, trailer);
    }
    call->http.once = !objstore_op_reads(call->request->op); /* retry.c sees to another try */
    call->http.method = call->method;
    call->http.url = buf_str(&call->url);
    call->http.headers = call->headers;
    call->http.header_count = call->header_count;
    error = error == 0 ? call->build_error : error;
    return error == 0 ? buf_error(&call->url) : error;
}

static void start_build(struct s3_call *call, const char *key)
{
    call->header_count = 0;
    call->build_error = 0;
    call->http.has_body = false;
    call->http.size = 0;
    s3_body_done(call);
    s3_store_region(call->store, call->request->bucket, call->region);
    start_url(call, call->request->op == OBJSTORE_BUCKET_LIST ? NULL : call->request->bucket, key);
}

int s3_request_build(struct s3_call *call)
{
    const struct objstore_request *request = call->request;
    bool has_key = true;

    switch (request->op) {
    case OBJSTORE_BUCKET_LIST:
    case OBJSTORE_BUCKET_CREATE:
    case OBJSTORE_BUCKET_HEAD:
    case OBJSTORE_BUCKET_DELETE:
    case OBJSTORE_DELETE_BATCH:
    case OBJSTORE_LIST:
    case OBJSTORE_LIST_VERSIONS:
    case OBJSTORE_UPLOAD_LIST:
    case OBJSTORE_BUCKET_DOC_GET:
    case OBJSTORE_BUCKET_DOC_PUT:
    case OBJSTORE_BUCKET_DOC_DELETE:
        has_key = false;
        break;
    default:
        break;
    }
    start_build(call, has_key ? request->key : NULL);
    build_operation(call);
    return finish_build(call);
}

int s3_request_build_delete(struct s3_call *call, const struct objstore_victim *victim)
{
    start_build(call, victim->key);
    call->method = "DELETE";
    query_if(call, "versionId", victim->version_id);
    etag_header(call, "if-match", victim->match.etag);
    return finish_build(call);
}
