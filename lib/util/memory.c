/* SPDX-License-Identifier: Apache-2.0 */
#include "util/memory.h"

#include <ctype.h>
#include <limits.h>
#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/buf.h"
#include "util/cleanup.h"
#include "util/file.h"

enum { TEXT_MAX = 65536 };

static const uint64_t mib = UINT64_C(1) << 20;

static bool read_text(const char *root, const char *path, struct buf *out)
{
    char full[PATH_MAX];
    int len = snprintf(full, sizeof(full), "%s%s", root, path);

    return len > 0 && len < (int)sizeof(full) && file_read(full, out) == 0;
}

/* The number in a file, or 0: none, "max", or what version 1 says where there is no limit. */
static uint64_t limit_in(const char *root, const char *path)
{
    static const uint64_t unlimited = UINT64_C(1) << 60;
    CLEANUP(buf_done) struct buf text = BUF_INIT(TEXT_MAX);
    uint64_t limit;

    if (!read_text(root, path, &text) || isdigit((unsigned char)buf_str(&text)[0]) == 0) {
        return 0;
    }
    limit = strtoull(buf_str(&text), NULL, 10);
    return limit < unlimited ? limit : 0;
}

/* The lower of two limits, where 0 is none. */
static uint64_t lower(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* Of a group and of all above it; `group` is cut. */
static uint64_t least_limit(const char *root, const char *top, char *group, const char *file)
{
    uint64_t least = 0;

    for (;;) {
        char path[PATH_MAX];
        char *slash = strrchr(group, '/');

        if (snprintf(path, sizeof(path), "%s%s/%s", top, strcmp(group, "/") == 0 ? "" : group,
                     file) < (int)sizeof(path)) {
            least = lower(least, limit_in(root, path));
        }
        if (slash == NULL || group[0] == '\0') {
            return least;
        }
        *slash = '\0';
    }
}

/* A line of /proc/self/cgroup is "ID:CONTROLLERS:GROUP"; without controllers it is version 2. */
static uint64_t limit_of_line(const char *root, char *line)
{
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;

    if (group == NULL) {
        return 0;
    }
    *group++ = '\0';
    if (controllers[1] == '\0') {
        return least_limit(root, "/sys/fs/cgroup", group, "memory.max");
    }
    return strcmp(controllers + 1, "memory") == 0
               ? least_limit(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes")
               : 0;
}

static uint64_t machine_bytes(const char *root)
{
    static const char name[] = "MemTotal:";
    CLEANUP(buf_done) struct buf text = BUF_INIT(TEXT_MAX);
    const char *at = read_text(root, "/proc/meminfo", &text) ? strstr(buf_str(&text), name) : NULL;

    return at != NULL ? strtoull(at + sizeof(name) - 1, NULL, 10) * 1024 : 0;
}

void memory_given(const char *root, struct memory_given *ret)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(TEXT_MAX);
    char *rest = NULL;

    *ret = (struct memory_given){.machine = machine_bytes(root)};
    if (!read_text(root, "/proc/self/cgroup", &text) || buf_len(&text) == 0) {
        return;
    }
    for (char *line = strtok_r(text.data, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        ret->limit = lower(ret->limit, limit_of_line(root, line));
    }
}

uint64_t memory_share(const struct memory_given *given)
{
    uint64_t least = given->limit != 0 ? 64 * mib : 256 * mib;
    uint64_t share = given->limit != 0 ? given->limit / 2 : given->machine / 16;

    return share < least ? least : share > 1024 * mib ? 1024 * mib : share;
}

/* The segments of one program or library that nobody has written to: none of ours has relocations
 * in its code. */
static int drop_segments(struct dl_phdr_info *info, size_t size, void *arg)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    (void)size;
    (void)arg;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t begin = (info->dlpi_addr + segment->p_vaddr) & ~(page - 1);
        uintptr_t end = (info->dlpi_addr + segment->p_vaddr + segment->p_filesz) & ~(page - 1);

        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W) == 0 && end > begin) {
            /* NOLINTNEXTLINE(performance-no-int-to-ptr): the loader tells numbers */
            (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
        }
    }
    return 0;
}

void memory_give_back(void)
{
    (void)malloc_trim(0);
    (void)dl_iterate_phdr(drop_segments, NULL);
}
