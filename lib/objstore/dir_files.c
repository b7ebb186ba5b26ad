/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/dir_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/file.h"
#include "util/random.h"

#define FORMAT_TEXT "skyvol-store 1\n"

enum { NAME_SHOWN_MAX = 160, FILE_MODE = 0640, DIR_MODE = 0750, RESERVE_BYTES = 1 << 20 };

/*
 * Which digits of a generation name its folder. Not the last ones: files that are made one after
 * the other lie in one folder, which is then flushed once for all of them. Until version 0.1 it was
 * the last two, so that a sweep looks there, too.
 */
enum { FAN_SIZE = 3, FAN_DIGIT = 4, FAN_DIGIT_OLD = 2 };

#define RESERVE "reserve"

struct dir_files {
    int root;
    int data;
    int tmp; /* of this owner */
    int tmp_root;
    int lock;
    bool durable;
    bool syncs_all;
    char owner[RANDOM_ID_SIZE];
    _Atomic uint64_t sequence;
};

/* mkdir that is content with what exists, and the directory opened. */
static int open_dir(int parent, const char *name, bool create, int *ret)
{
    int fd;

    if (create && mkdirat(parent, name, DIR_MODE) != 0 && errno != EEXIST) {
        return -errno;
    }
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return -errno;
    }
    *ret = fd;
    return 0;
}

static int sync_dir(const struct dir_files *files, int fd)
{
    return files->durable && fsync(fd) != 0 ? -errno : 0;
}

