/* SPDX-License-Identifier: Apache-2.0 */
/* keys.c - skyvolctl keys: create, list, disable, enable, delete. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/command.h"
#include "cli/meta.h"
#include "cli/output.h"
#include "rpc/client.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/random.h"

struct options {
    struct meta_options meta;
    struct option_list buckets;
    char *comment;
    bool all_buckets, read_only;
    uint64_t expires_ms;
    uint64_t requests, burst, concurrent, upload, download;
    char *claim, *space, *endpoint, *region; /* of a Secret */
    bool shared_bucket;
};

#define KEYS &skyvol__meta__v1__access_keys__descriptor

/* What is 0 here is not told: in a file 0 lifts the limit that skyvol-s3 is configured with. */
static int add_number(cJSON *json, const char *name, uint64_t number)
{
    return number == 0 || cJSON_AddNumberToObject(json, name, (double)number) != NULL ? 0 : -ENOMEM;
}

static int add_rights(cJSON *json, const Skyvol__Meta__V1__AccessKey *key)
{
    const Skyvol__Meta__V1__AccessKeyLimits *limits = key->limits;
    cJSON *buckets = key->n_buckets > 0 ? cJSON_AddArrayToObject(json, "buckets") : NULL;
    int r = cJSON_AddBoolToObject(json, "read_only", key->read_only) != NULL ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < key->n_buckets; i++) {
        r = cJSON_AddItemToArray(buckets, cJSON_CreateString(key->buckets[i])) ? 0 : -ENOMEM;
    }
    r = r < 0 ? r : add_number(json, "expires_s", (uint64_t)(key->expires_ns / 1000000000));
    if (r < 0 || limits == NULL) {
        return r;
    }
    r = add_number(json, "requests_per_second", limits->requests_per_second);
    r = r < 0 ? r : add_number(json, "request_burst", limits->request_burst);
    r = r < 0 ? r : add_number(json, "concurrent_requests", limits->concurrent_requests);
    r = r < 0 ? r : add_number(json, "upload_rate", limits->upload_rate);
    return r < 0 ? r : add_number(json, "download_rate", limits->download_rate);
}

/* The secret is in no JSON that is made of messages: there it would be "***". */
static int created_json(const Skyvol__Meta__V1__CreateAccessKeyResponse *reply, cJSON **ret)
{
    CLEANUP(cJSON_Delete_p) cJSON *json = cJSON_CreateObject();
    int r = json != NULL ? 0 : -ENOMEM;

    r = r < 0 ? r : meta_set_text(json, "access_key", reply->key->id);
    r = r < 0 ? r : meta_set_text(json, "secret_key", reply->secret);
    r = r < 0 ? r : add_rights(json, reply->key);
    if (r == 0) {
        *ret = TAKE(json);
    }
    return r;
}

static int create(const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    char id[RANDOM_ID_SIZE], none[] = "";
    Skyvol__Meta__V1__AccessKey key = SKYVOL__META__V1__ACCESS_KEY__INIT;
    Skyvol__Meta__V1__CreateAccessKeyRequest in = SKYVOL__META__V1__CREATE_ACCESS_KEY_REQUEST__INIT;
    const struct call call = {.address = o->meta.address,
                              .options = &o->meta.call,
                              .service = KEYS,
                              .method = "CreateAccessKey"};
    Skyvol__Meta__V1__AccessKeyLimits limits = SKYVOL__META__V1__ACCESS_KEY_LIMITS__INIT;
    ProtobufCMessage *reply = NULL;
    int r;

    if ((o->buckets.count == 0) != o->all_buckets) {
        return error_set(err, -EINVAL, "give --bucket NAME, once or more, or --all-buckets");
    }
    random_id(id);
    in.idempotency_key = id;
    in.key = &key;
    in.all_buckets = o->all_buckets;
    key.buckets = o->buckets.items;
    key.n_buckets = o->buckets.count;
    key.read_only = o->read_only;
    limits.requests_per_second = o->requests;
    limits.request_burst = o->burst;
    limits.concurrent_requests = o->concurrent;
    limits.upload_rate = o->upload;
    limits.download_rate = o->download;
    key.limits = &limits;
    key.comment = o->comment != NULL ? o->comment : none;
    key.expires_ns = o->expires_ms == 0 ? 0
                                        : clock_realtime_ns(clock_real()) +
                                              (int64_t)o->expires_ms * INT64_C(1000000);
    r = meta_hint(&o->meta, call_message(&call, &in.base, &reply, err), err);
    if (r == 0) {
        const Skyvol__Meta__V1__CreateAccessKeyResponse *out = (const void *)reply;

        r = out->key != NULL
                ? created_json(out, ret)
                : error_set(err, -EBADMSG, "skyvol-meta answered without an access key");
        explicit_bzero(out->secret, strlen(out->secret));
        rpc_message_free(reply);
    }
    return r;
}

