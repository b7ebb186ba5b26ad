/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/conditions.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

/* The years that all formats can write; also keeps every sum below within its type. */
static const int64_t first_second = 0;
static const int64_t last_second = 253402300799; /* 9999-12-31T23:59:59Z */

static struct tm split_time(int64_t time_s)
{
    struct tm tm = {0};
    time_t t = (time_t)(time_s < first_second  ? first_second
                        : time_s > last_second ? last_second
                                               : time_s);

    (void)gmtime_r(&t, &tm);
    return tm;
}

void s3_http_date_format(int64_t time_s, char ret[S3_HTTP_DATE_SIZE])
{
    struct tm tm = split_time(time_s);
    char rest[S3_HTTP_DATE_SIZE];

    (void)strftime(rest, sizeof(rest), "%Y %H:%M:%S GMT", &tm);
    (void)snprintf(ret, S3_HTTP_DATE_SIZE, "%s, %02u %s %.17s", days[tm.tm_wday % 7],
                   (unsigned int)tm.tm_mday % 100U, months[tm.tm_mon % 12], rest);
}

void s3_iso_date_format(int64_t time_ns, char ret[S3_ISO_DATE_SIZE])
{
    int64_t clamped = time_ns < 0 ? 0 : time_ns;
    struct tm tm = split_time(clamped / 1000000000);
    char whole[S3_ISO_DATE_SIZE];

    (void)strftime(whole, sizeof(whole), "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(ret, S3_ISO_DATE_SIZE, "%.19s.%03uZ", whole,
                   (unsigned int)(clamped / 1000000 % 1000));
}

/* Exactly `count` digits at *p; -1 when they are not there. */
static int take_number(struct slice *s, size_t count)
{
    int value = 0;

    if (s->len < count) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        char c = s->data[i];

        if (c < '0' || c > '9') {
            return -1;
        }
        value = value * 10 + (c - '0');
    }
    s->data += count;
    s->len -= count;
    return value;
}

static bool take(struct slice *s, const char *text)
{
    size_t len = strlen(text);

    if (s->len < len || strncasecmp(s->data, text, len) != 0) {
        return false;
    }
    s->data += len;
    s->len -= len;
    return true;
}

static int take_month(struct slice *s)
{
    for (int month = 0; month < 12; month++) {
        if (take(s, months[month])) {
            return month;
        }
    }
    return -1;
}

static bool take_clock(struct slice *s, struct tm *tm)
{
    tm->tm_hour = take_number(s, 2);
    if (!take(s, ":")) {
        return false;
    }
    tm->tm_min = take_number(s, 2);
    if (!take(s, ":")) {
        return false;
    }
    tm->tm_sec = take_number(s, 2);
    return tm->tm_hour >= 0 && tm->tm_min >= 0 && tm->tm_sec >= 0;
}

static int join_time(const struct tm *tm, int64_t *ret)
{
    static const int month_days[12] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct tm copy = *tm;

    if (tm->tm_year < 70 || tm->tm_year > 8099 || tm->tm_mon < 0 || tm->tm_mon > 11 ||
        tm->tm_mday < 1 || tm->tm_mday > month_days[tm->tm_mon] || tm->tm_hour > 23 ||
        tm->tm_min > 59 || tm->tm_sec > 60) {
        return -EINVAL;
    }
    *ret = timegm(&copy);
    return 0;
}

/* "24 May 2013 00:00:00 GMT", or with '-' and a year of two digits: "24-May-13 ...". */
static bool take_rfc_date(struct slice *s, struct tm *tm)
{
    bool old = false;

    tm->tm_mday = take_number(s, 2);
    old = take(s, "-");
    if (!old && !take(s, " ")) {
        return false;
    }
    tm->tm_mon = take_month(s);
    if (!take(s, old ? "-" : " ")) {
        return false;
    }
    if (old) {
        int year = take_number(s, 2);
        tm->tm_year = year < 0 ? -1 : year < 70 ? year + 100 : year;
    } else {
        tm->tm_year = take_number(s, 4) - 1900;
    }
    /* botocore signs "-0000", as mail has it. */
    return take(s, " ") && take_clock(s, tm) && take(s, " ") &&
           (take(s, "GMT") || take(s, "UTC") || take(s, "-0000") || take(s, "+0000"));
}

