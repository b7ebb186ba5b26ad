/* SPDX-License-Identifier: Apache-2.0 */
/* The Controller service by real calls, before a metaserver that answers what a test tells it to.
 */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "csi/controller/controller.h"
#include "csi/identity.h"
#include "tests/unit/controller/asked.h"
#include "util/buf.h"
#include "util/mutex.h"

#define CONTROLLER (&csi__v1__controller__descriptor)
#define STATE(name) SKYVOL__META__V1__VOLUME_STATE__VOLUME_##name

enum { SEEN_MAX = 16384 };

struct fixture {
    char dir[64];
    char meta_address[96], address[96];
    struct rpc_server *meta_server, *server;
    struct rpc_client *client;
    struct controller controller;

    struct mutex lock; /* what follows is read and written by the metaserver's threads too */
    enum rpc_code fail;
    Skyvol__Meta__V1__VolumeState state;
    bool twice;          /* two volumes are listed, the second one being deleted */
    char seen[SEEN_MAX]; /* the metaserver's calls, a line each */
};

static void note(struct fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(struct fixture *f, const char *format, ...)
{
    size_t len = strlen(f->seen);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(f->seen + len, SEEN_MAX - len, format, args);
    va_end(args);
}

/* ---- the metaserver ---- */

static Skyvol__Meta__V1__Volume *meta_volume(struct rpc_call *call, struct fixture *f,
                                             const char *id)
{
    Skyvol__Meta__V1__Volume *v = rpc_call_message(call, &skyvol__meta__v1__volume__descriptor);
    Skyvol__Meta__V1__Volume__ParametersEntry *options =
        rpc_call_message(call, &skyvol__meta__v1__volume__parameters_entry__descriptor);

    assert_non_null(v);
    assert_non_null(options);
    v->id = rpc_call_strdup(call, id);
    v->store = rpc_call_strdup(call, "default");
    v->bucket = rpc_call_strdup(call, "b1");
    v->prefix = rpc_call_strdup(call, "p1/");
    v->size_bytes = 7;
    v->state = f->state;
    options->key = rpc_call_strdup(call, "mounter");
    options->value = rpc_call_strdup(call, "geesefs");
    v->parameters = rpc_call_alloc(call, sizeof(void *));
    v->parameters[v->n_parameters++] = options;
    return v;
}

static int answer(struct rpc_call *call, enum rpc_code code)
{
    return code == RPC_OK ? 0 : rpc_call_fail(call, code, "the metaserver said %d", (int)code);
}

static int meta_create(struct rpc_call *call, const ProtobufCMessage *request,
                       ProtobufCMessage *reply, struct error *err UNUSED)
{
    struct fixture *f = rpc_call_context(call);
    const Skyvol__Meta__V1__CreateVolumeRequest *in = (const void *)request;
    enum rpc_code fail;

    mutex_lock(&f->lock);
    note(f, "create %s store=%s bucket=%s %llu-%llu adopt=%d", in->name, in->store, in->bucket,
         (unsigned long long)in->required_bytes, (unsigned long long)in->limit_bytes, in->adopt);
    for (size_t i = 0; i < in->n_parameters; i++) {
        note(f, " %s=%s", in->parameters[i]->key, in->parameters[i]->value);
    }
    note(f, "\n");
    fail = f->fail;
    ((Skyvol__Meta__V1__CreateVolumeResponse *)(void *)reply)->volume =
        meta_volume(call, f, "v-made");
    mutex_unlock(&f->lock);
    return answer(call, fail);
}

static int meta_get(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                    struct error *err UNUSED)
{
    struct fixture *f = rpc_call_context(call);
    const Skyvol__Meta__V1__GetVolumeRequest *in = (const void *)request;
    enum rpc_code fail;

    mutex_lock(&f->lock);
    fail = f->fail;
    ((Skyvol__Meta__V1__GetVolumeResponse *)(void *)reply)->volume = meta_volume(call, f, in->id);
    mutex_unlock(&f->lock);
    return answer(call, fail);
}

static int meta_list(struct rpc_call *call, const ProtobufCMessage *request,
                     ProtobufCMessage *reply, struct error *err UNUSED)
{
    struct fixture *f = rpc_call_context(call);
    const Skyvol__Meta__V1__ListVolumesRequest *in = (const void *)request;
    Skyvol__Meta__V1__ListVolumesResponse *out = (void *)reply;
    enum rpc_code fail;

    mutex_lock(&f->lock);
    note(f, "list %u %s\n", in->max_entries, in->token);
    fail = f->fail;
    out->volumes = rpc_call_alloc(call, 2 * sizeof(void *));
    out->volumes[out->n_volumes++] = meta_volume(call, f, "v-1");
    if (f->twice) {
        out->volumes[out->n_volumes++] = meta_volume(call, f, "v-2");
        out->volumes[1]->state = STATE(DELETING);
    }
    out->next_token = rpc_call_strdup(call, "after:v-2");
    mutex_unlock(&f->lock);
    return answer(call, fail);
}

static int meta_delete(struct rpc_call *call, const ProtobufCMessage *request,
                       ProtobufCMessage *reply UNUSED, struct error *err UNUSED)
{
    struct fixture *f = rpc_call_context(call);
    const Skyvol__Meta__V1__DeleteVolumeRequest *in = (const void *)request;
    enum rpc_code fail;

    mutex_lock(&f->lock);
    note(f, "delete %s\n", in->id);
    fail = f->fail;
    mutex_unlock(&f->lock);
    return answer(call, fail);
}

static int meta_expand(struct rpc_call *call, const ProtobufCMessage *request,
                       ProtobufCMessage *reply, struct error *err UNUSED)
{
    struct fixture *f = rpc_call_context(call);
    const Skyvol__Meta__V1__ExpandVolumeRequest *in = (const void *)request;
    Skyvol__Meta__V1__ExpandVolumeResponse *out = (void *)reply;
    enum rpc_code fail;

    mutex_lock(&f->lock);
    note(f, "expand %s %llu-%llu\n", in->id, (unsigned long long)in->required_bytes,
         (unsigned long long)in->limit_bytes);
    fail = f->fail;
    out->volume = meta_volume(call, f, in->id);
    out->volume->size_bytes = in->required_bytes;
    mutex_unlock(&f->lock);
    return answer(call, fail);
}

static int meta_capacity(struct rpc_call *call, const ProtobufCMessage *request,
                         ProtobufCMessage *reply, struct error *err UNUSED)
{
    struct fixture *f = rpc_call_context(call);
    const Skyvol__Meta__V1__GetCapacityRequest *in = (const void *)request;
    Skyvol__Meta__V1__GetCapacityResponse *out = (void *)reply;

    mutex_lock(&f->lock);
    note(f, "capacity %s\n", in->store);
    mutex_unlock(&f->lock);
    out->available_bytes = UINT64_MAX;
    out->maximum_volume_bytes = 99;
    return 0;
}

static int meta_add_store(struct rpc_call *call, const ProtobufCMessage *request,
                          ProtobufCMessage *reply UNUSED, struct error *err UNUSED)
{
    struct fixture *f = rpc_call_context(call);
    const Skyvol__Meta__V1__AddStoreRequest *in = (const void *)request;
    enum rpc_code fail;

    mutex_lock(&f->lock);
    note(f, "store %s %s %s %s key=%s secret=%s\n", in->store->name, in->store->location,
         in->store->endpoint, in->store->s3_region, in->credentials->access_key,
         in->credentials->secret_key);
    fail = f->fail;
    mutex_unlock(&f->lock);
    return answer(call, fail);
}

static const struct rpc_method volumes[] = {
    {.name = "CreateVolume", .unary = meta_create}, {.name = "GetVolume", .unary = meta_get},
    {.name = "ListVolumes", .unary = meta_list},    {.name = "DeleteVolume", .unary = meta_delete},
    {.name = "ExpandVolume", .unary = meta_expand}, {.name = "GetCapacity", .unary = meta_capacity},
};
static const struct rpc_method stores[] = {{.name = "AddStore", .unary = meta_add_store}};

/* ---- the fixture ---- */

static void serve(const char *address, struct rpc_server **ret)
{
    static const struct rpc_pool quick[] = {{.name = CSI_POOL_QUICK}};
    struct error err = ERROR_INIT;
    const char *const listen[] = {address, NULL};
    struct rpc_server_config config = {.listen = listen, .pools = quick, .pool_count = 1};

    assert_int_equal(rpc_server_new(&config, ret, &err), 0);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;
    struct rpc_service service = {.descriptor = &skyvol__meta__v1__volumes__descriptor,
                                  .methods = volumes,
                                  .method_count = sizeof(volumes) / sizeof(volumes[0]),
                                  .context = f};

    assert_non_null(f);
    mutex_init(&f->lock);
    f->state = STATE(READY);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/skyvol-controller-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->meta_address, sizeof(f->meta_address), "unix:%s/meta", f->dir);
    (void)snprintf(f->address, sizeof(f->address), "unix:%s/csi", f->dir);
    serve(f->meta_address, &f->meta_server);
    assert_int_equal(rpc_server_add(f->meta_server, &service, &err), 0);
    service.descriptor = &skyvol__meta__v1__stores__descriptor;
    service.methods = stores;
    service.method_count = 1;
    assert_int_equal(rpc_server_add(f->meta_server, &service, &err), 0);
    assert_int_equal(rpc_server_start(f->meta_server, &err), 0);
    f->controller.meta.timeout_ms = 20000;
    assert_int_equal(rpc_client_new(&(struct rpc_client_config){.target = f->meta_address},
                                    &f->controller.meta.client, &err),
                     0);
    serve(f->address, &f->server);
    assert_int_equal(controller_add(f->server, &f->controller, &err), 0);
    assert_int_equal(rpc_server_start(f->server, &err), 0);
    assert_int_equal(
        rpc_client_new(&(struct rpc_client_config){.target = f->address}, &f->client, &err), 0);
    *state = f;
    return 0;
}

