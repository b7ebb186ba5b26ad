/* SPDX-License-Identifier: Apache-2.0 */
/* Tags of objects, and the documents that configure a bucket. */
#include <string.h>
#include <strings.h>

#include "s3/tags.h"
#include "s3proxy/call.h"

#define EMPTY(root)                                                                                \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<" root                                           \
    " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>"

static const char payer[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                            "<RequestPaymentConfiguration "
                            "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                            "<Payer>BucketOwner</Payer></RequestPaymentConfiguration>";

static const struct absent {
    enum s3_code code;
    const char *text;
} absent[OBJSTORE_DOC_COUNT] = {
    [OBJSTORE_DOC_POLICY] = {S3_NO_SUCH_BUCKET_POLICY, NULL},
    [OBJSTORE_DOC_CORS] = {S3_NO_SUCH_CORS_CONFIGURATION, NULL},
    [OBJSTORE_DOC_TAGGING] = {S3_NO_SUCH_TAG_SET, NULL},
    [OBJSTORE_DOC_OWNERSHIP] = {S3_OWNERSHIP_CONTROLS_NOT_FOUND, NULL},
    [OBJSTORE_DOC_VERSIONING] = {S3_OK, EMPTY("VersioningConfiguration")},
    [OBJSTORE_DOC_PUBLIC_ACCESS_BLOCK] = {S3_NO_SUCH_PUBLIC_ACCESS_BLOCK, NULL},
    [OBJSTORE_DOC_ACCELERATE] = {S3_OK, EMPTY("AccelerateConfiguration")},
    [OBJSTORE_DOC_ENCRYPTION] = {S3_ENCRYPTION_NOT_FOUND, NULL},
    [OBJSTORE_DOC_LIFECYCLE] = {S3_NO_SUCH_LIFECYCLE_CONFIGURATION, NULL},
    [OBJSTORE_DOC_LOGGING] = {S3_OK, EMPTY("BucketLoggingStatus")},
    [OBJSTORE_DOC_NOTIFICATION] = {S3_OK, EMPTY("NotificationConfiguration")},
    [OBJSTORE_DOC_OBJECT_LOCK] = {S3_OBJECT_LOCK_NOT_FOUND, NULL},
    [OBJSTORE_DOC_REPLICATION] = {S3_REPLICATION_NOT_FOUND, NULL},
    [OBJSTORE_DOC_REQUEST_PAYMENT] = {S3_OK, payer},
    [OBJSTORE_DOC_WEBSITE] = {S3_NO_SUCH_WEBSITE_CONFIGURATION, NULL},
};

enum s3_code call_doc_absent(enum objstore_doc doc, const char **ret_text)
{
    *ret_text = absent[doc].text;
    return absent[doc].code;
}

static int keep_tags(struct call *call, const struct s3_tags *tags, struct s3_fault *fault)
{
    struct buf text = BUF_INIT(S3_TAGS_TEXT_MAX);
    int ret = s3_tags_check(tags, S3_TAGS_OF_OBJECT, fault);

    s3_tags_to_query(&text, tags);
    call->op.tags = arena_strdup(&call->arena, buf_str(&text));
    if (ret == 0 && (call->op.tags == NULL || buf_error(&text) != 0)) {
        ret = s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    buf_done(&text);
    return ret;
}

int call_tag_headers(struct call *call, struct s3_fault *fault)
{
    struct slice directive = s3_message_header(&call->message, "x-amz-tagging-directive");
    struct slice text = s3_message_header(&call->message, "x-amz-tagging");
    bool replace = directive.len == 7 && strncasecmp(directive.data, "REPLACE", 7) == 0;
    struct s3_tags tags;
    int ret;

    if (directive.data != NULL && !replace &&
        !(directive.len == 4 && strncasecmp(directive.data, "COPY", 4) == 0)) {
        return s3_fault_argument(fault, "x-amz-tagging-directive", directive,
                                 "Unknown tagging directive.");
    }
    call->op.replace_tags = call->op.op == OBJSTORE_COPY && replace;
    if (text.data == NULL || (call->op.op == OBJSTORE_COPY && !replace)) {
        return 0;
    }
    ret = s3_tags_from_query(text, &call->arena, &tags, fault);
    return ret == 0 ? keep_tags(call, &tags, fault) : ret;
}

int call_tag_field(struct call *call, const char *xml, struct s3_fault *fault)
{
    struct s3_tags tags;
    int ret;

    if (xml == NULL) {
        return 0;
    }
    ret = s3_tags_from_xml(xml, strlen(xml), &call->arena, &tags, fault);
    return ret == 0 ? keep_tags(call, &tags, fault) : ret;
}

static int parse_tags(struct call *call, struct s3_fault *fault)
{
    struct s3_tags tags;
    int ret = call_digests(call, fault);

    ret = ret == 0 ? s3_tags_from_xml(buf_str(&call->body), buf_len(&call->body), &call->arena,
                                      &tags, fault)
                   : ret;
    return ret == 0 ? keep_tags(call, &tags, fault) : ret;
}

static void format_tags(struct call *call, const struct objstore_result *result)
{
    struct s3_tags tags;

    if (s3_tags_from_query(slice_of(result->tags), &call->arena, &tags, NULL) != 0) {
        call_fault(call, S3_INTERNAL_ERROR, "");
        reply_fault(call);
        return;
    }
    s3_tags_to_xml(&call->reply.body, &tags);
    reply_version(call, "x-amz-version-id", result->info.version_id);
    reply_xml(&call->reply);
}

static void format_tags_put(struct call *call, const struct objstore_result *result)
{
    reply_version(call, "x-amz-version-id", result->info.version_id);
    call->reply.status = 200;
}

int call_route_tags(struct call *call, struct s3_fault *fault)
{
    struct slice method = call->message.method;

    if (slice_eq_str(method, "GET")) {
        call->op.op = OBJSTORE_TAGS_GET;
        call->format = format_tags;
        return 0;
    }
    if (slice_eq_str(method, "DELETE")) {
        call->op.op = OBJSTORE_TAGS_DELETE;
        call->format = format_removed;
        return 0;
    }
    call->op.op = OBJSTORE_TAGS_PUT;
    call->body_kind = CALL_BODY_MEMORY;
    call->parse = parse_tags;
    call->format = format_tags_put;
    return slice_eq_str(method, "PUT") ? 0 : s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
}

/* ---- documents of a bucket ---- */

static int keep_document(struct call *call, struct buf *text, struct s3_fault *fault)
{
    call->op.document = buf_error(text) == 0 ? arena_strdup(&call->arena, buf_str(text)) : NULL;
    return call->op.document != NULL ? 0 : s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
}

/* Kept as we would write it. */
static int parse_bucket_tags(struct call *call, struct s3_fault *fault)
{
    struct buf text = BUF_INIT(OBJSTORE_DOC_MAX);
    struct s3_tags tags;
    int ret = call_digests(call, fault);

    ret = ret == 0 ? s3_tags_from_xml(buf_str(&call->body), buf_len(&call->body), &call->arena,
                                      &tags, fault)
                   : ret;
    ret = ret == 0 ? s3_tags_check(&tags, S3_TAGS_OF_BUCKET, fault) : ret;
    if (ret == 0) {
        s3_tags_to_xml(&text, &tags);
        ret = keep_document(call, &text, fault);
    }
    buf_done(&text);
    return ret;
}

/* Of the three kinds only the one without ACLs is there. */
static int parse_ownership(struct call *call, struct s3_fault *fault)
{
    struct buf text = BUF_INIT(1024);
    const char *kind;
    int ret = call_xml(call, S3_XML_OWNERSHIP, fault);

    if (ret != 0) {
        return ret;
    }
    kind = call->doc->count == 1 ? call->doc->items[0].value : "";
    if (strcmp(kind, "ObjectWriter") == 0 || strcmp(kind, "BucketOwnerPreferred") == 0) {
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "the owner of a bucket owns its objects");
    }
    if (strcmp(kind, "BucketOwnerEnforced") != 0) {
        return s3_fault_set(fault, S3_MALFORMED_XML, "%s", "");
    }
    buf_addf(&text,
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<OwnershipControls "
             "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule><ObjectOwnership>%s"
             "</ObjectOwnership></Rule></OwnershipControls>",
             kind);
    ret = keep_document(call, &text, fault);
    buf_done(&text);
    return ret;
}

static void format_doc(struct call *call, const struct objstore_result *result)
{
    buf_addstr(&call->reply.body, result->document);
    reply_xml(&call->reply);
    if (call->op.doc == OBJSTORE_DOC_POLICY) {
        call->reply.content_type = "application/json";
    }
}

static int route_change(struct call *call, struct s3_fault *fault)
{
    static int (*const parsers[OBJSTORE_DOC_COUNT])(struct call *, struct s3_fault *) = {
        [OBJSTORE_DOC_POLICY] = call_parse_policy,
        [OBJSTORE_DOC_CORS] = call_parse_cors,
        [OBJSTORE_DOC_TAGGING] = parse_bucket_tags,
        [OBJSTORE_DOC_OWNERSHIP] = parse_ownership,
        [OBJSTORE_DOC_VERSIONING] = call_parse_versioning,
        [OBJSTORE_DOC_PUBLIC_ACCESS_BLOCK] = call_parse_public_access,
    };
    enum objstore_doc doc = call->op.doc;
    bool put = slice_eq_str(call->message.method, "PUT");
    bool silent = doc == OBJSTORE_DOC_TAGGING || doc == OBJSTORE_DOC_POLICY;

    if (!put && !slice_eq_str(call->message.method, "DELETE")) {
        return s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
    }
    if (doc == OBJSTORE_DOC_VERSIONING && !put) {
        return s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
    }
    if (parsers[doc] == NULL && call_route_absent(call) == 0) {
        return 0;
    }
    if (parsers[doc] == NULL || call_has(call, "policyStatus") ||
        (doc == OBJSTORE_DOC_PUBLIC_ACCESS_BLOCK &&
         !stores_embedded(&call->server->stores, call->op.bucket))) {
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "%s cannot be changed here",
                            objstore_doc_name(doc));
    }
    call->op.op = put ? OBJSTORE_BUCKET_DOC_PUT : OBJSTORE_BUCKET_DOC_DELETE;
    call->format = put && !silent ? format_empty : format_deleted;
    if (put) {
        call->body_kind = CALL_BODY_MEMORY;
        call->parse = parsers[doc];
    }
    return 0;
}

enum objstore_doc call_doc_asked(struct call *call)
{
    int doc = call->query.len > 0 ? 0 : OBJSTORE_DOC_COUNT;

    while (doc < OBJSTORE_DOC_COUNT && !call_has(call, objstore_doc_name((enum objstore_doc)doc))) {
        doc++;
    }
    return doc == OBJSTORE_DOC_COUNT && call->query.len > 0 && call_has(call, "policyStatus")
               ? OBJSTORE_DOC_POLICY
               : (enum objstore_doc)doc;
}

int call_route_doc(struct call *call, struct s3_fault *fault)
{
    call->op.doc = call_doc_asked(call);
    if (call->op.doc == OBJSTORE_DOC_COUNT) {
        return 1;
    }
    if (!slice_eq_str(call->message.method, "GET")) {
        return route_change(call, fault);
    }
    call->op.op = OBJSTORE_BUCKET_DOC_GET;
    call->format = call_has(call, "policyStatus") ? call_format_policy_status : format_doc;
    return 0;
}
