/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are not what the index says of them: somebody has to be told, and waiting helps
 * nobody. */
#include <errno.h>
#include <sys/stat.h>

#include "objstore/dir_internal.h"
#include "util/log.h"

enum job_next dir_damaged(struct job *job, const char *file, const char *why)
{
    const struct objstore_request *r = job->request;
    bool copied = r->source_key != NULL;

    log_error("the file of an object is damaged: restore it from a backup, or delete the object",
              "store", objstore_name(&job->store->base), "file", file, "why", why, "bucket",
              copied ? r->source_bucket : r->bucket, "key", copied ? r->source_key : r->key, NULL);
    job->result.lasting = true;
    return job_fail(job, -EIO, S3_INTERNAL_ERROR, "the object's file is damaged: %s", why);
}

bool dir_file_whole(int fd, uint64_t size)
{
    struct stat st;

    return fstat(fd, &st) < 0 || (uint64_t)st.st_size >= size;
}
