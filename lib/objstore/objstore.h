/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objstore.h - an object store behind one asynchronous interface, whatever the backend.
 *
 * This header is for callers; backends and wrappers include objstore_backend.h.
 *
 * Every operation is a struct objstore_request that the caller fills and submits:
 *
 *     struct objstore_request get = {
 *         .op = OBJSTORE_GET, .bucket = "b", .key = "dir/file",
 *         .range = {.offset = 0, .len = 1 << 20}, .if_match = etag,
 *         .sink = {.write = to_buffer}, .done = on_done, .arg = this,
 *     };
 *     objstore_submit(store, &get);
 *
 * Contract
 *   - objstore_submit() never blocks on the store and always leads to exactly one call of
 *     done(request, result): also for bad arguments (-EINVAL), after objstore_cancel()
 *     (-ECANCELED, unless the operation had ended already) and at objstore_free(). done() may be
 *     called before objstore_submit() returns.
 *   - The request and everything it points to stay the caller's, unchanged, until done() is
 *     called; done() may free them. The result and all it points to are valid only inside done().
 *   - Callbacks come from the store's own threads, never two at once for one request. They must
 *     not block; they may submit and cancel other requests.
 *   - Keys are 1 to OBJSTORE_KEY_MAX bytes without NUL; bucket names follow S3's rules. No other
 *     rule is put on keys: "a", "a/b", "a//b", "../x" and "d/" are five different objects.
 *   - A put or a completed upload is visible either whole or not at all, and durable when done()
 *     reports 0. A GET's bytes are all of one version.
 *
 * Errors (negative errno values)
 *   -ENOENT        no such bucket, key, version or upload
 *   -ENODATA       the bucket has no such document
 *   -EEXIST        if_none_match failed, or the bucket exists
 *   -ESTALE        if_match failed
 *   -ENOTEMPTY     the bucket holds objects
 *   -EACCES        credentials or policy refuse
 *   -EKEYEXPIRED   the credentials have expired
 *   -EBUSY         the store asks to slow down (after retries)
 *   -ETIMEDOUT     no answer in timeout_ms
 *   -EFBIG         too large for the store
 *   -ENOSPC        the store is full
 *   -ERANGE        the range starts beyond the end
 *   -EBADMSG       checksum or body does not match
 *   -EPERM         retention or a lock forbids it
 *   -ENOTSUP       this store cannot do that
 *   -ECONNREFUSED, -EHOSTUNREACH   cannot be reached
 *   -ECONNRESET    the connection was lost
 *   -EPROTO        TLS failed: an unknown authority, another name, no common version
 *   -EIO           anything else
 */
#ifndef OBJSTORE_OBJSTORE_H
#define OBJSTORE_OBJSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/error.h"

enum {
    OBJSTORE_KEY_MAX = 1024,  /* bytes, from S3 */
    OBJSTORE_BUCKET_MAX = 63, /* bytes, from S3 */
    OBJSTORE_ETAG_MAX = 128,  /* bytes without quotes, NUL included */
    OBJSTORE_VERSION_MAX = 128,
    OBJSTORE_UPLOAD_MAX = 256,
    OBJSTORE_BATCH_MAX = 1000, /* keys in one batch delete, parts or keys in one list page */
    OBJSTORE_PARTS_MAX = 10000,
    OBJSTORE_META_MAX = 64,        /* user metadata entries */
    OBJSTORE_DOC_MAX = 128 * 1024, /* bytes of a bucket's document */
};

#define OBJSTORE_TO_END UINT64_MAX /* range.len: to the end of the object */

struct objstore;
struct objstore_request;

