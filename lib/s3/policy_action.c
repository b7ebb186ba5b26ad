/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/policy_action.h"

#include <strings.h>

#include "s3/wildcard.h"

#define OF_BUCKET(symbol, name) [S3_ACTION_##symbol] = {name, S3_ACTION_OF_BUCKET},
#define OF_OBJECT(symbol, name) [S3_ACTION_##symbol] = {name, S3_ACTION_OF_OBJECT},

static const struct {
    const char *name;
    enum s3_action_level level;
} actions[S3_ACTION_COUNT] = {S3_ACTIONS(OF_BUCKET, OF_OBJECT)};

_Static_assert(S3_ACTION_COUNT <= 128, "struct s3_action_set has 128 bits");

const char *s3_action_name(enum s3_action action)
{
    return (unsigned)action < S3_ACTION_COUNT ? actions[action].name : "";
}

enum s3_action_level s3_action_level(enum s3_action action)
{
    return actions[action].level;
}

bool s3_action_find(struct slice pattern, struct s3_action_set *ret)
{
    bool found = false;

    *ret = (struct s3_action_set){0};
    if (!slice_eq_str(pattern, "*")) {
        if (pattern.len <= 3 || strncasecmp(pattern.data, "s3:", 3) != 0) {
            return false;
        }
        pattern = (struct slice){pattern.data + 3, pattern.len - 3};
    }
    for (unsigned i = 0; i < S3_ACTION_COUNT; i++) {
        if (s3_wildcard_match(pattern, slice_of(actions[i].name), true)) {
            s3_action_add(ret, i);
            found = true;
        }
    }
    return found;
}
