/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/credentials.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "s3proxy/key_entry.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/log.h"
#include "util/secret_file.h"

enum { FILE_MAX = 1024 * 1024, MEMBER_MAX = 4096, MEMBERS_MAX = 64 };

struct source {
    char *path; /* NULL: there is none */
    struct file_watch watch;
    struct credential *keys;
    size_t count;
    bool dated;            /* it says until when it counts: meta's */
    int64_t valid_until_s; /* 0: it has not been there yet */
};

struct credentials {
    struct source file, meta;
    struct credential own; /* what temporary credentials may where there is no file */
    char *session_path;    /* NULL: no sessions */
    struct file_watch session_watch;
    struct key_file sessions;
};

static void keys_free(struct credential *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        key_entry_done(&keys[i]);
    }
    free(keys);
}

/* A directory with a file for each member: one object of strings. */
static int member_read(int dir, const char *path, const char *name, cJSON *object,
                       struct error *err)
{
    CLEANUP(buf_wipe) struct buf text = BUF_INIT(MEMBER_MAX);
    AUTOFREE char *file = NULL;
    struct stat st;
    int r = 0;

    if (fstatat(dir, name, &st, 0) < 0) {
        return error_set(err, -errno, "credentials %s/%s: %s", path, name, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) {
        return 0;
    }
    if ((st.st_mode & S_IRWXO) != 0) {
        return error_set(err, -EACCES,
                         "credentials %s/%s: others may read it; chmod o= it, or give the Secret "
                         "defaultMode 0440",
                         path, name);
    }
    if (asprintf(&file, "%s/%s", path, name) < 0) {
        file = NULL;
        return -ENOMEM;
    }
    r = file_read(file, &text);
    if (r != 0) {
        return error_set(err, r, "credentials %s: %s", file, strerror(-r));
    }
    while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r')) {
        text.data[--text.len] = '\0';
    }
    return cJSON_AddStringToObject(object, name, buf_str(&text)) != NULL ? 0 : -ENOMEM;
}

static int directory_read(const char *path, cJSON **ret, struct error *err)
{
    DIR *dir = opendir(path);
    cJSON *object = cJSON_CreateObject();
    int r = dir == NULL ? -errno : object == NULL ? -ENOMEM : 0;
    struct dirent *entry;

    if (r != 0) {
        r = error_set(err, r, "credentials %s: %s", path, strerror(-r));
    }
    while (r == 0 && dir != NULL && (entry = readdir(dir)) != NULL) {
        /* kubelet's own are ..data and where it leads */
        if (strcmp(entry->d_name, ".") != 0 && strncmp(entry->d_name, "..", 2) != 0) {
            r = cJSON_GetArraySize(object) < MEMBERS_MAX
                    ? member_read(dirfd(dir), path, entry->d_name, object, err)
                    : error_set(err, -EFBIG, "credentials %s: too many files", path);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    *ret = object;
    return r;
}

/* All of it is one value: of what comes after it nobody would know. */
static int json_read(const char *path, struct buf *text, cJSON **ret, struct error *err)
{
    const char *start = buf_str(text), *end = NULL;
    size_t line = 1;

    *ret = cJSON_ParseWithOpts(start, &end, true);
    if (*ret != NULL && strlen(start) == buf_len(text)) {
        return 0;
    }
    end = *ret != NULL ? start + strlen(start) : end != NULL ? end : start;
    for (const char *c = start; c < end; c++) {
        line += *c == '\n';
    }
    return error_set(err, -EINVAL, "credentials file %s: not JSON: line %zu, byte %zu of the file",
                     path, line, (size_t)(end - start) + 1);
}

static int object_read(const char *path, cJSON **ret, struct error *err)
{
    CLEANUP(buf_wipe) struct buf text = BUF_INIT(FILE_MAX);
    struct stat st;
    int r;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        return directory_read(path, ret, err);
    }
    r = secret_file_read(path, &text, err);
    return r == 0 ? json_read(path, &text, ret, err) : r;
}

/* cJSON's own copies of secrets, before it frees them. */
static void object_free(cJSON *object)
{
    for (cJSON *item = object != NULL ? object->child : NULL; item != NULL; item = item->next) {
        for (cJSON *inner = item->child; inner != NULL; inner = inner->next) {
            if (inner->valuestring != NULL) {
                explicit_bzero(inner->valuestring, strlen(inner->valuestring));
            }
        }
        if (item->valuestring != NULL) {
            explicit_bzero(item->valuestring, strlen(item->valuestring));
        }
    }
    cJSON_Delete(object);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(struct credential *const *)a)->access_key,
                  (*(struct credential *const *)b)->access_key);
}

