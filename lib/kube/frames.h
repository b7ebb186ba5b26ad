/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frames.h - what a watch sends: JSON objects, one a line, cut anywhere by the transport.
 *
 *     r = kube_frames_add(&frames, data, len);
 *     while ((r = kube_frames_next(&frames, &event)) == 1) {
 *         ... event.type, event.object, event.version ...
 *         kube_frame_done(&event);
 *     }
 *
 * No I/O. One thread.
 */
#ifndef KUBE_FRAMES_H
#define KUBE_FRAMES_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "util/buf.h"

enum { KUBE_FRAME_MAX = 8 << 20 };

struct kube_frames {
    struct buf bytes;
    size_t at; /* what was taken */
};

#define KUBE_FRAMES_INIT                                                                           \
    {                                                                                              \
        .bytes = BUF_INIT(KUBE_FRAME_MAX)                                                          \
    }

enum kube_frame_type {
    KUBE_FRAME_ADDED,
    KUBE_FRAME_MODIFIED,
    KUBE_FRAME_DELETED,
    KUBE_FRAME_BOOKMARK,
    KUBE_FRAME_ERROR
};

struct kube_frame {
    enum kube_frame_type type;
    cJSON *whole;        /* owner of all */
    const cJSON *object; /* never NULL */
    const char *version; /* its resourceVersion; "" of an error */
    int code;            /* of an error: as HTTP has it, such as 410; else 0 */
};

void kube_frames_done(struct kube_frames *frames);
/* -EFBIG: an object beyond KUBE_FRAME_MAX; -ENOMEM. */
int kube_frames_add(struct kube_frames *frames, const void *data, size_t len)
    __attribute__((warn_unused_result));
/* 1 with *ret to be freed; 0: no whole line is there; -EBADMSG: a line that is no event. */
int kube_frames_next(struct kube_frames *frames, struct kube_frame *ret)
    __attribute__((warn_unused_result));
void kube_frame_done(struct kube_frame *frame);

#endif
