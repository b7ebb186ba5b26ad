/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.h - what the node plugin has done for one volume, in one file.
 *
 * Together with the kernel's mount table this is all the truth there is: nothing is kept in memory
 * that a restart would lose. A file is replaced atomically, has a version, and holds no secret.
 *
 *     {"version":1,"volume":"v1","staging":"/...","staged":"KEY","wish":"HASH","size":0,
 *      "mounts":[{"key":"KEY","at":"/..."}],
 *      "published":[{"target":"/...","key":"KEY","wish":"HASH","read_only":false}]}
 *
 * Callers hold the volume's lock (node.h).
 */
#ifndef CSI_NODE_RECORD_H
#define CSI_NODE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

enum { RECORD_LIST_MAX = 1024, RECORD_SIZE_MAX = 8 << 20, RECORD_HASH_SIZE = 65 };

struct record_mount {
    char *key;
    char *at;
};

struct record_target {
    char *target;
    char *key;
    char *wish; /* hash of what was asked for, but for the identity */
    bool read_only;
};

struct record {
    char *volume;
    char *staging; /* NULL: not staged */
    char *staged;  /* key of the mount at staging; NULL: left to Publish */
    char *wish;    /* of Stage */
    uint64_t size_bytes;
    int64_t unstaging_ns; /* realtime of the first Unstage that could not end; 0: none */
    struct record_mount *mounts;
    size_t mount_count;
    struct record_target *targets;
    size_t target_count;
};

#define RECORD_INIT                                                                                \
    {                                                                                              \
        .volume = NULL                                                                             \
    }

void record_done(struct record *record);

/* An empty record when there is none. -EBADMSG: of another version or damaged, told in err. */
int record_load(const char *dir, const char *volume, struct record *ret, struct error *err)
    __attribute__((warn_unused_result));
/* By the file's name, as a walk over the directory finds it. -ENOENT, -EBADMSG. */
int record_load_file(const char *dir, const char *file, struct record *ret, struct error *err)
    __attribute__((warn_unused_result));

/* Durable when it returns 0; the file goes when nothing is staged, mounted or published. */
int record_save(const char *dir, const struct record *record, struct error *err)
    __attribute__((warn_unused_result));

struct record_target *record_find_target(const struct record *record, const char *target);
struct record_mount *record_find_mount(const struct record *record, const char *key);
/* True if Stage or a target still wants the mount. */
bool record_uses(const struct record *record, const char *key);

int record_add_mount(struct record *record, const char *key, const char *at)
    __attribute__((warn_unused_result));
void record_drop_mount(struct record *record, const char *key);
int record_add_target(struct record *record, const struct record_target *target)
    __attribute__((warn_unused_result));
void record_drop_target(struct record *record, const char *target);
int record_set_staged(struct record *record, const char *staging, const char *key, const char *wish)
    __attribute__((warn_unused_result));
void record_clear_staged(struct record *record);

/* SHA-256 as hex. */
int record_hash(const void *bytes, size_t len, char ret[RECORD_HASH_SIZE])
    __attribute__((warn_unused_result));

#endif
