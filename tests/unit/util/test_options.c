/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/file.h"
#include "util/options.h"

struct config {
    char *listen;
    char *name;
    uint64_t cache_bytes;
    uint64_t wait_ms;
    uint64_t threads;
    bool verbose;
    bool color;
    struct option_list hosts;
    struct option_list paths;
};

static const struct option_spec table[] = {
    OPTION(struct config, listen, OPTION_STRING, "listen", "ADDRESS", "unix:/x", "where"),
    {.name = "name",
     .letter = 'n',
     .type = OPTION_STRING,
     .offset = offsetof(struct config, name),
     .value = "NAME",
     .help = "who"},
    OPTION(struct config, cache_bytes, OPTION_SIZE, "cache-size", "SIZE", "64MiB", "how much"),
    OPTION(struct config, wait_ms, OPTION_DURATION_MS, "wait", "TIME", "30s", "how long"),
    {.name = "threads",
     .type = OPTION_NUMBER,
     .offset = offsetof(struct config, threads),
     .value = "N",
     .fallback = "4",
     .help = "how many",
     .min = 1,
     .max = 64},
    OPTION(struct config, verbose, OPTION_BOOL, "verbose", NULL, NULL, "say more"),
    OPTION(struct config, color, OPTION_BOOL, "color", NULL, "true", "in color"),
    OPTION(struct config, hosts, OPTION_LIST, "host", "HOST", NULL, "with whom"),
};

static const struct options_program program = {.name = "prog",
                                               .summary = "Does things.",
                                               .environment = "OPTEST_",
                                               .options = table,
                                               .count = sizeof(table) / sizeof(table[0]),
                                               .positional = "PATH...",
                                               .positional_max = 2,
                                               .positional_offset = offsetof(struct config, paths)};

static int parse(struct config *config, struct error *err, const char *a, const char *b,
                 const char *c)
{
    char *argv[] = {strdup("prog"), a != NULL ? strdup(a) : NULL, b != NULL ? strdup(b) : NULL,
                    c != NULL ? strdup(c) : NULL, NULL};
    int argc = 1;
    int r;

    while (argv[argc] != NULL) {
        argc++;
    }
    r = options_parse(&program, argc, argv, config, err);
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
    return r;
}

static void defaults_come_from_the_table(void **state UNUSED)
{
    struct config config;
    struct error err = ERROR_INIT;

    assert_int_equal(parse(&config, &err, NULL, NULL, NULL), 0);
    assert_string_equal(config.listen, "unix:/x");
    assert_null(config.name);
    assert_int_equal(config.cache_bytes, 64 << 20);
    assert_int_equal(config.wait_ms, 30000);
    assert_int_equal(config.threads, 4);
    assert_false(config.verbose);
    assert_true(config.color);
    assert_int_equal(config.hosts.count, 0);
    options_done(&program, &config);
    assert_null(config.listen);
}

static void flags_are_read_in_every_spelling(void **state UNUSED)
{
    struct config config;
    struct error err = ERROR_INIT;

    assert_int_equal(parse(&config, &err, "--cache-size=1.5GiB", "--no-color", "--verbose"), 0);
    assert_int_equal(config.cache_bytes, 3ULL << 29);
    assert_false(config.color);
    assert_true(config.verbose);
    options_done(&program, &config);
    assert_int_equal(parse(&config, &err, "--wait", "500ms", "-nme"), 0);
    assert_int_equal(config.wait_ms, 500);
    assert_string_equal(config.name, "me");
    options_done(&program, &config);
    assert_int_equal(parse(&config, &err, "--host=a,b", "--host", "c"), 0);
    assert_int_equal(config.hosts.count, 3);
    assert_string_equal(config.hosts.items[2], "c");
    assert_null(config.hosts.items[3]);
    options_done(&program, &config);
    assert_int_equal(parse(&config, &err, "--", "--verbose", "-"), 0);
    assert_int_equal(config.paths.count, 2);
    assert_string_equal(config.paths.items[0], "--verbose");
    assert_false(config.verbose);
    options_done(&program, &config);
}

static void errors_name_the_option_and_where_it_came_from(void **state UNUSED)
{
    struct config config;
    struct error err = ERROR_INIT;

    assert_int_equal(parse(&config, &err, "--nonsense", NULL, NULL), -EINVAL);
    assert_string_equal(err.text, "unknown option --nonsense: see prog --help");
    assert_int_equal(parse(&config, &err, "--threads", "65", NULL), -EINVAL);
    assert_string_equal(err.text, "option 'threads' (from the flag): '65' is not between 1 and 64");
    assert_int_equal(parse(&config, &err, "--threads", "4x", NULL), -EINVAL);
    assert_string_equal(err.text, "option 'threads' (from the flag): '4x' is not a whole number");
    assert_int_equal(parse(&config, &err, "--listen", NULL, NULL), -EINVAL);
    assert_string_equal(err.text, "--listen needs a value: --listen ADDRESS");
    assert_int_equal(parse(&config, &err, "a", "b", "c"), -EINVAL);
    assert_int_equal(parse(&config, &err, "--verbose=maybe", NULL, NULL), -EINVAL);
    assert_null(config.listen);
}

