/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/holder/supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "csi/holder/process.h"
#include "csi/holder/supervisor_internal.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/file.h"
#include "util/log.h"

enum {
    POLL_MAX = 3 + CLIENTS_MAX + 3 * HOLDER_LIST_MAX,
    CLIENT_MS = 5000, /* to send a request after connecting */
};

uint64_t supervisor_now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

struct mounted *supervisor_find(struct supervisor *s, const char *key)
{
    struct mounted *m;

    TAILQ_FOREACH (m, &s->mounts, link) {
        if (strcmp(m->key, key) == 0) {
            return m;
        }
    }
    return NULL;
}

void supervisor_add(struct supervisor *s, struct mounted *m)
{
    TAILQ_INSERT_TAIL(&s->mounts, m, link);
    s->mount_count++;
}

void supervisor_remove(struct supervisor *s, struct mounted *m)
{
    if (keeper_drop(s->config->keeper, m->key) < 0) {
        s->keeper_lost = true;
    }
    TAILQ_REMOVE(&s->mounts, m, link);
    s->mount_count--;
    cgroups_remove(s->config->cgroups, m->key);
    mounted_free(m);
}

int supervisor_keep(struct supervisor *s, struct mounted *m, const char *name)
{
    int r = keeper_put(s->config->keeper, m->key, name, mounted_fd(m, name));

    if (r < 0) {
        s->keeper_lost = s->keeper_lost || r != -ENOSPC;
    }
    return r;
}

void supervisor_tell(int socket, cJSON *json, const int *fds, unsigned count)
{
    int r = message_send(socket, json, fds, count, SEND_MS);

    if (r < 0) {
        log_debug("a message has not been taken", "error", error_text(NULL, r), NULL);
    }
}

void supervisor_answer(int socket, int result, const char *text)
{
    cJSON *json = cJSON_CreateObject();

    if (json != NULL) {
        (void)cJSON_AddNumberToObject(json, "result", result);
        (void)cJSON_AddStringToObject(json, "error", text != NULL ? text : "");
    }
    supervisor_tell(socket, json, NULL, 0);
}

void supervisor_finish(struct mounted *m, int result, const char *text)
{
    if (m->waiter >= 0) {
        supervisor_answer(m->waiter, result, text);
        (void)close(m->waiter);
        m->waiter = -1;
    }
}

/* Clients */

static void drop_client(struct client *c)
{
    cleanup_close(&c->socket);
    c->socket = -1;
}

static void accept_client(struct supervisor *s)
{
    int socket = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    pid_t pid = 0;

    if (socket < 0) {
        return;
    }
    if (message_check_peer(socket, &pid) < 0) {
        log_warn("refused a client that is neither root nor us", NULL);
        (void)close(socket);
        return;
    }
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (s->clients[i].socket < 0) {
            s->clients[i] =
                (struct client){.socket = socket, .pid = pid, .since_ms = supervisor_now_ms()};
            return;
        }
    }
    supervisor_answer(socket, -EBUSY, "too many callers at once");
    (void)close(socket);
}

static void serve_client(struct supervisor *s, struct client *c)
{
    if (requests_client(s, c)) {
        c->socket = -1; /* it has another owner now */
    } else {
        drop_client(c);
    }
}

/* The loop */

struct polled {
    struct pollfd fds[POLL_MAX];
    unsigned count;
    int timeout_ms;
};

static void add(struct polled *p, int fd)
{
    p->fds[p->count++] = (struct pollfd){.fd = fd, .events = POLLIN}; /* -1 is ignored */
}

static void collect(const struct supervisor *s, struct polled *p)
{
    enum { SLEEP_MAX_MS = 10000 };
    uint64_t now = supervisor_now_ms();
    uint64_t next = now + SLEEP_MAX_MS;
    const struct mounted *m;

    p->count = 0;
    add(p, s->signals);
    add(p, s->config->keeper);
    add(p, s->listener);
    for (int i = 0; i < CLIENTS_MAX; i++) {
        add(p, s->clients[i].socket);
        if (s->clients[i].socket >= 0 && s->clients[i].since_ms + CLIENT_MS < next) {
            next = s->clients[i].since_ms + CLIENT_MS;
        }
    }
    TAILQ_FOREACH (m, &s->mounts, link) {
        add(p, m->mounter_pidfd);
        add(p, m->mounter_socket);
        add(p, m->helper_pidfd);
        next = m->deadline_ms < next ? m->deadline_ms : next;
    }
    p->timeout_ms = next > now ? (int)(next - now) : 0;
}

static bool is_readable(const struct polled *p, int fd)
{
    for (unsigned i = 0; fd >= 0 && i < p->count; i++) {
        if (p->fds[i].fd == fd) {
            return p->fds[i].revents != 0;
        }
    }
    return false;
}

