/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/objstore_backend.h"
#include "objstore/objstore_call.h"
#include "util/arena.h"
#include "volume/volume_internal.h"

struct volume {
    struct objstore *store;
    struct objstore *backend;
    char *bucket;
    char *prefix;
    size_t prefix_len;
    bool read_only;
    bool opened; /* VOLUME_LINKS are for the user, too */
    struct objstore_caps caps;
};

/*
 * One request on its way: the caller's, and the copy with real names that the store sees. Lives
 * from submit to done.
 */
struct passage {
    struct objstore_request inner;
    struct objstore_request *outer;
    struct volume *volume;
    bool internal;
    struct objstore_victim *victims; /* DELETE_BATCH: mapped; */
    size_t *victim_of;               /* their index in the caller's array */
    struct objstore_entry *entries;
    struct arena arena;
};

static bool reserved(const char *key)
{
    return strncmp(key, VOLUME_RESERVED, strlen(VOLUME_RESERVED)) == 0;
}

static bool is_refused(const struct volume *v, const char *key)
{
    return reserved(key) && !(v->opened && strncmp(key, VOLUME_LINKS, strlen(VOLUME_LINKS)) == 0);
}

void volume_open_links(struct volume *volume)
{
    volume->opened = true;
}

static const char *full_key(struct passage *p, const char *key)
{
    size_t len = strlen(key);
    char *full = arena_alloc(&p->arena, p->volume->prefix_len + len + 1);

    if (full != NULL) {
        memcpy(full, p->volume->prefix, p->volume->prefix_len);
        memcpy(full + p->volume->prefix_len, key, len + 1);
    }
    return full;
}

static ssize_t pass_read(struct objstore_request *inner, void *buffer, size_t cap)
{
    struct passage *p = inner->arg;

    return p->outer->source.read(p->outer, buffer, cap);
}

static ssize_t pass_lend(struct objstore_request *inner, const void **ret_bytes, size_t *ret_window)
{
    struct passage *p = inner->arg;

    return p->outer->source.lend(p->outer, ret_bytes, ret_window);
}

static void pass_release(struct objstore_request *inner, size_t len)
{
    struct passage *p = inner->arg;

    p->outer->source.release(p->outer, len);
}

static int pass_rewind(struct objstore_request *inner)
{
    struct passage *p = inner->arg;

    return p->outer->source.rewind(p->outer);
}

static int pass_info(struct objstore_request *inner, const struct objstore_info *info,
                     struct objstore_range range)
{
    struct passage *p = inner->arg;

    return p->outer->sink.info(p->outer, info, range);
}

static int pass_write(struct objstore_request *inner, const void *data, size_t len)
{
    struct passage *p = inner->arg;

    return p->outer->sink.write(p->outer, data, len);
}

static int pass_file(struct objstore_request *inner, int fd, struct objstore_range range)
{
    struct passage *p = inner->arg;

    return p->outer->sink.file(p->outer, fd, range);
}

/* The key as the volume's user sees it; NULL if it is not for them. */
static const char *own_key(const struct passage *p, const char *key)
{
    const struct volume *v = p->volume;

    if (key == NULL || strncmp(key, v->prefix, v->prefix_len) != 0) {
        return NULL;
    }
    key += v->prefix_len;
    return !p->internal && reserved(key) ? NULL : key;
}

/* The result's lists without the prefix and without what is reserved. -ENOMEM. */
static int map_lists(struct passage *p, const struct objstore_result *from,
                     struct objstore_result *to)
{
    size_t count = 0;

    if (from->entries != NULL) {
        struct objstore_entry *entries =
            arena_array(&p->arena, from->count, sizeof(*from->entries));

        for (size_t i = 0; entries != NULL && i < from->count; i++) {
            entries[count] = from->entries[i];
            entries[count].key = own_key(p, from->entries[i].key);
            count += entries[count].key != NULL;
        }
        to->entries = entries;
        to->count = count;
        return entries != NULL || from->count == 0 ? 0 : -ENOMEM;
    }
    if (from->uploads != NULL) {
        struct objstore_upload_entry *uploads =
            arena_array(&p->arena, from->count, sizeof(*from->uploads));

        for (size_t i = 0; uploads != NULL && i < from->count; i++) {
            uploads[count] = from->uploads[i];
            uploads[count].key = own_key(p, from->uploads[i].key);
            count += uploads[count].key != NULL;
        }
        to->uploads = uploads;
        to->count = count;
        return uploads != NULL || from->count == 0 ? 0 : -ENOMEM;
    }
    return 0;
}

