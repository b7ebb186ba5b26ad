/* SPDX-License-Identifier: Apache-2.0 */
/* fixture.h - a metadata server without its threads, over a store in memory. */
#ifndef TESTS_UNIT_METASERVER_FIXTURE_H
#define TESTS_UNIT_METASERVER_FIXTURE_H

#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "metaserver/meta.h"
#include "objstore/objstore_call.h"
#include "volume/open.h"

struct fixture {
    char dir[64];
    char database[96];
    char keys[96];
    struct meta meta;
    struct objstore *store; /* the meta's, named "default" */
};

static inline int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct error err = ERROR_INIT;

    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/skyvol-meta-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->database, sizeof(f->database), "%s/meta.db", f->dir);
    (void)snprintf(f->keys, sizeof(f->keys), "%s/seal.keys", f->dir);
    f->meta.cluster = "ours";
    mutex_init(&f->meta.lock);
    cond_init(&f->meta.changed);
    assert_int_equal(db_open(f->database, &f->meta.db, &err), 0);
    assert_int_equal(seal_open(f->keys, &f->meta.seal, &err), 0);
    assert_int_equal(
        volume_open_store(&(struct volume_open_config){.location = "mem://"}, &f->store, &err), 0);
    (void)snprintf(f->meta.stores[0].name, sizeof(f->meta.stores[0].name), "default");
    f->meta.stores[0].store = f->store;
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    static const char *const files[] = {"meta.db", "meta.db-wal", "meta.db-shm", "seal.keys"};
    struct fixture *f = *state;

    objstore_free(f->meta.stores[0].store);
    seal_close(f->meta.seal);
    db_close(f->meta.db);
    cond_done(&f->meta.changed);
    mutex_done(&f->meta.lock);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char path[160];

        (void)snprintf(path, sizeof(path), "%s/%s", f->dir, files[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

static inline int fixture_call(struct fixture *f, enum objstore_op op, const char *bucket,
                               const char *key)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request request = {.op = op, .bucket = bucket, .key = key};

    if (op == OBJSTORE_PUT) {
        request.source.data = "x";
        request.source.size = 1;
    }
    return objstore_call(f->store, &request, &answer);
}

static inline void fixture_bucket(struct fixture *f, const char *bucket)
{
    assert_int_equal(fixture_call(f, OBJSTORE_BUCKET_CREATE, bucket, NULL), 0);
}

static inline void fixture_put(struct fixture *f, const char *bucket, const char *key)
{
    assert_int_equal(fixture_call(f, OBJSTORE_PUT, bucket, key), 0);
}

static inline bool fixture_has(struct fixture *f, const char *bucket, const char *key)
{
    return fixture_call(f, OBJSTORE_HEAD, bucket, key) == 0;
}

static inline bool fixture_has_bucket(struct fixture *f, const char *bucket)
{
    return fixture_call(f, OBJSTORE_BUCKET_HEAD, bucket, NULL) == 0;
}

#endif
