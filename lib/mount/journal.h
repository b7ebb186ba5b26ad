/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journal.h - dirty data of volumes on the host's disk, for whoever uploads them later.
 *
 *     DIR/VOLUME/volume.json     what to open: as mount/config.h has it, without secrets
 *     DIR/VOLUME/0000001f.jrn    one dirty inode (mount/journal_entry.h) with its bytes
 *     DIR/VOLUME/0000001f.bad    one that is damaged: set aside, for a person to look at
 *
 * Directories are 0700 and their owner's alone; no symbolic link is followed below DIR. One process
 * at a time has a volume's directory (flock): the mounter, or who recovers.
 *
 * A file is written beside its name, made durable, renamed, and the directory made durable: what
 * has its name is whole. Several files are made durable together by journal_commit(), for little
 * more than the price of one. Every byte of a file is under a CRC32C (mount/journal_file.h), and
 * journal_read() checks all of them before it says that the file is good.
 *
 *     struct journal_writer *w;
 *
 *     r = journal_begin(journal, number, &w);
 *     r = r == 0 ? journal_add(w, offset, bytes, len) : r;       ascending
 *     r = r == 0 ? journal_end(w, &entry) : r;
 *     r = r == 0 ? journal_commit(journal, &w, 1) : r;
 *     journal_drop(w);                                           unless committed; NULL is allowed
 *
 * Threads: any, but a writer is one thread's. Blocks for the disk: never under a lock.
 * Errors: -ENOSPC also when the limit would be exceeded; -EIO and what the disk says.
 */
#ifndef MOUNT_JOURNAL_H
#define MOUNT_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mount/config.h"
#include "mount/journal_file.h"
#include "util/cleanup.h"
#include "util/error.h"

enum { JOURNAL_NAME_MAX = 128 };
static const uint64_t journal_max_default = UINT64_C(8) << 30;

struct journal;
struct journal_writer;

/* "team-data_exp-1f0a3b5c7d9e1f20": readable, and another for each location and endpoint. */
int journal_volume_name(const struct mount_config *config, char ret[JOURNAL_NAME_MAX])
    __attribute__((warn_unused_result));

struct journal_config {
    const char *dir;                   /* absolute; made if it is missing */
    const struct mount_config *volume; /* NULL: `name` says which, and it must be there */
    const char *name;                  /* a directory in `dir` */
    uint64_t max_bytes;                /* of `dir` as a whole; 0: journal_max_default */
    uint64_t wait_ms;                  /* for another process to give it up */
};
/* -EBUSY: in use by another process; -EPERM: not ours, or others may write there; -ENOENT. */
int journal_open(const struct journal_config *config, struct journal **ret, struct error *err)
    __attribute__((warn_unused_result));
/* Removes the volume's directory when nothing is in it. NULL is allowed. */
void journal_free(struct journal *journal);
DEFINE_CLEANUP(struct journal *, journal_free);

const char *journal_path(const struct journal *journal); /* of the volume's directory */
/* Of this volume, as far as this process knows. */
uint64_t journal_bytes(struct journal *journal);
uint32_t journal_files(struct journal *journal);

/* A number that no file has. */
uint32_t journal_number(struct journal *journal);

/* Write the file of that number; one that is there stays until the commit. */
int journal_begin(struct journal *journal, uint32_t number, struct journal_writer **ret)
    __attribute__((warn_unused_result));
int journal_add(struct journal_writer *w, uint64_t offset, const void *bytes, size_t len)
    __attribute__((warn_unused_result));
/* The entry's pieces are those that were added. Its sequence is set. */
int journal_end(struct journal_writer *w, const struct journal_entry *entry)
    __attribute__((warn_unused_result));
/*
 * Make them durable and give them their names. After a failure each of them either has its name or
 * not, as journal_drop() and a later journal_read() show; they are all to be written again. Those
 * that are committed are freed and their places NULL.
 */
int journal_commit(struct journal *journal, struct journal_writer **writers, size_t count)
    __attribute__((warn_unused_result));
void journal_drop(struct journal_writer *w);

/* No such file is a success. */
int journal_remove(struct journal *journal, uint32_t number) __attribute__((warn_unused_result));
/* Out of the way of the next start; the bytes stay. */
int journal_set_aside(struct journal *journal, uint32_t number) __attribute__((warn_unused_result));

/* The numbers of the files, ascending; the caller frees. Names that are not ours are left alone. */
int journal_list(struct journal *journal, uint32_t **ret, size_t *ret_count)
    __attribute__((warn_unused_result));

/* Opens the file and checks all of it (mount/journal_file.h). -EBADMSG: damaged; -ENOENT. */
int journal_read(struct journal *journal, uint32_t number, struct journal_file *ret,
                 struct error *err) __attribute__((warn_unused_result));

#endif
