/* SPDX-License-Identifier: Apache-2.0 */
/*
 * counters.h - what nginx's workers count and the launcher shows: one file, mapped by all of them.
 *
 * The launcher makes it anew with counters_create(); a worker maps it with counters_open(), and
 * both go on when it is not there. All functions but those two take NULL, and may be called by any
 * thread of any of the processes. Errors: -EINVAL (another layout), or of open(2) and mmap(2).
 */
#ifndef S3PROXY_COUNTERS_H
#define S3PROXY_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "s3proxy/limits.h"
#include "util/metrics.h"

struct counters;

/* One request that has ended. */
struct counters_request {
    int operation;           /* enum objstore_op; negative: refused before one was chosen */
    int status;              /* HTTP; 0: the client went away before a reply */
    uint64_t us;             /* from its head to its end */
    uint64_t store_us;       /* of it, from the end of its body to the reply's head */
    uint64_t received, sent; /* bytes on the wire, heads included */
    bool at_once;            /* answered by the event loop itself */
};

/* "none" for what is no operation. */
const char *counters_operation(int operation);
int counters_create(const char *path, struct counters **ret) __attribute__((warn_unused_result));
int counters_open(const char *path, struct counters **ret) __attribute__((warn_unused_result));
void counters_close(struct counters *counters);
void counters_count(struct counters *counters, const struct counters_request *request);

/* Show them, and what `limits` counts (NULL: nothing), as s3_* from now on: both must outlive
 * `metrics`. One thread writes at a time. */
int counters_show(struct counters *counters, const struct limits *limits, struct metrics *metrics)
    __attribute__((warn_unused_result));

#endif
