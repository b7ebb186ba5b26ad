/* SPDX-License-Identifier: Apache-2.0 */
/* OPENs that the kernel repeats: see reopen.h. */
#include "mounter/write/reopen.h"

enum { RETURNS_MS = 5000 }; /* who was sent back does it at once, or never */

static struct reopen *place(struct reopen table[REOPENS], uint32_t thread)
{
    return &table[thread % REOPENS];
}

static bool is_out(const struct reopen *one, uint64_t now_ms)
{
    return one->sent_ms != 0 && now_ms < one->sent_ms + RETURNS_MS;
}

bool reopen_send(struct reopen table[REOPENS], uint64_t since, uint32_t thread, uint64_t now_ms)
{
    struct reopen *one = place(table, thread);

    if (is_out(one, now_ms) && (one->thread != thread || thread == 0)) {
        return false;
    }
    *one = (struct reopen){.sent_ms = now_ms, .since = since, .thread = thread};
    return true;
}

uint64_t reopen_out(const struct reopen table[REOPENS], uint32_t thread, uint64_t now_ms)
{
    const struct reopen *one = &table[thread % REOPENS];

    return is_out(one, now_ms) && one->thread == thread ? one->since : 0;
}

bool reopen_take(struct reopen table[REOPENS], uint32_t thread, uint64_t now_ms,
                 uint64_t *ret_since)
{
    struct reopen *one = place(table, thread);

    if (!is_out(one, now_ms) || one->thread != thread) {
        return false;
    }
    *ret_since = one->since;
    one->sent_ms = 0;
    return true;
}
