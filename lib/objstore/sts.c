/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/sts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http/http.h"
#include "s3/checksum.h"
#include "s3/conditions.h"
#include "s3/sign.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/mutex.h"
#include "util/url.h"

enum { HOST_MAX = 256, TIMEOUT_MS = 15000, HEADERS = 5 };

struct place {
    bool tls, aws;
    char host[HOST_MAX]; /* as it is signed: without a default port */
    char region[S3_REGION_SIZE];
};

/* One question; lives on the caller's stack until `done`. */
struct question {
    struct http_request http;
    struct mutex lock;
    struct cond changed;
    bool done GUARDED_BY(lock);
    struct http_result result; /* once done */
    struct buf body;
    int64_t date_s; /* the server's clock; 0: not told */
};

/* ---- where ---- */

static int parse_endpoint(const char *endpoint, struct place *ret, struct error *err)
{
    bool tls = strncasecmp(endpoint, "https://", 8) == 0;
    const char *host = endpoint + (tls ? 8 : 7);
    const char *port = tls ? ":443" : ":80";
    size_t len;

    if (!tls && strncasecmp(endpoint, "http://", 7) != 0) {
        return error_set(err, -EINVAL, "STS endpoint '%s': it must begin with http:// or https://",
                         url_shown(endpoint));
    }
    len = strcspn(host, "/?#");
    if (len == 0 || len >= sizeof(ret->host) || url_may_hold_secret(endpoint) ||
        (host[len] != '\0' && strcmp(host + len, "/") != 0) ||
        strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") <
            len) {
        return error_set(err, -EINVAL, "STS endpoint '%s': http(s)://host[:port], without a path",
                         url_shown(endpoint));
    }
    if (len > strlen(port) && strncmp(host + len - strlen(port), port, strlen(port)) == 0) {
        len -= strlen(port);
    }
    ret->tls = tls;
    memcpy(ret->host, host, len);
    ret->host[len] = '\0';
    return 0;
}

int objstore_sts_check(const char *endpoint, struct error *err)
{
    struct place place;

    return endpoint == NULL || endpoint[0] == '\0' ? 0 : parse_endpoint(endpoint, &place, err);
}

static bool ends_in(const char *text, const char *end)
{
    size_t len = strlen(text);

    return len >= strlen(end) && strcasecmp(text + len - strlen(end), end) == 0;
}

static int find_place(const struct objstore_sts_config *config, struct place *ret,
                      struct error *err)
{
    const char *region =
        config->region != NULL && config->region[0] != '\0' ? config->region : "us-east-1";
    int r = 0;

