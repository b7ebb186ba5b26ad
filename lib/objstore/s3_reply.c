/* SPDX-License-Identifier: Apache-2.0 */
/* From an answer to a result. Strings of the result live in the call's arena. */
#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "objstore/s3_private.h"
#include "s3/checksum.h"
#include "s3/conditions.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/encode.h"

static struct s3_call *call_of(struct http_request *http)
{
    return container_of(http, struct s3_call, http);
}

static bool parse_u64(struct slice s, uint64_t *ret)
{
    uint64_t value = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9' || __builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.data[i] - '0'), &value)) {
            return false;
        }
    }
    *ret = value;
    return s.len > 0;
}

static struct slice unquoted(struct slice s)
{
    if (s.len > 2 && s.data[0] == 'W' && s.data[1] == '/') {
        s = (struct slice){s.data + 2, s.len - 2};
    }
    return s.len >= 2 && s.data[0] == '"' && s.data[s.len - 1] == '"'
               ? (struct slice){s.data + 1, s.len - 2}
               : s;
}

static void copy_text(struct slice from, char *to, size_t size)
{
    size_t len = from.len < size ? from.len : size - 1;

    if (len > 0) {
        memcpy(to, from.data, len);
    }
    to[len] = '\0';
}

/* ---- metadata ---- */

/* Decode "=?UTF-8?B?...?=" or Q words, as S3 answers text that is not ASCII; others stay. */
static bool decode_word(struct slice *text, struct buf *out)
{
    const char *end;
    struct slice body;
    char kind;

    if (text->len < 12 || strncasecmp(text->data, "=?utf-8?", 8) != 0 || text->data[9] != '?') {
        return false;
    }
    kind = text->data[8];
    body = (struct slice){text->data + 10, text->len - 10};
    end = memmem(body.data, body.len, "?=", 2);
    if (end == NULL) {
        return false;
    }
    body.len = (size_t)(end - body.data);
    *text = (struct slice){end + 2, text->len - 12 - body.len};
    if (kind == 'B' || kind == 'b') {
        unsigned char raw[8192];
        size_t len = 0;

        if (decode_base64(body, raw, sizeof(raw), &len) < 0) {
            return false;
        }
        buf_add(out, raw, len);
        return true;
    }
    for (size_t i = 0; i < body.len; i++) {
        char c = body.data[i];
        size_t len = 0;

        if (c == '=' && body.len - i > 2 &&
            decode_hex((struct slice){body.data + i + 1, 2}, &c, 1, &len) == 0) {
            i += 2;
        }
        if (body.data[i] == '_') {
            c = ' ';
        }
        buf_add(out, &c, 1);
    }
    return true;
}

static const char *keep_value(struct s3_call *call, struct slice value)
{
    CLEANUP(buf_done) struct buf plain = BUF_INIT(S3_VALUE_MAX);
    struct slice rest = value;

    while (rest.len > 0 && decode_word(&rest, &plain)) {
        while (rest.len > 0 && rest.data[0] == ' ') {
            rest = (struct slice){rest.data + 1, rest.len - 1};
        }
    }
    if (rest.len == 0 && value.len > 0 && buf_error(&plain) == 0) {
        return arena_strndup(&call->arena, buf_str(&plain), buf_len(&plain));
    }
    return arena_strndup(&call->arena, value.data != NULL ? value.data : "", value.len);
}

static int keep_meta(struct s3_call *call, const struct http_head *head)
{
    static const char prefix[] = "x-amz-meta-";
    struct objstore_meta *meta = &call->result.info.meta;
    const struct {
        const char *name;
        const char **member;
    } named[] = {
        {"content-type", &meta->content_type},
        {"content-encoding", &meta->content_encoding},
        {"content-language", &meta->content_language},
        {"content-disposition", &meta->content_disposition},
        {"cache-control", &meta->cache_control},
        {"expires", &meta->expires},
        {"x-amz-storage-class", &meta->storage_class},
    };
    struct objstore_pair *user =
        arena_array(&call->arena, OBJSTORE_META_MAX, sizeof(struct objstore_pair));

    if (user == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) {
        struct slice value = http_head_get(head, named[i].name);

        if (value.data != NULL && value.len > 0) {
            *named[i].member = keep_value(call, value);
        }
    }
    meta->user = user;
    for (size_t i = 0; i < head->count && meta->user_count < OBJSTORE_META_MAX; i++) {
        struct slice name = head->fields[i].name;

        if (slice_starts_with(name, slice_of(prefix)) && name.len > strlen(prefix)) {
            struct objstore_pair *pair = &user[meta->user_count++];

            pair->name =
                arena_strndup(&call->arena, name.data + strlen(prefix), name.len - strlen(prefix));
            pair->value = keep_value(call, head->fields[i].value);
            if (pair->name == NULL || pair->value == NULL) {
                return -ENOMEM;
            }
        }
    }
    return 0;
}

