/* SPDX-License-Identifier: Apache-2.0 */
/* The directory backend's operations that make objects: put, part, copy, complete. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/dir_internal.h"
#include "util/clock.h"
#include "util/encode.h"
#include "util/file.h"

enum {
    COPY_STEP = 1 << 30, /* bytes in one call */
    WINDOW_LARGE = 256 * 1024
};

static bool is_part(const struct objstore_request *r)
{
    return r->op == OBJSTORE_UPLOAD_PART || r->op == OBJSTORE_UPLOAD_PART_COPY;
}

static int change_put(struct dir_index *index, struct job *job)
{
    const struct objstore_request *r = job->request;
    const struct dir_conditions conditions = {.if_match = r->if_match,
                                              .if_none_match = r->if_none_match};
    int ret = dir_index_bucket(index, r->bucket, &job->bucket);

    job->bucket_gone = ret == -ENOENT;
    ret = ret == 0 ? dir_index_put(index, &job->bucket, r->key, &job->object, &conditions) : ret;
    if (ret == 0 && job->pending) {
        dir_pending_count(job->store->pending);
        ret = dir_index_pending_put(index, job->file,
                                    r->source.data != NULL ? r->source.data : job->kept,
                                    (size_t)job->done_bytes);
    }
    return ret;
}

static int change_part(struct dir_index *index, struct job *job)
{
    const struct objstore_request *r = job->request;
    struct dir_upload upload;
    struct dir_object part = job->object;
    int ret = dir_index_bucket(index, r->bucket, &job->bucket);

    ret = ret == 0 ? dir_index_upload_get(index, job->bucket.id, r->key, r->upload_id, &job->arena,
                                          &upload)
                   : ret;
    if (job->also.kind != S3_CHECKSUM_NONE) { /* what the completed object's is made of */
        part.info.checksum.kind = OBJSTORE_CHECKSUM_CRC64NVME;
        s3_checksum_base64(&job->also, part.info.checksum.value);
    }
    return ret == 0 ? dir_index_part_put(index, r->upload_id, r->part_number, &part) : ret;
}

static enum job_next write_committed(struct job *job)
{
    if (job->commit_status == -ENOENT && job->bucket_gone) {
        return job_fail(job, -ENOENT, S3_NO_SUCH_BUCKET, "no such bucket");
    }
    if (job->commit_status == -ENOENT && (is_part(job->request) || job->upload_gone)) {
        return job_fail(job, -ENOENT, S3_NO_SUCH_UPLOAD, "no such upload");
    }
    job->result.info = job->object.info;
    memset(&job->result.info.meta, 0, sizeof(job->result.info.meta));
    if (job->request->op == OBJSTORE_UPLOAD_PART_COPY && job->plain_upload) {
        job->result.info.checksum = (struct objstore_checksum){0}; /* nobody asked */
    }
    return job_fail_commit(job);
}

/* Every object gets a checksum: where nobody asks for another, the one of S3. */
static enum objstore_checksum_kind kind_or_default(enum objstore_checksum_kind kind)
{
    return kind != OBJSTORE_CHECKSUM_NONE ? kind : OBJSTORE_CHECKSUM_CRC64NVME;
}

static const char *kind_name(enum objstore_checksum_kind kind)
{
    return kind != OBJSTORE_CHECKSUM_NONE ? s3_checksum_name((enum s3_checksum_kind)kind) : "null";
}

/* A part's checksum is of its upload's kind; only parts of a composite one must bring theirs. */
static enum job_next check_part_kind(struct job *job, const struct dir_upload *upload, bool *ok)
{
    const struct objstore_request *r = job->request;
    enum objstore_checksum_kind want = upload->checksum.kind, sent = r->checksum.kind;
    bool copy = r->op == OBJSTORE_UPLOAD_PART_COPY;

    *ok = want == OBJSTORE_CHECKSUM_NONE || sent == want ||
          (sent == OBJSTORE_CHECKSUM_NONE && (copy || !upload->checksum.composite));
    job->plain_upload = want == OBJSTORE_CHECKSUM_NONE;
    job->kind = kind_or_default(sent != OBJSTORE_CHECKSUM_NONE ? sent : want);
    return *ok ? JOB_DONE
               : job_fail(job, -EINVAL, S3_INVALID_REQUEST,
                          "Checksum Type mismatch occurred, expected checksum Type: %s, actual "
                          "checksum Type: %s",
                          kind_name(want), kind_name(sent));
}

