/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/webhook/certs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/buf.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/encode.h"
#include "util/log.h"

enum { TEXT_MAX = 64 * 1024, NAME_LENGTH = 512, HOOKS_MAX = 16 };

struct certs {
    struct certs_config config;
    char name[NAME_LENGTH]; /* service.space.svc */
    struct key_pair served, next;
    uint64_t next_ms; /* when `next` may be served: the API server knows its authority by then */
    bool changed;
};

/* The Secret as it was read. */
struct content {
    char *ca;
    struct key_pair pair;
    cJSON *secret;
};

static void content_done(struct content *c)
{
    free(c->ca);
    key_pair_done(&c->pair);
    cJSON_Delete(c->secret);
    *c = (struct content){.ca = NULL};
}

static int64_t now_s(void)
{
    return clock_realtime_ns(clock_real()) / 1000000000;
}

/* ---- the Secret ---- */

static char *member(const cJSON *secret, const char *name)
{
    const char *text = cJSON_GetStringValue(
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(secret, "data"), name));
    char *bytes = text != NULL ? calloc(1, strlen(text) + 1) : NULL;
    size_t len = 0;

    if (bytes != NULL &&
        (strlen(text) > TEXT_MAX || decode_base64(slice_of(text), bytes, strlen(text), &len) < 0)) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

static int fetch(struct certs *certs, struct content *ret, struct error *err)
{
    struct kube_request request = {.verb = KUBE_GET,
                                   .resource = &kube_secrets,
                                   .space = certs->config.space,
                                   .name = certs->config.secret,
                                   .cancel = certs->config.cancel};
    int r = kube_call(certs->config.client, &request, &ret->secret, err);

    if (r == 0) {
        ret->ca = member(ret->secret, "ca.crt");
        ret->pair.certificate = member(ret->secret, "tls.crt");
        ret->pair.key = member(ret->secret, "tls.key");
    }
    return r;
}

static bool is_good(const struct certs *certs, const struct content *c)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(TEXT_MAX);
    struct authority_subject subject = {0};
    int64_t end = 0;
    bool named = false;

    if (c->ca == NULL || c->pair.certificate == NULL || c->pair.key == NULL ||
        authority_check(c->ca, &c->pair, NULL) < 0 ||
        authority_read(c->pair.certificate, &arena, &subject, &end) < 0) {
        return false;
    }
    for (size_t i = 0; i < subject.name_count; i++) {
        named = named || strcmp(subject.names[i], certs->name) == 0;
    }
    return named && end - now_s() > (int64_t)subject.days * 86400 / 3;
}

static bool set_member(cJSON *data, const char *name, const char *text)
{
    struct buf encoded = BUF_INIT(2 * TEXT_MAX);
    bool good;

    encode_base64(&encoded, text, strlen(text));
    cJSON_DeleteItemFromObjectCaseSensitive(data, name);
    good =
        buf_error(&encoded) == 0 && cJSON_AddStringToObject(data, name, buf_str(&encoded)) != NULL;
    buf_wipe(&encoded);
    return good;
}

/* The authorities: the new one, then that of the certificate that may still be served. */
static int bundle(const char *ca, const char *before, char **ret)
{
    static const char end[] = "-----END CERTIFICATE-----\n";
    const char *stop = before != NULL ? strstr(before, end) : NULL;
    int len = stop != NULL ? (int)(stop - before + (ptrdiff_t)strlen(end)) : 0;

    if (asprintf(ret, "%s%.*s", ca, len, before != NULL ? before : "") < 0) {
        *ret = NULL;
        return -ENOMEM;
    }
    return 0;
}

/* Everything else of the Secret stays as it was read. */
static int put(struct certs *certs, struct content *c, const char *ca, const struct key_pair *pair,
               struct error *err)
{
    cJSON *data = cJSON_GetObjectItemCaseSensitive(c->secret, "data");
    struct kube_request request = {.verb = KUBE_REPLACE,
                                   .resource = &kube_secrets,
                                   .space = certs->config.space,
                                   .name = certs->config.secret,
                                   .body = c->secret,
                                   .manager = "skyvol-webhook",
                                   .cancel = certs->config.cancel};
    int r;

    data = cJSON_IsObject(data) ? data : cJSON_AddObjectToObject(c->secret, "data");
    if (!set_member(data, "ca.crt", ca) || !set_member(data, "tls.crt", pair->certificate) ||
        !set_member(data, "tls.key", pair->key)) {
        return -ENOMEM;
    }
    r = kube_call(certs->config.client, &request, NULL, err);
    return r == -ESTALE ? -EAGAIN : r;
}

static int renew(struct certs *certs, struct content *c, struct error *err)
{
    const char *const names[] = {certs->name};
    const struct authority_subject subject = {.common_name = "skyvol-webhook",
                                              .names = names,
                                              .name_count = 1,
                                              .days = certs->config.days};
    CLEANUP(key_pair_done) struct key_pair ca = {NULL, NULL};
    CLEANUP(key_pair_done) struct key_pair pair = {NULL, NULL};
    AUTOFREE char *all = NULL;
    int r = authority_root("skyvol-webhook-ca", certs->config.days + 1, &ca, err);

    r = r < 0 ? r : authority_issue(&ca, &subject, &pair, err);
    r = r < 0 ? r : bundle(ca.certificate, c->ca, &all);
    r = r < 0 ? r : put(certs, c, all, &pair, err);
    if (r == 0) {
        log_info("made a certificate", "name", certs->name, "secret", certs->config.secret, NULL);
    }
    return r == 0 ? -EAGAIN : r; /* to be read as everybody reads it */
}

