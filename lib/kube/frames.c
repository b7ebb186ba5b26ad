/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/frames.h"

#include <errno.h>
#include <string.h>

#include "kube/kube.h"

void kube_frames_done(struct kube_frames *frames)
{
    buf_done(&frames->bytes);
    frames->at = 0;
}

/* What was taken makes room first: it is moved once for what comes, not once a line. */
static void drop_taken(struct kube_frames *frames)
{
    size_t left = buf_len(&frames->bytes) - frames->at;
    struct buf rest = {.max = frames->bytes.max};

    if (frames->at == 0) {
        return;
    }
    if (left > 0) {
        buf_add(&rest, frames->bytes.data + frames->at, left);
    }
    buf_done(&frames->bytes);
    frames->bytes = rest;
    frames->at = 0;
}

int kube_frames_add(struct kube_frames *frames, const void *data, size_t len)
{
    drop_taken(frames);
    buf_add(&frames->bytes, data, len);
    return buf_error(&frames->bytes);
}

static int type_of(const char *text, enum kube_frame_type *ret)
{
    static const char *const types[] = {[KUBE_FRAME_ADDED] = "ADDED",
                                        [KUBE_FRAME_MODIFIED] = "MODIFIED",
                                        [KUBE_FRAME_DELETED] = "DELETED",
                                        [KUBE_FRAME_BOOKMARK] = "BOOKMARK",
                                        [KUBE_FRAME_ERROR] = "ERROR"};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(types[i], text) == 0) {
            *ret = (enum kube_frame_type)i;
            return 0;
        }
    }
    return -EBADMSG;
}

static int parse(const char *text, size_t len, struct kube_frame *ret)
{
    struct kube_frame frame = {.whole = cJSON_ParseWithLength(text, len)};
    const cJSON *code;
    int r = type_of(kube_text(frame.whole, "type"), &frame.type);

    frame.object = cJSON_GetObjectItemCaseSensitive(frame.whole, "object");
    frame.version = kube_text(frame.object, "metadata.resourceVersion");
    if (!cJSON_IsObject(frame.object) || strlen(frame.version) >= KUBE_VERSION_MAX) {
        r = -EBADMSG;
    }
    if (r == 0 && frame.type == KUBE_FRAME_ERROR) {
        code = cJSON_GetObjectItemCaseSensitive(frame.object, "code");
        frame.code = cJSON_IsNumber(code) && code->valuedouble >= 1 && code->valuedouble < 1000
                         ? (int)code->valuedouble
                         : 500;
        frame.version = "";
    } else if (r == 0 && frame.version[0] == '\0') {
        r = -EBADMSG; /* nothing could go on from it */
    }
    if (r < 0) {
        cJSON_Delete(frame.whole);
        return r;
    }
    *ret = frame;
    return 1;
}

int kube_frames_next(struct kube_frames *frames, struct kube_frame *ret)
{
    for (;;) {
        size_t left = buf_len(&frames->bytes) - frames->at;
        const char *start = buf_str(&frames->bytes) + frames->at;
        const char *end = left > 0 ? memchr(start, '\n', left) : NULL;
        size_t len;

        if (end == NULL) {
            return 0;
        }
        len = (size_t)(end - start);
        frames->at += len + 1;
        if (len > 0 && start[len - 1] == '\r') {
            len--;
        }
        if (len > 0) {
            return parse(start, len, ret);
        }
    }
}

void kube_frame_done(struct kube_frame *frame)
{
    cJSON_Delete(frame->whole);
    frame->whole = NULL;
}
