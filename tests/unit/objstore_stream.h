/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objstore_stream.h - a source and a sink of bytes that pause at every step.
 *
 * `stall` never goes on after the first pause. stream_run() submits the request, resumes (or
 * cancels) it at each pause, and returns its status.
 */
#ifndef TESTS_UNIT_OBJSTORE_STREAM_H
#define TESTS_UNIT_OBJSTORE_STREAM_H

#include "objstore/objstore.h"
#include "util/buf.h"
#include "util/mutex.h"

struct stream {
    struct objstore_request request;
    struct mutex lock;
    struct cond changed;
    size_t sent, size;
    bool paused, ended, stall;
    int status;
    struct buf body;
};

ssize_t stream_read(struct objstore_request *r, void *buffer, size_t cap);
int stream_write(struct objstore_request *r, const void *data, size_t len);
int stream_run(struct objstore *one, struct stream *s, bool cancel);

#endif
