/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emptying deleted volumes: a tombstone in the database, and these workers that go on after any
 * crash. Objects (and versions and delete markers) under the volume's own prefix in batches, open
 * uploads, then the marker, the bucket if it is the volume's own, and the row.
 *
 * Only the marker says that what lies there is ours, and whether it was there before us. It is read
 * before each batch; without it no object is deleted. What was written after the marker went (a
 * mount that was not taken down) is dealt with by writing the marker again, if there still is none,
 * and beginning anew: the row remembers that the marker was once seen.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "metaserver/meta.h"
#include "objstore/objstore_call.h"
#include "s3/conditions.h"
#include "util/clock.h"
#include "util/log.h"

enum {
    TICK_MS = 1000,
    BATCH = 1000,
    CALL_MS = 30000,
    BACKOFF_MS = 1000,
    BACKOFF_MAX_MS = 30000,
    LIST_ROWS = 100
};

struct reaping {
    struct meta *meta;
    struct objstore *store;
    const struct db_volume *v;
    uint64_t deleted;
    bool verified;
};

void reaper_wake(struct meta *meta)
{
    mutex_lock(&meta->lock);
    cond_broadcast(&meta->changed);
    mutex_unlock(&meta->lock);
}

static bool is_marker(const struct db_volume *v, const char *key)
{
    return strcmp(key + strlen(v->prefix), MARKER_NAME) == 0;
}

static bool has_version(const struct objstore_entry *e)
{
    return e->info.version_id[0] != '\0' && strcmp(e->info.version_id, "null") != 0;
}

/* In a bucket with versions "null" is one of them, and deleting without naming it would only add a
 * delete marker, each time. In one without it must not be named. */
static bool is_versioned(const struct objstore_result *page)
{
    for (size_t i = 0; i < page->count; i++) {
        if (page->entries[i].delete_marker || has_version(&page->entries[i])) {
            return true;
        }
    }
    return false;
}

static size_t choose_victims(const struct db_volume *v, const struct objstore_result *page,
                             bool markers, struct objstore_victim *victims)
{
    bool versioned = is_versioned(page);
    size_t count = 0;

    for (size_t i = 0; i < page->count && count < BATCH; i++) {
        const struct objstore_entry *e = &page->entries[i];

        if (e->prefix || strncmp(e->key, v->prefix, strlen(v->prefix)) != 0 ||
            is_marker(v, e->key) != markers) {
            continue;
        }
        victims[count++] = (struct objstore_victim){
            .key = e->key,
            .version_id = has_version(e) || (versioned && e->info.version_id[0] != '\0')
                              ? e->info.version_id
                              : NULL};
    }
    return count;
}

/* A store says in many ways that it retains an object, but tells until when in only one. */
static int tell_why(struct reaping *r, const struct objstore_victim *victim, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    const struct objstore_info *info = &answer.result.info;
    struct objstore_request head = {.op = OBJSTORE_HEAD,
                                    .bucket = r->v->bucket,
                                    .key = victim->key,
                                    .version_id = victim->version_id,
                                    .timeout_ms = CALL_MS};
    char until[S3_ISO_DATE_SIZE];

    if (objstore_call(r->store, &head, &answer) == 0) {
        if (info->retained_until_ns > clock_realtime_ns(clock_real())) {
            s3_iso_date_format(info->retained_until_ns, until);
            return error_set(err, -EPERM, "an object of bucket %s is retained until %s",
                             r->v->bucket, until);
        }
        if (info->legal_hold) {
            return error_set(err, -EPERM, "an object of bucket %s is under legal hold",
                             r->v->bucket);
        }
    }
    return error_set(err, victim->error, "cannot delete an object of bucket %s: %s", r->v->bucket,
                     victim->error == -EPERM ? "it is retained by a lock or policy"
                                             : strerror(-victim->error));
}

