/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/tls_files.h"

#include <errno.h>
#include <string.h>

#include "util/authority.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

enum { FILE_MAX = 1024 * 1024 };

static int read_one(const char *option, const char *path, struct buf *out, struct error *err)
{
    int ret = file_read(path, out);

    ret = ret == 0 ? buf_error(out) : ret;
    return ret == 0 ? 0 : error_set(err, ret, "--%s %s: %s", option, path, strerrordesc_np(-ret));
}

int tls_files_check(const char *cert, const char *key, struct error *err)
{
    CLEANUP(buf_done) struct buf cert_text = BUF_INIT(FILE_MAX);
    CLEANUP(buf_done) struct buf key_text = BUF_INIT(FILE_MAX);
    struct error why = ERROR_INIT;
    char none[] = "";
    struct key_pair pair;
    int ret = read_one("tls-cert-file", cert, &cert_text, err);

    ret = ret == 0 ? read_one("tls-key-file", key, &key_text, err) : ret;
    if (ret == 0) {
        pair.certificate = cert_text.data != NULL ? cert_text.data : none;
        pair.key = key_text.data != NULL ? key_text.data : none;
        ret = authority_check(NULL, &pair, &why);
        ret = ret == 0 ? 0
                       : error_set(err, ret, "--tls-cert-file %s, --tls-key-file %s: %s", cert, key,
                                   error_text(&why, ret));
    }
    if (key_text.data != NULL) {
        explicit_bzero(key_text.data, key_text.len);
    }
    return ret;
}

/* One that is away for a moment has a stamp of zeros. */
static void look(const struct tls_files *files, struct file_stamp *cert, struct file_stamp *key)
{
    *cert = (struct file_stamp){0};
    *key = (struct file_stamp){0};
    (void)!file_stamp(files->cert, cert);
    (void)!file_stamp(files->key, key);
}

void tls_files_init(struct tls_files *files, const char *cert, const char *key)
{
    *files = (struct tls_files){.cert = cert, .key = key};
    if (cert != NULL) {
        look(files, &files->cert_stamp, &files->key_stamp);
        files->looked_ms = clock_monotonic_ms(clock_real());
    }
}

bool tls_files_changed(struct tls_files *files)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    struct error err = ERROR_INIT;
    struct file_stamp cert, key;
    int ret;

    if (files->cert == NULL || now - files->looked_ms < TLS_FILES_LOOK_MS) {
        return false;
    }
    files->looked_ms = now;
    look(files, &cert, &key);
    if (file_stamp_eq(&cert, &files->cert_stamp) && file_stamp_eq(&key, &files->key_stamp)) {
        return false;
    }
    /* Before they are read: what comes while they are is seen the next time. */
    files->cert_stamp = cert;
    files->key_stamp = key;
    ret = tls_files_check(files->cert, files->key, &err);
    if (ret != 0) {
        log_warn("the new certificate is not taken, the old one stays", "error",
                 error_text(&err, ret), NULL);
        return false;
    }
    log_info("certificate changed, taking the new one", "file", files->cert, NULL);
    return true;
}
