/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metaserver/meta.h"
#include "mount/config.h"
#include "objstore/sts.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/url.h"
#include "volume/open.h"

enum { ROLE_ARN_MAX = 2048 };

int meta_busy(struct meta *meta, const char *name)
{
    char *copy = strdup(name);
    int slot = -1;
    int ret = copy == NULL ? -ENOMEM : 0;

    mutex_lock(&meta->lock);
    for (int i = 0; ret == 0 && i < META_BUSY_MAX; i++) {
        if (meta->busy[i] == NULL) {
            slot = i;
        } else if (strcmp(meta->busy[i], name) == 0) {
            ret = -EAGAIN;
        }
    }
    if (ret == 0 && slot < 0) {
        ret = -EAGAIN;
    }
    if (ret == 0) {
        meta->busy[slot] = TAKE(copy);
    }
    mutex_unlock(&meta->lock);
    free(copy);
    return ret;
}

void meta_free(struct meta *meta, const char *name)
{
    mutex_lock(&meta->lock);
    for (int i = 0; i < META_BUSY_MAX; i++) {
        if (meta->busy[i] != NULL && strcmp(meta->busy[i], name) == 0) {
            free(meta->busy[i]);
            meta->busy[i] = NULL;
            break;
        }
    }
    cond_broadcast(&meta->changed);
    mutex_unlock(&meta->lock);
}

int meta_store_open(struct meta *meta, const struct db_store *row,
                    const struct mount_credentials *credentials, struct objstore **ret,
                    struct error *err)
{
    const struct volume_open_config config = {
        .location = row->location,
        .endpoint = row->endpoint[0] != '\0' ? row->endpoint : NULL,
        .region = row->s3_region[0] != '\0' ? row->s3_region : NULL,
        .credentials = {credentials->access_key, credentials->secret_key,
                        credentials->session_token},
        .virtual_host_style = row->virtual_host_style,
        .public_only = row->public_only,
        .metrics = meta->metrics,
    };

    return volume_open_store(&config, ret, err);
}

static int open_one(struct meta *meta, const char *name, struct objstore **ret, struct error *err)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct mount_credentials credentials = {0};
    struct db_store row;
    int r = db_store_get(meta->db, name, &arena, &row);

    if (r != 0) {
        return error_set(err, r,
                         r == -ENOENT ? "there is no store \"%s\": add it with skyvolctl "
                                        "store add"
                                      : "cannot read store %s",
                         name);
    }
    r = meta_unseal(meta, &row, &credentials, err);
    r = r == 0 ? meta_store_open(meta, &row, &credentials, ret, err) : r;
    mount_credentials_done(&credentials);
    return r;
}

static struct open_store *find_open_locked(struct meta *meta, const char *name)
    REQUIRES(&meta->lock)
{
    for (int i = 0; i < META_STORES_MAX; i++) {
        struct open_store *s = &meta->stores[i];

        if (s->store != NULL && !s->stale && strcmp(s->name, name) == 0) {
            s->users++;
            return s;
        }
    }
    return NULL;
}

int meta_store_get(struct meta *meta, const char *name, struct objstore **ret, struct error *err)
{
    struct open_store *found;
    struct objstore *store = NULL;
    uint64_t forgotten;
    int r;

    mutex_lock(&meta->lock);
    found = find_open_locked(meta, name);
    forgotten = meta->stores_forgotten;
    mutex_unlock(&meta->lock);
    if (found != NULL) {
        *ret = found->store;
        return 0;
    }
    r = open_one(meta, name, &store, err);
    if (r != 0) {
        return r;
    }
    mutex_lock(&meta->lock);
    found = find_open_locked(meta, name); /* another thread was as quick */
    for (int i = 0; found == NULL && i < META_STORES_MAX; i++) {
        if (meta->stores[i].store == NULL) {
            found = &meta->stores[i];
            (void)snprintf(found->name, sizeof(found->name), "%s", name);
            found->store = TAKE(store);
            found->users = 1;
            /* The row was read before: perhaps as it is no more. */
            found->stale = meta->stores_forgotten != forgotten;
        }
    }
    mutex_unlock(&meta->lock);
    objstore_free(store);
    if (found == NULL) {
        return error_set(err, -ENOSPC, "more than %d stores are open", META_STORES_MAX);
    }
    *ret = found->store;
    return 0;
}

