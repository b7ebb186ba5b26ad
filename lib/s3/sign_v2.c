/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/sign_v2.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <strings.h>

#include "s3/checksum.h"
#include "s3/conditions.h"
#include "s3/names.h"
#include "util/cleanup.h"
#include "util/encode.h"

enum { PARAMS_MAX = 64, VALUE_MAX = 16 * 1024, TEXT_MAX = 256 * 1024, BASE64_SHA1 = 28 };

/* What version 2 signs of a query, as today's signers have it. In order. */
static const char *const resources[] = {
    "accelerate",
    "acl",
    "analytics",
    "cors",
    "defaultObjectAcl",
    "delete",
    "inventory",
    "lifecycle",
    "location",
    "logging",
    "metrics",
    "notification",
    "object-lock",
    "partNumber",
    "policy",
    "replication",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "select",
    "select-type",
    "storageClass",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
};

enum { RESOURCES = sizeof(resources) / sizeof(resources[0]) };

enum kind { KIND_KEY, KIND_EXPIRES, KIND_SIGNATURE, KIND_HEADER, KIND_RESOURCE };

struct param {
    const char *name, *value; /* decoded; value NULL: there is no '=' */
    enum kind kind;
};

struct query {
    struct param params[PARAMS_MAX];
    size_t count;
};

static int refuse(struct s3_fault *fault, const char *why)
{
    return s3_fault_set(fault, S3_ACCESS_DENIED, "%s", why);
}

static int no_memory(struct s3_fault *fault)
{
    (void)s3_fault_set(fault, S3_INTERNAL_ERROR, "%s", "");
    return -ENOMEM;
}

/* ---- the query ---- */

static bool starts_with_resource(const char *text)
{
    for (size_t i = 0; i < RESOURCES; i++) {
        size_t len = strlen(resources[i]);

        if (strncmp(text, resources[i], len) == 0 && strchr("=&", text[len]) != NULL) {
            return true; /* also at the end of the text */
        }
    }
    return false;
}

/* Values are signed decoded, with '&' between them: none may look like two of them. */
static bool looks_like_two(const char *value)
{
    for (const char *amp = strchr(value, '&'); amp != NULL; amp = strchr(amp + 1, '&')) {
        if (starts_with_resource(amp + 1)) {
            return true;
        }
    }
    return false;
}

static bool is_token(const char *name)
{
    for (; *name != '\0'; name++) {
        if (!isalnum((unsigned char)*name) && strchr("-_.", *name) == NULL) {
            return false;
        }
    }
    return true;
}

/* False: version 2 does not sign it. */
static bool classify(struct param *param)
{
    static const char *const own[] = {"AWSAccessKeyId", "Expires", "Signature"};

    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (strcmp(param->name, own[i]) == 0) {
            param->kind = (enum kind)i;
            return param->value != NULL;
        }
    }
    if ((strncasecmp(param->name, "x-amz-", 6) == 0 && param->name[6] != '\0' &&
         is_token(param->name)) ||
        strcasecmp(param->name, "content-type") == 0 ||
        strcasecmp(param->name, "content-md5") == 0) {
        param->kind = KIND_HEADER;
        return param->value != NULL;
    }
    for (size_t i = 0; i < RESOURCES; i++) {
        if (strcmp(param->name, resources[i]) == 0) {
            param->kind = KIND_RESOURCE;
            return param->value == NULL || !looks_like_two(param->value);
        }
    }
    return false;
}

/* A copy in the arena; -EINVAL: a bad escape, or bytes that no header may have. */
static int decode(struct slice raw, struct arena *arena, const char **ret)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(VALUE_MAX);
    int error = decode_percent(&text, raw, true);

    error = error == 0 ? buf_error(&text) : error;
    if (error != 0) {
        return error == -ENOMEM ? error : -EINVAL;
    }
    for (size_t i = 0; i < buf_len(&text); i++) {
        if ((unsigned char)buf_str(&text)[i] < ' ' || buf_str(&text)[i] == 0x7f) {
            return -EINVAL;
        }
    }
    *ret = arena_strndup(arena, buf_str(&text), buf_len(&text));
    return *ret != NULL ? 0 : -ENOMEM;
}

static int add_param(struct query *query, const struct s3_query_param *raw, struct arena *arena,
                     struct s3_fault *fault)
{
    struct param *param = &query->params[query->count];
    int error;