/* Of two only the first would count, whichever was meant. */
static int find_twice(struct credential *keys, size_t count, struct error *err)
{
    AUTOFREE struct credential **all = calloc(count + 1, sizeof(*all));
    char shown[KEY_ENTRY_SHOWN];

    if (all == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        all[i] = &keys[i];
    }
    qsort(all, count, sizeof(struct credential *), by_name);
    for (size_t i = 1; i < count; i++) {
        if (by_name(&all[i - 1], &all[i]) == 0) {
            return error_set(err, -EINVAL, "access key '%s' is there twice",
                             key_entry_shown(all[i]->access_key, shown));
        }
    }
    return 0;
}

/* The list of a file, beside which nothing may stand that somebody takes for a restriction. */
static int list_read(const struct source *source, const cJSON *root, const cJSON **ret,
                     int64_t *valid_until_s, struct error *err)
{
    const cJSON *list = key_entry_member(root, "keys");
    char shown[KEY_ENTRY_SHOWN];

    *ret = list;
    if (!cJSON_IsObject(root) || (list != NULL && !cJSON_IsArray(list))) {
        return error_set(err, -EINVAL,
                         "wants {\"keys\": [...]} or one access_key with its secret_key");
    }
    for (const cJSON *item = list != NULL ? root->child : NULL; item != NULL; item = item->next) {
        bool dates = source->dated && strcmp(item->string, "valid_until_s") == 0;

        if ((dates && key_entry_time(item, valid_until_s) != 0) || (!dates && item != list)) {
            return error_set(err, -EINVAL,
                             "member '%s' beside 'keys' is unknown: what a key may stands in its "
                             "entry",
                             key_entry_shown(item->string, shown));
        }
    }
    return 0;
}

static int entries_read(const cJSON *root, const cJSON *list, struct credential *keys,
                        size_t *count, struct error *err)
{
    const cJSON *item = list != NULL ? list->child : root;
    int r = 0;

    for (; r == 0 && item != NULL; item = item->next) {
        r = key_entry_read(item, &keys[(*count)++], err);
        if (r != 0 && list != NULL) {
            (void)error_prefix(err, "entry %zu", *count);
        }
    }
    return r == 0 ? find_twice(keys, *count, err) : r;
}

/* What was there stays when it cannot be used. */
static int keys_read(struct source *source, struct error *err)
{
    struct credential *keys = NULL;
    cJSON *root = NULL;
    const cJSON *list = NULL;
    int64_t valid_until_s = 0;
    size_t count = 0;
    int r = object_read(source->path, &root, err);

    if (r == 0) {
        r = list_read(source, root, &list, &valid_until_s, err);
        keys = r == 0 ? calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof(*keys)) : NULL;
        r = r == 0 && keys == NULL ? -ENOMEM : r;
        r = r == 0 ? entries_read(root, list, keys, &count, err) : r;
        if (r == -EINVAL) {
            (void)error_prefix(err, "credentials file %s", source->path);
        }
    }
    if (r != 0) {
        keys_free(keys, count);
    } else {
        keys_free(source->keys, source->count);
        source->keys = keys;
        source->count = count;
        source->valid_until_s = valid_until_s;
    }
    object_free(root);
    return r;
}

static int open_keys(struct source *source, bool needed, struct error *err)
{
    int r;

    if (source->path == NULL) {
        return 0;
    }
    r = file_watch_init(&source->watch, source->path);
    if (r == -ENOENT && !needed) {
        return 0;
    }
    return r != 0 ? error_set(err, r, "credentials file %s: %s", source->path, strerror(-r))
                  : keys_read(source, err);
}

static int open_sessions(struct credentials *c, struct error *err)
{
    int r;

    if (c->session_path == NULL) {
        return 0;
    }
    r = file_watch_init(&c->session_watch, c->session_path);
    return r != 0 ? error_set(err, r, "key file %s: %s", c->session_path, strerror(-r))
                  : key_file_read(c->session_path, &c->sessions, err);
}

int credentials_new(const struct credentials_config *config, struct credentials **ret,
                    struct error *err)
{
    struct credentials *c = calloc(1, sizeof(*c));
    int r;

    if (c == NULL) {
        return -ENOMEM;
    }
    c->own.limits = (struct key_limits){KEY_LIMITS_UNTOLD, KEY_LIMITS_UNTOLD, KEY_LIMITS_UNTOLD,
                                        KEY_LIMITS_UNTOLD, KEY_LIMITS_UNTOLD};
    c->meta.dated = true;
    c->file.path = config->path != NULL ? strdup(config->path) : NULL;
    c->meta.path = config->meta_keys != NULL ? strdup(config->meta_keys) : NULL;
    c->session_path = config->session_keys != NULL ? strdup(config->session_keys) : NULL;
    r = (config->path != NULL && c->file.path == NULL) ||
                (config->meta_keys != NULL && c->meta.path == NULL) ||
                (config->session_keys != NULL && c->session_path == NULL)
            ? -ENOMEM
            : 0;
    r = r == 0 ? open_keys(&c->file, true, err) : r;
    r = r == 0 ? open_keys(&c->meta, false, err) : r;
    r = r == 0 ? open_sessions(c, err) : r;
    if (r != 0) {
        credentials_free(c);
        return r;
    }
    *ret = c;
    return 0;
}

