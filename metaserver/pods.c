/* SPDX-License-Identifier: Apache-2.0 */
#include "metaserver/pods.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/mutex.h"

#define EXTRA "authentication.kubernetes.io/"
#define ACCOUNT "system:serviceaccount:"

enum {
    BELIEVED = 4096,
    NAME_MAX_ = 254,
    VOLUMES_MAX = 256,
    CALL_MS = 10000,
    HASH_SIZE = 32,
    TOKEN_MAX = 64 * 1024, /* of one or two KiB; each is held several times while it is looked at */
};

/* A check that was good, by the hash of all that it was about. */
struct believed {
    unsigned char hash[HASH_SIZE];
    uint64_t until_ms;
};

struct pods {
    struct pods_config config;
    struct kube_client *client;
    struct kube_cancel *cancel;
    struct mutex lock;
    struct believed believed[BELIEVED] GUARDED_BY(lock); /* each at the place that its hash says */
};

/* Who a token says it is. */
struct pod {
    char space[NAME_MAX_], name[NAME_MAX_], uid[NAME_MAX_];
    char node[NAME_MAX_]; /* "": an older server does not say */
};

struct check {
    struct pods *pods;
    const struct pods_claim *claim;
    uint64_t until_ms;
    struct pod pod;
    struct error *err;
};

/* ---- what is believed ---- */

/* With the ends of the strings, so that no two claims look alike. */
static int hash_of(const struct pods_claim *claim, unsigned char ret[HASH_SIZE])
{
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    bool good = sha != NULL && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(sha, claim->volume, strlen(claim->volume) + 1) == 1 &&
                EVP_DigestUpdate(sha, claim->node, strlen(claim->node) + 1) == 1 &&
                EVP_DigestUpdate(sha, claim->token, strlen(claim->token) + 1) == 1 &&
                EVP_DigestFinal_ex(sha, ret, NULL) == 1;

    EVP_MD_CTX_free(sha);
    return good ? 0 : -ENOMEM;
}

static struct believed *place(struct pods *pods, const unsigned char *hash)
{
    return &pods->believed[(hash[0] << 8 | hash[1]) % BELIEVED];
}

static bool is_believed(struct pods *pods, const unsigned char *hash)
{
    const struct believed *b = place(pods, hash);
    bool yes;

    mutex_lock(&pods->lock);
    yes = memcmp(b->hash, hash, sizeof(b->hash)) == 0 &&
          clock_monotonic_ms(clock_real()) < b->until_ms;
    mutex_unlock(&pods->lock);
    return yes;
}

static void believe(struct pods *pods, const unsigned char *hash)
{
    struct believed *b = place(pods, hash);

    mutex_lock(&pods->lock);
    memcpy(b->hash, hash, sizeof(b->hash));
    b->until_ms = clock_monotonic_ms(clock_real()) + pods->config.believe_ms;
    mutex_unlock(&pods->lock);
}

/* ---- asking ---- */

/* *ret stays NULL and 0 is returned when there is no such object. */
static int ask(struct check *c, struct kube_request *request, cJSON **ret)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    struct error why = ERROR_INIT;
    int r;

    request->cancel = c->pods->cancel;
    request->again = true; /* reads, and a review that changes nothing */
    request->timeout_ms = c->until_ms > now ? (uint32_t)(c->until_ms - now) : 1;
    r = kube_call(c->pods->client, request, ret, &why);
    if (r == -ENOENT && request->verb == KUBE_GET) {
        return 0;
    }
    if (r == -EACCES || r == -EKEYREJECTED) {
        return error_set(c->err, -ECONNREFUSED,
                         "skyvol-meta is not allowed to ask whose volume this is (are its "
                         "ClusterRole and its token there?): %s",
                         error_text(&why, r));
    }
    return r < 0 ? error_set(c->err, r == -ENOMEM ? r : -ECONNREFUSED, "%s", error_text(&why, r))
                 : 0;
}

static int get(struct check *c, const struct kube_resource *resource, const char *name, cJSON **ret)
{
    struct kube_request request = {.verb = KUBE_GET,
                                   .resource = resource,
                                   .space = resource == &kube_volumes ? NULL : c->pod.space,
                                   .name = name};

    return ask(c, &request, ret);
}

/* ---- whose token ---- */

static cJSON *review_of(const struct check *c)
{
    const char *audience = c->pods->config.audience;
    cJSON *review = cJSON_CreateObject();
    cJSON *spec = cJSON_AddObjectToObject(review, "spec");

    if (cJSON_AddStringToObject(review, "apiVersion", "authentication.k8s.io/v1") == NULL ||
        cJSON_AddStringToObject(review, "kind", "TokenReview") == NULL ||
        cJSON_AddStringToObject(spec, "token", c->claim->token) == NULL ||
        !cJSON_AddItemToObject(spec, "audiences", cJSON_CreateStringArray(&audience, 1))) {
        cJSON_Delete(review);
        return NULL;
    }
    return review;
}

