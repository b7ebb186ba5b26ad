/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One pass of expat. The names of the open elements form a stack; when an element closes, its text
 * goes where the table below says: to the item that is open (a child of the root that repeats) or
 * to the document. Strings live in the document's arena.
 */
#include "s3/xml_parse.h"

#include <errno.h>
#include <expat.h>
#include <stdlib.h>

#include "s3/conditions.h"
#include "util/arena.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/container.h"
#include "util/encode.h"

/* Text is at most the body's, and once more when names are decoded. */
enum { DEPTH_MAX = 16, ARENA_MAX = 3 * S3_XML_BODY_MAX };

struct document {
    struct s3_xml_doc doc;
    struct arena arena;
    size_t cap; /* of doc.items */
};

struct reader {
    XML_Parser parser;
    struct document *document;
    struct buf text; /* of the innermost element */
    unsigned int depth;
    unsigned int item_depth; /* depth of the open item; 0: none */
    bool url;                /* EncodingType url was seen */
    int error;
    const char *what;
};

static const struct {
    const char *name;
    enum s3_xml_root root;
} roots[] = {
    {"Error", S3_XML_ERROR},
    {"ListAllMyBucketsResult", S3_XML_BUCKETS},
    {"ListBucketResult", S3_XML_LIST},
    {"ListVersionsResult", S3_XML_VERSIONS},
    {"LocationConstraint", S3_XML_LOCATION},
    {"ListMultipartUploadsResult", S3_XML_UPLOADS},
    {"ListPartsResult", S3_XML_PARTS},
    {"InitiateMultipartUploadResult", S3_XML_CREATED},
    {"CompleteMultipartUploadResult", S3_XML_COMPLETED},
    {"CopyObjectResult", S3_XML_COPIED},
    {"CopyPartResult", S3_XML_COPIED},
    {"DeleteResult", S3_XML_DELETED},
    {"Delete", S3_XML_DELETE},
    {"CompleteMultipartUpload", S3_XML_COMPLETE},
    {"CreateBucketConfiguration", S3_XML_CREATE_BUCKET},
    {"VersioningConfiguration", S3_XML_VERSIONING},
    {"Tagging", S3_XML_TAGGING},
    {"OwnershipControls", S3_XML_OWNERSHIP},
};

/* Elements that repeat, in which document, and what they become. */
static const struct {
    const char *name;
    enum s3_xml_root root;
    enum s3_xml_item_kind kind;
} item_elements[] = {
    {"Bucket", S3_XML_BUCKETS, S3_XML_KEY},
    {"Contents", S3_XML_LIST, S3_XML_KEY},
    {"CommonPrefixes", S3_XML_LIST, S3_XML_PREFIX},
    {"Version", S3_XML_VERSIONS, S3_XML_KEY},
    {"DeleteMarker", S3_XML_VERSIONS, S3_XML_MARKER},
    {"CommonPrefixes", S3_XML_VERSIONS, S3_XML_PREFIX},
    {"Upload", S3_XML_UPLOADS, S3_XML_KEY},
    {"CommonPrefixes", S3_XML_UPLOADS, S3_XML_PREFIX},
    {"Part", S3_XML_PARTS, S3_XML_PART},
    {"Deleted", S3_XML_DELETED, S3_XML_KEY},
    {"Error", S3_XML_DELETED, S3_XML_FAILURE},
    {"Object", S3_XML_DELETE, S3_XML_KEY},
    {"Part", S3_XML_COMPLETE, S3_XML_PART},
    {"Tag", S3_XML_TAGGING, S3_XML_TAG},
    {"Tag", S3_XML_CREATE_BUCKET, S3_XML_TAG},
    {"Rule", S3_XML_OWNERSHIP, S3_XML_RULE},
};

static void reader_fail(struct reader *reader, int error, const char *what)
{
    if (reader->error == 0) {
        reader->error = error;
        reader->what = what;
        (void)XML_StopParser(reader->parser, XML_FALSE);
    }
}

/* Keep a copy as long as the document. */
static const char *keep(struct reader *reader, struct slice value)
{
    const char *copy =
        arena_strndup(&reader->document->arena, value.data != NULL ? value.data : "", value.len);

    if (copy == NULL) {
        reader_fail(reader, -ENOMEM, "");
        return "";
    }
    return copy;
}

static struct slice without_quotes(struct slice s)
{
    return s.len >= 2 && s.data[0] == '"' && s.data[s.len - 1] == '"'
               ? (struct slice){s.data + 1, s.len - 2}
               : s;
}

static uint64_t to_number(struct reader *reader, struct slice s)
{
    uint64_t value = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9' || __builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.data[i] - '0'), &value)) {
            reader_fail(reader, -EINVAL, "a number is none");
            return 0;
        }
    }
    if (s.len == 0) {
        reader_fail(reader, -EINVAL, "a number is empty");
    }
    return value;
}

