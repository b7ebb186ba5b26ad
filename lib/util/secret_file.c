/* SPDX-License-Identifier: Apache-2.0 */
#include "util/secret_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/file.h"

/*
 * A member of a Secret as kubelet mounts it: root's, and a program is of the group that may read.
 * Beside the top names lies ..data, which leads to the directory of the files themselves. So the
 * directory of a member that lies deeper is ..data/DIRECTORY, two above which the top is.
 */
static bool is_mounted_secret(const char *path)
{
    static const char *const places[] = {"", "/..", "/../.."};
    const char *slash = strrchr(path, '/');
    int len = slash != NULL ? (int)(slash - path) : 1;
    bool found = false;

    for (size_t i = 0; !found && i < sizeof(places) / sizeof(places[0]); i++) {
        AUTOFREE char *data = NULL;

        if (asprintf(&data, "%.*s%s/..data", len, slash != NULL ? path : ".", places[i]) < 0) {
            data = NULL;
            return false;
        }
        found = access(data, F_OK) == 0;
    }
    return found;
}

int secret_file_read(const char *path, struct buf *out, struct error *err)
{
    mode_t others = is_mounted_secret(path) ? S_IRWXO : S_IRWXO | S_IRWXG;
    struct stat st;
    int r = stat(path, &st) < 0 ? -errno : file_read(path, out);

    if (r == 0 && (st.st_mode & others) != 0) {
        return error_set(err, -EACCES, "credentials file %s: others may read it; chmod 600", path);
    }
    return r != 0 ? error_set(err, r, "credentials file %s: %s", path, strerror(-r)) : 0;
}