static void stop_meta(struct fixture *f)
{
    if (f->meta_server != NULL) {
        assert_int_equal(rpc_server_drain(f->meta_server, 1000), 0);
        rpc_server_free(f->meta_server);
        f->meta_server = NULL;
    }
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    rpc_client_free(f->client);
    assert_int_equal(rpc_server_drain(f->server, 1000), 0);
    rpc_server_free(f->server);
    rpc_client_free(f->controller.meta.client);
    stop_meta(f);
    mutex_done(&f->lock);
    (void)unlink(f->meta_address + 5);
    (void)unlink(f->address + 5);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static enum rpc_code call_of(struct fixture *f, const ProtobufCServiceDescriptor *service,
                             const char *method, const ProtobufCMessage *in, void *ret,
                             struct error *err)
{
    enum rpc_code code = RPC_UNKNOWN;
    ProtobufCMessage *out = NULL;
    int r = rpc_client_call(f->client,
                            &(struct rpc_request){.service = service,
                                                  .method = method,
                                                  .message = in,
                                                  .timeout_ms = 20000,
                                                  .ret_code = &code},
                            &out, err);

    assert_true((r == 0) == (code == RPC_OK));
    if (ret != NULL) {
        memcpy(ret, &out, sizeof(void *));
    } else {
        rpc_message_free(out);
    }
    return code;
}

static enum rpc_code try(struct fixture *f, const char *method, const void *in)
{
    struct error err = ERROR_INIT;

    return call_of(f, CONTROLLER, method, in, NULL, &err);
}

/* The metaserver's calls since the last time. */
static void assert_seen(struct fixture *f, const char *text)
{
    mutex_lock(&f->lock);
    assert_string_equal(f->seen, text);
    f->seen[0] = '\0';
    mutex_unlock(&f->lock);
}

static void meta_is(struct fixture *f, enum rpc_code fail, Skyvol__Meta__V1__VolumeState state)
{
    mutex_lock(&f->lock);
    f->fail = fail;
    f->state = state;
    mutex_unlock(&f->lock);
}

/* ---- the tests ---- */

static bool is_served(const char *method)
{
    static const char *const served[] = {
        "ControllerGetCapabilities",  "CreateVolume",          "DeleteVolume",
        "ValidateVolumeCapabilities", "ListVolumes",           "GetCapacity",
        "ControllerGetVolume",        "ControllerExpandVolume"};

    for (size_t i = 0; i < sizeof(served) / sizeof(served[0]); i++) {
        if (strcmp(method, served[i]) == 0) {
            return true;
        }
    }
    return false;
}

static enum rpc_code code_of_stream(struct fixture *f, const struct rpc_request *request)
{
    struct error err = ERROR_INIT;
    struct rpc_stream *stream = NULL;
    ProtobufCMessage *out = NULL;
    enum rpc_code code = RPC_OK;
    int r = rpc_stream_open(f->client, request, &stream, &err);

    if (r == 0) {
        r = rpc_stream_recv(stream, 20000, &out, &err);
    }
    rpc_message_free(out);
    rpc_stream_free(stream);
    code = rpc_code_from_errno(r);
    return r > 0 ? RPC_OK : code;
}

static void what_is_not_advertised_is_unimplemented(void **state)
{
    static const ProtobufCServiceDescriptor *const services[] = {
        CONTROLLER, &csi__v1__group_controller__descriptor, &csi__v1__snapshot_metadata__descriptor,
        &csi__v1__node__descriptor};
    struct fixture *f = *state;
    unsigned count = 0;

    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        for (unsigned j = 0; j < services[i]->n_methods; j++) {
            const ProtobufCMethodDescriptor *method = &services[i]->methods[j];
            bool streams = services[i] == &csi__v1__snapshot_metadata__descriptor;
            struct error err = ERROR_INIT;
            ProtobufCMessage *in = calloc(1, method->input->sizeof_message);

            assert_non_null(in);
            protobuf_c_message_init(method->input, in);
            if (streams) {
                assert_int_equal(code_of_stream(f, &(struct rpc_request){.service = services[i],
                                                                         .method = method->name,
                                                                         .message = in,
                                                                         .timeout_ms = 20000}),
                                 RPC_UNIMPLEMENTED);
                count++;
            } else if (services[i] != CONTROLLER || !is_served(method->name)) {
                assert_int_equal(call_of(f, services[i], method->name, in, NULL, &err),
                                 RPC_UNIMPLEMENTED);
                count++;
            }
            free(in);
        }
    }
    assert_int_equal(count, 7 + 4 + 2 + 8);
    assert_seen(f, "");
}

