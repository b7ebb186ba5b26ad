/* SPDX-License-Identifier: Apache-2.0 */
/* path.c - where an object is, and how a person would call it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kube/kube_private.h"
#include "util/encode.h"

const struct kube_resource kube_nodes = {"", "v1", "nodes"};
const struct kube_resource kube_pods = {"", "v1", "pods"};
const struct kube_resource kube_secrets = {"", "v1", "secrets"};
const struct kube_resource kube_claims = {"", "v1", "persistentvolumeclaims"};
const struct kube_resource kube_volumes = {"", "v1", "persistentvolumes"};
const struct kube_resource kube_token_reviews = {"authentication.k8s.io", "v1", "tokenreviews"};
const struct kube_resource kube_mutating_webhooks = {"admissionregistration.k8s.io", "v1",
                                                     "mutatingwebhookconfigurations"};

static const char *const verbs[] = {
    [KUBE_GET] = "get",         [KUBE_LIST] = "list",        [KUBE_CREATE] = "create",
    [KUBE_REPLACE] = "replace", [KUBE_PATCH_JSON] = "patch", [KUBE_PATCH_MERGE] = "patch",
    [KUBE_APPLY] = "apply",     [KUBE_DELETE] = "delete",
};

void kube_path_words(const struct kube_request *request, char *ret, size_t size)
{
    (void)snprintf(ret, size, "%s %s%s%s %s%s%s", verbs[request->verb], request->resource->plural,
                   request->subresource != NULL ? "/" : "",
                   request->subresource != NULL ? request->subresource : "",
                   request->space != NULL ? request->space : "",
                   request->space != NULL && request->name != NULL ? "/" : "",
                   request->name != NULL ? request->name : "");
}

/* What the server would read as another path must never reach it. */
static int add_part(struct buf *out, const char *part, struct error *err)
{
    if (part[0] == '\0' || strcmp(part, ".") == 0 || strcmp(part, "..") == 0 ||
        strpbrk(part, "/%?#") != NULL) {
        return error_set(err, -EINVAL, "'%.64s' is no name of a Kubernetes object", part);
    }
    buf_addstr(out, "/");
    encode_percent(out, slice_of(part), false);
    return 0;
}

void kube_path_add(struct buf *url, const char *name, const char *value)
{
    buf_addf(url, "%s%s=", strchr(buf_str(url), '?') != NULL ? "&" : "?", name);
    encode_percent(url, slice_of(value), false);
}

int kube_path(const struct kube_request *request, struct buf *out, struct error *err)
{
    const struct kube_resource *r = request->resource;
    bool changes = request->verb != KUBE_GET && request->verb != KUBE_LIST;
    int ret = 0;

    buf_addstr(out, r->group[0] != '\0' ? "/apis/" : "/api/");
    buf_addf(out, "%s%s%s", r->group, r->group[0] != '\0' ? "/" : "", r->version);
    if (request->space != NULL) {
        buf_addstr(out, "/namespaces");
        ret = add_part(out, request->space, err);
    }
    buf_addf(out, "/%s", r->plural);
    ret = ret == 0 && request->name != NULL ? add_part(out, request->name, err) : ret;
    ret = ret == 0 && request->subresource != NULL ? add_part(out, request->subresource, err) : ret;
    if (ret < 0) {
        return ret;
    }
    if (request->labels != NULL) {
        kube_path_add(out, "labelSelector", request->labels);
    }
    if (request->fields != NULL) {
        kube_path_add(out, "fieldSelector", request->fields);
    }
    if (changes && request->verb != KUBE_DELETE) {
        kube_path_add(out, "fieldManager", request->manager != NULL ? request->manager : "skyvol");
    }
    if (request->verb == KUBE_APPLY && request->force) {
        kube_path_add(out, "force", "true");
    }
    return buf_error(out);
}