/* "May 24 00:00:00 2013" (asctime, behind the day's name). */
static bool take_asctime(struct slice *s, struct tm *tm)
{
    tm->tm_mon = take_month(s);
    if (!take(s, " ")) {
        return false;
    }
    tm->tm_mday = take(s, " ") ? take_number(s, 1) : take_number(s, 2);
    if (!take(s, " ") || !take_clock(s, tm) || !take(s, " ")) {
        return false;
    }
    tm->tm_year = take_number(s, 4) - 1900;
    return true;
}

int s3_http_date_parse(struct slice text, int64_t *ret_s)
{
    struct tm tm = {0};
    const char *comma = text.len > 0 ? memchr(text.data, ',', text.len) : NULL;
    bool good;

    if (comma != NULL) {
        size_t skip = (size_t)(comma - text.data) + 1;

        text = (struct slice){text.data + skip, text.len - skip};
        good = take(&text, " ") && take_rfc_date(&text, &tm);
    } else {
        good = text.len > 4 && text.data[3] == ' ';
        if (good) {
            text = (struct slice){text.data + 4, text.len - 4};
            good = take_asctime(&text, &tm);
        }
    }
    return good && text.len == 0 ? join_time(&tm, ret_s) : -EINVAL;
}

int s3_iso_date_parse(struct slice text, int64_t *ret_ns)
{
    struct tm tm = {0};
    int64_t seconds = 0;
    int64_t nanos = 0;
    int64_t unit = 100000000;
    int error;

    tm.tm_year = take_number(&text, 4) - 1900;
    if (!take(&text, "-")) {
        return -EINVAL;
    }
    tm.tm_mon = take_number(&text, 2) - 1;
    if (!take(&text, "-")) {
        return -EINVAL;
    }
    tm.tm_mday = take_number(&text, 2);
    if (!take(&text, "T") || !take_clock(&text, &tm)) {
        return -EINVAL;
    }
    if (take(&text, ".")) {
        while (text.len > 0 && text.data[0] >= '0' && text.data[0] <= '9') {
            nanos += (text.data[0] - '0') * unit;
            unit /= 10;
            text = (struct slice){text.data + 1, text.len - 1};
        }
    }
    if (!take(&text, "Z") && !take(&text, "+00:00")) {
        return -EINVAL;
    }
    error = text.len == 0 ? join_time(&tm, &seconds) : -EINVAL;
    if (error < 0 || seconds > INT64_MAX / 1000000000 - 1) {
        return -EINVAL;
    }
    *ret_ns = seconds * 1000000000 + nanos;
    return 0;
}

/* Digits at the start of *s; false when there are none or the value does not fit. */
static bool take_u64(struct slice *s, uint64_t *ret)
{
    uint64_t value = 0;
    size_t i = 0;

    for (; i < s->len && s->data[i] >= '0' && s->data[i] <= '9'; i++) {
        if (__builtin_mul_overflow(value, 10U, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s->data[i] - '0'), &value)) {
            return false;
        }
    }
    if (i == 0) {
        return false;
    }
    s->data += i;
    s->len -= i;
    *ret = value;
    return true;
}

struct s3_range s3_range_parse(struct slice header)
{
    const struct s3_range none = {.kind = S3_RANGE_NONE};
    struct s3_range range = {.kind = S3_RANGE_FROM, .last = UINT64_MAX};
    struct slice s = slice_trim(header);

