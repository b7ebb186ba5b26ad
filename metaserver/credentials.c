/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials of stores: sealed in the database, opened for whoever calls a store, renewed when the
 * store accepts others, and sealed anew under the newest key.
 */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "metaserver/meta.h"
#include "objstore/objstore_call.h"
#include "s3/error.h"
#include "util/log.h"

enum { SEALED_MAX = 32768, PLAIN_MAX = 16384, CHECK_MS = 15000, LOOK_MS = 5000 };

/* Why seal_get() failed, for a person. */
static const char *refusal(int r)
{
    return r == -ENOKEY    ? "their key is not in the key file"
           : r == -EBADMSG ? "they were changed, or the key file has another key of that name"
                           : strerrordesc_np(-r);
}

int meta_unseal(struct meta *meta, const struct db_store *store, struct mount_credentials *ret,
                struct error *err)
{
    CLEANUP(buf_wipe) struct buf text = BUF_INIT(PLAIN_MAX);
    int r;

    memset(ret, 0, sizeof(*ret));
    if (store->sealed == NULL) {
        return 0;
    }
    r = seal_get(meta->seal, store->name, store->sealed, store->sealed_len, &text);
    if (r != 0) {
        return error_set(err, r, "the credentials of store %s cannot be opened: %s", store->name,
                         refusal(r));
    }
    return mount_credentials_parse(buf_str(&text), ret, err);
}

int meta_credentials_message(struct meta *meta, struct rpc_call *call, const struct db_store *store,
                             Skyvol__Meta__V1__Credentials **ret, struct error *err)
{
    struct mount_credentials c = {0};
    int r = meta_unseal(meta, store, &c, err);
    Skyvol__Meta__V1__Credentials *m;

    *ret = NULL;
    if (r == 0 && c.access_key != NULL) {
        m = rpc_call_message(call, &skyvol__meta__v1__credentials__descriptor);
        r = m == NULL ? -ENOMEM : 0;
        if (r == 0) {
            m->access_key = rpc_call_strdup(call, c.access_key);
            m->secret_key = rpc_call_strdup(call, c.secret_key);
            if (c.session_token != NULL) {
                m->session_token = rpc_call_strdup(call, c.session_token);
            }
            r = m->access_key == NULL || m->secret_key == NULL ? -ENOMEM : 0;
            *ret = m;
        }
    }
    mount_credentials_done(&c);
    return r;
}

/* The same, borrowed. */
static struct mount_credentials plain_of(const Skyvol__Meta__V1__Credentials *c)
{
    return (struct mount_credentials){c->access_key, c->secret_key,
                                      c->session_token[0] != '\0' ? c->session_token : NULL};
}

int meta_seal(struct meta *meta, const char *store, const Skyvol__Meta__V1__Credentials *c,
              struct buf *out)
{
    const struct mount_credentials plain = plain_of(c);
    CLEANUP(buf_wipe) struct buf text = BUF_INIT(PLAIN_MAX);

    mount_credentials_format(&plain, &text);
    return buf_error(&text) != 0 ? buf_error(&text)
                                 : seal_put(meta->seal, store, buf_str(&text), out);
}

/* ---- others ---- */

static bool same_text(const char *a, const char *b)
{
    size_t len = a != NULL ? strlen(a) : 0;

    return len == (b != NULL ? strlen(b) : 0) && (len == 0 || CRYPTO_memcmp(a, b, len) == 0);
}

static bool same_credentials(const struct mount_credentials *a,
                             const Skyvol__Meta__V1__Credentials *b)
{
    return same_text(a->access_key, b->access_key) && same_text(a->secret_key, b->secret_key) &&
           same_text(a->session_token, b->session_token);
}

/* A pair that may not list buckets is a good one all the same: the store knows whose it is. */
static int ask_store(struct meta *meta, const struct db_store *row,
                     const Skyvol__Meta__V1__Credentials *c, uint32_t timeout_ms, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct mount_credentials plain = {NULL, NULL, NULL};
    struct objstore_request list = {.op = OBJSTORE_BUCKET_LIST, .timeout_ms = timeout_ms};
    struct objstore *store = NULL;
    int r;

    if (c != NULL && c->access_key[0] != '\0') {
        plain = plain_of(c);
    }
    r = meta_store_open(meta, row, &plain, &store, err);
    if (r != 0) {
        return r;
    }
    r = objstore_call(store, &list, &answer);
    objstore_free(store);
    if (r == 0 || (r == -EACCES && answer.result.s3_code == (int)S3_ACCESS_DENIED)) {
        return 0;
    }
    return error_set(err, r, "%s", error_text(&answer.result.error, r));
}

