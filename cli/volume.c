/* SPDX-License-Identifier: Apache-2.0 */
/* volume.c - skyvolctl volume: create, list, show, expand, delete. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/meta.h"
#include "cli/output.h"
#include "util/cleanup.h"
#include "util/clock.h"

enum { PAGES_MAX = 10000, POLL_MS = 300 };

struct options {
    struct meta_options meta;
    char *store;
    char *bucket;
    uint64_t size;
    uint64_t limit;
    uint64_t wait_ms;
    bool adopt;
    bool yes;
    struct option_list parameters;
};

#define VOLUMES &skyvol__meta__v1__volumes__descriptor

static int create(const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    int r = in != NULL ? meta_set_text(in, "name", o->meta.words.items[0]) : -ENOMEM;

    r = r < 0 ? r : meta_set_text(in, "store", o->store);
    r = r < 0 ? r : meta_set_text(in, "bucket", o->bucket);
    r = r < 0 ? r : meta_set_number(in, "requiredBytes", o->size);
    r = r < 0 ? r : meta_set_number(in, "limitBytes", o->limit);
    r = r < 0 ? r : meta_set_true(in, "adopt", o->adopt);
    r = r < 0 ? r : call_add_map(in, "parameters", &o->parameters, err);
    return r < 0 ? r : meta_call(&o->meta, VOLUMES, "CreateVolume", in, ret, err);
}

/* One page into `all`, its next token into *token. */
static int list_page(const struct options *o, cJSON *all, char **token, struct error *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    CLEANUP(cJSON_Delete_p) cJSON *reply = NULL;
    cJSON *volumes;
    cJSON *one;
    int r = in != NULL ? meta_set_text(in, "token", *token) : -ENOMEM;

    r = r < 0 ? r : meta_call(&o->meta, VOLUMES, "ListVolumes", in, &reply, err);
    if (r < 0) {
        return r;
    }
    volumes = cJSON_GetObjectItemCaseSensitive(reply, "volumes");
    while ((one = cJSON_DetachItemFromArray(volumes, 0)) != NULL) {
        (void)cJSON_AddItemToArray(all, one);
    }
    free(*token);
    *token = strdup(meta_text(reply, "nextToken"));
    return *token != NULL ? 0 : -ENOMEM;
}

static int list(const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *reply = cJSON_CreateObject();
    AUTOFREE char *token = strdup("");
    cJSON *all = cJSON_AddArrayToObject(reply, "volumes");
    int r = all != NULL && token != NULL ? 0 : -ENOMEM;

    for (int page = 0; r == 0 && (page == 0 || token[0] != '\0'); page++) {
        r = page < PAGES_MAX ? list_page(o, all, &token, err)
                             : error_set(err, -EFBIG, "the list does not end");
    }
    if (r == 0) {
        *ret = TAKE(reply);
    }
    return r;
}

/* Who has it mounted, into "sessions"; a server that cannot tell has none. */
static int add_sessions(const struct options *o, cJSON *to, const char *id, struct error *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    CLEANUP(cJSON_Delete_p) cJSON *reply = NULL;
    cJSON *sessions;
    int r = in != NULL ? meta_set_text(in, "volumeId", id) : -ENOMEM;

    r = r < 0 ? r
              : meta_call(&o->meta, &skyvol__meta__v1__sessions__descriptor, "ListSessions", in,
                          &reply, err);
    sessions = cJSON_DetachItemFromObjectCaseSensitive(reply, "sessions");
    if (sessions != NULL && !cJSON_AddItemToObject(to, "sessions", sessions)) {
        cJSON_Delete(sessions);
        return -ENOMEM;
    }
    return r == -ENOTSUP ? 0 : r;
}

static int show(const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *reply = cJSON_CreateObject();
    cJSON *volume = NULL;
    int r = meta_find_volume(&o->meta, o->meta.words.items[0], &volume, err);

    if (r < 0) {
        return r;
    }
    if (!cJSON_AddItemToObject(reply, "volume", volume)) {
        cJSON_Delete(volume);
        return -ENOMEM;
    }
    r = add_sessions(o, reply, meta_text(volume, "id"), err);
    if (r == 0) {
        *ret = TAKE(reply);
    }
    return r;
}

static int expand(const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    CLEANUP(cJSON_Delete_p) cJSON *volume = NULL;
    int r = meta_find_volume(&o->meta, o->meta.words.items[0], &volume, err);

    if (r == 0 && o->size > 0 && o->size <= meta_number(volume, "sizeBytes")) {
        (void)fprintf(stderr,
                      "skyvolctl: nothing is done: a volume does not shrink, and has %llu "
                      "bytes; --size asks for %llu\n",
                      (unsigned long long)meta_number(volume, "sizeBytes"),
                      (unsigned long long)o->size);
    }
    r = r < 0 ? r : meta_set_text(in, "id", meta_text(volume, "id"));
    r = r < 0 ? r : meta_set_number(in, "requiredBytes", o->size);
    return r < 0 ? r : meta_call(&o->meta, VOLUMES, "ExpandVolume", in, ret, err);
}

