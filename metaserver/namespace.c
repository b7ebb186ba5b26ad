/* SPDX-License-Identifier: Apache-2.0 */
/* Facts of a volume's namespace: attributes of objects by their version, and hard links. */
#include <errno.h>
#include <string.h>

#include "metaserver/meta.h"
#include "objstore/objstore.h"
#include "util/clock.h"

enum { OBJECTS_MAX = 1000, PACKED_MAX = 4096, FILE_MAX = 64 };
/* Who has taken a file's last name deletes its object; after this, anybody does. */
static const int64_t grace_ns = 60000000000;

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

static bool is_file(const char *file)
{
    size_t len = strlen(file);

    return len > 0 && len <= FILE_MAX &&
           strspn(file, "0123456789abcdefghijklmnopqrstuvwxyz-") == len;
}

static int check_files(char *const *files, size_t count, struct error *err)
{
    for (size_t i = 0; i < count && i < OBJECTS_MAX; i++) {
        if (!is_file(files[i])) {
            return error_set(err, -EINVAL, "files have 1 to %d of 0-9 a-z -", FILE_MAX);
        }
    }
    return count > OBJECTS_MAX ? error_set(err, -EINVAL, "at most %d files at a time", OBJECTS_MAX)
                               : 0;
}

static int check_write(const struct live_session *session, struct error *err)
{
    return session->read_only ? error_set(err, -EACCES, "the session is read-only") : 0;
}

static int link_names(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__LinkRequest *in = (const void *)request;
    Skyvol__Meta__V1__LinkResponse *out = (void *)reply;
    struct db_link_name names[DB_LINK_NAMES];
    struct live_session session;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    r = r == 0 ? check_write(&session, err) : r;
    r = r == 0 ? check_files(&in->file, 1, err) : r;
    if (r == 0 && (in->n_names == 0 || in->n_names > DB_LINK_NAMES)) {
        r = error_set(err, -EINVAL, "1 to %d names at a time", DB_LINK_NAMES);
    }
    for (size_t i = 0; r == 0 && i < in->n_names; i++) {
        names[i] = (struct db_link_name){in->names[i]->number, in->names[i]->key};
        r = check_key(names[i].key, err);
        r = r == 0 && names[i].number == 0 ? error_set(err, -EINVAL, "names have numbers") : r;
    }
    return r == 0 ? db_link_add(meta->db,
                                &(const struct db_link_add){session.volume, in->file, names,
                                                            in->n_names, in->make},
                                &out->links)
                  : r;
}

static int unlink_name(struct rpc_call *call, const ProtobufCMessage *request,
                       ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__UnlinkRequest *in = (const void *)request;
    Skyvol__Meta__V1__UnlinkResponse *out = (void *)reply;
    struct live_session session;
    struct db_link link;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    r = r == 0 ? check_write(&session, err) : r;
    if (r != 0) {
        return r;
    }
    r = db_link_remove(meta->db, session.volume, in->number, rpc_call_arena(call), &link);
    if (r == 0) {
        out->links = link.names;
        out->file = rpc_call_strdup(call, link.file);
        out->last_key = rpc_call_strdup(call, link.last_key != NULL ? link.last_key : "");
        r = out->file == NULL || out->last_key == NULL ? -ENOMEM : 0;
    }
    if (r == 0 && link.names == 1) {
        bool alone;

        r = live_session_alone(meta->live, &session, &alone);
        out->alone = alone;
    }
    return r == -ENOENT ? 0 : r;
}

static int add_found(struct rpc_call *call, Skyvol__Meta__V1__GetLinksResponse *out,
                     const struct db_link *link, size_t index)
{
    Skyvol__Meta__V1__Links *m = rpc_call_message(call, &skyvol__meta__v1__links__descriptor);

    if (m == NULL) {
        return -ENOMEM;
    }
    m->index = (uint32_t)index;
    m->links = link->names;
    m->file = rpc_call_strdup(call, link->file);
    out->found[out->n_found++] = m;
    return m->file == NULL ? -ENOMEM : 0;
}

