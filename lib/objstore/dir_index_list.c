/* SPDX-License-Identifier: Apache-2.0 */
/* Pages of the index's objects, and of their versions. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "objstore/dir_index_internal.h"
#include "util/sql.h"

size_t dir_next_after_prefix(const char *text, size_t len, char *ret)
{
    memcpy(ret, text, len);
    while (len > 0 && (unsigned char)ret[len - 1] == 0xff) {
        len--;
    }
    if (len > 0) {
        ret[len - 1] = (char)((unsigned char)ret[len - 1] + 1);
    }
    return len;
}

/* Where a page stands. Keys have at most OBJSTORE_KEY_MAX bytes, and so have prefixes. */
struct list_cursor {
    struct dir_index *index;
    const struct dir_list *list;
    int64_t bucket;
    size_t prefix_len;
    sqlite3_stmt *s;
    size_t from_len;
    char from[OBJSTORE_KEY_MAX + 1];
    /* Versions: */
    bool within;     /* rows are the older versions of one key; */
    bool seen;       /* a row of the key `seen_key` came, or would have */
    size_t seen_len; /* before them */
    char seen_key[OBJSTORE_KEY_MAX];
};

static int seek_by(struct list_cursor *c, enum dir_sql which, size_t len)
{
    if (c->s != NULL) {
        (void)sqlite3_reset(c->s); /* one left in mid-way would pin this connection's snapshot */
    }
    c->s = dir_index_statement(c->index, which);
    if (c->s == NULL) {
        return -EIO;
    }
    c->from_len = len;
    (void)sqlite3_bind_int64(c->s, 1, c->bucket);
    (void)sqlite3_bind_blob(c->s, 2, c->from, (int)len, SQLITE_STATIC);
    return 0;
}

static int seek_from(struct list_cursor *c, size_t len)
{
    c->within = false;
    return seek_by(c, c->list->versions ? SQL_VERSIONS_FROM : SQL_OBJECT_FROM, len);
}

/* Behind the key in c->from. With a zero byte at its end it is the next key there could be. */
static int seek_after(struct list_cursor *c, size_t len)
{
    if (!c->list->versions) {
        return seek_by(c, SQL_OBJECT_AFTER, len);
    }
    c->from[len] = '\0';
    return seek_from(c, len + 1);
}

/* Whether the key in c->from has versions that are not older. */
static int note_newer(struct list_cursor *c, int64_t seq)
{
    sqlite3_stmt *s = dir_index_statement(c->index, SQL_VERSIONS_BEFORE);
    int code;

    if (s == NULL) {
        return -EIO;
    }
    (void)sqlite3_bind_int64(s, 1, c->bucket);
    dir_bind_key(s, 2, c->from, c->from_len);
    (void)sqlite3_bind_int64(s, 3, seq);
    code = sqlite3_step(s);
    c->seen = code == SQLITE_ROW && sqlite3_column_int(s, 0) != 0;
    (void)sqlite3_reset(s);
    memcpy(c->seen_key, c->from, c->from_len);
    c->seen_len = c->from_len;
    return sql_errno(code);
}

/* To the versions of the key in c->from that are older than one. */
static int seek_within(struct list_cursor *c, size_t len)
{
    const char *version = c->list->after_version;
    int64_t seq;
    int ret = dir_version_seq(version, &seq);

    c->from[len] = '\0';
    if (ret == -ENOENT) {
        ret = dir_version_null_seq(c->index, c->bucket, c->from, &seq);
        if (ret == -ENOENT) {
            /* Deleted since the page before: rather all of the key once more than too little. */
            return seek_from(c, len);
        }
    }
    ret = ret == 0 ? seek_by(c, SQL_VERSIONS_OF, len) : ret;
    ret = ret == 0 ? note_newer(c, seq) : ret;
    if (ret == 0) {
        c->within = true;
        (void)sqlite3_bind_int64(c->s, 3, seq);
    }
    return ret;
}

/* -ENOENT: nothing can follow. */
static int seek_start(struct list_cursor *c)
{
    const struct dir_list *list = c->list;
    const char *after = list->after;
    size_t len = after != NULL ? strlen(after) : 0;

    if (after == NULL || strcmp(after, list->prefix) < 0) {
        memcpy(c->from, list->prefix, c->prefix_len);
        return seek_from(c, c->prefix_len);
    }
    if (list->after_prefix) {
        len = dir_next_after_prefix(after, len, c->from);
        return len > 0 ? seek_from(c, len) : -ENOENT;
    }
    memcpy(c->from, after, len);
    return list->after_version != NULL ? seek_within(c, len) : seek_after(c, len);
}

