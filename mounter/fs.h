/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs.h - the file system: one volume, its kept state, and what is only remembered in this process.
 *
 * Where things are:
 *   fs.c          nodes (what is known of an inode besides its record), keys, attributes
 *   fresh.c       which answers of the store are too old; st_ino
 *   remote.c      what the store says of a key
 *   data.c        dirty blocks: write, overlay on reads, truncate
 *   holes.c       ranges that read as zeros and hold no memory
 *   image.c       dirty bytes as they are sent
 *   reader.c, grain.c, fetch.c, window.c  bytes of objects, read ahead in parallel: see reader.h
 *   ahead.c       small files fetched before they are asked for
 *   publish.c     dirty bytes to the store
 *   fill.c        writes that would leave a block in too many pieces; put.c: one PUT, no thread
 *   upload.c      publications by parts
 *   parts.c       where parts begin and end
 *   background.c  publications that nobody waits for, lists of what is dirty; hold.c: in a moment
 *   export.c, import.c, journaled.c       dirty inodes on the host's disk
 *   stream.c      parts of a new file, sent while it is written
 *   space.c       writers that wait for memory
 *   hidden.c      large files without a name; sweep.c: what is left of them
 *   lost.c        files whose bytes could not be kept
 *   settle.c      publications whose end was not seen
 *   claim.c       who may change the object of a node now
 *   heads.c       attributes asked for ahead of who walks a tree
 *   theirs.c      metadata of others, kept when an object is written anew
 *   seen.c        which attributes have ever been written to the volume
 *   graves.c      names taken away whose objects are still to be deleted
 *   fences.c      names at which a deletion may still arrive
 *   usage.c       how many bytes the volume has
 *   managed.c     the session with the metaserver of a managed volume
 *   locks.c       locks across nodes
 *   facts.c       attributes without a HEAD
 *   shed.c        the memory of inodes, and what the kernel is asked to forget for it
 *   hard.c        files with several names; collapse.c: of which one is left
 *   rename.c      moving files and directories; copy.c, tree.c, moves.c do the store's part
 *   doubts.c      listings that lag behind what was done here
 *   known.c       ranges of keys that were listed
 *   listing.c     directories, ask.c: lookups that listings answer, readdir.c: reading them
 *   ops_*.c       the FUSE handlers (ops.h)
 *
 * Locks: fs->lock covers state, nodes and everything marked below. It is never held while the store
 * is waited for, nor while a request is answered. A node with `users` > 0 is not released.
 */
#ifndef MOUNTER_FS_H
#define MOUNTER_FS_H

#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "mount/stats.h"
#include "mounter/attr/attr.h"
#include "mounter/kept/state.h"
#include "mounter/managed/facts.h"
#include "mounter/managed/locks.h"
#include "mounter/managed/managed.h"
#include "mounter/names/longs.h"
#include "mounter/names/names.h"
#include "mounter/session/pending.h"
#include "mounter/session/session.h"
#include "mounter/session/tasks.h"
#include "mounter/write/copy.h"
#include "mounter/write/reopen.h"
#include "util/arena.h"
#include "util/chained.h"
#include "util/mutex.h"
#include "volume/volume.h"

enum { FS_ABSENT = 256 };
enum { GONE_SETS = 16384, GONE_WAYS = 4 }; /* memory that is not touched costs nothing */
enum sync_mode { SYNC_CLOSE, SYNC_FSYNC, SYNC_ASYNC };
enum attrs_mode { ATTRS_AUTO, ATTRS_LIST, ATTRS_FULL };

struct fs_options {
    uint32_t uid, gid;
    bool one_group; /* everything is shown, and made, as of `group` */
    uint32_t group;
    uint32_t file_mode, dir_mode; /* of objects without attributes, without the type */
    enum sync_mode sync;
    enum attrs_mode attrs;
    bool owner_told; /* modes or owner of objects without attributes were given */
    bool open_asks;  /* open() asks the store always, not only when what is known is too old */
    uint64_t attr_timeout_ms; /* how long what the store said is believed */
    uint64_t size_bytes;      /* of the volume; 0: not limited */
    uint64_t recover_ms;      /* a note of a move that nobody renews: its mount is gone */
    uint64_t memory_bytes;    /* of all together */
    uint64_t dirty_bytes;     /* of these, see budget.h */
    uint64_t reader_bytes;
    const char *cache_dir;     /* of the disk cache, or NULL; valid during fs_new() only */
    const char *cache_name;    /* what is cached there: the store's address; the same */
    uint64_t cache_bytes;      /* on disk */
    struct mount_stats *stats; /* outlives the fs; NULL: nobody wants to know */
    bool read_only;
};

struct listing;
struct listed;
struct known;
struct version;
struct reader;
struct journal;
struct journaled;

/* What has come from the journal: files, those that stay there for now, damaged ones. */
struct import_result {
    uint32_t files, left, damaged;
};
struct graves;
struct fences;
struct collapse;
struct collapse_bar;
struct pointers;
struct seen;
struct heads;
struct ahead;
struct shed;

/* The blocks of one inode by their index. */
struct block_ref {
    UT_hash_handle hh;
    uint64_t index;
    uint32_t block;
    uint32_t seq; /* changes with every write: a copy of older bytes is not the last word */
};

