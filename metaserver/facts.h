/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts.h - attributes of objects, by volume, key and version, in a SQLite file of their own.
 *
 * A cache: what it does not know is asked of the store, so the file may be lost at any time, and
 * one that is damaged is begun anew. Nothing is flushed. A row has about 100 bytes: the volume is a
 * number, the version 64 bits of a hash.
 *
 * Any thread; one connection under one lock. Errors: -EIO, -ENOSPC, -ENOMEM.
 */
#ifndef METASERVER_FACTS_H
#define METASERVER_FACTS_H

#include <stddef.h>
#include <stdint.h>

#include "util/arena.h"
#include "util/cleanup.h"
#include "util/error.h"

struct facts;

int facts_open(const char *path, struct facts **ret, struct error *err)
    __attribute__((warn_unused_result));
void facts_close(struct facts *facts); /* NULL is allowed */
DEFINE_CLEANUP(struct facts *, facts_close);

struct fact {
    const char *key, *etag; /* "" as etag: forget the key */
    const void *data;       /* not looked into */
    size_t len;             /* 0 when it is not known */
};

int facts_set(struct facts *facts, const char *volume, const struct fact *all, size_t count)
    __attribute__((warn_unused_result));
/* Fills data and len of those that are known, in the arena. */
int facts_get(struct facts *facts, const char *volume, struct fact *all, size_t count,
              struct arena *arena) __attribute__((warn_unused_result));
/* The volume has gone. */
int facts_drop(struct facts *facts, const char *volume) __attribute__((warn_unused_result));
/* Forget some of what was last set before that day. Returns how many. */
int facts_sweep(struct facts *facts, int64_t before_day) __attribute__((warn_unused_result));
int64_t facts_today(void);

#endif
