/* SPDX-License-Identifier: Apache-2.0 */
/*
 * csi.c - skyvolctl csi: any CSI call by hand.
 *
 * `csi call` takes the whole request as JSON; the other commands build it from options. All of them
 * print the answer as JSON but for `list` and `services`, which have tables.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <csi.pb-c.h>

#include "cli/command.h"
#include "cli/meta.h"
#include "cli/output.h"
#include "util/cleanup.h"

enum { PAGES_MAX = 10000 };

static const ProtobufCServiceDescriptor *const services[] = {
    &csi__v1__identity__descriptor,
    &csi__v1__controller__descriptor,
    &csi__v1__group_controller__descriptor,
    &csi__v1__snapshot_metadata__descriptor,
    &csi__v1__node__descriptor,
};

enum { SERVICES = sizeof(services) / sizeof(services[0]) };

struct options {
    struct option_list words;
    struct call_options call;
    char *request;      /* --request FILE */
    char *secrets_file; /* --secrets-file FILE */
    uint64_t size;
    uint64_t limit;
    struct option_list parameters;
    struct option_list context;
    struct option_list mount_options;
    char *access_mode;
    char *staging;
    char *target;
    bool readonly;
    bool json;
};

#define O(member, type, name, value, fallback, help)                                               \
    OPTION(struct options, member, type, name, value, fallback, help)
#define SECRETS                                                                                    \
    O(secrets_file, OPTION_STRING, "secrets-file", "FILE", NULL,                                   \
      "JSON object of the call's secrets; - for stdin")
#define PARAMETERS                                                                                 \
    O(parameters, OPTION_LIST, "parameter", "KEY=VALUE", NULL, "StorageClass parameter; repeat")
#define CONTEXT                                                                                    \
    O(context, OPTION_LIST, "context", "KEY=VALUE", NULL,                                          \
      "volume context, as CreateVolume returned it; repeat")
#define STAGING O(staging, OPTION_STRING, "staging", "DIRECTORY", NULL, "staging target path")
#define TARGET O(target, OPTION_STRING, "target", "DIRECTORY", NULL, "target path")
#define CAPABILITY                                                                                 \
    O(access_mode, OPTION_STRING, "access-mode", "MODE", "MULTI_NODE_MULTI_WRITER",                \
      "as in csi.proto"),                                                                          \
        O(mount_options, OPTION_LIST, "mount-option", "OPTION", NULL, "mount flag; repeat")

/* A command that is one call: its method and what its words are called in the request. */
struct recipe {
    struct options_program program;
    const ProtobufCServiceDescriptor *service;
    const char *method;
    const char *word_field; /* the second word's field, NULL: none */
    bool capability;        /* "capability" or, in CreateVolume, a list of them */
    bool capability_list;
};

static int add_capability(cJSON *json, const struct recipe *recipe, const struct options *o)
{
    cJSON *one = cJSON_CreateObject();
    cJSON *mount = cJSON_AddObjectToObject(one, "mount");
    cJSON *mode = cJSON_AddObjectToObject(one, "accessMode");
    cJSON *flags;
    bool ok;

    if (mode == NULL || mount == NULL || meta_set_text(mode, "mode", o->access_mode) < 0) {
        cJSON_Delete(one);
        return -ENOMEM;
    }
    if (o->mount_options.count > 0) {
        flags = cJSON_AddArrayToObject(mount, "mountFlags");
        for (size_t i = 0; i < o->mount_options.count; i++) {
            (void)cJSON_AddItemToArray(flags, cJSON_CreateString(o->mount_options.items[i]));
        }
    }
    if (recipe->capability_list) {
        ok = cJSON_AddItemToArray(cJSON_AddArrayToObject(json, "volumeCapabilities"), one);
    } else {
        ok = cJSON_AddItemToObject(json, "volumeCapability", one);
    }
    if (!ok) {
        cJSON_Delete(one);
        return -ENOMEM;
    }
    return 0;
}

