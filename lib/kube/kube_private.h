/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube_private.h - what calls and watches share. Private to lib/kube.
 */
#ifndef KUBE_KUBE_PRIVATE_H
#define KUBE_KUBE_PRIVATE_H

#include <sys/queue.h>

#include "http/http.h"
#include "kube/kube.h"
#include "util/buf.h"
#include "util/mutex.h"

enum {
    KUBE_URL_MAX = 16384,
    KUBE_TOKEN_MAX = 64 * 1024,
    KUBE_PAGE = 500,
    KUBE_PAUSE_FIRST_MS = 100,
    KUBE_PAUSE_MAX_MS = 5000,
};

struct kube_client {
    struct http_client *http;
    char *server;     /* without a slash at its end */
    char *token_file; /* NULL: none */
};

/* One request under way; lives on the stack of who waits. */
struct kube_transfer {
    struct http_request http;
    LIST_ENTRY(kube_transfer) link; /* kube_cancel's */
    struct kube_client *client;
};

struct kube_cancel {
    struct mutex lock;
    struct cond changed;
    bool now GUARDED_BY(lock);
    LIST_HEAD(, kube_transfer) transfers GUARDED_BY(lock);
};

/* False: cancelled already. After done() the transfer must be taken out before it ends. */
bool kube_cancel_enter(struct kube_cancel *cancel, struct kube_transfer *transfer);
void kube_cancel_leave(struct kube_cancel *cancel, struct kube_transfer *transfer);
/* -ECANCELED as soon as it is. NULL only waits. */
int kube_pause(struct kube_cancel *cancel, uint64_t ms);

/* Half of it for sure, half by chance. */
uint64_t kube_jitter(uint64_t ms);

/* "Bearer TOKEN" from the file as it is now; nothing when there is none. */
int kube_authorization(const struct kube_client *client, struct buf *out, struct error *err)
    __attribute__((warn_unused_result));

/* ---- path.c ---- */

/* Appends "/api/v1/namespaces/NS/pods/NAME?query". -EINVAL: a name that cannot be one. */
int kube_path(const struct kube_request *request, struct buf *out, struct error *err)
    __attribute__((warn_unused_result));
/* One more parameter: "&name=value" or "?name=value", escaped. */
void kube_path_add(struct buf *url, const char *name, const char *value);
/* "get pods default/web-0", for people. */
void kube_path_words(const struct kube_request *request, char *ret, size_t size);

/* ---- status.c ---- */

/* What an answer that is none of 2xx means: an errno value, text in err, reason in *answer. */
int kube_status(const char *words, int http_status, const cJSON *body, struct kube_answer *answer,
                struct error *err);

#endif
