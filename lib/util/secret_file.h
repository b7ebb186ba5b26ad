/* SPDX-License-Identifier: Apache-2.0 */
/*
 * secret_file.h - a file with secrets in it, which is read only if nobody else can. No state.
 */
#ifndef UTIL_SECRET_FILE_H
#define UTIL_SECRET_FILE_H

#include "util/buf.h"
#include "util/error.h"

/* Append a file that only its owner may read; one of a mounted Secret (beside it, or beside its
 * directory, lies ..data) also its group. -EACCES: others may, and err says what to do; else what
 * open(2) and read(2) say, -EFBIG: more than *out may hold. */
int secret_file_read(const char *path, struct buf *out, struct error *err)
    __attribute__((warn_unused_result));

#endif
