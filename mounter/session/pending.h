/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pending.h - one FUSE request from its handler to its answer.
 *
 * A handler never waits for the network. It begins a pending, starts the operation, and returns;
 * the operation's completion answers, from whatever thread:
 *
 *     static void fs_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
 *     {
 *         struct pending *p = pending_begin(req);
 *
 *         if (p == NULL) {
 *             return;                        // answered ENOMEM
 *         }
 *         start_open(p, ino, fi->flags, opened);
 *     }
 *     static void opened(struct pending *p, int result, const struct fuse_file_info *fi)
 *     {
 *         if (result < 0) {
 *             (void)pending_reply_err(p, -result);
 *         } else {
 *             (void)pending_reply_open(p, fi);
 *         }
 *     }
 *
 * The rule: every pending gets exactly one pending_reply_*(), on every path, even when it comes
 * too late. That call ends the caller's right to the pending and to the request's bytes (names,
 * WRITE payload: they lie in the request's slot, not on a stack, and stay valid until then).
 *
 * Three may want to answer: the operation, the deadline (EIO) and, if pending_interruptible() was
 * called, FUSE_INTERRUPT (EINTR). The first wins; the others find out by -ECANCELED. An operation
 * with an effect that must not happen after somebody else has answered calls pending_claim() just
 * before it takes effect: if that succeeds, only the operation answers from then on.
 *
 * Applying once: pending_unique() names the request for the life of the mount, also across a
 * takeover; a request that comes again after one has the same. Commit {unique, effect, reply} in
 * one journal record, then reply; on a later request with the same unique send the recorded reply.
 * The record may go once the reply has returned (the slot is empty by then, nobody will replay).
 *
 * FORGETs: implement forget_multi. Without it libfuse calls forget for each of a batch, all with
 * one unique.
 *
 * A handler that answers at once and changes nothing may use fuse_reply_*() directly, without a
 * pending. All functions may be called from any thread; callbacks run without locks.
 */
#ifndef MOUNTER_PENDING_H
#define MOUNTER_PENDING_H

#include <fuse3/fuse_lowlevel.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct pending;

/*
 * To be called in the handler, before it returns. NULL when memory is out; the request has then
 * been answered ENOMEM. The deadline starts now.
 */
struct pending *pending_begin(fuse_req_t req) __attribute__((warn_unused_result));

/* Names the request; never 0, never used again in the life of the mount. */
uint64_t pending_unique(const struct pending *p);

/* True if the request was in flight when a predecessor died: look into the journal first. */
bool pending_replay(const struct pending *p);

/* For fuse_req_ctx(); reply only through the functions below. */
fuse_req_t pending_req(const struct pending *p);

/* Move the deadline to `ms` from now (at most 10 minutes). -ECANCELED: already answered. */
int pending_set_deadline(struct pending *p, uint64_t ms);

/* The same, to the session's deadline and `more_ms` from now: the operation makes progress. */
int pending_renew(struct pending *p, uint64_t more_ms);

/*
 * FUSE_INTERRUPT and the deadline may abandon the operation: `cancel(context)` is called at most
 * once, after the answer (EINTR, EIO) has gone out, so that the operation ends soon. It must not
 * block. It is never running, nor called any more, once pending_reply_*() or a successful
 * pending_claim() has returned, so `context` may be freed then. It may itself end the operation
 * and call pending_reply_*(). `cancel` may be NULL: just answer.
 * Without this call only the deadline answers, and nothing is cancelled.
 * Only a thread that is being killed, or that we cannot see, interrupts: who handles a signal goes
 * on waiting, as on a local file system.
 */
typedef void pending_cancel_fn(void *context);
void pending_interruptible(struct pending *p, pending_cancel_fn *cancel, void *context);

/* The same, but any signal interrupts: for F_SETLKW and flock(2), which programs time out so. */
void pending_interruptible_any(struct pending *p, pending_cancel_fn *cancel, void *context);

/*
 * 0: nobody else will answer from now on; the caller must, soon. -ECANCELED: answered already, let
 * the effect be and call pending_reply_err() to end it.
 */
int pending_claim(struct pending *p) __attribute__((warn_unused_result));

/*
 * The answers; each as the fuse_reply_*() of its name, ends the pending, and returns
 *   0           answered;
 *   -ENOENT     the kernel waits no more: the caller was killed, or the predecessor had answered
 *               before it died. After reply_entry and reply_create: undo the lookup count (and the
 *               open handle, as no RELEASE will come);
 *   -ECANCELED  deadline or interrupt have answered: treat as -ENOENT;
 *   else        a negative errno of the device; the mount is going away.
 * `errnum` is positive, as FUSE has it.
 */
int pending_reply_err(struct pending *p, int errnum);
void pending_reply_none(struct pending *p); /* FORGET */
int pending_reply_entry(struct pending *p, const struct fuse_entry_param *e);
int pending_reply_create(struct pending *p, const struct fuse_entry_param *e,
                         const struct fuse_file_info *fi);
int pending_reply_attr(struct pending *p, const struct stat *attr, double timeout_s);
int pending_reply_readlink(struct pending *p, const char *target);
int pending_reply_open(struct pending *p, const struct fuse_file_info *fi);
int pending_reply_write(struct pending *p, size_t count);
int pending_reply_buf(struct pending *p, const void *data,
                      size_t len); /* also for a recorded one */
int pending_reply_iov(struct pending *p, const struct iovec *iov, int count);
int pending_reply_statfs(struct pending *p, const struct statvfs *stat);
int pending_reply_xattr(struct pending *p, size_t size);
int pending_reply_lock(struct pending *p, const struct flock *lock);
int pending_reply_lseek(struct pending *p, off_t offset);

#endif
