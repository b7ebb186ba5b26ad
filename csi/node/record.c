/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/node/record.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/cleanup.h"
#include "util/encode.h"
#include "util/file.h"

enum { VERSION = 1 };
static const int64_t ns_per_ms = 1000000;

static void mount_done(struct record_mount *m)
{
    free(m->key);
    free(m->at);
}

static void target_done(struct record_target *t)
{
    free(t->target);
    free(t->key);
    free(t->wish);
}

void record_done(struct record *record)
{
    for (size_t i = 0; i < record->mount_count; i++) {
        mount_done(&record->mounts[i]);
    }
    for (size_t i = 0; i < record->target_count; i++) {
        target_done(&record->targets[i]);
    }
    free(record->mounts);
    free(record->targets);
    free(record->volume);
    free(record->staging);
    free(record->staged);
    free(record->wish);
    *record = (struct record)RECORD_INIT;
}

int record_hash(const void *bytes, size_t len, char ret[RECORD_HASH_SIZE])
{
    CLEANUP(buf_done) struct buf hex = BUF_INIT(RECORD_HASH_SIZE);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;

    if (EVP_Digest(bytes, len, digest, &digest_len, EVP_sha256(), NULL) != 1) {
        return -ENOMEM;
    }
    encode_hex(&hex, digest, digest_len);
    (void)snprintf(ret, RECORD_HASH_SIZE, "%s", buf_str(&hex));
    return buf_error(&hex);
}

static int path_of(const char *dir, const char *volume, char **ret)
{
    char hash[RECORD_HASH_SIZE];
    int r = record_hash(volume, strlen(volume), hash);

    if (r == 0 && asprintf(ret, "%s/%.40s.json", dir, hash) < 0) {
        r = -ENOMEM;
    }
    return r;
}

/* ---- Reading ---- */

static int take_text(const cJSON *json, const char *name, bool required, char **ret)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));

    if (text == NULL) {
        return required ? -EBADMSG : 0;
    }
    *ret = strdup(text);
    return *ret != NULL ? 0 : -ENOMEM;
}

static int read_mount(struct record *record, const cJSON *json)
{
    struct record_mount *m = &record->mounts[record->mount_count++];
    int r = take_text(json, "key", true, &m->key);

    return r < 0 ? r : take_text(json, "at", true, &m->at);
}

static int read_target(struct record *record, const cJSON *json)
{
    struct record_target *t = &record->targets[record->target_count++];
    int r = take_text(json, "target", true, &t->target);

    r = r < 0 ? r : take_text(json, "key", true, &t->key);
    t->read_only = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "read_only"));
    return r < 0 ? r : take_text(json, "wish", true, &t->wish);
}

static int read_lists(struct record *record, const cJSON *json)
{
    const cJSON *mounts = cJSON_GetObjectItemCaseSensitive(json, "mounts");
    const cJSON *targets = cJSON_GetObjectItemCaseSensitive(json, "published");
    int mount_count = cJSON_GetArraySize(mounts);
    int target_count = cJSON_GetArraySize(targets);
    const cJSON *item;
    int r = 0;

    if (mount_count > RECORD_LIST_MAX || target_count > RECORD_LIST_MAX) {
        return -EBADMSG;
    }
    record->mounts = calloc((size_t)mount_count + 1, sizeof(*record->mounts));
    record->targets = calloc((size_t)target_count + 1, sizeof(*record->targets));
    if (record->mounts == NULL || record->targets == NULL) {
        return -ENOMEM;
    }
    cJSON_ArrayForEach(item, mounts)
    {
        r = r < 0 ? r : read_mount(record, item);
    }
    cJSON_ArrayForEach(item, targets)
    {
        r = r < 0 ? r : read_target(record, item);
    }
    return r;
}

