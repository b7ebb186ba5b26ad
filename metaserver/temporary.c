/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Temporary keys: each volume of a store that has an STS gets keys of its own, which reach its
 * bucket or prefix only; the store's key pair stays here. All mounts of a volume share them, and
 * new ones are made when half of their time is over: an STS that does not answer, and mounts that
 * do not reach us, have the other half to come back.
 *
 * The list belongs to meta->lock. An entry is asked for by one thread at a time (`making`), without
 * the lock, and stays in the list meanwhile.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metaserver/meta.h"
#include "objstore/sts.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/random.h"

enum {
    ENTRIES_MAX = 4096,
    DURATION_S = 3600,
    LOOK_MS = 1000,
    RETRY_MAX_MS = 10000,  /* pause after an STS that failed, while the old ones are good */
    MARGIN_MAX_MS = 30000, /* what is good for less is given to nobody */
};

struct temporary {
    LIST_ENTRY(temporary) link;
    char *store, *volume;
    bool read_only;
    bool making;
    bool stale; /* the store has other keys or another STS: made ones are not kept */
    struct mount_credentials keys; /* without any: none were made yet */
    uint64_t lifetime_ms;
    uint64_t renew_ms, expires_ms; /* monotonic */
    uint64_t retry_ms;             /* not before, after a failure */
};

/* What is asked for. */
struct wish {
    struct meta *meta;
    struct rpc_call *call;
    const struct db_store *store;
    const struct db_volume *volume;
    bool read_only;
};

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

bool temporary_wanted(const struct db_store *store)
{
    return (store->sts_endpoint != NULL && store->sts_endpoint[0] != '\0') ||
           (store->role_arn != NULL && store->role_arn[0] != '\0');
}

/* ---- the list ---- */

static void entry_free(struct temporary *t)
{
    mount_credentials_done(&t->keys);
    free(t->store);
    free(t->volume);
    free(t);
}

static uint64_t part_of(uint64_t ms, unsigned divisor, uint64_t max)
{
    return ms / divisor < max ? ms / divisor : max;
}

static bool is_good(const struct temporary *t, uint64_t now)
{
    return t->keys.access_key != NULL && !t->stale &&
           now + part_of(t->lifetime_ms, 10, MARGIN_MAX_MS) < t->expires_ms;
}

static struct temporary *find_locked(const struct wish *w) REQUIRES(&w->meta->lock)
{
    struct temporary *t;

    LIST_FOREACH (t, &w->meta->temporary, link) {
        if (!t->stale && t->read_only == w->read_only && strcmp(t->volume, w->volume->id) == 0 &&
            strcmp(t->store, w->store->name) == 0) {
            return t;
        }
    }
    return NULL;
}

static void remove_locked(struct meta *meta, struct temporary *t) REQUIRES(&meta->lock)
{
    LIST_REMOVE(t, link);
    meta->temporary_count--;
    entry_free(t);
}

/* What has expired goes, and of too many the one that would be first. */
static void make_room_locked(struct meta *meta) REQUIRES(&meta->lock)
{
    struct temporary *first = NULL;
    struct temporary *next;
    uint64_t now = now_ms();

    for (struct temporary *t = LIST_FIRST(&meta->temporary); t != NULL; t = next) {
        next = LIST_NEXT(t, link);
        if (t->making) {
            continue;
        }
        if (t->stale || t->expires_ms <= now) {
            remove_locked(meta, t);
        } else if (first == NULL || t->expires_ms < first->expires_ms) {
            first = t;
        }
    }
    if (meta->temporary_count >= ENTRIES_MAX && first != NULL) {
        remove_locked(meta, first);
    }
}

static struct temporary *add_locked(const struct wish *w) REQUIRES(&w->meta->lock)
{
    struct temporary *t = calloc(1, sizeof(*t));

    make_room_locked(w->meta);
    if (t == NULL || (t->store = strdup(w->store->name)) == NULL ||
        (t->volume = strdup(w->volume->id)) == NULL) {
        if (t != NULL) {
            entry_free(t);
        }
        return NULL;
    }
    t->read_only = w->read_only;
    LIST_INSERT_HEAD(&w->meta->temporary, t, link);
    w->meta->temporary_count++;
    return t;
}

void temporary_forget(struct meta *meta, const char *store)
{
    struct temporary *next;

    mutex_lock(&meta->lock);
    for (struct temporary *t = LIST_FIRST(&meta->temporary); t != NULL; t = next) {
        next = LIST_NEXT(t, link);
        if (strcmp(t->store, store) != 0) {
            continue;
        }
        t->stale = true;
        if (!t->making) {
            remove_locked(meta, t);
        }
    }
    mutex_unlock(&meta->lock);
}