static void wipe_review(cJSON *const *review)
{
    char *token =
        cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetObjectItem(*review, "spec"), "token"));

    if (token != NULL) {
        explicit_bzero(token, strlen(token));
    }
    cJSON_Delete(*review);
}

/* The only value of an extra of the user, or "". */
static const char *extra(const cJSON *user, const char *name)
{
    const cJSON *list =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(user, "extra"), name);
    const char *text =
        cJSON_GetArraySize(list) == 1 ? cJSON_GetStringValue(cJSON_GetArrayItem(list, 0)) : NULL;

    return text != NULL ? text : "";
}

static bool has_audience(const cJSON *status, const char *audience)
{
    const cJSON *one;

    cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(status, "audiences"))
    {
        if (cJSON_IsString(one) && strcmp(one->valuestring, audience) == 0) {
            return true;
        }
    }
    return false;
}

static bool copy(char ret[NAME_MAX_], const char *text, size_t len)
{
    if (len >= NAME_MAX_) {
        return false;
    }
    memcpy(ret, text, len);
    ret[len] = '\0';
    return true;
}

/* A server that does not know audiences leaves them out, and then the token is for everybody. */
static int take_review(struct check *c, const cJSON *review)
{
    const cJSON *status = cJSON_GetObjectItemCaseSensitive(review, "status");
    const cJSON *user = cJSON_GetObjectItemCaseSensitive(status, "user");
    const char *account = kube_text(user, "username");
    const char *name = extra(user, EXTRA "pod-name");
    const char *uid = extra(user, EXTRA "pod-uid");
    const char *node = extra(user, EXTRA "node-name");

    if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(status, "authenticated")) ||
        !has_audience(status, c->pods->config.audience)) {
        return error_set(c->err, -EKEYREJECTED,
                         "the pod's token is not valid, or not for the audience %s: is that one "
                         "of the tokenRequests of the CSIDriver?",
                         c->pods->config.audience);
    }
    if (strncmp(account, ACCOUNT, strlen(ACCOUNT)) != 0 || name[0] == '\0' || uid[0] == '\0') {
        return error_set(c->err, -EKEYREJECTED,
                         "the token is not bound to a pod: only what kubelet passes counts");
    }
    account += strlen(ACCOUNT);
    return copy(c->pod.space, account, strcspn(account, ":")) &&
                   copy(c->pod.name, name, strlen(name)) && copy(c->pod.uid, uid, strlen(uid)) &&
                   copy(c->pod.node, node, strlen(node))
               ? 0
               : error_set(c->err, -EKEYREJECTED, "the token's names are too long");
}

static int check_token(struct check *c)
{
    CLEANUP(wipe_review) cJSON *review = review_of(c);
    struct kube_request request = {
        .verb = KUBE_CREATE, .resource = &kube_token_reviews, .body = review};
    CLEANUP(wipe_review) cJSON *answer = NULL;
    int r = review == NULL ? -ENOMEM : ask(c, &request, &answer);

    return r < 0 ? r : take_review(c, answer);
}

/* ---- its pod ---- */

static int check_pod(struct check *c, const cJSON *pod)
{
    const char *node = kube_text(pod, "spec.nodeName");

    if (pod == NULL || strcmp(kube_text(pod, "metadata.uid"), c->pod.uid) != 0) {
        return error_set(c->err, -EACCES, "the pod %s/%s of the token is gone", c->pod.space,
                         c->pod.name);
    }
    if (strcmp(node, c->claim->node) != 0 ||
        (c->pod.node[0] != '\0' && strcmp(c->pod.node, c->claim->node) != 0)) {
        return error_set(c->err, -EACCES,
                         "pod %s/%s runs on node %s and not on %s: a node can attach for its own "
                         "pods only (--node-id of skyvol-node must be the node's name)",
                         c->pod.space, c->pod.name, node, c->claim->node);
    }
    return 0;
}

/* ---- its volumes ---- */

static bool owned_by(const cJSON *object, const char *uid)
{
    const cJSON *owner;

    cJSON_ArrayForEach(owner,
                       cJSON_GetObjectItemCaseSensitive(
                           cJSON_GetObjectItemCaseSensitive(object, "metadata"), "ownerReferences"))
    {
        if (strcmp(kube_text(owner, "uid"), uid) == 0) {
            return true;
        }
    }
    return false;
}

