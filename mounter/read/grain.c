/* SPDX-License-Identifier: Apache-2.0 */
/* Versions of objects and the grains of their bytes that are in memory. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/read/reader_internal.h"
#include "util/container.h"
#include "util/hash.h"

/* Smaller ones are not worth a page. */
enum { PAGE_FROM = 32 * 1024 };
_Static_assert((int)READER_GRAIN == (int)CACHE_PAGE_SIZE, "a grain fills a page");

/* ---- versions ---- */

struct version *version_take(struct reader *reader, const char *key, const char *etag,
                             uint64_t size, bool internal)
{
    size_t key_len = strlen(key) + 1;
    size_t len = key_len + strlen(etag) + 1;
    struct version *fresh = calloc(1, sizeof(*fresh) + len);
    struct version *version;

    if (fresh == NULL) {
        return NULL;
    }
    memcpy(fresh->name, key, key_len);
    memcpy(fresh->name + key_len, etag, len - key_len);
    HASH_FIND(hh, reader->versions, fresh->name, len, version);
    if (version != NULL && version->size == size) {
        free(fresh);
        version->users++;
        return version;
    }
    fresh->name_len = len;
    fresh->etag = fresh->name + key_len;
    fresh->hash = hash_bytes(fresh->name, len);
    fresh->size = size;
    fresh->internal = internal;
    fresh->users = 1;
    fresh->random_grains = 1;
    store_name(reader, fresh);
    TAILQ_INIT(&fresh->waits);
    TAILQ_INIT(&fresh->fetches);
    if (version == NULL) { /* else an ETag that says too little: this one is for its node only */
        HASH_ADD_KEYPTR(hh, reader->versions, fresh->name, len, fresh);
        if (fresh->hh.tbl == NULL) {
            free(fresh);
            return NULL;
        }
    }
    return fresh;
}

void version_put(struct reader *reader, struct version *version)
{
    if (--version->users == 0) {
        if (version->hh.tbl != NULL) {
            HASH_DEL(reader->versions, version);
        }
        free(version->failure);
        free(version);
    }
}

/* ---- grains ---- */

static uint64_t hash_of(const struct version *version, uint64_t index)
{
    uint64_t hash = (version->hash ^ index) * UINT64_C(0x9E3779B97F4A7C15);

    return hash ^ (hash >> 29);
}

struct grain *grain_find(struct reader *reader, struct version *version, uint64_t index)
{
    const struct grain_key key = {version, index};
    struct grain *grain;

    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult): a key has no gaps */
    HASH_FIND(hh, reader->grains, &key, sizeof(key), grain);
    return grain;
}

static void free_data(struct reader *reader, struct grain *grain)
{
    if (grain->len >= PAGE_FROM) {
        pages_give(reader->pages, grain->data);
    } else {
        free(grain->data);
    }
}

static void free_grain(struct reader *reader, struct grain *grain) REQUIRES(&reader->lock)
{
    struct version *version = grain->key.version;

    reader->bytes -= grain->len;
    free_data(reader, grain);
    free(grain);
    version_put(reader, version);
    cond_broadcast(&reader->changed);
}

void grain_drop(struct reader *reader, struct grain *grain)
{
    if (!grain->dead) {
        HASH_DEL(reader->grains, grain);
        fifo_remove(reader->fifo, &grain->order);
        grain->dead = true;
    }
    if (grain->users == 0) {
        free_grain(reader, grain);
    }
}

static bool may_go(struct fifo_entry *entry, void *arg)
{
    const struct grain *grain = container_of(entry, struct grain, order);
    const bool *unread_too = arg;

    return grain->users == 0 && (!grain->unread || *unread_too);
}

/* Put one out. What was read ahead and not asked for yet stays as long as there is something else.
 */
static bool put_one_out(struct reader *reader, bool unread_too) REQUIRES(&reader->lock)
{
    bool no = false;
    struct fifo_entry *entry = fifo_victim(reader->fifo, may_go, &no);

    if (entry == NULL && unread_too) {
        entry = fifo_victim(reader->fifo, may_go, &unread_too);
    }
    if (entry == NULL) {
        return false;
    }
    grain_drop(reader, container_of(entry, struct grain, order));
    return true;
}

void grain_shrink(struct reader *reader)
{
    while (reader->bytes > reader->limit && put_one_out(reader, false)) {
    }
}

static char *new_data(struct reader *reader, uint32_t len, bool unread_too) REQUIRES(&reader->lock)
{
    char *data;

    while (reader->bytes + len > reader->limit) {
        if (!put_one_out(reader, unread_too)) {
            return NULL;
        }
    }
    if (len < PAGE_FROM) {
        return malloc(len);
    }
    while ((data = pages_take(reader->pages)) == NULL) {
        if (!put_one_out(reader, unread_too)) {
            return NULL;
        }
    }
    return data;
}

struct grain *grain_new(struct reader *reader, struct version *version, uint64_t index, bool ahead)
{
    uint64_t left = version->size - index * READER_GRAIN;
    struct grain *grain = calloc(1, sizeof(*grain));

    if (grain == NULL) {
        return NULL;
    }
    grain->len = left < READER_GRAIN ? (uint32_t)left : READER_GRAIN;
    grain->data = new_data(reader, grain->len, !ahead);
    if (grain->data == NULL) {
        free(grain);
        return NULL;
    }
    grain->key = (struct grain_key){version, index};
    grain->unread = true;
    HASH_ADD(hh, reader->grains, key, sizeof(grain->key), grain);
    if (grain->hh.tbl == NULL) {
        free_data(reader, grain);
        free(grain);
        return NULL;
    }
    reader->bytes += grain->len;
    version->users++;
    return grain;
}

void grain_ready(struct reader *reader, struct grain *grain)
{
    grain->ready = true;
    if (!grain->dead) {
        fifo_add(reader->fifo, &grain->order, hash_of(grain->key.version, grain->key.index),
                 grain->len);
    }
}

void grain_use(struct grain *grain, bool counts)
{
    grain->users++;
    if (!grain->unread && counts) {
        fifo_used(&grain->order);
    }
    grain->unread = false;
}

void grain_put(struct reader *reader, struct grain *grain)
{
    grain->users--;
    if (grain->dead && grain->users == 0 && grain->ready) {
        free_grain(reader, grain);
    } else if (grain->users == 0) {
        cond_broadcast(&reader->changed);
    }
}

void grain_drop_all(struct reader *reader, struct version *version)
{
    uint64_t count = (version->size + READER_GRAIN - 1) / READER_GRAIN;
    struct grain *grain;
    struct grain *next;

    if (count <= HASH_COUNT(reader->grains)) {
        for (uint64_t i = 0; i < count; i++) {
            grain = grain_find(reader, version, i);
            if (grain != NULL && grain->ready && grain->users == 0) {
                grain_drop(reader, grain);
            }
        }
        return;
    }
    HASH_ITER(hh, reader->grains, grain, next)
    {
        if (grain->key.version == version && grain->ready && grain->users == 0) {
            grain_drop(reader, grain);
        }
    }
}
