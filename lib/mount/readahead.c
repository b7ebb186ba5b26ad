/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/readahead.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mount/mountinfo.h"
#include "util/cleanup.h"

int mount_readahead_set(const char *target, uint64_t bytes)
{
    AUTOFREE struct mountinfo *m = malloc(sizeof(*m));
    AUTOCLOSE int fd = -1;
    char path[96];
    char text[32];
    int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)((bytes + 1023) / 1024));
    int ret = m == NULL ? -ENOMEM : mountinfo_find(target, m);

    if (ret != 0) {
        return ret;
    }
    (void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", m->device_major,
                   m->device_minor);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, (size_t)len) == len ? 0 : -errno;
}