static void what_is_advertised_is_what_is_served(void **state)
{
#define RPC(name) CSI__V1__CONTROLLER_SERVICE_CAPABILITY__RPC__TYPE__##name
    static const int expected[] = {RPC(CREATE_DELETE_VOLUME), RPC(LIST_VOLUMES),
                                   RPC(GET_CAPACITY),         RPC(GET_VOLUME),
                                   RPC(EXPAND_VOLUME),        RPC(SINGLE_NODE_MULTI_WRITER)};
#undef RPC
    struct fixture *f = *state;
    Csi__V1__ControllerGetCapabilitiesRequest in =
        CSI__V1__CONTROLLER_GET_CAPABILITIES_REQUEST__INIT;
    Csi__V1__ControllerGetCapabilitiesResponse *out = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(call_of(f, CONTROLLER, "ControllerGetCapabilities", &in.base, &out, &err),
                     RPC_OK);
    assert_int_equal(out->n_capabilities, sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < out->n_capabilities; i++) {
        assert_int_equal(out->capabilities[i]->rpc->type, expected[i]);
    }
    rpc_message_free(out);
}

static const char *context_of(const Csi__V1__Volume *volume, const char *key)
{
    struct csi_map map = CSI_MAP(volume, volume_context);

    return csi_map_get(&map, key);
}

