/* SPDX-License-Identifier: Apache-2.0 */
/*
 * skyvol-mount: one mounted volume. Started by skyvol-holder (--holder-fd=N), or by a person:
 *
 *     skyvol-mount s3://bucket/prefix /mnt -o endpoint=https://s3.example,ro
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount/options_table.h"
#include "mounter/personal.h"
#include "mounter/run.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/log.h"
#include "util/options.h"
#include "util/signals.h"
#include "util/url.h"

static void print_help(FILE *out)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(65536);

    mount_options_help(&text);
    (void)fprintf(
        out,
        "Usage: skyvol-mount LOCATION MOUNTPOINT [-o OPTION,...] [-f]\n"
        "\n"
        "Mount a bucket, or a prefix in one, as a file system.\n"
        "\n"
        "Arguments:\n"
        "  LOCATION          s3://bucket[/prefix], dir:///root/bucket[/prefix], mem://bucket\n"
        "  -o OPTION,...     see below; those of GeeseFS, s3fs, rclone and mountpoint-s3 are\n"
        "                    understood too\n"
        "  -f                stay in the foreground, log to stderr\n"
        "  -o log_file=PATH  the log, once it is mounted; else syslog, or stderr with -f\n"
        "  --recover DIR     instead of a mount: upload the journal of one volume, and tell\n"
        "  --timeout SECONDS of --recover (600)\n"
        "  -n -s -v -t TYPE  taken as mount(8) gives them to mount.fuse.skyvol\n"
        "  --size SIZE       what df shows, and the limit of what may be written\n"
        "  --help, -h        print this text\n"
        "  --version         print the version\n"
        "\n"
        "Keys are read from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, or\n"
        "from the profile AWS_PROFILE of ~/.aws/credentials. Unmount with fusermount3 -u.\n"
        "\n"
        "Mount options (-o):\n%s",
        buf_str(&text));
}

/* Value of "--name VALUE" or "--name=VALUE" at argv[*i]; NULL when it is another argument. */
static const char *value_of(int argc, char **argv, int *i, const char *name)
{
    size_t len = strlen(name);

    if (strncmp(argv[*i], name, len) != 0) {
        return NULL;
    }
    if (argv[*i][len] == '=') {
        return argv[*i] + len + 1;
    }
    return argv[*i][len] == '\0' && *i + 1 < argc ? argv[++*i] : NULL;
}

/* What mount(8) says to its helpers, alone or together: no mtab (-n), be tolerant of options (-s:
 * we know which are others', and refuse the rest all the same), be verbose (-v). */
static bool is_helper_flag(const char *text)
{
    return text[0] == '-' && text[1] != '\0' && strspn(text + 1, "nsv") == strlen(text + 1);
}

/* From skyvolctl mount: how the metaserver is reached, as one sealed text with both parts. */
static int read_channel(int fd, struct run_arguments *ret, struct error *err)
{
    CLEANUP(buf_wipe) struct buf text = BUF_INIT(65536);
    char path[40];
    cJSON *json;
    int r;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    r = file_read(path, &text);
    json = r == 0 ? cJSON_Parse(buf_str(&text)) : NULL;
    r = r == 0 ? mount_channel_read(cJSON_GetObjectItemCaseSensitive(json, "channel"),
                                    &ret->config.channel)
               : r;
    r = r == 0 ? mount_ticket_read(cJSON_GetObjectItemCaseSensitive(json, "ticket"), &ret->ticket)
               : r;
    mount_json_wipe(json);
    (void)close(fd);
    return r != 0 ? error_set(err, r, "--meta-fd: only skyvolctl mount gives it") : 0;
}

/* Who writes an option as an argument is told how it is written. */
static int refuse_argument(const char *text, struct error *err)
{
    const char *name = text + strspn(text, "-");
    size_t len = strcspn(name, "=");

    for (size_t i = 0; i < mount_option_table_count; i++) {
        const char *spelling = mount_option_table[i].spelling;

        if (strlen(spelling) == len && strncmp(spelling, name, len) == 0) {
            return error_set(err, -EINVAL,
                             "unknown argument %s: mount options follow -o (-o %s, see --help)",
                             url_shown(text), url_shown(name));
        }
    }
    return error_set(err, -EINVAL, "unknown argument %s (see --help)", url_shown(text));
}

