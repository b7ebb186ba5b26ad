/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/node/journals.h"

#include <string.h>

#include "mount/journal_survey.h"

static void add_label(const char *text, struct buf *out)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            buf_addstr(out, "\\");
        }
        buf_addf(out, "%c", *p == '\n' ? ' ' : *p);
    }
}

static const char *volume_of(const struct journal_summary *s)
{
    return s->volume.name != NULL && s->volume.name[0] != '\0' ? s->volume.name : s->name;
}

void journals_write(const char *dir, struct buf *out)
{
    static const struct {
        const char *name, *help;
    } rows[] = {
        {"files", "Files that no store has, of mounts of this node that have ended; stage the "
                  "volume here again, or run skyvolctl recover."},
        {"bytes", "Bytes of these files."},
        {"damaged_files", "Files set aside because their checksum is wrong."},
        {"oldest_seconds", "Unix time of the oldest of these files."},
    };
    struct journal_list list;

    if (dir == NULL || journal_survey(dir, &list) != 0) {
        return;
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        buf_addf(out, "# HELP skyvol_journal_%s %s\n# TYPE skyvol_journal_%s gauge\n", rows[i].name,
                 rows[i].help, rows[i].name);
        for (size_t j = 0; j < list.count; j++) {
            const struct journal_summary *s = &list.items[j];
            const uint64_t values[] = {s->files, s->bytes, s->damaged,
                                       (uint64_t)(s->oldest_ns / 1000000000)};

            if (!s->in_use && (s->files > 0 || s->damaged > 0)) {
                buf_addf(out, "skyvol_journal_%s{volume=\"", rows[i].name);
                add_label(volume_of(s), out);
                buf_addstr(out, "\",journal=\"");
                add_label(s->name, out);
                buf_addf(out, "\"} %llu\n", (unsigned long long)values[i]);
            }
        }
    }
    journal_list_done(&list);
}

uint64_t journals_of(const char *dir, const char *volume, uint64_t *ret_damaged)
{
    struct journal_list list;
    uint64_t files = 0;

    *ret_damaged = 0;
    if (dir == NULL || journal_survey(dir, &list) != 0) {
        return 0;
    }
    for (size_t i = 0; i < list.count; i++) {
        const struct journal_summary *s = &list.items[i];

        if (strcmp(volume_of(s), volume) == 0) {
            files += s->in_use ? 0 : s->files;
            *ret_damaged += s->damaged;
        }
    }
    journal_list_done(&list);
    return files;
}
