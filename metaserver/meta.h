/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta.h - the metadata server's parts, shared by its services.
 *
 *   db.c, seal.c   what is known, and credentials at rest
 *   stores.c       stores: the service, and the open handles
 *   credentials.c  their credentials: sealed, opened, renewed
 *   temporary.c    keys of single volumes, by the store's STS
 *   keys.c         access keys of S3 clients
 *   marker.c       the object that says whose a bucket or prefix is
 *   volumes.c      volumes: the service
 *   reaper.c       the worker that empties deleted volumes
 *   live.c         sessions and their locks, in a file of their own
 *   sessions.c     sessions: the service, tokens, the end of what has lapsed
 *   leases.c       locks: the service
 *   facts.c        attributes of objects, in a file of their own
 *   namespace.c    attributes and hard links: the service
 *   admin.c        backup and rebuild
 *   roles.c        what a node may call
 *   pods.c         which volume a pod's token stands for, by Kubernetes
 *
 * Locks: meta->lock covers the list of open stores and of names being created; it is never held
 * while a store or the database is waited for.
 */
#ifndef METASERVER_META_H
#define METASERVER_META_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "metaserver/db.h"
#include "metaserver/facts.h"
#include "metaserver/live.h"
#include "metaserver/pods.h"
#include "metaserver/seal.h"
#include "mount/config.h"
#include "objstore/objstore.h"
#include "rpc/server.h"
#include "skyvol/meta/v1/meta.pb-c.h"
#include "util/mutex.h"

enum { META_STORES_MAX = 64, META_BUSY_MAX = 256, META_REAPERS = 4 };

struct open_store {
    char name[64];
    struct objstore *store;
    unsigned users;
    bool stale; /* deleted: freed by the last user */
};

struct meta {
    struct db *db;
    struct live *live;   /* NULL: without sessions */
    struct facts *facts; /* with `live` */
    struct seal *seal;
    const char *cluster;     /* of markers: who we are among several */
    struct metrics *metrics; /* NULL: nothing is counted */
    const char *node_name;   /* in the certificates of nodes; NULL: there are none */
    struct pods *pods;       /* NULL: nodes attach without a pod's token */
    struct mutex lock;
    struct cond changed; /* something to reap, something reaped, or the end */
    struct open_store stores[META_STORES_MAX];
    uint64_t stores_forgotten GUARDED_BY(lock); /* how often: what was opened meanwhile is stale */
    char *busy[META_BUSY_MAX];                  /* names and ids that an operation works on */
    atomic_bool ending;
    uint64_t create_timeout_ms; /* a creation that nobody came back for is undone after it */
    pthread_t reapers[META_REAPERS];
    int reaper_count;
    pthread_t sweeper;
    bool has_sweeper;
    LIST_HEAD(, temporary) temporary GUARDED_BY(lock); /* see temporary.c */
    unsigned temporary_count GUARDED_BY(lock);
    struct metric *sts_requests, *temporary_now;
    struct metric *sessions_now, *locks_now, *sessions_opened, *sessions_lapsed;
};

int meta_start(struct meta *meta, struct error *err) __attribute__((warn_unused_result));
void meta_stop(struct meta *meta);

/* Register all services. */
int meta_serve(struct meta *meta, struct rpc_server *server, struct error *err)
    __attribute__((warn_unused_result));

/* ---- stores.c ---- */
/* The open store of this name; meta_store_put() it. -ENOENT. */
int meta_store_get(struct meta *meta, const char *name, struct objstore **ret, struct error *err)
    __attribute__((warn_unused_result));
void meta_store_put(struct meta *meta, struct objstore *store);
extern const struct rpc_method meta_store_methods[4];
int meta_store_message(struct rpc_call *call, const struct db_store *store,
                       Skyvol__Meta__V1__Store **ret) __attribute__((warn_unused_result));
/* A handle of one's own on the store of this row, with these credentials. */
int meta_store_open(struct meta *meta, const struct db_store *row,
                    const struct mount_credentials *credentials, struct objstore **ret,
                    struct error *err) __attribute__((warn_unused_result));
/* The open handle ends with its last user; the next one reads the row again. */
void meta_store_forget(struct meta *meta, const char *name);

/* ---- credentials.c ---- */
int meta_credentials_message(struct meta *meta, struct rpc_call *call, const struct db_store *store,
                             Skyvol__Meta__V1__Credentials **ret, struct error *err)
    __attribute__((warn_unused_result));
int meta_unseal(struct meta *meta, const struct db_store *store, struct mount_credentials *ret,
                struct error *err) __attribute__((warn_unused_result));
int meta_seal(struct meta *meta, const char *store, const Skyvol__Meta__V1__Credentials *c,
              struct buf *out) __attribute__((warn_unused_result));
/* Other credentials for a store: kept once the store has accepted them; else -EACCES, or why it
 * could not be asked. The same again change nothing. */
int meta_renew(struct meta *meta, const struct db_store *row,
               const Skyvol__Meta__V1__Credentials *credentials, struct error *err)
    __attribute__((warn_unused_result));