/* What docs/s3-from-pods.md promises of the Secret CLAIM-s3. */
static int write_secret(const struct options *o, const char *location, const cJSON *key,
                        cJSON **ret)
{
    CLEANUP(cJSON_Delete_p) cJSON *json = cJSON_CreateObject();
    CLEANUP(cJSON_Delete_p) cJSON *pair = cJSON_CreateObject();
    cJSON *meta = cJSON_AddObjectToObject(json, "metadata");
    cJSON *notes = cJSON_AddObjectToObject(meta, "annotations");
    cJSON *data = cJSON_AddObjectToObject(json, "stringData");
    AUTOFREE char *name = NULL;
    AUTOFREE char *text = NULL;
    int r = notes != NULL && data != NULL && pair != NULL ? 0 : -ENOMEM;

    r = r < 0 ? r : meta_set_text(pair, "accessKey", meta_text(key, "access_key"));
    r = r < 0 ? r : meta_set_text(pair, "secretKey", meta_text(key, "secret_key"));
    text = r == 0 ? cJSON_PrintUnformatted(pair) : NULL;
    if (text == NULL || asprintf(&name, "%s-s3", o->claim) < 0) {
        name = NULL;
        return -ENOMEM;
    }
    r = meta_set_text(json, "apiVersion", "v1");
    r = r < 0 ? r : meta_set_text(json, "kind", "Secret");
    r = r < 0 ? r : meta_set_text(meta, "name", name);
    r = r < 0 ? r : meta_set_text(meta, "namespace", o->space);
    r = r < 0 ? r : meta_set_text(notes, "skyvol.io/access-key", meta_text(key, "access_key"));
    r = r < 0 ? r : meta_set_text(data, "location", location);
    r = r < 0 ? r : meta_set_text(data, "endpoint", o->endpoint);
    r = r < 0 ? r : meta_set_text(data, "region", o->region);
    r = r < 0 ? r : meta_set_text(data, "credentials", text);
    explicit_bzero(text, strlen(text));
    if (r == 0) {
        *ret = TAKE(json);
    }
    return r;
}

/* As Kubernetes wants names: small letters, digits, '-' inside, parts by '.' if there may be. */
static bool is_kube_name(const char *name, size_t max, bool parts)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    size_t len = strlen(name);
    bool ok =
        len > 0 && len <= max && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len;

    for (size_t i = 0; ok && i < len; i++) {
        bool edge = i == 0 || i == len - 1 || name[i - 1] == '.' || name[i + 1] == '.';

        ok = strchr(letters, name[i]) != NULL || (name[i] == '-' && !edge) ||
             (name[i] == '.' && parts && i > 0 && i < len - 1 && name[i + 1] != '.');
    }
    return ok;
}

