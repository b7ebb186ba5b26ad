/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pages.h - a fixed number of 64 KiB pages of memory for cached bytes.
 *
 * The address space is reserved at once, memory is taken when a page is written for the first
 * time. Who was given back last is given out first, so that few pages stay warm. pages_trim()
 * returns the memory of free pages to the system. Thread-safe.
 */
#ifndef CACHE_PAGES_H
#define CACHE_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "util/cleanup.h"

enum { CACHE_PAGE_SIZE = 64 * 1024 };

struct pages;

/* -ENOMEM. `count` is at least 1. */
int pages_new(size_t count, struct pages **ret) __attribute__((warn_unused_result));
void pages_free(struct pages *pages); /* all pages become invalid; NULL is allowed */
DEFINE_CLEANUP(struct pages *, pages_free);

/* NULL: all are taken. The content is not defined. */
void *pages_take(struct pages *pages);
void pages_give(struct pages *pages, void *page);

size_t pages_taken(struct pages *pages);
/* Give the memory of free pages back, but for that of the `keep` used last. */
void pages_trim(struct pages *pages, size_t keep);

#endif
