/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/session/eio.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "mounter/session/reply_errno.h"
#include "util/clock.h"
#include "util/log.h"

enum { LINES_A_SECOND = 10 };

static _Thread_local const char *given;
static _Atomic uint64_t second, lines, left_out, count;

static const char *name_of(uint32_t opcode, char *room, size_t size)
{
    switch (opcode) {
    case FUSE_LOOKUP:
        return "lookup";
    case FUSE_GETATTR:
        return "getattr";
    case FUSE_SETATTR:
        return "setattr";
    case FUSE_OPEN:
        return "open";
    case FUSE_READ:
        return "read";
    case FUSE_WRITE:
        return "write";
    case FUSE_FLUSH:
        return "flush";
    case FUSE_FSYNC:
        return "fsync";
    case FUSE_CREATE:
        return "create";
    case FUSE_UNLINK:
        return "unlink";
    case FUSE_RENAME:
    case FUSE_RENAME2:
        return "rename";
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
        return "readdir";
    default:
        (void)snprintf(room, size, "opcode %u", (unsigned)opcode);
        return room;
    }
}

int eio(const char *reason)
{
    given = reason;
    return -EIO;
}

void eio_note(const char *reason)
{
    given = reason;
}

void eio_forget(void)
{
    given = NULL;
}

uint64_t eio_count(void)
{
    return atomic_load(&count);
}

/* Two threads at the turn of a second may write a line too many. */
static bool may_log(void)
{
    uint64_t now = clock_monotonic_ms(clock_real()) / 1000;

    if (atomic_exchange(&second, now) != now) {
        atomic_store(&lines, 0);
    }
    if (atomic_fetch_add(&lines, 1) < LINES_A_SECOND) {
        return true;
    }
    atomic_fetch_add(&left_out, 1);
    return false;
}

void eio_log(uint32_t opcode, uint64_t ino, int errnum)
{
    const char *reason = given;
    char room[24];

    given = NULL;
    if (errnum == 0 || reply_errno(errnum, opcode) != EIO) {
        return;
    }
    atomic_fetch_add(&count, 1);
    if (may_log()) {
        uint64_t before = atomic_exchange(&left_out, 0);

        log_warn("answered with an input/output error", "request",
                 name_of(opcode, room, sizeof(room)), "inode", log_num(ino), "reason",
                 reason != NULL ? reason : "", "error", strerror(errnum), "left_out",
                 log_num(before), NULL);
    }
}