static int check_accepted(struct meta *meta, const struct db_store *row,
                          const Skyvol__Meta__V1__Credentials *c, struct error *err)
{
    struct error why = ERROR_INIT;
    int r = ask_store(meta, row, c, CHECK_MS, &why);

    return r == 0 ? 0
                  : error_set(err, r,
                              "it exists with other credentials, and does not accept these: "
                              "%s",
                              error_text(&why, r));
}

int meta_look(struct meta *meta, const struct db_store *row,
              const Skyvol__Meta__V1__Credentials *credentials, struct error *err)
{
    struct error why = ERROR_INIT;
    int r = strncmp(row->location, "s3://", 5) == 0
                ? ask_store(meta, row, credentials, LOOK_MS, &why)
                : 0;

    if (r == -EACCES) {
        return error_set(err, r,
                         "the store does not accept these keys (%s): give it others by store "
                         "add with the same name",
                         error_text(&why, r));
    }
    return r == 0 ? 0
                  : error_set(err, r,
                              "the store does not answer as it should (%s): is --endpoint "
                              "right, and can skyvol-meta reach it? Its volumes wait for it",
                              error_text(&why, r));
}

int meta_renew(struct meta *meta, const struct db_store *row,
               const Skyvol__Meta__V1__Credentials *credentials, struct error *err)
{
    CLEANUP(buf_wipe) struct buf sealed = BUF_INIT(SEALED_MAX);
    struct mount_credentials old = {0};
    /* Old ones that cannot be opened (their key is lost) are no reason to refuse new ones. */
    bool same = meta_unseal(meta, row, &old, NULL) == 0 && same_credentials(&old, credentials);
    int r = 0;

    mount_credentials_done(&old);
    if (same) {
        return 0;
    }
    r = check_accepted(meta, row, credentials, err);
    if (r == 0 && temporary_wanted(row)) {
        const struct mount_credentials fresh = plain_of(credentials);

        r = temporary_check(meta, row, &fresh, err);
    }
    r = r == 0 ? meta_seal(meta, row->name, credentials, &sealed) : r;
    r = r == 0 ? db_store_seal(meta->db, row->name, buf_str(&sealed), buf_len(&sealed)) : r;
    if (r != 0) {
        return error_set(err, r, "store %s: %s", row->name, error_text(err, r));
    }
    meta_store_forget(meta, row->name);
    log_info("credentials renewed", "store", row->name, NULL);
    return 0;
}

/* ---- another key ---- */

static int reseal_one(struct meta *meta, const struct db_store *row)
{
    CLEANUP(buf_wipe) struct buf plain = BUF_INIT(PLAIN_MAX);
    CLEANUP(buf_wipe) struct buf sealed = BUF_INIT(SEALED_MAX);
    int r = seal_get(meta->seal, row->name, row->sealed, row->sealed_len, &plain);

    r = r == 0 ? seal_put(meta->seal, row->name, buf_str(&plain), &sealed) : r;
    return r == 0 ? db_store_seal(meta->db, row->name, buf_str(&sealed), buf_len(&sealed)) : r;
}

static bool opens(struct meta *meta, const struct db_store *row)
{
    CLEANUP(buf_wipe) struct buf plain = BUF_INIT(PLAIN_MAX);

    return seal_get(meta->seal, row->name, row->sealed, row->sealed_len, &plain) == 0;
}

void meta_reseal(struct meta *meta)
{
    CLEANUP(arena_done) struct arena arena = ARENA_INIT(16 << 20);
    struct db_store *rows = NULL;
    size_t count = 0;
    size_t done = 0;

    if (db_store_list(meta->db, &arena, &rows, &count) != 0) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        int r = 0;

        if (rows[i].sealed == NULL ||
            (seal_is_newest(meta->seal, rows[i].sealed, rows[i].sealed_len) &&
             opens(meta, &rows[i]))) {
            continue;
        }
        r = reseal_one(meta, &rows[i]);
        done += r == 0;
        if (r != 0) {
            log_error("credentials cannot be opened: restore the key file, or add the store again",
                      "store", rows[i].name, "error", refusal(r), NULL);
        }
    }
    if (done > 0) {
        log_info("credentials sealed under the newest key", "stores", log_num(done), NULL);
    }
}
