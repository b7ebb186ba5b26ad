/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/key_entry.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount/config.h"
#include "s3/names.h"
#include "util/cleanup.h"

enum {
    BUCKETS_MAX = 1000,
    NAME_MAX_LEN = 128 /* of an account */
};

#define KNOWN                                                                                      \
    "access_key, secret_key, buckets, read_only, account, display_name, expires_s, "               \
    "requests_per_second, request_burst, concurrent_requests, upload_rate, download_rate, "        \
    "internal"
#define FLAG "true or false"
#define NAME "a text of 1 to 128 characters of ASCII, none of <>&\"'"
#define RATE "a number of requests, up to 1000000, or 0 for no limit"
#define BYTES "bytes a second, at least 1024, or 0 for no limit"

void key_entry_done(struct credential *key)
{
    free(key->access_key);
    free(key->account);
    free(key->display_name);
    if (key->secret_key != NULL) {
        explicit_bzero(key->secret_key, strlen(key->secret_key));
    }
    free(key->secret_key);
    for (size_t i = 0; key->buckets != NULL && key->buckets[i] != NULL; i++) {
        free(key->buckets[i]);
    }
    free(key->buckets);
    *key = (struct credential){0};
}

const cJSON *key_entry_member(const cJSON *object, const char *word)
{
    char own[MOUNT_WORD_MAX + 1];

    for (const cJSON *item = cJSON_IsObject(object) ? object->child : NULL; item != NULL;
         item = item->next) {
        mount_key_word(item->string, own);
        if (strcmp(own, word) == 0) {
            return item;
        }
    }
    return NULL;
}

const char *key_entry_shown(const char *name, char buffer[KEY_ENTRY_SHOWN])
{
    size_t len = 0;

    for (; name[len] != '\0' && len < KEY_ENTRY_SHOWN - 1; len++) {
        buffer[len] = '?';
        if (name[len] >= ' ' && name[len] <= '~') {
            buffer[len] = name[len];
        }
    }
    buffer[len] = '\0';
    return buffer;
}

/* A number, or the text of one: in a Secret all is text. Negative: it is neither. */
static double number_of(const cJSON *item)
{
    const char *text = cJSON_GetStringValue(item);
    char *end = NULL;
    double number = cJSON_IsNumber(item) ? item->valuedouble : -1;

    if (text != NULL && text[0] >= '0' && text[0] <= '9') {
        number = (double)strtoull(text, &end, 10);
        number = *end == '\0' ? number : -1;
    }
    return number;
}

int key_entry_time(const cJSON *item, int64_t *ret)
{
    double number = number_of(item);

    if (!(number >= 1 && number <= 1e15)) {
        return -EINVAL;
    }
    *ret = (int64_t)number;
    return 0;
}

static int limit_read(const cJSON *item, uint64_t min, uint64_t max, uint64_t *ret)
{
    double number = number_of(item);

    if (!(number >= 0 && number <= (double)max) || (number > 0 && number < (double)min)) {
        return -EINVAL;
    }
    *ret = (uint64_t)number;
    return 0;
}

/* In a Secret all is text. */
static int flag_read(const cJSON *item, bool *ret)
{
    const char *text = cJSON_GetStringValue(item);

    *ret = cJSON_IsTrue(item) || (text != NULL && strcmp(text, "true") == 0);
    return *ret || cJSON_IsFalse(item) || (text != NULL && strcmp(text, "false") == 0) ? 0
                                                                                       : -EINVAL;
}

/* A name for people and programs. It goes into headers and XML. */
static int name_read(const cJSON *item, char **ret)
{
    const char *text = cJSON_GetStringValue(item);

    if (text == NULL || text[0] == '\0' || strlen(text) > NAME_MAX_LEN) {
        return -EINVAL;
    }
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < ' ' || *c > '~' || strchr("<>&\"'", *c) != NULL) {
            return -EINVAL;
        }
    }
    *ret = strdup(text);
    return *ret != NULL ? 0 : -ENOMEM;
}

static int buckets_check(const cJSON *list)
{
    int count = cJSON_GetArraySize(list);

    if (!cJSON_IsArray(list) || count == 0 || count > BUCKETS_MAX) {
        return -EINVAL; /* nothing would be a key of no use, or a slip that opens everything */
    }
    for (const cJSON *item = list->child; item != NULL; item = item->next) {
        const char *name = cJSON_GetStringValue(item);

        if (name == NULL || !s3_bucket_valid(slice_of(name))) {
            return -EINVAL;
        }
    }
    return 0;
}

/* Of a list that was checked. */
static int buckets_copy(const cJSON *list, struct credential *ret)
{
    int i = 0;

    if (list == NULL) {
        return 0;
    }
    ret->buckets = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*ret->buckets));
    if (ret->buckets == NULL) {
        return -ENOMEM;
    }
    for (const cJSON *item = list->child; item != NULL; item = item->next) {
        ret->buckets[i] = strdup(item->valuestring);
        if (ret->buckets[i++] == NULL) {
            return -ENOMEM;
        }
    }
    return 0;
}

enum kind {
    PASSED_OVER,
    PAIR,
    IS_FLAG,
    IS_TIME,
    IS_ACCOUNT,
    IS_DISPLAY_NAME,
    IS_RATE,
    IS_BYTES,
    IS_BUCKETS
};

struct member {
    const char *word;
    enum kind kind;
    size_t offset; /* in struct credential */
};

