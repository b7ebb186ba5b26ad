/* SPDX-License-Identifier: Apache-2.0 */
/* Who reads what, who waits for it, and how far to read ahead. */
#include "mounter/read/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/read/reader_internal.h"
#include "mounter/session/eio.h"

enum {
    CANCELLED_MAX = 3,
    MEMORY_WAIT_MS = 55000,
    IDLE_MS = 10000,
    SMALL_OBJECT = 256 * 1024, /* read whole, wherever the reader begins */
    RANDOM_GRAINS_MAX = 16,
    RANDOM_SAMPLE = 32,
    GRAIN = READER_GRAIN,
};

/* ---- waits ---- */

void reader_settle(struct reader *reader, struct grain *const *grains, uint32_t count, int error,
                   struct reader_waits *over)
{
    struct version *version = count > 0 ? grains[0]->key.version : NULL;
    struct reader_wait *wait = version != NULL ? TAILQ_FIRST(&version->waits) : NULL;
    struct reader_wait *next;

    for (; wait != NULL; wait = next) {
        uint64_t first = wait->offset / GRAIN;

        next = TAILQ_NEXT(wait, link);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t at = grains[i]->key.index - first; /* huge when it lies before */

            if (at < wait->count && wait->grains[at] == grains[i]) {
                wait->missing--;
                wait->error = error != 0 ? error : wait->error;
            }
        }
        if (wait->missing == 0 || wait->error != 0) {
            TAILQ_REMOVE(&version->waits, wait, link);
            wait->over = true;
            if (wait->armed) {
                TAILQ_INSERT_TAIL(over, wait, link);
            }
        }
    }
    cond_broadcast(&reader->changed);
}

void reader_tell(struct reader_waits *over)
{
    struct reader_wait *wait;

    while ((wait = TAILQ_FIRST(over)) != NULL) {
        TAILQ_REMOVE(over, wait, link);
        wait->done(wait);
    }
}

bool reader_arm(struct fs *fs, struct reader_wait *wait)
{
    bool over;

    mutex_lock(&fs->reader->lock);
    over = wait->over;
    wait->armed = true;
    mutex_unlock(&fs->reader->lock);
    return over;
}

int reader_iov(const struct reader_wait *wait, struct iovec iov[READER_GRAINS_MAX])
{
    size_t at = (size_t)(wait->offset % GRAIN);
    size_t left = wait->len;

    for (uint32_t i = 0; i < wait->count; i++) {
        size_t here = wait->grains[i]->len - at < left ? wait->grains[i]->len - at : left;

        iov[i] = (struct iovec){wait->grains[i]->data + at, here};
        left -= here;
        at = 0;
    }
    return (int)wait->count;
}

void reader_end(struct fs *fs, struct reader_wait *wait)
{
    struct reader *reader = fs->reader;

    mutex_lock(&reader->lock);
    for (uint32_t i = 0; i < wait->count; i++) {
        grain_put(reader, wait->grains[i]);
    }
    if (wait->version != NULL) {
        version_put(reader, wait->version);
    }
    wait->version = NULL;
    wait->count = 0;
    mutex_unlock(&reader->lock);
}

/* ---- how much at once ---- */

/* How many streams are being read: those of this second or the one before; at least 1. */
static uint32_t streams_now(struct reader *reader, uint64_t now_ms) REQUIRES(&reader->lock)
{
    uint64_t second = now_ms / 1000;
    uint32_t streams;

    if (second != reader->second) {
        reader->streams_before = second == reader->second + 1 ? reader->streams : 0;
        reader->streams = 0;
        reader->second = second;
    }
    streams = reader->streams > reader->streams_before ? reader->streams : reader->streams_before;
    return streams > 0 ? streams : 1;
}

/* Random reads fetch more at a time while what was fetched beside them is of use. */
static void count_random(struct version *version, bool hit)
{
    version->random_hits += hit ? 1 : 0;
    if (++version->random_count < RANDOM_SAMPLE) {
        return;
    }
    if (version->random_hits * 2 > version->random_count) {
        version->random_grains *= version->random_grains < RANDOM_GRAINS_MAX ? 2 : 1;
    } else if (version->random_hits * 8 < version->random_count && version->random_grains > 1) {
        version->random_grains /= 2;
    }
    version->random_hits = 0;
    version->random_count = 0;
}

struct need {
    uint64_t first, last; /* grains that are asked for */
    uint64_t upto;        /* the last one that is fetched with them */
    uint64_t limit;
    struct window_stream *stream;
};

