/* SPDX-License-Identifier: Apache-2.0 */
/*
 * controller.h - the CSI Controller and GroupController services on top of skyvol-meta.
 *
 * Stateless: each call checks its arguments, asks the metaserver and translates the answer, so any
 * number of replicas may run and a restart loses nothing. What is not advertised answers
 * UNIMPLEMENTED.
 */
#ifndef CSI_CONTROLLER_CONTROLLER_H
#define CSI_CONTROLLER_CONTROLLER_H

#include "csi.pb-c.h"
#include "csi/meta.h"
#include "csi/source.h"
#include "rpc/server.h"

struct controller {
    struct csi_meta meta;
    struct csi_policy policy; /* of endpoints in Secrets of StorageClasses */
};

/* `controller` must outlive the server. */
int controller_add(struct rpc_server *server, struct controller *controller, struct error *err)
    __attribute__((warn_unused_result));

/* volumes.c, listing.c: the handlers. */
int controller_create(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err);
int controller_delete(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err);
int controller_expand(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err);
int controller_get(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                   struct error *err);
int controller_list(struct rpc_call *call, const ProtobufCMessage *request, ProtobufCMessage *reply,
                    struct error *err);
int controller_validate(struct rpc_call *call, const ProtobufCMessage *request,
                        ProtobufCMessage *reply, struct error *err);

/* The metaserver's volume in CSI's words, of the call's memory; NULL: out of memory. */
Csi__V1__Volume *controller_volume(struct rpc_call *call, const Skyvol__Meta__V1__Volume *volume);

#endif