static void passage_free(struct passage *p)
{
    arena_done(&p->arena);
    free(p);
}

static void passage_done(struct objstore_request *inner, const struct objstore_result *result)
{
    struct passage *p = inner->arg;
    struct objstore_request *outer = p->outer;
    struct objstore_result mapped = *result;
    enum objstore_op op = inner->op;

    if (map_lists(p, result, &mapped) != 0) {
        mapped = (struct objstore_result){.status = -ENOMEM};
    }
    if (op == OBJSTORE_LIST_VERSIONS || op == OBJSTORE_UPLOAD_LIST) {
        const char *marker = result->next_marker;

        /* A marker in the reserved part is still one to go on from. */
        if (marker != NULL && strncmp(marker, p->volume->prefix, p->volume->prefix_len) == 0) {
            mapped.next_marker = marker + p->volume->prefix_len;
        }
    }
    for (size_t i = 0; op == OBJSTORE_DELETE_BATCH && i < inner->victims_count; i++) {
        const struct objstore_victim *told = &p->victims[i];
        struct objstore_victim *victim = &outer->victims[p->victim_of[i]];

        victim->error = told->error;
        victim->marked = told->marked;
        memcpy(victim->marker_id, told->marker_id, sizeof(victim->marker_id));
    }
    __atomic_store_n(&outer->store_private[0], NULL, __ATOMIC_RELAXED); /* a cancel may look */
    outer->done(outer, &mapped);
    passage_free(p);
}

static int map_victims(struct passage *p)
{
    const struct objstore_request *outer = p->outer;
    size_t count = 0;

    p->victims = arena_array(&p->arena, outer->victims_count, sizeof(*p->victims));
    p->victim_of = arena_array(&p->arena, outer->victims_count, sizeof(*p->victim_of));
    if (p->victims == NULL || p->victim_of == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < outer->victims_count; i++) {
        struct objstore_victim *victim = &outer->victims[i];

        if (victim->key == NULL || (!p->internal && is_refused(p->volume, victim->key))) {
            victim->error = victim->key == NULL ? -EINVAL : -EACCES;
            continue;
        }
        p->victims[count] = *victim;
        p->victims[count].key = full_key(p, victim->key);
        if (p->victims[count].key == NULL) {
            return -ENOMEM;
        }
        p->victim_of[count++] = i;
    }
    p->inner.victims = p->victims;
    p->inner.victims_count = count;
    return 0;
}

static int map_optional(struct passage *p, const char **name)
{
    if (*name != NULL && (*name)[0] != '\0') {
        *name = full_key(p, *name);
        return *name != NULL ? 0 : -ENOMEM;
    }
    return 0;
}

/* Real names in the copy. -ENOMEM; limits are the store's to check. */
static int map_names(struct passage *p)
{
    struct objstore_request *inner = &p->inner;
    bool lists = inner->op == OBJSTORE_LIST || inner->op == OBJSTORE_LIST_VERSIONS ||
                 inner->op == OBJSTORE_UPLOAD_LIST;
    int ret = 0;

    inner->bucket = p->volume->bucket;
    if (inner->key != NULL || lists) {
        inner->key = full_key(p, inner->key != NULL ? inner->key : "");
        ret = inner->key == NULL ? -ENOMEM : 0;
    }
    if (inner->source_key != NULL) {
        inner->source_bucket = p->volume->bucket;
        inner->source_key = full_key(p, inner->source_key);
        ret = inner->source_key == NULL ? -ENOMEM : ret;
    }
    ret = ret == 0 ? map_optional(p, &inner->start_after) : ret;
    if (ret == 0 && lists && inner->op != OBJSTORE_LIST) {
        ret = map_optional(p, &inner->marker);
    }
    if (ret == 0 && inner->op == OBJSTORE_DELETE_BATCH) {
        ret = map_victims(p);
    }
    return ret;
}

