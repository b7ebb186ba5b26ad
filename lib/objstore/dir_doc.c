/* SPDX-License-Identifier: Apache-2.0 */
/* The directory backend's documents of buckets. */
#include <errno.h>

#include "objstore/dir_internal.h"

/*
 * What a bucket begins with. A deletion is kept as an empty text, so that it is told from a bucket
 * that nobody has asked: the two answer differently.
 */
static const char ownership_at_first[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<OwnershipControls xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule>"
    "<ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>";

static bool is_kept(enum objstore_doc doc)
{
    return doc <= OBJSTORE_DOC_PUBLIC_ACCESS_BLOCK && doc != OBJSTORE_DOC_VERSIONING;
}

static int change_doc(struct dir_index *index, struct job *job)
{
    const struct objstore_request *r = job->request;
    const char *name = objstore_doc_name(r->doc);
    int ret = dir_index_bucket(index, r->bucket, &job->bucket);

    if (ret != 0) {
        return ret;
    }
    if (r->op == OBJSTORE_BUCKET_DOC_PUT) {
        return dir_index_doc_put(index, job->bucket, name, r->document);
    }
    return r->doc == OBJSTORE_DOC_OWNERSHIP ? dir_index_doc_put(index, job->bucket, name, "")
                                            : dir_index_doc_delete(index, job->bucket, name);
}

static enum job_next get_doc(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    const char *text = NULL;
    int ret = dir_index_doc_get(worker->index, job->bucket, objstore_doc_name(r->doc), &job->arena,
                                &text);

    if (ret == -ENODATA && r->doc == OBJSTORE_DOC_OWNERSHIP) {
        text = ownership_at_first;
        ret = 0;
    }
    if (ret != 0 || text == NULL || text[0] == '\0') {
        ret = ret != 0 ? ret : -ENODATA;
        return job_fail(job, ret, S3_OK, "%s",
                        ret == -ENODATA ? "the bucket has no such document"
                                        : dir_index_error(worker->index));
    }
    job->result.document = text;
    return JOB_DONE;
}

enum job_next dir_step_doc(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    int ret;

    if (job->committed) {
        return job->commit_status == -ENOENT
                   ? job_fail(job, -ENOENT, S3_NO_SUCH_BUCKET, "no such bucket")
                   : job_fail_commit(job);
    }
    ret = dir_index_bucket(worker->index, r->bucket, &job->bucket);
    if (ret != 0) {
        return job_fail(job, ret, ret == -ENOENT ? S3_NO_SUCH_BUCKET : S3_OK, "%s",
                        ret == -ENOENT ? "no such bucket" : dir_index_error(worker->index));
    }
    if (r->op == OBJSTORE_BUCKET_DOC_GET) {
        return get_doc(worker, job);
    }
    if (!is_kept(r->doc)) {
        return r->op == OBJSTORE_BUCKET_DOC_DELETE
                   ? JOB_DONE
                   : job_fail(job, -ENOTSUP, S3_NOT_IMPLEMENTED, "%s is not for this store",
                              objstore_doc_name(r->doc));
    }
    job->change = change_doc;
    return JOB_COMMIT;
}
