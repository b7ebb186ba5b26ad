/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A second GET when the answer to the first is late: later than 99 of a hundred answers of this
 * store have begun. Whose answer begins first fills the grains, the other is ended. Second ones are
 * a few percent of all at most, so a store that is slow altogether gets little more to do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/read/reader_internal.h"

enum {
    TICK_MS = 10,
    IDLE_MS = 1000,
    CLASSES = 128,    /* of times: four for each power of two, in ms */
    LEARN = 100,      /* answers before anything is said of the hundredth */
    FORGET_AT = 4000, /* then all counts are halved */
    LATE_MIN_MS = 30, /* not before, whatever the store's habit */
    PER_GET = 3,      /* hundredths of a second GET that each first one allows */
    SAVED_MAX = 800,  /* hundredths */
    AT_ONCE = 16,
};

struct hedge {
    struct fs *fs;
    pthread_t thread;
    bool has_thread, ending;
    struct cond wake;
    TAILQ_HEAD(, fetch) waiting; /* for the beginning of their answers, by age */
    uint32_t counts[CLASSES];
    uint32_t total;
    uint32_t saved; /* hundredths of second GETs */
    uint64_t sent;
};

/* ---- how long answers take ---- */

static uint32_t class_of(uint64_t ms)
{
    uint32_t power = 0;

    ms += 4; /* the first class: below 1 ms */
    while ((ms >> power) >= 8) {
        power++;
    }
    power = power * 4 + (uint32_t)((ms >> power) - 4);
    return power < CLASSES ? power : CLASSES - 1;
}

/* Where a class ends. */
static uint64_t end_of(uint32_t class)
{
    return ((UINT64_C(5) + class % 4) << (class / 4)) - 4;
}

static void learn(struct hedge *h, uint64_t ms)
{
    h->counts[class_of(ms)]++;
    if (++h->total < FORGET_AT) {
        return;
    }
    h->total = 0;
    for (int i = 0; i < CLASSES; i++) {
        h->counts[i] /= 2;
        h->total += h->counts[i];
    }
}

/* After so long an answer is late; UINT64_MAX: too little is known. */
static uint64_t late_after(const struct hedge *h)
{
    uint32_t left = h->total / 100;

    if (h->total < LEARN) {
        return UINT64_MAX;
    }
    for (uint32_t i = CLASSES; i-- > 0;) {
        if (h->counts[i] > left) {
            return end_of(i) > LATE_MIN_MS ? end_of(i) : LATE_MIN_MS;
        }
        left -= h->counts[i];
    }
    return LATE_MIN_MS;
}

/* ---- what is waited for ---- */

void hedge_watch(struct fs *fs, struct fetch *f)
{
    struct reader *reader = fs->reader;
    struct hedge *h = reader->hedge;

    mutex_lock(&reader->lock);
    f->asked_ms = fs_now_ms();
    f->watched = true;
    if (TAILQ_EMPTY(&h->waiting)) {
        cond_signal(&h->wake);
    }
    TAILQ_INSERT_TAIL(&h->waiting, f, watch_link);
    h->saved = h->saved + PER_GET < SAVED_MAX ? h->saved + PER_GET : SAVED_MAX;
    mutex_unlock(&reader->lock);
}

void hedge_forget(struct reader *reader, struct fetch *f)
{
    if (f->watched) {
        TAILQ_REMOVE(&reader->hedge->waiting, f, watch_link);
        f->watched = false;
    }
}

/* fetch_done() needs the lock before the request goes, so cancelling under it is safe. */
static void end_other(struct reader *reader, struct fetch *f) REQUIRES(&reader->lock)
{
    struct volume *volume = reader->fs->volume;

    if (f->winner == &f->second && f->submitted && !f->first_ended) {
        volume_cancel(volume, &f->request);
    } else if (f->winner == &f->request && f->second_submitted && !f->second_ended) {
        volume_cancel(volume, &f->second);
    }
}

bool hedge_wins(struct fetch *f, const struct objstore_request *request)
{
    struct reader *reader = f->fs->reader;
    bool wins;

    mutex_lock(&reader->lock);
    if (f->winner == NULL) {
        f->winner = request;
        /* A late first answer counts with all its time, also if the second overtakes it. */
        learn(reader->hedge, fs_now_ms() - f->asked_ms);
        hedge_forget(reader, f);
        end_other(reader, f);
    }
    wins = f->winner == request;
    mutex_unlock(&reader->lock);
    return wins;
}

