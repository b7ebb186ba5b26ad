/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pods.h - which volume a pod's token stands for.
 *
 *     r = pods_new(&config, &pods, err);
 *     r = pods_check(pods, &(struct pods_claim){.token = token, .volume = id, .node = node}, err);
 *
 * kubelet has a token made for the pod that it mounts a volume for, bound to that pod and to our
 * audience, and the node plugin shows it to us. TokenReview says which pod it is; the pod runs on
 * the node, and has a claim whose PersistentVolume is the volume. So a node gets what its pods
 * have, and nothing else, however much of it is in other hands.
 *
 * Errors: -EKEYREJECTED: the token is missing, is not valid or not for us; -EACCES: it is another
 * node's, or its pod has no such volume; -ECONNREFUSED: the Kubernetes API does not say. err says
 * what to do. What was found to be so is believed for a while, so that kubelet's regular calls cost
 * no request each. Any thread.
 */
#ifndef METASERVER_PODS_H
#define METASERVER_PODS_H

#include "kube/kube.h"
#include "util/error.h"

struct pods;

struct pods_config {
    struct kube_config kube;
    const char *audience; /* of tokens; must stay, like the next */
    const char *driver;   /* of PersistentVolumes */
    uint64_t believe_ms;  /* 0: never */
};

struct pods_claim {
    const char *token;
    const char *volume;
    const char *node;
    uint64_t timeout_ms;
};

int pods_new(const struct pods_config *config, struct pods **ret, struct error *err)
    __attribute__((warn_unused_result));
/* Ends checks that are under way. NULL is fine. */
void pods_stop(struct pods *pods);
void pods_free(struct pods *pods);

int pods_check(struct pods *pods, const struct pods_claim *claim, struct error *err)
    __attribute__((warn_unused_result));

#endif
