/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stores.h - what the endpoint serves: a store with its buckets, volumes as buckets, or both.
 *
 *     struct stores stores = {0};
 *     ret = stores_init(&stores, &config, &err);
 *     volume = stores_volume(&stores, "bucket");    NULL: it is the store's, if there is one
 *     stores_done(&stores);
 *
 * One location of volume/open.h each; endpoint, credentials and the like are those of every s3://
 * among them. The credentials file holds {"access_key", "secret_key", "session_token"} and must not
 * be readable by group or others. After stores_init() only read, by any thread.
 */
#ifndef S3PROXY_STORES_H
#define S3PROXY_STORES_H

#include "objstore/objstore.h"
#include "volume/volume.h"

struct stores_config {
    const char *store;            /* s3://, dir:///ROOT, mem://; NULL: volumes only */
    const char *endpoint;         /* NULL: AWS for the region */
    const char *region;           /* NULL: "us-east-1" */
    const char *credentials_file; /* NULL: anonymous */
    const char *ca_file;          /* NULL: the system's authorities only */
    uint32_t connections;         /* to it, of all that is at it together; 0: 64 */
    bool virtual_host_style;
    bool now;                   /* the embedded store's objstore_now() is to be asked */
    const char *const *volumes; /* NAME=LOCATION, NULL after the last; NULL: none */
};

struct store_volume {
    char *name; /* the bucket that clients see */
    struct volume *volume;
    bool embedded;
};

struct stores {
    struct objstore *store;
    bool embedded;                /* it is */
    struct store_volume *volumes; /* sorted by name */
    size_t volume_count;
};

/* -EINVAL, or why a file cannot be used, with err; nothing is left behind then. */
int stores_init(struct stores *stores, const struct stores_config *config, struct error *err)
    __attribute__((warn_unused_result));
void stores_done(struct stores *stores);
/* True when the bucket's store is our own, which takes bodies of any length and whose words are for
 * clients, too. */
bool stores_embedded(const struct stores *stores, const char *bucket);
struct volume *stores_volume(const struct stores *stores, const char *bucket);

#endif