static int add_secrets(cJSON *json, const char *path, struct error *err)
{
    cJSON *secrets = NULL;
    int r;

    if (path == NULL) {
        return 0;
    }
    r = call_read_json(path, &secrets, err);
    if (r < 0) {
        return r;
    }
    if (!cJSON_AddItemToObject(json, "secrets", secrets)) {
        cJSON_Delete(secrets);
        return -ENOMEM;
    }
    return 0;
}

/* The request of a recipe. Members that the options do not give are left out. */
static int build(const struct recipe *recipe, const struct options *o, cJSON *json,
                 struct error *err)
{
    cJSON *range = NULL;
    int r = 0;

    if (recipe->word_field != NULL) {
        r = meta_set_text(json, recipe->word_field, o->words.items[1]);
    }
    if (r == 0 && (o->size > 0 || o->limit > 0)) {
        range = cJSON_AddObjectToObject(json, "capacityRange");
        r = range == NULL ? -ENOMEM : meta_set_number(range, "requiredBytes", o->size);
        r = r < 0 ? r : meta_set_number(range, "limitBytes", o->limit);
    }
    r = r < 0 ? r : call_add_map(json, "parameters", &o->parameters, err);
    r = r < 0 ? r : call_add_map(json, "volumeContext", &o->context, err);
    r = r < 0 ? r : meta_set_text(json, "stagingTargetPath", o->staging);
    r = r < 0 ? r
              : meta_set_text(json,
                              recipe->service == &csi__v1__node__descriptor &&
                                      strcmp(recipe->method, "NodeGetVolumeStats") == 0
                                  ? "volumePath"
                                  : "targetPath",
                              o->target);
    if (r == 0 && o->readonly && cJSON_AddTrueToObject(json, "readonly") == NULL) {
        r = -ENOMEM;
    }
    if (r == 0 && recipe->capability) {
        r = add_capability(json, recipe, o);
    }
    return r < 0 ? r : add_secrets(json, o->secrets_file, err);
}

static int call_recipe(const struct recipe *recipe, const struct options *o, cJSON **ret,
                       struct error *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    struct call call = {.address = o->words.items[0],
                        .options = &o->call,
                        .service = recipe->service,
                        .method = recipe->method,
                        .in = in};
    int r = in != NULL ? build(recipe, o, in, err) : -ENOMEM;

    return r < 0 ? r : call_json(&call, ret, err);
}

static int run_recipe(const struct recipe *recipe, int argc, char *const *argv)
{
    struct options o = {0};
    struct error err = ERROR_INIT;
    cJSON *reply = NULL;
    int status;
    int r = options_parse(&recipe->program, argc, argv, &o, &err);

    if (r != 0) {
        return options_exit(&recipe->program, r, &err);
    }
    r = call_recipe(recipe, &o, &reply, &err);
    status = r < 0 ? command_fail(&err, r) : output_json(reply);
    options_done(&recipe->program, &o);
    return status;
}

