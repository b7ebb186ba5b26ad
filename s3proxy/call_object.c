/* SPDX-License-Identifier: Apache-2.0 */
/* Which operation a request is, and those on one object. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "s3/xml.h"
#include "s3proxy/call.h"
#include "util/cleanup.h"
#include "util/encode.h"

enum { NUMBER_DIGITS = 10 };
enum { META_BYTES_MAX = 2048, VALUE_MAX = 16 * 1024, COPY_PARTS = 3, WHOLE_MAX = 64 * 1024 };

/* What nobody can do with this store; asking for it must not look like success. */
static const char *const unsupported[] = {
    "analytics",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "renameObject",
    "restore",
    "retention",
    "select",
    "session",
    "torrent",
};

/* Words for something else than the bucket or object in whose URL they stand: with a method that
 * they have not, nothing must happen to that. */
static const char *const of_buckets[] = {"attributes", "delete",   "location",  "uploads",
                                         "versions",   "uploadId", "partNumber"};
static const char *const of_objects[] = {"delete", "location"};

#define LOCK_HEADERS "x-amz-object-lock-"
#define MATCH_HEADERS "x-amz-if-match-"

/* Beginnings of headers that promise what this store does not do. */
static const char *const promises[] = {
    "x-amz-bucket-object-lock-enabled",
    "x-amz-copy-source-server-side-encryption",
    MATCH_HEADERS,
    LOCK_HEADERS,
    "x-amz-rename-source",
    "x-amz-server-side-encryption",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
};

const char *call_query(struct call *call, const char *name)
{
    struct buf value = BUF_INIT(VALUE_MAX);
    const char *ret = NULL;

    if (call->query_names != 0 && s3_query_may_have(call->query_names, name) &&
        s3_query_get(call->query, name, &value) == 1) {
        ret = arena_strndup(&call->arena, buf_str(&value), buf_len(&value));
    }
    buf_done(&value);
    return ret;
}

bool call_has(struct call *call, const char *name)
{
    return call->query_names != 0 && s3_query_may_have(call->query_names, name) &&
           s3_query_get(call->query, name, NULL) == 1;
}

int call_number(struct call *call, const char *name, uint32_t fallback, uint32_t max, uint32_t *ret,
                struct s3_fault *fault)
{
    const char *text = call_query(call, name);
    char said[64];
    char *end;
    unsigned long n;

    *ret = fallback;
    if (text == NULL || text[0] == '\0') {
        return 0;
    }
    errno = 0;
    n = strtoul(text, &end, 10);
    /* No other spelling of a number: a policy that reads it must see the same one. */
    if (*end != '\0' || errno != 0 || !isdigit((unsigned char)text[0]) ||
        end - text > NUMBER_DIGITS || n > INT32_MAX) {
        (void)snprintf(said, sizeof(said), "%s is not a number in range", name);
        return s3_fault_argument(fault, name, slice_of(text), said);
    }
    *ret = n < max ? (uint32_t)n : max;
    return 0;
}

const char *call_header(struct call *call, const char *name)
{
    struct slice value = s3_message_header(&call->message, name);

    return value.data != NULL ? arena_strndup(&call->arena, value.data, value.len) : NULL;
}

bool call_hidden(const struct call *call, const char *key)
{
    return !call->internal && (strncmp(key, ".skyvol/", 8) == 0 ||
                               (call->stranger && strstr(key, "/.skyvol/") != NULL));
}

bool call_reserved(const struct call *call, const char *key)
{
    return call_hidden(call, key) ||
           (!call->internal && call->volume == NULL && strstr(key, "/.skyvol/") != NULL);
}

/* ---- headers of a write ---- */

/* 1 for a new name; a header that came before gets this value behind its own. */
static size_t add_pair(struct call *call, struct objstore_pair *user, size_t count,
                       struct objstore_pair pair)
{
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(user[i].value) + strlen(pair.value) + 2;
        char *both;

        if (strcmp(user[i].name, pair.name) != 0) {
            continue;
        }
        both = arena_alloc(&call->arena, size);
        if (both != NULL) {
            (void)snprintf(both, size, "%s,%s", user[i].value, pair.value);
            user[i].value = both;
        }
        return 0;
    }
    user[count] = pair;
    return 1;
}

