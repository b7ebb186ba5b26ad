/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/spaces.h"

#include <stdlib.h>

static const size_t sizes[SPACES_CLASSES] = {256 * 1024, SPACES_LARGEST};

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
            free(bytes);
        }
    }
    mutex_unlock(&spaces->lock);
    mutex_done(&spaces->lock);
}

/* Room for a new one, if need be in place of kept ones of other sizes. */
static bool claim_locked(struct spaces *spaces, size_t wanted) REQUIRES(&spaces->lock)
{
    for (size_t class = 0; class < SPACES_CLASSES; class ++) {
        void *bytes;

        while (spaces->used + wanted > spaces->max && (bytes = pop_locked(spaces, class)) != NULL) {
            spaces->used -= sizes[class];
            free(bytes);
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
    size_t class = *size <= sizes[0] ? 0 : 1;
    void *bytes;

    mutex_lock(&spaces->lock);
    bytes = pop_locked(spaces, class);
    if (bytes == NULL && claim_locked(spaces, sizes[class])) {
        bytes = malloc(sizes[class]);
        spaces->used -= bytes == NULL ? sizes[class] : 0;
    }
    mutex_unlock(&spaces->lock);
    *size = sizes[class];
    return bytes;
}

void spaces_give(struct spaces *spaces, void *bytes, size_t size)
{
    size_t class = size <= sizes[0] ? 0 : 1;
    struct spaces_free *entry = bytes;

    mutex_lock(&spaces->lock);
    entry->next = spaces->kept[class];
    spaces->kept[class] = entry;
    mutex_unlock(&spaces->lock);
}
