/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/secrets.h"

#include <stddef.h>

#include "rpc/redact.h"

struct secret_field {
    const char *message;
    const char *field;
};

static const struct secret_field secret_fields[] = {
#define SECRET_FIELD(message_, field_) {.message = (message_), .field = (field_)},
#include "secret_fields.h"
#undef SECRET_FIELD
    {.message = "csi.v1.VolumeCapability.MountVolume", .field = "mount_flags"},
};

static const char *const with_context[] = {
    "csi.v1.NodeStageVolumeRequest",
    "csi.v1.NodePublishVolumeRequest",
};

int csi_secrets_init(void)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < sizeof(secret_fields) / sizeof(secret_fields[0]); i++) {
        r = rpc_redact_add(secret_fields[i].message, secret_fields[i].field);
    }
    for (size_t i = 0; r == 0 && i < sizeof(with_context) / sizeof(with_context[0]); i++) {
        r = rpc_redact_add_key(with_context[i], "volume_context", CSI_TOKENS_KEY);
    }
    return r;
}
