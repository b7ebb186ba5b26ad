/* SPDX-License-Identifier: Apache-2.0 */
/* skyvolctl store, volume, backup and rebuild against a server that answers as skyvol-meta does. */
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <skyvol/meta/v1/meta.pb-c.h>

#include "cli/command.h"
#include "cli/meta.h"
#include "csi/secrets.h"
#include "rpc/server.h"
#include "util/file.h"
#include "util/mutex.h"

struct fixture {
    char dir[64];
    char address[96];
    char file[96];
    char meta[128]; /* --meta=ADDRESS */
    struct rpc_server *server;
    char secret[32];
    char key[64];
    uint64_t size;
    int deletes;
    int pages;
};

static int add_store(struct rpc_call *call, const ProtobufCMessage *request,
                     ProtobufCMessage *reply, struct error *err UNUSED)
{
    struct fixture *f = rpc_call_context(call);
    const Skyvol__Meta__V1__AddStoreRequest *in = (const void *)request;
    Skyvol__Meta__V1__AddStoreResponse *out = (void *)reply;

    mutex_lock(&seen);
    (void)snprintf(f->key, sizeof(f->key), "%s", in->idempotency_key);
    if (in->credentials != NULL) {
        (void)snprintf(f->secret, sizeof(f->secret), "%s", in->credentials->secret_key);
    }
    mutex_unlock(&seen);
    out->store = in->store;
    return 0;
}

static int create_volume(struct rpc_call *call, const ProtobufCMessage *request,
                         ProtobufCMessage *reply, struct error *err UNUSED)
{
    struct fixture *f = rpc_call_context(call);
    const Skyvol__Meta__V1__CreateVolumeRequest *in = (const void *)request;
    Skyvol__Meta__V1__CreateVolumeResponse *out = (void *)reply;

    mutex_lock(&seen);
    f->size = in->required_bytes;
    mutex_unlock(&seen);
    out->volume = rpc_call_message(call, &skyvol__meta__v1__volume__descriptor);
    out->volume->id = rpc_call_strdup(call, "v-1");
    out->volume->name = in->name;
    out->volume->state = SKYVOL__META__V1__VOLUME_STATE__VOLUME_READY;
    return 0;
}

static int get_volume(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err)
{
    const Skyvol__Meta__V1__GetVolumeRequest *in = (const void *)request;
    Skyvol__Meta__V1__GetVolumeResponse *out = (void *)reply;

    if (strcmp(in->id, "v-1") != 0 && strcmp(in->name, "mine") != 0) {
        return error_set(err, -ENOENT, "no such volume");
    }
    out->volume = rpc_call_message(call, &skyvol__meta__v1__volume__descriptor);
    out->volume->id = rpc_call_strdup(call, "v-1");
    out->volume->state = SKYVOL__META__V1__VOLUME_STATE__VOLUME_DELETING;
    out->volume->objects_deleted = 5;
    return 0;
}

static int delete_volume(struct rpc_call *call, const ProtobufCMessage *request,
                         ProtobufCMessage *reply UNUSED, struct error *err)
{
    struct fixture *f = rpc_call_context(call);
    const Skyvol__Meta__V1__DeleteVolumeRequest *in = (const void *)request;
    int n;

    assert_string_equal(in->id, "v-1");
    mutex_lock(&seen);
    n = ++f->deletes;
    mutex_unlock(&seen);
    return n < 3 ? error_set(err, -EAGAIN, "5 of 9 objects deleted") : 0;
}

static int list_volumes(struct rpc_call *call, const ProtobufCMessage *request,
                        ProtobufCMessage *reply, struct error *err UNUSED)
{
    struct fixture *f = rpc_call_context(call);
    const Skyvol__Meta__V1__ListVolumesRequest *in = (const void *)request;
    Skyvol__Meta__V1__ListVolumesResponse *out = (void *)reply;
    int n;

    mutex_lock(&seen);
    n = ++f->pages;
    mutex_unlock(&seen);
    out->n_volumes = 1;
    out->volumes = rpc_call_alloc(call, sizeof(*out->volumes));
    out->volumes[0] = rpc_call_message(call, &skyvol__meta__v1__volume__descriptor);
    out->volumes[0]->id = rpc_call_printf(call, "v-%d", n);
    if (in->token[0] == '\0') {
        out->next_token = rpc_call_strdup(call, "more");
    }
    return 0;
}

static void add_service(struct fixture *f, const ProtobufCServiceDescriptor *descriptor,
                        const struct rpc_method *methods, size_t count)
{
    struct error err = ERROR_INIT;

    assert_int_equal(rpc_server_add(f->server,
                                    &(struct rpc_service){.descriptor = descriptor,
                                                          .methods = methods,
                                                          .method_count = count,
                                                          .context = f},
                                    &err),
                     0);
}

