/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for a lock: one thread for all of them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/managed/locks_internal.h"

static void wake(struct locks *l) REQUIRES(&l->lock)
{
    l->woken = true;
    if (l->poll != NULL) {
        rpc_cancel_now(l->poll);
    }
    cond_broadcast(&l->changed);
}

/* From the watch: the request has been answered EINTR or EIO. */
static void cancel_wait(void *context)
{
    struct waiter *waiter = context;
    struct locks *l = waiter->op->fs->locks;

    mutex_lock(&l->lock);
    waiter->cancelled = true;
    wake(l);
    mutex_unlock(&l->lock);
}

static void waiter_done_run(struct op *op)
{
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): it is the one we sent */
    struct waiter *waiter = (void *)(uintptr_t)op->data;
    struct locks *l = op->fs->locks;

    if (waiter->result != 0) {
        (void)!locks_give_up(l, &waiter->wish, waiter->key, true);
    }
    locks_end(l, op, &waiter->wish, waiter->key, waiter->result);
    free(waiter);
}

/* Not in the list any more. */
static void end_wait(struct waiter *waiter, int result)
{
    struct op *op = waiter->op;

    waiter->result = result;
    op->data = waiter;
    fs_op_start(op, waiter_done_run);
}

/* Try for one. True: it waits on. */
static bool try_again(struct locks *l, struct waiter *waiter, bool cancelled, uint64_t *position)
{
    Skyvol__Meta__V1__AcquireLeaseResponse *answer = NULL;
    int r = -EINTR;

    if (!cancelled) {
        r = locks_acquire(l, &waiter->wish, waiter->key, LOCKS_WAIT, &answer);
    }
    if (r == -EAGAIN) {
        if (answer->position < *position) {
            *position = answer->position;
        }
        rpc_message_free(answer);
        (void)pending_set_deadline(waiter->op->pending, DEADLINE_MS);
        return true;
    }
    rpc_message_free(answer);
    end_wait(waiter, r);
    return false;
}

/* Until something is given up, somebody is interrupted, or some seconds are over. */
static void poll_metaserver(struct locks *l, uint64_t position)
{
    Skyvol__Meta__V1__WaitLeasesRequest in = SKYVOL__META__V1__WAIT_LEASES_REQUEST__INIT;
    struct rpc_cancel *cancel = NULL;
    struct managed_session session;
    ProtobufCMessage *reply = NULL;
    int r = rpc_cancel_new(&cancel);

    mutex_lock(&l->lock);
    if (r != 0 || l->woken) {
        r = -ECANCELED;
    } else {
        l->poll = cancel;
    }
    mutex_unlock(&l->lock);
    r = r == 0 ? managed_session(l->fs->managed, 0, &session) : r;
    if (r == 0) {
        in.session_id = session.id;
        in.epoch = session.epoch;
        in.position = position;
        in.wait_ms = POLL_MS < session.lease_ms / 2 ? POLL_MS : session.lease_ms / 2;
        r = managed_call(l->fs->managed,
                         &(struct managed_request){.service = &skyvol__meta__v1__leases__descriptor,
                                                   .method = "WaitLeases",
                                                   .message = &in.base,
                                                   .timeout_ms = POLL_MS + CALL_MS,
                                                   .cancel = cancel},
                         &reply, NULL);
    }
    rpc_message_free(reply);
    mutex_lock(&l->lock);
    l->poll = NULL;
    if (r != 0 && !l->woken) {
        cond_wait_ms(&l->changed, &l->lock, AGAIN_MS);
    }
    mutex_unlock(&l->lock);
    rpc_cancel_free(cancel);
}

/* One round: each waiter is taken out, tried, and put back at the end if it waits on. */
static void try_all(struct locks *l, uint64_t *position) REQUIRES(&l->lock)
{
    struct waiters tried = TAILQ_HEAD_INITIALIZER(tried);
    struct waiter *waiter;

    while (!l->quit && (waiter = TAILQ_FIRST(&l->waiting)) != NULL) {
        bool cancelled = waiter->cancelled;
        bool waits;

        TAILQ_REMOVE(&l->waiting, waiter, link);
        mutex_unlock(&l->lock);
        waits = try_again(l, waiter, cancelled, position);
        mutex_lock(&l->lock);
        if (waits) {
            TAILQ_INSERT_TAIL(&tried, waiter, link);
        }
    }
    TAILQ_CONCAT(&l->waiting, &tried, link);
}

LOCK_UNCHECKED
static void *wait_main(void *arg)
{
    struct locks *l = arg;

    (void)pthread_setname_np(pthread_self(), "locks");
    mutex_lock(&l->lock);
    while (!l->quit) {
        uint64_t position = UINT64_MAX;

        if (TAILQ_EMPTY(&l->waiting)) {
            cond_wait(&l->changed, &l->lock);
            continue;
        }
        l->woken = false;
        try_all(l, &position);
        if (!TAILQ_EMPTY(&l->waiting) && !l->woken) {
            mutex_unlock(&l->lock);
            poll_metaserver(l, position);
            mutex_lock(&l->lock);
        }
    }
    mutex_unlock(&l->lock);
    return NULL;
}

int locks_wait_for(struct locks *l, struct op *op, const struct wish *w, const char *key)
{
    struct waiter *waiter = calloc(1, sizeof(*waiter));
    int r = waiter == NULL ? -ENOMEM : 0;

    if (r != 0) {
        return r;
    }
    waiter->op = op;
    waiter->wish = *w;
    (void)snprintf(waiter->key, sizeof(waiter->key), "%s", key);
    mutex_lock(&l->lock);
    if (!l->started && !l->quit) {
        r = -pthread_create(&l->thread, NULL, wait_main, l);
        l->started = r == 0;
    }
    r = l->quit ? -EINTR : r;
    mutex_unlock(&l->lock);
    if (r != 0) {
        free(waiter);
        return r;
    }
    (void)pending_set_deadline(op->pending, DEADLINE_MS);
    pending_interruptible_any(op->pending, cancel_wait, waiter);
    mutex_lock(&l->lock);
    TAILQ_INSERT_TAIL(&l->waiting, waiter, link);
    wake(l);
    mutex_unlock(&l->lock);
    return 0;
}

LOCK_UNCHECKED
void locks_stop(struct locks *l)
{
    if (l == NULL) {
        return;
    }
    mutex_lock(&l->lock);
    l->quit = true;
    wake(l);
    mutex_unlock(&l->lock);
    if (l->started) {
        (void)pthread_join(l->thread, NULL);
    }
    while (!TAILQ_EMPTY(&l->waiting)) {
        struct waiter *waiter = TAILQ_FIRST(&l->waiting);

        TAILQ_REMOVE(&l->waiting, waiter, link);
        (void)fs_op_fail(waiter->op, -EINTR);
        free(waiter);
    }
}