static int user_meta(struct call *call, struct s3_fault *fault)
{
    struct objstore_pair *user = arena_array(&call->arena, OBJSTORE_META_MAX, sizeof(*user));
    size_t count = 0, bytes = 0;

    for (size_t i = 0; user != NULL && i < call->message.header_count; i++) {
        const struct s3_header *h = &call->message.headers[i];
        char *name;

        if (h->name.len <= 11 || strncasecmp(h->name.data, "x-amz-meta-", 11) != 0) {
            continue;
        }
        bytes += h->name.len - 11 + h->value.len;
        name = arena_strndup(&call->arena, h->name.data + 11, h->name.len - 11);
        if (count == OBJSTORE_META_MAX || bytes > META_BYTES_MAX || name == NULL) {
            return s3_fault_set(fault, S3_METADATA_TOO_LARGE, "%s", "");
        }
        for (char *c = name; *c != '\0'; c++) {
            *c = (char)tolower((unsigned char)*c);
        }
        count += add_pair(call, user, count, (struct objstore_pair){name, h->value.data});
    }
    call->meta.user = user;
    call->meta.user_count = count;
    return user != NULL ? 0 : s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
}

static int write_conditions(struct call *call, struct s3_fault *fault)
{
    static const char *const names[] = {"if-match", "if-none-match"};
    const char **const into[] = {&call->op.if_match, &call->op.if_none_match};

    for (size_t i = 0; i < 2; i++) {
        struct slice value = s3_message_header(&call->message, names[i]), etag;

        if (value.data == NULL) {
            continue;
        }
        if (s3_etag_single(value, &etag) != 0) {
            return s3_fault_argument(fault, names[i], value, "it names one ETag");
        }
        *into[i] = arena_strndup(&call->arena, etag.data, etag.len);
    }
    return 0;
}

/* Some SDKs say of each promise that they do not want it, or want what is so anyway. */
static bool switched_off(struct slice value)
{
    return (value.len == 5 && strncasecmp(value.data, "false", 5) == 0) ||
           (value.len == 3 && strncasecmp(value.data, "off", 3) == 0);
}

int call_refuse_headers(struct call *call, struct s3_fault *fault)
{
    for (size_t i = 0; i < call->message.header_count; i++) {
        struct slice name = call->message.headers[i].name;

        for (size_t k = 0; k < sizeof(promises) / sizeof(promises[0]); k++) {
            size_t len = strlen(promises[k]);

            if (name.len >= len && strncasecmp(name.data, promises[k], len) == 0 &&
                !switched_off(call->message.headers[i].value)) {
                if (strcmp(promises[k], LOCK_HEADERS) == 0 && call_lacks_lock(call)) {
                    return s3_fault_set(fault, S3_INVALID_REQUEST,
                                        "Bucket is missing Object Lock Configuration");
                }
                if (strcmp(promises[k], MATCH_HEADERS) == 0 && call_matches(call)) {
                    continue;
                }
                return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "%.*s is not implemented",
                                    (int)name.len, name.data);
            }
        }
    }
    return call_acl_headers(call, fault);
}

/* Without what was only the way here: "gzip, aws-chunked" is "gzip"; else as it was written. */
static const char *stored_encoding(struct call *call)
{
    struct slice value = s3_message_header(&call->message, "content-encoding");
    CLEANUP(buf_done) struct buf kept = BUF_INIT(VALUE_MAX);

    while (value.len > 0) {
        const char *comma = memchr(value.data, ',', value.len);
        size_t len = comma != NULL ? (size_t)(comma - value.data) : value.len;
        struct slice word = slice_trim((struct slice){value.data, len});

        if (word.len > 0 && !(word.len == 11 && strncasecmp(word.data, "aws-chunked", 11) == 0)) {
            if (buf_len(&kept) > 0) { /* with the spaces that stand before it */
                buf_addf(&kept, ",%.*s", (int)(word.data - value.data), value.data);
            }
            buf_addf(&kept, "%.*s", (int)word.len, word.data);
        }
        len += comma != NULL ? 1 : 0;
        value = (struct slice){value.data + len, value.len - len};
    }
    return buf_len(&kept) > 0 ? arena_strdup(&call->arena, buf_str(&kept)) : NULL;
}

