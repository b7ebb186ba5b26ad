/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policies.h - what this worker remembers of who may use which bucket: policies that were read.
 *
 *     rules = policies_find(policies, "bucket", changes, now_ms);      NULL: ask the store
 *     ret = bucket_rules_new("bucket", policy_text, block_text, &rules);
 *     policies_keep(policies, rules, changes, now_ms);
 *     bucket_rules_unref(rules);
 *
 * What is remembered counts while the store's number of changes (objstore_changes()) is the one
 * that was taken before it was read, and a second at most. One thread, the event loop's.
 */
#ifndef S3PROXY_POLICIES_H
#define S3PROXY_POLICIES_H

#include <stdbool.h>
#include <stdint.h>

#include "s3/names.h"
#include "s3/policy.h"
#include "s3/public_access.h"

enum { BUCKET_OWNER_MAX = 255 };

struct bucket_rules {
    unsigned refs;
    char bucket[S3_BUCKET_MAX + 1];
    char owner[BUCKET_OWNER_MAX + 1]; /* the account, as the store has it */
    struct s3_policy *policy;         /* NULL: none, */
    bool broken; /* or one that cannot be read: nobody may do anything but mend it */
    struct s3_public_access block;
};

/* Texts as the store keeps them, NULL for none. One reference is the caller's. -ENOMEM. */
int bucket_rules_new(const char *bucket, const char *policy, const char *block,
                     struct bucket_rules **ret) __attribute__((warn_unused_result));
struct bucket_rules *bucket_rules_ref(struct bucket_rules *rules);
void bucket_rules_unref(struct bucket_rules *rules);

struct policies;

/* slots: the most buckets that are remembered. -ENOMEM. */
int policies_new(size_t slots, struct policies **ret) __attribute__((warn_unused_result));
void policies_free(struct policies *policies);

/* A reference for the caller, or NULL. */
struct bucket_rules *policies_find(struct policies *policies, const char *bucket, uint64_t changes,
                                   uint64_t now_ms);
void policies_keep(struct policies *policies, struct bucket_rules *rules, uint64_t changes,
                   uint64_t now_ms);

#endif