    memset(ret, 0, sizeof(*ret));
    if (strlen(region) >= sizeof(ret->region) ||
        strspn(region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
            strlen(region)) {
        return error_set(err, -EINVAL, "region '%.64s' is not valid", region);
    }
    if (config->endpoint != NULL && config->endpoint[0] != '\0') {
        r = parse_endpoint(config->endpoint, ret, err);
    } else {
        ret->tls = true;
        (void)snprintf(ret->host, sizeof(ret->host), "sts.%s.amazonaws.com%s", region,
                       strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
    }
    ret->aws = ends_in(ret->host, ".amazonaws.com") || ends_in(ret->host, ".amazonaws.com.cn");
    /* The global endpoint is one of this region, wherever the bucket is. */
    (void)snprintf(ret->region, sizeof(ret->region), "%s",
                   strcasecmp(ret->host, "sts.amazonaws.com") == 0 ? "us-east-1" : region);
    return r;
}

/* ---- what ---- */

/* "arn:aws-cn:iam::..." names the partition of the buckets, too. */
static void partition_of(const char *role_arn, char *ret, size_t cap)
{
    const char *begin = role_arn != NULL && strncmp(role_arn, "arn:", 4) == 0 ? role_arn + 4 : "";
    size_t len = strcspn(begin, ":");

    (void)snprintf(ret, cap, "%.*s", len > 0 && len < cap ? (int)len : 3,
                   len > 0 && len < cap ? begin : "aws");
}

static int write_form(const struct objstore_sts_config *config, const struct place *place,
                      struct buf *out, struct error *err)
{
    CLEANUP(buf_done) struct buf policy = BUF_INIT(2 * S3_STS_POLICY_MAX);
    char partition[32];
    struct s3_sts_scope scope = config->scope;
    struct s3_sts_wish wish = {.role_arn = config->role_arn,
                               .session_name = config->session_name,
                               .duration_s = config->duration_s};
    int r;

    partition_of(config->role_arn, partition, sizeof(partition));
    scope.partition = partition;
    scope.aws = place->aws;
    r = s3_sts_policy(&scope, &policy);
    if (r == -EINVAL || r == -EFBIG) {
        return error_set(err, -EINVAL,
                         r == -EFBIG ? "the prefix is too long for a session policy (%s/%.64s...)"
                                     : "a session policy cannot be limited to '%s/%.64s': no '*', "
                                       "'?', '$', quotation mark or backslash is possible there",
                         scope.bucket, scope.prefix);
    }
    wish.policy = buf_str(&policy);
    return r != 0 ? r : s3_sts_form(&wish, out);
}

/* What goes out beside the form. */
struct envelope {
    struct http_header headers[HEADERS + 1];
    size_t count;
    char hash[2 * S3_CHECKSUM_MAX + 1];
    char timestamp[S3_TIMESTAMP_SIZE];
    struct buf authorization;
};

static int sign(const struct objstore_sts_config *config, const struct place *place,
                const struct buf *form, struct envelope *e)
{
    struct s3_header signed_headers[HEADERS];
    struct s3_message m = {.method = slice_of("POST"),
                           .path = slice_of("/"),
                           .query = slice_of(""),
                           .headers = signed_headers};
    struct s3_signing_key key;
    struct s3_sign_params params = {.key = &key,
                                    .access_key = config->credentials.access_key,
                                    .region = place->region,
                                    .service = "sts"};
    char date[S3_DATE_SIZE] = {0};
    int r = s3_checksum_hex_of(S3_CHECKSUM_SHA256, buf_str(form), buf_len(form), e->hash);

    s3_timestamp_format(clock_realtime_ns(clock_real()) / 1000000000, e->timestamp);
    memcpy(params.timestamp, e->timestamp, S3_TIMESTAMP_SIZE);
    memcpy(date, e->timestamp, S3_DATE_SIZE - 1);
    e->headers[0] = (struct http_header){"host", place->host};
    e->headers[1] = (struct http_header){"content-type", "application/x-www-form-urlencoded"};
    e->headers[2] = (struct http_header){"x-amz-date", e->timestamp};
    e->headers[3] = (struct http_header){"x-amz-content-sha256", e->hash};
    e->headers[4] = (struct http_header){"x-amz-security-token", config->credentials.session_token};
    e->count = config->credentials.session_token != NULL ? HEADERS : HEADERS - 1;
    m.header_count = e->count;
    for (size_t i = 0; i < e->count; i++) {
        signed_headers[i] =
            (struct s3_header){slice_of(e->headers[i].name), slice_of(e->headers[i].value)};
    }
    r = r == 0 ? s3_signing_key_derive(config->credentials.secret_key, date, place->region, "sts",
                                       &key)
               : r;
    r = r == 0 ? s3_sign_header(&m, &params, e->hash, &e->authorization, NULL) : r;
    e->headers[e->count++] = (struct http_header){"authorization", buf_str(&e->authorization)};
    explicit_bzero(&key, sizeof(key));
    return r;
}

/* ---- the exchange ---- */

static int on_head(struct http_request *request, const struct http_head *head)
{
    struct question *q = request->arg;

    buf_reset(&q->body);
    if (s3_http_date_parse(http_head_get(head, "date"), &q->date_s) != 0) {
        q->date_s = 0;
    }
    return 0;
}

static int on_write(struct http_request *request, const void *data, size_t len)
{
    struct question *q = request->arg;

    buf_add(&q->body, data, len);
    return buf_error(&q->body);
}

static void on_done(struct http_request *request, const struct http_result *result)
{
    struct question *q = request->arg;

    mutex_lock(&q->lock);
    q->result = *result;
    q->done = true;
    cond_signal(&q->changed);
    mutex_unlock(&q->lock);
}

static int ask(const struct objstore_sts_config *config, struct question *q, struct error *err)
{
    const struct http_client_config http = {.threads = 1,
                                            .max_connections = 1,
                                            .buffer_bytes = 16384,
                                            .public_only = config->public_only};
    struct http_client *client = NULL;
    int r = http_client_new(&http, &client, err);

    if (r != 0) {
        return r;
    }
    http_submit(client, &q->http);
    mutex_lock(&q->lock);
    while (!q->done) {
        cond_wait(&q->changed, &q->lock);
    }
    mutex_unlock(&q->lock);
    http_client_free(client);
    return q->result.status == 0 ? 0
                                 : error_set(err, q->result.status, "STS: %s",
                                             error_text(&q->result.error, q->result.status));
}

/* ---- the answer ---- */

static int refusal_errno(const char *code, int http_status)
{
    static const char *const wrong[] = {"MalformedPolicyDocument", "PackedPolicyTooLarge",
                                        "ValidationError",         "InvalidParameterValue",
                                        "MissingParameter",        "InvalidParameterCombination",
                                        "RegionDisabledException", "InvalidAction"};

    if (http_status >= 500 || http_status == 429 || strstr(code, "Throttling") != NULL ||
        strcmp(code, "RequestLimitExceeded") == 0) {
        return -EAGAIN;
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (strcmp(code, wrong[i]) == 0) {
            return -EINVAL;
        }
    }
    return -EACCES;
}

static int judge(const struct question *q, struct s3_sts_answer *answer, int64_t *ret_lifetime_s,
                 struct error *err)
{
    int status = q->result.http_status;
    int64_t now_s = q->date_s != 0 ? q->date_s : clock_realtime_ns(clock_real()) / 1000000000;
    int r = s3_sts_answer_parse(buf_str(&q->body), buf_len(&q->body), answer);

    if (r == -ENOMEM) {
        return r;
    }
    if (r == 0 && answer->code[0] != '\0') {
        r = refusal_errno(answer->code, status);
        return error_set(err, r, "STS refuses temporary credentials: %s: %s", answer->code,
                         answer->message);
    }
    if (r != 0 || status != 200) {
        s3_sts_answer_done(answer);
        return error_set(err, status >= 500 ? -EAGAIN : -EPROTO,
                         "HTTP status %d, and the answer is not one of an STS: is that its "
                         "endpoint?",
                         status);
    }
    *ret_lifetime_s = answer->expires_s - now_s;
    if (*ret_lifetime_s <= 0) {
        s3_sts_answer_done(answer);
        return error_set(err, -EPROTO,
                         "STS gave credentials that have expired already: its clock or this "
                         "machine's is wrong");
    }
    return 0;
}

LOCK_UNCHECKED
static int exchange(const struct objstore_sts_config *config, const struct place *place,
                    const struct buf *form, struct question *q, struct error *err)
{
    struct envelope e = {.authorization = BUF_INIT(4096)};
    char url[HOST_MAX + 16];
    int r = sign(config, place, form, &e);

    if (r == 0) {
        (void)snprintf(url, sizeof(url), "%s://%s/", place->tls ? "https" : "http", place->host);
        q->http = (struct http_request){.method = "POST",
                                        .url = url,
                                        .headers = e.headers,
                                        .header_count = e.count,
                                        .has_body = true,
                                        .data = buf_str(form),
                                        .size = buf_len(form),
                                        .head = on_head,
                                        .write = on_write,
                                        .done = on_done,
                                        .timeout_ms = config->timeout_ms != 0 ? config->timeout_ms
                                                                              : TIMEOUT_MS,
                                        .arg = q};
        mutex_init(&q->lock);
        cond_init(&q->changed);
        r = ask(config, q, err);
        cond_done(&q->changed);
        mutex_done(&q->lock);
    }
    buf_done(&e.authorization);
    return r;
}

int objstore_sts_assume(const struct objstore_sts_config *config, struct s3_sts_answer *ret,
                        int64_t *ret_lifetime_s, struct error *err)
{
    CLEANUP(buf_done) struct buf form = BUF_INIT(S3_STS_FORM_MAX);
    struct question q = {.body = BUF_INIT(S3_STS_BODY_MAX)};
    struct place place;
    int r = find_place(config, &place, err);

    memset(ret, 0, sizeof(*ret));
    r = r == 0 ? write_form(config, &place, &form, err) : r;
    r = r == 0 ? exchange(config, &place, &form, &q, err) : r;
    r = r == 0 ? judge(&q, ret, ret_lifetime_s, err) : r;
    buf_wipe(&q.body);
    return r;
}
