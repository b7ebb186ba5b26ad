/* SPDX-License-Identifier: Apache-2.0 */
/* asked.h - a CreateVolume request with all it points to, built word by word. */
#ifndef TESTS_UNIT_CONTROLLER_ASKED_H
#define TESTS_UNIT_CONTROLLER_ASKED_H

#include "test.h"

#include <string.h>

#include "csi.pb-c.h"

#define MODE(name) CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__##name

/* A request for a mount that any node may write. */
struct asked {
    Csi__V1__CreateVolumeRequest in;
    Csi__V1__VolumeCapability capability, *capabilities[1];
    Csi__V1__VolumeCapability__MountVolume mount;
    Csi__V1__VolumeCapability__AccessMode mode;
    Csi__V1__CapacityRange range;
    Csi__V1__CreateVolumeRequest__ParametersEntry parameter[8], *parameters[8];
    Csi__V1__CreateVolumeRequest__SecretsEntry secret[8], *secrets[8];
    char text[2048];
    size_t used;
};

static inline char *keep(struct asked *a, const char *text)
{
    char *at = a->text + a->used;

    assert_true(a->used + strlen(text) < sizeof(a->text));
    memcpy(at, text, strlen(text) + 1);
    a->used += strlen(text) + 1;
    return at;
}

static inline void ask(struct asked *a, const char *name)
{
    memset(a, 0, sizeof(*a));
    csi__v1__create_volume_request__init(&a->in);
    csi__v1__volume_capability__init(&a->capability);
    csi__v1__volume_capability__mount_volume__init(&a->mount);
    csi__v1__volume_capability__access_mode__init(&a->mode);
    csi__v1__capacity_range__init(&a->range);
    a->mode.mode = MODE(MULTI_NODE_MULTI_WRITER);
    a->capability.access_mode = &a->mode;
    a->capability.access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT;
    a->capability.mount = &a->mount;
    a->capabilities[0] = &a->capability;
    a->in.name = keep(a, name);
    a->in.volume_capabilities = a->capabilities;
    a->in.n_volume_capabilities = 1;
    a->in.parameters = a->parameters;
    a->in.secrets = a->secrets;
}

static inline void ask_parameter(struct asked *a, const char *key, const char *value)
{
    Csi__V1__CreateVolumeRequest__ParametersEntry *entry = &a->parameter[a->in.n_parameters];

    csi__v1__create_volume_request__parameters_entry__init(entry);
    entry->key = keep(a, key);
    entry->value = keep(a, value);
    a->parameters[a->in.n_parameters++] = entry;
}

static inline void ask_secret(struct asked *a, const char *key, const char *value)
{
    Csi__V1__CreateVolumeRequest__SecretsEntry *entry = &a->secret[a->in.n_secrets];

    csi__v1__create_volume_request__secrets_entry__init(entry);
    entry->key = keep(a, key);
    entry->value = keep(a, value);
    a->secrets[a->in.n_secrets++] = entry;
}

#endif