enum objstore_op {
    OBJSTORE_BUCKET_LIST,
    OBJSTORE_BUCKET_CREATE,
    OBJSTORE_BUCKET_HEAD,   /* result: caps, as far as probed or known for the backend */
    OBJSTORE_BUCKET_DELETE, /* only an empty one: -ENOTEMPTY */
    OBJSTORE_BUCKET_PROBE,  /* finds out the capabilities by trying them under `key` as prefix;
                             * timeout_ms is of each of its some twenty steps */
    OBJSTORE_GET,
    OBJSTORE_HEAD,
    OBJSTORE_PUT,
    OBJSTORE_COPY,
    OBJSTORE_DELETE,
    OBJSTORE_DELETE_BATCH,
    OBJSTORE_LIST,
    OBJSTORE_LIST_VERSIONS,
    OBJSTORE_UPLOAD_CREATE,
    OBJSTORE_UPLOAD_PART,
    OBJSTORE_UPLOAD_PART_COPY,
    OBJSTORE_UPLOAD_COMPLETE,
    OBJSTORE_UPLOAD_ABORT,
    OBJSTORE_UPLOAD_LIST, /* open uploads under prefix */
    OBJSTORE_UPLOAD_LIST_PARTS,
    OBJSTORE_BUCKET_DOC_GET, /* a document that configures a bucket: -ENODATA when there is none */
    OBJSTORE_BUCKET_DOC_PUT, /* -ENOTSUP: this store does not do what the document is about */
    OBJSTORE_BUCKET_DOC_DELETE, /* 0 also when there is none */
    OBJSTORE_TAGS_GET,          /* of an object */
    OBJSTORE_TAGS_PUT,
    OBJSTORE_TAGS_DELETE,
    OBJSTORE_OP_COUNT
};

/* Lower-case name of an operation ("get", "upload_part"), for logs and metrics. */
const char *objstore_op_name(enum objstore_op op);

/* True for an operation that only reads. */
bool objstore_op_reads(enum objstore_op op);

/*
 * The documents of a bucket, as S3 has them: JSON (policy) or XML. A store keeps and gives their
 * text; what they mean is their readers' business, but for versioning.
 */
enum objstore_doc {
    OBJSTORE_DOC_POLICY,
    OBJSTORE_DOC_CORS,
    OBJSTORE_DOC_TAGGING,
    OBJSTORE_DOC_OWNERSHIP, /* a bucket begins with BucketOwnerEnforced */
    OBJSTORE_DOC_VERSIONING,
    OBJSTORE_DOC_PUBLIC_ACCESS_BLOCK,
    /* The embedded store has none of what follows. */
    OBJSTORE_DOC_ACCELERATE,
    OBJSTORE_DOC_ENCRYPTION,
    OBJSTORE_DOC_LIFECYCLE,
    OBJSTORE_DOC_LOGGING,
    OBJSTORE_DOC_NOTIFICATION,
    OBJSTORE_DOC_OBJECT_LOCK,
    OBJSTORE_DOC_REPLICATION,
    OBJSTORE_DOC_REQUEST_PAYMENT,
    OBJSTORE_DOC_WEBSITE,
    OBJSTORE_DOC_COUNT
};

/* S3's name of its subresource ("policy", "publicAccessBlock"). */
const char *objstore_doc_name(enum objstore_doc doc);

struct objstore_pair {
    const char *name; /* user metadata: lower case, without "x-amz-meta-" */
    const char *value;
};

/* What travels with an object besides its bytes. NULL members are absent. */
struct objstore_meta {
    const char *content_type;
    const char *content_encoding;
    const char *content_language;
    const char *content_disposition;
    const char *cache_control;
    const char *expires;
    const char *storage_class;
    const struct objstore_pair *user;
    size_t user_count;
};

enum objstore_checksum_kind {
    OBJSTORE_CHECKSUM_NONE,
    OBJSTORE_CHECKSUM_CRC32,
    OBJSTORE_CHECKSUM_CRC32C,
    OBJSTORE_CHECKSUM_CRC64NVME,
    OBJSTORE_CHECKSUM_SHA1,
    OBJSTORE_CHECKSUM_SHA256
};

struct objstore_checksum {
    enum objstore_checksum_kind kind;
    char value[64]; /* base64, as in x-amz-checksum-*; "" with a kind: only the kind is asked for */
    bool composite; /* of a multipart object: checksum of the parts' checksums */
};

struct objstore_info {
    uint64_t size;
    char etag[OBJSTORE_ETAG_MAX];          /* opaque, without quotes */
    char version_id[OBJSTORE_VERSION_MAX]; /* "" when the bucket has no versions; "null": made while
                                            * it kept none */
    int64_t mtime_ns;                      /* last modified, since 1970 UTC */
    struct objstore_meta meta;             /* filled by GET and HEAD only */
    struct objstore_checksum checksum;
    uint32_t tag_count;        /* GET, HEAD: how many tags the object has */
    uint32_t parts;            /* of a multipart object when known, else 0 */
    int64_t retained_until_ns; /* GET, HEAD: not to be deleted before; 0: no retention is known */
    bool legal_hold;           /* GET, HEAD: not to be deleted until somebody lifts it */
};

