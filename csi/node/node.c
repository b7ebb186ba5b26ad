/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/node/node.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "csi/identity.h"

static int try_lock(struct node *node, struct node_busy *busy, const char *volume)
{
    struct node_busy *other;
    int r = 0;

    mutex_lock(&node->lock);
    LIST_FOREACH (other, &node->busy, link) {
        if (strcmp(other->volume, volume) == 0) {
            r = -EALREADY;
        }
    }
    if (r == 0) {
        busy->volume = volume;
        LIST_INSERT_HEAD(&node->busy, busy, link);
    }
    mutex_unlock(&node->lock);
    return r;
}

/* Our own sweep holds a volume for moments only: a call that meets it waits, and is not sent away.
 */
int node_lock(struct node *node, struct node_busy *busy, const char *volume)
{
    const struct timespec step = {.tv_nsec = 20 * 1000 * 1000};
    int r = try_lock(node, busy, volume);

    for (int i = 0; i < 50 && r == -EALREADY; i++) {
        (void)nanosleep(&step, NULL);
        r = try_lock(node, busy, volume);
    }
    return r;
}

void node_unlock(struct node *node, struct node_busy *busy)
{
    mutex_lock(&node->lock);
    LIST_REMOVE(busy, link);
    mutex_unlock(&node->lock);
}

static int get_info(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                    struct error *err)
{
    Csi__V1__NodeGetInfoResponse *out = (void *)reply;
    const struct node *node = rpc_call_context(call);

    (void)request;
    (void)err;
    out->node_id = rpc_call_strdup(call, node->id);
    out->max_volumes_per_node = HOLDER_LIST_MAX;
    if (node->asked != NULL) {
        node->asked(node->asked_context);
    }
    return out->node_id != NULL ? 0 : -ENOMEM;
}

static int get_capabilities(struct rpc_call *call, const ProtobufCMessage *request,
                            ProtobufCMessage *reply, struct error *err)
{
#define RPC(name) CSI__V1__NODE_SERVICE_CAPABILITY__RPC__TYPE__##name
    static const Csi__V1__NodeServiceCapability__RPC__Type types[] = {
        RPC(STAGE_UNSTAGE_VOLUME), RPC(GET_VOLUME_STATS), RPC(VOLUME_CONDITION),
        RPC(SINGLE_NODE_MULTI_WRITER), RPC(VOLUME_MOUNT_GROUP)};
#undef RPC
    enum { COUNT = sizeof(types) / sizeof(types[0]) };
    Csi__V1__NodeGetCapabilitiesResponse *out = (void *)reply;

    (void)request;
    (void)err;
    out->capabilities = rpc_call_alloc(call, COUNT * sizeof(void *));
    if (out->capabilities == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < COUNT; i++) {
        Csi__V1__NodeServiceCapability *one =
            rpc_call_message(call, &csi__v1__node_service_capability__descriptor);
        Csi__V1__NodeServiceCapability__RPC *rpc =
            rpc_call_message(call, &csi__v1__node_service_capability__rpc__descriptor);

        if (one == NULL || rpc == NULL) {
            return -ENOMEM;
        }
        rpc->type = types[i];
        one->type_case = CSI__V1__NODE_SERVICE_CAPABILITY__TYPE_RPC;
        one->rpc = rpc;
        out->capabilities[out->n_capabilities++] = one;
    }
    return 0;
}

static const struct rpc_method methods[] = {
    {.name = "NodeGetInfo", .unary = get_info, .quiet = true, .pool = CSI_POOL_QUICK},
    {.name = "NodeGetCapabilities",
     .unary = get_capabilities,
     .quiet = true,
     .pool = CSI_POOL_QUICK},
    {.name = "NodeStageVolume", .unary = node_stage},
    {.name = "NodeUnstageVolume", .unary = node_unstage, .pool = NODE_POOL_UNSTAGE},
    {.name = "NodePublishVolume", .unary = node_publish},
    {.name = "NodeUnpublishVolume", .unary = node_unpublish, .pool = NODE_POOL_UNPUBLISH},
    {.name = "NodeGetVolumeStats", .unary = node_stats, .quiet = true, .pool = NODE_POOL_STATS},
};

int node_add(struct rpc_server *server, struct node *node, struct error *err)
{
    struct rpc_service service = {
        .descriptor = &csi__v1__node__descriptor,
        .methods = methods,
        .method_count = sizeof(methods) / sizeof(methods[0]),
        .context = node,
    };

    return rpc_server_add(server, &service, err);
}
