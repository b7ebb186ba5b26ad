/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel.h - how a mounter reaches the metaserver of a managed volume, as the node plugin (or
 * skyvolctl mount) says it.
 *
 * Two parts, as with mount/config.h: the channel stands in the configuration under "meta", the
 * ticket, which is secret, in the credentials, under "meta" there:
 *
 *     "meta":{"address":"meta:9000","exclusive":false,"mount":"vab12","name":"","node":"n1",
 *             "volume":"v-..."}
 *     "meta":{"ca":"-----BEGIN...","cert":"...","key":"...","token":"..."}
 *
 * A person's own mount gets both in one sealed text. No I/O; any thread. Errors: -EINVAL, -ENOMEM.
 */
#ifndef MOUNT_CHANNEL_H
#define MOUNT_CHANNEL_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "util/buf.h"

/* All NULL: the volume is not managed. */
struct mount_channel {
    char *address;     /* of skyvol-meta, as rpc/client.h has it */
    char *server_name; /* in its certificate; NULL: the address's host */
    char *volume;      /* its id */
    char *node;        /* that the token is for */
    char *mount;       /* names the mount on the node */
    bool exclusive;    /* a single-node access mode */
};

void mount_channel_done(struct mount_channel *channel);
/* The object, or nothing when the volume is not managed. */
void mount_channel_format(const struct mount_channel *channel, struct buf *out);
/* `json` may be NULL. `ret` is overwritten, and has nothing on failure. */
int mount_channel_read(const cJSON *json, struct mount_channel *ret)
    __attribute__((warn_unused_result));

struct mount_ticket {
    char *token; /* of AttachVolume */
    char *ca;    /* PEM texts; all NULL: no TLS */
    char *cert;
    char *key;
};

#define MOUNT_TICKET_INIT                                                                          \
    {                                                                                              \
        .token = NULL                                                                              \
    }

/* Overwrites what it frees. */
void mount_ticket_done(struct mount_ticket *ticket);
/* The object, or nothing when there is no token. The caller overwrites the bytes. */
void mount_ticket_format(const struct mount_ticket *ticket, struct buf *out);
int mount_ticket_read(const cJSON *json, struct mount_ticket *ret)
    __attribute__((warn_unused_result));
/* From the text of the credentials: its member "meta", if it has one. */
int mount_ticket_parse(const char *credentials, struct mount_ticket *ret)
    __attribute__((warn_unused_result));

/* Overwrites every text in it, at any depth (4 at most), and frees it. NULL is allowed. */
void mount_json_wipe(cJSON *json);

#endif
