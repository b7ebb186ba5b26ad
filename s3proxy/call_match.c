/* SPDX-License-Identifier: Apache-2.0 */
/* DELETE of an object that has a certain size, or was last changed at a certain time. */
#include <stdlib.h>

#include "s3proxy/call.h"
#include "util/slice.h"

enum { DIGITS_MAX = 18 };

bool call_matches(const struct call *call)
{
    return slice_eq_str(call->message.method, "DELETE") && call->target.key[0] != '\0' &&
           stores_embedded(&call->server->stores, call->target.bucket);
}

/* -EINVAL: no number. */
static int read_size(struct slice text, uint64_t *ret)
{
    uint64_t n = 0;

    if (text.len == 0 || text.len > DIGITS_MAX) {
        return -EINVAL;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -EINVAL;
        }
        n = n * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret = n;
    return 0;
}

int call_match_headers(struct call *call, struct s3_fault *fault)
{
    static const char by_size[] = "x-amz-if-match-size";
    static const char by_time[] = "x-amz-if-match-last-modified-time";
    struct slice size = s3_message_header(&call->message, by_size);
    struct slice time = s3_message_header(&call->message, by_time);
    struct objstore_match *match;

    if (size.data == NULL && time.data == NULL) {
        return 0;
    }
    match = arena_alloc(&call->arena, sizeof(*match));
    if (match == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    *match = (struct objstore_match){.by_size = size.data != NULL, .by_mtime = time.data != NULL};
    if (match->by_size && read_size(size, &match->size) != 0) {
        return s3_fault_argument(fault, by_size, size, "it is a number of bytes");
    }
    if (match->by_mtime && s3_http_date_parse(time, &match->mtime_s) != 0) {
        return s3_fault_argument(fault, by_time, time, "it is a date as HTTP writes it");
    }
    call->op.match = match;
    return 0;
}
