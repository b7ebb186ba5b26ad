/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.c - certificate files to gRPC credentials.
 *
 * Renewal writes three files one by one, so a look in between sees a key without its certificate:
 * such a set is refused, the old one stays, and the next change is looked at again.
 */
#include "rpc/tls_private.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "util/buf.h"
#include "util/cleanup.h"
#include "util/log.h"

enum { CA, CERT, KEY, PEM_MAX = 1 << 20 };

static const char *const file_kind[TLS_FILES] = {"authority", "certificate", "key"};

int tls_files_init(struct tls_files *files, const struct rpc_tls *tls)
{
    *files = (struct tls_files){0};
    mutex_init(&files->lock);
    if (tls == NULL) {
        return 0;
    }
    const char *const paths[TLS_FILES] = {tls->ca_file, tls->cert_file, tls->key_file};

    for (int i = 0; i < TLS_FILES; i++) {
        files->path[i] = strdup(paths[i] != NULL ? paths[i] : "");
        if (files->path[i] == NULL) {
            tls_files_done(files);
            return -ENOMEM;
        }
    }
    return 0;
}

void tls_files_done(struct tls_files *files)
{
    for (int i = 0; i < TLS_FILES; i++) {
        free(files->path[i]);
        files->path[i] = NULL;
    }
    mutex_done(&files->lock);
}

void tls_texts_done(struct tls_texts *texts)
{
    for (int i = 0; i < TLS_FILES; i++) {
        if (texts->text[i] != NULL) {
            OPENSSL_cleanse(texts->text[i], strlen(texts->text[i]));
            free(texts->text[i]);
            texts->text[i] = NULL;
        }
    }
}

static X509 *first_certificate(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    return certificate;
}

static int no_passphrase(char *text, int size, int writing, void *context)
{
    (void)text;
    (void)size;
    (void)writing;
    (void)context;
    return -1; /* else OpenSSL would ask at the terminal */
}

static EVP_PKEY *private_key(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;

    BIO_free(bio);
    return key;
}

static int check_texts(const struct tls_files *files, const struct tls_texts *texts,
                       struct error *err)
{
    X509 *ca = first_certificate(texts->text[CA]);
    X509 *certificate = first_certificate(texts->text[CERT]);
    EVP_PKEY *key = private_key(texts->text[KEY]);
    int r = 0;

    if (ca == NULL) {
        r = error_set(err, -EINVAL, "%s: holds no PEM certificate", files->path[CA]);
    } else if (certificate == NULL) {
        r = error_set(err, -EINVAL, "%s: holds no PEM certificate", files->path[CERT]);
    } else if (key == NULL) {
        r = error_set(err, -EINVAL, "%s: holds no unencrypted PEM private key", files->path[KEY]);
    } else if (X509_check_private_key(certificate, key) != 1) {
        r = error_set(err, -EINVAL, "%s is not the key of %s", files->path[KEY], files->path[CERT]);
    }
    EVP_PKEY_free(key);
    X509_free(certificate);
    X509_free(ca);
    return r;
}

int tls_files_load(struct tls_files *files, struct tls_texts *ret, struct error *err)
{
    struct tls_texts texts = {{NULL}};
    int r = 0;

    for (int i = 0; i < TLS_FILES && r == 0; i++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(PEM_MAX);

        r = file_read(files->path[i], &text);
        if (r == 0) {
            r = buf_detach(&text, &texts.text[i], NULL);
        }
        if (r < 0) {
            r = error_set(err, r, "cannot read the TLS %s file '%s': %s", file_kind[i],
                          files->path[i], strerror(-r));
        }
    }
    if (r == 0) {
        r = check_texts(files, &texts, err);
    }
    if (r < 0) {
        tls_texts_done(&texts);
        return r;
    }
    *ret = texts;
    return 0;
}

bool tls_files_changed(struct tls_files *files)
{
    struct tls_stamps now = {0};
    bool changed = false;

    for (int i = 0; i < TLS_FILES; i++) {
        if (file_stamp(files->path[i], &now.file[i]) < 0) {
            return false; /* being replaced, or gone: what we have stays */
        }
    }
    mutex_lock(&files->lock);
    for (int i = 0; i < TLS_FILES; i++) {
        changed = changed || !file_stamp_eq(&now.file[i], &files->seen.file[i]);
    }
    files->seen = now;
    mutex_unlock(&files->lock);
    return changed;
}

/* gRPC asks before each handshake. */
static grpc_ssl_certificate_config_reload_status fetch(void *context,
                                                       grpc_ssl_server_certificate_config **ret)
{
    struct tls_files *files = context;
    struct tls_texts texts;
    struct error err = ERROR_INIT;
    int r;

    if (!tls_files_changed(files)) {
        return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    r = tls_files_load(files, &texts, &err);
    if (r < 0) {
        log_warn("new certificates cannot be used, the old ones stay", "error", error_text(&err, r),
                 NULL);
        return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    }
    grpc_ssl_pem_key_cert_pair pair = {.private_key = texts.text[KEY],
                                       .cert_chain = texts.text[CERT]};
    *ret = grpc_ssl_server_certificate_config_create(texts.text[CA], &pair, 1);
    tls_texts_done(&texts);
    return *ret != NULL ? GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW
                        : GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
}

grpc_server_credentials *tls_server_credentials(struct tls_files *files)
{
    grpc_ssl_server_credentials_options *options =
        grpc_ssl_server_credentials_create_options_using_config_fetcher(
            GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY, fetch, files);

    return options != NULL ? grpc_ssl_server_credentials_create_with_options(options) : NULL;
}

grpc_channel_credentials *tls_channel_credentials(const struct tls_texts *texts)
{
    grpc_ssl_pem_key_cert_pair pair = {.private_key = texts->text[KEY],
                                       .cert_chain = texts->text[CERT]};

    return grpc_ssl_credentials_create_ex(texts->text[CA], &pair, NULL, NULL);
}
