/* SPDX-License-Identifier: Apache-2.0 */
/* Facts of a volume's namespace: attributes of objects by their version, and hard links. */
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
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): read only */
        o->packed.data = (uint8_t *)(uintptr_t)facts[i].data;
        out->objects[out->n_objects++] = o;
    }
    return r;
}

static int link_keys(struct rpc_call *call, const ProtobufCMessage *request,
                     ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__LinkRequest *in = (const void *)request;
    Skyvol__Meta__V1__LinkResponse *out = (void *)reply;
    struct live_session session;
    struct db_link link;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    r = r == 0 ? check_key(in->existing_key, err) : r;
    r = r == 0 ? check_key(in->new_key, err) : r;
    if (r == 0 && (session.read_only || strcmp(in->existing_key, in->new_key) == 0)) {
        r = session.read_only ? error_set(err, -EACCES, "the session is read-only")
                              : error_set(err, -EEXIST, "that is the same name");
    }
    r = r == 0 ? db_link_add(meta->db, session.volume, in->existing_key, in->new_key,
                             rpc_call_arena(call), &link)
               : r;
    if (r == 0) {
        out->links = link.names;
        out->home_key = rpc_call_strdup(call, link.home);
        r = out->home_key == NULL ? -ENOMEM : 0;
    }
    return r;
}

static int unlink_key(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__UnlinkRequest *in = (const void *)request;
    Skyvol__Meta__V1__UnlinkResponse *out = (void *)reply;
    struct live_session session;
    struct db_link link;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    r = r == 0 ? check_key(in->key, err) : r;
    r = r == 0 && session.read_only ? error_set(err, -EACCES, "the session is read-only") : r;
    r = r == 0 ? db_link_remove(meta->db, session.volume, in->key, rpc_call_arena(call), &link) : r;
    if (r == 0) {
        out->links = link.names;
        out->home_key = rpc_call_strdup(call, link.home);
        r = out->home_key == NULL ? -ENOMEM : 0;
    }
    return r == -ENOENT && err->code == 0 ? 0 : r;
}

static int get_links(struct rpc_call *call, const ProtobufCMessage *request,
                     ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__GetLinksRequest *in = (const void *)request;
    Skyvol__Meta__V1__GetLinksResponse *out = (void *)reply;
    struct live_session session;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    if (r == 0 && in->n_keys > OBJECTS_MAX) {
        r = error_set(err, -EINVAL, "at most %d keys at a time", OBJECTS_MAX);
    }
    out->found = r == 0 ? rpc_call_alloc(call, (in->n_keys + 1) * sizeof(*out->found)) : NULL;
    r = r == 0 && out->found == NULL ? -ENOMEM : r;
    for (size_t i = 0; r == 0 && i < in->n_keys; i++) {
        Skyvol__Meta__V1__Links *m;
        struct db_link link;

        r = db_link_get(meta->db, session.volume, in->keys[i], rpc_call_arena(call), &link);
        if (r == -ENOENT) {
            r = 0;
            continue;
        }
        m = r == 0 ? rpc_call_message(call, &skyvol__meta__v1__links__descriptor) : NULL;
        if (m == NULL) {
            return r != 0 ? r : -ENOMEM;
        }
        m->index = (uint32_t)i;
        m->links = link.names;
        m->home_key = rpc_call_strdup(call, link.home);
        m->file = rpc_call_strdup(call, link.file);
        out->found[out->n_found++] = m;
        r = m->home_key == NULL || m->file == NULL ? -ENOMEM : 0;
    }
    return r;
}

const struct rpc_method meta_namespace_methods[5] = {
    {.name = "Link", .unary = link_keys},
    {.name = "Unlink", .unary = unlink_key},
    {.name = "GetLinks", .unary = get_links, .quiet = true},
    {.name = "SetAttributes", .unary = set_attributes, .quiet = true},
    {.name = "GetAttributes", .unary = get_attributes, .quiet = true},
};