struct objstore_range {
    uint64_t offset;
    uint64_t len; /* OBJSTORE_TO_END: all that follows; 0 is not allowed in a GET */
};

/* One entry of a listing. */
struct objstore_entry {
    const char *key;    /* with `prefix` set: the common prefix, its delimiter included */
    bool prefix;        /* a common prefix; info is then empty */
    bool delete_marker; /* LIST_VERSIONS only */
    bool latest;        /* LIST_VERSIONS only */
    struct objstore_info info;
};

struct objstore_bucket_entry {
    const char *name;
    int64_t created_ns;
};

struct objstore_upload_entry {
    const char *key;       /* with `prefix` set: the common prefix, its delimiter included */
    const char *upload_id; /* "" of a common prefix */
    int64_t started_ns;
    bool prefix;
    struct objstore_checksum checksum; /* kind and composite, where the store tells them */
};

struct objstore_part {
    uint32_t number; /* 1 to OBJSTORE_PARTS_MAX */
    char etag[OBJSTORE_ETAG_MAX];
    uint64_t size;    /* filled by UPLOAD_LIST_PARTS and HEAD */
    int64_t mtime_ns; /* filled by UPLOAD_LIST_PARTS */
    struct objstore_checksum checksum;
};

/* What else an object must be for a deletion. */
struct objstore_match {
    const char *etag; /* NULL: any; "*": it must exist */
    bool by_size, by_mtime;
    uint64_t size;
    int64_t mtime_s;
};

/* One key of a batch delete. */
struct objstore_victim {
    const char *key;
    const char *version_id; /* NULL: the current one */
    struct objstore_match match;
    int error;                            /* set by the store: 0 or a negative errno value */
    bool marked;                          /* and: a delete marker was made or removed, */
    char marker_id[OBJSTORE_VERSION_MAX]; /* which has this version id */
};

/*
 * Where the bytes of a PUT or UPLOAD_PART come from: `data`, or else read().
 * read() returns bytes put into buffer (at most cap), 0 for none left, -EAGAIN to pause until
 * objstore_resume(), or another negative errno value that ends the request. rewind() starts over
 * for a retry; without it a request that has sent bytes is not retried. `size` must be the exact
 * total: fewer or more bytes end the request with -EBADMSG and store nothing. A directory store
 * also takes OBJSTORE_TO_END: what read() gives until it says 0.
 *
 * lend() (optional, beside read(), with release() and without rewind()) is for a store that need
 * not have the bytes in a buffer of its own: it returns what read() would, as many as there are in
 * a row, and says where they lie. They stay until they are released, in the order in which they
 * came, or the request is done. While they do, no more than ret_window bytes come. A request is
 * read in one of the two ways.
 *
 * sum (optional, of a CRC kind) is of all the bytes once there are none left: whoever has just
 * brought them has them in his cache, and the store need not sum them up again.
 */
struct s3_checksum;
struct objstore_source {
    const void *data;
    uint64_t size;
    ssize_t (*read)(struct objstore_request *request, void *buffer, size_t cap);
    int (*rewind)(struct objstore_request *request);
    ssize_t (*lend)(struct objstore_request *request, const void **ret_bytes, size_t *ret_window);
    void (*release)(struct objstore_request *request, size_t len);
    const struct s3_checksum *sum;
};

/*
 * Where the bytes of a GET go. info() (optional) comes first, once, with the object's metadata and
 * the range that will be sent; its return other than 0 ends the request. write() takes all of data
 * and returns 0, or takes none and returns -EAGAIN (paused until objstore_resume(), then the same
 * bytes come again), or ends the request with another negative errno value. A retry inside the
 * store goes on at the byte it had reached, under if_match with the first answer's ETag.
 */
/* file() (optional) may come in place of all write()s, from a store that has the object as a plain
 * file and at hand (in memory): the range lies at range.offset of fd, which is the receiver's to
 * close from then on. -ENOTSUP: not taken, write() it. */
struct objstore_sink {
    int (*info)(struct objstore_request *request, const struct objstore_info *info,
                struct objstore_range range);
    int (*write)(struct objstore_request *request, const void *data, size_t len);
    int (*file)(struct objstore_request *request, int fd, struct objstore_range range);
};

