/* SPDX-License-Identifier: Apache-2.0 */
#include "s3keys/key_sync.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/client.h"
#include "skyvol/meta/v1/meta.pb-c.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/log.h"
#include "util/mutex.h"

enum { CALL_MS = 5000, FILE_MAX = 64 << 20, REPLY_MAX = 64 << 20 };

struct key_sync {
    struct key_sync_config config;
    struct rpc_client *client;
    struct rpc_cancel *cancel;
    struct mutex lock;
    struct cond changed;
    bool ending GUARDED_BY(lock);
    pthread_t thread;
    bool has_thread;
    /* the thread's, and key_sync_new()'s before */
    Skyvol__Meta__V1__FetchAccessKeysResponse *last; /* with keys; NULL: none yet */
    int64_t valid_until_s;
    bool failed; /* and told so */
};

static void reply_free(Skyvol__Meta__V1__FetchAccessKeysResponse *reply)
{
    for (size_t i = 0; reply != NULL && i < reply->n_secrets; i++) {
        explicit_bzero(reply->secrets[i], strlen(reply->secrets[i]));
    }
    rpc_message_free(reply);
}

/* Access keys, secrets and bucket names have nothing in them that JSON would escape, but what comes
 * over a wire is not believed. */
static bool plain(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == '"' || *text == '\\') {
            return false;
        }
    }
    return true;
}

/* Only those that the key has: the others are those of skyvol-s3. */
static void add_limits(const Skyvol__Meta__V1__AccessKeyLimits *limits, struct buf *out)
{
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {
        {"requests_per_second", limits != NULL ? limits->requests_per_second : 0},
        {"request_burst", limits != NULL ? limits->request_burst : 0},
        {"concurrent_requests", limits != NULL ? limits->concurrent_requests : 0},
        {"upload_rate", limits != NULL ? limits->upload_rate : 0},
        {"download_rate", limits != NULL ? limits->download_rate : 0},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i].value != 0) {
            buf_addf(out, ", \"%s\": %llu", all[i].name, (unsigned long long)all[i].value);
        }
    }
}

static int add_key(const Skyvol__Meta__V1__AccessKey *key, const char *secret, struct buf *out)
{
    if (!plain(key->id) || !plain(secret) || key->id[0] == '\0' || secret[0] == '\0') {
        return -EBADMSG;
    }
    buf_addf(out, "{\"access_key\": \"%s\", \"secret_key\": \"%s\", \"read_only\": %s", key->id,
             secret, key->read_only ? "true" : "false");
    if (key->expires_ns != 0) {
        buf_addf(out, ", \"expires_s\": %lld", (long long)(key->expires_ns / 1000000000));
    }
    add_limits(key->limits, out);
    for (size_t i = 0; i < key->n_buckets; i++) {
        if (!plain(key->buckets[i])) {
            return -EBADMSG;
        }
        buf_addf(out, "%s\"%s\"", i == 0 ? ", \"buckets\": [" : ", ", key->buckets[i]);
    }
    buf_addstr(out, key->n_buckets > 0 ? "]}" : "}");
    return 0;
}

static int write_file(struct key_sync *sync)
{
    CLEANUP(buf_wipe) struct buf text = BUF_INIT(FILE_MAX);
    const Skyvol__Meta__V1__FetchAccessKeysResponse *from = sync->last;
    int r = from->n_keys == from->n_secrets ? 0 : -EBADMSG;

    buf_addf(&text, "{\"valid_until_s\": %lld, \"keys\": [", (long long)sync->valid_until_s);
    for (size_t i = 0; r == 0 && i < from->n_keys; i++) {
        buf_addstr(&text, i > 0 ? ",\n" : "\n");
        r = add_key(from->keys[i], from->secrets[i], &text);
    }
    buf_addstr(&text, "]}\n");
    r = r == 0 ? buf_error(&text) : r;
    return r == 0 ? file_replace(sync->config.file, buf_str(&text), buf_len(&text), 0600) : r;
}

