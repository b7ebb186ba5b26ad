/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canonical request, string to sign and signature of Signature Version 4, with S3's two
 * differences from other services: the path is encoded once and never normalised, and
 * x-amz-content-sha256 may hold a word instead of a hash.
 */
#include "s3/sign.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <strings.h>
#include <time.h>

#include "s3/names.h"
#include "util/cleanup.h"
#include "util/encode.h"

enum { CANONICAL_MAX = 256 * 1024, QUERY_PARAMS_MAX = 256, ENCODED_PARAMS_MAX = 16 };

static const char algorithm[] = "AWS4-HMAC-SHA256";

const char *s3_payload_name(enum s3_payload payload)
{
    switch (payload) {
    case S3_PAYLOAD_UNSIGNED:
        return S3_UNSIGNED_PAYLOAD;
    case S3_PAYLOAD_STREAMING:
        return "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
    case S3_PAYLOAD_STREAMING_TRAILER:
        return "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
    case S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER:
        return "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    case S3_PAYLOAD_SHA256:
        break;
    }
    return NULL;
}

static bool name_is(struct slice name, const char *other)
{
    return name.len == strlen(other) && strncasecmp(name.data, other, name.len) == 0;
}

struct slice s3_message_header(const struct s3_message *message, const char *name)
{
    for (size_t i = 0; i < message->header_count; i++) {
        if (name_is(message->headers[i].name, name)) {
            return message->headers[i].value;
        }
    }
    return (struct slice){NULL, 0};
}

bool s3_header_repeats(struct slice name)
{
    return name_is(name, "x-amz-object-attributes") ||
           name_is(name, "x-amz-optional-object-attributes") ||
           (name.len > 11 && strncasecmp(name.data, "x-amz-meta-", 11) == 0);
}

/* ---- HMAC ---- */

/* Looking SHA-256 up costs more than hashing a request with it, so it is done once, and making a
 * context half as much: each thread keeps one. */
static EVP_MD *sha256;
static pthread_key_t contexts;
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;

static void free_context(void *context)
{
    EVP_MD_CTX_free(context);
}

static void fetch_sha256(void)
{
    if (pthread_key_create(&contexts, free_context) == 0) {
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    }
}

/* Of this thread; NULL without memory. */
static EVP_MD_CTX *context_of_thread(void)
{
    EVP_MD_CTX *context;

    (void)pthread_once(&sha256_once, fetch_sha256);
    context = sha256 != NULL ? pthread_getspecific(contexts) : NULL;
    if (context == NULL && sha256 != NULL) {
        context = EVP_MD_CTX_new();
        if (context != NULL && pthread_setspecific(contexts, context) != 0) {
            EVP_MD_CTX_free(context);
            context = NULL;
        }
    }
    return context;
}

/* What was hashed last was a secret. */
static void forget_context(void)
{
    EVP_MD_CTX *context = context_of_thread();

    if (context != NULL) {
        (void)EVP_MD_CTX_reset(context);
    }
}

static bool hash_two(EVP_MD_CTX *context, struct slice a, struct slice b, unsigned char ret[32])
{
    return EVP_DigestInit_ex2(context, sha256, NULL) == 1 &&
           EVP_DigestUpdate(context, a.data, a.len) == 1 &&
           (b.len == 0 || EVP_DigestUpdate(context, b.data, b.len) == 1) &&
           EVP_DigestFinal_ex(context, ret, NULL) == 1;
}

static int hash_text(struct slice text, unsigned char ret[32])
{
    EVP_MD_CTX *context = context_of_thread();

    return context != NULL && hash_two(context, text, (struct slice){NULL, 0}, ret) ? 0 : -ENOMEM;
}

