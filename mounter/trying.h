/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trying.h - tells who waits for a mount to begin that its store does not answer.
 *
 *     struct trying trying = {.store = "https://s3.example", .deadline_ms = 60000};
 *
 *     trying_begin(&trying);
 *     r = ... requests, each try of which comes to trying_tried() ...
 *     r = trying_end(&trying, r, &err);
 *
 * A store that refuses at once is told of at once, one that says nothing after three seconds, and
 * both again every fifteen: which store, why, and for how long it is still tried. One mount of a
 * process at a time. trying_tried() may be called by any thread at any time, also before and
 * after. `told`, if it is there, hears of each new kind of failure within a tenth of a second.
 */
#ifndef MOUNTER_TRYING_H
#define MOUNTER_TRYING_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"
#include "util/mutex.h"

struct trying {
    const char *store;    /* as it is shown */
    uint64_t deadline_ms; /* from the beginning; 0: 60 000 */
    /* Called by a thread of ours, with no lock held; the error is the callee's to change. NULL. */
    void (*told)(void *context, struct error *why);
    void *context;

    struct mutex lock;
    struct cond changed;
    uint64_t until_ms;
    pthread_t thread;
    bool started;
    bool ended GUARDED_BY(lock);
};

/* Without a thread for it nothing is told. */
void trying_begin(struct trying *t);

/*
 * Returns r; but where only the time was over at last, what the store had failed with until then:
 * who is told "no answer in time" would look for a firewall, and not at the port.
 */
int trying_end(struct trying *t, int r, struct error *err);

/* A try has ended after ms, with 0 or a negative errno value and its text. */
void trying_tried(int status, const char *text, uint64_t ms);

#endif
