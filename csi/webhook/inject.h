/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject.h - what a pod that asks for S3 lacks, as a JSON patch.
 *
 * The annotation skyvol.io/s3 names a claim: its bytes are the bucket of that name. The pod gets
 * skyvol-s3 as a native sidecar, which takes location, endpoint and keys of the store from a Secret
 * of the pod's own namespace (skyvol.io/s3-secret; default: CLAIM-s3), and each other container
 * finds it by the environment that SDKs know. skyvol.io/s3-trust names a ConfigMap, also of the
 * pod's namespace, with the authorities that vouch for the store. So a pod's author reaches what
 * Secrets of his namespace open, as ever, and nothing through us: we read no Secret, and nobody's
 * right but his counts. No key is in the environment or in the patch.
 *
 * What is there already is left as it is, so that a second round changes nothing. No I/O; any
 * thread.
 */
#ifndef CSI_WEBHOOK_INJECT_H
#define CSI_WEBHOOK_INJECT_H

#include <cjson/cJSON.h>

#include "util/error.h"

#define INJECT_ANNOTATION "skyvol.io/s3"
#define INJECT_SECRET_ANNOTATION "skyvol.io/s3-secret"
#define INJECT_TRUST_ANNOTATION "skyvol.io/s3-trust"
#define INJECT_NAME "skyvol-s3"

struct inject_config {
    const char *image; /* of skyvol-s3 */
    const char *trust; /* "CONFIGMAP" or "CONFIGMAP/MEMBER" for pods that say nothing; or NULL */
};

/* 0; -EINVAL with err: the trust is no name. */
int inject_config_check(const struct inject_config *config, struct error *err)
    __attribute__((warn_unused_result));

/* 1 with a list of operations; 0: nothing to be done. -EINVAL: it asks for what cannot be, err says
 * what; -ENOMEM. */
int inject_pod(const struct inject_config *config, const cJSON *pod, cJSON **ret, struct error *err)
    __attribute__((warn_unused_result));

#endif
