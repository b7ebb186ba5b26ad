/* SPDX-License-Identifier: Apache-2.0 */
/* What a call may take: its key's limits and its share of all that goes on. */
#include <time.h>

#include "s3proxy/call.h"

#define SECOND_NS UINT64_C(1000000000)

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

uint64_t call_now_us(void)
{
    return now_ns() / 1000;
}

uint64_t call_store_us(const struct call *call)
{
    return call->asked_us != 0 ? call_now_us() - call->asked_us : 0;
}

int call_admit(struct call *call, const struct credential *key, struct s3_fault *fault)
{
    static const char *const texts[LIMITS_REASONS] = {
        [LIMITS_RATE] = "Please reduce the request rate of this access key.",
        [LIMITS_CONCURRENT] = "This access key has too many requests under way.",
        [LIMITS_SHARE] = "This access key has its share of all that may be under way.",
        [LIMITS_FULL] = "Too much is under way.",
    };
    struct limits_bounds bounds = call->server->bounds;
    const char *name = key == NULL ? "" : key->access_key != NULL ? key->access_key : "*";
    enum limits_reason why;

    call->known = key != NULL;
    call_leave(call);
    if (key == NULL) {
        bounds.key = (struct key_limits){0};
    } else {
        bounds.key = key->limits;
        key_limits_complete(&bounds.key, &call->server->bounds.key);
    }
    why = limits_enter(call->server->limits, name, &bounds, now_ns(), &call->ticket);
    if (why == LIMITS_NONE) {
        return 0;
    }
    limits_count(call->server->limits, why);
    call->retry_s = (unsigned)((call->ticket.wait_ns + SECOND_NS - 1) / SECOND_NS);
    return s3_fault_set(fault, S3_SLOW_DOWN, "%s", texts[why]);
}

void call_leave(struct call *call)
{
    limits_leave(call->server->limits, &call->ticket);
}

uint64_t call_charge(struct call *call, enum limits_way way, uint64_t bytes)
{
    if (call->ticket.rate[way] == 0) {
        return 0;
    }
    return (limits_charge(call->server->limits, &call->ticket, way, bytes, now_ns()) + 999999) /
           1000000;
}
