/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/session/eio.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "mounter/session/reply_errno.h"
#include "util/clock.h"
#include "util/log.h"

enum { LINES_A_SECOND = 10 };

static _Thread_local const char *given;
static _Thread_local char details[512];
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

void eio_about(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(details, sizeof(details), format, args);
    va_end(args);
}

void eio_forget(void)
{
    given = NULL;
    details[0] = '\0';
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

/* Of a file that is open. A program that reads is prepared for no error at all, whatever its name.
 */
static bool is_unexpected(uint32_t opcode, int errnum)
{
    switch (opcode) {
    case FUSE_READ:
        return errnum != EINTR;
    case FUSE_WRITE:
    case FUSE_FLUSH:
    case FUSE_FSYNC:
        return errnum == ESTALE || errnum == EACCES || errnum == EKEYEXPIRED || errnum == ENOMEM;
    default:
        return false;
    }
}

void eio_log(uint32_t opcode, uint64_t ino, int errnum)
{
    const char *reason = given;
    bool is_eio = errnum != 0 && reply_errno(errnum, opcode) == EIO;
    char room[24];

    given = NULL;
    if (is_eio) {
        atomic_fetch_add(&count, 1);
    }
    if ((is_eio || (errnum != 0 && is_unexpected(opcode, errnum))) && may_log()) {
        uint64_t before = atomic_exchange(&left_out, 0);

        log_warn(is_eio ? "answered with an input/output error" : "answered with an error",
                 "request", name_of(opcode, room, sizeof(room)), "inode", log_num(ino), "reason",
                 reason != NULL ? reason : "", "error", strerror(errnum), "about", details,
                 "left_out", log_num(before), NULL);
    }
    details[0] = '\0';
}
