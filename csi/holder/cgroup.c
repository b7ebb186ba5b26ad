/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/holder/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/buf.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/log.h"

static bool write_into(const char *directory, const char *name, const char *text)
{
    char path[2 * CGROUP_PATH_MAX];
    AUTOCLOSE int fd = -1;

    if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path)) {
        return false;
    }
    fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

static bool has(const char *directory, const char *name)
{
    char path[2 * CGROUP_PATH_MAX];

    return snprintf(path, sizeof(path), "%s/%s", directory, name) < (int)sizeof(path) &&
           access(path, F_OK) == 0;
}

/* With cgroup2 limits are had only where the group above gives them on. */
static void make_root(const char *root)
{
    static const char give[] = "cgroup.subtree_control";
    static const char memory[] = "+memory";
    char parent[CGROUP_PATH_MAX + sizeof("/..")];

    if ((mkdir(root, 0755) < 0 && errno != EEXIST) || !has(root, give)) {
        return;
    }
    (void)snprintf(parent, sizeof(parent), "%s/..", root);
    (void)write_into(parent, give, memory);
    if (!write_into(root, give, memory)) {
        log_warn("mounts have no limit of memory: their cgroups have no such controller", "cgroup",
                 root, NULL);
    }
}

/* The tops of all hierarchies below `directory` but memory's. A link is another name of one. */
static int find_others(struct cgroups *cgroups, const char *directory)
{
    DIR *listing = opendir(directory);
    struct dirent *entry;
    int r = 0;

    while (r == 0 && listing != NULL && (entry = readdir(listing)) != NULL &&
           cgroups->other_count < CGROUPS_OTHERS_MAX) {
        char path[CGROUP_PATH_MAX];
        struct stat st;

        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "memory") == 0 ||
            snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name) >= (int)sizeof(path) ||
            lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || !has(path, "cgroup.procs")) {
            continue;
        }
        cgroups->others[cgroups->other_count] = strdup(path);
        r = cgroups->others[cgroups->other_count] != NULL ? 0 : -ENOMEM;
        cgroups->other_count += r == 0;
    }
    if (listing != NULL) {
        (void)closedir(listing);
    }
    return r;
}

int cgroups_init(struct cgroups *cgroups, const char *path, struct error *err)
{
    enum { KEY_MAX = 256 };
    char root[CGROUP_PATH_MAX + sizeof("/memory")];
    char parent[CGROUP_PATH_MAX];
    const char *name = path != NULL ? strrchr(path, '/') : NULL;
    int r = 0;

    *cgroups = (struct cgroups){0};
    if (path == NULL) {
        return 0;
    }
    if (name == NULL || name == path || name[1] == '\0' ||
        strlen(path) + sizeof("memory/") + KEY_MAX > sizeof(root)) {
        return error_set(err, -EINVAL,
                         "--cgroup: '%s' cannot be made: it is to be a directory "
                         "in a mounted cgroup hierarchy",
                         path);
    }
    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(name - path), path);
    if (has(parent, "cgroup.procs")) {
        (void)snprintf(root, sizeof(root), "%s", path);
    } else if (has(parent, "memory/cgroup.procs")) {
        (void)snprintf(root, sizeof(root), "%s/memory%s", parent, name);
        r = find_others(cgroups, parent);
    } else {
        return error_set(err, -EINVAL, "--cgroup: there is no cgroup hierarchy at '%s'", parent);
    }
    cgroups->root = r == 0 ? strdup(root) : NULL;
    if (cgroups->root == NULL) {
        cgroups_done(cgroups);
        return error_set(err, -ENOMEM, "out of memory");
    }
    make_root(root);
    return 0;
}

void cgroups_done(struct cgroups *cgroups)
{
    if (cgroups->root != NULL) {
        (void)rmdir(cgroups->root);
    }
    free(cgroups->root);
    for (unsigned i = 0; i < cgroups->other_count; i++) {
        free(cgroups->others[i]);
    }
    *cgroups = (struct cgroups){0};
}

bool cgroups_make(const struct cgroups *cgroups, const char *key, uint64_t memory_bytes,
                  char ret[static CGROUP_PATH_MAX])
{
    char number[32];

    if (cgroups->root == NULL ||
        snprintf(ret, CGROUP_PATH_MAX, "%s/%s", cgroups->root, key) >= CGROUP_PATH_MAX) {
        return false;
    }
    if (mkdir(ret, 0755) < 0 && errno == ENOENT) { /* a holder that went took the root along */
        make_root(cgroups->root);
        (void)mkdir(ret, 0755);
    }
    if (!has(ret, "cgroup.procs")) {
        return false;
    }
    (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)memory_bytes);
    if (memory_bytes > 0 && !write_into(ret, "memory.max", number)) {
        (void)write_into(ret, "memory.limit_in_bytes", number);
    }
    return true;
}

void cgroups_remove(const struct cgroups *cgroups, const char *key)
{
    char path[CGROUP_PATH_MAX];

    if (cgroups->root != NULL &&
        snprintf(path, sizeof(path), "%s/%s", cgroups->root, key) < (int)sizeof(path)) {
        (void)rmdir(path);
    }
}

void cgroups_enter(const struct cgroups *cgroups, const char *group)
{
    static const char procs[] = "cgroup.procs";

    (void)write_into(group, procs, "0");
    for (unsigned i = 0; i < cgroups->other_count; i++) {
        (void)write_into(cgroups->others[i], procs, "0");
    }
}

/* "oom_kill N" is a line of cgroup2's memory.events and of cgroup v1's memory.oom_control. */
uint64_t cgroups_oom_kills(const struct cgroups *cgroups, const char *key)
{
    static const char *const files[] = {"memory.events", "memory.oom_control"};
    static const char name[] = "oom_kill ";

    for (size_t i = 0; cgroups->root != NULL && i < sizeof(files) / sizeof(files[0]); i++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
        char path[CGROUP_PATH_MAX];

        if (snprintf(path, sizeof(path), "%s/%s/%s", cgroups->root, key, files[i]) >=
                (int)sizeof(path) ||
            file_read(path, &text) < 0) {
            continue;
        }
        for (const char *line = buf_str(&text); line != NULL;) {
            if (strncmp(line, name, strlen(name)) == 0) {
                return strtoull(line + strlen(name), NULL, 10);
            }
            line = strchr(line, '\n');
            line = line != NULL ? line + 1 : NULL;
        }
    }
    return 0;
}
