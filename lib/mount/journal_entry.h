/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal_entry.h - what a journal's file says of one inode, as bytes and back.
 *
 * Everything an inode needs to become dirty again in another mount: where it is, its attributes,
 * what it was based on, the parts of an unfinished upload, and where in the file its dirty bytes
 * lie. Numbers are little-endian; texts have a length before them. Whatever the bytes are, decoding
 * reads nothing beyond them and takes no more memory than a small multiple of their length.
 *
 * No I/O, no state: any thread. Errors: -EBADMSG with err (damaged or not ours), -ENOMEM.
 */
#ifndef MOUNT_JOURNAL_ENTRY_H
#define MOUNT_JOURNAL_ENTRY_H

#include <stddef.h>
#include <stdint.h>

#include "util/arena.h"
#include "util/buf.h"
#include "util/error.h"

enum {
    JOURNAL_PIECE_MAX = 64 * 1024, /* bytes under one checksum */
    JOURNAL_PATH_MAX = 8192,       /* with NUL; so are target and xattr */
    JOURNAL_ETAG_MAX = 128,        /* with NUL */
    JOURNAL_UPLOAD_MAX = 1024,     /* with NUL */
    JOURNAL_PARTS_MAX = 10000,     /* of an upload */
    JOURNAL_HOLES_MAX = 4096,
    JOURNAL_PIECES_MAX = 1024 * 1024,
    JOURNAL_INDEX_MAX = 32 * 1024 * 1024, /* bytes of an encoded entry */
};

enum journal_kind {
    JOURNAL_FILE = 1,
    JOURNAL_DIR,
    JOURNAL_SYMLINK,
    JOURNAL_SPECIAL, /* FIFO, socket or device */
    JOURNAL_DELETE,  /* objects are to go: their keys are the bytes, see mounter/journal/export.h */
    JOURNAL_RENAME,  /* the object of `path` is to be at `target` */
};
const char *journal_kind_name(enum journal_kind kind);

enum journal_flag {
    JOURNAL_NEW = 1 << 0,    /* there was no object */
    JOURNAL_ATTRS = 1 << 1,  /* mode, owner and times are known, not assumed */
    JOURNAL_MARKER = 1 << 2, /* a directory with an object of its own */
};

/* A part of an unfinished upload that the store has; its bytes may be nowhere else. */
struct journal_part {
    uint32_t number;
    uint64_t offset; /* in the file */
    const char *etag;
};

/* [from, to) reads as zeros: over the object, under the dirty bytes. */
struct journal_hole {
    uint64_t from, to;
};

/* Dirty bytes: [offset, offset + len) of the inode, at `at` in the journal's file. */
struct journal_piece {
    uint64_t offset, at;
    uint32_t len, crc;
};

/* Texts are never NULL in an entry that was decoded; NULL counts as "" when encoding. */
struct journal_entry {
    enum journal_kind kind;
    uint32_t flags;
    const char *path;   /* names from the root of the volume, by '/': as programs see them */
    const char *target; /* of a symbolic link or a rename */
    const char *xattr;  /* as mounter/attr/attr.h has them */
    const char *etag;   /* of the object that the dirty bytes lie over */
    const char *upload_id;
    uint64_t sequence; /* grows with each file written: later ones are newer */
    uint64_t size, base_size, base_valid;
    uint64_t token, attempt; /* of a publication whose end may not have been seen */
    uint32_t mode, uid, gid, rdev;
    int64_t mtime_ns, ctime_ns, atime_ns, dirty_since_ns;
    const struct journal_part *parts;
    uint64_t schedule[4]; /* of the upload that has them: mounter/write/parts.h */
    uint32_t parts_count;
    const struct journal_hole *holes; /* ascending, apart */
    uint32_t holes_count;
    const struct journal_piece *pieces; /* ascending, apart or touching; tiling the file */
    uint32_t pieces_count;
};

/* Appends to `out`. The buffer's limit should be JOURNAL_INDEX_MAX. */
void journal_entry_encode(const struct journal_entry *entry, struct buf *out);

/*
 * Texts and tables are in the arena. The first piece is taken to be at `first_at`, and the others
 * one after the other; *ret_end is where the last one ends.
 */
struct journal_bytes {
    const void *data;
    size_t len;
    uint64_t first_at;
};
int journal_entry_decode(const struct journal_bytes *bytes, struct arena *arena,
                         struct journal_entry *ret, uint64_t *ret_end, struct error *err)
    __attribute__((warn_unused_result));

#endif
