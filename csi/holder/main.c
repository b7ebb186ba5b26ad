/* SPDX-License-Identifier: Apache-2.0 */
/* skyvol-holder: keeps the mounts of a node alive, whatever else of it dies. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "csi/holder/cgroup.h"
#include "csi/holder/keeper.h"
#include "csi/holder/process.h"
#include "csi/holder/ready.h"
#include "csi/holder/supervisor.h"
#include "util/log.h"
#include "util/options.h"

struct config {
    char *socket, *mounter, *cgroup, *journal, *log_level;
    bool resend, ready;
    uint64_t crash_limit, crash_window_ms, start_timeout_ms, memory, budget, journal_max, keeper_fd;
};

static const struct option_spec specs[] = {
    OPTION(struct config, socket, OPTION_STRING, "socket", "PATH", HOLDER_SOCKET_DEFAULT,
           "where the node plugin asks, and mounters come back to"),
    OPTION(struct config, ready, OPTION_BOOL, "ready", NULL, NULL,
           "for a probe: end with 0 if the holder of this container keeps the mounts, else with 1"),
    OPTION(struct config, mounter, OPTION_STRING, "mounter", "PATH", NULL,
           "the program skyvol-mount (default: the one beside this program)"),
    OPTION(struct config, resend, OPTION_BOOL, "resend", NULL, "true",
           "let mounters use the kernel's RESEND (6.9 and later)"),
    {.name = "crash-limit",
     .type = OPTION_NUMBER,
     .offset = offsetof(struct config, crash_limit),
     .value = "N",
     .fallback = "5",
     .min = 1,
     .max = 1000000,
     .help = "so many deaths of a mounter within the crash window end the mount with errors"},
    OPTION(struct config, crash_window_ms, OPTION_DURATION_MS, "crash-window", "TIME", "30s",
           "see --crash-limit"),
    OPTION(struct config, start_timeout_ms, OPTION_DURATION_MS, "start-timeout", "TIME", "30s",
           "a mounter that is not ready by then is killed"),
    {.name = "memory",
     .type = OPTION_SIZE,
     .offset = offsetof(struct config, memory),
     .value = "SIZE",
     .fallback = "256MiB",
     .min = UINT64_C(16) << 20, /* as the mount option */
     .max = UINT64_C(1) << 40,
     .help = "of a mount that names none, 16MiB to 1TiB"},
    OPTION(struct config, budget, OPTION_SIZE, "budget", "SIZE", "0",
           "of all mounts together; 0: no limit"),
    OPTION(struct config, journal, OPTION_STRING, "journal-dir", "PATH", NULL,
           "on the host's disk: for data that a store has not taken when a mount must end"),
    OPTION(struct config, journal_max, OPTION_SIZE, "journal-max", "SIZE", "8GiB",
           "of that directory"),
    OPTION(struct config, cgroup, OPTION_STRING, "cgroup", "PATH", NULL,
           "make this directory in a mounted cgroup hierarchy, or in /sys/fs/cgroup above those of "
           "cgroup v1, and in it a cgroup for each mount"),
    OPTION(struct config, log_level, OPTION_STRING, "log-level", "LEVEL", "info",
           "error, warn, info or debug"),
    OPTION(struct config, keeper_fd, OPTION_NUMBER, "keeper-fd", "N", "0",
           "used by the keeper: the socket of its supervisor"),
};

static const struct options_program program = {
    .name = "skyvol-holder",
    .summary = "keeps the mounts of this node: mounts, starts mounters and replaces dead ones",
    .environment = "SKYVOL_HOLDER_",
    .options = specs,
    .count = sizeof(specs) / sizeof(specs[0]),
};

/* The mounter that lies beside this program. */
static const char *beside(char *room, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", room, size - sizeof("skyvol-mount"));
    char *slash;

    if (n <= 0) {
        return "/usr/bin/skyvol-mount";
    }
    room[n] = '\0';
    slash = strrchr(room, '/');
    (void)snprintf(slash + 1, size - (size_t)(slash + 1 - room), "skyvol-mount");
    return room;
}

static int supervise(const struct config *config, const struct cgroups *cgroups)
{
    char mounter[4096];
    struct supervisor_config supervisor = {
        .socket = config->socket,
        .mounter = config->mounter != NULL ? config->mounter : beside(mounter, sizeof(mounter)),
        .cgroups = cgroups,
        .keeper = (int)config->keeper_fd,
        .resend = config->resend,
        .crash_limit = (unsigned)config->crash_limit,
        .crash_window_ms = config->crash_window_ms,
        .start_timeout_ms = config->start_timeout_ms,
        .memory_bytes = config->memory,
        .budget_bytes = config->budget,
        .journal_dir = config->journal,
        .journal_max = config->journal_max,
    };

    (void)prctl(PR_SET_NAME, "holder-super");
    return supervisor_run(&supervisor);
}

static int tell_ready(const struct config *config)
{
    struct error err = ERROR_INIT;
    int r = ready_check(config->socket, &err);

    if (r < 0) {
        (void)fprintf(stderr, "skyvol-holder: %s\n", error_text(&err, r));
    }
    return r < 0 ? 1 : 0;
}

/* Else no mount would ever be made, and each would say so by itself. */
static int check_budget(const struct config *config, struct error *err)
{
    return config->budget == 0 || config->budget >= config->memory
               ? 0
               : error_set(err, -EINVAL,
                           "--budget is less than --memory: there would be room for no mount");
}

int main(int argc, char **argv)
{
    struct config config = {0};
    struct cgroups cgroups = {0};
    struct error err = ERROR_INIT;
    enum log_level level = LOG_INFO;
    int r = options_parse(&program, argc, argv, &config, &err);

    r = r == 0 ? options_log_level(config.log_level, &level, &err) : r;
    if (r == 0 && config.ready) {
        r = tell_ready(&config);
        options_done(&program, &config);
        return r;
    }
    r = r == 0 ? check_budget(&config, &err) : r;
    if (r == 0) {
        r = cgroups_init(&cgroups, config.cgroup, &err);
    }
    if (r != 0) {
        return options_exit(&program, r, &err);
    }
    log_set_level(level);
    (void)signal(SIGPIPE, SIG_IGN);
    process_prefer(PROCESS_OOM_HOLDER);
    /* The keeper starts this program again with --keeper-fd: that one is the supervisor. */
    r = config.keeper_fd > 0 ? supervise(&config, &cgroups) : keeper_run(argv);
    cgroups_done(&cgroups);
    options_done(&program, &config);
    return r;
}
