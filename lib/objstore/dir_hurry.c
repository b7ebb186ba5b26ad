/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/dir_hurry.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <unistd.h>

/* Bytes of the -shm file that are locked to write, to move the log into the database and to repair
 * it, from SQLite's description of its format. Those behind are readers'. */
enum { LOCK_FIRST = 120, LOCK_LAST = 122 };

static _Thread_local enum dir_hurry mode;
static _Thread_local int found;

static ssize_t read_page(int fd, void *buffer, size_t len, off_t offset)
{
    struct iovec one = {buffer, len};
    ssize_t n;

    if (mode != DIR_HURRY_READ) {
        return pread(fd, buffer, len, offset);
    }
    n = preadv2(fd, &one, 1, offset, RWF_NOWAIT);
    if (n < 0 && errno != EINTR) {
        found = errno == EOPNOTSUPP ? -ENOTSUP : found != 0 ? found : -EAGAIN;
    }
    return n;
}

/* Only reads are for who is in a hurry: to repair a log takes as long as the log is. */
static int control(int fd, int command, ...)
{
    va_list args;
    void *argument;

    va_start(args, command);
    argument = va_arg(args, void *); /* numbers fit, too: as the C library has it */
    va_end(args);
    if (mode == DIR_HURRY_READ && command == F_SETLK) {
        const struct flock *lock = argument;

        if (lock->l_type == F_WRLCK && lock->l_start >= LOCK_FIRST && lock->l_start <= LOCK_LAST) {
            found = found != 0 ? found : -EAGAIN;
            errno = EAGAIN;
            return -1;
        }
    }
    return fcntl(fd, command, argument);
}

/* The time of a read would be written to the journal, which may have to be waited for. */
static int open_file(const char *path, int flags, int permissions)
{
    int fd = mode == DIR_HURRY_OPEN ? open(path, flags | O_NOATIME, permissions) : -1;

    return fd >= 0 ? fd : open(path, flags, permissions);
}

static int sleep_not(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    found = found != 0 ? found : -EAGAIN;
    return microseconds;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static sqlite3_vfs hurried;
static bool usable;

static void set_up(void)
{
    const struct {
        const char *name;
        sqlite3_syscall_ptr call;
    } calls[] = {
        {"pread", (sqlite3_syscall_ptr)read_page},
        {"pread64", (sqlite3_syscall_ptr)read_page},
        {"fcntl", (sqlite3_syscall_ptr)control},
        {"open", (sqlite3_syscall_ptr)open_file},
    };
    sqlite3_vfs *system = sqlite3_vfs_find("unix");
    bool reads = false;

    if (system == NULL || system->iVersion < 3) {
        return;
    }
    hurried = *system;
    hurried.pNext = NULL;
    hurried.zName = "skyvol-hurried";
    hurried.xSleep = sleep_not;
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        /* Of the two that read SQLite uses one, or none: then it seeks, and we cannot help. */
        if (system->xGetSystemCall(system, calls[i].name) == NULL) {
            continue;
        }
        if (system->xSetSystemCall(system, calls[i].name, calls[i].call) != SQLITE_OK) {
            return;
        }
        reads = reads || i < 2;
    }
    usable = reads && sqlite3_vfs_register(&hurried, 0) == SQLITE_OK;
}

const char *dir_hurry_vfs(void)
{
    (void)pthread_once(&once, set_up);
    return usable ? hurried.zName : NULL;
}

void dir_hurry_begin(enum dir_hurry hurry)
{
    mode = hurry;
    found = 0;
}

int dir_hurry_end(void)
{
    mode = DIR_HURRY_NONE;
    return found;
}
