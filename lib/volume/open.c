/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "objstore/dir.h"
#include "objstore/faults.h"
#include "objstore/measured.h"
#include "objstore/objstore_call.h"
#include "objstore/retry.h"
#include "objstore/s3.h"
#include "util/cleanup.h"
#include "util/url.h"
#include "volume/volume_internal.h"

enum location_kind { LOCATION_S3, LOCATION_DIR, LOCATION_MEM };

struct location {
    enum location_kind kind;
    char *root;   /* LOCATION_DIR */
    char *bucket; /* "" when none is named */
    char *prefix; /* "" or ends in '/' */
};

static void location_done(struct location *l)
{
    free(l->root);
    free(l->bucket);
    free(l->prefix);
}

/* "bucket/pre/fix/" into its two parts. */
static int split_bucket(const char *text, struct location *l)
{
    size_t len = strcspn(text, "/");
    const char *prefix = text + len;

    while (*prefix == '/') {
        prefix++;
    }
    l->bucket = strndup(text, len);
    if (prefix[0] == '\0') {
        l->prefix = strdup("");
    } else if (asprintf(&l->prefix, "%s%s", prefix, prefix[strlen(prefix) - 1] == '/' ? "" : "/") <
               0) {
        l->prefix = NULL;
    }
    return l->bucket != NULL && l->prefix != NULL ? 0 : -ENOMEM;
}

static bool is_store(const char *path, size_t len)
{
    AUTOFREE char *format = NULL;

    if (asprintf(&format, "%.*s/format", (int)len, path) < 0) {
        format = NULL;
        return false;
    }
    return access(format, F_OK) == 0;
}

/* Where the root ends in a path of root and bucket and prefix. */
static size_t root_length(const char *path)
{
    const char *slash;

    for (const char *p = path + 1; (p = strchr(p, '/')) != NULL; p++) {
        if (is_store(path, (size_t)(p - path))) {
            return (size_t)(p - path);
        }
    }
    if (is_store(path, strlen(path))) {
        return strlen(path);
    }
    slash = strrchr(path, '/');
    return slash > path ? (size_t)(slash - path) : 1;
}

