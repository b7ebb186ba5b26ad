/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/objstore_call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/result_copy.h"
#include "util/cleanup.h"
#include "util/mutex.h"

/* Lives on the caller's stack until `ended`; the lock orders the answer before the return. */
struct call {
    struct objstore_answer *answer;
    struct mutex lock;
    struct cond changed;
    bool ended;
    int copy_error;
};

static int take_body(struct objstore_request *request, const void *data, size_t len)
{
    struct call *call = request->arg;

    buf_add(&call->answer->body, data, len);
    return buf_error(&call->answer->body);
}

static void ended(struct objstore_request *request, const struct objstore_result *result)
{
    struct call *call = request->arg;

    call->copy_error = objstore_result_copy(call->answer->memory, result, &call->answer->result);
    mutex_lock(&call->lock);
    call->ended = true;
    cond_signal(&call->changed);
    mutex_unlock(&call->lock);
}

int objstore_call_by(objstore_submit_fn *submit, void *target, struct objstore_request *request,
                     struct objstore_answer *ret)
{
    struct call call = {.answer = ret};

    objstore_answer_done(ret);
    ret->memory = calloc(1, sizeof(struct arena));
    if (ret->memory == NULL) {
        ret->result.status = -ENOMEM;
        return -ENOMEM;
    }
    ret->memory->max = OBJSTORE_RESULT_MEMORY_MAX;
    mutex_init(&call.lock);
    cond_init(&call.changed);
    request->done = ended;
    request->arg = &call;
    if (request->op == OBJSTORE_GET && request->sink.write == NULL) {
        request->sink.write = take_body;
    }
    submit(target, request);
    mutex_lock(&call.lock);
    while (!call.ended) {
        cond_wait(&call.changed, &call.lock); /* every request has a deadline of its own */
    }
    mutex_unlock(&call.lock);
    if (request->sink.write == take_body) {
        request->sink.write = NULL;
    }
    cond_done(&call.changed);
    mutex_done(&call.lock);
    if (call.copy_error != 0) {
        ret->result.status = call.copy_error;
    }
    return ret->result.status;
}

static void submit_to_store(void *target, struct objstore_request *request)
{
    objstore_submit(target, request);
}

int objstore_call(struct objstore *store, struct objstore_request *request,
                  struct objstore_answer *ret)
{
    return objstore_call_by(submit_to_store, store, request, ret);
}

void objstore_answer_done(struct objstore_answer *answer)
{
    size_t max = answer->body.max;

    buf_done(&answer->body);
    answer->body.max = max;
    if (answer->memory != NULL) {
        arena_done(answer->memory);
        free(answer->memory);
    }
    answer->memory = NULL;
    memset(&answer->result, 0, sizeof(answer->result));
}