static int write_format(struct dir_files *files)
{
    char temporary[RANDOM_ID_SIZE + 8] = "format.";
    AUTOCLOSE int fd = -1;

    random_id(temporary + strlen(temporary));
    fd = openat(files->root, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (fd < 0) {
        return -errno;
    }
    if (write(fd, FORMAT_TEXT, strlen(FORMAT_TEXT)) != (ssize_t)strlen(FORMAT_TEXT) ||
        fsync(fd) != 0 || renameat(files->root, temporary, files->root, "format") != 0) {
        int ret = errno != 0 ? -errno : -EIO;

        (void)unlinkat(files->root, temporary, 0);
        return ret;
    }
    return fsync(files->root) != 0 ? -errno : 0;
}

/* Anything but an empty directory or one of ours is refused: nothing of others' gets mixed in. */
static int check_empty(const struct dir_files *files)
{
    int copy = openat(files->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    const struct dirent *entry;
    int ret = 0;

    if (dir == NULL) {
        return -errno;
    }
    while (ret == 0 && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.' && strncmp(entry->d_name, "format", 6) != 0 &&
            strcmp(entry->d_name, "lost+found") != 0) {
            ret = -EUCLEAN;
        }
    }
    (void)closedir(dir);
    return ret;
}

static int check_format(struct dir_files *files, const char *root, struct error *err)
{
    char text[64] = "";
    AUTOCLOSE int fd = openat(files->root, "format", O_RDONLY | O_CLOEXEC);
    ssize_t len;
    int ret;

    if (fd < 0 && errno == ENOENT) {
        ret = check_empty(files);
        /* Another process may have made it a store since we looked: its format comes first. */
        fd = ret == -EUCLEAN ? openat(files->root, "format", O_RDONLY | O_CLOEXEC) : -1;
        if (fd < 0) {
            ret = ret == 0 ? write_format(files) : ret;
            return ret == 0 ? 0
                            : error_set(err, ret, "%s: %s", root,
                                        ret == -EUCLEAN ? "the directory holds something else; a "
                                                          "store needs an empty one"
                                                        : strerror(-ret));
        }
    }
    len = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
    if (len < 0) {
        return error_set(err, -errno, "%s/format: %s", root, strerror(errno));
    }
    if (strcmp(text, FORMAT_TEXT) != 0) {
        return error_set(err, -EUCLEAN, "%s: not a store of a format this program knows", root);
    }
    return 0;
}

/*
 * A sweeper may lock, and remove, a lock file between its creation and our locking it: then we have
 * no lease, and take another.
 */
static int try_lease(struct dir_files *files)
{
    char name[RANDOM_ID_SIZE + 8];
    struct stat st;
    int ret;

    random_id(files->owner);
    (void)snprintf(name, sizeof(name), "%s.lock", files->owner);
    files->lock = openat(files->tmp_root, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (files->lock < 0) {
        return -errno;
    }
    if (flock(files->lock, LOCK_EX | LOCK_NB) != 0 || fstat(files->lock, &st) != 0 ||
        st.st_nlink == 0) {
        (void)close(files->lock);
        files->lock = -1;
        return -EAGAIN;
    }
    ret = open_dir(files->tmp_root, files->owner, true, &files->tmp);
    return ret == 0 ? sync_dir(files, files->tmp_root) : ret;
}

static int take_lease(struct dir_files *files)
{
    int ret = -EAGAIN;

    for (int i = 0; i < 10 && ret == -EAGAIN; i++) {
        ret = try_lease(files);
    }
    return ret;
}

/*
 * syncfs() tells of failed writes since Linux 5.8, of this file system and not of one below it: so
 * not on overlays and network file systems.
 */
static bool can_sync_all(int fd)
{
    struct statfs fs;
    struct utsname system;
    unsigned long major;
    unsigned long minor;
    char *end;

    if (fstatfs(fd, &fs) != 0 || uname(&system) != 0) {
        return false;
    }
    major = strtoul(system.release, &end, 10);
    minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    return (major > 5 || (major == 5 && minor >= 8)) &&
           (fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC ||
            fs.f_type == BTRFS_SUPER_MAGIC);
}

int dir_files_open(const char *root, bool durable, struct dir_files **ret, struct error *err)
{
    CLEANUP(dir_files_close_p) struct dir_files *files = calloc(1, sizeof(*files));
    int r;

    if (files == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    files->root = files->data = files->tmp = files->tmp_root = files->lock = -1;
    files->durable = durable;
    r = open_dir(AT_FDCWD, root, true, &files->root);
    if (r != 0) {
        return error_set(err, r, "cannot use the directory %s: %s", root, strerror(-r));
    }
    r = check_format(files, root, err);
    if (r != 0) {
        return r;
    }
    r = open_dir(files->root, "data", true, &files->data);
    r = r == 0 ? open_dir(files->root, "tmp", true, &files->tmp_root) : r;
    r = r == 0 ? sync_dir(files, files->root) : r;
    r = r == 0 ? take_lease(files) : r;
    if (r == -ENOSPC && dir_files_release(files)) {
        r = take_lease(files); /* to delete in such a store, it has to be opened first */
    }
    if (r != 0) {
        return error_set(err, r, "cannot write in %s: %s", root, strerror(-r));
    }
    files->syncs_all = can_sync_all(files->data);
    *ret = TAKE(files);
    return 0;
}

void dir_files_close(struct dir_files *files)
{
    char name[RANDOM_ID_SIZE + 8];

    if (files == NULL) {
        return;
    }
    if (files->lock >= 0) {
        /* Only an empty folder goes; otherwise the next sweep sees to it. */
        if (unlinkat(files->tmp_root, files->owner, AT_REMOVEDIR) == 0) {
            (void)snprintf(name, sizeof(name), "%s.lock", files->owner);
            (void)unlinkat(files->tmp_root, name, 0);
        }
        (void)close(files->lock);
    }
    for (size_t i = 0; i < 4; i++) {
        int fd = (int[]){files->tmp, files->tmp_root, files->data, files->root}[i];

        if (fd >= 0) {
            (void)close(fd);
        }
    }
    free(files);
}

/* Time orders the names, the owner's random part and the sequence make them unique. */
static void next_generation(struct dir_files *files, char ret[DIR_GENERATION_SIZE])
{
    uint64_t now = (uint64_t)clock_realtime_ns(clock_real());
    unsigned sequence = (unsigned)atomic_fetch_add(&files->sequence, 1);

    (void)snprintf(ret, DIR_GENERATION_SIZE, "%016llx%.8s%08x", (unsigned long long)now,
                   files->owner, sequence);
}

int dir_files_create(struct dir_files *files, int *ret_fd, char ret_generation[DIR_GENERATION_SIZE])
{
    int fd;

    next_generation(files, ret_generation);
    fd = openat(files->tmp, ret_generation, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (fd < 0) {
        return -errno;
    }
    *ret_fd = fd;
    return 0;
}

/* Letters, digits and a few more stay, everything else is %XX; cut at a whole character. */
static void show_key(const char *key, char ret[NAME_SHOWN_MAX + 1])
{
    size_t len = 0;

    for (const char *p = key; *p != '\0' && len + 3 <= NAME_SHOWN_MAX; p++) {
        unsigned char c = (unsigned char)*p;

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            strchr("._-+=,@", c) != NULL) {
            ret[len++] = (char)c;
        } else {
            len += (size_t)snprintf(ret + len, 4, "%%%02X", c);
        }
    }
    ret[len] = '\0';
}

/* Two digits of a generation's sequence; as a string. */
static void fan_of(const char *generation, size_t digit, char ret[FAN_SIZE])
{
    (void)snprintf(ret, FAN_SIZE, "%.2s", generation + strlen(generation) - digit);
}

int dir_files_flush(struct dir_files *files, int fd)
{
    return files->durable && fsync(fd) != 0 ? -errno : 0;
}

static size_t folder_len(const char *file)
{
    return (size_t)(strrchr(file, '/') - file);
}

/*
 * Who looks after a store as root, beside a server that is not, may write what that one has to read
 * and remove.
 */
static int give_to_owner(const struct dir_files *files, int fd)
{
    struct stat st;

    if (geteuid() != 0) {
        return 0;
    }
    if (fstat(files->data, &st) != 0) {
        return -errno;
    }
    if (st.st_uid == 0 && st.st_gid == getegid()) {
        return 0;
    }
    /* Root that may not is no more than another user. */
    return fchown(fd, st.st_uid, st.st_gid) != 0 && errno != EPERM ? -errno : 0;
}

/* The two folders that a file's name begins with. */
static int make_folders(struct dir_files *files, const char *file)
{
    char folder[DIR_FILE_NAME_MAX];
    char *fan;
    AUTOCLOSE int bucket_dir = -1;
    AUTOCLOSE int dir = -1;
    int ret;

    (void)snprintf(folder, sizeof(folder), "%.*s", (int)folder_len(file), file);
    fan = strchr(folder, '/');
    if (fan == NULL) {
        return -EINVAL;
    }
    *fan++ = '\0';
    ret = open_dir(files->data, folder, true, &bucket_dir);
    ret = ret == 0 ? open_dir(bucket_dir, fan, true, &dir) : ret;
    ret = ret == 0 ? give_to_owner(files, bucket_dir) : ret;
    ret = ret == 0 ? give_to_owner(files, dir) : ret;
    ret = ret == 0 ? sync_dir(files, bucket_dir) : ret;
    return ret == 0 ? sync_dir(files, files->data) : ret;
}

static void name_file(const char *generation, const char *bucket, const char *key,
                      char ret_file[DIR_FILE_NAME_MAX])
{
    char shown[NAME_SHOWN_MAX + 1];
    char fan[FAN_SIZE];

    show_key(key, shown);
    fan_of(generation, FAN_DIGIT, fan);
    (void)snprintf(ret_file, DIR_FILE_NAME_MAX, "%s/%s/%s.%s", bucket, fan, generation, shown);
}

void dir_files_name(struct dir_files *files, const char *bucket, const char *key,
                    char ret_file[DIR_FILE_NAME_MAX])
{
    char generation[DIR_GENERATION_SIZE];

    next_generation(files, generation);
    name_file(generation, bucket, key, ret_file);
}

int dir_files_publish(struct dir_files *files, const char *generation, const char *bucket,
                      const char *key, char ret_file[DIR_FILE_NAME_MAX])
{
    int ret = 0;

    name_file(generation, bucket, key, ret_file);
    if (linkat(files->tmp, generation, files->data, ret_file, 0) == 0) {
        return 0;
    }
    ret = errno == ENOENT ? make_folders(files, ret_file) : -errno;
    return ret == 0 && linkat(files->tmp, generation, files->data, ret_file, 0) != 0 ? -errno : ret;
}

bool dir_files_same_folder(const char *a, const char *b)
{
    return folder_len(a) == folder_len(b) && strncmp(a, b, folder_len(a)) == 0;
}

int dir_files_flush_folder(struct dir_files *files, const char *file)
{
    char folder[DIR_FILE_NAME_MAX];
    AUTOCLOSE int dir = -1;
    int ret;

    (void)snprintf(folder, sizeof(folder), "%.*s", (int)folder_len(file), file);
    ret = open_dir(files->data, folder, false, &dir);
    return ret == 0 ? sync_dir(files, dir) : ret;
}

void dir_files_settle(struct dir_files *files, const char *generation)
{
    (void)unlinkat(files->tmp, generation, 0);
}

int dir_files_read(struct dir_files *files, const char *file, int *ret_fd)
{
    int fd = openat(files->data, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME);

    if (fd < 0 && errno == EPERM) { /* somebody else's file: put back from a backup */
        fd = openat(files->data, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    }
    if (fd < 0) {
        return -errno;
    }
    *ret_fd = fd;
    return 0;
}

int dir_files_read_now(struct dir_files *files, const char *file, int *ret_fd)
{
    /* O_NONBLOCK: not for a lease either. O_NOATIME: a time would be written to the journal. */
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME | O_NONBLOCK,
                           .resolve = RESOLVE_CACHED};
    long fd = syscall(SYS_openat2, files->data, file, &how, sizeof(how));

    if (fd < 0) {
        return errno == ENOENT ? -ENOENT : -EAGAIN;
    }
    *ret_fd = (int)fd;
    return 0;
}

int dir_files_remove(struct dir_files *files, const char *file)
{
    return unlinkat(files->data, file, 0) == 0 || errno == ENOENT ? 0 : -errno;
}

bool dir_files_syncs_all(const struct dir_files *files)
{
    return files->syncs_all;
}

int dir_files_sync_all(struct dir_files *files)
{
    return files->durable && syncfs(files->data) != 0 ? -errno : 0;
}

int dir_files_flush_lock(struct dir_files *files, bool wait)
{
    int ret;

    do {
        ret = flock(files->data, LOCK_EX | (wait ? 0 : LOCK_NB));
    } while (ret != 0 && errno == EINTR);
    return ret == 0 ? 0 : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

void dir_files_flush_unlock(struct dir_files *files)
{
    (void)flock(files->data, LOCK_UN);
}

/* Who has the store open shares a lock on the folder of what is being written. */
void dir_files_joined(struct dir_files *files)
{
    while (flock(files->tmp_root, LOCK_SH) != 0 && errno == EINTR) {
    }
}

bool dir_files_is_first(struct dir_files *files)
{
    if (flock(files->tmp_root, LOCK_EX | LOCK_NB) == 0) {
        return true;
    }
    dir_files_joined(files);
    return false;
}

static int create_in_place(const struct dir_files *files, const char *file, int *ret_fd)
{
    *ret_fd = openat(files->data, file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    return *ret_fd < 0 ? -errno : 0;
}

int dir_files_write(struct dir_files *files, const char *file, const void *bytes, size_t len)
{
    AUTOCLOSE int fd = -1;
    int ret = strchr(file, '/') != NULL ? create_in_place(files, file, &fd) : -EINVAL;

    if (ret == -ENOENT) {
        ret = make_folders(files, file);
        ret = ret == 0 ? create_in_place(files, file, &fd) : ret;
    }
    ret = ret == 0 ? give_to_owner(files, fd) : ret;
    return ret == 0 ? file_write_all(fd, bytes, len) : ret;
}

int dir_files_restore(struct dir_files *files, const char *file, const void *bytes, size_t len)
{
    char generation[DIR_GENERATION_SIZE];
    AUTOCLOSE int fd = -1;
    int ret;

    if (strchr(file, '/') == NULL) {
        return -EINVAL;
    }
    ret = dir_files_create(files, &fd, generation);
    if (ret != 0) {
        return ret;
    }
    ret = file_write_all(fd, bytes, len);
    ret = ret == 0 ? give_to_owner(files, fd) : ret;
    ret = ret == 0 && !files->syncs_all ? dir_files_flush(files, fd) : ret;
    if (ret == 0 && renameat(files->tmp, generation, files->data, file) != 0) {
        ret = errno == ENOENT ? make_folders(files, file) : -errno;
        if (ret == 0 && renameat(files->tmp, generation, files->data, file) != 0) {
            ret = -errno;
        }
    }
    if (ret != 0) {
        dir_files_settle(files, generation);
        return ret;
    }
    return files->syncs_all ? 0 : dir_files_flush_folder(files, file);
}

void dir_files_reserve(struct dir_files *files)
{
    AUTOCLOSE int fd =
        openat(files->root, RESERVE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);

    if (fd >= 0 && posix_fallocate(fd, 0, RESERVE_BYTES) != 0) {
        (void)unlinkat(files->root, RESERVE, 0);
    }
}

bool dir_files_release(struct dir_files *files)
{
    return unlinkat(files->root, RESERVE, 0) == 0;
}

void dir_files_room(const struct dir_files *files, uint64_t *bytes, uint64_t *count)
{
    struct statvfs room;

    if (fstatvfs(files->root, &room) == 0) {
        *bytes = (uint64_t)room.f_bavail * room.f_frsize;
        *count = room.f_favail;
    }
}

static DIR *list_dir(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (dir == NULL && fd >= 0) {
        (void)close(fd);
    }
    return dir;
}

/* A published file of this generation, in one bucket's folder, that no row names. */
static int sweep_published(struct dir_files *files, struct dir_index *index, const char *bucket,
                           const char *generation, size_t digit)
{
    char fan[FAN_SIZE];
    char folder[512];
    char file[1024];
    size_t len = strlen(generation);
    const struct dirent *entry;
    DIR *dir;
    int ret = 0;

    fan_of(generation, digit, fan);
    (void)snprintf(folder, sizeof(folder), "%s/%s", bucket, fan);
    dir = list_dir(files->data, folder);
    while (dir != NULL && ret == 0 && (entry = readdir(dir)) != NULL) {
        bool known = true;

        if (strncmp(entry->d_name, generation, len) != 0) {
            continue;
        }
        (void)snprintf(file, sizeof(file), "%s/%s", folder, entry->d_name);
        ret = dir_index_has_file(index, file, &known);
        if (ret == 0 && !known) {
            ret = dir_files_remove(files, file);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return ret;
}

static int sweep_generation(struct dir_files *files, struct dir_index *index, int owner_dir,
                            const char *generation)
{
    DIR *buckets = list_dir(files->data, ".");
    const struct dirent *entry;
    int ret = 0;

    if (strlen(generation) != DIR_GENERATION_SIZE - 1) {
        return 0; /* not one of ours: leave it */
    }
    while (buckets != NULL && ret == 0 && (entry = readdir(buckets)) != NULL) {
        if (entry->d_name[0] != '.') {
            ret = sweep_published(files, index, entry->d_name, generation, FAN_DIGIT);
            ret = ret == 0 ? sweep_published(files, index, entry->d_name, generation, FAN_DIGIT_OLD)
                           : ret;
        }
    }
    if (buckets != NULL) {
        (void)closedir(buckets);
    }
    if (ret == 0 && unlinkat(owner_dir, generation, 0) != 0 && errno != ENOENT) {
        ret = -errno;
    }
    return ret;
}

static int sweep_owner(struct dir_files *files, struct dir_index *index, const char *owner,
                       int *count)
{
    DIR *dir = list_dir(files->tmp_root, owner);
    const struct dirent *entry;
    int ret = 0;

    while (dir != NULL && ret == 0 && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.') {
            ret = sweep_generation(files, index, dirfd(dir), entry->d_name);
            *count += ret == 0;
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    if (ret == 0) {
        (void)unlinkat(files->tmp_root, owner, AT_REMOVEDIR);
    }
    return ret;
}

int dir_files_sweep(struct dir_files *files, struct dir_index *index)
{
    DIR *dir = list_dir(files->tmp_root, ".");
    const struct dirent *entry;
    int count = 0;
    int ret = 0;

    while (dir != NULL && ret == 0 && (entry = readdir(dir)) != NULL) {
        size_t len = strlen(entry->d_name);
        char owner[RANDOM_ID_SIZE];
        AUTOCLOSE int lock = -1;

        if (len != RANDOM_ID_SIZE - 1 + 5 || strcmp(entry->d_name + len - 5, ".lock") != 0) {
            continue;
        }
        (void)snprintf(owner, sizeof(owner), "%.*s", RANDOM_ID_SIZE - 1, entry->d_name);
        lock = openat(files->tmp_root, entry->d_name, O_RDWR | O_CLOEXEC);
        if (strcmp(owner, files->owner) == 0 || lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) {
            continue; /* ours, swept by another at this moment, or its process lives */
        }
        ret = sweep_owner(files, index, owner, &count);
        if (ret == 0) {
            (void)unlinkat(files->tmp_root, entry->d_name, 0);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    return ret == 0 ? count : ret;
}
