/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/objstore_call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/result_copy.h"
#include "util/cleanup.h"
#include "util/mutex.h"

/* Lives on the caller's stack until `left` is 0; the lock orders the answers before the return. */
struct gate {
    struct mutex lock;
    struct cond changed;
    size_t left;
};

struct call {
    struct gate *gate;
    struct objstore_answer *answer;
    int copy_error;
    bool own_sink;
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
    struct gate *gate = call->gate;

    call->copy_error = objstore_result_copy(call->answer->memory, result, &call->answer->result);
    mutex_lock(&gate->lock);
    if (--gate->left == 0) {
        cond_signal(&gate->changed);
    }
    mutex_unlock(&gate->lock);
}

static int prepare(struct call *call, struct gate *gate, struct objstore_request *request,
                   struct objstore_answer *answer)
{
    *call = (struct call){.gate = gate, .answer = answer};
    objstore_answer_done(answer);
    answer->memory = calloc(1, sizeof(struct arena));
    if (answer->memory == NULL) {
        answer->result.status = -ENOMEM;
        return -ENOMEM;
    }
    answer->memory->max = OBJSTORE_RESULT_MEMORY_MAX;
    request->done = ended;
    request->arg = call;
    call->own_sink = request->op == OBJSTORE_GET && request->sink.write == NULL;
    if (call->own_sink) {
        request->sink.write = take_body;
    }
    return 0;
}

int objstore_call_many_by(objstore_submit_fn *submit, void *target,
                          struct objstore_request *requests, struct objstore_answer *answers,
                          size_t count)
{
    AUTOFREE struct call *calls = calloc(count, sizeof(*calls));
    struct gate gate = {.left = count};
    int ret = 0;

    if (calls == NULL) {
        return count > 0 ? -ENOMEM : 0;
    }
    for (size_t i = 0; i < count; i++) {
        ret = prepare(&calls[i], &gate, &requests[i], &answers[i]);
        if (ret != 0) {
            return ret;
        }
    }
    mutex_init(&gate.lock);
    cond_init(&gate.changed);
    for (size_t i = 0; i < count; i++) {
        submit(target, &requests[i]);
    }
    mutex_lock(&gate.lock);
    while (gate.left > 0) {
        cond_wait(&gate.changed, &gate.lock); /* every request has a deadline of its own */
    }
    mutex_unlock(&gate.lock);
    cond_done(&gate.changed);
    mutex_done(&gate.lock);
    for (size_t i = 0; i < count; i++) {
        if (calls[i].own_sink) {
            requests[i].sink.write = NULL;
        }
        if (calls[i].copy_error != 0) {
            answers[i].result.status = calls[i].copy_error;
        }
        ret = ret == 0 ? answers[i].result.status : ret;
    }
    return ret;
}

int objstore_call_by(objstore_submit_fn *submit, void *target, struct objstore_request *request,
                     struct objstore_answer *ret)
{
    return objstore_call_many_by(submit, target, request, ret, 1);
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
