/* SPDX-License-Identifier: Apache-2.0 */
#include "metaserver/meta.h"

#include <string.h>

int meta_start(struct meta *meta, struct error *err)
{
    int ret = 0;

    mutex_init(&meta->lock);
    cond_init(&meta->changed);
    while (ret == 0 && meta->reaper_count < META_REAPERS) {
        ret = -pthread_create(&meta->reapers[meta->reaper_count], NULL, reaper_main, meta);
        meta->reaper_count += ret == 0;
    }
    ret = ret == 0 ? temporary_start(meta) : ret;
    ret = ret == 0 ? sessions_start(meta) : ret;
    if (ret != 0) {
        meta_stop(meta);
    }
    return ret != 0 ? error_set(err, ret, "cannot start a thread") : 0;
}

void meta_stop(struct meta *meta)
{
    mutex_lock(&meta->lock);
    meta->ending = true;
    cond_broadcast(&meta->changed);
    mutex_unlock(&meta->lock);
    while (meta->reaper_count > 0) {
        (void)pthread_join(meta->reapers[--meta->reaper_count], NULL);
    }
    sessions_stop(meta);
    temporary_stop(meta);
    for (int i = 0; i < META_STORES_MAX; i++) {
        objstore_free(meta->stores[i].store);
        meta->stores[i].store = NULL;
    }
    cond_done(&meta->changed);
    mutex_done(&meta->lock);
}

/* Services whose methods are in the protocol and not here yet: all answer UNIMPLEMENTED. */
static const ProtobufCServiceDescriptor *const later[] = {
    &skyvol__meta__v1__feed__descriptor,
    &skyvol__meta__v1__placement__descriptor,
};

int meta_serve(struct meta *meta, struct rpc_server *server, struct error *err)
{
    const struct rpc_service services[] = {
        {.descriptor = &skyvol__meta__v1__stores__descriptor,
         .methods = meta_store_methods,
         .method_count = sizeof(meta_store_methods) / sizeof(meta_store_methods[0]),
         .context = meta},
        {.descriptor = &skyvol__meta__v1__access_keys__descriptor,
         .methods = meta_key_methods,
         .method_count = sizeof(meta_key_methods) / sizeof(meta_key_methods[0]),
         .context = meta},
        {.descriptor = &skyvol__meta__v1__volumes__descriptor,
         .methods = meta_volume_methods,
         .method_count = sizeof(meta_volume_methods) / sizeof(meta_volume_methods[0]),
         .context = meta},
        {.descriptor = &skyvol__meta__v1__sessions__descriptor,
         .methods = meta_session_methods,
         .method_count = sizeof(meta_session_methods) / sizeof(meta_session_methods[0]),
         .context = meta},
        {.descriptor = &skyvol__meta__v1__leases__descriptor,
         .methods = meta_lease_methods,
         .method_count = sizeof(meta_lease_methods) / sizeof(meta_lease_methods[0]),
         .context = meta},
        {.descriptor = &skyvol__meta__v1__namespace__descriptor,
         .methods = meta_namespace_methods,
         .method_count = sizeof(meta_namespace_methods) / sizeof(meta_namespace_methods[0]),
         .context = meta},
        {.descriptor = &skyvol__meta__v1__admin__descriptor,
         .methods = meta_admin_methods,
         .method_count = sizeof(meta_admin_methods) / sizeof(meta_admin_methods[0]),
         .context = meta},
    };
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < sizeof(services) / sizeof(services[0]); i++) {
        struct rpc_service service = services[i];

        service.allow = meta_allow;
        ret = rpc_server_add(server, &service, err);
    }
    for (size_t i = 0; ret == 0 && i < sizeof(later) / sizeof(later[0]); i++) {
        const struct rpc_service none = {
            .descriptor = later[i], .allow = meta_allow, .context = meta};

        ret = rpc_server_add(server, &none, err);
    }
    return ret;
}