static void a_volume_is_asked_for_in_the_words_of_its_class(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    Csi__V1__CreateVolumeResponse *out = NULL;
    struct asked a;

    ask(&a, "pvc-1");
    a.range.required_bytes = 5;
    a.range.limit_bytes = 9;
    a.in.capacity_range = &a.range;
    ask_parameter(&a, "bucket", "shared");
    ask_parameter(&a, "store", "lab");
    ask_parameter(&a, "adopt", "true");
    ask_parameter(&a, "mounter", "geesefs");
    ask_parameter(&a, "csi.storage.k8s.io/pvc/name", "claim");
    assert_int_equal(call_of(f, CONTROLLER, "CreateVolume", &a.in.base, &out, &err), RPC_OK);
    assert_seen(f, "create pvc-1 store=lab bucket=shared 5-9 adopt=1 bucket=shared store=lab "
                   "adopt=true mounter=geesefs\n");
    assert_string_equal(out->volume->volume_id, "v-made");
    assert_int_equal(out->volume->capacity_bytes, 7);
    assert_string_equal(context_of(out->volume, CSI_MANAGED_KEY), "true");
    assert_string_equal(context_of(out->volume, "bucket"), "b1");
    assert_string_equal(context_of(out->volume, "prefix"), "p1/");
    assert_string_equal(context_of(out->volume, "mounter"), "geesefs");
    rpc_message_free(out);
}

