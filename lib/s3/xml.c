/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/xml.h"

#include "s3/conditions.h"
#include "util/encode.h"
#include "util/slice.h"

static const char declaration[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
static const char space[] = " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

/* How many bytes at `text` are a character that XML 1.0 has no way to write, not even as a number:
 * a control character, or U+FFFE and U+FFFF. 0: it can be written. */
static size_t unwritable(const char *text)
{
    unsigned char c = (unsigned char)text[0];

    if (c == 0xEF) {
        return text[1] == '\xBF' && (text[2] == '\xBE' || text[2] == '\xBF') ? 3 : 0;
    }
    return c < 0x20 && c != '\0' && c != '\t' && c != '\n' && c != '\r' ? 1 : 0;
}

bool s3_xml_can_write(const char *text)
{
    while (*text != '\0' && unwritable(text) == 0) {
        text++;
    }
    return *text == '\0';
}

void s3_xml_escape(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        size_t len = unwritable(text);

        if (len > 0) {
            buf_addstr(out, "\xEF\xBF\xBD");
            text += len - 1;
            continue;
        }
        switch (c) {
        case '&':
            buf_addstr(out, "&amp;");
            break;
        case '<':
            buf_addstr(out, "&lt;");
            break;
        case '>':
            buf_addstr(out, "&gt;");
            break;
        case '"':
            buf_addstr(out, "&#34;");
            break;
        default:
            if (c < 0x20 || c == 0x7F) {
                buf_addf(out, "&#x%X;", c);
            } else {
                buf_add(out, &c, 1);
            }
        }
    }
}

void s3_xml_text(struct buf *out, const char *name, const char *text)
{
    if (text != NULL) {
        buf_addf(out, "<%s>", name);
        s3_xml_escape(out, text);
        buf_addf(out, "</%s>", name);
    }
}

void s3_xml_number(struct buf *out, const char *name, uint64_t number)
{
    buf_addf(out, "<%s>%llu</%s>", name, (unsigned long long)number, name);
}

static void add_bool(struct buf *out, const char *name, bool value)
{
    s3_xml_text(out, name, value ? "true" : "false");
}

static void add_date(struct buf *out, const char *name, int64_t time_ns)
{
    char text[S3_ISO_DATE_SIZE];

    s3_iso_date_format(time_ns, text);
    s3_xml_text(out, name, text);
}

static void add_etag(struct buf *out, const char *etag)
{
    if (etag != NULL && etag[0] != '\0') {
        buf_addstr(out, "<ETag>&#34;");
        s3_xml_escape(out, etag);
        buf_addstr(out, "&#34;</ETag>");
    }
}

/* A key, prefix, marker or delimiter: percent-encoded when the client asked for it. */
static void add_name(struct buf *out, const char *name, const char *text, bool encode_url)
{
    if (text == NULL) {
        return;
    }
    if (!encode_url) {
        s3_xml_text(out, name, text);
        return;
    }
    buf_addf(out, "<%s>", name);
    encode_percent(out, slice_of(text), true);
    buf_addf(out, "</%s>", name);
}

/*
 * Of ListObjects botocore undoes the encoding of everything but the prefix, other clients that of
 * the prefix, too. So what decoding leaves as it is stands there plainly, and both read the same.
 */
static void add_sparing(struct buf *out, const char *name, const char *text)
{
    char one[2] = "";

    if (!s3_xml_can_write(text)) {
        add_name(out, name, text, true);
        return;
    }
    buf_addf(out, "<%s>", name);
    for (; *text != '\0'; text++) {
        one[0] = *text;
        if (*text == '%' || *text == '+') {
            encode_percent(out, slice_of(one), true);
        } else {
            s3_xml_escape(out, one);
        }
    }
    buf_addf(out, "</%s>", name);
}

static void add_owner(struct buf *out, const char *element, const char *id, const char *name)
{
    if (id != NULL) {
        buf_addf(out, "<%s>", element);
        s3_xml_text(out, "ID", id);
        s3_xml_text(out, "DisplayName", name);
        buf_addf(out, "</%s>", element);
    }
}

static void add_checksum(struct buf *out, enum s3_checksum_kind kind, const char *value)
{
    if (kind != S3_CHECKSUM_NONE && kind != S3_CHECKSUM_MD5 && value != NULL && value[0] != '\0') {
        buf_addf(out, "<Checksum%s>", s3_checksum_name(kind));
        s3_xml_escape(out, value);
        buf_addf(out, "</Checksum%s>", s3_checksum_name(kind));
    }
}

