/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.h - how much one access key, one address and all together may take, over all workers.
 *
 * The launcher makes a file anew with limits_create(), a worker maps it with limits_open(). In it
 * are LIMITS_SLOTS slots each for keys and addresses, found by a hash of a name; a slot in which
 * nothing goes on and nothing is owed says nothing, and is given to the next name. Only when all
 * near a name's place are busy do two names share one. Everything in there is a number that is
 * changed atomically: a worker that is killed holds no lock. What it had entered is taken back as
 * soon as another worker is started, which sees by the locks of the file who is gone.
 *
 *     what = limits_enter(limits, "AKIA...", &bounds, now_ns, &ticket);     LIMITS_NONE: it may
 *     wait_ns = limits_charge(limits, &ticket, LIMITS_UP, bytes, now_ns);   shaped: wait so long
 *     limits_leave(limits, &ticket);
 *
 * Rates are held by one time each, up to which what was taken is paid for: it lies behind now where
 * nobody asks, and may run ahead by the burst. Whoever is refused pays nothing.
 *
 * All functions but create and open take NULL, which limits nothing, and may be called by any
 * thread of any of the processes; a ticket is its owner's. Times are ns of CLOCK_MONOTONIC. One
 * that lies further ahead than any limit explains (the clock went back) is cut.
 */
#ifndef S3PROXY_LIMITS_H
#define S3PROXY_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* Slots of keys, and as many of addresses; places: workers whose end is noticed. */
enum { LIMITS_SLOTS = 1024, LIMITS_PLACES = 64 };

struct limits;

/* 0: no limit. Requests and bytes are a second's. */
struct key_limits {
    uint64_t requests, burst; /* burst 0: one second's */
    uint64_t concurrent;
    uint64_t upload, download;
};

#define KEY_LIMITS_UNTOLD UINT64_MAX /* in a file of keys: what holds for all of them */
#define KEY_LIMITS_RATE_MAX UINT64_C(1000000)
#define KEY_LIMITS_BYTES_MIN UINT64_C(1024)
#define KEY_LIMITS_BYTES_MAX (UINT64_C(1) << 40)

enum limits_way { LIMITS_UP, LIMITS_DOWN, LIMITS_WAYS };

enum limits_reason {
    LIMITS_NONE,
    LIMITS_RATE,       /* the name's requests a second */
    LIMITS_CONCURRENT, /* its requests at a time */
    LIMITS_SHARE,      /* it has its share of all that may go on, and others want some, too */
    LIMITS_FULL,       /* all that may go on goes on */
    /* Never answered, but to be counted: */
    LIMITS_ADDRESS,    /* connections of one address */
    LIMITS_UNFINISHED, /* a connection that has brought no request for the longest, of too many */
    LIMITS_SLOW,       /* a body or its reader slower than the least rate */
    LIMITS_MEMORY,     /* a body that waited for memory of others */
    LIMITS_REASONS
};

struct limits_bounds {
    struct key_limits key;
    bool address; /* the name is one: addresses, of which strangers have many, take no key's slot */
    uint64_t max; /* of all names together that count with it; 0: this one does not */
#define LIMITS_COUNTED (UINT64_MAX / 4) /* as max: counts, and is never reached */
};

struct limits_ticket {
    bool inside, of_all;
    uint32_t slot;
    uint64_t rate[LIMITS_WAYS];
    uint64_t wait_ns; /* when refused by LIMITS_RATE: it may be asked again after */
};

/* The bounds of a key where it has none of its own. */
void key_limits_complete(struct key_limits *limits, const struct key_limits *fallback);

/* Errors: of open(2), posix_fallocate(3), mmap(2); limits_open(): -EINVAL, another layout. */
int limits_create(const char *path, struct limits **ret) __attribute__((warn_unused_result));
int limits_open(const char *path, struct limits **ret) __attribute__((warn_unused_result));
void limits_close(struct limits *limits);

/* Where it is not LIMITS_NONE nothing was entered. */
enum limits_reason limits_enter(struct limits *limits, const char *name,
                                const struct limits_bounds *bounds, uint64_t now_ns,
                                struct limits_ticket *ret);
/* Also of a ticket that is empty ({0}), or was left before. */
void limits_leave(struct limits *limits, struct limits_ticket *ticket);

/* Pay for bytes that came or went (0: none): ns until the next may; 0: at once. */
uint64_t limits_charge(struct limits *limits, const struct limits_ticket *ticket,
                       enum limits_way way, uint64_t bytes, uint64_t now_ns);

/* Memory for bodies, bytes: what this worker has, and what all have together. A worker that has no
 * place counts for nothing. */
void limits_hold(struct limits *limits, uint64_t bytes);
uint64_t limits_held(const struct limits *limits);

void limits_count(struct limits *limits, enum limits_reason reason);
const char *limits_reason_name(enum limits_reason reason);
uint64_t limits_counted(const struct limits *limits, enum limits_reason reason);
/* How often the file was opened: by each worker once, when the rest of it is ready. */
uint64_t limits_opened(const struct limits *limits);
/* Requests that are inside and count with all. */
uint64_t limits_inside(const struct limits *limits);

#endif
