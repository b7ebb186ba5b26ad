/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The input is a policy. What is accepted decides the same when it is read again, and of who signs
 * nothing as of a key that it does not name. Its bytes are also a pattern and a text, which fit
 * exactly when a slow and plain reader of patterns says so.
 */
#include <stdio.h>
#include <string.h>

#include "fuzz.h"
#include "s3/policy.h"
#include "s3/wildcard.h"

static struct slice say(void *arg, enum s3_policy_key key, const char *tag)
{
    const char *all = arg;

    (void)tag;
    if (key == S3_KEY_SOURCE_IP) {
        return slice_of(all[0] == '0' ? NULL : "10.0.0.1");
    }
    return key % 3 == 0 ? (struct slice){0} : slice_of(key % 3 == 1 ? "true" : "10");
}

static enum s3_policy_decision decide(const struct s3_policy *policy, unsigned action,
                                      const char *who, const char *key)
{
    static char nothing[] = "0", something[] = "1";
    const struct s3_policy_request request = {
        (enum s3_action)action, "bucket", key, who, {say, key != NULL ? something : nothing}};

    return s3_policy_decide(policy, &request);
}

/* One '*' is tried at each length. */
static bool plainly(struct slice pattern, struct slice text, int budget)
{
    if (pattern.len == 0 || budget == 0) {
        return text.len == 0;
    }
    if (pattern.data[0] == '*') {
        pattern = (struct slice){pattern.data + 1, pattern.len - 1};
        for (size_t i = 0; i <= text.len; i++) {
            if (plainly(pattern, (struct slice){text.data + i, text.len - i}, budget - 1)) {
                return true;
            }
        }
        return false;
    }
    return text.len > 0 && (pattern.data[0] == '?' || pattern.data[0] == text.data[0]) &&
           plainly((struct slice){pattern.data + 1, pattern.len - 1},
                   (struct slice){text.data + 1, text.len - 1}, budget - 1);
}

/* Half of the input is the pattern, half the text, both short and of few letters. */
static void check_wildcard(const uint8_t *data, size_t size)
{
    static const char letters[] = "ab*?";
    char pattern[9], text[12];
    size_t p = 0, t = 0;

    for (size_t i = 0; i < size && p < sizeof(pattern); i++) {
        pattern[p++] = letters[data[i] % 4];
    }
    for (size_t i = 0; i < size && t < sizeof(text); i++) {
        text[t++] = letters[data[size - 1 - i] / 4 % 2];
    }
    CHECK(s3_wildcard_match((struct slice){pattern, p}, (struct slice){text, t}, false) ==
          plainly((struct slice){pattern, p}, (struct slice){text, t}, 64));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {NULL, "app", "other"};
    static const char *const keys[] = {NULL, "k", "a/b"};
    struct s3_fault fault = S3_FAULT_INIT;
    struct s3_policy *policy = NULL, *again = NULL;
    int ret = s3_policy_parse(data, size, "bucket", NULL, &policy, &fault);

    check_wildcard(data, size);
    CHECK((ret == 0) == (policy != NULL) && (ret == 0) == (fault.code == S3_OK));
    if (ret != 0) {
        CHECK(fault.text[0] != '\0');
        return 0;
    }
    CHECK(size <= S3_POLICY_TEXT_MAX);
    CHECK(s3_policy_parse(data, size, "bucket", NULL, &again, &fault) == 0);
    for (unsigned action = 0; action < S3_ACTION_COUNT; action++) {
        for (size_t i = 0; i < 9; i++) {
            enum s3_policy_decision got = decide(policy, action, names[i % 3], keys[i / 3]);

            CHECK(got == decide(again, action, names[i % 3], keys[i / 3]));
            /* Nobody is allowed more by being nobody than by being somebody unnamed. */
            if (i % 3 == 0 && got != S3_POLICY_SILENT) {
                CHECK(decide(policy, action, "unnamed-by-all", keys[i / 3]) == got);
            }
        }
    }
    CHECK(s3_policy_public(policy) == s3_policy_public(again));
    s3_policy_free(policy);
    s3_policy_free(again);
    return 0;
}