/* A function and its recipe. `words` is what stands after the command's name. */
#define RECIPE(function, words_, count_, summary_, ...)                                            \
    static int run_##function(int argc, char *const *argv)                                         \
    {                                                                                              \
        static const struct option_spec table[] = {CALL_OPTIONS(struct options, call),             \
                                                   function##_OPTIONS};                            \
        static const struct recipe recipe = {                                                      \
            .program = {.name = "skyvolctl csi " #function,                                        \
                        .summary = summary_,                                                       \
                        .environment = "SKYVOLCTL_",                                               \
                        .options = table,                                                          \
                        .count = sizeof(table) / sizeof(table[0]),                                 \
                        .positional = words_,                                                      \
                        .positional_min = count_,                                                  \
                        .positional_max = count_,                                                  \
                        .positional_offset = offsetof(struct options, words)},                     \
            __VA_ARGS__};                                                                          \
                                                                                                   \
        return run_recipe(&recipe, argc, argv);                                                    \
    }

#define SIZE O(size, OPTION_SIZE, "size", "SIZE", NULL, "bytes that are needed, such as 10GiB")
#define LIMIT O(limit, OPTION_SIZE, "limit", "SIZE", NULL, "bytes that it may not exceed")
#define READONLY O(readonly, OPTION_BOOL, "readonly", NULL, NULL, "mount it read-only")

#define info_OPTIONS SECRETS
#define probe_OPTIONS SECRETS
#define create_OPTIONS SECRETS, SIZE, LIMIT, PARAMETERS, CAPABILITY
#define delete_OPTIONS SECRETS
#define expand_OPTIONS SECRETS, SIZE, LIMIT
#define capacity_OPTIONS PARAMETERS
#define stage_OPTIONS SECRETS, STAGING, CONTEXT, CAPABILITY
#define unstage_OPTIONS STAGING
#define publish_OPTIONS SECRETS, STAGING, TARGET, CONTEXT, CAPABILITY, READONLY
#define unpublish_OPTIONS TARGET
#define stats_OPTIONS STAGING, TARGET
#define node_OPTIONS SECRETS

RECIPE(info, "SOCKET", 1, "Name and version of the driver (GetPluginInfo).",
       .service = &csi__v1__identity__descriptor, .method = "GetPluginInfo")
RECIPE(probe, "SOCKET", 1, "Is it ready? (Probe)", .service = &csi__v1__identity__descriptor,
       .method = "Probe")
RECIPE(create, "SOCKET NAME", 2, "Create a volume (CreateVolume).",
       .service = &csi__v1__controller__descriptor, .method = "CreateVolume", .word_field = "name",
       .capability = true, .capability_list = true)
RECIPE(delete, "SOCKET VOLUME", 2, "Delete a volume (DeleteVolume).",
       .service = &csi__v1__controller__descriptor, .method = "DeleteVolume",
       .word_field = "volumeId")
RECIPE(expand, "SOCKET VOLUME", 2, "Grow a volume (ControllerExpandVolume).",
       .service = &csi__v1__controller__descriptor, .method = "ControllerExpandVolume",
       .word_field = "volumeId")
RECIPE(capacity, "SOCKET", 1, "Room for new volumes (GetCapacity).",
       .service = &csi__v1__controller__descriptor, .method = "GetCapacity")
RECIPE(stage, "SOCKET VOLUME", 2, "Make a volume usable on the node (NodeStageVolume).",
       .service = &csi__v1__node__descriptor, .method = "NodeStageVolume", .word_field = "volumeId",
       .capability = true)
RECIPE(unstage, "SOCKET VOLUME", 2, "Undo stage (NodeUnstageVolume).",
       .service = &csi__v1__node__descriptor, .method = "NodeUnstageVolume",
       .word_field = "volumeId")
RECIPE(publish, "SOCKET VOLUME", 2, "Mount a volume at a target (NodePublishVolume).",
       .service = &csi__v1__node__descriptor, .method = "NodePublishVolume",
       .word_field = "volumeId", .capability = true)
RECIPE(unpublish, "SOCKET VOLUME", 2, "Undo publish (NodeUnpublishVolume).",
       .service = &csi__v1__node__descriptor, .method = "NodeUnpublishVolume",
       .word_field = "volumeId")
RECIPE(stats, "SOCKET VOLUME", 2, "Usage of a mounted volume (NodeGetVolumeStats).",
       .service = &csi__v1__node__descriptor, .method = "NodeGetVolumeStats",
       .word_field = "volumeId")
RECIPE(node, "SOCKET", 1, "Id and topology of the node (NodeGetInfo).",
       .service = &csi__v1__node__descriptor, .method = "NodeGetInfo")

/* "Node.NodeStageVolume", "csi.v1.Node/NodeStageVolume", or the method alone where it is unique. */
static int find_method(const char *text, const ProtobufCServiceDescriptor **ret_service,
                       const char **ret_method, struct error *err)
{
    const char *dot = strpbrk(text, "/") != NULL ? strchr(text, '/') : strrchr(text, '.');
    const char *method = dot != NULL ? dot + 1 : text;
    size_t len = dot != NULL ? (size_t)(dot - text) : 0;

    for (size_t i = 0; i < SERVICES; i++) {
        const ProtobufCServiceDescriptor *s = services[i];
        bool named = (strlen(s->name) == len && strncmp(s->name, text, len) == 0) ||
                     (strlen(s->short_name) == len && strncmp(s->short_name, text, len) == 0);

        if ((len == 0 || named) &&
            protobuf_c_service_descriptor_get_method_by_name(s, method) != NULL) {
            *ret_service = s;
            *ret_method = method;
            return 0;
        }
    }
    return error_set(err, -EINVAL, "CSI has no method '%s': see skyvolctl csi services", text);
}

/* The request of `csi call`: from the third word, a file, or empty; with the secrets put in. */
static int read_request(const struct options *o, cJSON **ret, struct error *err)
{
    const char *text = o->words.count > 2 ? o->words.items[2] : NULL;
    const char *secret;
    cJSON *json = NULL;
    int r = 0;

    if (text != NULL && o->request != NULL) {
        return error_set(err, -EINVAL, "give the request as an argument or by --request, not both");
    }
    if (o->request != NULL) {
        r = call_read_json(o->request, &json, err);
    } else {
        json = cJSON_Parse(text != NULL ? text : "{}");
        r = json != NULL ? 0 : error_set(err, -EINVAL, "the request is not JSON");
        secret = r == 0 ? call_secret_in(json) : NULL;
        if (secret != NULL) {
            r = error_set(err, -EINVAL,
                          "'%s' on a command line can be read by everybody: use --secrets-file or "
                          "--request",
                          secret);
        }
    }
    if (r == 0) {
        r = add_secrets(json, o->secrets_file, err);
    }
    if (r < 0) {
        cJSON_Delete(json);
        return r;
    }
    *ret = json;
    return 0;
}

static int call_any(const void *options, struct error *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *in = NULL;
    const struct options *o = options;
    cJSON *reply = NULL;
    struct call call = {.address = o->words.items[0], .options = &o->call};
    int r = find_method(o->words.items[1], &call.service, &call.method, err);

    if (r == 0) {
        r = read_request(o, &in, err);
    }
    call.in = in;
    r = r == 0 ? call_json(&call, &reply, err) : r;
    return r < 0 ? r : output_json(reply);
}

static int run_call(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        CALL_OPTIONS(struct options, call),
        O(request, OPTION_STRING, "request", "FILE", NULL, "the request; - for stdin"), SECRETS};
    static const struct options_program program = {
        .name = "skyvolctl csi call",
        .summary = "Call any method: csi call /csi/csi.sock Node.NodeGetInfo '{}'",
        .environment = "SKYVOLCTL_",
        .options = table,
        .count = sizeof(table) / sizeof(table[0]),
        .positional = "SOCKET SERVICE.METHOD [JSON]",
        .positional_min = 2,
        .positional_max = 3,
        .positional_offset = offsetof(struct options, words)};
    struct options o = {0};

    return command_with_options(&program, argc, argv, &o, call_any);
}

