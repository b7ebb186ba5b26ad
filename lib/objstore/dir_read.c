/* SPDX-License-Identifier: Apache-2.0 */
/* The directory backend's operations that read, and those that change only the index. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "objstore/dir_cached.h"
#include "objstore/dir_internal.h"
#include "objstore/result_copy.h"
#include "util/clock.h"
#include "util/encode.h"
#include "util/random.h"

enum {
    OPEN_TRIES = 8,    /* of an object that changes meanwhile */
    PIECE = 32 * 1024, /* a receiver must have memory for one */
    LOAD_MAX = 16 * 1024 * 1024,
    UPLOAD_ID_SIZE = 16 + RANDOM_ID_SIZE
};

static enum job_next fail_bucket(struct dir_worker *worker, struct job *job, int ret)
{
    return job_fail(job, ret, ret == -ENOENT ? S3_NO_SUCH_BUCKET : S3_OK, "%s",
                    ret == -ENOENT ? "no such bucket" : dir_index_error(worker->index));
}

static enum job_next fail_index(struct dir_worker *worker, struct job *job, int ret)
{
    return job_fail(job, ret, S3_OK, "cannot read the index: %s", dir_index_error(worker->index));
}

/* A version that was named and is not to be had: -ENOENT, also of a delete marker. */
static int fail_version(struct dir_worker *worker, struct job *job, int ret,
                        const struct dir_object *found)
{
    if (ret == 0) {
        job->result.delete_marker = true;
        job->result.info = found->info;
        (void)job_fail(job, -ENOENT, S3_METHOD_NOT_ALLOWED, "the version is a delete marker");
        return -ENOENT;
    }
    if (ret == -ENOENT) {
        (void)job_fail(job, ret, S3_NO_SUCH_VERSION, "no such version");
    } else if (ret == -EINVAL) {
        (void)job_fail(job, ret, S3_INVALID_ARGUMENT, "Invalid version id specified");
    } else {
        (void)fail_index(worker, job, ret);
    }
    return ret;
}

int dir_find_object(struct dir_worker *worker, struct job *job, const struct dir_name *name,
                    struct dir_object *ret)
{
    struct dir_bucket bucket;
    int r = dir_index_bucket(worker->index, name->bucket, &bucket);

    if (r != 0) {
        (void)fail_bucket(worker, job, r);
        return r;
    }
    if (name->version != NULL) {
        r = dir_index_get_version(worker->index, &bucket, name->key, name->version, &job->arena,
                                  ret);
        return r != 0 || ret->marker ? fail_version(worker, job, r, ret) : 0;
    }
    r = dir_index_get(worker->index, &bucket, name->key, &job->arena, ret);
    if (r == -ENOENT) {
        (void)job_fail(job, r, S3_NO_SUCH_KEY, "no such key");
        job->result.delete_marker =
            dir_index_get_marker(worker->index, &bucket, name->key, &job->result.info) == 0;
    } else if (r != 0) {
        (void)fail_index(worker, job, r);
    }
    return r;
}

static struct dir_name name_of(const struct objstore_request *r)
{
    return (struct dir_name){r->bucket, r->key, r->version_id};
}

/* The parts that the job's object was joined of; none for one that was put whole. -EAGAIN: the
 * object was replaced meanwhile. */
static int find_parts(struct dir_worker *worker, struct job *job, struct objstore_part **ret,
                      size_t *ret_len)
{
    const struct dir_object *object = &job->object;
    const struct dir_name name = name_of(job->request);
    struct dir_object now;
    int r;

    *ret = NULL;
    *ret_len = 0;
    if (object->info.parts == 0) {
        return 0;
    }
    if (object->file == NULL) { /* of no bytes: so is its only part */
        *ret = arena_array(&job->arena, 1, sizeof(**ret));
        if (*ret == NULL) {
            return -ENOMEM;
        }
        (*ret)[0] = (struct objstore_part){.number = 1};
        *ret_len = 1;
        return 0;
    }
    r = dir_index_joined_get(worker->index, object->file, &job->arena, ret, ret_len);
    if (r != -ENOENT) {
        return r;
    }
    r = dir_find_object(worker, job, &name, &now);
    if (r != 0) {
        return r;
    }
    /* What was joined before the index told parts. */
    return now.file != NULL && strcmp(now.file, object->file) == 0 ? -ENOTSUP : -EAGAIN;
}

