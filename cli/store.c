/* SPDX-License-Identifier: Apache-2.0 */
/* store.c - skyvolctl store: add, list, show, delete. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/meta.h"
#include "cli/output.h"
#include "util/cleanup.h"

struct options {
    struct meta_options meta;
    char *endpoint;
    char *s3_region;
    char *region;
    char *credentials;
    bool virtual_host_style;
    bool check;
    char *sts_endpoint;
    char *role_arn;
    uint64_t sts_duration_ms;
    bool no_sts;
};

#define STORES &skyvol__meta__v1__stores__descriptor

static int add_credentials(cJSON *request, const char *path, struct error *err)
{
    CLEANUP(mount_credentials_done) struct mount_credentials keys = {NULL, NULL, NULL};
    cJSON *out;
    int r = call_read_keys(path, &keys, err);

    if (r < 0 || path == NULL) {
        return r;
    }
    out = cJSON_AddObjectToObject(request, "credentials");
    r = out != NULL ? meta_set_text(out, "accessKey", keys.access_key) : -ENOMEM;
    r = r < 0 ? r : meta_set_text(out, "secretKey", keys.secret_key);
    return r < 0 ? r : meta_set_text(out, "sessionToken", keys.session_token);
}

/* Without any of them what the store has stays as it is. */
static int add_sts(cJSON *store, const struct options *o, struct error *err)
{
    bool on = o->sts_endpoint != NULL || o->role_arn != NULL;
    uint64_t duration_s = o->sts_duration_ms / 1000;
    cJSON *sts;
    int r;

    if (o->no_sts && on) {
        return error_set(err, -EINVAL, "--no-sts does not go with --sts-endpoint and --role-arn");
    }
    if (o->sts_duration_ms != 0 && !on) {
        return error_set(err, -EINVAL, "--sts-duration goes with --sts-endpoint or --role-arn");
    }
    if (!on && !o->no_sts) {
        return 0;
    }
    sts = cJSON_AddObjectToObject(store, "temporaryKeys");
    r = sts != NULL ? meta_set_text(sts, "endpoint", o->sts_endpoint) : -ENOMEM;
    r = r < 0 ? r : meta_set_text(sts, "roleArn", o->role_arn);
    if (r == 0 && o->sts_duration_ms != 0 &&
        cJSON_AddNumberToObject(sts, "durationS", (double)duration_s) == NULL) {
        r = -ENOMEM;
    }
    return r;
}

static int add(const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *in = meta_new_request();
    cJSON *store = cJSON_AddObjectToObject(in, "store");
    int r = store != NULL ? 0 : -ENOMEM;

    r = r < 0 ? r : meta_set_text(store, "name", o->meta.words.items[0]);
    r = r < 0 ? r : meta_set_text(store, "location", o->meta.words.items[1]);
    r = r < 0 ? r : meta_set_text(store, "endpoint", o->endpoint);
    r = r < 0 ? r : meta_set_text(store, "s3Region", o->s3_region);
    r = r < 0 ? r : meta_set_text(store, "region", o->region);
    r = r < 0 ? r : meta_set_true(store, "virtualHostStyle", o->virtual_host_style);
    r = r < 0 ? r : meta_set_true(in, "check", true);
    r = r < 0 ? r : meta_set_true(in, "mustPass", o->check);
    r = r < 0 ? r : add_sts(store, o, err);
    r = r < 0 ? r : add_credentials(in, o->credentials, err);
    return r < 0 ? r : meta_call(&o->meta, STORES, "AddStore", in, ret, err);
}

static int list(const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    return meta_call(&o->meta, STORES, "ListStores", NULL, ret, err);
}

static int show(const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    int r = in != NULL ? meta_set_text(in, "name", o->meta.words.items[0]) : -ENOMEM;

    return r < 0 ? r : meta_call(&o->meta, STORES, "GetStore", in, ret, err);
}

static int delete (const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *in = meta_new_request();
    int r = in != NULL ? meta_set_text(in, "name", o->meta.words.items[0]) : -ENOMEM;

    return r < 0 ? r : meta_call(&o->meta, STORES, "DeleteStore", in, ret, err);
}

static int add_row(struct table *table, const cJSON *store)
{
    return table_row(table, meta_text(store, "name"), meta_text(store, "location"),
                     meta_text(store, "endpoint"), meta_text(store, "region"),
                     cJSON_GetObjectItemCaseSensitive(store, "temporaryKeys") != NULL ? "temporary"
                     : cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(store, "hasCredentials"))
                         ? "yes"
                         : "no");
}