/* What goes with the bytes stays where the request has it. */
static void describe(struct job *job)
{
    const struct objstore_request *r = job->request;

    job->object.tags = r->tags != NULL && r->tags[0] != '\0' ? r->tags : NULL;
    if (r->meta != NULL) {
        job->object.info.meta = *r->meta;
    }
}

/* What can be known before the bytes come: it saves sending them. */
static enum job_next check_target(struct dir_worker *worker, struct job *job, bool *ok)
{
    const struct objstore_request *r = job->request;
    struct dir_upload upload;
    int ret = dir_index_bucket(worker->index, r->bucket, &job->bucket);

    *ok = false;
    job->kind = kind_or_default(r->checksum.kind);
    job->change = is_part(r) ? change_part : change_put;
    if (ret != 0) {
        return job_fail(job, ret, ret == -ENOENT ? S3_NO_SUCH_BUCKET : S3_OK, "%s",
                        ret == -ENOENT ? "no such bucket" : dir_index_error(worker->index));
    }
    if (is_part(r)) {
        ret = dir_index_upload_get(worker->index, job->bucket.id, r->key, r->upload_id, &job->arena,
                                   &upload);
        if (ret != 0) {
            return job_fail(job, ret, ret == -ENOENT ? S3_NO_SUCH_UPLOAD : S3_OK, "no such upload");
        }
        return check_part_kind(job, &upload, ok);
    }
    describe(job);
    *ok = true;
    return JOB_DONE;
}

/* What was lent goes back but for what is still to be hashed. */
static void release(struct job *job, size_t most)
{
    size_t left = dir_write_left(job, most);

    if (left < job->lent) {
        job->request->source.release(job->request, job->lent - left);
        job->lent = left;
    }
}

/*
 * Many streams are hashed for little more than one. So each leaves what it has written to whoever
 * hashes, as long as its source has room for more, and hashes only then, with what the others have
 * left: what has room as a whole only at its end. A source of little room has better things to do
 * with it.
 */
static void keep_up(struct job *job, size_t len, size_t window)
{
    bool wait;

    if (window == 0) { /* nothing is lent */
        return;
    }
    wait =
        window >= WINDOW_LARGE && job->md5_seat.team != NULL && s3_md5_team_others(&job->md5_seat);
    job->lent += len;
    release(job, SIZE_MAX);
    if (!wait || (job->lent > window / 2 && job->request->source.size > window)) {
        release(job, wait ? window / 4 : 0);
    }
}

static enum job_next put_bytes(struct dir_worker *worker, struct job *job)
{
    struct objstore_request *r = job->request;
    int ret;

    if (r->source.data != NULL || r->source.size == 0) {
        ret = dir_write_bytes(job, r->source.data, (size_t)r->source.size, true);
        return ret != 0 ? dir_fail_io(job, ret) : dir_write_end(job);
    }
    release(job, SIZE_MAX);
    for (;;) {
        const void *bytes = worker->buffer;
        size_t window = 0;
        ssize_t n = r->source.lend != NULL ? r->source.lend(r, &bytes, &window)
                                           : r->source.read(r, worker->buffer, DIR_BUFFER_SIZE);

        if (n == -EAGAIN) {
            return JOB_PARK;
        }
        if (n < 0) {
            return job_fail(job, (int)n, S3_OK, "the source of the bytes failed: %s",
                            strerror((int)-n));
        }
        if (n == 0) {
            break;
        }
        if ((uint64_t)n > r->source.size - job->done_bytes) {
            return job_fail(job, -EBADMSG, S3_INCOMPLETE_BODY, "more bytes came than were told");
        }
        if (job->pending) {
            memcpy(job->kept + job->done_bytes, bytes, (size_t)n);
        }
        ret = dir_write_bytes(job, bytes, (size_t)n, r->source.lend != NULL);
        if (ret != 0) {
            return dir_fail_io(job, ret);
        }
        keep_up(job, (size_t)n, window);
    }
    if (job->done_bytes != r->source.size && r->source.size != OBJSTORE_TO_END) {
        return job_fail(job, -EBADMSG, S3_INCOMPLETE_BODY, "fewer bytes came than were told");
    }
    return dir_write_end(job);
}