    if (query->count == PARAMS_MAX) {
        return refuse(fault, "The query has too many parameters");
    }
    error = decode(raw->name, arena, &param->name);
    if (error == 0 && raw->has_value) {
        error = decode(raw->value, arena, &param->value);
    }
    if (error != 0) {
        return error == -ENOMEM ? no_memory(fault)
                                : refuse(fault, "A parameter of the query is malformed");
    }
    if (!classify(param)) {
        return s3_fault_set(fault, S3_ACCESS_DENIED,
                            "Signature Version 2 does not sign the parameter %.64s so that it "
                            "could be trusted; use AWS4-HMAC-SHA256",
                            is_token(param->name) ? param->name : "");
    }
    for (size_t i = 0; i < query->count; i++) {
        if (strcasecmp(query->params[i].name, param->name) == 0) {
            return refuse(fault, "A parameter of the query is there twice");
        }
    }
    query->count++;
    return 0;
}

static int read_query(struct slice raw, struct arena *arena, struct query *ret,
                      struct s3_fault *fault)
{
    struct s3_query_param param;
    int error = 0;

    while (error == 0 && s3_query_next(&raw, &param)) {
        error = add_param(ret, &param, arena, fault);
    }
    return error;
}

static const char *own_value(const struct query *query, enum kind kind)
{
    for (size_t i = 0; i < query->count; i++) {
        if (query->params[i].kind == kind) {
            return query->params[i].value;
        }
    }
    return NULL;
}

/* ---- what it says ---- */

static int check_expires(const char *text, const struct s3_auth_rules *rules, struct s3_auth *auth,
                         struct s3_fault *fault)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 11 || text[digits] != '\0') {
        return refuse(fault, "Invalid date (should be seconds since epoch)");
    }
    auth->time_s = strtoll(text, NULL, 10);
    if (auth->time_s < rules->now_s) {
        char now[S3_ISO_DATE_SIZE], end[S3_ISO_DATE_SIZE];

        s3_iso_date_format(auth->time_s * 1000000000, end);
        s3_iso_date_format(rules->now_s * 1000000000, now);
        (void)s3_fault_set(fault, S3_REQUEST_EXPIRED, "%s", "");
        (void)s3_fault_detail(fault, "Expires", slice_of(end));
        return s3_fault_detail(fault, "ServerTime", slice_of(now));
    }
    if (auth->time_s > rules->now_s + S3_PRESIGN_MAX_S + S3_SKEW_S) {
        return s3_fault_set(fault, S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR,
                            "Expires must be less than a week (604800 seconds) in the future");
    }
    return 0;
}

static int check_own(const struct query *query, const struct s3_auth_rules *rules,
                     struct s3_auth *auth, struct s3_fault *fault)
{
    const char *key = own_value(query, KIND_KEY);
    const char *signature = own_value(query, KIND_SIGNATURE);

    auth->v2_expires = own_value(query, KIND_EXPIRES);
    if (key == NULL || signature == NULL || auth->v2_expires == NULL) {
        return refuse(fault, "Query-string authentication requires the Signature, Expires and "
                             "AWSAccessKeyId parameters");
    }
    if (key[0] == '\0' || strlen(key) >= sizeof(auth->access_key)) {
        return s3_fault_set(fault, S3_INVALID_ACCESS_KEY_ID, "%s", "");
    }
    memcpy(auth->access_key, key, strlen(key) + 1);
    if (strlen(signature) != BASE64_SHA1) {
        return s3_fault_set(fault, S3_SIGNATURE_DOES_NOT_MATCH, "%s", "");
    }
    memcpy(auth->signature, signature, BASE64_SHA1 + 1);
    return check_expires(auth->v2_expires, rules, auth, fault);
}

/* What the query says in the place of a header is one; what is said in both must be the same. */
static int lift_headers(const struct query *query, struct arena *arena, struct s3_message *message,
                        struct s3_fault *fault)
{
    size_t n = message->header_count;
    struct s3_header *headers = arena_array(arena, n + query->count + 1, sizeof(*headers));

    if (headers == NULL) {
        return no_memory(fault);
    }
    for (size_t i = 0; i < n; i++) {
        headers[i] = message->headers[i];
    }
    for (size_t i = 0; i < query->count; i++) {
        const struct param *param = &query->params[i];
        struct slice value = slice_trim(slice_of(param->value));
        struct slice sent;

        if (param->kind != KIND_HEADER) {
            continue;
        }
        sent = s3_message_header(message, param->name);
        if (sent.data == NULL) {
            headers[n++] = (struct s3_header){slice_of(param->name), value};
        } else if (!slice_eq(slice_trim(sent), value)) {
            return refuse(fault, "A header is not what the query says of it");
        }
    }
    message->headers = headers;
    message->header_count = n;
    return 0;
}

