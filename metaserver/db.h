/* SPDX-License-Identifier: Apache-2.0 */
/*
 * db.h - what the metadata server knows, in SQLite.
 *
 * One connection under one lock; every change is a transaction that is on the disk when its
 * function returns. Schema changes are migrations, from the first version on. Strings of results
 * are copied into the caller's arena. Errors: -ENOENT, -EEXIST, -EBUSY (in use), -ENOSPC, -EUCLEAN
 * (not ours, or of a newer version), -EIO. Any thread.
 */
#ifndef METASERVER_DB_H
#define METASERVER_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/arena.h"
#include "util/cleanup.h"
#include "util/error.h"

struct db;

enum { DB_VERSION = 9, DB_LIST_MAX = 1000 };

int db_open(const char *path, struct db **ret, struct error *err)
    __attribute__((warn_unused_result));
void db_close(struct db *db); /* NULL is allowed */
DEFINE_CLEANUP(struct db *, db_close);

/* Random, made with the database: a marker in a bucket tells by it which database made it. */
const char *db_incarnation(const struct db *db);

struct db_store {
    const char *name, *location, *endpoint, *s3_region, *region;
    bool virtual_host_style;
    bool public_only;   /* the endpoint is a user's, see meta.proto */
    const void *sealed; /* credentials, see seal.h; NULL: none */
    size_t sealed_len;
    int64_t created_ns;
    /* Temporary keys by STS, see meta.proto; "", "" and 0: none. */
    const char *sts_endpoint, *role_arn;
    uint32_t sts_duration_s;
};

int db_store_add(struct db *db, const struct db_store *store) __attribute__((warn_unused_result));
int db_store_get(struct db *db, const char *name, struct arena *arena, struct db_store *ret)
    __attribute__((warn_unused_result));
int db_store_list(struct db *db, struct arena *arena, struct db_store **ret, size_t *ret_len)
    __attribute__((warn_unused_result));
/* Whether its endpoint is a user's. -ENOENT. */
int db_store_restrict(struct db *db, const char *name, bool public_only)
    __attribute__((warn_unused_result));
/* Other sts_endpoint, role_arn and sts_duration_s. -ENOENT. */
int db_store_set_sts(struct db *db, const struct db_store *store)
    __attribute__((warn_unused_result));
/* Other sealed credentials. -ENOENT. */
int db_store_seal(struct db *db, const char *name, const void *sealed, size_t len)
    __attribute__((warn_unused_result));
/* -EBUSY: a volume lies in it. */
int db_store_delete(struct db *db, const char *name) __attribute__((warn_unused_result));

enum db_state { DB_CREATING = 1, DB_READY = 2, DB_DELETING = 3 };

struct db_volume {
    const char *id, *name, *store, *bucket, *prefix;
    uint64_t size_bytes;
    enum db_state state;
    bool adopted, own_bucket, adopt_asked;
    const char *parameters; /* JSON object, keys sorted */
    int64_t created_ns;
    uint64_t deleted; /* objects, so far */
    const char *message;
    bool verified;     /* its deletion has seen its marker: what lies there was ours */
    int error;         /* of the deletion's last try: 0 or a negative errno value */
    uint32_t attempts; /* of a deletion, that failed one after the other */
    int64_t retry_ns;  /* the next is due then */
};

/* -EEXIST: there is one of that id or name. */
int db_volume_add(struct db *db, const struct db_volume *volume)
    __attribute__((warn_unused_result));
int db_volume_get(struct db *db, const char *id, struct arena *arena, struct db_volume *ret)
    __attribute__((warn_unused_result));
int db_volume_by_name(struct db *db, const char *name, struct arena *arena, struct db_volume *ret)
    __attribute__((warn_unused_result));
/* READY and adopted are set from the argument. -ENOENT: the row has gone, or is another state's. */
int db_volume_ready(struct db *db, const char *id, bool adopted)
    __attribute__((warn_unused_result));
/* Delete it from now on, and with the next try at once. */
int db_volume_tombstone(struct db *db, const char *id) __attribute__((warn_unused_result));
int db_volume_verified(struct db *db, const char *id) __attribute__((warn_unused_result));
/* Its deletion got on. */
int db_volume_progress(struct db *db, const char *id, uint64_t deleted)
    __attribute__((warn_unused_result));
/* Its deletion did not: why, and when to try again. */
int db_volume_failed(struct db *db, const char *id, int error, int64_t retry_ns,
                     const char *message) __attribute__((warn_unused_result));
int db_volume_resize(struct db *db, const char *id, uint64_t size_bytes)
    __attribute__((warn_unused_result));
int db_volume_remove(struct db *db, const char *id) __attribute__((warn_unused_result));

