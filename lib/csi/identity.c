/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/identity.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "csi.pb-c.h"

int csi_identity_check(const char *name, struct error *err)
{
    size_t len = strlen(name);
    bool good = len >= 1 && len <= 63 && isalpha((unsigned char)name[0]) &&
                isalpha((unsigned char)name[len - 1]);

    for (size_t i = 0; good && i < len; i++) {
        good = isalnum((unsigned char)name[i]) || name[i] == '-' || name[i] == '.';
    }
    return good ? 0
                : error_set(err, -EINVAL,
                            "driver name '%.80s': 1 to 63 letters, digits, '-' and '.' are "
                            "possible, a letter first and last",
                            name);
}

static int get_plugin_info(struct rpc_call *call, const ProtobufCMessage *request,
                           ProtobufCMessage *reply, struct error *err)
{
    Csi__V1__GetPluginInfoResponse *out = (void *)reply;
    struct csi_identity *identity = rpc_call_context(call);

    (void)request;
    (void)err;
    out->name = rpc_call_strdup(call, identity->name);
    out->vendor_version = rpc_call_strdup(call, SKYVOL_VERSION);
    return out->name != NULL && out->vendor_version != NULL ? 0 : -ENOMEM;
}

static int get_plugin_capabilities(struct rpc_call *call, const ProtobufCMessage *request,
                                   ProtobufCMessage *reply, struct error *err)
{
    Csi__V1__GetPluginCapabilitiesResponse *out = (void *)reply;
    Csi__V1__PluginCapability *one =
        rpc_call_message(call, &csi__v1__plugin_capability__descriptor);
    Csi__V1__PluginCapability__Service *service =
        rpc_call_message(call, &csi__v1__plugin_capability__service__descriptor);

    (void)request;
    (void)err;
    out->capabilities = rpc_call_alloc(call, sizeof(void *));
    if (one == NULL || service == NULL || out->capabilities == NULL) {
        return -ENOMEM;
    }
    service->type = CSI__V1__PLUGIN_CAPABILITY__SERVICE__TYPE__CONTROLLER_SERVICE;
    one->type_case = CSI__V1__PLUGIN_CAPABILITY__TYPE_SERVICE;
    one->service = service;
    out->capabilities[0] = one;
    out->n_capabilities = 1;
    return 0;
}

static int probe(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                 struct error *err)
{
    Csi__V1__ProbeResponse *out = (void *)reply;
    struct csi_identity *identity = rpc_call_context(call);

    (void)request;
    (void)err;
    out->ready = rpc_call_message(call, &google__protobuf__bool_value__descriptor);
    if (out->ready == NULL) {
        return -ENOMEM;
    }
    out->ready->value = atomic_load(&identity->ready);
    return 0;
}

static const struct rpc_method methods[] = {
    {.name = "GetPluginInfo", .unary = get_plugin_info, .quiet = true, .pool = CSI_POOL_QUICK},
    {.name = "GetPluginCapabilities",
     .unary = get_plugin_capabilities,
     .quiet = true,
     .pool = CSI_POOL_QUICK},
    {.name = "Probe", .unary = probe, .quiet = true, .pool = CSI_POOL_QUICK},
};

int csi_identity_add(struct rpc_server *server, struct csi_identity *identity, struct error *err)
{
    struct rpc_service service = {
        .descriptor = &csi__v1__identity__descriptor,
        .methods = methods,
        .method_count = sizeof(methods) / sizeof(methods[0]),
        .context = identity,
    };

    return rpc_server_add(server, &service, err);
}
