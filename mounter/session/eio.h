/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eio.h - no program is told EIO without a line in the log that says why; nor is one that reads an
 * open file told any other error, or one that writes it ESTALE, EACCES or ENOMEM.
 *
 * Where an operation decides that it has failed it returns `eio("...")`, also under a lock; the
 * thread that answers writes the line. A reason is this thread's and of one request: it is
 * forgotten when the next one begins, and with an answer that is no error.
 *
 * An error that a program sees as EIO and that nobody gave a reason for (the store did not answer,
 * a deadline) is logged by its own name.
 */
#ifndef MOUNTER_EIO_H
#define MOUNTER_EIO_H

#include <stdint.h>

/* -EIO. `reason` is static text. */
int eio(const char *reason) __attribute__((warn_unused_result));
/* The same, for an error that has another name here. */
void eio_note(const char *reason);
/* Of the same answer: the key, the ETag, what the store said, how long it took. No secrets. Cut at
 * 511 bytes. */
void eio_about(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A request begins in this thread. */
void eio_forget(void);
/*
 * The request is answered `errnum` (positive or 0, before reply_errno()). A line in the log if the
 * program sees EIO, or an error as above; not more than ten a second, and the next line tells how
 * many were left out. Not under a lock.
 */
void eio_log(uint32_t opcode, uint64_t ino, int errnum);
uint64_t eio_count(void); /* answers so far, those without a line, too */

#endif
