/* SPDX-License-Identifier: Apache-2.0 */
/* What is to be done when K is the copy: the metaserver forgets, and L goes. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/names/collapse_internal.h"
#include "objstore/objstore_call.h"
#include "util/log.h"

enum { TIMEOUT_MS = 50000, TRIES = 4 };

/* Only if it is that version. -ESTALE: it is another. */
static int delete_version(struct fs *fs, const char *object, const struct collapse_rest *rest)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request request = {
        .op = OBJSTORE_DELETE, .key = object, .if_match = rest->etag, .timeout_ms = TIMEOUT_MS};
    int r;

    if (rest->etag[0] == '\0') {
        return 0;
    }
    if (fs->caps.conditional_delete) {
        r = volume_call_internal(fs->volume, &request, &answer);
    } else { /* from then on nobody can write to what he thinks is there */
        r = pointer_put(fs, &(const struct pointer_put){.key = object,
                                                        .file = rest->file,
                                                        .number = COLLAPSE_GONE,
                                                        .if_match = rest->etag});
        r = r == 0 ? remote_delete(fs, object) : r;
    }
    return r == -ENOENT ? 0 : r;
}

/* Somebody who has no session has written to it: beside the file, as with any conflict. */
static int keep_beside(struct fs *fs, const char *object, struct collapse_rest *rest)
{
    CLEANUP(buf_done) struct buf beside = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    struct copy_what what = {.from = object, .if_match = rest->etag, .only_new = true};
    struct pointer there;
    char etag[STATE_ETAG_SIZE];
    int r = pointer_read(fs, object, &there);

    if (r != 0 || !there.exists) {
        rest->etag[0] = '\0';
        return r;
    }
    buf_addf(&beside, "%s.conflict-%" PRIx64, rest->key, (uint64_t)fs_now_ns());
    if (buf_len(&beside) > fs_key_max(fs)) {
        return -ENAMETOOLONG;
    }
    memcpy(rest->etag, there.etag, sizeof(rest->etag));
    what.to = buf_str(&beside);
    what.size = there.size;
    r = remote_copy(fs, &what, etag);
    if (r == 0) {
        log_warn(
            "hard links: a file was written by a node without a session; theirs is kept beside",
            "key", rest->key, "copy", buf_str(&beside), NULL);
    }
    return r;
}

int collapse_delete(struct fs *fs, struct collapse_rest *rest)
{
    char object[POINTER_FILE_KEY];
    int r;

    pointer_file_key(rest->file, object);
    facts_forget(fs->facts, object);
    r = delete_version(fs, object, rest);
    for (int tries = 0; r == -ESTALE && tries < TRIES; tries++) {
        r = keep_beside(fs, object, rest);
        r = r == 0 ? delete_version(fs, object, rest) : r;
    }
    return r;
}

void collapse_finish(struct fs *fs, struct collapse_rest *rest, uint64_t number)
{
    struct links_left left;
    int r = links_remove(fs, number, &left);

    if (r == 0) {
        free(left.last_key);
        if (strcmp(left.file, rest->file) != 0) { /* the name was not known: it may have others */
            return;
        }
        if (left.links > 0) { /* given by a node whose session has begun meanwhile */
            log_warn("hard links: a file has become plain while it got another name", "key",
                     rest->key, "file", rest->file, NULL);
            return;
        }
        r = collapse_delete(fs, rest);
    }
    r = r == 0 ? links_drop(fs, rest->file) : r;
    if (r != 0) {
        log_warn("hard links: the object of a file that has become plain is left for now", "file",
                 rest->file, "error", strerror(-r), NULL);
    }
}

void collapse_finish_found(struct fs *fs, const char *file, const struct links_name *last,
                           const struct pointer *plain)
{
    char object[POINTER_FILE_KEY];
    struct collapse_rest rest = {.file = file, .key = last->key};
    struct pointer there;
    bool known;
    int r;

    pointer_file_key(file, object);
    mutex_lock(&fs->lock);
    known = fs_child(fs, STATE_ROOT, object) != NULL;
    mutex_unlock(&fs->lock);
    r = known ? -EBUSY : pointer_read(fs, object, &there);
    if (r == 0 && there.exists && there.number == 0 && strcmp(there.etag, plain->etag) != 0 &&
        there.mtime_ns >= plain->mtime_ns) { /* stores tell seconds */
        r = keep_beside(fs, object, &rest);
    } else if (r == 0) {
        memcpy(rest.etag, there.etag, sizeof(rest.etag));
    }
    if (r == 0) {
        collapse_finish(fs, &rest, last->number);
    }
}