/* Bytes that have a row of the index, too, are kept until the commit. */
static void choose_flush(struct job *job)
{
    const struct objstore_request *r = job->request;

    job->pending = r->op == OBJSTORE_PUT && dir_pending_takes(job->store->pending, r->source.size);
    if (job->pending && r->source.data == NULL) {
        job->kept = arena_alloc(&job->arena, (size_t)r->source.size);
        job->pending = job->kept != NULL;
    }
}

bool dir_put_prepare(struct job *job)
{
    const struct objstore_request *r = job->request;
    bool ok;

    if (r->op != OBJSTORE_PUT || r->source.data == NULL) {
        return false;
    }
    choose_flush(job);
    if (!job->pending) {
        return false;
    }
    job->kind = kind_or_default(r->checksum.kind);
    job->change = change_put;
    describe(job);
    ok = dir_write_start(job, job->kind) == 0 &&
         dir_write_bytes(job, r->source.data, (size_t)r->source.size, true) == 0 &&
         dir_write_end(job) == JOB_COMMIT;
    if (!ok) {
        dir_write_drop(job);
    }
    job->ready = ok;
    return ok;
}

enum job_next dir_step_put(struct dir_worker *worker, struct job *job)
{
    if (job->committed) {
        return write_committed(job);
    }
    if (!job->started) {
        bool ok;
        enum job_next next = check_target(worker, job, &ok);
        int ret;

        if (!ok) {
            return next;
        }
        choose_flush(job);
        ret = dir_write_start(job, job->kind);
        if (ret != 0) {
            return dir_fail_io(job, ret);
        }
        job->started = true;
    }
    return put_bytes(worker, job);
}

/* Bytes of another file into the job's, all through the digests. */
static int copy_bytes(struct dir_worker *worker, struct job *job, int from, uint64_t offset,
                      uint64_t len)
{
    while (len > 0) {
        size_t want = len < DIR_BUFFER_SIZE ? (size_t)len : DIR_BUFFER_SIZE;
        ssize_t n = pread(from, worker->buffer, want, (off_t)offset);
        int ret;

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO; /* the index knows its size: the file was cut */
        }
        ret = dir_write_bytes(job, worker->buffer, (size_t)n, false);
        if (ret != 0) {
            return ret;
        }
        offset += (uint64_t)n;
        len -= (uint64_t)n;
    }
    return 0;
}

static enum job_next check_source(struct job *job, const struct dir_object *source, bool *ok)
{
    const struct objstore_request *r = job->request;
    const char *etag = source->info.etag;
    int64_t mtime_s = source->info.mtime_ns / 1000000000;

    *ok = false;
    if (r->source_if_match != NULL && strcmp(r->source_if_match, "*") != 0 &&
        strcmp(r->source_if_match, etag) != 0) {
        return job_fail(job, -ESTALE, S3_PRECONDITION_FAILED, "the source is another version");
    }
    if (r->source_if_none_match != NULL &&
        (strcmp(r->source_if_none_match, "*") == 0 || strcmp(r->source_if_none_match, etag) == 0)) {
        return job_fail(job, -ESTALE, S3_PRECONDITION_FAILED, "the source is that version");
    }
    /* As S3: a date counts where the ETag beside it has not decided. */
    if (r->source_if_match == NULL && r->source_if_unmodified_since != NULL &&
        mtime_s > *r->source_if_unmodified_since) {
        return job_fail(job, -ESTALE, S3_PRECONDITION_FAILED, "the source is younger");
    }
    if (r->source_if_none_match == NULL && r->source_if_modified_since != NULL &&
        mtime_s <= *r->source_if_modified_since) {
        return job_fail(job, -ESTALE, S3_PRECONDITION_FAILED, "the source is not younger");
    }
    *ok = true;
    return JOB_DONE;
}

