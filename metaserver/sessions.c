/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions: who has a volume mounted. A thread ends those that have lapsed, so that who waits for
 * their locks gets on.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "metaserver/meta.h"
#include "s3/checksum.h"
#include "util/log.h"
#include "util/random.h"

enum {
    TOKEN_BYTES = 32,
    NODE_MAX = 256,
    MOUNT_MAX = 512,
    SWEEP_MS = 500,
    FACTS_EVERY = 7200, /* sweeps: an hour */
    FACTS_DAYS = 90,    /* attributes are forgotten so long after they were last told */
};

/* ---- tokens ---- */

static int hash_token(const char *token, char ret[2 * S3_CHECKSUM_MAX + 1])
{
    return s3_checksum_hex_of(S3_CHECKSUM_SHA256, token, strlen(token), ret);
}

int meta_token_new(struct meta *meta, struct rpc_call *call, const char *volume, const char *node,
                   char **ret)
{
    char hash[2 * S3_CHECKSUM_MAX + 1];
    unsigned char bytes[TOKEN_BYTES];
    char *token = rpc_call_alloc(call, 2 * TOKEN_BYTES + 1);
    int r;

    if (token == NULL) {
        return -ENOMEM;
    }
    random_bytes(bytes, sizeof(bytes));
    for (size_t i = 0; i < TOKEN_BYTES; i++) {
        (void)snprintf(token + 2 * i, 3, "%02x", bytes[i]);
    }
    explicit_bzero(bytes, sizeof(bytes));
    r = hash_token(token, hash);
    r = r == 0 ? db_token_add(meta->db, hash, volume, node) : r;
    if (r == 0) {
        *ret = token;
    }
    return r;
}

/* ---- the service ---- */

int meta_session(struct rpc_call *call, const char *id, uint64_t epoch, struct live_session *ret,
                 struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    int r = live_session_get(meta->live, id, epoch, rpc_call_arena(call), ret);

    return r == -ENOENT   ? error_set(err, r, "the session has ended: its lease was not renewed")
           : r == -ESTALE ? error_set(err, r, "the session is fenced: its mount has a newer one")
                          : r;
}

static int check_open(const Skyvol__Meta__V1__OpenSessionRequest *in, struct error *err)
{
    if (in->volume_id[0] == '\0' || in->node[0] == '\0' || strlen(in->node) > NODE_MAX ||
        in->mount[0] == '\0' || strlen(in->mount) > MOUNT_MAX) {
        return error_set(err, -EINVAL,
                         "a session needs volume, node (at most %d bytes) and mount "
                         "(at most %d)",
                         NODE_MAX, MOUNT_MAX);
    }
    return 0;
}

static int check_token(struct meta *meta, const Skyvol__Meta__V1__OpenSessionRequest *in,
                       struct error *err)
{
    char hash[2 * S3_CHECKSUM_MAX + 1];
    int r = hash_token(in->volume_token, hash);

    r = r == 0 ? db_token_check(meta->db, hash, in->volume_id, in->node) : r;
    return r == -ENOENT ? error_set(err, -EKEYREJECTED,
                                    "the token is not one for volume %s and node %s: mount it anew",
                                    in->volume_id, in->node)
                        : r;
}

static int check_ready(struct meta *meta, struct rpc_call *call, const char *id,
                       uint64_t *ret_bytes, struct error *err)
{
    struct db_volume v;
    int r = db_volume_get(meta->db, id, rpc_call_arena(call), &v);

    *ret_bytes = r == 0 ? v.size_bytes : 0;
    return r == 0 && v.state == DB_READY ? 0
           : r == 0 || r == -ENOENT
               ? error_set(err, -ENOENT, "there is no volume %s (any more)", id)
               : r;
}

