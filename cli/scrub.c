/* SPDX-License-Identifier: Apache-2.0 */
/* scrub.c - skyvolctl scrub: is all that a store holds still what was stored? */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/call.h"
#include "cli/command.h"
#include "cli/output.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "volume/scrub.h"

enum { SHOW_MS = 200, EXIT_DAMAGED = 3 };

struct options {
    struct option_list words, buckets;
    char *prefix, *endpoint, *region, *credentials, *ca_file;
    uint64_t rate;
    bool json;
};

struct run {
    const struct options *options;
    struct scrub_totals totals;
    cJSON *damaged; /* with --json */
    uint64_t shown_ms;
};

static void show_damaged(void *arg, const char *bucket, const char *key, const char *why)
{
    struct run *run = arg;
    cJSON *item;

    if (!run->options->json) {
        progress_end();
        (void)printf("damaged: %s/%s: %s\n", bucket, key, why);
        (void)fflush(stdout);
        return;
    }
    item = cJSON_CreateObject();
    if (item != NULL) {
        (void)cJSON_AddStringToObject(item, "bucket", bucket);
        (void)cJSON_AddStringToObject(item, "key", key);
        (void)cJSON_AddStringToObject(item, "why", why);
        (void)cJSON_AddItemToArray(run->damaged, item);
    }
}

static bool show_progress(void *arg, const char *bucket, const struct scrub_totals *totals)
{
    struct run *run = arg;
    uint64_t now_ms = clock_monotonic_ms(clock_real());

    if (now_ms - run->shown_ms >= SHOW_MS) {
        char label[96];
        char bytes[16];

        run->shown_ms = now_ms;
        output_bytes(totals->bytes, bytes, sizeof(bytes));
        (void)snprintf(label, sizeof(label), "%s: %s, objects", bucket, bytes);
        progress_show(label, totals->objects, 0);
    }
    return true;
}

/* What was looked at, and the exit status. */
static int conclude(struct run *run)
{
    const struct scrub_totals *t = &run->totals;
    char bytes[16];

    if (run->options->json) {
        cJSON *json = cJSON_CreateObject();

        if (json != NULL) {
            (void)cJSON_AddNumberToObject(json, "objects", (double)t->objects);
            (void)cJSON_AddNumberToObject(json, "bytes", (double)t->bytes);
            (void)cJSON_AddNumberToObject(json, "unchecked", (double)t->unchecked);
            (void)cJSON_AddNumberToObject(json, "changedMeanwhile", (double)t->changed);
            (void)cJSON_AddItemToObject(json, "damaged", run->damaged);
            run->damaged = NULL;
        }
        if (output_json(json) != EXIT_DONE) {
            return EXIT_FAILED;
        }
    } else {
        output_bytes(t->bytes, bytes, sizeof(bytes));
        progress_end();
        (void)printf("%llu objects, %s: %llu damaged, %llu without a checksum, %llu changed "
                     "meanwhile\n",
                     (unsigned long long)t->objects, bytes, (unsigned long long)t->damaged,
                     (unsigned long long)t->unchecked, (unsigned long long)t->changed);
    }
    return t->damaged > 0 ? EXIT_DAMAGED : EXIT_DONE;
}

static int check_location(const char *location, struct error *err)
{
    return strstr(location, "://") != NULL
               ? 0
               : error_set(err, -EINVAL,
                           "'%s' is no store: a directory is dir:///ROOT, the root of its buckets; "
                           "else s3:// with --endpoint",
                           location);
}

static int work(const void *options, struct error *err)
{
    const struct options *o = options;
    CLEANUP(mount_credentials_done) struct mount_credentials keys = {0};
    struct run run = {.options = o, .damaged = o->json ? cJSON_CreateArray() : NULL};
    const struct scrub scrub = {.buckets = (const char *const *)o->buckets.items,
                                .prefix = o->prefix,
                                .bytes_per_s = o->rate,
                                .damaged = show_damaged,
                                .progress = o->json ? NULL : show_progress,
                                .arg = &run};
    struct volume_open_config config = {.location = o->words.items[0],
                                        .endpoint = o->endpoint,
                                        .region = o->region,
                                        .ca_file = o->ca_file,
                                        .read_only = true};
    int r = check_location(config.location, err);

    r = r == 0 ? call_read_keys(o->credentials, &keys, err) : r;
    config.credentials =
        (struct volume_credentials){keys.access_key, keys.secret_key, keys.session_token};
    r = r == 0 ? volume_scrub_store(&config, &scrub, &run.totals, err) : r;
    r = r == 0 ? conclude(&run) : r;
    progress_end();
    cJSON_Delete(run.damaged);
    return r;
}

static int run_scrub(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        OPTION(struct options, buckets, OPTION_LIST, "bucket", "NAME", NULL,
               "only this bucket; may be repeated; default: all"),
        OPTION(struct options, prefix, OPTION_STRING, "prefix", "TEXT", "",
               "only keys that begin with it"),
        OPTION(struct options, rate, OPTION_SIZE, "rate", "SIZE", "0",
               "read at most so much a second (64MiB); 0: no limit"),
        OPTION(struct options, json, OPTION_BOOL, "json", NULL, "false",
               "one JSON document instead of lines"),
        OPTION(struct options, endpoint, OPTION_STRING, "endpoint", "URL", NULL,
               "of an s3:// store; default: AWS for the region"),
        OPTION(struct options, region, OPTION_STRING, "region", "NAME", NULL,
               "of an s3:// store; default: us-east-1"),
        OPTION(struct options, credentials, OPTION_STRING, "credentials-file", "FILE", NULL,
               "JSON with accessKey and secretKey of an s3:// store"),
        OPTION(struct options, ca_file, OPTION_STRING, "ca-file", "FILE", NULL,
               "PEM of a further authority for https")};
    static const struct options_program program = {
        .name = "skyvolctl scrub",
        .summary =
            "Read every object of a store and compare it with its checksum. Changes nothing, "
            "and may run beside skyvol-s3.",
        .environment = "SKYVOLCTL_",
        .options = table,
        .count = sizeof(table) / sizeof(table[0]),
        .positional = "LOCATION",
        .positional_min = 1,
        .positional_max = 1,
        .positional_offset = offsetof(struct options, words),
        .epilogue =
            "LOCATION is a store: dir:///srv/store, or s3:// with --endpoint. Exit status: 0 "
            "all is well, 3 something is damaged, 1 the store could not be read."};
    struct options o = {0};

    return command_with_options(&program, argc, argv, &o, work);
}

const struct command command_scrub = {
    .name = "scrub", .summary = "compare what a store holds with its checksums", .run = run_scrub};