static bool all_there(struct reader *reader, struct version *version, uint64_t first, uint64_t last)
    REQUIRES(&reader->lock)
{
    for (uint64_t i = first; i <= last; i++) {
        const struct grain *grain = grain_find(reader, version, i);

        if (grain == NULL || !grain->ready) {
            return false;
        }
    }
    return true;
}

static void plan(struct reader *reader, struct version *version, const struct reader_range *range,
                 struct need *ret) REQUIRES(&reader->lock)
{
    uint64_t now = fs_now_ms();
    uint64_t end = (version->size - 1) / GRAIN;
    uint64_t before_ms;
    uint32_t streams;
    bool there;

    *ret = (struct need){.first = range->offset / GRAIN,
                         .last = (range->offset + range->len - 1) / GRAIN};
    ret->upto = ret->last;
    reader->used_ms = now;
    if (range->handle != 0) {
        streams = streams_now(reader, now);
        ret->limit = reader->limit / 4 * 3 / streams; /* they share the memory */
        ret->stream = window_read(&version->windows, range->handle, range->offset, range->len, now,
                                  &before_ms);
        reader->streams += ret->stream->size > 0 && before_ms / 1000 != now / 1000;
        window_bound(ret->stream, ret->limit, streams);
    }
    there = all_there(reader, version, ret->first, ret->last);
    if (version->size <= SMALL_OBJECT || (version->size <= WINDOW_FIRST && range->offset == 0)) {
        ret->first = there ? ret->first : 0;
        ret->upto = end;
    } else if (ret->stream != NULL && ret->stream->size == 0) {
        count_random(version, there);
        ret->upto = there ? ret->last : ret->last + version->random_grains - 1;
    } else if (ret->stream != NULL && !there) {
        uint64_t offset;
        uint64_t len;

        window_starved(ret->stream, ret->limit);
        if (ret->stream->asked <= ret->stream->next &&
            window_next(ret->stream, version->size, GRAIN, &offset, &len)) {
            ret->upto = (offset + len - 1) / GRAIN; /* one GET for both */
        }
    }
    ret->upto = ret->upto < end ? ret->upto : end;
}

static void read_ahead(struct reader *reader, struct version *version, struct need *need,
                       struct fetch_list *start) REQUIRES(&reader->lock)
{
    uint64_t offset;
    uint64_t len;

    while (need->stream != NULL && window_next(need->stream, version->size, GRAIN, &offset, &len)) {
        const struct fetch_range range = {offset / GRAIN, (offset + len - 1) / GRAIN, true};

        if (fetch_missing(reader, version, &range, start) != 0) {
            need->stream->asked = offset; /* memory is short: less from now on */
            need->stream->size /= 2;
            break;
        }
    }
}

/* ---- beginning ---- */

/* A node was of this version. `old`: its bytes are of no use any more. */
static void leave(struct reader *reader, struct version *version, bool old) REQUIRES(&reader->lock)
{
    version->nodes--;
    fetch_cancel(reader, version);
    if (old && version->nodes == 0) {
        grain_drop_all(reader, version);
    }
    version_put(reader, version);
}

static int attach(struct fs *fs, struct node *node) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);
    const struct inode_rec *rec = fs_rec(fs, node);
    struct reader *reader = fs->reader;
    struct version *version;
    int ret = fs_data_key(fs, node, &key);

    if (ret != 0) {
        return ret;
    }
    mutex_lock(&reader->lock);
    version = version_take(reader, buf_str(&key), rec->etag, rec->base_size, rec->hidden != 0);
    if (version != NULL) {
        version->nodes++;
    }
    if (node->version != NULL) {
        leave(reader, node->version, strcmp(node->version->etag, rec->etag) != 0);
    }
    node->version = version;
    mutex_unlock(&reader->lock);
    return version != NULL ? 0 : -ENOMEM;
}

/* What the node is based on: under this ETag, and under this key if anything has to be fetched. */
static bool is_attached(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    const struct inode_rec *rec = fs_rec(fs, node);

    return node->version != NULL && strcmp(node->version->etag, rec->etag) == 0 &&
           node->version->size == rec->base_size;
}

static bool has_its_key(struct fs *fs, const struct node *node) REQUIRES(&fs->lock)
{
    CLEANUP(buf_done) struct buf key = BUF_INIT(2 * OBJSTORE_KEY_MAX);

    return fs_data_key(fs, node, &key) == 0 &&
           strcmp(buf_str(&key), version_key(node->version)) == 0;
}