bool hedge_decides(struct fetch *f, const struct objstore_request *request)
{
    struct reader *reader = f->fs->reader;
    bool second = request == &f->second;
    bool other_runs;
    bool decides;

    mutex_lock(&reader->lock);
    if (second) {
        f->second_ended = true;
    } else {
        f->first_ended = true;
    }
    other_runs = second ? !f->first_ended : f->second_sent && !f->second_ended;
    decides = !f->ended && (f->winner == request || (f->winner == NULL && !other_runs));
    if (!decides) {
        fetch_unref(reader, f);
    }
    mutex_unlock(&reader->lock);
    return decides;
}

/* ---- the second ones ---- */

static size_t choose(struct reader *reader, struct fetch *chosen[AT_ONCE]) REQUIRES(&reader->lock)
{
    struct hedge *h = reader->hedge;
    uint64_t now = fs_now_ms();
    uint64_t late = late_after(h);
    size_t count = 0;
    struct fetch *f;
    struct fetch *next;

    for (f = TAILQ_FIRST(&h->waiting); f != NULL && count < AT_ONCE; f = next) {
        next = TAILQ_NEXT(f, watch_link);
        if (late == UINT64_MAX || now < f->asked_ms + late || h->saved < 100) {
            break;
        }
        if (f->cancelled || !f->submitted || !fetch_is_awaited(f)) {
            continue;
        }
        hedge_forget(reader, f);
        h->saved -= 100;
        h->sent++;
        mount_stats_add(reader->fs->options.stats, STATS_HEDGES, 1);
        f->second = f->request;
        memset(f->second.store_private, 0, sizeof(f->second.store_private));
        f->second_sent = true;
        f->refs += 2; /* of its end, and of who sends it */
        chosen[count++] = f;
    }
    return count;
}

static void send(struct fs *fs, struct fetch *f)
{
    struct reader *reader = fs->reader;

    if (f->version->internal) {
        volume_submit_internal(fs->volume, &f->second);
    } else {
        volume_submit(fs->volume, &f->second);
    }
    mutex_lock(&reader->lock);
    f->second_submitted = true;
    /* The first may have begun while this was on its way. */
    if ((f->cancelled || f->winner == &f->request) && !f->second_ended) {
        volume_cancel(fs->volume, &f->second);
    }
    fetch_unref(reader, f);
    mutex_unlock(&reader->lock);
}

static void *hedge_main(void *arg)
{
    struct hedge *h = arg;
    struct reader *reader = h->fs->reader;
    struct fetch *chosen[AT_ONCE];

    (void)pthread_setname_np(pthread_self(), "second-gets");
    mutex_lock(&reader->lock);
    while (!h->ending) {
        size_t count = choose(reader, chosen);

        mutex_unlock(&reader->lock);
        for (size_t i = 0; i < count; i++) {
            send(h->fs, chosen[i]);
        }
        mutex_lock(&reader->lock);
        if (!h->ending) {
            cond_wait_ms(&h->wake, &reader->lock, TAILQ_EMPTY(&h->waiting) ? IDLE_MS : TICK_MS);
        }
    }
    mutex_unlock(&reader->lock);
    return NULL;
}

/* ---- life ---- */

int hedge_new(struct fs *fs)
{
    struct hedge *h = calloc(1, sizeof(*h));
    pthread_attr_t attr;
    int ret;

    if (h == NULL) {
        return -ENOMEM;
    }
    h->fs = fs;
    h->saved = 200;
    cond_init(&h->wake);
    TAILQ_INIT(&h->waiting);
    fs->reader->hedge = h;
    if (pthread_attr_init(&attr) != 0) {
        return -ENOMEM;
    }
    (void)pthread_attr_setstacksize(&attr, 256 * 1024);
    ret = -pthread_create(&h->thread, &attr, hedge_main, h);
    (void)pthread_attr_destroy(&attr);
    h->has_thread = ret == 0;
    return ret;
}

void hedge_stop(struct fs *fs)
{
    struct hedge *h = fs->reader->hedge;

    if (h == NULL || !h->has_thread) {
        return;
    }
    mutex_lock(&fs->reader->lock);
    h->ending = true;
    cond_signal(&h->wake);
    mutex_unlock(&fs->reader->lock);
    (void)pthread_join(h->thread, NULL);
    h->has_thread = false;
}

void hedge_free(struct fs *fs)
{
    struct hedge *h = fs->reader->hedge;

    if (h != NULL) {
        hedge_stop(fs);
        cond_done(&h->wake);
        free(h);
        fs->reader->hedge = NULL;
    }
}

uint64_t hedge_count(struct reader *reader)
{
    uint64_t sent;

    mutex_lock(&reader->lock);
    sent = reader->hedge->sent;
    mutex_unlock(&reader->lock);
    return sent;
}
