/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/attr/attr.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "util/cleanup.h"
#include "util/encode.h"

enum { NS_DIGITS = 9 };
static const int64_t ns_per_s = 1000000000;

static const char *find(const struct objstore_meta *meta, const char *name)
{
    for (size_t i = 0; i < meta->user_count; i++) {
        if (strcasecmp(meta->user[i].name, name) == 0) {
            return meta->user[i].value;
        }
    }
    return NULL;
}

static const char *find_any(const struct objstore_meta *meta, const char *name, const char *other)
{
    const char *value = find(meta, name);

    return value != NULL ? value : find(meta, other);
}

static bool read_u32(const char *text, uint32_t *ret)
{
    char *end;
    unsigned long long value;

    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value > UINT32_MAX) {
        return false;
    }
    *ret = (uint32_t)value;
    return true;
}

/* "seconds" or "seconds.fraction", the seconds perhaps negative. */
static bool read_time(const char *text, int64_t *ret)
{
    char *end;
    long long seconds;
    int64_t ns = 0;

    if (text == NULL || text[0] == '\0') {
        return false;
    }
    errno = 0;
    seconds = strtoll(text, &end, 10);
    if (errno != 0 || end == text || seconds > INT64_MAX / ns_per_s - 1 ||
        seconds < -(INT64_MAX / ns_per_s) + 1) {
        return false;
    }
    if (*end == '.') {
        int64_t scale = ns_per_s / 10;

        for (end++; *end >= '0' && *end <= '9'; end++, scale /= 10) {
            ns += (*end - '0') * scale;
        }
    }
    if (*end != '\0' && *end != ' ') { /* s3fs once wrote a comment behind a space */
        return false;
    }
    *ret = seconds * ns_per_s + (text[0] == '-' ? -ns : ns); /* "-0.5" is before 1970, too */
    return true;
}

static bool good_type(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
        return true;
    default:
        return false;
    }
}

static const char *read_xattr(const char *text, struct arena *arena)
{
    CLEANUP(buf_done) struct buf json = BUF_INIT(ATTR_XATTR_MAX);
    cJSON *parsed;

    if (text == NULL || decode_percent(&json, slice_of(text), false) != 0 ||
        buf_error(&json) != 0) {
        return NULL;
    }
    parsed = cJSON_Parse(buf_str(&json));
    if (!cJSON_IsObject(parsed)) {
        cJSON_Delete(parsed);
        return NULL;
    }
    cJSON_Delete(parsed);
    return arena_strdup(arena, buf_str(&json));
}

