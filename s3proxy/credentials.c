/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/credentials.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mount/config.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/log.h"

enum { FILE_MAX = 1024 * 1024, LOOK_MS = 1000 };

struct credentials {
    char *path;
    struct file_stamp stamp;
    uint64_t looked_ms;
    struct credential *keys;
    size_t count;
};

static void keys_free(struct credential *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(keys[i].access_key);
        if (keys[i].secret_key != NULL) {
            explicit_bzero(keys[i].secret_key, strlen(keys[i].secret_key));
        }
        free(keys[i].secret_key);
    }
    free(keys);
}

static int key_read(const cJSON *item, struct credential *ret)
{
    CLEANUP(mount_credentials_done) struct mount_credentials keys = {NULL, NULL, NULL};
    int r = mount_credentials_read(item, &keys, NULL);

    if (r < 0 || keys.access_key == NULL) {
        return r < 0 ? r : -EINVAL;
    }
    ret->access_key = TAKE(keys.access_key);
    ret->secret_key = TAKE(keys.secret_key);
    ret->read_only = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "read_only"));
    ret->internal = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "internal"));
    return 0;
}

int secret_file_read(const char *path, struct buf *out, struct error *err)
{
    struct stat st;
    int r = stat(path, &st) < 0 ? -errno : file_read(path, out);

    if (r == 0 && (st.st_mode & 077) != 0) {
        return error_set(err, -EACCES, "credentials file %s: others may read it; chmod 600", path);
    }
    return r != 0 ? error_set(err, r, "credentials file %s: %s", path, strerror(-r)) : 0;
}

static int keys_read(const char *path, struct credential **ret, size_t *ret_count,
                     struct error *err)
{
    struct buf text = BUF_INIT(FILE_MAX);
    struct credential *keys = NULL;
    cJSON *root = NULL;
    const cJSON *list;
    size_t count = 0;
    int r = secret_file_read(path, &text, err);

    root = r == 0 ? cJSON_Parse(buf_str(&text)) : NULL;
    list = cJSON_GetObjectItemCaseSensitive(root, "keys");
    if (r == 0 && !cJSON_IsArray(list)) {
        r = error_set(err, -EINVAL, "credentials file %s: wants {\"keys\": [...]}", path);
    }
    if (r == 0) {
        keys = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*keys));
        r = keys == NULL ? -ENOMEM : 0;
    }
    for (const cJSON *item = r == 0 ? list->child : NULL; r == 0 && item != NULL;
         item = item->next) {
        r = key_read(item, &keys[count++]);
        if (r != 0) {
            r = error_set(err, r, "credentials file %s: entry %zu needs access_key and secret_key",
                          path, count);
        }
    }
    if (r != 0) {
        keys_free(keys, count);
    } else {
        *ret = keys;
        *ret_count = count;
    }
    cJSON_Delete(root);
    if (text.data != NULL) {
        explicit_bzero(text.data, text.len);
    }
    buf_done(&text);
    return r;
}

int credentials_new(const char *path, struct credentials **ret, struct error *err)
{
    struct credentials *c = calloc(1, sizeof(*c));
    int r = -ENOMEM;

    if (c == NULL) {
        return -ENOMEM;
    }
    c->path = strdup(path);
    if (c->path != NULL) {
        r = file_stamp(path, &c->stamp);
        r = r != 0 ? error_set(err, r, "credentials file %s: %s", path, strerror(-r))
                   : keys_read(path, &c->keys, &c->count, err);
    }
    if (r != 0) {
        credentials_free(c);
        return r;
    }
    c->looked_ms = clock_monotonic_ms(clock_real());
    *ret = c;
    return 0;
}

void credentials_free(struct credentials *c)
{
    if (c != NULL) {
        keys_free(c->keys, c->count);
        free(c->path);
        free(c);
    }
}

static void look_again(struct credentials *c)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    struct file_stamp stamp;
    struct credential *keys;
    struct error err = ERROR_INIT;
    size_t count;

    if (now - c->looked_ms < LOOK_MS) {
        return;
    }
    c->looked_ms = now;
    if (file_stamp(c->path, &stamp) != 0 || file_stamp_eq(&stamp, &c->stamp)) {
        return;
    }
    c->stamp = stamp;
    if (keys_read(c->path, &keys, &count, &err) != 0) {
        log_error("credentials not reloaded, the old ones stay", "error", err.text, NULL);
        return;
    }
    keys_free(c->keys, c->count);
    c->keys = keys;
    c->count = count;
    log_info("credentials reloaded", "keys", log_num(count), NULL);
}

const struct credential *credentials_find(struct credentials *c, const char *access_key)
{
    look_again(c);
    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(c->keys[i].access_key, access_key) == 0) {
            return &c->keys[i];
        }
    }
    return NULL;
}