/* 0, or why this user may not have it. */
static int refused(const struct volume *v, const struct objstore_request *r, bool internal)
{
    switch (r->op) {
    case OBJSTORE_BUCKET_LIST:
    case OBJSTORE_BUCKET_CREATE:
    case OBJSTORE_BUCKET_DELETE:
        return -ENOTSUP;
    case OBJSTORE_BUCKET_DOC_PUT:
    case OBJSTORE_BUCKET_DOC_DELETE:
        return v->read_only ? -EROFS : -ENOTSUP;
    case OBJSTORE_BUCKET_DOC_GET: /* those of the bucket are not the volume's */
        return -ENODATA;
    case OBJSTORE_BUCKET_HEAD:
    case OBJSTORE_LIST:
    case OBJSTORE_LIST_VERSIONS:
    case OBJSTORE_UPLOAD_LIST:
        return 0;
    default:
        break;
    }
    if (v->read_only && !objstore_op_reads(r->op)) {
        return -EROFS;
    }
    if (internal) {
        return 0;
    }
    if (r->key != NULL && is_refused(v, r->key)) {
        return objstore_op_reads(r->op) ? -ENOENT : -EACCES;
    }
    return r->source_key != NULL && is_refused(v, r->source_key) ? -ENOENT : 0;
}

static const char *refusal_text(int ret)
{
    switch (ret) {
    case -EROFS:
        return "the volume is read-only";
    case -EACCES:
        return "names under " VOLUME_RESERVED " are reserved";
    case -ENOENT:
        return "no such key";
    case -ENODATA:
        return "a volume has no such document";
    default:
        return "not an operation of a volume";
    }
}

static void submit(struct volume *v, struct objstore_request *request, bool internal)
{
    struct passage *p;
    int ret = refused(v, request, internal);

    if (ret != 0) {
        objstore_fail(request, ret, "%s", refusal_text(ret));
        return;
    }
    p = calloc(1, sizeof(*p));
    if (p == NULL) {
        objstore_fail(request, -ENOMEM, "out of memory");
        return;
    }
    p->arena = (struct arena)ARENA_INIT(16 * 1024 * 1024);
    p->outer = request;
    p->volume = v;
    p->internal = internal;
    p->inner = *request;
    p->inner.arg = p;
    p->inner.done = passage_done;
    p->inner.source.lend = request->source.lend != NULL ? pass_lend : NULL;
    p->inner.source.release = request->source.lend != NULL ? pass_release : NULL;
    p->inner.source.read = request->source.read != NULL ? pass_read : NULL;
    p->inner.source.rewind = request->source.rewind != NULL ? pass_rewind : NULL;
    p->inner.sink.info = request->sink.info != NULL ? pass_info : NULL;
    p->inner.sink.write = request->sink.write != NULL ? pass_write : NULL;
    p->inner.sink.file = request->sink.file != NULL ? pass_file : NULL;
    ret = map_names(p);
    if (ret == 0 && request->op == OBJSTORE_DELETE_BATCH && p->inner.victims_count == 0 &&
        request->victims_count > 0) {
        struct objstore_result all_told = {.status = 0}; /* each victim has its error */

        passage_free(p);
        request->done(request, &all_told);
        return;
    }
    if (ret != 0) {
        passage_free(p);
        objstore_fail(request, ret, "out of memory");
        return;
    }
    request->store_private[0] = p;
    objstore_submit(v->store, &p->inner);
}

void volume_submit(struct volume *volume, struct objstore_request *request)
{
    submit(volume, request, false);
}

void volume_submit_internal(struct volume *volume, struct objstore_request *request)
{
    submit(volume, request, true);
}

void volume_cancel(struct volume *volume, struct objstore_request *request)
{
    struct passage *p = __atomic_load_n(&request->store_private[0], __ATOMIC_RELAXED);

    if (p != NULL) {
        objstore_cancel(volume->store, &p->inner);
    }
}

void volume_resume(struct volume *volume, struct objstore_request *request)
{
    struct passage *p = __atomic_load_n(&request->store_private[0], __ATOMIC_RELAXED);

    if (p != NULL) {
        objstore_resume(volume->store, &p->inner);
    }
}

static void submit_to_volume(void *target, struct objstore_request *request)
{
    submit(target, request, false);
}

