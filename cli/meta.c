/* SPDX-License-Identifier: Apache-2.0 */
/* meta.c - calls of skyvol-meta as JSON. */
#include "cli/meta.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/output.h"
#include "util/cleanup.h"
#include "util/random.h"

int meta_run(const struct options_program *program, int argc, char *const *argv, void *options,
             meta_work_fn *work, meta_print_fn *print)
{
    CLEANUP(cJSON_Delete_p) cJSON *reply = NULL;
    const struct meta_options *meta = options;
    struct error err = ERROR_INIT;
    int status;
    int r = options_parse(program, argc, argv, options, &err);

    if (r != 0) {
        return options_exit(program, r, &err);
    }
    r = work(options, &reply, &err);
    if (r < 0) {
        status = command_fail(&err, r);
    } else if (meta->json) {
        status = output_json(TAKE(reply));
    } else {
        status = print(reply) < 0 ? EXIT_FAILED : EXIT_DONE;
    }
    options_done(program, options);
    return status;
}

int meta_hint(const struct meta_options *o, int result, struct error *err)
{
    bool has_tls = o->call.ca != NULL;
    bool is_unix = strncmp(o->address, "unix:", 5) == 0 || o->address[0] == '/';

    if (result != -ECONNREFUSED) {
        return result;
    }
    return error_set(err, result,
                     "skyvol-meta does not answer at %s: is it running there, and open to you "
                     "(--meta ADDRESS)?%s (%s)",
                     o->address,
                     is_unix   ? ""
                     : has_tls ? " Is its certificate from --tls-ca-file, and --tls-cert-file from "
                                 "its authority?"
                               : " With TLS it needs --tls-ca-file, --tls-cert-file and "
                                 "--tls-key-file.",
                     error_text(err, result));
}

int meta_call(const struct meta_options *o, const ProtobufCServiceDescriptor *service,
              const char *method, const cJSON *in, cJSON **ret, struct error *err)
{
    struct call call = {
        .address = o->address, .options = &o->call, .service = service, .method = method, .in = in};

    return meta_hint(o, call_json(&call, ret, err), err);
}

cJSON *meta_new_request(void)
{
    cJSON *json = cJSON_CreateObject();
    char id[RANDOM_ID_SIZE];

    random_id(id);
    if (json != NULL && cJSON_AddStringToObject(json, "idempotencyKey", id) == NULL) {
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}

const char *meta_text(const cJSON *json, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));

    return text != NULL ? text : "";
}

uint64_t meta_number(const cJSON *json, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);
    uint64_t n = 0;

    if (cJSON_IsNumber(item) && item->valuedouble > 0) {
        return (uint64_t)item->valuedouble;
    }
    return cJSON_IsString(item) && options_parse_number(item->valuestring, &n) == 0 ? n : 0;
}

int meta_set_text(cJSON *json, const char *name, const char *text)
{
    return text == NULL || cJSON_AddStringToObject(json, name, text) != NULL ? 0 : -ENOMEM;
}

int meta_set_number(cJSON *json, const char *name, uint64_t n)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
    return n == 0 ? 0 : meta_set_text(json, name, text);
}

int meta_set_true(cJSON *json, const char *name, bool set)
{
    return !set || cJSON_AddTrueToObject(json, name) != NULL ? 0 : -ENOMEM;
}

static int get_volume(const struct meta_options *o, const char *by, const char *text, cJSON **ret,
                      struct error *err)
{
    cJSON *in = cJSON_CreateObject();
    cJSON *reply = NULL;
    int r = in != NULL ? meta_set_text(in, by, text) : -ENOMEM;

    r = r < 0 ? r
              : meta_call(o, &skyvol__meta__v1__volumes__descriptor, "GetVolume", in, &reply, err);
    if (r == 0) {
        *ret = cJSON_DetachItemFromObjectCaseSensitive(reply, "volume");
        r = *ret != NULL ? 0 : error_set(err, -EBADMSG, "skyvol-meta answered without a volume");
    }
    cJSON_Delete(reply);
    cJSON_Delete(in);
    return r;
}

int meta_find_volume(const struct meta_options *o, const char *text, cJSON **ret, struct error *err)
{
    int r = get_volume(o, "id", text, ret, err);

    return r == -ENOENT ? get_volume(o, "name", text, ret, err) : r;
}