static void keys_of_a_class_make_a_store_of_their_own_and_go_no_further(void **state)
{
    static const char *const dialects[][2] = {{"accessKeyID", "secretAccessKey"},
                                              {"access-key-id", "secret-access-key"},
                                              {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
                                              {"key_id", "access_key"},
                                              {"access-key", "secret-key"}};
    struct fixture *f = *state;
    char first[SEEN_MAX] = "";

    for (size_t i = 0; i < sizeof(dialects) / sizeof(dialects[0]); i++) {
        struct error err = ERROR_INIT;
        Csi__V1__CreateVolumeResponse *out = NULL;
        struct asked a;

        ask(&a, "pvc-1");
        ask_secret(&a, dialects[i][0], "AK");
        ask_secret(&a, dialects[i][1], "hidden");
        ask_secret(&a, "endpoint", "https://s3.example.com");
        ask_secret(&a, "region", "eu-1");
        assert_int_equal(call_of(f, CONTROLLER, "CreateVolume", &a.in.base, &out, &err), RPC_OK);
        for (size_t j = 0; j < out->volume->n_volume_context; j++) {
            assert_null(strstr(out->volume->volume_context[j]->value, "hidden"));
        }
        rpc_message_free(out);
        mutex_lock(&f->lock);
        assert_non_null(strstr(f->seen, "store secret-"));
        assert_non_null(
            strstr(f->seen, " s3:// https://s3.example.com eu-1 key=AK secret=hidden\n"));
        assert_non_null(strstr(f->seen, "create pvc-1 store=secret-"));
        if (i > 0) {
            assert_string_equal(f->seen, first);
        }
        memcpy(first, f->seen, sizeof(first));
        f->seen[0] = '\0';
        mutex_unlock(&f->lock);
    }
}

static void a_wish_that_cannot_be_met_is_refused_before_anything_is_made(void **state)
{
    static const char *const bad[][2] = {{"mirror", "yes"},
                                         {"adopt", "perhaps"},
                                         {"bucket", "No/.."},
                                         {"mounter", "nfs"},
                                         {"options", "--no-such-option"}};
    char good[] = "noatime";
    char unknown[] = "bogus";
    char *flags[] = {good, unknown};
    struct fixture *f = *state;
    struct asked a;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ask(&a, "pvc-1");
        ask_parameter(&a, bad[i][0], bad[i][1]);
        assert_int_equal(try(f, "CreateVolume", &a.in.base), RPC_INVALID_ARGUMENT);
    }
    ask(&a, "");
    assert_int_equal(try(f, "CreateVolume", &a.in.base), RPC_INVALID_ARGUMENT);
    ask(&a, "pvc-1");
    a.in.volume_capabilities[0]->mount->mount_flags = flags;
    a.in.volume_capabilities[0]->mount->n_mount_flags = 2;
    assert_int_equal(try(f, "CreateVolume", &a.in.base), RPC_INVALID_ARGUMENT);
    ask(&a, "pvc-1");
    a.in.n_volume_capabilities = 0;
    assert_int_equal(try(f, "CreateVolume", &a.in.base), RPC_INVALID_ARGUMENT);
    ask(&a, "pvc-1");
    a.range.required_bytes = 9;
    a.range.limit_bytes = 5;
    a.in.capacity_range = &a.range;
    assert_int_equal(try(f, "CreateVolume", &a.in.base), RPC_OUT_OF_RANGE);
    ask(&a, "pvc-1");
    ask_secret(&a, "accessKeyID", "AK"); /* and no secret key */
    assert_int_equal(try(f, "CreateVolume", &a.in.base), RPC_INVALID_ARGUMENT);
    ask(&a, "pvc-1");
    ask_secret(&a, "accessKeyID", "AK");
    ask_secret(&a, "secretAccessKey", "hidden");
    ask_secret(&a, "endpoint", "no-scheme.example.com");
    assert_int_equal(try(f, "CreateVolume", &a.in.base), RPC_INVALID_ARGUMENT);
    assert_seen(f, "");
}

