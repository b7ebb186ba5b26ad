/* SPDX-License-Identifier: Apache-2.0 */
/* GETs that fill grains. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/read/reader_internal.h"

enum { READ_TIMEOUT_MS = 55000, WHOLE_MAX = 256 * 1024 };

static uint64_t offset_of(const struct fetch *f)
{
    return f->grains[0]->key.index * READER_GRAIN;
}

/* ---- under way; the transfer's thread ---- */

/* Grains f->ready to `to` have all their bytes. */
static void make_ready(struct fetch *f, uint32_t to)
{
    struct reader *reader = f->fs->reader;
    struct reader_waits over = TAILQ_HEAD_INITIALIZER(over);
    uint32_t from = f->ready;

    mutex_lock(&reader->lock);
    for (uint32_t i = from; i < to; i++) {
        grain_ready(reader, f->grains[i]);
    }
    reader_settle(reader, f->grains + from, to - from, 0, &over);
    f->ready = to;
    mutex_unlock(&reader->lock);
    reader_tell(&over);
}

/* Whatever the store makes of If-Match: bytes of another version are not taken. */
static int take_info(struct objstore_request *request, const struct objstore_info *info,
                     struct objstore_range range)
{
    struct fetch *f = request->arg;
    const char *etag = f->version->etag;

    if (!hedge_wins(f, request)) {
        return -ECANCELED;
    }
    if ((etag[0] != '\0' && info->etag[0] != '\0' && strcmp(etag, info->etag) != 0) ||
        info->size != f->version->size) {
        return -ESTALE;
    }
    return range.offset == offset_of(f) + f->from && range.len == f->len - f->from ? 0 : -EBADMSG;
}

static int take_bytes(struct objstore_request *request, const void *data, size_t len)
{
    struct fetch *f = request->arg;
    const char *from = data;

    if (len > f->len - f->got) {
        return -EBADMSG;
    }
    while (len > 0) {
        const struct grain *grain = f->grains[f->got / READER_GRAIN];
        size_t at = (size_t)(f->got % READER_GRAIN);
        size_t here = len < grain->len - at ? len : grain->len - at;

        memcpy(grain->data + at, from, here);
        f->got += here;
        from += here;
        len -= here;
    }
    if (!f->at_end && f->got / READER_GRAIN > f->ready) {
        make_ready(f, (uint32_t)(f->got / READER_GRAIN));
    }
    return 0;
}

void fetch_unref(struct reader *reader, struct fetch *f)
{
    if (--f->refs == 0) {
        version_put(reader, f->version);
        free(f);
    }
}

static void fail_rest(struct reader *reader, struct fetch *f, int error, struct reader_waits *over)
    REQUIRES(&reader->lock)
{
    reader_settle(reader, f->grains + f->ready, f->count - f->ready, error, over);
    for (uint32_t i = f->ready; i < f->count; i++) {
        f->grains[i]->ready = true; /* nobody fills it any more: its last user frees it */
        grain_drop(reader, f->grains[i]);
    }
    f->ready = f->count;
}

/* For who tells a program of it. */
static void remember(struct version *version, const struct fetch *f, int error,
                     const struct objstore_result *result)
{
    char *text = NULL;

    if (asprintf(&text, "%s; %llu of %llu bytes at %llu in %llu ms",
                 result != NULL ? error_text(&result->error, error) : strerror(-error),
                 (unsigned long long)f->got, (unsigned long long)f->len,
                 (unsigned long long)offset_of(f),
                 (unsigned long long)(fs_now_ms() - f->begun_ms)) < 0) {
        return;
    }
    free(version->failure);
    version->failure = text;
}

/* The end of all that is asked for. `result`: of the store, if it was asked. */
static void finish(struct fetch *f, int error, const struct objstore_result *result)
{
    struct reader *reader = f->fs->reader;
    struct reader_waits over = TAILQ_HEAD_INITIALIZER(over);

    mutex_lock(&reader->lock);
    TAILQ_REMOVE(&f->version->fetches, f, link);
    hedge_forget(reader, f);
    if (error != 0) {
        remember(f->version, f, error, result);
        fail_rest(reader, f, error == -ENOENT || error == -ERANGE ? -ESTALE : error, &over);
    }
    reader->fetch_count--;
    f->ended = true;
    mutex_unlock(&reader->lock);
    reader_tell(&over);
    if (f->arrived != NULL) {
        f->arrived(f->arrived_arg, result);
    }
    mutex_lock(&reader->lock);
    fetch_unref(reader, f);
    mutex_unlock(&reader->lock);
}

void fetch_done(struct objstore_request *request, const struct objstore_result *result)
{
    struct fetch *f = request->arg;
    int error = result->status;

    if (!hedge_decides(f, request)) {
        return; /* the other one does */
    }

    if (error == 0 && f->got != f->len) {
        error = -EIO;
    }
    if (error == 0) {
        make_ready(f, f->count);
        store_grains(f->fs, f->version, f->grains + f->from / READER_GRAIN,
                     f->count - (uint32_t)(f->from / READER_GRAIN));
    }
    finish(f, error, result);
}

/* ---- beginning ---- */

static struct fetch *new_fetch(struct fs *fs, struct version *version, bool from_disk)
{
    struct fetch *f = calloc(1, sizeof(*f));

