/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volume.h - an open volume: the one door to its objects, for the mounter and the S3 endpoint.
 *
 * A volume is a bucket, or a prefix in one, in a store; later also its copies in other regions.
 * Requests are those of objstore.h with the logical key: `bucket` is ignored (source_bucket too:
 * a copy stays inside the volume), `key` and listings are relative to the volume's prefix.
 *
 *     struct volume_config config = {.store = store, .bucket = "b", .prefix = "vol1/"};
 *     struct volume *volume;
 *     int ret = volume_new(&config, &volume, &err);
 *     volume_submit(volume, &request);
 *
 * What lies under ".skyvol/" at the root of the volume is Skyvol's own: listings leave it out,
 * reads answer -ENOENT and writes -EACCES, unless the request came by volume_submit_internal().
 * A read-only volume answers every write with -EROFS. Contract and errors of requests, callbacks
 * and threads are those of objstore.h.
 */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "objstore/objstore.h"
#include "util/error.h"

#define VOLUME_RESERVED ".skyvol/"
#define VOLUME_LINKS VOLUME_RESERVED "links/" /* files with several names */

struct volume;

struct volume_config {
    struct objstore *store; /* becomes the volume's, also when volume_new() fails */
    const char *bucket;     /* copied */
    const char *prefix;     /* "" or ends in '/'; copied */
    bool read_only;
};

/* -EINVAL: bad bucket or prefix, told in err. Does not touch the store. */
int volume_new(const struct volume_config *config, struct volume **ret, struct error *err)
    __attribute__((warn_unused_result));

/* From now on keys under VOLUME_LINKS are read and written as others are; listings do not show
 * them. Before the first request. */
void volume_open_links(struct volume *volume);

/* Cancels what runs and waits for it. NULL is allowed. */
void volume_free(struct volume *volume);

void volume_submit(struct volume *volume, struct objstore_request *request);
void volume_submit_internal(struct volume *volume, struct objstore_request *request);
void volume_cancel(struct volume *volume, struct objstore_request *request);
void volume_resume(struct volume *volume, struct objstore_request *request);

/* The same, waiting for the answer (see objstore_call.h). */
struct objstore_answer;
int volume_call(struct volume *volume, struct objstore_request *request,
                struct objstore_answer *ret);
int volume_call_many(struct volume *volume, struct objstore_request *requests,
                     struct objstore_answer *answers, size_t count);
int volume_call_internal(struct volume *volume, struct objstore_request *request,
                         struct objstore_answer *ret);
int volume_call_many_internal(struct volume *volume, struct objstore_request *requests,
                              struct objstore_answer *answers, size_t count);

/*
 * Find out what the bucket can do and keep it. Blocks. Probing writes and removes one object under
 * ".skyvol/probe/"; on a read-only volume nothing is written and the careful answer is assumed.
 */
int volume_probe(struct volume *volume, struct error *err) __attribute__((warn_unused_result));
const struct objstore_caps *volume_caps(const struct volume *volume);
/* What volume_probe() has found out before, for a volume that was opened again. */
void volume_set_caps(struct volume *volume, const struct objstore_caps *caps);

const char *volume_bucket(const struct volume *volume);
const char *volume_prefix(const struct volume *volume);

#endif