static void no_final_code_is_given_while_a_bucket_may_exist(void **state)
{
    static const enum rpc_code codes[][2] = {{RPC_INTERNAL, RPC_UNAVAILABLE},
                                             {RPC_UNKNOWN, RPC_UNAVAILABLE},
                                             {RPC_UNAVAILABLE, RPC_UNAVAILABLE},
                                             {RPC_ABORTED, RPC_ABORTED},
                                             {RPC_ALREADY_EXISTS, RPC_ALREADY_EXISTS},
                                             {RPC_FAILED_PRECONDITION, RPC_FAILED_PRECONDITION}};
    struct fixture *f = *state;
    Csi__V1__DeleteVolumeRequest gone = CSI__V1__DELETE_VOLUME_REQUEST__INIT;
    char id[] = "v-1";
    struct asked a;

    ask(&a, "pvc-1");
    gone.volume_id = id;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        meta_is(f, codes[i][0], STATE(READY));
        assert_int_equal(try(f, "CreateVolume", &a.in.base), codes[i][1]);
        assert_int_equal(try(f, "DeleteVolume", &gone.base), codes[i][1]);
    }
    stop_meta(f);
    assert_int_equal(try(f, "CreateVolume", &a.in.base), RPC_UNAVAILABLE);
    assert_int_equal(try(f, "DeleteVolume", &gone.base), RPC_UNAVAILABLE);
}

static void deleting_asks_for_any_id_that_could_be_ours(void **state)
{
    struct fixture *f = *state;
    Csi__V1__DeleteVolumeRequest in = CSI__V1__DELETE_VOLUME_REQUEST__INIT;
    char none[] = "", one[] = "v-1", weird[] = "reallyfakevolumeid", long_id[200];

    in.volume_id = none;
    assert_int_equal(try(f, "DeleteVolume", &in.base), RPC_INVALID_ARGUMENT);
    memset(long_id, 'x', sizeof(long_id) - 1);
    long_id[sizeof(long_id) - 1] = '\0';
    in.volume_id = long_id;
    assert_int_equal(try(f, "DeleteVolume", &in.base), RPC_OK);
    assert_seen(f, "");
    in.volume_id = one;
    assert_int_equal(try(f, "DeleteVolume", &in.base), RPC_OK);
    in.volume_id = weird;
    assert_int_equal(try(f, "DeleteVolume", &in.base), RPC_OK);
    assert_seen(f, "delete v-1\ndelete reallyfakevolumeid\n");
}

