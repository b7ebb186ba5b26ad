/* SPDX-License-Identifier: Apache-2.0 */
/* The server's half of sign.h: what a request claims, and whether its signature proves it. */
#include <errno.h>
#include <openssl/crypto.h>
#include <strings.h>

#include "s3/conditions.h"
#include "s3/names.h"
#include "s3/sign.h"
#include "util/cleanup.h"
#include "util/encode.h"

enum { CANONICAL_MAX = 256 * 1024 };

static const char algorithm[] = "AWS4-HMAC-SHA256";

static size_t count_named(const struct s3_message *message, struct slice name)
{
    size_t count = 0;

    for (size_t i = 0; i < message->header_count; i++) {
        struct slice other = message->headers[i].name;

        count += other.len == name.len && strncasecmp(other.data, name.data, name.len) == 0 ? 1 : 0;
    }
    return count;
}

static size_t count_headers(const struct s3_message *message, const char *name)
{
    return count_named(message, slice_of(name));
}

static bool copy(struct slice from, char *to, size_t size)
{
    if (from.data == NULL || from.len == 0) {
        to[0] = '\0';
        return true;
    }
    if (from.len >= size || memchr(from.data, '\0', from.len) != NULL) {
        return false;
    }
    memcpy(to, from.data, from.len);
    to[from.len] = '\0';
    return true;
}

/* The same into the arena, at most `max` bytes. */
static bool keep(struct slice from, size_t max, struct arena *arena, const char **ret)
{
    if (from.data == NULL || from.len == 0) {
        *ret = "";
        return true;
    }
    *ret = from.len <= max && memchr(from.data, '\0', from.len) == NULL
               ? arena_strndup(arena, from.data, from.len)
               : NULL;
    return *ret != NULL;
}

static bool is_hex64(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];

        if ((c < '0' || c > '9') && (c < 'a' || c > 'f')) {
            return false;
        }
    }
    return text.len == S3_HEX_SIZE - 1;
}

/* Cut what stands behind the last '/' of *s. */
static bool cut_last(struct slice *s, struct slice *ret)
{
    const char *slash = s->len > 0 ? memrchr(s->data, '/', s->len) : NULL;

    if (slash == NULL) {
        return false;
    }
    *ret = (struct slice){slash + 1, (size_t)(s->data + s->len - slash) - 1};
    s->len = (size_t)(slash - s->data);
    return true;
}

/* "key/date/region/service/aws4_request": the key may hold slashes, so from the end. */
static int parse_credential(struct slice text, const struct s3_auth_rules *rules,
                            struct s3_auth *auth, enum s3_code malformed, struct s3_fault *fault)
{
    struct slice end;
    struct slice service;
    struct slice region;
    struct slice date;

    if (!cut_last(&text, &end) || !cut_last(&text, &service) || !cut_last(&text, &region) ||
        !cut_last(&text, &date) || text.len == 0) {
        return s3_fault_set(fault, malformed,
                            "The credential is not ACCESS-KEY/DATE/REGION/s3/aws4_request");
    }
    if (!slice_eq_str(end, "aws4_request")) {
        return s3_fault_set(fault, malformed, "The credential does not end in aws4_request");
    }
    if (!slice_eq_str(service, "s3")) {
        return s3_fault_set(fault, malformed, "The credential is for another service than s3");
    }
    if (date.len != S3_DATE_SIZE - 1 || !copy(date, auth->date, sizeof(auth->date))) {
        return s3_fault_set(fault, malformed, "The date of the credential is not YYYYMMDD");
    }
    if (region.len == 0 || !copy(region, auth->region, sizeof(auth->region)) ||
        (rules->region != NULL && strcmp(auth->region, rules->region) != 0)) {
        return s3_fault_set(fault, malformed,
                            "The region of the credential is wrong; expecting '%s'",
                            rules->region != NULL ? rules->region : "");
    }
    if (!copy(text, auth->access_key, sizeof(auth->access_key))) {
        return s3_fault_set(fault, S3_INVALID_ACCESS_KEY_ID, "%s", "");
    }
    return 0;
}

static bool lists_name(const char *names, struct slice name)
{
    while (*names != '\0') {
        size_t len = strcspn(names, ";");

        if (len == name.len && strncasecmp(names, name.data, len) == 0) {
            return true;
        }
        names += len;
        names += *names == ';' ? 1 : 0;
    }
    return false;
}

