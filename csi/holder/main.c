/* SPDX-License-Identifier: Apache-2.0 */
/* skyvol-holder: keeps the mounts of a node alive, whatever else of it dies. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "csi/holder/keeper.h"
#include "csi/holder/supervisor.h"
#include "util/log.h"

static void help(void)
{
    (void)printf(
        "usage: skyvol-holder [option...]\n"
        "Keeps the mounts of this node: opens, mounts, starts mounters and replaces dead ones.\n\n"
        "  --socket PATH          where the node plugin asks (" HOLDER_SOCKET_DEFAULT ")\n"
        "  --mounter PATH         the program skyvol-mount (beside this one)\n"
        "  --resend on|off        let mounters use the kernel's RESEND, 6.9 and later (on)\n"
        "  --crash-limit N        so many deaths of a mounter ...                (5)\n"
        "  --crash-window-ms N    ... within this time end the mount with errors (30000)\n"
        "  --start-timeout-ms N   a mounter must be ready by then                (30000)\n"
        "  --memory-mib N         of a mount that names none                     (256)\n"
        "  --budget-mib N         of all mounts together; 0: no limit            (0)\n"
        "  --cgroup PATH          one cgroup for each mount below this directory (none)\n"
        "  --log-level LEVEL      error, warn, info, debug                       (info)\n"
        "  --help, --version\n\n"
        "Each option may also be given by the environment: SKYVOL_HOLDER_CRASH_LIMIT and so on.\n");
}

enum option_id {
    OPT_SOCKET = 256,
    OPT_MOUNTER,
    OPT_RESEND,
    OPT_CRASH_LIMIT,
    OPT_CRASH_WINDOW,
    OPT_START_TIMEOUT,
    OPT_MEMORY,
    OPT_BUDGET,
    OPT_CGROUP,
    OPT_LOG_LEVEL,
    OPT_KEEPER_FD,
    OPT_HELP,
    OPT_VERSION,
};

static const struct option options[] = {
    {"socket", required_argument, NULL, OPT_SOCKET},
    {"mounter", required_argument, NULL, OPT_MOUNTER},
    {"resend", required_argument, NULL, OPT_RESEND},
    {"crash-limit", required_argument, NULL, OPT_CRASH_LIMIT},
    {"crash-window-ms", required_argument, NULL, OPT_CRASH_WINDOW},
    {"start-timeout-ms", required_argument, NULL, OPT_START_TIMEOUT},
    {"memory-mib", required_argument, NULL, OPT_MEMORY},
    {"budget-mib", required_argument, NULL, OPT_BUDGET},
    {"cgroup", required_argument, NULL, OPT_CGROUP},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"keeper-fd", required_argument, NULL, OPT_KEEPER_FD},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static bool number(const char *text, uint64_t max, uint64_t *ret)
{
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || n > max) {
        return false;
    }
    *ret = n;
    return true;
}

static bool set_number(struct supervisor_config *c, int id, const char *value)
{
    uint64_t n;

    if (!number(value, 1U << 30, &n)) {
        return false;
    }
    switch (id) {
    case OPT_CRASH_LIMIT:
        c->crash_limit = (unsigned)n;
        return n > 0;
    case OPT_CRASH_WINDOW:
        c->crash_window_ms = n;
        return true;
    case OPT_START_TIMEOUT:
        c->start_timeout_ms = n;
        return n > 0;
    case OPT_MEMORY:
        c->memory_bytes = n << 20;
        return n > 0;
    case OPT_BUDGET:
        c->budget_bytes = n << 20;
        return true;
    default:
        c->keeper = (int)n;
        return true;
    }
}

static bool set(struct supervisor_config *c, int id, const char *value)
{
    enum log_level level;

    switch (id) {
    case OPT_SOCKET:
        c->socket = value;
        return true;
    case OPT_MOUNTER:
        c->mounter = value;
        return true;
    case OPT_CGROUP:
        c->cgroup_root = value;
        return true;
    case OPT_RESEND:
        c->resend = strcmp(value, "on") == 0;
        return c->resend || strcmp(value, "off") == 0;
    case OPT_LOG_LEVEL:
        if (log_parse_level(value, &level) < 0) {
            return false;
        }
        log_set_level(level);
        return true;
    default:
        return set_number(c, id, value);
    }
}

/* SKYVOL_HOLDER_CRASH_LIMIT for --crash-limit; flags, parsed later, win. */
static bool set_from_environment(struct supervisor_config *c)
{
    for (const struct option *o = options; o->name != NULL; o++) {
        char name[64];
        const char *value;
        int n = snprintf(name, sizeof(name), "SKYVOL_HOLDER_%s", o->name);

        for (int i = 0; i < n; i++) {
            name[i] = name[i] == '-' ? '_' : name[i];
            name[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i];
        }
        value = o->val < OPT_KEEPER_FD ? getenv(name) : NULL;
        if (value != NULL && !set(c, o->val, value)) {
            (void)fprintf(stderr, "skyvol-holder: %s: '%s' is not possible\n", name, value);
            return false;
        }
    }
    return true;
}

/* 0: go on; 1: done (help); 2: wrong. */
static int parse(int argc, char **argv, struct supervisor_config *c)
{
    int id;

    if (!set_from_environment(c)) {
        return 2;
    }
    while ((id = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (id == OPT_HELP) {
            help();
            return 1;
        }
        if (id == OPT_VERSION) {
            (void)printf("skyvol-holder %s\n", SKYVOL_VERSION);
            return 1;
        }
        if (id == '?') {
            return 2;
        }
        if (!set(c, id, optarg)) {
            (void)fprintf(stderr, "skyvol-holder: '%s' is not possible here\n", optarg);
            return 2;
        }
    }
    return optind == argc ? 0 : 2;
}

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

int main(int argc, char **argv)
{
    char mounter[4096];
    struct supervisor_config config = {
        .socket = HOLDER_SOCKET_DEFAULT,
        .mounter = beside(mounter, sizeof(mounter)),
        .keeper = -1,
        .resend = true,
        .crash_limit = 5,
        .crash_window_ms = 30000,
        .start_timeout_ms = 30000,
        .memory_bytes = 256ULL << 20,
    };
    int r = parse(argc, argv, &config);

    if (r != 0) {
        return r == 1 ? 0 : 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (config.keeper >= 0) {
        (void)prctl(PR_SET_NAME, "holder-super");
        return supervisor_run(&config);
    }
    return keeper_run(argv);
}
