/* SPDX-License-Identifier: Apache-2.0 */
#include "metaserver/seal.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/encode.h"
#include "util/file.h"
#include "util/log.h"
#include "util/mutex.h"
#include "util/random.h"

enum { KEYS_MAX = 16, KEY_SIZE = 32, NONCE_SIZE = 12, TAG_SIZE = 16, ID_MAX = 32, FILE_MAX = 4096 };
#define MAGIC "SK1"

struct key {
    char id[ID_MAX + 1];
    unsigned char bytes[KEY_SIZE];
};

struct seal {
    struct mutex lock;
    char *file;
    struct key keys[KEYS_MAX];
    size_t count;
};

static int make_file(const char *file)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(FILE_MAX);
    unsigned char key[KEY_SIZE];
    int ret;

    if (access(file, F_OK) == 0) {
        return 0; /* perhaps on a read-only mount, where file_create could not even try */
    }
    random_bytes(key, sizeof(key));
    buf_addstr(&text, "k1 ");
    encode_hex(&text, key, sizeof(key));
    buf_addstr(&text, "\n");
    ret = buf_error(&text) != 0 ? buf_error(&text) : file_make_parent(file, 0700);
    ret = ret != 0 ? ret : file_create(file, buf_str(&text), buf_len(&text), 0600);
    explicit_bzero(key, sizeof(key));
    if (text.data != NULL) {
        explicit_bzero(text.data, text.cap);
    }
    return ret == -EEXIST ? 0 : ret;
}

static int parse_line(const char *line, size_t len, struct key *ret)
{
    const char *space = memchr(line, ' ', len);
    size_t id = space != NULL ? (size_t)(space - line) : 0;
    size_t got = 0;

    if (id == 0 || id > ID_MAX) {
        return -EINVAL;
    }
    memcpy(ret->id, line, id);
    ret->id[id] = '\0';
    return decode_hex((struct slice){space + 1, len - id - 1}, ret->bytes, KEY_SIZE, &got) != 0 ||
                   got != KEY_SIZE
               ? -EINVAL
               : 0;
}

int seal_reload(struct seal *seal, struct error *err)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(FILE_MAX);
    struct key keys[KEYS_MAX] = {0};
    size_t count = 0;
    int ret = file_read(seal->file, &text);
    const char *line = buf_str(&text);

    if (ret != 0) {
        return error_set(err, ret, "cannot read the key file %s: %s", seal->file, strerror(-ret));
    }
    while (*line != '\0' && ret == 0 && count < KEYS_MAX) {
        size_t len = strcspn(line, "\n");

        if (len > 0 && line[0] != '#') {
            ret = parse_line(line, len, &keys[count++]);
        }
        line += len + (line[len] == '\n');
    }
    if (ret == 0 && count > 0) {
        mutex_lock(&seal->lock);
        memcpy(seal->keys, keys, sizeof(keys));
        seal->count = count;
        mutex_unlock(&seal->lock);
    }
    explicit_bzero(keys, sizeof(keys));
    if (text.data != NULL) {
        explicit_bzero(text.data, text.cap);
    }
    if (ret != 0 || count == 0) {
        return error_set(err, -EINVAL, "key file %s: each line is \"ID HEX\", with 64 hex digits",
                         seal->file);
    }
    return 0;
}

int seal_open(const char *key_file, struct seal **ret, struct error *err)
{
    CLEANUP(seal_close_p) struct seal *seal = calloc(1, sizeof(*seal));
    struct stat st;
    int r;

    if (seal == NULL || (seal->file = strdup(key_file)) == NULL) {
        return error_set(err, -ENOMEM, "out of memory");
    }
    mutex_init(&seal->lock);
    r = make_file(key_file);
    if (r != 0) {
        return error_set(err, r, "cannot make the key file %s: %s", key_file, strerror(-r));
    }
    if (stat(key_file, &st) == 0 && (st.st_mode & S_IRWXO) != 0) {
        log_warn("others may read the key file: chmod o= it", "file", key_file, NULL);
    }
    r = seal_reload(seal, err);
    if (r == 0) {
        *ret = TAKE(seal);
    }
    return r;
}

void seal_close(struct seal *seal)
{
    if (seal != NULL) {
        explicit_bzero(seal->keys, sizeof(seal->keys));
        free(seal->file);
        free(seal);
    }
}

static bool find_key(struct seal *seal, const char *id, struct key *ret)
{
    bool found = false;

    mutex_lock(&seal->lock);
    for (size_t i = 0; i < seal->count && !found; i++) {
        found = id == NULL || strcmp(seal->keys[i].id, id) == 0;
        if (found) {
            *ret = seal->keys[i];
        }
    }
    mutex_unlock(&seal->lock);
    return found;
}

static bool encrypt(const struct key *key, const unsigned char *nonce, const char *context,
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
    struct key key;
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

static bool decrypt(const struct key *key, const unsigned char *nonce, const char *context,
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
    char id[ID_MAX + 1] = "";
    struct key key;
    size_t id_len;
    size_t cipher_len;
    AUTOFREE unsigned char *plain = NULL;
    bool ok;

    if (len < head || memcmp(bytes, MAGIC, strlen(MAGIC)) != 0) {
        return -EBADMSG;
    }
    id_len = bytes[head - 1];
    if (id_len > ID_MAX || len < head + id_len + NONCE_SIZE + TAG_SIZE) {
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
    struct key key;
    bool newest = find_key(seal, NULL, &key) && len > head &&
                  memcmp(bytes, MAGIC, strlen(MAGIC)) == 0 && bytes[head - 1] == strlen(key.id) &&
                  len - head > strlen(key.id) && memcmp(bytes + head, key.id, strlen(key.id)) == 0;

    explicit_bzero(&key, sizeof(key));
    return newest;
}
