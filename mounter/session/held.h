/* SPDX-License-Identifier: Apache-2.0 */
/*
 * held.h - the mounter's side of its holder.
 *
 * A mounter started by skyvol-holder inherits a socket (`--holder-fd=N`) and nothing else: no
 * mount point, no secret in its arguments or environment. Over it come the device, the kept
 * memory, and the sealed texts "config" and "credentials":
 *
 *     r = held_new(fd, &events, context, &held, &err);   // waits for the holder's "start"
 *     keep = held_keep(held);
 *     ... keep_blob_get(keep, "config"), build the file system on keep_region()s ...
 *     config.device = held_device(held);
 *     r = session_new(...); r = session_start(...);
 *     held_ready(held);                                  // or held_failed(held, &err), exit 1
 *
 * A thread of held's listens to the holder and calls the events, one at a time. When the holder
 * goes away, requests go on being answered; the thread looks for its successor at the well-known
 * socket and gives it the device and every region again.
 * Exit with 0 when session_wait() says -ENODEV (unmounted), and after `quiesce`.
 */
#ifndef MOUNTER_HELD_H
#define MOUNTER_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "mounter/kept/keep.h"
#include "util/cleanup.h"
#include "util/error.h"

struct held;

struct held_drain {
    uint64_t deadline_ms;
    bool keep;
};

struct held_events {
    /* The blob "credentials" of the keep is new. */
    void (*credentials)(void *context);
    /* A planned replacement: session_stop(), and the process is to end within seconds. */
    void (*quiesce)(void *context);
    /*
     * Before an unmount: publish what is dirty for at most deadline_ms, then, if `keep`, write the
     * rest to the journal. 0: nothing is dirty any more, or *kept_files are in the journal;
     * -ETIMEDOUT or what the disk says. Blocks only the listening thread.
     */
    int (*drain)(void *context, const struct held_drain *drain, uint32_t *kept_files,
                 struct error *err);
};

/*
 * Waits at most 10 s for the holder. `socket` is owned from here on. Events may come as soon as
 * held_ready() has been called; all three must be there. Errors: -ETIMEDOUT, -EBADMSG, -EPIPE.
 */
int held_new(int socket, const struct held_events *events, void *context, struct held **ret,
             struct error *err) __attribute__((warn_unused_result));

/* Ends the thread; no event is called after. NULL is allowed. Frees the keep. */
void held_free(struct held *held);
DEFINE_CLEANUP(struct held *, held_free);

struct keep *held_keep(struct held *held); /* borrowed */
int held_device(const struct held *held);  /* borrowed: session_new() makes its own duplicate */
const char *held_key(const struct held *held);
/* Where the holder lets dirty data be kept on disk; "" : nowhere. *ret_max_bytes as in journal.h.
 */
const char *held_journal(const struct held *held, uint64_t *ret_max_bytes);
bool held_resend(const struct held *held); /* the holder's word on session_config.resend */
/* What the mounter's cgroup has, and so all that it may take; 0: an older holder, which says not.
 */
uint64_t held_memory(const struct held *held);

/* Tell the holder what keeps the mount from being ready, for whoever asks or waits in vain. */
void held_trying(struct held *held, const struct error *why);

/* Tell the holder, and start listening. A failure to start is told to whoever asked to mount. */
int held_ready(struct held *held, struct error *err) __attribute__((warn_unused_result));
void held_failed(struct held *held, const struct error *why);
/* The answer to a drain: files in the journal, and 0 or why not all is there or in the store. */
void held_drained(struct held *held, uint32_t kept_files, int result, const struct error *why);

#endif