static int parse_dir(const char *text, bool bucket, struct location *l, struct error *err)
{
    AUTOFREE char *path = strdup(text);
    size_t len;

    if (path == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    len = strlen(path);
    while (len > 1 && path[len - 1] == '/') {
        path[--len] = '\0';
    }
    if (path[0] != '/' || len < 2) {
        return error_set(err, -EINVAL,
                         "dir: wants an absolute path, as in dir:///srv/store/bucket");
    }
    len = bucket ? root_length(path) : len;
    l->root = strndup(path, len);
    while (path[len] == '/') {
        len++;
    }
    return l->root == NULL ? -ENOMEM : split_bucket(path + len, l);
}

static int parse_location(const char *text, bool bucket, struct location *l, struct error *err)
{
    int ret;

    if (strncmp(text, "s3://", 5) == 0) {
        l->kind = LOCATION_S3;
        ret = split_bucket(text + 5, l);
    } else if (strncmp(text, "mem://", 6) == 0) {
        l->kind = LOCATION_MEM;
        ret = split_bucket(text + 6, l);
    } else if (strncmp(text, "dir://", 6) == 0) {
        l->kind = LOCATION_DIR;
        ret = parse_dir(text + 6, bucket, l, err);
    } else {
        return error_set(
            err, -EINVAL,
            "location \"%s\": begin with s3://BUCKET, dir:///ROOT/BUCKET or mem://BUCKET",
            url_shown(text));
    }
    if (ret == 0 && l->kind == LOCATION_S3 && strpbrk(l->bucket, ":@") != NULL) {
        return error_set(err, -EINVAL,
                         "the location (not shown) names no bucket: keys do not belong in it");
    }
    if (ret == 0 && bucket && l->bucket[0] == '\0') {
        return error_set(err, -EINVAL, "location \"%s\" names no bucket", url_shown(text));
    }
    return ret != 0 && (err == NULL || err->code == 0) ? error_set(err, ret, "out of memory") : ret;
}

static int open_backend(const struct volume_open_config *config, const struct location *l,
                        struct objstore **ret, struct error *err)
{
    const struct objstore_dir_config dir = {
        .root = l->root, .threads = config->dir_threads, .now = config->now};
    const struct objstore_s3_config s3 = {
        .endpoint = config->endpoint,
        .region = config->region,
        .credentials = {config->credentials.access_key, config->credentials.secret_key,
                        config->credentials.session_token},
        .ca_file = config->ca_file,
        .public_only = config->public_only,
        .insecure = config->insecure,
        .unsigned_payload = config->unsigned_payload,
        .wishes = config->wishes,
        .virtual_host_style = config->virtual_host_style,
        .beside = config->beside,
        .transfer_threads = config->transfer_threads,
        .max_connections = config->max_connections,
        .transfer_buffer = config->transfer_buffer,
        .request_timeout_ms = config->request_timeout_ms,
    };

    switch (l->kind) {
    case LOCATION_S3:
        return objstore_s3_new(&s3, ret, err);
    case LOCATION_DIR:
        return objstore_dir_new(&dir, ret, err);
    default:
        return objstore_mem_new(ret, err);
    }
}

/* A volume lies in a store that is there: a mistyped root must not become a new one. */
static int check_root(const struct location *l, struct error *err)
{
    AUTOFREE char *format = NULL;

    if (l->kind != LOCATION_DIR) {
        return 0;
    }
    if (asprintf(&format, "%s/format", l->root) < 0) {
        format = NULL;
        return -ENOMEM;
    }
    return access(format, F_OK) == 0 || errno != ENOENT
               ? 0
               : error_set(err, -ENOENT,
                           "there is no directory store in %s: the location is dir:///ROOT/BUCKET",
                           l->root);
}

/* The backend, and around it what was asked for. *ret_backend stays the chain's. */
static int open_chain(const struct volume_open_config *config, const struct location *l,
                      struct objstore **ret, struct objstore **ret_backend, struct error *err)
{
    const struct objstore_retry_config retry = {.timeout_ms = config->request_timeout_ms,
                                                .tries = config->tries,
                                                .watch = config->watch,
                                                .watch_context = config->watch_context};
    struct objstore *store = NULL;
    int r = open_backend(config, l, &store, err);

    if (r != 0) {
        return r;
    }
    *ret_backend = store;
    if (config->faults != NULL && config->faults[0] != '\0') {
        r = objstore_faults_new(store, config->faults, &store, err);
        if (r != 0) {
            return r;
        }
    }
    r = objstore_retry_new(store, &retry, &store);
    if (r == 0 && config->metrics != NULL) {
        r = objstore_measured_new(store, config->metrics, &store);
    }
    if (r == 0) {
        *ret = store;
    }
    return r != 0 ? error_set(err, r, "out of memory") : 0;
}

static int make_bucket(struct objstore *store, const char *bucket)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request request = {.op = OBJSTORE_BUCKET_CREATE, .bucket = bucket};

    return objstore_call(store, &request, &answer);
}

int volume_open_store(const struct volume_open_config *config, struct objstore **ret,
                      struct error *err)
{
    CLEANUP(location_done) struct location l = {0};
    struct objstore *backend;
    int r = parse_location(config->location, false, &l, err);

    return r != 0 ? r : open_chain(config, &l, ret, &backend, err);
}

int volume_open(const struct volume_open_config *config, struct volume **ret, struct error *err)
{
    CLEANUP(location_done) struct location l = {0};
    struct objstore *store = NULL;
    struct objstore *backend = NULL;
    struct volume_config volume;
    int r = parse_location(config->location, true, &l, err);

    r = r == 0 ? check_root(&l, err) : r;
    r = r == 0 ? open_chain(config, &l, &store, &backend, err) : r;
    if (r != 0) {
        return r;
    }
    if (l.kind == LOCATION_MEM) {
        r = make_bucket(store, l.bucket);
        if (r != 0) {
            objstore_free(store);
            return error_set(
                err, r, "cannot make bucket \"%s\": names are 3 to 63 of a-z, 0-9, '.' and '-'",
                l.bucket);
        }
    }
    volume = (struct volume_config){
        .store = store, .bucket = l.bucket, .prefix = l.prefix, .read_only = config->read_only};
    r = volume_new(&volume, ret, err);
    if (r == 0 && l.kind == LOCATION_S3) {
        volume_set_backend(*ret, backend);
    }
    return r;
}

int volume_set_credentials(struct volume *volume, const struct volume_credentials *credentials)
{
    const struct objstore_s3_credentials fresh = {credentials->access_key, credentials->secret_key,
                                                  credentials->session_token};
    struct objstore *backend = volume_backend(volume);

    return backend != NULL ? objstore_s3_set_credentials(backend, &fresh) : -ENOTSUP;
}
