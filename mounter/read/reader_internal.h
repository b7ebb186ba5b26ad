/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reader_internal.h - what reader.c (who waits for which bytes), grain.c (the bytes in memory) and
 * fetch.c (GETs) share. All under reader->lock, but for a grain's bytes: they belong to the fetch
 * until the grain is ready, and do not change from then on.
 */
#ifndef MOUNTER_READER_INTERNAL_H
#define MOUNTER_READER_INTERNAL_H

#include <uthash.h>

#include "cache/disk.h"
#include "cache/fifo.h"
#include "cache/pages.h"
#include "mounter/fs.h"
#include "mounter/read/reader.h"
#include "mounter/read/window.h"
#include "objstore/objstore.h"

enum { FETCH_GRAINS_MAX = WINDOW_GET_MAX / READER_GRAIN };

TAILQ_HEAD(reader_waits, reader_wait);
struct hedge;
TAILQ_HEAD(fetches, fetch);

/* One version of one object. Lives as long as a node, a grain, a fetch or a wait is of it. */
struct version {
    UT_hash_handle hh; /* in reader->versions, by name */
    uint32_t users;
    uint32_t nodes; /* of these: inodes; one that is open may be an older one of the name */
    bool internal;  /* the key lies below .skyvol/ */
    uint64_t size;
    uint64_t hash; /* of the name */
    const char *etag;
    bool stored; /* it may be on disk, under: */
    uint64_t object[2];
    struct windows windows;
    struct reader_waits waits;
    struct fetches fetches;
    uint32_t random_grains;             /* to fetch at once for a random read */
    uint32_t random_hits, random_count; /* of late */
    char *failure;                      /* what the last GET that failed was told, or NULL */
    size_t name_len;
    char name[]; /* key, NUL, ETag, NUL */
};

struct grain_key {
    struct version *version;
    uint64_t index;
};

struct grain {
    UT_hash_handle hh; /* in reader->grains */
    struct grain_key key;
    struct fifo_entry order; /* while it is ready and not dead */
    uint32_t len;
    uint32_t users; /* waits that have it */
    bool ready;
    bool dead;   /* nobody finds it any more; its last user frees it */
    bool unread; /* fetched ahead, and not asked for yet */
    char *data;
};

/* One GET: it owns itself from reader_start() on. */
struct fetch {
    struct objstore_request request;
    STAILQ_ENTRY(fetch) start_link;
    TAILQ_ENTRY(fetch) link; /* in version->fetches */
    struct fs *fs;
    struct version *version;
    bool from_disk; /* its grains are there */
    uint64_t begun_ms;
    uint64_t from;  /* bytes that were: the GET is of what is after them */
    uint64_t got;   /* bytes; the transfer's thread */
    uint32_t ready; /* grains that are; the same */
    bool at_end;    /* grains count only when the whole GET has succeeded */
    void (*arrived)(void *arg, const struct objstore_result *result); /* or NULL */
    void *arrived_arg;
    uint32_t refs;
    bool submitted, cancelled, ended;
    /* hedge.c */
    TAILQ_ENTRY(fetch) watch_link;
    bool watched;
    uint64_t asked_ms;
    struct objstore_request second;        /* the same, when the first is late */
    const struct objstore_request *winner; /* whose answer began first; or NULL */
    bool first_ended, second_sent, second_submitted, second_ended;
    uint32_t count;
    uint64_t len;
    struct grain *grains[FETCH_GRAINS_MAX];
};

struct reader {
    struct fs *fs; /* constant */
    struct mutex lock;
    struct cond changed; /* a wait is over, or memory has become free */
    struct version *versions;
    struct grain *grains;
    struct fifo *fifo;
    struct pages *pages;
    uint64_t limit;      /* of bytes */
    uint64_t limit_full; /* when nobody else needs them; constant */
    uint64_t bytes;      /* of all grains */
    uint64_t fetch_count;
    uint64_t used_ms; /* when somebody has read last */

    struct hedge *hedge; /* hedge.c */

    /* store.c */
    struct disk_cache *disk; /* NULL: none (yet); does not change any more then */
    struct tasks *tasks;     /* its reads and writes; NULL: none, or the end */
    uint64_t storing;        /* bytes that are being written */
    char *disk_dir, *disk_name;
    uint64_t disk_size;
    uint32_t disk_tries;
    uint64_t second;                  /* in which streams are being counted */
    uint32_t streams, streams_before; /* that were read in it, and in the one before */
};

/* ---- grain.c ---- */

