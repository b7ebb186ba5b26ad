/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xml.h - the XML of S3's replies and requests, written and read.
 *
 * Writers append to a struct buf (whose sticky error tells of failure). Lists are written entry by
 * entry, so that a server needs no array of its own:
 *
 *     s3_xml_list_begin(&out, &list);
 *     for each key:    s3_xml_list_key(&out, &list, &key);
 *     for each prefix: s3_xml_list_prefix(&out, &list, prefix);
 *     s3_xml_list_end(&out, &list);
 *
 * Bytes that XML 1.0 cannot hold are written as character references or, with encode_url,
 * percent-encoded. The reader is s3/xml_parse.h.
 */
#ifndef S3_XML_H
#define S3_XML_H

#include <stdbool.h>
#include <stdint.h>

#include "s3/checksum.h"
#include "s3/error.h"
#include "util/buf.h"

/* <Error>. Everything but the code may be NULL. */
struct s3_xml_error {
    enum s3_code code;
    const char *message; /* NULL or "": the code's default */
    const char *resource;
    const char *request_id;
    const char *bucket;
    const char *key;
    const char *region;     /* AuthorizationHeaderMalformed, redirects */
    const char *condition;  /* PreconditionFailed: name of the header */
    const char *details;    /* as struct s3_fault has them; NULL: none */
    const char *access_key; /* InvalidAccessKeyId, SignatureDoesNotMatch: what was shown, */
    const char *signature;  /* and what it was compared by; NULL: not told */
    const char *string_to_sign;
    const char *canonical_request;
};
void s3_xml_error(struct buf *out, const struct s3_xml_error *error);

void s3_xml_buckets_begin(struct buf *out, const char *owner_id, const char *owner_name);
/* region: NULL is not told. */
void s3_xml_buckets_entry(struct buf *out, const char *name, const char *region,
                          int64_t created_ns);
/* next_token, prefix: NULL for none. */
void s3_xml_buckets_end(struct buf *out, const char *next_token, const char *prefix);

enum s3_xml_list_kind { S3_XML_LIST_V1, S3_XML_LIST_V2, S3_XML_LIST_VERSIONS };

/* Head of a listing. Strings may be NULL for absent; owner_* NULL leaves the owner out. */
struct s3_xml_list {
    enum s3_xml_list_kind kind;
    bool encode_url;
    bool truncated;
    uint32_t max_keys;
    uint32_t key_count; /* V2 */
    const char *bucket;
    const char *prefix;
    const char *delimiter;
    const char *marker;      /* V1, VERSIONS (KeyMarker) */
    const char *marker2;     /* VERSIONS (VersionIdMarker) */
    const char *next_marker; /* V1, VERSIONS */
    const char *next_marker2;
    const char *start_after; /* V2 */
    const char *token;       /* V2 */
    const char *next_token;  /* V2 */
    const char *owner_id;
    const char *owner_name;
};

struct s3_xml_key {
    const char *key;
    uint64_t size;
    const char *etag; /* without quotes */
    int64_t mtime_ns;
    const char *storage_class; /* NULL: STANDARD */
    enum s3_checksum_kind checksum;
    bool composite;         /* the checksum */
    const char *version_id; /* VERSIONS; NULL: "null" */
    bool latest;
    bool delete_marker;
};

void s3_xml_list_begin(struct buf *out, const struct s3_xml_list *list);
void s3_xml_list_key(struct buf *out, const struct s3_xml_list *list, const struct s3_xml_key *key);
void s3_xml_list_prefix(struct buf *out, const struct s3_xml_list *list, const char *prefix);
void s3_xml_list_end(struct buf *out, const struct s3_xml_list *list);

void s3_xml_location(struct buf *out, const char *region); /* us-east-1 and NULL: empty element */

void s3_xml_upload_created(struct buf *out, const char *bucket, const char *key,
                           const char *upload_id);

/* CopyObjectResult and CopyPartResult. */
void s3_xml_copy_result(struct buf *out, bool part, const char *etag, int64_t mtime_ns,
                        enum s3_checksum_kind kind, const char *checksum);

struct s3_xml_completed {
    const char *location;
    const char *bucket;
    const char *key;
    const char *etag;
    enum s3_checksum_kind checksum_kind; /* NONE: no checksum elements */
    const char *checksum;
    bool composite;
};
void s3_xml_completed(struct buf *out, const struct s3_xml_completed *completed);