/* Deletes the page's keys but the marker's, or just the marker's. *ret_count: how many. */
static int delete_page(struct reaping *r, const struct objstore_result *page, bool markers,
                       size_t *ret_count, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_victim victims[BATCH];
    struct objstore_request batch = {.op = OBJSTORE_DELETE_BATCH,
                                     .bucket = r->v->bucket,
                                     .victims = victims,
                                     .victims_count = choose_victims(r->v, page, markers, victims),
                                     .timeout_ms = CALL_MS};
    int ret = 0;

    *ret_count = batch.victims_count;
    if (batch.victims_count == 0) {
        return 0;
    }
    ret = objstore_call(r->store, &batch, &answer);
    if (ret != 0) {
        return error_set(err, ret, "cannot delete in bucket %s: %s", r->v->bucket,
                         error_text(&answer.result.error, ret));
    }
    for (size_t i = 0; i < batch.victims_count; i++) {
        if (victims[i].error != 0 && victims[i].error != -ENOENT) {
            return tell_why(r, &victims[i], err);
        }
    }
    return 0;
}

/* A page of all versions below `prefix`, or of objects where the store knows no versions. -ENOENT:
 * no bucket. */
static int list_page(struct reaping *r, const char *prefix, struct objstore_answer *ret,
                     struct error *err)
{
    struct objstore_request list = {.op = OBJSTORE_LIST_VERSIONS,
                                    .bucket = r->v->bucket,
                                    .key = prefix,
                                    .max_entries = BATCH,
                                    .timeout_ms = CALL_MS};
    int code = objstore_call(r->store, &list, ret);

    if (code == -ENOTSUP) {
        objstore_answer_done(ret);
        *ret = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
        list.op = OBJSTORE_LIST;
        code = objstore_call(r->store, &list, ret);
    }
    return code == 0 ? 0
                     : error_set(err, code, "cannot list bucket %s: %s", r->v->bucket,
                                 error_text(&ret->result.error, code));
}

/* One page of objects. They vanish, so each page is the first again. */
static int empty_step(struct reaping *r, bool *ret_more, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct marker marker;
    size_t count = 0;
    int ret = marker_check(r->meta, r->store, r->v, &marker, err);

    ret = ret == 0 ? list_page(r, r->v->prefix, &answer, err) : ret;
    ret = ret == 0 ? delete_page(r, &answer.result, false, &count, err) : ret;
    *ret_more = ret == 0 && count > 0;
    if (*ret_more) {
        r->deleted += count;
        ret = db_volume_progress(r->meta->db, r->v->id, r->deleted);
    }
    return ret;
}

static int abort_page(struct reaping *r, const struct objstore_result *page, struct error *err)
{
    for (size_t i = 0; i < page->count; i++) {
        CLEANUP(objstore_answer_done) struct objstore_answer ended = OBJSTORE_ANSWER_INIT;
        struct objstore_request drop = {.op = OBJSTORE_UPLOAD_ABORT,
                                        .bucket = r->v->bucket,
                                        .key = page->uploads[i].key,
                                        .upload_id = page->uploads[i].upload_id,
                                        .timeout_ms = CALL_MS};
        int ret = 0;

        if (strncmp(drop.key, r->v->prefix, strlen(r->v->prefix)) == 0) {
            ret = objstore_call(r->store, &drop, &ended);
        }
        if (ret != 0 && ret != -ENOENT) {
            return error_set(err, ret, "cannot end an open upload of bucket %s: %s", r->v->bucket,
                             error_text(&ended.result.error, ret));
        }
    }
    return 0;
}