/* The version of that key and ETag, made if it is not there; one more user. NULL: no memory. */
struct version *version_take(struct reader *reader, const char *key, const char *etag,
                             uint64_t size, bool internal) REQUIRES(&reader->lock);
void version_put(struct reader *reader, struct version *version) REQUIRES(&reader->lock);
static inline const char *version_key(const struct version *version)
{
    return version->name;
}
struct grain *grain_find(struct reader *reader, struct version *version, uint64_t index)
    REQUIRES(&reader->lock);
/* Not ready yet. NULL: no memory that could be had. `ahead`: not by putting out what is unread. */
struct grain *grain_new(struct reader *reader, struct version *version, uint64_t index, bool ahead)
    REQUIRES(&reader->lock);
void grain_ready(struct reader *reader, struct grain *grain) REQUIRES(&reader->lock);
/* Forget it; freed now or by its last user. Also for one that is not ready, by its fetch only. */
/* Down to the limit, as far as grains may go. */
void grain_shrink(struct reader *reader) REQUIRES(&reader->lock);
void grain_drop(struct reader *reader, struct grain *grain) REQUIRES(&reader->lock);
/* `counts`: as a use that tells that it will be used again. */
void grain_use(struct grain *grain, bool counts);
void grain_put(struct reader *reader, struct grain *grain) REQUIRES(&reader->lock);
/* Those of a version that are ready and in nobody's use. */
void grain_drop_all(struct reader *reader, struct version *version) REQUIRES(&reader->lock);

/* ---- fetch.c ---- */

/* Ask for what is missing of grains [first, last]; fetches are added to the list. */
struct fetch_range {
    uint64_t first, last;
    bool ahead; /* nobody waits for them: not by putting out what is unread */
};
int fetch_missing(struct reader *reader, struct version *version, const struct fetch_range *range,
                  struct fetch_list *start) REQUIRES(&reader->lock);
bool fetch_is_awaited(const struct fetch *f); /* under reader->lock */
/* End those of a version that nobody waits for. */
void fetch_cancel(struct reader *reader, struct version *version) REQUIRES(&reader->lock);

void fetch_done(struct objstore_request *request, const struct objstore_result *result);
void fetch_unref(struct reader *reader, struct fetch *f) REQUIRES(&reader->lock);
/* The GET, or what is left of it; what was begun in reader_start() goes on from here. */
void fetch_submit(struct fs *fs, struct fetch *f);
/* Grains up to `to` have been loaded; the rest is not to be had from disk, or there is none. */
void fetch_loaded(struct fetch *f, uint32_t to);
void fetch_load_ended(struct fs *fs, struct fetch *f);

/* ---- hedge.c: a second GET when the first is late ---- */

int hedge_new(struct fs *fs) __attribute__((warn_unused_result));
void hedge_stop(struct fs *fs); /* no second ones any more */
void hedge_free(struct fs *fs);
void hedge_watch(struct fs *fs, struct fetch *f); /* it is about to be submitted */
void hedge_forget(struct reader *reader, struct fetch *f) REQUIRES(&reader->lock);
/* The answer to this request begins: is it the one to be taken? */
bool hedge_wins(struct fetch *f, const struct objstore_request *request);
/* This request has ended: does that decide the fetch? If not, it is not the caller's any more. */
bool hedge_decides(struct fetch *f, const struct objstore_request *request);
uint64_t hedge_count(struct reader *reader); /* second GETs so far */

/* ---- store.c: grains on disk ---- */

int store_new(struct fs *fs) __attribute__((warn_unused_result));
void store_stop(struct fs *fs); /* nothing is read or written any more */
void store_free(struct fs *fs);
void store_name(struct reader *reader, struct version *version) REQUIRES(&reader->lock);
bool store_has(struct reader *reader, const struct version *version, uint64_t index)
    REQUIRES(&reader->lock);
/* True: the fetch will be loaded, and ends in fetch_load_ended(). */
bool store_load(struct fs *fs, struct fetch *f);
/* Write these, which are ready, if there is time. */
void store_grains(struct fs *fs, struct version *version, struct grain *const *grains,
                  uint32_t count);
/* Every second. */
void store_tick(struct fs *fs);

/* ---- reader.c ---- */

/* These grains are ready, or have failed: waits that are over by it go to `over`. */
void reader_settle(struct reader *reader, struct grain *const *grains, uint32_t count, int error,
                   struct reader_waits *over) REQUIRES(&reader->lock);
/* Tell them, without the lock. */
void reader_tell(struct reader_waits *over);

#endif
