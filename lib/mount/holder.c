/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/holder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount/message.h"
#include "util/cleanup.h"

static const char *const state_names[] = {
    [HOLDER_STARTING] = "starting",     [HOLDER_RUNNING] = "running",
    [HOLDER_RESTARTING] = "restarting", [HOLDER_UNMOUNTING] = "unmounting",
    [HOLDER_FAILED] = "failed",
};

const char *holder_state_name(enum holder_state state)
{
    return state_names[state];
}

/*
 * Ask, and receive the answer. The holder's answer is {"result": 0 or -errno, "error": text, ...}.
 * `json` is consumed; it may be NULL (no memory).
 */
static int call(const char *socket_path, cJSON *json, const int *fds, unsigned fd_count,
                uint64_t timeout_ms, struct message *ret)
{
    AUTOCLOSE int socket = -1;
    int r = json == NULL ? -ENOMEM : message_connect(socket_path, &socket);

    if (r < 0) {
        cJSON_Delete(json);
        return r;
    }
    r = message_send(socket, json, fds, fd_count, timeout_ms);
    return r < 0 ? r : message_receive(socket, timeout_ms, ret);
}

/* The result within an answer, with its text. */
static int result_of(const struct message *m, struct error *err)
{
    const cJSON *result = cJSON_GetObjectItemCaseSensitive(m->json, "result");

    if (!cJSON_IsNumber(result) || result->valueint > 0 || result->valueint < -4095) {
        return error_set(err, -EBADMSG, "holder: an answer without a result");
    }
    if (result->valueint == 0 && message_string(m, "error")[0] == '\0') {
        return 0;
    }
    return error_set(err, result->valueint, "%s", message_string(m, "error"));
}

static int ask(const char *socket_path, cJSON *json, const int *fds, unsigned fd_count,
               uint64_t timeout_ms, struct error *err)
{
    CLEANUP(message_done) struct message m = MESSAGE_INIT;
    int r = call(socket_path, json, fds, fd_count, timeout_ms, &m);

    if (r < 0) {
        return error_set(err, r, "holder at %s: %s", socket_path, error_text(NULL, r));
    }
    return result_of(&m, err);
}

static cJSON *op_for(const char *op, const char *key)
{
    cJSON *json = message_op(op);

    if (json != NULL && cJSON_AddStringToObject(json, "key", key) == NULL) {
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}

int holder_mount(const char *socket, const struct holder_mount *mount, uint64_t timeout_ms,
                 struct error *err)
{
    AUTOCLOSE int config = -1;
    AUTOCLOSE int credentials = -1;
    const char *secret = mount->credentials != NULL ? mount->credentials : "";
    cJSON *json;
    int r = message_seal("config", mount->config, strlen(mount->config), &config);

    if (r == 0) {
        r = message_seal("credentials", secret, strlen(secret), &credentials);
    }
    if (r < 0) {
        return error_set(err, r, "sealing the configuration: %s", error_text(NULL, r));
    }
    json = op_for("mount", mount->key);
    if (json != NULL) {
        (void)cJSON_AddStringToObject(json, "target", mount->target);
        (void)cJSON_AddStringToObject(json, "source", mount->source);
        (void)cJSON_AddBoolToObject(json, "read_only", mount->read_only);
        (void)cJSON_AddNumberToObject(json, "memory_bytes", (double)mount->memory_bytes);
        (void)cJSON_AddNumberToObject(json, "timeout_ms", (double)timeout_ms);
    }
    return ask(socket, json, (int[]){config, credentials}, 2, timeout_ms, err);
}

int holder_unmount(const char *socket, const struct holder_unmount *unmount, uint64_t timeout_ms,
                   struct error *err)
{
    cJSON *json = op_for("unmount", unmount->key);

    if (json != NULL) {
        (void)cJSON_AddNumberToObject(json, "drain_ms", (double)unmount->drain_ms);
        (void)cJSON_AddBoolToObject(json, "force", unmount->force);
        (void)cJSON_AddBoolToObject(json, "keep", unmount->keep);
    }
    return ask(socket, json, NULL, 0, timeout_ms, err);
}

int holder_credentials(const char *socket, const char *key, const char *credentials,
                       uint64_t timeout_ms, struct error *err)
{
    AUTOCLOSE int fd = -1;
    int r = message_seal("credentials", credentials, strlen(credentials), &fd);

    if (r < 0) {
        return error_set(err, r, "sealing credentials: %s", error_text(NULL, r));
    }
    return ask(socket, op_for("credentials", key), &fd, 1, timeout_ms, err);
}

int holder_replace(const char *socket, const char *key, uint64_t timeout_ms, struct error *err)
{
    return ask(socket, op_for("replace", key), NULL, 0, timeout_ms, err);
}

/* Status */

static void copy_text(char *to, size_t size, const cJSON *from, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(from, name));

    (void)snprintf(to, size, "%s", text != NULL ? text : "");
}

