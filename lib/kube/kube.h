/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube.h - a client of the Kubernetes API: one call at a time and thread, lists in pages.
 *
 *     r = kube_client_new(&(struct kube_config){0}, &client, err);     in a pod: all is there
 *     r = kube_call(client, &(struct kube_request){.verb = KUBE_GET, .resource = &kube_pods,
 *                   .space = "default", .name = "web-0"}, &pod, err);
 *     cJSON_Delete(pod);
 *     kube_client_free(client);
 *
 * What a call does by itself, within its deadline: it waits and asks again when the server says so
 * (429), when nobody answers, and, for what may be done twice, after other failures of the server;
 * after a 401 it asks once more if the token's file has another one by then. Pauses grow to 5 s and
 * are half random.
 *
 * Errors: -EINVAL (400, 422: err has the server's words), -EKEYREJECTED (401; or our own token
 * cannot be read), -EACCES (403), -ENOENT (404), -EEXIST (409 AlreadyExists), -ESTALE (other 409,
 * 410), -EAGAIN (429 until the end), -ECONNREFUSED (5xx), -EFBIG (a larger answer than is allowed),
 * -EBADMSG (no JSON object), -ECANCELED, -ETIMEDOUT, -ENOMEM, and what http.h says. err names verb,
 * resource and name, and the reason and message of the server's Status; it never holds a token or
 * anything of a body.
 *
 * Any thread may call; a client is shared.
 */
#ifndef KUBE_KUBE_H
#define KUBE_KUBE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

struct kube_client;
struct kube_cancel;

enum {
    KUBE_ANSWER_MAX = 8 << 20, /* of one answer; a page of a list is one */
    KUBE_TIMEOUT_MS = 15000,
    KUBE_VERSION_MAX = 128, /* a resourceVersion and its NUL */
};

struct kube_config {
    const char *server;     /* https://host:port, or http:// on this machine; NULL: that of the
                               cluster this process is in */
    const char *token_file; /* read for each call; NULL: the service account's; "": none */
    const char *ca_file;    /* trusted alone; NULL: the service account's; "": the system's */
    const char *cert_file;  /* client certificate and key (PEM); NULL: none */
    const char *key_file;
};

/* group "" is the core group. */
struct kube_resource {
    const char *group, *version, *plural;
};
extern const struct kube_resource kube_nodes, kube_pods, kube_secrets, kube_claims, kube_volumes,
    kube_token_reviews, kube_mutating_webhooks;

enum kube_verb {
    KUBE_GET,
    KUBE_LIST,
    KUBE_CREATE,
    KUBE_REPLACE,
    KUBE_PATCH_JSON,  /* a list of operations */
    KUBE_PATCH_MERGE, /* RFC 7386 */
    KUBE_APPLY,       /* server-side apply, by `manager` */
    KUBE_DELETE,
};

struct kube_answer {
    int http_status;  /* 0: none came */
    char reason[64];  /* of a Status; "" */
    uint32_t retry_s; /* Retry-After; 0: none */
};

/* All strings stay the caller's. Names may hold no '/', and are not "." or "..". */
struct kube_request {
    enum kube_verb verb;
    const struct kube_resource *resource;
    const char *space;       /* namespace; NULL: an object of the cluster, or a list of all */
    const char *name;        /* NULL: KUBE_LIST and KUBE_CREATE */
    const char *subresource; /* NULL: none */
    const cJSON *body;       /* of those that have one; KUBE_DELETE: DeleteOptions or NULL */
    const char *labels;      /* selectors of a list; NULL: none */
    const char *fields;
    const char *manager;        /* of changes: who made them; NULL: "skyvol" */
    bool force;                 /* KUBE_APPLY: take over what others manage */
    bool again;                 /* may be done twice: asked again after any failure of the server */
    uint32_t timeout_ms;        /* of the whole call; 0: KUBE_TIMEOUT_MS */
    struct kube_cancel *cancel; /* NULL: none */
    struct kube_answer *answer; /* filled on success and failure; NULL: not wanted */
};

/* -ENOENT: not in a cluster, and no server given; -EINVAL, -EACCES: a file that cannot be used;
 * -ENOMEM. Nothing is asked of the server yet. */
int kube_client_new(const struct kube_config *config, struct kube_client **ret, struct error *err)
    __attribute__((warn_unused_result));
/* When no call runs any more. NULL is fine. */
void kube_client_free(struct kube_client *client);

/* Ask and wait. *ret is the server's answer, for cJSON_Delete(); ret may be NULL. */
int kube_call(struct kube_client *client, const struct kube_request *request, cJSON **ret,
              struct error *err) __attribute__((warn_unused_result));

/*
 * All objects of a KUBE_LIST, a page at a time: each(context, item) for every one; a negative errno
 * value ends the list with it, else it returns 0. When the server has forgotten where it was (410),
 * the list begins anew, which each(context, NULL) says. ret_version: what a watch goes on from; may
 * be NULL.
 */
int kube_list(struct kube_client *client, const struct kube_request *request,
              int (*each)(void *context, const cJSON *item), void *context,
              char ret_version[KUBE_VERSION_MAX], struct error *err)
    __attribute__((warn_unused_result));

/* Ends the calls that were given it, now and later, with -ECANCELED. Any thread. */
int kube_cancel_new(struct kube_cancel **ret) __attribute__((warn_unused_result));
void kube_cancel_now(struct kube_cancel *cancel);
/* Wait so long; -ECANCELED as soon as it is. */
int kube_cancel_wait(struct kube_cancel *cancel, uint64_t ms) __attribute__((warn_unused_result));
void kube_cancel_free(struct kube_cancel *cancel); /* when no call uses it any more */

/* A string at a path of names such as "spec.csi.driver" (no name with a dot); "" if there is none,
 * also of NULL. */
const char *kube_text(const cJSON *object, const char *path);

#endif
