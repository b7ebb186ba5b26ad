/* SPDX-License-Identifier: Apache-2.0 */
/* skyvolctl csi against a server that answers as a driver would. */
#include "run.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <csi.pb-c.h>

#include "cli/call.h"
#include "cli/command.h"
#include "cli/output.h"
#include "csi/secrets.h"
#include "rpc/server.h"
#include "util/file.h"
#include "util/mutex.h"

struct fixture {
    char dir[64];
    char address[96];
    char file[96];
    struct rpc_server *server;
    struct call_options options;
    char seen_secret[64];
    char seen_token[64];
};

static int info(struct rpc_call *call, const ProtobufCMessage *request UNUSED,
                ProtobufCMessage *reply, struct error *err UNUSED)
{
    struct fixture *f = rpc_call_context(call);
    Csi__V1__GetPluginInfoResponse *out = (void *)reply;
    const char *token = rpc_call_metadata(call, "authorization");

    mutex_lock(&seen);
    (void)snprintf(f->seen_token, sizeof(f->seen_token), "%s", token != NULL ? token : "");
    mutex_unlock(&seen);
    out->name = rpc_call_strdup(call, "csi.example");
    out->vendor_version = rpc_call_strdup(call, "1.2.3");
    return 0;
}

static int create(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                  struct error *err)
{
    struct fixture *f = rpc_call_context(call);
    const Csi__V1__CreateVolumeRequest *in = (const void *)request;
    Csi__V1__CreateVolumeResponse *out = (void *)reply;

    if (in->n_volume_capabilities != 1 || in->capacity_range == NULL) {
        return error_set(err, -EINVAL, "capabilities or range are missing");
    }
    if (in->n_secrets > 0) {
        mutex_lock(&seen);
        (void)snprintf(f->seen_secret, sizeof(f->seen_secret), "%s", in->secrets[0]->value);
        mutex_unlock(&seen);
    }
    out->volume = rpc_call_message(call, &csi__v1__volume__descriptor);
    out->volume->volume_id = rpc_call_printf(call, "id-%s", in->name);
    out->volume->capacity_bytes = in->capacity_range->required_bytes;
    return 0;
}

static int setup(void **state)
{
    static const struct rpc_method identity[] = {{.name = "GetPluginInfo", .unary = info}};
    static const struct rpc_method controller[] = {{.name = "CreateVolume", .unary = create}};
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/cli-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->address, sizeof(f->address), "unix:%s/s", f->dir);
    (void)snprintf(f->file, sizeof(f->file), "%s/f", f->dir);
    f->options.timeout_ms = 20000;
    assert_int_equal(
        rpc_server_new(
            &(struct rpc_server_config){.listen = (const char *const[]){f->address, NULL}},
            &f->server, &err),
        0);
    assert_int_equal(
        rpc_server_add(f->server,
                       &(struct rpc_service){.descriptor = &csi__v1__identity__descriptor,
                                             .methods = identity,
                                             .method_count = 1,
                                             .context = f},
                       &err),
        0);
    assert_int_equal(
        rpc_server_add(f->server,
                       &(struct rpc_service){.descriptor = &csi__v1__controller__descriptor,
                                             .methods = controller,
                                             .method_count = 1,
                                             .context = f},
                       &err),
        0);
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

static void a_call_goes_in_and_comes_out_as_json(void **state)
{
    struct fixture *f = *state;
    struct call call = {.address = f->address + 5, /* a plain path */
                        .options = &f->options,
                        .service = &csi__v1__identity__descriptor,
                        .method = "GetPluginInfo"};
    struct error err = ERROR_INIT;
    cJSON *reply = NULL;
    char *text;

    assert_int_equal(file_replace(f->file, "abc\n", 4, 0600), 0);
    f->options.token_file = f->file;
    assert_int_equal(call_json(&call, &reply, &err), 0);
    settle();
    text = cJSON_PrintUnformatted(reply);
    assert_string_equal(text, "{\"name\":\"csi.example\",\"vendorVersion\":\"1.2.3\"}");
    assert_string_equal(f->seen_token, "Bearer abc");
    cJSON_free(text);
    cJSON_Delete(reply);
}

