/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on the service and on a bucket: listings, batch delete. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3/xml.h"
#include "s3proxy/call.h"

enum { BUCKETS_MAX = 10000 }; /* on a page of ListBuckets */

/* Whether ListBuckets tells it, in its place on the pages. Volumes and stores of others have no
 * accounts. */
static bool listed(const struct call *call, const char *name, bool volume)
{
    const char *prefix = call->list.prefix;
    bool ours = call->account == NULL || strcmp(call->account, CALL_OWNER) == 0;

    return !call->elsewhere && call_sees(call, name) &&
           (ours || (!volume && call->server->stores.embedded)) &&
           (prefix == NULL || strncmp(name, prefix, strlen(prefix)) == 0) &&
           (call->marker == NULL || strcmp(name, call->marker) > 0);
}

/* The store's buckets and the volumes, both sorted; a volume hides a bucket of its name. */
static void format_buckets(struct call *call, const struct objstore_result *result)
{
    const struct stores *stores = &call->server->stores;
    const char *last = NULL;
    size_t i = 0, k = 0, count = 0;

    s3_xml_buckets_begin(&call->reply.body, call_owner(call, NULL), call_owner_name(call, NULL));
    while (i < result->count || k < stores->volume_count) {
        int order = i == result->count ? 1
                    : k == stores->volume_count
                        ? -1
                        : strcmp(result->buckets[i].name, stores->volumes[k].name);

        const char *name = order < 0 ? result->buckets[i].name : stores->volumes[k].name;

        if (listed(call, name, order >= 0)) {
            if (count++ == call->list.max_keys) {
                break;
            }
            s3_xml_buckets_entry(&call->reply.body, name,
                                 call->asks_region ? call->server->region : NULL,
                                 order < 0 ? result->buckets[i].created_ns : 0);
            last = name;
        }
        i += order <= 0 ? 1 : 0;
        k += order >= 0 ? 1 : 0;
    }
    s3_xml_buckets_end(&call->reply.body, count > call->list.max_keys ? last : NULL,
                       call->list.prefix);
    reply_xml(&call->reply);
}

/* The store tells them all: what goes on a page is chosen from its answer. */
static int route_buckets(struct call *call, struct s3_fault *fault)
{
    const char *max = call_query(call, "max-buckets");
    const char *region = call_query(call, "bucket-region");
    int ret =
        call_number(call, "max-buckets", BUCKETS_MAX, BUCKETS_MAX, &call->list.max_keys, fault);

    call->op.op = OBJSTORE_BUCKET_LIST;
    call->format = format_buckets;
    call->list.prefix = call_query(call, "prefix");
    call->marker = call_query(call, "continuation-token");
    call->asks_region =
        max != NULL || region != NULL || call->list.prefix != NULL || call->marker != NULL;
    call->elsewhere = region != NULL && strcmp(region, call->server->region) != 0;
    if (ret == 0 && max != NULL &&
        (call->list.max_keys == 0 || strtoul(max, NULL, 10) > BUCKETS_MAX)) {
        return s3_fault_argument(fault, "max-buckets", slice_of(max),
                                 "Argument max-buckets must be an integer between 1 and 10000");
    }
    if (ret == 0 && call->marker != NULL && !s3_bucket_valid(slice_of(call->marker))) {
        return s3_fault_argument(fault, "continuation-token", slice_of(call->marker),
                                 "The continuation token provided is incorrect");
    }
    return ret;
}

static void format_created(struct call *call, const struct objstore_result *result)
{
    char location[S3_BUCKET_MAX + 2], arn[S3_BUCKET_MAX + 16];

    (void)result;
    (void)snprintf(location, sizeof(location), "/%s", call->target.bucket);
    (void)snprintf(arn, sizeof(arn), "arn:aws:s3:::%s", call->target.bucket);
    reply_header(&call->reply, "Location", location);
    reply_header(&call->reply, "x-amz-bucket-arn", arn);
    call->reply.status = 200;
}

static void format_location(struct call *call, const struct objstore_result *result)
{
    (void)result;
    s3_xml_location(&call->reply.body, call->server->region);
    reply_xml(&call->reply);
}

static void format_bucket_head(struct call *call, const struct objstore_result *result)
{
    (void)result;
    reply_header(&call->reply, "x-amz-bucket-region", call->server->region);
    call->reply.status = 200;
    call->reply.content_type = "application/xml";
}

