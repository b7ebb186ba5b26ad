/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/kept/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/mutex.h"

/*
 * One entry per name. An entry is made by keep_adopt() (with a descriptor, not yet mapped) or by
 * keep_region() (new). `data` is NULL until somebody asked for the region; blobs never have data.
 * Entries are never removed, so that the borrowed descriptors and mappings stay valid.
 */
struct entry {
    void *data;
    size_t size;
    int fd;
    bool fresh;
    char name[KEEP_NAME_MAX];
};

struct keep {
    struct mutex creating; /* before `lock`; held while a new region is registered */
    struct mutex lock;
    struct entry entries[KEEP_REGIONS_MAX] GUARDED_BY(lock);
    unsigned count GUARDED_BY(lock);
    keep_hold_fn *hold GUARDED_BY(lock); /* NULL: standalone */
    void *hold_context GUARDED_BY(lock);
};

static bool name_is_valid(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len < KEEP_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

LOCK_UNCHECKED
int keep_new(struct keep **ret)
{
    struct keep *keep = calloc(1, sizeof(*keep));

    if (keep == NULL) {
        return -ENOMEM;
    }
    mutex_init(&keep->creating);
    mutex_init(&keep->lock);
    *ret = keep;
    return 0;
}

LOCK_UNCHECKED
void keep_free(struct keep *keep)
{
    if (keep == NULL) {
        return;
    }
    for (unsigned i = 0; i < keep->count; i++) {
        if (keep->entries[i].data != NULL) {
            (void)munmap(keep->entries[i].data, keep->entries[i].size);
        }
        (void)close(keep->entries[i].fd);
    }
    mutex_done(&keep->lock);
    mutex_done(&keep->creating);
    free(keep);
}

void keep_set_hold(struct keep *keep, keep_hold_fn *hold, void *context)
{
    mutex_lock(&keep->lock);
    keep->hold = hold;
    keep->hold_context = context;
    mutex_unlock(&keep->lock);
}

static struct entry *find_locked(struct keep *keep, const char *name) REQUIRES(&keep->lock)
{
    for (unsigned i = 0; i < keep->count; i++) {
        if (strcmp(keep->entries[i].name, name) == 0) {
            return &keep->entries[i];
        }
    }
    return NULL;
}

static struct entry *add_locked(struct keep *keep, const char *name, int fd) REQUIRES(&keep->lock)
{
    struct entry *entry = &keep->entries[keep->count];

    memset(entry, 0, sizeof(*entry));
    memcpy(entry->name, name, strlen(name) + 1);
    entry->fd = fd;
    keep->count++;
    return entry;
}

int keep_adopt(struct keep *keep, const char *name, int fd)
{
    struct entry *entry;
    int old = -1;
    int r = 0;

    if (!name_is_valid(name)) {
        (void)close(fd);
        return -EINVAL;
    }
    mutex_lock(&keep->lock);
    entry = find_locked(keep, name);
    if (entry != NULL && entry->data == NULL) {
        old = entry->fd; /* a blob that was replaced: rotated credentials */
        entry->fd = fd;
    } else if (entry != NULL) {
        r = -EEXIST; /* in use: its memory cannot be exchanged */
    } else if (keep->count == KEEP_REGIONS_MAX) {
        r = -ENOSPC;
    } else {
        (void)add_locked(keep, name, fd);
    }
    mutex_unlock(&keep->lock);
    if (r < 0) {
        old = fd;
    }
    if (old >= 0) {
        (void)close(old);
    }
    return r;
}

int keep_each(struct keep *keep, keep_hold_fn *visit, void *context, struct error *err)
{
    struct entry entries[KEEP_REGIONS_MAX] = {{0}};
    unsigned count;
    int r = 0;

    mutex_lock(&keep->lock);
    count = keep->count;
    memcpy(entries, keep->entries, sizeof(entries));
    mutex_unlock(&keep->lock);
    for (unsigned i = 0; i < count && r >= 0; i++) {
        r = visit(context, entries[i].name, entries[i].fd, err);
    }
    return r < 0 ? r : 0;
}

/* Size the descriptor's memory to at least `size` and map it. */
static int map(struct entry *entry, size_t size, struct error *err)
{
    struct stat st;
    void *data;

    if (fstat(entry->fd, &st) < 0) {
        return error_set(err, -errno, "kept memory '%s': %s", entry->name, error_text(NULL, errno));
    }
    if (st.st_size > 0 && (uint64_t)st.st_size > size) {
        size = (size_t)st.st_size;
    } else if ((uint64_t)st.st_size < size && ftruncate(entry->fd, (off_t)size) < 0) {
        return error_set(err, -errno, "kept memory '%s', %zu bytes: %s", entry->name, size,
                         error_text(NULL, errno));
    }
    data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, entry->fd, 0);
    if (data == MAP_FAILED) {
        return error_set(err, -errno, "kept memory '%s', %zu bytes: %s", entry->name, size,
                         error_text(NULL, errno));
    }
    entry->data = data;
    entry->size = size;
    entry->fresh = st.st_size == 0;
    return 0;
}