static void a_deletion_brings_the_secret_that_is_good_now(void **state)
{
    struct fixture *f = *state;
    Csi__V1__DeleteVolumeRequest in = CSI__V1__DELETE_VOLUME_REQUEST__INIT;
    Csi__V1__DeleteVolumeRequest__SecretsEntry entry[3], *entries[3];
    char id[] = "v-1", text[3][2][32] = {{"accessKeyID", "AK"},
                                         {"secretAccessKey", "newer"},
                                         {"endpoint", "https://s3.example.com"}};

    for (int i = 0; i < 3; i++) {
        csi__v1__delete_volume_request__secrets_entry__init(&entry[i]);
        entry[i].key = text[i][0];
        entry[i].value = text[i][1];
        entries[i] = &entry[i];
    }
    in.volume_id = id;
    in.secrets = entries;
    in.n_secrets = 3;
    assert_int_equal(try(f, "DeleteVolume", &in.base), RPC_OK);
    mutex_lock(&f->lock);
    assert_non_null(strstr(f->seen, "key=AK secret=newer\ndelete v-1\n"));
    f->seen[0] = '\0';
    mutex_unlock(&f->lock);
    in.n_secrets = 1; /* of no use: the deletion goes on all the same */
    assert_int_equal(try(f, "DeleteVolume", &in.base), RPC_OK);
    assert_seen(f, "delete v-1\n");
}

static void only_volumes_that_are_ready_are_shown(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    Csi__V1__ListVolumesRequest in = CSI__V1__LIST_VOLUMES_REQUEST__INIT;
    Csi__V1__ListVolumesResponse *out = NULL;
    Csi__V1__ControllerGetVolumeRequest get = CSI__V1__CONTROLLER_GET_VOLUME_REQUEST__INIT;
    char token[] = "after:v-0", id[] = "v-1";

    mutex_lock(&f->lock);
    f->twice = true;
    mutex_unlock(&f->lock);
    in.max_entries = 2;
    in.starting_token = token;
    assert_int_equal(call_of(f, CONTROLLER, "ListVolumes", &in.base, &out, &err), RPC_OK);
    assert_int_equal(out->n_entries, 1);
    assert_string_equal(out->entries[0]->volume->volume_id, "v-1");
    assert_string_equal(out->next_token, "after:v-2");
    rpc_message_free(out);
    assert_seen(f, "list 2 after:v-0\n");
    in.max_entries = -1;
    assert_int_equal(try(f, "ListVolumes", &in.base), RPC_INVALID_ARGUMENT);
    meta_is(f, RPC_ABORTED, STATE(READY)); /* a token that is none of the metaserver's */
    in.max_entries = 0;
    assert_int_equal(try(f, "ListVolumes", &in.base), RPC_ABORTED);
    get.volume_id = id;
    meta_is(f, RPC_OK, STATE(READY));
    assert_int_equal(try(f, "ControllerGetVolume", &get.base), RPC_OK);
    meta_is(f, RPC_OK, STATE(CREATING));
    assert_int_equal(try(f, "ControllerGetVolume", &get.base), RPC_ABORTED);
    meta_is(f, RPC_OK, STATE(DELETING));
    assert_int_equal(try(f, "ControllerGetVolume", &get.base), RPC_NOT_FOUND);
}

static void capabilities_are_confirmed_word_for_word_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    Csi__V1__ValidateVolumeCapabilitiesRequest in =
        CSI__V1__VALIDATE_VOLUME_CAPABILITIES_REQUEST__INIT;
    Csi__V1__ValidateVolumeCapabilitiesResponse *out = NULL;
    char id[] = "v-1";
    struct asked a;

    ask(&a, "unused");
    in.volume_id = id;
    assert_int_equal(try(f, "ValidateVolumeCapabilities", &in.base), RPC_INVALID_ARGUMENT);
    in.volume_capabilities = a.capabilities;
    in.n_volume_capabilities = 1;
    assert_int_equal(call_of(f, CONTROLLER, "ValidateVolumeCapabilities", &in.base, &out, &err),
                     RPC_OK);
    assert_int_equal(out->confirmed->volume_capabilities[0]->access_mode->mode,
                     MODE(MULTI_NODE_MULTI_WRITER));
    assert_string_equal(out->message, "");
    rpc_message_free(out);
    a.capability.access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE__NOT_SET;
    assert_int_equal(call_of(f, CONTROLLER, "ValidateVolumeCapabilities", &in.base, &out, &err),
                     RPC_OK);
    assert_null(out->confirmed);
    assert_true(strlen(out->message) > 0);
    rpc_message_free(out);
    meta_is(f, RPC_NOT_FOUND, STATE(READY));
    assert_int_equal(try(f, "ValidateVolumeCapabilities", &in.base), RPC_NOT_FOUND);
}