void meta_store_put(struct meta *meta, struct objstore *store)
{
    struct objstore *drop = NULL;

    mutex_lock(&meta->lock);
    for (int i = 0; i < META_STORES_MAX; i++) {
        struct open_store *s = &meta->stores[i];

        if (s->store == store && --s->users == 0 && s->stale) {
            drop = s->store;
            s->store = NULL;
        }
    }
    mutex_unlock(&meta->lock);
    objstore_free(drop);
}

int meta_store_message(struct rpc_call *call, const struct db_store *store,
                       Skyvol__Meta__V1__Store **ret)
{
    Skyvol__Meta__V1__Store *m = rpc_call_message(call, &skyvol__meta__v1__store__descriptor);

    if (m == NULL) {
        return -ENOMEM;
    }
    m->name = rpc_call_strdup(call, store->name);
    m->location = rpc_call_strdup(call, store->location);
    m->endpoint = rpc_call_strdup(call, store->endpoint);
    m->s3_region = rpc_call_strdup(call, store->s3_region);
    m->region = rpc_call_strdup(call, store->region);
    m->virtual_host_style = store->virtual_host_style;
    m->public_only = store->public_only;
    m->has_credentials = store->sealed != NULL;
    m->created_ns = store->created_ns;
    *ret = m;
    if (temporary_wanted(store)) {
        Skyvol__Meta__V1__TemporaryKeys *t =
            rpc_call_message(call, &skyvol__meta__v1__temporary_keys__descriptor);

        if (t == NULL) {
            return -ENOMEM;
        }
        t->endpoint = rpc_call_strdup(call, store->sts_endpoint);
        t->role_arn = rpc_call_strdup(call, store->role_arn);
        t->duration_s = store->sts_duration_s;
        m->temporary_keys = t;
    }
    return m->name == NULL || m->region == NULL ? -ENOMEM : 0;
}

void meta_store_forget(struct meta *meta, const char *name)
{
    struct objstore *drop = NULL;

    temporary_forget(meta, name);

    mutex_lock(&meta->lock);
    meta->stores_forgotten++;
    for (int i = 0; i < META_STORES_MAX; i++) {
        struct open_store *s = &meta->stores[i];

        if (s->store != NULL && strcmp(s->name, name) == 0) {
            s->stale = true;
            if (s->users == 0) {
                drop = s->store;
                s->store = NULL;
            }
        }
    }
    mutex_unlock(&meta->lock);
    objstore_free(drop);
}

