/* SPDX-License-Identifier: Apache-2.0 */
/* command.c - dispatch. */
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

enum { PATH_SIZE = 128, WORDS_MAX = 1024 };

static void list(FILE *out, const struct command *command, const char *path)
{
    (void)fprintf(out, "Usage: %s COMMAND ...\n\n%s\n\nCommands:\n", path, command->summary);
    for (size_t i = 0; i < command->below_count; i++) {
        (void)fprintf(out, "  %-12s%s\n", command->below[i].name, command->below[i].summary);
    }
    (void)fprintf(out, "\n%s COMMAND --help tells the options of each.\n", path);
}

static int run_leaf(const struct command *command, const char *path, int argc, char *const *argv)
{
    char name[PATH_SIZE];
    char *words[WORDS_MAX + 2];

    if (argc > WORDS_MAX) {
        (void)fprintf(stderr, "%s: too many arguments\n", path);
        return EXIT_USAGE;
    }
    (void)snprintf(name, sizeof(name), "%s", path);
    words[0] = name;
    for (int i = 0; i < argc; i++) {
        words[i + 1] = argv[i];
    }
    words[argc + 1] = NULL;
    return command->run(argc + 1, words);
}

int command_run(const struct command *command, const char *path, int argc, char *const *argv)
{
    char below[PATH_SIZE];

    if (command->run != NULL) {
        return run_leaf(command, path, argc, argv);
    }
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        list(stdout, command, path);
        return EXIT_DONE;
    }
    for (size_t i = 0; i < command->below_count && argc > 0; i++) {
        if (strcmp(command->below[i].name, argv[0]) == 0) {
            (void)snprintf(below, sizeof(below), "%s %s", path, argv[0]);
            return command_run(&command->below[i], below, argc - 1, argv + 1);
        }
    }
    if (argc > 0) {
        (void)fprintf(stderr, "%s: there is no command '%s'\n\n", path, argv[0]);
    }
    list(stderr, command, path);
    return EXIT_USAGE;
}

int command_fail(const struct error *err, int code)
{
    (void)fprintf(stderr, "skyvolctl: %s\n", error_text(err, code));
    return EXIT_FAILED;
}

int command_with_options(const struct options_program *program, int argc, char *const *argv,
                         void *options, command_work_fn *work)
{
    struct error err = ERROR_INIT;
    int r = options_parse(program, argc, argv, options, &err);

    if (r != 0) {
        return options_exit(program, r, &err);
    }
    r = work(options, &err);
    options_done(program, options);
    return r < 0 ? command_fail(&err, r) : r;
}
