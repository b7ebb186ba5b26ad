/* SPDX-License-Identifier: Apache-2.0 */
/* The index's current objects and uploads. Column numbers follow the statements in dir_index.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "objstore/dir_index_internal.h"
#include "s3/tags.h"
#include "util/sql.h"

/* One table for both directions. */
static const struct meta_field {
    const char *name;
    size_t offset;
} meta_fields[] = {
    {"content-type", offsetof(struct objstore_meta, content_type)},
    {"content-encoding", offsetof(struct objstore_meta, content_encoding)},
    {"content-language", offsetof(struct objstore_meta, content_language)},
    {"content-disposition", offsetof(struct objstore_meta, content_disposition)},
    {"cache-control", offsetof(struct objstore_meta, cache_control)},
    {"expires", offsetof(struct objstore_meta, expires)},
    {"storage-class", offsetof(struct objstore_meta, storage_class)},
};
enum { META_FIELDS = sizeof(meta_fields) / sizeof(meta_fields[0]) };

static const char **field_of(struct objstore_meta *meta, size_t i)
{
    return (const char **)(void *)((char *)meta + meta_fields[i].offset);
}

int dir_meta_pack(const struct objstore_meta *meta, char **ret)
{
    struct objstore_meta copy;
    cJSON *json;
    cJSON *user;
    bool ok = true;

    *ret = NULL;
    if (meta == NULL) {
        return 0;
    }
    copy = *meta;
    json = cJSON_CreateObject();
    for (size_t i = 0; i < META_FIELDS; i++) {
        const char *value = *field_of(&copy, i);

        ok = ok && (value == NULL || cJSON_AddStringToObject(json, meta_fields[i].name, value));
    }
    user = meta->user_count > 0 ? cJSON_AddObjectToObject(json, "user") : NULL;
    for (size_t i = 0; i < meta->user_count; i++) {
        ok = ok && cJSON_AddStringToObject(user, meta->user[i].name, meta->user[i].value) != NULL;
    }
    *ret = ok ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    return *ret != NULL ? 0 : -ENOMEM;
}

static int unpack_user(const cJSON *user, struct arena *arena, struct objstore_meta *ret)
{
    size_t count = (size_t)cJSON_GetArraySize(user);
    struct objstore_pair *pairs = arena_array(arena, count, sizeof(*pairs));
    const cJSON *item;
    size_t i = 0;

    if (pairs == NULL) {
        return -ENOMEM;
    }
    cJSON_ArrayForEach(item, user)
    {
        pairs[i].name = arena_strdup(arena, item->string);
        pairs[i].value = arena_strdup(arena, cJSON_IsString(item) ? item->valuestring : "");
        if (pairs[i].name == NULL || pairs[i].value == NULL) {
            return -ENOMEM;
        }
        i++;
    }
    ret->user = pairs;
    ret->user_count = count;
    return 0;
}

int dir_meta_unpack(const char *text, struct arena *arena, struct objstore_meta *ret)
{
    cJSON *json;
    int r = 0;

    memset(ret, 0, sizeof(*ret));
    if (text == NULL) {
        return 0;
    }
    json = cJSON_Parse(text);
    if (json == NULL) {
        return -EUCLEAN;
    }
    for (size_t i = 0; i < META_FIELDS; i++) {
        const char *value =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, meta_fields[i].name));

        *field_of(ret, i) = arena_strdup(arena, value);
        r = value != NULL && *field_of(ret, i) == NULL ? -ENOMEM : r;
    }
    if (r == 0 && cJSON_GetObjectItemCaseSensitive(json, "user") != NULL) {
        r = unpack_user(cJSON_GetObjectItemCaseSensitive(json, "user"), arena, ret);
    }
    cJSON_Delete(json);
    return r;
}