/* Tokens for sessions, of which only a hash is kept: bound to a volume and a node. The oldest of
 * many for both go; all go with the volume. */
int db_token_add(struct db *db, const char *hash, const char *volume, const char *node)
    __attribute__((warn_unused_result));
/* -ENOENT: not one for this volume and this node. */
int db_token_check(struct db *db, const char *hash, const char *volume, const char *node)
    __attribute__((warn_unused_result));

/* Hard links: which files of a volume have which names; see the protocol. */
enum { DB_LINK_NAMES = 16 };
struct db_link_name {
    uint64_t number;
    const char *key;
};
struct db_link {
    const char *file;
    const char *last_key; /* of the only name that is left, else NULL */
    uint32_t names;
};
struct db_link_add {
    const char *volume, *file;
    const struct db_link_name *names;
    size_t count;
    bool make;
};
/* *ret_names: of the file now. -ENOENT: it has no name (any more); -EEXIST: a name of another. */
int db_link_add(struct db *db, const struct db_link_add *what, uint32_t *ret_names)
    __attribute__((warn_unused_result));
/* *ret: what is left. -ENOENT: there is no such name. */
int db_link_remove(struct db *db, const char *volume, uint64_t number, struct arena *arena,
                   struct db_link *ret) __attribute__((warn_unused_result));
/* -ENOENT: no such file. */
int db_link_count(struct db *db, const char *volume, const char *file, uint32_t *ret_names)
    __attribute__((warn_unused_result));
/* Files that have had no name since before then; at most `max`, in the arena. */
struct db_link_unlinked {
    const char *volume;
    int64_t before_ns;
    size_t max;
};
int db_link_unlinked(struct db *db, const struct db_link_unlinked *what, struct arena *arena,
                     const char **ret, size_t *ret_count) __attribute__((warn_unused_result));
/* Files with one name; at most `max`, in the arena. `before_ns` does not count. */
struct db_link_single {
    const char *file, *key;
    uint64_t number;
};
int db_link_singles(struct db *db, const struct db_link_unlinked *what, struct arena *arena,
                    struct db_link_single *ret, size_t *ret_count)
    __attribute__((warn_unused_result));
/* Forget the file if it has no name. */
int db_link_drop(struct db *db, const char *volume, const char *file)
    __attribute__((warn_unused_result));

/* Access keys of S3 clients. Every change gives the whole set another revision. */
enum { DB_KEYS_MAX = 10000, DB_KEY_LIMITS = 5 };
struct db_key {
    const char *id;
    const void *sealed; /* the secret, see seal.h */
    size_t sealed_len;
    const char *buckets; /* names, each followed by '\n'; "": every one */
    bool read_only, disabled;
    int64_t expires_ns; /* 0: never */
    const char *comment;
    int64_t created_ns;
    int64_t limits[DB_KEY_LIMITS]; /* in the order of the fields of AccessKeyLimits */
};
/* -EEXIST; -ENOSPC: there are DB_KEYS_MAX. */
int db_key_add(struct db *db, const struct db_key *key) __attribute__((warn_unused_result));
int db_key_get(struct db *db, const char *id, struct arena *arena, struct db_key *ret)
    __attribute__((warn_unused_result));
/* At most `max` of them, sorted, from the first behind `after` ("": all). */
int db_key_list(struct db *db, const char *after, uint32_t max, struct arena *arena,
                struct db_key **ret, size_t *ret_count) __attribute__((warn_unused_result));
/* -ENOENT. */
int db_key_disable(struct db *db, const char *id, bool disabled)
    __attribute__((warn_unused_result));
int db_key_delete(struct db *db, const char *id) __attribute__((warn_unused_result));
/* Another seal around the same secret: no new revision. */
int db_key_seal(struct db *db, const char *id, const void *sealed, size_t len)
    __attribute__((warn_unused_result));
/* Of the set as it is now. */
int db_key_revision(struct db *db, struct arena *arena, const char **ret)
    __attribute__((warn_unused_result));

struct db_page {
    const char *after; /* id; NULL or "": from the start */
    uint32_t max;
    enum db_state state; /* 0: all but those being created */
    int64_t due_ns;      /* with DB_DELETING: only what is due then; 0: all */
    int64_t before_ns;   /* only what was created before; 0: all */
    struct db_volume *volumes;
    size_t count;
    bool more;
};
int db_volume_list(struct db *db, struct arena *arena, struct db_page *page)
    __attribute__((warn_unused_result));

/* A consistent copy while the server runs. -EEXIST. */
int db_backup(struct db *db, const char *file, uint64_t *ret_bytes)
    __attribute__((warn_unused_result));

#endif
