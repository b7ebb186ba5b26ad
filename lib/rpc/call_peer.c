/* SPDX-License-Identifier: Apache-2.0 */
/* call_peer.c - who calls: from gRPC's address and the certificate it verified. */
#include <string.h>

#include "rpc/server_private.h"

static int find_names(struct rpc_call *call, const grpc_auth_context *context,
                      struct rpc_peer *peer)
{
    grpc_auth_property_iterator it =
        grpc_auth_context_find_properties_by_name(context, GRPC_X509_CN_PROPERTY_NAME);
    const grpc_auth_property *p = grpc_auth_property_iterator_next(&it);
    char **names = arena_array(&call->arena, RPC_NAMES_MAX, sizeof(*names));

    if (names == NULL) {
        return -ENOMEM;
    }
    if (p != NULL) {
        peer->common_name = arena_strndup(&call->arena, p->value, p->value_length);
    }
    it = grpc_auth_context_find_properties_by_name(context, GRPC_X509_SAN_PROPERTY_NAME);
    while (peer->name_count < RPC_NAMES_MAX &&
           (p = grpc_auth_property_iterator_next(&it)) != NULL) {
        names[peer->name_count] = arena_strndup(&call->arena, p->value, p->value_length);
        if (names[peer->name_count] == NULL) {
            return -ENOMEM;
        }
        peer->name_count++;
    }
    peer->names = (const char *const *)names;
    return peer->common_name != NULL ? 0 : -ENOMEM;
}

const struct rpc_peer *call_find_peer(struct rpc_call *call)
{
    struct rpc_peer *peer = arena_alloc(&call->arena, sizeof(*peer));
    grpc_auth_context *context;
    char *address;
    int r = 0;

    if (peer == NULL) {
        return NULL;
    }
    address = grpc_call_get_peer(call->handle);
    peer->address = arena_strdup(&call->arena, address != NULL ? address : "");
    gpr_free(address);
    if (peer->address == NULL) {
        return NULL;
    }
    peer->common_name = "";
    peer->kind = strncmp(peer->address, "unix", 4) == 0 ? RPC_PEER_UNIX : RPC_PEER_INSECURE;
    context = grpc_call_auth_context(call->handle);
    if (context != NULL && grpc_auth_context_peer_is_authenticated(context)) {
        peer->kind = RPC_PEER_TLS;
        r = find_names(call, context, peer);
    }
    if (context != NULL) {
        grpc_auth_context_release(context);
    }
    return r == 0 ? peer : NULL;
}
