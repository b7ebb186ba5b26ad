/* SPDX-License-Identifier: Apache-2.0 */
/* What the index knows of uploads: the open ones in a list, and what became of completed ones. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/dir_index_internal.h"
#include "util/buf.h"
#include "util/sql.h"

enum { JOINED_LINE_MAX = 128 };
#define COMPLETED_KEPT_NS (86400LL * 1000000000)

/* ---- which parts a file was joined of: "number size kind checksum\n" each ---- */

int dir_index_joined_put(struct dir_index *index, const char *file,
                         const struct objstore_part *parts, size_t count)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT((size_t)OBJSTORE_PARTS_MAX * JOINED_LINE_MAX);
    sqlite3_stmt *s = dir_index_statement(index, SQL_JOINED_PUT);

    for (size_t i = 0; i < count; i++) {
        const struct objstore_part *part = &parts[i];

        buf_addf(&text, "%u %llu %d %s\n", part->number, (unsigned long long)part->size,
                 (int)part->checksum.kind, part->checksum.value);
    }
    if (s == NULL || buf_error(&text) != 0) {
        return s == NULL ? -EIO : buf_error(&text);
    }
    dir_bind_text(s, 1, file);
    dir_bind_text(s, 2, buf_str(&text));
    return dir_index_run(index, SQL_JOINED_PUT);
}

/* One line; where the next one begins, or NULL when this is none. */
static const char *read_joined(const char *text, struct objstore_part *ret)
{
    const char *end = strchr(text, '\n');
    char *rest;
    unsigned long kind;
    size_t len;

    ret->number = (uint32_t)strtoul(text, &rest, 10);
    ret->size = strtoull(rest, &rest, 10);
    kind = strtoul(rest, &rest, 10);
    if (end == NULL || *rest != ' ' || kind > OBJSTORE_CHECKSUM_SHA256) {
        return NULL;
    }
    len = (size_t)(end - rest) - 1;
    if (len >= sizeof(ret->checksum.value)) {
        return NULL;
    }
    ret->checksum.kind = (enum objstore_checksum_kind)kind;
    memcpy(ret->checksum.value, rest + 1, len);
    ret->checksum.value[len] = '\0';
    return end + 1;
}

static int parse_joined(const char *text, struct arena *arena, struct objstore_part **ret,
                        size_t *ret_len)
{
    struct objstore_part *parts;
    size_t count = 0;

    for (const char *c = text; *c != '\0'; c++) {
        count += *c == '\n' ? 1 : 0;
    }
    parts = arena_array(arena, count + 1, sizeof(*parts));
    if (parts == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        text = read_joined(text, &parts[i]);
        if (text == NULL) {
            return -EUCLEAN;
        }
    }
    *ret = parts;
    *ret_len = count;
    return 0;
}

int dir_index_joined_get(struct dir_index *index, const char *file, struct arena *arena,
                         struct objstore_part **ret, size_t *ret_len)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_JOINED_GET);
    int code;
    int r;

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, file);
    code = sqlite3_step(s);
    r = code == SQLITE_DONE ? -ENOENT : sql_errno(code);
    if (code == SQLITE_ROW) {
        r = parse_joined((const char *)sqlite3_column_text(s, 0), arena, ret, ret_len);
    }
    (void)sqlite3_reset(s);
    return r;
}

/* ---- completed uploads ---- */

static int forget_completed(struct dir_index *index, int64_t before_ns)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_COMPLETED_FORGET);

    if (s == NULL) {
        return -EIO;
    }
    (void)sqlite3_bind_int64(s, 1, before_ns);
    return dir_index_run(index, SQL_COMPLETED_FORGET);
}

static int put_completed_version(struct dir_index *index, const char *id, const char *version)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_COMPLETED_VERSION);

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, id);
    dir_bind_text(s, 2, version);
    return dir_index_run(index, SQL_COMPLETED_VERSION);
}

int dir_index_completed_put(struct dir_index *index, int64_t bucket, const char *key,
                            const char *id, const struct objstore_info *info)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_COMPLETED_PUT);
    int ret;

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, id);
    (void)sqlite3_bind_int64(s, 2, bucket);
    dir_bind_key(s, 3, key, strlen(key));
    (void)sqlite3_bind_int64(s, 4, info->mtime_ns);
    (void)sqlite3_bind_int64(s, 5, (int64_t)info->size);
    dir_bind_text(s, 6, info->etag);
    (void)sqlite3_bind_int(s, 7, (int)info->checksum.kind);
    dir_bind_text(s, 8, info->checksum.value);
    (void)sqlite3_bind_int(s, 9, info->checksum.composite);
    ret = dir_index_run(index, SQL_COMPLETED_PUT);
    if (ret == 0 && info->version_id[0] != '\0') {
        ret = put_completed_version(index, id, info->version_id);
    }
    return ret == 0 ? forget_completed(index, info->mtime_ns - COMPLETED_KEPT_NS) : ret;
}

int dir_index_completed_get(struct dir_index *index, int64_t bucket, const char *key,
                            const char *id, struct objstore_info *ret)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_COMPLETED_GET);
    int code;

    if (s == NULL) {
        return -EIO;
    }
    memset(ret, 0, sizeof(*ret));
    dir_bind_text(s, 1, id);
    (void)sqlite3_bind_int64(s, 2, bucket);
    dir_bind_key(s, 3, key, strlen(key));
    code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        ret->mtime_ns = sqlite3_column_int64(s, 0);
        ret->size = (uint64_t)sqlite3_column_int64(s, 1);
        dir_copy_fixed(ret->etag, sizeof(ret->etag), s, 2);
        ret->checksum.kind = (enum objstore_checksum_kind)sqlite3_column_int(s, 3);
        dir_copy_fixed(ret->checksum.value, sizeof(ret->checksum.value), s, 4);
        ret->checksum.composite = sqlite3_column_int(s, 5) != 0;
        dir_copy_fixed(ret->version_id, sizeof(ret->version_id), s, 6);
    }
    (void)sqlite3_reset(s);
    return code == SQLITE_ROW ? 0 : code == SQLITE_DONE ? -ENOENT : sql_errno(code);
}