/* Before there is a key that no Secret can hold. */
static int check_names(const struct options *o, struct error *err)
{
    enum { CLAIM_MAX = 253 - (sizeof("-s3") - 1), SPACE_MAX = 63 };

    if (!is_kube_name(o->claim, CLAIM_MAX, true)) {
        return error_set(err, -EINVAL,
                         "--claim '%.64s' cannot be the name of a claim: small letters, digits, "
                         "'-' and '.', at most %d",
                         o->claim, CLAIM_MAX);
    }
    if (o->space != NULL && !is_kube_name(o->space, SPACE_MAX, false)) {
        return error_set(err, -EINVAL, "--namespace '%.64s' cannot be the name of a namespace",
                         o->space);
    }
    return 0;
}

static int make_secret(const void *options, cJSON **ret, struct error *err)
{
    struct options o = *(const struct options *)options;
    CLEANUP(cJSON_Delete_p) cJSON *volume = NULL;
    CLEANUP(cJSON_Delete_p) cJSON *key = NULL;
    AUTOFREE char *bucket = NULL;
    AUTOFREE char *location = NULL;
    AUTOFREE char *comment = NULL;
    const char *prefix;
    int r = check_names(&o, err);

    r = r < 0 ? r : meta_find_volume(&o.meta, o.meta.words.items[0], &volume, err);
    if (r < 0) {
        return r;
    }
    prefix = meta_text(volume, "prefix");
    bucket = strdup(meta_text(volume, "bucket"));
    if (prefix[0] != '\0' && !o.shared_bucket) {
        return error_set(err, -EPERM,
                         "the volume lies below %s in a bucket that it shares: a key would open "
                         "all of the bucket to whoever reads the Secret (--shared-bucket: it may)",
                         prefix);
    }
    if (bucket == NULL ||
        asprintf(&location, "s3://%s%s%s", bucket, prefix[0] != '\0' ? "/" : "", prefix) < 0) {
        location = NULL;
        return -ENOMEM;
    }
    if (asprintf(&comment, "%s/%s", o.space != NULL ? o.space : "", o.claim) < 0) {
        comment = NULL;
        return -ENOMEM;
    }
    o.buckets = (struct option_list){.items = &bucket, .count = 1};
    o.comment = comment;
    r = create(&o, &key, err);
    return r < 0 ? r : write_secret(&o, location, key, ret);
}

static int list(const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *all = cJSON_CreateArray();
    CLEANUP(cJSON_Delete_p) cJSON *whole = cJSON_CreateObject();
    CLEANUP(cJSON_Delete_p) cJSON *page = NULL;
    int r = all != NULL && whole != NULL ? 0 : -ENOMEM;
    bool more = true;

    while (r == 0 && more) {
        CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
        cJSON *keys, *key;

        r = in == NULL     ? -ENOMEM
            : page == NULL ? 0
                           : meta_set_text(in, "token", meta_text(page, "nextToken"));
        cJSON_Delete(page);
        page = NULL;
        r = r < 0 ? r : meta_call(&o->meta, KEYS, "ListAccessKeys", in, &page, err);
        keys = cJSON_GetObjectItemCaseSensitive(page, "keys");
        while (r == 0 && (key = cJSON_DetachItemFromArray(keys, 0)) != NULL) {
            (void)cJSON_AddItemToArray(all, key);
        }
        more = r == 0 && meta_text(page, "nextToken")[0] != '\0';
    }
    if (r == 0) {
        (void)cJSON_AddItemToObject(whole, "keys", TAKE(all));
        *ret = TAKE(whole);
    }
    return r;
}

static int set_disabled(const struct options *o, bool enable, cJSON **ret, struct error *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    int r = in != NULL ? meta_set_text(in, "id", o->meta.words.items[0]) : -ENOMEM;

    r = r < 0 ? r : meta_set_true(in, "enable", enable);
    return r < 0 ? r : meta_call(&o->meta, KEYS, "DisableAccessKey", in, ret, err);
}

static int disable(const void *options, cJSON **ret, struct error *err)
{
    return set_disabled(options, false, ret, err);
}

static int enable(const void *options, cJSON **ret, struct error *err)
{
    return set_disabled(options, true, ret, err);
}