/* A value with commas has one signature with the same value cut into several headers, of which one
 * would be read: nobody may cut it. */
static int check_single(const struct s3_message *message, const char *names, struct s3_fault *fault)
{
    for (unsigned i = 0; *names != '\0' && i < S3_SIGNED_HEADERS_MAX; i++) {
        struct slice name = {names, strcspn(names, ";")};

        if (!s3_header_repeats(name) && count_named(message, name) > 1) {
            (void)s3_fault_set(fault, S3_INVALID_REQUEST, "A header that is signed is there twice");
            return s3_fault_detail(fault, "HeaderName", name);
        }
        names += name.len;
        names += *names == ';' ? 1 : 0;
    }
    return 0;
}

/* host and all that steers S3 must be signed, or somebody on the way could have added it. */
static int check_signed_headers(const struct s3_message *message, const struct s3_auth *auth,
                                enum s3_code malformed, struct s3_fault *fault)
{
    CLEANUP(buf_done) struct buf unsigned_names = BUF_INIT(64 * 1024);

    if (!lists_name(auth->signed_headers_text, slice_of("host"))) {
        return s3_fault_set(fault, malformed, "The host header must be signed");
    }
    for (size_t i = 0; i < message->header_count; i++) {
        struct slice name = message->headers[i].name;

        if (name.len > 6 && strncasecmp(name.data, "x-amz-", 6) == 0 &&
            !lists_name(auth->signed_headers_text, name)) {
            buf_addf(&unsigned_names, "%s%.*s", buf_len(&unsigned_names) > 0 ? ", " : "",
                     (int)name.len, name.data);
        }
    }
    if (buf_len(&unsigned_names) == 0) {
        return check_single(message, auth->signed_headers_text, fault);
    }
    (void)s3_fault_set(fault, S3_ACCESS_DENIED,
                       "There were headers present in the request which were not signed");
    return s3_fault_detail(fault, "HeadersNotSigned",
                           (struct slice){buf_str(&unsigned_names), buf_len(&unsigned_names)});
}

/* As AWS tells clocks. */
static int add_time(struct s3_fault *fault, const char *name, int64_t time_s)
{
    char text[S3_ISO_DATE_SIZE];

    s3_iso_date_format(time_s * 1000000000, text);
    return s3_fault_detail(fault, name, slice_of(text));
}

int s3_payload_parse(struct slice value, struct s3_auth *auth, struct s3_fault *fault)
{
    static const enum s3_payload words[] = {S3_PAYLOAD_UNSIGNED, S3_PAYLOAD_STREAMING,
                                            S3_PAYLOAD_STREAMING_TRAILER,
                                            S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER};

    value = slice_trim(value);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (slice_eq_str(value, s3_payload_name(words[i]))) {
            auth->payload = words[i];
            (void)copy(value, auth->payload_hash, sizeof(auth->payload_hash));
            return 0;
        }
    }
    if (slice_starts_with(value, slice_of("STREAMING-AWS4-ECDSA-"))) {
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "Signature Version 4A is not implemented");
    }
    if (!is_hex64(value)) {
        return s3_fault_argument(
            fault, "x-amz-content-sha256", value,
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- word or a "
            "valid sha256 value");
    }
    auth->payload = S3_PAYLOAD_SHA256;
    (void)copy(value, auth->payload_hash, sizeof(auth->payload_hash));
    return 0;
}

/* ---- the header form ---- */

/* The value of `name` in "Credential=..., SignedHeaders=..., Signature=..."; each exactly once. */
static bool find_field(struct slice fields, const char *name, struct slice *ret)
{
    unsigned int found = 0;
    size_t name_len = strlen(name);

    while (fields.len > 0) {
        const char *comma = memchr(fields.data, ',', fields.len);
        size_t len = comma != NULL ? (size_t)(comma - fields.data) : fields.len;
        struct slice field = slice_trim((struct slice){fields.data, len});

        if (field.len > name_len && memcmp(field.data, name, name_len) == 0 &&
            field.data[name_len] == '=') {
            *ret = (struct slice){field.data + name_len + 1, field.len - name_len - 1};
            found++;
        }
        fields.data += len + (comma != NULL ? 1 : 0);
        fields.len -= len + (comma != NULL ? 1 : 0);
    }
    return found == 1;
}

