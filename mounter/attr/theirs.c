/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/attr/theirs.h"

#include <errno.h>
#include <string.h>

#include "objstore/objstore_call.h"
#include "util/hash.h"
#include "util/log.h"

enum { META_TIMEOUT_MS = 50000 };

static uint64_t version_of(const char *etag)
{
    return hash_bytes(etag, strlen(etag)) | 1;
}

bool theirs_none(struct fs *fs, const struct node *node)
{
    const struct inode_rec *rec = fs_rec(fs, node);

    return (rec->flags & INODE_NEW) != 0 || node->plain_version == version_of(rec->etag);
}

void theirs_note(struct node *node, const char *etag, bool none)
{
    node->plain_version = none ? version_of(etag) : 0;
}

void theirs_done(struct theirs *theirs)
{
    objstore_answer_done(&theirs->answer);
}

int theirs_keep(struct fs *fs, struct theirs *theirs, struct arena *arena,
                struct objstore_meta *meta)
{
    struct objstore_request head = {
        .op = OBJSTORE_HEAD, .key = theirs->key, .timeout_ms = META_TIMEOUT_MS};
    const struct objstore_info *info = &theirs->answer.result.info;
    struct attr attr;
    int ret;

    theirs_done(theirs);
    theirs->answer = (struct objstore_answer)OBJSTORE_ANSWER_INIT;
    theirs->none = true;
    theirs->size = 0;
    ret = volume_call(fs->volume, &head, &theirs->answer);
    if (ret != 0 || strcmp(info->etag, theirs->etag) != 0) {
        return ret == -ENOENT ? 0 : ret;
    }
    theirs->size = info->size;
    attr_read(&info->meta, arena, &attr);
    theirs->none = attr.only_ours;
    ret = theirs->none ? 0 : attr_keep_theirs(&info->meta, arena, meta);
    if (ret > 0) {
        log_warn("more metadata than an object can have: not all that others wrote is kept", "key",
                 theirs->key, NULL);
        ret = 0;
    }
    return ret;
}
