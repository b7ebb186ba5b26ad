/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies that the store makes. What a program names never lies under .skyvol/: all go the internal
 * way, so that the bytes of unlinked files and of exchanges can be kept there.
 */
#include "mounter/write/copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/fs.h"
#include "mounter/read/reader.h"
#include "objstore/objstore_call.h"

enum { COPY_TIMEOUT_MS = 300000, META_TIMEOUT_MS = 50000, COPY_PARTS = 8, THROUGH_MAX = 8 << 20 };
/* Bytes that are fetched and sent sooner than copied by three requests. */
static const uint64_t through_first = 1 << 20;
/* A copy by parts takes a fraction of the time: 8 at once, 64 MiB each, more of a huge object. */
static const uint64_t copy_alone = 256 << 20;

static uint64_t copy_part(const struct copy_what *what)
{
    uint64_t part = 64 << 20;

    while (what->size / part >= STATE_PARTS / 8) {
        part *= 2;
    }
    return what->finer ? part / 2 : part;
}

static uint32_t count_parts(const struct copy_what *what)
{
    uint64_t part = copy_part(what);

    return what->size == 0 ? 1 : (uint32_t)((what->size + part - 1) / part);
}

/* A part cannot be copied of nothing. */
static int put_empty_part(struct fs *fs, const struct copy_what *what, const char *id,
                          struct objstore_part *part)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request put = {.op = OBJSTORE_UPLOAD_PART,
                                   .key = what->to,
                                   .upload_id = id,
                                   .part_number = 1,
                                   .source = {.data = ""},
                                   .timeout_ms = META_TIMEOUT_MS};
    int ret = volume_call_internal(fs->volume, &put, &answer);

    part->number = 1;
    memcpy(part->etag, answer.result.info.etag, OBJSTORE_ETAG_MAX);
    return ret;
}

/* Parts, several at a time. */
static int copy_parts(struct fs *fs, const struct copy_what *what, const char *id,
                      struct objstore_part *parts, uint32_t count)
{
    uint64_t part = copy_part(what);
    int ret = 0;

    if (what->size == 0) {
        return put_empty_part(fs, what, id, parts);
    }
    for (uint32_t from = 0; ret == 0 && from < count; from += COPY_PARTS) {
        struct objstore_request requests[COPY_PARTS];
        struct objstore_answer answers[COPY_PARTS];
        uint32_t n = count - from < COPY_PARTS ? count - from : COPY_PARTS;

        for (uint32_t i = 0; i < n; i++) {
            uint64_t offset = (from + i) * part;
            uint64_t len = what->size - offset < part ? what->size - offset : part;

            answers[i] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
            requests[i] = (struct objstore_request){.op = OBJSTORE_UPLOAD_PART_COPY,
                                                    .key = what->to,
                                                    .upload_id = id,
                                                    .part_number = from + i + 1,
                                                    .source_key = what->from,
                                                    .source_if_match = what->if_match,
                                                    .range = {offset, len},
                                                    .timeout_ms = COPY_TIMEOUT_MS};
        }
        ret = volume_call_many_internal(fs->volume, requests, answers, n);
        for (uint32_t i = 0; i < n; i++) {
            parts[from + i].number = from + i + 1;
            memcpy(parts[from + i].etag, answers[i].result.info.etag, OBJSTORE_ETAG_MAX);
            objstore_answer_done(&answers[i]);
        }
    }
    return ret;
}

static int copy_large(struct fs *fs, const struct copy_what *what, char ret_etag[STATE_ETAG_SIZE])
{
    CLEANUP(objstore_answer_done) struct objstore_answer created = OBJSTORE_ANSWER_INIT;
    CLEANUP(objstore_answer_done) struct objstore_answer head_answer = OBJSTORE_ANSWER_INIT;
    CLEANUP(objstore_answer_done) struct objstore_answer done = OBJSTORE_ANSWER_INIT;
    uint32_t count = count_parts(what);
    AUTOFREE struct objstore_part *parts = calloc(count, sizeof(*parts));
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = what->from};
    struct objstore_request create = {.op = OBJSTORE_UPLOAD_CREATE, .key = what->to};
    struct objstore_request complete = {.op = OBJSTORE_UPLOAD_COMPLETE,
                                        .key = what->to,
                                        .parts = parts,
                                        .parts_count = count,
                                        .if_none_match = what->only_new ? "*" : NULL,
                                        .if_match = what->onto,
                                        .timeout_ms = COPY_TIMEOUT_MS};
    int ret = parts == NULL ? -ENOMEM : 0;

    if (!fs->caps.part_copy) {
        return -EFBIG;
    }
    ret = ret == 0 && what->meta == NULL ? volume_call_internal(fs->volume, &head, &head_answer)
                                         : ret;
    create.meta = what->meta != NULL ? what->meta : &head_answer.result.info.meta;
    ret = ret == 0 ? volume_call_internal(fs->volume, &create, &created) : ret;
    if (ret != 0) {
        return ret;
    }
    ret = copy_parts(fs, what, created.result.upload_id, parts, count);
    complete.upload_id = created.result.upload_id;
    ret = ret == 0 ? volume_call_internal(fs->volume, &complete, &done) : ret;
    if (ret != 0) {
        struct objstore_request drop = {
            .op = OBJSTORE_UPLOAD_ABORT, .key = what->to, .upload_id = created.result.upload_id};

        (void)volume_call_internal(fs->volume, &drop, &done);
        return ret;
    }
    memcpy(ret_etag, done.result.info.etag, STATE_ETAG_SIZE);
    return 0;
}

