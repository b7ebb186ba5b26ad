/* SPDX-License-Identifier: Apache-2.0 */
/* Versions of objects: which one a request names, their listing, and what replies tell of them. */
#include <stdio.h>
#include <string.h>

#include "s3/xml.h"
#include "s3proxy/call.h"

/* Sorts behind all keys that are Skyvol's own. */
#define BEHIND_OWN ".skyvol/\xf4\x8f\xbf\xbf"

int call_version(struct call *call, struct s3_fault *fault)
{
    const char *version = call_query(call, "versionId");
    struct slice method = call->message.method;
    bool upload = call_has(call, "uploads") || call_has(call, "uploadId");
    bool put = slice_eq_str(method, "PUT") && !call_has(call, "tagging") && !call_has(call, "acl");

    call->op.version_id = version;
    if (version == NULL) {
        return 0;
    }
    if (upload || put || slice_eq_str(method, "POST")) {
        return s3_fault_argument(fault, "versionId", slice_of(version),
                                 "This operation does not accept a version-id.");
    }
    if (version[0] == '\0') {
        return s3_fault_argument(fault, "versionId", slice_of(version),
                                 "Version id cannot be the empty string");
    }
    return strlen(version) < OBJSTORE_VERSION_MAX
               ? 0
               : s3_fault_argument(fault, "versionId", slice_of(version),
                                   "Invalid version id specified");
}

void reply_version(struct call *call, const char *name, const char *version)
{
    if (version[0] != '\0') {
        reply_header(&call->reply, name, version);
    }
}

void reply_made(struct call *call, const struct objstore_result *result)
{
    if (strcmp(result->info.version_id, "null") != 0) {
        reply_version(call, "x-amz-version-id", result->info.version_id);
    }
}

void reply_marker(struct call *call, const struct objstore_result *result)
{
    char time[S3_HTTP_DATE_SIZE];

    if (!result->delete_marker) {
        return;
    }
    reply_header(&call->reply, "x-amz-delete-marker", "true");
    reply_version(call, "x-amz-version-id", result->info.version_id);
    if (call->reply.status == 405) {
        reply_header(&call->reply, "Allow", "DELETE");
    }
    if (call->reply.status == 405 && result->info.mtime_ns > 0) { /* which nginx leaves out */
        s3_http_date_format(result->info.mtime_ns / 1000000000, time);
        reply_header(&call->reply, "Last-Modified", time);
    }
}

void format_removed(struct call *call, const struct objstore_result *result)
{
    call->reply.status = 204;
    if (result->delete_marker) {
        reply_header(&call->reply, "x-amz-delete-marker", "true");
    }
    reply_version(call, "x-amz-version-id", result->info.version_id);
}

/* ---- the listing ---- */

static void add_entry(struct call *call, const struct objstore_entry *e)
{
    const struct s3_xml_key key = {
        .key = e->key,
        .size = e->info.size,
        .etag = e->info.etag,
        .mtime_ns = e->info.mtime_ns,
        .checksum = (enum s3_checksum_kind)e->info.checksum.kind,
        .composite = e->info.checksum.composite,
        .storage_class = e->info.meta.storage_class,
        .version_id = e->info.version_id,
        .latest = e->latest,
        .delete_marker = e->delete_marker,
    };

    if (e->prefix) {
        s3_xml_list_prefix(&call->reply.body, &call->list, e->key);
    } else {
        s3_xml_list_key(&call->reply.body, &call->list, &key);
    }
}

static void format_versions(struct call *call, const struct objstore_result *result)
{
    struct s3_xml_list *list = &call->list;

    if (!call_can_list_keys(call, result)) {
        return;
    }
    list->truncated = result->truncated && list->max_keys > 0;
    list->owner_id = call_owner(call, result);
    list->owner_name = call_owner_name(call, result);
    if (list->truncated) {
        list->next_marker = result->next_marker;
        list->next_marker2 = result->next_marker2;
        if (list->next_marker != NULL && strncmp(list->next_marker, ".skyvol/", 8) == 0 &&
            call_hidden(call, list->next_marker)) {
            list->next_marker = BEHIND_OWN; /* not a name of what is hidden */
            list->next_marker2 = NULL;
        }
    }
    s3_xml_list_begin(&call->reply.body, list);
    for (size_t i = 0; i < result->count && list->max_keys > 0; i++) {
        if (!call_hidden(call, result->entries[i].key)) {
            add_entry(call, &result->entries[i]);
        }
    }
    s3_xml_list_end(&call->reply.body, list);
    reply_xml(&call->reply);
}

int call_route_versions(struct call *call, struct s3_fault *fault)
{
    struct s3_xml_list *list = &call->list;
    const char *prefix = call_query(call, "prefix");
    int ret = call_encoding(call, &list->encode_url, fault);

    ret = ret == 0 ? call_number(call, "max-keys", OBJSTORE_BATCH_MAX, OBJSTORE_BATCH_MAX,
                                 &list->max_keys, fault)
                   : ret;
    list->kind = S3_XML_LIST_VERSIONS;
    list->bucket = call->target.bucket;
    list->prefix = prefix != NULL ? prefix : "";
    list->delimiter = call_delimiter(call);
    list->marker = call_query(call, "key-marker");
    list->marker2 = call_query(call, "version-id-marker");
    if (list->marker2 != NULL && list->marker2[0] == '\0') {
        list->marker2 = NULL; /* as the first page of all is asked for by some */
    }
    if (ret == 0 && list->marker2 != NULL && (list->marker == NULL || list->marker[0] == '\0')) {
        return s3_fault_argument(fault, "version-id-marker", slice_of(list->marker2),
                                 "A version-id marker cannot be specified without a key marker.");
    }
    call->op.op = OBJSTORE_LIST_VERSIONS;
    call->op.key = list->prefix;
    call->op.delimiter = list->delimiter;
    call->op.marker = list->marker;
    call->op.marker2 = list->marker2;
    call->op.max_entries = list->max_keys > 0 ? list->max_keys : 1;
    call->format = format_versions;
    return ret;
}

/* ---- the bucket's state ---- */

int call_parse_versioning(struct call *call, struct s3_fault *fault)
{
    struct buf text = BUF_INIT(1024);
    int ret = call_xml(call, S3_XML_VERSIONING, fault);
    const char *status = ret == 0 ? call->doc->status : "";

    if (ret != 0) {
        return ret;
    }
    if (strcmp(call->doc->mfa_delete, "Enabled") == 0) {
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "MFA Delete is not implemented");
    }
    if (status[0] == '\0') {
        return s3_fault_set(fault, S3_ILLEGAL_VERSIONING_CONFIGURATION,
                            "The Versioning element must be specified");
    }
    if (strcmp(status, "Enabled") != 0 && strcmp(status, "Suspended") != 0) {
        return s3_fault_set(fault, S3_MALFORMED_XML, "%s", "");
    }
    s3_xml_versioning(&text, status);
    call->op.document = buf_error(&text) == 0 ? arena_strdup(&call->arena, buf_str(&text)) : NULL;
    buf_done(&text);
    return call->op.document != NULL ? 0 : s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
}