/* ListMultipartUploads and ListParts. */
struct s3_xml_uploads {
    const char *bucket;
    const char *key;                                                /* ListParts */
    const char *upload_id;                                          /* ListParts */
    const char *prefix, *delimiter, *key_marker, *upload_id_marker; /* uploads */
    const char *next_key_marker, *next_upload_id_marker;            /* uploads */
    uint32_t part_marker, next_part_marker;                         /* parts */
    uint32_t max_entries;
    bool truncated;
    bool encode_url;
    const char *owner_id, *owner_name;
    enum s3_checksum_kind checksum_kind; /* parts; NONE: not told */
    bool composite;
};
void s3_xml_uploads_begin(struct buf *out, const struct s3_xml_uploads *list);
struct s3_xml_upload {
    const char *key;
    const char *upload_id;
    int64_t started_ns;
    enum s3_checksum_kind checksum_kind; /* NONE: not told */
    bool composite;
};
void s3_xml_uploads_entry(struct buf *out, const struct s3_xml_uploads *list,
                          const struct s3_xml_upload *upload);
void s3_xml_uploads_prefix(struct buf *out, const struct s3_xml_uploads *list, const char *prefix);
void s3_xml_uploads_end(struct buf *out, const struct s3_xml_uploads *list);

struct s3_xml_part {
    uint32_t number;
    const char *etag;
    uint64_t size;
    int64_t mtime_ns;
    enum s3_checksum_kind checksum_kind;
    const char *checksum;
};
void s3_xml_parts_begin(struct buf *out, const struct s3_xml_uploads *list);
void s3_xml_parts_entry(struct buf *out, const struct s3_xml_part *part);
void s3_xml_parts_end(struct buf *out);

/* GetObjectAttributes. What was not asked for is NULL, NONE or false. */
struct s3_xml_attributes {
    const char *etag;
    const char *storage_class;
    const uint64_t *size;
    enum s3_checksum_kind checksum_kind;
    const char *checksum;
    bool composite;
    bool parts; /* <ObjectParts>, with the members below */
    uint32_t parts_total, part_marker, next_part_marker, max_parts;
    bool truncated;
    bool listed; /* parts follow one by one, the rest of the head goes with them */
};
void s3_xml_attributes_begin(struct buf *out, const struct s3_xml_attributes *attributes);
/* Of a listed part only number, size and checksum are told. */
void s3_xml_attributes_part(struct buf *out, const struct s3_xml_part *part);
void s3_xml_attributes_end(struct buf *out, const struct s3_xml_attributes *attributes);

void s3_xml_delete_result_begin(struct buf *out);
/* marker_id: of the delete marker that was made or removed; NULL: none was. */
void s3_xml_deleted(struct buf *out, const char *key, const char *version_id,
                    const char *marker_id);
void s3_xml_delete_error(struct buf *out, const char *key, const char *version_id,
                         enum s3_code code, const char *message);
void s3_xml_delete_result_end(struct buf *out);

/* VersioningConfiguration; NULL: never set. */
void s3_xml_versioning(struct buf *out, const char *status);

/* Requests, for a client. */
void s3_xml_delete_begin(struct buf *out, bool quiet);
/* NULL: any version, any ETag. */
void s3_xml_delete_key(struct buf *out, const char *key, const char *version_id, const char *etag);
void s3_xml_delete_end(struct buf *out);
void s3_xml_complete_begin(struct buf *out);
void s3_xml_complete_part(struct buf *out, uint32_t number, const char *etag,
                          enum s3_checksum_kind kind, const char *checksum);
void s3_xml_complete_end(struct buf *out);
void s3_xml_create_bucket(struct buf *out, const char *region);

/* Building blocks: <name>text</name> escaped; nothing when text is NULL. */
void s3_xml_text(struct buf *out, const char *name, const char *text);
void s3_xml_number(struct buf *out, const char *name, uint64_t number);
/* What XML 1.0 cannot hold (control characters, U+FFFE, U+FFFF) becomes U+FFFD: a document that
 * tells of it is one that can be read. Where a name must be right, ask first. */
void s3_xml_escape(struct buf *out, const char *text);
bool s3_xml_can_write(const char *text);

#endif
