/* SPDX-License-Identifier: Apache-2.0 */
/* The directory backend's bytes on their way into a file: sums, the disk, the file's name. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "objstore/dir_internal.h"
#include "util/buf.h"
#include "util/clock.h"
#include "util/encode.h"
#include "util/file.h"

enum { TOGETHER_MIN = 16 * 1024 /* with fewer bytes, hashing costs less than meeting */ };

enum job_next dir_fail_io(struct job *job, int ret)
{
    /* A volume that is read-only by its options is the client's affair, a disk that has become so
     * is not. */
    int told = ret == -EDQUOT ? -ENOSPC : ret == -EROFS ? -EIO : ret;

    return job_fail(job, told, S3_OK, "cannot write the object: %s", strerror(-ret));
}

int dir_write_start(struct job *job, enum objstore_checksum_kind kind)
{
    const struct s3_checksum *given = job->request->source.sum;
    int ret = 0;

    s3_md5_init(&job->md5);
    job->sum_given = given != NULL && given->kind == (enum s3_checksum_kind)kind;
    if (kind != OBJSTORE_CHECKSUM_NONE) {
        ret = s3_checksum_init(&job->sum, (enum s3_checksum_kind)kind);
    }
    if (ret == 0 && job->plain_upload && kind != OBJSTORE_CHECKSUM_CRC64NVME) {
        ret = s3_checksum_init(&job->also, S3_CHECKSUM_CRC64NVME);
    }
    return ret;
}

static void post(struct job *job, const void *bytes, size_t len)
{
    if (job->md5_seat.team == NULL && len < TOGETHER_MIN) {
        s3_md5_add(&job->md5, bytes, len);
        return;
    }
    if (job->md5_seat.team == NULL) {
        s3_md5_team_join(&job->store->md5_team, &job->md5_seat, &job->md5);
    }
    s3_md5_team_post(&job->md5_seat, bytes, len);
}

size_t dir_write_left(struct job *job, size_t most)
{
    return job->md5_seat.team != NULL ? s3_md5_team_hash(&job->md5_seat, most) : 0;
}

int dir_write_bytes(struct job *job, const void *bytes, size_t len, bool stay)
{
    struct dir_store *store = job->store;
    int ret;

    if (len == 0) {
        return 0;
    }
    if (job->generation[0] == '\0' && !job->pending) { /* empty objects have no file */
        ret = dir_files_create(store->files, &job->fd, job->generation);
        if (ret != 0) {
            job->generation[0] = '\0';
            return ret;
        }
    }
    post(job, bytes, len);
    if (job->sum.kind != S3_CHECKSUM_NONE && !job->sum_given) {
        s3_checksum_add(&job->sum, bytes, len);
    }
    if (job->also.kind != S3_CHECKSUM_NONE) {
        s3_checksum_add(&job->also, bytes, len);
    }
    ret = job->pending ? 0 : file_write_all(job->fd, bytes, len);
    job->done_bytes += ret == 0 ? len : 0;
    if (!stay) {
        (void)dir_write_left(job, 0);
    }
    return ret;
}

void dir_write_drop(struct job *job)
{
    s3_md5_team_leave(&job->md5_seat); /* another thread may be reading the bytes */
    s3_checksum_done(&job->sum);
    s3_checksum_done(&job->also);
    memset(&job->also, 0, sizeof(job->also));
    memset(&job->sum, 0, sizeof(job->sum));
    if (job->fd >= 0) {
        (void)close(job->fd);
        job->fd = -1;
    }
    if (job->generation[0] != '\0') {
        bool unwanted = job->published && !(job->committed && job->commit_status == 0);

        /* What cannot be removed, or may be committed after all, is left to a later sweep. */
        if (!job->commit_unknown &&
            (!unwanted || dir_files_remove(job->store->files, job->file) == 0)) {
            dir_files_settle(job->store->files, job->generation);
        }
        job->generation[0] = '\0';
    }
}

static enum job_next check_digests(struct job *job, bool *ok)
{
    const struct objstore_request *r = job->request;
    struct objstore_info *info = &job->object.info;
    unsigned char raw[S3_MD5_SIZE];
    CLEANUP(buf_done) struct buf text = BUF_INIT(128);

    *ok = false;
    s3_md5_raw(&job->md5, raw);
    encode_base64(&text, raw, sizeof(raw));
    if (r->content_md5 != NULL && strcmp(r->content_md5, buf_str(&text)) != 0) {
        return job_fail(job, -EBADMSG, S3_BAD_DIGEST, "the bytes do not match Content-MD5");
    }
    buf_reset(&text);
    encode_hex(&text, raw, sizeof(raw));
    if (info->etag[0] == '\0') {
        (void)snprintf(info->etag, sizeof(info->etag), "%s", buf_str(&text));
    }
    if (job->sum.kind != S3_CHECKSUM_NONE) {
        char value[S3_CHECKSUM_TEXT_SIZE];

        job->sum.crc = job->sum_given ? r->source.sum->crc : job->sum.crc;
        s3_checksum_base64(&job->sum, value);
        if (r->checksum.value[0] != '\0' && strcmp(r->checksum.value, value) != 0) {
            return job_fail(job, -EBADMSG, S3_BAD_DIGEST, "the bytes do not match their checksum");
        }
        info->checksum.kind = (enum objstore_checksum_kind)job->sum.kind;
        info->checksum.composite = false;
        (void)snprintf(info->checksum.value, sizeof(info->checksum.value), "%s", value);
    }
    *ok = true;
    return JOB_COMMIT;
}

static int publish(struct job *job)
{
    const struct objstore_request *r = job->request;
    struct dir_files *files = job->store->files;
    int ret = dir_files_flush(files, job->fd);

    ret = ret == 0 ? dir_files_publish(files, job->generation, r->bucket, r->key, job->file) : ret;
    if (ret == 0) {
        job->published = true;
        job->unflushed = true;
        job->object.file = job->file;
    }
    return ret;
}

/* The file has its name before its sum is known: until the commit nobody asks for it, and the
 * disk's time is what others need to do the sum. */
enum job_next dir_write_end(struct job *job)
{
    struct objstore_info *info = &job->object.info;
    bool ok;
    enum job_next next;
    int ret = job->generation[0] != '\0' ? publish(job) : 0;

    if (ret != 0) {
        return dir_fail_io(job, ret);
    }
    if (job->pending) { /* its file is for who flushes to make */
        dir_files_name(job->store->files, job->request->bucket, job->request->key, job->file);
        job->object.file = job->file;
    }
    (void)dir_write_left(job, 0);
    s3_md5_team_leave(&job->md5_seat);
    next = check_digests(job, &ok);
    if (!ok) {
        return next;
    }
    info->size = job->done_bytes;
    info->mtime_ns = clock_realtime_ns(clock_real());
    return JOB_COMMIT;
}
