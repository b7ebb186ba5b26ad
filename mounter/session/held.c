/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/session/held.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "mount/message.h"
#include "util/clock.h"
#include "util/error.h"
#include "util/log.h"
#include "util/mutex.h"

/*
 * One thread receives. `socket` changes only in that thread; others send on it under `sending`,
 * which is also held while the socket is exchanged. `generation` counts the holders seen.
 *
 *   connected --EOF--> looking --hello, device, regions acknowledged--> connected
 *
 * Lock order: sending, then lock. Neither is held while an event is called.
 */
enum { TEXT_SIZE = 128, HOLD_TIMEOUT_MS = 10000, SEND_TIMEOUT_MS = 5000 };

struct held {
    const struct held_events *events;
    void *context;
    struct keep *keep;
    int device;
    char key[TEXT_SIZE + 1];
    char path[TEXT_SIZE]; /* where a new holder listens */
    bool resend;
    char journal[PATH_MAX];
    uint64_t journal_max;
    uint64_t memory_bytes;
    pthread_t thread;
    bool started;

    struct mutex sending;
    int socket GUARDED_BY(sending); /* -1: no holder at the moment */

    struct mutex lock;
    struct cond changed;
    bool quit GUARDED_BY(lock);
    bool ready GUARDED_BY(lock);
    char acknowledged[KEEP_NAME_MAX] GUARDED_BY(lock);
};

struct keep *held_keep(struct held *held)
{
    return held->keep;
}

int held_device(const struct held *held)
{
    return held->device;
}

const char *held_key(const struct held *held)
{
    return held->key;
}

const char *held_journal(const struct held *held, uint64_t *ret_max_bytes)
{
    *ret_max_bytes = held->journal_max;
    return held->journal;
}

bool held_resend(const struct held *held)
{
    return held->resend;
}

uint64_t held_memory(const struct held *held)
{
    return held->memory_bytes;
}

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

static bool quits(struct held *held)
{
    bool quit;

    mutex_lock(&held->lock);
    quit = held->quit;
    mutex_unlock(&held->lock);
    return quit;
}

static int send_to_holder(struct held *held, cJSON *json, const int *fds, unsigned count)
{
    int r = -EPIPE;

    mutex_lock(&held->sending);
    if (held->socket >= 0) {
        r = message_send(held->socket, json, fds, count, SEND_TIMEOUT_MS);
    } else {
        cJSON_Delete(json);
    }
    mutex_unlock(&held->sending);
    return r;
}

static cJSON *keep_message(const char *name)
{
    cJSON *json = message_op("keep");

    if (json != NULL) {
        (void)cJSON_AddStringToObject(json, "name", name);
    }
    return json;
}

/* A region is safe when a holder has said so; which of two holders does not matter. */
static int hold(void *context, const char *name, int fd, struct error *err)
{
    struct held *held = context;
    uint64_t until = now_ms() + HOLD_TIMEOUT_MS;
    bool safe = false;

    while (!safe && now_ms() < until) {
        int r = send_to_holder(held, keep_message(name), &fd, 1);

        mutex_lock(&held->lock);
        for (int i = 0; i < 20 && !safe; i++) {
            safe = strcmp(held->acknowledged, name) == 0;
            if (!safe) {
                cond_wait_ms(&held->changed, &held->lock, 50);
            }
            if (r < 0) {
                break;
            }
        }
        mutex_unlock(&held->lock);
    }
    return safe ? 0 : error_set(err, -ETIMEDOUT, "the holder does not keep memory '%s'", name);
}

/* Messages from the holder */

static bool is_ready(struct held *held)
{
    bool ready;

    mutex_lock(&held->lock);
    ready = held->ready;
    mutex_unlock(&held->lock);
    return ready;
}

static void on_kept(struct held *held, const struct message *m)
{
    mutex_lock(&held->lock);
    (void)snprintf(held->acknowledged, sizeof(held->acknowledged), "%s", message_string(m, "name"));
    cond_broadcast(&held->changed);
    mutex_unlock(&held->lock);
}

static void on_credentials(struct held *held, struct message *m)
{
    int fd = message_take_fd(m, 0);
    int r = fd < 0 ? -EBADMSG : keep_adopt(held->keep, "credentials", fd);

    if (r < 0) {
        log_error("new credentials are lost", "error", error_text(NULL, r), NULL);
        return;
    }
    if (is_ready(held)) {
        held->events->credentials(held->context);
    }
}

void held_drained(struct held *held, uint32_t kept_files, int result, const struct error *why)
{
    cJSON *json = message_op("drained");
    int r;

    if (json != NULL) {
        (void)cJSON_AddNumberToObject(json, "kept", kept_files);
        (void)cJSON_AddNumberToObject(json, "errno", result < 0 ? -result : 0);
        (void)cJSON_AddStringToObject(json, "error", result < 0 ? error_text(why, result) : "");
    }
    r = send_to_holder(held, json, NULL, 0);
    if (r < 0) {
        log_warn("the holder has gone while draining", "error", error_text(NULL, r), NULL);
    }
}

