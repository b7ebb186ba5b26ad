/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/managed/keys.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/managed/managed.h"
#include "skyvol/meta/v1/meta.pb-c.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

enum {
    CALL_MAX_MS = 10000, /* the metaserver may have to ask the STS */
    CONNECT_MS = 500,
    LEASE_PARTS = 4, /* nor may the session's lease end meanwhile */
    PAUSE_MIN_MS = 1000,
    PAUSE_MAX_MS = 15000,
    KEPT_VERSION = 1,
    KEY_MAX = 256,
    TOKEN_MAX = 8192,
};
static const uint64_t kept_magic = 0x736b796b65797331U; /* "skykeys1" */

struct kept_keys {
    uint64_t magic;
    uint32_t version;
    uint32_t valid;     /* 1: all below is there; written after it */
    int64_t expires_ms; /* time of day */
    char access_key[KEY_MAX];
    char secret_key[KEY_MAX];
    char token[TOKEN_MAX];
};

struct keys {
    struct keys_config config;
    char *name;
    struct kept_keys *kept;
    atomic_bool ask; /* whatever the times say */

    /* The session's thread's own. */
    bool known;         /* the last answer had temporary keys */
    uint64_t due_ms;    /* monotonic */
    int64_t due_day_ms; /* the same by the time of day: a machine may have slept */
    uint32_t failures;
    bool told_expired;
    char told[256]; /* the last failure that was logged */
};

static int64_t day_ms(void)
{
    return clock_realtime_ns(clock_real()) / 1000000;
}

/* ---- what a predecessor had ---- */

static bool ends(const char *text, size_t cap)
{
    return memchr(text, '\0', cap) != NULL;
}

static int use(struct keys *k)
{
    const struct kept_keys *kept = k->kept;
    const struct volume_credentials fresh = {kept->access_key, kept->secret_key, kept->token};

    if (k->config.stats != NULL) {
        mount_stats_set(k->config.stats, STATS_KEYS_EXPIRE_MS, (uint64_t)kept->expires_ms);
    }
    return volume_set_credentials(k->config.volume, &fresh);
}

static int adopt(struct keys *k, struct error *err)
{
    struct keep_region region;
    struct kept_keys *kept;
    int r = keep_region(k->config.keep, "keys", sizeof(*kept), &region, err);

    if (r != 0) {
        return r;
    }
    kept = region.data;
    k->kept = kept;
    if (region.fresh) {
        kept->version = KEPT_VERSION;
        kept->magic = kept_magic;
        return 0;
    }
    if (kept->magic != kept_magic || kept->version != KEPT_VERSION ||
        !ends(kept->access_key, KEY_MAX) || !ends(kept->secret_key, KEY_MAX) ||
        !ends(kept->token, TOKEN_MAX)) {
        return error_set(err, -EUCLEAN, "kept memory 'keys' is not one of ours");
    }
    if (kept->valid == 0 || kept->expires_ms <= day_ms()) {
        return 0; /* what the mount came with may be newer */
    }
    r = use(k);
    return r == -ENOTSUP ? 0 : r;
}

/* ---- new ones ---- */

/* A successor that comes in the midst of it finds none. */
static int take(struct keys *k, const Skyvol__Meta__V1__Credentials *fresh)
{
    struct kept_keys *kept = k->kept;
    int r;

    if (strlen(fresh->access_key) >= KEY_MAX || strlen(fresh->secret_key) >= KEY_MAX ||
        strlen(fresh->session_token) >= TOKEN_MAX) {
        return -EFBIG;
    }
    __atomic_store_n(&kept->valid, 0, __ATOMIC_SEQ_CST);
    (void)snprintf(kept->access_key, KEY_MAX, "%s", fresh->access_key);
    (void)snprintf(kept->secret_key, KEY_MAX, "%s", fresh->secret_key);
    (void)snprintf(kept->token, TOKEN_MAX, "%s", fresh->session_token);
    kept->expires_ms = day_ms() + (int64_t)fresh->expires_in_ms;
    r = use(k);
    if (r == 0) {
        __atomic_store_n(&kept->valid, 1, __ATOMIC_SEQ_CST);
    }
    return r;
}

static void wipe(char *text)
{
    if (text[0] != '\0') { /* else it may be a constant */
        OPENSSL_cleanse(text, strlen(text));
    }
}