/* Another store has its own, and says what they are. The embedded one keeps all in the one that it
 * has, as AWS's words ask for speed and price. */
static int storage_class(struct call *call, struct s3_fault *fault)
{
    static const char *const known[] = {"STANDARD",   "REDUCED_REDUNDANCY",  "STANDARD_IA",
                                        "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER",
                                        "GLACIER_IR", "DEEP_ARCHIVE",        "OUTPOSTS",
                                        "SNOW",       "EXPRESS_ONEZONE"};
    const char *value = call_header(call, "x-amz-storage-class");

    if (value == NULL || !stores_embedded(&call->server->stores, call->op.bucket)) {
        call->meta.storage_class = value;
        return 0;
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(value, known[i]) == 0) {
            return 0;
        }
    }
    (void)s3_fault_set(fault, S3_INVALID_STORAGE_CLASS, "%s", "");
    return s3_fault_detail(fault, "StorageClassRequested", slice_of(value));
}

int call_put_headers(struct call *call, struct s3_fault *fault)
{
    const char *encoding = stored_encoding(call);
    const char *md5 = call_header(call, "content-md5");
    const char *type = call_header(call, "content-type");
    unsigned char digest[16];
    size_t len;
    int ret;

    call->meta = (struct objstore_meta){
        .content_type = type != NULL && type[0] != '\0' ? type : NULL,
        .content_encoding = encoding != NULL && encoding[0] != '\0' ? encoding : NULL,
        .content_language = call_header(call, "content-language"),
        .content_disposition = call_header(call, "content-disposition"),
        .cache_control = call_header(call, "cache-control"),
        .expires = call_header(call, "expires"),
    };
    call->op.meta = &call->meta;
    call->op.content_md5 = md5;
    if (md5 != NULL && (decode_base64(slice_of(md5), digest, sizeof(digest), &len) != 0 ||
                        len != sizeof(digest))) {
        (void)s3_fault_set(fault, S3_INVALID_DIGEST, "%s", "");
        return s3_fault_detail(fault, "Content-MD5", slice_of(md5));
    }
    ret = user_meta(call, fault);
    ret = ret == 0 ? storage_class(call, fault) : ret;
    ret = ret == 0 ? call_put_checksum(call, fault) : ret;
    return ret == 0 ? write_conditions(call, fault) : ret;
}

/* NULL: absent, or no date, which is ignored as in any condition. */
static const int64_t *header_date(struct call *call, const char *name)
{
    struct slice value = s3_message_header(&call->message, name);
    int64_t *time_s = arena_alloc(&call->arena, sizeof(*time_s));

    return value.data != NULL && time_s != NULL && s3_http_date_parse(value, time_s) == 0 ? time_s
                                                                                          : NULL;
}

int call_copy_headers(struct call *call, struct s3_fault *fault)
{
    struct s3_copy_source *source = arena_alloc(&call->arena, sizeof(*source));
    const char *directive = call_header(call, "x-amz-metadata-directive");
    struct slice match = s3_message_header(&call->message, "x-amz-copy-source-if-match"), etag;
    int ret = source != NULL ? 0 : s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");

    ret = ret == 0 ? s3_copy_source_parse(s3_message_header(&call->message, "x-amz-copy-source"),
                                          source, fault)
                   : ret;
    if (ret != 0) {
        return fault->code == S3_INVALID_URI
                   ? s3_fault_argument(fault, "x-amz-copy-source",
                                       s3_message_header(&call->message, "x-amz-copy-source"),
                                       "Invalid copy source object key")
                   : ret;
    }
    if (directive != NULL && strcasecmp(directive, "REPLACE") != 0 &&
        strcasecmp(directive, "COPY") != 0) {
        return s3_fault_argument(fault, "x-amz-metadata-directive", slice_of(directive),
                                 "Unknown metadata directive.");
    }
    if (call_hidden(call, source->target.key)) {
        return s3_fault_set(fault, S3_ACCESS_DENIED, "keys under .skyvol/ are Skyvol's own");
    }
    if (match.data != NULL && s3_etag_single(match, &etag) == 0) {
        call->op.source_if_match = arena_strndup(&call->arena, etag.data, etag.len);
    }
    match = s3_message_header(&call->message, "x-amz-copy-source-if-none-match");
    if (match.data != NULL && s3_etag_single(match, &etag) == 0) {
        call->op.source_if_none_match = arena_strndup(&call->arena, etag.data, etag.len);
    }
    call->op.source_if_modified_since = header_date(call, "x-amz-copy-source-if-modified-since");
    call->op.source_if_unmodified_since =
        header_date(call, "x-amz-copy-source-if-unmodified-since");
    call->op.source_bucket = source->target.bucket;
    call->op.source_key = source->target.key;
    call->op.source_version_id = source->version_id[0] != '\0' ? source->version_id : NULL;
    call->op.replace_meta = directive != NULL && strcasecmp(directive, "REPLACE") == 0;
    return 0;
}

