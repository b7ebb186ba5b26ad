/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/cleanup.h"

static int private_dir(const char *path, struct error *err)
{
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        return error_set(err, -errno, "--run-dir %s: %s", path, strerror(errno));
    }
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 077) != 0) {
        return error_set(err, -EPERM, "--run-dir %s: must be a directory of ours with mode 0700",
                         path);
    }
    return 0;
}

/* Whoever has the lock has written its pid there, or is about to. */
static int in_use(const char *path, int fd, struct error *err)
{
    char pid[16];
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

    pid[n > 0 ? n : 0] = '\0';
    pid[strspn(pid, "0123456789")] = '\0';
    return error_set(err, -EBUSY, "--run-dir %s is in use by %s%s: give another one", path,
                     pid[0] != '\0' ? "pid " : "another skyvol-s3", pid);
}

int run_dir_take(const char *path, int *ret_fd, struct error *err)
{
    AUTOCLOSE int dir = -1;
    AUTOCLOSE int fd = -1;
    char pid[16];
    int len = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
    int ret = private_dir(path, err);

    if (ret != 0) {
        return ret;
    }
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    fd = dir < 0 ? -1 : openat(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK) {
        return in_use(path, fd, err);
    }
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || ftruncate(fd, 0) < 0 ||
        pwrite(fd, pid, (size_t)len, 0) != len) {
        return error_set(err, -errno, "--run-dir %s: lock: %s", path, strerror(errno));
    }
    *ret_fd = take_fd(&fd);
    return 0;
}
