/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emptying deleted volumes: a tombstone in the database, and this worker that goes on after any
 * crash. Objects (and versions and delete markers) under the volume's own prefix in batches, open
 * uploads, then the marker, the bucket if it is the volume's own, and the row. The marker is read
 * before each batch: a bucket that has become somebody else's is left alone.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "metaserver/meta.h"
#include "objstore/objstore_call.h"
#include "util/log.h"

enum { TICK_MS = 1000, BATCH = 1000, CALL_MS = 30000 };

void reaper_wake(struct meta *meta)
{
    mutex_lock(&meta->lock);
    cond_broadcast(&meta->changed);
    mutex_unlock(&meta->lock);
}

/* 0: ours, or there is none any more; -EPERM: somebody else's. */
static int check_marker(struct objstore *store, const struct db_volume *v, struct error *err)
{
    struct marker marker;
    int ret = marker_read(store, v->bucket, v->prefix, &marker, err);

    if (ret == -ENOENT) {
        return 0;
    }
    if (ret == 0 && strcmp(marker.volume_id, v->id) != 0) {
        return error_set(err, -EPERM, "bucket %s prefix \"%s\" belongs to volume %s: not deleted",
                         v->bucket, v->prefix, marker.volume_id);
    }
    return ret;
}

/* Deletes the page's keys but the marker's. *ret_deleted grows. */
static int delete_page(struct objstore *store, const struct db_volume *v,
                       const struct objstore_result *page, uint64_t *ret_deleted, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_victim victims[BATCH];
    struct objstore_request batch = {.op = OBJSTORE_DELETE_BATCH,
                                     .bucket = v->bucket,
                                     .victims = victims,
                                     .timeout_ms = CALL_MS};
    size_t prefix = strlen(v->prefix);
    int ret = 0;

    for (size_t i = 0; i < page->count && i < BATCH; i++) {
        const struct objstore_entry *e = &page->entries[i];

        if (strcmp(e->key + prefix, MARKER_NAME) == 0) {
            continue;
        }
        victims[batch.victims_count++] = (struct objstore_victim){
            .key = e->key,
            .version_id = e->info.version_id[0] != '\0' && strcmp(e->info.version_id, "null") != 0
                              ? e->info.version_id
                              : NULL};
    }
    if (batch.victims_count == 0) {
        return 0;
    }
    ret = objstore_call(store, &batch, &answer);
    for (size_t i = 0; ret == 0 && i < batch.victims_count; i++) {
        if (victims[i].error != 0 && victims[i].error != -ENOENT) {
            return error_set(err, victims[i].error, "cannot delete an object of bucket %s: %s",
                             v->bucket,
                             victims[i].error == -EPERM ? "it is retained by a lock or policy"
                                                        : strerror(-victims[i].error));
        }
    }
    *ret_deleted += ret == 0 ? batch.victims_count : 0;
    return ret != 0 ? error_set(err, ret, "cannot delete in bucket %s: %s", v->bucket,
                                error_text(&answer.result.error, ret))
                    : 0;
}

/* One page. *ret_more: there is another. The first pages vanish, so each is the first again. */
static int empty_step(struct meta *meta, struct objstore *store, const struct db_volume *v,
                      uint64_t *deleted, bool *ret_more, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {.op = OBJSTORE_LIST_VERSIONS,
                                    .bucket = v->bucket,
                                    .key = v->prefix,
                                    .max_entries = BATCH,
                                    .timeout_ms = CALL_MS};
    uint64_t before = *deleted;
    int ret = check_marker(store, v, err);

    if (ret != 0) {
        return ret;
    }
    ret = objstore_call(store, &list, &answer);
    if (ret == -ENOTSUP) {
        list.op = OBJSTORE_LIST;
        ret = objstore_call(store, &list, &answer);
    }
    *ret_more = false;
    if (ret != 0) {
        return ret == -ENOENT ? 0
                              : error_set(err, ret, "cannot list bucket %s: %s", v->bucket,
                                          error_text(&answer.result.error, ret));
    }
    ret = delete_page(store, v, &answer.result, deleted, err);
    *ret_more = ret == 0 && *deleted > before;
    if (*deleted > before) {
        int noted = db_volume_progress(meta->db, v->id, *deleted, "");

        ret = ret == 0 ? noted : ret;
    }
    return ret;
}

