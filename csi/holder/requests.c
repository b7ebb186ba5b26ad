/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "csi/holder/process.h"
#include "csi/holder/supervisor_internal.h"
#include "util/error.h"
#include "util/log.h"

/*
 * A client's message is answered at once, or its socket becomes the mount's `waiter` and is
 * answered at the end of the phase, or the client was a mounter and its socket becomes the mount's
 * `mounter_socket`. Only the first leaves the socket with the client table.
 */
struct request {
    struct supervisor *s;
    struct client *client;
    struct message *m;
    const char *key;
    struct mounted *mounted; /* NULL: no such mount */
};

/* mount */

static uint64_t budget_used(const struct supervisor *s)
{
    const struct mounted *m;
    uint64_t sum = 0;

    TAILQ_FOREACH (m, &s->mounts, link) {
        sum += m->memory_bytes;
    }
    return sum;
}

/* Takes *fd. The running mounter gets them at once, a later one when it starts. */
static int set_credentials(struct supervisor *s, struct mounted *m, int *fd)
{
    int taken = *fd;
    int r;

    *fd = -1;
    r = mounted_set_fd(m, "credentials", taken);
    if (r == 0) {
        r = supervisor_keep(s, m, "credentials");
    }
    if (r == 0 && m->mounter_socket >= 0) {
        taken = mounted_fd(m, "credentials");
        r = message_send(m->mounter_socket, message_op("credentials"), &taken, 1, SEND_MS);
    }
    return r;
}

static bool mount_again(struct request *q, int config, int *credentials)
{
    struct mounted *m = q->mounted;

    if (strcmp(m->target, message_string(q->m, "target")) != 0 ||
        m->read_only != message_true(q->m, "read_only") ||
        !mounted_same_text(mounted_fd(m, "config"), config)) {
        supervisor_answer(q->client->socket, -EEXIST, "mounted in another way");
    } else if (m->phase == PHASE_FAILED) {
        supervisor_answer(q->client->socket, -EIO,
                          m->error[0] != '\0' ? m->error : "the mounter dies again and again");
    } else if (m->phase == PHASE_RUNNING) {
        int r = mounted_same_text(mounted_fd(m, "credentials"), *credentials)
                    ? 0
                    : set_credentials(q->s, m, credentials);

        supervisor_answer(q->client->socket, r, r < 0 ? "cannot pass the credentials on" : NULL);
    } else if (m->waiter >= 0 || m->phase == PHASE_UNMOUNTING || m->phase == PHASE_DRAINING) {
        supervisor_answer(q->client->socket, -EBUSY,
                          m->trying[0] != '\0' ? m->trying
                                               : "another call for this mount is under way");
    } else {
        m->waiter = q->client->socket;
        return true;
    }
    return false;
}

static int describe(const struct request *q, struct mounted *m)
{
    const char *target = message_string(q->m, "target");
    const char *source = message_string(q->m, "source");

    if (target[0] != '/' || strlen(target) >= sizeof(m->target)) {
        return -EINVAL;
    }
    (void)snprintf(m->target, sizeof(m->target), "%s", target);
    (void)snprintf(m->source, sizeof(m->source), "%s", source[0] != '\0' ? source : "skyvol");
    m->read_only = message_true(q->m, "read_only");
    m->memory_bytes = message_number(q->m, "memory_bytes");
    if (m->memory_bytes == 0) {
        m->memory_bytes = q->s->config->memory_bytes;
    }
    return 0;
}

static bool mount_new(struct request *q, int *config, int *credentials)
{
    const struct supervisor_config *c = q->s->config;
    CLEANUP(mounted_free_p) struct mounted *m = NULL;
    struct mounted *added;
    int r = mounted_new(q->key, &m);

    if (r == 0) {
        r = describe(q, m);
    }
    if (r == 0 &&
        (q->s->mount_count >= HOLDER_LIST_MAX ||
         (c->budget_bytes != 0 && budget_used(q->s) + m->memory_bytes > c->budget_bytes))) {
        supervisor_answer(q->client->socket, -ENOSPC,
                          "too many mounts, or beyond this node's memory budget");
        return false;
    }
    if (r == 0) {
        r = mounted_set_fd(m, "config", *config);
        *config = -1;
    }
    if (r == 0) {
        r = mounted_set_fd(m, "credentials", *credentials);
        *credentials = -1;
    }
    if (r == 0) {
        r = mounted_seal(m);
    }
    if (r < 0) {
        supervisor_answer(q->client->socket, r, "key, target or descriptors are not usable");
        return false;
    }
    m->waiter = q->client->socket;
    added = TAKE(m);
    supervisor_add(q->s, added);
    life_mount(q->s, added, message_number(q->m, "timeout_ms"));
    return true;
}

