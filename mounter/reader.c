/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading an object: chunks of 1 MiB, fetched by ranged GETs under If-Match, several at once, kept
 * until memory is needed. A chunk is LOADING (somebody fetches it, others wait for fs->changed) or
 * has its bytes or its error.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/fs.h"
#include "objstore/objstore_call.h"

enum { CHUNK_SIZE = 1 << 20, AHEAD_MAX = 16, READ_TIMEOUT_MS = 55000, TRIES = 3 };

struct chunk_key {
    uint64_t index;
    uint32_t ino;
    uint32_t pad;
    char etag[STATE_ETAG_SIZE];
};

struct chunk {
    UT_hash_handle hh;
    TAILQ_ENTRY(chunk) lru;
    struct chunk_key key;
    bool loading;
    bool dead; /* forgotten while it was loading */
    int error;
    uint32_t users;
    size_t len;
    char *data;
};

static struct chunk *find_chunk(struct fs *fs, const struct chunk_key *key) REQUIRES(&fs->lock)
{
    struct chunk *chunk;

    HASH_FIND(hh, fs->chunks, key, sizeof(*key), chunk);
    return chunk;
}

static void drop_chunk(struct fs *fs, struct chunk *chunk) REQUIRES(&fs->lock)
{
    if (!chunk->dead) {
        HASH_DEL(fs->chunks, chunk);
        TAILQ_REMOVE(&fs->chunk_lru, chunk, lru);
        chunk->dead = true;
    }
    if (chunk->loading || chunk->users > 0) {
        return; /* the last user comes here again */
    }
    fs->chunk_bytes -= chunk->len;
    free(chunk->data);
    free(chunk);
}

static void make_room(struct fs *fs) REQUIRES(&fs->lock)
{
    struct chunk *chunk = TAILQ_FIRST(&fs->chunk_lru);

    while (chunk != NULL && fs->chunk_bytes > fs->options.memory_bytes / 3) {
        struct chunk *next = TAILQ_NEXT(chunk, lru);

        if (!chunk->loading && chunk->users == 0) {
            drop_chunk(fs, chunk);
        }
        chunk = next;
    }
}

static struct chunk *new_chunk(struct fs *fs, const struct chunk_key *key, size_t len)
    REQUIRES(&fs->lock)
{
    struct chunk *chunk = calloc(1, sizeof(*chunk));

    make_room(fs);
    if (chunk == NULL || (chunk->data = malloc(len)) == NULL) {
        free(chunk);
        return NULL;
    }
    chunk->key = *key;
    chunk->len = len;
    chunk->loading = true;
    HASH_ADD(hh, fs->chunks, key, sizeof(chunk->key), chunk);
    if (chunk->hh.tbl == NULL) {
        free(chunk->data);
        free(chunk);
        return NULL;
    }
    fs->chunk_bytes += len;
    TAILQ_INSERT_TAIL(&fs->chunk_lru, chunk, lru);
    return chunk;
}

/* One GET under way: it owns itself, and ends in fetched(). */
struct fetch {
    struct objstore_request request;
    struct fs *fs;
    struct chunk *chunk;
    size_t got;
    char *key;
};

static int take_bytes(struct objstore_request *request, const void *data, size_t len)
{
    struct fetch *f = request->arg;

    if (len > f->chunk->len - f->got) {
        return -EBADMSG;
    }
    memcpy(f->chunk->data + f->got, data, len);
    f->got += len;
    return 0;
}

static void fetched(struct objstore_request *request, const struct objstore_result *result)
{
    struct fetch *f = request->arg;
    struct fs *fs = f->fs;
    struct chunk *chunk = f->chunk;
    int error = result->status;

    if (error == 0 && f->got != chunk->len) {
        error = -EIO;
    }
    mutex_lock(&fs->lock);
    chunk->loading = false;
    chunk->error = error == -ENOENT ? -ESTALE : error;
    if (chunk->dead || error != 0) {
        drop_chunk(fs, chunk); /* those who wait hold it, and see its error */
    }
    cond_broadcast(&fs->changed);
    mutex_unlock(&fs->lock);
    free(f->key);
    free(f);
}

static struct fetch *new_fetch(struct fs *fs, struct chunk *chunk, const char *key)
    REQUIRES(&fs->lock)
{
    struct fetch *f = calloc(1, sizeof(*f));

    if (f == NULL || (f->key = strdup(key)) == NULL) {
        free(f);
        chunk->loading = false;
        chunk->error = -ENOMEM;
        drop_chunk(fs, chunk);
        return NULL;
    }
    f->fs = fs;
    f->chunk = chunk;
    f->request = (struct objstore_request){
        .op = OBJSTORE_GET,
        .key = f->key,
        .range = {chunk->key.index * CHUNK_SIZE, chunk->len},
        .if_match = chunk->key.etag[0] != '\0' ? chunk->key.etag : NULL,
        .timeout_ms = READ_TIMEOUT_MS,
        .sink = {.write = take_bytes},
        .done = fetched,
        .arg = f,
    };
    return f;
}

/* What to read: the version, and where it lies. */
struct plan {
    struct chunk_key key;
    char *object;
    uint64_t size; /* of the object */
    bool internal;
    uint64_t ahead; /* chunks to fetch beyond what was asked for */
};