/* ---- listings ---- */

static void list_entry(struct call *call, const struct objstore_entry *e)
{
    const struct s3_xml_key key = {
        .key = e->key,
        .size = e->info.size,
        .etag = e->info.etag,
        .mtime_ns = e->info.mtime_ns,
        .checksum = (enum s3_checksum_kind)e->info.checksum.kind,
        .composite = e->info.checksum.composite,
        .storage_class = e->info.meta.storage_class,
    };

    if (e->prefix) {
        s3_xml_list_prefix(&call->reply.body, &call->list, e->key);
    } else {
        s3_xml_list_key(&call->reply.body, &call->list, &key);
    }
}

/* AWS writes such a name as a reference that is no XML. To write another in its place would hide
 * the object, and lead a client that goes on behind the last key of a page past others. */
bool call_can_list(struct call *call, bool encoded, const char *const *names, size_t count)
{
    struct s3_fault fault = S3_FAULT_INIT;
    size_t i = 0;

    while (i < count && (encoded || names[i] == NULL || s3_xml_can_write(names[i]))) {
        i++;
    }
    if (i == count) {
        return true;
    }
    (void)s3_fault_set(&fault, S3_INVALID_ARGUMENT,
                       "A name in this listing cannot be written in XML. List with "
                       "encoding-type=url.");
    (void)s3_fault_detail(&fault, "ArgumentName", slice_of("encoding-type"));
    call_fault_set(call, &fault);
    reply_fault(call);
    return false;
}

/* The same of a listing's entries. */
bool call_can_list_keys(struct call *call, const struct objstore_result *result)
{
    const struct s3_xml_list *list = &call->list;
    const char *const told[] = {list->prefix, list->delimiter, list->marker, list->start_after};
    bool ret = call_can_list(call, list->encode_url, told, 4);

    for (size_t i = 0; ret && i < result->count && list->max_keys > 0; i++) {
        const char *key = result->entries[i].key;

        ret = call_hidden(call, key) || call_can_list(call, list->encode_url, &key, 1);
    }
    return ret;
}

static void format_list(struct call *call, const struct objstore_result *result)
{
    struct s3_xml_list *list = &call->list;
    uint32_t count = 0;

    if (!call_can_list_keys(call, result)) {
        return;
    }
    for (size_t i = 0; i < result->count; i++) {
        count += list->max_keys == 0 || call_hidden(call, result->entries[i].key) ? 0 : 1;
    }
    list->truncated = result->truncated && list->max_keys > 0;
    list->owner_id = call->tells_owner ? call_owner(call, result) : NULL;
    list->owner_name = call->tells_owner ? call_owner_name(call, result) : NULL;
    list->key_count = count;
    if (list->kind == S3_XML_LIST_V2) {
        list->next_token = list->truncated ? result->next_token : NULL;
    } else if (list->truncated && list->delimiter != NULL && result->count > 0) {
        list->next_marker = result->entries[result->count - 1].key;
    }
    s3_xml_list_begin(&call->reply.body, list);
    for (size_t i = 0; i < result->count && list->max_keys > 0; i++) {
        if (!call_hidden(call, result->entries[i].key)) {
            list_entry(call, &result->entries[i]);
        }
    }
    s3_xml_list_end(&call->reply.body, list);
    reply_xml(&call->reply);
}

const char *call_delimiter(struct call *call)
{
    const char *text = call_query(call, "delimiter");

    return text != NULL && text[0] != '\0' ? text : NULL;
}

/* A marker that is a common prefix stands for all keys below it. */
static const char *after_marker(struct call *call, const char *marker)
{
    const char *delimiter = call->list.delimiter;
    size_t len = strlen(marker), d = delimiter != NULL ? strlen(delimiter) : 0;
    char *beyond;

    if (d == 0 || len < d || strcmp(marker + len - d, delimiter) != 0 ||
        len + 5 > OBJSTORE_KEY_MAX) {
        return marker;
    }
    beyond = arena_alloc(&call->arena, len + 5);
    if (beyond != NULL) {
        /* the last character there is */
        (void)snprintf(beyond, len + 5, "%s\xf4\x8f\xbf\xbf", marker);
    }
    return beyond;
}