/* One page of ListVolumes into `all`; the next token into token (freed before), "" at the end. */
static int list_page(const struct options *o, cJSON *all, char **token, struct error *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    CLEANUP(cJSON_Delete_p) cJSON *reply = NULL;
    struct call call = {.address = o->words.items[0],
                        .options = &o->call,
                        .service = &csi__v1__controller__descriptor,
                        .method = "ListVolumes",
                        .in = in};
    cJSON *entries;
    cJSON *entry;
    int r = in != NULL && meta_set_text(in, "startingToken", *token) == 0 ? 0 : -ENOMEM;

    r = r < 0 ? r : call_json(&call, &reply, err);
    if (r < 0) {
        return r;
    }
    entries = cJSON_GetObjectItemCaseSensitive(reply, "entries");
    while ((entry = cJSON_DetachItemFromArray(entries, 0)) != NULL) {
        (void)cJSON_AddItemToArray(all, entry);
    }
    free(*token);
    *token = strdup(meta_text(reply, "nextToken"));
    return *token != NULL ? 0 : -ENOMEM;
}

static int list_table(const cJSON *all)
{
    CLEANUP(table_done) struct table table = TABLE_INIT("VOLUME", "SIZE", "BUCKET", "PREFIX");
    const cJSON *entry;
    char size[32];
    int r = 0;

    cJSON_ArrayForEach(entry, all)
    {
        const cJSON *volume = cJSON_GetObjectItemCaseSensitive(entry, "volume");
        const cJSON *context = cJSON_GetObjectItemCaseSensitive(volume, "volumeContext");
        uint64_t bytes = meta_number(volume, "capacityBytes");

        size[0] = '\0';
        if (bytes > 0) {
            output_bytes(bytes, size, sizeof(size));
        }
        r = r < 0 ? r
                  : table_row(&table, meta_text(volume, "volumeId"), size,
                              meta_text(context, "bucket"), meta_text(context, "prefix"));
    }
    if (r == 0) {
        table_print(&table, stdout);
    }
    return r;
}