int dir_read_object(sqlite3_stmt *s, int first, struct arena *arena, struct dir_object *ret)
{
    struct objstore_info *info = &ret->info;
    const char *meta = (const char *)sqlite3_column_text(s, first + 4);

    memset(ret, 0, sizeof(*ret));
    info->size = (uint64_t)sqlite3_column_int64(s, first + 1);
    dir_copy_fixed(info->etag, sizeof(info->etag), s, first + 2);
    info->mtime_ns = sqlite3_column_int64(s, first + 3);
    info->checksum.kind = (enum objstore_checksum_kind)sqlite3_column_int(s, first + 5);
    dir_copy_fixed(info->checksum.value, sizeof(info->checksum.value), s, first + 6);
    info->checksum.composite = sqlite3_column_int(s, first + 7) != 0;
    info->parts = (uint32_t)sqlite3_column_int(s, first + 8);
    dir_copy_fixed(info->version_id, sizeof(info->version_id), s, first + 10);
    if (arena == NULL) {
        return 0;
    }
    ret->file = dir_column_text(s, first, arena);
    if (ret->file == NULL && sqlite3_column_type(s, first) != SQLITE_NULL) {
        return -ENOMEM;
    }
    ret->tags = dir_column_text(s, first + 9, arena);
    if (ret->tags == NULL && sqlite3_column_type(s, first + 9) != SQLITE_NULL) {
        return -ENOMEM;
    }
    info->tag_count = (uint32_t)s3_tags_count(ret->tags);
    return dir_meta_unpack(meta, arena, &info->meta);
}

void dir_bind_object_key(sqlite3_stmt *s, int64_t bucket, const char *key)
{
    (void)sqlite3_bind_int64(s, 1, bucket);
    dir_bind_key(s, 2, key, strlen(key));
}

static int ask(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
               struct arena *arena, struct dir_object *ret)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_OBJECT_GET);
    int code;
    int r;

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_object_key(s, bucket->id, key);
    code = sqlite3_step(s);
    r = code == SQLITE_ROW    ? dir_read_object(s, 0, arena, ret)
        : code == SQLITE_DONE ? -ENOENT
                              : sql_errno(code);
    (void)sqlite3_reset(s);
    if (r == 0 && bucket->versioning != DIR_UNVERSIONED && ret->info.version_id[0] == '\0') {
        (void)snprintf(ret->info.version_id, OBJSTORE_VERSION_MAX, "null");
    }
    return r;
}

int dir_index_get(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                  struct arena *arena, struct dir_object *ret)
{
    int r;

    if (index->rows != NULL && dir_rows_find(index->rows, bucket, key, arena, ret)) {
        return 0;
    }
    r = ask(index, bucket, key, arena, ret);
    if (r == 0 && index->rows != NULL) {
        dir_rows_keep(index->rows, bucket, key, ret);
    }
    return r;
}

/* S3 compares times in seconds. */
static bool is_like(const struct objstore_info *info, const struct objstore_match *match)
{
    return match == NULL || ((!match->by_size || info->size == match->size) &&
                             (!match->by_mtime || info->mtime_ns / 1000000000 == match->mtime_s));
}

int dir_check_conditions(const struct dir_conditions *conditions, bool exists,
                         const struct objstore_info *info)
{
    if (exists && !is_like(info, conditions->match)) {
        return -ESTALE;
    }
    if (conditions->if_match != NULL) {
        if (!exists) {
            return -ENOENT;
        }
        if (strcmp(conditions->if_match, "*") != 0 &&
            strcmp(conditions->if_match, info->etag) != 0) {
            return -ESTALE;
        }
    }
    if (conditions->if_none_match != NULL && exists &&
        (strcmp(conditions->if_none_match, "*") == 0 ||
         strcmp(conditions->if_none_match, info->etag) == 0)) {
        return -EEXIST;
    }
    return 0;
}

/* Of the current version; a delete marker is none. */
static int check_current(struct dir_index *index, int64_t bucket, const char *key,
                         const struct dir_conditions *conditions)
{
    struct objstore_info info = {0};
    sqlite3_stmt *s;
    int code;

    if (conditions->if_match == NULL && conditions->if_none_match == NULL &&
        conditions->match == NULL) {
        return 0;
    }
    s = dir_index_statement(index, SQL_OBJECT_ETAG);
    if (s == NULL) {
        return -EIO;
    }
    dir_bind_object_key(s, bucket, key);
    code = sqlite3_step(s);
    dir_copy_fixed(info.etag, sizeof(info.etag), s, 0);
    info.size = (uint64_t)sqlite3_column_int64(s, 1);
    info.mtime_ns = sqlite3_column_int64(s, 2);
    (void)sqlite3_reset(s);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        return sql_errno(code);
    }
    return dir_check_conditions(conditions, code == SQLITE_ROW, &info);
}

