/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/s3.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <strings.h>

#include "objstore/s3_private.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/url.h"

static const char default_region[] = "us-east-1";

static struct s3_store *store_of(struct objstore *base)
{
    return container_of(base, struct s3_store, base);
}

/* ---- credentials ---- */

static void wipe(char *secret)
{
    if (secret != NULL) {
        OPENSSL_cleanse(secret, strlen(secret));
        free(secret);
    }
}

static void identity_free(struct s3_identity *identity)
{
    free(identity->access_key);
    wipe(identity->secret_key);
    wipe(identity->session_token);
    free(identity);
}

void s3_identity_unref(struct s3_identity *identity)
{
    if (identity != NULL && atomic_fetch_sub(&identity->refs, 1) == 1) {
        identity_free(identity);
    }
}

static int copy_text(const char *from, char **ret)
{
    *ret = from != NULL ? strdup(from) : NULL;
    return from == NULL || *ret != NULL ? 0 : -ENOMEM;
}

static int identity_new(const struct objstore_s3_credentials *credentials, struct s3_identity **ret)
{
    struct s3_identity *identity;
    bool anonymous = credentials->access_key == NULL && credentials->secret_key == NULL;

    if (!anonymous && (credentials->access_key == NULL || credentials->secret_key == NULL)) {
        return -EINVAL;
    }
    identity = calloc(1, sizeof(*identity));
    if (identity == NULL) {
        return -ENOMEM;
    }
    atomic_init(&identity->refs, 1);
    identity->anonymous = anonymous;
    if (copy_text(credentials->access_key, &identity->access_key) < 0 ||
        copy_text(credentials->secret_key, &identity->secret_key) < 0 ||
        copy_text(credentials->session_token, &identity->session_token) < 0) {
        identity_free(identity);
        return -ENOMEM;
    }
    *ret = identity;
    return 0;
}

int64_t s3_store_now_s(const struct s3_store *store)
{
    return clock_realtime_ns(clock_real()) / 1000000000 + atomic_load(&store->clock_off_s);
}

struct s3_identity *s3_store_identity(struct s3_store *store)
{
    struct s3_identity *identity;

    mutex_lock(&store->lock);
    identity = store->identity;
    (void)atomic_fetch_add(&identity->refs, 1);
    mutex_unlock(&store->lock);
    return identity;
}

bool s3_store_has_newer(struct s3_store *store, const struct s3_identity *identity)
{
    bool newer;

    mutex_lock(&store->lock);
    newer = store->identity->generation != identity->generation;
    mutex_unlock(&store->lock);
    return newer;
}

int objstore_s3_set_credentials(struct objstore *base,
                                const struct objstore_s3_credentials *credentials)
{
    struct s3_store *store = store_of(base);
    struct s3_identity *identity = NULL;
    struct s3_identity *old;
    int error = identity_new(credentials, &identity);

    if (error < 0) {
        return error;
    }
    mutex_lock(&store->lock);
    old = store->identity;
    identity->generation = old->generation + 1;
    store->identity = identity;
    mutex_unlock(&store->lock);
    s3_identity_unref(old);
    return 0;
}

int s3_store_signing_key(struct s3_store *store, const struct s3_identity *identity,
                         const char *timestamp, const char *region, struct s3_signing_key *ret)
{
    char scope[S3_SCOPE_SIZE];
    char date[S3_DATE_SIZE] = {0};
    bool known;
    int error = s3_scope_format(timestamp, region, "s3", scope);

    if (error < 0) {
        return error;
    }
    mutex_lock(&store->lock);
    known = store->key_scope[0] != '\0' && store->key_generation == identity->generation &&
            strcmp(store->key_scope, scope) == 0;
    if (known) {
        *ret = store->key;
    }
    mutex_unlock(&store->lock);
    if (known) {
        return 0;
    }
    memcpy(date, timestamp, S3_DATE_SIZE - 1);
    error = s3_signing_key_derive(identity->secret_key, date, region, "s3", ret);
    if (error < 0) {
        return error;
    }
    mutex_lock(&store->lock);
    store->key = *ret;
    store->key_generation = identity->generation;
    memcpy(store->key_scope, scope, sizeof(scope));
    mutex_unlock(&store->lock);
    return 0;
}

/* ---- what was learned of buckets ---- */

static struct s3_bucket_facts *find_facts_locked(struct s3_store *store, const char *bucket)
    REQUIRES(&store->lock)
{
    for (size_t i = 0; i < S3_BUCKETS_KNOWN; i++) {
        if (store->facts[i].name[0] != '\0' && strcmp(store->facts[i].name, bucket) == 0) {
            return &store->facts[i];
        }
    }
    return NULL;
}