size_t credentials_count(const struct credentials *c)
{
    return c->file.count + c->meta.count;
}

void credentials_free(struct credentials *c)
{
    if (c != NULL) {
        keys_free(c->file.keys, c->file.count);
        keys_free(c->meta.keys, c->meta.count);
        key_file_wipe(&c->sessions);
        free(c->session_path);
        free(c->file.path);
        free(c->meta.path);
        free(c);
    }
}

static void look_at(struct source *source)
{
    struct error err = ERROR_INIT;

    if (source->path == NULL || !file_watch_changed(&source->watch, source->path)) {
        return;
    }
    if (keys_read(source, &err) != 0) {
        log_error("credentials not reloaded, the old ones stay", "error", err.text, NULL);
    } else {
        log_info("credentials reloaded", "keys", log_num(source->count), NULL);
    }
}

static void look_again(struct credentials *c)
{
    struct error err = ERROR_INIT;

    if (c->session_path != NULL && file_watch_changed(&c->session_watch, c->session_path) &&
        key_file_read(c->session_path, &c->sessions, &err) != 0) {
        log_error("session keys not reloaded, the old ones stay", "error", err.text, NULL);
    }
    look_at(&c->file);
    look_at(&c->meta);
}

static const struct credential *find_in(const struct source *source, const char *access_key)
{
    for (size_t i = 0; i < source->count; i++) {
        if (strcmp(source->keys[i].access_key, access_key) == 0) {
            return &source->keys[i];
        }
    }
    return NULL;
}

/* The file of our own operator comes first. */
static const struct credential *find(const struct credentials *c, const char *access_key)
{
    const struct credential *key = find_in(&c->file, access_key);

    return key != NULL ? key : find_in(&c->meta, access_key);
}

const struct credential *credentials_find(struct credentials *c, const char *access_key)
{
    look_again(c);
    return find(c, access_key);
}

/* Whose rights temporary credentials have that name no key. */
static const struct credential *first_key(const struct credentials *c)
{
    return c->file.path == NULL ? &c->own : c->file.count > 0 ? &c->file.keys[0] : NULL;
}

/* A key that may be used now, or why none. */
static int find_valid(const struct credentials *c, const char *access_key, int64_t now_s,
                      const struct credential **ret, struct s3_fault *fault)
{
    const struct credential *key = find_in(&c->file, access_key);

    if (key == NULL && c->meta.path != NULL && now_s >= c->meta.valid_until_s) {
        return s3_fault_set(fault, S3_SERVICE_UNAVAILABLE,
                            "the access keys have not been confirmed for too long");
    }
    key = key != NULL ? key : find_in(&c->meta, access_key);
    if (key == NULL) {
        return s3_fault_set(fault, S3_INVALID_ACCESS_KEY_ID, "%s", "");
    }
    if (key->expires_s != 0 && now_s >= key->expires_s) {
        return s3_fault_set(fault, S3_INVALID_ACCESS_KEY_ID, "the access key has expired");
    }
    *ret = key;
    return 0;
}

int credentials_identify(struct credentials *c, const struct claim *claim, struct identity *ret,
                         struct s3_fault *fault)
{
    int r;

    *ret = (struct identity){0};
    look_again(c);
    if (claim->token[0] == '\0') {
        r = find_valid(c, claim->access_key, claim->now_s, &ret->key, fault);
        if (r != 0) {
            return r;
        }
        ret->secret = ret->key->secret_key;
        ret->internal = ret->key->internal;
        return 0;
    }
    r = c->session_path == NULL ? -EACCES
                                : s3_session_check(&c->sessions, claim->access_key, claim->token,
                                                   claim->now_s, &ret->session);
    if (r == -EKEYEXPIRED || r == -ENOMEM) {
        return s3_fault_set(fault, r == -ENOMEM ? S3_INTERNAL_ERROR : S3_EXPIRED_TOKEN, "%s", "");
    }
    if (r == 0 && ret->session.parent[0] == '\0') {
        ret->key = first_key(c);
    } else if (r == 0 && find_valid(c, ret->session.parent, claim->now_s, &ret->key, NULL) != 0) {
        ret->key = NULL;
    }
    if (ret->key == NULL) {
        return s3_fault_set(fault, S3_INVALID_TOKEN, "%s", "");
    }
    ret->secret = ret->session.secret_key;
    return 0;
}

int credentials_issue(struct credentials *c, int64_t expires_s, struct s3_session *ret)
{
    look_again(c);
    if (c->session_path == NULL || first_key(c) == NULL) {
        return -ENOENT;
    }
    return s3_session_issue(&c->sessions, "", expires_s, ret);
}
