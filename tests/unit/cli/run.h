/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - a command run as main() would, against a server in other threads. */
#ifndef TESTS_UNIT_CLI_RUN_H
#define TESTS_UNIT_CLI_RUN_H

#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "test.h"
#include "util/mutex.h"

/* Handlers write to the fixture in other threads; an answered call orders that, but only through
 * the socket, where ThreadSanitizer does not look. */
static struct mutex seen;

static void settle(void)
{
    mutex_lock(&seen);
    mutex_unlock(&seen);
}

static int run_words(const struct command *below, size_t count, const char *const *words)
{
    const struct command top = {.name = "x", .summary = "x", .below = below, .below_count = count};
    char *argv[16];
    int argc = 0;
    int status;

    for (; words[argc] != NULL; argc++) {
        argv[argc] = strdup(words[argc]);
        assert_non_null(argv[argc]);
    }
    argv[argc] = NULL;
    status = command_run(&top, "x", argc, argv);
    settle();
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
    return status;
}

#endif
