/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h - what one mount is of, as the node plugin says it and the mounter reads it.
 *
 * Two texts go from one to the other, both as sealed memfds (mount/holder.h): the configuration,
 * without secrets, equal for equal mounts byte by byte, and the credentials.
 *
 *     {"location":"s3://bucket/prefix","memory_bytes":268435456,"meta":{...},"name":"pvc-1",
 *      "options":{...},"size_bytes":0}
 *     {"access_key":"...","secret_key":"...","session_token":"...","meta":{...}}
 *
 * The options are canonical ones of mount/options.h; endpoint, region and the like are among them.
 * No I/O; any thread. Errors: -EINVAL with err, -ENOMEM.
 */
#ifndef MOUNT_CONFIG_H
#define MOUNT_CONFIG_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mount/channel.h"
#include "mount/options.h"
#include "util/buf.h"
#include "util/error.h"

struct mount_config {
    char *location;        /* as volume/open.h has it */
    char *name;            /* of the volume, for logs and df; may be NULL */
    uint64_t size_bytes;   /* of the volume, for statfs; 0: no limit */
    uint64_t memory_bytes; /* of the mounter; 0: its default */
    struct mount_options options;
    struct mount_channel channel; /* of a managed volume */
};

#define MOUNT_CONFIG_INIT                                                                          \
    {                                                                                              \
        .location = NULL                                                                           \
    }

void mount_config_done(struct mount_config *config);
void mount_config_format(const struct mount_config *config, struct buf *out);
/* `ret` must be initialised; what it held before is freed on success. */
int mount_config_parse(const char *json, struct mount_config *ret, struct error *err)
    __attribute__((warn_unused_result));

struct mount_credentials {
    char *access_key; /* all NULL: none; requests are not signed */
    char *secret_key;
    char *session_token; /* or NULL */
};

/* Overwrites what it frees. */
void mount_credentials_done(struct mount_credentials *credentials);
/* The caller overwrites out's bytes when it is done with them. `ticket`: NULL, or goes with them.
 */
void mount_secrets_format(const struct mount_credentials *credentials,
                          const struct mount_ticket *ticket, struct buf *out);
void mount_credentials_format(const struct mount_credentials *credentials, struct buf *out);
/* accessKeyID, AWS_ACCESS_KEY_ID and access-key-id are one word: small letters, nothing else. */
enum { MOUNT_WORD_MAX = 63 };
void mount_key_word(const char *key, char ret[MOUNT_WORD_MAX + 1]);

/*
 * One member of a Secret or credentials file in any of its spellings: accessKeyID,
 * AWS_ACCESS_KEY_ID, access-key-id and access_key are one. `beside_key_id`: there is a key_id too,
 * then access_key is the secret one. 1: taken; 0: it is none of the three, or empty; -ENOMEM.
 */
int mount_credentials_take(struct mount_credentials *credentials, const char *key,
                           const char *value, bool beside_key_id)
    __attribute__((warn_unused_result));

/* All strings of a JSON object by that; what is unknown is left alone. -EINVAL: half a pair. */
int mount_credentials_read(const cJSON *object, struct mount_credentials *ret, struct error *err)
    __attribute__((warn_unused_result));

/* The same from text; an empty one has none. Error texts never hold what was there. */
int mount_credentials_parse(const char *json, struct mount_credentials *ret, struct error *err)
    __attribute__((warn_unused_result));

#endif
