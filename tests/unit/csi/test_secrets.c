/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "csi.pb-c.h"
#include "csi/secrets.h"
#include "rpc/redact.h"
#include "skyvol/meta/v1/meta.pb-c.h"
#include "test.h"
#include "util/buf.h"
#include "util/cleanup.h"

/* Every message of the API that holds secrets: a field `secrets` must never be without its mark. */
static void each_field_named_secrets_is_marked(UNUSED void **state)
{
    static const ProtobufCServiceDescriptor *const services[] = {
        &csi__v1__identity__descriptor, &csi__v1__controller__descriptor,
        &csi__v1__group_controller__descriptor, &csi__v1__snapshot_metadata__descriptor,
        &csi__v1__node__descriptor};
    unsigned found = 0;

    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        for (unsigned j = 0; j < services[i]->n_methods; j++) {
            const ProtobufCMessageDescriptor *in = services[i]->methods[j].input;

            if (protobuf_c_message_descriptor_get_field_by_name(in, "secrets") != NULL) {
                assert_true(rpc_redact_is_secret(in->name, "secrets"));
                assert_true(rpc_redact_check(in));
                found++;
            }
        }
    }
    assert_int_equal(found, 19);
}

/* Fields of skyvol-meta's messages whose name says that they are secret, however deep. */
static unsigned check_message(const ProtobufCMessageDescriptor *type, unsigned depth)
{
    static const char *const words[] = {"access_key", "secret", "_token"};
    unsigned found = 0;

    for (unsigned i = 0; i < type->n_fields && depth > 0; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];

        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            found += check_message(field->descriptor, depth - 1);
            continue;
        }
        for (size_t j = 0; j < sizeof(words) / sizeof(words[0]); j++) {
            if (strstr(field->name, words[j]) != NULL && strcmp(field->name, "next_token") != 0) {
                assert_true(rpc_redact_is_secret(type->name, field->name));
                assert_true(rpc_redact_check(type));
                found++;
                break;
            }
        }
    }
    return found;
}

static void the_metaservers_keys_and_tokens_are_marked_too(UNUSED void **state)
{
    static const ProtobufCServiceDescriptor *const services[] = {
        &skyvol__meta__v1__stores__descriptor,    &skyvol__meta__v1__volumes__descriptor,
        &skyvol__meta__v1__sessions__descriptor,  &skyvol__meta__v1__leases__descriptor,
        &skyvol__meta__v1__namespace__descriptor, &skyvol__meta__v1__feed__descriptor,
        &skyvol__meta__v1__placement__descriptor, &skyvol__meta__v1__admin__descriptor};
    unsigned found = 0;

    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        for (unsigned j = 0; j < services[i]->n_methods; j++) {
            found += check_message(services[i]->methods[j].input, 4);
            found += check_message(services[i]->methods[j].output, 4);
        }
    }
    /* AddStore, AttachVolume both ways, OpenSession, FetchCredentials */
    assert_int_equal(found, 3 + 1 + 3 + 1 + 1 + 3);
}

static void a_logged_request_shows_no_secret(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
    Csi__V1__NodePublishVolumeRequest in = CSI__V1__NODE_PUBLISH_VOLUME_REQUEST__INIT;
    Csi__V1__VolumeCapability capability = CSI__V1__VOLUME_CAPABILITY__INIT;
    Csi__V1__VolumeCapability__MountVolume mount = CSI__V1__VOLUME_CAPABILITY__MOUNT_VOLUME__INIT;
    Csi__V1__NodePublishVolumeRequest__SecretsEntry secret =
        CSI__V1__NODE_PUBLISH_VOLUME_REQUEST__SECRETS_ENTRY__INIT;
    Csi__V1__NodePublishVolumeRequest__SecretsEntry *secrets[] = {&secret};
    Csi__V1__NodePublishVolumeRequest__VolumeContextEntry token =
        CSI__V1__NODE_PUBLISH_VOLUME_REQUEST__VOLUME_CONTEXT_ENTRY__INIT;
    Csi__V1__NodePublishVolumeRequest__VolumeContextEntry *context[] = {&token};
    char flag[] = "hidden-flag", volume[] = "vol-1";
    char *flags[] = {flag};
    char key[] = "secretAccessKey", value[] = "hidden-key";
    char token_key[] = CSI_TOKENS_KEY, token_value[] = "hidden-token";

    in.volume_id = volume;
    mount.n_mount_flags = 1;
    mount.mount_flags = flags;
    capability.access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT;
    capability.mount = &mount;
    in.volume_capability = &capability;
    secret.key = key;
    secret.value = value;
    in.n_secrets = 1;
    in.secrets = secrets;
    token.key = token_key;
    token.value = token_value;
    in.n_volume_context = 1;
    in.volume_context = context;
    rpc_redact_text(&text, &in.base);
    assert_int_equal(buf_error(&text), 0);
    assert_non_null(strstr(buf_str(&text), "vol-1"));
    assert_null(strstr(buf_str(&text), "hidden"));
}

static int init(UNUSED void **state)
{
    return csi_secrets_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_named_secrets_is_marked),
        cmocka_unit_test(the_metaservers_keys_and_tokens_are_marked_too),
        cmocka_unit_test(a_logged_request_shows_no_secret),
    };

    return cmocka_run_group_tests_name("secrets", tests, init, NULL);
}
