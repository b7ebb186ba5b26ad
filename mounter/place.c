/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/place.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount/bounded.h"
#include "mount/detach.h"
#include "mount/mountinfo.h"
#include "util/cleanup.h"
#include "util/log.h"

enum { LAYERS_MAX = 16, ASK_MS = 2000, DETACH_MS = 5000 };

/* A mount that lives may take its time; only one without a program says this, and at once. The
 * kernel may still know the attributes of its root, so stat(2) would not tell. */
static bool is_dead(const char *path)
{
    struct statvfs s;

    return bounded_statvfs(path, ASK_MS, &s) == -ENOTCONN;
}

static int refuse_dead(const char *path, const char *why, struct error *err)
{
    return error_set(err, -ENOTCONN,
                     "%s is a mount whose program has ended%s: unmount it first (fusermount3 -uz, "
                     "umount -l)",
                     path, why);
}

/* Of ours that nobody serves any more; they may lie one on the other. */
static int clear_dead(const char *path, const char *real, struct error *err)
{
    AUTOFREE struct mountinfo *m = malloc(sizeof(*m));

    if (m == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < LAYERS_MAX; i++) {
        int r = mountinfo_find(real, m);

        if (r != 0 || strcmp(m->type, "fuse.skyvol") != 0) {
            return r == 0 && is_dead(real) ? refuse_dead(path, "", err) : 0;
        }
        if (!is_dead(real)) {
            return error_set(err, -EBUSY, "%s is mounted already (%s): unmount it first", path,
                             m->source);
        }
        r = mount_detach(real, DETACH_MS);
        if (r != 0) {
            return refuse_dead(path, " and that we may not unmount", err);
        }
        log_warn("a mount whose program had ended was unmounted here", "mount_point", path, NULL);
    }
    return error_set(err, -EBUSY, "%s has too many mounts one on the other", path);
}

int place_ready(const char *path, char **ret, struct error *err)
{
    AUTOFREE char *real = realpath(path, NULL);
    int r = real != NULL ? 0 : -errno;
    struct stat st;

    if (r == -ENOENT) {
        return error_set(err, r, "there is no directory %s to mount on: make it first", path);
    }
    if (r == 0) {
        r = clear_dead(path, real, err);
        if (r != 0) {
            return r;
        }
        r = stat(real, &st) != 0 ? -errno : S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
    }
    if (r != 0) {
        return r == -ENOTCONN /* one above it */
                   ? refuse_dead(path, "", err)
                   : error_set(err, -ENOTDIR, "%s is not a directory to mount on", path);
    }
    *ret = TAKE(real);
    return 0;
}

int place_device(struct error *err)
{
    if (access("/dev/fuse", R_OK | W_OK) != 0) {
        return error_set(err, -errno, "/dev/fuse cannot be used: %s (%s)", strerror(errno),
                         errno == EACCES || errno == EPERM
                             ? "its permissions, or those of this container"
                             : "modprobe fuse, or give this container the device");
    }
    return 0;
}

void place_leave(const char *path)
{
    int r = mount_detach(path, DETACH_MS);

    if (r != 0) {
        log_error("the mount point could not be unmounted: fusermount3 -uz or umount -l does it",
                  "mount_point", path, "error", strerrordesc_np(-r), NULL);
    }
}
