/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/node/taint.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount/holder.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/mutex.h"
#include "util/random.h"

enum { HOLDER_MS = 1500, PAUSE_FIRST_MS = 500, PAUSE_MAX_MS = 30000, AGAIN_MS = 300000 };

struct taint {
    struct taint_config config;
    struct kube_client *client;
    struct kube_cancel *cancel;
    pthread_t thread;
    bool has_thread;
    struct mutex lock;
    struct cond changed;
    bool registered GUARDED_BY(lock);
    bool look GUARDED_BY(lock); /* now */
    bool stop GUARDED_BY(lock);
};

static bool holder_answers(const struct taint *taint)
{
    struct holder_status *list = NULL;
    size_t count = 0;
    struct error err = ERROR_INIT;
    int r = holder_list(taint->config.holder, HOLDER_MS, &list, &count, &err);

    free(list);
    if (r < 0) {
        log_debug("the holder does not answer yet", "error", error_text(&err, r), NULL);
    }
    return r == 0;
}

/* An operation on /spec/taints/INDEX. */
static bool add_operation(cJSON *patch, const char *op, int index, const cJSON *value)
{
    cJSON *operation = cJSON_CreateObject();
    char path[32];

    (void)snprintf(path, sizeof(path), "/spec/taints/%d", index);
    return cJSON_AddStringToObject(operation, "op", op) != NULL &&
           cJSON_AddStringToObject(operation, "path", path) != NULL &&
           (value == NULL ||
            cJSON_AddItemToObject(operation, "value", cJSON_Duplicate(value, true))) &&
           cJSON_AddItemToArray(patch, operation);
}

/* From the last to the first, so that a removal moves none of those still to come. 0: none there;
 * else how many it removes. */
static int make_patch(const cJSON *node, const char *key, cJSON **ret)
{
    const cJSON *taints =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(node, "spec"), "taints");
    cJSON *patch = cJSON_CreateArray();
    int count = 0;

    for (int i = cJSON_GetArraySize(taints) - 1; i >= 0; i--) {
        const cJSON *one = cJSON_GetArrayItem(taints, i);

        if (strcmp(kube_text(one, "key"), key) == 0) {
            if (!add_operation(patch, "test", i, one) || !add_operation(patch, "remove", i, NULL)) {
                cJSON_Delete(patch);
                return -ENOMEM;
            }
            count++;
        }
    }
    *ret = patch;
    return count;
}

/* 0: it is not there (any more). -EINVAL: the list has changed under the patch. */
static int take_off(struct taint *taint, struct error *err)
{
    struct kube_request request = {.verb = KUBE_GET,
                                   .resource = &kube_nodes,
                                   .name = taint->config.node,
                                   .cancel = taint->cancel};
    cJSON *node = NULL;
    cJSON *patch = NULL;
    int r = kube_call(taint->client, &request, &node, err);
    int count = r == 0 ? make_patch(node, taint->config.key, &patch) : r;

    if (count > 0) {
        request.verb = KUBE_PATCH_JSON;
        request.body = patch;
        request.manager = "skyvol-node";
        r = kube_call(taint->client, &request, NULL, err);
        if (r == 0) {
            log_info("the node takes pods with volumes", "node", taint->config.node, "taint",
                     taint->config.key, NULL);
        }
    } else {
        r = count;
    }
    cJSON_Delete(node);
    cJSON_Delete(patch);
    return r;
}

/* 0, or why it must be tried again. */
static int try(struct taint *taint)
{
    struct error err = ERROR_INIT;
    int r;

    if (!holder_answers(taint)) {
        return -ECONNREFUSED;
    }
    r = take_off(taint, &err);
    if (r == -ENOENT) { /* not here yet, or no node of the cluster at all */
        log_debug("no such node", "error", error_text(&err, r), NULL);
    } else if (r < 0 && r != -ECANCELED) {
        log_warn("cannot take the taint off the node, and will try again", "node",
                 taint->config.node, "error", error_text(&err, r), NULL);
    }
    return r;
}

/* Until it is time, or registered, or the end; false: the end. */
static bool wait_turn(struct taint *taint, uint64_t ms)
{
    bool stop;

    mutex_lock(&taint->lock);
    if (!taint->stop && !taint->look) {
        cond_wait_ms(&taint->changed, &taint->lock, ms);
    }
    while (!taint->stop && !taint->registered) {
        cond_wait(&taint->changed, &taint->lock);
    }
    taint->look = false;
    stop = taint->stop;
    mutex_unlock(&taint->lock);
    return !stop;
}

static void *run(void *arg)
{
    struct taint *taint = arg;
    uint64_t pause = PAUSE_FIRST_MS;
    uint64_t wait = 0;

    (void)pthread_setname_np(pthread_self(), "taint");
    while (wait_turn(taint, wait)) {
        if (try(taint) == 0) {
            pause = PAUSE_FIRST_MS;
            wait = AGAIN_MS;
        } else {
            wait = pause / 2 + random_below(pause / 2 + 1);
            pause = 2 * pause < PAUSE_MAX_MS ? 2 * pause : PAUSE_MAX_MS;
        }
    }
    return NULL;
}

void taint_registered(struct taint *taint)
{
    if (taint != NULL) {
        mutex_lock(&taint->lock);
        taint->registered = true;
        taint->look = true;
        cond_signal(&taint->changed);
        mutex_unlock(&taint->lock);
    }
}

int taint_new(const struct taint_config *config, struct taint **ret, struct error *err)
{
    struct taint *taint = calloc(1, sizeof(*taint));
    int r;

    if (taint == NULL) {
        return -ENOMEM;
    }
    taint->config = *config;
    mutex_init(&taint->lock);
    cond_init(&taint->changed);
    r = kube_cancel_new(&taint->cancel);
    r = r < 0 ? r : kube_client_new(&config->kube, &taint->client, err);
    if (r == 0) {
        r = -pthread_create(&taint->thread, NULL, run, taint);
        taint->has_thread = r == 0;
    }
    if (r < 0) {
        taint_free(taint);
        return r;
    }
    *ret = taint;
    return 0;
}

void taint_free(struct taint *taint)
{
    if (taint == NULL) {
        return;
    }
    if (taint->has_thread) {
        mutex_lock(&taint->lock);
        taint->stop = true;
        cond_signal(&taint->changed);
        mutex_unlock(&taint->lock);
        kube_cancel_now(taint->cancel);
        (void)pthread_join(taint->thread, NULL);
    }
    kube_client_free(taint->client);
    kube_cancel_free(taint->cancel);
    cond_done(&taint->changed);
    mutex_done(&taint->lock);
    free(taint);
}
