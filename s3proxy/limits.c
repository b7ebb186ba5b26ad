/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "s3proxy/shared_file.h"
#include "util/cleanup.h"

enum { LAYOUT = 4, NEAR = 16, ALL = 0, SLOTS = 2 * LIMITS_SLOTS };

#define SECOND_NS UINT64_C(1000000000)
#define CHARGE_MAX (UINT64_C(1) << 33)
#define SLACK_NS (SECOND_NS / 4)       /* bytes may run ahead by so much */
#define DEBT_MAX_NS (3600 * SECOND_NS) /* more is no debt but a clock that went back */

typedef atomic_uint_least64_t number;

struct slot {
    number name; /* hash; 0: never used */
    number paid; /* requests are paid for up to this time */
    number bytes[LIMITS_WAYS];
    atomic_int_least32_t inside;
};

struct shared {
    uint64_t layout;
    number counted[LIMITS_REASONS];
    number opened;
    /* slots[ALL]: of all together; addresses from LIMITS_SLOTS on */
    struct slot slots[SLOTS];
    atomic_uint_least16_t of_place[LIMITS_PLACES][SLOTS]; /* what of `inside` is whose */
    number held[LIMITS_PLACES];
};

struct limits {
    struct shared *shared;
    int fd;    /* holds the lock of our place */
    int place; /* negative: there are more workers than places */
};

void key_limits_complete(struct key_limits *limits, const struct key_limits *fallback)
{
    uint64_t *const mine[] = {&limits->requests, &limits->burst, &limits->concurrent,
                              &limits->upload, &limits->download};
    const uint64_t theirs[] = {fallback->requests, fallback->burst, fallback->concurrent,
                               fallback->upload, fallback->download};

    if (limits->requests != KEY_LIMITS_UNTOLD && limits->burst == KEY_LIMITS_UNTOLD) {
        limits->burst = 0; /* the other burst is for another rate */
    }
    for (size_t i = 0; i < sizeof(mine) / sizeof(mine[0]); i++) {
        *mine[i] = *mine[i] == KEY_LIMITS_UNTOLD ? theirs[i] : *mine[i];
    }
}

/* ---- the file ---- */

static int wrap(void *shared, struct limits **ret)
{
    struct limits *l = malloc(sizeof(*l));

    if (l == NULL) {
        (void)munmap(shared, sizeof(struct shared));
        return -ENOMEM;
    }
    *l = (struct limits){.shared = shared, .fd = -1, .place = -1};
    *ret = l;
    return 0;
}

int limits_create(const char *path, struct limits **ret)
{
    void *shared;
    int r = shared_file_create(path, sizeof(struct shared), LAYOUT, &shared);

    return r == 0 ? wrap(shared, ret) : r;
}

static bool lock_place(int fd, int place, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = place, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

/* Ours is the first that is free; what somebody left behind in any that is free is taken back. */
static void take_place(struct limits *l, int fd)
{
    for (int place = 0; place < LIMITS_PLACES; place++) {
        if (!lock_place(fd, place, F_WRLCK)) {
            continue;
        }
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            uint_least16_t left = atomic_exchange(&l->shared->of_place[place][slot], 0);

            (void)atomic_fetch_sub(&l->shared->slots[slot].inside, left);
        }
        atomic_store(&l->shared->held[place], 0);
        if (l->place < 0) {
            l->place = place;
        } else {
            (void)lock_place(fd, place, F_UNLCK);
        }
    }
}

int limits_open(const char *path, struct limits **ret)
{
    AUTOCLOSE int fd = -1;
    struct limits *l = NULL;
    void *shared;
    int r = shared_file_open(path, sizeof(struct shared), LAYOUT, &shared, &fd);

    r = r == 0 ? wrap(shared, &l) : r;
    if (r != 0) {
        return r;
    }
    take_place(l, fd);
    l->fd = take_fd(&fd);
    (void)atomic_fetch_add(&l->shared->opened, 1);
    *ret = l;
    return 0;
}

void limits_close(struct limits *limits)
{
    if (limits != NULL) {
        (void)munmap(limits->shared, sizeof(*limits->shared));
        if (limits->fd >= 0) {
            (void)close(limits->fd);
        }
        free(limits);
    }
}

