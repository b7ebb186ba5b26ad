/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batch delete: first one DeleteObjects for all keys that XML can carry, then a DELETE for each of
 * the others (XML 1.0 knows no control characters), and for all when the store has no
 * DeleteObjects. Until a victim is answered for, its error is -EINPROGRESS.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "objstore/s3_private.h"
#include "s3/xml.h"

static bool needs_single(const struct objstore_request *request,
                         const struct objstore_victim *victim)
{
    const char *key = victim->key;

    /* Many stores would not look at it in a batch. */
    if (victim->match.etag != NULL && !request->match_is_checked) {
        return true;
    }
    for (; *key != '\0'; key++) {
        if ((unsigned char)*key < 0x20) {
            return true;
        }
        /* U+FFFE and U+FFFF */
        if ((unsigned char)key[0] == 0xEF && (unsigned char)key[1] == 0xBF &&
            ((unsigned char)key[2] & 0xFE) == 0xBE) {
            return true;
        }
    }
    return false;
}

int s3_batch_body(struct s3_call *call)
{
    struct objstore_request *request = call->request;

    buf_reset(&call->body);
    call->body.max = S3_XML_BODY_MAX;
    s3_xml_delete_begin(&call->body, !request->tell_markers);
    for (size_t i = 0; i < request->victims_count; i++) {
        struct objstore_victim *victim = &request->victims[i];

        victim->error = -EINPROGRESS;
        if (victim->match.by_size || victim->match.by_mtime) {
            victim->error = -ENOTSUP;
        } else if (!needs_single(request, victim)) {
            s3_xml_delete_key(&call->body, victim->key, victim->version_id, victim->match.etag);
        }
    }
    s3_xml_delete_end(&call->body);
    return buf_error(&call->body);
}

static bool same_victim(const struct objstore_victim *victim, const struct s3_xml_item *item)
{
    const char *version = victim->version_id != NULL ? victim->version_id : "";

    return strcmp(victim->key, item->key) == 0 &&
           (strcmp(version, item->version_id) == 0 || version[0] == '\0');
}

static void note_marker(struct objstore_request *request, const struct s3_xml_item *item)
{
    for (size_t j = 0; j < request->victims_count; j++) {
        struct objstore_victim *victim = &request->victims[j];

        if (same_victim(victim, item)) {
            victim->marked = item->marker;
            (void)snprintf(victim->marker_id, sizeof(victim->marker_id), "%s", item->marker_id);
        }
    }
}

/* A quiet answer names only what could not be deleted. */
void s3_batch_answered(struct s3_call *call, const struct s3_xml_doc *doc)
{
    struct objstore_request *request = call->request;

    for (size_t i = 0; i < request->victims_count; i++) {
        if (request->victims[i].error == -EINPROGRESS &&
            !needs_single(request, &request->victims[i])) {
            request->victims[i].error = 0;
        }
    }
    for (size_t i = 0; i < doc->count; i++) {
        const struct s3_xml_item *item = &doc->items[i];
        enum s3_code code = s3_code_from_name(slice_of(item->code), 500);

        if (item->kind == S3_XML_KEY && item->marker) {
            note_marker(request, item);
        }
        if (item->kind != S3_XML_FAILURE || code == S3_NO_SUCH_KEY || code == S3_NO_SUCH_VERSION) {
            continue; /* what is not there is deleted */
        }
        for (size_t j = 0; j < request->victims_count; j++) {
            if (same_victim(&request->victims[j], item)) {
                request->victims[j].error = s3_code_errno(code);
            }
        }
    }
}

void s3_batch_start(struct s3_call *call)
{
    struct objstore_request *request = call->request;
    bool together = false;

    for (size_t i = 0; i < request->victims_count; i++) {
        struct objstore_victim *victim = &request->victims[i];

        victim->error = victim->match.by_size || victim->match.by_mtime ? -ENOTSUP : -EINPROGRESS;
        together |= victim->error == -EINPROGRESS && !needs_single(request, victim);
    }
    if (together) {
        s3_call_send(call);
    } else {
        s3_batch_next(call);
    }
}

void s3_batch_next(struct s3_call *call)
{
    struct objstore_request *request = call->request;

    if (call->singly && call->victim < request->victims_count) {
        int status = call->result.status;
        bool conditional = request->victims[call->victim].match.etag != NULL;

        request->victims[call->victim].error = status == -ENOENT && !conditional ? 0 : status;
        request->victims[call->victim].marked = status == 0 && call->result.delete_marker;
        memcpy(request->victims[call->victim].marker_id, call->result.info.version_id,
               OBJSTORE_VERSION_MAX);
        call->victim++;
        if (status == -ECANCELED || status == -ETIMEDOUT) {
            s3_call_end(call);
            return;
        }
    }
    call->no_batch = call->no_batch || (!call->singly && call->result.status == -ENOTSUP);
    call->singly = true;
    while (call->victim < request->victims_count &&
           request->victims[call->victim].error != -EINPROGRESS) {
        call->victim++;
    }
    call->result.status = 0;
    if (call->victim == request->victims_count) {
        call->result = (struct objstore_result){
            .status = 0, .s3_code = (int)(call->no_batch ? S3_NOT_IMPLEMENTED : S3_OK)};
        s3_call_end(call);
        return;
    }
    s3_call_send(call);
}