static void start_fetch(struct fs *fs, struct fetch *f, bool internal)
{
    if (internal) {
        volume_submit_internal(fs->volume, &f->request);
    } else {
        volume_submit(fs->volume, &f->request);
    }
}

/* The chunk of plan->key, held; it and those ahead are being fetched if they were not there. */
static struct chunk *want_chunk(struct fs *fs, struct plan *plan)
{
    struct fetch *fetches[AHEAD_MAX + 1];
    size_t count = 0;
    struct chunk *wanted = NULL;
    uint64_t first = plan->key.index;

    mutex_lock(&fs->lock);
    for (uint64_t i = 0; i <= plan->ahead && (first + i) * CHUNK_SIZE < plan->size; i++) {
        uint64_t left = plan->size - (first + i) * CHUNK_SIZE;
        struct chunk *chunk;

        plan->key.index = first + i;
        chunk = find_chunk(fs, &plan->key);
        if (chunk == NULL) {
            chunk = new_chunk(fs, &plan->key, left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE);
            if (chunk == NULL) {
                break;
            }
            fetches[count] = new_fetch(fs, chunk, plan->object);
            if (fetches[count] == NULL) {
                break;
            }
            count++;
        } else if (i == 0) {
            TAILQ_REMOVE(&fs->chunk_lru, chunk, lru);
            TAILQ_INSERT_TAIL(&fs->chunk_lru, chunk, lru);
        }
        if (i == 0) {
            wanted = chunk;
            wanted->users++;
        }
    }
    plan->key.index = first;
    mutex_unlock(&fs->lock);
    for (size_t i = 0; i < count; i++) {
        start_fetch(fs, fetches[i], plan->internal);
    }
    return wanted;
}

static int read_chunk(struct fs *fs, struct plan *plan, uint64_t offset, char *buffer, size_t len)
{
    struct chunk *chunk = want_chunk(fs, plan);
    int ret = -ENOMEM;

    if (chunk == NULL) {
        return ret;
    }
    mutex_lock(&fs->lock);
    while (chunk->loading) {
        cond_wait_ms(&fs->changed, &fs->lock, READ_TIMEOUT_MS); /* the GET has its own deadline */
    }
    ret = chunk->error;
    if (ret == 0) {
        memcpy(buffer, chunk->data + offset % CHUNK_SIZE, len);
    }
    chunk->users--;
    if (chunk->dead) {
        drop_chunk(fs, chunk);
    }
    mutex_unlock(&fs->lock);
    return ret;
}

/* Sequential readers get a growing window ahead, others none. */
static uint64_t window(struct node *node, uint64_t offset, size_t len)
{
    if (offset == node->next_read || (offset == 0 && node->next_read == 0)) {
        node->window = node->window == 0 ? CHUNK_SIZE : node->window * 2;
        if (node->window > (uint64_t)AHEAD_MAX * CHUNK_SIZE) {
            node->window = (uint64_t)AHEAD_MAX * CHUNK_SIZE;
        }
    } else if (offset > node->next_read + node->window || offset + node->window < node->next_read) {
        node->window = 0;
    }
    node->next_read = offset + len;
    return node->window / CHUNK_SIZE;
}

static int make_plan(struct fs *fs, uint32_t ino, uint64_t offset, size_t len, struct plan *ret)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    const struct inode_rec *rec;
    struct node *node;
    int r = -ESTALE;

    memset(ret, 0, sizeof(*ret));
    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    if (node != NULL) {
        rec = fs_rec(fs, node);
        r = fs_data_key(fs, node, &key);
        memcpy(ret->key.etag, rec->etag, sizeof(ret->key.etag));
        ret->key.ino = ino;
        ret->size = rec->base_size;
        ret->internal = rec->hidden != 0;
        ret->ahead = window(node, offset, len);
    }
    mutex_unlock(&fs->lock);
    if (r == 0) {
        ret->object = strdup(buf_str(&key));
        r = ret->object == NULL ? -ENOMEM : 0;
    }
    return r;
}

int reader_read(struct fs *fs, uint32_t ino, uint64_t offset, char *buffer, size_t len)
{
    struct plan plan;
    int ret = make_plan(fs, ino, offset, len, &plan);

    while (ret == 0 && len > 0) {
        size_t room = CHUNK_SIZE - (size_t)(offset % CHUNK_SIZE);
        size_t here = len < room ? len : room;

        if (offset + here > plan.size) {
            ret = -ESTALE; /* the object has become shorter since the caller looked */
            break;
        }
        plan.key.index = offset / CHUNK_SIZE;
        ret = read_chunk(fs, &plan, offset, buffer, here);
        offset += here;
        buffer += here;
        len -= here;
    }
    free(plan.object);
    return ret;
}

void reader_forget(struct fs *fs, uint32_t ino)
{
    struct chunk *chunk = TAILQ_FIRST(&fs->chunk_lru);

    while (chunk != NULL) {
        struct chunk *next = TAILQ_NEXT(chunk, lru);

        if (chunk->key.ino == ino) {
            drop_chunk(fs, chunk);
        }
        chunk = next;
    }
}

void reader_done(struct fs *fs)
{
    struct chunk *chunk;

    while ((chunk = TAILQ_FIRST(&fs->chunk_lru)) != NULL) {
        drop_chunk(fs, chunk);
    }
}
