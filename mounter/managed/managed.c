/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/managed/managed.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount/message.h"
#include "mounter/managed/keys.h"
#include "skyvol/meta/v1/meta.pb-c.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/mutex.h"
#include "util/random.h"

/*
 *   NONE --OpenSession--> OPEN --renewed in time--> OPEN
 *    ^                     | lease over, NOT_FOUND: lost()
 *    +---------------------+
 *                          | ABORTED: lost(); another process serves this mount --> FENCED
 *
 * The lease runs from before the request that got it was sent: it ends here no later than there.
 */
enum {
    CALL_MS = 5000,
    CLOSE_MS = 2000,
    CONNECT_MS = 500,
    PAUSE_MIN_MS = 250,
    PAUSE_MAX_MS = 10000,
    LINGER_MS = 60000, /* between looks when fenced */
    KEPT_VERSION = 1,
    TLS_FILES = 3,
};
static const uint64_t kept_magic = 0x736b796d616e6167U; /* "skymanag" */

struct kept_managed {
    uint64_t magic;
    uint32_t version;
    uint32_t open; /* 1: the numbers below are a session's; written after them */
    uint64_t epoch;
    uint64_t lease_ms;
    uint64_t until_ms; /* monotonic */
    char id[MANAGED_ID_SIZE];
};

/* A channel and the certificates it uses, as files that only this process has. */
struct line {
    struct rpc_client *client;
    int fds[TLS_FILES];
    unsigned users; /* calls, and m->line; guarded by m->lock */
};

struct managed {
    struct mount_channel channel;
    struct managed_config config; /* without channel and ticket */
    struct kept_managed *kept;    /* written by the thread, under the lock */
    struct rpc_cancel *cancel;    /* of the thread's calls */
    pthread_t thread;

    struct mutex lock;
    struct cond changed;
    struct line *line GUARDED_BY(lock);
    struct mount_ticket ticket GUARDED_BY(lock);
    bool new_ticket GUARDED_BY(lock);
    bool look GUARDED_BY(lock); /* renew at once: a call was told that there is no session */
    bool quit GUARDED_BY(lock);
    bool started GUARDED_BY(lock); /* and not joined */
    bool fenced GUARDED_BY(lock);

    /* The thread's own. */
    uint32_t failures;
    char told[256]; /* the last failure that was logged */
};

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

bool managed_exclusive(const struct managed *m)
{
    return m->channel.exclusive;
}

const char *managed_volume(const struct managed *m)
{
    return m->channel.volume;
}

struct rpc_cancel *managed_cancel(const struct managed *m)
{
    return m->cancel;
}

/* ---- the connection ---- */

static void line_free(struct line *line)
{
    if (line != NULL) {
        rpc_client_free(line->client);
        for (int i = 0; i < TLS_FILES; i++) {
            cleanup_close(&line->fds[i]);
        }
        free(line);
    }
}

static int line_new(const struct mount_channel *channel, const struct mount_ticket *ticket,
                    struct line **ret, struct error *err)
{
    const char *const texts[TLS_FILES] = {ticket->ca, ticket->cert, ticket->key};
    struct line *line = calloc(1, sizeof(*line));
    char paths[TLS_FILES][32];
    const struct rpc_tls tls = {paths[0], paths[1], paths[2]};
    struct rpc_client_config config = {.target = channel->address,
                                       .tls = ticket->ca != NULL ? &tls : NULL,
                                       .server_name = channel->server_name};
    int r = 0;

    if (line == NULL) {
        return -ENOMEM;
    }
    line->users = 1;
    for (int i = 0; i < TLS_FILES; i++) {
        line->fds[i] = -1;
    }
    for (int i = 0; r == 0 && i < TLS_FILES && ticket->ca != NULL; i++) {
        r = message_seal("tls", texts[i], strlen(texts[i]), &line->fds[i]);
        (void)snprintf(paths[i], sizeof(paths[i]), "/proc/self/fd/%d", line->fds[i]);
    }
    r = r == 0 ? rpc_client_new(&config, &line->client, err) : r;
    if (r != 0) {
        line_free(line);
        return r;
    }
    *ret = line;
    return 0;
}