    if (!take(&s, "bytes=")) {
        return none;
    }
    if (take(&s, "-")) {
        range.kind = S3_RANGE_SUFFIX;
        return take_u64(&s, &range.last) && s.len == 0 ? range : none;
    }
    if (!take_u64(&s, &range.first) || !take(&s, "-")) {
        return none;
    }
    if (s.len > 0 && (!take_u64(&s, &range.last) || s.len > 0 || range.last < range.first)) {
        return none;
    }
    return range;
}

int s3_range_resolve(const struct s3_range *range, uint64_t size, uint64_t *ret_offset,
                     uint64_t *ret_len)
{
    uint64_t offset = 0;
    uint64_t len = size;

    if (range->kind == S3_RANGE_SUFFIX) {
        if (range->last == 0 || size == 0) {
            return -ERANGE;
        }
        len = range->last < size ? range->last : size;
        offset = size - len;
    } else if (range->kind == S3_RANGE_FROM) {
        if (range->first >= size) {
            return -ERANGE;
        }
        offset = range->first;
        len = size - offset;
        if (range->last - range->first < len - 1) {
            len = range->last - range->first + 1;
        }
    }
    *ret_offset = offset;
    *ret_len = len;
    return 0;
}

int s3_copy_range_parse(struct slice header, uint64_t *ret_first, uint64_t *ret_last)
{
    uint64_t first = 0;
    uint64_t last = 0;

    if (!take(&header, "bytes=") || !take_u64(&header, &first) || !take(&header, "-") ||
        !take_u64(&header, &last) || header.len > 0 || last < first) {
        return -EINVAL;
    }
    *ret_first = first;
    *ret_last = last;
    return 0;
}

/* Cut the next element of a comma-separated list of ETags; quotes may hold commas. */
static struct slice next_etag(struct slice *list)
{
    struct slice item = slice_trim(*list);
    size_t i = 0;
    bool quoted = false;

    for (; i < item.len && (quoted || item.data[i] != ','); i++) {
        quoted = quoted != (item.data[i] == '"');
    }
    *list = i < item.len ? (struct slice){item.data + i + 1, item.len - i - 1}
                         : (struct slice){NULL, 0};
    item = slice_trim((struct slice){item.data, i});
    if (item.len > 2 && item.data[0] == 'W' && item.data[1] == '/') {
        item = (struct slice){item.data + 2, item.len - 2};
    }
    if (item.len >= 2 && item.data[0] == '"' && item.data[item.len - 1] == '"') {
        item = (struct slice){item.data + 1, item.len - 2};
    }
    return item;
}

bool s3_etag_matches(struct slice header, const char *etag)
{
    if (slice_eq_str(slice_trim(header), "*")) {
        return true;
    }
    while (header.len > 0) {
        if (slice_eq_str(next_etag(&header), etag)) {
            return true;
        }
    }
    return false;
}

int s3_etag_single(struct slice header, struct slice *ret)
{
    struct slice first = next_etag(&header);

    if (first.len == 0 || slice_trim(header).len > 0) {
        return -EINVAL;
    }
    *ret = first;
    return 0;
}

enum s3_code s3_conditions_check(const struct s3_conditions *conditions, const char *etag,
                                 int64_t mtime_s, bool read)
{
    int64_t date = 0;

    if (conditions->if_match.data != NULL) {
        if (!s3_etag_matches(conditions->if_match, etag)) {
            return S3_PRECONDITION_FAILED;
        }
    } else if (conditions->if_unmodified_since.data != NULL &&
               s3_http_date_parse(conditions->if_unmodified_since, &date) == 0 && mtime_s > date) {
        return S3_PRECONDITION_FAILED;
    }
    if (conditions->if_none_match.data != NULL) {
        if (s3_etag_matches(conditions->if_none_match, etag)) {
            return read ? S3_NOT_MODIFIED : S3_PRECONDITION_FAILED;
        }
    } else if (read && conditions->if_modified_since.data != NULL &&
               s3_http_date_parse(conditions->if_modified_since, &date) == 0 && mtime_s <= date) {
        return S3_NOT_MODIFIED;
    }
    return S3_OK;
}
