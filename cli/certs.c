/* SPDX-License-Identifier: Apache-2.0 */
/*
 * certs.c - skyvolctl certs: init, issue, renew, show.
 *
 * A directory holds ca.crt, ca.key and NAME.crt, NAME.key for each program: certificates for
 * everybody to read, keys (0600) for who made them. An existing file is never overwritten but by
 * renew, which keeps the names of the certificate, and the owner and mode that the file was given
 * since; the programs read the new files without a restart. The authority's key belongs in a safe
 * place: only this command needs it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/command.h"
#include "cli/output.h"
#include "util/authority.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/options.h"

enum { PATH_SIZE = 4096, PEM_MAX = 1 << 16, READ_MAX = 1 << 18 };

struct options {
    struct option_list words; /* DIRECTORY [NAME] */
    struct option_list hosts;
    char *name;
    uint64_t days;
    bool json;
};

#define DAYS(fallback_)                                                                            \
    {                                                                                              \
        .name = "days", .type = OPTION_NUMBER, .offset = offsetof(struct options, days),           \
        .value = "DAYS", .fallback = (fallback_), .help = "how long it is valid", .min = 1,        \
        .max = 36500                                                                               \
    }

static int path_of(const char *dir, const char *name, const char *end, char ret[PATH_SIZE],
                   struct error *err)
{
    int n = snprintf(ret, PATH_SIZE, "%s/%s.%s", dir, name, end);

    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL || n >= PATH_SIZE) {
        return error_set(err, -EINVAL, "'%s' cannot be the name of a certificate's file", name);
    }
    return 0;
}

static int read_pem(const char *path, char **ret, struct error *err)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(PEM_MAX);
    int r = file_read(path, &text);

    if (r == 0) {
        r = buf_detach(&text, ret, NULL);
    }
    return r < 0 ? error_set(err, r, "cannot read '%s': %s", path, strerrordesc_np(-r)) : 0;
}

static int read_pair(const char *dir, const char *name, struct key_pair *ret, struct error *err)
{
    char path[PATH_SIZE];
    int r = path_of(dir, name, "crt", path, err);

    if (r == 0) {
        r = read_pem(path, &ret->certificate, err);
    }
    if (r == 0) {
        r = path_of(dir, name, "key", path, err);
    }
    return r == 0 ? read_pem(path, &ret->key, err) : r;
}

/* The key first: a certificate without its key is of no use, a key without certificate no harm. */
static int write_pair(const char *dir, const char *name, const struct key_pair *pair, bool replace,
                      struct error *err)
{
    const char *const texts[] = {pair->key, pair->certificate};
    const char *const ends[] = {"key", "crt"};
    const mode_t modes[] = {0600, 0644};
    char path[PATH_SIZE];
    int r = 0;

    for (int i = 0; i < 2 && r == 0; i++) {
        r = path_of(dir, name, ends[i], path, err);
        if (r < 0) {
            return r;
        }
        r = replace ? file_replace_alike(path, texts[i], strlen(texts[i]))
                    : file_create(path, texts[i], strlen(texts[i]), modes[i]);
    }
    if (r == -EEXIST) {
        return error_set(err, r, "'%s' exists and is not overwritten%s", path,
                         strcmp(name, "ca") == 0 ? "" : ": use certs renew");
    }
    return r < 0 ? error_set(err, r, "cannot write '%s': %s", path, strerrordesc_np(-r)) : 0;
}

static int init(const void *options, struct error *err)
{
    const struct options *o = options;
    const char *dir = o->words.items[0];
    struct key_pair ca = {0};
    int r;

    if (mkdir(dir, 0755) < 0 && errno != EEXIST) {
        return error_set(err, -errno, "cannot make the directory '%s': %s", dir,
                         strerrordesc_np(errno));
    }
    r = authority_root(o->name, (uint32_t)o->days, &ca, err);
    if (r == 0) {
        r = write_pair(dir, "ca", &ca, false, err);
    }
    key_pair_done(&ca);
    if (r == 0) {
        (void)printf("made the authority '%s': %s/ca.crt, and %s/ca.key to be kept safe\n", o->name,
                     dir, dir);
    }
    return r;
}