/* Register for the grains of [first, last], which are all there or being fetched. */
static int join(struct reader *reader, struct version *version, const struct reader_range *range,
                const struct need *need, struct reader_wait *wait) REQUIRES(&reader->lock)
{
    uint64_t first = range->offset / GRAIN;
    bool random = need->stream == NULL || need->stream->size == 0;

    *wait = (struct reader_wait){
        .arg = wait->arg, .done = wait->done, .offset = range->offset, .len = range->len};
    for (uint64_t i = first; i <= need->last; i++) {
        struct grain *grain = grain_find(reader, version, i);

        grain_use(grain, random || range->offset <= i * GRAIN);
        wait->grains[wait->count++] = grain;
        wait->missing += grain->ready ? 0 : 1;
    }
    wait->version = version;
    version->users++;
    if (wait->missing == 0) {
        wait->over = true;
        return 0;
    }
    TAILQ_INSERT_TAIL(&version->waits, wait, link);
    return -EINPROGRESS;
}

static int begin_locked(struct reader *reader, struct version *version,
                        const struct reader_range *range, struct reader_wait *wait,
                        struct fetch_list *start) REQUIRES(&reader->lock)
{
    struct grain *held[READER_GRAINS_MAX] = {NULL};
    struct need need;
    uint64_t first = range->offset / GRAIN;
    int ret;

    plan(reader, version, range, &need);
    /* What is there stays while room is made for the rest. */
    for (uint64_t i = first; i <= need.last; i++) {
        held[i - first] = grain_find(reader, version, i);
        if (held[i - first] != NULL) {
            held[i - first]->users++;
        }
    }
    ret =
        fetch_missing(reader, version, &(struct fetch_range){need.first, need.upto, false}, start);
    if (ret != 0) {
        ret = fetch_missing(reader, version, &(struct fetch_range){first, need.last, false}, start);
    }
    if (ret == 0) {
        ret = join(reader, version, range, &need, wait);
        read_ahead(reader, version, &need, start);
    }
    for (uint64_t i = first; i <= need.last; i++) {
        if (held[i - first] != NULL) {
            grain_put(reader, held[i - first]);
        }
    }
    return ret;
}

void reader_about(struct fs *fs, const struct node *node)
{
    const struct version *version = node->version;

    if (version == NULL) {
        eio_about("ETag %s: not asked for", fs_rec(fs, node)->etag);
        return;
    }
    mutex_lock(&fs->reader->lock);
    eio_about("%s %s: %s", version_key(version), version->etag,
              version->failure != NULL ? version->failure : "no GET has failed");
    mutex_unlock(&fs->reader->lock);
}

bool reader_has(struct fs *fs, const struct node *node, uint64_t offset, size_t len)
{
    struct reader *reader = fs->reader;
    bool there;

    if (!is_attached(fs, node)) {
        return false;
    }
    mutex_lock(&reader->lock);
    there = all_there(reader, node->version, offset / GRAIN, (offset + len - 1) / GRAIN);
    mutex_unlock(&reader->lock);
    return there;
}

int reader_begin(struct fs *fs, struct node *node, const struct reader_range *range,
                 struct reader_wait *wait, struct fetch_list *ret_start)
{
    struct reader *reader = fs->reader;
    int ret = is_attached(fs, node) ? 0 : attach(fs, node);
    bool there;

    STAILQ_INIT(ret_start);
    if (ret != 0) {
        return ret;
    }
    mutex_lock(&reader->lock);
    there = all_there(reader, node->version, range->offset / GRAIN,
                      (range->offset + range->len - 1) / GRAIN);
    mutex_unlock(&reader->lock);
    if (!there && !has_its_key(fs, node)) {
        ret = attach(fs, node);
    }
    if (ret == 0) {
        mutex_lock(&reader->lock);
        ret = begin_locked(reader, node->version, range, wait, ret_start);
        mutex_unlock(&reader->lock);
    }
    return ret;
}

void reader_detach(struct fs *fs, struct node *node, bool old)
{
    struct reader *reader = fs->reader;

    if (node->version != NULL) {
        mutex_lock(&reader->lock);
        leave(reader, node->version, old);
        node->version = NULL;
        mutex_unlock(&reader->lock);
    }
}

void reader_quiet(struct fs *fs, struct node *node)
{
    struct reader *reader = fs->reader;

    if (node->version != NULL) {
        mutex_lock(&reader->lock);
        fetch_cancel(reader, node->version);
        memset(&node->version->windows, 0, sizeof(node->version->windows));
        mutex_unlock(&reader->lock);
    }
}

