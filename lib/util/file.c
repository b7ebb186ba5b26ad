/* SPDX-License-Identifier: Apache-2.0 */
/* file.c - replacing is temp + fsync + rename (or link, which never overwrites) + fsync of the
 * directory. */
#include "util/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "util/cleanup.h"
#include "util/clock.h"
#include "util/random.h"
#include "util/slice.h"

enum { LOOK_MS = 1000 };

static int read_all(int fd, struct buf *out)
{
    char chunk[16384];

    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            return 0;
        }
        buf_add(out, chunk, (size_t)n);
        if (buf_error(out) < 0) {
            return buf_error(out);
        }
    }
}

int file_read(const char *path, struct buf *out)
{
    AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0) {
        return -errno;
    }
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode)) {
        return -EISDIR;
    }
    /* Opened without waiting for a writer; what is in a pipe then comes as it comes. */
    if (S_ISFIFO(st.st_mode) && fcntl(fd, F_SETFL, O_RDONLY) < 0) {
        return -errno;
    }
    return read_all(fd, out);
}

int file_write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The directory of `path` into dir, and the name after it. */
static int split(const char *path, char dir[PATH_MAX], const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash != NULL ? (size_t)(slash - path) : 0;

    *ret_name = slash != NULL ? slash + 1 : path;
    if (**ret_name == '\0') {
        return -EISDIR;
    }
    if (len >= PATH_MAX) {
        return -ENAMETOOLONG;
    }
    if (slash == NULL) {
        (void)snprintf(dir, PATH_MAX, ".");
    } else {
        (void)snprintf(dir, PATH_MAX, "%.*s", len > 0 ? (int)len : 1, path);
    }
    return 0;
}

static int put_in_place(int dir, const char *temp, const char *name, bool overwrite)
{
    if (overwrite) {
        return renameat(dir, temp, dir, name) < 0 ? -errno : 0;
    }
    if (linkat(dir, temp, dir, name, 0) < 0) {
        return -errno;
    }
    return unlinkat(dir, temp, 0) < 0 ? -errno : 0;
}

/* Never for others to read before it is whose it will be. */
static int give(int fd, const struct stat *like, mode_t mode)
{
    if (like != NULL && fchown(fd, like->st_uid, like->st_gid) < 0) {
        return -errno;
    }
    return fchmod(fd, like != NULL ? like->st_mode & 07777 : mode) < 0 ? -errno : 0;
}

/* `like`: in the place of a mode. */
static int write_file(const char *path, struct slice content, mode_t mode, const struct stat *like,
                      bool overwrite)
{
    char dir_path[PATH_MAX];
    char id[RANDOM_ID_SIZE];
    char temp[64];
    const char *name;
    int r = split(path, dir_path, &name);
    AUTOCLOSE int dir = r == 0 ? open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    AUTOCLOSE int fd = -1;

    if (r < 0) {
        return r;
    }
    if (dir < 0) {
        return -errno;
    }
    random_id(id);
    (void)snprintf(temp, sizeof(temp), ".%s.tmp", id);
    fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                like != NULL ? 0600 : mode);
    if (fd < 0) {
        return -errno;
    }
    r = give(fd, like, mode);
    r = r == 0 ? file_write_all(fd, content.data, content.len) : r;
    r = r == 0 && fsync(fd) < 0 ? -errno : r;
    if (r == 0) {
        r = put_in_place(dir, temp, name, overwrite);
    }
    if (r < 0) {
        (void)unlinkat(dir, temp, 0);
        return r;
    }
    return fsync(dir) < 0 ? -errno : 0;
}

int file_replace(const char *path, const void *bytes, size_t len, mode_t mode)
{
    return write_file(path, (struct slice){.data = bytes, .len = len}, mode, NULL, true);
}

int file_replace_alike(const char *path, const void *bytes, size_t len)
{
    struct stat st;

    return stat(path, &st) < 0
               ? -errno
               : write_file(path, (struct slice){.data = bytes, .len = len}, 0, &st, true);
}

int file_create(const char *path, const void *bytes, size_t len, mode_t mode)
{
    return write_file(path, (struct slice){.data = bytes, .len = len}, mode, NULL, false);
}

int file_make_dir(const char *path, mode_t mode)
{
    char part[PATH_MAX];
    struct stat st;
    size_t len = strlen(path);

    if (len >= sizeof(part)) {
        return -ENAMETOOLONG;
    }
    memcpy(part, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (i < len && path[i] != '/') {
            continue;
        }
        part[i] = '\0';
        if (stat(part, &st) < 0) {
            if (errno != ENOENT || (mkdir(part, mode) < 0 && errno != EEXIST)) {
                return -errno;
            }
        } else if (!S_ISDIR(st.st_mode)) {
            return -ENOTDIR;
        }
        part[i] = path[i];
    }
    return 0;
}

int file_make_parent(const char *path, mode_t mode)
{
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX];

    if (slash == NULL || slash == path) {
        return 0;
    }
    if ((size_t)(slash - path) >= sizeof(parent)) {
        return -ENAMETOOLONG;
    }
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    return file_make_dir(parent, mode);
}

int file_stamp(const char *path, struct file_stamp *ret)
{
    struct stat st;

    if (stat(path, &st) < 0) {
        return -errno;
    }
    ret->device = st.st_dev;
    ret->inode = st.st_ino;
    ret->size = st.st_size;
    ret->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    return 0;
}

bool file_stamp_eq(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->mtime_ns == b->mtime_ns;
}

int file_watch_init(struct file_watch *watch, const char *path)
{
    *watch = (struct file_watch){.looked_ms = clock_monotonic_ms(clock_real())};
    return file_stamp(path, &watch->stamp);
}

bool file_watch_changed(struct file_watch *watch, const char *path)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    struct file_stamp stamp = {0};

    if (now - watch->looked_ms < LOOK_MS) {
        return false;
    }
    watch->looked_ms = now;
    if (file_stamp(path, &stamp) != 0 || file_stamp_eq(&stamp, &watch->stamp)) {
        return false;
    }
    watch->stamp = stamp;
    return true;
}

/* Remove a socket that a dead process left; -EADDRINUSE when somebody answers there. */
int file_remove_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTOCLOSE int fd = -1;
    struct stat st;

    if (strlen(path) >= sizeof(address.sun_path)) {
        return -ENAMETOOLONG;
    }
    if (lstat(path, &st) < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (!S_ISSOCK(st.st_mode)) {
        return -EEXIST;
    }
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN) {
        return -EADDRINUSE;
    }
    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}