static void begin(struct buf *out, const char *root)
{
    buf_addf(out, "%s<%s%s>", declaration, root, space);
}

/* Lines of "Name=value". */
static void add_details(struct buf *out, const char *text)
{
    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, "\n"), name_len = strcspn(text, "=\n");
        char name[64], value[256];

        if (name_len < len && name_len < sizeof(name) && len - name_len - 1 < sizeof(value)) {
            memcpy(name, text, name_len);
            name[name_len] = '\0';
            memcpy(value, text + name_len + 1, len - name_len - 1);
            value[len - name_len - 1] = '\0';
            s3_xml_text(out, name, value);
        }
        text += len + (text[len] == '\n' ? 1 : 0);
    }
}

/* A text once more, byte by byte: a client sees there what does not show. */
static void add_bytes(struct buf *out, const char *name, const char *text)
{
    if (text != NULL) {
        buf_addf(out, "<%s>", name);
        for (const char *c = text; *c != '\0'; c++) {
            buf_addf(out, "%s%02x", c > text ? " " : "", (unsigned char)*c);
        }
        buf_addf(out, "</%s>", name);
    }
}

void s3_xml_error(struct buf *out, const struct s3_xml_error *error)
{
    const char *message = error->message;

    if (message == NULL || message[0] == '\0') {
        message = s3_code_message(error->code);
    }
    buf_addf(out, "%s<Error>", declaration);
    s3_xml_text(out, "Code", s3_code_name(error->code));
    s3_xml_text(out, "Message", message);
    s3_xml_text(out, "BucketName", error->bucket);
    s3_xml_text(out, "Key", error->key);
    s3_xml_text(out, "Region", error->region);
    s3_xml_text(out, "Condition", error->condition);
    add_details(out, error->details);
    s3_xml_text(out, "AWSAccessKeyId", error->access_key);
    s3_xml_text(out, "StringToSign", error->string_to_sign);
    s3_xml_text(out, "SignatureProvided", error->signature);
    add_bytes(out, "StringToSignBytes", error->string_to_sign);
    s3_xml_text(out, "CanonicalRequest", error->canonical_request);
    add_bytes(out, "CanonicalRequestBytes", error->canonical_request);
    s3_xml_text(out, "Resource", error->resource);
    s3_xml_text(out, "RequestId", error->request_id);
    buf_addstr(out, "</Error>");
}

void s3_xml_buckets_begin(struct buf *out, const char *owner_id, const char *owner_name)
{
    begin(out, "ListAllMyBucketsResult");
    add_owner(out, "Owner", owner_id, owner_name);
    buf_addstr(out, "<Buckets>");
}

void s3_xml_buckets_entry(struct buf *out, const char *name, const char *region, int64_t created_ns)
{
    buf_addstr(out, "<Bucket>");
    s3_xml_text(out, "Name", name);
    add_date(out, "CreationDate", created_ns);
    s3_xml_text(out, "BucketRegion", region);
    buf_addstr(out, "</Bucket>");
}

void s3_xml_buckets_end(struct buf *out, const char *next_token, const char *prefix)
{
    buf_addstr(out, "</Buckets>");
    s3_xml_text(out, "ContinuationToken", next_token);
    s3_xml_text(out, "Prefix", prefix);
    buf_addstr(out, "</ListAllMyBucketsResult>");
}

static const char *list_root(const struct s3_xml_list *list)
{
    return list->kind == S3_XML_LIST_VERSIONS ? "ListVersionsResult" : "ListBucketResult";
}