static bool good_name(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len < 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

/* The operator has listed the endpoint meanwhile, or does no more. */
static int restrict_store(struct meta *meta, const struct db_store *row, struct error *err)
{
    int r = db_store_restrict(meta->db, row->name, row->public_only);

    if (r == 0) {
        meta_store_forget(meta, row->name);
    }
    return r == 0 ? 0 : error_set(err, r, "store %s: %s", row->name, strerrordesc_np(-r));
}

/* Of a new one, if that was asked for: what is wrong with it, as a warning or a refusal. */
static int look_at(struct rpc_call *call, const Skyvol__Meta__V1__AddStoreRequest *in,
                   const struct db_store *row, Skyvol__Meta__V1__AddStoreResponse *out,
                   struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    struct error why = ERROR_INIT;
    struct db_store old;
    int r;

    if ((!in->check && !in->must_pass) ||
        db_store_get(meta->db, row->name, rpc_call_arena(call), &old) != -ENOENT) {
        return 0;
    }
    r = meta_look(meta, row, in->credentials, &why);
    if (r != 0 && in->must_pass) {
        return error_set(err, -EBUSY, "store %s is not added: %s", row->name, error_text(&why, r));
    }
    if (r != 0) {
        out->warning = rpc_call_strdup(call, error_text(&why, r));
        return out->warning != NULL ? 0 : -ENOMEM;
    }
    return 0;
}

/* ---- temporary keys ---- */

static int check_temporary(const Skyvol__Meta__V1__Store *store, struct error *err)
{
    const Skyvol__Meta__V1__TemporaryKeys *t = store->temporary_keys;
    bool on = t != NULL && (t->endpoint[0] != '\0' || t->role_arn[0] != '\0');

    if (on && strncmp(store->location, "s3://", 5) != 0) {
        return error_set(err, -EINVAL, "only an S3 store has an STS");
    }
    if (on && t->duration_s != 0 &&
        (t->duration_s < S3_STS_DURATION_MIN_S || t->duration_s > S3_STS_DURATION_MAX_S)) {
        return error_set(err, -EINVAL, "temporary keys last 15 minutes to 7 days");
    }
    if (on && (strlen(t->role_arn) > ROLE_ARN_MAX || strpbrk(t->role_arn, " \t\r\n") != NULL ||
               (t->role_arn[0] != '\0' && strncmp(t->role_arn, "arn:", 4) != 0))) {
        return error_set(err, -EINVAL,
                         "a role is named by its ARN, as arn:aws:iam::ACCOUNT:role/NAME");
    }
    return on ? objstore_sts_check(t->endpoint, err) : 0;
}

static void take_temporary(const Skyvol__Meta__V1__TemporaryKeys *from, struct db_store *row)
{
    row->sts_endpoint = from != NULL ? from->endpoint : "";
    row->role_arn = from != NULL ? from->role_arn : "";
    row->sts_duration_s = from != NULL ? from->duration_s : 0;
}

/* The store that is there gets another STS, or none. */
static int set_temporary(struct meta *meta, struct db_store *row,
                         const Skyvol__Meta__V1__AddStoreRequest *in, struct error *err)
{
    const Skyvol__Meta__V1__TemporaryKeys *t = in->store->temporary_keys;
    struct mount_credentials keys = {0};
    int r = 0;

    if (t == NULL ||
        (strcmp(t->endpoint, row->sts_endpoint) == 0 && strcmp(t->role_arn, row->role_arn) == 0 &&
         t->duration_s == row->sts_duration_s)) {
        return 0;
    }
    take_temporary(t, row);
    if (temporary_wanted(row)) {
        r = meta_unseal(meta, row, &keys, err);
        r = r == 0 ? temporary_check(meta, row, &keys, err) : r;
        mount_credentials_done(&keys);
    }
    r = r == 0 ? db_store_set_sts(meta->db, row) : r;
    if (r != 0) {
        return error_set(err, r, "store %s: %s", row->name, error_text(err, r));
    }
    meta_store_forget(meta, row->name);
    log_info(temporary_wanted(row) ? "volumes of a store get temporary keys of their own"
                                   : "volumes of a store get its own keys",
             "store", row->name, NULL);
    return 0;
}

/* ---- the service ---- */

/* With the keys that come, else with those that it has. */
static int look_again(struct meta *meta, const struct db_store *row,
                      const Skyvol__Meta__V1__AddStoreRequest *in, struct error *err)
{
    Skyvol__Meta__V1__Credentials own = SKYVOL__META__V1__CREDENTIALS__INIT;
    bool brings = in->credentials != NULL && in->credentials->access_key[0] != '\0';
    struct mount_credentials keys = {0};
    struct error why = ERROR_INIT;
    int r = 0;

    if (!in->must_pass) {
        return 0;
    }
    if (!brings && row->sealed_len > 0) {
        r = meta_unseal(meta, row, &keys, &why);
        own.access_key = r == 0 ? keys.access_key : own.access_key;
        own.secret_key = r == 0 ? keys.secret_key : own.secret_key;
        own.session_token =
            r == 0 && keys.session_token != NULL ? keys.session_token : own.session_token;
    }
    r = r == 0 ? meta_look(meta, row, brings ? in->credentials : &own, &why) : r;
    mount_credentials_done(&keys);
    return r == 0 ? 0
                  : error_set(err, -EBUSY, "store %s is there and stays as it is: %s", row->name,
                              error_text(&why, r));
}

/* What was asked for and is not changed by that. */
static int tell_what_stays(struct rpc_call *call, const struct db_store *old,
                           const Skyvol__Meta__V1__Store *asked,
                           Skyvol__Meta__V1__AddStoreResponse *out)
{
    bool signs = asked->s3_region[0] != '\0' && strcmp(asked->s3_region, old->s3_region) != 0;
    bool placed = asked->region[0] != '\0' && strcmp(asked->region, old->region) != 0;
    bool style = asked->virtual_host_style && !old->virtual_host_style;

    out->existed = true;
    if (signs || placed || style) {
        out->warning = rpc_call_printf(
            call, "store %s exists; of it stay as they are:%s%s%s", old->name,
            signs ? " the region that requests are signed for;" : "", placed ? " its region;" : "",
            style ? " its style of addresses (path);" : "");
    }
    return out->warning != NULL ? 0 : -ENOMEM;
}

static int renew_store(struct rpc_call *call, const struct db_store *row,
                       const Skyvol__Meta__V1__AddStoreRequest *in,
                       Skyvol__Meta__V1__AddStoreResponse *out, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    struct db_store old;
    int r = db_store_get(meta->db, row->name, rpc_call_arena(call), &old);

    if (r != 0 || strcmp(old.location, row->location) != 0 ||
        strcmp(old.endpoint, row->endpoint) != 0) {
        return error_set(err, -EEXIST,
                         "store %s: exists with another location or endpoint, which stay as they "
                         "are: give this one another name",
                         row->name);
    }
    r = tell_what_stays(call, &old, in->store, out);
    r = r == 0 ? look_again(meta, &old, in, err) : r;
    r = r == 0 && old.public_only != row->public_only ? restrict_store(meta, row, err) : r;
    old.public_only = row->public_only;
    if (in->store->temporary_keys != NULL) { /* the new keys are for the new STS */
        take_temporary(in->store->temporary_keys, &old);
    }
    r = r == 0 && row->sealed != NULL ? meta_renew(meta, &old, in->credentials, err) : r;
    r = r == 0 ? db_store_get(meta->db, row->name, rpc_call_arena(call), &old) : r;
    return r == 0 ? set_temporary(meta, &old, in, err) : r;
}

/* A new store whose STS refuses is not added: nothing could be mounted. */
static int check_new(struct meta *meta, const struct db_store *row,
                     const Skyvol__Meta__V1__AddStoreRequest *in, struct error *err)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(65536);
    struct mount_credentials keys = {NULL, NULL, NULL};
    struct db_store old;

    if (!temporary_wanted(row) || db_store_get(meta->db, row->name, &arena, &old) == 0) {
        return 0;
    }
    if (row->sealed != NULL) {
        keys = (struct mount_credentials){
            in->credentials->access_key, in->credentials->secret_key,
            in->credentials->session_token[0] != '\0' ? in->credentials->session_token : NULL};
    }
    return temporary_check(meta, row, &keys, err);
}