static void keep_checksum(struct s3_call *call, const struct http_head *head)
{
    struct objstore_checksum *sum = &call->result.info.checksum;

    for (int kind = S3_CHECKSUM_CRC32; kind <= S3_CHECKSUM_SHA256; kind++) {
        struct slice value = http_head_get(head, s3_checksum_header((enum s3_checksum_kind)kind));
        const char *dash = value.len > 0 ? memchr(value.data, '-', value.len) : NULL;

        if (value.len == 0) {
            continue;
        }
        /* "VALUE-3" is the checksum of three parts' checksums. */
        sum->composite =
            dash != NULL || slice_eq_str(http_head_get(head, "x-amz-checksum-type"), "COMPOSITE");
        value.len = dash != NULL ? (size_t)(dash - value.data) : value.len;
        sum->kind = (enum objstore_checksum_kind)kind;
        copy_text(value, sum->value, sizeof(sum->value));
        return;
    }
}

/* What a failure tells too, of a delete marker. */
static void keep_version(struct s3_call *call, const struct http_head *head)
{
    struct objstore_result *result = &call->result;
    int64_t time_s;

    copy_text(http_head_get(head, "x-amz-version-id"), result->info.version_id,
              sizeof(result->info.version_id));
    result->delete_marker = slice_eq_str(http_head_get(head, "x-amz-delete-marker"), "true");
    if (result->delete_marker &&
        s3_http_date_parse(http_head_get(head, "last-modified"), &time_s) == 0) {
        result->info.mtime_ns = time_s * 1000000000;
    }
}

static void keep_info(struct s3_call *call, const struct http_head *head)
{
    struct objstore_info *info = &call->result.info;
    struct slice parts = http_head_get(head, "x-amz-mp-parts-count");
    int64_t time_s = 0;
    uint64_t number = 0;

    copy_text(unquoted(http_head_get(head, "etag")), info->etag, sizeof(info->etag));
    copy_text(http_head_get(head, "x-amz-copy-source-version-id"), call->result.source_version_id,
              sizeof(call->result.source_version_id));
    if (s3_http_date_parse(http_head_get(head, "last-modified"), &time_s) == 0) {
        info->mtime_ns = time_s * 1000000000;
    } else {
        info->mtime_ns = call->answer_time_s * 1000000000; /* a write that ended just now */
    }
    if (parse_u64(parts, &number) && number <= OBJSTORE_PARTS_MAX) {
        info->parts = (uint32_t)number;
    }
    if (parse_u64(http_head_get(head, "x-amz-tagging-count"), &number) &&
        number <= OBJSTORE_BATCH_MAX) {
        info->tag_count = (uint32_t)number;
    }
    if (s3_iso_date_parse(http_head_get(head, "x-amz-object-lock-retain-until-date"),
                          &info->retained_until_ns) != 0) {
        info->retained_until_ns = 0;
    }
    info->legal_hold = slice_eq_str(http_head_get(head, "x-amz-object-lock-legal-hold"), "ON");
    keep_checksum(call, head);
}

/* ---- GET ---- */

/* "bytes first-last/total" */
static bool parse_content_range(struct slice s, uint64_t *first, uint64_t *total)
{
    const char *dash;
    const char *slash;

    if (!slice_starts_with(s, slice_of("bytes "))) {
        return false;
    }
    s = (struct slice){s.data + 6, s.len - 6};
    dash = memchr(s.data, '-', s.len);
    slash = memchr(s.data, '/', s.len);
    return dash != NULL && slash != NULL && dash < slash &&
           parse_u64((struct slice){s.data, (size_t)(dash - s.data)}, first) &&
           parse_u64((struct slice){slash + 1, (size_t)(s.data + s.len - slash) - 1}, total);
}

/* The store answered with all although a range was asked for: cut it out ourselves. */
static int cut_range(struct s3_call *call, struct objstore_range *sent)
{
    const struct objstore_range *asked = &call->request->range;
    uint64_t size = call->result.info.size;

    if (asked->offset >= size && !(asked->offset == 0 && size == 0)) {
        return -ERANGE;
    }
    call->skip = asked->offset;
    sent->offset = asked->offset;
    sent->len = size - asked->offset;
    if (asked->len < sent->len) {
        sent->len = asked->len;
    }
    call->want = sent->len;
    return 0;
}