/* RFC 2104, by hand for the same reason. */
static int hmac(const void *key, size_t key_len, const void *data, size_t len,
                unsigned char ret[32])
{
    unsigned char inner[64] = {0};
    unsigned char outer[64];
    struct slice middle = {(const char *)ret, 32};
    EVP_MD_CTX *context;
    bool good;

    if (key_len > sizeof(inner)) {
        if (hash_text((struct slice){key, key_len}, inner) < 0) {
            return -ENOMEM;
        }
    } else {
        memcpy(inner, key, key_len);
    }
    for (size_t i = 0; i < sizeof(inner); i++) {
        outer[i] = inner[i] ^ 0x5C;
        inner[i] = inner[i] ^ 0x36;
    }
    context = context_of_thread();
    good = context != NULL &&
           hash_two(context, (struct slice){(const char *)inner, sizeof(inner)},
                    (struct slice){data, len}, ret) &&
           hash_two(context, (struct slice){(const char *)outer, sizeof(outer)}, middle, ret);
    OPENSSL_cleanse(inner, sizeof(inner));
    OPENSSL_cleanse(outer, sizeof(outer));
    return good ? 0 : -ENOMEM;
}

int s3_signing_key_derive(const char *secret, const char *date, const char *region,
                          const char *service, struct s3_signing_key *ret)
{
    CLEANUP(buf_done) struct buf first = BUF_INIT(4096);
    unsigned char key[32];
    int error;

    buf_addstr(&first, "AWS4");
    buf_addstr(&first, secret);
    error = buf_error(&first);
    if (error == 0) {
        error = hmac(buf_str(&first), buf_len(&first), date, strlen(date), key);
    }
    if (error == 0) {
        error = hmac(key, sizeof(key), region, strlen(region), key);
    }
    if (error == 0) {
        error = hmac(key, sizeof(key), service, strlen(service), key);
    }
    if (error == 0) {
        error = hmac(key, sizeof(key), "aws4_request", 12, ret->bytes);
    }
    if (first.data != NULL) {
        OPENSSL_cleanse(first.data, first.len);
    }
    OPENSSL_cleanse(key, sizeof(key));
    forget_context();
    return error;
}

static void to_hex(const unsigned char raw[32], char ret[S3_HEX_SIZE])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < 32; i++) {
        ret[2 * i] = digits[raw[i] >> 4];
        ret[2 * i + 1] = digits[raw[i] & 15];
    }
    ret[S3_HEX_SIZE - 1] = '\0';
}

static int sign_text(const struct s3_signing_key *key, const struct buf *text,
                     char ret[S3_HEX_SIZE])
{
    unsigned char raw[32] = {0};
    int error = buf_error(text);

    if (error == 0) {
        error = hmac(key->bytes, sizeof(key->bytes), buf_str(text), buf_len(text), raw);
    }
    if (error == 0) {
        to_hex(raw, ret);
    }
    return error;
}

static int hex_hash_of(struct slice text, char ret[S3_HEX_SIZE])
{
    unsigned char raw[32] = {0};
    int error = hash_text(text, raw);

    if (error == 0) {
        to_hex(raw, ret);
    }
    return error;
}

/* ---- time and scope ---- */

void s3_timestamp_format(int64_t time_s, char ret[S3_TIMESTAMP_SIZE])
{
    struct tm tm = {0};
    time_t t = (time_t)(time_s < 0 ? 0 : time_s > 253402300799 ? 253402300799 : time_s);

    (void)gmtime_r(&t, &tm);
    (void)strftime(ret, S3_TIMESTAMP_SIZE, "%Y%m%dT%H%M%SZ", &tm);
}

int s3_timestamp_parse(struct slice text, int64_t *ret)
{
    static const char pattern[] = "ddddddddTddddddZ";
    static const int month_days[12] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int field[14] = {0};
    struct tm tm = {0};
    size_t digits = 0;

    if (text.len != sizeof(pattern) - 1) {
        return -EINVAL;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        if (pattern[i] != 'd' ? c != pattern[i] : c < '0' || c > '9') {
            return -EINVAL;
        }
        if (pattern[i] == 'd') {
            field[digits++] = c - '0';
        }
    }
    tm.tm_year = field[0] * 1000 + field[1] * 100 + field[2] * 10 + field[3] - 1900;
    tm.tm_mon = field[4] * 10 + field[5] - 1;
    tm.tm_mday = field[6] * 10 + field[7];
    tm.tm_hour = field[8] * 10 + field[9];
    tm.tm_min = field[10] * 10 + field[11];
    tm.tm_sec = field[12] * 10 + field[13];
    if (tm.tm_year < 70 || tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 ||
        tm.tm_mday > month_days[tm.tm_mon] || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60) {
        return -EINVAL;
    }
    *ret = timegm(&tm);
    return 0;
}

