/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recover.c - skyvolctl recover: what lies in the journals of this node, and uploading it.
 *
 * The upload is skyvol-mount's (--recover): the same code that a mount publishes with. Here is who
 * chooses, hands over the keys and shows how far it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/call.h"
#include "cli/command.h"
#include "cli/mounter.h"
#include "cli/output.h"
#include "mount/journal_survey.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/options.h"

enum { EXIT_CONFLICTS = 3, ANSWER_MAX = 4096, LOOK_MS = 200 };

struct options {
    struct option_list words;
    char *journal, *volume, *credentials, *program;
    uint64_t timeout_ms;
    bool all, dry_run, json;
};

/* What one upload has come to. */
struct outcome {
    uint64_t uploaded, conflicts, damaged, left;
    int status; /* exit status of skyvol-mount */
};

/* ---- the list ---- */

static void age_of(int64_t since_ns, char *ret, size_t size)
{
    int64_t s = since_ns == 0 ? 0 : (clock_realtime_ns(clock_real()) - since_ns) / 1000000000;

    if (s < 120) {
        (void)snprintf(ret, size, "%llds", (long long)(s < 0 ? 0 : s));
    } else if (s < 7200) {
        (void)snprintf(ret, size, "%lldm", (long long)(s / 60));
    } else if (s < 172800) {
        (void)snprintf(ret, size, "%lldh", (long long)(s / 3600));
    } else {
        (void)snprintf(ret, size, "%lldd", (long long)(s / 86400));
    }
}

static int add_row(struct table *table, const struct journal_summary *s)
{
    char files[24];
    char bytes[16];
    char age[24];
    char damaged[24];

    (void)snprintf(files, sizeof(files), "%llu", (unsigned long long)s->files);
    (void)snprintf(damaged, sizeof(damaged), "%llu", (unsigned long long)s->damaged);
    output_bytes(s->bytes, bytes, sizeof(bytes));
    age_of(s->oldest_ns, age, sizeof(age));
    return table_row(table, s->name, s->volume.location != NULL ? s->volume.location : "?", files,
                     bytes, age, damaged, s->in_use ? "yes" : "no");
}

static int print_list(const struct journal_list *list)
{
    CLEANUP(table_done)
    struct table table =
        TABLE_INIT("VOLUME", "LOCATION", "FILES", "BYTES", "OLDEST", "DAMAGED", "IN USE");
    int r = 0;

    for (size_t i = 0; r == 0 && i < list->count; i++) {
        r = add_row(&table, &list->items[i]);
    }
    if (r == 0) {
        table_print(&table, stdout);
    }
    return r;
}

static cJSON *json_of(const struct journal_summary *s)
{
    int64_t oldest_ms = s->oldest_ns / 1000000;
    cJSON *json = cJSON_CreateObject();

    if (json != NULL) {
        (void)cJSON_AddStringToObject(json, "volume", s->name);
        (void)cJSON_AddStringToObject(json, "location",
                                      s->volume.location != NULL ? s->volume.location : "");
        (void)cJSON_AddStringToObject(json, "name", s->volume.name != NULL ? s->volume.name : "");
        (void)cJSON_AddNumberToObject(json, "files", (double)s->files);
        (void)cJSON_AddNumberToObject(json, "bytes", (double)s->bytes);
        (void)cJSON_AddNumberToObject(json, "damaged", (double)s->damaged);
        (void)cJSON_AddNumberToObject(json, "oldestUnixMs", (double)oldest_ms);
        (void)cJSON_AddBoolToObject(json, "inUse", s->in_use);
    }
    return json;
}

/* ---- one upload ---- */

static bool is_chosen(const struct options *o, const struct journal_summary *s)
{
    return o->all || (o->volume != NULL &&
                      (strcmp(o->volume, s->name) == 0 ||
                       (s->volume.name != NULL && strcmp(o->volume, s->volume.name) == 0)));
}

/* In the child. */
static void become_mounter(const struct options *o, const char *volume, int keys, int out)
{
    char program[PATH_MAX];
    char recover[] = "--recover";
    char timeout[] = "--timeout";
    char path[PATH_MAX];
    char seconds[24];
    char file[64];
    char *environment[MOUNTER_ENVIRONMENT_MAX];
    char *argv[] = {program, recover, path, timeout, seconds, NULL};

    (void)snprintf(path, sizeof(path), "%s/%s", o->journal, volume);
    (void)snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)(o->timeout_ms / 1000));
    if (mounter_program(o->program, program, NULL) < 0 || dup2(out, STDOUT_FILENO) < 0) {
        _exit(127);
    }
    if (keys < 0) { /* those of the environment, as skyvol-mount reads them */
        (void)execv(program, argv);
    } else if (mounter_environment(keys, file, environment) == 0) {
        (void)execve(program, argv, environment);
    }
    (void)fprintf(stderr, "skyvolctl: cannot run '%s': %s\n", program, strerrordesc_np(errno));
    _exit(127);
}