/* ---- replies ---- */

/* The header that is stored, unless the query asks for another value. */
static void override_header(struct call *call, const char *parameter, const char *name,
                            const char *stored)
{
    const char *asked = call_query(call, parameter);

    reply_header(&call->reply, name, asked != NULL ? asked : stored);
}

static void object_headers(struct call *call, const struct objstore_info *info,
                           struct objstore_range range)
{
    struct reply *reply = &call->reply;
    const struct objstore_meta *m = &info->meta;
    char text[80];
    bool by_part = call->op.part_number > 0;
    const char *type = call_query(call, "response-content-type");

    reply_etag(reply, info->etag);
    reply_version(call, "x-amz-version-id", info->version_id);
    reply->mtime_s = info->mtime_ns / 1000000000;
    reply->content_type = type != NULL              ? type
                          : m->content_type != NULL ? arena_strdup(&call->arena, m->content_type)
                                                    : "binary/octet-stream";
    override_header(call, "response-content-encoding", "Content-Encoding", m->content_encoding);
    override_header(call, "response-content-language", "Content-Language", m->content_language);
    override_header(call, "response-content-disposition", "Content-Disposition",
                    m->content_disposition);
    override_header(call, "response-cache-control", "Cache-Control", m->cache_control);
    override_header(call, "response-expires", "Expires", m->expires);
    if (m->storage_class != NULL && strcmp(m->storage_class, "STANDARD") != 0) {
        reply_header(reply, "x-amz-storage-class", m->storage_class);
    }
    reply_header(reply, "Accept-Ranges", "bytes");
    if (info->tag_count > 0) {
        (void)snprintf(text, sizeof(text), "%u", info->tag_count);
        reply_header(reply, "x-amz-tagging-count", text);
    }
    for (size_t i = 0; i < m->user_count; i++) {
        size_t size = sizeof("x-amz-meta-") + strlen(m->user[i].name);
        char *name = arena_alloc(&call->arena, size);

        if (name != NULL) {
            (void)snprintf(name, size, "x-amz-meta-%s", m->user[i].name);
            reply_header(reply, name, m->user[i].value);
        }
    }
    reply->status = 200;
    reply->length = range.len;
    if (info->parts > 0 && by_part) {
        (void)snprintf(text, sizeof(text), "%u", info->parts);
        reply_header(reply, "x-amz-mp-parts-count", text);
    }
    if (call->range.kind != S3_RANGE_NONE || (by_part && range.len > 0)) {
        reply->status = 206;
        (void)snprintf(text, sizeof(text), "bytes %llu-%llu/%llu", (unsigned long long)range.offset,
                       (unsigned long long)(range.offset + range.len - 1),
                       (unsigned long long)info->size);
        reply_header(reply, "Content-Range", text);
    }
    /* The embedded store has each part's own, if one was asked for; of another what is no composite
     * may be the whole object's. */
    if (call->range.kind == S3_RANGE_NONE && call->checksum_wanted &&
        (!by_part || info->parts <= 1 || info->checksum.composite ||
         stores_embedded(&call->server->stores, call->op.bucket))) {
        call_checksum_header(call, info);
    }
}

/* The conditions of a read, which only the store's answer decides. */
static enum s3_code read_conditions(struct call *call, const struct objstore_info *info)
{
    enum s3_code code =
        s3_conditions_check(&call->conditions, info->etag, info->mtime_ns / 1000000000, true);