int dir_index_object_put(struct dir_index *index, int64_t bucket, const char *key,
                         const struct dir_object *object, const char *version, int64_t seq)
{
    const struct objstore_info *info = &object->info;
    AUTOFREE char *meta = NULL;
    sqlite3_stmt *s = dir_index_statement(index, SQL_OBJECT_PUT);
    int ret = dir_meta_pack(&info->meta, &meta);

    if (ret != 0 || s == NULL) {
        return ret != 0 ? ret : -EIO;
    }
    dir_bind_object_key(s, bucket, key);
    dir_bind_text(s, 3, object->file);
    (void)sqlite3_bind_int64(s, 4, (int64_t)info->size);
    dir_bind_text(s, 5, info->etag);
    (void)sqlite3_bind_int64(s, 6, info->mtime_ns);
    dir_bind_text(s, 7, meta);
    (void)sqlite3_bind_int(s, 8, (int)info->checksum.kind);
    dir_bind_text(s, 9, info->checksum.value);
    (void)sqlite3_bind_int(s, 10, info->checksum.composite);
    (void)sqlite3_bind_int64(s, 11, info->parts);
    dir_bind_text(s, 12, object->tags);
    dir_bind_text(s, 13, version);
    if (seq != 0) {
        (void)sqlite3_bind_int64(s, 14, seq);
    }
    return dir_index_run(index, SQL_OBJECT_PUT);
}

int dir_index_object_delete(struct dir_index *index, int64_t bucket, const char *key)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_OBJECT_DELETE);

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_object_key(s, bucket, key);
    return dir_index_run(index, SQL_OBJECT_DELETE);
}

int dir_index_put(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                  struct dir_object *object, const struct dir_conditions *conditions)
{
    int ret = check_current(index, bucket->id, key, conditions);

    if (ret != 0) {
        return ret;
    }
    return bucket->versioning == DIR_UNVERSIONED
               ? dir_index_object_put(index, bucket->id, key, object, NULL, 0)
               : dir_version_put(index, bucket, key, object);
}

int dir_index_delete(struct dir_index *index, const struct dir_bucket *bucket, const char *key,
                     struct dir_deletion *deletion)
{
    int ret;

    deletion->marker = false;
    deletion->version_id[0] = '\0';
    if (deletion->version != NULL) {
        return dir_version_delete(index, bucket, key, deletion);
    }
    ret = check_current(index, bucket->id, key, &deletion->conditions);
    if (ret != 0) {
        return ret;
    }
    return bucket->versioning == DIR_UNVERSIONED ? dir_index_object_delete(index, bucket->id, key)
                                                 : dir_version_delete(index, bucket, key, deletion);
}

int dir_index_upload_create(struct dir_index *index, int64_t bucket, const char *key,
                            const char *id, const struct dir_upload *upload)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_UPLOAD_CREATE);
    AUTOFREE char *meta = NULL;
    int ret = dir_meta_pack(&upload->meta, &meta);

    if (ret != 0 || s == NULL) {
        return ret != 0 ? ret : -EIO;
    }
    dir_bind_text(s, 1, id);
    (void)sqlite3_bind_int64(s, 2, bucket);
    dir_bind_key(s, 3, key, strlen(key));
    (void)sqlite3_bind_int64(s, 4, upload->started_ns);
    dir_bind_text(s, 5, meta);
    (void)sqlite3_bind_int(s, 6, (int)upload->checksum.kind);
    (void)sqlite3_bind_int(s, 7, upload->checksum.composite);
    dir_bind_text(s, 8, upload->tags);
    return dir_index_run(index, SQL_UPLOAD_CREATE);
}

static void bind_upload(sqlite3_stmt *s, int64_t bucket, const char *key, const char *id)
{
    dir_bind_text(s, 1, id);
    (void)sqlite3_bind_int64(s, 2, bucket);
    dir_bind_key(s, 3, key, strlen(key));
}