static int delete (const void *options, cJSON **ret, struct error *err)
{
    const struct options *o = options;
    CLEANUP(cJSON_Delete_p) cJSON *in = cJSON_CreateObject();
    int r = in != NULL ? meta_set_text(in, "id", o->meta.words.items[0]) : -ENOMEM;

    return r < 0 ? r : meta_call(&o->meta, KEYS, "DeleteAccessKey", in, ret, err);
}

static int add_row(struct table *table, const cJSON *key)
{
    const cJSON *bucket, *list = cJSON_GetObjectItemCaseSensitive(key, "buckets");
    CLEANUP(buf_done) struct buf buckets = BUF_INIT(65536);
    time_t end = (time_t)(meta_number(key, "expiresNs") / 1000000000);
    bool disabled = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(key, "disabled"));
    struct tm tm = {0};
    char expires[32] = "never";

    cJSON_ArrayForEach(bucket, list)
    {
        buf_addf(&buckets, "%s%s", buf_len(&buckets) > 0 ? "," : "",
                 cJSON_GetStringValue(bucket) != NULL ? cJSON_GetStringValue(bucket) : "");
    }
    if (end != 0 && gmtime_r(&end, &tm) != NULL) {
        (void)strftime(expires, sizeof(expires), "%Y-%m-%dT%H:%M:%SZ", &tm);
    }
    return table_row(
        table, meta_text(key, "id"), buf_len(&buckets) > 0 ? buf_str(&buckets) : "(all)",
        cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(key, "readOnly")) ? "read" : "read, write",
        disabled                        ? "disabled"
        : end != 0 && end <= time(NULL) ? "expired"
                                        : "valid",
        expires, meta_text(key, "comment"));
}

static int print_keys(const cJSON *reply)
{
    CLEANUP(table_done)
    struct table table = TABLE_INIT("ACCESS KEY", "BUCKETS", "MAY", "STATE", "EXPIRES", "COMMENT");
    const cJSON *one = cJSON_GetObjectItemCaseSensitive(reply, "key"), *key;
    int r = one != NULL ? add_row(&table, one) : 0;

    cJSON_ArrayForEach(key, cJSON_GetObjectItemCaseSensitive(reply, "keys"))
    {
        r = r < 0 ? r : add_row(&table, key);
    }
    if (r == 0) {
        table_print(&table, stdout);
    }
    return r;
}

static int print_created(const cJSON *reply)
{
    return printf("access key: %s\nsecret key: %s\nKeep the secret: nobody will tell it again.\n",
                  meta_text(reply, "access_key"), meta_text(reply, "secret_key")) < 0
               ? -EIO
               : 0;
}

static int print_secret(const cJSON *reply)
{
    AUTOFREE char *text = cJSON_Print(reply);
    int r = text == NULL ? -ENOMEM : puts(text) < 0 ? -EIO : 0;

    if (text != NULL) {
        explicit_bzero(text, strlen(text));
    }
    return r;
}

static int print_deleted(const cJSON *reply)
{
    (void)reply;
    return puts("the access key is deleted; every skyvol-s3 refuses it within seconds") < 0 ? -EIO
                                                                                            : 0;
}

static int run_create(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        META_OPTIONS(struct options, meta),
        OPTION(struct options, buckets, OPTION_LIST, "bucket", "NAME", NULL,
               "bucket, or volume as skyvol-s3 names it, that the key is for; may be repeated"),
        OPTION(struct options, all_buckets, OPTION_BOOL, "all-buckets", NULL, NULL,
               "the key is for every bucket"),
        OPTION(struct options, read_only, OPTION_BOOL, "read-only", NULL, NULL,
               "the key changes nothing"),
        OPTION(struct options, expires_ms, OPTION_DURATION_MS, "expires", "TIME", "0s",
               "the key is valid for so long, as 30d; 0s: until it is deleted"),
        OPTION(struct options, requests, OPTION_NUMBER, "requests-per-second", "N", "0",
               "requests that skyvol-s3 lets the key make; 0, here and below: what it is "
               "configured with"),
        OPTION(struct options, burst, OPTION_NUMBER, "request-burst", "N", "0",
               "of them at once after a pause"),
        OPTION(struct options, concurrent, OPTION_NUMBER, "concurrent-requests", "N", "0",
               "requests of the key at a time"),
        OPTION(struct options, upload, OPTION_SIZE, "upload-rate", "SIZE", "0",
               "bytes a second from its clients, at least 1KiB"),
        OPTION(struct options, download, OPTION_SIZE, "download-rate", "SIZE", "0",
               "bytes a second to its clients, at least 1KiB"),
        OPTION(struct options, comment, OPTION_STRING, "comment", "TEXT", NULL,
               "whose it is, for people")};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "keys create",
                     "Create an access key for S3 clients. Its secret is shown once; --json prints "
                     "what a credentials file holds.",
                     NULL, 0, 0);

    return meta_run(&program, argc, argv, &(struct options){0}, create, print_created);
}