static void on_drain(struct held *held, const struct message *m)
{
    const struct held_drain drain = {message_number(m, "deadline_ms"), message_true(m, "keep")};
    struct error err = ERROR_INIT;
    uint32_t kept = 0;
    int result = held->events->drain(held->context, &drain, &kept, &err);

    held_drained(held, kept, result, &err);
}

/* Events wait for held_ready(). False: held_free() came first. */
static bool wait_until_ready(struct held *held)
{
    bool ready;

    mutex_lock(&held->lock);
    while (!held->ready && !held->quit) {
        cond_wait_ms(&held->changed, &held->lock, 1000);
    }
    ready = held->ready && !held->quit;
    mutex_unlock(&held->lock);
    return ready;
}

static void handle(struct held *held, struct message *m)
{
    const char *op = message_string(m, "op");

    if (strcmp(op, "kept") == 0) {
        on_kept(held, m);
    } else if (strcmp(op, "credentials") == 0) {
        on_credentials(held, m);
    } else if (!wait_until_ready(held)) {
        return;
    } else if (strcmp(op, "drain") == 0) {
        on_drain(held, m);
    } else if (strcmp(op, "quiesce") == 0) {
        held->events->quiesce(held->context);
    } else {
        log_warn("unknown message from the holder", "op", op, NULL);
    }
}

/* A new holder */

struct give {
    int socket;
};

static int give_region(void *context, const char *name, int fd, struct error *err)
{
    CLEANUP(message_done) struct message answer = MESSAGE_INIT;
    const struct give *give = context;
    int r = message_send(give->socket, keep_message(name), &fd, 1, SEND_TIMEOUT_MS);

    (void)err;
    if (r == 0) {
        r = message_receive(give->socket, SEND_TIMEOUT_MS, &answer);
    }
    if (r == 0 && strcmp(message_string(&answer, "op"), "kept") != 0) {
        r = -ESHUTDOWN; /* "quiesce": it has another mounter for this mount */
    }
    return r;
}

/* Give a holder that may know nothing of us all it has to keep. */
static int introduce(struct held *held, int socket)
{
    struct give give = {.socket = socket};
    cJSON *json = message_op("hello");
    int r;

    if (json != NULL) {
        (void)cJSON_AddStringToObject(json, "key", held->key);
    }
    r = message_send(socket, json, &held->device, 1, SEND_TIMEOUT_MS);
    if (r == 0) {
        r = keep_each(held->keep, give_region, &give, NULL);
    }
    if (r == 0 && is_ready(held)) {
        r = message_send(socket, message_op("ready"), NULL, 0, SEND_TIMEOUT_MS);
    }
    return r;
}

static void look_for_holder(struct held *held)
{
    enum { FIRST_PAUSE_MS = 20, PAUSE_MAX_MS = 500 };
    uint64_t pause_ms = FIRST_PAUSE_MS;

    log_warn("the holder has gone; waiting for its successor", "mount", held->key, NULL);
    while (!quits(held)) {
        int socket = -1;
        int r = message_connect(held->path, &socket);

        if (r == 0) {
            r = message_check_peer(socket, NULL);
        }
        if (r == 0) {
            r = introduce(held, socket);
        }
        if (r == 0) {
            mutex_lock(&held->sending);
            held->socket = socket;
            mutex_unlock(&held->sending);
            log_info("a new holder keeps the mount", "mount", held->key, NULL);
            return;
        }
        cleanup_close(&socket);
        if (r == -ESHUTDOWN) {
            log_error("the holder does not want this mounter", "mount", held->key, NULL);
            held->events->quiesce(held->context);
            pause_ms = PAUSE_MAX_MS;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = (long)pause_ms * 1000000}, NULL);
        pause_ms = pause_ms * 2 < PAUSE_MAX_MS ? pause_ms * 2 : PAUSE_MAX_MS;
    }
}

static void drop_socket(struct held *held)
{
    mutex_lock(&held->sending);
    cleanup_close(&held->socket);
    held->socket = -1;
    mutex_unlock(&held->sending);
}

/* Only this thread changes the socket, so it may read it without the lock. */
LOCK_UNCHECKED
static void *listen_main(void *argument)
{
    enum { POLL_MS = 60000 };
    struct held *held = argument;

    (void)pthread_setname_np(pthread_self(), "held");
    while (!quits(held)) {
        CLEANUP(message_done) struct message m = MESSAGE_INIT;
        int r = message_receive(held->socket, POLL_MS, &m);

        if (r == 0) {
            handle(held, &m);
        } else if (r != -ETIMEDOUT && !quits(held)) {
            drop_socket(held);
            look_for_holder(held);
        }
    }
    return NULL;
}

