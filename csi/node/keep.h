/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keep.h - duplicates of what the holder keeps, and the sweep over what is left.
 *
 * Holder and mounter may die together: then the only descriptors of a mount's device and memory are
 * the duplicates here, which the next holder is offered. One thread asks every two seconds; it also
 * takes away mounts that nobody uses any more (inline volumes have no Unstage).
 */
#ifndef CSI_NODE_KEEP_H
#define CSI_NODE_KEEP_H

#include "util/error.h"

struct keep;
struct node;

/* Starts the thread; `node` must outlive it. */
int keep_new(struct node *node, struct keep **ret) __attribute__((warn_unused_result));
void keep_free(struct keep *keep);

/* NULL is allowed everywhere. Any thread. */
void keep_add(struct keep *keep, const char *key, const char *at);
void keep_forget(struct keep *keep, const char *key);
/* Sweep soon. */
void keep_wake(struct keep *keep);

#endif
