/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xml_parse.h - read the XML that S3 servers answer and S3 clients send.
 *
 * One reader for all documents: it finds out which by the root element.
 *
 *     struct s3_xml_doc *doc;
 *     ret = s3_xml_parse(body, len, &doc, &fault);
 *     if (ret == 0 && doc->root == S3_XML_DELETE) ...doc->items[0 .. doc->count)
 *     s3_xml_doc_free(doc);
 *
 * Namespaces are ignored, unknown elements skipped. Refused with -EINVAL (MalformedXML): DTDs and
 * entities, nesting deeper than 16, more than S3_XML_ITEMS_MAX items, text over S3_XML_TEXT_MAX
 * bytes, numbers and dates that are none, unknown roots. Keys listed with encoding-type=url come
 * decoded. A document belongs to one thread at a time.
 */
#ifndef S3_XML_PARSE_H
#define S3_XML_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "s3/checksum.h"
#include "s3/error.h"

enum {
    S3_XML_ITEMS_MAX = 10000,
    S3_XML_TEXT_MAX = 8192,
    S3_XML_BODY_MAX = 16 * 1024 * 1024,
};

enum s3_xml_root {
    S3_XML_ERROR,
    S3_XML_BUCKETS,       /* ListAllMyBucketsResult */
    S3_XML_LIST,          /* ListBucketResult */
    S3_XML_VERSIONS,      /* ListVersionsResult */
    S3_XML_LOCATION,      /* LocationConstraint */
    S3_XML_UPLOADS,       /* ListMultipartUploadsResult */
    S3_XML_PARTS,         /* ListPartsResult */
    S3_XML_CREATED,       /* InitiateMultipartUploadResult */
    S3_XML_COMPLETED,     /* CompleteMultipartUploadResult */
    S3_XML_COPIED,        /* CopyObjectResult, CopyPartResult */
    S3_XML_DELETED,       /* DeleteResult */
    S3_XML_DELETE,        /* request: Delete */
    S3_XML_COMPLETE,      /* request: CompleteMultipartUpload */
    S3_XML_CREATE_BUCKET, /* request: CreateBucketConfiguration */
    S3_XML_VERSIONING,    /* VersioningConfiguration */
    S3_XML_TAGGING,       /* Tagging, request and answer */
    S3_XML_OWNERSHIP      /* OwnershipControls */
};

enum s3_xml_item_kind {
    S3_XML_KEY,     /* Contents, Version, Deleted, Object, Upload, Bucket (name in key) */
    S3_XML_PREFIX,  /* CommonPrefixes */
    S3_XML_MARKER,  /* DeleteMarker */
    S3_XML_FAILURE, /* Error inside DeleteResult */
    S3_XML_PART,
    S3_XML_TAG, /* name in key */
    S3_XML_RULE /* of OwnershipControls: ObjectOwnership in value */
};

/* Strings are never NULL ("" when absent) and live as long as the document. */
struct s3_xml_item {
    enum s3_xml_item_kind kind;
    const char *key; /* or bucket name or prefix */
    const char *version_id;
    const char *marker_id; /* Deleted: DeleteMarkerVersionId */
    const char *upload_id;
    const char *etag; /* without quotes */
    const char *storage_class;
    const char *code;    /* S3_XML_FAILURE */
    const char *message; /* S3_XML_FAILURE */
    const char *checksum;
    const char *value; /* S3_XML_TAG, S3_XML_RULE; of a part its number as it was written */
    enum s3_checksum_kind checksum_kind;
    uint64_t size;
    int64_t time_ns;        /* LastModified, Initiated, CreationDate */
    uint32_t number;        /* 0 for one below, UINT32_MAX for one beyond */
    unsigned int checksums; /* how many values there were; the last is told */
    bool latest;
    bool marker;             /* Deleted: DeleteMarker */
    bool composite;          /* ChecksumType */
    bool has_size, has_time; /* told at all */
};

struct s3_xml_doc {
    enum s3_xml_root root;
    struct s3_xml_item *items; /* keys and prefixes in the order of the document */
    size_t count;
    bool truncated;
    bool quiet;   /* Delete */
    bool tag_set; /* Tagging: there was a TagSet, if an empty one */
    const char *bucket;
    const char *key;
    const char *upload_id;
    const char *next_token;
    const char *next_marker;  /* NextMarker, NextKeyMarker, NextPartNumberMarker */
    const char *next_marker2; /* NextVersionIdMarker, NextUploadIdMarker */
    const char *etag;         /* without quotes */
    const char *location;     /* LocationConstraint, CreateBucketConfiguration */
    const char *region;       /* Error */
    const char *endpoint;     /* Error: redirects */
    const char *code;         /* Error */
    const char *message;      /* Error */
    const char *status;       /* VersioningConfiguration */
    const char *mfa_delete;   /* VersioningConfiguration */
    const char *checksum;
    enum s3_checksum_kind checksum_kind;
    bool composite;
    int64_t time_ns;
};

int s3_xml_parse(const void *body, size_t len, struct s3_xml_doc **ret, struct s3_fault *fault)
    __attribute__((warn_unused_result));
void s3_xml_doc_free(struct s3_xml_doc *doc);

#endif