static struct line *line_take(struct managed *m)
{
    struct line *line;

    mutex_lock(&m->lock);
    line = m->line;
    if (line != NULL) {
        line->users++;
    }
    mutex_unlock(&m->lock);
    return line;
}

static void line_put(struct managed *m, struct line *line)
{
    bool last;

    mutex_lock(&m->lock);
    last = --line->users == 0;
    mutex_unlock(&m->lock);
    if (last) {
        line_free(line);
    }
}

static int copy_ticket(const struct mount_ticket *from, struct mount_ticket *ret)
{
    const char *const texts[] = {from->token, from->ca, from->cert, from->key};
    char **const slots[] = {&ret->token, &ret->ca, &ret->cert, &ret->key};

    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i] != NULL && (*slots[i] = strdup(texts[i])) == NULL) {
            mount_ticket_done(ret);
            return -ENOMEM;
        }
    }
    return 0;
}

/* A line by the newest ticket. */
static int connect_line(struct managed *m, struct error *err)
{
    CLEANUP(mount_ticket_done) struct mount_ticket ticket = MOUNT_TICKET_INIT;
    struct line *line = NULL;
    struct line *old;
    bool wanted;
    int r = 0;

    mutex_lock(&m->lock);
    wanted = m->new_ticket || m->line == NULL;
    if (wanted) {
        r = copy_ticket(&m->ticket, &ticket);
        m->new_ticket = false;
    }
    mutex_unlock(&m->lock);
    if (!wanted || r != 0) {
        return r;
    }
    r = line_new(&m->channel, &ticket, &line, err);
    if (r == 0) {
        mutex_lock(&m->lock);
        old = m->line;
        m->line = line;
        mutex_unlock(&m->lock);
        if (old != NULL) {
            line_put(m, old);
        }
    }
    return r;
}

int managed_set_ticket(struct managed *m, const struct mount_ticket *ticket)
{
    struct mount_ticket copy;
    int r = copy_ticket(ticket, &copy);

    if (r == 0) {
        keys_ask(m->config.keys);
        mutex_lock(&m->lock);
        mount_ticket_done(&m->ticket);
        m->ticket = copy;
        m->new_ticket = true;
        cond_broadcast(&m->changed);
        mutex_unlock(&m->lock);
    }
    return r;
}

int managed_call(struct managed *m, const struct managed_request *request, ProtobufCMessage **ret,
                 struct error *err)
{
    struct line *line = line_take(m);
    const struct rpc_request call = {.service = request->service,
                                     .method = request->method,
                                     .message = request->message,
                                     .timeout_ms = request->timeout_ms,
                                     .cancel = request->cancel,
                                     .ret_code = request->ret_code};
    int r;

    if (line == NULL) {
        return error_set(err, -ENOTCONN, "not connected with skyvol-meta yet");
    }
    if (request->connect_ms > 0) { /* if there is none by then, the call says why */
        (void)!rpc_client_connect(line->client, request->connect_ms);
    }
    r = rpc_client_call(line->client, &call, ret, err);
    line_put(m, line);
    /* Who does not wait for the connection has the thread see to it, for all. */
    if (r == -ENOENT || r == -ESTALE || (r == -ECONNREFUSED && request->connect_ms == 0)) {
        mutex_lock(&m->lock);
        m->look = true;
        cond_broadcast(&m->changed);
        mutex_unlock(&m->lock);
    }
    return r;
}

/* ---- the session ---- */

int managed_session(struct managed *m, uint64_t wait_ms, struct managed_session *ret)
{
    uint64_t until = now_ms() + wait_ms;
    const struct kept_managed *kept = m->kept;
    int r = -ENOLCK;

    mutex_lock(&m->lock);
    while ((kept->open == 0 || now_ms() >= kept->until_ms) && !m->quit && now_ms() < until) {
        cond_wait_ms(&m->changed, &m->lock, until - now_ms() + 1);
    }
    if (kept->open != 0 && now_ms() < kept->until_ms && !m->quit) {
        memcpy(ret->id, kept->id, sizeof(ret->id));
        ret->epoch = kept->epoch;
        ret->lease_ms = kept->lease_ms;
        r = 0;
    }
    mutex_unlock(&m->lock);
    return r;
}

