/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir_hurry.h - SQLite for a thread that must not wait: an event loop asks the index.
 *
 *     vfs = dir_hurry_vfs();                    NULL: it cannot be had
 *     dir_hurry_begin(DIR_HURRY_OPEN);
 *     sqlite3_open_v2(path, &db, flags, vfs);   may wait; all files of the connection are opened
 *     (void)dir_hurry_end();
 *
 *     dir_hurry_begin(DIR_HURRY_READ);
 *     sqlite3_step(statement);
 *     if (dir_hurry_end() != 0) what came is worth nothing: it was not to be had at once
 *
 * Between begin and end the calling thread reads no page that is not in the kernel's memory, does
 * not sleep, and begins no repair of the write-ahead log: SQLite sees an error or a busy database
 * instead. All locks of SQLite's files are tried and never waited for. The one thing left is the
 * map of the log (-shm), whose few pages all connections touch all the time.
 *
 * It works by SQLite's table of system calls, which all connections of the process share: for
 * threads that are not between begin and end these do what they did. Any thread.
 */
#ifndef OBJSTORE_DIR_HURRY_H
#define OBJSTORE_DIR_HURRY_H

enum dir_hurry { DIR_HURRY_NONE, DIR_HURRY_OPEN, DIR_HURRY_READ };

const char *dir_hurry_vfs(void);
void dir_hurry_begin(enum dir_hurry hurry);
/* 0; -EAGAIN: something had to be waited for; -ENOTSUP: the file system cannot tell. */
int dir_hurry_end(void);

#endif
