/* SPDX-License-Identifier: Apache-2.0 */
/*
 * setup.h - from what one mount is of (mount/config.h) to an open volume and a file system on it.
 */
#ifndef MOUNTER_SETUP_H
#define MOUNTER_SETUP_H

#include "mount/config.h"
#include "mounter/fs.h"
#include "mounter/kept/keep.h"
#include "util/error.h"

/*
 * Besides configuration and keys: where dirty data may be kept on the host's disk, if the options
 * do not say, and the ticket for the metaserver of a managed volume (or NULL).
 */
struct setup_extra {
    const char *dir;    /* "": nowhere */
    uint64_t max_bytes; /* of all volumes there; 0: the default */
    const struct mount_ticket *ticket;
    /* Under a holder: what the store fails with meanwhile, and at last, is put in a pod's words. */
    void (*trying)(void *context, const struct error *why); /* NULL: by hand */
    void *trying_context;
    bool recovers; /* a journal, without a mount: what errors advise */
};

/* The journal of this mount; *ret NULL: it has none. With sync=async that is an error. */
struct journal;
/* What of the options does not go together, before anybody is asked. -EINVAL. */
int setup_check(const struct mount_config *config, const struct setup_extra *journal,
                struct error *err) __attribute__((warn_unused_result));
int setup_journal_open(const struct mount_config *config, const struct setup_extra *journal,
                       struct journal **ret, struct error *err) __attribute__((warn_unused_result));

/*
 * Opens the volume, probes what the bucket can do (which also shows a wrong endpoint, key or bucket
 * at once), and makes the file system, with what is in its journal. Waits for the store.
 */
int setup_fs(const struct mount_config *config, const struct mount_credentials *credentials,
             struct keep *keep, const struct setup_extra *extra, struct fs **ret, struct error *err)
    __attribute__((warn_unused_result));

/* Options that are of the session, not of the file system. */
unsigned setup_threads(const struct mount_config *config);
/* Of one operation; 0: the session's default. */
uint64_t setup_deadline_ms(const struct mount_config *config);
/* Before the journal takes what the store has not taken, by hand. */
uint64_t setup_drain_ms(const struct mount_config *config);
uint64_t setup_readahead(const struct mount_config *config); /* of the kernel, in bytes */
bool setup_resend(const struct mount_config *config);
/* What the mounter is told to take, in bytes; 0: its default, a share of the machine's. */
uint64_t setup_memory(const struct mount_config *config);

/*
 * The keys of a person at a shell: AWS_ACCESS_KEY_ID and its like, else the profile AWS_PROFILE (or
 * "default") of AWS_SHARED_CREDENTIALS_FILE (or ~/.aws/credentials). None at all is no error.
 */
int setup_personal_credentials(struct mount_credentials *ret, struct error *err)
    __attribute__((warn_unused_result));

/* The file that these come from, to be freed; *ret is NULL when they come from none. -ENOMEM. */
int setup_credentials_path(char **ret) __attribute__((warn_unused_result));

#endif
