/* SPDX-License-Identifier: Apache-2.0 */
/* Backup, and rebuilding the list of volumes from the markers in buckets. */
#include <errno.h>
#include <string.h>

#include "metaserver/meta.h"
#include "objstore/objstore_call.h"
#include "util/clock.h"

static int backup(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                  struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__BackupRequest *in = (const void *)request;
    Skyvol__Meta__V1__BackupResponse *out = (void *)reply;
    int ret;

    if (in->file[0] != '/') {
        return error_set(err, -EINVAL, "the backup needs an absolute path on the server");
    }
    ret = db_backup(meta->db, in->file, &out->bytes);
    return ret != 0 ? error_set(err, ret, "cannot back up to %s: %s", in->file, strerror(-ret)) : 0;
}

struct rebuild {
    struct meta *meta;
    const char *store_name;
    struct objstore *store;
    Skyvol__Meta__V1__RebuildResponse *out;
};

static int take_marker(struct rebuild *r, const char *bucket, const char *prefix, struct error *err)
{
    struct marker m;
    int ret = marker_read(r->store, bucket, prefix, &m, err);
    const struct db_volume v = {.id = m.volume_id,
                                .name = m.name,
                                .store = r->store_name,
                                .bucket = bucket,
                                .prefix = prefix,
                                .size_bytes = m.size_bytes,
                                .state = DB_READY,
                                .adopted = m.adopted,
                                .own_bucket = m.own_bucket,
                                .parameters = m.parameters,
                                .created_ns = clock_realtime_ns(clock_real())};

    if (ret != 0) {
        return ret == -ENOENT || ret == -EBADMSG ? 0 : ret;
    }
    r->out->volumes_found++;
    ret = db_volume_add(r->meta->db, &v);
    r->out->volumes_added += ret == 0;
    return ret == -EEXIST ? 0 : ret;
}

static int scan_bucket(struct rebuild *r, const char *bucket, struct error *err)
{
    CLEANUP(buf_done) struct buf token = BUF_INIT(8192);
    bool more = true;
    int ret = take_marker(r, bucket, "", err);

    while (ret == 0 && more) {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        struct objstore_request list = {
            .op = OBJSTORE_LIST, .bucket = bucket, .key = "v-", .delimiter = "/"};

        list.token = buf_len(&token) > 0 ? buf_str(&token) : NULL;
        ret = objstore_call(r->store, &list, &answer);
        for (size_t i = 0; ret == 0 && i < answer.result.count; i++) {
            if (answer.result.entries[i].prefix) {
                ret = take_marker(r, bucket, answer.result.entries[i].key, err);
            }
        }
        more = ret == 0 && answer.result.truncated;
        buf_reset(&token);
        buf_addstr(&token, more ? answer.result.next_token : "");
    }
    return ret;
}

static int rebuild(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                   struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    const Skyvol__Meta__V1__RebuildRequest *in = (const void *)request;
    struct rebuild r = {
        .meta = rpc_call_context(call), .store_name = in->store, .out = (void *)reply};
    struct objstore_request list = {.op = OBJSTORE_BUCKET_LIST};
    int ret = meta_store_get(r.meta, in->store, &r.store, err);

    if (ret != 0) {
        return ret;
    }
    ret = objstore_call(r.store, &list, &answer);
    for (size_t i = 0; ret == 0 && i < answer.result.count; i++) {
        ret = scan_bucket(&r, answer.result.buckets[i].name, err);
    }
    meta_store_put(r.meta, r.store);
    return ret != 0 ? error_set(err, ret, "cannot look through store %s: %s", in->store,
                                err->code != 0 ? err->text : error_text(&answer.result.error, ret))
                    : 0;
}

const struct rpc_method meta_admin_methods[2] = {
    {.name = "Backup", .unary = backup, .pool = "slow"},
    {.name = "Rebuild", .unary = rebuild, .pool = "slow"},
};
