/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions in the index.
 *
 * Of a key `object` has the version that a plain GET reads, `version` the older ones. When a delete
 * marker is the newest, `object` has no row of the key, and the newest in `version` is a marker;
 * so after each change here: no row in `object` means that the newest in `version`, if any, is one.
 * Of the two tables together at most one row of a key has no version id ("null").
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "objstore/dir_index_internal.h"
#include "util/random.h"
#include "util/sql.h"

enum { SEQ_DIGITS = 16, ID_DIGITS = 2 * SEQ_DIGITS, ID_MIN = 16, ID_MAX = 64 };

/* Ids of other stores count as such, too, which we just do not have: letters and digits. */
static bool is_id(const char *text)
{
    size_t len = strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");

    return len >= ID_MIN && len <= ID_MAX && text[len] == '\0';
}

int dir_version_seq(const char *version, int64_t *ret)
{
    uint64_t seq = 0;

    *ret = 0;
    if (strcmp(version, "null") == 0) {
        return -ENOENT;
    }
    if (!is_id(version)) {
        return -EINVAL;
    }
    for (size_t i = 0; i < SEQ_DIGITS; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = memchr(digits, version[i], sizeof(digits) - 1);

        if (digit == NULL) {
            return 0; /* nobody's place */
        }
        seq = seq << 4 | (uint64_t)(digit - digits);
    }
    *ret = seq <= INT64_MAX ? (int64_t)seq : 0;
    return 0;
}

static void make_id(int64_t seq, char ret[OBJSTORE_VERSION_MAX])
{
    char random[RANDOM_ID_SIZE];

    random_id(random);
    (void)snprintf(ret, OBJSTORE_VERSION_MAX, "%016llx%.*s", (unsigned long long)seq,
                   ID_DIGITS - SEQ_DIGITS, random);
}

/* A version by its id, from either table. Its place in time too, and whether it is in `object`. */
struct found {
    struct dir_object object;
    int64_t seq;
    bool current;
};

static int find_version(struct dir_index *index, int64_t bucket, const char *key,
                        const char *version, struct arena *arena, struct found *ret)
{
    int64_t seq;
    int r = dir_version_seq(version, &seq);
    bool null = r == -ENOENT;
    sqlite3_stmt *s;
    int code;

    if (r != 0 && !null) {
        return r;
    }
    s = dir_index_statement(index, null ? SQL_VERSION_NULL : SQL_VERSION_GET);
    if (s == NULL) {
        return -EIO;
    }
    dir_bind_object_key(s, bucket, key);
    if (!null) {
        dir_bind_text(s, 3, version);
        (void)sqlite3_bind_int64(s, 4, seq);
    }
    code = sqlite3_step(s);
    r = code == SQLITE_DONE ? -ENOENT : sql_errno(code);
    if (code == SQLITE_ROW) {
        r = dir_read_object(s, 0, arena, &ret->object);
        ret->seq = sqlite3_column_int64(s, DIR_OBJECT_COLUMNS);
        ret->object.marker = sqlite3_column_int(s, DIR_OBJECT_COLUMNS + 1) != 0;
        ret->current = sqlite3_column_int(s, DIR_OBJECT_COLUMNS + 2) != 0;
        (void)snprintf(ret->object.info.version_id, OBJSTORE_VERSION_MAX, "%s", version);
    }
    (void)sqlite3_reset(s);
    return r;
}

int dir_version_null_seq(struct dir_index *index, int64_t bucket, const char *key, int64_t *ret)
{
    struct found found = {0};
    int r = find_version(index, bucket, key, "null", NULL, &found);

    if (r == 0) {
        *ret = found.seq;
    }
    return r;
}

int dir_index_get_version(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                          const char *version, struct arena *arena, struct dir_object *ret)
{
    struct found found = {0};
    int r = find_version(index, bucket->id, key, version, arena, &found);

    if (r == 0) {
        *ret = found.object;
    }
    return r;
}

/* The newest in `version` of a key that has no row in `object`. -ENOENT. */
static int find_top(struct dir_index *index, int64_t bucket, const char *key, struct found *ret)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_VERSION_TOP);
    int code;
    int r;

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_object_key(s, bucket, key);
    code = sqlite3_step(s);
    r = code == SQLITE_DONE ? -ENOENT : sql_errno(code);
    if (code == SQLITE_ROW) {
        r = dir_read_object(s, 0, NULL, &ret->object);
        ret->seq = sqlite3_column_int64(s, DIR_OBJECT_COLUMNS);
        ret->object.marker = sqlite3_column_int(s, DIR_OBJECT_COLUMNS + 1) != 0;
    }
    (void)sqlite3_reset(s);
    return r;
}

int dir_index_get_marker(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                         struct objstore_info *ret)
{
    struct found top = {0};
    int r;

    if (bucket->versioning == DIR_UNVERSIONED) {
        return -ENOENT;
    }
    r = find_top(index, bucket->id, key, &top);
    if (r == 0 && !top.object.marker) {
        r = -ENOENT; /* deleted and made between two questions */
    }
    if (r == 0) {
        *ret = top.object.info;
        if (ret->version_id[0] == '\0') {
            (void)snprintf(ret->version_id, OBJSTORE_VERSION_MAX, "null");
        }
    }
    return r;
}

/* ---- changes, in a transaction ---- */