/* Log what has changed, not every try. */
static void tell(struct managed *m, const char *what, const struct error *err, int r)
{
    char text[sizeof(m->told)];

    (void)snprintf(text, sizeof(text), "%s: %.200s", what, error_text(err, r));
    if (strcmp(text, m->told) != 0) {
        (void)snprintf(m->told, sizeof(m->told), "%s", text);
        log_warn(what, "volume", m->channel.volume, "error", error_text(err, r), NULL);
    }
}

static uint64_t pause_after(struct managed *m)
{
    uint64_t pause = PAUSE_MIN_MS;

    for (uint32_t i = 0; i < m->failures && pause < PAUSE_MAX_MS; i++) {
        pause *= 2;
    }
    m->failures++;
    pause = pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS;
    return pause / 2 + random_below(pause);
}

static void end_session(struct managed *m, bool fenced)
{
    mutex_lock(&m->lock);
    m->kept->open = 0;
    m->fenced = fenced;
    mutex_unlock(&m->lock);
    m->config.lost(m->config.context);
}

static void set_session(struct managed *m, const Skyvol__Meta__V1__OpenSessionResponse *out,
                        uint64_t sent_ms)
{
    struct kept_managed *kept = m->kept;

    mutex_lock(&m->lock);
    (void)snprintf(kept->id, sizeof(kept->id), "%s", out->session_id);
    kept->epoch = out->epoch;
    kept->lease_ms = out->lease_ms;
    kept->until_ms = sent_ms + out->lease_ms;
    __atomic_store_n(&kept->open, 1, __ATOMIC_RELEASE);
    m->look = false;
    cond_broadcast(&m->changed);
    mutex_unlock(&m->lock);
}

static int request(struct managed *m, const char *method, const ProtobufCMessage *in,
                   uint64_t timeout_ms, ProtobufCMessage **ret, struct error *err)
{
    return managed_call(m,
                        &(struct managed_request){
                            .service = &skyvol__meta__v1__sessions__descriptor,
                            .method = method,
                            .message = in,
                            .timeout_ms = timeout_ms,
                            .cancel = m->cancel,
                            .connect_ms = timeout_ms < CONNECT_MS ? timeout_ms : CONNECT_MS,
                        },
                        ret, err);
}

/* 0: an older server. */
static void tell_size(struct managed *m, uint64_t size_bytes)
{
    if (size_bytes != 0) {
        m->config.sized(m->config.context, size_bytes);
    }
}

/* Returns how long to pause. */
static uint64_t open_session(struct managed *m)
{
    CLEANUP(mount_ticket_done) struct mount_ticket ticket = MOUNT_TICKET_INIT;
    Skyvol__Meta__V1__OpenSessionRequest in = SKYVOL__META__V1__OPEN_SESSION_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct error err = ERROR_INIT;
    char key[RANDOM_ID_SIZE];
    uint64_t sent = now_ms();
    uint64_t pause;
    int r;

    random_id(key);
    mutex_lock(&m->lock);
    r = copy_ticket(&m->ticket, &ticket);
    mutex_unlock(&m->lock);
    in.idempotency_key = key;
    in.volume_id = m->channel.volume;
    in.node = m->channel.node;
    in.mount = m->channel.mount;
    in.read_only = m->config.read_only;
    in.exclusive = m->channel.exclusive;
    in.volume_token = ticket.token != NULL ? ticket.token : in.volume_token;
    r = r == 0 ? request(m, "OpenSession", &in.base, CALL_MS, &reply, &err) : r;
    if (r != 0) {
        tell(m, "no session with skyvol-meta; the mount does without", &err, r);
        return pause_after(m);
    }
    set_session(m, (const void *)reply, sent);
    pause = ((const Skyvol__Meta__V1__OpenSessionResponse *)(const void *)reply)->lease_ms / 3;
    tell_size(m, ((const Skyvol__Meta__V1__OpenSessionResponse *)(const void *)reply)->size_bytes);
    rpc_message_free(reply);
    m->failures = 0;
    m->told[0] = '\0';
    log_info("session opened", "volume", m->channel.volume, NULL);
    keys_ask(m->config.keys);
    m->config.opened(m->config.context);
    return pause;
}