/* What a bucket can do: probed, not assumed. */
struct objstore_caps {
    bool if_match_put;
    bool if_none_match_put;
    bool conditional_complete;
    bool conditional_delete;
    bool conditional_copy; /* COPY keeps to if_match and if_none_match of its target */
    bool part_copy;
    bool batch_delete;
    bool conditional_batch; /* and DELETE_BATCH keeps to the victims' match.etag */
    bool unequal_parts;
    bool checksums;      /* CRC32C of a PUT is checked */
    bool part_checksums; /* and of a part, also in an upload that was begun without a checksum */
    bool versions;       /* versioning is on (or, where the store can tell, suspended) */
    uint64_t part_min, part_max, object_max, copy_max; /* bytes */
};

struct objstore_result {
    int status;                /* 0 or a negative errno value, as listed above */
    int s3_code;               /* enum s3_code (s3/error.h) when the store named one, else 0 */
    struct error error;        /* text for people when status < 0 */
    bool lasting;              /* the failure is no passing one, whatever its status: damage */
    struct objstore_info info; /* HEAD, GET, PUT, COPY, UPLOAD_PART(_COPY), UPLOAD_COMPLETE */
    /* DELETE: a delete marker was made or removed; GET, HEAD and TAGS_* that failed: there is one.
     * info.version_id is the marker's, or that of the version deleted; info.mtime_ns its time. */
    bool delete_marker;
    char source_version_id[OBJSTORE_VERSION_MAX]; /* COPY, UPLOAD_PART_COPY; "": no versions */
    const char *upload_id;                        /* UPLOAD_CREATE */
    const struct objstore_entry *entries; /* LIST, LIST_VERSIONS: keys and prefixes in byte order */
    const struct objstore_bucket_entry *buckets;
    const struct objstore_upload_entry *uploads;
    const struct objstore_part *parts; /* UPLOAD_LIST_PARTS; HEAD with list_parts */
    struct objstore_range range;       /* HEAD with part_number: where the part lies */
    size_t count;                      /* of whichever array is set */
    bool truncated;                    /* more follows: pass the three below in the next request */
    const char *next_token;            /* LIST: opaque */
    const char *next_marker;  /* LIST_VERSIONS, UPLOAD_LIST: key; UPLOAD_LIST_PARTS: number */
    const char *next_marker2; /* LIST_VERSIONS: version id; UPLOAD_LIST: upload id */
    const struct objstore_caps *caps; /* BUCKET_HEAD, BUCKET_PROBE */
    const char *document;             /* BUCKET_DOC_GET */
    /* Whose the bucket is, as in request.account, also beside a -ENODATA: HEAD, lists, BUCKET_HEAD,
     * BUCKET_DOC_GET. NULL: the store does not know. */
    const char *owner;
    const char *tags; /* TAGS_GET: as in the request; "": none */
};

struct objstore_request {
    enum objstore_op op;
    const char *bucket;
    const char *key;             /* also the prefix of LIST and UPLOAD_LIST: there NULL means "" */
    const char *version_id;      /* NULL: the current one */
    struct objstore_range range; /* GET: len 0 with offset 0 means the whole object */
    /* HEAD: the parts that a multipart object was joined of, by marker and max_entries; none when
     * the store does not tell them. */
    bool list_parts;

    /*
     * Whose the bucket must be (-EACCES with S3's AccessDenied); NULL: it may be anybody's. "" is
     * who makes buckets without an account. BUCKET_CREATE: whose it shall be; BUCKET_LIST: only
     * these. Only the directory backend knows of owners, the others don't look at it.
     */
    const char *account;
    const char *source_account; /* the same of source_bucket */

    /* Conditions: NULL for none. `if_none_match` "*": only if absent. */
    const char *if_match;
    const char *if_none_match;
    /* DELETE: what else it must be, but for its ETag. Only the directory backend looks at it. */
    const struct objstore_match *match;

    /* PUT, UPLOAD_CREATE, COPY with replace_meta */
    const struct objstore_meta *meta;
    struct objstore_checksum checksum; /* PUT, UPLOAD_PART, UPLOAD_CREATE, UPLOAD_COMPLETE */
    const char *content_md5;           /* base64, checked by the store; NULL for none */
    /* This store is known to check the checksum given: what protects the bytes on their way. */
    bool checksum_is_checked;