int s3_scope_format(const char *timestamp, const char *region, const char *service,
                    char ret[S3_SCOPE_SIZE])
{
    static const char end[] = "aws4_request";
    const struct slice parts[] = {{timestamp, strnlen(timestamp, S3_DATE_SIZE - 1)},
                                  slice_of(region),
                                  slice_of(service),
                                  {end, sizeof(end) - 1}};
    size_t len = 0;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i].len + 1 > S3_SCOPE_SIZE - len) {
            return -EINVAL;
        }
        memcpy(ret + len, parts[i].data, parts[i].len);
        len += parts[i].len;
        ret[len++] = '/';
    }
    ret[len - 1] = '\0';
    return 0;
}

/* ---- canonical request ---- */

static int canonical_path(struct slice raw, struct buf *out)
{
    CLEANUP(buf_done) struct buf plain = BUF_INIT(CANONICAL_MAX);
    int error;

    if (raw.len > 0 && encode_percent_is_done(raw, true)) { /* as most are */
        buf_add(out, raw.data, raw.len);
        return 0;
    }
    error = decode_percent(&plain, raw, false);
    if (error < 0) {
        return error == -EILSEQ ? -EINVAL : error;
    }
    if (buf_len(&plain) == 0) {
        buf_addstr(out, "/");
    }
    encode_percent(out, (struct slice){buf_str(&plain), buf_len(&plain)}, true);
    return 0;
}

struct query_param {
    size_t name; /* offsets into the buffer of encoded text */
    size_t name_len;
    size_t value;
    size_t value_len;
};

struct query {
    struct buf text;
    struct query_param params[QUERY_PARAMS_MAX];
    size_t count;
};

static int encode_again(struct slice raw, struct buf *out, size_t *ret_start, size_t *ret_len)
{
    CLEANUP(buf_done) struct buf plain = BUF_INIT(CANONICAL_MAX);
    int error;

    *ret_start = buf_len(out);
    if (encode_percent_is_done(raw, false)) { /* as most are */
        buf_add(out, raw.data, raw.len);
        *ret_len = raw.len;
        return buf_error(out);
    }
    error = decode_percent(&plain, raw, true);
    if (error < 0) {
        return error == -EILSEQ ? -EINVAL : error;
    }
    encode_percent(out, (struct slice){buf_str(&plain), buf_len(&plain)}, false);
    *ret_len = buf_len(out) - *ret_start;
    return buf_error(out);
}

static int compare_text(const struct buf *text, const size_t a[2], const size_t b[2])
{
    size_t shorter = a[1] < b[1] ? a[1] : b[1];
    int order = shorter > 0 ? memcmp(text->data + a[0], text->data + b[0], shorter) : 0;

    return order != 0 ? order : (a[1] > b[1]) - (a[1] < b[1]);
}

static int compare_params(const void *a, const void *b, void *query)
{
    const struct query_param *x = a;
    const struct query_param *y = b;
    const struct query *q = query;
    int order = compare_text(&q->text, (size_t[2]){x->name, x->name_len},
                             (size_t[2]){y->name, y->name_len});

    return order != 0 ? order
                      : compare_text(&q->text, (size_t[2]){x->value, x->value_len},
                                     (size_t[2]){y->value, y->value_len});
}

/* Split `raw` into the decoded and re-encoded parameters of `q`. */
static int split_query(struct slice raw, struct query *q)
{
    struct s3_query_param one;

    while (s3_query_next(&raw, &one)) {
        struct query_param *param = &q->params[q->count];
        int error;

        if (q->count == QUERY_PARAMS_MAX) {
            return -EINVAL;
        }
        error = encode_again(one.name, &q->text, &param->name, &param->name_len);
        if (error == 0) {
            error = encode_again(one.value, &q->text, &param->value, &param->value_len);
        }
        if (error < 0) {
            return error;
        }
        q->count++;
    }
    return 0;
}

static void free_query(struct query *q)
{
    if (q != NULL) {
        buf_done(&q->text);
        free(q);
    }
}
DEFINE_CLEANUP(struct query *, free_query);