static int parse_time(const struct s3_message *message, const struct s3_auth_rules *rules,
                      struct s3_auth *auth, struct s3_fault *fault)
{
    struct slice amz = slice_trim(s3_message_header(message, "x-amz-date"));
    struct slice date = slice_trim(s3_message_header(message, "date"));
    int error = amz.data != NULL ? s3_timestamp_parse(amz, &auth->time_s)
                                 : s3_http_date_parse(date, &auth->time_s);

    if (amz.data == NULL && error < 0) {
        error = s3_timestamp_parse(date, &auth->time_s);
    }
    if (error < 0 || count_headers(message, "x-amz-date") > 1) {
        return s3_fault_set(fault, S3_ACCESS_DENIED,
                            "AWS authentication requires a valid Date or x-amz-date header");
    }
    s3_timestamp_format(auth->time_s, auth->timestamp);
    if (memcmp(auth->timestamp, auth->date, S3_DATE_SIZE - 1) != 0) {
        return s3_fault_set(fault, S3_AUTHORIZATION_HEADER_MALFORMED,
                            "The date of the credential is not that of the request");
    }
    if (auth->time_s > rules->now_s + S3_SKEW_S || auth->time_s < rules->now_s - S3_SKEW_S) {
        (void)s3_fault_set(fault, S3_REQUEST_TIME_TOO_SKEWED, "%s", "");
        (void)s3_fault_detail(fault, "RequestTime", amz.data != NULL ? amz : date);
        (void)add_time(fault, "ServerTime", rules->now_s);
        return s3_fault_detail(fault, "MaxAllowedSkewMilliseconds", slice_of("900000"));
    }
    return 0;
}

static int check_scheme(struct slice *value, struct s3_fault *fault)
{
    if (value->len == 0) {
        return s3_fault_set(fault, S3_ACCESS_DENIED, "The Authorization header is empty");
    }
    if (slice_starts_with(*value, slice_of("AWS4-ECDSA-P256-SHA256"))) {
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "Signature Version 4A is not implemented");
    }
    if (slice_starts_with(*value, slice_of("AWS "))) {
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Signature Version 2 is not supported. Please use AWS4-HMAC-SHA256");
    }
    if (!slice_starts_with(*value, slice_of(algorithm)) || value->len == strlen(algorithm) ||
        value->data[strlen(algorithm)] != ' ') {
        (void)s3_fault_set(fault, S3_INVALID_ARGUMENT, "Unsupported Authorization Type");
        (void)s3_fault_detail(fault, "ArgumentName", slice_of("Authorization"));
        return s3_code_errno(S3_INVALID_ARGUMENT); /* its value may be a secret */
    }
    value->data += strlen(algorithm);
    value->len -= strlen(algorithm);
    return 0;
}

static int parse_header_form(const struct s3_message *message, const struct s3_auth_rules *rules,
                             struct arena *arena, struct s3_auth *auth, struct s3_fault *fault)
{
    const enum s3_code malformed = S3_AUTHORIZATION_HEADER_MALFORMED;
    struct slice value = slice_trim(s3_message_header(message, "authorization"));
    struct slice hash = s3_message_header(message, "x-amz-content-sha256");
    struct slice credential;
    struct slice names;
    struct slice signature;
    int error = check_scheme(&value, fault);

    if (error < 0) {
        return error;
    }
    if (count_headers(message, "authorization") != 1 ||
        !find_field(value, "Credential", &credential) ||
        !find_field(value, "SignedHeaders", &names) ||
        !find_field(value, "Signature", &signature) || !is_hex64(signature) ||
        !keep(names, S3_TOKEN_MAX, arena, &auth->signed_headers_text)) {
        return s3_fault_set(fault, malformed, "%s", "");
    }
    (void)copy(signature, auth->signature, sizeof(auth->signature));
    error = parse_credential(credential, rules, auth, malformed, fault);
    if (error == 0) {
        error = parse_time(message, rules, auth, fault);
    }
    if (error == 0) {
        error = check_signed_headers(message, auth, malformed, fault);
    }
    if (error < 0) {
        return error;
    }
    if (count_headers(message, "x-amz-content-sha256") != 1) {
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Missing required header for this request: x-amz-content-sha256");
    }
    if (!keep(slice_trim(s3_message_header(message, "x-amz-security-token")), S3_TOKEN_MAX, arena,
              &auth->session_token)) {
        return s3_fault_set(fault, S3_INVALID_TOKEN, "%s", "");
    }
    return s3_payload_parse(hash, auth, fault);
}