static int read_json(const char *text, struct record *ret)
{
    cJSON *json = cJSON_Parse(text);
    CLEANUP(record_done) struct record record = RECORD_INIT;
    double size = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(json, "size"));
    double since = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(json, "unstaging"));
    int r = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(json, "version")) == VERSION
                ? 0
                : -EBADMSG;

    r = r < 0 ? r : take_text(json, "volume", true, &record.volume);
    r = r < 0 ? r : take_text(json, "staging", false, &record.staging);
    r = r < 0 ? r : take_text(json, "staged", false, &record.staged);
    r = r < 0 ? r : take_text(json, "wish", false, &record.wish);
    r = r < 0 ? r : read_lists(&record, json);
    cJSON_Delete(json);
    if (r == 0) {
        record.size_bytes = size > 0 ? (uint64_t)size : 0;
        record.unstaging_ns = since > 0 ? (int64_t)since * ns_per_ms : 0;
        *ret = record;
        record = (struct record)RECORD_INIT;
    }
    return r;
}

static int load(const char *path, struct record *ret, struct error *err)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(RECORD_SIZE_MAX);
    int r = file_read(path, &text);

    if (r == 0) {
        r = read_json(buf_str(&text), ret);
    }
    if (r < 0 && r != -ENOENT) {
        return error_set(err, r, "record %s: %s", path,
                         r == -EBADMSG ? "damaged, or of another version" : strerrordesc_np(-r));
    }
    return r;
}

int record_load(const char *dir, const char *volume, struct record *ret, struct error *err)
{
    AUTOFREE char *path = NULL;
    int r = path_of(dir, volume, &path);

    r = r < 0 ? r : load(path, ret, err);
    if (r == -ENOENT) {
        ret->volume = strdup(volume);
        return ret->volume != NULL ? 0 : -ENOMEM;
    }
    return r;
}

int record_load_file(const char *dir, const char *file, struct record *ret, struct error *err)
{
    AUTOFREE char *path = NULL;

    return asprintf(&path, "%s/%s", dir, file) < 0 ? -ENOMEM : load(path, ret, err);
}

/* ---- Writing ---- */

static bool add_text(cJSON *json, const char *name, const char *text)
{
    return text == NULL || cJSON_AddStringToObject(json, name, text) != NULL;
}

static bool add_mounts(cJSON *json, const struct record *record)
{
    cJSON *list = cJSON_AddArrayToObject(json, "mounts");
    bool good = list != NULL;

    for (size_t i = 0; good && i < record->mount_count; i++) {
        cJSON *item = cJSON_CreateObject();

        good = cJSON_AddItemToArray(list, item) && add_text(item, "key", record->mounts[i].key) &&
               add_text(item, "at", record->mounts[i].at);
    }
    return good;
}

static bool add_targets(cJSON *json, const struct record *record)
{
    cJSON *list = cJSON_AddArrayToObject(json, "published");
    bool good = list != NULL;

    for (size_t i = 0; good && i < record->target_count; i++) {
        const struct record_target *t = &record->targets[i];
        cJSON *item = cJSON_CreateObject();

        good = cJSON_AddItemToArray(list, item) && add_text(item, "target", t->target) &&
               add_text(item, "key", t->key) && add_text(item, "wish", t->wish) &&
               cJSON_AddBoolToObject(item, "read_only", t->read_only) != NULL;
    }
    return good;
}

static char *print(const struct record *record)
{
    int64_t unstaging_ms = record->unstaging_ns / ns_per_ms;
    cJSON *json = cJSON_CreateObject();
    char *text = NULL;

    if (json != NULL && cJSON_AddNumberToObject(json, "version", VERSION) != NULL &&
        cJSON_AddNumberToObject(json, "size", (double)record->size_bytes) != NULL &&
        cJSON_AddNumberToObject(json, "unstaging", (double)unstaging_ms) != NULL &&
        add_text(json, "volume", record->volume) && add_text(json, "staging", record->staging) &&
        add_text(json, "staged", record->staged) && add_text(json, "wish", record->wish) &&
        add_mounts(json, record) && add_targets(json, record)) {
        text = cJSON_PrintUnformatted(json);
    }
    cJSON_Delete(json);
    return text;
}

