/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locks.h - POSIX and BSD locks of a managed volume, across its nodes.
 *
 * The metaserver decides; each lock is of this mount's session and of the kernel's lock owner. What
 * is held lies in the kept region "locks", for the metaserver does not say which closes have to
 * give something up. Who waits (F_SETLKW, flock) holds no thread: one thread waits for all of them.
 *
 * As with NFS a lock is also where nodes meet: before it is given up the file's bytes are
 * published, and when it has been got the file is looked at again, also by handles that are open
 * already.
 *
 * When the session ends, its locks are another's: from then on who held one gets EIO from locks
 * and writes of that file until it closes the file or unlocks.
 *
 * Without a session (the metaserver does not answer): ENOLCK for new locks, after some seconds.
 * Lock order: fs->lock, then locks->lock. Neither is held while somebody is asked.
 */
#ifndef MOUNTER_LOCKS_H
#define MOUNTER_LOCKS_H

#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

#include "mounter/kept/keep.h"
#include "util/error.h"

struct fs;
struct locks;

int locks_new(struct fs *fs, struct keep *keep, struct locks **ret, struct error *err)
    __attribute__((warn_unused_result));
/* Whoever waits is answered EINTR, now and from now on. NULL is allowed. */
void locks_stop(struct locks *locks);
/* After it. NULL is allowed. */
void locks_free(struct locks *locks);

/* The session has ended: what is held is lost. Any thread. */
void locks_lost(struct locks *locks);
/* A lock of this file was lost, and its holder has not been told by close or unlock yet. Also under
 * fs->lock. `locks` may be NULL. */
bool locks_are_lost(struct locks *locks, uint64_t ino);
/* Somebody here has a lock of this file. The same. */
bool locks_any(struct locks *locks, uint64_t ino);

/* The handlers. Without `fs->locks` they are not called: the kernel locks by itself. */
void fs_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock);
void fs_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
              int sleep);
void fs_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op);
/* A close(2) of a file by an owner who has locks of it. True: the request is taken care of. */
bool locks_flush(struct fs *fs, fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi);
/* The last close of a handle that had a BSD lock. In the background. */
void locks_release(struct fs *fs, fuse_ino_t ino, const struct fuse_file_info *fi);

#endif
