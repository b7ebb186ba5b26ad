/* SPDX-License-Identifier: Apache-2.0 */
/* authority.c - X.509 by OpenSSL 3. */
#include "util/authority.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>

#include "util/buf.h"
#include "util/cleanup.h"
#include "util/random.h"

enum { NAMES_MAX = 64, COMMON_NAME_MAX = 64, DAYS_MAX = 36500, SERIAL_BYTES = 16, EARLY_S = 300 };

DEFINE_CLEANUP(X509 *, X509_free);
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);

void key_pair_done(struct key_pair *pair)
{
    if (pair->key != NULL) {
        OPENSSL_cleanse(pair->key, strlen(pair->key));
    }
    free(pair->key);
    free(pair->certificate);
    *pair = (struct key_pair){0};
}

/* What was written to a memory BIO as a C string; the BIO is freed. */
static int take_text(BIO *bio, int written, char **ret)
{
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    char *text = written == 1 && len > 0 ? strndup(data, (size_t)len) : NULL;

    if (data != NULL && len > 0) {
        OPENSSL_cleanse(data, (size_t)len);
    }
    BIO_free(bio);
    if (text == NULL) {
        return -ENOMEM;
    }
    *ret = text;
    return 0;
}

static int to_pem(X509 *certificate, EVP_PKEY *key, struct key_pair *ret)
{
    struct key_pair pair = {0};
    BIO *bio = BIO_new(BIO_s_mem());
    int r = bio != NULL ? take_text(bio, PEM_write_bio_X509(bio, certificate), &pair.certificate)
                        : -ENOMEM;

    bio = BIO_new(BIO_s_mem());
    if (r == 0) {
        r = bio != NULL
                ? take_text(bio, PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL),
                            &pair.key)
                : -ENOMEM;
    } else {
        BIO_free(bio);
    }
    if (r < 0) {
        key_pair_done(&pair);
        return r;
    }
    *ret = pair;
    return 0;
}

static X509 *parse_certificate(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    return certificate;
}

static EVP_PKEY *parse_key(const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    char none[] = "";
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, NULL, none) : NULL;

    BIO_free(bio);
    return key;
}

static int add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509_EXTENSION *extension;
    X509V3_CTX context;
    int ok;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    ok = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok ? 0 : -EINVAL;
}

static bool is_address(const char *name)
{
    unsigned char room[16];

    return inet_pton(AF_INET, name, room) == 1 || inet_pton(AF_INET6, name, room) == 1;
}

/* The alternative names as OpenSSL's configuration writes them. */
static int add_names(X509 *certificate, X509 *issuer, const struct authority_subject *subject)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(32768);

    if (subject->name_count > NAMES_MAX) {
        return -EINVAL;
    }
    for (size_t i = 0; i < subject->name_count; i++) {
        const char *name = subject->names[i];
        const char *kind = is_address(name) ? "IP" : strstr(name, "://") != NULL ? "URI" : "DNS";

        if (name[0] == '\0' || strpbrk(name, ", \t\r\n") != NULL) {
            return -EINVAL; /* would be read as two names */
        }
        buf_addf(&text, "%s%s:%s", i > 0 ? "," : "", kind, name);
    }
    if (buf_error(&text) < 0) {
        return buf_error(&text);
    }
    return buf_len(&text) > 0
               ? add_extension(certificate, issuer, NID_subject_alt_name, buf_str(&text))
               : 0;
}

static int set_serial(X509 *certificate)
{
    unsigned char bytes[SERIAL_BYTES];
    BIGNUM *number;
    int ok;

    random_bytes(bytes, sizeof(bytes));
    bytes[0] &= 0x7f; /* a serial number is positive */
    number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    ok = number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return ok ? 0 : -ENOMEM;
}

/* Serial number, validity, subject and key; issuer and extensions are to come. */
static int fill(X509 *certificate, EVP_PKEY *key, const struct authority_subject *subject,
                struct error *err)
{
    X509_NAME *name = X509_get_subject_name(certificate);
    size_t len = strlen(subject->common_name);