static int compare_slices(struct slice a, struct slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter > 0 ? memcmp(a.data, b.data, shorter) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static bool comes_before(const struct s3_query_param *a, const struct s3_query_param *b)
{
    int order = compare_slices(a->name, b->name);

    return order != 0 ? order < 0 : compare_slices(a->value, b->value) < 0;
}

static bool is_own_signature(const struct s3_query_param *param)
{
    static const char name[] = "X-Amz-Signature";

    return slice_eq(param->name, (struct slice){name, sizeof(name) - 1});
}

/* What canonical_query() makes of a short query in which all is encoded already, as most clients
 * write it. False, with nothing in `out`: it is another. */
static bool encoded_query(struct slice raw, bool presigned, struct buf *out)
{
    struct s3_query_param params[ENCODED_PARAMS_MAX], one;
    size_t count = 0;

    while (s3_query_next(&raw, &one)) {
        size_t i = count;

        if (count == ENCODED_PARAMS_MAX || !encode_percent_is_done(one.name, false) ||
            !encode_percent_is_done(one.value, false)) {
            return false;
        }
        if (presigned && is_own_signature(&one)) {
            continue;
        }
        for (; i > 0 && comes_before(&one, &params[i - 1]); i--) {
            params[i] = params[i - 1];
        }
        params[i] = one;
        count++;
    }
    for (size_t i = 0; i < count; i++) {
        const struct s3_query_param *param = &params[i];

        if (i > 0) {
            buf_add(out, "&", 1);
        }
        buf_add(out, param->name.data, param->name.len);
        buf_add(out, "=", 1);
        buf_add(out, param->value.data, param->value.len);
    }
    return true;
}

/* Sorted by name, then value. A presigned URL's own signature is left out. */
static int canonical_query(struct slice raw, bool presigned, struct buf *out)
{
    CLEANUP(free_query_p) struct query *q = NULL;
    bool first = true;
    int error;

    if (raw.len == 0 || encoded_query(raw, presigned, out)) {
        return 0;
    }
    q = malloc(sizeof(*q)); /* of which the most is room that is hardly ever used */
    if (q == NULL) {
        return -ENOMEM;
    }
    q->text = (struct buf)BUF_INIT(CANONICAL_MAX);
    q->count = 0;
    error = split_query(raw, q);
    if (error < 0) {
        return error;
    }
    qsort_r(q->params, q->count, sizeof(q->params[0]), compare_params, q);
    for (size_t i = 0; i < q->count; i++) {
        const struct query_param *param = &q->params[i];

        if (presigned && slice_eq_str((struct slice){q->text.data + param->name, param->name_len},
                                      "X-Amz-Signature")) {
            continue;
        }
        if (!first) {
            buf_addstr(out, "&");
        }
        first = false;
        buf_add(out, q->text.data + param->name, param->name_len);
        buf_addstr(out, "=");
        buf_add(out, param->value_len > 0 ? q->text.data + param->value : "", param->value_len);
    }
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Leading and trailing blanks go, runs of blanks inside become one. */
static void add_trimmed(struct buf *out, struct slice value)
{
    bool any = false;

    for (size_t i = 0; i < value.len;) {
        size_t run = i;

        while (i < value.len && !is_blank(value.data[i])) {
            i++;
        }
        if (i > run) {
            if (any) {
                buf_addstr(out, " ");
            }
            buf_add(out, value.data + run, i - run);
            any = true;
        }
        while (i < value.len && is_blank(value.data[i])) {
            i++;
        }
    }
}

/* "name:value[,value]\n" for one signed header; -EINVAL when the message has none of that name. */
static int add_canonical_header(const struct s3_message *message, struct slice name,
                                struct buf *out)
{
    bool found = false;

    buf_add(out, name.data, name.len);
    buf_addstr(out, ":");
    for (size_t i = 0; i < message->header_count; i++) {
        const struct s3_header *header = &message->headers[i];

        if (header->name.len == name.len &&
            strncasecmp(header->name.data, name.data, name.len) == 0) {
            if (found) {
                buf_addstr(out, ",");
            }
            add_trimmed(out, header->value);
            found = true;
        }
    }
    buf_addstr(out, "\n");
    return found ? 0 : -EINVAL;
}

/* Cut the next name of a ';'-separated list. */
static struct slice next_name(struct slice *list)
{
    const char *end = memchr(list->data, ';', list->len);
    struct slice name = {list->data, end != NULL ? (size_t)(end - list->data) : list->len};

    *list =
        end != NULL ? (struct slice){end + 1, list->len - name.len - 1} : (struct slice){NULL, 0};
    return name;
}

int s3_canonical_request(const struct s3_message *message, struct slice signed_headers,
                         const char *payload_hash, bool presigned, struct buf *out)
{
    struct slice names = signed_headers;
    int error;

    buf_add(out, message->method.data, message->method.len);
    buf_addstr(out, "\n");
    error = canonical_path(message->path, out);
    if (error < 0) {
        return error;
    }
    buf_addstr(out, "\n");
    error = canonical_query(message->query, presigned, out);
    if (error < 0) {
        return error;
    }
    buf_addstr(out, "\n");
    while (names.len > 0) {
        error = add_canonical_header(message, next_name(&names), out);
        if (error < 0) {
            return error;
        }
    }
    buf_addstr(out, "\n");
    buf_add(out, signed_headers.data, signed_headers.len);
    buf_addstr(out, "\n");
    buf_addstr(out, payload_hash);
    return buf_error(out);
}

int s3_string_to_sign(const char *timestamp, const char *scope, struct slice canonical_request,
                      struct buf *out)
{
    char hash[S3_HEX_SIZE];
    const char *const lines[] = {timestamp, scope, hash};
    int error = hex_hash_of(canonical_request, hash);

    if (error < 0) {
        return error;
    }
    buf_addstr(out, algorithm);
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        buf_add(out, "\n", 1);
        buf_addstr(out, lines[i]);
    }
    return buf_error(out);
}

int s3_signature(struct slice canonical_request, const char *timestamp, const char *scope,
                 const struct s3_signing_key *key, char ret[S3_HEX_SIZE])
{
    CLEANUP(buf_done) struct buf to_sign = BUF_INIT(1024);
    int error = s3_string_to_sign(timestamp, scope, canonical_request, &to_sign);

    return error < 0 ? error : sign_text(key, &to_sign, ret);
}

/* ---- client ---- */

static int compare_names(const void *a, const void *b)
{
    const struct slice *x = a;
    const struct slice *y = b;
    size_t shorter = x->len < y->len ? x->len : y->len;
    int order = strncasecmp(x->data, y->data, shorter);

    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Lower-case names of all headers, sorted, without doubles, ';' between. */
static int all_header_names(const struct s3_message *message, struct buf *out)
{
    struct slice names[S3_SIGNED_HEADERS_MAX];
    size_t count = message->header_count;

    if (count > S3_SIGNED_HEADERS_MAX) {
        return -EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = message->headers[i].name;
    }
    qsort(names, count, sizeof(names[0]), compare_names);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && compare_names(&names[i - 1], &names[i]) == 0) {
            continue;
        }
        if (i > 0) {
            buf_addstr(out, ";");
        }
        for (size_t j = 0; j < names[i].len; j++) {
            char c = (char)tolower((unsigned char)names[i].data[j]);

            buf_add(out, &c, 1);
        }
    }
    return buf_error(out);
}

