/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3_private.h - what the parts of the S3 backend share; not for others.
 *
 *   s3.c          the store: configuration, credentials, what was learned of buckets
 *   s3_call.c     the life of one operation: send, judge the answer, send again or end
 *   s3_request.c  operation -> URL, headers, signature
 *   s3_body.c     bodies that go out: plain, or in signed chunks
 *   s3_reply.c    answer -> result
 *   s3_list.c     XML answers -> result arrays
 *   s3_docs.c     documents of buckets, tags of objects
 *   s3_batch.c    batch delete, key by key where it must be
 *   s3_probe.c    trying out what a bucket can do
 *
 * A call belongs to the transfer thread that answers its HTTP request; only cancel and resume come
 * from others, and touch nothing but `cancelled` and the HTTP client.
 */
#ifndef OBJSTORE_S3_PRIVATE_H
#define OBJSTORE_S3_PRIVATE_H

#include <stdatomic.h>

#include "http/http.h"
#include "objstore/objstore_backend.h"
#include "objstore/s3.h"
#include "s3/chunked.h"
#include "s3/xml_parse.h"
#include "util/arena.h"
#include "util/mutex.h"

enum {
    S3_HEADERS_MAX = 32 + OBJSTORE_META_MAX,
    S3_ARENA_MAX = 8 * 1024 * 1024,
    S3_ERROR_BODY_MAX = 64 * 1024,
    S3_CHUNK = 64 * 1024,
    S3_VALUE_MAX = 64 * 1024, /* one header's value, decoded or encoded */
    S3_BUCKETS_KNOWN = 64,    /* buckets whose region or capabilities are remembered */
    S3_CLOCK_HINT_S = 300,
};

/* One set of credentials; shared by the calls that use it, wiped with the last. */
struct s3_identity {
    atomic_uint refs;
    uint64_t generation;
    bool anonymous;
    char *access_key;
    char *secret_key;
    char *session_token;
};

struct s3_bucket_facts {
    char name[OBJSTORE_BUCKET_MAX + 1];
    char region[S3_REGION_SIZE]; /* "": the store's */
    bool probed;
    struct objstore_caps caps;
};

struct s3_store {
    struct objstore base;
    struct http_client *http;
    bool tls, aws, virtual_host;
    bool is_private; /* nobody can be between the store and us */
    char *host;      /* host[:port], without a default port; NULL with aws */
    char region[S3_REGION_SIZE];
    uint32_t timeout_ms;
    char *storage_class, *acl, *sse, *sse_key; /* of new objects; or NULL */
    bool requester_pays;
    _Atomic int64_t clock_off_s; /* what the store's clock shows beyond ours; 0 until it objects */

    struct mutex lock;
    struct s3_identity *identity GUARDED_BY(lock);
    struct s3_bucket_facts facts[S3_BUCKETS_KNOWN] GUARDED_BY(lock);
    size_t next_fact GUARDED_BY(lock);

    /* The signing key used last. */
    struct s3_signing_key key GUARDED_BY(lock);
    uint64_t key_generation GUARDED_BY(lock);
    char key_scope[S3_SCOPE_SIZE] GUARDED_BY(lock);
};

struct s3_chunk_stage {
    bool active;
    struct s3_chunk_encoder encoder;
    char *block;      /* room for framing, S3_CHUNK bytes of the source, and their end */
    size_t block_len; /* of the source, not encoded yet */
    uint64_t source_left;
    bool source_ended;      /* it said so */
    size_t out_at, out_end; /* in `block`: encoded, not sent yet */
    bool ended;
};

struct s3_call {
    atomic_uint refs;
    atomic_bool cancelled;
    struct s3_store *store;
    struct objstore_request *request;
    struct arena arena;
    uint64_t deadline_ms;

    /* what is being sent */
    const char *method;
    struct buf url;
    size_t path_at, query_at; /* in url; query_at 0: none */
    struct http_header headers[S3_HEADERS_MAX];
    size_t header_count;
    int build_error;
    struct http_request http;
    struct s3_identity *identity;
    char region[S3_REGION_SIZE];
    struct buf body; /* XML that goes out */
    struct s3_chunk_stage stage;
    int64_t signed_s; /* the time it was signed for */
    bool sent_again_for_region, sent_again_for_keys, sent_again_for_clock;
    bool asked_why, asking_why; /* a HEAD that was refused: one byte is asked for instead */

