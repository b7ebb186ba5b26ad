/* SPDX-License-Identifier: Apache-2.0 */
/* Access keys of S3 clients: the service. Secrets are sealed, and told once, and to skyvol-s3. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metaserver/meta.h"
#include "s3/checksum.h"
#include "s3/names.h"
#include "util/clock.h"
#include "util/encode.h"
#include "util/log.h"
#include "util/random.h"

enum {
    BUCKETS_MAX = 100,
    BUCKETS_BYTES = BUCKETS_MAX * (S3_BUCKET_MAX + 1),
    COMMENT_MAX = 256,
    IDEMPOTENCY_MIN = 16,
    SECRET_BYTES = 30, /* 40 characters of base64 */
    SECRET_MAX = 256,
    SEALED_MAX = 1024,
    ID_SIZE = 3 + 20 + 1,
    CONTEXT_SIZE = 11 + 256,
    RESEAL_BYTES = 16 << 20,
    LIMIT_MAX = 1000000,
    LIMIT_BYTES_MIN = 1024
};
#define LIMIT_BYTES_MAX (UINT64_C(1) << 40)

/* What the seal is bound to: never the name of a store. */
static const char *context_of(const char *id, char text[CONTEXT_SIZE])
{
    (void)snprintf(text, CONTEXT_SIZE, "access-key/%.255s", id);
    return text;
}

/* The same request again, whose answer was lost, must not make a second key. */
static int id_of(const char *idempotency_key, char ret[ID_SIZE])
{
    char hex[2 * S3_CHECKSUM_MAX + 1] = "";
    int r = s3_checksum_hex_of(S3_CHECKSUM_SHA256, idempotency_key, strlen(idempotency_key), hex);

    (void)snprintf(ret, ID_SIZE, "SVK%.20s", hex);
    return r;
}