static int parse_one(int argc, char **argv, int *i, struct run_arguments *ret, struct error *err)
{
    const char *value;

    if ((value = value_of(argc, argv, i, "--holder-fd")) != NULL) {
        ret->holder_fd = (int)strtol(value, NULL, 10);
    } else if ((value = value_of(argc, argv, i, "--recover")) != NULL) {
        ret->recover.path = value;
    } else if ((value = value_of(argc, argv, i, "--timeout")) != NULL) {
        ret->recover.timeout_ms = strtoull(value, NULL, 10) * 1000;
    } else if (strcmp(argv[*i], "--export-journal") == 0) {
        ret->export_journal = true;
    } else if ((value = value_of(argc, argv, i, "--meta-fd")) != NULL) {
        return read_channel((int)strtol(value, NULL, 10), ret, err);
    } else if ((value = value_of(argc, argv, i, "-o")) != NULL) {
        return mount_options_parse(&ret->config.options, value, MOUNT_OPTIONS_BY_HAND, err);
    } else if ((value = value_of(argc, argv, i, "--size")) != NULL) {
        if (options_parse_size(value, &ret->config.size_bytes) < 0) {
            return error_set(err, -EINVAL, "--size '%s': bytes or a size such as 10GiB", value);
        }
    } else if ((value = value_of(argc, argv, i, "-t")) != NULL) {
        return strcmp(value, "fuse.skyvol") == 0
                   ? 0
                   : error_set(err, -EINVAL, "-t %s: this mounts fuse.skyvol", url_shown(value));
    } else if (strcmp(argv[*i], "-f") == 0) {
        ret->foreground = true;
    } else if (is_helper_flag(argv[*i])) {
        return 0;
    } else if (argv[*i][0] == '-') {
        return refuse_argument(argv[*i], err);
    } else if (ret->config.location == NULL) {
        ret->config.location = strdup(argv[*i]);
    } else if (ret->mountpoint == NULL) {
        ret->mountpoint = argv[*i];
    } else {
        return error_set(err, -EINVAL, "%s: there is a location and a mount point already",
                         url_shown(argv[*i]));
    }
    return 0;
}

static int parse(int argc, char **argv, struct run_arguments *ret, struct error *err)
{
    int r = 0;

    for (int i = 1; r == 0 && i < argc; i++) {
        r = parse_one(argc, argv, &i, ret, err);
    }
    if (r == 0 && ret->holder_fd < 0 && ret->recover.path == NULL &&
        (ret->config.location == NULL || ret->mountpoint == NULL)) {
        r = error_set(err, -EINVAL, "a location and a mount point are needed (see --help)");
    }
    return r;
}

int main(int argc, char **argv)
{
    struct run_arguments arguments = {
        .config = MOUNT_CONFIG_INIT, .holder_fd = -1, .recover = {.timeout_ms = 600000}};
    struct error err = ERROR_INIT;
    int ret;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(stdout);
            return 0;
        }
        if (strcmp(argv[i], "--version") == 0) {
            (void)printf("skyvol-mount %s\n", SKYVOL_VERSION);
            return 0;
        }
    }
    if (argc < 2 || strncmp(argv[1], "--recover", strlen("--recover")) != 0) {
        signals_block(); /* to recover, there is nothing that an end could harm */
    }
    ret = parse(argc, argv, &arguments, &err);
    if (ret == 0 && arguments.holder_fd < 0 && arguments.recover.path == NULL) {
        ret = personal_options(&arguments.config, &err);
    }
    if (arguments.config.options.note[0] != '\0') {
        (void)fprintf(stderr, "skyvol-mount: %s\n", arguments.config.options.note);
    }
    if (ret != 0) {
        (void)fprintf(stderr, "skyvol-mount: %s\n", error_text(&err, ret));
        ret = 2;
    } else {
        ret = arguments.recover.path != NULL ? recover_run(&arguments.recover)
              : arguments.holder_fd < 0      ? run_alone(&arguments)
              : arguments.export_journal     ? run_export(arguments.holder_fd)
                                             : run_held(arguments.holder_fd);
    }
    mount_config_done(&arguments.config);
    mount_ticket_done(&arguments.ticket);
    return ret;
}
