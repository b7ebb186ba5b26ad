/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "csi/capability.h"
#include "csi/controller/controller.h"
#include "csi/identity.h"

static bool add_context(struct rpc_call *call, Csi__V1__Volume *out, const char *key,
                        const char *value)
{
    Csi__V1__Volume__VolumeContextEntry *entry;

    if (value == NULL || value[0] == '\0') {
        return true;
    }
    entry = rpc_call_message(call, &csi__v1__volume__volume_context_entry__descriptor);
    if (entry == NULL) {
        return false;
    }
    entry->key = rpc_call_strdup(call, key);
    entry->value = rpc_call_strdup(call, value);
    out->volume_context[out->n_volume_context++] = entry;
    return entry->key != NULL && entry->value != NULL;
}

/* The context stays the same for the life of the volume: only what never changes goes in. */
Csi__V1__Volume *controller_volume(struct rpc_call *call, const Skyvol__Meta__V1__Volume *volume)
{
    static const char *const handed_on[] = {"options", "mountOptions", "mounter"};
    enum { HANDED_ON = sizeof(handed_on) / sizeof(handed_on[0]), OWN = 4 };
    struct csi_map parameters = {.count = 0};
    Csi__V1__Volume *out = rpc_call_message(call, &csi__v1__volume__descriptor);
    bool good = out != NULL && volume != NULL;

    if (good) {
        parameters = CSI_MAP(volume, parameters);
        out->capacity_bytes = (int64_t)volume->size_bytes;
        out->volume_id = rpc_call_strdup(call, volume->id);
        out->volume_context = rpc_call_alloc(call, (OWN + HANDED_ON) * sizeof(void *));
        good = out->volume_id != NULL && out->volume_context != NULL;
    }
    good = good && add_context(call, out, CSI_MANAGED_KEY, "true") &&
           add_context(call, out, "skyvol.io/store", volume->store) &&
           add_context(call, out, "bucket", volume->bucket) &&
           add_context(call, out, "prefix", volume->prefix);
    for (size_t i = 0; good && i < HANDED_ON; i++) {
        good = add_context(call, out, handed_on[i], csi_map_get(&parameters, handed_on[i]));
    }
    return good ? out : NULL;
}

static int list_fill(struct rpc_call *call, const Skyvol__Meta__V1__ListVolumesResponse *answer,
                     Csi__V1__ListVolumesResponse *out)
{
    out->entries = rpc_call_alloc(call, (answer->n_volumes + 1) * sizeof(void *));
    out->next_token = rpc_call_strdup(call, answer->next_token);
    if (out->entries == NULL || out->next_token == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < answer->n_volumes; i++) {
        Csi__V1__ListVolumesResponse__Entry *entry;

        if (answer->volumes[i]->state != SKYVOL__META__V1__VOLUME_STATE__VOLUME_READY) {
            continue; /* not there yet, or no more */
        }
        entry = rpc_call_message(call, &csi__v1__list_volumes_response__entry__descriptor);
        if (entry == NULL ||
            (entry->volume = controller_volume(call, answer->volumes[i])) == NULL) {
            return -ENOMEM;
        }
        out->entries[out->n_entries++] = entry;
    }
    return 0;
}

int controller_list(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                    struct error *err)
{
    const Csi__V1__ListVolumesRequest *in = (const void *)request;
    struct controller *controller = rpc_call_context(call);
    Skyvol__Meta__V1__ListVolumesRequest ask = SKYVOL__META__V1__LIST_VOLUMES_REQUEST__INIT;
    CLEANUP(csi_meta_free) Skyvol__Meta__V1__ListVolumesResponse *answer = NULL;
    int r;

    if (in->max_entries < 0) {
        return error_set(err, -EINVAL, "max_entries is negative");
    }
    ask.max_entries = (uint32_t)in->max_entries;
    ask.token = rpc_call_strdup(call, in->starting_token);
    if (ask.token == NULL) {
        return -ENOMEM;
    }
    r = csi_meta_call(&controller->meta, call, &skyvol__meta__v1__volumes__descriptor,
                      "ListVolumes", &ask.base, &answer);
    return r < 0 ? r : list_fill(call, answer, (Csi__V1__ListVolumesResponse *)(void *)reply);
}

int controller_get(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                   struct error *err)
{
    const Csi__V1__ControllerGetVolumeRequest *in = (const void *)request;
    Csi__V1__ControllerGetVolumeResponse *out = (void *)reply;
    struct controller *controller = rpc_call_context(call);
    CLEANUP(csi_meta_free) Skyvol__Meta__V1__GetVolumeResponse *answer = NULL;
    int r = csi_required(in->volume_id, "volume_id", CSI_ID_MAX, err);

    if (r == 0) {
        r = csi_meta_volume(&controller->meta, call, in->volume_id, &answer);
    }
    if (r < 0 || answer == NULL) {
        return r < 0 ? r : -EPROTO;
    }
    out->volume = controller_volume(call, answer->volume);
    out->status =
        rpc_call_message(call, &csi__v1__controller_get_volume_response__volume_status__descriptor);
    return out->volume != NULL && out->status != NULL ? 0 : -ENOMEM;
}

int controller_validate(struct rpc_call *call, const ProtobufCMessage *request,
                        ProtobufCMessage *reply, struct error *err)
{
    const Csi__V1__ValidateVolumeCapabilitiesRequest *in = (const void *)request;
    Csi__V1__ValidateVolumeCapabilitiesResponse *out = (void *)reply;
    struct controller *controller = rpc_call_context(call);
    CLEANUP(csi_meta_free) Skyvol__Meta__V1__GetVolumeResponse *answer = NULL;
    struct error why = ERROR_INIT;
    int r = csi_required(in->volume_id, "volume_id", CSI_ID_MAX, err);

    if (r == 0 && in->n_volume_capabilities == 0) {
        r = error_set(err, -EINVAL, "volume_capabilities are missing");
    }
    if (r == 0) {
        r = csi_meta_volume(&controller->meta, call, in->volume_id, &answer);
    }
    if (r < 0) {
        return r;
    }
    if (csi_capabilities_check(in->volume_capabilities, in->n_volume_capabilities, &why) < 0) {
        out->message = rpc_call_strdup(call, why.text);
        return out->message != NULL ? 0 : -ENOMEM;
    }
    out->confirmed = rpc_call_message(
        call, &csi__v1__validate_volume_capabilities_response__confirmed__descriptor);
    if (out->confirmed == NULL) {
        return -ENOMEM;
    }
    /* Word for word; the request lives as long as the reply. */
    out->confirmed->n_volume_capabilities = in->n_volume_capabilities;
    out->confirmed->volume_capabilities = in->volume_capabilities;
    return 0;
}
