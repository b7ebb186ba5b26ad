/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/below.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct below_dir {
    UT_hash_handle hh;
    uint32_t count;
    char key[];
};

static struct below_dir *find(const struct below *below, const char *key, size_t len)
{
    struct below_dir *dir = NULL;

    if (below->dirs != NULL) {
        HASH_FIND(hh, below->dirs, key, len, dir);
    }
    return dir;
}

static struct below_dir *make(struct below *below, const char *key, size_t len)
{
    struct below_dir *dir = calloc(1, sizeof(*dir) + len + 1);

    if (dir == NULL) {
        return NULL;
    }
    memcpy(dir->key, key, len);
    HASH_ADD(hh, below->dirs, key[0], len, dir);
    if (dir->hh.tbl == NULL) {
        free(dir);
        return NULL;
    }
    return dir;
}

/* The length of the next beginning that is a directory, after one of `len`; 0: there is none. */
static size_t next_dir(const char *key, size_t len)
{
    const char *slash = strchr(key + len, '/');

    return slash == NULL || slash[1] == '\0' ? 0 : (size_t)(slash - key) + 1;
}

void below_add(struct below *below, const char *key)
{
    below->keys++;
    for (size_t len = next_dir(key, 0); len > 0 && !below->lost; len = next_dir(key, len)) {
        struct below_dir *dir = find(below, key, len);

        dir = dir != NULL ? dir : make(below, key, len);
        if (dir != NULL) {
            dir->count++;
        } else {
            below->lost = true;
        }
    }
}

void below_remove(struct below *below, const char *key)
{
    assert(below->keys > 0);
    below->keys--;
    for (size_t len = next_dir(key, 0); len > 0 && !below->lost; len = next_dir(key, len)) {
        struct below_dir *dir = find(below, key, len);

        assert(dir != NULL && dir->count > 0);
        dir->count--;
        if (dir->count == 0) {
            HASH_DEL(below->dirs, dir);
            free(dir);
        }
    }
    if (below->keys == 0) {
        below_done(below);
    }
}

void below_done(struct below *below)
{
    struct below_dir *dir;
    struct below_dir *next;

    HASH_ITER(hh, below->dirs, dir, next)
    {
        HASH_DEL(below->dirs, dir);
        free(dir);
    }
    *below = (struct below){0};
}

bool below_known(const struct below *below)
{
    return !below->lost;
}

uint32_t below_count(const struct below *below, const char *dir)
{
    const struct below_dir *found = find(below, dir, strlen(dir));

    return found != NULL ? found->count : 0;
}