    if (code != S3_OK) {
        call_fault(call, code, "");
        if (code == S3_NOT_MODIFIED) {
            reply_etag(&call->reply, info->etag);
            call->reply.mtime_s = info->mtime_ns / 1000000000;
        }
    }
    return code;
}

static int get_info(struct objstore_request *op, const struct objstore_info *info,
                    struct objstore_range range)
{
    struct call *call = op->arg;

    if (read_conditions(call, info) != S3_OK) {
        return -ECANCELED;
    }
    if (call->range.kind != S3_RANGE_NONE && info->size == 0) { /* stores give all of nothing */
        call_fault(call, S3_INVALID_RANGE, "");
        return -ECANCELED;
    }
    object_headers(call, info, range);
    call->whole = range.len <= WHOLE_MAX;
    pipe_expect(&call->pipe, range.len);
    return 0;
}

/* The first bytes are here, or where they lie is known. */
static void get_streams(struct call *call)
{
    mutex_lock(&call->lock);
    call->head_ready = true;
    call->streams = true;
    mutex_unlock(&call->lock);
    call_wake(call);
}

static int get_write(struct objstore_request *op, const void *bytes, size_t len)
{
    struct call *call = op->arg;
    int ret;

    if (call->whole) { /* one wake for all of it, at the end */
        buf_add(&call->reply.body, bytes, len);
        return buf_error(&call->reply.body);
    }
    ret = pipe_write_all(&call->pipe, bytes, len);
    if (ret == 0) {
        get_streams(call);
    }
    return ret;
}

static int get_file(struct objstore_request *op, int fd, struct objstore_range range)
{
    struct call *call = op->arg;

    if (call->whole) {
        return -ENOTSUP;
    }
    call->file = (struct call_file){fd, range.offset, range.offset + range.len};
    get_streams(call);
    return 0;
}

/* False: If-Range names another object than there is now. A weak ETag names none. */
static bool range_counts(const struct call *call, const struct objstore_info *info)
{
    struct slice value = s3_message_header(&call->message, "if-range"), etag;
    int64_t time_s;

    if (value.data == NULL) {
        return true;
    }
    if (s3_http_date_parse(value, &time_s) == 0) {
        return time_s == info->mtime_ns / 1000000000;
    }
    return s3_etag_single(value, &etag) == 0 && !slice_starts_with(value, slice_of("W/")) &&
           slice_eq_str(etag, info->etag);
}

/* A HEAD, or the first step of a GET whose range counts from the end, or by If-Range. */
static void format_head(struct call *call, const struct objstore_result *result)
{
    const struct objstore_info *info = &result->info;
    struct objstore_range range = {0, info->size};

    if (!range_counts(call, info)) {
        call->range = (struct s3_range){.kind = S3_RANGE_NONE};
    }
    if (read_conditions(call, info) != S3_OK) {
        reply_fault(call);
        return;
    }
    if (call->op.part_number > 0) {
        range = result->range;
    } else if (s3_range_resolve(&call->range, info->size, &range.offset, &range.len) != 0) {
        call_fault(call, S3_INVALID_RANGE, "");
        reply_fault(call);
        return;
    }
    if (call->head) {
        object_headers(call, info, range);
        return;
    }
    call->op.op = OBJSTORE_GET;
    call->op.range =
        call->range.kind != S3_RANGE_NONE ? range : (struct objstore_range){0, OBJSTORE_TO_END};
    call->op.if_match = arena_strdup(&call->arena, info->etag);
    mutex_lock(&call->lock);
    call->again = true;
    mutex_unlock(&call->lock);
}

void reply_put(struct call *call, const struct objstore_result *result)
{
    call->reply.status = 200;
    reply_etag(&call->reply, result->info.etag);
    reply_made(call, result);
    call_checksum_header(call, &result->info);
}

static void format_copy(struct call *call, const struct objstore_result *result)
{
    reply_version(call, "x-amz-copy-source-version-id", result->source_version_id);
    reply_made(call, result);
    s3_xml_copy_result(&call->reply.body, call->op.op == OBJSTORE_UPLOAD_PART_COPY,
                       result->info.etag, result->info.mtime_ns,
                       (enum s3_checksum_kind)result->info.checksum.kind,
                       result->info.checksum.value);
    reply_xml(&call->reply);
}

/* ---- routes ---- */

