/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mount/json_text.h"
#include "util/cleanup.h"

static void add_member(struct buf *out, const char *name, const char *value)
{
    if (value != NULL) {
        buf_addf(out, "%s\"%s\":", buf_len(out) > 1 ? "," : "", name);
        json_add_text(out, value);
    }
}

static int copy_string(const cJSON *json, const char *name, char **ret)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, name));

    if (text == NULL) {
        return 0;
    }
    *ret = strdup(text);
    return *ret == NULL ? -ENOMEM : 0;
}

/* Configuration */

void mount_config_done(struct mount_config *config)
{
    free(config->location);
    free(config->name);
    mount_options_done(&config->options);
    mount_channel_done(&config->channel);
    *config = (struct mount_config)MOUNT_CONFIG_INIT;
}

void mount_config_format(const struct mount_config *config, struct buf *out)
{
    buf_reset(out);
    buf_addstr(out, "{");
    add_member(out, "location", config->location);
    buf_addf(out, ",\"memory_bytes\":%llu", (unsigned long long)config->memory_bytes);
    if (config->channel.address != NULL) {
        buf_addstr(out, ",\"meta\":");
        mount_channel_format(&config->channel, out);
    }
    add_member(out, "name", config->name);
    buf_addstr(out, ",\"options\":");
    mount_options_json(&config->options, out);
    buf_addf(out, ",\"size_bytes\":%llu}", (unsigned long long)config->size_bytes);
}

static int parse_bytes(const cJSON *json, const char *name, uint64_t *ret, struct error *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, name);

    if (item == NULL) {
        return 0;
    }
    if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble > 9e15) {
        return error_set(err, -EINVAL, "mount configuration: '%s' is not a number of bytes", name);
    }
    *ret = (uint64_t)item->valuedouble;
    return 0;
}

