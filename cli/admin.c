/* SPDX-License-Identifier: Apache-2.0 */
/* admin.c - skyvolctl backup and rebuild. Restoring is skyvol-meta's own: it must not be running.
 */
#include <errno.h>
#include <stdio.h>

#include "cli/command.h"
#include "cli/meta.h"
#include "cli/output.h"
#include "util/cleanup.h"

#define ADMIN &skyvol__meta__v1__admin__descriptor

struct options {
    struct meta_options meta;
};

static int backup(const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    int r = in != NULL ? meta_set_text(in, "file", o->meta.words.items[0]) : -ENOMEM;

    return r < 0 ? r : meta_call(&o->meta, ADMIN, "Backup", in, ret, err);
}

static int print_backup(const cJSON *reply)
{
    char size[32];

    output_bytes(meta_number(reply, "bytes"), size, sizeof(size));
    return printf("%s written on the server's disk\n", size) < 0 ? -EIO : 0;
}

static int rebuild(const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    int r = in != NULL ? meta_set_text(in, "store", o->meta.words.items[0]) : -ENOMEM;

    r = r < 0 ? r : meta_call(&o->meta, ADMIN, "Rebuild", in, ret, err);
    if (r == 0 && cJSON_GetObjectItemCaseSensitive(*ret, "volumesAdded") == NULL) {
        r = cJSON_AddNumberToObject(*ret, "volumesAdded", 0) != NULL ? 0 : -ENOMEM;
    }
    return r;
}

static int print_rebuild(const cJSON *reply)
{
    return printf("volumes found: %llu; not known before, added: %llu\n",
                  (unsigned long long)meta_number(reply, "volumesFound"),
                  (unsigned long long)meta_number(reply, "volumesAdded")) < 0
               ? -EIO
               : 0;
}

static int run_backup(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program = META_PROGRAM(
        struct options, meta, "backup",
        "Write a copy of the database to a new file on the server's disk.", "FILE", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, backup, print_backup);
}

static int run_rebuild(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "rebuild",
                     "Find the volumes of a store by the markers in its buckets.", "STORE", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, rebuild, print_rebuild);
}

const struct command command_backup = {
    .name = "backup", .summary = "copy skyvol-meta's database to a file", .run = run_backup};
const struct command command_rebuild = {
    .name = "rebuild",
    .summary = "fill skyvol-meta's database from the markers in buckets",
    .run = run_rebuild};