int dir_index_upload_get(struct dir_index *index, int64_t bucket, const char *key, const char *id,
                         struct arena *arena, struct dir_upload *ret)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_UPLOAD_GET);
    int code;
    int r;

    if (s == NULL) {
        return -EIO;
    }
    memset(ret, 0, sizeof(*ret));
    bind_upload(s, bucket, key, id);
    code = sqlite3_step(s);
    r = code == SQLITE_DONE ? -ENOENT : sql_errno(code);
    if (code == SQLITE_ROW) {
        ret->started_ns = sqlite3_column_int64(s, 0);
        ret->checksum.kind = (enum objstore_checksum_kind)sqlite3_column_int(s, 2);
        ret->checksum.composite = sqlite3_column_int(s, 3) != 0;
        ret->tags = dir_column_text(s, 4, arena);
        r = ret->tags == NULL && sqlite3_column_type(s, 4) != SQLITE_NULL ? -ENOMEM : 0;
        r = r == 0 ? dir_meta_unpack((const char *)sqlite3_column_text(s, 1), arena, &ret->meta)
                   : r;
    }
    (void)sqlite3_reset(s);
    return r;
}

int dir_index_part_put(struct dir_index *index, const char *id, uint32_t number,
                       const struct dir_object *part)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_PART_PUT);

    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, id);
    (void)sqlite3_bind_int64(s, 2, number);
    dir_bind_text(s, 3, part->file);
    (void)sqlite3_bind_int64(s, 4, (int64_t)part->info.size);
    dir_bind_text(s, 5, part->info.etag);
    (void)sqlite3_bind_int64(s, 6, part->info.mtime_ns);
    (void)sqlite3_bind_int(s, 7, (int)part->info.checksum.kind);
    dir_bind_text(s, 8, part->info.checksum.value);
    return dir_index_run(index, SQL_PART_PUT);
}

int dir_index_part_list(struct dir_index *index, const char *id, struct arena *arena,
                        struct dir_part_page *page)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_PART_LIST);
    int code = SQLITE_DONE;

    page->count = 0;
    page->parts = arena_array(arena, page->max, sizeof(*page->parts));
    page->files = arena_array(arena, page->max, sizeof(*page->files));
    if (s == NULL || page->parts == NULL || page->files == NULL) {
        return -ENOMEM;
    }
    dir_bind_text(s, 1, id);
    (void)sqlite3_bind_int64(s, 2, page->after);
    (void)sqlite3_bind_int64(s, 3, page->max);
    while (page->count < page->max && (code = sqlite3_step(s)) == SQLITE_ROW) {
        struct objstore_part *part = &page->parts[page->count];

        part->number = (uint32_t)sqlite3_column_int(s, 0);
        page->files[page->count] = dir_column_text(s, 1, arena);
        part->size = (uint64_t)sqlite3_column_int64(s, 2);
        dir_copy_fixed(part->etag, sizeof(part->etag), s, 3);
        part->mtime_ns = sqlite3_column_int64(s, 4);
        part->checksum.kind = (enum objstore_checksum_kind)sqlite3_column_int(s, 5);
        dir_copy_fixed(part->checksum.value, sizeof(part->checksum.value), s, 6);
        page->count++;
    }
    (void)sqlite3_reset(s);
    return sql_errno(code);
}

int dir_index_upload_end(struct dir_index *index, int64_t bucket, const char *key, const char *id)
{
    sqlite3_stmt *s = dir_index_statement(index, SQL_UPLOAD_DELETE);
    int ret;

    if (s == NULL) {
        return -EIO;
    }
    bind_upload(s, bucket, key, id);
    ret = dir_index_run(index, SQL_UPLOAD_DELETE);
    if (ret != 0 || sqlite3_changes(index->db) == 0) {
        return ret != 0 ? ret : -ENOENT;
    }
    s = dir_index_statement(index, SQL_PART_DELETE);
    if (s == NULL) {
        return -EIO;
    }
    dir_bind_text(s, 1, id);
    return dir_index_run(index, SQL_PART_DELETE);
}