int s3_sign_header(const struct s3_message *message, const struct s3_sign_params *params,
                   const char *payload_hash, struct buf *authorization,
                   char ret_signature[S3_HEX_SIZE])
{
    CLEANUP(buf_done) struct buf canonical = BUF_INIT(CANONICAL_MAX);
    CLEANUP(buf_done) struct buf names = BUF_INIT(CANONICAL_MAX);
    char scope[S3_SCOPE_SIZE];
    char signature[S3_HEX_SIZE];
    int error = s3_scope_format(params->timestamp, params->region, params->service, scope);

    if (error == 0) {
        error = all_header_names(message, &names);
    }
    if (error == 0) {
        error = s3_canonical_request(message, (struct slice){buf_str(&names), buf_len(&names)},
                                     payload_hash, false, &canonical);
    }
    if (error == 0) {
        error = s3_signature((struct slice){buf_str(&canonical), buf_len(&canonical)},
                             params->timestamp, scope, params->key, signature);
    }
    if (error < 0) {
        return error;
    }
    buf_addf(authorization, "%s Credential=%s/%s, SignedHeaders=%s, Signature=%s", algorithm,
             params->access_key, scope, buf_str(&names), signature);
    if (ret_signature != NULL) {
        memcpy(ret_signature, signature, S3_HEX_SIZE);
    }
    return buf_error(authorization);
}

