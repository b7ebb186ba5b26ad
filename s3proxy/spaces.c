/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/spaces.h"

#include <sys/mman.h>

enum { SMALL, KEPT_SMALL_MAX = 32 };

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

void spaces_init(struct spaces *spaces, size_t max)
{
    *spaces = (struct spaces){.max = max};
    mutex_init(&spaces->lock);
}

/* One that is kept, out of the list; NULL: there is none of this size. */
static void *pop_locked(struct spaces *spaces, size_t class) REQUIRES(&spaces->lock)
{
    struct spaces_free *first = spaces->kept[class];

    if (first != NULL) {
        spaces->kept[class] = first->next;
    }
    return first;
}

void spaces_done(struct spaces *spaces)
{
    mutex_lock(&spaces->lock);
    for (size_t class = 0; class < SPACES_CLASSES; class ++) {
        void *bytes;

        while ((bytes = pop_locked(spaces, class)) != NULL) {
            (void)munmap(bytes, sizes[class]);
        }
    }
    mutex_unlock(&spaces->lock);
    mutex_done(&spaces->lock);
}

/* Room for a new one, if need be in place of kept ones of other sizes. */
static bool claim_locked(struct spaces *spaces, size_t wanted) REQUIRES(&spaces->lock)
{
    for (size_t class = SMALL + 1; class < SPACES_CLASSES; class ++) {
        void *bytes;

        while (spaces->used + wanted > spaces->max && (bytes = pop_locked(spaces, class)) != NULL) {
            spaces->used -= sizes[class];
            (void)munmap(bytes, sizes[class]);
        }
    }
    if (spaces->used + wanted > spaces->max) {
        return false;
    }
    spaces->used += wanted;
    return true;
}

void *spaces_take(struct spaces *spaces, size_t *size)
{
    size_t class = class_of(*size);
    void *bytes;

    mutex_lock(&spaces->lock);
    bytes = pop_locked(spaces, class);
    if (class == SMALL) {
        spaces->kept_small -= bytes != NULL ? 1 : 0;
        bytes = bytes != NULL ? bytes : map(class);
    } else if (bytes == NULL && claim_locked(spaces, sizes[class])) {
        bytes = map(class);
        spaces->used -= bytes == NULL ? sizes[class] : 0;
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
           spaces->gathered - *mine + wanted <= SPACES_GATHERED * spaces->max;
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
    struct spaces_free *entry = bytes;
    bool keep;

    mutex_lock(&spaces->lock);
    keep = class != SMALL || spaces->kept_small < KEPT_SMALL_MAX;
    if (keep) {
        entry->next = spaces->kept[class];
        spaces->kept[class] = entry;
        spaces->kept_small += class == SMALL ? 1 : 0;
    }
    mutex_unlock(&spaces->lock);
    if (!keep) {
        (void)munmap(bytes, sizes[class]);
    }
}