static void a_flag_beats_the_environment_and_that_the_file(void **state UNUSED)
{
    static const char json[] = "{\"threads\": 7, \"listen\": \"from-file\", \"name\": \"file\","
                               " \"host\": [\"x\", \"y\"], \"verbose\": true}";
    char path[] = "/tmp/options-XXXXXX";
    struct config config;
    struct error err = ERROR_INIT;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_int_equal(file_replace(path, json, strlen(json), 0600), 0);
    assert_int_equal(setenv("OPTEST_CONFIG", path, 1), 0);
    assert_int_equal(setenv("OPTEST_LISTEN", "from-environment", 1), 0);
    assert_int_equal(setenv("OPTEST_CACHE_SIZE", "8KiB", 1), 0);
    assert_int_equal(setenv("OPTEST_SERVICE_HOST", "10.0.0.1", 1), 0);
    assert_int_equal(parse(&config, &err, "--cache-size", "4096", "--host=z"), 0);
    assert_int_equal(config.threads, 7);
    assert_string_equal(config.name, "file");
    assert_string_equal(config.listen, "from-environment");
    assert_int_equal(config.cache_bytes, 4096);
    assert_int_equal(config.hosts.count, 1);
    assert_string_equal(config.hosts.items[0], "z");
    assert_true(config.verbose);
    options_done(&program, &config);
    assert_int_equal(file_replace(path, "{\"thread\": 1}", 13, 0600), 0);
    assert_int_equal(parse(&config, &err, NULL, NULL, NULL), -EINVAL);
    assert_non_null(strstr(err.text, "unknown option 'thread'"));
    assert_int_equal(file_replace(path, "{\"threads\": 1.5}", 16, 0600), 0);
    assert_int_equal(parse(&config, &err, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(parse(&config, &err, "--config=/nonexistent/x", NULL, NULL), -ENOENT);
    assert_int_equal(unsetenv("OPTEST_CONFIG"), 0);
    assert_int_equal(unsetenv("OPTEST_LISTEN"), 0);
    assert_int_equal(unsetenv("OPTEST_CACHE_SIZE"), 0);
    assert_int_equal(unlink(path), 0);
}

static void help_tells_every_option(void **state UNUSED)
{
    struct buf out = BUF_INIT(1 << 16);

    options_help(&program, &out);
    assert_int_equal(buf_error(&out), 0);
    for (size_t i = 0; i < program.count; i++) {
        assert_non_null(strstr(buf_str(&out), table[i].name));
    }
    assert_non_null(strstr(buf_str(&out), "(default: 64MiB)"));
    assert_non_null(strstr(buf_str(&out), "--name NAME, -n"));
    assert_non_null(strstr(buf_str(&out), "--config FILE"));
    assert_non_null(strstr(buf_str(&out), "taken back by --no-OPTION"));
    buf_done(&out);
}

static void sizes_and_durations_are_exact_or_refused(void **state UNUSED)
{
    static const char *const bad[] = {"",
                                      "x",
                                      "-1",
                                      "1e3",
                                      "0x10",
                                      "1 MiB",
                                      "1.2.3",
                                      "12QB",
                                      "1MiBs",
                                      ".5K",
                                      "99999999999999999999"};
    uint64_t n;

    assert_int_equal(options_parse_size("18446744073709551615", &n), 0);
    assert_true(n == UINT64_MAX);
    assert_int_equal(options_parse_size("10GB", &n), 0);
    assert_true(n == 10000000000ULL);
    assert_int_equal(options_parse_size("0.5KiB", &n), 0);
    assert_int_equal(n, 512);
    assert_int_equal(options_parse_size("99999999TiB", &n), -ERANGE);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_true(options_parse_size(bad[i], &n) < 0);
    }
    assert_int_equal(options_parse_duration_ms("7d", &n), 0);
    assert_int_equal(n, 604800000);
    assert_int_equal(options_parse_duration_ms("10", &n), -EINVAL);
}

static void a_log_level_is_one_of_four(void **state)
{
    struct error err = ERROR_INIT;
    enum log_level level = LOG_ERROR;

    (void)state;
    assert_int_equal(options_log_level("debug", &level, &err), 0);
    assert_int_equal(level, LOG_DEBUG);
    assert_int_equal(options_log_level("loud", &level, &err), -EINVAL);
    assert_int_equal(level, LOG_DEBUG);
    assert_non_null(strstr(err.text, "error, warn, info or debug, not 'loud'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_come_from_the_table),
        cmocka_unit_test(flags_are_read_in_every_spelling),
        cmocka_unit_test(errors_name_the_option_and_where_it_came_from),
        cmocka_unit_test(a_flag_beats_the_environment_and_that_the_file),
        cmocka_unit_test(help_tells_every_option),
        cmocka_unit_test(sizes_and_durations_are_exact_or_refused),
        cmocka_unit_test(a_log_level_is_one_of_four),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