static int abort_uploads(struct reaping *r, struct error *err)
{
    CLEANUP(buf_done) struct buf marker = BUF_INIT(OBJSTORE_KEY_MAX + 1);
    CLEANUP(buf_done) struct buf marker2 = BUF_INIT(OBJSTORE_UPLOAD_MAX + 1);
    bool more = true;
    int ret = 0;

    while (ret == 0 && more && !r->meta->ending) {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        struct objstore_request list = {.op = OBJSTORE_UPLOAD_LIST,
                                        .bucket = r->v->bucket,
                                        .key = r->v->prefix,
                                        .marker = buf_len(&marker) > 0 ? buf_str(&marker) : NULL,
                                        .marker2 = buf_len(&marker2) > 0 ? buf_str(&marker2) : NULL,
                                        .timeout_ms = CALL_MS};

        ret = objstore_call(r->store, &list, &answer);
        if (ret == -ENOENT || ret == -ENOTSUP) {
            return 0;
        }
        if (ret != 0) {
            return error_set(err, ret, "cannot list the open uploads of bucket %s: %s",
                             r->v->bucket, error_text(&answer.result.error, ret));
        }
        ret = abort_page(r, &answer.result, err);
        more = answer.result.truncated && answer.result.next_marker != NULL;
        buf_reset(&marker);
        buf_reset(&marker2);
        if (more) {
            buf_addstr(&marker, answer.result.next_marker);
            buf_addstr(&marker2,
                       answer.result.next_marker2 != NULL ? answer.result.next_marker2 : "");
        }
    }
    return ret;
}

/* All its versions. */
static int delete_marker(struct reaping *r, struct error *err)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(OBJSTORE_KEY_MAX);
    size_t count = 1;
    int ret;

    buf_addstr(&key, r->v->prefix);
    buf_addstr(&key, MARKER_NAME);
    ret = buf_error(&key);
    while (ret == 0 && count > 0 && !r->meta->ending) {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;

        ret = list_page(r, buf_str(&key), &answer, err);
        ret = ret == 0 ? delete_page(r, &answer.result, true, &count, err) : ret;
    }
    return ret;
}

/* 0: nothing is left; -ENOTEMPTY: something is. */
static int remove_place(struct reaping *r, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request drop = {
        .op = OBJSTORE_BUCKET_DELETE, .bucket = r->v->bucket, .timeout_ms = CALL_MS};
    int ret;

    if (!r->v->own_bucket) {
        ret = list_page(r, r->v->prefix, &answer, err);
        return ret == -ENOENT ? 0 : ret == 0 && answer.result.count > 0 ? -ENOTEMPTY : ret;
    }
    ret = objstore_call(r->store, &drop, &answer);
    return ret == 0 || ret == -ENOENT
               ? 0
               : error_set(err, ret, "cannot delete bucket %s: %s", r->v->bucket,
                           error_text(&answer.result.error, ret));
}

/* There is no marker (any more). */
static int reap_unmarked(struct reaping *r, struct error *err)
{
    int ret = remove_place(r, err);

    if (ret == -ENOTEMPTY && r->verified) {
        ret = marker_write(r->meta, r->store, r->v, err);
        return ret != 0 ? ret
                        : error_set(err, -EAGAIN, "bucket %s was written to while it was deleted",
                                    r->v->bucket);
    }
    if (ret == -ENOTEMPTY) {
        return error_set(err, ret,
                         "bucket %s prefix \"%s\" holds objects but no marker that says whose: "
                         "not deleted. Put %s%s back, or remove the objects by hand",
                         r->v->bucket, r->v->prefix, r->v->prefix, MARKER_NAME);
    }
    return ret == 0 ? db_volume_remove(r->meta->db, r->v->id) : ret;
}

static int reap(struct reaping *r, struct error *err)
{
    struct marker marker;
    bool more;
    int ret = marker_check(r->meta, r->store, r->v, &marker, err);
    bool adopted = r->v->adopted || (ret == 0 && marker.adopted);

    if (ret == -ENOENT) {
        return adopted ? db_volume_remove(r->meta->db, r->v->id) : reap_unmarked(r, err);
    }
    if (ret == 0 && !r->verified && !adopted) {
        ret = db_volume_verified(r->meta->db, r->v->id);
        r->verified = ret == 0;
    }
    more = ret == 0 && !adopted;
    while (ret == 0 && more && !r->meta->ending) {
        ret = empty_step(r, &more, err);
    }
    ret = ret == 0 && !adopted ? abort_uploads(r, err) : ret;
    ret = ret == 0 && r->meta->ending ? -ECANCELED : ret;
    ret = ret == 0 ? marker_check(r->meta, r->store, r->v, &marker, err) : ret;
    ret = ret == 0 ? delete_marker(r, err) : ret;
    ret = ret == 0 && r->meta->ending ? -ECANCELED : ret;
    if (ret != 0) {
        return ret;
    }
    return adopted ? db_volume_remove(r->meta->db, r->v->id) : reap_unmarked(r, err);
}