/* How far the deletion is, for the bar: of `objects`, which may not be known (0). */
static void show_progress(const struct options *o, const char *id, uint64_t objects)
{
    CLEANUP(cJSON_Delete_p) cJSON *volume = NULL;
    struct error err = ERROR_INIT;

    if (meta_find_volume(&o->meta, id, &volume, &err) == 0) {
        progress_show("deleting", meta_number(volume, "objectsDeleted"), objects);
    }
}

static uint64_t count_objects(const struct options *o, const char *id)
{
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    CLEANUP(cJSON_Delete_p) cJSON *reply = NULL;
    struct error err = ERROR_INIT;

    if (in == NULL || meta_set_text(in, "id", id) < 0 ||
        meta_call(&o->meta, VOLUMES, "GetUsage", in, &reply, &err) < 0) {
        return 0;
    }
    return meta_number(reply, "objects");
}

/* DeleteVolume answers ABORTED until the volume is gone: ask again until wait_ms are over. */
static int delete_until_gone(const struct options *o, const char *id, cJSON **ret,
                             struct error *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    uint64_t until = clock_monotonic_ms(clock_real()) + o->wait_ms;
    uint64_t objects = count_objects(o, id);
    bool shown = false;
    int r = in != NULL ? meta_set_text(in, "id", id) : -ENOMEM;

    while (r == 0) {
        r = meta_call(&o->meta, VOLUMES, "DeleteVolume", in, ret, err);
        if (r != -EAGAIN || clock_monotonic_ms(clock_real()) >= until) {
            break;
        }
        r = 0;
        shown = true;
        show_progress(o, id, objects);
        (void)usleep(POLL_MS * 1000);
    }
    if (shown) {
        progress_end();
    }
    return r;
}

static bool is_adopted(const cJSON *volume)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(volume, "adopted"));
}

/* Ask the person at the terminal; where there is none (a pipe, kubectl exec without -t), nobody has
 * said that all of it may go. 0 when it may. */
static int confirm(const cJSON *volume, struct error *err)
{
    char answer[16] = "";

    if (!isatty(STDIN_FILENO)) {
        return error_set(err, -ECANCELED,
                         "nothing was deleted: nobody can be asked here, as stdin is no terminal; "
                         "--yes deletes volume %s without asking",
                         meta_text(volume, "name"));
    }
    (void)fprintf(stderr, "Delete volume %s (%s, bucket %s)%s? [y/N] ", meta_text(volume, "name"),
                  meta_text(volume, "id"), meta_text(volume, "bucket"),
                  is_adopted(volume) ? "; what lies in it stays" : " and all that is in it");
    return fgets(answer, sizeof(answer), stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y')
               ? 0
               : error_set(err, -ECANCELED, "nothing was deleted");
}

static int delete (const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *volume = NULL;
    int r = meta_find_volume(&o->meta, o->meta.words.items[0], &volume, err);

    r = r == 0 && !o->yes ? confirm(volume, err) : r;
    r = r < 0 ? r : delete_until_gone(o, meta_text(volume, "id"), ret, err);
    return r < 0 || cJSON_AddItemToObject(*ret, "deleted", TAKE(volume)) ? r : -ENOMEM;
}

static int print_deleted(const cJSON *reply)
{
    const cJSON *volume = cJSON_GetObjectItemCaseSensitive(reply, "deleted");

    return printf("volume %s (%s) is %s\n", meta_text(volume, "name"), meta_text(volume, "id"),
                  is_adopted(volume) ? "forgotten; what lies in its bucket stays"
                                     : "deleted, with all that was in it") < 0
               ? -EIO
               : 0;
}

static const char *state_of(const cJSON *volume)
{
    const char *state = meta_text(volume, "state");

    return strcmp(state, "VOLUME_READY") == 0      ? "ready"
           : strcmp(state, "VOLUME_CREATING") == 0 ? "creating"
           : strcmp(state, "VOLUME_DELETING") == 0 ? "deleting"
                                                   : "unknown";
}

static int add_row(struct table *table, const cJSON *volume)
{
    char size[32] = "";
    uint64_t bytes = meta_number(volume, "sizeBytes");

    if (bytes > 0) {
        output_bytes(bytes, size, sizeof(size));
    }
    return table_row(table, meta_text(volume, "id"), meta_text(volume, "name"), state_of(volume),
                     size, meta_text(volume, "store"), meta_text(volume, "bucket"),
                     meta_text(volume, "prefix"), meta_text(volume, "message"));
}

/* The "volume" or the "volumes" of an answer. */
static int print_volumes(const cJSON *reply)
{
    CLEANUP(table_done)
    struct table table =
        TABLE_INIT("ID", "NAME", "STATE", "SIZE", "STORE", "BUCKET", "PREFIX", "MESSAGE");
    const cJSON *one = cJSON_GetObjectItemCaseSensitive(reply, "volume");
    const cJSON *volume;
    int r = one != NULL ? add_row(&table, one) : 0;

    cJSON_ArrayForEach(volume, cJSON_GetObjectItemCaseSensitive(reply, "volumes"))
    {
        r = r < 0 ? r : add_row(&table, volume);
    }
    if (r == 0) {
        table_print(&table, stdout);
    }
    return r;
}

/* A volume, and below it who has it mounted. */
static int print_shown(const cJSON *reply)
{
    CLEANUP(table_done)
    struct table table = TABLE_INIT("MOUNTED ON NODE", "MOUNT", "ACCESS", "LOCKS", "LEASE ENDS IN");
    const cJSON *sessions = cJSON_GetObjectItemCaseSensitive(reply, "sessions");
    const cJSON *one;
    int r = print_volumes(reply);

    cJSON_ArrayForEach(one, sessions)
    {
        bool alone = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(one, "exclusive"));
        bool reads = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(one, "readOnly"));
        char locks[24];
        char left[24];

        (void)snprintf(locks, sizeof(locks), "%llu", (unsigned long long)meta_number(one, "locks"));
        (void)snprintf(left, sizeof(left), "%llu s",
                       (unsigned long long)(meta_number(one, "leaseMs") + 999) / 1000);
        r = r < 0 ? r
                  : table_row(&table, meta_text(one, "node"), meta_text(one, "mount"),
                              reads   ? "read-only"
                              : alone ? "one node"
                                      : "several nodes",
                              locks, left);
    }
    if (r == 0 && cJSON_GetArraySize(sessions) > 0) {
        (void)printf("\n");
        table_print(&table, stdout);
    }
    return r;
}