/* Ranges that read as zeros; ascending, not touching. See holes.h. */
struct holes {
    struct hole {
        uint64_t from, to;
    } * items;
    size_t count;
};

/* What this process knows of an inode besides its record. */
struct node {
    struct chain name_chain;   /* in fs->names, by name_key, while it has a name */
    struct chain number_chain; /* in fs->numbers, while it is `numbered` */
    uint64_t number;           /* that programs see, as st_ino */
    uint32_t ino;
    uint32_t users;    /* operations that need it to stay */
    uint32_t children; /* nodes with this as parent */
    bool named, in_dir, numbered;
    bool publishing;       /* one at a time; also while its key changes or goes: see claim.c */
    bool marking;          /* what is published is a directory's marker: below goes on */
    bool busy_listed;      /* in fs->busy: publishing, or parts of it are being sent */
    bool dirty_listed;     /* in fs->dirty */
    uint32_t wanted;       /* operations that wait for that to end, to claim it */
    uint64_t held_for;     /* the request of a predecessor's that had claimed it; or 0 */
    bool meta_changed;     /* since the publication under way took its copy */
    bool attrs_set;        /* mode, owner, times or xattrs by a program, not published yet */
    uint64_t edits;        /* counts what makes it dirty: bytes, size or attributes */
    uint64_t edits_kept;   /* its value when the journal's file of it was written */
    bool hiding;           /* hidden.c is at work */
    uint64_t truncated_to; /* the smallest size since then */
    uint64_t valid_until_ms;
    uint32_t writers; /* handles that may write; after a takeover at most those that are open */
    bool follows;     /* it was locked: new versions are taken over at the next lock */
    bool others;      /* another mount has made a version of it: the kernel's size may be older */
    bool untold;      /* and the kernel has not been told since */
    uint64_t told_ms; /* when it was told attributes last */
    uint64_t asked_turn;   /* when the question began whose answer it is; 0: long ago */
    bool queued;           /* in fs->ready */
    bool held;             /* to be published in a moment: hold.h */
    uint64_t hold_ms;      /* until then */
    uint64_t hold_most_ms; /* with all that is made below it */
    bool imported;         /* from the journal, and not published since */
    bool journal_queued;   /* for journaled.c: its file is to be removed */
    uint32_t failures;     /* of publish_soon() in a row */
    int error;             /* the last of them */
    uint32_t failed_count; /* publications that failed, and how the last one did: */
    int failed_error;      /* who waited for it is told the same */
    uint64_t retry_ms;     /* not in the background before */
    uint64_t copied_ms;    /* when a COPY onto it ended without an answer; 0: none has */
    uint64_t progress_ms;  /* when the store last took something of it; later for a large step */
    uint64_t changed;      /* fs->clock when it became newer than what the store had said before */
    struct block_ref *blocks;
    struct holes holes;
    struct holes fresh_holes; /* of these, since the publication under way began */
    LIST_ENTRY(node) sibling; /* while it has a name */
    LIST_HEAD(, node) below;  /* nodes with a name and this as parent */
    struct listed *listed;    /* of a directory, or NULL; see listing.c */
    uint32_t asked_back;      /* shed.c: when the kernel was asked to forget it */
    int64_t stored_ns;        /* the store's time of the version under the ETag, or 0 */
    uint32_t streaming;       /* parts being uploaded while the file is written */
    struct version *version;  /* reader.h: whose bytes are read; or NULL */
    uint32_t streamed;        /* parts up to this one are in the store or on their way */
    uint32_t stream_failed;   /* the first of them that has to go again; or 0 */
    uint64_t stream_again_ms; /* the store has refused a part: not before */
    uint64_t stream_ms;       /* when the store last took a part; 0: not yet */
    uint64_t opened_hash;     /* of the ETag that the kernel's pages are of; 0: none */
    struct copied *copied;    /* ops_copy.c: which version is a copy of which; or NULL */
    uint32_t touched_s;       /* seconds of fs_now_ms() when it was changed here last; or 0 */
    uint64_t plain_version;   /* theirs.h: nothing but ours is said of it; 0: not known */
    TAILQ_ENTRY(node) busy_link, dirty_link, ready_link;
    char *name_key; /* parent's number (4 bytes) and the name */
};

/*
 * Names that went, or whose nodes were released: what the store said before is not to be believed.
 * By a hash of their key; what a full set forgets counts for all of the set.
 */
struct gone {
    uint64_t key;
    uint64_t when;      /* fs->clock */
    uint32_t touched_s; /* in seconds of fs_now_ms(); 0: nothing was done to it here */
    bool removed;       /* not merely released */
};
struct gone_set {
    uint64_t floor;
    struct gone ways[GONE_WAYS];
};

/* A name of which the store has just said that there is none. */
struct absent {
    uint64_t name; /* hash of parent and name */
    uint64_t until_ms;
};

TAILQ_HEAD(node_list, node);
struct holding {
    struct node_list nodes;
    uint32_t count;
};

