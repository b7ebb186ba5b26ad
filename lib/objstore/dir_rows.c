/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/dir_rows.h"

#include <stdlib.h>
#include <string.h>

#include "objstore/result_copy.h"
#include "util/hash.h"

/* WORDS_MAX: of the key, the file's name, what the client said of the object. */
enum { ROWS = 512, WORDS_MAX = 3072 };

/* The -shm file, from SQLite's description of its format: it begins with the head, twice. Who
 * changes it writes the second first, who reads it believes two that are the same. */
enum { MAP_SIZE = 32768, HEAD_WORDS = 12, HEAD_VERSION = 3007000 };

struct head {
    uint32_t words[HEAD_WORDS];
};

struct row {
    uint64_t epoch; /* it was read in; 0: none is here */
    struct dir_bucket bucket;
    const char *key;
    struct dir_object object;
    struct arena words;
};

struct dir_rows {
    sqlite3 *db;
    const volatile uint32_t *log; /* in shared memory */
    struct head head;             /* that the rows of `epoch` were read with */
    bool settled;                 /* it is one that counts */
    uint64_t epoch;
    struct row rows[ROWS];
};

static struct head read_head(const volatile uint32_t *from)
{
    struct head head;

    for (size_t i = 0; i < HEAD_WORDS; i++) {
        head.words[i] = __atomic_load_n(&from[i], __ATOMIC_ACQUIRE);
    }
    return head;
}

static bool same(const struct head *a, const struct head *b)
{
    return memcmp(a->words, b->words, sizeof(a->words)) == 0;
}

/* The head as it is; false while somebody changes it. The order is the other one than who writes
 * has, as SQLite's own: each load is done before the next. */
static bool look(const struct dir_rows *rows, struct head *ret)
{
    struct head second;

    *ret = read_head(rows->log);
    second = read_head(rows->log + HEAD_WORDS);
    return same(ret, &second);
}

struct dir_rows *dir_rows_new(sqlite3 *db)
{
    sqlite3_file *file = NULL;
    volatile void *map = NULL;
    struct dir_rows *rows;

    if (sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
        file == NULL || file->pMethods == NULL || file->pMethods->iVersion < 2 ||
        file->pMethods->xShmMap(file, 0, MAP_SIZE, 0, &map) != SQLITE_OK || map == NULL) {
        return NULL;
    }
    rows = calloc(1, sizeof(*rows));
    if (rows == NULL) {
        return NULL;
    }
    rows->db = db;
    rows->log = map;
    rows->epoch = 1;
    return rows;
}

void dir_rows_free(struct dir_rows *rows)
{
    for (size_t i = 0; rows != NULL && i < ROWS; i++) {
        arena_done(&rows->rows[i].words);
    }
    free(rows);
}

static struct row *place_of(struct dir_rows *rows, const struct dir_bucket *bucket, const char *key)
{
    uint64_t hash = hash_more(hash_bytes(&bucket->id, sizeof(bucket->id)), key, strlen(key));

    return &rows->rows[(hash ^ hash >> 32) % ROWS];
}

static bool copy(struct arena *arena, const struct dir_object *from, struct dir_object *ret)
{
    *ret = *from;
    ret->file = arena_strdup(arena, from->file);
    ret->tags = arena_strdup(arena, from->tags);
    return (ret->file != NULL || from->file == NULL) && (ret->tags != NULL || from->tags == NULL) &&
           objstore_meta_copy(arena, &from->info.meta, &ret->info.meta) == 0;
}

bool dir_rows_find(struct dir_rows *rows, const struct dir_bucket *bucket, const char *key,
                   struct arena *arena, struct dir_object *ret)
{
    const struct row *row = place_of(rows, bucket, key);
    struct head head;

    if (!look(rows, &head) || head.words[0] != HEAD_VERSION) {
        rows->settled = false;
        return false;
    }
    if (!rows->settled || !same(&head, &rows->head)) {
        rows->head = head;
        rows->settled = true;
        rows->epoch++;
        return false;
    }
    return row->epoch == rows->epoch && row->bucket.id == bucket->id &&
           row->bucket.versioning == bucket->versioning && strcmp(row->key, key) == 0 &&
           copy(arena, &row->object, ret);
}

void dir_rows_keep(struct dir_rows *rows, const struct dir_bucket *bucket, const char *key,
                   const struct dir_object *object)
{
    struct row *row = place_of(rows, bucket, key);
    struct head head;

    /* What another statement still has open would be of an older moment. */
    if (!rows->settled || sqlite3_txn_state(rows->db, NULL) != SQLITE_TXN_NONE ||
        !look(rows, &head) || !same(&head, &rows->head)) {
        return;
    }
    row->epoch = 0;
    row->words.max = WORDS_MAX; /* else a place that nobody uses would be memory, too */
    arena_reset(&row->words);
    row->bucket = *bucket;
    row->key = arena_strdup(&row->words, key);
    if (row->key != NULL && copy(&row->words, object, &row->object)) {
        row->epoch = rows->epoch;
    }
}