static bool choose_part(struct job *job, const struct objstore_part *parts, size_t count,
                        uint32_t number, struct objstore_range *ret)
{
    struct objstore_info *info = &job->object.info;

    *ret = (struct objstore_range){0};
    if (count == 0 && number == 1) {
        ret->len = info->size;
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (parts[i].number == number) {
            bool composite = info->checksum.composite;

            ret->len = parts[i].size;
            if (count > 1 || parts[i].checksum.kind != OBJSTORE_CHECKSUM_NONE) {
                info->checksum = parts[i].checksum;
                info->checksum.composite = composite;
            }
            return true;
        }
        ret->offset += parts[i].size;
    }
    return false;
}

static void list_joined(struct job *job, const struct objstore_part *parts, size_t count)
{
    const struct objstore_request *r = job->request;
    struct objstore_result *result = &job->result;
    uint32_t after = r->marker != NULL ? (uint32_t)strtoul(r->marker, NULL, 10) : 0;
    size_t first = 0;
    char *marker = arena_alloc(&job->arena, 16);

    while (first < count && parts[first].number <= after) {
        first++;
    }
    result->parts = parts + first;
    result->count = count - first;
    if (r->max_entries > 0 && result->count > r->max_entries) {
        result->count = r->max_entries;
        result->truncated = true;
    }
    if (marker != NULL && result->count > 0) {
        (void)snprintf(marker, 16, "%u", result->parts[result->count - 1].number);
        result->next_marker = marker;
    }
}

/* Of a request that is about parts: JOB_DONE with *ok, or the failure; JOB_PARK: once more. */
static enum job_next read_parts(struct dir_worker *worker, struct job *job, bool *ok)
{
    const struct objstore_request *r = job->request;
    struct objstore_range range;
    struct objstore_part *parts;
    size_t count;
    int ret = find_parts(worker, job, &parts, &count);

    *ok = false;
    if (ret == -EAGAIN) {
        return JOB_PARK;
    }
    if (ret == -ENOTSUP && r->list_parts) {
        ret = 0; /* how many there are is known still */
    }
    if (ret != 0) {
        return job_fail(job, ret, S3_OK, "cannot find the object's parts: %s", strerror(-ret));
    }
    if (r->list_parts) {
        list_joined(job, parts, count);
    }
    if (r->part_number > 0) {
        if (!choose_part(job, parts, count, r->part_number, &range)) {
            return job_fail(job, -ERANGE, S3_INVALID_PART_NUMBER, "the object has %zu parts",
                            count > 0 ? count : 1);
        }
        job->done_bytes = range.offset;
        job->end = range.offset + range.len;
        job->result.range = range;
    }
    *ok = true;
    return JOB_DONE;
}

static int change_tags(struct dir_index *index, struct job *job)
{
    const struct objstore_request *r = job->request;
    bool any = r->op == OBJSTORE_TAGS_PUT && r->tags != NULL && r->tags[0] != '\0';
    int ret = dir_index_bucket(index, r->bucket, &job->bucket);

    return ret == 0 ? dir_index_tags_put(index, &job->bucket, r->key, r->version_id,
                                         any ? r->tags : NULL)
                    : ret;
}