static int compare_names(const void *a, const void *b)
{
    char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

static int buckets_text(const Skyvol__Meta__V1__AccessKey *key, struct buf *out, struct error *err)
{
    if (key->n_buckets > BUCKETS_MAX) {
        return error_set(err, -EINVAL, "an access key has at most %d buckets", BUCKETS_MAX);
    }
    qsort(key->buckets, key->n_buckets, sizeof(*key->buckets), compare_names);
    for (size_t i = 0; i < key->n_buckets; i++) {
        if (!s3_bucket_valid(slice_of(key->buckets[i]))) {
            return error_set(err, -EINVAL, "\"%.70s\" cannot be a bucket", key->buckets[i]);
        }
        buf_addf(out, "%s\n", key->buckets[i]);
    }
    return buf_error(out);
}

static int check(const Skyvol__Meta__V1__CreateAccessKeyRequest *in, struct error *err)
{
    const Skyvol__Meta__V1__AccessKey *key = in->key;

    if (strlen(in->idempotency_key) < IDEMPOTENCY_MIN) {
        return error_set(err, -EINVAL, "the idempotency key needs at least %d bytes",
                         IDEMPOTENCY_MIN);
    }
    if (key == NULL || (key->n_buckets == 0) != (in->all_buckets != 0)) {
        return error_set(err, -EINVAL, "an access key is for buckets that are named, or for all");
    }
    if (strlen(key->comment) > COMMENT_MAX) {
        return error_set(err, -EINVAL, "the comment has at most %d bytes", COMMENT_MAX);
    }
    if (key->expires_ns != 0 && key->expires_ns <= clock_realtime_ns(clock_real())) {
        return error_set(err, -EINVAL, "the access key would have expired already");
    }
    return 0;
}

/* -EINVAL: skyvol-s3 would refuse them, and all other keys with them. */
static int limits_of(const Skyvol__Meta__V1__AccessKeyLimits *m, int64_t ret[DB_KEY_LIMITS],
                     struct error *err)
{
    const uint64_t values[DB_KEY_LIMITS] = {m->requests_per_second, m->request_burst,
                                            m->concurrent_requests, m->upload_rate,
                                            m->download_rate};

    for (size_t i = 0; i < DB_KEY_LIMITS; i++) {
        bool bytes = i >= 3;
        uint64_t min = bytes ? LIMIT_BYTES_MIN : 1, max = bytes ? LIMIT_BYTES_MAX : LIMIT_MAX;

        if (values[i] != 0 && (values[i] < min || values[i] > max)) {
            return error_set(err, -EINVAL,
                             bytes ? "a rate of an access key is 1 KiB to 1 TiB a second"
                                   : "a limit of an access key is at most 1000000");
        }
        ret[i] = (int64_t)values[i];
    }
    return 0;
}

static int limits_message(struct rpc_call *call, const struct db_key *row,
                          Skyvol__Meta__V1__AccessKeyLimits **ret)
{
    Skyvol__Meta__V1__AccessKeyLimits *m;
    int64_t any = 0;

    for (size_t i = 0; i < DB_KEY_LIMITS; i++) {
        any |= row->limits[i];
    }
    if (any == 0) {
        return 0;
    }
    m = rpc_call_message(call, &skyvol__meta__v1__access_key_limits__descriptor);
    if (m == NULL) {
        return -ENOMEM;
    }
    m->requests_per_second = (uint64_t)row->limits[0];
    m->request_burst = (uint64_t)row->limits[1];
    m->concurrent_requests = (uint64_t)row->limits[2];
    m->upload_rate = (uint64_t)row->limits[3];
    m->download_rate = (uint64_t)row->limits[4];
    *ret = m;
    return 0;
}

static int key_message(struct rpc_call *call, const struct db_key *row,
                       Skyvol__Meta__V1__AccessKey **ret)
{
    Skyvol__Meta__V1__AccessKey *m =
        rpc_call_message(call, &skyvol__meta__v1__access_key__descriptor);
    char *names = rpc_call_strdup(call, row->buckets);
    size_t count = 0;

    if (m == NULL || names == NULL) {
        return -ENOMEM;
    }
    for (const char *c = names; *c != '\0'; c++) {
        count += *c == '\n';
    }
    m->buckets = rpc_call_alloc(call, (count + 1) * sizeof(*m->buckets));
    m->id = rpc_call_strdup(call, row->id);
    m->comment = rpc_call_strdup(call, row->comment);
    if (m->buckets == NULL || m->id == NULL || m->comment == NULL) {
        return -ENOMEM;
    }
    for (char *end; m->n_buckets < count && (end = strchr(names, '\n')) != NULL;) {
        *end = '\0';
        m->buckets[m->n_buckets++] = names;
        names = end + 1;
    }
    m->read_only = row->read_only;
    m->disabled = row->disabled;
    m->expires_ns = row->expires_ns;
    m->created_ns = row->created_ns;
    *ret = m;
    return limits_message(call, row, &m->limits);
}

static int open_secret(struct rpc_call *call, const struct db_key *row, char **ret,
                       struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    CLEANUP(buf_wipe) struct buf plain = BUF_INIT(SECRET_MAX);
    char context[CONTEXT_SIZE];
    int r =
        seal_get(meta->seal, context_of(row->id, context), row->sealed, row->sealed_len, &plain);

    if (r != 0) {
        return error_set(err, r,
                         "the secret of access key %s cannot be opened: restore the key file, or "
                         "delete it and create another",
                         row->id);
    }
    *ret = rpc_call_strdup(call, buf_str(&plain));
    return *ret != NULL ? 0 : -ENOMEM;
}

/* A new secret for the row, which then lies in the database. */
static int add_row(struct meta *meta, struct db_key *row)
{
    CLEANUP(buf_wipe) struct buf plain = BUF_INIT(SECRET_MAX);
    CLEANUP(buf_done) struct buf sealed = BUF_INIT(SEALED_MAX);
    unsigned char bytes[SECRET_BYTES];
    char context[CONTEXT_SIZE];
    int r;

    random_bytes(bytes, sizeof(bytes));
    encode_base64(&plain, bytes, sizeof(bytes));
    explicit_bzero(bytes, sizeof(bytes));
    r = buf_error(&plain);
    r = r == 0 ? seal_put(meta->seal, context_of(row->id, context), buf_str(&plain), &sealed) : r;
    row->sealed = buf_str(&sealed);
    row->sealed_len = buf_len(&sealed);
    return r == 0 ? db_key_add(meta->db, row) : r;
}

static bool same_wish(const struct db_key *a, const struct db_key *b)
{
    return strcmp(a->buckets, b->buckets) == 0 && a->read_only == b->read_only &&
           a->expires_ns == b->expires_ns && strcmp(a->comment, b->comment) == 0 &&
           memcmp(a->limits, b->limits, sizeof(a->limits)) == 0;
}

static int create_key(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__CreateAccessKeyRequest *in = (const void *)request;
    Skyvol__Meta__V1__CreateAccessKeyResponse *out = (void *)reply;
    CLEANUP(buf_done) struct buf buckets = BUF_INIT(BUCKETS_BYTES);
    char id[ID_SIZE];
    struct db_key wish = {.id = id, .created_ns = clock_realtime_ns(clock_real())}, row;
    int r = check(in, err);

    r = r == 0 ? buckets_text(in->key, &buckets, err) : r;
    r = r == 0 && in->key->limits != NULL ? limits_of(in->key->limits, wish.limits, err) : r;
    r = r == 0 ? id_of(in->idempotency_key, id) : r;
    if (r != 0) {
        return r;
    }
    wish.buckets = buf_str(&buckets);
    wish.read_only = in->key->read_only;
    wish.expires_ns = in->key->expires_ns;
    wish.comment = in->key->comment;
    wish.disabled = in->key->disabled;
    r = add_row(meta, &wish);
    if (r != 0 && r != -EEXIST) {
        return error_set(err, r,
                         r == -ENOSPC ? "there are %d access keys: delete some first"
                                      : "cannot keep the access key",
                         DB_KEYS_MAX);
    }
    r = db_key_get(meta->db, id, rpc_call_arena(call), &row);
    if (r == 0 && !same_wish(&row, &wish)) {
        return error_set(err, -EINVAL, "the idempotency key was used for another access key");
    }
    r = r == 0 ? open_secret(call, &row, &out->secret, err) : r;
    return r == 0 ? key_message(call, &row, &out->key) : r;
}

static int list_keys(struct rpc_call *call, const ProtobufCMessage *request,
                     ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__ListAccessKeysRequest *in = (const void *)request;
    Skyvol__Meta__V1__ListAccessKeysResponse *out = (void *)reply;
    uint32_t max =
        in->max_entries == 0 || in->max_entries > DB_LIST_MAX ? DB_LIST_MAX : in->max_entries;
    struct db_key *rows;
    size_t count;
    int r = db_key_list(meta->db, in->token, max + 1, rpc_call_arena(call), &rows, &count);

    if (r != 0) {
        return error_set(err, r, "cannot list the access keys");
    }
    if (count > max) {
        count = max;
        out->next_token = rpc_call_strdup(call, rows[max - 1].id);
        r = out->next_token == NULL ? -ENOMEM : 0;
    }
    out->keys = rpc_call_alloc(call, (count + 1) * sizeof(*out->keys));
    r = out->keys == NULL ? -ENOMEM : r;
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = key_message(call, &rows[i], &out->keys[i]);
        out->n_keys = i + 1;
    }
    return r;
}