void s3_xml_list_begin(struct buf *out, const struct s3_xml_list *list)
{
    bool url = list->encode_url;

    begin(out, list_root(list));
    s3_xml_text(out, "Name", list->bucket);
    if (url && list->kind == S3_XML_LIST_V1 && list->prefix != NULL) {
        add_sparing(out, "Prefix", list->prefix);
    } else {
        add_name(out, "Prefix", list->prefix != NULL ? list->prefix : "", url);
    }
    switch (list->kind) {
    case S3_XML_LIST_V1:
        add_name(out, "Marker", list->marker != NULL ? list->marker : "", url);
        add_name(out, "NextMarker", list->next_marker, url);
        break;
    case S3_XML_LIST_V2:
        s3_xml_number(out, "KeyCount", list->key_count);
        s3_xml_text(out, "ContinuationToken", list->token);
        s3_xml_text(out, "NextContinuationToken", list->next_token);
        add_name(out, "StartAfter", list->start_after, url);
        break;
    case S3_XML_LIST_VERSIONS:
        add_name(out, "KeyMarker", list->marker != NULL ? list->marker : "", url);
        s3_xml_text(out, "VersionIdMarker", list->marker2 != NULL ? list->marker2 : "");
        add_name(out, "NextKeyMarker", list->next_marker, url);
        s3_xml_text(out, "NextVersionIdMarker", list->next_marker2);
        break;
    }
    s3_xml_number(out, "MaxKeys", list->max_keys);
    add_name(out, "Delimiter", list->delimiter, url);
    add_bool(out, "IsTruncated", list->truncated);
    s3_xml_text(out, "EncodingType", url ? "url" : NULL);
}

void s3_xml_list_key(struct buf *out, const struct s3_xml_list *list, const struct s3_xml_key *key)
{
    bool versions = list->kind == S3_XML_LIST_VERSIONS;
    const char *element = !versions ? "Contents" : key->delete_marker ? "DeleteMarker" : "Version";

    buf_addf(out, "<%s>", element);
    add_name(out, "Key", key->key, list->encode_url);
    if (versions) {
        s3_xml_text(out, "VersionId",
                    key->version_id != NULL && key->version_id[0] != '\0' ? key->version_id
                                                                          : "null");
        add_bool(out, "IsLatest", key->latest);
    }
    add_date(out, "LastModified", key->mtime_ns);
    if (!versions || !key->delete_marker) {
        add_etag(out, key->etag);
        if (key->checksum != S3_CHECKSUM_NONE) {
            s3_xml_text(out, "ChecksumAlgorithm", s3_checksum_name(key->checksum));
            s3_xml_text(out, "ChecksumType", key->composite ? "COMPOSITE" : "FULL_OBJECT");
        }
        s3_xml_number(out, "Size", key->size);
        s3_xml_text(out, "StorageClass",
                    key->storage_class != NULL ? key->storage_class : "STANDARD");
    }
    add_owner(out, "Owner", list->owner_id, list->owner_name);
    buf_addf(out, "</%s>", element);
}

void s3_xml_list_prefix(struct buf *out, const struct s3_xml_list *list, const char *prefix)
{
    buf_addstr(out, "<CommonPrefixes>");
    add_name(out, "Prefix", prefix, list->encode_url);
    buf_addstr(out, "</CommonPrefixes>");
}

void s3_xml_list_end(struct buf *out, const struct s3_xml_list *list)
{
    buf_addf(out, "</%s>", list_root(list));
}

void s3_xml_location(struct buf *out, const char *region)
{
    bool classic =
        region == NULL || region[0] == '\0' || slice_eq_str(slice_of(region), "us-east-1");

    begin(out, "LocationConstraint");
    s3_xml_escape(out, classic ? "" : region);
    buf_addstr(out, "</LocationConstraint>");
}

void s3_xml_upload_created(struct buf *out, const char *bucket, const char *key,
                           const char *upload_id)
{
    begin(out, "InitiateMultipartUploadResult");
    s3_xml_text(out, "Bucket", bucket);
    s3_xml_text(out, "Key", key);
    s3_xml_text(out, "UploadId", upload_id);
    buf_addstr(out, "</InitiateMultipartUploadResult>");
}

void s3_xml_copy_result(struct buf *out, bool part, const char *etag, int64_t mtime_ns,
                        enum s3_checksum_kind kind, const char *checksum)
{
    const char *root = part ? "CopyPartResult" : "CopyObjectResult";

    begin(out, root);
    add_date(out, "LastModified", mtime_ns);
    add_etag(out, etag);
    add_checksum(out, kind, checksum);
    buf_addf(out, "</%s>", root);
}

void s3_xml_completed(struct buf *out, const struct s3_xml_completed *completed)
{
    begin(out, "CompleteMultipartUploadResult");
    s3_xml_text(out, "Location", completed->location);
    s3_xml_text(out, "Bucket", completed->bucket);
    s3_xml_text(out, "Key", completed->key);
    add_etag(out, completed->etag);
    add_checksum(out, completed->checksum_kind, completed->checksum);
    if (completed->checksum_kind != S3_CHECKSUM_NONE) {
        s3_xml_text(out, "ChecksumType", completed->composite ? "COMPOSITE" : "FULL_OBJECT");
    }
    buf_addstr(out, "</CompleteMultipartUploadResult>");
}