static int start_sink(struct s3_call *call, const struct http_head *head)
{
    struct objstore_request *request = call->request;
    struct objstore_info *info = &call->result.info;
    struct objstore_range sent = {0};
    uint64_t length = 0;
    bool partial = head->status == 206;
    bool by_part = request->part_number > 0;
    bool ranged = request->range.len != 0 &&
                  !(request->range.offset == 0 && request->range.len == OBJSTORE_TO_END);
    int error = 0;

    if (!parse_u64(http_head_get(head, "content-length"), &length)) {
        return -EBADMSG; /* without it a cut body could pass for a whole one */
    }
    info->size = length;
    sent.len = length;
    call->skip = 0;
    call->want = length;
    if (partial) {
        if (!parse_content_range(http_head_get(head, "content-range"), &sent.offset, &info->size) ||
            (!by_part &&
             (!ranged || sent.offset != request->range.offset || length > request->range.len))) {
            return -EBADMSG;
        }
    } else if (by_part) {
        error = request->part_number > 1 ? -ENOTSUP : 0; /* it gave all of the object */
    } else if (ranged) {
        error = cut_range(call, &sent);
    } else if (info->checksum.kind != OBJSTORE_CHECKSUM_NONE && !info->checksum.composite) {
        s3_checksum_done(&call->sum);
        error = s3_checksum_init(&call->sum, (enum s3_checksum_kind)info->checksum.kind);
    }
    if (error < 0) {
        return error;
    }
    call->to_sink = true;
    return request->sink.info != NULL ? request->sink.info(request, info, sent) : 0;
}

/* Of a HEAD, which may be of one part. */
static int take_size(struct s3_call *call, const struct http_head *head)
{
    struct objstore_info *info = &call->result.info;
    struct objstore_range *range = &call->result.range;

    (void)parse_u64(http_head_get(head, "content-length"), &info->size);
    *range = (struct objstore_range){.len = info->size};
    if (call->request->part_number == 0 || call->asking_why) {
        return 0;
    }
    if (head->status != 206) {
        return call->request->part_number > 1 ? -ENOTSUP : 0;
    }
    return parse_content_range(http_head_get(head, "content-range"), &range->offset, &info->size)
               ? 0
               : -EBADMSG;
}

/* ---- callbacks of the HTTP request ---- */

int s3_reply_head(struct http_request *http, const struct http_head *head)
{
    struct s3_call *call = call_of(http);
    enum objstore_op op = call->request->op;
    bool reads = op == OBJSTORE_GET || op == OBJSTORE_HEAD;
    int error = 0;

    call->http_status = head->status;
    call->answer_time_s = 0;
    if (s3_http_date_parse(http_head_get(head, "date"), &call->answer_time_s) < 0) {
        call->answer_time_s = 0;
    }
    copy_text(http_head_get(head, "x-amz-bucket-region"), call->bucket_region,
              sizeof(call->bucket_region));
    keep_version(call, head);
    call->reply.max = head->status >= 300 ? S3_ERROR_BODY_MAX : S3_XML_BODY_MAX;
    if (head->status >= 300) {
        return 0;
    }
    keep_info(call, head);
    if (reads) {
        error = keep_meta(call, head);
    }
    if (error == 0 && op == OBJSTORE_HEAD) {
        error = take_size(call, head);
    }
    if (error == 0 && op == OBJSTORE_GET) {
        error = start_sink(call, head);
    }
    return error;
}

static int to_sink(struct s3_call *call, const char *data, size_t len)
{
    struct objstore_request *request = call->request;
    size_t skip = len < call->skip ? len : (size_t)call->skip;
    size_t rest = len - skip < call->want ? len - skip : (size_t)call->want;
    int error = 0;

    if (rest > 0 && request->sink.write != NULL) {
        error = request->sink.write(request, data + skip, rest);
    }
    if (error == 0) {
        call->skip -= skip;
        call->want -= rest;
        s3_checksum_add(&call->sum, data + skip, rest);
    }
    return error;
}

int s3_reply_write(struct http_request *http, const void *data, size_t len)
{
    struct s3_call *call = call_of(http);

    if (call->to_sink) {
        return to_sink(call, data, len);
    }
    if (call->asking_why && call->http_status < 300) {
        return 0; /* the byte that nobody wanted */
    }
    if (call->http_status >= 300 && buf_len(&call->reply) + len > S3_ERROR_BODY_MAX) {
        return 0; /* nobody reads a longer error than that */
    }
    buf_add(&call->reply, data, len);
    return buf_error(&call->reply) == -EFBIG ? -EBADMSG : buf_error(&call->reply);
}

/* ---- judging ---- */

