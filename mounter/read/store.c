/* SPDX-License-Identifier: Apache-2.0 */
/* Grains on disk: what is loaded from there instead of the store, and what is written there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/read/reader_internal.h"
#include "util/log.h"

enum {
    TASKS_MAX = 8,
    STORING_SHARE = 8,    /* of the memory, for what waits to be written */
    INDEX_SHARE = 8,      /* of all memory, for what is known of the disk */
    INDEX_BYTES = 48,     /* for each */
    INDEX_OF = 32 * 1024, /* of the disk */
    TRIES_MAX = 300,      /* seconds for a predecessor to end */
};

/* ---- opening ---- */

/* 0 also when there will be none. -EBUSY: a predecessor still has it. */
static int open_disk(struct fs *fs)
{
    struct reader *reader = fs->reader;
    const struct disk_cache_config config = {
        .dir = reader->disk_dir, .name = reader->disk_name, .size = reader->disk_size};
    struct disk_cache *disk = NULL;
    struct tasks *tasks = NULL;
    struct error err = ERROR_INIT;
    int ret = disk_cache_new(&config, &disk, &err);

    if (ret == 0) {
        ret = tasks_new(TASKS_MAX, &tasks);
    }
    if (ret == -EBUSY && reader->disk_tries < TRIES_MAX) {
        return ret;
    }
    if (ret != 0) {
        disk_cache_free(disk);
        log_warn("no disk cache", "reason", error_text(&err, ret), NULL);
        return 0;
    }
    mutex_lock(&reader->lock);
    reader->disk = disk;
    reader->tasks = tasks;
    mutex_unlock(&reader->lock);
    return 0;
}

static void forget_config(struct reader *reader)
{
    free(reader->disk_dir);
    free(reader->disk_name);
    reader->disk_dir = reader->disk_name = NULL;
}

void store_tick(struct fs *fs)
{
    struct reader *reader = fs->reader;

    if (reader->disk_dir == NULL) {
        return;
    }
    reader->disk_tries++;
    if (open_disk(fs) == 0) {
        forget_config(reader);
    }
}

int store_new(struct fs *fs)
{
    struct reader *reader = fs->reader;
    uint64_t most = fs->options.memory_bytes / INDEX_SHARE / INDEX_BYTES * INDEX_OF;

    if (fs->options.cache_dir == NULL) {
        return 0;
    }
    reader->disk_size = fs->options.cache_bytes;
    if (reader->disk_size > most) {
        log_warn("the disk cache is made smaller, for its index must fit into memory", "bytes",
                 log_num((long long)most), NULL);
        reader->disk_size = most;
    }
    reader->disk_dir = strdup(fs->options.cache_dir);
    reader->disk_name = strdup(fs->options.cache_name);
    if (reader->disk_dir == NULL || reader->disk_name == NULL) {
        return -ENOMEM;
    }
    store_tick(fs);
    return 0;
}

void store_stop(struct fs *fs)
{
    struct reader *reader = fs->reader;
    struct tasks *tasks;

    mutex_lock(&reader->lock);
    tasks = reader->tasks;
    reader->tasks = NULL;
    mutex_unlock(&reader->lock);
    tasks_free(tasks);
}

void store_free(struct fs *fs)
{
    disk_cache_free(fs->reader->disk);
    forget_config(fs->reader);
}

/* ---- what is there ---- */

static struct disk_block block_of(const struct version *version, uint64_t index)
{
    return (struct disk_block){{version->object[0], version->object[1]}, index};
}

/* Only what has an ETag is a version; what lies below .skyvol/ is nobody else's to read. */
void store_name(struct reader *reader, struct version *version)
{
    version->stored = reader->disk != NULL && version->etag[0] != '\0' && !version->internal;
    if (version->stored) {
        disk_cache_object(version->name, version->name_len, version->object);
    }
}

bool store_has(struct reader *reader, const struct version *version, uint64_t index)
{
    const struct disk_block block = block_of(version, index);

    return version->stored && reader->tasks != NULL && disk_cache_has(reader->disk, &block);
}

/* ---- loading ---- */

static void load(void *arg)
{
    struct fetch *f = arg;
    struct fs *fs = f->fs;

    while (f->ready < f->count) {
        const struct grain *grain = f->grains[f->ready];
        const struct disk_block block = block_of(f->version, grain->key.index);

        if (disk_cache_get(fs->reader->disk, &block, grain->data, grain->len) != 0) {
            break;
        }
        fetch_loaded(f, f->ready + 1);
    }
    fetch_load_ended(fs, f);
}

bool store_load(struct fs *fs, struct fetch *f)
{
    struct reader *reader = fs->reader;
    bool added;

    mutex_lock(&reader->lock);
    added = reader->tasks != NULL && tasks_add(reader->tasks, load, f) == 0;
    mutex_unlock(&reader->lock);
    return added;
}

/* ---- storing ---- */

struct keep_job {
    struct fs *fs;
    struct version *version;
    uint64_t bytes;
    uint32_t count;
    struct grain *grains[];
};

static void end_job(struct reader *reader, struct keep_job *job) REQUIRES(&reader->lock)
{
    for (uint32_t i = 0; i < job->count; i++) {
        grain_put(reader, job->grains[i]);
    }
    reader->storing -= job->bytes;
    version_put(reader, job->version);
}

static void store(void *arg)
{
    struct keep_job *job = arg;
    struct reader *reader = job->fs->reader;

    for (uint32_t i = 0; i < job->count; i++) {
        const struct disk_block block = block_of(job->version, job->grains[i]->key.index);

        disk_cache_put(reader->disk, &block, job->grains[i]->data, job->grains[i]->len);
    }
    mutex_lock(&reader->lock);
    end_job(reader, job);
    mutex_unlock(&reader->lock);
    free(job);
}

void store_grains(struct fs *fs, struct version *version, struct grain *const *grains,
                  uint32_t count)
{
    struct reader *reader = fs->reader;
    struct keep_job *job;

    if (!version->stored || count == 0) {
        return;
    }
    job = calloc(1, sizeof(*job) + count * sizeof(job->grains[0]));
    if (job == NULL) {
        return;
    }
    job->fs = fs;
    job->version = version;
    mutex_lock(&reader->lock);
    version->users++;
    for (uint32_t i = 0; i < count; i++) {
        if (!grains[i]->dead) {
            grains[i]->users++;
            job->bytes += grains[i]->len;
            job->grains[job->count++] = grains[i];
        }
    }
    reader->storing += job->bytes;
    if (reader->tasks == NULL || reader->storing > reader->limit / STORING_SHARE ||
        tasks_add(reader->tasks, store, job) != 0) {
        end_job(reader,
                job); /* the disk is too slow, or it is too late: it will come another time */
        free(job);
    }
    mutex_unlock(&reader->lock);
}
