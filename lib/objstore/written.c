/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/written.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s3/checksum.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/encode.h"

enum { READ_SIZE = 64 * 1024, MD5_SIZE = 16 };

static int add_source(struct objstore_request *r, struct s3_checksum *sum)
{
    AUTOFREE char *buffer = malloc(READ_SIZE);
    ssize_t n;

    if (buffer == NULL || r->source.rewind == NULL || r->source.rewind(r) != 0) {
        return -ENOTSUP;
    }
    while ((n = r->source.read(r, buffer, READ_SIZE)) > 0) {
        s3_checksum_add(sum, buffer, (size_t)n);
    }
    return (int)n;
}

static bool is_put(struct objstore_request *r, const char *found)
{
    char want[2 * S3_CHECKSUM_MAX + 1] = "";
    struct s3_checksum sum = {0};
    int error = s3_checksum_init(&sum, S3_CHECKSUM_MD5);

    if (error == 0 && r->source.data != NULL) {
        s3_checksum_add(&sum, r->source.data, (size_t)r->source.size);
    } else if (error == 0 && r->source.size > 0) {
        error = add_source(r, &sum);
    }
    if (error == 0) {
        s3_checksum_hex(&sum, want);
    }
    s3_checksum_done(&sum);
    return error == 0 && strcmp(want, found) == 0;
}

/* -EINVAL: a part's ETag is no MD5. */
static int etag_of_parts(const struct objstore_request *r, char ret[OBJSTORE_ETAG_MAX])
{
    CLEANUP(buf_done) struct buf all = BUF_INIT((size_t)OBJSTORE_PARTS_MAX * MD5_SIZE);
    char hex[2 * S3_CHECKSUM_MAX + 1];
    int error = 0;

    for (size_t i = 0; error == 0 && i < r->parts_count; i++) {
        unsigned char md5[MD5_SIZE];
        size_t len = 0;

        error = decode_hex(slice_of(r->parts[i].etag), md5, sizeof(md5), &len);
        error = error == 0 && len != sizeof(md5) ? -EINVAL : error;
        buf_add(&all, md5, sizeof(md5));
    }
    error = error == 0 ? buf_error(&all) : error;
    if (error == 0) {
        error = s3_checksum_hex_of(S3_CHECKSUM_MD5, buf_str(&all), buf_len(&all), hex);
    }
    if (error == 0) {
        (void)snprintf(ret, OBJSTORE_ETAG_MAX, "%s-%zu", hex, r->parts_count);
    }
    return error;
}

static bool is_completed(const struct objstore_request *r, const char *found)
{
    const char *dash = strrchr(found, '-');
    char want[OBJSTORE_ETAG_MAX];

    if (etag_of_parts(r, want) == 0) {
        return strcmp(want, found) == 0;
    }
    return dash != NULL && strtoul(dash + 1, NULL, 10) == r->parts_count &&
           (r->if_match == NULL || strcmp(r->if_match, found) != 0);
}

bool objstore_was_written(struct objstore_request *request, const char *found_etag)
{
    switch (request->op) {
    case OBJSTORE_PUT:
        return is_put(request, found_etag);
    case OBJSTORE_UPLOAD_COMPLETE:
        return is_completed(request, found_etag);
    case OBJSTORE_COPY:
        return request->source_if_match != NULL &&
               strcmp(request->source_if_match, found_etag) == 0;
    default:
        return false;
    }
}