static uint64_t renew_session(struct managed *m)
{
    Skyvol__Meta__V1__RenewSessionRequest in = SKYVOL__META__V1__RENEW_SESSION_REQUEST__INIT;
    struct kept_managed *kept = m->kept;
    ProtobufCMessage *reply = NULL;
    struct error err = ERROR_INIT;
    uint64_t sent = now_ms();
    uint64_t left = kept->until_ms > sent ? kept->until_ms - sent : 0;
    int r;

    in.session_id = kept->id;
    in.epoch = kept->epoch;
    r = left == 0
            ? -ENOENT
            : request(m, "RenewSession", &in.base, left < CALL_MS ? left : CALL_MS, &reply, &err);
    if (r == 0) {
        const Skyvol__Meta__V1__RenewSessionResponse *out = (const void *)reply;
        uint64_t pause = out->lease_ms / 3;

        mutex_lock(&m->lock);
        kept->until_ms = sent + out->lease_ms;
        m->look = false;
        cond_broadcast(&m->changed);
        mutex_unlock(&m->lock);
        tell_size(m, out->size_bytes);
        rpc_message_free(reply);
        if (m->failures > 0) {
            log_info("session renewed", "volume", m->channel.volume, NULL);
        }
        m->failures = 0;
        m->told[0] = '\0';
        return pause;
    }
    if (r == -ENOENT || r == -ESTALE) {
        log_error(r == -ESTALE ? "another process serves this mount: its locks are ours no more"
                               : "the session has ended: what it had locked is lost",
                  "volume", m->channel.volume, NULL);
        end_session(m, r == -ESTALE);
        return 0;
    }
    tell(m, "the session is not renewed", &err, r);
    left = pause_after(m);
    return left < kept->lease_ms / 6 ? left : kept->lease_ms / 6;
}

static uint64_t step(struct managed *m)
{
    struct error err = ERROR_INIT;
    bool fenced;
    int r = connect_line(m, &err);

    mutex_lock(&m->lock);
    fenced = m->fenced;
    m->look = false;
    mutex_unlock(&m->lock);
    if (r != 0) {
        tell(m, "no connection with skyvol-meta", &err, r);
    }
    if (m->kept->open != 0) {
        return renew_session(m); /* or sees that its lease is over */
    }
    return r != 0 ? pause_after(m) : fenced ? LINGER_MS : open_session(m);
}

/* The session, and what is renewed by it. */
static uint64_t step_all(struct managed *m)
{
    uint64_t pause = step(m);
    uint64_t began = now_ms();
    uint64_t keys;
    uint64_t took;

    if (m->config.keys == NULL || m->kept->open == 0) {
        return pause;
    }
    keys = keys_step(m->config.keys, m);
    took = now_ms() - began;
    pause = pause > took ? pause - took : 0; /* the lease runs on */
    return keys < pause ? keys : pause;
}

static void *managed_main(void *arg)
{
    struct managed *m = arg;

    (void)pthread_setname_np(pthread_self(), "managed");
    mutex_lock(&m->lock);
    while (!m->quit) {
        uint64_t pause;
        uint64_t until;

        mutex_unlock(&m->lock);
        pause = step_all(m);
        until = now_ms() + pause;
        mutex_lock(&m->lock);
        while (!m->quit && !m->new_ticket && !m->look && now_ms() < until) {
            cond_wait_ms(&m->changed, &m->lock, until - now_ms() + 1);
        }
    }
    mutex_unlock(&m->lock);
    return NULL;
}

