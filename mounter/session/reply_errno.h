/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reply_errno.h - errors as programs on the mount see them. Those of networks and stores mean
 * nothing to a program that knows files: it gets EIO, or EACCES where keys have expired.
 */
#ifndef MOUNTER_REPLY_ERRNO_H
#define MOUNTER_REPLY_ERRNO_H

#include <stdint.h>

/* errnum and what is returned are positive, 0 stays 0; opcode is the kernel's (enum fuse_opcode).
 */
int reply_errno(int errnum, uint32_t opcode);

#endif
