/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.h - the tree of skyvolctl's commands.
 *
 * A command either runs or has commands below it. run() gets the words after its own as argv[1..]
 * and argv[0] as its full name; it returns the exit status (0 done, 1 failed, 2 wrong usage) and
 * has printed what went wrong. One thread.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stddef.h>

#include "util/error.h"
#include "util/options.h"

struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char *const *argv);
    const struct command *below; /* NULL if run is set */
    size_t below_count;
};

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

extern const struct command command_certs;
extern const struct command command_csi;
extern const struct command command_store;
extern const struct command command_keys;
extern const struct command command_volume;
extern const struct command command_mount;
extern const struct command command_recover;
extern const struct command command_stats;
extern const struct command command_scrub;
extern const struct command command_backup;
extern const struct command command_rebuild;

/* Walk the words down the tree and run. With --help, no word or an unknown one: the list of what
 * there is. `path` is what has been walked ("skyvolctl"). */
int command_run(const struct command *command, const char *path, int argc, char *const *argv);

/* Print "skyvolctl: text" on stderr; gives EXIT_FAILED. `code` is negative errno. */
int command_fail(const struct error *err, int code);

/* What a command does once its options are read: the exit status, or negative errno. */
typedef int command_work_fn(const void *options, struct error *err);

/* Options of argv into `options` (zeroed, of the program's type), then `work`, then they are freed.
 * Gives the exit status; what failed is printed. */
int command_with_options(const struct options_program *program, int argc, char *const *argv,
                         void *options, command_work_fn *work);

#endif
