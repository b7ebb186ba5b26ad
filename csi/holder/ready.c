/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/holder/ready.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "mount/holder.h"
#include "mount/message.h"
#include "util/cleanup.h"

enum { ANSWER_MS = 2000 };

/* A process that we cannot see is not one of this container. */
static bool lives_with_us(pid_t pid)
{
    char path[64];
    struct stat its;
    struct stat ours;

    (void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
    return pid > 0 && stat(path, &its) == 0 && stat("/proc/self/ns/mnt", &ours) == 0 &&
           its.st_ino == ours.st_ino && its.st_dev == ours.st_dev;
}

int ready_check(const char *socket, struct error *err)
{
    AUTOCLOSE int connection = -1;
    AUTOFREE struct holder_status *mounts = NULL;
    size_t count = 0;
    pid_t listener = 0;
    int r = message_connect(socket, &connection);

    r = r < 0 ? r : message_check_peer(connection, &listener);
    if (r < 0) {
        return error_set(err, r, "holder at %s: %s", socket, error_text(NULL, r));
    }
    cleanup_close(&connection);
    connection = -1;
    if (!lives_with_us(listener)) {
        return error_set(err, -EAGAIN, "another holder keeps the mounts of this node as yet");
    }
    return holder_list(socket, ANSWER_MS, &mounts, &count, err);
}