static int64_t to_time(struct reader *reader, struct slice s)
{
    int64_t time_ns = 0;

    if (s3_iso_date_parse(s, &time_ns) < 0) {
        reader_fail(reader, -EINVAL, "a date is none");
    }
    return time_ns;
}

/* What a client completes with may be below zero, which is no broken XML but a number that no part
 * has: 0 stands for it. */
static uint32_t to_part_number(struct reader *reader, struct slice s)
{
    uint64_t number;

    if (reader->document->doc.root == S3_XML_COMPLETE && s.len > 1 && s.data[0] == '-') {
        (void)to_number(reader, (struct slice){s.data + 1, s.len - 1});
        return 0;
    }
    number = to_number(reader, s);
    return number <= UINT32_MAX ? (uint32_t)number : UINT32_MAX;
}

/* Conditions of a deletion come as HTTP dates, too. */
static int64_t to_any_time(struct reader *reader, struct slice s)
{
    int64_t time_s = 0;

    return s3_http_date_parse(s, &time_s) == 0 ? time_s * 1000000000 : to_time(reader, s);
}

static bool is(const char *name, const char *other)
{
    return strcmp(name, other) == 0;
}

static bool take_checksum(struct reader *reader, const char *name, struct slice text,
                          enum s3_checksum_kind *ret_kind, const char **ret_value)
{
    struct slice rest = slice_of(name);
    enum s3_checksum_kind kind;

    if (!slice_starts_with(rest, slice_of("Checksum"))) {
        return false;
    }
    rest = (struct slice){rest.data + 8, rest.len - 8};
    if (slice_eq_str(rest, "Algorithm")) {
        kind = s3_checksum_from_name(text);
        *ret_kind = *ret_kind == S3_CHECKSUM_NONE ? kind : *ret_kind;
        return true;
    }
    kind = s3_checksum_from_name(rest);
    if (kind != S3_CHECKSUM_NONE) {
        *ret_kind = kind;
        *ret_value = keep(reader, text);
    }
    return kind != S3_CHECKSUM_NONE;
}

static void set_item(struct reader *reader, struct s3_xml_item *item, const char *name,
                     struct slice text)
{
    bool prefix = item->kind == S3_XML_PREFIX;

    if (is(name, prefix ? "Prefix" : "Key") ||
        (reader->document->doc.root == S3_XML_BUCKETS && is(name, "Name"))) {
        item->key = keep(reader, text);
    } else if (is(name, "VersionId")) {
        item->version_id = keep(reader, text);
    } else if (is(name, "DeleteMarkerVersionId")) {
        item->marker_id = keep(reader, text);
    } else if (is(name, "UploadId")) {
        item->upload_id = keep(reader, text);
    } else if (is(name, "ETag")) {
        item->etag = keep(reader, without_quotes(text));
    } else if (is(name, "StorageClass")) {
        item->storage_class = keep(reader, text);
    } else if (is(name, "Value") || is(name, "ObjectOwnership")) {
        item->value = keep(reader, text);
    } else if (is(name, "Code")) {
        item->code = keep(reader, text);
    } else if (is(name, "Message")) {
        item->message = keep(reader, text);
    } else if (is(name, "Size")) {
        item->size = to_number(reader, text);
        item->has_size = true;
    } else if (is(name, "PartNumber")) {
        item->number = to_part_number(reader, text);
        item->value = keep(reader, text);
    } else if (is(name, "LastModified") || is(name, "Initiated") || is(name, "CreationDate")) {
        item->time_ns = to_time(reader, text);
    } else if (is(name, "LastModifiedTime")) {
        item->time_ns = to_any_time(reader, text);
        item->has_time = true;
    } else if (is(name, "ChecksumType")) {
        item->composite = slice_eq_str(text, "COMPOSITE");
    } else if (is(name, "DeleteMarker")) {
        item->marker = slice_eq_str(text, "true");
    } else if (is(name, "IsLatest")) {
        item->latest = slice_eq_str(text, "true");
    } else {
        const char *before = item->checksum;

        (void)take_checksum(reader, name, text, &item->checksum_kind, &item->checksum);
        item->checksums += item->checksum != before ? 1 : 0;
    }
}

static void set_flag(struct reader *reader, const char *name, struct slice text)
{
    struct s3_xml_doc *doc = &reader->document->doc;

    if (is(name, "IsTruncated")) {
        doc->truncated = slice_eq_str(text, "true");
    } else if (is(name, "Quiet")) {
        doc->quiet = slice_eq_str(text, "true");
    } else if (is(name, "TagSet")) {
        doc->tag_set = true;
    } else if (is(name, "EncodingType")) {
        reader->url = slice_eq_str(text, "url");
    } else if (is(name, "LastModified")) {
        doc->time_ns = to_time(reader, text);
    } else if (is(name, "ChecksumType")) {
        doc->composite = slice_eq_str(text, "COMPOSITE");
    } else {
        (void)take_checksum(reader, name, text, &doc->checksum_kind, &doc->checksum);
    }
}

