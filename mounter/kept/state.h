/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - what a mount must remember when its mounter dies, in kept memory.
 *
 * Tables of fixed records in kept regions (mounter/kept/keep.h): inodes, text cells (names, link
 * targets, xattrs), blocks of dirty bytes, uploads, and the answers to requests that have taken
 * effect. Records refer to each other by index, never by pointer.
 *
 * Every change goes through a transaction:
 *
 *     state_begin(state);
 *     state_set(state, &inode->size, &size, sizeof(size));      noted, not yet done
 *     state_applied(state, unique, reply, len);
 *     state_commit(state);                                       all of it, or nothing
 *
 * The notes lie in a log that is kept, too. Commit is one store that makes the log valid; then the
 * notes are carried out; a successor that finds a valid log carries them out (again). So a kill at
 * any instruction leaves a transaction done whole or not at all, and the answer to a request is
 * recorded in the same instant as its effect. Dirty bytes themselves are copied into their block
 * before the transaction that makes them count, by state_block_write(), which keeps a checksum of
 * each page: a successor sees what was damaged or is missing, and marks its inodes INODE_LOST.
 *
 * Reads see what committed transactions have written: inside a transaction a record still shows
 * its old content. Not thread-safe: the file system's one lock covers all of it.
 */
#ifndef MOUNTER_STATE_H
#define MOUNTER_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mounter/kept/keep.h"
#include "mounter/write/parts.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/error.h"

enum {
    STATE_BLOCK_SIZE = 128 * 1024, /* bytes of a dirty block */
    STATE_EXTENTS = 16,            /* separate dirty ranges in one block: of whole pages, any */
    STATE_UPLOADS = 64,            /* open multipart uploads */
    STATE_PARTS = 10000,
    STATE_GRAVES = 32768,  /* objects that are to be deleted: graves.h */
    STATE_REPLY_MAX = 232, /* bytes of a recorded answer: the largest is that of CREATE */
    STATE_ETAG_SIZE = 128, /* as OBJSTORE_ETAG_MAX */
    STATE_TEXT_MAX = 8192, /* bytes of one text */
    STATE_ROOT = 1,        /* the root's inode */
};

enum inode_flag {
    INODE_USED = 1 << 0,
    INODE_DIRTY = 1 << 1,     /* bytes, size or attributes are newer than the object */
    INODE_NEW = 1 << 2,       /* there is no object yet */
    INODE_UNLINKED = 1 << 3,  /* has no name any more; lives while it is open */
    INODE_LOST = 1 << 4,      /* bytes were lost: nothing of it may be published */
    INODE_MARKER = 1 << 5,    /* a directory with an object of its own (key ends in '/') */
    INODE_DETACHED = 1 << 6,  /* an older version of a key that now has another inode */
    INODE_CONFLICT = 1 << 7,  /* the object was changed by somebody else: ESTALE was told */
    INODE_ATTRS = 1 << 8,     /* mode, owner and times are known, not assumed */
    INODE_TIMES = 1 << 9,     /* a program has set its times */
    INODE_LINKED = 1 << 10,   /* of a file with hard links: see hard.h */
    INODE_COLLAPSE = 1 << 11, /* one that becomes a plain one: see collapse.h */
    INODE_ONLY = 1 << 12,     /* made to be the only one of its name (O_EXCL, symlink) */
};

/* One inode. `parent` and `name` make its key; a directory's key ends in '/'. */
struct inode_rec {
    uint32_t flags;
    uint32_t generation;
    uint32_t parent;
    uint32_t name; /* text cell; 0: none */
    uint64_t nlookup;
    uint32_t opens;
    uint32_t target; /* of a symbolic link; text cell */
    uint32_t xattr;  /* all user attributes as one text cell, see attr.h */
    uint32_t hidden; /* key of the bytes of an unlinked file, below .skyvol/; text cell */
    uint32_t upload; /* index + 1 into the uploads; 0: none */
    uint32_t mode, uid, gid, rdev;
    uint32_t journal;   /* number of its file in the journal on disk; 0: none */
    uint32_t holes;     /* text cell, see holes.h */
    uint32_t component; /* of the key, where the name does not tell it (longs.h); text cell */
    uint32_t links;     /* names of a file with INODE_LINKED; 0: not known */
    uint32_t last;      /* with INODE_COLLAPSE: its last name; text cell. Else undefined */
    uint32_t late_s;    /* monotonic: until then something that was sent of it may still arrive */
    uint32_t blind;     /* not 0: what `attempt` tells of is a COPY that no condition guards */
    uint64_t number;    /* st_ino */
    uint64_t size;
    uint64_t base_size;  /* of the object under `etag` */
    uint64_t base_valid; /* bytes from its beginning that still count */
    int64_t mtime_ns, ctime_ns, atime_ns;
    int64_t dirty_since_ns; /* realtime; 0: clean */
    char etag[STATE_ETAG_SIZE];
    uint64_t token;   /* of the next publication, in the object's metadata; 0: none yet */
    uint64_t attempt; /* 0: none is unsettled; else 1 + the bytes of what was sent that count */
};

