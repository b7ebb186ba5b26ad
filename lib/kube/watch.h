/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h - objects of the Kubernetes API as they are and as they change.
 *
 *     struct kube_watch_config config = {.client = client, .what = {.resource = &kube_nodes},
 *                                        .event = on_event, .context = x};
 *     r = kube_watch_new(&config, &watch, err);
 *     ...
 *     kube_watch_free(watch);
 *
 * One thread lists and then watches for as long as the watch lives. When a watch ends, which the
 * server does every few minutes, it goes on after the last change that it has told of (bookmarks
 * keep that young); when the server has forgotten where that was (410), all is listed again. After
 * failures it waits, longer each time up to 30 s and half by chance. So nothing is missed, but an
 * object that came and went between two lists is never seen, and one that went is known to be gone
 * by not being in the list: what was there at KUBE_RESTARTED and has not come until KUBE_SYNCED.
 */
#ifndef KUBE_WATCH_H
#define KUBE_WATCH_H

#include "kube/kube.h"

struct kube_watch;

enum kube_event {
    KUBE_RESTARTED, /* a list begins; no object */
    KUBE_ADDED,     /* also each object of a list */
    KUBE_MODIFIED,
    KUBE_DELETED,
    KUBE_SYNCED, /* the list is complete; no object */
};

struct kube_watch_config {
    struct kube_client *client;
    struct kube_request what; /* resource, space, labels, fields; strings must stay */
    /* From the watch's thread, one at a time; the object is valid during the call. */
    void (*event)(void *context, enum kube_event event, const cJSON *object);
    void *context;
    uint32_t watch_s; /* a watch is asked to end after this; 0: 300, half by chance */
};

int kube_watch_new(const struct kube_watch_config *config, struct kube_watch **ret,
                   struct error *err) __attribute__((warn_unused_result));
/* Ends it; no event comes after. Not from an event. NULL is fine. */
void kube_watch_free(struct kube_watch *watch);

#endif