static int disable_key(struct rpc_call *call, const ProtobufCMessage *request,
                       ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__DisableAccessKeyRequest *in = (const void *)request;
    Skyvol__Meta__V1__DisableAccessKeyResponse *out = (void *)reply;
    struct db_key row;
    int r = db_key_disable(meta->db, in->id, !in->enable);

    r = r == 0 ? db_key_get(meta->db, in->id, rpc_call_arena(call), &row) : r;
    return r != 0 ? error_set(err, r, "no access key \"%.100s\"", in->id)
                  : key_message(call, &row, &out->key);
}

static int delete_key(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__DeleteAccessKeyRequest *in = (const void *)request;
    int r = db_key_delete(meta->db, in->id);

    (void)reply;
    return r != 0 && r != -ENOENT ? error_set(err, r, "cannot delete the access key") : 0;
}

static int fetch_rows(struct rpc_call *call, Skyvol__Meta__V1__FetchAccessKeysResponse *out)
{
    struct meta *meta = rpc_call_context(call);
    int64_t now = clock_realtime_ns(clock_real());
    struct db_key *rows;
    size_t count;
    int r = db_key_list(meta->db, "", DB_KEYS_MAX, rpc_call_arena(call), &rows, &count);

    out->keys = r == 0 ? rpc_call_alloc(call, (count + 1) * sizeof(*out->keys)) : NULL;
    out->secrets = r == 0 ? rpc_call_alloc(call, (count + 1) * sizeof(*out->secrets)) : NULL;
    r = r == 0 && (out->keys == NULL || out->secrets == NULL) ? -ENOMEM : r;
    for (size_t i = 0; r == 0 && i < count; i++) {
        struct error why = ERROR_INIT;

        if (rows[i].disabled || (rows[i].expires_ns != 0 && rows[i].expires_ns <= now)) {
            continue;
        }
        r = open_secret(call, &rows[i], &out->secrets[out->n_secrets], &why);
        if (r == -EBADMSG || r == -ENOKEY) {
            log_error("an access key is left out", "error", why.text, NULL);
            r = 0; /* one that is lost does not keep the others away */
            continue;
        }
        out->n_secrets += r == 0;
        r = r == 0 ? key_message(call, &rows[i], &out->keys[out->n_keys]) : r;
        out->n_keys += r == 0;
    }
    return r;
}

