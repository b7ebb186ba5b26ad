/* SPDX-License-Identifier: Apache-2.0 */
/*
 * token.h - the pod's tokens that kubelet passes with NodePublishVolume, one an audience.
 *
 *     r = csi_token_find(&secrets, &context, CSI_TOKEN_AUDIENCE, &token, err);
 *
 * They are in the secrets where the CSIDriver says serviceAccountTokenInSecrets, else in the volume
 * context, as JSON: {"AUDIENCE": {"token": "...", "expirationTimestamp": "..."}}. No I/O; any
 * thread.
 */
#ifndef CSI_TOKEN_H
#define CSI_TOKEN_H

#include "csi/map.h"
#include "util/error.h"

#define CSI_TOKEN_AUDIENCE "skyvol-meta"

enum { CSI_TOKEN_MAX = 65536 };

/* 0 with *ret to be wiped and freed, or NULL when there is none of that audience. -EINVAL: what is
 * there is no such JSON; -ENOMEM. No error text holds any of it. */
int csi_token_find(const struct csi_map *secrets, const struct csi_map *context,
                   const char *audience, char **ret, struct error *err)
    __attribute__((warn_unused_result));

#endif
