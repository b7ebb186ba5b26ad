/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sign.h - AWS Signature Version 4 as S3 uses it, for both ends of the wire.
 *
 * A message is described as it stands on the wire; nothing is copied. Client, header form (all
 * headers given are signed, so leave out what proxies change):
 *
 *     s3_signing_key_derive(secret, date, region, "s3", &key);
 *     s3_sign_header(&message, &params, payload_hash, &authorization);
 *
 * Server:
 *
 *     ret = s3_auth_parse(&message, &rules, &arena, &auth, &fault);     who, when, what kind of
 * payload if (ret == 0 && auth.kind != S3_AUTH_NONE) { look up the secret of auth.access_key;
 *         s3_signing_key_derive(secret, auth.date, auth.region, "s3", &key);   or from a cache
 *         ret = s3_auth_verify(&message, &auth, &key, &fault);  constant time
 *     }
 *
 * s3_auth_parse() is the only place that says whether a request is anonymous. A body that is hashed
 * (S3_PAYLOAD_SHA256) or streamed (s3/chunked.h) has still to be checked against what was signed.
 *
 * Errors: -EINVAL and what s3/error.h says for the fault's code; -ENOMEM. No state, no clock, no
 * I/O: safe from any thread. Keys and signatures never reach a fault's text.
 */
#ifndef S3_SIGN_H
#define S3_SIGN_H

#include <stdint.h>

#include "s3/error.h"
#include "util/arena.h"
#include "util/buf.h"
#include "util/slice.h"

enum {
    S3_TIMESTAMP_SIZE = 17, /* "20130524T000000Z" and NUL */
    S3_DATE_SIZE = 9,
    S3_HEX_SIZE = 65,
    S3_REGION_SIZE = 64,
    S3_ACCESS_KEY_SIZE = 129,
    S3_SCOPE_SIZE = 128,
    S3_PRESIGN_MAX_S = 604800,
    S3_SKEW_S = 900, /* how far a request's clock may be off */
    S3_SIGNED_HEADERS_MAX = 128,
    S3_TOKEN_MAX = 4095
};

/* The values of x-amz-content-sha256. */
enum s3_payload {
    S3_PAYLOAD_UNSIGNED,                  /* UNSIGNED-PAYLOAD */
    S3_PAYLOAD_SHA256,                    /* hex */
    S3_PAYLOAD_STREAMING,                 /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD */
    S3_PAYLOAD_STREAMING_TRAILER,         /* STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER */
    S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER /* STREAMING-UNSIGNED-PAYLOAD-TRAILER */
};

#define S3_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
#define S3_EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* The header's word for a streaming or unsigned kind; NULL for S3_PAYLOAD_SHA256. */
const char *s3_payload_name(enum s3_payload payload);

struct s3_header {
    struct slice name;
    struct slice value;
};

struct s3_message {
    struct slice method;
    struct slice path;  /* as on the wire: percent-encoded, starting with '/', without the query */
    struct slice query; /* as on the wire, without '?'; empty when there is none */
    const struct s3_header *headers; /* in the order of the wire; duplicates allowed */
    size_t header_count;
};

/* Value of the first header of that name (any case), or an empty slice with data NULL. */
struct slice s3_message_header(const struct s3_message *message, const char *name);

/* Whether several headers of that name say the same as one with all their values and commas
 * between, as they are signed. Of every other name the first is read, so it must be the only one.
 */
bool s3_header_repeats(struct slice name);

struct s3_signing_key {
    unsigned char bytes[32];
};

/* Four HMACs; keep the key for the day and region. `date` is YYYYMMDD. 0 or -ENOMEM. */
int s3_signing_key_derive(const char *secret, const char *date, const char *region,
                          const char *service, struct s3_signing_key *ret)
    __attribute__((warn_unused_result));

/* Seconds since 1970 as "20130524T000000Z", and back (-EINVAL). */
void s3_timestamp_format(int64_t time_s, char ret[S3_TIMESTAMP_SIZE]);
int s3_timestamp_parse(struct slice text, int64_t *ret) __attribute__((warn_unused_result));

/* "YYYYMMDD/region/service/aws4_request"; -EINVAL when too long. */
int s3_scope_format(const char *timestamp, const char *region, const char *service,
                    char ret[S3_SCOPE_SIZE]) __attribute__((warn_unused_result));

/* ---- client ---- */

struct s3_sign_params {
    const struct s3_signing_key *key; /* of the timestamp's day, region and service */
    const char *access_key;
    const char *session_token; /* presign only (else send the header); NULL: none */
    const char *region;
    const char *service;               /* "s3" */
    char timestamp[S3_TIMESTAMP_SIZE]; /* also sent as x-amz-date in the header form */
};

