/* SPDX-License-Identifier: Apache-2.0 */
/*
 * review.h - an AdmissionReview of the API server, and the answer to it.
 *
 * Pods that are created are looked at; all else is allowed as it is. No I/O; any thread.
 */
#ifndef CSI_WEBHOOK_REVIEW_H
#define CSI_WEBHOOK_REVIEW_H

#include "csi/webhook/inject.h"
#include "util/buf.h"
#include "util/slice.h"

enum { REVIEW_MAX = 6 << 20, REVIEW_UID_MAX = 128 };

/* 0: *out has the answer, and *ret_patched says whether the pod is changed. -EINVAL: this is no
 * AdmissionReview of v1, which err says; -ENOMEM. */
int review_answer(const struct inject_config *config, struct slice text, struct buf *out,
                  bool *ret_patched, struct error *err) __attribute__((warn_unused_result));

#endif