/* Names whose values we replace, in the spelling of others, too. */
static bool is_ours(const char *name)
{
    static const char *const names[] = {"mode",  "uid",     "gid",    "mtime",     "ctime",
                                        "atime", "rdev",    "xattr",  "--mode",    "--uid",
                                        "--gid", "--mtime", "--rdev", "skyvol-put"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcasecmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* What stores say of an object that was put without a type. */
static bool is_default_type(const char *type)
{
    return type == NULL || strcmp(type, "binary/octet-stream") == 0 ||
           strcmp(type, "application/octet-stream") == 0 ||
           strcmp(type, "application/x-directory") == 0;
}

/* An archive's is not kept: what is written is to be read. */
static const char *kept_class(const struct objstore_meta *meta)
{
    const char *class = meta->storage_class;

    return class == NULL || strcmp(class, "STANDARD") == 0 || strcmp(class, "GLACIER") == 0 ||
                   strcmp(class, "DEEP_ARCHIVE") == 0
               ? NULL
               : class;
}

static bool says_only_ours(const struct objstore_meta *meta)
{
    bool ret = is_default_type(meta->content_type) && meta->content_encoding == NULL &&
               meta->content_language == NULL && meta->content_disposition == NULL &&
               meta->cache_control == NULL && meta->expires == NULL && kept_class(meta) == NULL;

    for (size_t i = 0; ret && i < meta->user_count; i++) {
        ret = is_ours(meta->user[i].name);
    }
    return ret;
}

int attr_keep_theirs(const struct objstore_meta *theirs, struct arena *arena,
                     struct objstore_meta *ours)
{
    size_t count = ours->user_count;
    struct objstore_pair *pairs = arena_array(arena, count + theirs->user_count, sizeof(*pairs));
    size_t used = 0;
    int ret = 0;

    if (pairs == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        pairs[i] = ours->user[i];
        used += strlen(pairs[i].name) + strlen(pairs[i].value);
    }
    for (size_t i = 0; i < theirs->user_count; i++) {
        const struct objstore_pair *pair = &theirs->user[i];
        size_t more = strlen(pair->name) + strlen(pair->value);

        if (is_ours(pair->name)) {
            continue;
        }
        if (used + more > ATTR_USER_MAX) {
            ret = 1;
            continue;
        }
        used += more;
        pairs[count++] = *pair;
    }
    ours->user = pairs;
    ours->user_count = count;
    ours->content_type =
        is_default_type(theirs->content_type) ? ours->content_type : theirs->content_type;
    ours->content_encoding = theirs->content_encoding;
    ours->content_language = theirs->content_language;
    ours->content_disposition = theirs->content_disposition;
    ours->cache_control = theirs->cache_control;
    ours->expires = theirs->expires;
    ours->storage_class = kept_class(theirs);
    return ret;
}

void attr_read(const struct objstore_meta *meta, struct arena *arena, struct attr *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->only_ours = says_only_ours(meta);
    ret->has_mode = read_u32(find_any(meta, "mode", "--mode"), &ret->mode);
    if (ret->has_mode && (ret->mode & S_IFMT) != 0 && !good_type(ret->mode)) {
        ret->has_mode = false;
    }
    ret->has_uid = read_u32(find_any(meta, "uid", "--uid"), &ret->uid);
    ret->has_gid = read_u32(find_any(meta, "gid", "--gid"), &ret->gid);
    ret->has_mtime = read_time(find_any(meta, "mtime", "--mtime"), &ret->mtime_ns);
    ret->has_ctime = read_time(find(meta, "ctime"), &ret->ctime_ns);
    ret->has_atime = read_time(find(meta, "atime"), &ret->atime_ns);
    (void)read_u32(find_any(meta, "rdev", "--rdev"), &ret->rdev);
    ret->xattr = read_xattr(find(meta, "xattr"), arena);
    if (find(meta, ATTR_LINK) != NULL) {
        ret->link = arena_strdup(arena, find(meta, ATTR_LINK));
    }
}

static const char *format_u32(struct arena *arena, uint32_t value)
{
    char text[16];

    (void)snprintf(text, sizeof(text), "%u", value);
    return arena_strdup(arena, text);
}

static const char *format_time(struct arena *arena, int64_t ns)
{
    char text[40];
    uint64_t size = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;

    (void)snprintf(text, sizeof(text), "%s%llu.%0*llu", ns < 0 ? "-" : "",
                   (unsigned long long)(size / (uint64_t)ns_per_s), NS_DIGITS,
                   (unsigned long long)(size % (uint64_t)ns_per_s));
    return arena_strdup(arena, text);
}

int attr_write(const struct attr *attr, struct arena *arena, struct objstore_meta *ret)
{
    struct objstore_pair *pairs = arena_array(arena, 8, sizeof(*pairs));
    CLEANUP(buf_done) struct buf xattr = BUF_INIT(3 * ATTR_XATTR_MAX);
    size_t count = 0;

    if (pairs == NULL) {
        return -ENOMEM;
    }
    pairs[count++] = (struct objstore_pair){"mode", format_u32(arena, attr->mode)};
    pairs[count++] = (struct objstore_pair){"uid", format_u32(arena, attr->uid)};
    pairs[count++] = (struct objstore_pair){"gid", format_u32(arena, attr->gid)};
    pairs[count++] = (struct objstore_pair){"mtime", format_time(arena, attr->mtime_ns)};
    pairs[count++] = (struct objstore_pair){"ctime", format_time(arena, attr->ctime_ns)};
    pairs[count++] = (struct objstore_pair){"atime", format_time(arena, attr->atime_ns)};
    if (S_ISCHR(attr->mode) || S_ISBLK(attr->mode)) {
        pairs[count++] = (struct objstore_pair){"rdev", format_u32(arena, attr->rdev)};
    }
    if (attr->xattr != NULL && attr->xattr[0] != '\0' && strcmp(attr->xattr, "{}") != 0) {
        encode_percent(&xattr, slice_of(attr->xattr), false);
        pairs[count++] = (struct objstore_pair){"xattr", arena_strdup(arena, buf_str(&xattr))};
    }
    for (size_t i = 0; i < count; i++) {
        if (pairs[i].value == NULL) {
            return -ENOMEM;
        }
    }
    *ret = (struct objstore_meta){.user = pairs, .user_count = count};
    if (S_ISDIR(attr->mode)) {
        ret->content_type = "application/x-directory";
    }
    return 0;
}

static cJSON *parse_xattr(const char *json)
{
    cJSON *parsed = json != NULL ? cJSON_Parse(json) : NULL;

    if (!cJSON_IsObject(parsed)) {
        cJSON_Delete(parsed);
        parsed = cJSON_CreateObject();
    }
    return parsed;
}

int attr_xattr_get(const char *json, const char *name, struct buf *out)
{
    cJSON *parsed = parse_xattr(json);
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(parsed, name));
    char value[ATTR_XATTR_MAX];
    size_t len = 0;
    int ret = text == NULL ? -ENODATA : decode_base64(slice_of(text), value, sizeof(value), &len);

    if (ret == 0) {
        buf_add(out, value, len);
        ret = buf_error(out);
    }
    cJSON_Delete(parsed);
    return ret;
}

int attr_xattr_list(const char *json, struct buf *out)
{
    cJSON *parsed = parse_xattr(json);
    const cJSON *item;

    cJSON_ArrayForEach(item, parsed)
    {
        buf_add(out, item->string, strlen(item->string) + 1);
    }
    cJSON_Delete(parsed);
    return buf_error(out);
}

static int change_json(cJSON *parsed, const struct attr_xattr_change *change)
{
    bool exists = cJSON_HasObjectItem(parsed, change->name) != 0;
    CLEANUP(buf_done) struct buf text = BUF_INIT(2 * ATTR_XATTR_MAX);

    if (!exists && (change->value == NULL || (change->flags & XATTR_REPLACE) != 0)) {
        return -ENODATA;
    }
    if (exists && change->value != NULL && (change->flags & XATTR_CREATE) != 0) {
        return -EEXIST;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(parsed, change->name);
    if (change->value != NULL) {
        encode_base64(&text, change->value, change->len);
        if (buf_error(&text) != 0 ||
            cJSON_AddStringToObject(parsed, change->name, buf_str(&text)) == NULL) {
            return -ENOSPC;
        }
    }
    return 0;
}

/* As metadata. */
static size_t encoded_len(const char *json)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(3 * ATTR_XATTR_MAX);

    encode_percent(&text, slice_of(json), false);
    return buf_error(&text) != 0 ? SIZE_MAX : buf_len(&text);
}

int attr_xattr_set(const char *json, const struct attr_xattr_change *change, struct buf *out)
{
    cJSON *parsed = parse_xattr(json);
    AUTOFREE char *text = NULL;
    int ret = parsed == NULL ? -ENOMEM : change_json(parsed, change);

    if (ret == 0) {
        text = cJSON_PrintUnformatted(parsed);
        ret = text == NULL ? -ENOMEM : encoded_len(text) > ATTR_XATTR_ENCODED ? -ENOSPC : 0;
    }
    if (ret == 0) {
        buf_addstr(out, text);
        ret = buf_error(out);
    }
    cJSON_Delete(parsed);
    return ret;
}
