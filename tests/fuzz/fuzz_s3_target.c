/* SPDX-License-Identifier: Apache-2.0 */
/* The raw request target, and the same bytes as copy source, Host and query. */
#include <string.h>

#include "fuzz.h"
#include "s3/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const suffixes[] = {"s3.example", NULL};
    struct slice text = {(const char *)data, size};
    struct slice bucket = s3_host_bucket(text, suffixes);
    struct buf value = BUF_INIT(64);
    struct s3_target target;
    struct s3_copy_source source;
    struct s3_fault fault = S3_FAULT_INIT;

    CHECK(bucket.len == 0 || bucket.len < size);
    if (s3_target_parse(text, (struct slice){NULL, 0}, &target, &fault) == 0) {
        CHECK(strlen(target.bucket) <= S3_BUCKET_MAX && strchr(target.bucket, '/') == NULL);
        CHECK(target.key[0] == '\0' || s3_key_valid(slice_of(target.key)));
        CHECK(target.bucket[0] != '\0' || target.key[0] == '\0');
    } else {
        CHECK(fault.code != S3_OK);
    }
    if (s3_copy_source_parse(text, &source, &fault) == 0) {
        CHECK(source.target.bucket[0] != '\0' && s3_key_valid(slice_of(source.target.key)));
    }
    if (s3_query_get(text, "prefix", &value) == 1) {
        CHECK(buf_len(&value) <= 64);
    }
    (void)s3_bucket_valid(text);
    buf_done(&value);
    return 0;
}