    if (len == 0 || len > COMMON_NAME_MAX || subject->days == 0 || subject->days > DAYS_MAX) {
        return error_set(err, -EINVAL, "a common name of 1 to %d bytes and 1 to %d days, please",
                         COMMON_NAME_MAX, DAYS_MAX);
    }
    if (X509_set_version(certificate, X509_VERSION_3) != 1 || set_serial(certificate) < 0 ||
        X509_gmtime_adj(X509_getm_notBefore(certificate), -EARLY_S) == NULL ||
        X509_time_adj_ex(X509_getm_notAfter(certificate), (int)subject->days, 0, NULL) == NULL ||
        X509_set_pubkey(certificate, key) != 1 ||
        X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                   (const unsigned char *)subject->common_name, (int)len, -1,
                                   0) != 1) {
        return error_set(err, -EINVAL, "the common name '%s' cannot be used", subject->common_name);
    }
    return 0;
}

int authority_root(const char *common_name, uint32_t days, struct key_pair *ret, struct error *err)
{
    CLEANUP(X509_free_p) X509 *certificate = X509_new();
    CLEANUP(EVP_PKEY_free_p) EVP_PKEY *key = EVP_EC_gen("P-256");
    int r;

    if (certificate == NULL || key == NULL) {
        return -ENOMEM;
    }
    r = fill(certificate, key,
             &(struct authority_subject){.common_name = common_name, .days = days}, err);
    if (r < 0) {
        return r;
    }
    if (X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1 ||
        add_extension(certificate, certificate, NID_basic_constraints,
                      "critical,CA:TRUE,pathlen:0") < 0 ||
        add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign") <
            0 ||
        add_extension(certificate, certificate, NID_subject_key_identifier, "hash") < 0 ||
        X509_sign(certificate, key, EVP_sha256()) == 0) {
        return error_set(err, -EIO, "OpenSSL cannot make the authority's certificate");
    }
    return to_pem(certificate, key, ret);
}

static int issue(X509 *ca, EVP_PKEY *ca_key, const struct authority_subject *subject,
                 struct key_pair *ret, struct error *err)
{
    CLEANUP(X509_free_p) X509 *certificate = X509_new();
    CLEANUP(EVP_PKEY_free_p) EVP_PKEY *key = EVP_EC_gen("P-256");
    int r;

    if (certificate == NULL || key == NULL) {
        return -ENOMEM;
    }
    r = fill(certificate, key, subject, err);
    if (r < 0) {
        return r;
    }
    if (ASN1_TIME_compare(X509_get0_notAfter(certificate), X509_get0_notAfter(ca)) > 0 &&
        X509_set1_notAfter(certificate, X509_get0_notAfter(ca)) != 1) {
        return -ENOMEM;
    }
    if (add_names(certificate, ca, subject) < 0) {
        return error_set(err, -EINVAL,
                         "the names of '%s' must be at most %d DNS names, IP addresses or URIs",
                         subject->common_name, NAMES_MAX);
    }
    if (X509_set_issuer_name(certificate, X509_get_subject_name(ca)) != 1 ||
        add_extension(certificate, ca, NID_basic_constraints, "critical,CA:FALSE") < 0 ||
        add_extension(certificate, ca, NID_key_usage, "critical,digitalSignature") < 0 ||
        add_extension(certificate, ca, NID_ext_key_usage, "serverAuth,clientAuth") < 0 ||
        add_extension(certificate, ca, NID_subject_key_identifier, "hash") < 0 ||
        add_extension(certificate, ca, NID_authority_key_identifier, "keyid") < 0 ||
        X509_sign(certificate, ca_key, EVP_sha256()) == 0) {
        return error_set(err, -EIO, "OpenSSL cannot make the certificate of '%s'",
                         subject->common_name);
    }
    return to_pem(certificate, key, ret);
}

int authority_issue(const struct key_pair *ca, const struct authority_subject *subject,
                    struct key_pair *ret, struct error *err)
{
    CLEANUP(X509_free_p) X509 *certificate = parse_certificate(ca->certificate);
    CLEANUP(EVP_PKEY_free_p) EVP_PKEY *key = parse_key(ca->key);