/* A header of the reply that the query asks for must be one. */
static int check_overrides(struct call *call, struct s3_fault *fault)
{
    static const char *const names[] = {"response-content-type",     "response-content-encoding",
                                        "response-content-language", "response-content-disposition",
                                        "response-cache-control",    "response-expires"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = call_query(call, names[i]);

        if (value != NULL && call->anonymous) {
            return s3_fault_set(fault, S3_INVALID_REQUEST,
                                "%s is for signed requests, not for anonymous ones", names[i]);
        }
        for (; value != NULL && *value != '\0'; value++) {
            if ((unsigned char)*value < ' ' || *value == 0x7f) {
                return s3_fault_argument(fault, names[i], slice_of(call_query(call, names[i])),
                                         "it is no header");
            }
        }
    }
    return 0;
}

static int bad_part_number(struct call *call, struct s3_fault *fault)
{
    const char *number = call_query(call, "partNumber");

    return s3_fault_argument(fault, "partNumber", slice_of(number != NULL ? number : ""),
                             "Part number must be an integer between 1 and 10000, inclusive");
}

static int part_number(struct call *call, struct s3_fault *fault)
{
    int ret = call_number(call, "partNumber", 0, UINT32_MAX, &call->op.part_number, fault);

    if (ret == 0 && s3_message_header(&call->message, "range").data != NULL) {
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Cannot specify both Range header and partNumber query parameter");
    }
    if (ret != 0 || call->op.part_number < 1 || call->op.part_number > OBJSTORE_PARTS_MAX) {
        return bad_part_number(call, fault);
    }
    return 0;
}

/* Whether the range counts only for the object that the client has a part of: that is looked at
 * before. */
static bool if_range(const struct call *call)
{
    return call->range.kind != S3_RANGE_NONE &&
           s3_message_header(&call->message, "if-range").data != NULL;
}

static int route_read(struct call *call, struct s3_fault *fault)
{
    struct slice mode = s3_message_header(&call->message, "x-amz-checksum-mode");

    call->conditions = (struct s3_conditions){
        .if_match = s3_message_header(&call->message, "if-match"),
        .if_none_match = s3_message_header(&call->message, "if-none-match"),
        .if_modified_since = s3_message_header(&call->message, "if-modified-since"),
        .if_unmodified_since = s3_message_header(&call->message, "if-unmodified-since"),
    };
    call->range = s3_range_parse(s3_message_header(&call->message, "range"));
    call->checksum_wanted = mode.len == 7 && strncasecmp(mode.data, "ENABLED", 7) == 0;
    if (call_has(call, "partNumber") && part_number(call, fault) != 0) {
        return s3_code_errno(fault->code);
    }
    call->format = format_head;
    call->op.sink.info = get_info;
    call->op.sink.write = get_write;
    call->op.sink.file = get_file;
    call->op.op = OBJSTORE_HEAD;
    if (!call->head && call->range.kind != S3_RANGE_SUFFIX && !if_range(call)) {
        call->op.op = OBJSTORE_GET;
        if (call->range.kind == S3_RANGE_FROM) {
            call->op.range.offset = call->range.first;
            call->op.range.len = call->range.last == UINT64_MAX
                                     ? OBJSTORE_TO_END
                                     : call->range.last - call->range.first + 1;
        }
    }
    return check_overrides(call, fault);
}

