/* SPDX-License-Identifier: Apache-2.0 */
/* First byte: the size of the object; the rest: a Range header, ETag list and date at once. */
#include <string.h>

#include "fuzz.h"
#include "s3/conditions.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data + 1, size > 0 ? size - 1 : 0};
    struct s3_conditions conditions = {
        .if_match = text, .if_none_match = text, .if_modified_since = text};
    struct slice etag;
    struct s3_range range;
    uint64_t offset = 0;
    uint64_t len = 0;
    int64_t time = 0;

    if (size == 0) {
        return 0;
    }
    range = s3_range_parse(text);
    if (s3_range_resolve(&range, data[0], &offset, &len) == 0) {
        CHECK(offset + len <= data[0] && (len > 0 || data[0] == 0));
    }
    if (s3_copy_range_parse(text, &offset, &len) == 0) {
        CHECK(offset <= len);
    }
    if (s3_http_date_parse(text, &time) == 0) {
        char again[S3_HTTP_DATE_SIZE];
        int64_t same = 0;

        s3_http_date_format(time, again);
        CHECK(s3_http_date_parse(slice_of(again), &same) == 0 && same == time);
    }
    if (s3_iso_date_parse(text, &time) == 0) {
        CHECK(time >= 0);
    }
    if (s3_etag_single(text, &etag) == 0) {
        CHECK(etag.len > 0 && etag.len <= text.len);
    }
    CHECK(s3_conditions_check(&conditions, "etag", 0, true) < S3_CODE_COUNT);
    return 0;
}
