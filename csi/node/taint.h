/* SPDX-License-Identifier: Apache-2.0 */
/*
 * taint.h - takes the taint "csi.skyvol.io/agent-not-ready" off this node.
 *
 * A node that comes with the taint (kubelet's --register-with-taints, or an autoscaler's) gets no
 * pods until volumes can be mounted there. That is so when kubelet has the driver registered and
 * the holder answers. Nobody else's taint is touched, whatever happens to the list meanwhile: the
 * patch tests what it takes away. It is looked for again whenever kubelet registers the driver, and
 * every few minutes, for a taint may come back with the node.
 *
 *     r = taint_new(&(struct taint_config){.kube = kube, .node = name, .key = key,
 *                   .holder = socket}, &taint, err);
 *     taint_registered(taint);
 *     taint_free(taint);
 */
#ifndef CSI_NODE_TAINT_H
#define CSI_NODE_TAINT_H

#include "kube/kube.h"

struct taint;

struct taint_config {
    struct kube_config kube;
    const char *node; /* strings must stay */
    const char *key;
    const char *holder; /* its socket */
};

int taint_new(const struct taint_config *config, struct taint **ret, struct error *err)
    __attribute__((warn_unused_result));
/* kubelet has the driver registered. Any thread. NULL is fine. */
void taint_registered(struct taint *taint);
/* NULL is fine. */
void taint_free(struct taint *taint);

#endif