/*
 * One event for each mount and turn: an event may end the mount, or close descriptors whose
 * numbers then come again. Messages come before the death of who sent them.
 */
static void serve_mount(struct supervisor *s, struct mounted *m, const struct polled *p)
{
    if (is_readable(p, m->mounter_socket)) {
        requests_mounter(s, m);
    } else if (is_readable(p, m->mounter_pidfd)) {
        life_mounter_died(s, m);
    } else if (is_readable(p, m->helper_pidfd)) {
        life_helper_ended(s, m);
    } else if (supervisor_now_ms() >= m->deadline_ms) {
        life_deadline(s, m);
    }
}

static void serve_mounts(struct supervisor *s, const struct polled *p)
{
    struct mounted *next;

    for (struct mounted *m = TAILQ_FIRST(&s->mounts); m != NULL; m = next) {
        next = TAILQ_NEXT(m, link);
        serve_mount(s, m, p);
    }
}

static void serve_clients(struct supervisor *s, const struct polled *p)
{
    for (int i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &s->clients[i];

        if (is_readable(p, c->socket)) {
            serve_client(s, c);
        } else if (c->socket >= 0 && supervisor_now_ms() >= c->since_ms + CLIENT_MS) {
            drop_client(c);
        }
    }
}

static void serve_signals(struct supervisor *s)
{
    struct signalfd_siginfo info;

    while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        s->leaving = s->leaving || info.ssi_signo != SIGHUP;
    }
}

/*
 * Mounts first, then clients, new ones last: a descriptor that is closed on the way may be opened
 * again under the same number, and must not inherit the old one's event. What is opened in the
 * first two is asked about in the next turn only.
 */
static void turn(struct supervisor *s, struct polled *p)
{
    collect(s, p);
    if (poll(p->fds, p->count, p->timeout_ms) < 0) {
        return; /* EINTR; the next turn is soon */
    }
    if (is_readable(p, s->signals)) {
        serve_signals(s);
    }
    if (is_readable(p, s->config->keeper)) {
        s->keeper_lost = true; /* it never speaks unasked: this is its end */
    }
    serve_mounts(s, p);
    serve_clients(s, p);
    if (is_readable(p, s->listener)) {
        accept_client(s);
    }
}

static int open_signals(struct supervisor *s)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
        return -EINVAL;
    }
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signals < 0 ? -errno : 0;
}

static int prepare(struct supervisor *s, struct error *err)
{
    struct rlimit files;
    int r;

    TAILQ_INIT(&s->mounts);
    for (int i = 0; i < CLIENTS_MAX; i++) {
        s->clients[i].socket = -1;
    }
    s->listener = -1;
    s->signals = -1;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    if (access(s->config->mounter, X_OK) < 0) {
        return error_set(err, -errno, "cannot run the mounter %s: %s", s->config->mounter,
                         strerrordesc_np(errno));
    }
    r = open_signals(s);
    if (r == 0) {
        r = inherit_all(s);
    }
    if (r == 0) {
        r = file_make_parent(s->config->socket, 0700);
        r = r < 0 ? r : message_listen(s->config->socket, &s->listener);
        if (r < 0) {
            return error_set(err, r, "cannot make the socket %s: %s", s->config->socket,
                             strerrordesc_np(-r));
        }
    }
    return r;
}

static void done(struct supervisor *s)
{
    struct mounted *m;

    while ((m = TAILQ_FIRST(&s->mounts)) != NULL) {
        TAILQ_REMOVE(&s->mounts, m, link);
        mounted_free(m);
    }
    for (int i = 0; i < CLIENTS_MAX; i++) {
        drop_client(&s->clients[i]);
    }
    cleanup_close(&s->listener);
    cleanup_close(&s->signals);
}

int supervisor_run(const struct supervisor_config *config)
{
    struct supervisor s = {.config = config};
    struct polled *p = calloc(1, sizeof(*p));
    struct error err = ERROR_INIT;
    int r = p == NULL ? -ENOMEM : prepare(&s, &err);

    if (r < 0) {
        log_error("cannot start", "error", error_text(&err, r), NULL);
    } else {
        log_info("holder is ready", "socket", config->socket, "mounts", log_num(s.mount_count),
                 NULL);
    }
    while (r == 0 && !s.leaving && !s.keeper_lost) {
        turn(&s, p);
    }
    if (s.keeper_lost) {
        log_error("the keeper is gone; the mounters wait for the next holder", NULL);
    }
    free(p);
    done(&s);
    if (r < 0) {
        return KEEPER_CANNOT_START;
    }
    return s.keeper_lost ? 1 : 0;
}