int call_encoding(struct call *call, bool *ret, struct s3_fault *fault)
{
    const char *text = call_query(call, "encoding-type");

    *ret = text != NULL && strcmp(text, "url") == 0;
    return text == NULL || *ret ? 0
                                : s3_fault_argument(fault, "encoding-type", slice_of(text),
                                                    "Invalid Encoding Method specified in Request");
}

static int route_list(struct call *call, struct s3_fault *fault)
{
    struct s3_xml_list *list = &call->list;
    const char *kind = call_query(call, "list-type");
    const char *owner = call_query(call, "fetch-owner");
    bool v2 = kind != NULL && strcmp(kind, "2") == 0;
    int ret = call_encoding(call, &list->encode_url, fault);

    ret = ret == 0 ? call_number(call, "max-keys", OBJSTORE_BATCH_MAX, OBJSTORE_BATCH_MAX,
                                 &list->max_keys, fault)
                   : ret;
    list->kind = v2 ? S3_XML_LIST_V2 : S3_XML_LIST_V1;
    list->bucket = call->target.bucket;
    list->prefix = call_query(call, "prefix");
    list->prefix = list->prefix != NULL ? list->prefix : "";
    list->delimiter = call_delimiter(call);
    if (v2) {
        list->start_after = call_query(call, "start-after");
        list->token = call_query(call, "continuation-token");
        call->op.start_after = list->start_after;
        call->op.token = list->token != NULL && list->token[0] != '\0' ? list->token : NULL;
    } else {
        list->marker = call_query(call, "marker");
        list->marker = list->marker != NULL ? list->marker : "";
        call->op.start_after = list->marker[0] != '\0' ? after_marker(call, list->marker) : NULL;
    }
    if (!v2 || (owner != NULL && strcmp(owner, "true") == 0)) {
        call->tells_owner = true;
    }
    call->op.op = OBJSTORE_LIST;
    call->op.key = list->prefix;
    call->op.delimiter = list->delimiter;
    call->op.max_entries = list->max_keys > 0 ? list->max_keys : 1;
    call->format = format_list;
    return ret;
}

static bool can_list_uploads(struct call *call, const struct objstore_result *result)
{
    const char *const told[] = {call->op.key, call->op.delimiter, call->op.marker};
    bool ret = call_can_list(call, call->encode_url, told, 3);

    for (size_t i = 0; ret && i < result->count && call->list.max_keys > 0; i++) {
        const char *key = result->uploads[i].key;

        ret = call_hidden(call, key) || call_can_list(call, call->encode_url, &key, 1);
    }
    return ret;
}

static void format_uploads(struct call *call, const struct objstore_result *result)
{
    bool more = result->truncated && call->list.max_keys > 0;
    struct s3_xml_uploads list = {
        .bucket = call->target.bucket,
        .prefix = call->op.key,
        .key_marker = call->op.marker != NULL ? call->op.marker : "",
        .upload_id_marker = call->op.marker2 != NULL ? call->op.marker2 : "",
        .next_key_marker = more ? result->next_marker : NULL,
        .next_upload_id_marker = more ? result->next_marker2 : NULL,
        .delimiter = call->op.delimiter,
        .max_entries = call->list.max_keys,
        .truncated = more,
        .encode_url = call->encode_url,
        .owner_id = call_owner(call, result),
        .owner_name = call_owner_name(call, result),
    };

    if (!can_list_uploads(call, result)) {
        return;
    }
    s3_xml_uploads_begin(&call->reply.body, &list);
    for (size_t i = 0; i < result->count && call->list.max_keys > 0; i++) {
        const struct objstore_upload_entry *e = &result->uploads[i];
        const struct s3_xml_upload upload = {
            .key = e->key,
            .upload_id = e->upload_id,
            .started_ns = e->started_ns,
            .checksum_kind = (enum s3_checksum_kind)e->checksum.kind,
            .composite = e->checksum.composite,
        };

        if (call_hidden(call, e->key)) {
            continue;
        }
        if (e->prefix) {
            s3_xml_uploads_prefix(&call->reply.body, &list, e->key);
        } else {
            s3_xml_uploads_entry(&call->reply.body, &list, &upload);
        }
    }
    s3_xml_uploads_end(&call->reply.body, &list);
    reply_xml(&call->reply);
}

