/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults.h - a store that fails when it is told to, so that every error path can be a test.
 *
 * Rules are separated by commas, each "OP:WHEN:WHAT":
 *
 *     OP    an operation's name ("get", "upload_part") or "*"
 *     WHEN  "3" the third such request, "3+" from the third on, "*" every one, "p=0.05" by chance
 *     WHAT  an errno name (EBUSY, EIO, ETIMEDOUT, ENOSPC, EACCES, ECONNRESET, EKEYEXPIRED): not
 * sent "lost" sent, and answered -ECONNRESET whatever came of it "delay=MS" sent after so long
 *           "cut=BYTES" a GET fails with -ECONNRESET after so many bytes
 *           "crash" the process ends, as by a defect
 *           "hang" not answered until cancelled or timed out
 *
 * Owns the inner store. Contract and errors otherwise: objstore.h.
 */
#ifndef OBJSTORE_FAULTS_H
#define OBJSTORE_FAULTS_H

#include "objstore/objstore.h"

/* `inner` becomes the new store's, also on failure. -EINVAL: a rule is not understood. */
int objstore_faults_new(struct objstore *inner, const char *rules, struct objstore **ret,
                        struct error *err) __attribute__((warn_unused_result));

#endif