/* ---- files that will be read soon ---- */

int reader_prefetch(struct fs *fs, const struct reader_file *file, struct fetch_list *start)
{
    struct reader *reader = fs->reader;
    uint64_t last = (file->size - 1) / GRAIN;
    struct version *version;
    struct fetch_list own = STAILQ_HEAD_INITIALIZER(own);
    int ret = -ENOMEM;

    mutex_lock(&reader->lock);
    version = version_take(reader, file->key, file->etag, file->size, false);
    for (uint64_t i = 0; version != NULL && i <= last; i++) {
        ret = grain_find(reader, version, i) != NULL ? -EEXIST : ret;
    }
    if (version != NULL && ret != -EEXIST) {
        struct fetch *f;

        (void)!fetch_missing(reader, version, &(struct fetch_range){0, last, true}, &own);
        f = STAILQ_FIRST(&own);
        STAILQ_CONCAT(start, &own);
        ret = f != NULL && f->from_disk ? -EEXIST : ret;
        if (f != NULL && !f->from_disk) {
            f->arrived = file->arrived;
            f->arrived_arg = file->arg;
            ret = 0;
        }
    }
    if (version != NULL) {
        version_put(reader, version);
    }
    mutex_unlock(&reader->lock);
    return ret;
}

/* One that nobody can have waited for: it is found when it is ready. False: no room, or there. */
static bool keep_grain(struct reader *reader, struct version *version, uint64_t index,
                       struct data_image *image) REQUIRES(&reader->lock)
{
    struct grain *grain =
        grain_find(reader, version, index) == NULL ? grain_new(reader, version, index, true) : NULL;
    uint32_t got = 0;

    while (grain != NULL && got < grain->len) {
        ssize_t n = data_image_read(reader->fs->state, image, grain->data + got, grain->len - got);

        if (n <= 0) {
            break;
        }
        got += (uint32_t)n;
    }
    if (grain == NULL) {
        return false;
    }
    grain->unread = false;
    grain_ready(reader, grain);
    if (got < grain->len) {
        grain_drop(reader, grain);
    }
    return got == grain->len;
}

void reader_keep(struct fs *fs, const char *key, const char *etag, struct data_image *image)
{
    struct reader *reader = fs->reader;
    uint64_t count = (image->len + GRAIN - 1) / GRAIN;
    struct version *version;
    bool more = true;

    if (etag[0] == '\0' || strncmp(key, VOLUME_RESERVED, strlen(VOLUME_RESERVED)) == 0) {
        return;
    }
    data_image_rewind(image);
    mutex_lock(&reader->lock);
    version = version_take(reader, key, etag, image->len, false);
    mutex_unlock(&reader->lock);
    for (uint64_t i = 0; version != NULL && more && i < count; i++) {
        mutex_lock(&reader->lock);
        more = keep_grain(reader, version, i, image);
        mutex_unlock(&reader->lock);
    }
    if (version != NULL) {
        mutex_lock(&reader->lock);
        version_put(reader, version);
        mutex_unlock(&reader->lock);
    }
}

uint64_t reader_limit(const struct fs *fs)
{
    uint64_t limit;

    mutex_lock(&fs->reader->lock);
    limit = fs->reader->limit;
    mutex_unlock(&fs->reader->lock);
    return limit;
}

void reader_give_way(struct fs *fs, uint64_t bytes)
{
    struct reader *reader = fs->reader;
    uint64_t least = reader->limit_full / 4;
    uint64_t limit = bytes < reader->limit_full - least ? reader->limit_full - bytes : least;
    bool less;

    mutex_lock(&reader->lock);
    less = limit < reader->limit;
    reader->limit = limit;
    grain_shrink(reader);
    mutex_unlock(&reader->lock);
    if (less) {
        pages_trim(reader->pages, 0);
    }
}

/* ---- for those who can wait ---- */

static void wait_over(struct fs *fs, const struct reader_wait *wait)
{
    mutex_lock(&fs->reader->lock);
    while (!wait->over) { /* GETs have a deadline, and with it this */
        cond_wait_ms(&fs->reader->changed, &fs->reader->lock, MEMORY_WAIT_MS);
    }
    mutex_unlock(&fs->reader->lock);
}

