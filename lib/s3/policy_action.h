/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_action.h - the actions that a bucket's policy may name: S3's, also those that nothing here
 * does, so that a policy written for S3 says the same. No state.
 */
#ifndef S3_POLICY_ACTION_H
#define S3_POLICY_ACTION_H

#include <stdbool.h>
#include <stdint.h>

#include "util/slice.h"

/* Of a bucket (B) or of an object in it (O). */
#define S3_ACTIONS(B, O)                                                                           \
    B(CREATE_BUCKET, "CreateBucket")                                                               \
    B(DELETE_BUCKET, "DeleteBucket")                                                               \
    B(DELETE_BUCKET_POLICY, "DeleteBucketPolicy")                                                  \
    B(DELETE_BUCKET_WEBSITE, "DeleteBucketWebsite")                                                \
    B(GET_ACCELERATE, "GetAccelerateConfiguration")                                                \
    B(GET_ANALYTICS, "GetAnalyticsConfiguration")                                                  \
    B(GET_BUCKET_ACL, "GetBucketAcl")                                                              \
    B(GET_BUCKET_CORS, "GetBucketCORS")                                                            \
    B(GET_BUCKET_LOCATION, "GetBucketLocation")                                                    \
    B(GET_BUCKET_LOGGING, "GetBucketLogging")                                                      \
    B(GET_BUCKET_NOTIFICATION, "GetBucketNotification")                                            \
    B(GET_BUCKET_OBJECT_LOCK, "GetBucketObjectLockConfiguration")                                  \
    B(GET_BUCKET_OWNERSHIP, "GetBucketOwnershipControls")                                          \
    B(GET_BUCKET_POLICY, "GetBucketPolicy")                                                        \
    B(GET_BUCKET_POLICY_STATUS, "GetBucketPolicyStatus")                                           \
    B(GET_BUCKET_PUBLIC_ACCESS, "GetBucketPublicAccessBlock")                                      \
    B(GET_BUCKET_REQUEST_PAYMENT, "GetBucketRequestPayment")                                       \
    B(GET_BUCKET_TAGGING, "GetBucketTagging")                                                      \
    B(GET_BUCKET_VERSIONING, "GetBucketVersioning")                                                \
    B(GET_BUCKET_WEBSITE, "GetBucketWebsite")                                                      \
    B(GET_ENCRYPTION, "GetEncryptionConfiguration")                                                \
    B(GET_TIERING, "GetIntelligentTieringConfiguration")                                           \
    B(GET_INVENTORY, "GetInventoryConfiguration")                                                  \
    B(GET_LIFECYCLE, "GetLifecycleConfiguration")                                                  \
    B(GET_METRICS, "GetMetricsConfiguration")                                                      \
    B(GET_REPLICATION, "GetReplicationConfiguration")                                              \
    B(LIST_BUCKET, "ListBucket")                                                                   \
    B(LIST_BUCKET_UPLOADS, "ListBucketMultipartUploads")                                           \
    B(LIST_BUCKET_VERSIONS, "ListBucketVersions")                                                  \
    B(PUT_ACCELERATE, "PutAccelerateConfiguration")                                                \
    B(PUT_ANALYTICS, "PutAnalyticsConfiguration")                                                  \
    B(PUT_BUCKET_ACL, "PutBucketAcl")                                                              \
    B(PUT_BUCKET_CORS, "PutBucketCORS")                                                            \
    B(PUT_BUCKET_LOGGING, "PutBucketLogging")                                                      \
    B(PUT_BUCKET_NOTIFICATION, "PutBucketNotification")                                            \
    B(PUT_BUCKET_OBJECT_LOCK, "PutBucketObjectLockConfiguration")                                  \
    B(PUT_BUCKET_OWNERSHIP, "PutBucketOwnershipControls")                                          \
    B(PUT_BUCKET_POLICY, "PutBucketPolicy")                                                        \
    B(PUT_BUCKET_PUBLIC_ACCESS, "PutBucketPublicAccessBlock")                                      \
    B(PUT_BUCKET_REQUEST_PAYMENT, "PutBucketRequestPayment")                                       \
    B(PUT_BUCKET_TAGGING, "PutBucketTagging")                                                      \
    B(PUT_BUCKET_VERSIONING, "PutBucketVersioning")                                                \
    B(PUT_BUCKET_WEBSITE, "PutBucketWebsite")                                                      \
    B(PUT_ENCRYPTION, "PutEncryptionConfiguration")                                                \
    B(PUT_TIERING, "PutIntelligentTieringConfiguration")                                           \
    B(PUT_INVENTORY, "PutInventoryConfiguration")                                                  \
    B(PUT_LIFECYCLE, "PutLifecycleConfiguration")                                                  \
    B(PUT_METRICS, "PutMetricsConfiguration")                                                      \
    B(PUT_REPLICATION, "PutReplicationConfiguration")                                              \
    O(ABORT_UPLOAD, "AbortMultipartUpload")                                                        \
    O(BYPASS_GOVERNANCE, "BypassGovernanceRetention")                                              \
    O(DELETE_OBJECT, "DeleteObject")                                                               \
    O(DELETE_OBJECT_TAGGING, "DeleteObjectTagging")                                                \
    O(DELETE_VERSION, "DeleteObjectVersion")                                                       \
    O(DELETE_VERSION_TAGGING, "DeleteObjectVersionTagging")                                        \
    O(GET_OBJECT, "GetObject")                                                                     \
    O(GET_OBJECT_ACL, "GetObjectAcl")                                                              \
    O(GET_OBJECT_ATTRIBUTES, "GetObjectAttributes")                                                \
    O(GET_OBJECT_LEGAL_HOLD, "GetObjectLegalHold")                                                 \
    O(GET_OBJECT_RETENTION, "GetObjectRetention")                                                  \
    O(GET_OBJECT_TAGGING, "GetObjectTagging")                                                      \
    O(GET_OBJECT_TORRENT, "GetObjectTorrent")                                                      \
    O(GET_VERSION, "GetObjectVersion")                                                             \
    O(GET_VERSION_ACL, "GetObjectVersionAcl")                                                      \
    O(GET_VERSION_ATTRIBUTES, "GetObjectVersionAttributes")                                        \
    O(GET_VERSION_REPLICATION, "GetObjectVersionForReplication")                                   \
    O(GET_VERSION_TAGGING, "GetObjectVersionTagging")                                              \
    O(GET_VERSION_TORRENT, "GetObjectVersionTorrent")                                              \
    O(LIST_PARTS, "ListMultipartUploadParts")                                                      \
    O(PUT_OBJECT, "PutObject")                                                                     \
    O(PUT_OBJECT_ACL, "PutObjectAcl")                                                              \
    O(PUT_OBJECT_LEGAL_HOLD, "PutObjectLegalHold")                                                 \
    O(PUT_OBJECT_RETENTION, "PutObjectRetention")                                                  \
    O(PUT_OBJECT_TAGGING, "PutObjectTagging")                                                      \
    O(PUT_VERSION_ACL, "PutObjectVersionAcl")                                                      \
    O(PUT_VERSION_TAGGING, "PutObjectVersionTagging")                                              \
    O(REPLICATE_DELETE, "ReplicateDelete")                                                         \
    O(REPLICATE_OBJECT, "ReplicateObject")                                                         \
    O(REPLICATE_TAGS, "ReplicateTags")                                                             \
    O(RESTORE_OBJECT, "RestoreObject")

#define S3_ACTION_ENTRY(symbol, name) S3_ACTION_##symbol,
enum s3_action { S3_ACTIONS(S3_ACTION_ENTRY, S3_ACTION_ENTRY) S3_ACTION_COUNT };
#undef S3_ACTION_ENTRY

enum s3_action_level { S3_ACTION_OF_BUCKET = 1, S3_ACTION_OF_OBJECT = 2 };

/* Bits by enum s3_action. */
struct s3_action_set {
    uint64_t bits[2];
};

static inline void s3_action_add(struct s3_action_set *set, unsigned action)
{
    set->bits[action / 64] |= UINT64_C(1) << (action % 64);
}

static inline bool s3_action_in(const struct s3_action_set *set, unsigned action)
{
    return (set->bits[action / 64] >> (action % 64) & 1) != 0;
}

/* "GetObject"; without "s3:". */
const char *s3_action_name(enum s3_action action);
enum s3_action_level s3_action_level(enum s3_action action);

/* The actions that "s3:Get*" or "*" names; false when it names none. Either case. */
bool s3_action_find(struct slice pattern, struct s3_action_set *ret);

#endif