static int add_store(struct rpc_call *call, const ProtobufCMessage *request,
                     ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__AddStoreRequest *in = (const void *)request;
    Skyvol__Meta__V1__AddStoreResponse *out = (void *)reply;
    CLEANUP(buf_wipe) struct buf sealed = BUF_INIT(32768);
    struct db_store row = {.created_ns = clock_realtime_ns(clock_real())};
    int r = 0;

    if (in->store == NULL || !good_name(in->store->name)) {
        return error_set(err, -EINVAL, "store name: 1 to 63 of a-z, 0-9 and '-'");
    }
    if (strncmp(in->store->location, "s3://", 5) != 0 &&
        strncmp(in->store->location, "dir:///", 7) != 0) {
        return error_set(err, -EINVAL, "store location: s3:// or dir:///ROOT");
    }
    if (url_may_hold_secret(in->store->endpoint) ||
        (in->store->location[0] == 's' && url_may_hold_secret(in->store->location))) {
        return error_set(err, -EINVAL,
                         "store location and endpoint: a user name and password do not belong in "
                         "them, give the keys as credentials");
    }
    r = check_temporary(in->store, err);
    row.name = in->store->name;
    row.location = in->store->location;
    row.endpoint = in->store->endpoint;
    row.s3_region = in->store->s3_region;
    row.region = in->store->region;
    row.virtual_host_style = in->store->virtual_host_style;
    row.public_only = in->store->public_only;
    take_temporary(in->store->temporary_keys, &row);
    if (r == 0 && in->credentials != NULL && in->credentials->access_key[0] != '\0') {
        r = meta_seal(meta, row.name, in->credentials, &sealed);
        row.sealed = buf_str(&sealed);
        row.sealed_len = buf_len(&sealed);
    }
    r = r == 0 ? check_new(meta, &row, in, err) : r;
    r = r == 0 ? look_at(call, in, &row, out, err) : r;
    r = r == 0 ? db_store_add(meta->db, &row) : r;
    if (r == -EEXIST) {
        r = renew_store(call, &row, in, out, err);
        r = r == 0 ? db_store_get(meta->db, row.name, rpc_call_arena(call), &row) : r;
    }
    if (r != 0) {
        return err->code != 0 ? r : error_set(err, r, "store %s: %s", row.name, strerror(-r));
    }
    return meta_store_message(call, &row, &out->store);
}

