/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/meta.h"

#include <errno.h>
#include <string.h>

static int fail(const struct csi_meta *meta, struct rpc_call *call, enum rpc_code code,
                const struct error *err, int r)
{
    if (code == RPC_OK) { /* it never got there */
        code = rpc_code_from_errno(r);
    }
    if (code == RPC_INTERNAL || code == RPC_UNKNOWN) {
        code = RPC_UNAVAILABLE;
    }
    if (code == RPC_UNAVAILABLE || code == RPC_DEADLINE_EXCEEDED) { /* gRPC tells an address only */
        return rpc_call_fail(call, code, "skyvol-meta at %s: %s", meta->address,
                             error_text(err, r));
    }
    return rpc_call_fail(call, code, "%s", error_text(err, r));
}

int csi_meta_call(const struct csi_meta *meta, struct rpc_call *call,
                  const ProtobufCServiceDescriptor *service, const char *method,
                  const ProtobufCMessage *message, void *ret)
{
    struct error err = ERROR_INIT;
    enum rpc_code code = RPC_OK;
    ProtobufCMessage *reply = NULL;
    uint64_t left = rpc_call_left_ms(call);
    struct rpc_request request = {
        .service = service,
        .method = method,
        .message = message,
        .timeout_ms = left < meta->timeout_ms ? left + 1 : meta->timeout_ms,
        .ret_code = &code,
    };
    int r;

    if (meta->client == NULL) {
        return rpc_call_fail(call, RPC_FAILED_PRECONDITION,
                             "this volume needs skyvol-meta, and none is configured: set --meta");
    }
    r = rpc_client_call(meta->client, &request, &reply, &err);
    if (r < 0) {
        return fail(meta, call, code, &err, r);
    }
    memcpy(ret, &reply, sizeof(void *));
    return 0;
}

int csi_meta_volume(const struct csi_meta *meta, struct rpc_call *call, const char *id,
                    Skyvol__Meta__V1__GetVolumeResponse **ret)
{
    Skyvol__Meta__V1__GetVolumeRequest in = SKYVOL__META__V1__GET_VOLUME_REQUEST__INIT;
    CLEANUP(csi_meta_free) Skyvol__Meta__V1__GetVolumeResponse *out = NULL;
    Skyvol__Meta__V1__VolumeState state;
    int r;

    in.id = rpc_call_strdup(call, id);
    if (in.id == NULL) {
        return -ENOMEM;
    }
    r = csi_meta_call(meta, call, &skyvol__meta__v1__volumes__descriptor, "GetVolume", &in.base,
                      &out);
    if (r < 0 || out == NULL) {
        return r < 0 ? r : -EPROTO;
    }
    state =
        out->volume != NULL ? out->volume->state : SKYVOL__META__V1__VOLUME_STATE__VOLUME_DELETING;
    if (state == SKYVOL__META__V1__VOLUME_STATE__VOLUME_CREATING) {
        return rpc_call_fail(call, RPC_ABORTED, "volume %s is still being made", id);
    }
    if (state != SKYVOL__META__V1__VOLUME_STATE__VOLUME_READY) {
        return rpc_call_fail(call, RPC_NOT_FOUND, "volume %s is being deleted", id);
    }
    *ret = TAKE(out);
    return 0;
}
