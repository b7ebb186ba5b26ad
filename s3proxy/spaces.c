/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/spaces.h"

#include <sys/mman.h>

#include "util/clock.h"

enum { SMALL, KEPT_SMALL_MAX = 32, LATELY_MS = 100 };

static const size_t sizes[SPACES_CLASSES] = {SPACES_SMALL, 256 * 1024, SPACES_LARGEST};

static size_t class_of(size_t size)
{
    size_t class = 0;

    while (class + 1 < SPACES_CLASSES && size > sizes[class]) {
        class ++;
    }
    return class;
}

static void *map(size_t class)
{
    void *bytes =
        mmap(NULL, sizes[class], PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return bytes != MAP_FAILED ? bytes : NULL;
}

void spaces_init(struct spaces *spaces, size_t part)
{
    *spaces = (struct spaces){.max = part, .part = part};
    mutex_init(&spaces->lock);
}

void spaces_share(struct spaces *spaces, struct limits *limits, size_t workers)
{
    if (limits != NULL) {
        spaces->limits = limits;
        spaces->of_all = spaces->part * workers;
        spaces->of_least = spaces->part / 4;
        spaces->max = spaces->of_all - spaces->of_least * (workers - 1);
    }
}

/* One that is kept, out of the list; NULL: there is none of this size. */
static void *pop_locked(struct spaces *spaces, size_t class) REQUIRES(&spaces->lock)
{
    struct spaces_free *first = spaces->kept[class];

    if (first != NULL) {
        spaces->kept[class] = first->next;
        spaces->kept_count[class]--;
        if (spaces->unneeded[class] > spaces->kept_count[class]) {
            spaces->unneeded[class] = spaces->kept_count[class];
        }
    }
    return first;
}

static void push_locked(struct spaces *spaces, size_t class, void *bytes) REQUIRES(&spaces->lock)
{
    struct spaces_free *entry = bytes;

    entry->next = spaces->kept[class];
    spaces->kept[class] = entry;
    spaces->kept_count[class]++;
}

static void set_used_locked(struct spaces *spaces, size_t used) REQUIRES(&spaces->lock)
{
    spaces->used = used;
    limits_hold(spaces->limits, used);
}

/* One that is kept goes. False: none is. */
static bool drop_locked(struct spaces *spaces, size_t class) REQUIRES(&spaces->lock)
{
    void *bytes = pop_locked(spaces, class);

    if (bytes == NULL) {
        return false;
    }
    (void)munmap(bytes, sizes[class]);
    if (class != SMALL) {
        set_used_locked(spaces, spaces->used - sizes[class]);
    }
    return true;
}

void spaces_done(struct spaces *spaces)
{
    mutex_lock(&spaces->lock);
    for (size_t class = 0; class < SPACES_CLASSES; class ++) {
        while (drop_locked(spaces, class)) {
        }
    }
    mutex_unlock(&spaces->lock);
    mutex_done(&spaces->lock);
}

/* So many bytes beside what is used. */
static bool fits_locked(const struct spaces *spaces, size_t wanted) REQUIRES(&spaces->lock)
{
    return spaces->used + wanted <= spaces->max &&
           (spaces->limits == NULL || spaces->used + wanted <= spaces->of_least ||
            limits_held(spaces->limits) + wanted <= spaces->of_all);
}

/* Others see it before it is looked whether it fits beside theirs: two at once do not both find
 * room for one. */
static bool add_locked(struct spaces *spaces, size_t wanted) REQUIRES(&spaces->lock)
{
    bool ok;

    set_used_locked(spaces, spaces->used + wanted);
    ok = fits_locked(spaces, 0);
    if (!ok) {
        set_used_locked(spaces, spaces->used - wanted);
    }
    return ok;
}

/* Room for a new one, if need be in place of kept ones of other sizes. */
static bool claim_locked(struct spaces *spaces, size_t wanted) REQUIRES(&spaces->lock)
{
    bool ok = add_locked(spaces, wanted);

    for (size_t class = SMALL + 1; class < SPACES_CLASSES; class ++) {
        while (!ok && drop_locked(spaces, class)) {
            ok = add_locked(spaces, wanted);
        }
    }
    return ok;
}

void *spaces_take(struct spaces *spaces, size_t *size)
{
    size_t class = class_of(*size);
    void *bytes;

    mutex_lock(&spaces->lock);
    bytes = pop_locked(spaces, class);
    if (class == SMALL) {
        bytes = bytes != NULL ? bytes : map(class);
    } else if (bytes == NULL && claim_locked(spaces, sizes[class])) {
        bytes = map(class);
        if (bytes == NULL) {
            set_used_locked(spaces, spaces->used - sizes[class]);
        }
    }
    mutex_unlock(&spaces->lock);
    *size = sizes[class];
    return bytes;
}

bool spaces_gather(struct spaces *spaces, size_t wanted, size_t *mine)
{
    bool fits;

    wanted = wanted > SPACES_SMALL ? wanted - SPACES_SMALL : 0;
    if (wanted == *mine) {
        return true;
    }
    mutex_lock(&spaces->lock);
    fits = wanted < *mine || spaces->gathered == *mine ||
           spaces->gathered - *mine + wanted <= SPACES_GATHERED * spaces->part;
    if (fits) {
        spaces->gathered = spaces->gathered - *mine + wanted;
        *mine = wanted;
    }
    mutex_unlock(&spaces->lock);
    return fits;
}

void spaces_give(struct spaces *spaces, void *bytes, size_t size)
{
    size_t class = class_of(size);
    bool keep;

    mutex_lock(&spaces->lock);
    keep = class != SMALL || spaces->kept_count[SMALL] < KEPT_SMALL_MAX;
    if (keep) {
        push_locked(spaces, class, bytes);
    }
    if (class == SPACES_CLASSES - 1) {
        spaces->given_ms = clock_monotonic_ms(clock_real());
    }
    mutex_unlock(&spaces->lock);
    if (!keep) {
        (void)munmap(bytes, sizes[class]);
    }
}

enum spaces_chance spaces_chance(struct spaces *spaces)
{
    enum spaces_chance chance = SPACES_THERE;

    mutex_lock(&spaces->lock);
    if (spaces->kept_count[SPACES_CLASSES - 1] == 0 && !fits_locked(spaces, SPACES_LARGEST)) {
        bool lately =
            spaces->given_ms > 0 && clock_monotonic_ms(clock_real()) - spaces->given_ms < LATELY_MS;

        chance = lately ? SPACES_SOON : SPACES_LATE;
    }
    mutex_unlock(&spaces->lock);
    return chance;
}

bool spaces_trim(struct spaces *spaces)
{
    bool more;

    mutex_lock(&spaces->lock);
    for (size_t class = 0; class < SPACES_CLASSES; class ++) {
        for (size_t left = spaces->unneeded[class]; left > 0; left--) {
            (void)drop_locked(spaces, class);
        }
        spaces->unneeded[class] = spaces->kept_count[class];
    }
    more = spaces->used > 0 || spaces->kept_count[SMALL] > 0;
    mutex_unlock(&spaces->lock);
    return more;
}
