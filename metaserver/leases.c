/* SPDX-License-Identifier: Apache-2.0 */
/* Leases: locks of files, of one session against all others of the volume. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metaserver/meta.h"
#include "objstore/objstore.h"
#include "util/clock.h"

enum { WAIT_MAX_MS = 30000, WAIT_STEP_MS = 1000 };

static int lock_kind(Skyvol__Meta__V1__LeaseKind kind, struct live_lock *ret)
{
    switch (kind) {
    case SKYVOL__META__V1__LEASE_KIND__LEASE_LOCK_SHARED:
    case SKYVOL__META__V1__LEASE_KIND__LEASE_LOCK_EXCLUSIVE:
        ret->family = LIVE_POSIX;
        ret->exclusive = kind == SKYVOL__META__V1__LEASE_KIND__LEASE_LOCK_EXCLUSIVE;
        return 0;
    case SKYVOL__META__V1__LEASE_KIND__LEASE_FLOCK_SHARED:
    case SKYVOL__META__V1__LEASE_KIND__LEASE_FLOCK_EXCLUSIVE:
        ret->family = LIVE_FLOCK;
        ret->exclusive = kind == SKYVOL__META__V1__LEASE_KIND__LEASE_FLOCK_EXCLUSIVE;
        return 0;
    case SKYVOL__META__V1__LEASE_KIND__LEASE_READ:
    case SKYVOL__META__V1__LEASE_KIND__LEASE_WRITE:
        return -ENOTSUP;
    default:
        return -EINVAL;
    }
}

static Skyvol__Meta__V1__LeaseKind kind_of(const struct live_lock *lock)
{
    if (lock->family == LIVE_FLOCK) {
        return lock->exclusive ? SKYVOL__META__V1__LEASE_KIND__LEASE_FLOCK_EXCLUSIVE
                               : SKYVOL__META__V1__LEASE_KIND__LEASE_FLOCK_SHARED;
    }
    return lock->exclusive ? SKYVOL__META__V1__LEASE_KIND__LEASE_LOCK_EXCLUSIVE
                           : SKYVOL__META__V1__LEASE_KIND__LEASE_LOCK_SHARED;
}

static int make_range(const char *key, Skyvol__Meta__V1__LeaseKind kind, uint64_t offset,
                      uint64_t len, struct live_lock *ret, struct error *err)
{
    int r = lock_kind(kind, ret);

    if (r != 0) {
        return error_set(err, r, r == -ENOTSUP ? "this server has no such lease" : "no such kind");
    }
    if (key[0] == '\0' || strlen(key) > OBJSTORE_KEY_MAX) {
        return error_set(err, -EINVAL, "a lock needs a key of 1 to %d bytes", OBJSTORE_KEY_MAX);
    }
    if (offset > INT64_MAX || len > INT64_MAX || (len > 0 && offset + len - 1 > INT64_MAX)) {
        return error_set(err, -EINVAL, "the range goes beyond the largest file");
    }
    ret->key = key;
    ret->start = offset;
    ret->end = len == 0 ? INT64_MAX : offset + len - 1;
    return 0;
}

static int tell_conflict(struct rpc_call *call, const struct live_answer *c,
                         Skyvol__Meta__V1__AcquireLeaseResponse *out)
{
    Skyvol__Meta__V1__LeaseConflict *m =
        rpc_call_message(call, &skyvol__meta__v1__lease_conflict__descriptor);

    if (m == NULL) {
        return -ENOMEM;
    }
    m->kind = kind_of(&c->lock);
    m->offset = c->lock.start;
    m->len = c->lock.end == INT64_MAX ? 0 : c->lock.end - c->lock.start + 1;
    m->pid = c->same_session ? c->lock.pid : 0;
    m->node = rpc_call_strdup(call, c->node);
    out->conflict = m;
    return m->node != NULL ? 0 : -ENOMEM;
}

/* Until it is granted, or the caller does not wait any longer. */
static int lock_waiting(struct rpc_call *call, const struct live_session *session,
                        const struct live_lock *lock,
                        const Skyvol__Meta__V1__AcquireLeaseRequest *in,
                        Skyvol__Meta__V1__AcquireLeaseResponse *out)
{
    struct meta *meta = rpc_call_context(call);
    enum live_lock_how how = in->test_only                      ? LIVE_LOCK_TEST
                             : in->wait_ms > 0 || in->will_wait ? LIVE_LOCK_WAIT
                                                                : LIVE_LOCK_TRY;
    uint64_t wait = in->wait_ms < WAIT_MAX_MS ? in->wait_ms : WAIT_MAX_MS;
    uint64_t until = clock_monotonic_ms(clock_real()) + wait;
    struct live_answer answer;
    int r;

    for (;;) {
        uint64_t now;

        out->position = live_position(meta->live);
        r = live_lock(meta->live, session, lock, how, rpc_call_arena(call), &answer);
        now = clock_monotonic_ms(clock_real());
        if (r != -EAGAIN || in->test_only || now >= until || rpc_call_cancelled(call) ||
            rpc_call_draining(call)) {
            break;
        }
        (void)live_wait(meta->live, out->position,
                        until - now < WAIT_STEP_MS ? until - now : WAIT_STEP_MS);
    }
    out->granted = r == 0;
    if (r == 0 && !in->test_only) {
        out->lease_id = rpc_call_printf(call, "%lld", (long long)answer.id);
        r = out->lease_id == NULL ? -ENOMEM : 0;
        if (rpc_call_cancelled(call)) { /* nobody hears of it */
            (void)!live_unlock(meta->live, session, lock);
        }
    }
    if (r == -EAGAIN && !in->will_wait && !in->test_only && in->wait_ms > 0) {
        /* The caller has stopped waiting, as far as we know. */
        (void)!live_stop_waiting(meta->live, session, lock);
    }
    return r == -EAGAIN ? tell_conflict(call, &answer, out) : r;
}