/* ---- the query form ---- */

/* What of a query has to do with its signature; of version 2 only that it is there. */
enum auth_param {
    AUTH_ALGORITHM,
    AUTH_CREDENTIAL,
    AUTH_DATE,
    AUTH_EXPIRES,
    AUTH_SIGNED_HEADERS,
    AUTH_SIGNATURE,
    AUTH_TOKEN,
    AUTH_CONTENT,
    AUTH_V2_KEY,
    AUTH_V2_SIGNATURE,
    AUTH_PARAMS
};

struct auth_params {
    size_t count[AUTH_PARAMS];       /* how often each is there */
    struct slice value[AUTH_PARAMS]; /* of the first, as it came */
};

static void note_param(const struct s3_query_param *param, struct auth_params *ret)
{
#define NAMED(text)                                                                                \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
    static const struct slice names[AUTH_PARAMS] = {
        [AUTH_ALGORITHM] = NAMED("X-Amz-Algorithm"),
        [AUTH_CREDENTIAL] = NAMED("X-Amz-Credential"),
        [AUTH_DATE] = NAMED("X-Amz-Date"),
        [AUTH_EXPIRES] = NAMED("X-Amz-Expires"),
        [AUTH_SIGNED_HEADERS] = NAMED("X-Amz-SignedHeaders"),
        [AUTH_SIGNATURE] = NAMED("X-Amz-Signature"),
        [AUTH_TOKEN] = NAMED("X-Amz-Security-Token"),
        [AUTH_CONTENT] = NAMED("X-Amz-Content-Sha256"),
        [AUTH_V2_KEY] = NAMED("AWSAccessKeyId"),
        [AUTH_V2_SIGNATURE] = NAMED("Signature"),
    };
#undef NAMED
    bool plain = encode_percent_is_same(param->name);

    for (size_t i = 0; i < AUTH_PARAMS; i++) {
        if (plain ? slice_eq(param->name, names[i])
                  : s3_query_is_named(param->name, names[i].data)) {
            ret->value[i] = ret->count[i] == 0 ? param->value : ret->value[i];
            ret->count[i]++;
            return;
        }
    }
}

/* All in one pass, as most queries have nothing else. */
static void find_params(struct slice query, struct auth_params *ret)
{
    struct s3_query_param param;

    *ret = (struct auth_params){0};
    while (s3_query_next(&query, &param)) {
        note_param(&param, ret);
    }
}

/* One parameter, there exactly once. */
static bool take_param(const struct auth_params *params, enum auth_param which, char *ret,
                       size_t size)
{
    CLEANUP(buf_done) struct buf value = BUF_INIT(16384);
    struct slice raw = params->value[which];

    if (params->count[which] != 1) {
        return false;
    }
    if (encode_percent_is_same(raw)) { /* as most are */
        return copy(raw, ret, size);
    }
    return decode_percent(&value, raw, true) == 0 &&
           copy((struct slice){buf_str(&value), buf_len(&value)}, ret, size);
}

/* The same into the arena. */
static bool keep_param(const struct auth_params *params, enum auth_param which, struct arena *arena,
                       const char **ret)
{
    CLEANUP(buf_done) struct buf value = BUF_INIT(16384);
    struct slice raw = params->value[which];

    if (params->count[which] != 1) {
        return false;
    }
    if (encode_percent_is_same(raw)) {
        return keep(raw, S3_TOKEN_MAX, arena, ret);
    }
    return decode_percent(&value, raw, true) == 0 &&
           keep((struct slice){buf_str(&value), buf_len(&value)}, S3_TOKEN_MAX, arena, ret);
}

static bool parse_expires(const char *text, uint32_t *ret)
{
    uint32_t value = 0;
    size_t len = strlen(text);

    if (len == 0 || len > 6) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        value = value * 10 + (uint32_t)(text[i] - '0');
    }
    *ret = value;
    return value >= 1 && value <= S3_PRESIGN_MAX_S;
}