/* ---- open uploads ---- */

struct upload_cursor {
    struct dir_index *index;
    const struct dir_upload_page *page;
    int64_t bucket;
    size_t prefix_len;
    sqlite3_stmt *s;
    char from[OBJSTORE_KEY_MAX + 1];
};

static int seek_from(struct upload_cursor *c, size_t len)
{
    if (c->s != NULL) {
        (void)sqlite3_reset(c->s);
    }
    c->s = dir_index_statement(c->index, SQL_UPLOAD_LIST_FROM);
    if (c->s == NULL) {
        return -EIO;
    }
    (void)sqlite3_bind_int64(c->s, 1, c->bucket);
    dir_bind_key(c->s, 2, c->from, len);
    return 0;
}

/* Without an upload id all of the marker's key are skipped, and of a common prefix all below it:
 * ids are hex, "~" sorts behind them. -ENOENT: nothing can follow. */
static int seek_first(struct upload_cursor *c)
{
    const struct dir_upload_page *page = c->page;
    const char *after = page->after_key != NULL ? page->after_key : "";
    size_t len = strlen(after), d = page->delimiter != NULL ? strlen(page->delimiter) : 0;

    if (len > OBJSTORE_KEY_MAX) {
        return -EINVAL;
    }
    if (after[0] == '\0' || strcmp(after, page->prefix) < 0) {
        memcpy(c->from, page->prefix, c->prefix_len);
        return seek_from(c, c->prefix_len);
    }
    if (page->after_id == NULL && d > 0 && len >= c->prefix_len + d &&
        strcmp(after + len - d, page->delimiter) == 0) {
        len = dir_next_after_prefix(after, len, c->from);
        return len > 0 ? seek_from(c, len) : -ENOENT;
    }
    c->s = dir_index_statement(c->index, SQL_UPLOAD_LIST);
    if (c->s == NULL) {
        return -EIO;
    }
    (void)sqlite3_bind_int64(c->s, 1, c->bucket);
    dir_bind_key(c->s, 2, after, len);
    dir_bind_text(c->s, 3, page->after_id != NULL ? page->after_id : "~");
    return 0;
}

/* The entry that the row leads to; *ret_prefix: length of the common prefix it belongs to, or 0. */
static int read_upload(struct upload_cursor *c, struct arena *arena,
                       struct objstore_upload_entry *ret, size_t *ret_prefix)
{
    const char *delimiter = c->page->delimiter;
    const char *key = sqlite3_column_blob(c->s, 0);
    size_t len = (size_t)sqlite3_column_bytes(c->s, 0);
    size_t d = delimiter != NULL ? strlen(delimiter) : 0;
    const char *found =
        d > 0 ? memmem(key + c->prefix_len, len - c->prefix_len, delimiter, d) : NULL;

    *ret_prefix = found != NULL ? (size_t)(found - key) + d : 0;
    *ret = (struct objstore_upload_entry){.prefix = found != NULL, .upload_id = ""};
    ret->key = arena_strndup(arena, key, found != NULL ? *ret_prefix : len);
    if (found == NULL) {
        ret->upload_id = dir_column_text(c->s, 1, arena);
        ret->started_ns = sqlite3_column_int64(c->s, 2);
        ret->checksum.kind = (enum objstore_checksum_kind)sqlite3_column_int(c->s, 3);
        ret->checksum.composite = sqlite3_column_int(c->s, 4) != 0;
    }
    return ret->key == NULL || ret->upload_id == NULL ? -ENOMEM : 0;
}

static int read_uploads(struct upload_cursor *c, struct arena *arena, struct dir_upload_page *page)
{
    int code = SQLITE_DONE;

    while (page->count < page->max && (code = sqlite3_step(c->s)) == SQLITE_ROW) {
        const char *key = sqlite3_column_blob(c->s, 0);
        struct objstore_upload_entry *entry = &page->uploads[page->count];
        size_t prefix;
        int r;

        if ((size_t)sqlite3_column_bytes(c->s, 0) < c->prefix_len ||
            memcmp(key, page->prefix, c->prefix_len) != 0) {
            return 0;
        }
        r = read_upload(c, arena, entry, &prefix);
        if (r != 0) {
            return r;
        }
        page->count++;
        if (prefix > 0) {
            size_t len = dir_next_after_prefix(entry->key, prefix, c->from);

            r = len > 0 ? seek_from(c, len) : -ENOENT;
            if (r != 0) {
                return r == -ENOENT ? 0 : r;
            }
        }
    }
    return sql_errno(code);
}

int dir_index_upload_list(struct dir_index *index, int64_t bucket, struct arena *arena,
                          struct dir_upload_page *page)
{
    struct upload_cursor cursor = {
        .index = index, .page = page, .bucket = bucket, .prefix_len = strlen(page->prefix)};
    int r;

    page->count = 0;
    page->uploads = arena_array(arena, page->max, sizeof(*page->uploads));
    if (page->uploads == NULL || cursor.prefix_len > OBJSTORE_KEY_MAX) {
        return page->uploads == NULL ? -ENOMEM : -EINVAL;
    }
    r = seek_first(&cursor);
    if (r == 0) {
        r = read_uploads(&cursor, arena, page);
    } else if (r == -ENOENT) {
        r = 0;
    }
    if (cursor.s != NULL) {
        (void)sqlite3_reset(cursor.s);
    }
    return r;
}