enum job_next dir_step_tags(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    const struct dir_name name = name_of(r);
    struct dir_object object;

    if (job->committed) {
        return job->commit_status == -ENOENT ? job_fail(job, -ENOENT, S3_NO_SUCH_KEY, "no such key")
                                             : job_fail_commit(job);
    }
    if (dir_find_object(worker, job, &name, &object) != 0) {
        return JOB_DONE;
    }
    memcpy(job->result.info.version_id, object.info.version_id, OBJSTORE_VERSION_MAX);
    if (r->op == OBJSTORE_TAGS_GET) {
        job->result.tags = object.tags != NULL ? object.tags : "";
        return JOB_DONE;
    }
    job->change = change_tags;
    return JOB_COMMIT;
}

static enum job_next check_get(struct job *job, bool *ok)
{
    const struct objstore_request *r = job->request;
    const char *etag = job->object.info.etag;
    uint64_t size = job->object.info.size;

    *ok = false;
    if (r->if_match != NULL && strcmp(r->if_match, "*") != 0 && strcmp(r->if_match, etag) != 0) {
        return job_fail(job, -ESTALE, S3_PRECONDITION_FAILED, "the object is another version");
    }
    if (r->if_none_match != NULL &&
        (strcmp(r->if_none_match, "*") == 0 || strcmp(r->if_none_match, etag) == 0)) {
        return job_fail(job, -EEXIST, S3_NOT_MODIFIED, "the object is that version");
    }
    job->done_bytes = r->range.offset;
    job->end = size;
    if (r->op == OBJSTORE_GET && r->range.len != 0) {
        if (r->range.offset >= size && (size > 0 || r->range.offset > 0)) {
            return job_fail(job, -ERANGE, S3_INVALID_RANGE, "the object has %llu bytes",
                            (unsigned long long)size);
        }
        if (r->range.len != OBJSTORE_TO_END && r->range.len < size - r->range.offset) {
            job->end = r->range.offset + r->range.len;
        }
    }
    *ok = true;
    return JOB_DONE;
}

enum job_next dir_get_find(struct dir_worker *worker, struct job *job, bool *ok)
{
    struct objstore_request *r = job->request;
    const struct dir_name name = name_of(r);
    enum job_next next = JOB_PARK;
    int ret = 0;

    for (int i = 0; i < OPEN_TRIES && next == JOB_PARK; i++) {
        *ok = false;
        if (job->fd >= 0) {
            dir_now_close_file(worker, job->fd);
            job->fd = -1;
        }
        ret = r->op == OBJSTORE_HEAD ? dir_find_object(worker, job, &name, &job->object)
                                     : dir_open_object(worker, job, &name, &job->object, &job->fd);
        if (ret != 0) {
            return JOB_DONE;
        }
        next = check_get(job, ok);
        if (*ok && (r->part_number > 0 || r->list_parts)) {
            next = read_parts(worker, job, ok);
        }
    }
    return next != JOB_PARK ? next
                            : job_fail(job, -EBUSY, S3_OK, "the object changes all the time");
}

int dir_get_tell(struct job *job)
{
    struct objstore_request *r = job->request;
    struct objstore_range range = {job->done_bytes, job->end - job->done_bytes};
    int ret = 0;

    job->result.info = job->object.info;
    if (r->op == OBJSTORE_GET && r->sink.info != NULL) {
        ret = r->sink.info(r, &job->object.info, range);
    }
    if (ret != 0) {
        (void)job_fail(job, ret, S3_OK, "the receiver refused: %s", strerror(-ret));
    }
    return ret;
}

/* Whether the receiver takes the file itself, so that no byte goes through our hands. What is
 * missing in memory is read first where it is little: the kernel gives up some of a file that lies
 * there for long, and by hand all the rest would cost three times as much. */
static bool give_file(struct job *job, int *ret)
{
    struct objstore_request *r = job->request;
    struct objstore_range range = {job->done_bytes, job->end - job->done_bytes};

    *ret = 0;
    if (r->sink.file == NULL || range.len <= DIR_GIVE_MIN ||
        !dir_cached_load(job->fd, job->done_bytes, job->end, LOAD_MAX)) {
        return false;
    }
    *ret = r->sink.file(r, job->fd, range);
    if (*ret == -ENOTSUP) {
        return false;
    }
    job->fd = *ret == 0 ? -1 : job->fd;
    return true;
}