/*
 * Append the value of the Authorization header. All of message->headers are signed: host,
 * x-amz-date and x-amz-content-sha256 (equal to payload_hash) must be among them.
 * ret_signature gets the hex signature: the seed of a streamed body. It may be NULL.
 */
int s3_sign_header(const struct s3_message *message, const struct s3_sign_params *params,
                   const char *payload_hash, struct buf *authorization,
                   char ret_signature[S3_HEX_SIZE]) __attribute__((warn_unused_result));

/*
 * Append the query of a presigned URL (message->query with the X-Amz-* parameters and the
 * signature). message->headers hold at least host. -EINVAL: expires_s not 1 to 604800.
 */
int s3_presign(const struct s3_message *message, const struct s3_sign_params *params,
               uint32_t expires_s, struct buf *query) __attribute__((warn_unused_result));

/* The canonical request and the string to sign; for tests and for explaining a mismatch. */
int s3_canonical_request(const struct s3_message *message, struct slice signed_headers,
                         const char *payload_hash, bool presigned, struct buf *out)
    __attribute__((warn_unused_result));
int s3_string_to_sign(const char *timestamp, const char *scope, struct slice canonical_request,
                      struct buf *out) __attribute__((warn_unused_result));

/* Both of these at once: the hex signature of a canonical request. */
int s3_signature(struct slice canonical_request, const char *timestamp, const char *scope,
                 const struct s3_signing_key *key, char ret[S3_HEX_SIZE])
    __attribute__((warn_unused_result));

/* ---- server ---- */

enum s3_auth_kind {
    S3_AUTH_NONE,
    S3_AUTH_HEADER,
    S3_AUTH_QUERY,
    S3_AUTH_QUERY_V2 /* to be read and verified by sign_v2.h */
};

struct s3_auth_rules {
    int64_t now_s;      /* the server's clock */
    const char *region; /* the only one accepted; NULL: any */
    bool v2;            /* URLs may be presigned by Signature Version 2 */
};

/* What a request claims; nothing of it is true before s3_auth_verify() has returned 0. */
struct s3_auth {
    enum s3_auth_kind kind;
    char access_key[S3_ACCESS_KEY_SIZE];
    char date[S3_DATE_SIZE];
    char region[S3_REGION_SIZE];
    char timestamp[S3_TIMESTAMP_SIZE];
    int64_t time_s;
    uint32_t expires_s;              /* S3_AUTH_QUERY */
    const char *session_token;       /* of the arena; "": none; at most 4095 bytes */
    const char *signed_headers_text; /* of it too: lower case names with ';' between; as long */
    char signature[S3_HEX_SIZE];
    enum s3_payload payload;
    char payload_hash[S3_HEX_SIZE]; /* the header's value: hex or one of the words */
    const char *v2_expires;         /* S3_AUTH_QUERY_V2: as it stands in the URL, */
    const char *v2_query;           /* and what is signed of the query */
};

/*
 * Read Authorization or the X-Amz-* query, and check all that needs no secret: form, algorithm,
 * service, region, clock skew, expiry, that host and every x-amz-* header sent is signed, and that
 * not both forms are there. A request with neither is S3_AUTH_NONE. Of S3_AUTH_QUERY_V2, which only
 * rules->v2 allows, nothing but the kind is set.
 */
int s3_auth_parse(const struct s3_message *message, const struct s3_auth_rules *rules,
                  struct arena *arena, struct s3_auth *ret, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* Read the value of x-amz-content-sha256 into auth->payload and auth->payload_hash. */
int s3_payload_parse(struct slice value, struct s3_auth *auth, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* Compare signatures, in constant time. Not for S3_AUTH_QUERY_V2, which never fits here. */
int s3_auth_verify(const struct s3_message *message, const struct s3_auth *auth,
                   const struct s3_signing_key *key, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* ---- chunks of a streamed body, both ends ---- */

/* Where the chain of chunk signatures stands. Copy it freely. */
struct s3_chunk_chain {
    struct s3_signing_key key;
    char timestamp[S3_TIMESTAMP_SIZE];
    char scope[S3_SCOPE_SIZE];
    char previous[S3_HEX_SIZE]; /* at first the request's own signature */
};

int s3_chunk_chain_init(struct s3_chunk_chain *chain, const struct s3_signing_key *key,
                        const char *timestamp, const char *region, const char *seed_signature)
    __attribute__((warn_unused_result));

/* Sign the next chunk, given the hex SHA-256 of its bytes; the chain moves on. */
int s3_chunk_chain_next(struct s3_chunk_chain *chain, const char *sha256_hex)
    __attribute__((warn_unused_result));

/* Sign the trailer block ("name:value\n" per trailer). */
int s3_chunk_chain_trailer(struct s3_chunk_chain *chain, struct slice trailers)
    __attribute__((warn_unused_result));

#endif