int record_save(const char *dir, const struct record *record, struct error *err)
{
    AUTOFREE char *path = NULL;
    AUTOFREE char *text = NULL;
    int r = path_of(dir, record->volume, &path);

    if (r < 0 || path == NULL) {
        return r < 0 ? r : -ENOMEM;
    }
    if (record->staging == NULL && record->mount_count == 0 && record->target_count == 0) {
        return unlink(path) == 0 || errno == ENOENT
                   ? 0
                   : error_set(err, -errno, "record %s: %s", path, strerrordesc_np(errno));
    }
    text = print(record);
    r = text != NULL ? file_replace(path, text, strlen(text), 0600) : -ENOMEM;
    return r < 0 ? error_set(err, r, "record %s: %s", path, strerrordesc_np(-r)) : 0;
}

/* ---- Lists ---- */

struct record_target *record_find_target(const struct record *record, const char *target)
{
    for (size_t i = 0; i < record->target_count; i++) {
        if (strcmp(record->targets[i].target, target) == 0) {
            return &record->targets[i];
        }
    }
    return NULL;
}

struct record_mount *record_find_mount(const struct record *record, const char *key)
{
    for (size_t i = 0; i < record->mount_count; i++) {
        if (strcmp(record->mounts[i].key, key) == 0) {
            return &record->mounts[i];
        }
    }
    return NULL;
}

bool record_uses(const struct record *record, const char *key)
{
    if (record->staged != NULL && strcmp(record->staged, key) == 0) {
        return true;
    }
    for (size_t i = 0; i < record->target_count; i++) {
        if (strcmp(record->targets[i].key, key) == 0) {
            return true;
        }
    }
    return false;
}

int record_add_mount(struct record *record, const char *key, const char *at)
{
    struct record_mount *grown;
    struct record_mount m = {.key = strdup(key), .at = strdup(at)};

    if (record_find_mount(record, key) != NULL) {
        record_drop_mount(record, key);
    }
    grown = record->mount_count < RECORD_LIST_MAX
                ? reallocarray(record->mounts, record->mount_count + 1, sizeof(m))
                : NULL;
    record->mounts = grown != NULL ? grown : record->mounts;
    if (grown == NULL || m.key == NULL || m.at == NULL) {
        mount_done(&m);
        return -ENOMEM;
    }
    record->mounts[record->mount_count++] = m;
    return 0;
}

void record_drop_mount(struct record *record, const char *key)
{
    struct record_mount *m = record_find_mount(record, key);

    if (m != NULL) {
        mount_done(m);
        *m = record->mounts[--record->mount_count];
    }
}

int record_add_target(struct record *record, const struct record_target *target)
{
    struct record_target *grown;
    struct record_target t = {.target = strdup(target->target),
                              .key = strdup(target->key),
                              .wish = strdup(target->wish),
                              .read_only = target->read_only};

    record_drop_target(record, target->target);
    grown = record->target_count < RECORD_LIST_MAX
                ? reallocarray(record->targets, record->target_count + 1, sizeof(t))
                : NULL;
    record->targets = grown != NULL ? grown : record->targets;
    if (grown == NULL || t.target == NULL || t.key == NULL || t.wish == NULL) {
        target_done(&t);
        return -ENOMEM;
    }
    record->targets[record->target_count++] = t;
    return 0;
}

void record_drop_target(struct record *record, const char *target)
{
    struct record_target *t = record_find_target(record, target);

    if (t != NULL) {
        target_done(t);
        *t = record->targets[--record->target_count];
    }
}

int record_set_staged(struct record *record, const char *staging, const char *key, const char *wish)
{
    record_clear_staged(record);
    record->unstaging_ns = 0;
    record->staging = strdup(staging);
    record->wish = strdup(wish);
    record->staged = key != NULL ? strdup(key) : NULL;
    return record->staging != NULL && record->wish != NULL &&
                   (key == NULL || record->staged != NULL)
               ? 0
               : -ENOMEM;
}

void record_clear_staged(struct record *record)
{
    free(record->staging);
    free(record->staged);
    free(record->wish);
    record->staging = record->staged = record->wish = NULL;
}
