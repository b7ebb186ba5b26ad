/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta.h - calls of skyvol-meta's Volumes and Stores services from a CSI handler.
 *
 * A failure is passed on to the caller of the CSI method: the metaserver's code and text, except
 * that what may succeed later (no connection, INTERNAL) becomes UNAVAILABLE, for a provisioner
 * forgets a volume after any final code although its bucket may exist.
 */
#ifndef CSI_META_H
#define CSI_META_H

#include <stddef.h>

#include "rpc/call.h"
#include "rpc/client.h"
#include "skyvol/meta/v1/meta.pb-c.h"
#include "util/cleanup.h"

struct csi_meta {
    struct rpc_client *client; /* NULL: no metaserver is configured */
    uint64_t timeout_ms;       /* at most this long, however long the caller waits */
    /* How it is reached, for those who are to reach it themselves: as given at the start. */
    const char *address, *server_name;
    const char *ca_file, *cert_file, *key_file; /* NULL: no TLS */
};

/*
 * Call and wait, at most as long as `call`'s caller does. On success *ret is to be freed by
 * rpc_message_free(). The returned errno value is for `return`: code and text of the answer are
 * fixed already.
 */
int csi_meta_call(const struct csi_meta *meta, struct rpc_call *call,
                  const ProtobufCServiceDescriptor *service, const char *method,
                  const ProtobufCMessage *message, void *ret) __attribute__((warn_unused_result));

/* The volume, if it is ready: else NOT_FOUND, or ABORTED while it is being made. */
int csi_meta_volume(const struct csi_meta *meta, struct rpc_call *call, const char *id,
                    Skyvol__Meta__V1__GetVolumeResponse **ret) __attribute__((warn_unused_result));

/* rpc_message_free() for CLEANUP(). */
static inline void csi_meta_free(void *reply)
{
    void *message;

    __builtin_memcpy(&message, reply, sizeof(message));
    rpc_message_free(message);
}

#endif