static enum job_next copy_range(const struct objstore_request *r, struct job *job, uint64_t size,
                                struct objstore_range *ret)
{
    *ret = (struct objstore_range){.offset = 0, .len = size};
    if (is_part(r) && r->range.len != 0) {
        uint64_t len = r->range.len;

        if (r->range.offset >= size || (len != OBJSTORE_TO_END && len > size - r->range.offset)) {
            return job_fail(job, -ERANGE, S3_INVALID_RANGE, "the source has %llu bytes",
                            (unsigned long long)size);
        }
        ret->offset = r->range.offset;
        ret->len = len == OBJSTORE_TO_END ? size - r->range.offset : len;
    }
    return JOB_COMMIT;
}

/* A delete marker where the source was looked for is not the answer to what becomes of the target.
 */
static enum job_next source_gone(struct job *job)
{
    bool named = job->result.s3_code == S3_METHOD_NOT_ALLOWED;

    job->result.delete_marker = false;
    memset(&job->result.info, 0, sizeof(job->result.info));
    return named ? job_fail(job, -EINVAL, S3_INVALID_REQUEST,
                            "The source of a copy request may not specifically refer to a delete "
                            "marker by version id.")
                 : JOB_DONE;
}

enum job_next dir_step_copy(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    const struct dir_name name = {r->source_bucket, r->source_key, r->source_version_id};
    struct dir_object source;
    struct objstore_range range;
    AUTOCLOSE int from = -1;
    bool ok;
    enum job_next next;
    int ret;

    if (job->committed) {
        return write_committed(job);
    }
    next = check_target(worker, job, &ok);
    if (!ok) {
        return next;
    }
    if (dir_open_object(worker, job, &name, &source, &from) != 0) {
        return source_gone(job);
    }
    memcpy(job->result.source_version_id, source.info.version_id, OBJSTORE_VERSION_MAX);
    (void)check_source(job, &source, &ok);
    if (!ok || copy_range(r, job, source.info.size, &range) == JOB_DONE) {
        return JOB_DONE;
    }
    if (!is_part(r)) {
        if (!r->replace_meta) {
            job->object.info.meta = source.info.meta; /* in the job's arena already */
        }
        if (r->checksum.kind == OBJSTORE_CHECKSUM_NONE) { /* the source's kind, of the whole */
            job->kind = kind_or_default(source.info.checksum.kind);
        }
        if (!r->replace_tags) {
            job->object.tags = source.tags;
        }
    }
    ret = dir_write_start(job, job->kind);
    if (ret == 0 && job->held != NULL) {
        ret = dir_write_bytes(job, job->held + range.offset, (size_t)range.len, false);
    } else {
        ret = ret == 0 ? copy_bytes(worker, job, from, range.offset, range.len) : ret;
    }
    return ret != 0 ? dir_fail_io(job, ret) : dir_write_end(job);
}

/* The parts that the caller named, found among those that were uploaded. */
struct assembly {
    struct dir_upload upload;
    struct dir_part_page have;
    size_t *chosen; /* index into have, one for each of the request's parts */
};

static enum job_next choose_parts(struct job *job, struct assembly *a, bool *ok)
{
    const struct objstore_request *r = job->request;
    size_t next = 0;

    *ok = false;
    a->chosen = arena_array(&job->arena, r->parts_count, sizeof(*a->chosen));
    if (a->chosen == NULL) {
        return job_fail(job, -ENOMEM, S3_OK, "out of memory");
    }
    for (size_t i = 0; i < r->parts_count; i++) {
        const struct objstore_part *want = &r->parts[i];
        const struct objstore_part *part;

        while (next < a->have.count && a->have.parts[next].number < want->number) {
            next++;
        }
        part = next < a->have.count ? &a->have.parts[next] : NULL;
        if (part == NULL || part->number != want->number || strcmp(part->etag, want->etag) != 0 ||
            (want->checksum.value[0] != '\0' && want->checksum.kind == part->checksum.kind &&
             strcmp(want->checksum.value, part->checksum.value) != 0)) {
            return job_fail(job, -EINVAL, S3_INVALID_PART,
                            "part %u was not uploaded or is another version", want->number);
        }
        if (a->upload.checksum.composite && want->checksum.kind != a->upload.checksum.kind) {
            return job_fail(job, -EINVAL, S3_INVALID_REQUEST,
                            "the upload's checksum is made of those of its parts, and that of part "
                            "%u is missing in the request",
                            want->number);
        }
        if (i + 1 < r->parts_count && part->size < job->store->part_min) {
            return job_fail(job, -EINVAL, S3_ENTITY_TOO_SMALL,
                            "part %u has %llu bytes; all but the last need %llu", want->number,
                            (unsigned long long)part->size,
                            (unsigned long long)job->store->part_min);
        }
        a->chosen[i] = next;
    }
    *ok = true;
    return JOB_DONE;
}

