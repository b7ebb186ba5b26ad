/* SPDX-License-Identifier: Apache-2.0 */
/* supervisor_internal.h - shared by the loop (supervisor.c), the life of a mount (life.c), the
 * mounters' and clients' messages (requests.c) and what is inherited (inherit.c). One thread. */
#ifndef HOLDER_SUPERVISOR_INTERNAL_H
#define HOLDER_SUPERVISOR_INTERNAL_H

#include <poll.h>

#include "csi/holder/mounted.h"
#include "csi/holder/supervisor.h"
#include "mount/message.h"

enum { CLIENTS_MAX = 64, SEND_MS = 1000, ASK_MS = 5000 };

struct client {
    int socket; /* -1: free */
    pid_t pid;
    uint64_t since_ms;
};

struct supervisor {
    const struct supervisor_config *config;
    struct mounted_list mounts;
    unsigned mount_count;
    struct client clients[CLIENTS_MAX];
    int listener;
    int signals;
    bool leaving;
    bool keeper_lost;
};

uint64_t supervisor_now_ms(void);
struct mounted *supervisor_find(struct supervisor *s, const char *key);
void supervisor_add(struct supervisor *s, struct mounted *m);
/* Forget it, here and at the keeper. */
void supervisor_remove(struct supervisor *s, struct mounted *m);

/* Tell the keeper of one descriptor. A keeper that is gone ends the supervisor, in good order. */
int supervisor_keep(struct supervisor *s, struct mounted *m, const char *name);

/* Send and do not care: a peer that is gone shows by its end. */
void supervisor_tell(int socket, cJSON *json, const int *fds, unsigned count);
/* An answer with a result; closes nothing. The text may be NULL. */
void supervisor_answer(int socket, int result, const char *text);
/* The answer to whoever waits for m, if somebody does. */
void supervisor_finish(struct mounted *m, int result, const char *text);

/* life.c: each changes the phase. */
void life_mount(struct supervisor *s, struct mounted *m, uint64_t timeout_ms);
void life_start_mounter(struct supervisor *s, struct mounted *m);
void life_ready(struct supervisor *s, struct mounted *m);
/* It is not ready yet: why. */
void life_trying(struct mounted *m, int result, const char *text);
void life_failed(struct supervisor *s, struct mounted *m, int result, const char *text);
void life_drain(struct supervisor *s, struct mounted *m, uint64_t drain_ms, bool keep);
/* kept: so many files are in the journal. */
struct life_drained {
    int result;
    unsigned kept;
    const char *text;
};
void life_drained(struct supervisor *s, struct mounted *m, const struct life_drained *end);
/* The mounts that have failed hold dirty bytes until they are in the journal: see life.c. */
bool life_holds_bytes(const struct supervisor *s, const struct mounted *m);
void life_export(struct supervisor *s, struct mounted *m);
void life_unmount(struct supervisor *s, struct mounted *m);
/* Replace a mounter that is well, by a newer program. -EBUSY: not now. */
int life_replace(struct supervisor *s, struct mounted *m);
/* These may free m. */
void life_mounter_died(struct supervisor *s, struct mounted *m);
void life_helper_ended(struct supervisor *s, struct mounted *m);
void life_deadline(struct supervisor *s, struct mounted *m);

/* requests.c: a message of a client (true: its socket has another owner now) or a mounter. */
bool requests_client(struct supervisor *s, struct client *c);
void requests_mounter(struct supervisor *s, struct mounted *m);

/* inherit.c: before listening. 0, or -errno when a living predecessor does not hand over. */
int inherit_all(struct supervisor *s);
/* What m has are descriptors: find out where it stands. May free m. */
void inherit_settle(struct supervisor *s, struct mounted *m);

#endif
