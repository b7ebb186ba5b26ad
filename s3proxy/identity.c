/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/identity.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <time.h>

#include "s3proxy/listen.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/log.h"

enum { TOKEN_MAX = 4096 };

static int refuse(struct buf *body, int status, const char *code, const char *message)
{
    buf_addf(body, "{\"code\": \"%s\", \"message\": \"%s\"}\n", code, message);
    return status;
}

/* 0, -EACCES, or why the file cannot be read. An empty file lets nobody in. */
static int check_token(const char *file, struct slice shown)
{
    struct buf text = BUF_INIT(TOKEN_MAX);
    size_t len;
    int ret = file_read(file, &text);

    if (ret == 0) {
        len = strcspn(buf_str(&text), "\r\n");
        ret = len > 0 && shown.len == len && CRYPTO_memcmp(shown.data, buf_str(&text), len) == 0
                  ? 0
                  : -EACCES;
    }
    buf_wipe(&text);
    return ret;
}

static int issue(const struct identity_config *config, struct buf *body)
{
    int64_t end = clock_realtime_ns(clock_real()) / 1000000000 + config->lifetime_s;
    const time_t seconds = (time_t)end;
    struct s3_session session = {0};
    struct tm tm = {0};
    char expires[32];
    int ret = credentials_issue(config->credentials, end, &session);

    if (ret == 0) {
        (void)gmtime_r(&seconds, &tm);
        (void)strftime(expires, sizeof(expires), "%Y-%m-%dT%H:%M:%SZ", &tm);
        /* nothing in them wants to be escaped: letters, digits, '+', '/', '.' */
        buf_addf(body,
                 "{\"AccessKeyId\": \"%s\", \"SecretAccessKey\": \"%s\", \"Token\": \"%s\", "
                 "\"Expiration\": \"%s\"}\n",
                 session.access_key, session.secret_key, session.token, expires);
    }
    explicit_bzero(&session, sizeof(session));
    if (ret != 0) {
        log_error("no temporary credentials", "error", strerrordesc_np(-ret), NULL);
        return refuse(body, 503, "ServiceUnavailable", "there is no key to make credentials of");
    }
    return 200;
}

int identity_answer(const struct identity_config *config, const struct identity_request *request,
                    struct buf *body)
{
    int ret;

    if (!listen_is_loopback(request->host)) {
        return refuse(body, 403, "AccessDenied", "ask at a loopback address");
    }
    if (!slice_eq_str(request->path, IDENTITY_PATH)) {
        return refuse(body, 404, "NotFound", "credentials are at " IDENTITY_PATH);
    }
    if (!slice_eq_str(request->method, "GET")) {
        return refuse(body, 405, "MethodNotAllowed", "only GET");
    }
    ret = config->token_file != NULL ? check_token(config->token_file, request->authorization) : 0;
    if (ret == -EACCES) {
        return refuse(body, 401, "Unauthorized",
                      "Authorization is not the token: set AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    }
    if (ret != 0) {
        log_error("no temporary credentials", "file", config->token_file, "error",
                  strerrordesc_np(-ret), NULL);
        return refuse(body, 503, "ServiceUnavailable", "the token file cannot be read");
    }
    return issue(config, body);
}