static int run_on_key(struct dir_index *index, enum dir_sql which, int64_t bucket, const char *key,
                      int64_t third)
{
    sqlite3_stmt *s = dir_index_statement(index, which);

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_object_key(s, bucket, key);
    if (sqlite3_bind_parameter_count(s) >= 3) {
        (void)sqlite3_bind_int64(s, 3, third);
    }
    return dir_index_run(index, which);
}

/* A place in time behind all versions of the key, whatever the clock says. */
static int next_seq(struct dir_index *index, int64_t bucket, const char *key, int64_t now_ns,
                    int64_t *ret)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_VERSION_LAST);
    int code;

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_object_key(s, bucket, key);
    code = sqlite3_step(s);
    *ret = sqlite3_column_int64(s, 0) + 1;
    *ret = *ret > now_ns ? *ret : now_ns;
    (void)sqlite3_reset(s);
    return sql_errno(code);
}

/*
 * Make room for a new current version, whose id and place are told. Where versions are suspended
 * the new one is "null" and takes the place of the "null" there was.
 */
static int step_back(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                     int64_t now_ns, int64_t *ret_seq, char ret_version[OBJSTORE_VERSION_MAX])
{
    bool all = bucket->versioning == DIR_VERSIONED;
    int ret = next_seq(index, bucket->id, key, now_ns, ret_seq);

    ret = ret == 0 ? run_on_key(index, SQL_VERSION_KEEP, bucket->id, key, all) : ret;
    if (ret != 0) {
        return ret;
    }
    if (all) {
        make_id(*ret_seq, ret_version);
        return 0;
    }
    (void)snprintf(ret_version, OBJSTORE_VERSION_MAX, "null");
    return run_on_key(index, SQL_VERSION_DELETE_NULL, bucket->id, key, 0);
}

int dir_version_put(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                    struct dir_object *object)
{
    char *version = object->info.version_id;
    int64_t seq;
    int ret = step_back(index, bucket, key, object->info.mtime_ns, &seq, version);

    return ret == 0
               ? dir_index_object_put(index, bucket->id, key, object,
                                      bucket->versioning == DIR_VERSIONED ? version : NULL, seq)
               : ret;
}

static int put_marker(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                      struct dir_deletion *deletion)
{
    sqlite3_stmt *s;
    int64_t seq;
    int ret = step_back(index, bucket, key, deletion->now_ns, &seq, deletion->version_id);

    ret = ret == 0 ? dir_index_object_delete(index, bucket->id, key) : ret;
    if (ret != 0) {
        return ret;
    }
    s = dir_index_statement(index, SQL_VERSION_MARK);
    if (s == NULL) {
        return -EIO;
    }
    dir_bind_object_key(s, bucket->id, key);
    (void)sqlite3_bind_int64(s, 3, seq);
    (void)sqlite3_bind_int64(s, 4, deletion->now_ns);
    dir_bind_text(s, 5, bucket->versioning == DIR_VERSIONED ? deletion->version_id : NULL);
    deletion->marker = true;
    return dir_index_run(index, SQL_VERSION_MARK);
}

/* The newest of the others becomes the current one, unless it is a marker. */
static int promote(struct dir_index *index, int64_t bucket, const char *key)
{
    struct found top = {0};
    int ret = find_top(index, bucket, key, &top);

    if (ret != 0 || top.object.marker) {
        return ret == -ENOENT ? 0 : ret;
    }
    ret = run_on_key(index, SQL_VERSION_PROMOTE, bucket, key, top.seq);
    return ret == 0 ? run_on_key(index, SQL_VERSION_DELETE, bucket, key, top.seq) : ret;
}

int dir_version_delete(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                       struct dir_deletion *deletion)
{
    struct found found = {0};
    int ret;

    if (deletion->version == NULL) {
        return put_marker(index, bucket, key, deletion);
    }
    ret = find_version(index, bucket->id, key, deletion->version, NULL, &found);
    if (ret == 0 || ret == -ENOENT) {
        int wrong = dir_check_conditions(&deletion->conditions, ret == 0, &found.object.info);

        (void)snprintf(deletion->version_id, OBJSTORE_VERSION_MAX, "%.*s", OBJSTORE_VERSION_MAX - 1,
                       deletion->version);
        if (wrong != 0 || ret == -ENOENT) {
            return wrong; /* what is not there need not go */
        }
    }
    if (ret != 0) {
        return ret;
    }
    deletion->marker = found.object.marker;
    ret = found.current ? dir_index_object_delete(index, bucket->id, key)
                        : run_on_key(index, SQL_VERSION_DELETE, bucket->id, key, found.seq);
    return ret == 0 ? promote(index, bucket->id, key) : ret;
}

int dir_index_tags_put(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                       const char *version, const char *tags)
{
    struct found found = {.current = true};
    sqlite3_stmt *s;
    enum dir_sql which;
    int ret = version != NULL ? find_version(index, bucket->id, key, version, NULL, &found) : 0;

    if (ret != 0 || found.object.marker) {
        return ret != 0 ? ret : -ENOENT;
    }
    which = found.current ? SQL_TAGS_PUT : SQL_VERSION_TAGS;
    s = dir_index_statement(index, which);
    if (s == NULL) {
        return -EIO;
    }
    dir_bind_object_key(s, bucket->id, key);
    if (found.current) {
        dir_bind_text(s, 3, tags);
    } else {
        (void)sqlite3_bind_int64(s, 3, found.seq);
        dir_bind_text(s, 4, tags);
    }
    ret = dir_index_run(index, which);
    return ret == 0 && sqlite3_changes(index->db) == 0 ? -ENOENT : ret;
}