/* Within one grain or few. -ENOMEM: others have the memory now. */
static int read_piece(struct fs *fs, uint32_t ino, const struct reader_range *range, char *buffer)
{
    struct reader_wait wait = {0};
    struct fetch_list start = STAILQ_HEAD_INITIALIZER(start);
    struct iovec iov[READER_GRAINS_MAX];
    struct node *node;
    int count;
    int ret = -ESTALE;

    mutex_lock(&fs->lock);
    node = fs_node(fs, ino);
    /* Too short: the object has become so since the caller looked. */
    if (node != NULL && range->offset + range->len <= fs_rec(fs, node)->base_size) {
        ret = reader_begin(fs, node, range, &wait, &start);
    }
    mutex_unlock(&fs->lock);
    reader_start(fs, &start);
    if (ret != 0 && ret != -EINPROGRESS) {
        return ret;
    }
    wait_over(fs, &wait);
    ret = wait.error;
    count = ret == 0 ? reader_iov(&wait, iov) : 0;
    for (int i = 0; i < count; i++) {
        memcpy(buffer, iov[i].iov_base, iov[i].iov_len);
        buffer += iov[i].iov_len;
    }
    reader_end(fs, &wait);
    return ret;
}

int reader_read(struct fs *fs, uint32_t ino, uint64_t offset, char *buffer, size_t len)
{
    uint64_t until = fs_now_ms() + MEMORY_WAIT_MS;
    size_t most = READER_LEN_MAX;
    uint32_t cancelled = 0;
    int ret = 0;

    while (ret == 0 && len > 0) {
        size_t room = most - (size_t)(offset % most);
        struct reader_range range = {.offset = offset, .len = len < room ? len : room};

        ret = read_piece(fs, ino, &range, buffer);
        /* A GET ahead that was no longer wanted, and whose end we have waited for: now our own. */
        if (ret == -ECANCELED && cancelled++ < CANCELLED_MAX) {
            ret = 0;
            continue;
        }
        if (ret == -ENOMEM && fs_now_ms() < until) {
            most = GRAIN; /* one at a time can be had as soon as anybody gives one back */
            mutex_lock(&fs->reader->lock);
            cond_wait_ms(&fs->reader->changed, &fs->reader->lock, 100);
            mutex_unlock(&fs->reader->lock);
            ret = 0;
            continue;
        }
        offset += range.len;
        buffer += range.len;
        len -= range.len;
    }
    return ret;
}

/* ---- life ---- */

int reader_new(struct fs *fs, uint64_t memory_bytes)
{
    enum { PAGES_MIN = 32 };
    size_t pages = (size_t)(memory_bytes / GRAIN);
    struct reader *reader = calloc(1, sizeof(*reader));
    int ret;

    if (reader == NULL) {
        return -ENOMEM;
    }
    mutex_init(&reader->lock);
    cond_init(&reader->changed);
    reader->fs = fs;
    fs->reader = reader;
    pages = pages < PAGES_MIN ? PAGES_MIN : pages;
    reader->limit = reader->limit_full = (uint64_t)pages * GRAIN;
    ret = pages_new(pages, &reader->pages);
    ret = ret == 0 ? fifo_new(pages, &reader->fifo) : ret;
    ret = ret == 0 ? hedge_new(fs) : ret;
    return ret == 0 ? store_new(fs) : ret;
}

void reader_stop(struct fs *fs)
{
    if (fs->reader != NULL) {
        store_stop(fs);
        hedge_stop(fs);
    }
}

void reader_tick(struct fs *fs)
{
    struct reader *reader = fs->reader;
    bool idle;

    store_tick(fs);
    mutex_lock(&reader->lock);
    idle = reader->fetch_count == 0 && fs_now_ms() > reader->used_ms + IDLE_MS;
    mutex_unlock(&reader->lock);
    if (idle) {
        pages_trim(reader->pages, 0);
    }
}

void reader_free(struct fs *fs)
{
    struct reader *reader = fs->reader;
    struct grain *grain;
    struct grain *next;

    if (reader == NULL) {
        return;
    }
    mutex_lock(&reader->lock);
    HASH_ITER(hh, reader->grains, grain, next)
    {
        grain_drop(reader, grain);
    }
    mutex_unlock(&reader->lock);
    store_free(fs);
    hedge_free(fs);
    pages_free(reader->pages);
    fifo_free(reader->fifo);
    cond_done(&reader->changed);
    mutex_done(&reader->lock);
    free(reader);
    fs->reader = NULL;
}

void reader_get_stats(struct fs *fs, struct reader_stats *ret)
{
    mutex_lock(&fs->reader->lock);
    *ret = (struct reader_stats){
        .bytes = fs->reader->bytes, .limit = fs->reader->limit, .fetches = fs->reader->fetch_count};
    mutex_unlock(&fs->reader->lock);
}