static bool do_mount(struct request *q)
{
    int config = message_take_fd(q->m, 0);
    int credentials = message_take_fd(q->m, 1);
    bool taken;

    if (q->mounted != NULL) {
        taken = mount_again(q, config, &credentials);
    } else {
        taken = mount_new(q, &config, &credentials);
    }
    cleanup_close(&config);
    cleanup_close(&credentials);
    return taken;
}

/* unmount, credentials */

static bool do_unmount(struct request *q)
{
    struct mounted *m = q->mounted;
    uint64_t drain_ms = message_number(q->m, "drain_ms");
    bool force = message_true(q->m, "force");

    if (m == NULL) {
        supervisor_answer(q->client->socket, 0, NULL);
        return false;
    }
    if (m->waiter >= 0 || m->phase == PHASE_UNMOUNTING || m->phase == PHASE_DRAINING ||
        m->exporting || (!force && m->phase != PHASE_RUNNING && m->phase != PHASE_FAILED)) {
        supervisor_answer(q->client->socket, -EBUSY, "the mount is being changed; ask again");
        return false;
    }
    m->waiter = q->client->socket;
    m->force = force;
    m->result = 0;
    if (m->phase == PHASE_RUNNING && drain_ms > 0) {
        life_drain(q->s, m, drain_ms, message_true(q->m, "keep"));
    } else if (m->phase == PHASE_FAILED && life_holds_bytes(q->s, m)) {
        life_export(q->s, m); /* its end unmounts */
    } else {
        life_unmount(q->s, m);
    }
    return true;
}

static bool do_credentials(struct request *q)
{
    int fd = message_take_fd(q->m, 0);
    int r = -ENOENT;

    if (q->mounted != NULL) {
        r = set_credentials(q->s, q->mounted, &fd);
    }
    cleanup_close(&fd);
    supervisor_answer(q->client->socket, r,
                      r == -ENOENT ? "no such mount" : "cannot pass the credentials on");
    return false;
}

static bool do_replace(struct request *q)
{
    int r = q->mounted != NULL ? life_replace(q->s, q->mounted) : -ENOENT;

    if (r < 0) {
        supervisor_answer(q->client->socket, r, r == -ENOENT ? "no such mount" : "not now");
        return false;
    }
    q->mounted->waiter = q->client->socket;
    return true;
}

/* status, list */

static cJSON *status_of(const struct mounted *m)
{
    cJSON *json = cJSON_CreateObject();

    if (json != NULL) {
        (void)cJSON_AddStringToObject(json, "key", m->key);
        (void)cJSON_AddStringToObject(json, "target", m->target);
        (void)cJSON_AddStringToObject(json, "source", m->source);
        (void)cJSON_AddStringToObject(json, "state", holder_state_name(mounted_state(m)));
        (void)cJSON_AddStringToObject(json, "error", m->error[0] != '\0' ? m->error : m->trying);
        (void)cJSON_AddNumberToObject(json, "mounter", m->mounter);
        (void)cJSON_AddNumberToObject(json, "restarts", m->restarts);
        (void)cJSON_AddNumberToObject(json, "oom_kills", m->oom_kills);
        (void)cJSON_AddNumberToObject(json, "pause_ms", (double)m->pause_ms);
        (void)cJSON_AddNumberToObject(json, "pause_max_ms", (double)m->pause_max_ms);
    }
    return json;
}

static bool do_status(struct request *q)
{
    cJSON *json;

    if (q->mounted == NULL) {
        supervisor_answer(q->client->socket, -ENOENT, "no such mount");
        return false;
    }
    json = status_of(q->mounted);
    if (json != NULL) {
        (void)cJSON_AddNumberToObject(json, "result", 0);
    }
    supervisor_tell(q->client->socket, json, NULL, 0);
    return false;
}

static bool do_list(struct request *q)
{
    const struct mounted *m;
    int r = 0;

    TAILQ_FOREACH (m, &q->s->mounts, link) {
        r = r < 0 ? r : message_send(q->client->socket, status_of(m), NULL, 0, SEND_MS);
    }
    supervisor_answer(q->client->socket, 0, NULL);
    return false;
}

