/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memfs.h - a file system of a few names, for tests of mounter/session/session.h.
 *
 * Its state lies in kept memory and its changes go through a one-record redo journal, as the real
 * one's do: a request that was applied is not applied again, its recorded answer is sent.
 */
#ifndef TESTS_UNIT_MOUNTER_MEMFS_H
#define TESTS_UNIT_MOUNTER_MEMFS_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mounter/session/pending.h"
#include "mounter/session/session.h"
#include "test.h"
#include "util/mutex.h"

enum {
    NODES = 64,
    NAME_SIZE = 32,
    FILE_SIZE = 1 << 20,
    RECORDS = 16384,
};

/* The file system's state, in the kept region "state" */

struct node {
    char name[NAME_SIZE]; /* "": unlinked, or free if nlookup is 0 */
    uint64_t nlookup;
    uint64_t size;
};

struct record {
    uint64_t unique;
    uint64_t ino;
    int32_t error;
    uint32_t value;
};

/* What one request changes, absolute values only: doing it twice is doing it once. */
struct change {
    struct record record;
    uint64_t next_record;
    uint64_t counter;
    uint32_t node[2];
    struct node after[2];
};

struct state {
    _Atomic uint32_t committed; /* the change below holds and is being applied */
    struct change change;
    uint64_t counter;
    uint64_t next_record;
    struct node nodes[NODES]; /* inode number = index; 0 is unused, 1 the root */
    struct record records[RECORDS];
};

struct memfs {
    struct mutex lock;
    struct state *state;
    char *data; /* FILE_SIZE for each node */
    struct session *session;
};

static struct memfs fs;

static void apply_locked(void) REQUIRES(&fs.lock)
{
    struct state *st = fs.state;
    const struct change *c = &st->change;

    for (int i = 0; i < 2; i++) {
        if (c->node[i] != 0) {
            st->nodes[c->node[i]] = c->after[i];
        }
    }
    st->counter = c->counter;
    st->records[(c->next_record - 1) % RECORDS] = c->record;
    st->next_record = c->next_record;
    atomic_store(&st->committed, 0);
}

static void begin_locked(struct change *c, uint64_t unique) REQUIRES(&fs.lock)
{
    memset(c, 0, sizeof(*c));
    c->record.unique = unique;
    c->next_record = fs.state->next_record + 1;
    c->counter = fs.state->counter;
}

static void commit_locked(const struct change *c) REQUIRES(&fs.lock)
{
    fs.state->change = *c;
    atomic_store(&fs.state->committed, 1);
    apply_locked();
}

static void set_node(struct change *c, int which, uint64_t ino)
{
    c->node[which] = (uint32_t)ino;
    c->after[which] = fs.state->nodes[ino];
}

static bool done_before_locked(const struct pending *p, uint64_t unique, struct record *ret)
    REQUIRES(&fs.lock)
{
    for (int i = 0; pending_replay(p) && i < RECORDS; i++) {
        if (fs.state->records[i].unique == unique) {
            *ret = fs.state->records[i];
            return true;
        }
    }
    return false;
}

static uint64_t find_locked(const char *name)
{
    for (uint64_t i = 2; i < NODES; i++) {
        if (strcmp(fs.state->nodes[i].name, name) == 0) {
            return i;
        }
    }
    return 0;
}

static void fill_attr(uint64_t ino, struct stat *st)
{
    memset(st, 0, sizeof(*st));
    st->st_ino = ino;
    st->st_mode = ino == 1 ? S_IFDIR | 0777 : S_IFREG | 0666;
    st->st_nlink = 1;
    st->st_size = ino == 1 ? 0 : (off_t)fs.state->nodes[ino].size;
}

static struct fuse_entry_param entry_of(uint64_t ino)
{
    struct fuse_entry_param e = {.ino = ino};

    fill_attr(ino, &e.attr);
    return e;
}

/* Operations that change something: run under the lock, answered from the record. */

typedef void operation_fn(struct change *c, uint64_t ino, const char *a, const char *b);

static struct record run(struct pending *p, operation_fn *operation, uint64_t ino, const char *a,
                         const char *b)
{
    struct record record;

    mutex_lock(&fs.lock);
    if (!done_before_locked(p, pending_unique(p), &record)) {
        struct change c;

        begin_locked(&c, pending_unique(p));
        operation(&c, ino, a, b);
        commit_locked(&c);
        record = c.record;
    }
    mutex_unlock(&fs.lock);
    return record;
}

static void op_lookup(struct change *c, uint64_t ino, const char *name, const char *b)
{
    (void)ino;
    (void)b;
    c->record.ino = find_locked(name);
    c->record.error = c->record.ino == 0 ? ENOENT : 0;
    if (c->record.ino != 0) {
        set_node(c, 0, c->record.ino);
        c->after[0].nlookup++;
    }
}