static int open_session(struct rpc_call *call, const ProtobufCMessage *request,
                        ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__OpenSessionRequest *in = (const void *)request;
    Skyvol__Meta__V1__OpenSessionResponse *out = (void *)reply;
    struct live_session session = {.volume = in->volume_id,
                                   .node = in->node,
                                   .mount = in->mount,
                                   .read_only = in->read_only,
                                   .exclusive = in->exclusive};
    int r = check_open(in, err);

    r = r == 0 ? check_token(meta, in, err) : r;
    r = r == 0 ? check_ready(meta, call, in->volume_id, &out->size_bytes, err) : r;
    r = r == 0 ? live_session_add(meta->live, &session, rpc_call_arena(call), err) : r;
    if (r != 0) {
        return r;
    }
    /* A deletion that began meanwhile either has seen the session, or is seen here; or its worker
     * sees the session before it touches anything. */
    r = check_ready(meta, call, in->volume_id, &out->size_bytes, err);
    if (r != 0) {
        (void)!live_session_remove(meta->live, session.id, session.epoch);
        return r;
    }
    metric_add(meta->sessions_opened, 1);
    log_info("session opened", "volume", session.volume, "node", session.node, "mount",
             session.mount, "epoch", log_num(session.epoch), NULL);
    out->session_id = rpc_call_strdup(call, session.id);
    out->epoch = session.epoch;
    out->lease_ms = session.left_ms;
    return out->session_id != NULL ? 0 : -ENOMEM;
}

static int renew_session(struct rpc_call *call, const ProtobufCMessage *request,
                         ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__RenewSessionRequest *in = (const void *)request;
    Skyvol__Meta__V1__RenewSessionResponse *out = (void *)reply;
    struct live_session session;
    int r = live_session_renew(meta->live, in->session_id, in->epoch);

    if (r != 0) {
        return meta_session(call, in->session_id, in->epoch, &session, err) != 0 ? err->code : r;
    }
    out->lease_ms = live_lease_ms(meta->live);
    if (meta_session(call, in->session_id, in->epoch, &session, NULL) == 0) {
        /* A mount need not begin anew to have what its claim has grown by. */
        (void)!check_ready(meta, call, session.volume, &out->size_bytes, NULL);
    }
    return 0;
}

static int close_session(struct rpc_call *call, const ProtobufCMessage *request,
                         ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__CloseSessionRequest *in = (const void *)request;
    struct live_session session;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    (void)reply;
    if (r == -ENOENT) {
        return 0;
    }
    r = r == 0 ? live_session_remove(meta->live, in->session_id, in->epoch) : r;
    if (r == 0) {
        log_info("session closed", "volume", session.volume, "node", session.node, "epoch",
                 log_num(session.epoch), NULL);
    }
    return r;
}

/* A mount that lives on renews them by its session: kubelet is not asked for a token again. */
static int fetch_credentials(struct rpc_call *call, const ProtobufCMessage *request,
                             ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__FetchCredentialsRequest *in = (const void *)request;
    Skyvol__Meta__V1__FetchCredentialsResponse *out = (void *)reply;
    struct live_session session;
    struct db_volume v;
    struct db_store store;
    int r = meta_session(call, in->session_id, in->epoch, &session, err);

    r = r == 0 ? db_volume_get(meta->db, session.volume, rpc_call_arena(call), &v) : r;
    r = r == 0 ? db_store_get(meta->db, v.store, rpc_call_arena(call), &store) : r;
    return r == 0 && temporary_wanted(&store)
               ? temporary_get(call, &store, &v, session.read_only, &out->credentials, err)
               : r;
}

static int list_sessions(struct rpc_call *call, const ProtobufCMessage *request,
                         ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__ListSessionsRequest *in = (const void *)request;
    Skyvol__Meta__V1__ListSessionsResponse *out = (void *)reply;
    struct live_session *sessions;
    size_t count = 0;
    int r = live_session_list(meta->live, in->volume_id, rpc_call_arena(call), &sessions, &count);

    if (r != 0) {
        return error_set(err, r, "cannot list the sessions");
    }
    out->sessions = rpc_call_alloc(call, (count + 1) * sizeof(*out->sessions));
    for (size_t i = 0; out->sessions != NULL && i < count; i++) {
        Skyvol__Meta__V1__Session *s =
            rpc_call_message(call, &skyvol__meta__v1__session__descriptor);

        if (s == NULL) {
            return -ENOMEM;
        }
        s->volume_id = rpc_call_strdup(call, sessions[i].volume);
        s->node = rpc_call_strdup(call, sessions[i].node);
        s->mount = rpc_call_strdup(call, sessions[i].mount);
        s->read_only = sessions[i].read_only;
        s->exclusive = sessions[i].exclusive;
        s->epoch = sessions[i].epoch;
        s->opened_ns = sessions[i].opened_ns;
        s->lease_ms = sessions[i].left_ms;
        s->locks = sessions[i].locks;
        out->sessions[out->n_sessions++] = s;
    }
    return out->sessions != NULL ? 0 : -ENOMEM;
}

