/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/controller/controller.h"

#include <errno.h>

#include "csi/capability.h"
#include "csi/identity.h"

static int get_capabilities(struct rpc_call *call, const ProtobufCMessage *request,
                            ProtobufCMessage *reply, struct error *err)
{
#define RPC(name) CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__##name
    static const Csi__V1__ControllerServiceCapability__RPC__Type types[] = {
        RPC(CREATE_DELETE_VOLUME), RPC(LIST_VOLUMES),  RPC(GET_CAPACITY),
        RPC(GET_VOLUME),           RPC(EXPAND_VOLUME), RPC(SINGLE_NODE_MULTI_WRITER)};
#undef RPC
    enum { COUNT = sizeof(types) / sizeof(types[0]) };
    Csi__V1__ControllerGetCapabilitiesResponse *out = (void *)reply;

    (void)request;
    (void)err;
    out->capabilities = rpc_call_alloc(call, COUNT * sizeof(void *));
    if (out->capabilities == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < COUNT; i++) {
        Csi__V1__ControllerServiceCapability *one =
            rpc_call_message(call, &csi__v1__controller_service_capability__descriptor);
        Csi__V1__ControllerServiceCapability__RPC *rpc =
            rpc_call_message(call, &csi__v1__controller_service_capability__rpc__descriptor);

        if (one == NULL || rpc == NULL) {
            return -ENOMEM;
        }
        rpc->type = types[i];
        one->type_case = CSI__V1__CONTROLLER_SERVICE_CAPABILITY__TYPE_RPC;
        one->rpc = rpc;
        out->capabilities[out->n_capabilities++] = one;
    }
    return 0;
}

static int get_capacity(struct rpc_call *call, const ProtobufCMessage *request,
                        ProtobufCMessage *reply, struct error *err)
{
    const Csi__V1__GetCapacityRequest *in = (const void *)request;
    Csi__V1__GetCapacityResponse *out = (void *)reply;
    struct controller *controller = rpc_call_context(call);
    Skyvol__Meta__V1__GetCapacityRequest ask = SKYVOL__META__V1__GET_CAPACITY_REQUEST__INIT;
    CLEANUP(csi_meta_free) Skyvol__Meta__V1__GetCapacityResponse *answer = NULL;
    struct csi_map parameters = CSI_MAP(in, parameters);
    const char *store = csi_map_get(&parameters, "store");
    int r;

    (void)err;
    if (in->n_volume_capabilities > 0 &&
        csi_capabilities_check(in->volume_capabilities, in->n_volume_capabilities, NULL) < 0) {
        return 0; /* none of that kind */
    }
    if (store != NULL) {
        ask.store = rpc_call_strdup(call, store);
        if (ask.store == NULL) {
            return -ENOMEM;
        }
    }
    r = csi_meta_call(&controller->meta, call, &skyvol__meta__v1__volumes__descriptor,
                      "GetCapacity", &ask.base, &answer);
    if (r < 0) {
        return r;
    }
    out->available_capacity =
        answer->available_bytes > INT64_MAX ? INT64_MAX : (int64_t)answer->available_bytes;
    if (answer->maximum_volume_bytes > 0 && answer->maximum_volume_bytes <= INT64_MAX) {
        out->maximum_volume_size =
            rpc_call_message(call, &google__protobuf__int64_value__descriptor);
        if (out->maximum_volume_size == NULL) {
            return -ENOMEM;
        }
        out->maximum_volume_size->value = (int64_t)answer->maximum_volume_bytes;
    }
    return 0;
}

static const struct rpc_method methods[] = {
    {.name = "ControllerGetCapabilities",
     .unary = get_capabilities,
     .quiet = true,
     .pool = CSI_POOL_QUICK},
    {.name = "CreateVolume", .unary = controller_create},
    {.name = "DeleteVolume", .unary = controller_delete},
    {.name = "ValidateVolumeCapabilities", .unary = controller_validate},
    {.name = "ListVolumes", .unary = controller_list, .quiet = true},
    {.name = "GetCapacity", .unary = get_capacity, .quiet = true},
    {.name = "ControllerGetVolume", .unary = controller_get, .quiet = true},
    {.name = "ControllerExpandVolume", .unary = controller_expand},
};

int controller_add(struct rpc_server *server, struct controller *controller, struct error *err)
{
    struct rpc_service service = {
        .descriptor = &csi__v1__controller__descriptor,
        .methods = methods,
        .method_count = sizeof(methods) / sizeof(methods[0]),
        .context = controller,
    };

    return rpc_server_add(server, &service, err);
}