/* They were allowed when they were set; whose they were does not matter any more. */
static int parse_options(const cJSON *json, struct mount_options *ret, struct error *err)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(json, "options"))
    {
        int r = cJSON_IsString(item)
                    ? mount_options_set(ret, item->string, item->valuestring,
                                        MOUNT_OPTIONS_OPERATOR, err)
                    : error_set(err, -EINVAL, "mount option '%s' is not a text", item->string);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static void swap_config(struct mount_config *a, struct mount_config *b)
{
    struct mount_config old = *a;

    *a = *b;
    *b = old;
}

int mount_config_parse(const char *json, struct mount_config *ret, struct error *err)
{
    CLEANUP(mount_config_done) struct mount_config config = MOUNT_CONFIG_INIT;
    cJSON *parsed = cJSON_Parse(json);
    int r = -EINVAL;

    if (!cJSON_IsObject(parsed)) {
        cJSON_Delete(parsed);
        return error_set(err, -EINVAL, "mount configuration: not a JSON object");
    }
    r = copy_string(parsed, "location", &config.location);
    r = r < 0 ? r : copy_string(parsed, "name", &config.name);
    r = r < 0 ? r : parse_bytes(parsed, "size_bytes", &config.size_bytes, err);
    r = r < 0 ? r : parse_bytes(parsed, "memory_bytes", &config.memory_bytes, err);
    r = r < 0 ? r : parse_options(parsed, &config.options, err);
    r = r < 0
            ? r
            : mount_channel_read(cJSON_GetObjectItemCaseSensitive(parsed, "meta"), &config.channel);
    cJSON_Delete(parsed);
    if (r == 0 && config.location == NULL) {
        r = error_set(err, -EINVAL, "mount configuration: no location");
    }
    if (r < 0) {
        return r;
    }
    swap_config(ret, &config); /* the old one is freed on the way out */
    return 0;
}

/* Credentials */

static void wipe(char **text)
{
    if (*text != NULL) {
        explicit_bzero(*text, strlen(*text));
        free(*text);
        *text = NULL;
    }
}

void mount_credentials_done(struct mount_credentials *credentials)
{
    wipe(&credentials->access_key);
    wipe(&credentials->secret_key);
    wipe(&credentials->session_token);
}

void mount_secrets_format(const struct mount_credentials *credentials,
                          const struct mount_ticket *ticket, struct buf *out)
{
    buf_reset(out);
    buf_addstr(out, "{");
    add_member(out, "access_key", credentials->access_key);
    add_member(out, "secret_key", credentials->secret_key);
    add_member(out, "session_token", credentials->session_token);
    if (ticket != NULL && ticket->token != NULL) {
        buf_addf(out, "%s\"meta\":", buf_len(out) > 1 ? "," : "");
        mount_ticket_format(ticket, out);
    }
    buf_addstr(out, "}");
}

void mount_credentials_format(const struct mount_credentials *credentials, struct buf *out)
{
    mount_secrets_format(credentials, NULL, out);
}

void mount_key_word(const char *key, char ret[MOUNT_WORD_MAX + 1])
{
    size_t len = 0;

    for (; *key != '\0' && len < MOUNT_WORD_MAX; key++) {
        if (*key != '_' && *key != '-' && *key != '.') {
            ret[len++] = (char)tolower((unsigned char)*key);
        }
    }
    ret[len] = '\0';
}

static bool is_one_of(const char *word, const char *const *names)
{
    for (; *names != NULL; names++) {
        if (strcmp(word, *names) == 0) {
            return true;
        }
    }
    return false;
}

int mount_credentials_take(struct mount_credentials *credentials, const char *key,
                           const char *value, bool beside_key_id)
{
    static const char *const access[] = {"accesskeyid", "awsaccesskeyid", "keyid", NULL};
    static const char *const secret[] = {"secretaccesskey", "awssecretaccesskey", "secretkey",
                                         NULL};
    static const char *const token[] = {"sessiontoken", "awssessiontoken", NULL};
    char word[MOUNT_WORD_MAX + 1];
    char **slot = NULL;
    char *copy;

    mount_key_word(key, word);
    if (is_one_of(word, access)) {
        slot = &credentials->access_key;
    } else if (is_one_of(word, secret)) {
        slot = &credentials->secret_key;
    } else if (is_one_of(word, token)) {
        slot = &credentials->session_token;
    } else if (strcmp(word, "accesskey") == 0) {
        slot = beside_key_id ? &credentials->secret_key : &credentials->access_key;
    }
    if (slot == NULL || value[0] == '\0') {
        return 0;
    }
    copy = strdup(value);
    if (copy == NULL) {
        return -ENOMEM;
    }
    wipe(slot);
    *slot = copy;
    return 1;
}

int mount_credentials_read(const cJSON *object, struct mount_credentials *ret, struct error *err)
{
    CLEANUP(mount_credentials_done) struct mount_credentials read = {NULL, NULL, NULL};
    char word[MOUNT_WORD_MAX + 1];
    bool beside_key_id = false;
    const cJSON *item;

    cJSON_ArrayForEach(item, object)
    {
        mount_key_word(item->string, word);
        beside_key_id = beside_key_id || strcmp(word, "keyid") == 0;
    }
    cJSON_ArrayForEach(item, object)
    {
        int r = cJSON_IsString(item)
                    ? mount_credentials_take(&read, item->string, item->valuestring, beside_key_id)
                    : 0;

        if (r < 0) {
            return r;
        }
    }
    if ((read.access_key == NULL) != (read.secret_key == NULL)) {
        return error_set(err, -EINVAL, "credentials: access key and secret key belong together");
    }
    ret->access_key = TAKE(read.access_key);
    ret->secret_key = TAKE(read.secret_key);
    ret->session_token = TAKE(read.session_token);
    return 0;
}

int mount_credentials_parse(const char *json, struct mount_credentials *ret, struct error *err)
{
    cJSON *object = json[0] != '\0' ? cJSON_Parse(json) : cJSON_CreateObject();
    int r;

    if (!cJSON_IsObject(object)) {
        cJSON_Delete(object);
        return error_set(err, -EINVAL, "credentials: not a JSON object");
    }
    r = mount_credentials_read(object, ret, err);
    mount_json_wipe(object);
    return r;
}
