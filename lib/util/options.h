/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - a program's options from one table: flags, environment, JSON file, --help, --version.
 *
 *     struct config { char *listen; uint64_t cache_bytes; bool verbose; };
 *     static const struct option_spec table[] = {
 *         OPTION(struct config, listen, OPTION_STRING, "listen", "ADDRESS", "unix:/run/x.sock",
 *                "where to listen: unix:/path or host:port"),
 *         OPTION(struct config, cache_bytes, OPTION_SIZE, "cache", "SIZE", "64MiB", "read cache"),
 *     };
 *     static const struct options_program program = {.name = "skyvol-x", .summary = "does x",
 *         .environment = "SKYVOL_X_", .options = table, .count = 2};
 *     struct config config = {0};
 *
 *     r = options_parse(&program, argc, argv, &config, &err);
 *     if (r != 0) { return options_exit(&program, r, &err); }    1: --help or --version was printed
 *     options_done(&program, &config);
 *
 * A value comes from the flag (--cache 64MiB or --cache=64MiB; a bool is --verbose, --no-verbose or
 * --verbose=false), else from the environment (SKYVOL_X_CACHE), else from the JSON file named by
 * --config or SKYVOL_X_CONFIG ({"cache": "64MiB"}), else the table's default. Unknown flags and
 * JSON keys are errors by name. Unknown variables are not: Kubernetes sets SKYVOL_X_SERVICE_HOST
 * and SKYVOL_X_PORT for a Service called skyvol-x (hence no option may be called "port"). Secrets
 * are never options: an option may name the file that holds one.
 */
#ifndef UTIL_OPTIONS_H
#define UTIL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/error.h"
#include "util/log.h"

enum option_type {
    OPTION_STRING,      /* char *: allocated, NULL when not given and without default */
    OPTION_BOOL,        /* bool */
    OPTION_NUMBER,      /* uint64_t: decimal */
    OPTION_SIZE,        /* uint64_t bytes: 4096, 64KiB, 1.5GiB, 10GB */
    OPTION_DURATION_MS, /* uint64_t milliseconds: 500ms, 30s, 5m, 2h, 7d */
    OPTION_LIST,        /* struct option_list: the flag repeated, or text split at commas, or a JSON
                           array */
};

struct option_list {
    char **items; /* NULL after the last; NULL when there is none */
    size_t count;
};

struct option_spec {
    const char *name; /* "cache-size": flag, JSON key; CACHE_SIZE in the environment */
    char letter;      /* 'c' for -c VALUE; 0: none */
    enum option_type type;
    size_t offset;        /* of the member in the program's config struct */
    const char *value;    /* what --help calls the value; NULL for a bool */
    const char *fallback; /* default as text; NULL: none */
    const char *help;
    uint64_t min, max; /* of numbers, sizes, durations; max 0: no limit */
    bool required;
};

#define OPTION(config, member, type_, name_, value_, fallback_, help_)                             \
    {                                                                                              \
        .name = (name_), .type = (type_), .offset = offsetof(config, member), .value = (value_),   \
        .fallback = (fallback_), .help = (help_)                                                   \
    }

struct options_program {
    const char *name;
    const char *summary;     /* one line */
    const char *environment; /* prefix of the variables; NULL: none, and no --config */
    const struct option_spec *options;
    size_t count; /* at most 128 */
    /* Arguments that are not flags: how --help calls them ("SOURCE TARGET"), how many, and where
     * the list goes (a struct option_list in the config). NULL: none are taken. */
    const char *positional;
    size_t positional_min, positional_max;
    size_t positional_offset;
    const char *epilogue; /* printed at the end of --help; may be NULL */
};

/*
 * Set every member of `config` that the table names. 0; 1 when --help or --version was asked for
 * and printed on stdout; -EINVAL with what is wrong and what to do in err; -ENOMEM; or what reading
 * the JSON file said. On failure nothing is left to free.
 */
int options_parse(const struct options_program *program, int argc, char *const *argv, void *config,
                  struct error *err) __attribute__((warn_unused_result));

/* The exit status for options_parse's result: 0 for 1, else prints the error and gives 2. */
int options_exit(const struct options_program *program, int result, const struct error *err);

/* Free the strings and lists in config. */
void options_done(const struct options_program *program, void *config);

/* The --help text, from which the man page is made too. */
void options_help(const struct options_program *program, struct buf *out);

/* Texts as OPTION_SIZE and OPTION_DURATION_MS read them. 0, -EINVAL or -ERANGE. */
int options_parse_size(const char *text, uint64_t *ret) __attribute__((warn_unused_result));
int options_parse_duration_ms(const char *text, uint64_t *ret) __attribute__((warn_unused_result));
int options_parse_number(const char *text, uint64_t *ret) __attribute__((warn_unused_result));

/* What every program's --log-level says; -EINVAL with what to give instead. */
int options_log_level(const char *text, enum log_level *ret, struct error *err)
    __attribute__((warn_unused_result));

#endif
