/* SPDX-License-Identifier: Apache-2.0 */
/* Who a request is from: keys with bounds, temporary credentials, and where those are fetched. */
#include "s3proxy/identity.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "s3proxy/listen.h"
#include "test.h"
#include "util/clock.h"
#include "util/file.h"

enum { NOW = 1700000000 };
static char directory[64], path[96], session_keys[96], token_file[96];

static int set_up(void **state UNUSED)
{
    struct error err = ERROR_INIT;

    (void)snprintf(directory, sizeof(directory), "/tmp/skyvol-test-keys.XXXXXX");
    if (mkdtemp(directory) == NULL) {
        return -1;
    }
    (void)snprintf(path, sizeof(path), "%s/keys.json", directory);
    (void)snprintf(session_keys, sizeof(session_keys), "%s/session.keys", directory);
    (void)snprintf(token_file, sizeof(token_file), "%s/token", directory);
    return key_file_make(session_keys, &err);
}

static int tear_down(void **state UNUSED)
{
    (void)unlink(path);
    (void)unlink(token_file);
    (void)unlink(session_keys);
    return rmdir(directory);
}

static void put(const char *file, const char *text, mode_t mode)
{
    assert_int_equal(file_replace(file, text, strlen(text), mode), 0);
}

static struct credentials *open_with(const char *text)
{
    const struct credentials_config config = {.path = text != NULL ? path : NULL,
                                              .session_keys = session_keys};
    struct credentials *c = NULL;
    struct error err = ERROR_INIT;

    if (text != NULL) {
        put(path, text, 0600);
    }
    assert_int_equal(credentials_new(&config, &c, &err), 0);
    return c;
}

static enum s3_code identify(struct credentials *c, const struct claim *claim, struct identity *ret)
{
    struct s3_fault fault = S3_FAULT_INIT;

    return credentials_identify(c, claim, ret, &fault) == 0 ? S3_OK : fault.code;
}

static void a_session_has_the_rights_of_the_first_key_but_not_its_inner_ones(void **state UNUSED)
{
    struct credentials *c =
        open_with("{\"keys\": [{\"access_key\": \"a\", \"secret_key\": \"1\", \"read_only\": true, "
                  "\"internal\": true, \"buckets\": [\"one\", \"two\"]}]}");
    struct s3_session s;
    struct identity who;
    struct claim claim = {.now_s = NOW};

    assert_int_equal(credentials_issue(c, NOW + 5, &s), 0);
    claim.access_key = s.access_key;
    claim.token = s.token;
    assert_int_equal(identify(c, &claim, &who), S3_OK);
    assert_string_equal(who.secret, s.secret_key);
    assert_true(who.key->read_only);
    assert_false(who.internal);
    assert_string_equal(who.key->buckets[1], "two");
    claim.now_s = NOW + 5;
    assert_int_equal(identify(c, &claim, &who), S3_EXPIRED_TOKEN);
    credentials_free(c);
}

static void what_is_not_ours_is_refused(void **state UNUSED)
{
    struct credentials *c = open_with("{\"access_key\": \"a\", \"secret_key\": \"1\"}");
    struct s3_session s;
    struct identity who;
    struct claim claim = {.access_key = "a", .token = "", .now_s = NOW};

    assert_int_equal(credentials_issue(c, NOW + 5, &s), 0);
    assert_int_equal(identify(c, &claim, &who), S3_OK);
    claim.token = s.token; /* a lasting key with a token of another */
    assert_int_equal(identify(c, &claim, &who), S3_INVALID_TOKEN);
    claim.access_key = s.access_key;
    claim.token = "SVT1.k1.x";
    assert_int_equal(identify(c, &claim, &who), S3_INVALID_TOKEN);
    claim.token = "";
    assert_int_equal(identify(c, &claim, &who), S3_INVALID_ACCESS_KEY_ID);
    credentials_free(c);
}

static void without_session_keys_there_are_no_tokens(void **state UNUSED)
{
    const struct credentials_config config = {.path = path};
    struct credentials *with = open_with("{\"access_key\": \"a\", \"secret_key\": \"1\"}");
    struct credentials *without = NULL;
    struct error err = ERROR_INIT;
    struct s3_session s;
    struct identity who;
    struct claim claim = {.now_s = NOW};

    assert_int_equal(credentials_new(&config, &without, &err), 0);
    assert_int_equal(credentials_issue(with, NOW + 5, &s), 0);
    claim.access_key = s.access_key;
    claim.token = s.token;
    assert_int_equal(identify(without, &claim, &who), S3_INVALID_TOKEN);
    assert_int_equal(credentials_issue(without, NOW + 5, &s), -ENOENT);
    credentials_free(with);
    credentials_free(without);
}