static void growing_gives_just_what_was_asked(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    Csi__V1__ControllerExpandVolumeRequest in = CSI__V1__CONTROLLER_EXPAND_VOLUME_REQUEST__INIT;
    Csi__V1__ControllerExpandVolumeResponse *out = NULL;
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    char id[] = "v-1";

    assert_int_equal(try(f, "ControllerExpandVolume", &in.base), RPC_INVALID_ARGUMENT);
    in.volume_id = id;
    assert_int_equal(try(f, "ControllerExpandVolume", &in.base), RPC_INVALID_ARGUMENT);
    range.required_bytes = -1;
    in.capacity_range = &range;
    assert_int_equal(try(f, "ControllerExpandVolume", &in.base), RPC_OUT_OF_RANGE);
    assert_seen(f, "");
    range.required_bytes = 4096;
    assert_int_equal(call_of(f, CONTROLLER, "ControllerExpandVolume", &in.base, &out, &err),
                     RPC_OK);
    assert_int_equal(out->capacity_bytes, 4096);
    assert_false(out->node_expansion_required);
    rpc_message_free(out);
    assert_seen(f, "expand v-1 4096-0\n");
}

static void capacity_is_that_of_the_store_and_none_for_what_we_cannot_do(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    Csi__V1__GetCapacityRequest in = CSI__V1__GET_CAPACITY_REQUEST__INIT;
    Csi__V1__GetCapacityRequest__ParametersEntry entry =
        CSI__V1__GET_CAPACITY_REQUEST__PARAMETERS_ENTRY__INIT;
    Csi__V1__GetCapacityRequest__ParametersEntry *parameters[] = {&entry};
    Csi__V1__GetCapacityResponse *out = NULL;
    char key[] = "store", value[] = "lab";
    struct asked a;

    ask(&a, "unused");
    entry.key = key;
    entry.value = value;
    in.parameters = parameters;
    in.n_parameters = 1;
    in.volume_capabilities = a.capabilities;
    in.n_volume_capabilities = 1;
    assert_int_equal(call_of(f, CONTROLLER, "GetCapacity", &in.base, &out, &err), RPC_OK);
    assert_true(out->available_capacity == INT64_MAX);
    assert_int_equal(out->maximum_volume_size->value, 99);
    rpc_message_free(out);
    assert_seen(f, "capacity lab\n");
    a.capability.access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE__NOT_SET;
    assert_int_equal(call_of(f, CONTROLLER, "GetCapacity", &in.base, &out, &err), RPC_OK);
    assert_int_equal(out->available_capacity, 0);
    rpc_message_free(out);
    assert_seen(f, "");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_is_not_advertised_is_unimplemented),
        T(what_is_advertised_is_what_is_served),
        T(a_volume_is_asked_for_in_the_words_of_its_class),
        T(keys_of_a_class_make_a_store_of_their_own_and_go_no_further),
        T(a_wish_that_cannot_be_met_is_refused_before_anything_is_made),
        T(no_final_code_is_given_while_a_bucket_may_exist),
        T(deleting_asks_for_any_id_that_could_be_ours),
        T(a_deletion_brings_the_secret_that_is_good_now),
        T(only_volumes_that_are_ready_are_shown),
        T(capabilities_are_confirmed_word_for_word_or_not_at_all),
        T(growing_gives_just_what_was_asked),
        T(capacity_is_that_of_the_store_and_none_for_what_we_cannot_do),
    };

    return cmocka_run_group_tests_name("controller", tests, NULL, NULL);
}
