/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/objstore.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/objstore_backend.h"

enum { NEEDS_BUCKET = 1, NEEDS_KEY = 2, NEEDS_UPLOAD = 4, NEEDS_PART = 8, NEEDS_SOURCE = 16 };

static const struct op_facts {
    const char *name;
    bool reads;
    unsigned needs;
} ops_facts[OBJSTORE_OP_COUNT] = {
    [OBJSTORE_BUCKET_LIST] = {"bucket_list", true, 0},
    [OBJSTORE_BUCKET_CREATE] = {"bucket_create", false, NEEDS_BUCKET},
    [OBJSTORE_BUCKET_HEAD] = {"bucket_head", true, NEEDS_BUCKET},
    [OBJSTORE_BUCKET_DELETE] = {"bucket_delete", false, NEEDS_BUCKET},
    [OBJSTORE_BUCKET_PROBE] = {"bucket_probe", false, NEEDS_BUCKET},
    [OBJSTORE_GET] = {"get", true, NEEDS_BUCKET | NEEDS_KEY},
    [OBJSTORE_HEAD] = {"head", true, NEEDS_BUCKET | NEEDS_KEY},
    [OBJSTORE_PUT] = {"put", false, NEEDS_BUCKET | NEEDS_KEY},
    [OBJSTORE_COPY] = {"copy", false, NEEDS_BUCKET | NEEDS_KEY | NEEDS_SOURCE},
    [OBJSTORE_DELETE] = {"delete", false, NEEDS_BUCKET | NEEDS_KEY},
    [OBJSTORE_DELETE_BATCH] = {"delete_batch", false, NEEDS_BUCKET},
    [OBJSTORE_LIST] = {"list", true, NEEDS_BUCKET},
    [OBJSTORE_LIST_VERSIONS] = {"list_versions", true, NEEDS_BUCKET},
    [OBJSTORE_UPLOAD_CREATE] = {"upload_create", false, NEEDS_BUCKET | NEEDS_KEY},
    [OBJSTORE_UPLOAD_PART] = {"upload_part", false,
                              NEEDS_BUCKET | NEEDS_KEY | NEEDS_UPLOAD | NEEDS_PART},
    [OBJSTORE_UPLOAD_PART_COPY] = {"upload_part_copy", false,
                                   NEEDS_BUCKET | NEEDS_KEY | NEEDS_UPLOAD | NEEDS_PART |
                                       NEEDS_SOURCE},
    [OBJSTORE_UPLOAD_COMPLETE] = {"upload_complete", false,
                                  NEEDS_BUCKET | NEEDS_KEY | NEEDS_UPLOAD},
    [OBJSTORE_UPLOAD_ABORT] = {"upload_abort", false, NEEDS_BUCKET | NEEDS_KEY | NEEDS_UPLOAD},
    [OBJSTORE_UPLOAD_LIST] = {"upload_list", true, NEEDS_BUCKET},
    [OBJSTORE_UPLOAD_LIST_PARTS] = {"upload_list_parts", true,
                                    NEEDS_BUCKET | NEEDS_KEY | NEEDS_UPLOAD},
    [OBJSTORE_BUCKET_DOC_GET] = {"bucket_doc_get", true, NEEDS_BUCKET},
    [OBJSTORE_BUCKET_DOC_PUT] = {"bucket_doc_put", false, NEEDS_BUCKET},
    [OBJSTORE_BUCKET_DOC_DELETE] = {"bucket_doc_delete", false, NEEDS_BUCKET},
    [OBJSTORE_TAGS_GET] = {"tags_get", true, NEEDS_BUCKET | NEEDS_KEY},
    [OBJSTORE_TAGS_PUT] = {"tags_put", false, NEEDS_BUCKET | NEEDS_KEY},
    [OBJSTORE_TAGS_DELETE] = {"tags_delete", false, NEEDS_BUCKET | NEEDS_KEY},
};