static void op_create(struct change *c, uint64_t ino, const char *name, const char *b)
{
    (void)b;
    c->record.error = find_locked(name) != 0 ? EEXIST : ENOSPC;
    for (ino = 2; c->record.error == ENOSPC && ino < NODES; ino++) {
        if (fs.state->nodes[ino].name[0] == '\0' && fs.state->nodes[ino].nlookup == 0) {
            set_node(c, 0, ino);
            c->after[0] = (struct node){.nlookup = 1};
            (void)snprintf(c->after[0].name, NAME_SIZE, "%s", name);
            c->record.ino = ino;
            c->record.error = 0;
        }
    }
}

static void op_unlink(struct change *c, uint64_t ino, const char *name, const char *b)
{
    (void)b;
    ino = find_locked(name);
    c->record.error = ino == 0 ? ENOENT : 0;
    if (ino != 0) {
        set_node(c, 0, ino);
        c->after[0].name[0] = '\0';
    }
}

static void op_rename(struct change *c, uint64_t ino, const char *from, const char *to)
{
    uint64_t target = find_locked(to);

    ino = find_locked(from);
    c->record.error = ino == 0 ? ENOENT : 0;
    if (ino != 0) {
        set_node(c, 0, ino);
        (void)snprintf(c->after[0].name, NAME_SIZE, "%s", to);
        if (target != 0) {
            set_node(c, 1, target);
            c->after[1].name[0] = '\0';
        }
    }
}

static void op_add(struct change *c, uint64_t ino, const char *a, const char *b)
{
    (void)ino;
    (void)a;
    (void)b;
    c->counter++;
}

static void op_forget(struct change *c, uint64_t ino, const char *count, const char *b)
{
    (void)b;
    set_node(c, 0, ino);
    c->after[0].nlookup -= *(const uint64_t *)(const void *)count;
}

static void op_grow(struct change *c, uint64_t ino, const char *end, const char *b)
{
    uint64_t size = *(const uint64_t *)(const void *)end;

    (void)b;
    set_node(c, 0, ino);
    if (size > c->after[0].size) {
        c->after[0].size = size;
    }
}

/* A second thread answers reads and writes, as a store's completion would. */

struct job {
    struct pending *pending;
    uint64_t ino;
    uint64_t offset;
    size_t size;
    const char *write; /* in the request's slot; NULL: a read */
    bool done; /* written before a kill: its program may have gone on, and reused the node */
    struct job *next;
};

static struct {
    struct mutex lock;
    struct cond added;
    struct job *first;
} queue;

static void enqueue(struct job job)
{
    struct job *copy = malloc(sizeof(*copy));

    assert_non_null(copy);
    *copy = job;
    mutex_lock(&queue.lock);
    copy->next = queue.first;
    queue.first = copy;
    cond_signal(&queue.added);
    mutex_unlock(&queue.lock);
}

static void finish(const struct job *job)
{
    char *data = fs.data + job->ino * FILE_SIZE + job->offset;

    if (job->write != NULL) {
        uint64_t end = job->offset + job->size;

        if (!job->done) {
            memcpy(data, job->write, job->size);
        }
        (void)run(job->pending, op_grow, job->ino, (const char *)&end, NULL);
        (void)pending_reply_write(job->pending, job->size);
    } else {
        (void)pending_reply_buf(job->pending, data, job->size);
    }
}

LOCK_UNCHECKED
static void *completer(UNUSED void *argument)
{
    for (;;) {
        struct job *job;

        mutex_lock(&queue.lock);
        while (queue.first == NULL) {
            cond_wait(&queue.added, &queue.lock);
        }
        job = queue.first;
        queue.first = job->next;
        mutex_unlock(&queue.lock);
        finish(job);
        free(job);
    }
    return NULL;
}

/* Handlers */

static void fs_lookup(fuse_req_t req, UNUSED fuse_ino_t parent, const char *name)
{
    struct pending *p = pending_begin(req);
    struct record r = run(p, op_lookup, 0, name, NULL);
    struct fuse_entry_param e = entry_of(r.ino);

    (void)(r.error != 0 ? pending_reply_err(p, r.error) : pending_reply_entry(p, &e));
}

/* A record for each: our change has room for two nodes only. */
static void fs_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct pending *p = pending_begin(req);

    mutex_lock(&fs.lock);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t unique = pending_unique(p) | i << 48;
        struct record done;
        struct change c;

        if (!done_before_locked(p, unique, &done)) {
            begin_locked(&c, unique);
            op_forget(&c, forgets[i].ino, (const char *)&forgets[i].nlookup, NULL);
            commit_locked(&c);
        }
    }
    mutex_unlock(&fs.lock);
    pending_reply_none(p);
}