struct fs {
    struct fs_options options;
    struct volume *volume;
    struct objstore_caps caps;
    struct state *state;
    struct tasks *tasks;
    struct tasks *writers; /* publications that nobody waits for */
    struct tasks *streams; /* parts sent ahead: tasks wait for these, so they are not behind them */
    struct session *session; /* for notifications; NULL before and after */
    struct journal *journal; /* on the host's disk; or NULL */
    struct import_result imported;
    uint32_t *grave_files; /* of the journal */
    size_t grave_files_count;
    uint64_t conflicts;                                 /* copies made */
    uint64_t told_conflicts, told_lost, told_deadlines; /* to options.stats */
    struct journaled *journaled;                        /* its thread; or NULL */

    struct mutex lock;
    struct cond end;     /* ending is set, or the flusher has to look earlier */
    struct cond changed; /* a publication, a chunk or space for dirty bytes */
    struct node **nodes; /* by inode number */
    uint32_t nodes_len;
    uint32_t node_count;
    LIST_HEAD(, listed) listings; /* those that remember one, the newest first */
    struct chained names;
    struct chained numbers;
    uint64_t clock; /* of changes made here: tells which of the store's answers are older */
    uint64_t turn;  /* of opens and of questions to the store: tells which began first */
    uint32_t touched_s, removed_s; /* when anything was changed, taken away here last */
    uint64_t moved;                /* clock of the last change to keys of many nodes */
    struct absent absent[FS_ABSENT];
    struct reopen reopens[REOPENS];
    struct node_list busy;                /* claim.c */
    struct node_list dirty;               /* background.c: by age; also some that are clean again */
    struct node_list ready;               /* background.c: to be published now */
    struct holding held_files, held_dirs; /* hold.h: by time */
    uint32_t putting;                     /* publications under way that have no thread: put.c */
    TAILQ_HEAD(thirsty, op) thirsty;      /* space.c: writers that wait for memory */
    bool serving;                         /* somebody sees to them */
    uint64_t merging;      /* bytes of buffers in which parts and files are put together: merge.c */
    uint64_t merged;       /* how many of them have been given back */
    struct gone_set *gone; /* GONE_SETS */
    struct graves *graves; /* objects to be deleted */
    struct fences *fences; /* keys where a deletion may still arrive */
    struct known *known;   /* ranges of keys that were listed */
    uint64_t removed;      /* clock of the last name that was taken away */
    bool unordered;        /* the store does not list keys in the order of their bytes */
    struct heads *heads;   /* attributes asked for ahead */
    struct seen *seen;     /* which attributes the volume has */
    struct reader *reader;
    struct ahead *ahead;
    struct shed *shed;         /* what the kernel is asked to forget */
    uint32_t block_seq;        /* of the last change to a block */
    uint64_t blind_until_ms;   /* blind requests of predecessors may come until then; or 0 */
    uint64_t adopted_until_ms; /* then claims for requests that did not come again end; or 0 */
    uint64_t lost;             /* files whose bytes could not be kept, so far */
    int64_t used_bytes;        /* usage.c: counted, and changed here since */
    int64_t others_bytes;      /* that other mounts have added since, as far as we are told */
    uint64_t *kept_size;       /* what size a managed volume has by now, or 0; NULL: not managed */
    int64_t grown_bytes;       /* that were added here since the mount began */
    struct usage *usage;       /* NULL: nobody counts */
    struct moves *moves;       /* moves.c */
    struct sweep *sweep;       /* sweep.c */
    struct managed *managed;   /* NULL: the volume is not managed */
    struct keys *keys;         /* of the store, where they are temporary; with `managed` */
    struct locks *locks;       /* NULL: the kernel locks by itself */
    struct facts *facts;       /* NULL: attributes are asked of the store alone */
    uint64_t links_off_ms;     /* until then the metaserver is not asked for counts of names */
    LIST_HEAD(, collapse) collapses; /* under way */
    LIST_HEAD(, collapse_bar) collapse_bars;
    bool collapse_sweeps;
    struct pointers *pointers; /* pointer.h: those read or put last; or NULL */
    struct longs *longs;
    bool ending, given_up; /* given_up: the store is not waited for any more, the mount ends */
    pthread_t flusher;
    bool has_flusher;
};

struct fs_config {
    struct fs_options options;
    struct volume *volume; /* becomes the fs's */
    struct keep *keep;
    struct journal *journal;             /* becomes the fs's; or NULL */
    const struct mount_channel *channel; /* of a managed volume, else NULL; with its ticket */
    const struct mount_ticket *ticket;
    bool global_locks; /* the metaserver's, not the kernel's */
};

int fs_new(const struct fs_config *config, struct fs **ret, struct error *err)
    __attribute__((warn_unused_result));
void fs_free(struct fs *fs);

/* Whom to notify; NULL: nobody any more. */
void fs_set_session(struct fs *fs, struct session *session);

/* The handlers; userdata is the fs. */
const struct fuse_lowlevel_ops *fs_ops(void);

/* ---- fs.c: nodes. All with fs->lock held. ---- */

/* The node of a live inode; NULL when there is none. */
struct node *fs_node(struct fs *fs, uint64_t ino) REQUIRES(&fs->lock);
static inline struct inode_rec *fs_rec(struct fs *fs, const struct node *node)
{
    return state_inode(fs->state, node->ino);
}
struct node *fs_child(struct fs *fs, uint32_t parent, const char *name) REQUIRES(&fs->lock);

