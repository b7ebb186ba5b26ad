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

/* Call `method` with the one word as member `name`, and print the answer as JSON. */
static int run_admin(const struct options_program *program, int argc, char *const *argv,
                     const char *method, const char *name)
{
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    struct options o = {0};
    struct error err = ERROR_INIT;
    cJSON *reply = NULL;
    int status;
    int r = options_parse(program, argc, argv, &o, &err);

    if (r != 0) {
        return options_exit(program, r, &err);
    }
    r = in != NULL ? meta_set_text(in, name, o.meta.words.items[0]) : -ENOMEM;
    r = r < 0 ? r : meta_call(&o.meta, ADMIN, method, in, &reply, &err);
    status = r < 0 ? command_fail(&err, r) : output_json(reply);
    options_done(program, &o);
    return status;
}

static int run_backup(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program = META_PROGRAM(
        struct options, meta, "backup",
        "Write a copy of the database to a new file on the server's disk.", "FILE", 1, 1);

    return run_admin(&program, argc, argv, "Backup", "file");
}

static int run_rebuild(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "rebuild",
                     "Find the volumes of a store by the markers in its buckets.", "STORE", 1, 1);

    return run_admin(&program, argc, argv, "Rebuild", "store");
}

const struct command command_backup = {
    .name = "backup", .summary = "copy skyvol-meta's database to a file", .run = run_backup};
const struct command command_rebuild = {
    .name = "rebuild",
    .summary = "fill skyvol-meta's database from the markers in buckets",
    .run = run_rebuild};