/* fetch, offer, takeover */

static int send_descriptors(int socket, const struct mounted *m, const char *op)
{
    cJSON *json = message_op(op);
    cJSON *names = json != NULL ? cJSON_AddArrayToObject(json, "names") : NULL;
    int fds[HOLDER_FDS_MAX];

    if (names == NULL) {
        cJSON_Delete(json);
        return -ENOMEM;
    }
    (void)cJSON_AddStringToObject(json, "key", m->key);
    if (strcmp(op, "mount") != 0) {
        (void)cJSON_AddNumberToObject(json, "result", 0);
    }
    for (unsigned i = 0; i < m->kept_count; i++) {
        (void)cJSON_AddItemToArray(names, cJSON_CreateString(m->kept[i].name));
        fds[i] = m->kept[i].fd;
    }
    return message_send(socket, json, fds, m->kept_count, SEND_MS);
}

static bool do_fetch(struct request *q)
{
    if (q->mounted == NULL) {
        supervisor_answer(q->client->socket, -ENOENT, "no such mount");
    } else {
        (void)send_descriptors(q->client->socket, q->mounted, "descriptors");
    }
    return false;
}

static int adopt_named(struct mounted *m, struct message *message)
{
    const cJSON *name;
    unsigned i = 0;
    int r = 0;

    cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(message->json, "names"))
    {
        int fd = message_take_fd(message, i++);

        if (r == 0) {
            r = mounted_set_fd(m, name->valuestring != NULL ? name->valuestring : "", fd);
        }
    }
    return r;
}

static bool do_offer(struct request *q)
{
    struct mounted *m = NULL;
    int r;

    if (q->mounted != NULL) {
        supervisor_answer(q->client->socket, 0, NULL);
        return false;
    }
    r = mounted_new(q->key, &m);
    if (r == 0) {
        r = adopt_named(m, q->m);
    }
    if (r == 0) {
        r = mounted_unseal(m);
    }
    supervisor_answer(q->client->socket, r, r < 0 ? "not the descriptors of a mount" : NULL);
    if (r < 0) {
        mounted_free(m);
        return false;
    }
    supervisor_add(q->s, m);
    for (unsigned i = 0; i < m->kept_count; i++) {
        (void)supervisor_keep(q->s, m, m->kept[i].name);
    }
    inherit_settle(q->s, m);
    return false;
}

/* A successor asks for everything. Once it has it, this holder ends; the mounters go to it. */
static bool do_takeover(struct request *q)
{
    CLEANUP(message_done) struct message done = MESSAGE_INIT;
    const struct mounted *m;
    int r = 0;

    TAILQ_FOREACH (m, &q->s->mounts, link) {
        r = r < 0 ? r : send_descriptors(q->client->socket, m, "mount");
    }
    supervisor_answer(q->client->socket, r, r < 0 ? "hand-over failed" : NULL);
    if (r == 0) {
        r = message_receive(q->client->socket, ASK_MS, &done);
    }
    if (r < 0 || strcmp(message_string(&done, "op"), "taken") != 0) {
        log_warn("a successor has asked for the mounts and not taken them", NULL);
        return false;
    }
    log_info("handed over to a successor", "mounts", log_num(q->s->mount_count), NULL);
    q->s->leaving = true;
    r = keeper_exit(q->s->config->keeper);
    if (r < 0) {
        log_warn("the keeper has gone already", NULL);
    }
    return false;
}

/* hello: a mounter that has lost its holder */

static void refuse_mounter(struct request *q, const char *why)
{
    log_warn("refused a mounter", "mount", q->key, "why", why, NULL);
    supervisor_tell(q->client->socket, message_op("quiesce"), NULL, 0);
}

static int adopt_unknown(struct request *q)
{
    struct mounted *m;
    int r = mounted_new(q->key, &m);

    if (r < 0) {
        return r;
    }
    r = mounted_set_fd(m, "device", message_take_fd(q->m, 0));
    if (r < 0) {
        mounted_free(m);
        return r;
    }
    supervisor_add(q->s, m);
    m->phase = PHASE_ORPHAN;
    m->was_ready = true;
    q->mounted = m;
    return supervisor_keep(q->s, m, "device");
}