/* Find or make; the oldest entry makes room. */
static struct s3_bucket_facts *make_facts_locked(struct s3_store *store, const char *bucket)
    REQUIRES(&store->lock)
{
    struct s3_bucket_facts *facts = find_facts_locked(store, bucket);

    if (facts == NULL && strlen(bucket) <= OBJSTORE_BUCKET_MAX) {
        facts = &store->facts[store->next_fact++ % S3_BUCKETS_KNOWN];
        *facts = (struct s3_bucket_facts){.probed = false};
        memcpy(facts->name, bucket, strlen(bucket) + 1);
    }
    return facts;
}

void s3_store_region(struct s3_store *store, const char *bucket, char ret[S3_REGION_SIZE])
{
    struct s3_bucket_facts *facts;

    mutex_lock(&store->lock);
    facts = bucket != NULL ? find_facts_locked(store, bucket) : NULL;
    memcpy(ret, facts != NULL && facts->region[0] != '\0' ? facts->region : store->region,
           S3_REGION_SIZE);
    mutex_unlock(&store->lock);
}

void s3_store_learn_region(struct s3_store *store, const char *bucket, const char *region)
{
    struct s3_bucket_facts *facts;

    if (strlen(region) >= S3_REGION_SIZE) {
        return;
    }
    mutex_lock(&store->lock);
    facts = make_facts_locked(store, bucket);
    if (facts != NULL) {
        memcpy(facts->region, region, strlen(region) + 1);
    }
    mutex_unlock(&store->lock);
}

void s3_store_caps(struct s3_store *store, const char *bucket, struct objstore_caps *ret)
{
    static const struct objstore_caps careful = {.part_min = 5ULL << 20,
                                                 .part_max = 5ULL << 30,
                                                 .object_max = 5ULL << 40,
                                                 .copy_max = 5ULL << 30};
    struct s3_bucket_facts *facts;

    mutex_lock(&store->lock);
    facts = find_facts_locked(store, bucket);
    *ret = facts != NULL && facts->probed ? facts->caps : careful;
    mutex_unlock(&store->lock);
}

void s3_store_learn_caps(struct s3_store *store, const char *bucket,
                         const struct objstore_caps *caps)
{
    struct s3_bucket_facts *facts;

    mutex_lock(&store->lock);
    facts = make_facts_locked(store, bucket);
    if (facts != NULL) {
        facts->caps = *caps;
        facts->probed = true;
    }
    mutex_unlock(&store->lock);
}

/* ---- the interface ---- */

static void s3_submit(struct objstore *base, struct objstore_request *request)
{
    if (request->op == OBJSTORE_BUCKET_PROBE) {
        s3_probe_start(store_of(base), request);
    } else {
        s3_call_start(store_of(base), request);
    }
}

static void s3_cancel(struct objstore *base, struct objstore_request *request)
{
    if (request->op == OBJSTORE_BUCKET_PROBE) {
        s3_probe_cancel(request);
    } else {
        s3_call_cancel(store_of(base), request);
    }
}

static void s3_resume(struct objstore *base, struct objstore_request *request)
{
    struct s3_call *call = request->store_private[0];

    if (request->op != OBJSTORE_BUCKET_PROBE && call != NULL) {
        http_resume(store_of(base)->http, &call->http);
    }
}

LOCK_UNCHECKED
static void s3_free(struct objstore *base)
{
    struct s3_store *store = store_of(base);

    http_client_free(store->http); /* ends every call */
    s3_identity_unref(store->identity);
    OPENSSL_cleanse(&store->key, sizeof(store->key));
    free(store->host);
    free(store->storage_class);
    free(store->acl);
    free(store->sse);
    free(store->sse_key);
    mutex_done(&store->lock);
    objstore_base_done(&store->base);
    free(store);
}

static const struct objstore_ops s3_ops = {
    .submit = s3_submit,
    .cancel = s3_cancel,
    .resume = s3_resume,
    .free = s3_free,
};

/* ---- configuration ---- */

static bool valid_host(const char *host, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = host[i];

        if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') &&
            strchr(".-_:[]", c) == NULL) {
            return false;
        }
    }
    return len > 0 && len < 256 && host[0] != ':';
}

