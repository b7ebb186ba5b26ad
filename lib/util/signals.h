/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signals.h - the signals a server knows, taken by one thread as ordinary function calls.
 *
 * SIGTERM, SIGINT: stop (drain); a second one ends the process at once, or, where there is `again`,
 * asks for an end that waits for nobody, and a third one ends it. SIGHUP: reload. SIGUSR1:
 * the log level goes from info to debug and back. SIGPIPE is ignored.
 *
 *     signals_block();                       first thing in main, before any thread
 *     r = signals_new(&(struct signals_config){.reload = reload, .context = x}, &signals);
 *     ... start to serve ...
 *     signals_wait_stop(signals);            the main thread waits here
 *     ... drain ...
 *     signals_free(signals);
 */
#ifndef UTIL_SIGNALS_H
#define UTIL_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

struct signals;

struct signals_config {
    /* Called from the signal thread, one at a time; any may be NULL. */
    void (*stop)(void *context);
    void (*again)(void *context);
    void (*reload)(void *context);
    void *context;
};

/* Block them in this thread and those it starts. Without it signals_new() still works if no other
 * thread runs yet. */
void signals_block(void);

int signals_new(const struct signals_config *config, struct signals **ret)
    __attribute__((warn_unused_result));

/* Wait until a stop was asked for by signal or by signals_stop(). */
void signals_wait_stop(struct signals *signals);
/* As above for at most timeout_ms; true when a stop was asked for. */
bool signals_wait_stop_ms(struct signals *signals, uint64_t timeout_ms);

/* Ask for it from the program itself (a fatal error in a thread). */
void signals_stop(struct signals *signals);

void signals_free(struct signals *signals);

#endif
