/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/keys_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mount/channel.h"
#include "util/cleanup.h"

#define BLANKS " \t\r"

/* ---- An AWS file ---- */

struct line {
    const char *name, *value; /* not ended: lengths */
    size_t name_len, value_len;
};

struct reader {
    struct mount_credentials *keys;
    const char *wants; /* what stands in the profile instead of keys */
    unsigned profiles;
    bool has_default, inside;
};

static size_t trimmed(const char **text, size_t len)
{
    size_t blanks = 0;

    while (blanks < len && strchr(BLANKS, (*text)[blanks]) != NULL) {
        blanks++;
    }
    *text += blanks;
    len -= blanks;
    while (len > 0 && strchr(BLANKS, (*text)[len - 1]) != NULL) {
        len--;
    }
    return len;
}

static bool is_word(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && strncasecmp(text, word, len) == 0;
}

/* A profile's head, of either file: [name] or [profile name]. */
static void enter(struct reader *r, const char *name, size_t len, bool only_default)
{
    bool is_default;

    len = trimmed(&name, len);
    if (len > 8 && strncasecmp(name, "profile ", 8) == 0) {
        name += 8;
        len = trimmed(&name, len - 8);
    }
    is_default = is_word(name, len, "default");
    r->profiles++;
    r->has_default = r->has_default || is_default;
    r->inside = is_default || !only_default;
}

static int take(struct reader *r, const struct line *line)
{
    static const char *const more[] = {"role_arn", "credential_process", "sso_session",
                                       "sso_start_url", "web_identity_token_file"};
    AUTOFREE char *name = strndup(line->name, line->name_len);
    char *value = strndup(line->value, line->value_len);
    int ret = name != NULL && value != NULL ? 0 : -ENOMEM;

    for (size_t i = 0; ret == 0 && i < sizeof(more) / sizeof(more[0]); i++) {
        if (strcasecmp(name, more[i]) == 0) {
            r->wants = more[i];
        }
    }
    if (ret == 0 && strncasecmp(name, "aws_", 4) == 0) {
        ret = mount_credentials_take(r->keys, name, value, false);
    }
    if (value != NULL) {
        explicit_bzero(value, line->value_len);
        free(value);
    }
    return ret < 0 ? ret : 0;
}

/* One line; what is indented belongs to the line before (`s3 =` in a config file). */
static int read_line(struct reader *r, const char *text, size_t len, bool only_default)
{
    const char *equals = memchr(text, '=', len);
    bool indented = len > 0 && strchr(BLANKS, text[0]) != NULL;
    struct line line;

    len = trimmed(&text, len);
    if (len == 0 || text[0] == '#' || text[0] == ';' || indented) {
        return 0;
    }
    if (text[0] == '[') {
        if (text[len - 1] != ']') {
            return -EINVAL;
        }
        enter(r, text + 1, len - 2, only_default);
        return 0;
    }
    if (equals == NULL || r->profiles == 0) {
        return -EINVAL;
    }
    line = (struct line){.name = text, .value = equals + 1};
    line.name_len = trimmed(&line.name, (size_t)(equals - text));
    line.value_len = trimmed(&line.value, (size_t)(text + len - line.value));
    return r->inside ? take(r, &line) : 0;
}

static int read_lines(struct reader *r, const char *text, bool only_default)
{
    int ret = 0;

    while (ret == 0 && *text != '\0') {
        size_t len = strcspn(text, "\n");

        ret = read_line(r, text, len, only_default);
        text += len + (text[len] == '\n');
    }
    return ret;
}

static int parse_aws(const char *text, struct mount_credentials *ret, struct error *err)
{
    CLEANUP(mount_credentials_done) struct mount_credentials keys = {NULL, NULL, NULL};
    struct reader r = {.keys = &keys};
    int code = read_lines(&r, text, true);

    if (code == 0 && !r.has_default && r.profiles == 1) {
        r = (struct reader){.keys = &keys};
        code = read_lines(&r, text, false);
    } else if (code == 0 && !r.has_default) {
        return error_set(err, -EINVAL, "credentials: of several profiles none is named 'default'");
    }
    if (code < 0) {
        return code == -EINVAL
                   ? error_set(err, code, "credentials: neither JSON nor an AWS credentials file")
                   : code;
    }
    if (keys.access_key == NULL && keys.secret_key == NULL && r.wants != NULL) {
        return error_set(err, -EINVAL, "credentials: a profile with %s: give keys instead",
                         r.wants);
    }
    if ((keys.access_key == NULL) != (keys.secret_key == NULL)) {
        return error_set(err, -EINVAL, "credentials: access key and secret key belong together");
    }
    *ret = keys;
    keys = (struct mount_credentials){NULL, NULL, NULL};
    return 0;
}

/* ---- JSON ---- */

static const char *text_of(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

/* Where Google's tools print it; NULL: this is no key of theirs. */
static const char *google_id(const cJSON *object)
{
    const char *id = text_of(cJSON_GetObjectItemCaseSensitive(object, "metadata"), "accessId");

    return id != NULL ? id : text_of(object, "accessId");
}

static int parse_google(const cJSON *object, struct mount_credentials *ret, struct error *err)
{
    const char *id = google_id(object);
    const char *secret = text_of(object, "secret");
    struct mount_credentials keys = {NULL, NULL, NULL};

    if (secret == NULL) {
        return error_set(err, -EINVAL,
                         "credentials: Google's HMAC key has no secret: it is told only when the "
                         "key is made");
    }
    keys.access_key = strdup(id);
    keys.secret_key = strdup(secret);
    if (keys.access_key == NULL || keys.secret_key == NULL) {
        mount_credentials_done(&keys);
        return -ENOMEM;
    }
    *ret = keys;
    return 0;
}

static int parse_json(const cJSON *object, struct mount_credentials *ret, struct error *err)
{
    const char *type = text_of(object, "type");

    if (!cJSON_IsObject(object)) {
        return error_set(err, -EINVAL, "credentials: not a JSON object");
    }
    if (type != NULL && strcmp(type, "service_account") == 0) {
        return error_set(err, -EINVAL,
                         "credentials: a Google service account's private key signs no S3 request: "
                         "make an HMAC key for it (gcloud storage hmac create)");
    }
    if (google_id(object) != NULL) {
        return parse_google(object, ret, err);
    }
    return mount_credentials_read(object, ret, err);
}

int mount_keys_parse(const char *text, struct mount_credentials *ret, struct error *err)
{
    const char *first = text + strspn(text, BLANKS "\n");
    cJSON *object;
    int r;

    if (*first == '\0') {
        return 0;
    }
    if (*first == '[' || *first == '#' || *first == ';') {
        return parse_aws(first, ret, err);
    }
    object = cJSON_ParseWithOpts(first, NULL, true);
    if (object == NULL) {
        return error_set(err, -EINVAL, "credentials: neither JSON nor an AWS credentials file");
    }
    r = parse_json(object, ret, err);
    mount_json_wipe(object);
    return r;
}