static int parse_validity(const struct auth_params *params, const struct s3_auth_rules *rules,
                          struct s3_auth *auth, struct s3_fault *fault)
{
    const enum s3_code malformed = S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR;
    char expires[16];

    if (!take_param(params, AUTH_DATE, auth->timestamp, sizeof(auth->timestamp)) ||
        s3_timestamp_parse(slice_of(auth->timestamp), &auth->time_s) < 0) {
        return s3_fault_set(fault, malformed, "X-Amz-Date must be in the form yyyyMMddTHHmmssZ");
    }
    if (!take_param(params, AUTH_EXPIRES, expires, sizeof(expires)) ||
        !parse_expires(expires, &auth->expires_s)) {
        return s3_fault_set(fault, malformed, "X-Amz-Expires must be a number from 1 to 604800");
    }
    if (memcmp(auth->timestamp, auth->date, S3_DATE_SIZE - 1) != 0) {
        return s3_fault_set(fault, malformed,
                            "The date of the credential is not that of the request");
    }
    if (auth->time_s > rules->now_s + S3_SKEW_S) {
        return s3_fault_set(fault, S3_ACCESS_DENIED, "Request is not yet valid");
    }
    if (rules->now_s > auth->time_s + (int64_t)auth->expires_s) {
        (void)s3_fault_set(fault, S3_REQUEST_EXPIRED, "%s", "");
        (void)s3_fault_detail(fault, "X-Amz-Expires", slice_of(expires));
        (void)add_time(fault, "Expires", auth->time_s + (int64_t)auth->expires_s);
        return add_time(fault, "ServerTime", rules->now_s);
    }
    return 0;
}

static int query_payload(const struct s3_message *message, const struct auth_params *params,
                         struct s3_auth *auth, struct s3_fault *fault)
{
    CLEANUP(buf_done) struct buf value = BUF_INIT(256);
    struct slice header = s3_message_header(message, "x-amz-content-sha256");
    size_t count = params->count[AUTH_CONTENT];

    if (count_headers(message, "x-amz-content-sha256") + count > 1) {
        return s3_fault_set(fault, S3_INVALID_REQUEST, "x-amz-content-sha256 is there twice");
    }
    if (header.data != NULL) {
        return s3_payload_parse(header, auth, fault);
    }
    if (count == 1) {
        if (decode_percent(&value, params->value[AUTH_CONTENT], true) != 0) {
            return s3_fault_set(fault, S3_INVALID_ARGUMENT, "X-Amz-Content-Sha256 is malformed");
        }
        return s3_payload_parse((struct slice){buf_str(&value), buf_len(&value)}, auth, fault);
    }
    return s3_payload_parse(slice_of(S3_UNSIGNED_PAYLOAD), auth, fault);
}

static int parse_query_form(const struct s3_message *message, const struct auth_params *params,
                            const struct s3_auth_rules *rules, struct arena *arena,
                            struct s3_auth *auth, struct s3_fault *fault)
{
    const enum s3_code malformed = S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR;
    char text[512];
    int error;

    if (!take_param(params, AUTH_ALGORITHM, text, sizeof(text)) || strcmp(text, algorithm) != 0) {
        return s3_fault_set(fault, malformed, "X-Amz-Algorithm must be \"AWS4-HMAC-SHA256\"");
    }
    if (!take_param(params, AUTH_CREDENTIAL, text, sizeof(text))) {
        return s3_fault_set(fault, malformed, "X-Amz-Credential is missing or malformed");
    }
    error = parse_credential(slice_of(text), rules, auth, malformed, fault);
    if (error < 0) {
        return error;
    }
    if (!keep_param(params, AUTH_SIGNED_HEADERS, arena, &auth->signed_headers_text) ||
        !take_param(params, AUTH_SIGNATURE, auth->signature, sizeof(auth->signature)) ||
        !is_hex64(slice_of(auth->signature))) {
        return s3_fault_set(fault, malformed,
                            "X-Amz-SignedHeaders or X-Amz-Signature is missing or malformed");
    }
    if (params->count[AUTH_TOKEN] > 0 &&
        !keep_param(params, AUTH_TOKEN, arena, &auth->session_token)) {
        return s3_fault_set(fault, S3_INVALID_TOKEN, "%s", "");
    }
    error = parse_validity(params, rules, auth, fault);
    if (error == 0) {
        error = check_signed_headers(message, auth, malformed, fault);
    }
    return error < 0 ? error : query_payload(message, params, auth, fault);
}