void s3_xml_uploads_begin(struct buf *out, const struct s3_xml_uploads *list)
{
    bool url = list->encode_url;

    begin(out, "ListMultipartUploadsResult");
    s3_xml_text(out, "Bucket", list->bucket);
    add_name(out, "KeyMarker", list->key_marker != NULL ? list->key_marker : "", url);
    s3_xml_text(out, "UploadIdMarker",
                list->upload_id_marker != NULL ? list->upload_id_marker : "");
    add_name(out, "NextKeyMarker", list->next_key_marker, url);
    s3_xml_text(out, "NextUploadIdMarker", list->next_upload_id_marker);
    add_name(out, "Delimiter", list->delimiter, url);
    add_name(out, "Prefix", list->prefix != NULL ? list->prefix : "", url);
    s3_xml_number(out, "MaxUploads", list->max_entries);
    add_bool(out, "IsTruncated", list->truncated);
    s3_xml_text(out, "EncodingType", url ? "url" : NULL);
}

static void add_checksum_type(struct buf *out, bool composite)
{
    s3_xml_text(out, "ChecksumType", composite ? "COMPOSITE" : "FULL_OBJECT");
}

static void add_algorithm(struct buf *out, enum s3_checksum_kind kind, bool composite)
{
    if (kind != S3_CHECKSUM_NONE) {
        s3_xml_text(out, "ChecksumAlgorithm", s3_checksum_name(kind));
        add_checksum_type(out, composite);
    }
}

void s3_xml_uploads_entry(struct buf *out, const struct s3_xml_uploads *list,
                          const struct s3_xml_upload *upload)
{
    buf_addstr(out, "<Upload>");
    add_name(out, "Key", upload->key, list->encode_url);
    s3_xml_text(out, "UploadId", upload->upload_id);
    add_owner(out, "Initiator", list->owner_id, list->owner_name);
    add_owner(out, "Owner", list->owner_id, list->owner_name);
    s3_xml_text(out, "StorageClass", "STANDARD");
    add_date(out, "Initiated", upload->started_ns);
    add_algorithm(out, upload->checksum_kind, upload->composite);
    buf_addstr(out, "</Upload>");
}

void s3_xml_uploads_prefix(struct buf *out, const struct s3_xml_uploads *list, const char *prefix)
{
    buf_addstr(out, "<CommonPrefixes>");
    add_name(out, "Prefix", prefix, list->encode_url);
    buf_addstr(out, "</CommonPrefixes>");
}

void s3_xml_uploads_end(struct buf *out, const struct s3_xml_uploads *list)
{
    (void)list;
    buf_addstr(out, "</ListMultipartUploadsResult>");
}

void s3_xml_parts_begin(struct buf *out, const struct s3_xml_uploads *list)
{
    begin(out, "ListPartsResult");
    s3_xml_text(out, "Bucket", list->bucket);
    add_name(out, "Key", list->key, list->encode_url);
    s3_xml_text(out, "UploadId", list->upload_id);
    add_owner(out, "Initiator", list->owner_id, list->owner_name);
    add_owner(out, "Owner", list->owner_id, list->owner_name);
    s3_xml_text(out, "StorageClass", "STANDARD");
    s3_xml_number(out, "PartNumberMarker", list->part_marker);
    s3_xml_number(out, "NextPartNumberMarker", list->next_part_marker);
    s3_xml_number(out, "MaxParts", list->max_entries);
    add_bool(out, "IsTruncated", list->truncated);
    add_algorithm(out, list->checksum_kind, list->composite);
}

void s3_xml_parts_entry(struct buf *out, const struct s3_xml_part *part)
{
    buf_addstr(out, "<Part>");
    s3_xml_number(out, "PartNumber", part->number);
    add_date(out, "LastModified", part->mtime_ns);
    add_etag(out, part->etag);
    add_checksum(out, part->checksum_kind, part->checksum);
    s3_xml_number(out, "Size", part->size);
    buf_addstr(out, "</Part>");
}

void s3_xml_parts_end(struct buf *out)
{
    buf_addstr(out, "</ListPartsResult>");
}

