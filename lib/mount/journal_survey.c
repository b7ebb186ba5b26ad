/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/journal_survey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "util/file.h"

static bool ends_with(const char *name, const char *ending)
{
    size_t len = strlen(name);

    return len > strlen(ending) && strcmp(name + len - strlen(ending), ending) == 0;
}

static void count(struct journal_summary *s, int dir, const char *name)
{
    struct stat st;
    int64_t mtime_ns;

    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode)) {
        return;
    }
    if (ends_with(name, ".bad")) {
        s->damaged++;
        return;
    }
    if (!ends_with(name, ".jrn")) {
        return;
    }
    mtime_ns = st.st_mtim.tv_sec * INT64_C(1000000000) + st.st_mtim.tv_nsec;
    s->files++;
    s->bytes += (uint64_t)st.st_size;
    s->oldest_ns = s->oldest_ns == 0 || mtime_ns < s->oldest_ns ? mtime_ns : s->oldest_ns;
}

static int look(int above, const char *name, const char *path, struct journal_summary *ret)
{
    int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20);
    AUTOFREE char *file = NULL;
    const struct dirent *d;
    DIR *dir;

    if (fd < 0) {
        return -errno;
    }
    ret->in_use = flock(fd, LOCK_SH | LOCK_NB) < 0;
    (void)flock(fd, LOCK_UN);
    dir = fdopendir(fd);
    if (dir == NULL) {
        (void)close(fd);
        return -ENOMEM;
    }
    (void)snprintf(ret->name, sizeof(ret->name), "%s", name);
    while ((d = readdir(dir)) != NULL) {
        count(ret, fd, d->d_name);
    }
    if (asprintf(&file, "%s/%s/volume.json", path, name) < 0) {
        file = NULL;
    }
    if (file != NULL && file_read(file, &text) == 0) {
        int r = mount_config_parse(buf_str(&text), &ret->volume, NULL);

        (void)r; /* then it has no location */
    }
    (void)closedir(dir);
    return 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct journal_summary *)a)->name,
                  ((const struct journal_summary *)b)->name);
}

int journal_survey(const char *path, struct journal_list *ret)
{
    DIR *dir = opendir(path);
    const struct dirent *d;
    int r = 0;

    *ret = (struct journal_list){NULL, 0};
    if (dir == NULL) {
        return errno == ENOENT ? 0 : -errno;
    }
    while (r == 0 && (d = readdir(dir)) != NULL && ret->count < JOURNAL_VOLUMES_MAX) {
        struct journal_summary *items;

        if (d->d_name[0] == '.' || strlen(d->d_name) >= JOURNAL_NAME_MAX) {
            continue;
        }
        items = realloc(ret->items, (ret->count + 1) * sizeof(*items));
        if (items == NULL) {
            r = -ENOMEM;
            break;
        }
        ret->items = items;
        items[ret->count] = (struct journal_summary){.volume = MOUNT_CONFIG_INIT};
        ret->count += look(dirfd(dir), d->d_name, path, &items[ret->count]) == 0;
    }
    (void)closedir(dir);
    if (r < 0) {
        journal_list_done(ret);
    } else if (ret->count > 0) {
        qsort(ret->items, ret->count, sizeof(*ret->items), compare);
    }
    return r;
}

int journal_survey_one(const char *path, const char *name, struct journal_summary *ret)
{
    AUTOCLOSE int above = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    *ret = (struct journal_summary){.volume = MOUNT_CONFIG_INIT};
    if (above < 0) {
        return -errno;
    }
    return strchr(name, '/') != NULL || name[0] == '.' ? -ENOENT : look(above, name, path, ret);
}

void journal_list_done(struct journal_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        mount_config_done(&list->items[i].volume);
    }
    free(list->items);
    *list = (struct journal_list){NULL, 0};
}
