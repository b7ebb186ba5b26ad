/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "csi/capability.h"
#include "csi/controller/controller.h"
#include "csi/identity.h"
#include "util/encode.h"
#include "util/log.h"

#define VOLUMES (&skyvol__meta__v1__volumes__descriptor)
#define STORES (&skyvol__meta__v1__stores__descriptor)

enum { STORE_NAME_MAX = 64 };

static bool is_ours(const char *key)
{
    static const char *const ours[] = {"store", "adopt"};

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (strcmp(key, ours[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Mount options that the node would refuse later, when a pod waits for them. */
static int check_flags(const Csi__V1__CreateVolumeRequest *in, struct error *err)
{
    int r = 0;

    for (size_t i = 0; i < in->n_volume_capabilities; i++) {
        const Csi__V1__VolumeCapability__MountVolume *mount = in->volume_capabilities[i]->mount;

        for (size_t k = 0; r == 0 && mount != NULL && k < mount->n_mount_flags; k++) {
            CLEANUP(mount_options_done) struct mount_options o = MOUNT_OPTIONS_INIT;

            r = mount_options_parse(&o, mount->mount_flags[k], MOUNT_OPTIONS_OPERATOR, err);
        }
    }
    return r;
}

/* The parameters as the node will see them later must be understood now, before anything is made.
 */
static int check_parameters(struct rpc_call *call, const Csi__V1__CreateVolumeRequest *in,
                            struct csi_source *ret, struct error *err)
{
    struct controller *controller = rpc_call_context(call);
    Csi__V1__CreateVolumeRequest__ParametersEntry **left =
        rpc_call_alloc(call, (in->n_parameters + 1) * sizeof(void *));
    struct csi_source_input input = {
        .volume_id = "derived", .secrets = CSI_MAP(in, secrets), .context = {.entries = left}};
    int r;

    if (left == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < in->n_parameters; i++) {
        if (!is_ours(in->parameters[i]->key) && strcmp(in->parameters[i]->key, "endpoint") != 0 &&
            strcmp(in->parameters[i]->key, "region") != 0) {
            left[input.context.count++] = in->parameters[i];
        }
    }
    r = check_flags(in, err);
    return r < 0 ? r : csi_source_parse(&controller->policy, &input, ret, err);
}

/* One store for each endpoint, region and key: found again whichever claim comes first. */
static int store_name(const struct csi_source *source, char ret[STORE_NAME_MAX])
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(16384);
    CLEANUP(buf_done) struct buf hex = BUF_INIT(128);
    const char *endpoint = mount_options_get(&source->options, "endpoint");
    const char *region = mount_options_get(&source->options, "region");
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    buf_addf(&text, "%s\n%s\n%s", endpoint != NULL ? endpoint : "", region != NULL ? region : "",
             source->credentials.access_key);
    if (buf_error(&text) < 0 ||
        EVP_Digest(buf_str(&text), buf_len(&text), digest, &len, EVP_sha256(), NULL) != 1) {
        return -ENOMEM;
    }
    encode_hex(&hex, digest, 12);
    (void)snprintf(ret, STORE_NAME_MAX, "secret-%s", buf_str(&hex));
    return buf_error(&hex);
}

/* A StorageClass written for another driver names no store, but a Secret with endpoint and keys. */
static int store_of_secret(struct rpc_call *call, const struct csi_source *source, char **ret)
{
    struct controller *controller = rpc_call_context(call);
    Skyvol__Meta__V1__AddStoreRequest ask = SKYVOL__META__V1__ADD_STORE_REQUEST__INIT;
    Skyvol__Meta__V1__Store store = SKYVOL__META__V1__STORE__INIT;
    Skyvol__Meta__V1__Credentials keys = SKYVOL__META__V1__CREDENTIALS__INIT;
    CLEANUP(csi_meta_free) Skyvol__Meta__V1__AddStoreResponse *answer = NULL;
    const char *endpoint = mount_options_get(&source->options, "endpoint");
    const char *region = mount_options_get(&source->options, "region");
    Skyvol__Meta__V1__TemporaryKeys temporary = SKYVOL__META__V1__TEMPORARY_KEYS__INIT;
    char name[STORE_NAME_MAX];
    char location[] = "s3://";
    int r = store_name(source, name);

    store.name = rpc_call_strdup(call, name);
    store.location = location;
    store.endpoint = rpc_call_strdup(call, endpoint != NULL ? endpoint : "");
    store.s3_region = rpc_call_strdup(call, region != NULL ? region : "us-east-1");
    store.region = store.s3_region;
    store.public_only = mount_options_true(&source->options, "public_only");
    if (source->sts_endpoint != NULL || source->role_arn != NULL) {
        temporary.endpoint =
            source->sts_endpoint != NULL ? source->sts_endpoint : temporary.endpoint;
        temporary.role_arn = source->role_arn != NULL ? source->role_arn : temporary.role_arn;
        temporary.duration_s = source->sts_duration_s;
        store.temporary_keys = &temporary;
    }
    keys.access_key = source->credentials.access_key;
    keys.secret_key = source->credentials.secret_key;
    if (source->credentials.session_token != NULL) {
        keys.session_token = source->credentials.session_token;
    }
    ask.idempotency_key = store.name;
    ask.store = &store;
    ask.credentials = &keys;
    if (r < 0 || store.name == NULL || store.endpoint == NULL || store.s3_region == NULL) {
        return -ENOMEM;
    }
    r = csi_meta_call(&controller->meta, call, STORES, "AddStore", &ask.base, &answer);
    if (r == 0 || r == -EEXIST) { /* another claim has brought it */
        *ret = store.name;
        return 0;
    }
    return r;
}

static int copy_parameters(struct rpc_call *call, const Csi__V1__CreateVolumeRequest *in,
                           Skyvol__Meta__V1__CreateVolumeRequest *ask)
{
    ask->parameters = rpc_call_alloc(call, (in->n_parameters + 1) * sizeof(void *));
    if (ask->parameters == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < in->n_parameters; i++) {
        Skyvol__Meta__V1__CreateVolumeRequest__ParametersEntry *entry;

        if (strncmp(in->parameters[i]->key, "csi.storage.k8s.io/", 19) == 0) {
            continue; /* names of claim and volume: not what the class wants */
        }
        entry = rpc_call_message(
            call, &skyvol__meta__v1__create_volume_request__parameters_entry__descriptor);
        if (entry == NULL) {
            return -ENOMEM;
        }
        entry->key = in->parameters[i]->key;
        entry->value = in->parameters[i]->value;
        ask->parameters[ask->n_parameters++] = entry;
    }
    return 0;
}

static int check_create(const Csi__V1__CreateVolumeRequest *in, struct error *err)
{
    uint64_t bytes;
    int r = csi_required(in->name, "name", CSI_ID_MAX, err);

    r = r < 0 ? r : csi_capabilities_check(in->volume_capabilities, in->n_volume_capabilities, err);
    r = r < 0 ? r : csi_capacity(in->capacity_range, 0, &bytes, err);
    if (r == 0 && in->volume_content_source != NULL) {
        r = error_set(err, -EINVAL, "a volume cannot be made from a snapshot or volume yet");
    }
    if (r == 0 && in->n_mutable_parameters > 0) {
        r = error_set(err, -EINVAL, "VolumeAttributesClass: parameter '%.64s' is unknown",
                      in->mutable_parameters[0]->key);
    }
    return r;
}

/* The caller's word for "adopt". */
static int parse_adopt(const struct csi_map *parameters, bool *ret, struct error *err)
{
    const char *adopt = csi_map_get(parameters, "adopt");

    if (adopt != NULL && strcmp(adopt, "true") != 0 && strcmp(adopt, "false") != 0) {
        return error_set(err, -EINVAL, "adopt is '%.16s': true and false are possible", adopt);
    }
    *ret = adopt != NULL && strcmp(adopt, "true") == 0;
    return 0;
}

int controller_create(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err)
{
    const Csi__V1__CreateVolumeRequest *in = (const void *)request;
    Csi__V1__CreateVolumeResponse *out = (void *)reply;
    struct controller *controller = rpc_call_context(call);
    Skyvol__Meta__V1__CreateVolumeRequest ask = SKYVOL__META__V1__CREATE_VOLUME_REQUEST__INIT;
    CLEANUP(csi_meta_free) Skyvol__Meta__V1__CreateVolumeResponse *answer = NULL;
    CLEANUP(csi_source_done) struct csi_source source = CSI_SOURCE_INIT;
    struct csi_map parameters = CSI_MAP(in, parameters);
    const char *bucket = csi_map_get(&parameters, "bucket");
    const char *store = csi_map_get(&parameters, "store");
    bool adopt = false;
    int r = check_create(in, err);

    r = r < 0 ? r : parse_adopt(&parameters, &adopt, err);
    r = r < 0 ? r : check_parameters(call, in, &source, err);
    r = r < 0 ? r : copy_parameters(call, in, &ask);
    if (r < 0) {
        return r;
    }
    ask.name = in->name;
    ask.adopt = adopt;
    ask.bucket = rpc_call_strdup(call, bucket != NULL ? bucket : "");
    ask.store = rpc_call_strdup(call, store != NULL ? store : "");
    if (ask.bucket == NULL || ask.store == NULL) {
        return -ENOMEM;
    }
    if (in->capacity_range != NULL) {
        ask.required_bytes = (uint64_t)in->capacity_range->required_bytes;
        ask.limit_bytes = (uint64_t)in->capacity_range->limit_bytes;
    }
    if (store == NULL && source.credentials.access_key != NULL) {
        r = store_of_secret(call, &source, &ask.store);
    }
    if (r == 0) {
        r = csi_meta_call(&controller->meta, call, VOLUMES, "CreateVolume", &ask.base, &answer);
    }
    if (r < 0 || answer == NULL) {
        return r < 0 ? r : -EPROTO;
    }
    out->volume = controller_volume(call, answer->volume);
    return out->volume != NULL ? 0 : -ENOMEM;
}

/* The class's Secret may be newer than what the store was added with: the metaserver's worker needs
 * the keys that are good now. Whatever comes of it, the deletion goes on: its store may be another.
 */
static void renew_store(struct rpc_call *call, const Csi__V1__DeleteVolumeRequest *in)
{
    struct controller *controller = rpc_call_context(call);
    CLEANUP(csi_source_done) struct csi_source source = CSI_SOURCE_INIT;
    struct csi_source_input input = {.volume_id = "derived", .secrets = CSI_MAP(in, secrets)};
    struct error err = ERROR_INIT;
    char *store;
    int r = csi_source_parse(&controller->policy, &input, &source, &err);

    if (r == 0 && source.credentials.access_key != NULL) {
        r = store_of_secret(call, &source, &store);
    }
    if (r < 0) {
        log_warn("the Secret of a deletion is of no use", "volume", in->volume_id, "error",
                 error_text(&err, r), NULL);
    }
}

int controller_delete(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err)
{
    const Csi__V1__DeleteVolumeRequest *in = (const void *)request;
    struct controller *controller = rpc_call_context(call);
    Skyvol__Meta__V1__DeleteVolumeRequest ask = SKYVOL__META__V1__DELETE_VOLUME_REQUEST__INIT;
    CLEANUP(csi_meta_free) Skyvol__Meta__V1__DeleteVolumeResponse *answer = NULL;

    (void)reply;
    if (in->volume_id[0] == '\0') {
        return error_set(err, -EINVAL, "volume_id is missing");
    }
    if (strlen(in->volume_id) > CSI_ID_MAX) {
        return 0; /* none of ours: it is gone already */
    }
    if (in->n_secrets > 0) {
        renew_store(call, in);
    }
    ask.id = in->volume_id;
    return csi_meta_call(&controller->meta, call, VOLUMES, "DeleteVolume", &ask.base, &answer);
}

int controller_expand(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err)
{
    const Csi__V1__ControllerExpandVolumeRequest *in = (const void *)request;
    Csi__V1__ControllerExpandVolumeResponse *out = (void *)reply;
    struct controller *controller = rpc_call_context(call);
    Skyvol__Meta__V1__ExpandVolumeRequest ask = SKYVOL__META__V1__EXPAND_VOLUME_REQUEST__INIT;
    CLEANUP(csi_meta_free) Skyvol__Meta__V1__ExpandVolumeResponse *answer = NULL;
    uint64_t bytes = 0;
    int r = csi_required(in->volume_id, "volume_id", CSI_ID_MAX, err);

    if (r == 0 && in->capacity_range == NULL) {
        r = error_set(err, -EINVAL, "capacity_range is missing");
    }
    if (r == 0 && in->volume_capability != NULL) {
        r = csi_capability_check(in->volume_capability, err);
    }
    r = r < 0 ? r : csi_capacity(in->capacity_range, 0, &bytes, err);
    if (r < 0 || in->capacity_range == NULL) {
        return r;
    }
    ask.id = in->volume_id;
    ask.required_bytes = (uint64_t)in->capacity_range->required_bytes;
    ask.limit_bytes = (uint64_t)in->capacity_range->limit_bytes;
    r = csi_meta_call(&controller->meta, call, VOLUMES, "ExpandVolume", &ask.base, &answer);
    if (r < 0 || answer == NULL) {
        return r < 0 ? r : -EPROTO;
    }
    out->capacity_bytes =
        answer->volume != NULL ? (int64_t)answer->volume->size_bytes : (int64_t)bytes;
    out->node_expansion_required = false;
    return 0;
}
