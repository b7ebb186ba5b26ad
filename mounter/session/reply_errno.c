/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/session/reply_errno.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdbool.h>

/* Of these requests EBUSY is said of names; of all others it would be the store that is busy. */
static bool busy_is_said_of_names(uint32_t opcode)
{
    return opcode == FUSE_RMDIR || opcode == FUSE_UNLINK || opcode == FUSE_RENAME ||
           opcode == FUSE_RENAME2;
}

int reply_errno(int errnum, uint32_t opcode)
{
    switch (errnum) {
    case EBUSY:
        return busy_is_said_of_names(opcode) ? EBUSY : EIO;
    case EKEYEXPIRED:
        return EACCES;
    case EBADMSG:
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTUNREACH:
    case EPIPE:
    case EPROTO:
    case ETIMEDOUT:
        return EIO;
    default:
        return errnum;
    }
}
