/* SPDX-License-Identifier: Apache-2.0 */
/* Lists: the entries of a document become an array in the call's arena, in the order of bytes. */
#include <errno.h>
#include <stdlib.h>

#include "objstore/s3_private.h"

static void copy_text(const char *from, char *to, size_t size)
{
    size_t len = strlen(from);

    len = len < size ? len : size - 1;
    memcpy(to, from, len);
    to[len] = '\0';
}

/* NULL for "", so that a caller can pass it on as "none". */
static const char *keep_or_null(struct s3_call *call, const char *text)
{
    return text[0] != '\0' ? arena_strdup(&call->arena, text) : NULL;
}

static void out_of_memory(struct s3_call *call)
{
    call->result.status = error_set(&call->result.error, -ENOMEM, "out of memory for a list");
}

struct sortable {
    struct objstore_entry entry;
    size_t index; /* versions of one key keep the store's order */
};

static int compare_entries(const void *a, const void *b)
{
    const struct sortable *x = a;
    const struct sortable *y = b;
    int order = strcmp(x->entry.key, y->entry.key);

    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static int take_entry(struct s3_call *call, const struct s3_xml_item *item,
                      struct objstore_entry *entry)
{
    entry->key = arena_strdup(&call->arena, item->key);
    if (entry->key == NULL) {
        return -ENOMEM;
    }
    entry->prefix = item->kind == S3_XML_PREFIX;
    entry->delete_marker = item->kind == S3_XML_MARKER;
    entry->latest = item->latest;
    if (entry->prefix) {
        return 0;
    }
    entry->info.size = item->size;
    entry->info.mtime_ns = item->time_ns;
    entry->info.checksum.kind = (enum objstore_checksum_kind)item->checksum_kind;
    entry->info.checksum.composite = item->composite;
    copy_text(item->etag, entry->info.etag, sizeof(entry->info.etag));
    copy_text(item->version_id, entry->info.version_id, sizeof(entry->info.version_id));
    entry->info.meta.storage_class = keep_or_null(call, item->storage_class);
    return 0;
}

static void take_entries(struct s3_call *call, const struct s3_xml_doc *doc)
{
    struct sortable *sorted = calloc(doc->count + 1, sizeof(*sorted));
    struct objstore_entry *entries =
        arena_array(&call->arena, doc->count + 1, sizeof(struct objstore_entry));
    int error = sorted != NULL && entries != NULL ? 0 : -ENOMEM;

    for (size_t i = 0; error == 0 && i < doc->count; i++) {
        sorted[i].index = i;
        error = take_entry(call, &doc->items[i], &sorted[i].entry);
    }
    if (error < 0) {
        free(sorted);
        out_of_memory(call);
        return;
    }
    qsort(sorted, doc->count, sizeof(*sorted), compare_entries);
    for (size_t i = 0; i < doc->count; i++) {
        entries[i] = sorted[i].entry;
    }
    free(sorted);
    call->result.entries = entries;
}

static void take_buckets(struct s3_call *call, const struct s3_xml_doc *doc)
{
    struct objstore_bucket_entry *buckets =
        arena_array(&call->arena, doc->count + 1, sizeof(struct objstore_bucket_entry));

    for (size_t i = 0; buckets != NULL && i < doc->count; i++) {
        buckets[i].name = arena_strdup(&call->arena, doc->items[i].key);
        buckets[i].created_ns = doc->items[i].time_ns;
        if (buckets[i].name == NULL) {
            buckets = NULL;
        }
    }
    if (buckets == NULL) {
        out_of_memory(call);
    }
    call->result.buckets = buckets;
}

static void take_uploads(struct s3_call *call, const struct s3_xml_doc *doc)
{
    struct objstore_upload_entry *uploads =
        arena_array(&call->arena, doc->count + 1, sizeof(struct objstore_upload_entry));

    for (size_t i = 0; uploads != NULL && i < doc->count; i++) {
        uploads[i].key = arena_strdup(&call->arena, doc->items[i].key);
        uploads[i].upload_id = arena_strdup(&call->arena, doc->items[i].upload_id);
        uploads[i].started_ns = doc->items[i].time_ns;
        uploads[i].prefix = doc->items[i].kind == S3_XML_PREFIX;
        uploads[i].checksum.kind = (enum objstore_checksum_kind)doc->items[i].checksum_kind;
        uploads[i].checksum.composite = doc->items[i].composite;
        if (uploads[i].key == NULL || uploads[i].upload_id == NULL) {
            uploads = NULL;
        }
    }
    if (uploads == NULL) {
        out_of_memory(call);
    }
    call->result.uploads = uploads;
}

static void take_parts(struct s3_call *call, const struct s3_xml_doc *doc)
{
    struct objstore_part *parts =
        arena_array(&call->arena, doc->count + 1, sizeof(struct objstore_part));

    if (parts == NULL) {
        out_of_memory(call);
        return;
    }
    for (size_t i = 0; i < doc->count; i++) {
        const struct s3_xml_item *item = &doc->items[i];

        parts[i].number = item->number;
        parts[i].size = item->size;
        parts[i].mtime_ns = item->time_ns;
        copy_text(item->etag, parts[i].etag, sizeof(parts[i].etag));
        parts[i].checksum.kind = (enum objstore_checksum_kind)item->checksum_kind;
        copy_text(item->checksum, parts[i].checksum.value, sizeof(parts[i].checksum.value));
    }
    call->result.info.checksum.kind = (enum objstore_checksum_kind)doc->checksum_kind;
    call->result.info.checksum.composite = doc->composite;
    call->result.parts = parts;
}

/* Without a delimiter version 1 of the list leaves NextMarker out; the last key stands for it. */
void s3_list_result(struct s3_call *call, const struct s3_xml_doc *doc)
{
    struct objstore_result *result = &call->result;

    result->count = doc->count;
    result->truncated = doc->truncated;
    result->next_token = keep_or_null(call, doc->next_token);
    result->next_marker = keep_or_null(call, doc->next_marker);
    result->next_marker2 = keep_or_null(call, doc->next_marker2);
    switch (doc->root) {
    case S3_XML_BUCKETS:
        take_buckets(call, doc);
        break;
    case S3_XML_LIST:
    case S3_XML_VERSIONS:
        take_entries(call, doc);
        break;
    case S3_XML_UPLOADS:
        take_uploads(call, doc);
        break;
    case S3_XML_PARTS:
        take_parts(call, doc);
        break;
    default:
        result->status = error_set(&result->error, -EIO, "the answer is not the one asked for");
        break;
    }
    if (result->status == 0 && result->truncated && result->next_token == NULL &&
        result->next_marker == NULL) {
        result->status =
            error_set(&result->error, -EIO, "the store says that more follows, but not where");
    }
}