static int list_all(const void *options, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *all = cJSON_CreateArray();
    AUTOFREE char *token = strdup("");
    int r = all != NULL && token != NULL ? 0 : -ENOMEM;

    for (int page = 0; r == 0 && (page == 0 || token[0] != '\0'); page++) {
        r = page < PAGES_MAX ? list_page(o, all, &token, err)
                             : error_set(err, -EFBIG, "the list does not end");
    }
    if (r < 0) {
        return r;
    }
    if (o->json) {
        return output_json(TAKE(all)) == 0 ? 0 : -EIO;
    }
    return list_table(all);
}

static int run_list(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        CALL_OPTIONS(struct options, call),
        O(json, OPTION_BOOL, "json", NULL, NULL, "print JSON instead of a table")};
    static const struct options_program program = {
        .name = "skyvolctl csi list",
        .summary = "List all volumes (ListVolumes, every page).",
        .environment = "SKYVOLCTL_",
        .options = table,
        .count = sizeof(table) / sizeof(table[0]),
        .positional = "SOCKET",
        .positional_min = 1,
        .positional_max = 1,
        .positional_offset = offsetof(struct options, words)};
    struct options o = {0};

    return command_with_options(&program, argc, argv, &o, list_all);
}

static int run_services(int argc, char *const *argv)
{
    CLEANUP(table_done) struct table table = TABLE_INIT("METHOD", "REQUEST");
    char name[160];
    int r = 0;

    (void)argc;
    (void)argv;
    for (size_t i = 0; i < SERVICES; i++) {
        for (unsigned m = 0; m < services[i]->n_methods && r == 0; m++) {
            (void)snprintf(name, sizeof(name), "%s.%s", services[i]->short_name,
                           services[i]->methods[m].name);
            r = table_row(&table, name, services[i]->methods[m].input->name);
        }
    }
    if (r == 0) {
        table_print(&table, stdout);
    }
    return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

static const struct command below[] = {
    {.name = "call", .summary = "call any method, JSON in and out", .run = run_call},
    {.name = "services", .summary = "list all methods", .run = run_services},
    {.name = "info", .summary = "GetPluginInfo", .run = run_info},
    {.name = "probe", .summary = "Probe", .run = run_probe},
    {.name = "create", .summary = "CreateVolume", .run = run_create},
    {.name = "delete", .summary = "DeleteVolume", .run = run_delete},
    {.name = "expand", .summary = "ControllerExpandVolume", .run = run_expand},
    {.name = "list", .summary = "ListVolumes, all pages", .run = run_list},
    {.name = "capacity", .summary = "GetCapacity", .run = run_capacity},
    {.name = "node", .summary = "NodeGetInfo", .run = run_node},
    {.name = "stage", .summary = "NodeStageVolume", .run = run_stage},
    {.name = "unstage", .summary = "NodeUnstageVolume", .run = run_unstage},
    {.name = "publish", .summary = "NodePublishVolume", .run = run_publish},
    {.name = "unpublish", .summary = "NodeUnpublishVolume", .run = run_unpublish},
    {.name = "stats", .summary = "NodeGetVolumeStats", .run = run_stats},
};

const struct command command_csi = {
    .name = "csi",
    .summary = "any CSI call by hand",
    .below = below,
    .below_count = sizeof(below) / sizeof(below[0]),
};