/* All of the source. Where it is an inode's, what has been read of it lately is here. */
static int fetch(struct fs *fs, const struct copy_what *what, char *buffer)
{
    CLEANUP(objstore_answer_done) struct objstore_answer got = OBJSTORE_ANSWER_INIT;
    struct objstore_request get = {.op = OBJSTORE_GET,
                                   .key = what->from,
                                   .if_match = what->if_match,
                                   .timeout_ms = META_TIMEOUT_MS};
    int ret;

    if (what->ino != 0) {
        return what->size > 0 ? reader_read(fs, what->ino, 0, buffer, (size_t)what->size) : 0;
    }
    got.body.max = THROUGH_MAX + 1;
    ret = volume_call_internal(fs->volume, &get, &got);
    if (ret == 0 && buf_len(&got.body) != what->size) {
        return -ESTALE;
    }
    if (ret == 0) {
        memcpy(buffer, buf_str(&got.body), (size_t)what->size);
    }
    return ret;
}

/* The bytes take the way through us: a PUT can have a condition where a copy cannot. */
static int copy_through(struct fs *fs, const struct copy_what *what, char ret_etag[STATE_ETAG_SIZE])
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    AUTOFREE char *buffer = malloc((size_t)what->size + 1);
    struct objstore_request put = {.op = OBJSTORE_PUT,
                                   .key = what->to,
                                   .meta = what->meta,
                                   .if_match = what->onto,
                                   .timeout_ms = COPY_TIMEOUT_MS};
    int ret = buffer != NULL ? fetch(fs, what, buffer) : -ENOMEM;

    if (ret != 0) {
        return ret;
    }
    put.source = (struct objstore_source){.data = buffer, .size = what->size};
    data_image_sum(fs, &(struct data_image){.len = 0}, &put);
    ret = volume_call_internal(fs->volume, &put, &answer);
    if (ret == 0) {
        memcpy(ret_etag, answer.result.info.etag, STATE_ETAG_SIZE);
        if (what->ret_ns != NULL) {
            *what->ret_ns = answer.result.info.mtime_ns;
        }
    }
    return ret;
}

/* Onto one certain object, by the store if it can, and with the fewest requests if it cannot. */
static int copy_onto(struct fs *fs, const struct copy_what *what, char ret_etag[STATE_ETAG_SIZE])
{
    bool parts = fs->caps.part_copy && fs->caps.conditional_complete && what->size > 0;

    if (!fs->caps.if_match_put) {
        return -ENOTSUP;
    }
    if (what->size <= (parts ? through_first : (uint64_t)THROUGH_MAX)) {
        return copy_through(fs, what, ret_etag);
    }
    return parts ? copy_large(fs, what, ret_etag) : -ENOTSUP;
}

static bool goes_by_parts(const struct fs *fs, const struct copy_what *what)
{
    return what->partial || what->in_parts || what->size > fs->caps.copy_max ||
           (what->size > copy_alone && fs->caps.part_copy);
}

bool remote_copy_is_blind(const struct fs *fs, const struct copy_what *what)
{
    return what->partial ||
           (goes_by_parts(fs, what) ? !fs->caps.conditional_complete : !fs->caps.conditional_copy);
}

int remote_copy(struct fs *fs, const struct copy_what *what, char ret_etag[STATE_ETAG_SIZE])
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request copy = {.op = OBJSTORE_COPY,
                                    .key = what->to,
                                    .source_key = what->from,
                                    .source_if_match = what->if_match,
                                    .replace_meta = what->meta != NULL,
                                    .meta = what->meta,
                                    .if_match = what->onto,
                                    .if_none_match =
                                        what->only_new && fs->caps.conditional_copy ? "*" : NULL,
                                    .target_is_checked = fs->caps.conditional_copy,
                                    .timeout_ms = COPY_TIMEOUT_MS};
    int ret;

    if (what->ret_ns != NULL) {
        *what->ret_ns = 0;
    }
    if (goes_by_parts(fs, what)) {
        return what->onto != NULL && !what->in_parts ? copy_onto(fs, what, ret_etag)
                                                     : copy_large(fs, what, ret_etag);
    }
    ret = volume_call_internal(fs->volume, &copy, &answer);
    if (ret == -ENOTSUP && what->onto != NULL) { /* it has not been sent */
        return copy_onto(fs, what, ret_etag);
    }
    if (ret == 0) {
        memcpy(ret_etag, answer.result.info.etag, STATE_ETAG_SIZE);
        if (what->ret_ns != NULL) {
            *what->ret_ns = answer.result.info.mtime_ns;
        }
    }
    return ret;
}

