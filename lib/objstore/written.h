/* SPDX-License-Identifier: Apache-2.0 */
/*
 * written.h - whether an object that was found is what a request wrote.
 *
 * For PUT, COPY and UPLOAD_COMPLETE whose answer was lost: a second try fails because of the first
 * (412, 404 NoSuchUpload), and what lies in the store tells which of the two it was.
 *
 * By ETag: of a PUT the MD5 of its bytes (its source is read once more, by rewind()), of a
 * completion "MD5 of the parts' MD5s-N", of a copy the source's if the request names it. Parts
 * whose ETags are no MD5s (SSE-KMS) leave only N to compare, and that the object is not the one of
 * before.
 */
#ifndef OBJSTORE_WRITTEN_H
#define OBJSTORE_WRITTEN_H

#include <stdbool.h>

#include "objstore/objstore.h"

/* False also when it cannot be told. Reads the source: between two sendings only. */
bool objstore_was_written(struct objstore_request *request, const char *found_etag);

#endif
