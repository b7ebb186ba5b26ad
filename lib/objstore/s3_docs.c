/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of buckets, tags of objects: the bodies that go out and those that come. */
#include <errno.h>

#include "objstore/s3_private.h"
#include "s3/tags.h"
#include "util/cleanup.h"

int s3_docs_body(struct s3_call *call)
{
    const struct objstore_request *request = call->request;
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(S3_ARENA_MAX);
    struct s3_tags tags;
    int ret;

    buf_reset(&call->body);
    call->body.max = 2 * OBJSTORE_DOC_MAX;
    if (request->op == OBJSTORE_BUCKET_DOC_PUT) {
        buf_addstr(&call->body, request->document);
        return buf_error(&call->body);
    }
    ret = s3_tags_from_query(slice_of(request->tags != NULL ? request->tags : ""), &arena, &tags,
                             NULL);
    if (ret == 0) {
        s3_tags_to_xml(&call->body, &tags);
        ret = buf_error(&call->body);
    }
    return ret;
}

static int take_tags(struct s3_call *call)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(OBJSTORE_DOC_MAX);
    struct s3_tags tags;
    int ret =
        s3_tags_from_xml(buf_str(&call->reply), buf_len(&call->reply), &call->arena, &tags, NULL);

    if (ret == 0) {
        s3_tags_to_query(&text, &tags);
        call->result.tags = arena_strdup(&call->arena, buf_str(&text));
        ret = buf_error(&text) != 0 || call->result.tags == NULL ? -ENOMEM : 0;
    }
    return ret == -EINVAL ? -EIO : ret;
}

void s3_docs_answered(struct s3_call *call)
{
    size_t len = buf_len(&call->reply);
    int ret = 0;

    if (call->request->op == OBJSTORE_TAGS_GET) {
        ret = take_tags(call);
    } else if (len == 0) { /* some stores answer so when there is none */
        ret = -ENODATA;
    } else if (len > OBJSTORE_DOC_MAX) {
        ret = -EFBIG;
    } else {
        call->result.document = arena_strndup(&call->arena, buf_str(&call->reply), len);
        ret = call->result.document == NULL ? -ENOMEM : 0;
    }
    if (ret != 0) {
        call->result.status =
            error_set(&call->result.error, ret, "%s",
                      ret == -ENODATA ? "the bucket has no such document"
                                      : "the store's answer is too long, or not the one asked for");
    }
}