    /* the answer */
    int http_status;
    bool to_sink;
    uint64_t skip, want; /* of a whole answer to a request for a range */
    struct s3_checksum sum;
    struct buf reply;
    char bucket_region[S3_REGION_SIZE];
    int64_t answer_time_s; /* Date header; 0: none */
    struct objstore_result result;

    /* batch delete */
    size_t victim; /* the next one to delete singly */
    bool singly;
    bool no_batch; /* the store has no DeleteObjects; told by result.s3_code */
};

/* ---- s3.c ---- */
/* Now, as the store's clock has it, in seconds since 1970. */
int64_t s3_store_now_s(const struct s3_store *store);
struct s3_identity *s3_store_identity(struct s3_store *store);
void s3_identity_unref(struct s3_identity *identity);
/* True when newer credentials than these are there. */
bool s3_store_has_newer(struct s3_store *store, const struct s3_identity *identity);
void s3_store_region(struct s3_store *store, const char *bucket, char ret[S3_REGION_SIZE]);
void s3_store_learn_region(struct s3_store *store, const char *bucket, const char *region);
void s3_store_caps(struct s3_store *store, const char *bucket, struct objstore_caps *ret);
void s3_store_learn_caps(struct s3_store *store, const char *bucket,
                         const struct objstore_caps *caps);
int s3_store_signing_key(struct s3_store *store, const struct s3_identity *identity,
                         const char *timestamp, const char *region, struct s3_signing_key *ret)
    __attribute__((warn_unused_result));

/* ---- s3_call.c ---- */
void s3_call_start(struct s3_store *store, struct objstore_request *request);
void s3_call_cancel(struct s3_store *store, struct objstore_request *request);
/* Build and send the request for the call's operation. */
void s3_call_send(struct s3_call *call);
/* End the call with what result holds. The call is gone afterwards. */
void s3_call_end(struct s3_call *call);
void s3_call_fail(struct s3_call *call, int status, const char *pattern, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- s3_request.c ---- */
int s3_request_build(struct s3_call *call) __attribute__((warn_unused_result));
/* The same for one DELETE, whatever the call's operation. */
int s3_request_build_delete(struct s3_call *call, const struct objstore_victim *victim)
    __attribute__((warn_unused_result));

/* ---- s3_body.c ---- */
int s3_body_prepare(struct s3_call *call, const struct s3_chunk_chain *chain,
                    enum s3_payload payload, enum s3_checksum_kind kind)
    __attribute__((warn_unused_result));
ssize_t s3_body_read(struct http_request *http, void *buffer, size_t cap);
int s3_body_rewind(struct http_request *http);
void s3_body_done(struct s3_call *call);

/* ---- s3_reply.c ---- */
int s3_reply_head(struct http_request *http, const struct http_head *head);
int s3_reply_write(struct http_request *http, const void *data, size_t len);
/* Judge a whole answer of status below 300. Sets result.status. */
void s3_reply_success(struct s3_call *call);
/* Turn an answer into code, status and text. */
void s3_reply_failure(struct s3_call *call, enum s3_code *ret_code);

/* ---- s3_list.c ---- */
void s3_list_result(struct s3_call *call, const struct s3_xml_doc *doc);

/* ---- s3_docs.c ---- */
int s3_docs_body(struct s3_call *call) __attribute__((warn_unused_result));
void s3_docs_answered(struct s3_call *call);

/* ---- s3_batch.c ---- */
int s3_batch_body(struct s3_call *call) __attribute__((warn_unused_result));
/* True for a key that XML cannot carry, and for a condition. */
void s3_batch_start(struct s3_call *call);
void s3_batch_answered(struct s3_call *call, const struct s3_xml_doc *doc);
/* Go on with what has to be deleted one by one, or end the call. */
void s3_batch_next(struct s3_call *call);

/* ---- s3_probe.c ---- */
void s3_probe_start(struct s3_store *store, struct objstore_request *request);
void s3_probe_cancel(struct objstore_request *request);

#endif