static int issue(const void *options, struct error *err)
{
    const struct options *o = options;
    const char *dir = o->words.items[0];
    const char *name = o->words.items[1];
    struct authority_subject subject = {
        .common_name = name,
        .names = o->hosts.count > 0 ? (const char *const *)o->hosts.items : &name,
        .name_count = o->hosts.count > 0 ? o->hosts.count : 1,
        .days = (uint32_t)o->days};
    struct key_pair ca = {0};
    struct key_pair pair = {0};
    int r;

    if (strcmp(name, "ca") == 0) {
        return error_set(err, -EINVAL, "'ca' is the authority: use certs init");
    }
    r = read_pair(dir, "ca", &ca, err);
    if (r == 0) {
        r = authority_issue(&ca, &subject, &pair, err);
    }
    if (r == 0) {
        r = write_pair(dir, name, &pair, false, err);
    }
    key_pair_done(&pair);
    key_pair_done(&ca);
    if (r == 0) {
        (void)printf("issued %s/%s.crt and %s/%s.key\n", dir, name, dir, name);
        if (o->hosts.count == 0) {
            (void)printf("valid for the host %s only: --host tells others\n", name);
        }
    }
    return r;
}

static int renew_pair(const struct options *o, const struct key_pair *ca, struct arena *arena,
                      struct error *err)
{
    const char *dir = o->words.items[0];
    const char *name = o->words.items[1];
    struct authority_subject subject;
    struct key_pair old = {0};
    struct key_pair new = {0};
    int64_t end;
    int r = read_pair(dir, name, &old, err);

    if (r == 0 && authority_read(old.certificate, arena, &subject, &end) < 0) {
        r = error_set(err, -EINVAL, "%s/%s.crt is not a certificate", dir, name);
    }
    if (r == 0) {
        subject.days = o->days > 0 ? (uint32_t)o->days : subject.days;
        r = authority_issue(ca, &subject, &new, err);
    }
    if (r == 0) {
        r = write_pair(dir, name, &new, true, err);
    }
    key_pair_done(&new);
    key_pair_done(&old);
    return r;
}

static int renew(const void *options, struct error *err)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(READ_MAX);
    const struct options *o = options;
    const char *dir = o->words.items[0];
    struct key_pair ca = {0};
    int r;

    if (strcmp(o->words.items[1], "ca") == 0) {
        return error_set(err, -EINVAL, "an authority is not renewed: make one in a new directory");
    }
    r = read_pair(dir, "ca", &ca, err);
    if (r == 0) {
        r = renew_pair(o, &ca, &arena, err);
    }
    key_pair_done(&ca);
    if (r == 0) {
        (void)printf("renewed %s/%s.crt and its key; programs read them without a restart\n", dir,
                     o->words.items[1]);
    }
    return r;
}

static int show_table(const struct authority_subject *subject, const char *end, const char *left)
{
    CLEANUP(table_done) struct table table = TABLE_INIT("NAME", "ENDS", "DAYS LEFT", "NAMES");
    CLEANUP(buf_done) struct buf names = BUF_INIT(READ_MAX);
    int r;

    for (size_t i = 0; i < subject->name_count; i++) {
        buf_addf(&names, "%s%s", i > 0 ? "," : "", subject->names[i]);
    }
    r = table_row(&table, subject->common_name, end, left, buf_str(&names));
    if (r == 0) {
        table_print(&table, stdout);
    }
    return r;
}

static int show_json(const struct authority_subject *subject, const char *end)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *names = cJSON_AddArrayToObject(json, "names");

    (void)cJSON_AddStringToObject(json, "commonName", subject->common_name);
    (void)cJSON_AddStringToObject(json, "ends", end);
    for (size_t i = 0; i < subject->name_count; i++) {
        (void)cJSON_AddItemToArray(names, cJSON_CreateString(subject->names[i]));
    }
    return output_json(json) == 0 ? 0 : -EIO;
}