/* ---- which form ---- */

static int parse_anonymous(const struct s3_message *message, struct s3_auth *auth,
                           struct s3_fault *fault)
{
    struct slice hash = s3_message_header(message, "x-amz-content-sha256");
    int error;

    error = s3_payload_parse(hash.data != NULL ? hash : slice_of(S3_UNSIGNED_PAYLOAD), auth, fault);
    if (error == 0 &&
        (auth->payload == S3_PAYLOAD_STREAMING || auth->payload == S3_PAYLOAD_STREAMING_TRAILER)) {
        return s3_fault_set(fault, S3_ACCESS_DENIED, "A signed body needs a signed request");
    }
    return error;
}

int s3_auth_parse(const struct s3_message *message, const struct s3_auth_rules *rules,
                  struct arena *arena, struct s3_auth *ret, struct s3_fault *fault)
{
    bool header = s3_message_header(message, "authorization").data != NULL;
    struct auth_params params;
    bool query, v2;
    struct s3_auth auth = {.session_token = "", .signed_headers_text = ""};
    int error;

    find_params(message->query, &params);
    query = params.count[AUTH_ALGORITHM] + params.count[AUTH_CREDENTIAL] +
                params.count[AUTH_SIGNATURE] + params.count[AUTH_SIGNED_HEADERS] +
                params.count[AUTH_EXPIRES] >
            0;
    v2 = params.count[AUTH_V2_KEY] + params.count[AUTH_V2_SIGNATURE] > 0;
    if ((header ? 1 : 0) + (query ? 1 : 0) + (v2 ? 1 : 0) > 1) {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT,
                            "Only one auth mechanism allowed; only the X-Amz-Algorithm query "
                            "parameter or the Authorization header should be specified");
    }
    auth.kind = header  ? S3_AUTH_HEADER
                : query ? S3_AUTH_QUERY
                : v2    ? S3_AUTH_QUERY_V2
                        : S3_AUTH_NONE;
    if (v2) {
        error = rules->v2 ? 0
                          : s3_fault_set(fault, S3_INVALID_REQUEST,
                                         "Signature Version 2 is not supported. Please use "
                                         "AWS4-HMAC-SHA256");
    } else if (header) {
        error = parse_header_form(message, rules, arena, &auth, fault);
    } else if (query) {
        error = parse_query_form(message, &params, rules, arena, &auth, fault);
    } else {
        error = parse_anonymous(message, &auth, fault);
    }
    if (error == 0) {
        *ret = auth;
    }
    return error;
}

int s3_auth_verify(const struct s3_message *message, const struct s3_auth *auth,
                   const struct s3_signing_key *key, struct s3_fault *fault)
{
    CLEANUP(buf_done) struct buf canonical = BUF_INIT(CANONICAL_MAX);
    char expected[S3_HEX_SIZE] = {0};
    char scope[S3_SCOPE_SIZE];
    int error;

    if (auth->kind == S3_AUTH_NONE || auth->kind == S3_AUTH_QUERY_V2) {
        return s3_fault_set(fault, S3_ACCESS_DENIED, "%s", "");
    }
    error = s3_scope_format(auth->timestamp, auth->region, "s3", scope);
    if (error == 0) {
        error = s3_canonical_request(message, slice_of(auth->signed_headers_text),
                                     auth->payload_hash, auth->kind == S3_AUTH_QUERY, &canonical);
    }
    if (error == 0) {
        error = s3_signature((struct slice){buf_str(&canonical), buf_len(&canonical)},
                             auth->timestamp, scope, key, expected);
    }
    if (error == -ENOMEM) {
        (void)s3_fault_set(fault, S3_INTERNAL_ERROR, "%s", "");
        return error;
    }
    if (error < 0 || CRYPTO_memcmp(expected, auth->signature, S3_HEX_SIZE) != 0) {
        return s3_fault_set(fault, S3_SIGNATURE_DOES_NOT_MATCH, "%s", "");
    }
    return 0;
}