/* 0, and *ret_renew_ms when to ask again. */
static int fetch(struct keys *k, struct managed *m, uint64_t *ret_renew_ms, struct error *err)
{
    Skyvol__Meta__V1__FetchCredentialsRequest in =
        SKYVOL__META__V1__FETCH_CREDENTIALS_REQUEST__INIT;
    Skyvol__Meta__V1__Credentials *fresh;
    struct managed_session session;
    ProtobufCMessage *reply = NULL;
    uint64_t timeout_ms;
    int r = managed_session(m, 0, &session);

    if (r != 0) {
        return error_set(err, r, "there is no session with skyvol-meta");
    }
    in.session_id = session.id;
    in.epoch = session.epoch;
    timeout_ms = session.lease_ms / LEASE_PARTS;
    timeout_ms = timeout_ms < CALL_MAX_MS ? timeout_ms : CALL_MAX_MS;
    r = managed_call(
        m,
        &(struct managed_request){.service = &skyvol__meta__v1__sessions__descriptor,
                                  .method = "FetchCredentials",
                                  .message = &in.base,
                                  .timeout_ms = timeout_ms,
                                  .cancel = managed_cancel(m),
                                  .connect_ms = timeout_ms < CONNECT_MS ? timeout_ms : CONNECT_MS},
        &reply, err);
    if (r != 0) {
        return r;
    }
    fresh = ((Skyvol__Meta__V1__FetchCredentialsResponse *)(void *)reply)->credentials;
    k->known = fresh != NULL && fresh->access_key[0] != '\0';
    *ret_renew_ms = KEYS_STEP_NEVER_MS;
    if (k->known) {
        r = take(k, fresh);
        *ret_renew_ms = fresh->renew_in_ms < PAUSE_MIN_MS ? PAUSE_MIN_MS : fresh->renew_in_ms;
        wipe(fresh->secret_key);
        wipe(fresh->session_token);
    }
    rpc_message_free(reply);
    return r == -ENOTSUP ? 0 : r; /* not an S3 store */
}

/* ---- when ---- */

static void set_due(struct keys *k, uint64_t ms)
{
    k->due_ms = clock_monotonic_ms(clock_real()) + ms;
    k->due_day_ms = day_ms() + (int64_t)ms;
}

/* Log what has changed, not every try. */
static void tell(struct keys *k, const struct error *err, int r)
{
    bool expired = k->kept->valid != 0 && k->kept->expires_ms <= day_ms();
    char text[sizeof(k->told)];

    (void)snprintf(text, sizeof(text), "%.200s", error_text(err, r));
    if (strcmp(text, k->told) != 0 || expired != k->told_expired) {
        (void)snprintf(k->told, sizeof(k->told), "%s", text);
        if (expired) {
            log_error("the store's keys have expired and there are no newer ones: requests fail",
                      "volume", k->name, "error", text, NULL);
        } else {
            log_warn("the store's keys are not renewed yet", "volume", k->name, "error", text,
                     NULL);
        }
        k->told_expired = expired;
    }
}

static uint64_t failed(struct keys *k, const struct error *err, int r)
{
    uint64_t pause = PAUSE_MIN_MS;

    if (r == -ENOTSUP) { /* an older server */
        k->known = false;
        return KEYS_STEP_NEVER_MS;
    }
    for (uint32_t i = 0; i < k->failures && pause < PAUSE_MAX_MS; i++) {
        pause *= 2;
    }
    k->failures++;
    if (r != -ENOLCK) { /* of the session its own thread tells */
        tell(k, err, r);
    }
    return pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS;
}

uint64_t keys_step(struct keys *k, struct managed *m)
{
    struct error err = ERROR_INIT;
    uint64_t now = clock_monotonic_ms(clock_real());
    uint64_t pause = KEYS_STEP_NEVER_MS;
    int r;

    if (!atomic_exchange(&k->ask, false) && now < k->due_ms && day_ms() < k->due_day_ms) {
        return k->due_ms - now;
    }
    r = fetch(k, m, &pause, &err);
    if (r != 0) {
        pause = failed(k, &err, r);
    } else {
        if (k->failures > 0 && k->told[0] != '\0') {
            log_info("the store's keys are renewed", "volume", k->name, NULL);
        }
        k->failures = 0;
        k->told[0] = '\0';
        k->told_expired = false;
    }
    set_due(k, pause);
    return pause;
}

void keys_ask(struct keys *k)
{
    if (k != NULL) {
        atomic_store(&k->ask, true);
    }
}

/* ---- begin, end ---- */

int keys_new(const struct keys_config *config, struct keys **ret, struct error *err)
{
    struct keys *k = calloc(1, sizeof(*k));
    int r;

    if (k == NULL) {
        return -ENOMEM;
    }
    k->config = *config;
    k->name = strdup(config->name);
    k->config.name = k->name;
    atomic_init(&k->ask, true);
    r = k->name == NULL ? -ENOMEM : adopt(k, err);
    if (r != 0) {
        keys_free(k);
        return r;
    }
    *ret = k;
    return 0;
}

void keys_free(struct keys *k)
{
    if (k != NULL) {
        free(k->name);
        free(k);
    }
}