static void fs_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
    struct fuse_forget_data one = {.ino = ino, .nlookup = nlookup};

    fs_forget_multi(req, 1, &one);
}

static void fs_getattr(fuse_req_t req, fuse_ino_t ino, UNUSED struct fuse_file_info *fi)
{
    struct stat st;

    mutex_lock(&fs.lock);
    fill_attr(ino, &st);
    mutex_unlock(&fs.lock);
    (void)fuse_reply_attr(req, &st, 0); /* changes nothing: no pending needed */
}

static void fs_create(fuse_req_t req, UNUSED fuse_ino_t parent, const char *name,
                      UNUSED mode_t mode, struct fuse_file_info *fi)
{
    struct pending *p = pending_begin(req);
    struct record r = run(p, op_create, 0, name, NULL);
    struct fuse_entry_param e = entry_of(r.ino);

    fi->fh = r.ino;
    fi->direct_io = 1;
    (void)(r.error != 0 ? pending_reply_err(p, r.error) : pending_reply_create(p, &e, fi));
}

static void fs_open(fuse_req_t req, UNUSED fuse_ino_t ino, struct fuse_file_info *fi)
{
    fi->direct_io = 1;
    (void)fuse_reply_open(req, fi);
}

static void fs_unlink(fuse_req_t req, UNUSED fuse_ino_t parent, const char *name)
{
    struct pending *p = pending_begin(req);

    (void)pending_reply_err(p, run(p, op_unlink, 0, name, NULL).error);
}

static void fs_rename(fuse_req_t req, UNUSED fuse_ino_t parent, const char *from,
                      UNUSED fuse_ino_t new_parent, const char *to, UNUSED unsigned flags)
{
    struct pending *p = pending_begin(req);

    (void)pending_reply_err(p, run(p, op_rename, 0, from, to).error);
}

static void fs_setxattr(fuse_req_t req, UNUSED fuse_ino_t ino, UNUSED const char *name,
                        UNUSED const char *value, UNUSED size_t size, UNUSED int flags)
{
    struct pending *p = pending_begin(req);

    (void)pending_reply_err(p, run(p, op_add, 0, NULL, NULL).error);
}

/* The counter, as text. */
static void fs_getxattr(fuse_req_t req, UNUSED fuse_ino_t ino, UNUSED const char *name, size_t size)
{
    char text[32];
    int len;

    mutex_lock(&fs.lock);
    len = snprintf(text, sizeof(text), "%llu", (unsigned long long)fs.state->counter);
    mutex_unlock(&fs.lock);
    if (size == 0) {
        (void)fuse_reply_xattr(req, (size_t)len);
    } else {
        (void)fuse_reply_buf(req, text, (size_t)len);
    }
}

static void fs_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    UNUSED struct fuse_file_info *fi)
{
    uint64_t end;

    mutex_lock(&fs.lock);
    end = fs.state->nodes[ino].size;
    mutex_unlock(&fs.lock);
    if ((uint64_t)offset >= end) {
        size = 0;
    } else if ((uint64_t)offset + size > end) {
        size = end - (uint64_t)offset;
    }
    enqueue((struct job){
        .pending = pending_begin(req), .ino = ino, .offset = (uint64_t)offset, .size = size});
}

static void fs_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
                     UNUSED struct fuse_file_info *fi)
{
    struct pending *p = pending_begin(req);
    struct record record;
    bool done;

    mutex_lock(&fs.lock);
    done = done_before_locked(p, pending_unique(p), &record);
    mutex_unlock(&fs.lock);
    enqueue((struct job){.pending = p,
                         .done = done,
                         .ino = ino,
                         .offset = (uint64_t)offset,
                         .size = size,
                         .write = data});
}

static void fs_ok(fuse_req_t req, UNUSED fuse_ino_t ino, UNUSED struct fuse_file_info *fi)
{
    (void)fuse_reply_err(req, 0);
}

static void fs_fsync(fuse_req_t req, UNUSED fuse_ino_t ino, UNUSED int datasync,
                     UNUSED struct fuse_file_info *fi)
{
    (void)fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = fs_lookup,
    .forget = fs_forget,
    .forget_multi = fs_forget_multi,
    .getattr = fs_getattr,
    .create = fs_create,
    .open = fs_open,
    .unlink = fs_unlink,
    .rename = fs_rename,
    .setxattr = fs_setxattr,
    .getxattr = fs_getxattr,
    .read = fs_read,
    .write = fs_write,
    .flush = fs_ok,
    .release = fs_ok,
    .fsync = fs_fsync,
};

#endif