static void errors_begin_with_the_code(void **state)
{
    struct fixture *f = *state;
    struct call call = {.address = f->address,
                        .options = &f->options,
                        .service = &csi__v1__controller__descriptor,
                        .method = "CreateVolume"};
    struct error err = ERROR_INIT;
    cJSON *reply = NULL;

    assert_int_equal(call_json(&call, &reply, &err), -EINVAL);
    assert_string_equal(err.text, "INVALID_ARGUMENT: capabilities or range are missing");
    call.method = "DeleteVolume";
    assert_int_equal(call_json(&call, &reply, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "UNIMPLEMENTED: "));
    call.method = "NoSuch";
    assert_int_equal(call_json(&call, &reply, &err), -EINVAL);
    f->options.ca = f->file;
    call.method = "DeleteVolume";
    assert_int_equal(call_json(&call, &reply, &err), -EINVAL);
    assert_string_equal(err.text, "mTLS needs all of --tls-ca-file, "
                                  "--tls-cert-file and --tls-key-file");
}

static int run(const char *const *words)
{
    return run_words(&command_csi, 1, words);
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void friendly_commands_build_the_request(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(file_replace(f->file, "{\"k\": \"hidden\"}", 15, 0600), 0);
    assert_int_equal(RUN("csi", "create", f->address, "v1", "--size=1GiB", "--parameter", "a=b",
                         "--secrets-file", f->file),
                     EXIT_DONE);
    assert_string_equal(f->seen_secret, "hidden");
    assert_int_equal(RUN("csi", "create", f->address, "v1"), EXIT_FAILED);
    assert_int_equal(RUN("csi", "info", f->address), EXIT_DONE);
    assert_int_equal(RUN("csi", "call", f->address, "Identity.GetPluginInfo"), EXIT_DONE);
    assert_int_equal(RUN("csi", "call", f->address, "csi.v1.Identity/GetPluginInfo", "{}"),
                     EXIT_DONE);
    assert_int_equal(RUN("csi", "call", f->address, "GetPluginInfo", "{"), EXIT_FAILED);
    assert_int_equal(RUN("csi", "call", f->address, "Nothing"), EXIT_FAILED);
    assert_int_equal(RUN("csi", "create", f->address), EXIT_USAGE);
    assert_int_equal(RUN("csi", "nonsense"), EXIT_USAGE);
    assert_int_equal(RUN("csi", "services"), EXIT_DONE);
}

static void secrets_in_arguments_are_refused(void **state)
{
    struct fixture *f = *state;

    mutex_lock(&seen);
    f->seen_secret[0] = '\0';
    mutex_unlock(&seen);
    assert_int_equal(RUN("csi", "call", f->address, "CreateVolume",
                         "{\"name\":\"v\",\"capacityRange\":{},\"volumeCapabilities\":[{}],"
                         "\"secrets\":{\"k\":\"v\"}}"),
                     EXIT_FAILED);
    assert_string_equal(f->seen_secret, "");
    assert_int_equal(RUN("csi", "call", f->address, "NodePublishVolume",
                         "{\"volumeContext\":{\"" CSI_TOKENS_KEY "\":\"t\"}}"),
                     EXIT_FAILED);
}

static void tables_are_aligned_by_characters(void **state UNUSED)
{
    struct table table = TABLE_INIT("NAME", "SIZE");
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    char size[32];

    assert_non_null(out);
    output_bytes(1536, size, sizeof(size));
    assert_int_equal(table_row(&table, "h\xc3\xa4llo", size), 0);
    output_bytes(UINT64_MAX, size, sizeof(size));
    assert_int_equal(table_row(&table, NULL, size), 0);
    table_print(&table, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "NAME   SIZE\nh\xc3\xa4llo  1.5 KiB\n-      16.0 EiB\n");
    free(text);
    table_done(&table);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_call_goes_in_and_comes_out_as_json),         TEST(errors_begin_with_the_code),
        TEST(friendly_commands_build_the_request),          TEST(secrets_in_arguments_are_refused),
        cmocka_unit_test(tables_are_aligned_by_characters),
    };

    mutex_init(&seen);
    if (csi_secrets_init() < 0) {
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