static uint64_t number(const cJSON *json, const char *name)
{
    double n = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(json, name));

    return n > 0 ? (uint64_t)n : 0;
}

/* It has ended without its line: what lies in the journal is left. */
static void look_again(const struct options *o, const struct journal_summary *s,
                       struct outcome *ret)
{
    struct journal_summary now;

    *ret = (struct outcome){.damaged = s->damaged, .left = s->files};
    if (journal_survey_one(o->journal, s->name, &now) == 0) {
        ret->uploaded = s->files - (now.files < s->files ? now.files : s->files);
        ret->damaged = now.damaged;
        ret->left = now.files;
    }
    mount_config_done(&now.volume);
}

/* Its only line comes at the end; until then the journal tells how far it is. */
static void follow(const struct options *o, const struct journal_summary *s, int out,
                   struct outcome *ret)
{
    char text[ANSWER_MAX] = "";
    size_t len = 0;
    ssize_t n = 1;
    cJSON *json;

    while (n > 0 && len < sizeof(text) - 1) {
        struct pollfd p = {.fd = out, .events = POLLIN};
        struct journal_summary now;

        if (poll(&p, 1, LOOK_MS) > 0) {
            n = read(out, text + len, sizeof(text) - 1 - len);
            len += n > 0 ? (size_t)n : 0;
        } else if (!o->json) {
            uint64_t left = journal_survey_one(o->journal, s->name, &now) == 0 ? now.files : 0;

            mount_config_done(&now.volume);
            progress_show(s->name, s->files - (left < s->files ? left : s->files), s->files);
        }
    }
    json = cJSON_Parse(text);
    if (cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(json, "left"))) {
        *ret = (struct outcome){number(json, "uploaded"), number(json, "conflicts"),
                                number(json, "damaged"), number(json, "left"), 0};
    } else {
        look_again(o, s, ret);
    }
    cJSON_Delete(json);
    if (!o->json) {
        progress_show(s->name, s->files - (ret->left < s->files ? ret->left : s->files), s->files);
        progress_end();
    }
}

static int upload(const struct options *o, const struct journal_summary *s,
                  const struct mount_credentials *keys, struct outcome *ret)
{
    AUTOCLOSE int sealed = -1;
    int ends[2];
    int status = 0;
    pid_t child;
    int r = mounter_seal_keys(keys, &sealed);

    if (r < 0 || pipe2(ends, O_CLOEXEC) < 0) {
        return r < 0 ? r : -errno;
    }
    child = fork();
    if (child == 0) {
        become_mounter(o, s->name, sealed, ends[1]);
    }
    (void)close(ends[1]);
    if (child > 0) {
        follow(o, s, ends[0], ret);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
    }
    (void)close(ends[0]);
    if (child < 0) {
        return -EAGAIN;
    }
    ret->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
    return 0;
}

/* ---- all of them ---- */

static int tell(const struct options *o, const struct journal_summary *s,
                const struct outcome *outcome, cJSON *array)
{
    cJSON *json;

    if (!o->json) {
        (void)printf("%s: %llu uploaded, %llu conflict copies, %llu damaged, %llu left\n", s->name,
                     (unsigned long long)outcome->uploaded, (unsigned long long)outcome->conflicts,
                     (unsigned long long)outcome->damaged, (unsigned long long)outcome->left);
        return 0;
    }
    json = json_of(s);
    if (json == NULL || !cJSON_AddItemToArray(array, json)) {
        cJSON_Delete(json);
        return -ENOMEM;
    }
    (void)cJSON_AddNumberToObject(json, "uploaded", (double)outcome->uploaded);
    (void)cJSON_AddNumberToObject(json, "conflicts", (double)outcome->conflicts);
    (void)cJSON_AddNumberToObject(json, "left", (double)outcome->left);
    return 0;
}

/* Worst first: something is left, then something has to be looked at, then all is well. */
static int worse(int status, const struct outcome *outcome)
{
    if (status == EXIT_FAILED || outcome->status != 0) {
        return EXIT_FAILED;
    }
    return outcome->conflicts > 0 || outcome->damaged > 0 ? EXIT_CONFLICTS : status;
}

static int upload_chosen(const struct options *o, const struct journal_list *list,
                         struct error *err, int *ret_status)
{
    CLEANUP(mount_credentials_done) struct mount_credentials keys = {NULL, NULL, NULL};
    cJSON *array = cJSON_CreateArray();
    size_t chosen = 0;
    int r = array == NULL ? -ENOMEM : call_read_keys(o->credentials, &keys, err);

