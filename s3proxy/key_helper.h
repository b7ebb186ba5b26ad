/* SPDX-License-Identifier: Apache-2.0 */
/*
 * key_helper.h - the process that brings the access keys of skyvol-meta into a file
 * (skyvol-s3-keys).
 *
 * It is another program, because gRPC costs more memory and start-up time than all of us. Its
 * arguments are addresses and names of files; secrets go from it to the workers by the file alone.
 *
 *     key_helper_start(&helper);             waits until it has asked once, or 6 s, or for a signal
 *     key_helper_ended(&helper);             it was reaped
 *     key_helper_again(&helper);             now and then: starts it again if it has ended
 *     key_helper_stop(&helper);
 *
 * For the one thread that has signals blocked. An empty struct (program NULL) does nothing.
 */
#ifndef S3PROXY_KEY_HELPER_H
#define S3PROXY_KEY_HELPER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { KEY_HELPER_PAUSE_MS = 2000, KEY_HELPER_ARGUMENTS = 24 };

struct key_helper {
    const char *program;                   /* NULL: there is none */
    char *arguments[KEY_HELPER_ARGUMENTS]; /* argv, NULL after the last; the caller's */
    const sigset_t *signals;               /* what ends the wait for the first answer */
    const sigset_t *mask;                  /* what the process begins with */
    pid_t pid;                             /* 0: not running */
    uint64_t ended_ms;                     /* when it ended */
};

/* That it cannot be started, or gets no answer, is logged: the keys that were known stay. */
void key_helper_start(struct key_helper *helper);
void key_helper_ended(struct key_helper *helper);
/* True while it is to be started again later. */
bool key_helper_again(struct key_helper *helper);
void key_helper_stop(struct key_helper *helper);

#endif
