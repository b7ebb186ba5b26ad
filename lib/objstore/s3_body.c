/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies that go out. A source in memory is handed to the HTTP client as it is; one that is read
 * goes through here, either byte for byte or, when its chunks carry signatures or a trailer does a
 * checksum, in blocks of S3_CHUNK bytes, with their framing put around them where they are. A block
 * is there from the first byte that is sent on: a request that waits for a connection needs none.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/s3_private.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/container.h"

/* In a block, before the bytes of the source and behind them. */
enum { FRAME_MAX = 512, FRAME_END = 2 };

static struct s3_call *call_of(struct http_request *http)
{
    return container_of(http, struct s3_call, http);
}

int s3_body_prepare(struct s3_call *call, const struct s3_chunk_chain *chain,
                    enum s3_payload payload, enum s3_checksum_kind kind)
{
    struct s3_chunk_stage *stage = &call->stage;
    int error;

    s3_body_done(call);
    error = s3_chunk_encoder_init(&stage->encoder, payload, chain, kind);
    if (error < 0) {
        return error;
    }
    stage->active = true;
    stage->source_left = call->request->source.size;
    return 0;
}

void s3_body_done(struct s3_call *call)
{
    struct s3_chunk_stage *stage = &call->stage;

    if (stage->active) {
        s3_chunk_encoder_done(&stage->encoder);
    }
    free(stage->block);
    *stage = (struct s3_chunk_stage){.active = false};
}

static ssize_t read_source(struct s3_call *call, void *buffer, size_t cap)
{
    struct objstore_request *request = call->request;

    if (request->source.data != NULL) {
        uint64_t at = request->source.size - call->stage.source_left;
        size_t n = cap < call->stage.source_left ? cap : (size_t)call->stage.source_left;

        memcpy(buffer, (const char *)request->source.data + at, n);
        return (ssize_t)n;
    }
    return request->source.read(request, buffer, cap);
}

/* Read until the block is full or the source has given all it promised. 0, -EAGAIN or an error. */
static int fill_block(struct s3_call *call)
{
    struct s3_chunk_stage *stage = &call->stage;

    while (stage->block_len < S3_CHUNK && stage->source_left > 0) {
        size_t room = S3_CHUNK - stage->block_len;
        size_t cap = room < stage->source_left ? room : (size_t)stage->source_left;
        ssize_t n = read_source(call, stage->block + FRAME_MAX + stage->block_len, cap);

        if (n <= 0) {
            return n < 0 ? (int)n : -EBADMSG;
        }
        stage->block_len += (size_t)n;
        stage->source_left -= (uint64_t)n;
    }
    if (stage->source_left == 0 && call->request->source.data == NULL &&
        call->request->source.read != NULL) {
        char byte;
        ssize_t n = stage->source_ended ? 0 : call->request->source.read(call->request, &byte, 1);

        if (n != 0) {
            return n < 0 ? (int)n : -EBADMSG; /* more than promised */
        }
        stage->source_ended = true;
    }
    return 0;
}

static int encode_block(struct s3_call *call)
{
    CLEANUP(buf_done) struct buf frame = BUF_INIT(4096);
    struct s3_chunk_stage *stage = &call->stage;
    size_t len, end = FRAME_MAX;
    int error;

    if (stage->block == NULL) {
        stage->block = malloc(FRAME_MAX + S3_CHUNK + FRAME_END);
    }
    error = stage->block != NULL ? fill_block(call) : -ENOMEM;
    if (error < 0) {
        return error;
    }
    if (stage->block_len > 0) {
        end += stage->block_len;
        error =
            s3_chunk_encode(&stage->encoder, stage->block + FRAME_MAX, stage->block_len, &frame);
        memcpy(stage->block + end, "\r\n", FRAME_END);
        end += FRAME_END;
        stage->block_len = 0;
    } else {
        error = s3_chunk_encode_end(&stage->encoder, &frame);
        stage->ended = true;
    }
    len = buf_len(&frame);
    if (error < 0 || len > FRAME_MAX) {
        return error < 0 ? error : -EMSGSIZE;
    }
    memcpy(stage->block + FRAME_MAX - len, buf_str(&frame), len);
    stage->out_at = FRAME_MAX - len;
    stage->out_end = end;
    return 0;
}

ssize_t s3_body_read(struct http_request *http, void *buffer, size_t cap)
{
    struct s3_call *call = call_of(http);
    struct s3_chunk_stage *stage = &call->stage;
    size_t left;

    if (!stage->active) {
        return call->request->source.read(call->request, buffer, cap);
    }
    if (stage->out_at == stage->out_end) {
        int error = stage->ended ? 0 : encode_block(call);

        if (error < 0 || stage->out_at == stage->out_end) {
            return error;
        }
    }
    left = stage->out_end - stage->out_at;
    left = left < cap ? left : cap;
    memcpy(buffer, stage->block + stage->out_at, left);
    stage->out_at += left;
    return (ssize_t)left;
}

/*
 * A signed stream cannot start over: its chain has moved on and only building the request anew
 * gives another. So only what is sent byte for byte does; the rest is a failure that is tried again
 * from the outside.
 */
int s3_body_rewind(struct http_request *http)
{
    struct s3_call *call = call_of(http);
    struct objstore_request *request = call->request;

    if (call->stage.active || request->source.rewind == NULL) {
        return -ECONNRESET;
    }
    return request->source.rewind(request);
}