    if (certificate == NULL || key == NULL || X509_check_private_key(certificate, key) != 1 ||
        X509_check_ca(certificate) == 0) {
        return error_set(err, -EINVAL, "this is not an authority's certificate and its key");
    }
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) <= 0) {
        return error_set(err, -EINVAL, "the authority's certificate has expired: make a new one");
    }
    return issue(certificate, key, subject, ret, err);
}

int authority_check(const char *ca, const struct key_pair *pair, struct error *err)
{
    CLEANUP(X509_free_p) X509 *authority = ca != NULL ? parse_certificate(ca) : NULL;
    CLEANUP(X509_free_p) X509 *certificate = parse_certificate(pair->certificate);
    CLEANUP(EVP_PKEY_free_p) EVP_PKEY *key = parse_key(pair->key);

    if (ca != NULL && authority == NULL) {
        return error_set(err, -EINVAL, "the authority file holds no PEM certificate");
    }
    if (certificate == NULL) {
        return error_set(err, -EINVAL, "the certificate file holds no PEM certificate");
    }
    if (key == NULL) {
        return error_set(err, -EINVAL, "the key file holds no unencrypted PEM private key");
    }
    if (X509_check_private_key(certificate, key) != 1) {
        return error_set(err, -EINVAL, "the key is not that of the certificate");
    }
    return 0;
}

/* One alternative name as text; NULL for a kind that we do not issue. */
static char *name_text(const GENERAL_NAME *name, struct arena *arena)
{
    const ASN1_STRING *text = NULL;
    char address[INET6_ADDRSTRLEN];
    int family;

    if (name->type == GEN_DNS || name->type == GEN_URI) {
        text = name->d.ia5;
        return arena_strndup(arena, (const char *)ASN1_STRING_get0_data(text),
                             (size_t)ASN1_STRING_length(text));
    }
    if (name->type != GEN_IPADD) {
        return NULL;
    }
    text = name->d.iPAddress;
    family = ASN1_STRING_length(text) == 4 ? AF_INET : AF_INET6;
    if (ASN1_STRING_length(text) != 4 && ASN1_STRING_length(text) != 16) {
        return NULL;
    }
    return arena_strdup(arena,
                        inet_ntop(family, ASN1_STRING_get0_data(text), address, sizeof(address)));
}

static int read_names(X509 *certificate, struct arena *arena, struct authority_subject *subject)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int count = all != NULL ? sk_GENERAL_NAME_num(all) : 0;
    const char **names = arena_array(arena, (size_t)count + 1, sizeof(*names));

    for (int i = 0; i < count && names != NULL; i++) {
        const char *text = name_text(sk_GENERAL_NAME_value(all, i), arena);

        if (text != NULL) {
            names[subject->name_count++] = text;
        }
    }
    subject->names = names;
    GENERAL_NAMES_free(all);
    return names != NULL ? 0 : -ENOMEM;
}

int authority_read(const char *certificate, struct arena *arena, struct authority_subject *ret,
                   int64_t *ret_end_s)
{
    CLEANUP(X509_free_p) X509 *x509 = parse_certificate(certificate);
    struct authority_subject subject = {0};
    char common_name[COMMON_NAME_MAX * 4 + 1] = "";
    struct tm tm = {0};
    int days;
    int seconds;
    int r;

    if (x509 == NULL) {
        return -EINVAL;
    }
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(x509), NID_commonName, common_name,
                                    sizeof(common_name));
    subject.common_name = arena_strdup(arena, common_name);
    r = read_names(x509, arena, &subject);
    if (r < 0 || subject.common_name == NULL) {
        return -ENOMEM;
    }
    if (ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(x509), X509_get0_notAfter(x509)) != 1 ||
        ASN1_TIME_to_tm(X509_get0_notAfter(x509), &tm) != 1) {
        return -EINVAL;
    }
    subject.days = days > 0 ? (uint32_t)days : 1;
    *ret_end_s = (int64_t)timegm(&tm);
    *ret = subject;
    return 0;
}