static int get_store(struct rpc_call *call, const ProtobufCMessage *request,
                     ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__GetStoreRequest *in = (const void *)request;
    Skyvol__Meta__V1__GetStoreResponse *out = (void *)reply;
    struct db_store row;
    int r = db_store_get(meta->db, in->name, rpc_call_arena(call), &row);

    return r != 0 ? error_set(err, r, "no store \"%s\"", in->name)
                  : meta_store_message(call, &row, &out->store);
}

static int list_stores(struct rpc_call *call, const ProtobufCMessage *request,
                       ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    Skyvol__Meta__V1__ListStoresResponse *out = (void *)reply;
    struct db_store *rows;
    size_t count;
    int r = db_store_list(meta->db, rpc_call_arena(call), &rows, &count);

    (void)request;
    if (r != 0) {
        return error_set(err, r, "cannot list the stores");
    }
    out->stores = rpc_call_alloc(call, count * sizeof(*out->stores));
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = out->stores == NULL ? -ENOMEM : meta_store_message(call, &rows[i], &out->stores[i]);
        out->n_stores = i + 1;
    }
    return r;
}

static int delete_store(struct rpc_call *call, const ProtobufCMessage *request,
                        ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__DeleteStoreRequest *in = (const void *)request;
    int r = db_store_delete(meta->db, in->name);

    (void)reply;
    if (r != 0 && r != -ENOENT) {
        return error_set(err, r, "store %s: %s", in->name,
                         r == -EBUSY ? "volumes lie in it" : strerror(-r));
    }
    meta_store_forget(meta, in->name);
    return 0;
}

const struct rpc_method meta_store_methods[4] = {
    {.name = "AddStore", .unary = add_store, .pool = "slow"},
    {.name = "GetStore", .unary = get_store},
    {.name = "ListStores", .unary = list_stores},
    {.name = "DeleteStore", .unary = delete_store},
};