static int route_put(struct call *call, struct s3_fault *fault)
{
    bool part = call_has(call, "uploadId");
    bool copy = s3_message_header(&call->message, "x-amz-copy-source").data != NULL;
    int ret;

    if (!part && call_has(call, "partNumber")) { /* a part is not the whole object */
        return s3_fault_argument(fault, "uploadId", slice_of(""),
                                 "This operation does not accept partNumber without uploadId");
    }
    if (copy) {
        struct slice range = s3_message_header(&call->message, "x-amz-copy-source-range");
        uint64_t first, last;

        call->op.op = part ? OBJSTORE_UPLOAD_PART_COPY : OBJSTORE_COPY;
        call->format = format_copy;
        if (part && range.data != NULL) {
            if (s3_copy_range_parse(range, &first, &last) != 0) {
                return s3_fault_argument(
                    fault, "x-amz-copy-source-range", range,
                    "The x-amz-copy-source-range value is bytes=first-last: the offsets, from "
                    "zero, of the first and the last byte to copy");
            }
            call->op.range = (struct objstore_range){first, last - first + 1};
        }
        ret = call_copy_headers(call, fault);
    } else {
        call->op.op = part ? OBJSTORE_UPLOAD_PART : OBJSTORE_PUT;
        call->body_kind = CALL_BODY_PIPE;
        call->format = reply_put;
        ret = 0;
    }
    ret = ret == 0 ? call_put_headers(call, fault) : ret;
    if (ret == 0 && !part) {
        ret = call_tag_headers(call, fault);
    }
    if (ret == 0 && part) {
        call->op.upload_id = call_query(call, "uploadId");
        ret = call_number(call, "partNumber", 0, UINT32_MAX, &call->op.part_number, fault);
        if (ret == 0 && (call->op.part_number < 1 || call->op.part_number > OBJSTORE_PARTS_MAX)) {
            ret = bad_part_number(call, fault);
        }
    }
    if (ret == 0 && copy && !part && !call->op.replace_meta &&
        call->op.source_version_id == NULL && /* an older version may be brought back */
        s3_message_header(&call->message, "x-amz-storage-class").data == NULL &&
        strcmp(call->op.source_bucket, call->op.bucket) == 0 &&
        strcmp(call->op.source_key, call->op.key) == 0) {
        ret =
            s3_fault_set(fault, S3_INVALID_REQUEST, "a copy onto itself must change the metadata");
    }
    return ret;
}

static int route_object(struct call *call, struct s3_fault *fault)
{
    struct slice method = call->message.method;
    int ret;

    call->op.key = call->target.key;
    if (call_version(call, fault) != 0) {
        return s3_code_errno(fault->code);
    }
    if (call_has(call, "versions")) {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT, "?versions lists a bucket, not a key");
    }
    if (call_has(call, "tagging")) {
        return call_route_tags(call, fault);
    }
    if (call_doc_asked(call) != OBJSTORE_DOC_COUNT) {
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "that is for buckets");
    }
    if (call_has(call, "uploads") || (call_has(call, "uploadId") && !slice_eq_str(method, "PUT"))) {
        return call_route_upload(call, fault);
    }
    if (call_has(call, "attributes")) {
        return call_route_attributes(call, fault);
    }
    if (call->head || slice_eq_str(method, "GET")) {
        return route_read(call, fault);
    }
    if (slice_eq_str(method, "PUT")) {
        return route_put(call, fault);
    }
    if (slice_eq_str(method, "DELETE")) {
        call->op.op = OBJSTORE_DELETE;
        call->format = format_removed;
        ret = call_match_headers(call, fault);
        return ret == 0 ? write_conditions(call, fault) : ret;
    }
    return s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
}

/* False: what the query names cannot be written or deleted. */
static bool method_fits(struct call *call)
{
    bool bucket = call->target.key[0] == '\0', batch = bucket && call_has(call, "delete");
    const char *const *words = bucket ? of_buckets : of_objects;
    size_t count = bucket ? sizeof(of_buckets) / sizeof(of_buckets[0])
                          : sizeof(of_objects) / sizeof(of_objects[0]);
    struct slice method = call->message.method;

    if (call->target.bucket[0] == '\0' || call->head || slice_eq_str(method, "GET") ||
        (batch && slice_eq_str(method, "POST"))) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (call_has(call, words[i])) {
            return false;
        }
    }
    return true;
}

int call_route(struct call *call, struct s3_fault *fault)
{
    int ret = call->query_names != 0 ? call_route_lock(call, fault) : 1;

    if (ret != 1) {
        return ret;
    }
    for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++) {
        if (call_has(call, unsupported[i])) {
            return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "%s is not implemented", unsupported[i]);
        }
    }
    if (!method_fits(call)) {
        return s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
    }
    if (call->target.bucket[0] == '\0') {
        call->op.bucket = NULL;
        return call_route_bucket(call, fault);
    }
    call->op.bucket = call->target.bucket;
    if (call_has(call, "acl")) {
        return call_route_acl(call, fault);
    }
    return call->target.key[0] == '\0' ? call_route_bucket(call, fault) : route_object(call, fault);
}