enum job_next dir_step_get(struct dir_worker *worker, struct job *job)
{
    struct objstore_request *r = job->request;
    bool ok;
    int ret;

    if (!job->started) {
        enum job_next next = dir_get_find(worker, job, &ok);

        if (!ok || dir_get_tell(job) != 0 || r->op == OBJSTORE_HEAD) {
            return next;
        }
        job->started = true;
        if (give_file(job, &ret)) {
            return ret == 0 ? JOB_DONE
                            : job_fail(job, ret, S3_OK, "the receiver failed: %s", strerror(-ret));
        }
    }
    while (job->done_bytes < job->end) {
        uint64_t left = job->end - job->done_bytes;
        size_t want = left < PIECE ? (size_t)left : PIECE;
        const char *bytes = job->held != NULL ? job->held + job->done_bytes : worker->buffer;
        ssize_t n = job->held != NULL
                        ? (ssize_t)want
                        : pread(job->fd, worker->buffer, want, (off_t)job->done_bytes);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n == 0) {
            return dir_damaged(job, job->object.file, "it is shorter than the index says");
        }
        if (n < 0) {
            return job_fail(job, -EIO, S3_INTERNAL_ERROR, "cannot read the object's file: %s",
                            strerror(errno));
        }
        ret = r->sink.write != NULL ? r->sink.write(r, bytes, (size_t)n) : 0;
        if (ret == -EAGAIN) {
            return JOB_PARK;
        }
        if (ret != 0) {
            return job_fail(job, ret, S3_OK, "the receiver failed: %s", strerror(-ret));
        }
        job->done_bytes += (uint64_t)n;
    }
    return JOB_DONE;
}

static int change_bucket(struct dir_index *index, struct job *job)
{
    const struct objstore_request *r = job->request;

    if (r->op == OBJSTORE_BUCKET_DELETE) {
        return dir_index_bucket_delete(index, r->bucket);
    }
    return dir_owner_create(
        index, job, dir_index_bucket_create(index, r->bucket, clock_realtime_ns(clock_real())));
}

static enum job_next bucket_committed(struct job *job)
{
    switch (job->commit_status) {
    case 0:
        return JOB_DONE;
    case -EEXIST:
        return job_fail(job, -EEXIST, S3_BUCKET_ALREADY_OWNED_BY_YOU, "the bucket exists");
    case -EACCES:
        return job->request->op == OBJSTORE_BUCKET_CREATE
                   ? job_fail(job, -EEXIST, S3_BUCKET_ALREADY_EXISTS, "the bucket is another's")
                   : job_fail_commit(job);
    case -ENOENT:
        return job_fail(job, -ENOENT, S3_NO_SUCH_BUCKET, "no such bucket");
    case -ENOTEMPTY:
        return job_fail(job, -ENOTEMPTY, S3_BUCKET_NOT_EMPTY,
                        "the bucket holds objects or open uploads");
    default:
        return job_fail_commit(job);
    }
}

static enum job_next tell_caps(struct job *job)
{
    struct objstore_caps *caps = arena_alloc(&job->arena, sizeof(*caps));

    if (caps == NULL) {
        return job_fail(job, -ENOMEM, S3_OK, "out of memory");
    }
    *caps = job->store->caps;
    caps->versions = job->bucket.versioning != DIR_UNVERSIONED;
    job->result.caps = caps;
    return JOB_DONE;
}

