/* SPDX-License-Identifier: Apache-2.0 */
/* The directory backend's documents of buckets. */
#include <errno.h>

#include <string.h>

#include "objstore/dir_internal.h"
#include "s3/xml.h"
#include "s3/xml_parse.h"

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
    return doc <= OBJSTORE_DOC_PUBLIC_ACCESS_BLOCK;
}

/* The one document that is not kept as it came: what it says is the bucket's state. */
static const char *versioning_text(enum dir_versioning versioning, struct arena *arena)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1024);

    s3_xml_versioning(&text, versioning == DIR_VERSIONED ? "Enabled" : "Suspended");
    return buf_error(&text) == 0 ? arena_strdup(arena, buf_str(&text)) : NULL;
}

static enum job_next parse_versioning(struct job *job)
{
    const char *text = job->request->document;
    struct s3_fault fault = S3_FAULT_INIT;
    struct s3_xml_doc *doc = NULL;
    bool ok = s3_xml_parse(text, strlen(text), &doc, &fault) == 0 && doc->root == S3_XML_VERSIONING;
    bool mfa = ok && strcmp(doc->mfa_delete, "Enabled") == 0;

    if (ok && strcmp(doc->status, "Enabled") == 0) {
        job->versioning = DIR_VERSIONED;
    } else if (ok && strcmp(doc->status, "Suspended") == 0) {
        job->versioning = DIR_SUSPENDED;
    } else {
        ok = false;
    }
    s3_xml_doc_free(doc);
    return mfa   ? job_fail(job, -ENOTSUP, S3_NOT_IMPLEMENTED, "MFA Delete is not for this store")
           : !ok ? job_fail(job, -EINVAL, S3_ILLEGAL_VERSIONING_CONFIGURATION,
                            "versioning is Enabled or Suspended")
                 : JOB_COMMIT;
}

static int change_doc(struct dir_index *index, struct job *job)
{
    const struct objstore_request *r = job->request;
    const char *name = objstore_doc_name(r->doc);
    int ret = dir_index_bucket(index, r->bucket, &job->bucket);

    if (ret != 0) {
        return ret;
    }
    if (r->doc == OBJSTORE_DOC_VERSIONING) {
        return dir_index_bucket_versioning(index, job->bucket.id, job->versioning);
    }
    if (r->op == OBJSTORE_BUCKET_DOC_PUT) {
        return dir_index_doc_put(index, job->bucket.id, name, r->document);
    }
    return r->doc == OBJSTORE_DOC_OWNERSHIP ? dir_index_doc_put(index, job->bucket.id, name, "")
                                            : dir_index_doc_delete(index, job->bucket.id, name);
}

static enum job_next get_doc(struct dir_worker *worker, struct job *job)
{
    const struct objstore_request *r = job->request;
    const char *text = NULL;
    int ret = -ENODATA;

    if (r->doc != OBJSTORE_DOC_VERSIONING) {
        ret = dir_index_doc_get(worker->index, job->bucket.id, objstore_doc_name(r->doc),
                                &job->arena, &text);
    } else if (job->bucket.versioning != DIR_UNVERSIONED) {
        text = versioning_text(job->bucket.versioning, &job->arena);
        ret = text != NULL ? 0 : -ENOMEM;
    }
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
    if (!is_kept(r->doc) ||
        (r->doc == OBJSTORE_DOC_VERSIONING && r->op == OBJSTORE_BUCKET_DOC_DELETE)) {
        return r->op == OBJSTORE_BUCKET_DOC_DELETE
                   ? JOB_DONE
                   : job_fail(job, -ENOTSUP, S3_NOT_IMPLEMENTED, "%s is not for this store",
                              objstore_doc_name(r->doc));
    }
    if (r->doc == OBJSTORE_DOC_VERSIONING && parse_versioning(job) == JOB_DONE) {
        return JOB_DONE;
    }
    job->change = change_doc;
    return JOB_COMMIT;
}