/* Whether an S3 store answers and accepts them (NULL or empty: none); what to do else, in err. */
int meta_look(struct meta *meta, const struct db_store *row,
              const Skyvol__Meta__V1__Credentials *credentials, struct error *err)
    __attribute__((warn_unused_result));
/* Seal all that is under an older key under the newest one; what fails is logged and stays. */
void meta_reseal(struct meta *meta);

/* ---- temporary.c ---- */
int temporary_start(struct meta *meta) __attribute__((warn_unused_result));
void temporary_stop(struct meta *meta); /* when nobody asks any more */
/* Do this store's volumes get keys of their own? */
bool temporary_wanted(const struct db_store *store);
/* Those of the volume, made or renewed if need be; they may be as old as half of their time. Blocks
 * while the STS is asked. -EACCES, -EINVAL and so on: err tells why there are none. */
int temporary_get(struct rpc_call *call, const struct db_store *store,
                  const struct db_volume *volume, bool read_only,
                  Skyvol__Meta__V1__Credentials **ret, struct error *err)
    __attribute__((warn_unused_result));
/* Would the STS give any for this key pair? 0 also when it does not answer. */
int temporary_check(struct meta *meta, const struct db_store *store,
                    const struct mount_credentials *keys, struct error *err)
    __attribute__((warn_unused_result));
/* The store's keys or its STS are others: those that are known are given to nobody any more. */
void temporary_forget(struct meta *meta, const char *store);

/* ---- keys.c ---- */
extern const struct rpc_method meta_key_methods[5];
void meta_keys_reseal(struct meta *meta); /* as meta_reseal() */

/* ---- one operation per name at a time ---- */
/* -EAGAIN: somebody works on it. */
int meta_busy(struct meta *meta, const char *name) __attribute__((warn_unused_result));
void meta_free(struct meta *meta, const char *name);

/* ---- marker.c ---- */
struct marker {
    char volume_id[64];
    char name[512];
    char incarnation[64];
    char cluster[64];
    uint64_t size_bytes;
    bool adopted, own_bucket;
    char parameters[8192];
};
#define MARKER_NAME ".skyvol/volume.json"

/* Written only if there is none. -EEXIST: there is one; read it to see whose. */
int marker_write(struct meta *meta, struct objstore *store, const struct db_volume *volume,
                 struct error *err) __attribute__((warn_unused_result));
/* -ENOENT: none (or no bucket); -EBADMSG: not one of Skyvol's. */
int marker_read(struct objstore *store, const char *bucket, const char *prefix, struct marker *ret,
                struct error *err) __attribute__((warn_unused_result));
/* Of this very volume of this very cluster. -ENOENT as above; -EPERM: somebody else's. Whoever
 * deletes asks this first: nothing but the marker says that what lies there is ours. */
int marker_check(struct meta *meta, struct objstore *store, const struct db_volume *volume,
                 struct marker *ret, struct error *err) __attribute__((warn_unused_result));

/* ---- volumes.c ---- */
extern const struct rpc_method meta_volume_methods[7];
/* Names made of a CSI name by a hash: any name, no two alike. */
void volume_id_of(const char *name, char ret[40]);
void volume_bucket_of(const char *id, char ret[64]);

/* ---- sessions.c ---- */
extern const struct rpc_method meta_session_methods[5];
int sessions_start(struct meta *meta) __attribute__((warn_unused_result));
void sessions_stop(struct meta *meta); /* when meta->ending is set */
/* For a session of this volume by this node; of the call's memory. */
int meta_token_new(struct meta *meta, struct rpc_call *call, const char *volume, const char *node,
                   char **ret) __attribute__((warn_unused_result));
/* The live session that a request names. -ENOENT, -ESTALE: err says why it is none. */
int meta_session(struct rpc_call *call, const char *id, uint64_t epoch, struct live_session *ret,
                 struct error *err) __attribute__((warn_unused_result));

/* ---- leases.c ---- */
extern const struct rpc_method meta_lease_methods[4];

/* ---- namespace.c ---- */
extern const struct rpc_method meta_namespace_methods[6];

/* ---- roles.c ---- */
/* Of every service: 0, or -EACCES for what is not a node's to call. */
int meta_allow(struct rpc_call *call, struct error *err);
bool meta_is_node(struct rpc_call *call);
/* Does the pod whose token a node shows have the volume? See pods.h. */
int meta_check_pod(struct rpc_call *call, const Skyvol__Meta__V1__AttachVolumeRequest *in,
                   struct error *err) __attribute__((warn_unused_result));

/* ---- reaper.c ---- */
void *reaper_main(void *arg);
/* Turn creations that were left unfinished into deletions. */
void reaper_sweep(struct meta *meta);
void reaper_wake(struct meta *meta);
/* One try to delete it; what holds it up is noted in its row. */
void reaper_volume(struct meta *meta, const struct db_volume *volume);

/* ---- admin.c ---- */
extern const struct rpc_method meta_admin_methods[2];

#endif