static void submit_internally(void *target, struct objstore_request *request)
{
    submit(target, request, true);
}

int volume_call(struct volume *volume, struct objstore_request *request,
                struct objstore_answer *ret)
{
    return objstore_call_by(submit_to_volume, volume, request, ret);
}

int volume_call_many(struct volume *volume, struct objstore_request *requests,
                     struct objstore_answer *answers, size_t count)
{
    return objstore_call_many_by(submit_to_volume, volume, requests, answers, count);
}

int volume_call_internal(struct volume *volume, struct objstore_request *request,
                         struct objstore_answer *ret)
{
    return objstore_call_by(submit_internally, volume, request, ret);
}

int volume_call_many_internal(struct volume *volume, struct objstore_request *requests,
                              struct objstore_answer *answers, size_t count)
{
    return objstore_call_many_by(submit_internally, volume, requests, answers, count);
}

/* Keys that reach one prefix only may not ask for the bucket: is there a listing of the prefix? */
static int look_at_prefix(struct volume *volume, struct objstore_answer *answer)
{
    struct objstore_request request = {.op = OBJSTORE_LIST, .key = "", .max_entries = 1};

    return volume_call_internal(volume, &request, answer);
}

int volume_probe(struct volume *volume, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request request = {
        .op = volume->read_only ? OBJSTORE_BUCKET_HEAD : OBJSTORE_BUCKET_PROBE,
        .key = volume->read_only ? NULL : VOLUME_RESERVED "probe/",
    };
    int ret = volume_call_internal(volume, &request, &answer);

    if (ret == -EACCES && volume->read_only && volume->prefix[0] != '\0') {
        ret = look_at_prefix(volume, &answer);
    }

    if (ret != 0) {
        return error_set(err, ret, "%s bucket %s: %s",
                         volume->read_only ? "looking at" : "trying out", volume->bucket,
                         error_text(&answer.result.error, ret));
    }
    if (answer.result.caps != NULL) {
        volume->caps = *answer.result.caps;
    }
    return 0;
}

const struct objstore_caps *volume_caps(const struct volume *volume)
{
    return &volume->caps;
}

void volume_set_caps(struct volume *volume, const struct objstore_caps *caps)
{
    volume->caps = *caps;
}

void volume_set_backend(struct volume *volume, struct objstore *backend)
{
    volume->backend = backend;
}

struct objstore *volume_backend(const struct volume *volume)
{
    return volume->backend;
}

const char *volume_bucket(const struct volume *volume)
{
    return volume->bucket;
}

const char *volume_prefix(const struct volume *volume)
{
    return volume->prefix;
}

int volume_new(const struct volume_config *config, struct volume **ret, struct error *err)
{
    const char *prefix = config->prefix != NULL ? config->prefix : "";
    size_t len = strlen(prefix);
    struct volume *v;

    if (len > 0 && (prefix[len - 1] != '/' || prefix[0] == '/' || len > OBJSTORE_KEY_MAX / 2)) {
        objstore_free(config->store);
        return error_set(err, -EINVAL,
                         "prefix \"%s\": must end in '/', not begin with it, and "
                         "have at most %d bytes",
                         prefix, OBJSTORE_KEY_MAX / 2);
    }
    v = calloc(1, sizeof(*v));
    if (v == NULL) {
        objstore_free(config->store);
        return error_set(err, -ENOMEM, "out of memory");
    }
    v->store = config->store;
    v->bucket = strdup(config->bucket != NULL ? config->bucket : "");
    v->prefix = strdup(prefix);
    v->prefix_len = len;
    v->read_only = config->read_only;
    /* Until volume_probe(): what every store can do. */
    v->caps = (struct objstore_caps){.part_min = UINT64_C(5) << 20,
                                     .part_max = UINT64_C(5) << 30,
                                     .object_max = UINT64_C(5) << 40,
                                     .copy_max = UINT64_C(5) << 30};
    if (v->bucket == NULL || v->prefix == NULL) {
        volume_free(v);
        return error_set(err, -ENOMEM, "out of memory");
    }
    *ret = v;
    return 0;
}

void volume_free(struct volume *volume)
{
    if (volume == NULL) {
        return;
    }
    objstore_free(volume->store);
    free(volume->bucket);
    free(volume->prefix);
    free(volume);
}
