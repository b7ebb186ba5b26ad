/* SPDX-License-Identifier: Apache-2.0 */
/*
 * source.h - what is to be mounted, from the words of a StorageClass, PersistentVolume or pod.
 *
 * The dialects of the common S3 CSI drivers are understood: in the attributes `bucket`,
 * `bucketName`, `prefix`, `mounter`, `options`, `mountOptions`, `endpoint`, `region`; in the Secret
 * `accessKeyID`, `secretAccessKey`, `sessionToken`, `endpoint`, `region`, `stsEndpoint`, `roleArn`,
 * `stsDuration`, the AWS variable names, and key_id/access_key as well as access-key/secret-key. An
 * attribute that is not known is an error by name; what else a Secret holds is ignored.
 *
 *     CLEANUP(csi_source_done) struct csi_source source = CSI_SOURCE_INIT;
 *     struct csi_source_input input = {.volume_id = id, .context = context, .secrets = secrets};
 *
 *     r = csi_source_parse(&policy, &input, &source, err);
 *
 * No I/O; any thread. Errors: -EINVAL (err says what to change), -EACCES (an endpoint that the
 * operator does not allow), -ENOMEM. No error text holds a secret.
 */
#ifndef CSI_SOURCE_H
#define CSI_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "csi/map.h"
#include "mount/config.h"
#include "mount/options.h"
#include "util/error.h"

#define CSI_EPHEMERAL_KEY "csi.storage.k8s.io/ephemeral"
#define CSI_MANAGED_KEY "skyvol.io/managed"

/* What the operator of the node allows. */
struct csi_policy {
    /* Endpoints that may be named: "https://host", "https://host:port", "host", "*.domain"; none:
     * all but those with an address_refusal(). What is listed is allowed, loopback and link-local
     * addresses included. */
    char *const *endpoints;
    size_t endpoint_count;
};

struct csi_source_input {
    const char *volume_id;
    struct csi_map context;
    struct csi_map secrets;
    char *const *mount_flags;
    size_t mount_flag_count;
    const char *mount_group; /* a gid, or "" */
    bool read_only;          /* nobody may write at all */
};

struct csi_source {
    char *bucket;   /* NULL for a managed volume: the metaserver knows */
    char *prefix;   /* "" or ends in '/' */
    char *location; /* s3://bucket/prefix; NULL for a managed volume */
    bool managed;
    bool ephemeral; /* an inline volume: all its words are a user's */
    char *wish; /* the options as JSON, without what the Secret says: Stage and Publish may be given
                   different ones, or none */
    struct mount_options options;
    struct mount_credentials credentials;
    char *sts_endpoint; /* of the Secret, for the store that is made of it; or NULL */
    char *role_arn;
    uint32_t sts_duration_s; /* 0: not given */
};

#define CSI_SOURCE_INIT                                                                            \
    {                                                                                              \
        .bucket = NULL                                                                             \
    }

int csi_source_parse(const struct csi_policy *policy, const struct csi_source_input *input,
                     struct csi_source *ret, struct error *err) __attribute__((warn_unused_result));
void csi_source_done(struct csi_source *source);

/* 0, or -EACCES: not among the operator's, or on the node itself without being listed. */
int csi_policy_check(const struct csi_policy *policy, const char *endpoint, struct error *err)
    __attribute__((warn_unused_result));

/* "bucket" or "bucket/prefix" into names that S3 allows. The caller frees both. */
int csi_bucket_split(const char *text, char **ret_bucket, char **ret_prefix, struct error *err)
    __attribute__((warn_unused_result));

/* Sizes as Kubernetes writes them: 1073741824, 10Gi, 5G, 1.5Ti. -EINVAL, -ERANGE. */
int csi_size_parse(const char *text, uint64_t *ret) __attribute__((warn_unused_result));

#endif