struct block_extent {
    uint32_t from, to; /* bytes in the block */
};

/* Dirty bytes of [index * STATE_BLOCK_SIZE, ...) of an inode: where the extents say. */
struct block_rec {
    uint32_t inode; /* 0: free */
    uint32_t count; /* of extents; ascending, not touching */
    uint64_t index;
    struct block_extent extents[STATE_EXTENTS];
};

/* A multipart upload that is being filled while the file is written. */
struct upload_rec {
    uint32_t inode; /* 0: free */
    uint32_t parts; /* how many etags count; "": the store does not have that part yet */
    struct parts_schedule schedule;
    char id[1024];
    char etags[STATE_PARTS][STATE_ETAG_SIZE];
};

/* An object that is to be deleted; or, with GRAVE_FENCE as `etag`, a fence (fences.h): nothing is
 * to be deleted, but nothing new is put at the key before not_before_s. */
struct grave_rec {
    uint32_t key;          /* text cell; 0: free */
    uint32_t not_before_s; /* monotonic: until then one more publication of it may arrive */
    uint64_t etag;         /* hash of the ETag of what was removed, odd; 0: not known */
};
enum { GRAVE_FENCE = 2 };

struct state_config {
    struct keep *keep;
    uint64_t pool_bytes; /* of dirty blocks; a successor keeps to the least that was wished */
    uint32_t inodes;     /* at most; 0: 4 million */
};

struct state;

/*
 * Lays out or adopts. -EUCLEAN: kept memory of another version, or without what names the inodes;
 * -ENOMEM; those of keep_region().
 */
int state_new(const struct state_config *config, struct state **ret, struct error *err)
    __attribute__((warn_unused_result));
void state_free(struct state *state); /* NULL is allowed; kept memory stays */
DEFINE_CLEANUP(struct state *, state_free);

/* True when a predecessor's state was adopted. */
bool state_adopted(const struct state *state);
/* Names the mount among all; never 0, and a successor has the same. */
uint64_t state_mount_id(const struct state *state);

/*
 * Requests that could do harm if they came late, as the store knows no condition for them: noted
 * before the first is sent. state_blind_until(), once after the adoption: when those of
 * predecessors have come or never will. It is `until_ms` if the last one has sent any, else what
 * was said to it; 0: nothing is late. Monotonic.
 */
void state_note_blind(struct state *state);
uint64_t state_blind_until(struct state *state, uint64_t until_ms);

void state_begin(struct state *state);
/* `at` must lie in a record of this state. A transaction holds at most 64 KiB of notes. */
void state_set(struct state *state, void *at, const void *value, size_t len);
#define STATE_SET(state, member, value)                                                            \
    do {                                                                                           \
        __typeof__(member) value_ = (value);                                                       \
        state_set((state), &(member), &value_, sizeof(value_));                                    \
    } while (false)
/* Record the answer of a request with the transaction. -ENOSPC: too many requests in flight. */
int state_applied(struct state *state, uint64_t unique, const void *reply, size_t len)
    __attribute__((warn_unused_result));
/*
 * A request is about to change the store: if it comes again, what it finds changed there is its own
 * doing. Replaced by state_applied() of the same unique.
 */
struct state_intent {
    uint64_t unique;
    uint32_t inos[2]; /* whose keys it changes or takes away; 0: none */
    uint64_t token;   /* names what it leaves in the store meanwhile; 0: nothing */
};
int state_intend(struct state *state, const struct state_intent *intent)
    __attribute__((warn_unused_result));
