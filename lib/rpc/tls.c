/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.c - certificate files to gRPC credentials.
 *
 * Renewal writes three files one by one, so a look in between sees a key without its certificate:
 * such a set is refused, the old one stays, and the next change is looked at again.
 */
#include "rpc/tls_private.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "util/authority.h"
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
                          files->path[i], strerrordesc_np(-r));
        }
    }
    if (r == 0) {
        r = authority_check(
            texts.text[CA],
            &(struct key_pair){.certificate = texts.text[CERT], .key = texts.text[KEY]}, err);
        if (r < 0) {
            (void)error_prefix(err, "%s, %s, %s", files->path[CA], files->path[CERT],
                               files->path[KEY]);
        }
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
