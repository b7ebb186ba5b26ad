/* SPDX-License-Identifier: Apache-2.0 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metaserver/meta.h"
#include "objstore/objstore_call.h"
#include "s3/checksum.h"
#include "util/clock.h"

enum { NAME_MAX_BYTES = 256, DELETE_WAIT_MS = 8000, TICK_MS = 200, PARAMETERS_MAX = 8000 };
static const uint64_t capacity_unlimited = UINT64_C(1) << 50;

/* 128 bits of a hash over the name: any two names give two ids, whatever letters they are of. */
void volume_id_of(const char *name, char ret[40])
{
    char hex[2 * S3_CHECKSUM_MAX + 1] = "";

    if (s3_checksum_hex_of(S3_CHECKSUM_SHA256, name, strlen(name), hex) != 0) {
        hex[0] = '\0';
    }
    (void)snprintf(ret, 40, "v-%.32s", hex);
}

void volume_bucket_of(const char *id, char ret[64])
{
    (void)snprintf(ret, 64, "skyvol-%.40s", id);
}

static int compare_entries(const void *a, const void *b)
{
    Skyvol__Meta__V1__CreateVolumeRequest__ParametersEntry *const *x = a;
    Skyvol__Meta__V1__CreateVolumeRequest__ParametersEntry *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

/* Sorted, so that equal wishes are equal texts. */
static char *parameters_text(const Skyvol__Meta__V1__CreateVolumeRequest *in)
{
    cJSON *json = cJSON_CreateObject();
    char *text;

    if (in->n_parameters > 0) { /* of none there is no array */
        qsort(in->parameters, in->n_parameters, sizeof(*in->parameters), compare_entries);
    }
    for (size_t i = 0; i < in->n_parameters; i++) {
        (void)cJSON_AddStringToObject(json, in->parameters[i]->key, in->parameters[i]->value);
    }
    text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    return text;
}

static int fill_parameters(struct rpc_call *call, const char *text, Skyvol__Meta__V1__Volume *m)
{
    cJSON *json = cJSON_Parse(text);
    const cJSON *item;
    int ret = 0;

    m->parameters =
        rpc_call_alloc(call, ((size_t)cJSON_GetArraySize(json) + 1) * sizeof(*m->parameters));
    cJSON_ArrayForEach(item, json)
    {
        Skyvol__Meta__V1__Volume__ParametersEntry *e =
            rpc_call_message(call, &skyvol__meta__v1__volume__parameters_entry__descriptor);

        if (e == NULL || m->parameters == NULL) {
            ret = -ENOMEM;
            break;
        }
        e->key = rpc_call_strdup(call, item->string);
        e->value = rpc_call_strdup(call, cJSON_IsString(item) ? item->valuestring : "");
        m->parameters[m->n_parameters++] = e;
    }
    cJSON_Delete(json);
    return ret;
}

static int volume_message(struct rpc_call *call, const struct db_volume *v,
                          Skyvol__Meta__V1__Volume **ret)
{
    Skyvol__Meta__V1__Volume *m = rpc_call_message(call, &skyvol__meta__v1__volume__descriptor);

    if (m == NULL) {
        return -ENOMEM;
    }
    m->id = rpc_call_strdup(call, v->id);
    m->name = rpc_call_strdup(call, v->name);
    m->store = rpc_call_strdup(call, v->store);
    m->bucket = rpc_call_strdup(call, v->bucket);
    m->prefix = rpc_call_strdup(call, v->prefix);
    m->message = rpc_call_strdup(call, v->message != NULL ? v->message : "");
    m->size_bytes = v->size_bytes;
    m->state = (Skyvol__Meta__V1__VolumeState)v->state;
    m->adopted = v->adopted;
    m->own_bucket = v->own_bucket;
    m->created_ns = v->created_ns;
    m->objects_deleted = v->deleted;
    *ret = m;
    return m->id == NULL || m->message == NULL ? -ENOMEM : fill_parameters(call, v->parameters, m);
}

/* ---- create ---- */

static int make_bucket(struct objstore *store, const char *bucket, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request create = {
        .op = OBJSTORE_BUCKET_CREATE, .bucket = bucket, .timeout_ms = 20000};
    int ret = objstore_call(store, &create, &answer);

    return ret == 0 || ret == -EEXIST ? 0
                                      : error_set(err, ret, "cannot make bucket %s: %s", bucket,
                                                  error_text(&answer.result.error, ret));
}

/* -ENOTEMPTY: something other than a marker lies there. */
static int check_empty(struct objstore *store, const struct db_volume *v, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {.op = OBJSTORE_LIST,
                                    .bucket = v->bucket,
                                    .key = v->prefix,
                                    .max_entries = 2,
                                    .timeout_ms = 20000};
    int ret = objstore_call(store, &list, &answer);

    if (ret != 0) {
        return error_set(err, ret, "cannot list bucket %s: %s", v->bucket,
                         error_text(&answer.result.error, ret));
    }
    for (size_t i = 0; i < answer.result.count; i++) {
        const char *key = answer.result.entries[i].key + strlen(v->prefix);

        if (strcmp(key, MARKER_NAME) != 0) {
            return error_set(err, -ENOTEMPTY,
                             "bucket %s %s%s is not empty: set the parameter adopt to \"true\" to "
                             "use what is there (it will then never be deleted)",
                             v->bucket, v->prefix[0] != '\0' ? "prefix " : "", v->prefix);
        }
    }
    return 0;
}

/* *ret_adopted: something lay there before us. Goes on with what a try before this one, or a
 * database before this one, has claimed for the same volume. */
static int claim(struct meta *meta, struct objstore *store, const struct db_volume *v,
                 bool *ret_adopted, struct error *err)
{
    struct db_volume mine = *v;
    struct marker marker;
    int ret = make_bucket(store, v->bucket, err);

    ret = ret == 0 ? marker_check(meta, store, v, &marker, err) : ret;
    if (ret == 0 && marker.size_bytes != v->size_bytes) {
        return error_set(err, -EEXIST, "volume %s exists in bucket %s with another size", v->id,
                         v->bucket);
    }
    if (ret == 0) {
        *ret_adopted = marker.adopted;
        return 0;
    }
    if (ret == -EPERM || ret == -EBADMSG) {
        return error_set(err, -EEXIST, "%s", err->text);
    }
    ret = ret == -ENOENT ? check_empty(store, v, err) : ret;
    if (ret == -ENOTEMPTY && v->adopt_asked) {
        mine.adopted = true;
        ret = 0;
    }
    *ret_adopted = mine.adopted;
    ret = ret == 0 ? marker_write(meta, store, &mine, err) : ret;
    /* Somebody was as quick; who it was is seen by the next try. */
    return ret == -EEXIST ? error_set(err, -EAGAIN, "bucket %s is being claimed", v->bucket) : ret;
}

static bool same_wishes(const struct db_volume *v, const struct db_volume *wish,
                        const Skyvol__Meta__V1__CreateVolumeRequest *in)
{
    return strcmp(v->store, wish->store) == 0 && strcmp(v->parameters, wish->parameters) == 0 &&
           strcmp(v->bucket, wish->bucket) == 0 && v->size_bytes >= in->required_bytes &&
           (in->limit_bytes == 0 || v->size_bytes <= in->limit_bytes);
}

/* What failed for good leaves no row, and no bucket that was made for it; what may have made
 * something stays, to be tried again, or to be undone when nobody comes back (reaper_sweep). */
static int give_up(struct meta *meta, const struct db_volume *v, int ret, struct error *err)
{
    if (ret == -ENOTEMPTY || ret == -EEXIST) {
        (void)!db_volume_remove(meta->db, v->id);
        return error_set(err, -EEXIST, "%s", error_text(err, ret));
    }
    if (ret == -EINVAL) {
        (void)!db_volume_tombstone(meta->db, v->id);
        return ret;
    }
    /* Never INTERNAL, or another final code, while a bucket may exist: the caller must come again,
     * or delete. */
    return ret == -EIO || ret == -EPROTO || ret == -EBADMSG || ret == -ENOENT
               ? error_set(err, -EAGAIN, "%s", error_text(err, ret))
               : ret;
}

static int create_locked(struct rpc_call *call, struct db_volume *wish,
                         const Skyvol__Meta__V1__CreateVolumeRequest *in, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    struct objstore *store = NULL;
    struct db_volume have;
    bool adopted = false;
    int ret = db_volume_by_name(meta->db, in->name, rpc_call_arena(call), &have);

    if (ret == 0) {
        if (have.state == DB_DELETING) {
            return error_set(err, -EAGAIN, "volume %s of that name is still being deleted",
                             have.id);
        }
        if (!same_wishes(&have, wish, in)) {
            return error_set(err, -EEXIST,
                             "volume \"%s\" exists with another size, store, bucket "
                             "or other parameters",
                             in->name);
        }
        *wish = have;
    }
    if (ret != 0 && ret != -ENOENT) {
        return error_set(err, ret, "cannot read the database");
    }
    if (ret == 0 && have.state == DB_READY) {
        return 0;
    }
    ret = meta_store_get(meta, wish->store, &store, err);
    if (ret != 0) {
        /* No fault of the wish's, which provisioners repeat rarely: it may be added in a moment. */
        return error_set(err, ret == -ENOENT ? -EBUSY : ret, "%s", err->text);
    }
    wish->state = DB_CREATING;
    ret = db_volume_add(meta->db, wish);
    ret = ret == -EEXIST ? 0 : ret; /* the intent of a try before this one */
    if (ret == 0) {
        ret = claim(meta, store, wish, &adopted, err);
        ret =
            ret == 0 ? db_volume_ready(meta->db, wish->id, adopted) : give_up(meta, wish, ret, err);
        wish->adopted = ret == 0 && adopted;
        wish->state = DB_READY;
    }
    meta_store_put(meta, store);
    return ret;
}

static int check_create(const Skyvol__Meta__V1__CreateVolumeRequest *in, struct error *err)
{
    if (in->name[0] == '\0' || strlen(in->name) > NAME_MAX_BYTES) {
        return error_set(err, -EINVAL, "volume name: 1 to %d bytes", NAME_MAX_BYTES);
    }
    if (in->limit_bytes != 0 && in->limit_bytes < in->required_bytes) {
        return error_set(err, -ERANGE, "the limit is smaller than what is required");
    }
    if (in->required_bytes > capacity_unlimited) {
        return error_set(err, -ERANGE, "a volume has at most %llu bytes",
                         (unsigned long long)capacity_unlimited);
    }
    return 0;
}

static int create_volume(struct rpc_call *call, const ProtobufCMessage *request,
                         ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__CreateVolumeRequest *in = (const void *)request;
    Skyvol__Meta__V1__CreateVolumeResponse *out = (void *)reply;
    AUTOFREE char *parameters = parameters_text(in);
    char id[40];
    char bucket[64];
    struct db_volume wish = {.id = id,
                             .name = in->name,
                             .bucket = bucket,
                             .parameters = parameters,
                             .adopt_asked = in->adopt,
                             .created_ns = clock_realtime_ns(clock_real())};
    int ret = check_create(in, err);

    if (ret != 0 || parameters == NULL || strlen(parameters) > PARAMETERS_MAX) {
        return ret != 0 ? ret : error_set(err, -EINVAL, "parameters: at most 8000 bytes");
    }
    volume_id_of(in->name, id);
    volume_bucket_of(id, bucket);
    wish.store = in->store[0] != '\0' ? in->store : "default";
    wish.own_bucket = in->bucket[0] == '\0';
    wish.prefix = wish.own_bucket ? "" : rpc_call_printf(call, "%s/", id);
    wish.bucket = wish.own_bucket ? bucket : in->bucket;
    wish.size_bytes = in->required_bytes != 0 ? in->required_bytes : in->limit_bytes;
    ret = wish.prefix == NULL ? -ENOMEM : meta_busy(meta, id);
    if (ret != 0) {
        return error_set(err, ret, "another call for volume \"%s\" is under way", in->name);
    }
    ret = create_locked(call, &wish, in, err);
    ret = ret == 0 ? volume_message(call, &wish, &out->volume) : ret;
    meta_free(meta, id);
    return ret;
}

/* ---- get, list, attach, expand ---- */

static int find_volume(struct rpc_call *call, const char *id, const char *name,
                       struct db_volume *ret, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    int r = id[0] != '\0' ? db_volume_get(meta->db, id, rpc_call_arena(call), ret)
                          : db_volume_by_name(meta->db, name, rpc_call_arena(call), ret);

    if (r == 0 && ret->state == DB_CREATING) {
        r = -ENOENT;
    }
    return r != 0 ? error_set(err, r,
                              "no volume \"%s\" is known: if it was made after a backup that was "
                              "restored, skyvolctl rebuild STORE finds it",
                              id[0] != '\0' ? id : name)
                  : 0;
}

static int get_volume(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err)
{
    const Skyvol__Meta__V1__GetVolumeRequest *in = (const void *)request;
    Skyvol__Meta__V1__GetVolumeResponse *out = (void *)reply;
    struct db_volume v;
    int ret = find_volume(call, in->id, in->name, &v, err);

    return ret == 0 ? volume_message(call, &v, &out->volume) : ret;
}

static int list_volumes(struct rpc_call *call, const ProtobufCMessage *request,
                        ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__ListVolumesRequest *in = (const void *)request;
    Skyvol__Meta__V1__ListVolumesResponse *out = (void *)reply;
    struct db_page page = {.max = in->max_entries == 0 || in->max_entries > DB_LIST_MAX
                                      ? DB_LIST_MAX
                                      : in->max_entries};
    int ret;

    if (in->token[0] != '\0' && strncmp(in->token, "after:", 6) != 0) {
        return error_set(err, -ESTALE, "the token is not one of ours: begin anew without one");
    }
    page.after = in->token[0] != '\0' ? in->token + 6 : "";
    ret = db_volume_list(meta->db, rpc_call_arena(call), &page);
    out->volumes = rpc_call_alloc(call, (page.count + 1) * sizeof(*out->volumes));
    for (size_t i = 0; ret == 0 && i < page.count; i++) {
        ret = out->volumes == NULL ? -ENOMEM
                                   : volume_message(call, &page.volumes[i], &out->volumes[i]);
        out->n_volumes = i + 1;
    }
    if (ret == 0 && page.more) {
        out->next_token = rpc_call_printf(call, "after:%s", page.volumes[page.count - 1].id);
    }
    return ret != 0 ? error_set(err, ret, "cannot list the volumes") : 0;
}

static int attach_volume(struct rpc_call *call, const ProtobufCMessage *request,
                         ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__AttachVolumeRequest *in = (const void *)request;
    Skyvol__Meta__V1__AttachVolumeResponse *out = (void *)reply;
    struct db_volume v;
    struct db_store store;
    /* Before anything is told: a node does not learn which volumes there are. */
    int ret = meta_check_pod(call, in, err);

    ret = ret == 0 ? find_volume(call, in->id, "", &v, err) : ret;
    if (ret == 0 && v.state == DB_DELETING) {
        ret = error_set(err, -ENOENT, "volume %s is being deleted", v.id);
    }
    ret = ret == 0 ? db_store_get(meta->db, v.store, rpc_call_arena(call), &store) : ret;
    ret = ret == 0 ? volume_message(call, &v, &out->volume) : ret;
    ret = ret == 0 ? meta_store_message(call, &store, &out->store) : ret;
    if (ret == 0 && in->exclusive && meta->live != NULL) {
        ret = live_check_alone(
            meta->live, &(struct live_session){.volume = v.id, .node = in->node, .exclusive = true},
            err);
    }
    if (ret == 0 && in->node[0] != '\0') {
        ret = meta_token_new(meta, call, v.id, in->node, &out->volume_token);
    }
    if (ret == 0 && temporary_wanted(&store)) {
        return temporary_get(call, &store, &v, in->read_only, &out->credentials, err);
    }
    return ret == 0 ? meta_credentials_message(meta, call, &store, &out->credentials, err) : ret;
}

static int expand_volume(struct rpc_call *call, const ProtobufCMessage *request,
                         ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__ExpandVolumeRequest *in = (const void *)request;
    Skyvol__Meta__V1__ExpandVolumeResponse *out = (void *)reply;
    struct db_volume v;
    uint64_t size = in->required_bytes != 0 ? in->required_bytes : in->limit_bytes;
    int ret = find_volume(call, in->id, "", &v, err);

    if (ret == 0 &&
        (size > capacity_unlimited || (in->limit_bytes != 0 && in->limit_bytes < v.size_bytes))) {
        ret = error_set(err, -ERANGE, "the volume has %llu bytes and cannot get that size",
                        (unsigned long long)v.size_bytes);
    }
    if (ret == 0 && size > v.size_bytes) {
        ret = db_volume_resize(meta->db, v.id, size);
        v.size_bytes = size;
    }
    return ret == 0 ? volume_message(call, &v, &out->volume) : ret;
}

static int get_capacity(struct rpc_call *call, const ProtobufCMessage *request,
                        ProtobufCMessage *reply, struct error *err)
{
    Skyvol__Meta__V1__GetCapacityResponse *out = (void *)reply;

    (void)call;
    (void)request;
    (void)err;
    out->available_bytes = capacity_unlimited; /* object stores do not say: there is room */
    out->maximum_volume_bytes = capacity_unlimited;
    return 0;
}

/* ---- delete ---- */

/* A database that was restored may not know the volume: its own bucket's marker does. */
static int delete_unknown(struct rpc_call *call, const char *id, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    struct db_store *stores;
    struct marker marker;
    char bucket[64];
    size_t count;
    int ret = db_store_list(meta->db, rpc_call_arena(call), &stores, &count);

    if (strncmp(id, "v-", 2) != 0 || strspn(id + 2, "0123456789abcdef") != 32 || id[34] != '\0') {
        return 0; /* not an id that we could have made */
    }
    volume_bucket_of(id, bucket);
    for (size_t i = 0; ret == 0 && i < count; i++) {
        struct objstore *store = NULL;

        ret = meta_store_get(meta, stores[i].name, &store, err);
        if (ret != 0) {
            return ret;
        }
        ret = marker_read(store, bucket, "", &marker, err);
        meta_store_put(meta, store);
        if (ret == 0 && strcmp(marker.volume_id, id) == 0) {
            const struct db_volume found = {.id = id,
                                            .name = marker.name,
                                            .store = stores[i].name,
                                            .bucket = bucket,
                                            .prefix = "",
                                            .size_bytes = marker.size_bytes,
                                            .state = DB_DELETING,
                                            .adopted = marker.adopted,
                                            .own_bucket = marker.own_bucket,
                                            .parameters = marker.parameters};

            return db_volume_add(meta->db, &found) == 0 ? -EINPROGRESS : -EAGAIN;
        }
        ret = ret == -ENOENT || ret == -EBADMSG ? 0 : ret;
    }
    return ret;
}

static int wait_gone(struct rpc_call *call, const char *id, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    uint64_t left = rpc_call_left_ms(call);
    uint64_t until = clock_monotonic_ms(clock_real()) +
                     (left > DELETE_WAIT_MS + 1000 ? DELETE_WAIT_MS : left / 2);
    struct db_volume v;
    bool final = false;
    int ret;

    reaper_wake(meta);
    for (;;) {
        ret = db_volume_get(meta->db, id, rpc_call_arena(call), &v);
        if (ret == -ENOENT) {
            return 0;
        }
        final = ret == 0 && (v.error == -EPERM || v.error == -ENOTEMPTY); /* time will not help */
        if (ret != 0 || final || clock_monotonic_ms(clock_real()) >= until ||
            rpc_call_cancelled(call)) {
            break;
        }
        mutex_lock(&meta->lock);
        cond_wait_ms(&meta->changed, &meta->lock, TICK_MS);
        mutex_unlock(&meta->lock);
    }
    if (final) {
        return rpc_call_fail(call, RPC_FAILED_PRECONDITION, "%s", v.message);
    }
    return error_set(err, -EAGAIN, "volume %s is being deleted: %llu objects so far%s%s", id,
                     (unsigned long long)v.deleted, v.message[0] != '\0' ? "; " : "", v.message);
}

static int delete_volume(struct rpc_call *call, const ProtobufCMessage *request,
                         ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__DeleteVolumeRequest *in = (const void *)request;
    struct db_volume v;
    int ret;

    (void)reply;
    if (in->id[0] == '\0') {
        return error_set(err, -EINVAL, "volume id is missing");
    }
    ret = meta_busy(meta, in->id);
    if (ret != 0) {
        return error_set(err, ret, "another call for volume %s is under way", in->id);
    }
    ret = db_volume_get(meta->db, in->id, rpc_call_arena(call), &v);
    if (ret == 0 && meta->live != NULL && v.state != DB_DELETING) {
        ret = live_check_unused(meta->live, in->id, err);
    }
    if (ret == 0) {
        ret = db_volume_tombstone(meta->db, in->id);
    } else if (ret == -ENOENT) {
        ret = delete_unknown(call, in->id, err);
        ret = ret == -EINPROGRESS ? 0 : ret;
    }
    meta_free(meta, in->id);
    return ret == 0 ? wait_gone(call, in->id, err) : ret;
}

const struct rpc_method meta_volume_methods[7] = {
    {.name = "CreateVolume", .unary = create_volume},
    {.name = "GetVolume", .unary = get_volume},
    {.name = "ListVolumes", .unary = list_volumes},
    {.name = "DeleteVolume", .unary = delete_volume, .pool = "slow"},
    {.name = "ExpandVolume", .unary = expand_volume},
    {.name = "AttachVolume", .unary = attach_volume, .pool = "attach"},
    {.name = "GetCapacity", .unary = get_capacity, .quiet = true},
};