    if (f != NULL) {
        f->fs = fs;
        f->version = version;
        f->from_disk = from_disk;
    }
    return f;
}

/* It has all its grains. */
static void add_fetch(struct reader *reader, struct fetch *f, struct fetch_list *start)
    REQUIRES(&reader->lock)
{
    const struct grain *last = f->grains[f->count - 1];
    bool whole;

    f->len = last->key.index * READER_GRAIN + last->len - offset_of(f);
    whole = f->len == f->version->size && f->len <= WHOLE_MAX;
    f->at_end = whole; /* the store's checksum of the whole is known, and counts */
    f->request = (struct objstore_request){
        .op = OBJSTORE_GET,
        .key = version_key(f->version),
        .range = {whole ? 0 : offset_of(f), whole ? 0 : f->len},
        .if_match = f->version->etag[0] != '\0' ? f->version->etag : NULL,
        .timeout_ms = READ_TIMEOUT_MS,
        .sink = {.info = take_info, .write = take_bytes},
        .done = fetch_done,
        .arg = f,
    };
    f->begun_ms = fs_now_ms();
    f->refs = 2; /* of reader_start() and of fetch_done() */
    f->version->users++;
    TAILQ_INSERT_TAIL(&f->version->fetches, f, link);
    STAILQ_INSERT_TAIL(start, f, start_link);
    reader->fetch_count++;
}

static void undo(struct reader *reader, struct fetch *f) REQUIRES(&reader->lock)
{
    for (uint32_t i = 0; i < f->count; i++) {
        grain_drop(reader, f->grains[i]);
    }
    free(f);
}

int fetch_missing(struct reader *reader, struct version *version, const struct fetch_range *range,
                  struct fetch_list *start)
{
    struct fetch *f = NULL;
    int ret = 0;

    for (uint64_t i = range->first; i <= range->last && ret == 0; i++) {
        struct grain *grain;
        bool here = grain_find(reader, version, i) != NULL;
        bool on_disk = !here && store_has(reader, version, i);

        if (f != NULL && (here || f->from_disk != on_disk)) {
            add_fetch(reader, f, start);
            f = NULL;
        }
        if (here) {
            continue;
        }
        if (f == NULL) {
            f = new_fetch(reader->fs, version, on_disk);
        }
        grain = f != NULL ? grain_new(reader, version, i, range->ahead) : NULL;
        if (grain == NULL) {
            ret = -ENOMEM;
            break;
        }
        f->grains[f->count++] = grain;
        if (f->count == FETCH_GRAINS_MAX) {
            add_fetch(reader, f, start);
            f = NULL;
        }
    }
    if (f != NULL && f->count > 0 && (ret == 0 || range->ahead)) {
        add_fetch(reader, f, start);
    } else if (f != NULL) {
        undo(reader, f);
    }
    return ret;
}

/* It is with the store: what was wished meanwhile is passed on. */
static void submitted(struct fs *fs, struct fetch *f)
{
    struct reader *reader = fs->reader;

    mutex_lock(&reader->lock);
    f->submitted = true;
    if (f->cancelled && !f->ended && !f->first_ended) {
        volume_cancel(fs->volume, &f->request);
    }
    fetch_unref(reader, f);
    mutex_unlock(&reader->lock);
}

void fetch_submit(struct fs *fs, struct fetch *f)
{
    hedge_watch(fs, f);
    if (f->version->internal) {
        volume_submit_internal(fs->volume, &f->request);
    } else {
        volume_submit(fs->volume, &f->request);
    }
    submitted(fs, f);
}

void fetch_loaded(struct fetch *f, uint32_t to)
{
    make_ready(f, to);
}

void fetch_load_ended(struct fs *fs, struct fetch *f)
{
    struct reader *reader = fs->reader;

    if (f->ready == f->count) {
        finish(f, 0, NULL);
        mutex_lock(&reader->lock);
        fetch_unref(reader, f);
        mutex_unlock(&reader->lock);
        return;
    }
    f->from = (uint64_t)f->ready * READER_GRAIN;
    f->got = f->from;
    if (f->from > 0) {
        f->request.range = (struct objstore_range){offset_of(f) + f->from, f->len - f->from};
    }
    fetch_submit(fs, f);
}

void reader_start(struct fs *fs, struct fetch_list *start)
{
    struct fetch *f;

    while ((f = STAILQ_FIRST(start)) != NULL) {
        STAILQ_REMOVE_HEAD(start, start_link);
        if (!f->from_disk || !store_load(fs, f)) {
            fetch_submit(fs, f);
        }
    }
}

bool fetch_is_awaited(const struct fetch *f)
{
    for (uint32_t i = f->ready; i < f->count; i++) {
        if (f->grains[i]->users > 0) {
            return true;
        }
    }
    return false;
}

/* fetch_done() needs the lock before the request goes, so cancelling under it is safe. */
void fetch_cancel(struct reader *reader, struct version *version)
{
    struct volume *volume = reader->fs->volume;
    struct fetch *f;

    TAILQ_FOREACH (f, &version->fetches, link) {
        if (!f->cancelled && !fetch_is_awaited(f)) {
            f->cancelled = true;
            if (f->submitted && !f->first_ended) {
                volume_cancel(volume, &f->request);
            }
            if (f->second_submitted && !f->second_ended) {
                volume_cancel(volume, &f->second);
            }
        }
    }
}