static void a_token_that_names_a_key_lives_as_long_as_the_key(void **state UNUSED)
{
    struct credentials *c = open_with("{\"keys\": [{\"access_key\": \"a\", \"secret_key\": \"1\"}, "
                                      "{\"access_key\": \"b\", \"secret_key\": \"1\", "
                                      "\"read_only\": \"true\"}]}");
    struct key_file keys;
    struct error err = ERROR_INIT;
    struct s3_session s;
    struct identity who;
    struct claim claim = {.now_s = NOW};

    assert_int_equal(key_file_read(session_keys, &keys, &err), 0);
    assert_int_equal(s3_session_issue(&keys, "b", NOW + 5, &s), 0);
    claim.access_key = s.access_key;
    claim.token = s.token;
    assert_int_equal(identify(c, &claim, &who), S3_OK);
    assert_true(who.key->read_only);
    assert_int_equal(s3_session_issue(&keys, "gone", NOW + 5, &s), 0);
    claim.access_key = s.access_key;
    assert_int_equal(identify(c, &claim, &who), S3_INVALID_TOKEN);
    credentials_free(c);
}

static void a_slip_in_a_bound_does_not_open_everything(void **state UNUSED)
{
    static const char *const bad[] = {"\"buckets\": []",           "\"buckets\": \"one\"",
                                      "\"buckets\": [\"one\", 2]", "\"buckets\": [\"../x\"]",
                                      "\"read_only\": \"yes\"",    "\"read_only\": 1"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct credentials *c = NULL;
        struct error err = ERROR_INIT;
        char text[256];

        (void)snprintf(text, sizeof(text),
                       "{\"access_key\": \"a\", \"secret_key\": \"topsecret\", %s}", bad[i]);
        put(path, text, 0600);
        assert_int_equal(credentials_new(&(struct credentials_config){.path = path}, &c, &err),
                         -EINVAL);
        assert_null(strstr(err.text, "topsecret"));
    }
}

static void a_mounted_secret_is_a_directory(void **state UNUSED)
{
    const struct credentials_config config = {.path = directory};
    struct credentials *c = NULL;
    struct error err = ERROR_INIT;
    char id[96], secret[96], hidden[96];

    (void)unlink(session_keys);
    (void)snprintf(id, sizeof(id), "%s/accessKeyID", directory);
    (void)snprintf(secret, sizeof(secret), "%s/secretAccessKey", directory);
    (void)snprintf(hidden, sizeof(hidden), "%s/..data", directory);
    put(id, "a\n", 0440);
    put(secret, "s", 0440);
    put(hidden, "x", 0666);
    assert_int_equal(credentials_new(&config, &c, &err), 0);
    assert_string_equal(credentials_find(c, "a")->secret_key, "s");
    credentials_free(c);
    c = NULL;
    assert_int_equal(chmod(secret, 0444), 0);
    assert_int_equal(credentials_new(&config, &c, &err), -EACCES);
    assert_non_null(strstr(err.text, "defaultMode 0440"));
    (void)unlink(id);
    (void)unlink(secret);
    (void)unlink(hidden);
}

/* ---- where they are fetched ---- */

static int ask(const struct identity_config *config, struct identity_request request,
               struct buf *body)
{
    request.method = request.method.data != NULL ? request.method : slice_of("GET");
    request.path = request.path.data != NULL ? request.path : slice_of("/credentials");
    request.host = request.host.data != NULL ? request.host : slice_of("127.0.0.1:9001");
    buf_reset(body);
    return identity_answer(config, &request, body);
}