/* What a new inode is. */
struct fs_new_inode {
    uint32_t parent;
    const char *name;
    uint32_t flags; /* besides USED */
    uint32_t links; /* with INODE_LINKED */
    struct attr attr;
    uint64_t size;
    const char *etag;   /* or NULL */
    const char *target; /* of a symbolic link, or NULL */
};
/* In a transaction of the caller's: the record; *ret_ino. */
int fs_inode_make(struct fs *fs, const struct fs_new_inode *what, uint32_t *ret_ino)
    REQUIRES(&fs->lock);
/* After its commit: the node. -ENOMEM leaves the record to be cleaned up. */
int fs_node_add(struct fs *fs, uint32_t ino, const char *name, struct node **ret)
    REQUIRES(&fs->lock);
/* Both, with a transaction of its own; a name of "" is none. */
int fs_node_make(struct fs *fs, const struct fs_new_inode *what, struct node **ret)
    REQUIRES(&fs->lock);
/* Take the name away; the inode lives on while it is open or known to the kernel. */
void fs_node_unname(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* The name stands for something else now: the inode keeps what was, for those who have it open. */
void fs_node_detach(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
int fs_node_rename(struct fs *fs, struct node *node, uint32_t parent, const char *name)
    REQUIRES(&fs->lock);
/* What the kernel's pages of the node are of from now on. */
void fs_opened(struct node *node, const char *etag);
bool fs_opened_is(const struct node *node, const char *etag);
/* `ino` is `dir` or lies below it. */
bool fs_is_below(struct fs *fs, uint32_t ino, uint32_t dir) REQUIRES(&fs->lock);
/* Bytes that a key may have: the store's limit less the volume's prefix. */
size_t fs_key_max(const struct fs *fs);
/* Give the inode back if nobody needs it. Outside a transaction. */
void fs_node_put(struct fs *fs, struct node *node) REQUIRES(&fs->lock);

/* The key, relative to the volume; a directory's ends in '/', the root's is "". -ENAMETOOLONG,
 * -ESTALE (no name any more). */
int fs_key(struct fs *fs, uint32_t ino, struct buf *out) REQUIRES(&fs->lock);
/* May this name be made? -ENAMETOOLONG; -EINVAL: no key has it; -EACCES: it is ours. */
int fs_name_allowed(uint64_t parent, const char *name) __attribute__((warn_unused_result));
/* In a transaction: the record's key component, where the name does not tell it. -ENOENT. */
int fs_set_component(struct fs *fs, struct inode_rec *rec, const char *name) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* Before fs_child_key(): a long name's component may have to be asked for. Waits. 0 also if there
 * is none. */
int fs_learn_name(struct fs *fs, uint32_t parent, const char *name)
    __attribute__((warn_unused_result));
/* Of a name in a directory, as a file (no '/' at the end). -EINVAL: no key has such a name. */
int fs_child_key(struct fs *fs, uint32_t parent, const char *name, struct buf *out)
    REQUIRES(&fs->lock);
/* Where the object's bytes are: the key, or where an unlinked file's are kept. */
int fs_data_key(struct fs *fs, const struct node *node, struct buf *out) REQUIRES(&fs->lock);

void fs_stat(struct fs *fs, struct node *node, struct fuse_attr *ret) REQUIRES(&fs->lock);
void fs_attr(struct fs *fs, const struct node *node, struct attr *ret, struct arena *arena)
    REQUIRES(&fs->lock);
/* New times and such, in the caller's transaction. */
void fs_mark_dirty(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/*
 * The store is asked without the lock, so its answer may be older than what has been done here
 * since. Who asks takes fs_asked() first; who changes an object or a name calls fs_touch(),
 * fs_gone().
 */
uint64_t fs_asked(struct fs *fs);
/* One more than before: of an open(), of a question to the store that it may go by. */
uint64_t fs_turn(struct fs *fs) REQUIRES(&fs->lock);
void fs_touch(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
void fs_gone(struct fs *fs, uint32_t parent, const char *name, bool is_dir) REQUIRES(&fs->lock);
/* What was done here then may not be in listings yet; see doubts.h. */
bool fs_lately(uint32_t touched_s);
/* Taken away here so lately. */
bool fs_removed_lately(struct fs *fs, uint32_t parent, const char *name, bool is_dir)
    REQUIRES(&fs->lock);
bool fs_key_removed_lately(struct fs *fs, const char *key) REQUIRES(&fs->lock);
/* Changed here so lately, as a file or a directory, and perhaps not known any more. */
bool fs_touched_lately(struct fs *fs, uint32_t parent, const char *name) REQUIRES(&fs->lock);
/* Its node is released; what was told of it before it changed is too old. */
void fs_gone_at(struct fs *fs, uint32_t parent, const char *name, bool is_dir,
                const struct node *node) REQUIRES(&fs->lock);
/* The same of a key. */
void fs_gone_key(struct fs *fs, const char *key) REQUIRES(&fs->lock);
/* An answer to a question of then is too old: of a node, or of a name without one. */
bool fs_outdated(const struct fs *fs, const struct node *node, uint64_t asked) REQUIRES(&fs->lock);
/*
 * The store has said less than attr_timeout ago that there is no such name. Good enough for making
 * it where the PUT of a new file fails if somebody else was first.
 */
void fs_note_absent(struct fs *fs, uint32_t parent, const char *name) REQUIRES(&fs->lock);
bool fs_known_absent(struct fs *fs, uint32_t parent, const char *name) REQUIRES(&fs->lock);
bool fs_name_outdated(struct fs *fs, uint32_t parent, const char *name, uint64_t asked)
    REQUIRES(&fs->lock);
/* What has this name was taken away here since, or is to be in the store. */
bool fs_name_hidden(struct fs *fs, uint32_t parent, const char *name, bool is_dir, uint64_t asked)
    REQUIRES(&fs->lock);
/* The same of the object of this key. */
bool fs_key_hidden(struct fs *fs, const char *key, uint64_t asked) REQUIRES(&fs->lock);
/*
 * st_ino: by the key that the inode was found under first, so that it is the same in another mount;
 * it stays when the inode is moved, and no other that lives has it. When the kernel has forgotten a
 * moved inode, its number comes from the new key.
 */
uint64_t fs_number_first(const char *key); /* if no other has it */
uint64_t fs_number_choose(struct fs *fs, const struct fs_new_inode *what) REQUIRES(&fs->lock);
/* What the inode of this key (of a directory: with '/') has or would have. */
uint64_t fs_number_of_key(struct fs *fs, const char *key) REQUIRES(&fs->lock);
int fs_numbers_init(struct fs *fs) __attribute__((warn_unused_result));
void fs_number_add(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
void fs_number_drop(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
int64_t fs_now_ns(void);
uint64_t fs_now_ms(void);

/* ---- op.c ---- */

/*
 * One request on its way through a task. The names lie in the request's slot. `reply` is what has
 * been or will be answered; see fs_op_end().
 */
struct op {
    struct fs *fs;
    struct pending *pending;
    uint64_t unique;
    void (*run)(struct op *op);
    uint64_t ino, ino2;
    const char *name, *name2;
    uint32_t flags, mode, uid, gid, rdev, umask;
    bool kill; /* set-user-id and set-group-id end */
    int to_set;
    char *xattr; /* of a new file, as JSON text; freed with the op */
    uint64_t offset, size;
    bool makes; /* its name is to be absent */
    bool opens; /* what it makes */
    bool fresh; /* a LOOKUP that no older answer will do for */
    bool plus;  /* a READDIR that counts lookups */
    TAILQ_ENTRY(op) thirst;
    uint64_t until_ms; /* for memory */
    bool writepage;    /* a WRITE of the kernel's own: no program sees its error */
    bool appends;      /* a WRITE of a handle with O_APPEND */
    bool moved;        /* and it has gone elsewhere than the kernel said: to the end */
    struct stat stat;
    const void *data;
    int error; /* positive, for the kernel */
    size_t reply_len;
    char reply[STATE_REPLY_MAX];
};

/* Begins a pending. NULL: answered already (no memory, or a replay whose answer was recorded). */
struct op *fs_op_new(fuse_req_t req);
/* Run it in a task; answers ENOMEM if that cannot be. */
void fs_op_start(struct op *op, void (*run)(struct op *op));
/* Answer error or reply, forget the recorded answer, free. Not under the lock. */
int fs_op_end(struct op *op);
int fs_op_fail(struct op *op, int error); /* negative errno */
/* In a transaction: record op->reply as this operation's answer. */
int fs_op_applied(struct fs *fs, struct op *op) REQUIRES(&fs->lock);
/* Fill op->reply with an entry for the node; counts the lookup in the caller's transaction. */
void fs_op_entry(struct fs *fs, struct op *op, struct node *node) REQUIRES(&fs->lock);
/* Answer a getlk. */
int fs_op_lock(struct op *op, const struct flock *lock);
/* Answer with bytes of any length instead of op->reply. */
int fs_op_data(struct op *op, const void *data, size_t len);

/* ---- remote.c ---- */

struct remote {
    uint64_t asked; /* fs_asked() before the store was asked; UINT64_MAX: believe it anyway */
    bool exists, is_dir, marker;
    bool listed;               /* by a listing: without attributes */
    uint64_t made_ms;          /* when the store was asked; 0: just now */
    uint64_t turn;             /* fs_turn() then; 0: not known */
    struct objstore_info info; /* of the object: file or marker */
    struct attr attr;
    const char *target;  /* of a symbolic link */
    struct remote *file; /* a name of a file with hard links: the file's; else NULL */
    const char *file_key;
    uint32_t links; /* of such a file's object: how many names it has; 0: not known */
    struct arena arena;
};
void remote_done(struct remote *remote);
/* What lies under this key. Waits. `only_file`: a file is expected, look for nothing else first. */
int remote_find(struct fs *fs, const char *key, bool only_file, struct remote *ret)
    __attribute__((warn_unused_result));
/* What a HEAD's result says; reads a symbolic link's target if need be. Waits. */
int remote_interpret(struct fs *fs, const char *key, const struct objstore_result *head,
                     struct remote *ret) __attribute__((warn_unused_result));
/* The same without waiting. -EAGAIN: a symbolic link, whose target has to be read. */
int remote_interpret_now(struct fs *fs, const char *key, const struct objstore_result *head,
                         struct remote *ret) __attribute__((warn_unused_result));
/* Of a file. -ENOMEM. */
int remote_copy_file(const struct remote *from, struct remote *ret)
    __attribute__((warn_unused_result));
/*
 * Make the inode of parent/name what the remote says. *ret is NULL when there is none (any more).
 * -EAGAIN: the name went or its key changed since the store was asked: ask again.
 */
int remote_merge(struct fs *fs, uint32_t parent, const char *name, const struct remote *remote,
                 struct node **ret) REQUIRES(&fs->lock);
/* What a listing says of a file, or of a directory: of its marker, or NULL. remote_done() it. */
struct known_entry;
void remote_of_listing(struct fs *fs, const struct known_entry *info, bool is_dir,
                       struct remote *ret);
/* What a listing said, with attributes that are known from elsewhere. -ENOMEM. */
int remote_add_attr(struct fs *fs, const struct attr *attr, const char *target, struct remote *ret)
    __attribute__((warn_unused_result));
/* Ask the store again if what is known is too old. Waits, without the lock. */
int remote_refresh(struct fs *fs, uint64_t ino) __attribute__((warn_unused_result));
/* The same before an open(); always with options.open_asks. */
int remote_open(struct fs *fs, uint64_t ino) __attribute__((warn_unused_result));
/* The same, when what was said last has gone: always asks. */
int remote_open_anew(struct fs *fs, uint64_t ino) __attribute__((warn_unused_result));
/* A lock of the file has been got: take over what others have written, for open handles, too; from
 * now on the inode stays that of its name. Waits, without the lock. */
int remote_follow(struct fs *fs, uint64_t ino) __attribute__((warn_unused_result));

/* ---- listing.c ---- */
/* NULL: no memory. */
struct listed *listed_of(struct node *dir);
void listed_free(struct node *dir);
void fs_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void fs_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void fs_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi);
void fs_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/*
 * What listings that are young enough say of a name. FILE and DIR: *ret is set, to be merged and
 * remote_done(); its `listed` tells that attributes are not known.
 */
enum listing_says { LISTING_UNKNOWN, LISTING_FILE, LISTING_DIR, LISTING_ABSENT };
enum listing_says listing_ask(struct fs *fs, struct node *dir, const char *name, const char *key,
                              struct remote *ret) REQUIRES(&fs->lock);
/* List what begins at this name if that promises to answer more than one lookup. Waits.
 * -EAGAIN: it does not. */
int listing_fetch(struct fs *fs, uint32_t dir, const char *key) __attribute__((warn_unused_result));
/* A directory: there is nothing in it, as far as young listings and we know. */
bool listing_shows_empty(struct fs *fs, struct node *dir) REQUIRES(&fs->lock);
/* A directory that has just been made here: there is nothing in it. */
void listing_new_dir(struct fs *fs, struct node *dir) REQUIRES(&fs->lock);
/* For who makes a name: there is none as far as listings know. */
bool listing_lacks(struct fs *fs, uint32_t dir, const char *name) REQUIRES(&fs->lock);
void listing_drop(struct node *dir);

/* ---- data.c: with the lock ---- */
/* -EAGAIN: no block is free; -EDEADLK: a block has too many pieces (see data_fill). */
int data_write(struct fs *fs, struct node *node, uint64_t offset, const char *data, size_t len)
    REQUIRES(&fs->lock);
/* The memory that takes, added. */
void data_need(struct fs *fs, const struct node *node, uint64_t offset, uint64_t len,
               struct state_need *need) REQUIRES(&fs->lock);
void data_truncate(struct fs *fs, struct node *node, uint64_t size) REQUIRES(&fs->lock);
/* What is dirty of [from, to) counts no more, or is zero. Makes transactions of its own. -EAGAIN:
 * no block is free. */
int data_punch(struct fs *fs, struct node *node, uint64_t from, uint64_t to) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* The first dirty piece that ends after `offset`; false: there is none. */
bool data_next(struct fs *fs, const struct node *node, uint64_t offset, uint64_t *ret_from,
               uint64_t *ret_to) REQUIRES(&fs->lock);
/* Lay holes and dirty bytes of [offset, offset + len) over what is in the buffer. */
void data_overlay(struct fs *fs, struct node *node, uint64_t offset, char *buffer, size_t len)
    REQUIRES(&fs->lock);
/* True if every byte of the range is dirty or in a hole. */
bool data_covers(struct fs *fs, struct node *node, uint64_t offset, uint64_t len)
    REQUIRES(&fs->lock);
bool data_any(struct fs *fs, struct node *node, uint64_t offset, uint64_t len) REQUIRES(&fs->lock);
/* Calls visit() for each dirty piece of [offset, offset + len), in order; stops when it says so. */
struct data_piece {
    uint64_t from, to; /* of the file */
    uint32_t block, at;
};
typedef bool data_visit_fn(void *arg, const struct data_piece *piece);
void data_each(struct fs *fs, const struct node *node, uint64_t offset, uint64_t len,
               data_visit_fn *visit, void *arg) REQUIRES(&fs->lock);
static inline const char *data_bytes(const struct state *state, const struct data_piece *piece)
{
    return state_block_data(state, piece->block) + piece->at;
}
/*
 * Which blocks have all their dirty bytes in the range, and their seq: these data_clean() gives
 * back, in transactions, if nothing has been written to them since.
 */
struct data_seqs {
    struct block_seq {
        uint64_t index;
        uint64_t seq;
    } * items;
    size_t count, cap;
};
int data_seqs_take(struct fs *fs, struct node *node, uint64_t offset, uint64_t len,
                   struct data_seqs *ret) REQUIRES(&fs->lock);
/* Adds those of the second. -ENOMEM. */
int data_seqs_add(struct data_seqs *seqs, const struct data_seqs *more)
    __attribute__((warn_unused_result));
/* Makes transactions of its own. */
void data_clean(struct fs *fs, struct node *node, const struct data_seqs *seqs) REQUIRES(&fs->lock);
int data_adopt(struct fs *fs) REQUIRES(&fs->lock);
/* All that is dirty or a hole, ascending and not touching; *ret is to be freed. -ENOMEM. */
int data_ranges(struct fs *fs, const struct node *node, struct parts_range **ret, size_t *ret_count)
    REQUIRES(&fs->lock) __attribute__((warn_unused_result));
void data_drop(struct fs *fs, struct node *node) REQUIRES(&fs->lock);

/* ---- image.c ---- */
/*
 * What a range of a file is now, to be sent without a copy: its dirty pieces, whose blocks are
 * pinned, and zeros between them. The caller knows that nothing of the object counts there.
 */
struct data_image {
    uint64_t offset, len;
    struct data_piece *pieces;
    size_t count, cap;
    struct data_seqs seqs; /* to be given to data_clean() when it has been sent */
    uint64_t at;           /* where data_image_read() goes on */
    size_t piece;
};
int data_image_take(struct fs *fs, struct node *node, uint64_t offset, uint64_t len,
                    struct data_image *ret) REQUIRES(&fs->lock) __attribute__((warn_unused_result));
void data_image_done(struct fs *fs, struct data_image *image) REQUIRES(&fs->lock);
/* Without the lock, as objstore_source.read(). */
ssize_t data_image_read(const struct state *state, struct data_image *image, void *buffer,
                        size_t cap);
void data_image_rewind(struct data_image *image);
/* Lay its dirty bytes over those of another source. */
void data_image_lay(const struct state *state, const struct data_image *image, char *buffer);
/* The bytes, if they lie together; else NULL. */
const char *data_image_whole(const struct state *state, const struct data_image *image);
/* Where the store checks one: give the request its checksum, of source.data or else the image. */
void data_image_sum(const struct fs *fs, const struct data_image *image,
                    struct objstore_request *request);

/* ---- publish.c; what is unsettled: settle.h ---- */
/* Make the object what the inode is. Waits. 0 when clean; -ESTALE: conflict copy made. */
int publish(struct fs *fs, uint32_t ino) __attribute__((warn_unused_result));
/* The same; the waiter's deadline moves as long as the store takes bytes of the file. */
int publish_for(struct fs *fs, uint32_t ino, struct pending *waiter)
    __attribute__((warn_unused_result));
void publish_upload_forget(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* For whoever has the claim, or counts in node->streaming. Of the object's bytes `base` will be
 * copied. *ret: index + 1. Waits. */
int publish_upload_start(struct fs *fs, struct node *node, const char *key,
                         const struct objstore_meta *meta, uint64_t base, uint32_t *ret)
    __attribute__((warn_unused_result));
/* Upload the parts that are full, while the file is being written. */
void publish_stream(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* Has the store got parts of these bytes that were written here? */
bool upload_took(const struct upload_rec *upload, uint64_t offset, uint64_t len);

/* ---- hidden.c ---- */
/* A file without a name needs its memory for others: its bytes go to the store. */
bool hidden_ask(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* Nobody needs its object any more: delete that in the background. */
void hidden_drop(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* It is about to be given a name: its object, if there is one, gets this key. Waits. */
int hidden_name(struct fs *fs, const struct op *op, uint32_t ino, const char *to)
    __attribute__((warn_unused_result));

/* ---- background.c ---- */
/* It may be dirty from now on. / It goes. */
void dirty_add(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
void dirty_forget(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* Publish in the background, as soon as there is room. */
void publish_soon(struct fs *fs, uint32_t ino);
/* The same, when publish_next() is called next. */
void publish_queue(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* A change of attributes goes with what is to be published anyway. */
bool publish_takes_attr(struct fs *fs, const struct node *node) REQUIRES(&fs->lock);
/* The same by publish(), in a thread: it settles what is doubtful, and keeps conflict copies. */
void publish_patiently(struct fs *fs, uint32_t ino);
/* Publish op->ino and answer. */
void publish_op(struct op *op);
/* Let it have its turn, unless the store has just refused it. False: not now. */
bool publish_ask(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* A publication has ended: begin those whose turn it is. Does not wait. */
void publish_next(struct fs *fs);
/* Of those that nobody waits for: when to try again. */
void publish_put_off(struct node *node, int error);
/* What is closed or old, unless the store has just refused it. */
void publish_old(struct fs *fs);
/* Below a directory, before it is moved. */
int publish_below(struct fs *fs, uint32_t dir) __attribute__((warn_unused_result));

/* ---- space.c, ops_file.c ---- */
/* -EAGAIN: no memory for it; -EDEADLK: a block has too many pieces. */
int write_locked(struct fs *fs, struct op *op) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* What write_locked() has said: answers, or waits for what it needs. */
void write_end(struct op *op, int ret);
void space_wait(struct op *op);

/* ---- stats.c ---- */
/* What is counted elsewhere, and how it is now. Once a second, without the lock. */
void stats_tick(struct fs *fs);

/* ---- lost.c ---- */
/*
 * Bytes that a program was told are written, or that the kernel has written for it, could not be
 * kept: in memory that outlives us (damaged or missing at a takeover), on the way from the kernel
 * (a request half read when we died, a page of a mapped file that found no room), or in the store
 * (parts sent ahead whose upload is gone). Nothing of the file is published from then on; every
 * read, write, flush, fsync and change of it is EIO until the last close; then the file is again
 * what the store has. A write(2) that fails with an error keeps its file: who wrote knows.
 */
void lost_mark(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
bool lost_is(struct fs *fs, const struct node *node) REQUIRES(&fs->lock);
/* -EIO, with that reason (eio.h). */
int lost_eio(void) __attribute__((warn_unused_result));
/* Nobody has it open (any more): forget what is left. The node may be gone afterwards. */
void lost_drop(struct fs *fs, struct node *node) REQUIRES(&fs->lock);
/* At a takeover. */
void lost_adopt(struct fs *fs) REQUIRES(&fs->lock);
/* A WRITE to the inode was half read when the predecessor died; the kernel has answered EIO. */
void lost_torn(void *userdata, uint64_t ino);

/* ---- claim.c ---- */
/*
 * Whoever changes the object under a node's key claims the node (node->publishing), so that nobody
 * publishes to a key that is being moved or removed. A directory's claim is one of all below.
 */
bool claim_held(struct fs *fs, const struct node *node) REQUIRES(&fs->lock);
/* What is in this directory is claimed with it, or somebody waits to do so. */
bool claim_below(struct fs *fs, const struct node *dir) REQUIRES(&fs->lock);
/* It is claimed, parts of it are being sent, or somebody waits to claim it. */
bool claim_blocked(struct fs *fs, const struct node *node) REQUIRES(&fs->lock);
/* For whoever has the claim, and for who sends parts: keep fs->busy. */
void claim_set(struct fs *fs, struct node *node, bool claimed) REQUIRES(&fs->lock);
void claim_streaming(struct fs *fs, struct node *node, int change) REQUIRES(&fs->lock);
/* Wait until it is not; then *ret may be published. -ESTALE: no such inode; -ETIMEDOUT. */
int claim_wait(struct fs *fs, uint32_t ino, struct pending *waiter, struct node **ret)
    REQUIRES(&fs->lock) __attribute__((warn_unused_result));
/*
 * Claims one or two (0: none) at once, when nobody else has them; `unique`: for which request. Not
 * by who has a claim. Names may have changed in the wait. -ESTALE: no such inode; -ETIMEDOUT.
 */
int claim(struct fs *fs, uint32_t ino, uint32_t other, uint64_t unique) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* Ends the claims and gives the nodes back if nobody needs them. */
void claim_end(struct fs *fs, uint32_t ino, uint32_t other) REQUIRES(&fs->lock);
/* At a takeover: claims for the requests that will come again. Later: the end of the others. */
void claim_adopt(struct fs *fs) REQUIRES(&fs->lock);
void claim_expire(struct fs *fs) REQUIRES(&fs->lock);

/* ---- manage.c ---- */
/* If the volume is managed: the session begins, in the background. */
int manage_start(struct fs *fs, const struct fs_config *config, struct error *err)
    __attribute__((warn_unused_result));
/* After an unmount: tell what is to be told, close the session. */
void manage_stop(struct fs *fs);
/* Nobody asks any more. */
void manage_free(struct fs *fs);

/* ---- usage.c ---- */
/* Count from now on, if the volume has a size. Stop before the volume is closed. */
int usage_start(struct fs *fs) __attribute__((warn_unused_result));
void usage_stop(struct fs *fs);
/* The volume has another size than it had; one without a limit keeps none. */
void usage_set_size(struct fs *fs, uint64_t size_bytes);
uint64_t usage_bytes(const struct fs *fs) REQUIRES(&fs->lock);
/* May a file get this size? -ENOSPC: the volume's size is reached. -EFBIG: no store holds it. */
int usage_resize(struct fs *fs, const struct inode_rec *rec, uint64_t size) REQUIRES(&fs->lock)
    __attribute__((warn_unused_result));
/* A file has been given another size, or has gone. */
void usage_resized(struct fs *fs, uint64_t from, uint64_t to) REQUIRES(&fs->lock);
void usage_removed(struct fs *fs, const struct inode_rec *rec) REQUIRES(&fs->lock);

#endif
