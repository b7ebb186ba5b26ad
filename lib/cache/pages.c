/* SPDX-License-Identifier: Apache-2.0 */
#include "cache/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "util/mutex.h"

struct pages {
    struct mutex lock;
    char *base;                         /* constant */
    size_t count;                       /* constant */
    size_t fresh GUARDED_BY(lock);      /* pages from here on were never given out */
    size_t free_count GUARDED_BY(lock); /* on the stack */
    size_t cold GUARDED_BY(lock);       /* of them, at the bottom: without memory */
    uint32_t *stack GUARDED_BY(lock);
};

int pages_new(size_t count, struct pages **ret)
{
    struct pages *pages = calloc(1, sizeof(*pages));

    if (pages == NULL) {
        return -ENOMEM;
    }
    pages->count = count;
    pages->stack = calloc(count, sizeof(*pages->stack));
    pages->base = mmap(NULL, count * CACHE_PAGE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages->base == MAP_FAILED || pages->stack == NULL) {
        if (pages->base != MAP_FAILED) {
            (void)munmap(pages->base, count * CACHE_PAGE_SIZE);
        }
        free(pages->stack);
        free(pages);
        return -ENOMEM;
    }
    mutex_init(&pages->lock);
    *ret = pages;
    return 0;
}

LOCK_UNCHECKED
void pages_free(struct pages *pages)
{
    if (pages == NULL) {
        return;
    }
    (void)munmap(pages->base, pages->count * CACHE_PAGE_SIZE);
    mutex_done(&pages->lock);
    free(pages->stack);
    free(pages);
}

void *pages_take(struct pages *pages)
{
    size_t index = SIZE_MAX;

    mutex_lock(&pages->lock);
    if (pages->free_count > 0) {
        index = pages->stack[--pages->free_count];
        pages->cold = pages->cold < pages->free_count ? pages->cold : pages->free_count;
    } else if (pages->fresh < pages->count) {
        index = pages->fresh++;
    }
    mutex_unlock(&pages->lock);
    return index != SIZE_MAX ? pages->base + index * CACHE_PAGE_SIZE : NULL;
}

void pages_give(struct pages *pages, void *page)
{
    size_t index = (size_t)((char *)page - pages->base) / CACHE_PAGE_SIZE;

    mutex_lock(&pages->lock);
    pages->stack[pages->free_count++] = (uint32_t)index;
    mutex_unlock(&pages->lock);
}

size_t pages_taken(struct pages *pages)
{
    size_t taken;

    mutex_lock(&pages->lock);
    taken = pages->fresh - pages->free_count;
    mutex_unlock(&pages->lock);
    return taken;
}

void pages_trim(struct pages *pages, size_t keep)
{
    mutex_lock(&pages->lock);
    /* Under the lock: a page that is being taken must not lose what is written to it. */
    while (pages->cold + keep < pages->free_count) {
        (void)madvise(pages->base + (size_t)pages->stack[pages->cold++] * CACHE_PAGE_SIZE,
                      CACHE_PAGE_SIZE, MADV_DONTNEED);
    }
    mutex_unlock(&pages->lock);
}
