/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.h - the Identity service, which controller and node plugin share.
 *
 * Both answer with the same capabilities, as the specification demands of one driver version.
 * Its methods run in the server's pool "quick" and touch nothing but memory.
 */
#ifndef CSI_IDENTITY_H
#define CSI_IDENTITY_H

#include <stdatomic.h>
#include <stdbool.h>

#include "rpc/server.h"
#include "util/error.h"

#define CSI_DRIVER_NAME "csi.skyvol.io"
#define CSI_POOL_QUICK "quick"

enum { CSI_ID_MAX = 128, CSI_PATH_MAX = 4095 };

struct csi_identity {
    const char *name;  /* of the driver */
    atomic_bool ready; /* what Probe says */
};

/* Letters, digits, '-' and '.', at most 63 bytes, first and last a letter. -EINVAL with err. */
int csi_identity_check(const char *name, struct error *err) __attribute__((warn_unused_result));

/* `identity` must outlive the server. */
int csi_identity_add(struct rpc_server *server, struct csi_identity *identity, struct error *err)
    __attribute__((warn_unused_result));

#endif
