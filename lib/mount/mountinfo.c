/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

/*
 * 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
 * id parent major:minor root target options [tag ...] - type source superblock-options
 * Space, tab, newline and backslash in a field are written as \ooo.
 */
struct words {
    const char *at;
};

static bool next_word(struct words *w, char *ret, size_t size)
{
    size_t len = 0;

    while (*w->at != '\0' && *w->at != ' ') {
        char c = *w->at++;

        if (c == '\\' && w->at[0] >= '0' && w->at[0] <= '3' && w->at[1] >= '0' && w->at[1] <= '7' &&
            w->at[2] >= '0' && w->at[2] <= '7') {
            c = (char)((w->at[0] - '0') * 64 + (w->at[1] - '0') * 8 + (w->at[2] - '0'));
            w->at += 3;
        }
        if (len + 1 >= size) {
            return false;
        }
        ret[len++] = c;
    }
    ret[len] = '\0';
    if (*w->at == ' ') {
        w->at++;
    }
    return len > 0;
}

static bool skip_tags(struct words *w)
{
    char tag[256];

    while (next_word(w, tag, sizeof(tag))) {
        if (strcmp(tag, "-") == 0) {
            return true;
        }
    }
    return false;
}

static bool number(const char **at, char end, uint32_t *ret)
{
    char *rest;
    unsigned long n;

    errno = 0;
    n = strtoul(*at, &rest, 10);
    if (rest == *at || *rest != end || errno != 0 || n > UINT32_MAX) {
        return false;
    }
    *ret = (uint32_t)n;
    *at = rest + (end != '\0');
    return true;
}

int mountinfo_parse(const char *line, struct mountinfo *ret)
{
    struct words w = {.at = line};
    char id[32] = "";
    char parent[32] = "";
    char device[64] = "";
    char options[512] = "";
    const char *n = id;

    if (!next_word(&w, id, sizeof(id)) || !next_word(&w, parent, sizeof(parent)) ||
        !next_word(&w, device, sizeof(device)) || !next_word(&w, ret->root, sizeof(ret->root)) ||
        !next_word(&w, ret->target, sizeof(ret->target)) ||
        !next_word(&w, options, sizeof(options)) || !skip_tags(&w) ||
        !next_word(&w, ret->type, sizeof(ret->type))) {
        return -EINVAL;
    }
    if (!next_word(&w, ret->source, sizeof(ret->source))) {
        ret->source[0] = '\0'; /* an empty source is written as nothing at all */
    }
    if (!number(&n, '\0', &ret->id)) {
        return -EINVAL;
    }
    n = device;
    if (!number(&n, ':', &ret->device_major) || !number(&n, '\0', &ret->device_minor)) {
        return -EINVAL;
    }
    ret->read_only = strncmp(options, "ro", 2) == 0 && (options[2] == ',' || options[2] == '\0');
    return 0;
}

int mountinfo_each(mountinfo_visit_fn *visit, void *context)
{
    AUTOFREE struct mountinfo *m = malloc(sizeof(*m));
    AUTOFREE char *line = NULL;
    size_t size = 0;
    FILE *table;
    int r = 0;

    if (m == NULL) {
        return -ENOMEM;
    }
    table = fopen("/proc/self/mountinfo", "re");
    if (table == NULL) {
        return -errno;
    }
    while (r == 0) {
        ssize_t n = getline(&line, &size, table);

        if (n <= 0) {
            break;
        }
        if (line[n - 1] == '\n') {
            line[n - 1] = '\0';
        }
        /* A line we cannot read is of a mount with fields longer than any of ours. */
        if (mountinfo_parse(line, m) == 0) {
            r = visit(context, m);
        }
    }
    (void)fclose(table);
    return r;
}

struct search {
    const char *target;
    struct mountinfo *ret;
    bool found;
};

static int compare(void *context, const struct mountinfo *m)
{
    struct search *s = context;

    if (strcmp(m->target, s->target) == 0) {
        *s->ret = *m; /* a later one lies on top */
        s->found = true;
    }
    return 0;
}

int mountinfo_find(const char *target, struct mountinfo *ret)
{
    struct search s = {.target = target, .ret = ret};
    int r = mountinfo_each(compare, &s);

    if (r < 0) {
        return r;
    }
    return s.found ? 0 : -ENOENT;
}