static int fetch(struct key_sync *sync, Skyvol__Meta__V1__FetchAccessKeysResponse **ret,
                 struct error *err)
{
    Skyvol__Meta__V1__FetchAccessKeysRequest in = SKYVOL__META__V1__FETCH_ACCESS_KEYS_REQUEST__INIT;
    const struct rpc_request request = {.service = &skyvol__meta__v1__access_keys__descriptor,
                                        .method = "FetchAccessKeys",
                                        .message = &in.base,
                                        .timeout_ms = CALL_MS,
                                        .cancel = sync->cancel};
    ProtobufCMessage *reply = NULL;
    int r;

    if (sync->last != NULL) {
        in.revision = sync->last->revision;
    }
    r = rpc_client_connect(sync->client, CALL_MS);
    r = r == 0 ? rpc_client_call(sync->client, &request, &reply, err)
               : error_set(err, r, "cannot connect");
    if (r == 0) {
        *ret = (void *)reply;
    }
    return r;
}

/* One question, and what it means for the file. */
static void ask(struct key_sync *sync)
{
    Skyvol__Meta__V1__FetchAccessKeysResponse *reply = NULL;
    struct error err = ERROR_INIT;
    int64_t now = clock_realtime_ns(clock_real()) / 1000000000;
    int64_t age = (int64_t)(sync->config.max_age_ms / 1000);
    int r = fetch(sync, &reply, &err);
    bool fresh = r == 0 && !reply->unchanged;

    if (fresh) {
        reply_free(sync->last);
        sync->last = reply;
    } else {
        reply_free(reply);
    }
    /* written again for its end alone only when a quarter of the time is over */
    if (r == 0 && sync->last != NULL && (fresh || sync->valid_until_s - now < age - age / 4)) {
        sync->valid_until_s = now + age;
        r = write_file(sync);
        if (r != 0) {
            reply_free(sync->last); /* ask for all of them again */
            sync->last = NULL;
        }
    }
    if (r == -ECANCELED) {
        return;
    }
    if (r != 0 && !sync->failed) {
        log_warn("access keys not fetched, the known ones stay for a while", "meta",
                 sync->config.address, "error", error_text(&err, r), NULL);
    } else if (r == 0 && (fresh || sync->failed)) {
        log_info("access keys fetched", "keys",
                 log_num(sync->last != NULL ? sync->last->n_keys : 0), NULL);
    }
    sync->failed = r != 0;
}

static void *run(void *arg)
{
    struct key_sync *sync = arg;
    bool ending = false;

    while (!ending) {
        mutex_lock(&sync->lock);
        if (!sync->ending) {
            cond_wait_ms(&sync->changed, &sync->lock, KEY_SYNC_POLL_MS);
        }
        ending = sync->ending;
        mutex_unlock(&sync->lock);
        if (!ending) {
            ask(sync);
        }
    }
    return NULL;
}

int key_sync_new(const struct key_sync_config *config, struct key_sync **ret, struct error *err)
{
    const struct rpc_tls tls = {config->ca_file, config->cert_file, config->key_file};
    const struct rpc_client_config client = {.target = config->address,
                                             .tls = config->cert_file != NULL ? &tls : NULL,
                                             .server_name = config->server_name,
                                             .max_message_bytes = REPLY_MAX};
    struct key_sync *sync = calloc(1, sizeof(*sync));
    int r;

    if (sync == NULL) {
        return -ENOMEM;
    }
    sync->config = *config;
    mutex_init(&sync->lock);
    cond_init(&sync->changed);
    r = rpc_cancel_new(&sync->cancel);
    r = r == 0 ? rpc_client_new(&client, &sync->client, err) : r;
    if (r == 0) {
        ask(sync);
        r = -pthread_create(&sync->thread, NULL, run, sync);
        sync->has_thread = r == 0;
    }
    if (r != 0) {
        key_sync_free(sync);
        return r;
    }
    *ret = sync;
    return 0;
}

void key_sync_free(struct key_sync *sync)
{
    if (sync == NULL) {
        return;
    }
    mutex_lock(&sync->lock);
    sync->ending = true;
    cond_broadcast(&sync->changed);
    mutex_unlock(&sync->lock);
    if (sync->cancel != NULL) {
        rpc_cancel_now(sync->cancel);
    }
    if (sync->has_thread) {
        (void)pthread_join(sync->thread, NULL);
    }
    rpc_client_free(sync->client);
    rpc_cancel_free(sync->cancel);
    reply_free(sync->last);
    cond_done(&sync->changed);
    mutex_done(&sync->lock);
    free(sync);
}
