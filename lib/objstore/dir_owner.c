/* SPDX-License-Identifier: Apache-2.0 */
/* The directory backend's owners of buckets. */
#include <errno.h>
#include <string.h>

#include "objstore/dir_internal.h"

static bool tells_owner(enum objstore_op op)
{
    switch (op) {
    case OBJSTORE_HEAD:
    case OBJSTORE_LIST:
    case OBJSTORE_LIST_VERSIONS:
    case OBJSTORE_UPLOAD_LIST:
    case OBJSTORE_UPLOAD_LIST_PARTS:
    case OBJSTORE_BUCKET_HEAD:
    case OBJSTORE_BUCKET_DOC_GET:
        return true;
    default:
        return false;
    }
}

/* A bucket that is not there is for the operation to find out. */
static int check(struct dir_index *index, struct job *job, const char *bucket, const char *account,
                 const char **ret_owner)
{
    int ret = dir_index_owner(index, bucket, &job->arena, ret_owner);

    if (ret == -ENOENT) {
        return 0;
    }
    return ret == 0 && account != NULL && strcmp(*ret_owner, account) != 0 ? -EACCES : ret;
}

int dir_owner_check(struct dir_index *index, struct job *job)
{
    const struct objstore_request *r = job->request;
    const char *source = NULL;
    int ret = 0;

    if (r->op == OBJSTORE_BUCKET_LIST || r->op == OBJSTORE_BUCKET_CREATE) {
        return 0;
    }
    if (r->account != NULL || tells_owner(r->op)) {
        ret = check(index, job, r->bucket, r->account, &job->result.owner);
    }
    if (ret == 0 && r->source_account != NULL && r->source_bucket != NULL) {
        ret = check(index, job, r->source_bucket, r->source_account, &source);
    }
    return ret;
}

bool dir_owner_enter(struct dir_worker *worker, struct job *job)
{
    int ret = job->owned ? 0 : dir_owner_check(worker->index, job);

    if (ret != 0) {
        (void)job_fail(job, ret, ret == -EACCES ? S3_ACCESS_DENIED : S3_OK, "%s",
                       ret == -EACCES ? "the bucket is another's" : dir_index_error(worker->index));
    }
    job->owned = ret == 0;
    return ret == 0;
}

int dir_owner_create(struct dir_index *index, struct job *job, int created)
{
    const struct objstore_request *r = job->request;
    const char *owner = NULL;
    int ret;

    if (r->account == NULL) {
        return created;
    }
    if (created == -EEXIST) {
        ret = check(index, job, r->bucket, r->account, &owner);
        return ret == 0 ? -EEXIST : ret;
    }
    return created == 0 && r->account[0] != '\0' ? dir_index_owner_put(index, r->bucket, r->account)
                                                 : created;
}