#define SIZE                                                                                       \
    OPTION(struct options, size, OPTION_SIZE, "size", "SIZE", NULL,                                \
           "bytes that are needed, such as 10GiB")

static int run_create(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        META_OPTIONS(struct options, meta),
        SIZE,
        OPTION(struct options, limit, OPTION_SIZE, "limit", "SIZE", NULL,
               "bytes that it may not exceed"),
        OPTION(struct options, store, OPTION_STRING, "store", "NAME", NULL,
               "where it lies; unset: the store \"default\""),
        OPTION(struct options, bucket, OPTION_STRING, "bucket", "BUCKET", NULL,
               "make a prefix in this bucket; unset: a bucket of its own"),
        OPTION(struct options, adopt, OPTION_BOOL, "adopt", NULL, NULL,
               "take over this volume's bucket or prefix though it is not empty; we then never "
               "delete it"),
        OPTION(struct options, parameters, OPTION_LIST, "parameter", "KEY=VALUE", NULL,
               "kept with the volume for the node: options, mounter; not checked here; repeat")};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "volume create",
                     "Create a volume; the same name again gives the same volume.", "NAME", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, create, print_volumes);
}

static int run_list(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "volume list", "List the volumes.", NULL, 0, 0);

    return meta_run(&program, argc, argv, &(struct options){0}, list, print_volumes);
}

static int run_show(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "volume show", "Show a volume, and who has it mounted.",
                     "ID-OR-NAME", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, show, print_shown);
}

static int run_expand(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta), SIZE};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "volume expand", "Grow a volume.", "ID-OR-NAME", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, expand, print_volumes);
}

static int run_delete(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        META_OPTIONS(struct options, meta),
        OPTION(struct options, wait_ms, OPTION_DURATION_MS, "wait", "TIME", "1h",
               "how long to wait until it is gone; the deletion goes on without us"),
        OPTION(struct options, yes, OPTION_BOOL, "yes", NULL, NULL,
               "do not ask; needed where nobody can be asked, as stdin is no terminal")};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "volume delete",
                     "Delete a volume and all that is in it.", "ID-OR-NAME", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, delete, print_deleted);
}

static const struct command below[] = {
    {.name = "create", .summary = "create a volume", .run = run_create},
    {.name = "list", .summary = "list the volumes", .run = run_list},
    {.name = "show", .summary = "show a volume", .run = run_show},
    {.name = "expand", .summary = "grow a volume", .run = run_expand},
    {.name = "delete", .summary = "delete a volume and what is in it", .run = run_delete},
};

const struct command command_volume = {
    .name = "volume",
    .summary = "volumes: buckets and prefixes that pods mount",
    .below = below,
    .below_count = sizeof(below) / sizeof(below[0]),
};
