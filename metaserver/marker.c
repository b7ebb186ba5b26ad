/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "metaserver/meta.h"
#include "objstore/objstore_call.h"

enum { MARKER_MAX = 32768, FORMAT = 1 };

static int marker_key(const char *prefix, struct buf *out)
{
    buf_addstr(out, prefix);
    buf_addstr(out, MARKER_NAME);
    return buf_error(out);
}

static char *marker_text(struct meta *meta, const struct db_volume *v)
{
    cJSON *json = cJSON_CreateObject();
    char size[24];
    char *text;

    (void)snprintf(size, sizeof(size), "%llu", (unsigned long long)v->size_bytes);
    (void)cJSON_AddNumberToObject(json, "format", FORMAT);
    (void)cJSON_AddStringToObject(json, "volume_id", v->id);
    (void)cJSON_AddStringToObject(json, "name", v->name);
    (void)cJSON_AddStringToObject(json, "cluster", meta->cluster);
    (void)cJSON_AddStringToObject(json, "incarnation", db_incarnation(meta->db));
    (void)cJSON_AddStringToObject(json, "size_bytes", size);
    (void)cJSON_AddBoolToObject(json, "adopted", v->adopted);
    (void)cJSON_AddBoolToObject(json, "own_bucket", v->own_bucket);
    (void)cJSON_AddStringToObject(json, "parameters", v->parameters);
    text = cJSON_Print(json);
    cJSON_Delete(json);
    return text;
}

int marker_write(struct meta *meta, struct objstore *store, const struct db_volume *v,
                 struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(buf_done) struct buf key = BUF_INIT(OBJSTORE_KEY_MAX);
    AUTOFREE char *text = marker_text(meta, v);
    const struct objstore_meta about = {.content_type = "application/json"};
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .bucket = v->bucket,
                                   .meta = &about,
                                   .if_none_match = "*",
                                   .timeout_ms = 20000};
    int ret = text == NULL ? -ENOMEM : marker_key(v->prefix, &key);

    if (ret != 0) {
        return error_set(err, ret, "out of memory");
    }
    put.key = buf_str(&key);
    put.source.data = text;
    put.source.size = strlen(text);
    ret = objstore_call(store, &put, &answer);
    return ret != 0 ? error_set(err, ret, "cannot write the marker in bucket %s: %s", v->bucket,
                                error_text(&answer.result.error, ret))
                    : 0;
}

static void take(const cJSON *json, const char *name, char *to, size_t size)
{
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));

    (void)snprintf(to, size, "%s", value != NULL ? value : "");
}

static int parse(const char *text, struct marker *ret)
{
    cJSON *json = cJSON_Parse(text);
    char size[24];

    memset(ret, 0, sizeof(*ret));
    take(json, "volume_id", ret->volume_id, sizeof(ret->volume_id));
    take(json, "name", ret->name, sizeof(ret->name));
    take(json, "cluster", ret->cluster, sizeof(ret->cluster));
    take(json, "incarnation", ret->incarnation, sizeof(ret->incarnation));
    take(json, "parameters", ret->parameters, sizeof(ret->parameters));
    take(json, "size_bytes", size, sizeof(size));
    ret->size_bytes = strtoull(size, NULL, 10);
    ret->adopted = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "adopted")) != 0;
    ret->own_bucket = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "own_bucket")) != 0;
    cJSON_Delete(json);
    return ret->volume_id[0] != '\0' ? 0 : -EBADMSG;
}

int marker_read(struct objstore *store, const char *bucket, const char *prefix, struct marker *ret,
                struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(buf_done) struct buf key = BUF_INIT(OBJSTORE_KEY_MAX);
    struct objstore_request get = {.op = OBJSTORE_GET, .bucket = bucket, .timeout_ms = 20000};
    int r = marker_key(prefix, &key);

    if (r != 0) {
        return error_set(err, r, "prefix too long");
    }
    get.key = buf_str(&key);
    answer.body.max = MARKER_MAX;
    r = objstore_call(store, &get, &answer);
    if (r != 0) {
        return error_set(err, r, "cannot read the marker in bucket %s: %s", bucket,
                         error_text(&answer.result.error, r));
    }
    r = parse(buf_str(&answer.body), ret);
    return r != 0 ? error_set(err, r, "the marker in bucket %s is not one of ours", bucket) : 0;
}

int marker_check(struct meta *meta, struct objstore *store, const struct db_volume *v,
                 struct marker *ret, struct error *err)
{
    int r = marker_read(store, v->bucket, v->prefix, ret, err);

    if (r == 0 &&
        (strcmp(ret->volume_id, v->id) != 0 || strcmp(ret->cluster, meta->cluster) != 0)) {
        r = error_set(err, -EPERM, "bucket %s prefix \"%s\" belongs to volume %s of cluster %s",
                      v->bucket, v->prefix, ret->volume_id, ret->cluster);
    }
    return r;
}
