/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cache/fifo.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/crc32c.h"
#include "util/log.h"
#include "util/mutex.h"

/*
 * Life of a slot: free -> (record gone, bytes written, record written) -> in the table -> evicted.
 * While it is written it is in no list, so nobody finds it; while it is read it has a user, so it
 * is not evicted.
 */
enum {
    HEADER_SIZE = 4096,
    LAYOUT_VERSION = 1,
    PAGE = 4096,
    SLOT_SHARE = 32 * 1024, /* bytes of the size for each slot: small blocks fill no slot */
    SLOTS_MIN = 16,
    RECORDS_AT_ONCE = 1024,
    REST_MS = 10000,      /* after a failure nothing is written so long */
    LOOK_EVERY = 64,      /* blocks written between looks at the free space */
    EVICT_AT_ONCE = 1024, /* slots at most, for want of free space */
    NONE = -1,
};
static const uint64_t index_magic = 0x736b796361636865U; /* "skycache" */

struct header {
    uint64_t magic;
    uint32_t version;
    uint32_t slots;
    uint32_t crc; /* of what is before it */
};

/* What `index` says of a slot. All zero: free. */
struct record {
    uint64_t object[2];
    uint64_t index;
    uint32_t len;
    uint32_t data_crc;
    uint32_t pad;
    uint32_t crc; /* of what is before it */
};

struct slot {
    struct fifo_entry order;
    int32_t next; /* in its bucket, or in the free list */
    uint16_t users;
};

struct disk_cache {
    struct mutex lock;
    int lock_fd, index_fd, data_fd; /* constant */
    uint64_t size, free_min;        /* constant */
    uint32_t slot_count;            /* constant */
    uint32_t bucket_mask;           /* constant */
    struct fifo *fifo GUARDED_BY(lock);
    struct slot *slots GUARDED_BY(lock);
    int32_t *buckets GUARDED_BY(lock);
    int32_t free_slots GUARDED_BY(lock);
    uint64_t moving GUARDED_BY(lock); /* bytes that are being written, or wiped */
    uint64_t rest_until_ms GUARDED_BY(lock);
    uint32_t puts GUARDED_BY(lock);
    bool told GUARDED_BY(lock);
    struct disk_cache_stats stats GUARDED_BY(lock);
};

void disk_cache_object(const void *name, size_t len, uint64_t ret[2])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];

    (void)SHA256(name, len, digest);
    memcpy(ret, digest, 2 * sizeof(ret[0]));
}

static uint64_t hash_of(const struct disk_block *block)
{
    uint64_t hash =
        (block->object[0] ^ block->index * UINT64_C(0x9E3779B97F4A7C15)) + block->object[1];

    return hash ^ (hash >> 31);
}

static uint32_t disk_bytes(size_t len)
{
    return (uint32_t)((len + PAGE - 1) / PAGE * PAGE);
}

static off_t data_at(int32_t slot)
{
    return (off_t)slot * DISK_BLOCK_MAX;
}

static off_t record_at(int32_t slot)
{
    return HEADER_SIZE + (off_t)slot * (off_t)sizeof(struct record);
}