static void end_get(struct s3_call *call)
{
    const struct objstore_checksum *sum = &call->result.info.checksum;
    char value[S3_CHECKSUM_TEXT_SIZE];

    if (call->want > 0) {
        call->result.status =
            error_set(&call->result.error, -EBADMSG, "the store sent less than it promised");
        return;
    }
    if (call->sum.kind != S3_CHECKSUM_NONE) {
        s3_checksum_base64(&call->sum, value);
        if (strcmp(value, sum->value) != 0) {
            call->result.status = error_set(&call->result.error, -EBADMSG,
                                            "the bytes of '%.200s' do not match their %s",
                                            call->request->key, s3_checksum_name(call->sum.kind));
        }
    }
}

/* Which of the answers of 200 bear a document that must be read. */
static bool has_document(enum objstore_op op)
{
    switch (op) {
    case OBJSTORE_BUCKET_LIST:
    case OBJSTORE_LIST:
    case OBJSTORE_LIST_VERSIONS:
    case OBJSTORE_UPLOAD_LIST:
    case OBJSTORE_UPLOAD_LIST_PARTS:
    case OBJSTORE_UPLOAD_CREATE:
    case OBJSTORE_UPLOAD_COMPLETE:
    case OBJSTORE_COPY:
    case OBJSTORE_UPLOAD_PART_COPY:
    case OBJSTORE_DELETE_BATCH:
        return true;
    default:
        return false;
    }
}

static void take_written(struct s3_call *call, const struct s3_xml_doc *doc)
{
    const struct objstore_request *request = call->request;
    struct objstore_info *info = &call->result.info;

    copy_text(slice_of(doc->etag), info->etag, sizeof(info->etag));
    if (doc->time_ns != 0) {
        info->mtime_ns = doc->time_ns;
    }
    if (doc->checksum_kind != S3_CHECKSUM_NONE) {
        const char *dash = strchr(doc->checksum, '-');
        size_t len = dash != NULL ? (size_t)(dash - doc->checksum) : strlen(doc->checksum);

        info->checksum.kind = (enum objstore_checksum_kind)doc->checksum_kind;
        info->checksum.composite = doc->composite || dash != NULL;
        copy_text((struct slice){doc->checksum, len}, info->checksum.value,
                  sizeof(info->checksum.value));
    }
    for (size_t i = 0; request->op == OBJSTORE_UPLOAD_COMPLETE && i < request->parts_count; i++) {
        info->size += request->parts[i].size;
    }
}

static void take_document(struct s3_call *call, const struct s3_xml_doc *doc)
{
    switch (doc->root) {
    case S3_XML_CREATED:
        call->result.upload_id = arena_strdup(&call->arena, doc->upload_id);
        if (call->result.upload_id == NULL || call->result.upload_id[0] == '\0') {
            call->result.status = -EIO;
        }
        break;
    case S3_XML_COPIED:
    case S3_XML_COMPLETED:
        take_written(call, doc);
        break;
    case S3_XML_DELETED:
        s3_batch_answered(call, doc);
        break;
    default:
        s3_list_result(call, doc);
        break;
    }
}

void s3_reply_success(struct s3_call *call)
{
    enum objstore_op op = call->request->op;
    struct s3_xml_doc *doc = NULL;
    struct s3_fault fault = S3_FAULT_INIT;

    if (op == OBJSTORE_GET) {
        end_get(call);
    } else if (op == OBJSTORE_BUCKET_HEAD) {
        struct objstore_caps *caps = arena_alloc(&call->arena, sizeof(*caps));

        if (caps != NULL) {
            s3_store_caps(call->store, call->request->bucket, caps);
        }
        call->result.caps = caps;
    } else if (op == OBJSTORE_PUT || op == OBJSTORE_UPLOAD_PART) {
        call->result.info.size = call->request->source.size;
    }
    if (op == OBJSTORE_BUCKET_DOC_GET || op == OBJSTORE_TAGS_GET) {
        s3_docs_answered(call);
        return;
    }
    if (call->singly || !has_document(op)) {
        return;
    }
    if (s3_xml_parse(buf_str(&call->reply), buf_len(&call->reply), &doc, &fault) < 0 ||
        doc->root == S3_XML_ERROR) {
        enum s3_code code;

        s3_xml_doc_free(doc);
        s3_reply_failure(call, &code);
        return;
    }
    take_document(call, doc);
    s3_xml_doc_free(doc);
}

/* ---- failures ---- */