LOCK_UNCHECKED
void temporary_stop(struct meta *meta)
{
    while (!LIST_EMPTY(&meta->temporary)) {
        remove_locked(meta, LIST_FIRST(&meta->temporary));
    }
}

/* ---- the STS ---- */

/* Keys that were just made. */
struct made {
    struct s3_sts_answer answer;
    int64_t lifetime_s;
};

static int assume(struct meta *meta, const struct db_store *store,
                  const struct mount_credentials *keys, struct objstore_sts_config config,
                  struct made *ret, struct error *err)
{
    int r;

    *ret = (struct made){.lifetime_s = 0};

    /* A store of one's own has its STS beside it, if nothing else is said. */
    config.endpoint = store->sts_endpoint[0] != '\0' ? store->sts_endpoint : store->endpoint;
    config.region = store->s3_region;
    config.credentials =
        (struct objstore_s3_credentials){keys->access_key, keys->secret_key, keys->session_token};
    config.public_only = store->public_only;
    config.role_arn = store->role_arn;
    config.duration_s = store->sts_duration_s != 0 ? store->sts_duration_s : DURATION_S;
    r = keys->access_key == NULL
            ? error_set(err, -EINVAL, "an STS is asked with the store's key pair: it has none")
            : objstore_sts_assume(&config, &ret->answer, &ret->lifetime_s, err);
    metric_add(meta->sts_requests, 1,
               r == 0                         ? "ok"
               : r == -EACCES || r == -EINVAL ? "refused"
                                              : "failed");
    return r;
}

int temporary_check(struct meta *meta, const struct db_store *store,
                    const struct mount_credentials *keys, struct error *err)
{
    const struct objstore_sts_config what = {
        .session_name = "skyvol-check",
        .scope = {.bucket = "skyvol-check", .prefix = "", .read_only = true},
    };
    struct made made;
    struct error why = ERROR_INIT;
    int r = assume(meta, store, keys, what, &made, &why);

    s3_sts_answer_done(&made.answer);
    if (r == -EACCES || r == -EINVAL || r == -EPROTO) {
        return error_set(err, r, "%s", error_text(&why, r));
    }
    if (r != 0) {
        log_warn("a store's STS does not answer: mounts will have to wait for it", "store",
                 store->name, "error", error_text(&why, r), NULL);
    }
    return 0;
}

static int copy_answer(const struct s3_sts_answer *answer, struct mount_credentials *ret)
{
    *ret = (struct mount_credentials){strdup(answer->access_key), strdup(answer->secret_key),
                                      strdup(answer->token)};
    if (ret->access_key == NULL || ret->secret_key == NULL || ret->session_token == NULL) {
        mount_credentials_done(ret);
        return -ENOMEM;
    }
    return 0;
}

static int make(const struct wish *w, struct mount_credentials *ret, uint64_t *ret_lifetime_ms,
                struct error *err)
{
    char name[65];
    const struct objstore_sts_config what = {
        .session_name = name,
        .scope = {.bucket = w->volume->bucket,
                  .prefix = w->volume->prefix,
                  .read_only = w->read_only},
    };
    struct mount_credentials root = {0};
    struct made made;
    int r = meta_unseal(w->meta, w->store, &root, err);

    memset(ret, 0, sizeof(*ret));
    if (r != 0) {
        return r;
    }
    (void)snprintf(name, sizeof(name), "skyvol-%.48s", w->volume->id);
    r = assume(w->meta, w->store, &root, what, &made, err);
    mount_credentials_done(&root);
    if (r == 0) {
        r = copy_answer(&made.answer, ret);
        *ret_lifetime_ms = (uint64_t)made.lifetime_s * 1000;
    }
    s3_sts_answer_done(&made.answer);
    return r != 0 ? error_set(err, r, "no keys for volume %s from the STS of store %s: %s",
                              w->volume->id, w->store->name, error_text(err, r))
                  : 0;
}

/* ---- the answer ---- */

static int tell_locked(const struct wish *w, const struct temporary *t,
                       Skyvol__Meta__V1__Credentials **ret) REQUIRES(&w->meta->lock)
{
    Skyvol__Meta__V1__Credentials *m =
        rpc_call_message(w->call, &skyvol__meta__v1__credentials__descriptor);
    uint64_t now = now_ms();
    uint64_t renew = t->renew_ms > t->retry_ms ? t->renew_ms : t->retry_ms;

    if (m == NULL) {
        return -ENOMEM;
    }
    m->access_key = rpc_call_strdup(w->call, t->keys.access_key);
    m->secret_key = rpc_call_strdup(w->call, t->keys.secret_key);
    m->session_token = rpc_call_strdup(w->call, t->keys.session_token);
    m->expires_in_ms = t->expires_ms > now ? t->expires_ms - now : 1;
    m->renew_in_ms = renew > now ? renew - now : 1;
    *ret = m;
    return m->access_key == NULL || m->secret_key == NULL || m->session_token == NULL ? -ENOMEM : 0;
}