static int assemble_composite(struct job *job, const struct assembly *a, enum s3_checksum_kind kind)
{
    const struct objstore_request *r = job->request;
    struct objstore_checksum *ret_sum = &job->object.info.checksum;
    CLEANUP(s3_checksum_done) struct s3_checksum sum = {0};
    char text[S3_CHECKSUM_TEXT_SIZE];
    int ret = s3_checksum_init(&sum, kind);

    for (size_t i = 0; ret == 0 && i < r->parts_count; i++) {
        unsigned char raw[S3_CHECKSUM_MAX];
        size_t len;

        ret = decode_base64(slice_of(a->have.parts[a->chosen[i]].checksum.value), raw, sizeof(raw),
                            &len);
        if (ret == 0) {
            s3_checksum_add(&sum, raw, len);
        }
    }
    if (ret == 0) {
        s3_checksum_base64(&sum, text);
        (void)snprintf(ret_sum->value, sizeof(ret_sum->value), "%s-%zu", text, r->parts_count);
    }
    return ret;
}

static int assemble_full(struct job *job, const struct assembly *a, enum s3_checksum_kind kind)
{
    const struct objstore_request *r = job->request;
    char text[S3_CHECKSUM_TEXT_SIZE] = "";
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < r->parts_count; i++) {
        const struct objstore_part *part = &a->have.parts[a->chosen[i]];

        if (i == 0) {
            (void)snprintf(text, sizeof(text), "%.47s", part->checksum.value);
        } else {
            ret = s3_checksum_combine(kind, text, part->checksum.value, part->size, text);
        }
    }
    (void)snprintf(job->object.info.checksum.value, sizeof(job->object.info.checksum.value), "%s",
                   text);
    return ret;
}

/* A composite value is told with or without how many parts it is of. */
static bool same_value(const char *told, const char *computed)
{
    size_t len = strcspn(computed, "-");

    return strcmp(told, computed) == 0 ||
           (strchr(told, '-') == NULL && strlen(told) == len && strncmp(told, computed, len) == 0);
}

static bool all_of_kind(const struct job *job, const struct assembly *a,
                        enum objstore_checksum_kind kind)
{
    for (size_t i = 0; i < job->request->parts_count; i++) {
        if (a->have.parts[a->chosen[i]].checksum.kind != kind) {
            return false;
        }
    }
    return true;
}

static enum job_next assemble_checksum(struct job *job, const struct assembly *a)
{
    const struct objstore_request *r = job->request;
    struct objstore_checksum *sum = &job->object.info.checksum;
    int ret;