/* "http(s)://host[:port][/]" -> tls, host without a default port. */
static int parse_endpoint(struct s3_store *store, const char *endpoint, struct error *err)
{
    const char *rest = endpoint;
    const char *port;
    size_t len;

    if (endpoint == NULL || endpoint[0] == '\0') {
        store->aws = true;
        store->tls = true;
        return 0;
    }
    if (strncasecmp(rest, "https://", 8) == 0) {
        store->tls = true;
        rest += 8;
    } else if (strncasecmp(rest, "http://", 7) == 0) {
        rest += 7;
    } else {
        return error_set(err, -EINVAL, "endpoint '%s': it must begin with http:// or https://",
                         url_shown(endpoint));
    }
    len = strcspn(rest, "/");
    if (strcmp(rest + len, "") != 0 && strcmp(rest + len, "/") != 0) {
        return error_set(err, -EINVAL, "endpoint '%s': a path is not allowed", url_shown(endpoint));
    }
    if (!valid_host(rest, len)) {
        return error_set(err, -EINVAL, "endpoint '%s': the host name is not valid",
                         url_shown(endpoint));
    }
    port = store->tls ? ":443" : ":80";
    if (len > strlen(port) && strncmp(rest + len - strlen(port), port, strlen(port)) == 0) {
        len -= strlen(port); /* HTTP leaves it out of the Host header, and so must the signature */
    }
    store->host = strndup(rest, len);
    return store->host != NULL ? 0 : -ENOMEM;
}

/* Host as in the URL, perhaps with a port: this machine itself. */
static bool is_loopback(const char *host)
{
    size_t len = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");
    char name[64];
    struct in6_addr v6;
    struct in_addr v4;

    if (len >= sizeof(name)) {
        return false;
    }
    (void)snprintf(name, sizeof(name), "%.*s", (int)len, host);
    return strcasecmp(name, "localhost") == 0 ||
           (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127) ||
           (name[0] == '[' && inet_pton(AF_INET6, name + 1, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6));
}

static bool valid_region(const char *region)
{
    size_t len = strlen(region);

    return len > 0 && len < S3_REGION_SIZE &&
           strspn(region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") ==
               len;
}

static int copy_wishes(const struct objstore_s3_wishes *wishes, struct s3_store *store)
{
    int error = copy_text(wishes->storage_class, &store->storage_class);

    error = error == 0 ? copy_text(wishes->acl, &store->acl) : error;
    error = error == 0 ? copy_text(wishes->sse, &store->sse) : error;
    store->requester_pays = wishes->requester_pays;
    return error == 0 ? copy_text(wishes->sse_key, &store->sse_key) : error;
}

LOCK_UNCHECKED
static int configure(struct s3_store *store, const struct objstore_s3_config *config,
                     struct error *err)
{
    const char *region =
        config->region != NULL && config->region[0] != '\0' ? config->region : default_region;
    struct http_client_config http = {.beside = config->beside,
                                      .threads = config->transfer_threads,
                                      .max_connections = config->max_connections,
                                      .buffer_bytes = config->transfer_buffer,
                                      .connect_timeout_ms = config->connect_timeout_ms,
                                      .ca_file = config->ca_file,
                                      .public_only = config->public_only,
                                      .insecure = config->insecure};
    int error = parse_endpoint(store, config->endpoint, err);

    if (error < 0) {
        return error;
    }
    if (!valid_region(region)) {
        return error_set(err, -EINVAL, "region '%s' is not valid", region);
    }
    memcpy(store->region, region, strlen(region) + 1);
    store->is_private = store->tls || config->unsigned_payload || is_loopback(store->host);
    store->virtual_host = config->virtual_host_style;
    store->timeout_ms = config->request_timeout_ms != 0 ? config->request_timeout_ms : 60000;
    error = copy_wishes(&config->wishes, store);
    error = error == 0 ? identity_new(&config->credentials, &store->identity) : error;
    if (error == -EINVAL) {
        return error_set(err, error, "an access key needs a secret key, and the other way round");
    }
    if (error == 0 && store->aws) {
        error = objstore_base_init(&store->base, &s3_ops, "s3 aws %s", region);
    } else if (error == 0) {
        error = objstore_base_init(&store->base, &s3_ops, "s3 %s://%s",
                                   store->tls ? "https" : "http", store->host);
    }
    if (error < 0) {
        return error_set(err, error, "out of memory for the S3 backend");
    }
    return http_client_new(&http, &store->http, err);
}

int objstore_s3_new(const struct objstore_s3_config *config, struct objstore **ret,
                    struct error *err)
{
    struct s3_store *store = calloc(1, sizeof(*store));
    int error;

    if (store == NULL) {
        return error_set(err, -ENOMEM, "out of memory for the S3 backend");
    }
    mutex_init(&store->lock);
    error = configure(store, config, err);
    if (error < 0) {
        s3_free(&store->base);
        return error;
    }
    *ret = &store->base;
    return 0;
}

void objstore_s3_get_stats(struct objstore *base, struct objstore_s3_stats *ret)
{
    struct http_stats stats = {0};

    http_client_stats(store_of(base)->http, &stats);
    ret->requests = stats.requests;
    ret->connections = stats.connections;
}
