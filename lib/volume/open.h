/* SPDX-License-Identifier: Apache-2.0 */
/*
 * open.h - from the words of an operator or a Secret to an open volume.
 *
 * The one place where a location such as "s3://bucket/prefix", "dir:///srv/store/bucket/prefix" or
 * "mem://bucket", an endpoint, a region and credentials become a store with its retry,
 * fault-injection and metrics wrappers, and then a volume.
 */
#ifndef VOLUME_OPEN_H
#define VOLUME_OPEN_H

#include "objstore/retry.h"
#include "objstore/s3.h"
#include "util/metrics.h"
#include "volume/volume.h"

struct volume_credentials {
    const char *access_key;    /* NULL with secret_key NULL: anonymous */
    const char *secret_key;    /* never logged, never in an error text */
    const char *session_token; /* NULL: none */
};

/*
 * dir:///ROOT/BUCKET/PREFIX: ROOT is the first folder on the path that is a store; where none is,
 * the last component is the bucket and what stands before it becomes the root. mem:// lives in this
 * process, and its bucket is made; every other bucket must exist.
 */
struct volume_open_config {
    const char *location; /* s3://bucket[/prefix], dir:///root/bucket[/prefix], mem://bucket */
    const char *endpoint; /* http(s)://host[:port]; NULL: AWS for the region */
    const char *region;   /* NULL: "us-east-1" */
    struct volume_credentials credentials;
    const char *ca_file;     /* PEM of further authorities; NULL: the system's only */
    bool insecure;           /* https without verifying certificates */
    bool virtual_host_style; /* default: path style */
    bool unsigned_payload;   /* plain http without signed bodies, see objstore/s3.h */
    struct objstore_s3_wishes wishes;
    bool public_only; /* the endpoint is somebody's who must not reach this machine by it */
    bool read_only;
    bool now; /* a directory: objstore_now() answers what is in memory, see objstore/dir.h */
    struct http_client *beside;  /* of S3: whose connections to share, see objstore/s3.h */
    uint32_t dir_threads;        /* of a directory; 0: 8 */
    uint32_t transfer_threads;   /* 0: 2 */
    uint32_t max_connections;    /* 0: 64 */
    uint32_t transfer_buffer;    /* bytes, for each way; 0: 128 KiB, at most that */
    uint32_t request_timeout_ms; /* 0: 60000 */
    uint32_t tries;              /* of one request within that time; 0: 10 */
    const char *faults;          /* fault-injection rules for tests; NULL: none */
    struct metrics *metrics;     /* objstore_* are counted there; NULL: not */
    /* Told of every try of a request, see objstore/retry.h; NULL: nobody. */
    void (*watch)(void *context, const struct objstore_watched *watched);
    void *watch_context;
};

int volume_open(const struct volume_open_config *config, struct volume **ret, struct error *err)
    __attribute__((warn_unused_result));

/*
 * Only the store, for those who make buckets: a location without a bucket, "s3://", "dir:///root"
 * or "mem://". objstore_free() it.
 */
int volume_open_store(const struct volume_open_config *config, struct objstore **ret,
                      struct error *err) __attribute__((warn_unused_result));

/*
 * Use other credentials from the next request on. Requests under way finish with the old ones; one
 * that fails for them is sent once more with the new ones. -ENOTSUP: not an S3 store.
 */
int volume_set_credentials(struct volume *volume, const struct volume_credentials *credentials)
    __attribute__((warn_unused_result));

#endif