static bool write_all(int fd, const void *data, size_t len, off_t at)
{
    const char *from = data;

    while (len > 0) {
        ssize_t n = pwrite(fd, from, len, at);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        from += n;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool read_all(int fd, void *data, size_t len, off_t at)
{
    char *to = data;

    while (len > 0) {
        ssize_t n = pread(fd, to, len, at);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        to += n;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* ---- the table; with the lock ---- */

static int32_t *bucket_of(struct disk_cache *c, uint64_t hash) REQUIRES(&c->lock)
{
    return &c->buckets[hash & c->bucket_mask];
}

static void insert(struct disk_cache *c, int32_t slot, uint64_t hash, uint32_t bytes)
    REQUIRES(&c->lock)
{
    int32_t *bucket = bucket_of(c, hash);

    fifo_add(c->fifo, &c->slots[slot].order, hash, bytes);
    c->slots[slot].next = *bucket;
    *bucket = slot;
}

static void unlink_slot(struct disk_cache *c, int32_t slot, uint64_t hash) REQUIRES(&c->lock)
{
    int32_t *at = bucket_of(c, hash);

    while (*at != NONE && *at != slot) {
        at = &c->slots[*at].next;
    }
    if (*at == slot) {
        *at = c->slots[slot].next;
    }
}

static int32_t find(struct disk_cache *c, uint64_t hash) REQUIRES(&c->lock)
{
    int32_t slot = *bucket_of(c, hash);

    while (slot != NONE && c->slots[slot].order.hash != hash) {
        slot = c->slots[slot].next;
    }
    return slot;
}

static void set_free(struct disk_cache *c, int32_t slot) REQUIRES(&c->lock)
{
    c->slots[slot].next = c->free_slots;
    c->free_slots = slot;
}

static bool may_go(struct fifo_entry *entry, void *arg)
{
    (void)arg;
    return container_of(entry, struct slot, order)->users == 0;
}

/* The one that has to go, out of the table; *ret_bytes: what it has on the disk. */
static int32_t evict(struct disk_cache *c, uint32_t *ret_bytes) REQUIRES(&c->lock)
{
    struct fifo_entry *entry = fifo_victim(c->fifo, may_go, NULL);
    int32_t slot;

    if (entry == NULL) {
        return NONE;
    }
    slot = (int32_t)(container_of(entry, struct slot, order) - c->slots);
    unlink_slot(c, slot, entry->hash);
    *ret_bytes = entry->size;
    return slot;
}

/* ---- files ---- */

/* Nobody must believe what is in the slot, and its bytes are to be given back. */
static void wipe(const struct disk_cache *c, int32_t slot)
{
    static const struct record none = {0};

    (void)!write_all(c->index_fd, &none, sizeof(none), record_at(slot));
    (void)fallocate(c->data_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, data_at(slot),
                    DISK_BLOCK_MAX);
}

static bool is_scarce(const struct disk_cache *c)
{
    struct statvfs st;

    return fstatvfs(c->data_fd, &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize < c->free_min;
}

static void failed(struct disk_cache *c, const char *why)
{
    bool tell;

    mutex_lock(&c->lock);
    c->stats.failed++;
    c->rest_until_ms = clock_monotonic_ms(clock_real()) + REST_MS;
    tell = !c->told;
    c->told = true;
    mutex_unlock(&c->lock);
    if (tell) {
        log_warn("the disk cache takes nothing more for now; reads go on without it", "reason", why,
                 NULL);
    }
}

/* Give slots back until the file system has room again. False: there is none to be had. */
static bool free_some(struct disk_cache *c)
{
    for (int i = 0; i < EVICT_AT_ONCE && is_scarce(c); i++) {
        uint32_t bytes;
        int32_t slot;

        mutex_lock(&c->lock);
        slot = evict(c, &bytes);
        mutex_unlock(&c->lock);
        if (slot == NONE) {
            return false;
        }
        wipe(c, slot);
        mutex_lock(&c->lock);
        set_free(c, slot);
        mutex_unlock(&c->lock);
    }
    return !is_scarce(c);
}

/* A slot that is in the table no more, or not yet, with the bytes that c->moving has of it. */
static void give_back(struct disk_cache *c, int32_t slot, uint32_t bytes)
{
    wipe(c, slot);
    mutex_lock(&c->lock);
    c->moving -= bytes;
    set_free(c, slot);
    mutex_unlock(&c->lock);
}

/* A slot of our own for so many bytes, wiped; NONE. They are in c->moving. */
static int32_t take_slot(struct disk_cache *c, uint32_t bytes)
{
    for (;;) {
        uint32_t old = 0;
        int32_t slot = NONE;
        bool room;

        mutex_lock(&c->lock);
        room = fifo_bytes(c->fifo) + c->moving + bytes <= c->size;
        if (room && c->free_slots != NONE) {
            slot = c->free_slots;
            c->free_slots = c->slots[slot].next;
            c->moving += bytes;
            mutex_unlock(&c->lock);
            return slot;
        }
        slot = evict(c, &old);
        c->moving += old;
        mutex_unlock(&c->lock);
        if (slot == NONE) {
            return NONE;
        }
        give_back(c, slot, old);
    }
}

void disk_cache_put(struct disk_cache *c, const struct disk_block *block, const void *data,
                    size_t len)
{
    struct record record = {.object = {block->object[0], block->object[1]},
                            .index = block->index,
                            .len = (uint32_t)len};
    uint64_t hash = hash_of(block);
    int32_t slot;
    bool look;
    bool rest;

    mutex_lock(&c->lock);
    rest = len == 0 || len > DISK_BLOCK_MAX || find(c, hash) != NONE ||
           clock_monotonic_ms(clock_real()) < c->rest_until_ms;
    look = !rest && c->puts++ % LOOK_EVERY == 0;
    mutex_unlock(&c->lock);
    if (rest) {
        return;
    }
    if (look && is_scarce(c) && !free_some(c)) {
        failed(c, "too little space is left in its file system");
        return;
    }
    slot = take_slot(c, disk_bytes(len));
    if (slot == NONE) {
        return;
    }
    record.data_crc = crc32c(0, data, len);
    record.crc = crc32c(0, &record, offsetof(struct record, crc));
    if (!write_all(c->data_fd, data, len, data_at(slot)) ||
        !write_all(c->index_fd, &record, sizeof(record), record_at(slot))) {
        failed(c, error_text(NULL, -errno));
        give_back(c, slot, disk_bytes(len));
        return;
    }
    mutex_lock(&c->lock);
    if (find(c, hash) == NONE) {
        insert(c, slot, hash, disk_bytes(len));
        c->moving -= disk_bytes(len);
        slot = NONE;
    }
    mutex_unlock(&c->lock);
    if (slot != NONE) { /* another was faster */
        give_back(c, slot, disk_bytes(len));
    }
}

bool disk_cache_has(struct disk_cache *c, const struct disk_block *block)
{
    bool has;

    mutex_lock(&c->lock);
    has = find(c, hash_of(block)) != NONE;
    mutex_unlock(&c->lock);
    return has;
}

static bool is_whole(const struct record *record)
{
    return record->len > 0 && record->len <= DISK_BLOCK_MAX &&
           record->crc == crc32c(0, record, offsetof(struct record, crc));
}

static bool read_slot(const struct disk_cache *c, int32_t slot, const struct disk_block *block,
                      void *data, size_t len)
{
    struct record record;

    return read_all(c->index_fd, &record, sizeof(record), record_at(slot)) && is_whole(&record) &&
           record.object[0] == block->object[0] && record.object[1] == block->object[1] &&
           record.index == block->index && record.len == len &&
           read_all(c->data_fd, data, len, data_at(slot)) &&
           crc32c(0, data, len) == record.data_crc;
}

int disk_cache_get(struct disk_cache *c, const struct disk_block *block, void *data, size_t len)
{
    uint64_t hash = hash_of(block);
    bool good;
    bool drop;
    int32_t slot;

    mutex_lock(&c->lock);
    slot = find(c, hash);
    if (slot == NONE || c->slots[slot].users == UINT16_MAX) {
        c->stats.misses++;
        mutex_unlock(&c->lock);
        return -ENOENT;
    }
    c->slots[slot].users++;
    mutex_unlock(&c->lock);
    good = read_slot(c, slot, block, data, len);
    if (good) {
        /* The caller has them now, and the kernel soon, as the file's: not a third time. */
        (void)posix_fadvise(c->data_fd, data_at(slot), DISK_BLOCK_MAX, POSIX_FADV_DONTNEED);
    }
    mutex_lock(&c->lock);
    c->slots[slot].users--;
    c->stats.hits += good;
    c->stats.bad += !good;
    drop = !good && c->slots[slot].users == 0 && c->slots[slot].order.where != 0;
    if (good) {
        fifo_used(&c->slots[slot].order);
    } else if (drop) {
        fifo_remove(c->fifo, &c->slots[slot].order);
        unlink_slot(c, slot, hash);
    }
    mutex_unlock(&c->lock);
    if (drop) {
        wipe(c, slot);
        mutex_lock(&c->lock);
        set_free(c, slot);
        mutex_unlock(&c->lock);
    }
    return good ? 0 : -ENOENT;
}

/* ---- opening ---- */

static int open_in(const char *dir, const char *name, int *ret, struct error *err)
{
    AUTOFREE char *path = NULL;
    int r;

    if (asprintf(&path, "%s/%s", dir, name) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    *ret = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    r = *ret < 0 ? -errno : 0;
    return r == 0 ? 0 : error_set(err, r, "disk cache: %s: %s", path, strerror(-r));
}

static int open_files(struct disk_cache *c, const struct disk_cache_config *config,
                      struct error *err)
{
    AUTOFREE char *dir = NULL;
    uint64_t object[2];
    int r;

    disk_cache_object(config->name, strlen(config->name), object);
    if (asprintf(&dir, "%s/skyvol-%016llx%016llx", config->dir, (unsigned long long)object[0],
                 (unsigned long long)object[1]) < 0) {
        dir = NULL;
        return -ENOMEM;
    }
    if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
        r = -errno;
        return error_set(err, r, "disk cache: %s: %s", dir, strerror(-r));
    }
    r = open_in(dir, "lock", &c->lock_fd, err);
    if (r == 0 && flock(c->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        r = error_set(err, errno == EWOULDBLOCK ? -EBUSY : -errno,
                      "disk cache: %s is in use by another process", dir);
    }
    r = r == 0 ? open_in(dir, "index", &c->index_fd, err) : r;
    return r == 0 ? open_in(dir, "data", &c->data_fd, err) : r;
}

/* Both files empty, and the room for the index taken. */
static int begin_anew(struct disk_cache *c, struct error *err)
{
    struct header header = {
        .magic = index_magic, .version = LAYOUT_VERSION, .slots = c->slot_count};
    int r = 0;

    header.crc = crc32c(0, &header, offsetof(struct header, crc));
    if (ftruncate(c->index_fd, 0) < 0 || ftruncate(c->data_fd, 0) < 0 ||
        ftruncate(c->data_fd, data_at((int32_t)c->slot_count)) < 0) {
        r = -errno;
    }
    r = r == 0 ? -posix_fallocate(c->index_fd, 0, record_at((int32_t)c->slot_count)) : r;
    if (r == 0 && !write_all(c->index_fd, &header, sizeof(header), 0)) {
        r = -errno;
    }
    return r == 0 ? 0 : error_set(err, r, "disk cache: its index: %s", strerror(-r));
}

LOCK_UNCHECKED
static void adopt(struct disk_cache *c, int32_t slot, const struct record *record)
{
    const struct disk_block block = {{record->object[0], record->object[1]}, record->index};
    uint64_t hash = hash_of(&block);

    if (is_whole(record) && find(c, hash) == NONE &&
        fifo_bytes(c->fifo) + disk_bytes(record->len) <= c->size) {
        insert(c, slot, hash, disk_bytes(record->len));
    } else {
        if (record->len != 0) {
            wipe(c, slot);
        }
        set_free(c, slot);
    }
}

/* What a predecessor has left. */
static int read_index(struct disk_cache *c, struct error *err)
{
    AUTOFREE struct record *records = calloc(RECORDS_AT_ONCE, sizeof(*records));
    struct header header = {0};
    bool ours = read_all(c->index_fd, &header, sizeof(header), 0) && header.magic == index_magic &&
                header.version == LAYOUT_VERSION && header.slots == c->slot_count &&
                header.crc == crc32c(0, &header, offsetof(struct header, crc));

    if (records == NULL) {
        return -ENOMEM;
    }
    if (!ours) {
        int r = begin_anew(c, err);

        if (r != 0) {
            return r;
        }
    }
    for (uint32_t i = 0; i < c->slot_count; i += RECORDS_AT_ONCE) {
        uint32_t count = c->slot_count - i < RECORDS_AT_ONCE ? c->slot_count - i : RECORDS_AT_ONCE;

        if (!read_all(c->index_fd, records, count * sizeof(*records), record_at((int32_t)i))) {
            memset(records, 0, count * sizeof(*records));
        }
        for (uint32_t k = 0; k < count; k++) {
            adopt(c, (int32_t)(i + k), &records[k]);
        }
    }
    return 0;
}

LOCK_UNCHECKED
static int make_table(struct disk_cache *c)
{
    uint32_t buckets = 64;

    while (buckets < c->slot_count) {
        buckets *= 2;
    }
    c->bucket_mask = buckets - 1;
    c->free_slots = NONE;
    c->slots = calloc(c->slot_count, sizeof(*c->slots));
    c->buckets = malloc(buckets * sizeof(*c->buckets));
    if (c->slots == NULL || c->buckets == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < buckets; i++) {
        c->buckets[i] = NONE;
    }
    return fifo_new(c->slot_count, &c->fifo);
}

LOCK_UNCHECKED
int disk_cache_new(const struct disk_cache_config *config, struct disk_cache **ret,
                   struct error *err)
{
    CLEANUP(disk_cache_free_p) struct disk_cache *c = NULL;
    uint64_t slots = config->size / SLOT_SHARE;
    struct statvfs st;
    int r;

    if (config->size < (1 << 20) || slots > INT32_MAX / 2) {
        return error_set(err, -EINVAL, "disk cache: a size of 1 MiB to 32 TiB is needed");
    }
    c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return -ENOMEM;
    }
    mutex_init(&c->lock);
    c->lock_fd = c->index_fd = c->data_fd = -1;
    c->size = config->size;
    c->slot_count = slots < SLOTS_MIN ? SLOTS_MIN : (uint32_t)slots;
    r = make_table(c);
    r = r == 0 ? open_files(c, config, err) : r;
    r = r == 0 ? read_index(c, err) : r;
    if (r != 0) {
        return r;
    }
    c->free_min = config->free_min;
    if (c->free_min == 0 && fstatvfs(c->data_fd, &st) == 0) {
        c->free_min = (uint64_t)st.f_blocks * st.f_frsize / 20;
    }
    *ret = TAKE(c);
    return 0;
}

LOCK_UNCHECKED
void disk_cache_free(struct disk_cache *c)
{
    if (c == NULL) {
        return;
    }
    cleanup_close(&c->index_fd);
    cleanup_close(&c->data_fd);
    cleanup_close(&c->lock_fd);
    fifo_free(c->fifo);
    free(c->slots);
    free(c->buckets);
    mutex_done(&c->lock);
    free(c);
}

void disk_cache_get_stats(struct disk_cache *c, struct disk_cache_stats *ret)
{
    mutex_lock(&c->lock);
    *ret = c->stats;
    ret->bytes = fifo_bytes(c->fifo);
    ret->blocks = fifo_count(c->fifo);
    mutex_unlock(&c->lock);
}
