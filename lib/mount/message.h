/* SPDX-License-Identifier: Apache-2.0 */
/*
 * message.h - one JSON object and some descriptors, over a SOCK_SEQPACKET unix socket.
 *
 * What node plugin, holder and mounter say to each other. A message is one packet: an object of at
 * most MESSAGE_SIZE_MAX bytes with an "op" (or, in an answer, "ok" and "error"), and at most
 * MESSAGE_FDS_MAX descriptors. Secrets never stand in the JSON: they travel as sealed memfds.
 *
 *     CLEANUP(message_done) struct message m = MESSAGE_INIT;
 *
 *     r = message_receive(fd, 1000, &m);
 *     if (r == 0 && strcmp(message_string(&m, "op"), "ready") == 0) { ... }
 *
 * A received message owns its JSON and descriptors until message_done(); message_take_fd() hands
 * one on. Not thread-safe for one message; two threads may use one socket in two directions.
 */
#ifndef MOUNT_MESSAGE_H
#define MOUNT_MESSAGE_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MESSAGE_SIZE_MAX = 65536, MESSAGE_FDS_MAX = 32 };

struct message {
    cJSON *json;
    int fds[MESSAGE_FDS_MAX]; /* -1: taken */
    unsigned fd_count;
};

#define MESSAGE_INIT                                                                               \
    {                                                                                              \
        .json = NULL                                                                               \
    }

void message_done(struct message *m);

/* An empty object with this "op"; NULL when memory is out (the senders accept that: -ENOMEM). */
cJSON *message_op(const char *op);

/*
 * Send `json`, which is consumed in any case, with descriptors that stay the caller's.
 * Errors: -ENOMEM, -EMSGSIZE, -ETIMEDOUT, -EPIPE and what sendmsg(2) says.
 */
int message_send(int socket, cJSON *json, const int *fds, unsigned count, uint64_t timeout_ms)
    __attribute__((warn_unused_result));

/*
 * Errors: -ETIMEDOUT, -EPIPE (the other side has closed), -EBADMSG (not an object, too long, too
 * many descriptors), -ENOMEM. Descriptors are close-on-exec. timeout_ms 0: what is there, or
 * -ETIMEDOUT.
 */
int message_receive(int socket, uint64_t timeout_ms, struct message *ret)
    __attribute__((warn_unused_result));

/* A member of the object: "" and 0 where there is none of that type. Valid while m lives. */
const char *message_string(const struct message *m, const char *name);
uint64_t message_number(const struct message *m, const char *name);
bool message_true(const struct message *m, const char *name);

/* Descriptor `index`, now the caller's; -1 if there is none. */
int message_take_fd(struct message *m, unsigned index);

/* A listening socket at `path`, mode 0600, replacing a socket that is there. */
int message_listen(const char *path, int *ret) __attribute__((warn_unused_result));
/* -ECONNREFUSED and -ENOENT: nobody listens there (any more). */
int message_connect(const char *path, int *ret) __attribute__((warn_unused_result));

/* -EPERM unless the other side is root or has our own user id. ret_pid may be NULL. */
int message_check_peer(int socket, pid_t *ret_pid) __attribute__((warn_unused_result));

/* A sealed memfd with these bytes, for configuration and credentials. */
int message_seal(const char *name, const void *bytes, size_t len, int *ret)
    __attribute__((warn_unused_result));

#endif