enum job_next dir_step_bucket(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    struct objstore_bucket_entry *buckets = NULL;
    int ret;

    if (job->committed) {
        return bucket_committed(job);
    }
    switch (r->op) {
    case OBJSTORE_BUCKET_CREATE:
    case OBJSTORE_BUCKET_DELETE:
        job->change = change_bucket;
        return JOB_COMMIT;
    case OBJSTORE_BUCKET_LIST:
        ret = dir_index_bucket_list(worker->index, r->account, &job->arena, &buckets,
                                    &job->result.count);
        job->result.buckets = buckets;
        return ret != 0 ? fail_index(worker, job, ret) : JOB_DONE;
    default:
        ret = dir_index_bucket(worker->index, r->bucket, &job->bucket);
        return ret != 0 ? fail_bucket(worker, job, ret) : tell_caps(job);
    }
}

static int change_delete(struct dir_index *index, struct job *job)
{
    const struct objstore_request *r = job->request;
    struct dir_deletion deletion = {.version = r->version_id,
                                    .now_ns = clock_realtime_ns(clock_real()),
                                    .conditions = {.if_match = r->if_match, .match = r->match}};
    int ret = dir_index_bucket(index, r->bucket, &job->bucket);

    if (ret != 0) {
        return ret;
    }
    if (r->op == OBJSTORE_DELETE) {
        ret = dir_index_delete(index, &job->bucket, r->key, &deletion);
        job->result.delete_marker = deletion.marker;
        memcpy(job->result.info.version_id, deletion.version_id, OBJSTORE_VERSION_MAX);
        return ret;
    }
    for (size_t i = 0; i < r->victims_count; i++) {
        struct objstore_victim *victim = &r->victims[i];
        const struct objstore_match *match = &victim->match;

        deletion.version = victim->version_id;
        deletion.conditions = (struct dir_conditions){
            .if_match = match->etag, .match = match->by_size || match->by_mtime ? match : NULL};
        victim->error = dir_index_delete(index, &job->bucket, victim->key, &deletion);
        if (victim->error == -EINVAL) { /* no id of a version: there is none such */
            victim->error = -ENOENT;
        }
        if (victim->error != 0 && victim->error != -ESTALE && victim->error != -ENOENT) {
            return victim->error; /* the index fails: the whole batch does */
        }
        victim->marked = victim->error == 0 && deletion.marker;
        memcpy(victim->marker_id, deletion.version_id, sizeof(victim->marker_id));
    }
    return 0;
}

enum job_next dir_step_delete(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    int ret;

    if (job->committed && job->commit_status == -EINVAL) {
        return job_fail(job, -EINVAL, S3_INVALID_ARGUMENT, "Invalid version id specified");
    }
    if (job->committed) {
        return job_fail_commit(job);
    }
    ret = dir_index_bucket(worker->index, r->bucket, &job->bucket);
    if (ret != 0) {
        return fail_bucket(worker, job, ret);
    }
    job->change = change_delete;
    return JOB_COMMIT;
}

/* Tokens are the last name of the page, in hex, behind a letter that says what it was. */
static int parse_token(struct job *job, const char *token, struct dir_list *list)
{
    char *key = arena_alloc(&job->arena, OBJSTORE_KEY_MAX + 1);
    size_t len;

    if (key == NULL) {
        return -ENOMEM;
    }
    if ((token[0] != 'k' && token[0] != 'p') ||
        decode_hex(slice_of(token + 1), key, OBJSTORE_KEY_MAX, &len) != 0 || len == 0 ||
        memchr(key, '\0', len) != NULL) {
        return -EINVAL;
    }
    key[len] = '\0';
    list->after = key;
    list->after_prefix = token[0] == 'p';
    return 0;
}

static int make_token(struct job *job, const struct dir_listing *listing)
{
    CLEANUP(buf_done) struct buf token = BUF_INIT(2 * OBJSTORE_KEY_MAX + 2);

    buf_addstr(&token, listing->last_prefix ? "p" : "k");
    encode_hex(&token, listing->last, strlen(listing->last));
    job->result.next_token = arena_strdup(&job->arena, buf_str(&token));
    job->result.next_marker = listing->last;
    if (!listing->last_prefix) {
        job->result.next_marker2 = listing->entries[listing->count - 1].info.version_id;
    }
    return buf_error(&token) != 0 || job->result.next_token == NULL ? -ENOMEM : 0;
}

