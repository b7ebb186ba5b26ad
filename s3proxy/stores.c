/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/stores.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http/http.h"
#include "mount/keys_file.h"
#include "s3/names.h"
#include "util/cleanup.h"
#include "util/secret_file.h"
#include "util/url.h"
#include "volume/open.h"

/* A block of an upload and its framing go out in one piece; what comes back is passed on at once.
 */
enum { FILE_MAX = 64 * 1024, TRANSFER_BUFFER = 66 * 1024, DIR_THREADS = 16 };

static int read_credentials(const char *path, struct mount_credentials *ret, struct error *err)
{
    struct buf text = BUF_INIT(FILE_MAX);
    struct error why = ERROR_INIT;
    int r = secret_file_read(path, &text, err);

    if (r == 0) {
        r = mount_keys_parse(buf_str(&text), ret, &why);
        if (r == 0 && ret->access_key == NULL) {
            r = error_set(&why, -EINVAL, "there is no access_key and secret_key in it");
        }
        r = r != 0 ? error_set(err, r, "credentials file %s: %s", path, error_text(&why, r)) : 0;
    }
    if (text.data != NULL) {
        explicit_bzero(text.data, text.len);
    }
    buf_done(&text);
    return r;
}

static int by_name(const void *a, const void *b)
{
    const struct store_volume *first = a, *second = b;

    return strcmp(first->name, second->name);
}

static bool is_embedded(const char *location)
{
    return strncmp(location, "s3://", 5) != 0;
}

static int open_volume(struct stores *stores, struct volume_open_config *open, const char *text,
                       struct error *err)
{
    struct error why = ERROR_INIT;
    struct store_volume *v;
    char *name;
    int ret;
    const char *equals = strchr(text, '=');
    size_t len = equals != NULL ? (size_t)(equals - text) : 0;

    if (len == 0) {
        return error_set(err, -EINVAL, "--volume %s: wants BUCKET=LOCATION", url_shown(text));
    }
    if (!s3_bucket_valid((struct slice){text, len})) {
        return error_set(err, -EINVAL, "--volume %s: '%.*s' cannot be a bucket: " S3_BUCKET_RULE,
                         url_shown(text), (int)len, text);
    }
    name = strndup(text, len);
    if (name == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    v = &stores->volumes[stores->volume_count++]; /* from here on stores_done() frees it */
    v->name = name;
    if (stores_volume(stores, name) != NULL) {
        return error_set(err, -EINVAL, "--volume %s: that bucket is a volume already", name);
    }
    open->location = equals + 1;
    v->embedded = is_embedded(open->location);
    ret = volume_open(open, &v->volume, &why);
    return ret == 0
               ? 0
               : error_set(err, ret, "--volume %s: %s", url_shown(text), error_text(&why, ret));
}

static size_t volume_count(const struct stores_config *config)
{
    size_t count = 0;

    while (config->volumes != NULL && config->volumes[count] != NULL) {
        count++;
    }
    return count;
}

/* Each directory is a store of its own, with threads and buffers. */
static uint32_t dir_threads(const struct stores_config *config)
{
    size_t count = config->store != NULL && is_embedded(config->store) ? 1 : 0;

    for (size_t i = 0; i < volume_count(config); i++) {
        count += is_embedded(
            strchr(config->volumes[i], '=') != NULL ? strchr(config->volumes[i], '=') + 1 : "");
    }
    return count <= 1 ? 0 : count < DIR_THREADS / 2 ? (uint32_t)(DIR_THREADS / count) : 2;
}

/*
 * What is at S3 shares its connections. The client made here is only what others are made beside:
 * once they are, it goes.
 */
static int open_shared(const struct stores_config *config, struct volume_open_config *open,
                       struct error *err)
{
    const struct http_client_config http = {.max_connections = config->connections,
                                            .buffer_bytes = TRANSFER_BUFFER,
                                            .ca_file = config->ca_file};
    bool wanted = config->store != NULL && !is_embedded(config->store);

    for (size_t i = 0; i < volume_count(config); i++) {
        wanted |= strstr(config->volumes[i], "=s3://") != NULL;
    }
    open->dir_threads = dir_threads(config);
    return wanted ? http_client_new(&http, &open->beside, err) : 0;
}

static int open_all(struct stores *stores, const struct stores_config *config,
                    struct volume_open_config *open, struct error *err)
{
    size_t count = 0;
    int ret = 0;

    count = volume_count(config);
    if (config->store == NULL && count == 0) {
        return error_set(err, -EINVAL, "nothing to serve: give --dir, --store or --volume");
    }
    stores->volumes = calloc(count + 1, sizeof(*stores->volumes));
    if (stores->volumes == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    if (config->store != NULL) {
        open->location = config->store;
        stores->embedded = is_embedded(config->store);
        open->now = config->now;
        ret = volume_open_store(open, &stores->store, err);
        open->now = false; /* volumes are not asked so */
    }
    for (size_t i = 0; ret == 0 && i < count; i++) {
        ret = open_volume(stores, open, config->volumes[i], err);
    }
    qsort(stores->volumes, stores->volume_count, sizeof(*stores->volumes), by_name);
    return ret;
}

int stores_init(struct stores *stores, const struct stores_config *config, struct error *err)
{
    CLEANUP(mount_credentials_done) struct mount_credentials keys = {0};
    struct volume_open_config open = {
        .endpoint = config->endpoint,
        .region = config->region,
        .ca_file = config->ca_file,
        .virtual_host_style = config->virtual_host_style,
    };
    int ret = 0;

    *stores = (struct stores){0};
    if (config->credentials_file != NULL) {
        ret = read_credentials(config->credentials_file, &keys, err);
    }
    open.credentials =
        (struct volume_credentials){keys.access_key, keys.secret_key, keys.session_token};
    ret = ret == 0 ? open_shared(config, &open, err) : ret;
    ret = ret == 0 ? open_all(stores, config, &open, err) : ret;
    http_client_free(open.beside);
    if (ret != 0) {
        stores_done(stores);
    }
    return ret;
}

void stores_done(struct stores *stores)
{
    for (size_t i = 0; i < stores->volume_count; i++) {
        volume_free(stores->volumes[i].volume);
        free(stores->volumes[i].name);
    }
    free(stores->volumes);
    objstore_free(stores->store);
    *stores = (struct stores){0};
}

bool stores_embedded(const struct stores *stores, const char *bucket)
{
    for (size_t i = 0; bucket != NULL && i < stores->volume_count; i++) {
        if (strcmp(stores->volumes[i].name, bucket) == 0) {
            return stores->volumes[i].embedded;
        }
    }
    return stores->embedded;
}

struct volume *stores_volume(const struct stores *stores, const char *bucket)
{
    for (size_t i = 0; i < stores->volume_count; i++) {
        if (strcmp(stores->volumes[i].name, bucket) == 0) {
            return stores->volumes[i].volume;
        }
    }
    return NULL;
}