/* A child of the root that is not an item. */
static void set_document(struct reader *reader, const char *name, struct slice text)
{
    struct s3_xml_doc *doc = &reader->document->doc;
    const struct {
        const char *name;
        const char **member;
    } strings[] = {
        {"Name", &doc->bucket},
        {"Bucket", &doc->bucket},
        {"BucketName", &doc->bucket},
        {"Key", &doc->key},
        {"UploadId", &doc->upload_id},
        {"NextContinuationToken", &doc->next_token},
        {"NextMarker", &doc->next_marker},
        {"NextKeyMarker", &doc->next_marker},
        {"NextPartNumberMarker", &doc->next_marker},
        {"NextVersionIdMarker", &doc->next_marker2},
        {"NextUploadIdMarker", &doc->next_marker2},
        {"LocationConstraint", &doc->location},
        {"Region", &doc->region},
        {"Endpoint", &doc->endpoint},
        {"Code", &doc->code},
        {"Message", &doc->message},
        {"Status", &doc->status},
        {"MfaDelete", &doc->mfa_delete},
    };

    if (is(name, "ETag")) {
        doc->etag = keep(reader, without_quotes(text));
        return;
    }
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        if (is(name, strings[i].name)) {
            *strings[i].member = keep(reader, text);
            return;
        }
    }
    set_flag(reader, name, text);
}

/* Room for one more entry in an array that doubles. */
static int grow_items(struct document *document)
{
    struct s3_xml_item *items;
    size_t cap = document->cap > 0 ? document->cap * 2 : 64;

    if (document->doc.count < document->cap) {
        return 0;
    }
    items = arena_array(&document->arena, cap, sizeof(*items));
    if (items == NULL) {
        return -ENOMEM;
    }
    if (document->doc.count > 0) {
        memcpy(items, document->doc.items, document->doc.count * sizeof(*items));
    }
    document->doc.items = items;
    document->cap = cap;
    return 0;
}

static bool add_item(struct reader *reader, enum s3_xml_item_kind kind)
{
    struct s3_xml_doc *doc = &reader->document->doc;

    if (doc->count == S3_XML_ITEMS_MAX) {
        reader_fail(reader, -EINVAL, "too many entries");
        return false;
    }
    if (grow_items(reader->document) < 0) {
        reader_fail(reader, -ENOMEM, "");
        return false;
    }
    doc->items[doc->count++] = (struct s3_xml_item){.kind = kind,
                                                    .key = "",
                                                    .version_id = "",
                                                    .marker_id = "",
                                                    .upload_id = "",
                                                    .etag = "",
                                                    .storage_class = "",
                                                    .code = "",
                                                    .message = "",
                                                    .checksum = "",
                                                    .value = ""};
    return true;
}

static void open_root(struct reader *reader, const char *name)
{
    for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
        if (is(name, roots[i].name)) {
            reader->document->doc.root = roots[i].root;
            return;
        }
    }
    reader_fail(reader, -EINVAL, "the root element is not known");
}

static void XMLCALL on_open(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *reader = arg;
    const char *colon = strrchr(name, ':');
    enum s3_xml_root root = reader->document->doc.root;
    bool deeper = root == S3_XML_BUCKETS || root == S3_XML_TAGGING || root == S3_XML_CREATE_BUCKET;

    (void)attributes;
    name = colon != NULL ? colon + 1 : name;
    buf_reset(&reader->text);
    if (reader->depth == DEPTH_MAX) {
        reader_fail(reader, -EINVAL, "elements are nested too deep");
        return;
    }
    reader->depth++;
    if (reader->depth == 1) {
        open_root(reader, name);
        return;
    }
    /* Items are children of the root; only buckets and tags lie one deeper. */
    if (reader->item_depth == 0 && reader->depth == (deeper ? 3U : 2U)) {
        for (size_t i = 0; i < sizeof(item_elements) / sizeof(item_elements[0]); i++) {
            if (item_elements[i].root == root && is(name, item_elements[i].name)) {
                if (add_item(reader, item_elements[i].kind)) {
                    reader->item_depth = reader->depth;
                }
                return;
            }
        }
    }
}