/* Start */

static int adopt_all(struct held *held, struct message *m)
{
    const cJSON *name;
    unsigned i = 1; /* 0 is the device */

    cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(m->json, "names"))
    {
        int fd = message_take_fd(m, i++);
        int r = fd < 0 || cJSON_GetStringValue(name) == NULL
                    ? -EBADMSG
                    : keep_adopt(held->keep, name->valuestring, fd);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int receive_start(struct held *held, int socket, struct error *err)
{
    CLEANUP(message_done) struct message m = MESSAGE_INIT;
    int r = message_receive(socket, HOLD_TIMEOUT_MS, &m);

    if (r < 0) {
        return error_set(err, r, "waiting for the holder: %s", error_text(NULL, r));
    }
    held->device = message_take_fd(&m, 0);
    if (strcmp(message_string(&m, "op"), "start") != 0 || held->device < 0) {
        return error_set(err, -EBADMSG, "the holder has not said 'start'");
    }
    (void)snprintf(held->key, sizeof(held->key), "%s", message_string(&m, "key"));
    (void)snprintf(held->path, sizeof(held->path), "%s", message_string(&m, "socket"));
    held->resend = message_true(&m, "resend");
    (void)snprintf(held->journal, sizeof(held->journal), "%s", message_string(&m, "journal"));
    held->journal_max = message_number(&m, "journal_max");
    held->memory_bytes = message_number(&m, "memory_bytes");
    r = keep_new(&held->keep);
    if (r == 0) {
        r = adopt_all(held, &m);
    }
    return r < 0 ? error_set(err, r, "the holder's descriptors: %s", error_text(NULL, r)) : 0;
}

LOCK_UNCHECKED
int held_new(int socket, const struct held_events *events, void *context, struct held **ret,
             struct error *err)
{
    CLEANUP(held_free_p) struct held *held = calloc(1, sizeof(*held));
    int error;
    int r;

    if (held == NULL) {
        (void)close(socket);
        return -ENOMEM;
    }
    held->events = events;
    held->context = context;
    held->socket = socket;
    held->device = -1;
    mutex_init(&held->sending);
    mutex_init(&held->lock);
    cond_init(&held->changed);
    (void)fcntl(socket, F_SETFD, FD_CLOEXEC);
    r = receive_start(held, socket, err);
    if (r < 0) {
        return r;
    }
    keep_set_hold(held->keep, hold, held);
    error = pthread_create(&held->thread, NULL, listen_main, held);
    if (error != 0) {
        return error_set(err, -error, "starting a thread: %s", error_text(NULL, error));
    }
    held->started = true;
    *ret = TAKE(held);
    return 0;
}

LOCK_UNCHECKED
void held_free(struct held *held)
{
    if (held == NULL) {
        return;
    }
    mutex_lock(&held->lock);
    held->quit = true;
    cond_broadcast(&held->changed);
    mutex_unlock(&held->lock);
    mutex_lock(&held->sending);
    if (held->socket >= 0) {
        (void)shutdown(held->socket, SHUT_RDWR);
    }
    mutex_unlock(&held->sending);
    if (held->started) {
        (void)pthread_join(held->thread, NULL);
    }
    keep_free(held->keep);
    cleanup_close(&held->socket);
    cleanup_close(&held->device);
    cond_done(&held->changed);
    mutex_done(&held->lock);
    mutex_done(&held->sending);
    free(held);
}

int held_ready(struct held *held, struct error *err)
{
    int r;

    mutex_lock(&held->lock);
    held->ready = true;
    cond_broadcast(&held->changed);
    mutex_unlock(&held->lock);
    r = send_to_holder(held, message_op("ready"), NULL, 0);
    if (r == -EPIPE) {
        return 0; /* its successor is told when it is found */
    }
    return r < 0 ? error_set(err, r, "telling the holder: %s", error_text(NULL, r)) : 0;
}

static int send_why(struct held *held, const char *op, const struct error *why)
{
    cJSON *json = message_op(op);

    if (json != NULL) {
        (void)cJSON_AddNumberToObject(json, "errno", why->code < 0 ? -why->code : EIO);
        (void)cJSON_AddStringToObject(json, "error", error_text(why, why->code));
    }
    return send_to_holder(held, json, NULL, 0);
}

void held_trying(struct held *held, const struct error *why)
{
    (void)send_why(held, "trying", why); /* a successor of the holder's waits for no more */
}

void held_failed(struct held *held, const struct error *why)
{
    int r = send_why(held, "failed", why);

    if (r < 0) {
        log_error("cannot tell the holder why", "error", error_text(why, why->code), NULL);
    }
}