/* ---- slots ---- */

/* FNV-1a: names of keys are the operator's, nobody chooses them to meet; addresses that meet share
 * what is theirs. */
static uint64_t hash_of(const char *name)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (; *name != '\0'; name++) {
        hash = (hash ^ (unsigned char)*name) * UINT64_C(1099511628211);
    }
    return hash != 0 ? hash : 1;
}

static uint32_t place_of(uint64_t hash, uint32_t step, bool address)
{
    return 1 + (uint32_t)((hash + step) % (LIMITS_SLOTS - 1)) + (address ? LIMITS_SLOTS : 0);
}

static uint32_t known(const struct shared *s, uint64_t hash, bool address)
{
    for (uint32_t step = 0; step < NEAR; step++) {
        uint32_t at = place_of(hash, step, address);

        if (atomic_load(&s->slots[at].name) == hash) {
            return at;
        }
    }
    return ALL;
}

/* What it says is what an empty one would say. */
static bool idle(const struct slot *slot, uint64_t now)
{
    bool owes = atomic_load(&slot->paid) > now;

    for (int way = 0; way < LIMITS_WAYS; way++) {
        owes = owes || atomic_load(&slot->bytes[way]) > now;
    }
    return !owes && atomic_load(&slot->inside) <= 0;
}

static uint32_t find(struct shared *s, uint64_t hash, bool address, uint64_t now)
{
    uint32_t at = known(s, hash, address);

    for (uint32_t step = 0; at == ALL && step < NEAR; step++) {
        struct slot *slot = &s->slots[place_of(hash, step, address)];
        uint_least64_t name = atomic_load(&slot->name);

        if (idle(slot, now) && atomic_compare_exchange_strong(&slot->name, &name, hash)) {
            break;
        }
    }
    at = at != ALL
             ? at
             : known(s, hash, address); /* where two put it at once, the first counts for both */
    return at != ALL ? at : place_of(hash, 0, address);
}

/* Entered: how many are inside now. */
static uint64_t add_inside(struct limits *l, uint32_t slot)
{
    int_least32_t before = atomic_fetch_add(&l->shared->slots[slot].inside, 1);

    if (l->place >= 0) {
        (void)atomic_fetch_add(&l->shared->of_place[l->place][slot], 1);
    }
    return before < 0 ? 1 : (uint64_t)before + 1;
}

static void take_inside(struct limits *l, uint32_t slot)
{
    if (l->place >= 0) {
        (void)atomic_fetch_sub(&l->shared->of_place[l->place][slot], 1);
    }
    (void)atomic_fetch_sub(&l->shared->slots[slot].inside, 1);
}

/* ---- rates ---- */

/* Take `cost` if no more than `ahead` is owed then: 0, or how much too early it is. */
static uint64_t pay(number *paid, uint64_t cost, uint64_t ahead, uint64_t now)
{
    uint_least64_t was = atomic_load(paid);

    while (was > now + ahead) { /* the clock went back, or the limit was higher: cut it for good */
        if (atomic_compare_exchange_weak(paid, &was, now + ahead)) {
            was = now + ahead;
        }
    }
    for (;;) {
        uint64_t to = (was < now ? now : was) + cost;

        if (to > now + ahead) {
            return to - now - ahead;
        }
        if (atomic_compare_exchange_weak(paid, &was, to)) {
            return 0;
        }
    }
}

/* Take it in any case: how long to wait until no more than `ahead` is owed. */
static uint64_t owe(number *paid, uint64_t cost, uint64_t ahead, uint64_t now)
{
    uint_least64_t was = atomic_load(paid);
    uint64_t to;

    do {
        to = was < now ? now : was;
        to = (to > now + DEBT_MAX_NS ? now : to) + cost;
    } while (cost > 0 && !atomic_compare_exchange_weak(paid, &was, to));
    return to > now + ahead ? to - now - ahead : 0;
}

/* ---- in and out ---- */

/* One name may have twice what is left free: alone two thirds, two of them two fifths each, and
 * there is always room for one who comes new. */