/* True when `text` is itself a common prefix under the listing's delimiter. */
static bool ends_in_delimiter(const char *text, const char *prefix, const char *delimiter)
{
    size_t len = strlen(text);
    size_t tail = delimiter != NULL ? strlen(delimiter) : 0;
    size_t start = strlen(prefix);

    return tail > 0 && len >= start + tail && strncmp(text, prefix, start) == 0 &&
           strcmp(text + len - tail, delimiter) == 0;
}

static uint32_t page_size(const struct objstore_request *r)
{
    return r->max_entries == 0 || r->max_entries > OBJSTORE_BATCH_MAX ? OBJSTORE_BATCH_MAX
                                                                      : r->max_entries;
}

enum job_next dir_step_list(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    struct dir_list list = {.prefix = r->key != NULL ? r->key : "",
                            .delimiter = r->delimiter,
                            .max = page_size(r),
                            .versions = r->op == OBJSTORE_LIST_VERSIONS};
    struct dir_listing listing = {0};
    int ret = dir_index_bucket(worker->index, r->bucket, &job->bucket);

    if (ret != 0) {
        return fail_bucket(worker, job, ret);
    }
    list.after = r->op == OBJSTORE_LIST_VERSIONS ? r->marker : r->start_after;
    if (list.after != NULL && list.after[0] == '\0') {
        list.after = NULL;
    }
    if (list.versions && list.after != NULL && r->marker2 != NULL && r->marker2[0] != '\0') {
        list.after_version = r->marker2;
    }
    if (r->op == OBJSTORE_LIST && r->token != NULL) {
        ret = parse_token(job, r->token, &list);
    } else if (list.after != NULL) {
        if (strlen(list.after) > OBJSTORE_KEY_MAX) {
            ret = -EINVAL;
        }
        list.after_prefix = list.after_version == NULL &&
                            ends_in_delimiter(list.after, list.prefix, list.delimiter);
    }
    if (ret != 0) {
        return job_fail(job, ret, S3_INVALID_ARGUMENT,
                        "The continuation token provided is incorrect");
    }
    ret = dir_index_list(worker->index, &job->bucket, &list, &job->arena, &listing);
    if (ret == -EINVAL && list.after_version != NULL) {
        return job_fail(job, ret, S3_INVALID_ARGUMENT, "Invalid version id specified");
    }
    if (ret != 0) {
        return fail_index(worker, job, ret);
    }
    job->result.entries = listing.entries;
    job->result.count = listing.count;
    job->result.truncated = listing.truncated;
    if (listing.truncated && make_token(job, &listing) != 0) {
        return job_fail(job, -ENOMEM, S3_OK, "out of memory");
    }
    return JOB_DONE;
}

static int change_upload(struct dir_index *index, struct job *job)
{
    const struct objstore_request *r = job->request;
    struct dir_upload upload = {.checksum = r->checksum,
                                .started_ns = clock_realtime_ns(clock_real())};
    int ret = dir_index_bucket(index, r->bucket, &job->bucket);

    if (ret != 0) {
        return ret;
    }
    if (r->op == OBJSTORE_UPLOAD_ABORT) {
        return dir_index_upload_end(index, job->bucket.id, r->key, r->upload_id);
    }
    if (r->meta != NULL) {
        upload.meta = *r->meta;
    }
    upload.tags = r->tags != NULL && r->tags[0] != '\0' ? r->tags : NULL;
    return dir_index_upload_create(index, job->bucket.id, r->key, job->result.upload_id, &upload);
}

/* Of what upload_id() makes; whether there is, or was, such an upload is another question: it may
 * have ended since the page before. */
static bool upload_id_valid(const char *id)
{
    return strlen(id) == UPLOAD_ID_SIZE - 1 && strspn(id, "0123456789abcdef") == UPLOAD_ID_SIZE - 1;
}