void s3_xml_attributes_begin(struct buf *out, const struct s3_xml_attributes *a)
{
    begin(out, "GetObjectAttributesResponse");
    s3_xml_text(out, "ETag", a->etag);
    if (a->checksum_kind != S3_CHECKSUM_NONE) {
        buf_addstr(out, "<Checksum>");
        add_checksum(out, a->checksum_kind, a->checksum);
        add_checksum_type(out, a->composite);
        buf_addstr(out, "</Checksum>");
    }
    if (a->parts) {
        buf_addstr(out, "<ObjectParts>");
        s3_xml_number(out, "PartsCount", a->parts_total);
        if (a->listed) {
            s3_xml_number(out, "PartNumberMarker", a->part_marker);
            s3_xml_number(out, "NextPartNumberMarker", a->next_part_marker);
            s3_xml_number(out, "MaxParts", a->max_parts);
            add_bool(out, "IsTruncated", a->truncated);
        }
    }
}

void s3_xml_attributes_part(struct buf *out, const struct s3_xml_part *part)
{
    buf_addstr(out, "<Part>");
    s3_xml_number(out, "PartNumber", part->number);
    s3_xml_number(out, "Size", part->size);
    add_checksum(out, part->checksum_kind, part->checksum);
    buf_addstr(out, "</Part>");
}

void s3_xml_attributes_end(struct buf *out, const struct s3_xml_attributes *a)
{
    if (a->parts) {
        buf_addstr(out, "</ObjectParts>");
    }
    s3_xml_text(out, "StorageClass", a->storage_class);
    if (a->size != NULL) {
        s3_xml_number(out, "ObjectSize", *a->size);
    }
    buf_addstr(out, "</GetObjectAttributesResponse>");
}

void s3_xml_delete_result_begin(struct buf *out)
{
    begin(out, "DeleteResult");
}

void s3_xml_deleted(struct buf *out, const char *key, const char *version_id, const char *marker_id)
{
    buf_addstr(out, "<Deleted>");
    s3_xml_text(out, "Key", key);
    s3_xml_text(out, "VersionId", version_id);
    if (marker_id != NULL) {
        add_bool(out, "DeleteMarker", true);
        s3_xml_text(out, "DeleteMarkerVersionId", marker_id);
    }
    buf_addstr(out, "</Deleted>");
}

void s3_xml_delete_error(struct buf *out, const char *key, const char *version_id,
                         enum s3_code code, const char *message)
{
    buf_addstr(out, "<Error>");
    s3_xml_text(out, "Key", key);
    s3_xml_text(out, "VersionId", version_id);
    s3_xml_text(out, "Code", s3_code_name(code));
    s3_xml_text(out, "Message",
                message != NULL && message[0] != '\0' ? message : s3_code_message(code));
    buf_addstr(out, "</Error>");
}

void s3_xml_delete_result_end(struct buf *out)
{
    buf_addstr(out, "</DeleteResult>");
}

void s3_xml_versioning(struct buf *out, const char *status)
{
    begin(out, "VersioningConfiguration");
    s3_xml_text(out, "Status", status);
    buf_addstr(out, "</VersioningConfiguration>");
}

void s3_xml_delete_begin(struct buf *out, bool quiet)
{
    begin(out, "Delete");
    add_bool(out, "Quiet", quiet);
}

void s3_xml_delete_key(struct buf *out, const char *key, const char *version_id, const char *etag)
{
    buf_addstr(out, "<Object>");
    s3_xml_text(out, "Key", key);
    s3_xml_text(out, "VersionId", version_id);
    if (etag != NULL) {
        add_etag(out, etag);
    }
    buf_addstr(out, "</Object>");
}

void s3_xml_delete_end(struct buf *out)
{
    buf_addstr(out, "</Delete>");
}

void s3_xml_complete_begin(struct buf *out)
{
    begin(out, "CompleteMultipartUpload");
}

void s3_xml_complete_part(struct buf *out, uint32_t number, const char *etag,
                          enum s3_checksum_kind kind, const char *checksum)
{
    buf_addstr(out, "<Part>");
    s3_xml_number(out, "PartNumber", number);
    add_etag(out, etag);
    add_checksum(out, kind, checksum);
    buf_addstr(out, "</Part>");
}

void s3_xml_complete_end(struct buf *out)
{
    buf_addstr(out, "</CompleteMultipartUpload>");
}

void s3_xml_create_bucket(struct buf *out, const char *region)
{
    begin(out, "CreateBucketConfiguration");
    s3_xml_text(out, "LocationConstraint", region);
    buf_addstr(out, "</CreateBucketConfiguration>");
}
