/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/options_range.h"

#include <stdlib.h>

struct unit {
    uint64_t size;
    const char *name;
};

enum mount_option_fit mount_option_fit(const struct mount_option_row *ours, const char *value)
{
    uint64_t number = strtoull(value, NULL, 10); /* of seconds the whole ones */

    if (ours->most == 0) {
        return MOUNT_OPTION_FITS;
    }
    return number < ours->least  ? MOUNT_OPTION_TOO_LITTLE
           : number > ours->most ? MOUNT_OPTION_TOO_MUCH
                                 : MOUNT_OPTION_FITS;
}

void mount_option_number(enum mount_option_kind kind, uint64_t value, struct buf *out)
{
    static const struct unit sizes[] = {
        {1ULL << 40, "TiB"}, {1ULL << 30, "GiB"}, {1ULL << 20, "MiB"}, {1ULL << 10, "KiB"}, {1, ""},
    };
    static const struct unit times[] = {{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}};
    static const struct unit ones[] = {{1, ""}};
    const struct unit *unit = kind == MOUNT_OPTION_SIZE      ? sizes
                              : kind == MOUNT_OPTION_SECONDS ? times
                                                             : ones;

    while (unit->size > 1 && (value == 0 || value % unit->size != 0)) {
        unit++;
    }
    buf_addf(out, "%llu%s", (unsigned long long)(value / unit->size), value != 0 ? unit->name : "");
}

void mount_option_range(const struct mount_option_row *ours, struct buf *out)
{
    if (ours->most != 0) {
        mount_option_number(ours->kind, ours->least, out);
        buf_addstr(out, " to ");
        mount_option_number(ours->kind, ours->most, out);
    }
}
