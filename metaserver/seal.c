/* SPDX-License-Identifier: Apache-2.0 */
#include "metaserver/seal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "util/key_file.h"
#include "util/mutex.h"
#include "util/random.h"

enum { NONCE_SIZE = 12, TAG_SIZE = 16 };
#define MAGIC "SK1"

struct seal {
    struct mutex lock;
    char *file;
    struct key_file keys;
};

int seal_reload(struct seal *seal, struct error *err)
{
    struct key_file keys;
    int ret = key_file_read(seal->file, &keys, err);

    if (ret == 0) {
        mutex_lock(&seal->lock);
        seal->keys = keys;
        mutex_unlock(&seal->lock);
        key_file_wipe(&keys);
    }
    return ret;
}

int seal_open(const char *key_file, struct seal **ret, struct error *err)
{
    CLEANUP(seal_close_p) struct seal *seal = calloc(1, sizeof(*seal));
    int r;

    if (seal == NULL || (seal->file = strdup(key_file)) == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    mutex_init(&seal->lock);
    r = key_file_make(key_file, err);
    r = r == 0 ? seal_reload(seal, err) : r;
    if (r == 0) {
        *ret = TAKE(seal);
    }
    return r;
}

void seal_close(struct seal *seal)
{
    if (seal != NULL) {
        key_file_wipe(&seal->keys);
        free(seal->file);
        free(seal);
    }
}

/* NULL: the one that seals. */
static bool find_key(struct seal *seal, const char *id, struct key_file_key *ret)
{
    const struct key_file_key *key;

    mutex_lock(&seal->lock);
    key = id == NULL ? &seal->keys.keys[0] : key_file_find(&seal->keys, id);
    if (key != NULL) {
        *ret = *key;
    }
    mutex_unlock(&seal->lock);
    return key != NULL;
}

static bool encrypt(const struct key_file_key *key, const unsigned char *nonce, const char *context,
                    const char *secret, unsigned char *out, unsigned char *tag)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len = 0;
    bool ok =
        ctx != NULL && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->bytes, nonce) == 1 &&
        EVP_EncryptUpdate(ctx, NULL, &len, (const unsigned char *)context, (int)strlen(context)) ==
            1 &&
        EVP_EncryptUpdate(ctx, out, &len, (const unsigned char *)secret, (int)strlen(secret)) ==
            1 &&
        EVP_EncryptFinal_ex(ctx, out + len, &len) == 1 &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, tag) == 1;

    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

int seal_put(struct seal *seal, const char *context, const char *secret, struct buf *out)
{
    struct key_file_key key;
    unsigned char nonce[NONCE_SIZE];
    unsigned char tag[TAG_SIZE];
    size_t len = strlen(secret);
    AUTOFREE unsigned char *cipher = malloc(len + 16);
    unsigned char id_len;
    bool ok;

    if (cipher == NULL || !find_key(seal, NULL, &key)) {
        return cipher == NULL ? -ENOMEM : -ENOKEY;
    }
    random_bytes(nonce, sizeof(nonce));
    ok = encrypt(&key, nonce, context, secret, cipher, tag);
    id_len = (unsigned char)strlen(key.id);
    buf_addstr(out, MAGIC);
    buf_add(out, &id_len, 1);
    buf_addstr(out, key.id);
    buf_add(out, nonce, sizeof(nonce));
    buf_add(out, cipher, len);
    buf_add(out, tag, sizeof(tag));
    explicit_bzero(&key, sizeof(key));
    return ok ? buf_error(out) : -EIO;
}

static bool decrypt(const struct key_file_key *key, const unsigned char *nonce, const char *context,
                    const unsigned char *cipher, int cipher_len, unsigned char *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    unsigned char tag[TAG_SIZE];
    int len = 0;
    bool ok;

    memcpy(tag, cipher + cipher_len, TAG_SIZE);
    ok = ctx != NULL && EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->bytes, nonce) == 1 &&
         EVP_DecryptUpdate(ctx, NULL, &len, (const unsigned char *)context, (int)strlen(context)) ==
             1 &&
         EVP_DecryptUpdate(ctx, out, &len, cipher, cipher_len) == 1 &&
         EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, tag) == 1 &&
         EVP_DecryptFinal_ex(ctx, out + len, &len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

int seal_get(struct seal *seal, const char *context, const void *sealed, size_t len,
             struct buf *out)
{
    const unsigned char *bytes = sealed;
    size_t head = strlen(MAGIC) + 1;
    char id[KEY_FILE_ID_MAX + 1] = "";
    struct key_file_key key;
    size_t id_len;
    size_t cipher_len;
    AUTOFREE unsigned char *plain = NULL;
    bool ok;

    if (len < head || memcmp(bytes, MAGIC, strlen(MAGIC)) != 0) {
        return -EBADMSG;
    }
    id_len = bytes[head - 1];
    if (id_len > KEY_FILE_ID_MAX || len < head + id_len + NONCE_SIZE + TAG_SIZE) {
        return -EBADMSG;
    }
    memcpy(id, bytes + head, id_len);
    if (!find_key(seal, id, &key)) {
        return -ENOKEY;
    }
    cipher_len = len - head - id_len - NONCE_SIZE - TAG_SIZE;
    plain = malloc(cipher_len + 16);
    ok = plain != NULL && decrypt(&key, bytes + head + id_len, context,
                                  bytes + head + id_len + NONCE_SIZE, (int)cipher_len, plain);
    explicit_bzero(&key, sizeof(key));
    if (!ok) {
        return plain == NULL ? -ENOMEM : -EBADMSG;
    }
    buf_add(out, plain, cipher_len);
    explicit_bzero(plain, cipher_len);
    return buf_error(out);
}

bool seal_is_newest(struct seal *seal, const void *sealed, size_t len)
{
    size_t head = strlen(MAGIC) + 1;
    const unsigned char *bytes = sealed;
    struct key_file_key key;
    bool newest = find_key(seal, NULL, &key) && len > head &&
                  memcmp(bytes, MAGIC, strlen(MAGIC)) == 0 && bytes[head - 1] == strlen(key.id) &&
                  len - head > strlen(key.id) && memcmp(bytes + head, key.id, strlen(key.id)) == 0;

    explicit_bzero(&key, sizeof(key));
    return newest;
}
