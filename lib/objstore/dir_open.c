/* SPDX-License-Identifier: Apache-2.0 */
/* The directory backend's way to an object's bytes: in a file, or in the index until there is one.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "objstore/dir_internal.h"

enum { OPEN_TRIES = 8 };

/* Bytes that no file has yet. -ENOENT: there is one by now, or the object has gone. */
static int find_held(struct dir_worker *worker, struct job *job, const struct dir_object *object)
{
    struct dir_pending_row row;
    int ret = object->info.size <= DIR_PENDING_MAX
                  ? dir_index_pending_get(worker->index, object->file, &job->arena, &row)
                  : -ENOENT;

    if (ret == 0 && row.len != object->info.size) {
        return -EUCLEAN;
    }
    job->held = ret == 0 ? row.bytes : NULL;
    return ret;
}

/* -ENOENT: it is not there; -ENODATA: not all of it. Both may be different in a moment. */
static int open_file(struct dir_worker *worker, const struct dir_object *object, int *ret_fd)
{
    int ret = dir_files_read(worker->store->files, object->file, ret_fd);

    if (ret == 0 && !dir_file_whole(*ret_fd, object->info.size)) {
        (void)close(*ret_fd);
        *ret_fd = -1;
        ret = -ENODATA;
    }
    return ret;
}

/* Who is in a hurry has looked, and what is wrong is for a thread to say. */
static int open_now(struct dir_worker *worker, struct job *job, const struct dir_object *object,
                    int *ret_fd)
{
    int ret = dir_now_read(worker, object, ret_fd);

    ret = ret != 0 ? find_held(worker, job, object) : 0;
    job->result.status = ret == 0 ? 0 : -EAGAIN;
    return job->result.status;
}

int dir_open_object(struct dir_worker *worker, struct job *job, const struct dir_name *name,
                    struct dir_object *ret, int *ret_fd)
{
    int r = -ENOENT;

    job->held = NULL;
    /* The file of a version that is replaced between the two steps is gone: look again. So it is of
     * a small one whose file was made after it was looked for, and before its row was. */
    for (int i = 0; i < OPEN_TRIES; i++) {
        r = dir_find_object(worker, job, name, ret);
        if (r != 0 || ret->file == NULL) {
            return r;
        }
        if (worker->now) {
            return open_now(worker, job, ret, ret_fd);
        }
        r = open_file(worker, ret, ret_fd);
        if (r == 0 || (r != -ENOENT && r != -ENODATA)) {
            break;
        }
        if (find_held(worker, job, ret) == 0) {
            return 0;
        }
    }
    if (r == -ENODATA || r == -ENOENT) {
        (void)dir_damaged(job, ret->file,
                          r == -ENOENT ? "it is not there" : "it is shorter than the index says");
        return r == -ENOENT ? r : -EIO;
    }
    if (r != 0) {
        (void)job_fail(job, r, S3_INTERNAL_ERROR, "cannot open the object's file: %s",
                       strerror(-r));
    }
    return r;
}
