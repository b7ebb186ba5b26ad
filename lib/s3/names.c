/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/names.h"

#include <errno.h>
#include <strings.h>

#include "util/cleanup.h"
#include "util/encode.h"

static bool lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool starts_with(struct slice s, const char *prefix)
{
    return slice_starts_with(s, slice_of(prefix));
}

static bool ends_with(struct slice s, const char *suffix)
{
    size_t len = strlen(suffix);

    return s.len >= len && memcmp(s.data + s.len - len, suffix, len) == 0;
}

/* Four runs of digits with dots between: S3 refuses names that look like an address. */
static bool looks_like_address(struct slice s)
{
    unsigned int dots = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '.') {
            dots++;
        } else if (s.data[i] < '0' || s.data[i] > '9') {
            return false;
        }
    }
    return dots == 3;
}

bool s3_bucket_valid(struct slice bucket)
{
    static const char *const prefixes[] = {"xn--", "sthree-", "amzn-s3-demo-"};
    static const char *const suffixes[] = {"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"};

    if (bucket.len < S3_BUCKET_MIN || bucket.len > S3_BUCKET_MAX) {
        return false;
    }
    for (size_t i = 0; i < bucket.len; i++) {
        char c = bucket.data[i];
        char before;
        char after;

        if (lower_or_digit(c)) {
            continue;
        }
        if ((c != '-' && c != '.') || i == 0 || i + 1 == bucket.len) {
            return false;
        }
        before = bucket.data[i - 1];
        after = bucket.data[i + 1];
        if (c == '.' ? !lower_or_digit(before) || !lower_or_digit(after)
                     : before == '.' || after == '.') {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (starts_with(bucket, prefixes[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (ends_with(bucket, suffixes[i])) {
            return false;
        }
    }
    return !looks_like_address(bucket);
}

/* Length of the UTF-8 sequence at p, or 0 when it is none (overlong, surrogate, too large, cut). */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;

    if (len == 0 || len > left || p[0] > 0xF4) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
        (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F)) {
        return 0;
    }
    return len;
}

bool s3_utf8_valid(struct slice text)
{
    const unsigned char *p = (const unsigned char *)text.data;

    for (size_t i = 0; i < text.len;) {
        size_t len = utf8_len(p + i, text.len - i);

        if (len == 0) {
            return false;
        }
        i += len;
    }
    return true;
}

bool s3_key_valid(struct slice key)
{
    return key.len >= 1 && key.len <= S3_KEY_MAX && memchr(key.data, '\0', key.len) == NULL &&
           s3_utf8_valid(key);
}

struct slice s3_host_bucket(struct slice host, const char *const *suffixes)
{
    struct slice none = {NULL, 0};
    const char *colon = host.len > 0 ? memrchr(host.data, ':', host.len) : NULL;

    if (colon != NULL && memchr(colon, ']', (size_t)(host.data + host.len - colon)) == NULL) {
        host.len = (size_t)(colon - host.data);
    }
    for (; suffixes != NULL && *suffixes != NULL; suffixes++) {
        size_t len = strlen(*suffixes);

        if (host.len > len + 1 && host.data[host.len - len - 1] == '.' &&
            strncasecmp(host.data + host.len - len, *suffixes, len) == 0) {
            return (struct slice){host.data, host.len - len - 1};
        }
    }
    return none;
}

/* Decode %XX of `raw` into `ret` of `size` bytes, NUL-terminated. */
static int decode_into(struct slice raw, char *ret, size_t size, enum s3_code too_long,
                       struct s3_fault *fault)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(size - 1);
    int error = decode_percent(&text, raw, false);

    if (error == -EFBIG) {
        return s3_fault_set(fault, too_long, "%s", "");
    }
    if (error == -ENOMEM) {
        (void)s3_fault_set(fault, S3_INTERNAL_ERROR, "%s", "");
        return -ENOMEM;
    }
    if (error < 0) {
        return s3_fault_set(fault, S3_INVALID_URI, "The path holds a malformed escape");
    }
    if (memchr(buf_str(&text), '\0', buf_len(&text)) != NULL) {
        return s3_fault_set(fault, S3_INVALID_URI, "The path holds a NUL byte");
    }
    if (!s3_utf8_valid((struct slice){buf_str(&text), buf_len(&text)})) {
        return s3_fault_set(fault, S3_INVALID_URI, "The path is not UTF-8");
    }
    memcpy(ret, buf_str(&text), buf_len(&text) + 1);
    return 0;
}

int s3_target_parse(struct slice raw_path, struct slice host_bucket, struct s3_target *ret,
                    struct s3_fault *fault)
{
    struct slice bucket = host_bucket;
    struct slice key;
    int error;

    if (raw_path.len == 0 || raw_path.data[0] != '/') {
        return s3_fault_set(fault, S3_INVALID_URI, "The path does not start with '/'");
    }
    key = (struct slice){raw_path.data + 1, raw_path.len - 1};
    if (host_bucket.data == NULL) {
        const char *slash = key.len > 0 ? memchr(key.data, '/', key.len) : NULL;

        bucket = (struct slice){key.data, slash != NULL ? (size_t)(slash - key.data) : key.len};
        if (slash != NULL) {
            key = (struct slice){slash + 1, key.len - bucket.len - 1};
        } else {
            key = (struct slice){NULL, 0};
        }
    }
    error = decode_into(bucket, ret->bucket, sizeof(ret->bucket), S3_INVALID_BUCKET_NAME, fault);
    if (error < 0) {
        return error;
    }
    error = decode_into(key, ret->key, sizeof(ret->key), S3_KEY_TOO_LONG, fault);
    if (error < 0) {
        return error;
    }
    if (ret->bucket[0] == '\0' && ret->key[0] != '\0') {
        return s3_fault_set(fault, S3_INVALID_BUCKET_NAME, "The path names no bucket");
    }
    if (strchr(ret->bucket, '/') != NULL) {
        return s3_fault_set(fault, S3_INVALID_BUCKET_NAME, "%s", "");
    }
    return 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Every route asks for some thirty names that a query has not: nothing is copied for that. */
bool s3_query_is_named(struct slice raw, const char *name)
{
    size_t i = 0;

    for (; i < raw.len && *name != '\0'; i++, name++) {
        char c = raw.data[i];

        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int high = raw.len - i > 2 ? hex_digit(raw.data[i + 1]) : -1;
            int low = raw.len - i > 2 ? hex_digit(raw.data[i + 2]) : -1;

            if (high < 0 || low < 0) {
                return false;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c != *name) {
            return false;
        }
    }
    return i == raw.len && *name == '\0';
}

static uint64_t name_bit(const char *name, size_t len)
{
    return UINT64_C(1) << (((unsigned char)name[0] * 7 + len * 5) % 64);
}

bool s3_query_next(struct slice *left, struct s3_query_param *ret)
{
    while (left->len > 0) {
        const char *amp = memchr(left->data, '&', left->len);
        struct slice one = {left->data, amp != NULL ? (size_t)(amp - left->data) : left->len};
        const char *equals = memchr(one.data, '=', one.len);

        left->data += one.len + (amp != NULL ? 1 : 0);
        left->len -= one.len + (amp != NULL ? 1 : 0);
        if (one.len > 0) {
            const char *end = one.data + one.len;
            const char *value = equals != NULL ? equals + 1 : end;

            ret->name =
                (struct slice){one.data, equals != NULL ? (size_t)(equals - one.data) : one.len};
            ret->value = (struct slice){value, (size_t)(end - value)};
            ret->has_value = equals != NULL;
            return true;
        }
    }
    return false;
}

uint64_t s3_query_names(struct slice raw_query)
{
    static const char amz[] = "X-Amz-";
    struct s3_query_param param;
    uint64_t ret = 0;

    while (s3_query_next(&raw_query, &param)) {
        struct slice name = param.name;

        if (memchr(name.data, '%', name.len) != NULL || memchr(name.data, '+', name.len) != NULL) {
            return UINT64_MAX; /* whatever it is */
        }
        if (slice_starts_with(name, (struct slice){amz, sizeof(amz) - 1})) {
            continue; /* its signature's */
        }
        ret |= name.len > 0 ? name_bit(name.data, name.len) : 0;
    }
    return ret;
}

bool s3_query_may_have(uint64_t names, const char *name)
{
    return (names & name_bit(name, strlen(name))) != 0;
}

int s3_query_get(struct slice raw_query, const char *name, struct buf *value)
{
    struct s3_query_param param;

    while (s3_query_next(&raw_query, &param)) {
        int error;

        if (!s3_query_is_named(param.name, name)) {
            continue;
        }
        if (value == NULL) {
            return 1;
        }
        buf_reset(value);
        error = decode_percent(value, param.value, true);
        return error < 0 ? error : 1;
    }
    return 0;
}

/* Some clients escape all of "bucket/key": let the first slash behind the bucket be one. */
static void add_with_plain_slash(struct buf *out, struct slice source)
{
    for (size_t i = 1; i < source.len && source.data[i] != '/'; i++) {
        if (source.len - i >= 3 && strncasecmp(source.data + i, "%2f", 3) == 0) {
            buf_add(out, source.data, i);
            buf_addstr(out, "/");
            buf_add(out, source.data + i + 3, source.len - i - 3);
            return;
        }
    }
    buf_add(out, source.data, source.len);
}

int s3_copy_source_parse(struct slice header, struct s3_copy_source *ret, struct s3_fault *fault)
{
    static const char version[] = "?versionId=";
    CLEANUP(buf_done) struct buf path = BUF_INIT(4096);
    size_t mark = header.len;
    int error;

    ret->version_id[0] = '\0';
    for (size_t i = 0; i < header.len; i++) {
        if (slice_starts_with((struct slice){header.data + i, header.len - i}, slice_of(version))) {
            struct slice raw = {header.data + i + strlen(version),
                                header.len - i - strlen(version)};

            mark = i;
            error = decode_into(raw, ret->version_id, sizeof(ret->version_id), S3_INVALID_ARGUMENT,
                                fault);
            if (error < 0) {
                return error;
            }
            break;
        }
    }
    if (mark == 0 || header.data[0] != '/') {
        buf_addstr(&path, "/");
    }
    add_with_plain_slash(&path, (struct slice){header.data, mark});
    if (buf_error(&path) < 0) {
        return s3_fault_argument(fault, "x-amz-copy-source", header, "The copy source is too long");
    }
    error = s3_target_parse((struct slice){buf_str(&path), buf_len(&path)}, (struct slice){NULL, 0},
                            &ret->target, fault);
    if (error < 0) {
        return error;
    }
    if (ret->target.bucket[0] == '\0' || ret->target.key[0] == '\0') {
        return s3_fault_argument(fault, "x-amz-copy-source", header,
                                 "The copy source does not name a bucket and a key");
    }
    return 0;
}