#define AT(member) offsetof(struct credential, member)
static const struct member members[] = {
    {"accesskey", PAIR, 0},
    {"accesskeyid", PAIR, 0},
    {"awsaccesskeyid", PAIR, 0},
    {"keyid", PAIR, 0},
    {"secretkey", PAIR, 0},
    {"secretaccesskey", PAIR, 0},
    {"awssecretaccesskey", PAIR, 0},
    {"buckets", IS_BUCKETS, 0},
    {"readonly", IS_FLAG, AT(read_only)},
    {"internal", IS_FLAG, AT(internal)},
    {"account", IS_ACCOUNT, 0},
    {"displayname", IS_DISPLAY_NAME, 0},
    {"expiress", IS_TIME, AT(expires_s)},
    {"requestspersecond", IS_RATE, AT(limits.requests)},
    {"requestburst", IS_RATE, AT(limits.burst)},
    {"concurrentrequests", IS_RATE, AT(limits.concurrent)},
    {"uploadrate", IS_BYTES, AT(limits.upload)},
    {"downloadrate", IS_BYTES, AT(limits.download)},
    /* For mounts and tools: a Secret may be one for all. */
    {"sessiontoken", PASSED_OVER, 0},
    {"awssessiontoken", PASSED_OVER, 0},
    {"endpoint", PASSED_OVER, 0},
    {"endpointurl", PASSED_OVER, 0},
    {"awsendpointurl", PASSED_OVER, 0},
    {"awsendpointurls3", PASSED_OVER, 0},
    {"region", PASSED_OVER, 0},
    {"awsregion", PASSED_OVER, 0},
    {"awsdefaultregion", PASSED_OVER, 0},
    {"location", PASSED_OVER, 0},
    {"credentials", PASSED_OVER, 0},
    {"config", PASSED_OVER, 0},
    {"comment", PASSED_OVER, 0},
};
enum { MEMBERS = sizeof(members) / sizeof(members[0]) };

static size_t find(const char *name)
{
    char word[MOUNT_WORD_MAX + 1];
    size_t i = 0;

    mount_key_word(name, word);
    while (i < MEMBERS && strcmp(members[i].word, word) != 0) {
        i++;
    }
    return i;
}

static int value_read(const cJSON *item, const struct member *member, struct credential *ret,
                      const char **wants)
{
    void *at = (char *)ret + member->offset;

    switch (member->kind) {
    case IS_FLAG:
        *wants = FLAG;
        return flag_read(item, at);
    case IS_TIME:
        *wants = "seconds since 1970, a number";
        return key_entry_time(item, at);
    case IS_ACCOUNT:
        *wants = NAME;
        return name_read(item, &ret->account);
    case IS_DISPLAY_NAME:
        *wants = NAME;
        return name_read(item, &ret->display_name);
    case IS_RATE:
        *wants = RATE;
        return limit_read(item, 1, KEY_LIMITS_RATE_MAX, at);
    case IS_BYTES:
        *wants = BYTES;
        return limit_read(item, KEY_LIMITS_BYTES_MIN, KEY_LIMITS_BYTES_MAX, at);
    case IS_BUCKETS:
        *wants = "a JSON list of 1 to 1000 names of buckets";
        return buckets_check(item);
    case PAIR:
        *wants = "a text that is not empty";
        return cJSON_IsString(item) && item->valuestring[0] != '\0' ? 0 : -EINVAL;
    case PASSED_OVER:
        break;
    }
    return 0;
}

static int members_read(const cJSON *object, struct credential *ret, struct error *err)
{
    bool seen[MEMBERS] = {false};
    char shown[KEY_ENTRY_SHOWN];

    for (const cJSON *item = object->child; item != NULL; item = item->next) {
        const char *wants = "";
        size_t i = find(item->string);
        int r;

        (void)key_entry_shown(item->string, shown);
        if (i == MEMBERS) {
            return error_set(err, -EINVAL, "member '%s' is unknown; known are " KNOWN, shown);
        }
        if (seen[i]) {
            return error_set(err, -EINVAL, "member '%s' is there twice", shown);
        }
        seen[i] = true;
        r = value_read(item, &members[i], ret, &wants);
        if (r != 0) {
            return r == -EINVAL ? error_set(err, r, "member '%s' wants %s", shown, wants) : r;
        }
    }
    return 0;
}

int key_entry_read(const cJSON *object, struct credential *ret, struct error *err)
{
    CLEANUP(mount_credentials_done) struct mount_credentials keys = {NULL, NULL, NULL};
    int r;

    if (!cJSON_IsObject(object)) {
        return error_set(err, -EINVAL, "wants an object with access_key and secret_key");
    }
    ret->limits = (struct key_limits){KEY_LIMITS_UNTOLD, KEY_LIMITS_UNTOLD, KEY_LIMITS_UNTOLD,
                                      KEY_LIMITS_UNTOLD, KEY_LIMITS_UNTOLD};
    r = members_read(object, ret, err);
    r = r == 0 ? buckets_copy(key_entry_member(object, "buckets"), ret) : r;
    if (r != 0) {
        return r;
    }
    r = mount_credentials_read(object, &keys, NULL);
    if (r == -EINVAL || (r == 0 && keys.access_key == NULL)) {
        return error_set(err, -EINVAL, "wants access_key and secret_key");
    }
    if (r == 0) {
        ret->access_key = TAKE(keys.access_key);
        ret->secret_key = TAKE(keys.secret_key);
    }
    return r;
}
