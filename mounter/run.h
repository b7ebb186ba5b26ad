/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - the life of a mounter: set up, serve, drain, end.
 */
#ifndef MOUNTER_RUN_H
#define MOUNTER_RUN_H

#include <stdbool.h>

#include "mount/config.h"
#include "mounter/journal/recover.h"

struct run_arguments {
    struct mount_config config;
    struct mount_ticket ticket; /* for the metaserver of a managed volume */
    const char *mountpoint;
    bool foreground;
    int holder_fd; /* -1: started by a person */
    bool export_journal;
    struct recover_arguments recover;
};

/* All return the exit status. Signals must be blocked. */
int run_held(int holder_fd);
/* No mount: what a mounter left that died again and again goes to the journal. Parses no request.
 */
int run_export(int holder_fd);
int run_alone(const struct run_arguments *arguments);

#endif
