/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/session.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/encode.h"
#include "util/random.h"

enum { MAC_SIZE = 32, SECRET_BYTES = 30, END_MAX = 12 };
#define MAGIC "SVT1."

static int mac_of(const struct key_file_key *key, const char *purpose, struct slice body,
                  unsigned char ret[MAC_SIZE])
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(S3_SESSION_TOKEN_SIZE + 64);
    unsigned int len = 0;

    buf_addf(&text, "%s\n", purpose);
    buf_add(&text, body.data, body.len);
    if (buf_error(&text) != 0) {
        return buf_error(&text);
    }
    return HMAC(EVP_sha256(), key->bytes, KEY_FILE_KEY_SIZE, (const unsigned char *)buf_str(&text),
                buf_len(&text), ret, &len) != NULL
               ? 0
               : -ENOMEM;
}

static int secret_of(const struct key_file_key *key, struct slice body,
                     char ret[S3_SESSION_SECRET_SIZE])
{
    struct buf text = BUF_INIT(S3_SESSION_SECRET_SIZE);
    unsigned char mac[MAC_SIZE];
    int r = mac_of(key, "skyvol-session-secret", body, mac);

    if (r == 0) {
        encode_base64(&text, mac, SECRET_BYTES);
        r = buf_error(&text);
    }
    if (r == 0) {
        memcpy(ret, buf_str(&text), S3_SESSION_SECRET_SIZE);
    }
    explicit_bzero(mac, sizeof(mac));
    buf_wipe(&text);
    return r;
}

static void new_access_key(char ret[S3_SESSION_KEY_SIZE])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    unsigned char bytes[S3_SESSION_KEY_SIZE - 1 - 4];

    random_bytes(bytes, sizeof(bytes));
    memcpy(ret, "ASIA", 4);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        ret[4 + i] = digits[bytes[i] % 32];
    }
    ret[S3_SESSION_KEY_SIZE - 1] = '\0';
}

int s3_session_issue(const struct key_file *keys, const char *parent, int64_t expires_s,
                     struct s3_session *ret)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(S3_SESSION_TOKEN_SIZE - 1);
    const struct key_file_key *key = &keys->keys[0];
    unsigned char mac[MAC_SIZE];
    int r;

    if (strlen(parent) >= sizeof(ret->parent) || expires_s < 0) {
        return -EINVAL;
    }
    new_access_key(ret->access_key);
    buf_addf(&text, MAGIC "%s.%s.%" PRId64 ".", key->id, ret->access_key, expires_s);
    encode_hex(&text, parent, strlen(parent));
    r = buf_error(&text);
    r = r == 0 ? secret_of(key, slice_of(buf_str(&text)), ret->secret_key) : r;
    r = r == 0 ? mac_of(key, "skyvol-session-token", slice_of(buf_str(&text)), mac) : r;
    if (r != 0) {
        return r;
    }
    buf_addstr(&text, ".");
    encode_hex(&text, mac, sizeof(mac));
    if (buf_error(&text) != 0) {
        return buf_error(&text);
    }
    memcpy(ret->token, buf_str(&text), buf_len(&text) + 1);
    memcpy(ret->parent, parent, strlen(parent) + 1);
    ret->expires_s = expires_s;
    return 0;
}

/* What stands before the last dot, which goes with what is behind it. */
static struct slice cut_last(struct slice *text)
{
    const char *dot = text->len > 0 ? memrchr(text->data, '.', text->len) : NULL;
    struct slice last = *text;

    if (dot == NULL) {
        text->len = 0;
        return last;
    }
    text->len = (size_t)(dot - text->data);
    return (struct slice){dot + 1, last.len - text->len - 1};
}

/* From the end, since the id of a key may hold dots. False: not written by us. */
static bool read_fields(struct slice body, const char *access_key, struct s3_session *ret,
                        char id[KEY_FILE_ID_MAX + 1])
{
    struct slice parent = cut_last(&body), end = cut_last(&body), key = cut_last(&body);
    size_t len = 0;

    if (!slice_starts_with(body, slice_of(MAGIC)) || !slice_eq_str(key, access_key) ||
        key.len != S3_SESSION_KEY_SIZE - 1 || end.len == 0 || end.len > END_MAX ||
        body.len - strlen(MAGIC) > KEY_FILE_ID_MAX ||
        decode_hex(parent, ret->parent, sizeof(ret->parent) - 1, &len) != 0) {
        return false;
    }
    ret->parent[len] = '\0';
    ret->expires_s = 0;
    for (size_t i = 0; i < end.len; i++) {
        if (end.data[i] < '0' || end.data[i] > '9') {
            return false;
        }
        ret->expires_s = ret->expires_s * 10 + (end.data[i] - '0');
    }
    memcpy(id, body.data + strlen(MAGIC), body.len - strlen(MAGIC));
    id[body.len - strlen(MAGIC)] = '\0';
    memcpy(ret->access_key, access_key, S3_SESSION_KEY_SIZE);
    return true;
}

int s3_session_check(const struct key_file *keys, const char *access_key, const char *token,
                     int64_t now_s, struct s3_session *ret)
{
    unsigned char mac[MAC_SIZE], shown[MAC_SIZE];
    char id[KEY_FILE_ID_MAX + 1];
    struct slice body = slice_of(token), hex;
    const struct key_file_key *key;
    size_t len = 0;
    int r;

    if (body.len >= sizeof(ret->token)) {
        return -EACCES;
    }
    hex = cut_last(&body);
    if (decode_hex(hex, shown, sizeof(shown), &len) != 0 || len != sizeof(shown) ||
        !read_fields(body, access_key, ret, id)) {
        return -EACCES;
    }
    key = key_file_find(keys, id);
    if (key == NULL) {
        return -EACCES;
    }
    r = mac_of(key, "skyvol-session-token", body, mac);
    if (r == 0 && CRYPTO_memcmp(mac, shown, sizeof(mac)) != 0) {
        r = -EACCES;
    }
    r = r == 0 && now_s >= ret->expires_s ? -EKEYEXPIRED : r;
    r = r == 0 ? secret_of(key, body, ret->secret_key) : r;
    if (r == 0) {
        memcpy(ret->token, token, strlen(token) + 1);
    }
    return r;
}