static size_t count_headers(const struct s3_message *message, const char *name)
{
    size_t count = 0;

    for (size_t i = 0; i < message->header_count; i++) {
        struct slice n = message->headers[i].name;

        count += n.len == strlen(name) && strncasecmp(n.data, name, n.len) == 0 ? 1U : 0U;
    }
    return count;
}

/* Of these the first counts, so there must be no other. */
static int check_headers(const struct s3_message *message, struct arena *arena,
                         struct s3_auth *auth, struct s3_fault *fault)
{
    static const char *const once[] = {"content-type", "content-md5", "x-amz-security-token",
                                       "x-amz-content-sha256"};
    struct slice token = slice_trim(s3_message_header(message, "x-amz-security-token"));
    struct slice hash = s3_message_header(message, "x-amz-content-sha256");
    int error;

    for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++) {
        if (count_headers(message, once[i]) > 1) {
            return refuse(fault, "A header is there twice");
        }
    }
    if (token.len > S3_TOKEN_MAX) {
        return s3_fault_set(fault, S3_INVALID_TOKEN, "%s", "");
    }
    auth->session_token = token.len > 0 ? arena_strndup(arena, token.data, token.len) : "";
    if (auth->session_token == NULL) {
        return no_memory(fault);
    }
    error = s3_payload_parse(hash.data != NULL ? hash : slice_of(S3_UNSIGNED_PAYLOAD), auth, fault);
    if (error == 0 &&
        (auth->payload == S3_PAYLOAD_STREAMING || auth->payload == S3_PAYLOAD_STREAMING_TRAILER)) {
        return refuse(fault, "A signed body needs AWS4-HMAC-SHA256");
    }
    return error;
}

static int compare_params(const void *a, const void *b)
{
    return strcmp(((const struct param *)a)->name, ((const struct param *)b)->name);
}

/* "?name=value&name", of what is signed as part of the resource. */
static int canonical_query(struct query *query, struct arena *arena, const char **ret)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(TEXT_MAX);
    const char *before = "?";

    qsort(query->params, query->count, sizeof(query->params[0]), compare_params);
    for (size_t i = 0; i < query->count; i++) {
        const struct param *param = &query->params[i];

        if (param->kind == KIND_RESOURCE) {
            buf_addf(&out, "%s%s%s%s", before, param->name, param->value != NULL ? "=" : "",
                     param->value != NULL ? param->value : "");
            before = "&";
        }
    }
    *ret = buf_error(&out) == 0 ? arena_strndup(arena, buf_str(&out), buf_len(&out)) : NULL;
    return *ret != NULL ? 0 : -ENOMEM;
}

int s3_v2_parse(struct s3_message *message, const struct s3_auth_rules *rules, struct arena *arena,
                struct s3_auth *auth, struct s3_fault *fault)
{
    static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE"};
    AUTOFREE struct query *query = calloc(1, sizeof(*query));
    bool known = false;
    int error;

    if (query == NULL) {
        return no_memory(fault);
    }
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        known = known || slice_eq_str(message->method, methods[i]);
    }
    if (!known) {
        return refuse(fault, "By Signature Version 2 only GET, HEAD, PUT and DELETE are presigned");
    }
    error = read_query(message->query, arena, query, fault);
    error = error == 0 ? check_own(query, rules, auth, fault) : error;
    error = error == 0 ? lift_headers(query, arena, message, fault) : error;
    error = error == 0 ? check_headers(message, arena, auth, fault) : error;
    if (error == 0 && canonical_query(query, arena, &auth->v2_query) != 0) {
        return no_memory(fault);
    }
    return error;
}

/* ---- the signature ---- */

static int compare_headers(const void *a, const void *b)
{
    const struct s3_header *x = *(const struct s3_header *const *)a;
    const struct s3_header *y = *(const struct s3_header *const *)b;
    size_t shorter = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = strncasecmp(x->name.data, y->name.data, shorter);

    if (order == 0) {
        order = (x->name.len > y->name.len) - (x->name.len < y->name.len);
    }
    return order != 0 ? order : (x > y) - (x < y); /* of one name as they came */
}