static int abort_uploads(struct objstore *store, const struct db_volume *v, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {
        .op = OBJSTORE_UPLOAD_LIST, .bucket = v->bucket, .key = v->prefix, .timeout_ms = CALL_MS};
    int ret = objstore_call(store, &list, &answer);

    for (size_t i = 0; ret == 0 && i < answer.result.count; i++) {
        CLEANUP(objstore_answer_done) struct objstore_answer ended = OBJSTORE_ANSWER_INIT;
        struct objstore_request drop = {.op = OBJSTORE_UPLOAD_ABORT,
                                        .bucket = v->bucket,
                                        .key = answer.result.uploads[i].key,
                                        .upload_id = answer.result.uploads[i].upload_id,
                                        .timeout_ms = CALL_MS};

        ret = objstore_call(store, &drop, &ended);
        ret = ret == -ENOENT ? 0 : ret;
    }
    return ret == 0 || ret == -ENOENT || ret == -ENOTSUP
               ? 0
               : error_set(err, ret, "cannot end the open uploads of bucket %s", v->bucket);
}

static int delete_one(struct objstore *store, const struct db_volume *v, const char *key,
                      struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request drop = {.op = key != NULL ? OBJSTORE_DELETE : OBJSTORE_BUCKET_DELETE,
                                    .bucket = v->bucket,
                                    .key = key,
                                    .timeout_ms = CALL_MS};
    int ret = objstore_call(store, &drop, &answer);

    return ret == 0 || ret == -ENOENT ? 0
                                      : error_set(err, ret, "cannot delete bucket %s: %s",
                                                  v->bucket, error_text(&answer.result.error, ret));
}

static int reap(struct meta *meta, struct objstore *store, const struct db_volume *v,
                struct error *err)
{
    CLEANUP(buf_done) struct buf marker = BUF_INIT(OBJSTORE_KEY_MAX);
    uint64_t deleted = v->deleted;
    bool more = !v->adopted;
    int ret = 0;

    while (ret == 0 && more && !meta->ending) {
        ret = empty_step(meta, store, v, &deleted, &more, err);
    }
    if (meta->ending) {
        return ret == 0 ? -ECANCELED : ret;
    }
    if (!v->adopted) {
        ret = ret == 0 ? abort_uploads(store, v, err) : ret;
    }
    ret = ret == 0 ? check_marker(store, v, err) : ret;
    buf_addstr(&marker, v->prefix);
    buf_addstr(&marker, MARKER_NAME);
    ret = ret == 0 ? delete_one(store, v, buf_str(&marker), err) : ret;
    if (v->own_bucket && !v->adopted) {
        ret = ret == 0 ? delete_one(store, v, NULL, err) : ret;
    }
    return ret == 0 ? db_volume_remove(meta->db, v->id) : ret;
}

static void reap_volume(struct meta *meta, const struct db_volume *v)
{
    struct error err = ERROR_INIT;
    struct objstore *store = NULL;
    int ret = meta_store_get(meta, v->store, &store, &err);

    ret = ret == 0 ? reap(meta, store, v, &err) : ret;
    if (store != NULL) {
        meta_store_put(meta, store);
    }
    if (ret == 0) {
        log_info("volume deleted", "volume", v->id, "bucket", v->bucket, NULL);
    } else if (ret != -ECANCELED) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
        struct db_volume now;

        log_warn("volume not deleted yet", "volume", v->id, "error", error_text(&err, ret), NULL);
        if (db_volume_get(meta->db, v->id, &arena, &now) == 0) {
            (void)!db_volume_progress(meta->db, v->id, now.deleted, error_text(&err, ret));
        }
    }
    reaper_wake(meta);
}

void *reaper_main(void *arg)
{
    struct meta *meta = arg;

    mutex_lock(&meta->lock);
    while (!meta->ending) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(4 << 20);
        struct db_page page = {.max = 100, .state = DB_DELETING};

        mutex_unlock(&meta->lock);
        if (db_volume_list(meta->db, &arena, &page) == 0) {
            for (size_t i = 0; i < page.count && !meta->ending; i++) {
                reap_volume(meta, &page.volumes[i]);
            }
        }
        mutex_lock(&meta->lock);
        if (!meta->ending) {
            cond_wait_ms(&meta->changed, &meta->lock, TICK_MS);
        }
    }
    mutex_unlock(&meta->lock);
    return NULL;
}