static uint32_t number_of(const cJSON *from, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(from, name);

    return cJSON_IsNumber(item) && item->valueint > 0 ? (uint32_t)item->valueint : 0;
}

static void read_status(const cJSON *from, struct holder_status *ret)
{
    char state[32];

    memset(ret, 0, sizeof(*ret));
    copy_text(ret->key, sizeof(ret->key), from, "key");
    copy_text(ret->target, sizeof(ret->target), from, "target");
    copy_text(ret->source, sizeof(ret->source), from, "source");
    copy_text(ret->error, sizeof(ret->error), from, "error");
    copy_text(state, sizeof(state), from, "state");
    ret->mounter = (pid_t)number_of(from, "mounter");
    ret->restarts = number_of(from, "restarts");
    ret->oom_kills = number_of(from, "oom_kills");
    ret->pause_ms = number_of(from, "pause_ms");
    ret->pause_max_ms = number_of(from, "pause_max_ms");
    for (size_t i = 0; i < sizeof(state_names) / sizeof(state_names[0]); i++) {
        if (strcmp(state, state_names[i]) == 0) {
            ret->state = (enum holder_state)i;
        }
    }
}

int holder_status(const char *socket, const char *key, uint64_t timeout_ms,
                  struct holder_status *ret, struct error *err)
{
    CLEANUP(message_done) struct message m = MESSAGE_INIT;
    int r = call(socket, op_for("status", key), NULL, 0, timeout_ms, &m);

    if (r < 0) {
        return error_set(err, r, "holder at %s: %s", socket, error_text(NULL, r));
    }
    r = result_of(&m, err);
    if (r == 0) {
        read_status(m.json, ret);
    }
    return r;
}

/* The holder answers with one message for each mount, then with the result. */
int holder_list(const char *socket_path, uint64_t timeout_ms, struct holder_status **ret,
                size_t *ret_count, struct error *err)
{
    AUTOFREE struct holder_status *list = calloc(HOLDER_LIST_MAX, sizeof(*list));
    AUTOCLOSE int socket = -1;
    size_t count = 0;
    int r = list == NULL ? -ENOMEM : message_connect(socket_path, &socket);

    if (r == 0) {
        r = message_send(socket, message_op("list"), NULL, 0, timeout_ms);
    }
    while (r == 0) {
        CLEANUP(message_done) struct message m = MESSAGE_INIT;

        r = message_receive(socket, timeout_ms, &m);
        if (r == 0 && cJSON_HasObjectItem(m.json, "result")) {
            r = result_of(&m, err);
            break;
        }
        if (r == 0 && count < HOLDER_LIST_MAX) {
            read_status(m.json, &list[count++]);
        }
    }
    if (r < 0) {
        return error_set(err, r, "holder at %s: %s", socket_path, error_text(NULL, r));
    }
    *ret = TAKE(list);
    *ret_count = count;
    return 0;
}

/* Descriptors */

void holder_descriptors_done(struct holder_descriptors *descriptors)
{
    for (unsigned i = 0; i < descriptors->count; i++) {
        (void)close(descriptors->fds[i]);
    }
    descriptors->count = 0;
}

int holder_fetch(const char *socket, const char *key, uint64_t timeout_ms,
                 struct holder_descriptors *ret, struct error *err)
{
    CLEANUP(message_done) struct message m = MESSAGE_INIT;
    const cJSON *name;
    int r = call(socket, op_for("fetch", key), NULL, 0, timeout_ms, &m);

    if (r < 0) {
        return error_set(err, r, "holder at %s: %s", socket, error_text(NULL, r));
    }
    r = result_of(&m, err);
    if (r < 0) {
        return r;
    }
    ret->count = 0;
    cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(m.json, "names"))
    {
        int fd = ret->count < HOLDER_FDS_MAX ? message_take_fd(&m, ret->count) : -1;

        if (fd < 0 || cJSON_GetStringValue(name) == NULL) {
            break;
        }
        (void)snprintf(ret->names[ret->count], sizeof(ret->names[0]), "%s", name->valuestring);
        ret->fds[ret->count++] = fd;
    }
    return 0;
}

int holder_offer(const char *socket, const char *key, const struct holder_descriptors *descriptors,
                 uint64_t timeout_ms, struct error *err)
{
    cJSON *json = op_for("offer", key);
    cJSON *names = json != NULL ? cJSON_AddArrayToObject(json, "names") : NULL;

    for (unsigned i = 0; i < descriptors->count && names != NULL; i++) {
        (void)cJSON_AddItemToArray(names, cJSON_CreateString(descriptors->names[i]));
    }
    return ask(socket, json, descriptors->fds, descriptors->count, timeout_ms, err);
}