/* Each "name:value[,value]\n". -EINVAL: one that is read singly is there twice. */
static int add_headers(const struct s3_message *message, struct buf *out)
{
    AUTOFREE const struct s3_header **found = calloc(message->header_count + 1, sizeof(*found));
    size_t count = 0;

    if (found == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < message->header_count; i++) {
        struct slice name = message->headers[i].name;

        if (name.len >= 6 && strncasecmp(name.data, "x-amz-", 6) == 0) {
            found[count++] = &message->headers[i];
        }
    }
    qsort(found, count, sizeof(*found), compare_headers);
    for (size_t i = 0; i < count; i++) {
        struct slice name = found[i]->name, value = slice_trim(found[i]->value);
        bool again = i > 0 && found[i - 1]->name.len == name.len &&
                     strncasecmp(found[i - 1]->name.data, name.data, name.len) == 0;

        if (again && !s3_header_repeats(name)) {
            return -EINVAL;
        }
        for (size_t j = 0; !again && j < name.len; j++) {
            char c = (char)tolower((unsigned char)name.data[j]);

            buf_add(out, &c, 1);
        }
        buf_addstr(out, again ? "," : ":");
        buf_add(out, value.len > 0 ? value.data : "", value.len);
        if (i + 1 == count || found[i + 1]->name.len != name.len ||
            strncasecmp(found[i + 1]->name.data, name.data, name.len) != 0) {
            buf_addstr(out, "\n");
        }
    }
    return buf_error(out);
}

static void add_line(struct buf *out, struct slice text)
{
    text = slice_trim(text);
    buf_add(out, text.len > 0 ? text.data : "", text.len);
    buf_addstr(out, "\n");
}

int s3_v2_string_to_sign(const struct s3_message *message, struct slice host_bucket,
                         const struct s3_auth *auth, bool slash, struct buf *out)
{
    int error;

    add_line(out, message->method);
    add_line(out, s3_message_header(message, "content-md5"));
    add_line(out, s3_message_header(message, "content-type"));
    add_line(out, slice_of(auth->v2_expires));
    error = add_headers(message, out);
    if (error != 0) {
        return error;
    }
    if (host_bucket.data != NULL) {
        buf_addstr(out, "/");
        buf_add(out, host_bucket.data, host_bucket.len);
    }
    buf_add(out, message->path.data, message->path.len);
    buf_addf(out, "%s%s", slash ? "/" : "", auth->v2_query);
    return buf_error(out);
}

static int signature_fits(const struct s3_message *message, struct slice host_bucket,
                          const struct s3_auth *auth, const char *secret, bool slash, bool *ret)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(TEXT_MAX);
    CLEANUP(buf_done) struct buf ours = BUF_INIT(64);
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    int error = s3_v2_string_to_sign(message, host_bucket, auth, slash, &text);

    if (error != 0) {
        return error;
    }
    if (HMAC(EVP_sha1(), secret, (int)strlen(secret), (const unsigned char *)buf_str(&text),
             buf_len(&text), mac, &len) == NULL) {
        return -ENOMEM;
    }
    encode_base64(&ours, mac, len);
    explicit_bzero(mac, sizeof(mac));
    *ret =
        buf_error(&ours) == 0 &&
        s3_checksum_same(slice_of(auth->signature), (struct slice){buf_str(&ours), buf_len(&ours)});
    return buf_error(&ours);
}

int s3_v2_verify(const struct s3_message *message, struct slice host_bucket,
                 const struct s3_auth *auth, const char *secret, struct s3_fault *fault)
{
    struct slice path = message->path;
    bool bare = host_bucket.data == NULL && path.len > 1 &&
                memchr(path.data + 1, '/', path.len - 1) == NULL;
    bool fits = false, fits_too = false;
    int error;

    if (auth->kind != S3_AUTH_QUERY_V2 || secret[0] == '\0') {
        return refuse(fault, "");
    }
    error = signature_fits(message, host_bucket, auth, secret, false, &fits);
    if (error == 0 && bare) { /* "/bucket" is signed as "/bucket/", and by some as it is */
        error = signature_fits(message, host_bucket, auth, secret, true, &fits_too);
    }
    if (error == -ENOMEM) {
        return no_memory(fault);
    }
    if (error == -EINVAL) {
        return refuse(fault, "A header is there twice");
    }
    return error == 0 && (fits || fits_too)
               ? 0
               : s3_fault_set(fault, S3_SIGNATURE_DOES_NOT_MATCH, "%s", "");
}