static void the_answer_is_what_sdks_read(void **state UNUSED)
{
    struct credentials *c = open_with(NULL);
    const struct identity_config config = {.credentials = c, .lifetime_s = 900};
    struct buf body = BUF_INIT(4096);
    struct identity who;
    struct claim claim = {.now_s = clock_realtime_ns(clock_real()) / 1000000000};
    cJSON *json;

    assert_int_equal(ask(&config, (struct identity_request){0}, &body), 200);
    json = cJSON_Parse(buf_str(&body));
    claim.access_key = cJSON_GetStringValue(cJSON_GetObjectItem(json, "AccessKeyId"));
    claim.token = cJSON_GetStringValue(cJSON_GetObjectItem(json, "Token"));
    assert_int_equal(identify(c, &claim, &who), S3_OK);
    assert_string_equal(who.secret,
                        cJSON_GetStringValue(cJSON_GetObjectItem(json, "SecretAccessKey")));
    assert_false(who.key->read_only);
    assert_int_equal(strlen(cJSON_GetStringValue(cJSON_GetObjectItem(json, "Expiration"))),
                     strlen("2026-01-01T00:00:00Z"));
    claim.now_s += 901;
    assert_int_equal(identify(c, &claim, &who), S3_EXPIRED_TOKEN);
    cJSON_Delete(json);
    buf_done(&body);
    credentials_free(c);
}

static void only_who_asks_as_it_should_gets_an_answer(void **state UNUSED)
{
    struct credentials *c = open_with(NULL);
    struct identity_config config = {.credentials = c, .lifetime_s = 900};
    struct buf body = BUF_INIT(4096);

    assert_int_equal(ask(&config, (struct identity_request){.path = slice_of("/")}, &body), 404);
    assert_int_equal(ask(&config, (struct identity_request){.method = slice_of("POST")}, &body),
                     405);
    assert_int_equal(ask(&config, (struct identity_request){.host = slice_of("evil.test")}, &body),
                     403);
    assert_null(strstr(buf_str(&body), "Secret"));
    config.token_file = token_file;
    assert_int_equal(ask(&config, (struct identity_request){0}, &body), 503);
    put(token_file, "", 0600);
    assert_int_equal(ask(&config, (struct identity_request){.authorization = slice_of("")}, &body),
                     401);
    put(token_file, "abc\n", 0600);
    assert_int_equal(ask(&config, (struct identity_request){0}, &body), 401);
    assert_int_equal(
        ask(&config, (struct identity_request){.authorization = slice_of("abd")}, &body), 401);
    assert_int_equal(
        ask(&config, (struct identity_request){.authorization = slice_of("abcd")}, &body), 401);
    assert_int_equal(
        ask(&config, (struct identity_request){.authorization = slice_of("abc")}, &body), 200);
    buf_done(&body);
    credentials_free(c);
}

static void without_any_key_there_are_no_credentials(void **state UNUSED)
{
    struct credentials *c = open_with("{\"keys\": []}");
    const struct identity_config config = {.credentials = c, .lifetime_s = 900};
    struct buf body = BUF_INIT(4096);

    assert_int_equal(ask(&config, (struct identity_request){0}, &body), 503);
    buf_done(&body);
    credentials_free(c);
}

static void a_sidecar_serves_nobody_but_its_pod(void **state UNUSED)
{
    static const struct {
        const char *address;
        bool alone;
    } cases[] = {{"127.0.0.1:9000", true}, {"localhost:1", true},    {"[::1]:80", true},
                 {"127.9.9.9:1", true},    {"0.0.0.0:9000", false},  {"*:9000", false},
                 {":9000", false},         {"10.0.0.1:9000", false}, {"[::]:9000", false},
                 {"127.0.0.1", false},     {"127.0.0.1.x:1", false}, {"127.0.0.1:", false},
                 {"[::1]", false},         {"localhost.x:1", false}, {"9000", false}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64], local[] = "127.0.0.1:1";
        struct proxy_config config = {.listen = text, .sidecar = true};
        struct proxy_config other = {.listen = local, .identity = text};
        struct error err = ERROR_INIT;

        (void)snprintf(text, sizeof(text), "%s", cases[i].address);
        assert_int_equal(listen_check(&config, &err), cases[i].alone ? 0 : -EINVAL);
        assert_int_equal(listen_check(&other, &err), cases[i].alone ? 0 : -EINVAL);
    }
}

#define EACH(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(a_session_has_the_rights_of_the_first_key_but_not_its_inner_ones),
        EACH(what_is_not_ours_is_refused),
        EACH(without_session_keys_there_are_no_tokens),
        EACH(a_token_that_names_a_key_lives_as_long_as_the_key),
        EACH(a_slip_in_a_bound_does_not_open_everything),
        EACH(a_mounted_secret_is_a_directory),
        EACH(the_answer_is_what_sdks_read),
        EACH(only_who_asks_as_it_should_gets_an_answer),
        EACH(without_any_key_there_are_no_credentials),
        EACH(a_sidecar_serves_nobody_but_its_pod),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