int remote_version(struct fs *fs, const char *key, char ret_etag[STATE_ETAG_SIZE],
                   uint64_t *ret_size)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_HEAD, .key = key, .timeout_ms = META_TIMEOUT_MS};
    int ret = volume_call_internal(fs->volume, &head, &answer);

    memcpy(ret_etag, ret == 0 ? answer.result.info.etag : "", ret == 0 ? STATE_ETAG_SIZE : 1);
    *ret_size = ret == 0 ? answer.result.info.size : 0;
    return ret;
}

int remote_etag(struct fs *fs, const char *key, char ret_etag[STATE_ETAG_SIZE])
{
    uint64_t size;

    return remote_version(fs, key, ret_etag, &size);
}

/* Of a multipart object: it is the last number of its ETag. 0: of no such. */
static uint32_t parts_of(const char *etag)
{
    const char *dash = strrchr(etag, '-');

    return dash != NULL ? (uint32_t)strtoul(dash + 1, NULL, 10) : 0;
}

/*
 * Another mount may be about to delete `to` on condition of an ETag, having moved those bytes away
 * from there; they must not come back with this ETag. That of a content depends on its parts: what
 * goes onto an object with the source's ETag gets other parts, and what has such parts keeps them
 * when it moves on. (It is the same object that this other mount has seen at the other name, while
 * it was at both.)
 */
static void choose_parts(const struct fs *fs, struct copy_what *what, const char *seen)
{
    uint32_t has;
    bool same;

    what->in_parts = false;
    what->finer = false;
    if (what->if_match == NULL || what->partial || !fs->caps.part_copy ||
        (fs->caps.conditional_copy && !fs->caps.conditional_complete)) {
        return;
    }
    has = parts_of(what->if_match);
    same = strcmp(what->if_match, seen) == 0;
    if (goes_by_parts(fs, what)) {
        what->finer = same && has == count_parts(what);
        what->finer = what->finer || (!same && has == 2 * count_parts(what));
    } else {
        what->in_parts = same ? has == 0 : has == count_parts(what);
    }
}

int remote_copy_over(struct fs *fs, const struct copy_what *what, const char *there,
                     char ret_etag[STATE_ETAG_SIZE])
{
    enum { TRIES = 5 };
    struct copy_what over = *what;
    char seen[STATE_ETAG_SIZE] = "";
    int ret = 0;

    (void)snprintf(seen, sizeof(seen), "%s", there);
    choose_parts(fs, &over, seen);
    if (remote_copy_is_blind(fs, &over)) {
        return remote_copy(fs, &over, ret_etag);
    }
    for (int tries = 0; tries < TRIES; tries++) {
        char now[STATE_ETAG_SIZE] = "";
        int looked;

        over.only_new = seen[0] == '\0';
        over.onto = seen[0] != '\0' ? seen : NULL;
        ret = remote_copy(fs, &over, ret_etag);
        if (ret != -EEXIST && ret != -ESTALE && ret != -ENOENT) {
            return ret;
        }
        looked = remote_etag(fs, what->to, now);
        looked = looked == -ENOENT ? 0 : looked; /* then it is "" */
        if (looked != 0 || strcmp(now, seen) == 0) {
            return looked != 0 ? looked : ret; /* the target is what it was: it is the source */
        }
        memcpy(seen, now, sizeof(seen));
        choose_parts(fs, &over, seen);
    }
    return ret;
}

int remote_delete(struct fs *fs, const char *key)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request request = {
        .op = OBJSTORE_DELETE, .key = key, .timeout_ms = META_TIMEOUT_MS};

    return volume_call_internal(fs->volume, &request, &answer);
}

int remote_delete_version(struct fs *fs, const char *key, const char *etag)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request request = {.op = OBJSTORE_DELETE,
                                       .key = key,
                                       .if_match = fs->caps.conditional_delete ? etag : NULL,
                                       .timeout_ms = META_TIMEOUT_MS};
    int ret = 0;

    if (!fs->caps.conditional_delete) {
        char now[STATE_ETAG_SIZE];

        ret = remote_etag(fs, key, now);
        if (ret == 0 && strcmp(now, etag) != 0) {
            return 0;
        }
    }
    ret = ret == 0 ? volume_call_internal(fs->volume, &request, &answer) : ret;
    return ret == -ENOENT || ret == -ESTALE ? 0 : ret;
}