/* The "store" or the "stores" of an answer. */
static int print_stores(const cJSON *reply)
{
    CLEANUP(table_done)
    struct table table = TABLE_INIT("NAME", "LOCATION", "ENDPOINT", "REGION", "CREDENTIALS");
    const cJSON *one = cJSON_GetObjectItemCaseSensitive(reply, "store");
    const cJSON *all = cJSON_GetObjectItemCaseSensitive(reply, "stores");
    const cJSON *store;
    int r = one != NULL ? add_row(&table, one) : 0;

    cJSON_ArrayForEach(store, all)
    {
        r = r < 0 ? r : add_row(&table, store);
    }
    if (r == 0) {
        table_print(&table, stdout);
    }
    return r;
}

static int print_added(const cJSON *reply)
{
    const char *warning = meta_text(reply, "warning");

    if (warning[0] != '\0') {
        (void)fprintf(stderr, "warning: %s\n", warning);
    }
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(reply, "existed"))) {
        (void)fprintf(stderr,
                      "the store was there already, at this location and endpoint: what its "
                      "keys and --sts options tell was taken\n");
    }
    return print_stores(reply);
}

static int print_deleted(const cJSON *reply)
{
    (void)reply;
    return puts("the store is forgotten; what lies in it stays") < 0 ? -EIO : 0;
}

static int run_add(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        META_OPTIONS(struct options, meta),
        OPTION(struct options, endpoint, OPTION_STRING, "endpoint", "URL", NULL,
               "of an S3 store; unset: AWS"),
        OPTION(struct options, s3_region, OPTION_STRING, "s3-region", "REGION", NULL,
               "region that requests are signed for; unset: us-east-1"),
        OPTION(struct options, region, OPTION_STRING, "region", "REGION", NULL,
               "a name for placement only, such as aws:us-east-1; for signatures see --s3-region"),
        OPTION(struct options, virtual_host_style, OPTION_BOOL, "virtual-host-style", NULL, NULL,
               "the bucket stands in the host name"),
        OPTION(struct options, credentials, OPTION_STRING, "credentials-file", "FILE", NULL,
               "keys: JSON, or an AWS credentials file, mode 0600; - for stdin"),
        OPTION(struct options, check, OPTION_BOOL, "check", NULL, NULL,
               "add or change it only if it answers and accepts the keys (one that is there and is "
               "given "
               "none: its own); else that is a warning, of a new one"),
        OPTION(struct options, sts_endpoint, OPTION_STRING, "sts-endpoint", "URL", NULL,
               "each mount gets temporary keys of its volume only, which skyvol-meta asks for here "
               "(AssumeRole); the store's own stay with it"),
        OPTION(struct options, role_arn, OPTION_STRING, "role-arn", "ARN", NULL,
               "role to assume; alone: of AWS for the region, or at --endpoint"),
        OPTION(struct options, sts_duration_ms, OPTION_DURATION_MS, "sts-duration", "TIME", NULL,
               "how long temporary keys last, 15m to 168h as the role allows; unset: 1h. They are "
               "renewed after half of it"),
        OPTION(struct options, no_sts, OPTION_BOOL, "no-sts", NULL, NULL,
               "mounts get the store's own keys (again)")};
    static const struct options_program program = META_PROGRAM(
        struct options, meta, "store add",
        "Add a store: a location (s3:// or dir:///root) with its keys.", "NAME LOCATION", 2, 2);

    return meta_run(&program, argc, argv, &(struct options){0}, add, print_added);
}

static int run_list(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "store list", "List the stores.", NULL, 0, 0);

    return meta_run(&program, argc, argv, &(struct options){0}, list, print_stores);
}

static int run_show(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "store show", "Show a store.", "NAME", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, show, print_stores);
}

static int run_delete(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program = META_PROGRAM(
        struct options, meta, "store delete", "Forget a store that has no volume.", "NAME", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, delete, print_deleted);
}

static const struct command below[] = {
    {.name = "add", .summary = "add a store", .run = run_add},
    {.name = "list", .summary = "list the stores", .run = run_list},
    {.name = "show", .summary = "show a store", .run = run_show},
    {.name = "delete", .summary = "forget a store", .run = run_delete},
};

const struct command command_store = {
    .name = "store",
    .summary = "endpoints with credentials, where volumes lie",
    .below = below,
    .below_count = sizeof(below) / sizeof(below[0]),
};