/* ---- the webhook's configuration ---- */

static bool add_operation(cJSON *patch, const char *op, int index, const char *member,
                          const char *value)
{
    cJSON *operation = cJSON_CreateObject();
    char path[64];

    (void)snprintf(path, sizeof(path), "/webhooks/%d/%s", index, member);
    if (cJSON_AddStringToObject(operation, "op", op) == NULL ||
        cJSON_AddStringToObject(operation, "path", path) == NULL ||
        cJSON_AddStringToObject(operation, "value", value) == NULL ||
        !cJSON_AddItemToArray(patch, operation)) {
        cJSON_Delete(operation);
        return false;
    }
    return true;
}

/* How many of its webhooks have another bundle, each with its operations; or -ENOMEM. */
static int patch_of(const cJSON *configuration, const char *ca, cJSON *patch)
{
    const cJSON *hooks = cJSON_GetObjectItemCaseSensitive(configuration, "webhooks");
    CLEANUP(buf_done) struct buf encoded = BUF_INIT(2 * TEXT_MAX);
    const cJSON *hook;
    int index = 0;
    int count = 0;

    encode_base64(&encoded, ca, strlen(ca));
    if (buf_error(&encoded) < 0) {
        return buf_error(&encoded);
    }
    cJSON_ArrayForEach(hook, hooks)
    {
        if (index < HOOKS_MAX &&
            strcmp(kube_text(hook, "clientConfig.caBundle"), buf_str(&encoded)) != 0) {
            if (!add_operation(patch, "test", index, "name", kube_text(hook, "name")) ||
                !add_operation(patch, "add", index, "clientConfig/caBundle", buf_str(&encoded))) {
                return -ENOMEM;
            }
            count++;
        }
        index++;
    }
    return count;
}

/* 1: it was told now; 0: it knew. */
static int tell(struct certs *certs, const char *ca, struct error *err)
{
    struct kube_request request = {.verb = KUBE_GET,
                                   .resource = &kube_mutating_webhooks,
                                   .name = certs->config.configuration,
                                   .cancel = certs->config.cancel};
    cJSON *configuration = NULL;
    cJSON *patch = cJSON_CreateArray();
    int r = kube_call(certs->config.client, &request, &configuration, err);

    r = r < 0 ? r : patch_of(configuration, ca, patch);
    if (r > 0) {
        request.verb = KUBE_PATCH_JSON;
        request.body = patch;
        request.manager = "skyvol-webhook";
        r = kube_call(certs->config.client, &request, NULL, err);
        if (r == 0) {
            log_info("told the API server of the authority", "configuration",
                     certs->config.configuration, NULL);
            r = 1;
        }
    }
    cJSON_Delete(configuration);
    cJSON_Delete(patch);
    return r;
}

/* ---- what is served ---- */

static bool same(const struct key_pair *a, const struct key_pair *b)
{
    return a->certificate != NULL && strcmp(a->certificate, b->certificate) == 0;
}

/* The first one at once: without any nobody is answered. */
static void adopt(struct certs *certs, struct key_pair *pair)
{
    uint64_t now = clock_monotonic_ms(clock_real());

    if (!same(&certs->served, pair) && !same(&certs->next, pair)) {
        key_pair_done(&certs->next);
        certs->next = *pair;
        *pair = (struct key_pair){NULL, NULL};
        certs->next_ms = now + (certs->served.certificate != NULL ? certs->config.settle_ms : 0);
    }
    if (certs->next.certificate != NULL && now >= certs->next_ms) {
        key_pair_done(&certs->served);
        certs->served = certs->next;
        certs->next = (struct key_pair){NULL, NULL};
        certs->changed = true;
    }
}

int certs_step(struct certs *certs, struct error *err)
{
    CLEANUP(content_done) struct content c = {.ca = NULL};
    int r = fetch(certs, &c, err);

    if (r == 0 && !is_good(certs, &c)) {
        r = renew(certs, &c, err);
    }
    r = r < 0 ? r : tell(certs, c.ca, err);
    if (r == 0) {
        adopt(certs, &c.pair);
    }
    /* Between reading and telling another replica may have told of a newer one: who has told looks
     * again, so that the last word is that of the Secret. */
    return r > 0 ? -EAGAIN : r;
}

const struct key_pair *certs_pair(struct certs *certs, bool *ret_new)
{
    *ret_new = certs->changed;
    certs->changed = false;
    return certs->served.certificate != NULL ? &certs->served : NULL;
}

int certs_new(const struct certs_config *config, struct certs **ret)
{
    struct certs *certs = calloc(1, sizeof(*certs));

    if (certs == NULL) {
        return -ENOMEM;
    }
    certs->config = *config;
    (void)snprintf(certs->name, sizeof(certs->name), "%s.%s.svc", config->service, config->space);
    *ret = certs;
    return 0;
}

void certs_free(struct certs *certs)
{
    if (certs != NULL) {
        key_pair_done(&certs->served);
        key_pair_done(&certs->next);
        free(certs);
    }
}
