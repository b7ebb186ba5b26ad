/* SPDX-License-Identifier: Apache-2.0 */
/* Multipart uploads, but for the parts themselves, which come like objects. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "s3/xml.h"
#include "s3proxy/call.h"

static void format_upload(struct call *call, const struct objstore_result *result)
{
    const struct objstore_checksum *sum = &call->op.checksum;

    s3_xml_upload_created(&call->reply.body, call->op.bucket, call->op.key, result->upload_id);
    if (sum->kind != OBJSTORE_CHECKSUM_NONE) {
        reply_header(&call->reply, "x-amz-checksum-algorithm",
                     s3_checksum_name((enum s3_checksum_kind)sum->kind));
        reply_header(&call->reply, "x-amz-checksum-type",
                     sum->composite ? "COMPOSITE" : "FULL_OBJECT");
    }
    reply_xml(&call->reply);
}

/* As a client would write it. */
static const char *location(struct call *call)
{
    struct slice host = s3_message_header(&call->message, "host"), path = call->message.path;
    size_t size = host.len + path.len + sizeof("https://");
    char *text = arena_alloc(&call->arena, size);

    if (text != NULL) {
        (void)snprintf(text, size, "%s%.*s%.*s", call->tls ? "https://" : "http://", (int)host.len,
                       host.data, (int)path.len, path.data);
    }
    return text;
}

static void format_completed(struct call *call, const struct objstore_result *result)
{
    struct s3_xml_completed completed = {
        .location = location(call),
        .bucket = call->op.bucket,
        .key = call->op.key,
        .etag = result->info.etag,
        .checksum_kind = (enum s3_checksum_kind)result->info.checksum.kind,
        .checksum = result->info.checksum.value,
        .composite = result->info.checksum.composite,
    };

    completed.checksum = call_checksum(call, &result->info);
    reply_made(call, result);
    s3_xml_completed(&call->reply.body, &completed);
    reply_xml(&call->reply);
}

static void format_parts(struct call *call, const struct objstore_result *result)
{
    struct s3_xml_uploads list = {
        .bucket = call->op.bucket,
        .key = call->op.key,
        .upload_id = call->op.upload_id,
        .max_entries = call->op.max_entries,
        .truncated = result->truncated,
        .owner_id = call_owner(call, result),
        .owner_name = call_owner_name(call, result),
        .checksum_kind = (enum s3_checksum_kind)result->info.checksum.kind,
        .composite = result->info.checksum.composite,
    };

    list.part_marker = call->op.marker != NULL ? (uint32_t)strtoul(call->op.marker, NULL, 10) : 0;
    if (result->truncated && result->next_marker != NULL) {
        list.next_part_marker = (uint32_t)strtoul(result->next_marker, NULL, 10);
    }
    s3_xml_parts_begin(&call->reply.body, &list);
    for (size_t i = 0; i < result->count; i++) {
        const struct objstore_part *p = &result->parts[i];
        const struct s3_xml_part part = {
            .number = p->number,
            .etag = p->etag,
            .size = p->size,
            .mtime_ns = p->mtime_ns,
            .checksum_kind = (enum s3_checksum_kind)p->checksum.kind,
            .checksum = p->checksum.value,
        };

        s3_xml_parts_entry(&call->reply.body, &part);
    }
    s3_xml_parts_end(&call->reply.body);
    reply_xml(&call->reply);
}

/* One entry by itself: what AWS's schema wants is MalformedXML, a number that no part can have is
 * none of the parts. */
static int check_part(const struct call *call, const struct s3_xml_item *item,
                      struct s3_fault *fault)
{
    if (item->etag[0] == '\0' || item->value[0] == '\0') {
        return s3_fault_set(fault, S3_MALFORMED_XML, "%s", "");
    }
    if (item->number < 1) {
        return s3_fault_argument(fault, "PartNumber", slice_of(item->value),
                                 "PartNumber must be >= 1");
    }
    if (item->checksums > 1 ||
        (item->checksum[0] != '\0' &&
         !s3_checksum_valid(item->checksum_kind, slice_of(item->checksum)))) {
        return s3_fault_argument(fault, "Checksum", slice_of(item->checksum),
                                 "Invalid Base64 or multiple checksums present in request");
    }
    if (item->number > OBJSTORE_PARTS_MAX) {
        (void)s3_fault_set(fault, S3_INVALID_PART, "%s", "");
        (void)s3_fault_detail(fault, "UploadId", slice_of(call->op.upload_id));
        (void)s3_fault_detail(fault, "PartNumber", slice_of(item->value));
        return s3_fault_detail(fault, "ETag", slice_of(item->etag));
    }
    return 0;
}