/* ---- begin, end ---- */

static int copy_channel(const struct mount_channel *from, struct mount_channel *ret)
{
    ret->address = strdup(from->address);
    ret->volume = strdup(from->volume);
    ret->node = strdup(from->node);
    ret->mount = strdup(from->mount);
    ret->server_name = from->server_name != NULL ? strdup(from->server_name) : NULL;
    ret->exclusive = from->exclusive;
    return ret->address == NULL || ret->volume == NULL || ret->node == NULL || ret->mount == NULL ||
                   (from->server_name != NULL && ret->server_name == NULL)
               ? -ENOMEM
               : 0;
}

static int adopt(struct managed *m, struct error *err)
{
    struct keep_region region;
    int r = keep_region(m->config.keep, "managed", sizeof(*m->kept), &region, err);

    if (r != 0) {
        return r;
    }
    m->kept = region.data;
    if (region.fresh) {
        m->kept->version = KEPT_VERSION;
        m->kept->magic = kept_magic;
    } else if (m->kept->magic != kept_magic || m->kept->version != KEPT_VERSION ||
               memchr(m->kept->id, '\0', sizeof(m->kept->id)) == NULL) {
        return error_set(err, -EUCLEAN, "kept memory 'managed' is not one of ours");
    }
    return 0;
}

LOCK_UNCHECKED
int managed_new(const struct managed_config *config, struct managed **ret, struct error *err)
{
    struct managed *m = calloc(1, sizeof(*m));
    int r;

    if (m == NULL) {
        return -ENOMEM;
    }
    m->config = *config;
    m->config.channel = NULL;
    m->config.ticket = NULL;
    mutex_init(&m->lock);
    cond_init(&m->changed);
    r = copy_channel(config->channel, &m->channel);
    r = r == 0 ? copy_ticket(config->ticket, &m->ticket) : r;
    r = r == 0 ? rpc_cancel_new(&m->cancel) : r;
    r = r == 0 ? adopt(m, err) : r;
    r = r == 0 ? -pthread_create(&m->thread, NULL, managed_main, m) : r;
    m->started = r == 0;
    if (r != 0) {
        managed_free(m);
        return r;
    }
    *ret = m;
    return 0;
}

static void close_session(struct managed *m)
{
    Skyvol__Meta__V1__CloseSessionRequest in = SKYVOL__META__V1__CLOSE_SESSION_REQUEST__INIT;
    ProtobufCMessage *reply = NULL;
    struct error err = ERROR_INIT;
    int r;

    in.session_id = m->kept->id;
    in.epoch = m->kept->epoch;
    r = managed_call(m,
                     &(struct managed_request){.service = &skyvol__meta__v1__sessions__descriptor,
                                               .method = "CloseSession",
                                               .message = &in.base,
                                               .timeout_ms = CLOSE_MS},
                     &reply, &err);
    if (r != 0) {
        log_warn("the session stays until its lease ends", "volume", m->channel.volume, "error",
                 error_text(&err, r), NULL);
    }
    rpc_message_free(reply);
    m->kept->open = 0;
}

void managed_stop(struct managed *m)
{
    bool started;

    if (m == NULL) {
        return;
    }
    mutex_lock(&m->lock);
    m->quit = true;
    started = m->started;
    m->started = false;
    cond_broadcast(&m->changed);
    mutex_unlock(&m->lock);
    if (started) {
        rpc_cancel_now(m->cancel);
        (void)pthread_join(m->thread, NULL);
        if (m->kept->open != 0) {
            close_session(m);
        }
    }
}

LOCK_UNCHECKED
void managed_free(struct managed *m)
{
    if (m == NULL) {
        return;
    }
    managed_stop(m);
    if (m->line != NULL) {
        line_put(m, m->line);
    }
    rpc_cancel_free(m->cancel);
    mount_ticket_done(&m->ticket);
    mount_channel_done(&m->channel);
    cond_done(&m->changed);
    mutex_done(&m->lock);
    free(m);
}