static void discard(struct entry *entry)
{
    if (entry->data != NULL) {
        (void)munmap(entry->data, entry->size);
    }
    (void)close(entry->fd);
}

/*
 * Sized before it is registered: a memfd of size 0 at the holder is one whose maker died before
 * anybody could use it, so the successor rightly calls it fresh.
 */
static int create(struct keep *keep, const char *name, size_t size, struct entry *ret,
                  struct error *err)
{
    struct entry entry = {.fd = -1};
    keep_hold_fn *hold;
    void *context;
    int r;

    mutex_lock(&keep->lock);
    hold = keep->hold;
    context = keep->hold_context;
    r = keep->count == KEEP_REGIONS_MAX ? -ENOSPC : 0;
    mutex_unlock(&keep->lock);
    if (r < 0) {
        return error_set(err, r, "kept memory '%s': more than %d regions", name, KEEP_REGIONS_MAX);
    }
    memcpy(entry.name, name, strlen(name) + 1);
    entry.fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (entry.fd < 0) {
        return error_set(err, -errno, "kept memory '%s': %s", name, error_text(NULL, errno));
    }
    r = map(&entry, size, err);
    if (r == 0 && hold != NULL) {
        r = hold(context, name, entry.fd, err);
    }
    if (r < 0) {
        discard(&entry);
        return r;
    }
    *ret = entry;
    return 0;
}

/* Map the entry of this name, if there is one. -ENOENT: there is none. */
static int find_and_map(struct keep *keep, const char *name, size_t size, struct keep_region *ret,
                        struct error *err)
{
    struct entry *entry;
    int r = 0;

    mutex_lock(&keep->lock);
    entry = find_locked(keep, name);
    if (entry == NULL) {
        r = -ENOENT;
    } else if (entry->data == NULL) {
        r = map(entry, size, err);
    }
    if (r == 0) {
        *ret = (struct keep_region){
            .fd = entry->fd, .data = entry->data, .size = entry->size, .fresh = entry->fresh};
    }
    mutex_unlock(&keep->lock);
    return r;
}

int keep_region(struct keep *keep, const char *name, size_t size, struct keep_region *ret,
                struct error *err)
{
    int r;

    if (!name_is_valid(name) || size == 0) {
        return error_set(err, -EINVAL, "kept memory '%s', %zu bytes: not a name and a size", name,
                         size);
    }
    mutex_lock(&keep->creating);
    r = find_and_map(keep, name, size, ret, err);
    if (r == -ENOENT) {
        struct entry entry = {.fd = -1};

        r = create(keep, name, size, &entry, err);
        if (r == 0) {
            mutex_lock(&keep->lock);
            *add_locked(keep, name, entry.fd) = entry;
            mutex_unlock(&keep->lock);
            r = find_and_map(keep, name, size, ret, err);
        }
    }
    mutex_unlock(&keep->creating);
    return r;
}

int keep_blob_get(struct keep *keep, const char *name, char **ret, size_t *ret_len)
{
    enum { BLOB_MAX = 1 << 20 };
    AUTOCLOSE int fd = -1;
    struct entry *entry;
    struct stat st;
    char *text;
    ssize_t n;

    mutex_lock(&keep->lock);
    entry = find_locked(keep, name);
    if (entry != NULL) {
        fd = fcntl(entry->fd, F_DUPFD_CLOEXEC, 3);
    }
    mutex_unlock(&keep->lock);
    if (entry == NULL) {
        return -ENOENT;
    }
    if (fd < 0 || fstat(fd, &st) < 0) {
        return -errno;
    }
    if (st.st_size > BLOB_MAX) {
        return -EFBIG;
    }
    text = malloc((size_t)st.st_size + 1);
    if (text == NULL) {
        return -ENOMEM;
    }
    n = pread(fd, text, (size_t)st.st_size, 0);
    if (n != st.st_size) {
        keep_secret_free(text, (size_t)st.st_size);
        return -EIO;
    }
    text[n] = '\0';
    *ret = text;
    *ret_len = (size_t)n;
    return 0;
}

void keep_secret_free(char *secret, size_t len)
{
    if (secret != NULL) {
        explicit_bzero(secret, len);
        free(secret);
    }
}

int keep_punch(const struct keep_region *region, size_t offset, size_t len)
{
    size_t end;

    if (__builtin_add_overflow(offset, len, &end) || end > region->size) {
        return -EINVAL;
    }
    if (len > 0 && fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
                             (off_t)len) < 0) {
        return -errno;
    }
    return 0;
}

size_t keep_next_data(const struct keep_region *region, size_t offset)
{
    off_t at;

    if (offset >= region->size) {
        return region->size;
    }
    at = lseek(region->fd, (off_t)offset, SEEK_DATA);
    if (at >= 0) {
        return (size_t)at;
    }
    return errno == ENXIO ? region->size : offset; /* who cannot tell says everywhere */
}