bool state_intended(const struct state *state, uint64_t unique);
/* The same; *ret is filled when it is true. */
bool state_find_intent(const struct state *state, uint64_t unique, struct state_intent *ret);
/* One after the other; *at is 0 at first. False: no more. */
bool state_next_intent(const struct state *state, uint32_t *at, struct state_intent *ret);
void state_commit(struct state *state);
/* Forget the notes. Not after a release in the same transaction. */
void state_abort(struct state *state);

/* The recorded answer, for a request that comes again; false: it has not taken effect. */
bool state_find_applied(const struct state *state, uint64_t unique, const void **ret,
                        size_t *ret_len);
/* The request has been answered and will not come again. Outside a transaction. */
void state_forget_applied(struct state *state, uint64_t unique);

/* Inodes. */
struct inode_rec *state_inode(const struct state *state, uint64_t ino); /* NULL: no such */
uint32_t state_inode_limit(const struct state *state); /* no index is as large as this */
/* A free record, to be filled. 0 when there is none. */
uint32_t state_inode_alloc(struct state *state);
/* Its whole content but the generation, in the transaction that took it. */
void state_inode_fill(struct state *state, uint32_t ino, const struct inode_rec *rec);
void state_inode_release(struct state *state, uint32_t ino);

/* Texts. state_text_new() in a transaction: -ENOSPC, -ENAMETOOLONG. */
int state_text_new(struct state *state, const char *text, size_t len, uint32_t *ret)
    __attribute__((warn_unused_result));
void state_text_release(struct state *state, uint32_t cell); /* 0 is allowed */
void state_text_get(const struct state *state, uint32_t cell, struct buf *out);
bool state_text_equal(const struct state *state, uint32_t cell, const char *text);

/* Blocks. */
uint32_t state_block_limit(const struct state *state); /* no index is as large as this */
uint32_t state_block_used(const struct state *state);
/* Memory of the pool in bytes: what may be taken, what is. A block takes the pages written to. */
uint64_t state_pool_size(const struct state *state);
uint64_t state_pool_used(const struct state *state);
/* What writes will take, added up: to [from, to) of a block, or of a new one (UINT32_MAX). */
struct state_need {
    uint32_t blocks;
    uint64_t pages;
};
void state_pool_need(const struct state *state, uint32_t block, uint32_t from, uint32_t to,
                     struct state_need *need);
bool state_pool_has(const struct state *state, const struct state_need *need);
struct block_rec *state_block(const struct state *state, uint32_t block);
const char *state_block_data(const struct state *state, uint32_t block);
/* Copy bytes into it; they count when a transaction has made the record say so. */
void state_block_write(struct state *state, uint32_t block, uint32_t from, const char *data,
                       uint32_t len);
/* A free block, to be given about `len` bytes; the record is made by the caller's state_set().
 * UINT32_MAX: none. */
uint32_t state_block_take(struct state *state, uint32_t len);
/* The transaction that took it is not committed. */
void state_block_untake(struct state *state, uint32_t block);
/* Make it free, in a transaction. */
void state_block_release(struct state *state, uint32_t block);
/*
 * A block whose bytes are being sent: as long as it is pinned nobody writes to it, and when it is
 * released it becomes free at the last unpin. Pins are this process's; a successor has none.
 */
void state_block_pin(struct state *state, uint32_t block);
void state_block_unpin(struct state *state, uint32_t block);
bool state_block_pinned(const struct state *state, uint32_t block);

/* Graves, 0 to STATE_GRAVES - 1. */
struct grave_rec *state_grave(const struct state *state, uint32_t grave);
/* The used ones, one after the other; *at is 0 at first. False: no more. */
bool state_next_grave(const struct state *state, uint32_t *at, uint32_t *ret);

/* Uploads. */
struct upload_rec *state_upload(const struct state *state, uint32_t upload);
/* Index of a free one; UINT32_MAX: none. The caller fills all but the etags in its transaction. */
uint32_t state_upload_take(struct state *state);
/* "": not in the store. */
const char *state_upload_etag(const struct upload_rec *upload, uint32_t part);
/* Makes a transaction of its own. */
void state_upload_record(struct state *state, struct upload_rec *upload, uint32_t part,
                         const char *etag);

#endif
