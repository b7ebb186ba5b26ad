/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/names/graves_internal.h"
#include "objstore/objstore_call.h"
#include "util/hash.h"
#include "util/log.h"

enum {
    SINGLES = 32,      /* at a time, where the store has no batches */
    TIMEOUT_MS = 5000, /* with the retries below us, which look at no ETag */
    NS_PER_MS = 1000000,
    NS_PER_S = 1000000000,
};

uint64_t graves_hash_etag(const char *etag)
{
    return etag[0] == '\0' ? 0 : hash_bytes(etag, strlen(etag)) | 1;
}

/*
 * Another object has come to the name. It stays if it may have come after the removal, by the
 * store's clock and ours. What is older was there when the name was removed, and has only not been
 * known here: deleted as well, unless it changes once more.
 */
static void delete_older(struct graves_batch *batch, size_t i)
{
    CLEANUP(objstore_answer_done) struct objstore_answer seen = OBJSTORE_ANSWER_INIT;
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    const struct grave *grave = batch->graves[i];
    struct objstore_request head = {
        .op = OBJSTORE_HEAD, .key = grave->key, .timeout_ms = TIMEOUT_MS};
    struct objstore_request remove = {
        .op = OBJSTORE_DELETE, .key = grave->key, .timeout_ms = TIMEOUT_MS};
    int64_t dug_ns = fs_now_ns() - (int64_t)(fs_now_ms() - grave->dug_ms) * NS_PER_MS;
    int ret = volume_call(batch->fs->volume, &head, &seen);

    if (ret == 0 && seen.result.info.mtime_ns / NS_PER_S < dug_ns / NS_PER_S) {
        remove.if_match = seen.result.info.etag;
        ret = volume_call(batch->fs->volume, &remove, &answer);
    } else if (ret == 0) {
        log_info("remove: another mount has put a new file at the name, which stays", "key",
                 grave->key, NULL);
    }
    batch->errors[i] = ret == -ESTALE ? -ENOENT : ret;
}

static const char *condition_of(const struct graves_batch *batch, const struct grave *grave)
{
    return batch->fs->caps.conditional_delete && grave->tries == 0 ? grave->etag_text : NULL;
}

/* By itself each; what was tried before only if it is still the same object. */
static void delete_some(struct graves_batch *batch, size_t from, size_t count, bool check)
{
    struct objstore_request requests[SINGLES];
    struct objstore_answer answers[SINGLES];
    struct fs *fs = batch->fs;
    size_t wanted = 0;
    size_t which[SINGLES];

    for (int round = check ? 0 : 1; round < 2; round++) {
        wanted = 0;
        for (size_t i = from; i < from + count; i++) {
            if (batch->errors[i] == 0) {
                which[wanted] = i;
                answers[wanted] = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
                requests[wanted++] =
                    (struct objstore_request){.op = round == 0 ? OBJSTORE_HEAD : OBJSTORE_DELETE,
                                              .key = batch->graves[i]->key,
                                              .if_match = condition_of(batch, batch->graves[i]),
                                              .timeout_ms = TIMEOUT_MS};
            }
        }
        if (wanted > 0) {
            (void)volume_call_many(fs->volume, requests, answers, wanted);
        }
        for (size_t i = 0; i < wanted; i++) {
            const struct grave *grave = batch->graves[which[i]];
            const struct objstore_result *result = &answers[i].result;
            bool another = round == 0 && result->status == 0 && grave->etag != 0 &&
                           graves_hash_etag(result->info.etag) != grave->etag;

            /* Gone, or somebody else's: nothing is left to do. */
            batch->errors[which[i]] = another ? -ENOENT : result->status;
            objstore_answer_done(&answers[i]);
        }
    }
}

static void delete_each(struct graves_batch *batch)
{
    for (size_t from = 0; from < batch->count; from += SINGLES) {
        size_t count = batch->count - from < SINGLES ? batch->count - from : SINGLES;
        bool check = false;

        for (size_t i = from; i < from + count; i++) {
            check = check || batch->graves[i]->tries > 0;
        }
        delete_some(batch, from, count, check);
    }
}

static void delete_batch(struct graves_batch *batch)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    AUTOFREE struct objstore_victim *victims = calloc(batch->count, sizeof(*victims));
    struct objstore_request request = {.op = OBJSTORE_DELETE_BATCH,
                                       .victims = victims,
                                       .victims_count = batch->count,
                                       .match_is_checked = true,
                                       .timeout_ms = TIMEOUT_MS};
    int ret;

    if (victims == NULL) {
        delete_each(batch);
        return;
    }
    for (size_t i = 0; i < batch->count; i++) {
        victims[i].key = batch->graves[i]->key;
        if (batch->fs->caps.conditional_batch) {
            victims[i].match.etag = condition_of(batch, batch->graves[i]);
        }
    }
    ret = volume_call(batch->fs->volume, &request, &answer);
    if (ret == -EINVAL || ret == -ENOTSUP) { /* a key that its text cannot hold */
        delete_each(batch);
        return;
    }
    for (size_t i = 0; i < batch->count; i++) {
        batch->errors[i] = ret != 0 ? ret : victims[i].error;
    }
}

void graves_delete(struct graves_batch *batch)
{
    if (batch->count > 1 && batch->fs->caps.batch_delete && batch->graves[0]->tries == 0) {
        delete_batch(batch);
    } else {
        delete_each(batch);
    }
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->errors[i] == -ESTALE) {
            delete_older(batch, i);
        }
    }
}
