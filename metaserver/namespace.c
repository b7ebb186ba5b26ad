/* SPDX-License-Identifier: Apache-2.0 */
/* Facts of a volume's namespace: attributes of objects by their version. */
#include <errno.h>
#include <string.h>

#include "metaserver/meta.h"
#include "objstore/objstore.h"

enum { OBJECTS_MAX = 1000, PACKED_MAX = 4096 };

static int check_key(const char *key, struct error *err)
{
    return key[0] == '\0' || strlen(key) > OBJSTORE_KEY_MAX
               ? error_set(err, -EINVAL, "keys have 1 to %d bytes", OBJSTORE_KEY_MAX)
               : 0;
}

static int set_attributes(struct rpc_call *call, const ProtobufCMessage *request,
                          ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__SetAttributesRequest *in = (const void *)request;
    struct live_session session;
    struct fact *facts;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    (void)reply;
    if (r == 0 && in->n_objects > OBJECTS_MAX) {
        r = error_set(err, -EINVAL, "at most %d objects at a time", OBJECTS_MAX);
    }
    facts = r == 0 ? rpc_call_alloc(call, (in->n_objects + 1) * sizeof(*facts)) : NULL;
    r = r == 0 && facts == NULL ? -ENOMEM : r;
    for (size_t i = 0; r == 0 && i < in->n_objects; i++) {
        const Skyvol__Meta__V1__ObjectAttributes *o = in->objects[i];

        r = check_key(o->key, err);
        if (r == 0 && (o->packed.len > PACKED_MAX || strlen(o->etag) > OBJSTORE_ETAG_MAX)) {
            r = error_set(err, -EINVAL, "attributes of at most %d bytes", PACKED_MAX);
        }
        facts[i] = (struct fact){.key = o->key,
                                 .etag = o->packed.len > 0 ? o->etag : "",
                                 .data = o->packed.data,
                                 .len = o->packed.len};
    }
    return r == 0 ? facts_set(meta->facts, session.volume, facts, in->n_objects) : r;
}

static int get_attributes(struct rpc_call *call, const ProtobufCMessage *request,
                          ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__GetAttributesRequest *in = (const void *)request;
    Skyvol__Meta__V1__GetAttributesResponse *out = (void *)reply;
    struct live_session session;
    struct fact *facts;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    if (r == 0 && (in->n_keys > OBJECTS_MAX || in->n_etags != in->n_keys)) {
        r = error_set(err, -EINVAL, "at most %d keys at a time, each with an ETag", OBJECTS_MAX);
    }
    if (r != 0) {
        return r;
    }
    facts = rpc_call_alloc(call, (in->n_keys + 1) * sizeof(*facts));
    out->objects = rpc_call_alloc(call, (in->n_keys + 1) * sizeof(*out->objects));
    if (facts == NULL || out->objects == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < in->n_keys; i++) {
        facts[i] = (struct fact){.key = in->keys[i], .etag = in->etags[i]};
    }
    r = facts_get(meta->facts, session.volume, facts, in->n_keys, rpc_call_arena(call));
    for (size_t i = 0; r == 0 && i < in->n_keys; i++) {
        Skyvol__Meta__V1__ObjectAttributes *o;

        if (facts[i].len == 0) {
            continue;
        }
        o = rpc_call_message(call, &skyvol__meta__v1__object_attributes__descriptor);
        if (o == NULL) {
            return -ENOMEM;
        }
        o->index = (uint32_t)i;
        o->packed.len = facts[i].len;
        o->packed.data = (uint8_t *)(uintptr_t)facts[i].data;
        out->objects[out->n_objects++] = o;
    }
    return r;
}

const struct rpc_method meta_namespace_methods[2] = {
    {.name = "SetAttributes", .unary = set_attributes, .quiet = true},
    {.name = "GetAttributes", .unary = get_attributes, .quiet = true},
};