static int route_uploads(struct call *call, struct s3_fault *fault)
{
    int ret = call_encoding(call, &call->encode_url, fault);
    const char *prefix = call_query(call, "prefix");

    call->op.delimiter = call_delimiter(call);
    call->op.op = OBJSTORE_UPLOAD_LIST;
    call->op.key = prefix != NULL ? prefix : "";
    call->op.marker = call_query(call, "key-marker");
    call->op.marker2 = call_query(call, "upload-id-marker");
    call->format = format_uploads;
    /* A marker of uploads says nothing without its key. */
    call->op.marker2 =
        call->op.marker != NULL && call->op.marker[0] != '\0' ? call->op.marker2 : NULL;
    ret = ret == 0 ? call_number(call, "max-uploads", OBJSTORE_BATCH_MAX, OBJSTORE_BATCH_MAX,
                                 &call->list.max_keys, fault)
                   : ret;
    call->op.max_entries = call->list.max_keys > 0 ? call->list.max_keys : 1;
    return ret;
}

/* ---- batch delete ---- */

static void format_batch(struct call *call, const struct objstore_result *result)
{
    struct buf *out = &call->reply.body;

    (void)result;
    s3_xml_delete_result_begin(out);
    for (size_t i = 0; i < call->op.victims_count + call->refused; i++) {
        const struct objstore_victim *v = &call->op.victims[i];

        if (v->error == -ENOENT && v->version_id != NULL) { /* the object is there still */
            s3_xml_delete_error(out, v->key, v->version_id, S3_NO_SUCH_VERSION,
                                s3_code_message(S3_NO_SUCH_VERSION));
        } else if (v->error == -ENOENT && v->match.etag != NULL) {
            s3_xml_delete_error(out, v->key, v->version_id, S3_NO_SUCH_KEY,
                                s3_code_message(S3_NO_SUCH_KEY));
        } else if (v->error != 0 && v->error != -ENOENT) {
            enum s3_code code = s3_code_from_errno(v->error, false);

            s3_xml_delete_error(out, v->key, v->version_id, code, s3_code_message(code));
        } else if (!call->doc->quiet) {
            s3_xml_deleted(out, v->key, v->version_id, v->marked ? v->marker_id : NULL);
        }
    }
    s3_xml_delete_result_end(out);
    reply_xml(&call->reply);
}

/* What the client says of its XML. The checksum headers of a completion are the object's. */
int call_digests(struct call *call, struct s3_fault *fault)
{
    char text[S3_CHECKSUM_TEXT_SIZE];

    for (enum s3_checksum_kind k = S3_CHECKSUM_CRC32; k <= S3_CHECKSUM_MD5; k++) {
        bool md5 = k == S3_CHECKSUM_MD5;
        struct slice value =
            s3_message_header(&call->message, md5 ? "content-md5" : s3_checksum_header(k));

        if (value.data == NULL || (!md5 && call->op.op == OBJSTORE_UPLOAD_COMPLETE)) {
            continue;
        }
        if (!s3_checksum_valid(k, value)) {
            return s3_fault_set(fault, md5 ? S3_INVALID_DIGEST : S3_INVALID_REQUEST, "%s", "");
        }
        if (s3_checksum_base64_of(k, buf_str(&call->body), buf_len(&call->body), text) != 0) {
            return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
        }
        if (!s3_checksum_same(value, slice_of(text))) {
            return s3_fault_set(fault, S3_BAD_DIGEST, "%s", "");
        }
    }
    return 0;
}

int call_xml(struct call *call, enum s3_xml_root root, struct s3_fault *fault)
{
    int ret = call_digests(call, fault);

    if (ret != 0) {
        return ret;
    }
    ret = s3_xml_parse(buf_str(&call->body), buf_len(&call->body), &call->doc, fault);

    if (ret == 0 && call->doc->root != root) {
        ret = s3_fault_set(fault, S3_MALFORMED_XML, "another document was expected");
    }
    return ret;
}