static int show(const void *options, struct error *err)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(READ_MAX);
    AUTOFREE char *pem = NULL;
    const struct options *o = options;
    const char *name = o->words.count > 1 ? o->words.items[1] : "ca";
    struct authority_subject subject = {0};
    char path[PATH_SIZE];
    char end[40];
    char left[24];
    int64_t end_s = 0;
    time_t at;
    struct tm tm;
    int r = path_of(o->words.items[0], name, "crt", path, err);

    if (r == 0) {
        r = read_pem(path, &pem, err);
    }
    if (r == 0 && authority_read(pem, &arena, &subject, &end_s) < 0) {
        r = error_set(err, -EINVAL, "%s is not a certificate", path);
    }
    if (r < 0) {
        return r;
    }
    at = (time_t)end_s;
    if (gmtime_r(&at, &tm) == NULL || strftime(end, sizeof(end), "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) {
        return -ERANGE;
    }
    (void)snprintf(left, sizeof(left), "%lld", (long long)(end_s - (int64_t)time(NULL)) / 86400);
    return o->json ? show_json(&subject, end) : show_table(&subject, end, left);
}

static int run_init(int argc, char *const *argv)
{
    static const struct option_spec table[] = {OPTION(struct options, name, OPTION_STRING, "name",
                                                      "NAME", "skyvol",
                                                      "the authority's common name"),
                                               DAYS("3650")};
    static const struct options_program program = {
        .name = "skyvolctl certs init",
        .summary = "Make an authority: DIRECTORY/ca.crt and ca.key.",
        .options = table,
        .count = sizeof(table) / sizeof(table[0]),
        .positional = "DIRECTORY",
        .positional_min = 1,
        .positional_max = 1,
        .positional_offset = offsetof(struct options, words)};
    struct options o = {0};

    return command_with_options(&program, argc, argv, &o, init);
}

static int run_issue(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        OPTION(struct options, hosts, OPTION_LIST, "host", "NAME", NULL,
               "DNS name, IP address or URI it is valid for (default: NAME); may be repeated"),
        DAYS("365")};
    static const struct options_program program = {
        .name = "skyvolctl certs issue",
        .summary = "Issue DIRECTORY/NAME.crt and NAME.key, for a server and a client alike.",
        .options = table,
        .count = sizeof(table) / sizeof(table[0]),
        .positional = "DIRECTORY NAME",
        .positional_min = 2,
        .positional_max = 2,
        .positional_offset = offsetof(struct options, words)};
    struct options o = {0};

    return command_with_options(&program, argc, argv, &o, issue);
}

static int run_renew(int argc, char *const *argv)
{
    static const struct option_spec table[] = {{.name = "days",
                                                .type = OPTION_NUMBER,
                                                .offset = offsetof(struct options, days),
                                                .value = "DAYS",
                                                .help = "how long it is valid; as before if unset",
                                                .max = 36500}};
    static const struct options_program program = {
        .name = "skyvolctl certs renew",
        .summary = "Replace DIRECTORY/NAME.crt and NAME.key by new ones with the same names.",
        .options = table,
        .count = sizeof(table) / sizeof(table[0]),
        .positional = "DIRECTORY NAME",
        .positional_min = 2,
        .positional_max = 2,
        .positional_offset = offsetof(struct options, words)};
    struct options o = {0};

    return command_with_options(&program, argc, argv, &o, renew);
}

static int run_show(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        OPTION(struct options, json, OPTION_BOOL, "json", NULL, NULL, "print JSON")};
    static const struct options_program program = {
        .name = "skyvolctl certs show",
        .summary = "Tell the names and the end of a certificate (default: the authority's).",
        .options = table,
        .count = sizeof(table) / sizeof(table[0]),
        .positional = "DIRECTORY [NAME]",
        .positional_min = 1,
        .positional_max = 2,
        .positional_offset = offsetof(struct options, words)};
    struct options o = {0};

    return command_with_options(&program, argc, argv, &o, show);
}

static const struct command below[] = {
    {.name = "init", .summary = "make an authority", .run = run_init},
    {.name = "issue", .summary = "issue a certificate", .run = run_issue},
    {.name = "renew", .summary = "replace a certificate by a new one", .run = run_renew},
    {.name = "show", .summary = "show names and end of a certificate", .run = run_show},
};

const struct command command_certs = {
    .name = "certs",
    .summary = "a small authority for mTLS between the programs",
    .below = below,
    .below_count = sizeof(below) / sizeof(below[0]),
};
