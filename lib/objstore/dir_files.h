/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir_files.h - the data files of a directory store. Internal to the directory backend.
 *
 *     root/format              "skyvol-store 1"
 *     root/index.sqlite        see dir_index.h
 *     root/data/BUCKET/xx/GENERATION.NAME    an object's bytes; NAME is its key, escaped and cut
 *     root/tmp/OWNER/GENERATION              a file being written, or published and not yet indexed
 *     root/tmp/OWNER.lock                    locked as long as the owning process lives
 *     root/reserve             room for the index to delete on a disk that is full
 *
 * Writing: dir_files_create() gives an empty file, dir_files_flush() makes its bytes durable,
 * dir_files_publish() links it under its final name, dir_files_flush_folder() makes that durable
 * for all files of a folder, the index commits, dir_files_settle() drops the first link. Files that
 * dir_pending.h sees to are published and settled alike, and flushed later. A process
 * that dies in between leaves the first link, by which dir_files_sweep() of any later process finds
 * and removes what no index row names. Final names are never used twice, so a reader's file never
 * changes.
 *
 * No key is ever a path: what a name shows of it is escaped, and looked up by nobody. Safe from
 * any thread.
 */
#ifndef OBJSTORE_DIR_FILES_H
#define OBJSTORE_DIR_FILES_H

#include <stdbool.h>

#include "objstore/dir_index.h"
#include "util/error.h"

struct dir_files;

enum { DIR_GENERATION_SIZE = 33 };

/* Creates the layout where it is absent. -EUCLEAN: the directory holds something else. */
int dir_files_open(const char *root, bool durable, struct dir_files **ret, struct error *err)
    __attribute__((warn_unused_result));
void dir_files_close(struct dir_files *files); /* NULL is allowed */
DEFINE_CLEANUP(struct dir_files *, dir_files_close);

/* An empty file for writing and reading; *ret_fd is the caller's. */
int dir_files_create(struct dir_files *files, int *ret_fd, char ret_generation[DIR_GENERATION_SIZE])
    __attribute__((warn_unused_result));

/* The name that a file of this object would have, for who makes it later: dir_files_write(). */
void dir_files_name(struct dir_files *files, const char *bucket, const char *key,
                    char ret_file[DIR_FILE_NAME_MAX]);

/* Make the bytes durable. */
int dir_files_flush(struct dir_files *files, int fd) __attribute__((warn_unused_result));

/* Give a file that was flushed its name; durable once the name's folder is flushed. */
int dir_files_publish(struct dir_files *files, const char *generation, const char *bucket,
                      const char *key, char ret_file[DIR_FILE_NAME_MAX])
    __attribute__((warn_unused_result));

int dir_files_flush_folder(struct dir_files *files, const char *file)
    __attribute__((warn_unused_result));
bool dir_files_same_folder(const char *a, const char *b);

/* The end of a create: the index knows the file, or nobody wants it. */
void dir_files_settle(struct dir_files *files, const char *generation);

/* -ENOENT: removed meanwhile, ask the index again. */
int dir_files_read(struct dir_files *files, const char *file, int *ret_fd)
    __attribute__((warn_unused_result));

/* The same without waiting for the disk; -EAGAIN: that cannot be done, or not be known. */
int dir_files_read_now(struct dir_files *files, const char *file, int *ret_fd)
    __attribute__((warn_unused_result));

/* 0 also when it is gone already. */
int dir_files_remove(struct dir_files *files, const char *file) __attribute__((warn_unused_result));

/*
 * For who flushes in groups (dir_pending.h). _syncs_all(): one call can make all durable and tells
 * of what failed since the last one: a file system that is known for it, on Linux 5.8 or later.
 */
bool dir_files_syncs_all(const struct dir_files *files);
int dir_files_sync_all(struct dir_files *files) __attribute__((warn_unused_result));
/* Of all processes one; -EAGAIN without `wait`: another has it. */
int dir_files_flush_lock(struct dir_files *files, bool wait) __attribute__((warn_unused_result));
void dir_files_flush_unlock(struct dir_files *files);
/*
 * Once, before anything is read or written. True: nobody else has the store open, and who opens it
 * from now on waits in here until _joined(). Else the caller has joined those who have it.
 */
bool dir_files_is_first(struct dir_files *files);
void dir_files_joined(struct dir_files *files);
/* A file of this name with these bytes, neither flushed nor whole for who opens it meanwhile.
 * -EEXIST: there is one. */
int dir_files_write(struct dir_files *files, const char *file, const void *bytes, size_t len)
    __attribute__((warn_unused_result));
/* A file of this name with these bytes, in the place of what there is. Durable, or with the next
 * dir_files_sync_all() where that can be had. */
int dir_files_restore(struct dir_files *files, const char *file, const void *bytes, size_t len)
    __attribute__((warn_unused_result));

/* Hold some room back, if it is not and there is some; and give it up: true if there was any. */
void dir_files_reserve(struct dir_files *files);
bool dir_files_release(struct dir_files *files);
/* What its file system has left; as they were where that cannot be told. */
void dir_files_room(const struct dir_files *files, uint64_t *bytes, uint64_t *count);

/* Remove what processes that have died left unfinished. Returns how many files, or an error. */
int dir_files_sweep(struct dir_files *files, struct dir_index *index)
    __attribute__((warn_unused_result));

#endif