/* Both sides must say it: a claim may name any volume, and a volume the claim that it waits for. */
static bool is_ours(const struct check *c, const cJSON *claim, const cJSON *volume)
{
    return strcmp(kube_text(volume, "spec.csi.driver"), c->pods->config.driver) == 0 &&
           strcmp(kube_text(volume, "spec.csi.volumeHandle"), c->claim->volume) == 0 &&
           strcmp(kube_text(volume, "spec.claimRef.namespace"), c->pod.space) == 0 &&
           strcmp(kube_text(volume, "spec.claimRef.name"), kube_text(claim, "metadata.name")) ==
               0 &&
           kube_text(claim, "metadata.uid")[0] != '\0' &&
           strcmp(kube_text(volume, "spec.claimRef.uid"), kube_text(claim, "metadata.uid")) == 0;
}

static int check_claim(struct check *c, const char *name, bool of_pod, bool *ret)
{
    cJSON *claim = NULL;
    cJSON *volume = NULL;
    int r = get(c, &kube_claims, name, &claim);

    if (r == 0 && claim != NULL && kube_text(claim, "spec.volumeName")[0] != '\0' &&
        (!of_pod || owned_by(claim, c->pod.uid))) {
        r = get(c, &kube_volumes, kube_text(claim, "spec.volumeName"), &volume);
        *ret = r == 0 && volume != NULL && is_ours(c, claim, volume);
    }
    cJSON_Delete(claim);
    cJSON_Delete(volume);
    return r;
}

static int check_volume(struct check *c, const cJSON *volume, bool *ret)
{
    const char *claim = kube_text(volume, "persistentVolumeClaim.claimName");
    char own[2 * NAME_MAX_];

    if (claim[0] != '\0') {
        return check_claim(c, claim, false, ret);
    }
    if (cJSON_HasObjectItem(volume, "ephemeral")) {
        (void)snprintf(own, sizeof(own), "%s-%.253s", c->pod.name, kube_text(volume, "name"));
        return check_claim(c, own, true, ret);
    }
    return 0;
}

static int check_volumes(struct check *c, const cJSON *pod)
{
    const cJSON *volumes =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(pod, "spec"), "volumes");
    const cJSON *volume;
    bool found = false;
    int count = 0;
    int r = 0;

    cJSON_ArrayForEach(volume, volumes)
    {
        if (r < 0 || found || ++count > VOLUMES_MAX) {
            break;
        }
        r = check_volume(c, volume, &found);
    }
    if (r < 0 || found) {
        return r;
    }
    return error_set(c->err, -EACCES,
                     "pod %s/%s has no claim that is bound to volume %s: a volume is given to the "
                     "pods whose PersistentVolumeClaim it is bound to, and to nobody else",
                     c->pod.space, c->pod.name, c->claim->volume);
}

int pods_check(struct pods *pods, const struct pods_claim *claim, struct error *err)
{
    unsigned char hash[HASH_SIZE];
    struct check c = {.pods = pods, .claim = claim, .err = err};
    cJSON *pod = NULL;
    int r;

    if (claim->token[0] == '\0') {
        return error_set(err, -EKEYREJECTED,
                         "a node gets a volume with the token of a pod that has it: give the "
                         "CSIDriver tokenRequests with the audience %s, and skyvol-node "
                         "--pod-tokens",
                         pods->config.audience);
    }
    if (strlen(claim->token) > TOKEN_MAX) {
        return error_set(err, -EKEYREJECTED, "the pod's token is too long to be one");
    }
    r = hash_of(claim, hash);
    if (r < 0 || is_believed(pods, hash)) {
        return r;
    }
    c.until_ms = clock_monotonic_ms(clock_real()) +
                 (claim->timeout_ms < CALL_MS ? claim->timeout_ms : CALL_MS);
    r = check_token(&c);
    r = r < 0 ? r : get(&c, &kube_pods, c.pod.name, &pod);
    r = r < 0 ? r : check_pod(&c, pod);
    r = r < 0 ? r : check_volumes(&c, pod);
    cJSON_Delete(pod);
    if (r == 0) {
        believe(pods, hash);
    }
    return r;
}

/* ---- life ---- */

int pods_new(const struct pods_config *config, struct pods **ret, struct error *err)
{
    struct pods *pods = calloc(1, sizeof(*pods));
    int r;

    if (pods == NULL) {
        return -ENOMEM;
    }
    pods->config = *config;
    mutex_init(&pods->lock);
    r = kube_cancel_new(&pods->cancel);
    r = r < 0 ? r : kube_client_new(&config->kube, &pods->client, err);
    if (r < 0) {
        pods_free(pods);
        return r;
    }
    *ret = pods;
    return 0;
}

void pods_stop(struct pods *pods)
{
    if (pods != NULL) {
        kube_cancel_now(pods->cancel);
    }
}

void pods_free(struct pods *pods)
{
    if (pods != NULL) {
        kube_client_free(pods->client);
        kube_cancel_free(pods->cancel);
        mutex_done(&pods->lock);
        free(pods);
    }
}