static const char *const doc_names[OBJSTORE_DOC_COUNT] = {
    [OBJSTORE_DOC_POLICY] = "policy",
    [OBJSTORE_DOC_CORS] = "cors",
    [OBJSTORE_DOC_TAGGING] = "tagging",
    [OBJSTORE_DOC_OWNERSHIP] = "ownershipControls",
    [OBJSTORE_DOC_VERSIONING] = "versioning",
    [OBJSTORE_DOC_PUBLIC_ACCESS_BLOCK] = "publicAccessBlock",
    [OBJSTORE_DOC_ACCELERATE] = "accelerate",
    [OBJSTORE_DOC_ENCRYPTION] = "encryption",
    [OBJSTORE_DOC_LIFECYCLE] = "lifecycle",
    [OBJSTORE_DOC_LOGGING] = "logging",
    [OBJSTORE_DOC_NOTIFICATION] = "notification",
    [OBJSTORE_DOC_OBJECT_LOCK] = "object-lock",
    [OBJSTORE_DOC_REPLICATION] = "replication",
    [OBJSTORE_DOC_REQUEST_PAYMENT] = "requestPayment",
    [OBJSTORE_DOC_WEBSITE] = "website",
};

const char *objstore_doc_name(enum objstore_doc doc)
{
    return (unsigned)doc < OBJSTORE_DOC_COUNT ? doc_names[doc] : "unknown";
}

const char *objstore_op_name(enum objstore_op op)
{
    return (unsigned)op < OBJSTORE_OP_COUNT ? ops_facts[op].name : "unknown";
}

bool objstore_op_reads(enum objstore_op op)
{
    return (unsigned)op < OBJSTORE_OP_COUNT && ops_facts[op].reads;
}

/* S3's rules for new buckets; dots are allowed, as old buckets have them. */
static bool bucket_ok(const char *name)
{
    size_t len = name != NULL ? strnlen(name, OBJSTORE_BUCKET_MAX + 1) : 0;

    if (len < 3 || len > OBJSTORE_BUCKET_MAX || strstr(name, "..") != NULL) {
        return false;
    }
    if (strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != len) {
        return false;
    }
    return name[0] != '-' && name[0] != '.' && name[len - 1] != '-' && name[len - 1] != '.';
}

static bool key_ok(const char *key)
{
    return key != NULL && key[0] != '\0' && strnlen(key, OBJSTORE_KEY_MAX + 1) <= OBJSTORE_KEY_MAX;
}

static const char *fault_of_names(const struct objstore_request *r, unsigned needs)
{
    if ((needs & NEEDS_BUCKET) != 0 && !bucket_ok(r->bucket)) {
        return "bad bucket name: 3 to 63 of a-z, 0-9, '-' and '.'";
    }
    if ((needs & NEEDS_KEY) != 0 && !key_ok(r->key)) {
        return "bad key: 1 to 1024 bytes";
    }
    if ((needs & NEEDS_KEY) == 0 && r->key != NULL &&
        strnlen(r->key, OBJSTORE_KEY_MAX + 1) > OBJSTORE_KEY_MAX) {
        return "prefix is longer than 1024 bytes";
    }
    if ((needs & NEEDS_SOURCE) != 0 && (!bucket_ok(r->source_bucket) || !key_ok(r->source_key))) {
        return "bad source bucket or key";
    }
    return NULL;
}

static const char *fault_of_values(const struct objstore_request *r, unsigned needs)
{
    if ((needs & NEEDS_UPLOAD) != 0 &&
        (r->upload_id == NULL || r->upload_id[0] == '\0' ||
         strnlen(r->upload_id, OBJSTORE_UPLOAD_MAX + 1) > OBJSTORE_UPLOAD_MAX)) {
        return "bad upload id";
    }
    if ((needs & NEEDS_PART) != 0 && (r->part_number < 1 || r->part_number > OBJSTORE_PARTS_MAX)) {
        return "part numbers are 1 to 10000";
    }
    if (r->meta != NULL && r->meta->user_count > OBJSTORE_META_MAX) {
        return "too many user metadata entries";
    }
    if (r->op == OBJSTORE_GET && r->range.len == 0 && r->range.offset != 0) {
        return "empty range";
    }
    if (r->op == OBJSTORE_DELETE_BATCH &&
        (r->victims_count < 1 || r->victims_count > OBJSTORE_BATCH_MAX)) {
        return "a batch deletes 1 to 1000 keys";
    }
    if (r->op == OBJSTORE_UPLOAD_COMPLETE &&
        (r->parts_count < 1 || r->parts_count > OBJSTORE_PARTS_MAX)) {
        return "an upload is completed from 1 to 10000 parts";
    }
    if ((r->op == OBJSTORE_PUT || r->op == OBJSTORE_UPLOAD_PART) && r->source.size > 0 &&
        r->source.data == NULL && r->source.read == NULL) {
        return "no source for the bytes";
    }
    return NULL;
}