    *sum = a->upload.checksum;
    if (r->check_composite && r->checksum.composite != sum->composite) {
        return job_fail(job, -EINVAL, S3_INVALID_REQUEST,
                        "The upload was created using the %s checksum mode. The complete request "
                        "must use the same checksum mode.",
                        sum->composite ? "COMPOSITE" : "FULL_OBJECT");
    }
    if (sum->kind == OBJSTORE_CHECKSUM_NONE) { /* of the kind that every part has by default */
        if (!all_of_kind(job, a, OBJSTORE_CHECKSUM_CRC64NVME)) {
            return JOB_COMMIT;
        }
        sum->kind = OBJSTORE_CHECKSUM_CRC64NVME;
        sum->composite = false;
    }
    for (size_t i = 0; i < r->parts_count; i++) {
        if (a->have.parts[a->chosen[i]].checksum.kind != sum->kind) {
            return job_fail(job, -EINVAL, S3_INVALID_REQUEST, "part %u has no checksum of the kind",
                            r->parts[i].number);
        }
    }
    ret = sum->composite ? assemble_composite(job, a, (enum s3_checksum_kind)sum->kind)
                         : assemble_full(job, a, (enum s3_checksum_kind)sum->kind);
    if (ret != 0) {
        return job_fail(job, -EINVAL, S3_INVALID_REQUEST, "the parts' checksums do not combine");
    }
    if (r->checksum.value[0] != '\0' && r->checksum.kind == sum->kind &&
        !same_value(r->checksum.value, sum->value)) {
        return job_fail(job, -EBADMSG, S3_BAD_DIGEST, "the parts do not match the checksum");
    }
    return JOB_COMMIT;
}

/* copy_file_range shares blocks where the file system can. */
static int append_file(struct job *job, int from, uint64_t len, char *buffer)
{
    while (len > 0) {
        ssize_t n =
            copy_file_range(from, NULL, job->fd, NULL, len < COPY_STEP ? len : COPY_STEP, 0);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP)) {
            int ret = 0;

            n = read(from, buffer, len < DIR_BUFFER_SIZE ? (size_t)len : DIR_BUFFER_SIZE);
            if (n > 0) {
                ret = file_write_all(job->fd, buffer, (size_t)n);
            }
            if (ret != 0) {
                return ret;
            }
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        len -= (uint64_t)n;
    }
    return 0;
}

static int join_parts(struct dir_worker *worker, struct job *job, const struct assembly *a)
{
    const struct objstore_request *r = job->request;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < r->parts_count; i++) {
        const struct objstore_part *part = &a->have.parts[a->chosen[i]];
        const char *file = a->have.files[a->chosen[i]];
        AUTOCLOSE int from = -1;

        if (part->size == 0) {
            continue;
        }
        if (job->generation[0] == '\0') {
            ret = dir_files_create(job->store->files, &job->fd, job->generation);
        }
        ret = ret == 0 ? dir_files_read(job->store->files, file, &from) : ret;
        ret = ret == 0 ? append_file(job, from, part->size, worker->buffer) : ret;
        job->done_bytes += ret == 0 ? part->size : 0;
    }
    return ret;
}

static int change_complete(struct dir_index *index, struct job *job)
{
    const struct objstore_request *r = job->request;
    const struct dir_conditions conditions = {.if_match = r->if_match,
                                              .if_none_match = r->if_none_match};
    int ret = dir_index_bucket(index, r->bucket, &job->bucket);

    ret = ret == 0 ? dir_index_upload_end(index, job->bucket.id, r->key, r->upload_id) : ret;
    job->upload_gone = ret == -ENOENT; /* another completion or an abort came first */
    ret = ret == 0 ? dir_index_put(index, &job->bucket, r->key, &job->object, &conditions) : ret;
    if (ret == 0 && job->object.file != NULL) {
        ret = dir_index_joined_put(index, job->object.file, job->joined, job->joined_count);
    }
    return ret == 0 ? dir_index_completed_put(index, job->bucket.id, r->key, r->upload_id,
                                              &job->object.info)
                    : ret;
}

/* ETag of a multipart object: MD5 over the parts' binary MD5s, '-', their number. */
static int etag_of_parts(const struct objstore_request *r, char ret_etag[OBJSTORE_ETAG_MAX])
{
    CLEANUP(s3_checksum_done) struct s3_checksum md5 = {0};
    char hex[2 * S3_CHECKSUM_MAX + 1];
    int ret = s3_checksum_init(&md5, S3_CHECKSUM_MD5);

    for (size_t i = 0; ret == 0 && i < r->parts_count; i++) {
        unsigned char raw[16];
        size_t len;

        ret = decode_hex(slice_of(r->parts[i].etag), raw, sizeof(raw), &len);
        if (ret == 0) {
            s3_checksum_add(&md5, raw, len);
        }
    }
    if (ret == 0) {
        s3_checksum_hex(&md5, hex);
        (void)snprintf(ret_etag, OBJSTORE_ETAG_MAX, "%s-%zu", hex, r->parts_count);
    }
    return ret;
}

