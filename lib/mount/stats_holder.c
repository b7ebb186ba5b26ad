/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/stats_holder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mount/holder.h"
#include "util/cleanup.h"

struct found {
    struct holder_status status;
    struct mount_stats *stats; /* NULL: its mounter is of another version, or has none yet */
};

static const char *volume_of(const struct holder_status *status)
{
    static const char prefix[] = "skyvol:";

    return strncmp(status->source, prefix, strlen(prefix)) == 0 ? status->source + strlen(prefix)
                                                                : status->source;
}

static bool is_wanted(const struct mount_stats_ask *ask, const struct holder_status *status)
{
    return ask->only == NULL || strcmp(ask->only, status->key) == 0 ||
           strcmp(ask->only, volume_of(status)) == 0 || strcmp(ask->only, status->target) == 0;
}

int mount_stats_fetch(const char *socket, const char *key, uint64_t timeout_ms,
                      struct mount_stats **ret)
{
    struct holder_descriptors d = {.count = 0};
    int r = holder_fetch(socket, key, timeout_ms, &d, NULL);
    int found = -ENOENT;

    for (unsigned i = 0; r == 0 && i < d.count; i++) {
        if (strcmp(d.names[i], MOUNT_STATS_NAME) == 0) {
            found = mount_stats_map(d.fds[i], ret);
        }
    }
    holder_descriptors_done(&d);
    return r != 0 ? r : found;
}

static void write_states(const struct found *found, size_t count, struct buf *out)
{
    static const struct {
        const char *name, *type, *help;
    } rows[] = {
        {"up", "gauge", "1: requests are answered."},
        {"restarts_total", "counter", "Mounters that died and were replaced."},
        {"oom_kills_total", "counter", "Of these, killed for lack of memory."},
        {"pause_seconds", "gauge", "How long programs waited for the last successor."},
        {"pause_max_seconds", "gauge", "The longest such pause since the holder began."},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_addf(out, "# HELP skyvol_mount_%s %s\n# TYPE skyvol_mount_%s %s\n", rows[i].name,
                 rows[i].help, rows[i].name, rows[i].type);
        for (size_t j = 0; j < count; j++) {
            const struct holder_status *s = &found[j].status;
            const double values[] = {s->state == HOLDER_RUNNING ? 1 : 0, s->restarts, s->oom_kills,
                                     (double)s->pause_ms / 1000, (double)s->pause_max_ms / 1000};
            const struct mount_stats_of one = {volume_of(s), s->key, NULL};

            buf_addf(out, "skyvol_mount_%s{", rows[i].name);
            mount_stats_labels(&one, out);
            buf_addf(out, "} %g\n", values[i]);
        }
    }
}

static void write_all(const struct found *found, size_t count, struct buf *out)
{
    AUTOFREE struct mount_stats_of *mounts = calloc(count + 1, sizeof(*mounts));
    size_t with = 0;

    for (size_t i = 0; mounts != NULL && i < count; i++) {
        if (found[i].stats != NULL) {
            mounts[with++] = (struct mount_stats_of){volume_of(&found[i].status),
                                                     found[i].status.key, found[i].stats};
        }
    }
    write_states(found, count, out);
    if (mounts != NULL) {
        mount_stats_write(mounts, with, out);
    }
}

int mount_stats_collect(const struct mount_stats_ask *ask, struct buf *out, struct error *err)
{
    AUTOFREE struct holder_status *list = NULL;
    AUTOFREE struct found *found = NULL;
    size_t count = 0;
    size_t used = 0;
    int r = holder_list(ask->socket, ask->timeout_ms, &list, &count, err);

    if (r != 0) {
        return r;
    }
    found = calloc(count + 1, sizeof(*found));
    for (size_t i = 0; found != NULL && i < count; i++) {
        if (is_wanted(ask, &list[i])) {
            found[used].status = list[i];
            if (mount_stats_fetch(ask->socket, list[i].key, ask->timeout_ms, &found[used].stats) !=
                0) {
                found[used].stats = NULL;
            }
            used++;
        }
    }
    if (found != NULL) {
        write_all(found, used, out);
    }
    for (size_t i = 0; i < used; i++) {
        mount_stats_unmap(found[i].stats);
    }
    if (found == NULL) {
        return -ENOMEM;
    }
    return used == 0 && ask->only != NULL
               ? error_set(err, -ENOENT, "the holder at %s has no mount '%s'", ask->socket,
                           ask->only)
               : buf_error(out);
}