static int run_secret(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        META_OPTIONS(struct options, meta),
        {.name = "claim",
         .type = OPTION_STRING,
         .offset = offsetof(struct options, claim),
         .value = "NAME",
         .required = true,
         .help = "of the PersistentVolumeClaim: the Secret is NAME-s3"},
        OPTION(struct options, space, OPTION_STRING, "namespace", "NAME", NULL,
               "of the claim (default: kubectl's)"),
        OPTION(struct options, endpoint, OPTION_STRING, "endpoint", "URL",
               "http://skyvol-s3.skyvol-system.svc:9000", "where pods reach skyvol-s3"),
        OPTION(struct options, region, OPTION_STRING, "region", "NAME", "us-east-1",
               "that skyvol-s3 has"),
        OPTION(struct options, read_only, OPTION_BOOL, "read-only", NULL, NULL,
               "the key changes nothing"),
        OPTION(struct options, expires_ms, OPTION_DURATION_MS, "expires", "TIME", "0s",
               "the key is valid for so long, as 30d; 0s: until it is deleted"),
        OPTION(struct options, shared_bucket, OPTION_BOOL, "shared-bucket", NULL, NULL,
               "make a key for all of a bucket in which the volume is one of several")};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "keys secret",
                     "Create an access key for a volume's bucket, and print the Secret CLAIM-s3 by "
                     "which pods get it: ... | kubectl create -f -",
                     "VOLUME", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, make_secret, print_secret);
}

static int run_list(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program = META_PROGRAM(
        struct options, meta, "keys list", "List the access keys, without secrets.", NULL, 0, 0);

    return meta_run(&program, argc, argv, &(struct options){0}, list, print_keys);
}

static int run_disable(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program = META_PROGRAM(
        struct options, meta, "keys disable",
        "Disable an access key: every skyvol-s3 refuses it within seconds.", "ACCESS-KEY", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, disable, print_keys);
}

static int run_enable(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program = META_PROGRAM(
        struct options, meta, "keys enable", "Enable an access key again.", "ACCESS-KEY", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, enable, print_keys);
}

static int run_delete(int argc, char *const *argv)
{
    static const struct option_spec table[] = {META_OPTIONS(struct options, meta)};
    static const struct options_program program = META_PROGRAM(
        struct options, meta, "keys delete", "Delete an access key for good.", "ACCESS-KEY", 1, 1);

    return meta_run(&program, argc, argv, &(struct options){0}, delete, print_deleted);
}

static const struct command below[] = {
    {.name = "create", .summary = "create an access key", .run = run_create},
    {.name = "secret",
     .summary = "create one for a volume, as a Secret of Kubernetes",
     .run = run_secret},
    {.name = "list", .summary = "list the access keys", .run = run_list},
    {.name = "disable", .summary = "refuse an access key for now", .run = run_disable},
    {.name = "enable", .summary = "accept it again", .run = run_enable},
    {.name = "delete", .summary = "delete an access key", .run = run_delete},
};

const struct command command_keys = {
    .name = "keys",
    .summary = "access keys of S3 clients",
    .below = below,
    .below_count = sizeof(below) / sizeof(below[0]),
};