static enum limits_reason check_all(uint64_t all, uint64_t mine, uint64_t max)
{
    if (all > max) {
        return LIMITS_FULL;
    }
    return mine > 1 && mine > 2 * (max - all) ? LIMITS_SHARE : LIMITS_NONE;
}

enum limits_reason limits_enter(struct limits *limits, const char *name,
                                const struct limits_bounds *bounds, uint64_t now_ns,
                                struct limits_ticket *ret)
{
    const struct key_limits *key = &bounds->key;
    enum limits_reason why = LIMITS_NONE;
    uint64_t mine;

    *ret =
        (struct limits_ticket){.rate = {[LIMITS_UP] = key->upload, [LIMITS_DOWN] = key->download}};
    if (limits == NULL) {
        return LIMITS_NONE;
    }
    ret->slot = find(limits->shared, hash_of(name), bounds->address, now_ns);
    ret->inside = true;
    mine = add_inside(limits, ret->slot);
    if (key->concurrent > 0 && mine > key->concurrent) {
        why = LIMITS_CONCURRENT;
    }
    if (why == LIMITS_NONE && bounds->max > 0) {
        ret->of_all = true;
        why = check_all(add_inside(limits, ALL), mine, bounds->max);
    }
    if (why == LIMITS_NONE && key->requests > 0) {
        uint64_t cost = SECOND_NS / key->requests;
        uint64_t burst = key->burst > 0 ? key->burst : key->requests;

        ret->wait_ns = pay(&limits->shared->slots[ret->slot].paid, cost, burst * cost, now_ns);
        why = ret->wait_ns > 0 ? LIMITS_RATE : LIMITS_NONE;
    }
    if (why != LIMITS_NONE) {
        limits_leave(limits, ret);
    }
    return why;
}

void limits_leave(struct limits *limits, struct limits_ticket *ticket)
{
    if (limits != NULL && ticket->inside) {
        take_inside(limits, ticket->slot);
        if (ticket->of_all) {
            take_inside(limits, ALL);
        }
    }
    ticket->inside = ticket->of_all = false;
}

uint64_t limits_charge(struct limits *limits, const struct limits_ticket *ticket,
                       enum limits_way way, uint64_t bytes, uint64_t now_ns)
{
    uint64_t rate = ticket->rate[way];

    if (limits == NULL || rate == 0 || ticket->slot == ALL) {
        return 0;
    }
    bytes = bytes < CHARGE_MAX ? bytes : CHARGE_MAX; /* so that what follows fits 64 bits */
    return owe(&limits->shared->slots[ticket->slot].bytes[way], bytes * SECOND_NS / rate, SLACK_NS,
               now_ns);
}

/* ---- memory ---- */

void limits_hold(struct limits *limits, uint64_t bytes)
{
    if (limits != NULL && limits->place >= 0) {
        atomic_store(&limits->shared->held[limits->place], bytes);
    }
}

uint64_t limits_held(const struct limits *limits)
{
    uint64_t all = 0;

    for (int place = 0; limits != NULL && place < LIMITS_PLACES; place++) {
        all += atomic_load(&limits->shared->held[place]);
    }
    return all;
}

/* ---- numbers ---- */

void limits_count(struct limits *limits, enum limits_reason reason)
{
    if (limits != NULL) {
        (void)atomic_fetch_add(&limits->shared->counted[reason], 1);
    }
}

const char *limits_reason_name(enum limits_reason reason)
{
    static const char *const names[LIMITS_REASONS] = {
        "none", "rate", "concurrent", "share", "full", "address", "unfinished", "slow", "memory"};

    return names[reason];
}

uint64_t limits_counted(const struct limits *limits, enum limits_reason reason)
{
    return limits != NULL ? atomic_load(&limits->shared->counted[reason]) : 0;
}

uint64_t limits_opened(const struct limits *limits)
{
    return limits != NULL ? atomic_load(&limits->shared->opened) : 0;
}

uint64_t limits_inside(const struct limits *limits)
{
    int_least32_t n = limits != NULL ? atomic_load(&limits->shared->slots[ALL].inside) : 0;

    return n > 0 ? (uint64_t)n : 0;
}
