/* SPDX-License-Identifier: Apache-2.0 */
/* stats.c - skyvolctl stats: what the mounts of this node have done, from what the holder keeps. */
#include <errno.h>
#include <stdio.h>

#include "cli/command.h"
#include "mount/holder.h"
#include "mount/stats_holder.h"
#include "util/cleanup.h"
#include "util/options.h"

enum { TEXT_MAX = 8 << 20 };

struct options {
    struct option_list words;
    char *holder;
    uint64_t timeout_ms;
};

static int print(const void *options, struct error *err)
{
    const struct options *o = options;
    CLEANUP(buf_done) struct buf text = BUF_INIT(TEXT_MAX);
    const struct mount_stats_ask ask = {.socket = o->holder,
                                        .only = o->words.count > 0 ? o->words.items[0] : NULL,
                                        .timeout_ms = o->timeout_ms};
    int r = mount_stats_collect(&ask, &text, err);

    if (r == 0) {
        (void)fputs(buf_str(&text), stdout);
    } else if (r == -ENOENT || r == -ECONNREFUSED) {
        r = error_set(err, r,
                      "%s; a mount by hand has no holder: it tells its numbers where -o metrics= "
                      "says",
                      error_text(err, r));
    }
    return r;
}

static int run_stats(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        OPTION(struct options, holder, OPTION_STRING, "holder", "PATH", HOLDER_SOCKET_DEFAULT,
               "socket of skyvol-holder"),
        OPTION(struct options, timeout_ms, OPTION_DURATION_MS, "timeout", "TIME", "2s",
               "of the holder's answers")};
    static const struct options_program program = {
        .name = "skyvolctl stats",
        .summary =
            "Print the numbers of the mounts of this node, or of the one whose volume, mount "
            "point or key is named, as Prometheus reads them. Neither a mounter nor a store "
            "is asked.",
        .environment = "SKYVOLCTL_",
        .options = table,
        .count = sizeof(table) / sizeof(table[0]),
        .positional = "[MOUNT]",
        .positional_max = 1,
        .positional_offset = offsetof(struct options, words)};
    struct options o = {0};

    return command_with_options(&program, argc, argv, &o, print);
}

const struct command command_stats = {
    .name = "stats", .summary = "numbers of the mounts of this node", .run = run_stats};
