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
};

#define KEYS &skyvol__meta__v1__access_keys__descriptor

/* The secret is in no JSON that is made of messages: there it would be "***". */
static int created_json(const Skyvol__Meta__V1__CreateAccessKeyResponse *reply, cJSON **ret)
{
    CLEANUP(cJSON_Delete_p) cJSON *json = cJSON_CreateObject();
    int r = json != NULL ? 0 : -ENOMEM;

    r = r < 0 ? r : meta_set_text(json, "access_key", reply->key->id);
    r = r < 0 ? r : meta_set_text(json, "secret_key", reply->secret);
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