static int acquire(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                   struct error *err)
{
    const Skyvol__Meta__V1__AcquireLeaseRequest *in = (const void *)request;
    Skyvol__Meta__V1__AcquireLeaseResponse *out = (void *)reply;
    struct live_lock lock = {.owner = in->owner, .pid = in->pid};
    struct live_session session;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    r = r == 0 ? make_range(in->key, in->kind, in->offset, in->len, &lock, err) : r;
    r = r == 0 ? lock_waiting(call, &session, &lock, in, out) : r;
    out->lease_ms = r == 0 ? session.left_ms : 0;
    if (r == -EDEADLK) {
        return rpc_call_fail(call, RPC_FAILED_PRECONDITION,
                             "waiting for it would be a deadlock: its holder waits for us");
    }
    if (r == -ENOLCK) {
        return rpc_call_fail(call, RPC_RESOURCE_EXHAUSTED, "a session has at most %d locks",
                             LIVE_LOCKS_MAX);
    }
    return r;
}

static int release(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                   struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__ReleaseLeaseRequest *in = (const void *)request;
    struct live_lock range = {.owner = in->owner};
    struct live_session session;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    (void)reply;
    if (r != 0) {
        return r;
    }
    if (in->lease_id[0] != '\0') {
        char *end;
        long long id = strtoll(in->lease_id, &end, 10);

        return *end != '\0' ? error_set(err, -EINVAL, "that is no lease")
                            : live_unlock_id(meta->live, &session, id);
    }
    r = make_range(in->key, in->kind, in->offset, in->len, &range, err);
    if (r != 0) {
        return r;
    }
    return in->only_waiting ? live_stop_waiting(meta->live, &session, &range)
                            : live_unlock(meta->live, &session, &range);
}

static int wait_leases(struct rpc_call *call, const ProtobufCMessage *request,
                       ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__WaitLeasesRequest *in = (const void *)request;
    Skyvol__Meta__V1__WaitLeasesResponse *out = (void *)reply;
    uint64_t wait = in->wait_ms < WAIT_MAX_MS ? in->wait_ms : WAIT_MAX_MS;
    uint64_t until = clock_monotonic_ms(clock_real()) + wait;
    struct live_session session;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    out->position = r == 0 ? live_position(meta->live) : 0;
    while (r == 0 && out->position == in->position && !rpc_call_cancelled(call) &&
           !rpc_call_draining(call)) {
        uint64_t now = clock_monotonic_ms(clock_real());

        if (now >= until) {
            break;
        }
        out->position = live_wait(meta->live, in->position,
                                  until - now < WAIT_STEP_MS ? until - now : WAIT_STEP_MS);
    }
    return r;
}

static int report_usage(struct rpc_call *call, const ProtobufCMessage *request,
                        ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__ReportUsageRequest *in = (const void *)request;
    Skyvol__Meta__V1__ReportUsageResponse *out = (void *)reply;
    const struct live_usage own = {in->grown_bytes, in->unpublished_bytes, in->instance};
    struct live_session session;
    struct live_usage others;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    r = r == 0 ? live_usage(meta->live, &session, &own, &others) : r;
    if (r == 0) {
        out->others_grown_bytes = others.grown;
        out->others_unpublished_bytes = others.unpublished;
    }
    return r;
}

const struct rpc_method meta_lease_methods[4] = {
    {.name = "AcquireLease", .unary = acquire, .quiet = true, .pool = "lock"},
    {.name = "ReleaseLease", .unary = release, .quiet = true},
    {.name = "ReportUsage", .unary = report_usage, .quiet = true},
    {.name = "WaitLeases", .unary = wait_leases, .quiet = true, .pool = "wait"},
};