static enum job_next list_uploads(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    uint32_t max = page_size(r);
    struct dir_upload_page page = {
        .prefix = r->key != NULL ? r->key : "",
        .delimiter = r->delimiter,
        .after_key = r->marker,
        .after_id = r->marker2 != NULL && r->marker2[0] != '\0' ? r->marker2 : NULL,
        .max = max + 1,
    };
    int ret;

    if (page.after_key != NULL && page.after_key[0] != '\0' && page.after_id != NULL &&
        !upload_id_valid(page.after_id)) {
        return job_fail(job, -EINVAL, S3_INVALID_ARGUMENT, "Invalid uploadId marker");
    }
    ret = dir_index_upload_list(worker->index, job->bucket.id, &job->arena, &page);
    if (ret != 0) {
        return fail_index(worker, job, ret);
    }
    job->result.truncated = page.count > max;
    job->result.uploads = page.uploads;
    job->result.count = page.count > max ? max : page.count;
    if (job->result.truncated) {
        job->result.next_marker = page.uploads[max - 1].key;
        job->result.next_marker2 = page.uploads[max - 1].upload_id;
    }
    return JOB_DONE;
}

static enum job_next list_parts(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    uint32_t max = page_size(r);
    struct dir_part_page page = {.max = max + 1};
    struct dir_upload upload;
    char *marker;
    int ret = dir_index_upload_get(worker->index, job->bucket.id, r->key, r->upload_id, &job->arena,
                                   &upload);

    if (ret != 0) {
        return job_fail(job, ret, ret == -ENOENT ? S3_NO_SUCH_UPLOAD : S3_OK, "no such upload");
    }
    page.after = r->marker != NULL ? (uint32_t)strtoul(r->marker, NULL, 10) : 0;
    ret = dir_index_part_list(worker->index, r->upload_id, &job->arena, &page);
    if (ret != 0) {
        return fail_index(worker, job, ret);
    }
    job->result.truncated = page.count > max;
    job->result.parts = page.parts;
    job->result.count = page.count > max ? max : page.count;
    job->result.info.meta = upload.meta;
    job->result.info.checksum = upload.checksum;
    marker = arena_alloc(&job->arena, 16);
    if (marker == NULL) {
        return job_fail(job, -ENOMEM, S3_OK, "out of memory");
    }
    if (job->result.count > 0) {
        (void)snprintf(marker, 16, "%u", page.parts[job->result.count - 1].number);
        job->result.next_marker = marker;
    }
    return JOB_DONE;
}

/* Uploads of one key are listed in the order they began in: the time comes first. */
static void upload_id(char ret[UPLOAD_ID_SIZE])
{
    char random[RANDOM_ID_SIZE];

    random_id(random);
    (void)snprintf(ret, UPLOAD_ID_SIZE, "%016llx%s",
                   (unsigned long long)clock_realtime_ns(clock_real()), random);
}

enum job_next dir_step_upload(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    int ret;

    if (job->committed) {
        return job->commit_status == -ENOENT
                   ? job_fail(job, -ENOENT, S3_NO_SUCH_UPLOAD, "no such upload")
                   : job_fail_commit(job);
    }
    ret = dir_index_bucket(worker->index, r->bucket, &job->bucket);
    if (ret != 0) {
        return fail_bucket(worker, job, ret);
    }
    if (r->op == OBJSTORE_UPLOAD_LIST) {
        return list_uploads(worker, job);
    }
    if (r->op == OBJSTORE_UPLOAD_LIST_PARTS) {
        return list_parts(worker, job);
    }
    if (r->op == OBJSTORE_UPLOAD_CREATE) {
        char *id = arena_alloc(&job->arena, UPLOAD_ID_SIZE);

        if (id == NULL) {
            return job_fail(job, -ENOMEM, S3_OK, "out of memory");
        }
        upload_id(id);
        job->result.upload_id = id;
    }
    job->change = change_upload;
    return JOB_COMMIT;
}