/* The upload is gone: who completed it of the same parts gets the same answer again. */
static enum job_next completed_before(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    struct objstore_info info;
    char etag[OBJSTORE_ETAG_MAX];
    int ret = dir_index_completed_get(worker->index, job->bucket.id, r->key, r->upload_id, &info);

    ret = ret == 0 && (etag_of_parts(r, etag) != 0 || strcmp(etag, info.etag) != 0) ? -ENOENT : ret;
    if (ret != 0) {
        return job_fail(job, ret, ret == -ENOENT ? S3_NO_SUCH_UPLOAD : S3_OK, "no such upload");
    }
    job->result = (struct objstore_result){.info = info};
    return JOB_DONE;
}

/* What the parts add up to, and which they are: for who reads one of them later. */
static enum job_next note_parts(struct job *job, const struct assembly *a)
{
    const struct objstore_request *r = job->request;
    struct objstore_part *joined = arena_array(&job->arena, r->parts_count, sizeof(*joined));
    uint64_t size = 0;

    if (joined == NULL) {
        return job_fail(job, -ENOMEM, S3_OK, "out of memory");
    }
    for (size_t i = 0; i < r->parts_count; i++) {
        joined[i] = a->have.parts[a->chosen[i]];
        if (a->upload.checksum.kind == OBJSTORE_CHECKSUM_NONE) { /* nobody asked for the parts' */
            joined[i].checksum = (struct objstore_checksum){0};
        }
        size += joined[i].size;
    }
    if (r->whole_size != NULL && *r->whole_size != size) {
        return job_fail(job, -EINVAL, S3_INVALID_REQUEST,
                        "The provided 'x-amz-mp-object-size' header value %llu does not match what "
                        "was computed: %llu",
                        (unsigned long long)*r->whole_size, (unsigned long long)size);
    }
    job->joined = joined;
    job->joined_count = r->parts_count;
    return JOB_COMMIT;
}

enum job_next dir_step_complete(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    struct assembly a = {.have = {.max = OBJSTORE_PARTS_MAX}};
    bool ok;
    int ret;

    if (job->committed) {
        return job->upload_gone ? completed_before(worker, job) : write_committed(job);
    }
    /* The parts first: if the upload is there after that, they were all there. */
    ret = dir_index_part_list(worker->index, r->upload_id, &job->arena, &a.have);
    if (ret != 0) {
        return dir_fail_io(job, ret);
    }
    ret = dir_index_bucket(worker->index, r->bucket, &job->bucket);
    ret = ret == 0 ? dir_index_upload_get(worker->index, job->bucket.id, r->key, r->upload_id,
                                          &job->arena, &a.upload)
                   : ret;
    if (ret == -ENOENT && job->bucket.id != 0) {
        return completed_before(worker, job);
    }
    if (ret != 0) {
        return job_fail(job, ret, ret == -ENOENT ? S3_NO_SUCH_BUCKET : S3_OK, "no such bucket");
    }
    (void)choose_parts(job, &a, &ok);
    if (!ok || assemble_checksum(job, &a) == JOB_DONE || note_parts(job, &a) == JOB_DONE) {
        return JOB_DONE;
    }
    job->object.info.meta = a.upload.meta;
    job->object.tags = a.upload.tags;
    job->object.info.parts = (uint32_t)r->parts_count;
    ret = etag_of_parts(r, job->object.info.etag);
    ret = ret == 0 ? join_parts(worker, job, &a) : ret;
    if (ret != 0) {
        /* A part was replaced, or the upload ended, while we copied: the caller may try again. */
        if (ret == -ENOENT && completed_before(worker, job) == JOB_DONE &&
            job->result.status == 0) {
            return JOB_DONE;
        }
        return ret == -ENOENT ? job_fail(job, -EBUSY, S3_OPERATION_ABORTED, "the upload changed")
                              : dir_fail_io(job, ret);
    }
    job->change = change_complete;
    s3_md5_init(&job->md5); /* only so that it can be ended */
    return dir_write_end(job);
}