static int64_t retry_at(uint32_t attempts)
{
    uint64_t ms = attempts < 5 ? (uint64_t)BACKOFF_MS << attempts : BACKOFF_MAX_MS;

    return clock_realtime_ns(clock_real()) + (int64_t)ms * 1000000;
}

void reaper_volume(struct meta *meta, const struct db_volume *v)
{
    struct error err = ERROR_INIT;
    struct reaping r = {.meta = meta, .v = v, .deleted = v->deleted, .verified = v->verified};
    int ret = meta->live != NULL ? live_check_unused(meta->live, v->id, &err) : 0;

    ret = ret == 0 ? meta_store_get(meta, v->store, &r.store, &err) : ret;
    ret = ret == 0 ? reap(&r, &err) : ret;
    if (r.store != NULL) {
        meta_store_put(meta, r.store);
    }
    if (ret == 0 && meta->facts != NULL) {
        (void)!facts_drop(meta->facts, v->id);
    }
    if (ret == 0) {
        log_info("volume deleted", "volume", v->id, "bucket", v->bucket, NULL);
    } else if (ret != -ECANCELED) {
        log_warn("volume not deleted yet", "volume", v->id, "error", error_text(&err, ret), NULL);
        (void)!db_volume_failed(meta->db, v->id, ret, retry_at(v->attempts), error_text(&err, ret));
    }
    reaper_wake(meta);
}

/* The row may have changed since it was listed: another worker had it. */
static void reap_listed(struct meta *meta, const char *id)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    CLEANUP(buf_done) struct buf claim = BUF_INIT(256);
    struct db_volume v;

    buf_addstr(&claim, "reap ");
    buf_addstr(&claim, id);
    if (buf_error(&claim) != 0 || meta_busy(meta, buf_str(&claim)) != 0) {
        return;
    }
    if (db_volume_get(meta->db, id, &arena, &v) == 0 && v.state == DB_DELETING &&
        v.retry_ns <= clock_realtime_ns(clock_real())) {
        reaper_volume(meta, &v);
    }
    meta_free(meta, buf_str(&claim));
}

void reaper_sweep(struct meta *meta)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(4 << 20);
    struct db_page page = {.max = LIST_ROWS, .state = DB_CREATING};
    struct db_volume v;

    page.before_ns = clock_realtime_ns(clock_real()) - (int64_t)meta->create_timeout_ms * 1000000;
    if (db_volume_list(meta->db, &arena, &page) != 0) {
        return;
    }
    for (size_t i = 0; i < page.count; i++) {
        const char *id = page.volumes[i].id;

        if (meta_busy(meta, id) != 0) {
            continue; /* somebody has come back for it */
        }
        if (db_volume_get(meta->db, id, &arena, &v) == 0 && v.state == DB_CREATING &&
            db_volume_tombstone(meta->db, id) == 0) {
            log_info("creation given up", "volume", id, "bucket", v.bucket, NULL);
        }
        meta_free(meta, id);
    }
}

void *reaper_main(void *arg)
{
    struct meta *meta = arg;

    mutex_lock(&meta->lock);
    while (!meta->ending) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(4 << 20);
        struct db_page page = {.max = LIST_ROWS, .state = DB_DELETING};

        mutex_unlock(&meta->lock);
        reaper_sweep(meta);
        page.due_ns = clock_realtime_ns(clock_real());
        if (db_volume_list(meta->db, &arena, &page) == 0) {
            for (size_t i = 0; i < page.count && !meta->ending; i++) {
                reap_listed(meta, page.volumes[i].id);
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