static bool do_hello(struct request *q)
{
    enum { INTRODUCTION_MS = 10000 };
    struct mounted *m = q->mounted;
    int pidfd = -1;
    int r = 0;

    if (m != NULL && m->mounter > 0 && m->mounter != q->client->pid) {
        refuse_mounter(q, "another one serves this mount");
        return false;
    }
    if (m != NULL && (m->phase == PHASE_UNMOUNTING || m->phase == PHASE_FAILED)) {
        refuse_mounter(q, "the mount is ending");
        return false;
    }
    r = q->client->pid > 0 ? process_open(q->client->pid, &pidfd) : -ESRCH;
    if (r == 0 && m == NULL) {
        r = adopt_unknown(q);
        m = q->mounted;
    }
    if (r < 0) {
        cleanup_close(&pidfd);
        refuse_mounter(q, error_text(NULL, r));
        return false;
    }
    assert(m != NULL);
    cleanup_close(&m->mounter_socket);
    cleanup_close(&m->mounter_pidfd);
    m->mounter = q->client->pid;
    m->mounter_pidfd = pidfd;
    m->mounter_socket = q->client->socket;
    m->deadline_ms = supervisor_now_ms() + INTRODUCTION_MS;
    if (mounted_seal_mounter(m) == 0) {
        (void)supervisor_keep(q->s, m, "mounter");
    }
    return true;
}

/* Dispatch */

typedef bool request_fn(struct request *q);

static const struct {
    const char *op;
    request_fn *handle;
} table[] = {
    {"mount", do_mount},     {"unmount", do_unmount}, {"credentials", do_credentials},
    {"status", do_status},   {"list", do_list},       {"fetch", do_fetch},
    {"offer", do_offer},     {"hello", do_hello},     {"takeover", do_takeover},
    {"replace", do_replace},
};

bool requests_client(struct supervisor *s, struct client *c)
{
    CLEANUP(message_done) struct message m = MESSAGE_INIT;
    struct request q = {.s = s, .client = c, .m = &m};

    if (message_receive(c->socket, 0, &m) < 0) {
        return false;
    }
    q.key = message_string(&m, "key");
    q.mounted = supervisor_find(s, q.key);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(message_string(&m, "op"), table[i].op) == 0) {
            return table[i].handle(&q);
        }
    }
    supervisor_answer(c->socket, -EOPNOTSUPP, "unknown request");
    return false;
}

/* What mounters say */

static void on_keep(struct supervisor *s, struct mounted *m, struct message *message)
{
    const char *name = message_string(message, "name");
    int r = mounted_set_fd(m, name, message_take_fd(message, 0));
    cJSON *json;

    if (r == 0) {
        r = supervisor_keep(s, m, name);
    }
    if (r < 0) {
        log_error("cannot keep memory of a mounter", "mount", m->key, "name", name, NULL);
        return; /* without an acknowledgement it does not use it */
    }
    json = message_op("kept");
    if (json != NULL) {
        (void)cJSON_AddStringToObject(json, "name", name);
    }
    supervisor_tell(m->mounter_socket, json, NULL, 0);
}

static void on_ready(struct supervisor *s, struct mounted *m)
{
    if (m->target[0] == '\0' && mounted_unseal(m) < 0) {
        log_error("a mounter does not know what it mounts", "mount", m->key, NULL);
        return;
    }
    life_ready(s, m);
}

void requests_mounter(struct supervisor *s, struct mounted *m)
{
    CLEANUP(message_done) struct message message = MESSAGE_INIT;
    int r = message_receive(m->mounter_socket, 0, &message);
    const char *op;
    int result;

    if (r == -ETIMEDOUT) {
        return;
    }
    if (r < 0) {
        cleanup_close(&m->mounter_socket); /* its pidfd tells whether it is dead */
        m->mounter_socket = -1;
        return;
    }
    op = message_string(&message, "op");
    result = -(int)message_number(&message, "errno");
    if (strcmp(op, "keep") == 0) {
        on_keep(s, m, &message);
    } else if (strcmp(op, "ready") == 0) {
        on_ready(s, m);
    } else if (strcmp(op, "trying") == 0) {
        life_trying(m, result, message_string(&message, "error"));
    } else if (strcmp(op, "failed") == 0) {
        life_failed(s, m, result, message_string(&message, "error"));
    } else if (strcmp(op, "drained") == 0) {
        life_drained(s, m,
                     &(struct life_drained){result, (unsigned)message_number(&message, "kept"),
                                            message_string(&message, "error")});
    }
}