/* Length of the common prefix that `key` belongs to, 0 if it is an entry of its own. */
static size_t common_prefix(const struct list_cursor *c, const char *key, size_t len)
{
    const char *delimiter = c->list->delimiter;
    const char *found;

    if (delimiter == NULL || delimiter[0] == '\0') {
        return 0;
    }
    found = memmem(key + c->prefix_len, len - c->prefix_len, delimiter, strlen(delimiter));
    return found != NULL ? (size_t)(found - key) + strlen(delimiter) : 0;
}

/* Of the columns behind the object's. Of each key the first row is the newest version. */
static void read_version(struct list_cursor *c, struct objstore_entry *entry, size_t len)
{
    const char *key = sqlite3_column_blob(c->s, 0);

    entry->latest = !(c->seen && len == c->seen_len && memcmp(key, c->seen_key, len) == 0);
    entry->delete_marker = sqlite3_column_int(c->s, 1 + DIR_OBJECT_COLUMNS + 1) != 0;
    if (entry->info.version_id[0] == '\0') {
        (void)snprintf(entry->info.version_id, OBJSTORE_VERSION_MAX, "null");
    }
    c->seen = true;
    c->seen_len = len;
    memcpy(c->seen_key, key, len);
}

static int add_entry(struct list_cursor *c, size_t prefix, struct arena *arena,
                     struct dir_listing *ret)
{
    struct objstore_entry *entry = &ret->entries[ret->count];
    struct dir_object object;
    const char *key = sqlite3_column_blob(c->s, 0);
    size_t len = prefix > 0 ? prefix : (size_t)sqlite3_column_bytes(c->s, 0);

    memset(entry, 0, sizeof(*entry));
    entry->key = arena_strndup(arena, key, len);
    if (entry->key == NULL) {
        return -ENOMEM;
    }
    entry->prefix = prefix > 0;
    if (prefix == 0) {
        int ret_read = dir_read_object(c->s, 1, NULL, &object);

        if (ret_read != 0) {
            return ret_read;
        }
        entry->info = object.info;
        if (c->list->versions) {
            read_version(c, entry, len);
        }
    }
    ret->last = entry->key;
    ret->last_prefix = entry->prefix;
    ret->count++;
    return 0;
}

/* The next row, over the end of one key's older versions. */
static int next_row(struct list_cursor *c)
{
    int code = sqlite3_step(c->s);

    if (code == SQLITE_DONE && c->within) {
        return seek_after(c, c->from_len) == 0 ? sqlite3_step(c->s) : SQLITE_ERROR;
    }
    return code;
}

static int list_rows(struct list_cursor *c, struct arena *arena, struct dir_listing *ret)
{
    int code;
    int r;

    while ((code = next_row(c)) == SQLITE_ROW) {
        const char *key = sqlite3_column_blob(c->s, 0);
        size_t len = (size_t)sqlite3_column_bytes(c->s, 0);
        size_t prefix;

        if (len < c->prefix_len || memcmp(key, c->list->prefix, c->prefix_len) != 0) {
            return 0;
        }
        if (ret->count == c->list->max) {
            ret->truncated = true;
            return 0;
        }
        prefix = common_prefix(c, key, len);
        r = add_entry(c, prefix, arena, ret);
        if (r == 0 && prefix > 0) {
            len = dir_next_after_prefix(ret->last, prefix, c->from);
            if (len == 0) {
                return 0;
            }
            r = seek_from(c, len);
        }
        if (r != 0) {
            return r;
        }
    }
    return sql_errno(code);
}

int dir_index_list(struct dir_index *index, const struct dir_bucket *bucket,
                   const struct dir_list *list, struct arena *arena, struct dir_listing *ret)
{
    struct list_cursor cursor = {
        .index = index, .list = list, .bucket = bucket->id, .prefix_len = strlen(list->prefix)};
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->entries = arena_array(arena, list->max, sizeof(*ret->entries));
    if (ret->entries == NULL || cursor.prefix_len > OBJSTORE_KEY_MAX ||
        (list->after != NULL && strlen(list->after) > OBJSTORE_KEY_MAX)) {
        return ret->entries == NULL ? -ENOMEM : -EINVAL;
    }
    r = seek_start(&cursor);
    if (r == -ENOENT) {
        return 0;
    }
    r = r == 0 ? list_rows(&cursor, arena, ret) : r;
    if (cursor.s != NULL) {
        (void)sqlite3_reset(cursor.s);
    }
    return r;
}
