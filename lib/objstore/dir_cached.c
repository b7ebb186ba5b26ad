/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/dir_cached.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451 /* of all architectures, newer than some libraries */
#endif

/*
 * LOOK_STEP: the kernel reads ahead half of that at once. SPARSE_STEP: where all pages are known to
 * be there, for those that somebody is still reading: a page counts before its bytes have come.
 */
enum { LOOKS_MAX = 4096, LOOK_STEP = 256 << 10, SPARSE_STEP = 2 << 20 };

static const uint64_t unknown = UINT64_MAX;

/* How many bytes' pages are not in memory. Where there are none at all it is not known: a file
 * system that lies over another has its pages there. */
static uint64_t missing_bytes(int fd, uint64_t offset, uint64_t end)
{
    const struct {
        uint64_t offset, len;
    } range = {offset, end - offset};
    struct {
        uint64_t cached, dirty, written_back, evicted, recently_evicted;
    } told = {0};
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t pages = (end - 1) / page - offset / page + 1;

    if (syscall(SYS_cachestat, fd, &range, &told, 0) != 0 || told.cached == 0) {
        return unknown;
    }
    return told.cached < pages ? (pages - told.cached) * page : 0;
}

static uint64_t step_of(uint64_t offset, uint64_t end, uint64_t least)
{
    return (end - offset) / least > LOOKS_MAX ? (end - offset) / LOOKS_MAX : least;
}

static bool look_at(int fd, uint64_t at, int flags)
{
    char byte;
    struct iovec one = {&byte, 1};

    return preadv2(fd, &one, 1, (off_t)at, flags) == 1;
}

static bool look(int fd, uint64_t offset, uint64_t end, uint64_t least, int flags)
{
    uint64_t step = step_of(offset, end, least);

    for (uint64_t at = offset; at < end; at += step) {
        if (!look_at(fd, at, flags)) {
            return false; /* not there, or the file system cannot tell */
        }
    }
    return true;
}

bool dir_cached(int fd, uint64_t offset, uint64_t end)
{
    uint64_t missing = missing_bytes(fd, offset, end);

    return missing == 0         ? look(fd, offset, end, SPARSE_STEP, RWF_NOWAIT)
           : missing == unknown ? look(fd, offset, end, LOOK_STEP, RWF_NOWAIT)
                                : false;
}

/* What is brought into memory: asked for first, all of it, and waited for then. */
struct loading {
    int fd;
    uint64_t offset, end, step;
    uint64_t missing; /* bytes */
    bool asked[LOOKS_MAX + 1];
};

/* Asks for what is missing of the steps from `first` to `last`. False: nobody can tell. */
static bool ask_for(struct loading *l, size_t first, size_t last, bool exact)
{
    for (size_t i = first; i < last; i++) {
        uint64_t at = l->offset + i * l->step, end = l->end - at > l->step ? at + l->step : l->end;
        uint64_t missing = exact ? missing_bytes(l->fd, at, end) : unknown;
        bool here = look_at(l->fd, at, RWF_NOWAIT);

        if (!here && errno == EOPNOTSUPP) {
            return false;
        }
        missing = missing != unknown ? missing : here ? 0 : end - at;
        if (missing > 0) {
            (void)readahead(l->fd, (off_t)at, (size_t)(end - at));
        }
        l->missing += missing;
        l->asked[i] = missing > 0 || !here; /* somebody else reads it */
    }
    return true;
}

static bool ask(struct loading *l, uint64_t most)
{
    enum { AT_ONCE = SPARSE_STEP / LOOK_STEP };
    size_t steps = (size_t)((l->end - l->offset + l->step - 1) / l->step);

    for (size_t i = 0; i < steps && l->missing <= most; i += AT_ONCE) {
        size_t last = steps - i > AT_ONCE ? i + AT_ONCE : steps;
        uint64_t at = l->offset + i * l->step, end = l->offset + last * l->step;
        uint64_t missing = missing_bytes(l->fd, at, end < l->end ? end : l->end);

        if ((missing > 0 || !look_at(l->fd, at, RWF_NOWAIT)) &&
            !ask_for(l, i, last, missing != unknown)) {
            return false;
        }
    }
    return l->missing <= most;
}

static bool wait_for(const struct loading *l)
{
    for (size_t i = 0; l->offset + i * l->step < l->end; i++) {
        if (l->asked[i] && !look_at(l->fd, l->offset + i * l->step, 0)) {
            return false;
        }
    }
    return true;
}

bool dir_cached_load(int fd, uint64_t offset, uint64_t end, uint64_t most)
{
    struct loading l = {fd, offset, end, step_of(offset, end, LOOK_STEP), 0, {false}};

    return l.step > most ? dir_cached(fd, offset, end) : ask(&l, most) && wait_for(&l);
}