static int parse_complete(struct call *call, struct s3_fault *fault)
{
    struct objstore_part *parts;
    size_t i = 0;
    int ret = call_xml(call, S3_XML_COMPLETE, fault);

    if (ret != 0) {
        return ret;
    }
    parts = arena_array(&call->arena, call->doc->count + 1, sizeof(*parts));
    if (parts == NULL || call->doc->count == 0) {
        return s3_fault_set(fault, S3_MALFORMED_XML, "%s", "");
    }
    for (size_t k = 0; k < call->doc->count; k++) {
        const struct s3_xml_item *item = &call->doc->items[k];

        ret = check_part(call, item, fault);
        if (ret == 0 && i > 0 && item->number < parts[i - 1].number) {
            ret = s3_fault_set(fault, S3_INVALID_PART_ORDER, "%s", "");
        }
        if (ret != 0) {
            return ret;
        }
        i -= i > 0 && item->number == parts[i - 1].number; /* sent again: the last word counts */
        parts[i].number = item->number;
        parts[i].checksum.kind = (enum objstore_checksum_kind)item->checksum_kind;
        (void)snprintf(parts[i].etag, sizeof(parts[i].etag), "%s", item->etag);
        (void)snprintf(parts[i].checksum.value, sizeof(parts[i].checksum.value), "%s",
                       item->checksum);
        i++;
    }
    call->op.parts = parts;
    call->op.parts_count = i;
    return 0;
}

static bool word(struct slice value, const char *text)
{
    return value.len == strlen(text) && strncasecmp(value.data, text, value.len) == 0;
}

/* CRC64NVME is always of the whole object, SHA-1 and SHA-256 of the parts; by default, of the
 * parts. */
static int create_checksum(struct call *call, struct s3_fault *fault)
{
    struct slice type = s3_message_header(&call->message, "x-amz-checksum-type");
    struct objstore_checksum *sum = &call->op.checksum;
    bool composite = type.data != NULL ? word(type, "COMPOSITE")
                                       : sum->kind != OBJSTORE_CHECKSUM_NONE &&
                                             sum->kind != OBJSTORE_CHECKSUM_CRC64NVME;
    bool sha = sum->kind == OBJSTORE_CHECKSUM_SHA1 || sum->kind == OBJSTORE_CHECKSUM_SHA256;

    if (type.data != NULL &&
        (sum->kind == OBJSTORE_CHECKSUM_NONE || (!composite && !word(type, "FULL_OBJECT")) ||
         (composite && sum->kind == OBJSTORE_CHECKSUM_CRC64NVME) || (!composite && sha))) {
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "x-amz-checksum-type does not go with the algorithm");
    }
    sum->value[0] = '\0';
    sum->composite = composite;
    return 0;
}

static int complete_headers(struct call *call, struct s3_fault *fault)
{
    struct slice type = s3_message_header(&call->message, "x-amz-checksum-type");
    const char *size = call_header(call, "x-amz-mp-object-size");
    uint64_t *whole = arena_alloc(&call->arena, sizeof(*whole));
    char *end;

    if (type.data != NULL && !word(type, "COMPOSITE") && !word(type, "FULL_OBJECT")) {
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Value for x-amz-checksum-type header is invalid.");
    }
    call->op.check_composite = type.data != NULL;
    call->op.checksum.composite = type.data != NULL && word(type, "COMPOSITE");
    if (size == NULL || whole == NULL) {
        return 0;
    }
    errno = 0;
    *whole = strtoull(size, &end, 10);
    if (size[0] < '0' || size[0] > '9' || *end != '\0' || errno != 0) {
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Value for x-amz-mp-object-size header is invalid.");
    }
    call->op.whole_size = whole;
    return 0;
}

int call_route_upload(struct call *call, struct s3_fault *fault)
{
    struct slice method = call->message.method;
    int ret;

    if (call_has(call, "uploads")) {
        if (!slice_eq_str(method, "POST")) {
            return s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
        }
        call->op.op = OBJSTORE_UPLOAD_CREATE;
        call->format = format_upload;
        ret = call_put_headers(call, fault);
        ret = ret == 0 ? call_tag_headers(call, fault) : ret;
        return ret == 0 ? create_checksum(call, fault) : ret;
    }
    call->op.upload_id = call_query(call, "uploadId");
    if (slice_eq_str(method, "POST")) {
        call->op.op = OBJSTORE_UPLOAD_COMPLETE;
        call->body_kind = CALL_BODY_MEMORY;
        call->parse = parse_complete;
        call->format = format_completed;
        ret = call_put_headers(call, fault);
        call->op.content_md5 = NULL; /* it is of the XML */
        return ret == 0 ? complete_headers(call, fault) : ret;
    }
    if (slice_eq_str(method, "DELETE")) {
        call->op.op = OBJSTORE_UPLOAD_ABORT;
        call->format = format_deleted;
        return 0;
    }
    if (!slice_eq_str(method, "GET")) {
        return s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
    }
    call->op.op = OBJSTORE_UPLOAD_LIST_PARTS;
    call->op.marker = call_query(call, "part-number-marker");
    ret = call_number(call, "part-number-marker", 0, INT32_MAX, &call->op.max_entries, fault);
    if (ret != 0) {
        return ret;
    }
    call->format = format_parts;
    return call_number(call, "max-parts", OBJSTORE_BATCH_MAX, OBJSTORE_BATCH_MAX,
                       &call->op.max_entries, fault);
}