static const char *fault_of_docs(const struct objstore_request *r)
{
    bool puts = r->op == OBJSTORE_BUCKET_DOC_PUT;

    if (r->tags != NULL && strnlen(r->tags, OBJSTORE_DOC_MAX + 1) > OBJSTORE_DOC_MAX) {
        return "the tags are too long";
    }
    if (!puts && r->op != OBJSTORE_BUCKET_DOC_GET && r->op != OBJSTORE_BUCKET_DOC_DELETE) {
        return NULL;
    }
    if ((unsigned)r->doc >= OBJSTORE_DOC_COUNT) {
        return "unknown document";
    }
    if (puts && (r->document == NULL || r->document[0] == '\0' ||
                 strnlen(r->document, OBJSTORE_DOC_MAX + 1) > OBJSTORE_DOC_MAX)) {
        return "a document has 1 to 131072 bytes";
    }
    return NULL;
}

static const char *fault_of_lists(const struct objstore_request *r)
{
    if (r->op == OBJSTORE_DELETE_BATCH) {
        for (size_t i = 0; i < r->victims_count; i++) {
            if (!key_ok(r->victims[i].key)) {
                return "bad key in a batch: 1 to 1024 bytes";
            }
        }
    }
    if (r->op == OBJSTORE_UPLOAD_COMPLETE) {
        for (size_t i = 0; i < r->parts_count; i++) {
            uint32_t number = r->parts[i].number;

            if (number < 1 || number > OBJSTORE_PARTS_MAX ||
                (i > 0 && number <= r->parts[i - 1].number)) {
                return "parts are not in ascending order";
            }
        }
    }
    return NULL;
}

static const char *fault_of(const struct objstore_request *request)
{
    const char *fault;
    unsigned needs;

    if ((unsigned)request->op >= OBJSTORE_OP_COUNT) {
        return "unknown operation";
    }
    needs = ops_facts[request->op].needs;
    fault = fault_of_names(request, needs);
    fault = fault != NULL ? fault : fault_of_values(request, needs);
    fault = fault != NULL ? fault : fault_of_lists(request);
    return fault != NULL ? fault : fault_of_docs(request);
}

bool objstore_now(struct objstore *store, struct objstore_request *request)
{
    return store->ops->now != NULL &&
           (request->op == OBJSTORE_GET || request->op == OBJSTORE_HEAD) &&
           fault_of(request) == NULL && store->ops->now(store, request);
}

void objstore_submit(struct objstore *store, struct objstore_request *request)
{
    const char *fault = fault_of(request);

    memset(request->store_private, 0, sizeof(request->store_private));
    if (fault != NULL) {
        objstore_fail(request, -EINVAL, "%s", fault);
        return;
    }
    store->ops->submit(store, request);
}

void objstore_cancel(struct objstore *store, struct objstore_request *request)
{
    store->ops->cancel(store, request);
}

void objstore_resume(struct objstore *store, struct objstore_request *request)
{
    store->ops->resume(store, request);
}

void objstore_free(struct objstore *store)
{
    if (store != NULL) {
        store->ops->free(store);
    }
}

const char *objstore_name(const struct objstore *store)
{
    return store->name;
}

bool objstore_changes(const struct objstore *store, uint64_t *ret)
{
    if (store->changes != NULL) {
        *ret = atomic_load(store->changes);
    }
    return store->changes != NULL;
}

int objstore_base_init(struct objstore *store, const struct objstore_ops *ops, const char *format,
                       ...)
{
    va_list args;
    int len;

    store->ops = ops;
    va_start(args, format);
    len = vasprintf(&store->name, format, args);
    va_end(args);
    if (len < 0) {
        store->name = NULL;
        return -ENOMEM;
    }
    return 0;
}

void objstore_base_done(struct objstore *store)
{
    free(store->name);
    store->name = NULL;
}

void objstore_fail(struct objstore_request *request, int status, const char *format, ...)
{
    struct objstore_result result = {.status = status};
    va_list args;

    result.error.code = status;
    va_start(args, format);
    (void)vsnprintf(result.error.text, sizeof(result.error.text), format, args);
    va_end(args);
    request->done(request, &result);
}