static void XMLCALL on_close(void *arg, const XML_Char *name)
{
    struct reader *reader = arg;
    struct s3_xml_doc *doc = &reader->document->doc;
    const char *colon = strrchr(name, ':');
    struct slice text = {buf_str(&reader->text), buf_len(&reader->text)};

    name = colon != NULL ? colon + 1 : name;
    if (buf_error(&reader->text) < 0) {
        reader_fail(reader, buf_error(&reader->text) == -EFBIG ? -EINVAL : -ENOMEM,
                    "a text is too long");
        return;
    }
    if (reader->item_depth != 0 && reader->depth == reader->item_depth) {
        reader->item_depth = 0;
    } else if (reader->item_depth != 0 && reader->depth == reader->item_depth + 1) {
        set_item(reader, &doc->items[doc->count - 1], name, text);
    } else if (reader->item_depth == 0 && reader->depth == 2) {
        set_document(reader, name, text);
    } else if (reader->depth == 1 && doc->root == S3_XML_LOCATION) {
        doc->location = keep(reader, text);
    }
    reader->depth--;
    buf_reset(&reader->text);
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int len)
{
    struct reader *reader = arg;

    buf_add(&reader->text, text, (size_t)len);
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
                               const XML_Char *public_id, int has_internal)
{
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)has_internal;
    reader_fail(arg, -EINVAL, "a document type is not allowed");
}

/* The strings that encoding-type=url makes percent-encoded. */
static void decode_names(struct reader *reader)
{
    struct s3_xml_doc *doc = &reader->document->doc;
    CLEANUP(buf_done) struct buf plain = BUF_INIT(S3_XML_TEXT_MAX);

    for (size_t i = 0; i <= doc->count && reader->error == 0; i++) {
        const char **name = i < doc->count ? &doc->items[i].key : &doc->next_marker;

        buf_reset(&plain);
        if (decode_percent(&plain, slice_of(*name), true) < 0) {
            reader_fail(reader, -EINVAL, "a name is not properly encoded");
            return;
        }
        if (!slice_eq_str((struct slice){buf_str(&plain), buf_len(&plain)}, *name)) {
            *name = keep(reader, (struct slice){buf_str(&plain), buf_len(&plain)});
        }
    }
}

static struct document *new_document(void)
{
    struct document *document = calloc(1, sizeof(*document));

    if (document != NULL) {
        struct s3_xml_doc *doc = &document->doc;
        const char **const strings[] = {
            &doc->bucket, &doc->key,      &doc->upload_id, &doc->next_token,   &doc->next_marker,
            &doc->etag,   &doc->location, &doc->region,    &doc->next_marker2, &doc->endpoint,
            &doc->code,   &doc->message,  &doc->status,    &doc->checksum,     &doc->mfa_delete};

        for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
            *strings[i] = "";
        }
        document->arena.max = ARENA_MAX;
    }
    return document;
}

void s3_xml_doc_free(struct s3_xml_doc *doc)
{
    if (doc != NULL) {
        struct document *document = container_of(doc, struct document, doc);

        arena_done(&document->arena);
        free(document);
    }
}

static void read_all(struct reader *reader, const void *body, size_t len)
{
    XML_SetUserData(reader->parser, reader);
    XML_SetElementHandler(reader->parser, on_open, on_close);
    XML_SetCharacterDataHandler(reader->parser, on_text);
    XML_SetStartDoctypeDeclHandler(reader->parser, on_doctype);
    if (XML_Parse(reader->parser, body, (int)len, XML_TRUE) != XML_STATUS_OK &&
        reader->error == 0) {
        bool memory = XML_GetErrorCode(reader->parser) == XML_ERROR_NO_MEMORY;

        reader->error = memory ? -ENOMEM : -EINVAL;
        reader->what = XML_ErrorString(XML_GetErrorCode(reader->parser));
    }
    if (reader->error == 0 && reader->url) {
        decode_names(reader);
    }
}

int s3_xml_parse(const void *body, size_t len, struct s3_xml_doc **ret, struct s3_fault *fault)
{
    struct reader reader = {.text = BUF_INIT(S3_XML_TEXT_MAX)};

    if (len > S3_XML_BODY_MAX) {
        (void)s3_fault_set(fault, S3_MALFORMED_XML, "The XML is too long");
        return -EINVAL;
    }
    reader.document = new_document();
    reader.parser = XML_ParserCreate("UTF-8");
    if (reader.document == NULL || reader.parser == NULL) {
        reader.error = -ENOMEM;
    } else {
        read_all(&reader, body, len);
    }
    if (reader.parser != NULL) {
        XML_ParserFree(reader.parser);
    }
    buf_done(&reader.text);
    if (reader.error < 0) {
        (void)s3_fault_set(fault, reader.error == -ENOMEM ? S3_INTERNAL_ERROR : S3_MALFORMED_XML,
                           "The XML cannot be used: %s",
                           reader.what != NULL ? reader.what : "out of memory");
        if (reader.document != NULL) {
            s3_xml_doc_free(&reader.document->doc);
        }
        return reader.error;
    }
    *ret = &reader.document->doc;
    return 0;
}