static void add_param(struct buf *query, const char *name, const char *value)
{
    if (buf_len(query) > 0) {
        buf_addstr(query, "&");
    }
    buf_addstr(query, name);
    buf_addstr(query, "=");
    encode_percent(query, slice_of(value), false);
}

int s3_presign(const struct s3_message *message, const struct s3_sign_params *params,
               uint32_t expires_s, struct buf *query)
{
    CLEANUP(buf_done) struct buf canonical = BUF_INIT(CANONICAL_MAX);
    CLEANUP(buf_done) struct buf names = BUF_INIT(CANONICAL_MAX);
    CLEANUP(buf_done) struct buf text = BUF_INIT(CANONICAL_MAX);
    struct s3_message full = *message;
    char scope[S3_SCOPE_SIZE];
    char number[16];
    char signature[S3_HEX_SIZE];
    int error = s3_scope_format(params->timestamp, params->region, params->service, scope);

    if (expires_s < 1 || expires_s > S3_PRESIGN_MAX_S) {
        return -EINVAL;
    }
    if (error == 0) {
        error = all_header_names(message, &names);
    }
    if (error < 0) {
        return error;
    }
    (void)snprintf(number, sizeof(number), "%u", expires_s);
    buf_add(&text, message->query.data, message->query.len);
    add_param(&text, "X-Amz-Algorithm", algorithm);
    buf_addf(&canonical, "%s/%s", params->access_key, scope);
    add_param(&text, "X-Amz-Credential", buf_str(&canonical));
    add_param(&text, "X-Amz-Date", params->timestamp);
    add_param(&text, "X-Amz-Expires", number);
    if (params->session_token != NULL) {
        add_param(&text, "X-Amz-Security-Token", params->session_token);
    }
    add_param(&text, "X-Amz-SignedHeaders", buf_str(&names));
    buf_reset(&canonical);
    full.query = (struct slice){buf_str(&text), buf_len(&text)};
    error = s3_canonical_request(&full, (struct slice){buf_str(&names), buf_len(&names)},
                                 S3_UNSIGNED_PAYLOAD, true, &canonical);
    if (error == 0) {
        error = s3_signature((struct slice){buf_str(&canonical), buf_len(&canonical)},
                             params->timestamp, scope, params->key, signature);
    }
    if (error < 0) {
        return error;
    }
    buf_add(query, buf_str(&text), buf_len(&text));
    add_param(query, "X-Amz-Signature", signature);
    return buf_error(query);
}

/* ---- chunks ---- */

int s3_chunk_chain_init(struct s3_chunk_chain *chain, const struct s3_signing_key *key,
                        const char *timestamp, const char *region, const char *seed_signature)
{
    if (strlen(timestamp) != S3_TIMESTAMP_SIZE - 1 || strlen(seed_signature) != S3_HEX_SIZE - 1) {
        return -EINVAL;
    }
    chain->key = *key;
    memcpy(chain->timestamp, timestamp, S3_TIMESTAMP_SIZE);
    memcpy(chain->previous, seed_signature, S3_HEX_SIZE);
    return s3_scope_format(timestamp, region, "s3", chain->scope);
}

int s3_chunk_chain_next(struct s3_chunk_chain *chain, const char *sha256_hex)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1024);

    buf_addf(&text, "%s-PAYLOAD\n%s\n%s\n%s\n" S3_EMPTY_SHA256 "\n%s", algorithm, chain->timestamp,
             chain->scope, chain->previous, sha256_hex);
    return sign_text(&chain->key, &text, chain->previous);
}

int s3_chunk_chain_trailer(struct s3_chunk_chain *chain, struct slice trailers)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(1024);
    char hash[S3_HEX_SIZE];
    int error = hex_hash_of(trailers, hash);

    if (error < 0) {
        return error;
    }
    buf_addf(&text, "%s-TRAILER\n%s\n%s\n%s\n%s", algorithm, chain->timestamp, chain->scope,
             chain->previous, hash);
    return sign_text(&chain->key, &text, chain->previous);
}
