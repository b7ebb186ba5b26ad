/* SPDX-License-Identifier: Apache-2.0 */
/* A direct-mapped table: the name's hash picks the one slot a bucket may have. */
#include "s3proxy/policies.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/log.h"

enum { FRESH_MS = 1000 };

struct slot {
    struct bucket_rules *rules; /* NULL: empty */
    uint64_t changes, read_ms;
};

struct policies {
    size_t count;
    struct slot slots[];
};

static void read_policy(struct bucket_rules *rules, const char *text)
{
    struct s3_fault fault = S3_FAULT_INIT;

    if (s3_policy_parse(text, strlen(text), rules->bucket, NULL, &rules->policy, &fault) != 0) {
        log_error("a bucket's policy cannot be read: it is closed", "bucket", rules->bucket,
                  "error", s3_fault_text(&fault), NULL);
        rules->broken = true;
    }
}

int bucket_rules_new(const char *bucket, const char *policy, const char *block,
                     struct bucket_rules **ret)
{
    struct bucket_rules *rules = calloc(1, sizeof(*rules));
    struct s3_fault fault = S3_FAULT_INIT;

    if (rules == NULL) {
        return -ENOMEM;
    }
    rules->refs = 1;
    (void)snprintf(rules->bucket, sizeof(rules->bucket), "%s", bucket);
    if (policy != NULL) {
        read_policy(rules, policy);
    }
    if (block != NULL && s3_public_access_parse(block, strlen(block), &rules->block, &fault) != 0) {
        rules->block = (struct s3_public_access){true, true, true, true};
    }
    *ret = rules;
    return 0;
}

struct bucket_rules *bucket_rules_ref(struct bucket_rules *rules)
{
    rules->refs++;
    return rules;
}

void bucket_rules_unref(struct bucket_rules *rules)
{
    if (rules != NULL && --rules->refs == 0) {
        s3_policy_free(rules->policy);
        free(rules);
    }
}

int policies_new(size_t slots, struct policies **ret)
{
    struct policies *policies = calloc(1, sizeof(*policies) + slots * sizeof(struct slot));

    if (policies == NULL || slots == 0) {
        free(policies);
        return slots == 0 ? -EINVAL : -ENOMEM;
    }
    policies->count = slots;
    *ret = policies;
    return 0;
}

void policies_free(struct policies *policies)
{
    for (size_t i = 0; policies != NULL && i < policies->count; i++) {
        bucket_rules_unref(policies->slots[i].rules);
    }
    free(policies);
}

static struct slot *slot_of(struct policies *policies, const char *bucket)
{
    uint64_t hash = 0xCBF29CE484222325U; /* FNV-1a */

    for (; *bucket != '\0'; bucket++) {
        hash = (hash ^ (unsigned char)*bucket) * 0x100000001B3U;
    }
    return &policies->slots[hash % policies->count];
}

struct bucket_rules *policies_find(struct policies *policies, const char *bucket, uint64_t changes,
                                   uint64_t now_ms)
{
    const struct slot *slot = slot_of(policies, bucket);

    return slot->rules != NULL && slot->changes == changes && now_ms - slot->read_ms < FRESH_MS &&
                   strcmp(slot->rules->bucket, bucket) == 0
               ? bucket_rules_ref(slot->rules)
               : NULL;
}

void policies_keep(struct policies *policies, struct bucket_rules *rules, uint64_t changes,
                   uint64_t now_ms)
{
    struct slot *slot = slot_of(policies, rules->bucket);

    bucket_rules_unref(slot->rules);
    *slot = (struct slot){bucket_rules_ref(rules), changes, now_ms};
}