static int fetch_keys(struct rpc_call *call, const ProtobufCMessage *request,
                      ProtobufCMessage *reply, struct error *err)
{
    struct meta *meta = rpc_call_context(call);
    const Skyvol__Meta__V1__FetchAccessKeysRequest *in = (const void *)request;
    Skyvol__Meta__V1__FetchAccessKeysResponse *out = (void *)reply;
    const char *revision;
    /* before the keys are read: what changes meanwhile is fetched again */
    int r = db_key_revision(meta->db, rpc_call_arena(call), &revision);

    if (r == 0) {
        out->revision = rpc_call_strdup(call, revision);
        r = out->revision == NULL ? -ENOMEM : 0;
    }
    if (r == 0 && strcmp(in->revision, revision) == 0) {
        out->unchanged = true;
        return 0;
    }
    r = r == 0 ? fetch_rows(call, out) : r;
    return r != 0 ? error_set(err, r, "cannot read the access keys") : 0;
}

static int reseal_one(struct meta *meta, const struct db_key *row)
{
    CLEANUP(buf_wipe) struct buf plain = BUF_INIT(SECRET_MAX);
    CLEANUP(buf_done) struct buf sealed = BUF_INIT(SEALED_MAX);
    char context[CONTEXT_SIZE];
    int r;

    (void)context_of(row->id, context);
    r = seal_get(meta->seal, context, row->sealed, row->sealed_len, &plain);
    if (r != 0 || seal_is_newest(meta->seal, row->sealed, row->sealed_len)) {
        return r;
    }
    r = seal_put(meta->seal, context, buf_str(&plain), &sealed);
    return r == 0 ? db_key_seal(meta->db, row->id, buf_str(&sealed), buf_len(&sealed)) : r;
}

void meta_keys_reseal(struct meta *meta)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(RESEAL_BYTES);
    struct db_key *rows = NULL;
    size_t count = 0;
    int r = db_key_list(meta->db, "", DB_KEYS_MAX, &arena, &rows, &count);

    for (size_t i = 0; r == 0 && i < count; i++) {
        int failed = reseal_one(meta, &rows[i]);

        if (failed != 0) {
            log_error("an access key cannot be opened: restore the key file, or delete it", "key",
                      rows[i].id, "error", strerrordesc_np(-failed), NULL);
        }
    }
    if (r != 0) {
        log_error("access keys are not sealed anew", "error", strerrordesc_np(-r), NULL);
    }
}

const struct rpc_method meta_key_methods[5] = {
    {.name = "CreateAccessKey", .unary = create_key},
    {.name = "ListAccessKeys", .unary = list_keys},
    {.name = "DisableAccessKey", .unary = disable_key},
    {.name = "DeleteAccessKey", .unary = delete_key},
    {.name = "FetchAccessKeys", .unary = fetch_keys},
};
