/* SPDX-License-Identifier: Apache-2.0 */
/*
 * export.h - dirty inodes, as files of a journal on the host's disk (mount/journal.h).
 *
 * Stands on the kept state alone, so that it also works where no file system can be made: after a
 * mounter that dies again and again (run_export()). With a file system, `fs` tells it what changes
 * meanwhile: a file in the journal is never a mixture of two moments.
 *
 * Objects that are still to be deleted (graves.h) are one file of kind JOURNAL_DELETE: for each the
 * hash of its ETag (8 bytes, little-endian), its key and a NUL.
 *
 * An inode knows the number of its file before the file has a name, and until it has been removed:
 * no file is ever left that nobody knows of.
 */
#ifndef MOUNTER_EXPORT_H
#define MOUNTER_EXPORT_H

#include "mount/journal.h"
#include "mounter/kept/state.h"
#include "util/mutex.h"

struct fs;

struct export
{
    struct state *state;
    struct mutex *lock; /* covers the state; not held by who calls */
    struct journal *journal;
    struct fs *fs; /* or NULL: nobody else is there */
};

enum { EXPORT_BATCH = 64 };

/* An inode that is being written. */
struct export_item {
    uint32_t ino;
    uint64_t edits; /* node->edits of what was written */
    struct journal_writer *writer;
    int result;
};

/*
 * Write one inode's file, not yet durable. item->writer is NULL and the result 0 when there is
 * nothing to write (any more). -EIO: bytes of it are lost; -EAGAIN: it is written to all the time;
 * what journal_add() says. Blocks for the disk.
 */
int export_write(const struct export *x, struct export_item *item)
    __attribute__((warn_unused_result));

/* Make them durable, together; sets their results and frees the writers. */
void export_commit(const struct export *x, struct export_item *items, size_t count);

/* What is to be deleted. *ret_number: of its file; 0: there is nothing. Blocks for the disk. */
int export_graves(const struct export *x, uint32_t *ret_number) __attribute__((warn_unused_result));

/*
 * All that is dirty and not in the journal as it is. *ret_files: how many are in the journal.
 * Nothing of a file that has lost bytes. The first error; what could be written, was.
 */
int export_all(const struct export *x, uint32_t *ret_files, struct error *err)
    __attribute__((warn_unused_result));

#endif