static int parse_batch(struct call *call, struct s3_fault *fault)
{
    struct objstore_victim *victims;
    int ret = call_xml(call, S3_XML_DELETE, fault);

    if (ret != 0) {
        return ret;
    }
    if (call->doc->count < 1 || call->doc->count > OBJSTORE_BATCH_MAX) {
        return s3_fault_set(fault, S3_MALFORMED_XML, "1 to 1000 keys in one request");
    }
    victims = arena_array(&call->arena, call->doc->count, sizeof(*victims));
    if (victims == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    for (size_t i = 0; i < call->doc->count; i++) {
        const struct s3_xml_item *item = &call->doc->items[i];

        if (item->key[0] == '\0') {
            return s3_fault_set(fault, S3_MALFORMED_XML, "an object has no key");
        }
        if (call_reserved(call, item->key)) {
            return s3_fault_set(fault, S3_ACCESS_DENIED, "keys under .skyvol/ are Skyvol's own");
        }
        victims[i].key = item->key;
        victims[i].version_id = item->version_id[0] != '\0' ? item->version_id : NULL;
        victims[i].match =
            (struct objstore_match){.etag = item->etag[0] != '\0' ? item->etag : NULL,
                                    .by_size = item->has_size,
                                    .by_mtime = item->has_time,
                                    .size = item->size,
                                    .mtime_s = item->time_ns / 1000000000};
    }
    call->op.tell_markers = !call->doc->quiet;
    call->op.victims = victims;
    call->op.victims_count = call->doc->count;
    return 0;
}

/* ---- routes ---- */

/* As regions are called, here or elsewhere: "eu-west-1", "us-gov-east-1", "EU". */
static bool could_be_region(const char *text)
{
    size_t len = strlen(text);
    const char *last = strrchr(text, '-');

    return strcmp(text, "EU") == 0 ||
           (len > 5 && text[2] == '-' && last > text + 3 && last[1] >= '1' && last[1] <= '9' &&
            last[2] == '\0' && strspn(text, "abcdefghijklmnopqrstuvwxyz-") == len - 1);
}

static int parse_create(struct call *call, struct s3_fault *fault)
{
    int ret = buf_len(&call->body) > 0 ? call_xml(call, S3_XML_CREATE_BUCKET, fault) : 0;

    if (ret == 0 && call->doc != NULL && call->doc->location[0] != '\0' &&
        strcmp(call->doc->location, call->server->region) != 0) {
        ret = s3_fault_set(fault,
                           could_be_region(call->doc->location) ? S3_ILLEGAL_LOCATION_CONSTRAINT
                                                                : S3_INVALID_LOCATION_CONSTRAINT,
                           "the region here is %s", call->server->region);
    }
    if (ret == 0 && call->doc != NULL && call->doc->count > 0) { /* not taken and forgotten */
        ret = s3_fault_set(fault, S3_NOT_IMPLEMENTED,
                           "tags of a new bucket are not taken: use PutBucketTagging");
    }
    return ret;
}

static int route_bucket_get(struct call *call, struct s3_fault *fault)
{
    call->op.op = OBJSTORE_BUCKET_HEAD;
    if (call->head) {
        call->format = format_bucket_head;
        return 0;
    }
    if (call_has(call, "location")) {
        call->format = format_location;
        return 0;
    }
    if (call_has(call, "versions")) {
        return call_route_versions(call, fault);
    }
    return call_has(call, "uploads") ? route_uploads(call, fault) : route_list(call, fault);
}

int call_route_bucket(struct call *call, struct s3_fault *fault)
{
    struct slice method = call->message.method;
    bool get = call->head || slice_eq_str(method, "GET");
    int ret;

    if (call->op.bucket == NULL && call_doc_asked(call) != OBJSTORE_DOC_COUNT) {
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "that is for buckets");
    }
    if (call->op.bucket == NULL) {
        return get ? route_buckets(call, fault)
                   : s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
    }
    ret = call_route_doc(call, fault);
    if (ret != 1) {
        return ret;
    }
    if (get) {
        return route_bucket_get(call, fault);
    }
    call->body_kind = CALL_BODY_MEMORY;
    if (slice_eq_str(method, "POST") && call_has(call, "delete")) {
        call->op.op = OBJSTORE_DELETE_BATCH;
        call->parse = parse_batch;
        call->format = format_batch;
        return 0;
    }
    if (slice_eq_str(method, "POST")) {
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "%s", "");
    }
    if (slice_eq_str(method, "PUT")) {
        call->op.op = OBJSTORE_BUCKET_CREATE;
        call->parse = parse_create;
        call->format = format_created;
        return s3_bucket_valid(slice_of(call->target.bucket))
                   ? 0
                   : s3_fault_set(fault, S3_INVALID_BUCKET_NAME, "%s", "");
    }
    if (slice_eq_str(method, "DELETE")) {
        call->op.op = OBJSTORE_BUCKET_DELETE;
        call->format = format_deleted;
        return 0;
    }
    return s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
}