/* Only to who has the volume for itself: others may have such a file open under its own object. */
static int add_singles(struct rpc_call *call, const struct live_session *session,
                       Skyvol__Meta__V1__GetLinksResponse *out)
{
    struct meta *meta = rpc_call_context(call);
    struct db_link_single *singles = rpc_call_alloc(call, OBJECTS_MAX * sizeof(*singles));
    const struct db_link_unlinked what = {session->volume, 0, OBJECTS_MAX};
    size_t count = 0;
    bool alone;
    int r = live_session_alone(meta->live, session, &alone);

    r = r == 0 && singles == NULL ? -ENOMEM : r;
    if (r == 0 && alone) {
        r = db_link_singles(meta->db, &what, rpc_call_arena(call), singles, &count);
    }
    for (size_t i = 0; r == 0 && i < count; i++) {
        Skyvol__Meta__V1__LinkName *last =
            rpc_call_message(call, &skyvol__meta__v1__link_name__descriptor);

        r = last == NULL
                ? -ENOMEM
                : add_found(call, out, &(const struct db_link){.file = singles[i].file, .names = 1},
                            i);
        if (r == 0) {
            last->number = singles[i].number;
            last->key = rpc_call_strdup(call, singles[i].key);
            r = last->key == NULL ? -ENOMEM : 0;
            out->found[out->n_found - 1]->last = r == 0 ? last : NULL;
        }
    }
    return r;
}

static int add_unlinked(struct rpc_call *call, const struct live_session *session,
                        Skyvol__Meta__V1__GetLinksResponse *out)
{
    struct meta *meta = rpc_call_context(call);
    const struct db_link_unlinked what = {session->volume,
                                          clock_realtime_ns(clock_real()) - grace_ns, OBJECTS_MAX};
    const char **unlinked = rpc_call_alloc(call, OBJECTS_MAX * sizeof(*unlinked));
    size_t count = 0;
    int r = unlinked == NULL
                ? -ENOMEM
                : db_link_unlinked(meta->db, &what, rpc_call_arena(call), unlinked, &count);

    for (size_t i = 0; r == 0 && i < count; i++) {
        r = add_found(call, out, &(const struct db_link){.file = unlinked[i]}, i);
    }
    return r;
}

static int get_links(struct rpc_call *call, const ProtobufCMessage *request,
                     ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__GetLinksRequest *in = (const void *)request;
    Skyvol__Meta__V1__GetLinksResponse *out = (void *)reply;
    struct live_session session;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    r = r == 0 ? check_files(in->files, in->n_files, err) : r;
    if (r != 0) {
        return r;
    }
    out->found = rpc_call_alloc(call, (OBJECTS_MAX + 1) * sizeof(*out->found));
    if (out->found == NULL) {
        return -ENOMEM;
    }
    if (in->unlinked || in->single) {
        return in->single ? add_singles(call, &session, out) : add_unlinked(call, &session, out);
    }
    for (size_t i = 0; r == 0 && i < in->n_files; i++) {
        struct db_link link = {.file = in->files[i]};

        r = db_link_count(meta->db, session.volume, link.file, &link.names);
        r = r == 0 ? add_found(call, out, &link, i) : r == -ENOENT ? 0 : r;
    }
    return r;
}

static int drop_links(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__DropLinksRequest *in = (const void *)request;
    struct live_session session;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    (void)reply;
    r = r == 0 ? check_write(&session, err) : r;
    r = r == 0 ? check_files(in->files, in->n_files, err) : r;
    for (size_t i = 0; r == 0 && i < in->n_files; i++) {
        r = db_link_drop(meta->db, session.volume, in->files[i]);
    }
    return r;
}

const struct rpc_method meta_namespace_methods[6] = {
    {.name = "Link", .unary = link_names, .quiet = true},
    {.name = "Unlink", .unary = unlink_name, .quiet = true},
    {.name = "GetLinks", .unary = get_links, .quiet = true},
    {.name = "DropLinks", .unary = drop_links, .quiet = true},
    {.name = "SetAttributes", .unary = set_attributes, .quiet = true},
    {.name = "GetAttributes", .unary = get_attributes, .quiet = true},
};