    /* COPY, UPLOAD_PART_COPY (range: of the source) */
    const char *source_bucket;
    const char *source_key;
    const char *source_version_id;
    const char *source_if_match;
    const char *source_if_none_match;
    const int64_t *source_if_modified_since;   /* seconds since 1970 UTC; NULL for none */
    const int64_t *source_if_unmodified_since; /* as S3: nothing beside a source_if_match */
    bool replace_meta;
    /* This store is known to keep to conditions on the target (caps.conditional_copy). Most others
     * than AWS do not look at them: there such a COPY is not sent, -ENOTSUP. */
    bool target_is_checked;

    /* LIST, LIST_VERSIONS, UPLOAD_LIST, UPLOAD_LIST_PARTS */
    const char *delimiter;   /* NULL or "": none */
    const char *start_after; /* LIST: only keys that sort after it; ignored with a token */
    const char *token;
    const char *marker, *marker2;
    uint32_t max_entries; /* 0: OBJSTORE_BATCH_MAX */

    /* Multipart */
    const char *upload_id;
    /* GET, HEAD: only this part of a multipart object (-ERANGE when it has none of the number),
     * with the part's checksum in the info, where there is one. Not beside a range. */
    uint32_t part_number;
    const struct objstore_part *parts; /* UPLOAD_COMPLETE: ascending numbers */
    size_t parts_count;
    const uint64_t *whole_size; /* UPLOAD_COMPLETE: what the parts add up to; NULL: not told */
    bool check_composite;       /* UPLOAD_COMPLETE: checksum.composite must be the upload's */

    struct objstore_victim *victims; /* DELETE_BATCH: at most OBJSTORE_BATCH_MAX */
    size_t victims_count;
    bool tell_markers; /* DELETE_BATCH: of the victims; a longer answer of some stores */
    /* This store is known to keep to match.etag in a batch (caps.conditional_batch). Elsewhere a
     * victim that has one is deleted by a request of its own. */
    bool match_is_checked;

    /* PUT, UPLOAD_CREATE, TAGS_PUT, COPY with replace_tags: "name=value&name2=value2", both
     * percent-encoded (s3/tags.h); NULL or "": none. */
    const char *tags;
    bool replace_tags; /* COPY: else the source's go along */

    enum objstore_doc doc; /* BUCKET_DOC_* */
    const char *document;  /* BUCKET_DOC_PUT: 1 to OBJSTORE_DOC_MAX bytes, as XML or JSON */

    struct objstore_source source;
    struct objstore_sink sink;
    uint32_t timeout_ms; /* from submit to done, retries included; 0: the store's default, 60 s */

    void (*done)(struct objstore_request *request, const struct objstore_result *result);
    void *arg; /* the caller's */

    void *store_private[4]; /* the store's between submit and done; callers leave it alone */
};

/* Start an operation; see the contract above. */
void objstore_submit(struct objstore *store, struct objstore_request *request);

/*
 * Answer a GET or HEAD on the caller's thread, if that needs no waiting for a disk, a lock or
 * anybody else: for event loops. True: it is over, done() was called. False: nothing was called
 * back, objstore_submit() it. The result is the same in both ways. write() and file() must take
 * what they get: what they return but 0 ends the request. Any thread, but one at a time gets an
 * answer. Only a directory store that was opened for it ever answers so.
 */
bool objstore_now(struct objstore *store, struct objstore_request *request)
    __attribute__((warn_unused_result));

/*
 * Ask a submitted request to end soon with -ECANCELED. Does not wait and calls nothing back, so a
 * lock may be held. Must not race with the freeing of the request: call it only while done() is
 * known not to have returned yet.
 */
void objstore_cancel(struct objstore *store, struct objstore_request *request);

/* Continue a request whose read() or write() said -EAGAIN. As cancel; spurious calls are allowed.
 */
void objstore_resume(struct objstore *store, struct objstore_request *request);

/* Cancel all that runs, wait for it, and release the store. NULL is allowed. Not from a callback.
 */
void objstore_free(struct objstore *store);

/*
 * A number that is another one, before done() is called, whenever a document of any bucket was
 * changed or a bucket made or deleted, by any process of this machine. What was read after the
 * number was taken is true while it stays the same. False: this store cannot tell. Any thread.
 */
bool objstore_changes(const struct objstore *store, uint64_t *ret);

/* Name of the backend and where it points ("s3 https://host", "dir /path"): for logs. */
const char *objstore_name(const struct objstore *store);

#endif