const struct rpc_method meta_session_methods[5] = {
    {.name = "OpenSession", .unary = open_session},
    {.name = "RenewSession", .unary = renew_session, .quiet = true},
    {.name = "CloseSession", .unary = close_session},
    {.name = "ListSessions", .unary = list_sessions},
    {.name = "FetchCredentials", .unary = fetch_credentials, .pool = "attach"},
};

/* ---- lapsed ones ---- */

static void sweep_facts(struct meta *meta)
{
    int swept;

    do {
        swept = facts_sweep(meta->facts, facts_today() - FACTS_DAYS);
    } while (swept > 0 && !meta->ending);
}

static void *sweep_main(void *arg)
{
    struct meta *meta = arg;
    unsigned turn = 0;

    mutex_lock(&meta->lock);
    while (!meta->ending) {
        int ended;

        mutex_unlock(&meta->lock);
        if (turn++ % FACTS_EVERY == 0) {
            sweep_facts(meta);
        }
        ended = live_sweep(meta->live);
        if (ended > 0) {
            metric_add(meta->sessions_lapsed, ended);
            log_warn("sessions have ended: their leases were not renewed", "sessions",
                     log_num((uint64_t)ended), NULL);
        }
        mutex_lock(&meta->lock);
        if (!meta->ending) {
            cond_wait_ms(&meta->changed, &meta->lock, SWEEP_MS);
        }
    }
    mutex_unlock(&meta->lock);
    return NULL;
}

static void count(void *context)
{
    struct meta *meta = context;
    struct live_counts counts;

    if (live_count(meta->live, &counts) == 0) {
        metric_set(meta->sessions_now, (double)counts.sessions);
        metric_set(meta->locks_now, (double)counts.locks);
    }
}

static int add_metrics(struct meta *meta)
{
    const struct metric_spec specs[] = {
        {.kind = METRIC_GAUGE, .name = "skyvol_meta_sessions", .help = "Mounts with a session."},
        {.kind = METRIC_GAUGE, .name = "skyvol_meta_locks", .help = "Locks that sessions hold."},
        {.kind = METRIC_COUNTER,
         .name = "skyvol_meta_sessions_opened_total",
         .help = "Sessions opened."},
        {.kind = METRIC_COUNTER,
         .name = "skyvol_meta_sessions_lapsed_total",
         .help = "Sessions whose lease was not renewed."},
    };
    struct metric **const metrics[] = {&meta->sessions_now, &meta->locks_now,
                                       &meta->sessions_opened, &meta->sessions_lapsed};
    int r = 0;

    for (size_t i = 0; r == 0 && meta->metrics != NULL && i < 4; i++) {
        r = metrics_add(meta->metrics, &specs[i], metrics[i]);
    }
    return r == 0 && meta->metrics != NULL ? metrics_on_write(meta->metrics, count, meta) : r;
}

int sessions_start(struct meta *meta)
{
    int r = meta->live == NULL ? 0 : add_metrics(meta);

    if (r == 0 && meta->live != NULL) {
        r = -pthread_create(&meta->sweeper, NULL, sweep_main, meta);
        meta->has_sweeper = r == 0;
    }
    return r;
}

void sessions_stop(struct meta *meta)
{
    if (meta->has_sweeper) {
        (void)pthread_join(meta->sweeper, NULL);
        meta->has_sweeper = false;
    }
}
