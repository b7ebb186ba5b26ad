/* SPDX-License-Identifier: Apache-2.0 */
/*
 * s3.h - the S3 backend: any store that speaks S3, over lib/http and lib/s3.
 *
 *     struct objstore_s3_config config = {.endpoint = "https://s3.example", .credentials = ...};
 *     ret = objstore_s3_new(&config, &store, &err);
 *
 * Signature Version 4. Over TLS bodies go as UNSIGNED-PAYLOAD, over plain http they are signed
 * (hash when in memory, signed chunks when streamed): but for those with a checksum that the store
 * checks, where nobody can be between it and us (loopback, or `unsigned_payload`). A bucket in
 * another region is found out by the store's own answer and remembered. Retries are a wrapper's
 * work; the backend itself sends a request again only in two cases that no wrapper can see: the
 * region was wrong, or credentials were replaced while it was under way and it failed for the old
 * ones.
 *
 * Safe from any thread. Errors and callbacks: objstore.h. Error texts say what to look at (clock,
 * key, endpoint, authority of the certificate) and hold no secret.
 */
#ifndef OBJSTORE_S3_H
#define OBJSTORE_S3_H

#include "objstore/objstore.h"

struct http_client;

struct objstore_s3_credentials {
    const char *access_key; /* NULL with secret_key NULL: anonymous */
    const char *secret_key;
    const char *session_token; /* NULL: none */
};

/* What new objects get, and how requests are paid; NULL and false: as the bucket has it. */
struct objstore_s3_wishes {
    const char *storage_class; /* where a request's metadata names none */
    const char *acl;           /* a canned one: "private", "bucket-owner-full-control", ... */
    const char *sse;           /* "AES256", "aws:kms", "aws:kms:dsse" */
    const char *sse_key;       /* of KMS; NULL: the account's default */
    bool requester_pays;       /* agree to pay, in every request */
};

struct objstore_s3_config {
    const char *endpoint; /* http(s)://host[:port], NULL or "": AWS for the region */
    const char *region;   /* NULL: "us-east-1" */
    struct objstore_s3_credentials credentials; /* copied, wiped when replaced or freed */
    const char *ca_file;                        /* PEM of further authorities; NULL: none */
    bool public_only; /* -EACCES for an endpoint with an address_refusal(): this machine, ... */
    bool insecure;    /* certificates are not verified */
    bool unsigned_payload; /* nobody else is on the network, though it is plain http */
    bool virtual_host_style;
    struct objstore_s3_wishes wishes; /* copied */
    struct http_client *beside;       /* share its threads, connections and TLS settings, and
                                         ignore those here; see http/http.h. NULL: own ones */
    uint32_t transfer_threads;        /* 0: 2 */
    uint32_t max_connections;         /* 0: 64 */
    uint32_t transfer_buffer;         /* bytes, for each way; 0: 128 KiB, at most that */
    uint32_t request_timeout_ms;      /* 0: 60000; of requests whose timeout_ms is 0 */
    uint32_t connect_timeout_ms;      /* 0: 10000 */
};

int objstore_s3_new(const struct objstore_s3_config *config, struct objstore **ret,
                    struct error *err) __attribute__((warn_unused_result));

/* Use others from the next request on. `base` must come from objstore_s3_new(). 0 or -ENOMEM. */
int objstore_s3_set_credentials(struct objstore *base,
                                const struct objstore_s3_credentials *credentials)
    __attribute__((warn_unused_result));

/* Requests sent and connections opened so far. */
struct objstore_s3_stats {
    uint64_t requests;
    uint64_t connections;
};
void objstore_s3_get_stats(struct objstore *base, struct objstore_s3_stats *ret);

#endif
