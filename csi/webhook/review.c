/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/webhook/review.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kube/kube.h"
#include "util/encode.h"

enum { PATCH_MAX = 4 << 20, VALUES_MAX = 500000 };

/* Whoever reaches our port may ask, and cJSON takes eighty bytes for a value of two: a pod has far
 * fewer values than this many, which fit into our memory. */
static bool is_parsable(struct slice text)
{
    size_t values = 1;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        values += c == ',' || c == '[' || c == '{' ? 1 : 0;
    }
    return text.len <= REVIEW_MAX && values <= VALUES_MAX;
}

static int add_patch(cJSON *response, const cJSON *patch)
{
    struct buf encoded = BUF_INIT(PATCH_MAX);
    char *text = cJSON_PrintUnformatted(patch);
    int r = text == NULL ? -ENOMEM : 0;

    if (r == 0) {
        encode_base64(&encoded, text, strlen(text));
        r = buf_error(&encoded);
    }
    if (r == 0 && (cJSON_AddStringToObject(response, "patchType", "JSONPatch") == NULL ||
                   cJSON_AddStringToObject(response, "patch", buf_str(&encoded)) == NULL)) {
        r = -ENOMEM;
    }
    cJSON_free(text);
    buf_done(&encoded);
    return r;
}

/* The user sees the sentence: kubectl prints it. */
static int add_refusal(cJSON *response, const struct error *why)
{
    cJSON *status = cJSON_AddObjectToObject(response, "status");

    return cJSON_AddNumberToObject(status, "code", 400) != NULL &&
                   cJSON_AddStringToObject(status, "message", why->text) != NULL
               ? 0
               : -ENOMEM;
}

static bool is_new_pod(const cJSON *request)
{
    return strcmp(kube_text(request, "kind.kind"), "Pod") == 0 &&
           kube_text(request, "kind.group")[0] == '\0' &&
           kube_text(request, "subResource")[0] == '\0' &&
           strcmp(kube_text(request, "operation"), "CREATE") == 0;
}

static int fill(const struct inject_config *config, const cJSON *request, cJSON *response,
                bool *ret_patched)
{
    struct error why = ERROR_INIT;
    cJSON *patch = NULL;
    int found =
        is_new_pod(request)
            ? inject_pod(config, cJSON_GetObjectItemCaseSensitive(request, "object"), &patch, &why)
            : 0;
    int r = found == -ENOMEM ? found : 0;

    if (r == 0 && (cJSON_AddStringToObject(response, "uid", kube_text(request, "uid")) == NULL ||
                   cJSON_AddBoolToObject(response, "allowed", found >= 0) == NULL)) {
        r = -ENOMEM;
    }
    if (r == 0 && found == 1) {
        r = add_patch(response, patch);
    } else if (r == 0 && found < 0) {
        r = add_refusal(response, &why);
    }
    *ret_patched = found == 1;
    if (found == 1) {
        cJSON_Delete(patch);
    }
    return r;
}

int review_answer(const struct inject_config *config, struct slice text, struct buf *out,
                  bool *ret_patched, struct error *err)
{
    cJSON *review = is_parsable(text) ? cJSON_ParseWithLength(text.data, text.len) : NULL;
    const cJSON *request = cJSON_GetObjectItemCaseSensitive(review, "request");
    const char *uid = kube_text(request, "uid");
    cJSON *answer = NULL;
    char *printed = NULL;
    int r = 0;

    if (strcmp(kube_text(review, "kind"), "AdmissionReview") != 0 ||
        strcmp(kube_text(review, "apiVersion"), "admission.k8s.io/v1") != 0 || uid[0] == '\0' ||
        strlen(uid) > REVIEW_UID_MAX) {
        cJSON_Delete(review);
        return error_set(err, -EINVAL, "an AdmissionReview of admission.k8s.io/v1 is needed");
    }
    answer = cJSON_CreateObject();
    if (cJSON_AddStringToObject(answer, "apiVersion", "admission.k8s.io/v1") == NULL ||
        cJSON_AddStringToObject(answer, "kind", "AdmissionReview") == NULL) {
        r = -ENOMEM;
    }
    r = r == 0 ? fill(config, request, cJSON_AddObjectToObject(answer, "response"), ret_patched)
               : r;
    printed = r == 0 ? cJSON_PrintUnformatted(answer) : NULL;
    if (printed != NULL) {
        buf_addstr(out, printed);
        r = buf_error(out);
    } else {
        r = r == 0 ? -ENOMEM : r;
    }
    cJSON_free(printed);
    cJSON_Delete(answer);
    cJSON_Delete(review);
    return r;
}
