/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Roles: what a caller may do, by the name in its certificate. A node has a certificate of its own
 * name, and gets by it what a mount needs and no more. Who comes by the unix socket or with another
 * certificate is one of us.
 */
#include <errno.h>
#include <string.h>

#include "metaserver/meta.h"
#include "util/cleanup.h"

#define SERVICE "/skyvol.meta.v1."

/* A session is known by a secret id, and opened with a token of AttachVolume. */
static const char *const node_methods[] = {
    SERVICE "Volumes/AttachVolume",
    SERVICE "Sessions/OpenSession",
    SERVICE "Sessions/RenewSession",
    SERVICE "Sessions/CloseSession",
    SERVICE "Sessions/FetchCredentials",
    SERVICE "Leases/",
    SERVICE "Namespace/",
    SERVICE "Feed/",
};

bool meta_is_node(struct rpc_call *call)
{
    const struct meta *meta = rpc_call_context(call);

    return meta->node_name != NULL && rpc_call_peer_is(call, meta->node_name);
}

int meta_allow(struct rpc_call *call, struct error *err)
{
    const char *path = rpc_call_path(call);

    if (!meta_is_node(call)) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(node_methods) / sizeof(node_methods[0]); i++) {
        size_t len = strlen(node_methods[i]);

        if (strncmp(path, node_methods[i], len) == 0 &&
            (path[len] == '\0' || node_methods[i][len - 1] == '/')) {
            return 0;
        }
    }
    return error_set(err, -EACCES, "a node may not call %s: use another certificate", path);
}

/* A token that is shown is looked at, whoever shows it. */
int meta_check_pod(struct rpc_call *call, const Skyvol__Meta__V1__AttachVolumeRequest *in,
                   struct error *err)
{
    const struct meta *meta = rpc_call_context(call);
    const struct pods_claim claim = {.token = in->pod_token,
                                     .volume = in->id,
                                     .node = in->node,
                                     .timeout_ms = rpc_call_left_ms(call)};

    if (meta->pods == NULL || (in->pod_token[0] == '\0' && !meta_is_node(call))) {
        return 0;
    }
    return pods_check(meta->pods, &claim, err);
}