    for (size_t i = 0; r == 0 && i < list->count; i++) {
        const struct journal_summary *s = &list->items[i];
        struct outcome outcome = {.damaged = s->damaged, .left = s->files};

        if (!is_chosen(o, s)) {
            continue;
        }
        chosen++;
        if (!o->dry_run && s->files > 0) {
            r = upload(o, s, &keys, &outcome);
            *ret_status = worse(*ret_status, &outcome);
        }
        r = r == 0 ? tell(o, s, &outcome, array) : r;
    }
    if (r == 0 && chosen == 0 && o->volume != NULL) {
        r = error_set(err, -ENOENT, "there is no journal of '%s' in %s", o->volume, o->journal);
    }
    if (r == 0 && o->json) {
        return output_json(array) == 0 ? 0 : -EIO;
    }
    cJSON_Delete(array);
    return r;
}

static int list_all(const struct options *o, const struct journal_list *list)
{
    cJSON *array;

    if (!o->json) {
        return print_list(list);
    }
    array = cJSON_CreateArray();
    for (size_t i = 0; array != NULL && i < list->count; i++) {
        (void)cJSON_AddItemToArray(array, json_of(&list->items[i]));
    }
    return output_json(array) == 0 ? 0 : -EIO;
}

/* A wrong directory must not look like one in which nothing is left. */
static int check_directory(const char *path, struct error *err)
{
    AUTOFREE char *file = NULL;
    struct stat st;
    int error = stat(path, &st) < 0 ? errno : 0;

    if (error != 0 && error != ENOENT && error != ENOTDIR) {
        return error_set(err, -error, "%s: %s", path, strerrordesc_np(error));
    }
    if (error != 0 || !S_ISDIR(st.st_mode)) {
        return error_set(err, -ENOENT, "there is no journal directory %s", path);
    }
    if (asprintf(&file, "%s/volume.json", path) < 0) {
        file = NULL;
        return -ENOMEM;
    }
    return access(file, F_OK) < 0
               ? 0
               : error_set(err, -EINVAL, "%s is one volume's: --journal is the directory above it",
                           path);
}

static int recover(const void *options, struct error *err)
{
    const struct options *o = options;
    struct journal_list list;
    int status = EXIT_DONE;
    int r;

    if (o->all && o->volume != NULL) {
        (void)fputs("skyvolctl: --all or --volume, not both\n", stderr);
        return EXIT_USAGE;
    }
    r = check_directory(o->journal, err);
    if (r < 0) {
        return r;
    }
    r = journal_survey(o->journal, &list);
    if (r < 0) {
        return error_set(err, r, "%s: %s", o->journal, strerrordesc_np(-r));
    }
    r = o->all || o->volume != NULL ? upload_chosen(o, &list, err, &status) : list_all(o, &list);
    journal_list_done(&list);
    return r < 0 ? r : status;
}

static int run_recover(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        OPTION(struct options, journal, OPTION_STRING, "journal", "DIR", "/var/lib/skyvol/journal",
               "the directory: skyvol-holder's --journal-dir, or what a mount was given"),
        OPTION(struct options, volume, OPTION_STRING, "volume", "NAME", NULL,
               "upload this one: as it is listed, or the volume's id"),
        OPTION(struct options, all, OPTION_BOOL, "all", NULL, NULL, "upload all"),
        OPTION(struct options, credentials, OPTION_STRING, "credentials-file", "FILE", NULL,
               "JSON with accessKey and secretKey; - for stdin (default: as skyvol-mount)"),
        OPTION(struct options, timeout_ms, OPTION_DURATION_MS, "timeout", "TIME", "10m",
               "for each volume; what is not uploaded by then stays"),
        OPTION(struct options, dry_run, OPTION_BOOL, "dry-run", NULL, NULL,
               "only tell what would be uploaded"),
        OPTION(struct options, json, OPTION_BOOL, "json", NULL, NULL, "print JSON"),
        OPTION(struct options, program, OPTION_STRING, "program", "FILE", NULL,
               "skyvol-mount, if it is not beside skyvolctl")};
    static const struct options_program program = {
        .name = "skyvolctl recover",
        .summary =
            "List the journals of this node: data that a store has not taken when its mount "
            "ended. With --volume or --all upload it; what somebody else has changed "
            "meanwhile is kept beside, as NAME.conflict-... Exit status: 0 nothing is left, "
            "1 something is, 2 wrong usage, 3 nothing is left, but there are conflict copies "
            "or damaged files.",
        .environment = "SKYVOLCTL_",
        .options = table,
        .count = sizeof(table) / sizeof(table[0]),
        .positional_offset = offsetof(struct options, words)};
    struct options o = {0};

    return command_with_options(&program, argc, argv, &o, recover);
}

const struct command command_recover = {
    .name = "recover",
    .summary = "upload what a store had not taken when a mount here ended",
    .run = run_recover};