static int status_of(const struct s3_call *call, enum s3_code code)
{
    const struct objstore_request *request = call->request;

    switch (code) {
    case S3_PRECONDITION_FAILED:
        if (request->source_if_none_match != NULL && request->source_if_match == NULL) {
            return -EEXIST;
        }
        return request->if_none_match != NULL && request->if_match == NULL ? -EEXIST : -ESTALE;
    case S3_METHOD_NOT_ALLOWED: /* reading a delete marker by its version */
        return objstore_op_reads(request->op) ? -ENOENT : s3_code_errno(code);
    case S3_BAD_REQUEST: /* HEAD has no body to tell more */
        return -EINVAL;
    case S3_AUTHORIZATION_HEADER_MALFORMED:
        return call->bucket_region[0] != '\0' ? -EHOSTUNREACH : -EACCES;
    case S3_OK:
        return -EIO;
    default:
        return s3_code_errno(code);
    }
}

static void add_hint(struct s3_call *call, enum s3_code code, struct buf *text)
{
    int64_t now_s = clock_realtime_ns(clock_real()) / 1000000000;
    int64_t off_s = call->answer_time_s != 0 ? now_s - call->answer_time_s : 0;

    if (off_s > S3_CLOCK_HINT_S || off_s < -S3_CLOCK_HINT_S) {
        buf_addf(text, " (this machine's clock is %lld s %s the store's: set it)",
                 (long long)(off_s < 0 ? -off_s : off_s), off_s < 0 ? "behind" : "ahead of");
        return;
    }
    switch (code) {
    case S3_INVALID_ACCESS_KEY_ID:
        buf_addstr(text, " (check the access key, and that the endpoint is the right one)");
        break;
    case S3_SIGNATURE_DOES_NOT_MATCH:
        buf_addstr(text, " (check the secret key and the region)");
        break;
    case S3_EXPIRED_TOKEN:
    case S3_INVALID_TOKEN:
        buf_addstr(text, " (fresh credentials are needed)");
        break;
    case S3_ACCESS_DENIED:
        buf_addstr(text, call->identity->anonymous
                             ? " (no credentials were given)"
                             : " (the credentials are not allowed to do this)");
        break;
    case S3_PERMANENT_REDIRECT:
    case S3_TEMPORARY_REDIRECT:
    case S3_AUTHORIZATION_HEADER_MALFORMED:
        if (call->bucket_region[0] != '\0') {
            buf_addf(text, " (the bucket is in region %s: use it and its endpoint)",
                     call->bucket_region);
        } else {
            buf_addstr(text, " (check region and endpoint)");
        }
        break;
    default:
        break;
    }
}

static void describe(struct s3_call *call, enum s3_code code, const char *name, const char *message)
{
    const struct objstore_request *request = call->request;
    CLEANUP(buf_done) struct buf text = BUF_INIT(2048);

    buf_addf(&text, "%s", objstore_op_name(request->op));
    if (request->bucket != NULL) {
        buf_addf(&text, " '%s%s%.120s'", request->bucket, request->key != NULL ? "/" : "",
                 request->key != NULL ? request->key : "");
    }
    buf_addf(&text, ": %.60s: %.160s", name, message);
    add_hint(call, code, &text);
    (void)error_set(&call->result.error, call->result.status, "%s", buf_str(&text));
}

void s3_reply_failure(struct s3_call *call, enum s3_code *ret_code)
{
    struct s3_xml_doc *doc = NULL;
    bool known = buf_len(&call->reply) > 0 &&
                 s3_xml_parse(buf_str(&call->reply), buf_len(&call->reply), &doc, NULL) == 0 &&
                 doc->root == S3_XML_ERROR;
    enum s3_code code = known ? s3_code_from_name(slice_of(doc->code), call->http_status)
                              : s3_code_from_status(call->http_status);

    if (known && doc->region[0] != '\0' && call->bucket_region[0] == '\0') {
        copy_text(slice_of(doc->region), call->bucket_region, sizeof(call->bucket_region));
    }
    if (!known && code == S3_NO_SUCH_KEY &&
        (call->request->key == NULL || call->request->op == OBJSTORE_BUCKET_HEAD)) {
        code = S3_NO_SUCH_BUCKET;
    }
    if (code == S3_OK) {
        code = S3_INTERNAL_ERROR;
    }
    call->result.status = status_of(call, code);
    call->result.s3_code = (int)code;
    if (known) {
        describe(call, code, doc->code, doc->message);
    } else if (call->http_status < 300) {
        describe(call, code, "the answer is not S3's", "is the endpoint the right one?");
    } else {
        char status[32];

        (void)snprintf(status, sizeof(status), "HTTP status %d", call->http_status);
        describe(call, code, status, s3_code_message(code));
    }
    s3_xml_doc_free(doc);
    *ret_code = code;
}