static void take(struct temporary *t, struct mount_credentials *fresh, uint64_t lifetime_ms)
{
    uint64_t now = now_ms();

    mount_credentials_done(&t->keys);
    t->keys = *fresh;
    *fresh = (struct mount_credentials){0};
    t->lifetime_ms = lifetime_ms;
    t->expires_ms = now + lifetime_ms;
    /* Not all volumes of a node that has just started at once. */
    t->renew_ms = now + lifetime_ms / 2 - random_below(lifetime_ms / 10 + 1);
    t->retry_ms = 0;
}

/* The entry is ours to make: outside the lock, which is held again at the end. */
static int renew_locked(const struct wish *w, struct temporary *t, struct error *err)
    REQUIRES(&w->meta->lock)
{
    struct mount_credentials fresh;
    struct error why = ERROR_INIT;
    uint64_t lifetime_ms = 0;
    bool good;
    int r;

    t->making = true;
    mutex_unlock(&w->meta->lock);
    r = make(w, &fresh, &lifetime_ms, &why);
    if (r != 0) { /* nobody takes out what is being made, so it may be named without the lock */
        mutex_lock(&w->meta->lock);
        good = is_good(t, now_ms());
        mutex_unlock(&w->meta->lock);
        log_warn(good ? "temporary keys are not renewed: the old ones are still good"
                      : "there are no temporary keys",
                 "volume", t->volume, "store", t->store, "error", error_text(&why, r), NULL);
    }
    mutex_lock(&w->meta->lock);
    t->making = false;
    cond_broadcast(&w->meta->changed);
    if (r == 0) {
        take(t, &fresh, lifetime_ms);
        return 0;
    }
    mount_credentials_done(&fresh);
    t->retry_ms = now_ms() + part_of(t->lifetime_ms, 20, RETRY_MAX_MS);
    return is_good(t, now_ms()) ? 0 : error_set(err, r, "%s", error_text(&why, r));
}

static int get_locked(const struct wish *w, Skyvol__Meta__V1__Credentials **ret, struct error *err)
    REQUIRES(&w->meta->lock)
{
    struct temporary *t;
    uint64_t now;
    int r;

    for (;;) {
        t = find_locked(w);
        now = now_ms();
        if (t == NULL || !t->making || is_good(t, now)) {
            break;
        }
        if (w->meta->ending || rpc_call_cancelled(w->call)) {
            return error_set(err, -ECANCELED, "nobody waits for the keys any more");
        }
        cond_wait_ms(&w->meta->changed, &w->meta->lock, LOOK_MS);
    }
    if (t == NULL && (t = add_locked(w)) == NULL) {
        return -ENOMEM;
    }
    if (is_good(t, now) && (t->making || now < t->renew_ms || now < t->retry_ms)) {
        return tell_locked(w, t, ret);
    }
    r = renew_locked(w, t, err);
    r = r == 0 ? tell_locked(w, t, ret) : r;
    if (t->stale || t->keys.access_key == NULL) {
        remove_locked(w->meta, t); /* made by a pair that has gone meanwhile, or not at all */
    }
    return r;
}

int temporary_get(struct rpc_call *call, const struct db_store *store,
                  const struct db_volume *volume, bool read_only,
                  Skyvol__Meta__V1__Credentials **ret, struct error *err)
{
    const struct wish w = {.meta = rpc_call_context(call),
                           .call = call,
                           .store = store,
                           .volume = volume,
                           .read_only = read_only};
    int r;

    mutex_lock(&w.meta->lock);
    r = get_locked(&w, ret, err);
    mutex_unlock(&w.meta->lock);
    return r;
}

/* ---- metrics ---- */

static void count(void *context)
{
    struct meta *meta = context;
    unsigned now;

    mutex_lock(&meta->lock);
    now = meta->temporary_count;
    mutex_unlock(&meta->lock);
    metric_set(meta->temporary_now, now);
}

int temporary_start(struct meta *meta)
{
    const struct metric_spec requests = {
        .kind = METRIC_COUNTER,
        .name = "skyvol_meta_sts_requests_total",
        .help = "Temporary keys asked for, by result: ok, refused, failed (no answer).",
        .labels = {"result"}};
    const struct metric_spec now = {.kind = METRIC_GAUGE,
                                    .name = "skyvol_meta_temporary_keys",
                                    .help = "Volumes with temporary keys, read-only ones apart."};
    int r = meta->metrics != NULL ? metrics_add(meta->metrics, &requests, &meta->sts_requests) : 0;

    if (r == 0 && meta->metrics != NULL) {
        r = metrics_add(meta->metrics, &now, &meta->temporary_now);
        r = r == 0 ? metrics_on_write(meta->metrics, count, meta) : r;
    }
    return r;
}