static int setup(void **state)
{
    static const struct rpc_method stores[] = {{.name = "AddStore", .unary = add_store}};
    static const struct rpc_method volumes[] = {
        {.name = "CreateVolume", .unary = create_volume},
        {.name = "GetVolume", .unary = get_volume},
        {.name = "DeleteVolume", .unary = delete_volume},
        {.name = "ListVolumes", .unary = list_volumes},
    };
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/cli-meta-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->address, sizeof(f->address), "unix:%s/s", f->dir);
    (void)snprintf(f->meta, sizeof(f->meta), "--meta=%s", f->address);
    (void)snprintf(f->file, sizeof(f->file), "%s/f", f->dir);
    assert_int_equal(
        rpc_server_new(
            &(struct rpc_server_config){.listen = (const char *const[]){f->address, NULL}},
            &f->server, &err),
        0);
    add_service(f, &skyvol__meta__v1__stores__descriptor, stores, 1);
    add_service(f, &skyvol__meta__v1__volumes__descriptor, volumes, 4);
    assert_int_equal(rpc_server_start(f->server, &err), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(rpc_server_drain(f->server, 1000), 0);
    rpc_server_free(f->server);
    (void)unlink(f->file);
    (void)unlink(f->address + 5);
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static int run(const char *const *words)
{
    const struct command below[] = {command_store, command_volume, command_backup, command_rebuild};

    return run_words(below, sizeof(below) / sizeof(below[0]), words);
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void a_store_is_added_with_keys_from_a_file(void **state)
{
    static const char keys[] = "{\"accessKeyID\": \"a\", \"secretAccessKey\": \"hidden\"}";
    struct fixture *f = *state;

    assert_int_equal(file_replace(f->file, keys, strlen(keys), 0600), 0);
    assert_int_equal(RUN("store", "add", f->meta, "lab", "s3://", "--endpoint=http://127.0.0.1:1",
                         "--credentials-file", f->file),
                     EXIT_DONE);
    assert_string_equal(f->secret, "hidden");
    assert_int_equal(strlen(f->key), 32);
    assert_int_equal(chmod(f->file, 0644), 0); /* as skyvol-s3 refuses it */
    assert_int_equal(RUN("store", "add", f->meta, "lab", "s3://", "--credentials-file", f->file),
                     EXIT_FAILED);
    assert_int_equal(file_replace(f->file, "{\"accessKey\": \"a\"}", 18, 0600), 0);
    assert_int_equal(RUN("store", "add", f->meta, "lab", "s3://", "--credentials-file", f->file),
                     EXIT_FAILED);
    assert_int_equal(RUN("store", "list", f->meta), EXIT_FAILED); /* UNIMPLEMENTED here */
    assert_int_equal(RUN("store", "add", f->meta, "lab"), EXIT_USAGE);
}

static void a_volume_is_created_listed_and_shown(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(RUN("volume", "create", f->meta, "mine", "--size=2GiB"), EXIT_DONE);
    assert_true(f->size == 2ULL << 30);
    assert_int_equal(RUN("volume", "list", f->meta, "--json"), EXIT_DONE);
    assert_int_equal(f->pages, 2);
    assert_int_equal(RUN("volume", "show", f->meta, "mine"), EXIT_DONE);
    assert_int_equal(RUN("volume", "show", f->meta, "other"), EXIT_FAILED);
}

static void deleting_asks_again_until_the_volume_is_gone(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(RUN("volume", "delete", f->meta, "mine", "--yes"), EXIT_DONE);
    assert_int_equal(f->deletes, 3);
    mutex_lock(&seen);
    f->deletes = 0;
    mutex_unlock(&seen);
    assert_int_equal(RUN("volume", "delete", f->meta, "v-1", "--wait=0", "--yes"), EXIT_FAILED);
    assert_int_equal(f->deletes, 1);
}

static void what_the_server_has_not_yet_is_told(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(RUN("backup", f->meta, "/tmp/x"), EXIT_FAILED);
    assert_int_equal(RUN("rebuild", f->meta, "lab"), EXIT_FAILED);
    assert_int_equal(RUN("rebuild", f->meta), EXIT_USAGE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_store_is_added_with_keys_from_a_file),
        TEST(a_volume_is_created_listed_and_shown),
        TEST(deleting_asks_again_until_the_volume_is_gone),
        TEST(what_the_server_has_not_yet_is_told),
    };

    mutex_init(&seen);
    if (csi_secrets_init() < 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
