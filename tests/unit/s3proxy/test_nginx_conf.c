/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/nginx_conf.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "test.h"
#include "util/cleanup.h"

static char listen_on[] = "127.0.0.1:9000", store[] = "s3://", keys[] = "/etc/keys.json",
            run_dir[] = "/run/s3", module[] = "/lib/m.so", region[] = "us-east-1",
            volume[] = "b=s3://real/p", suffix[] = "s3.test", cert[] = "/c.pem", key[] = "/k.pem";

static struct proxy_config config(void)
{
    return (struct proxy_config){.listen = listen_on,
                                 .store = store,
                                 .credentials = keys,
                                 .run_dir = run_dir,
                                 .module = module,
                                 .region = region,
                                 .workers = 2};
}

static void every_setting_reaches_the_module(void **state UNUSED)
{
    struct proxy_config c = config();
    struct buf out = BUF_INIT(64 * 1024);
    struct error err = ERROR_INIT;
    char level[] = "info";
    char *volumes[] = {volume, NULL}, *suffixes[] = {suffix, NULL};

    c.volumes = (struct option_list){volumes, 1};
    c.host_suffix = (struct option_list){suffixes, 1};
    c.log_level = level;
    assert_int_equal(nginx_conf_write(&c, "root", &out, &err), 0);
    assert_non_null(strstr(buf_str(&out), "error_log stderr info;"));
    assert_non_null(strstr(buf_str(&out), "user root;"));
    assert_non_null(strstr(buf_str(&out), "listen 127.0.0.1:9000;"));
    assert_non_null(strstr(buf_str(&out), "skyvol_store \"s3://\";"));
    assert_non_null(strstr(buf_str(&out), "skyvol_volume \"b=s3://real/p\";"));
    assert_non_null(strstr(buf_str(&out), "skyvol_host_suffix \"s3.test\";"));
    assert_non_null(strstr(buf_str(&out), "skyvol_credentials \"/etc/keys.json\";"));
    assert_null(strstr(buf_str(&out), "ssl_"));
    buf_done(&out);
}

static void a_certificate_makes_it_https(void **state UNUSED)
{
    struct proxy_config c = config();
    struct buf out = BUF_INIT(64 * 1024);
    struct error err = ERROR_INIT;

    c.tls_cert = cert;
    c.tls_key = key;
    assert_int_equal(nginx_conf_write(&c, NULL, &out, &err), 0);
    assert_non_null(strstr(buf_str(&out), "listen 127.0.0.1:9000 ssl;"));
    assert_non_null(strstr(buf_str(&out), "ssl_certificate \"/c.pem\";"));
    assert_non_null(strstr(buf_str(&out), "ssl_protocols TLSv1.2 TLSv1.3;"));
    assert_null(strstr(buf_str(&out), "user "));
    buf_done(&out);
}

static void credentials_are_fetched_at_a_port_of_their_own(void **state UNUSED)
{
    struct proxy_config c = config();
    struct buf out = BUF_INIT(64 * 1024);
    struct error err = ERROR_INIT;
    char at[] = "127.0.0.1:9001", keys_at[] = "/run/s3/session.keys", token[] = "/t";

    assert_int_equal(nginx_conf_write(&c, NULL, &out, &err), 0);
    assert_null(strstr(buf_str(&out), "skyvol_identity;"));
    buf_reset(&out);
    c.identity = at;
    c.session_keys = keys_at;
    c.identity_token = token;
    c.session_ms = 3600000;
    assert_int_equal(nginx_conf_write(&c, NULL, &out, &err), 0);
    assert_non_null(strstr(buf_str(&out), "listen 127.0.0.1:9001;"));
    assert_non_null(strstr(buf_str(&out), "skyvol_identity;"));
    assert_non_null(strstr(buf_str(&out), "skyvol_session_keys \"/run/s3/session.keys\";"));
    assert_non_null(strstr(buf_str(&out), "skyvol_session_lifetime 3600s;"));
    assert_non_null(strstr(buf_str(&out), "skyvol_identity_token \"/t\";"));
    buf_done(&out);
}

static void a_value_cannot_become_a_directive(void **state UNUSED)
{
    static const char *const bad[] = {"a\"; x", "a\nb", "a;b", "a$b", "a{b", "a}b", "a'b", "a\\b"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct proxy_config c = config();
        char text[16];
        char *list[] = {text, NULL};
        char **const members[] = {&c.listen,       &c.store,    &c.store_endpoint,
                                  &c.store_region, &c.store_ca, &c.store_credentials,
                                  &c.credentials,  &c.run_dir,  &c.module,
                                  &c.region,       &c.tls_cert, &c.tls_key,
                                  &c.session_keys, &c.identity, &c.identity_token};

        (void)snprintf(text, sizeof(text), "%s", bad[i]);
        for (size_t k = 0; k < sizeof(members) / sizeof(members[0]) + 2; k++) {
            struct buf out = BUF_INIT(64 * 1024);
            struct error err = ERROR_INIT;

            c = config();
            if (k < sizeof(members) / sizeof(members[0])) {
                *members[k] = text;
            } else if (k == sizeof(members) / sizeof(members[0])) {
                c.volumes = (struct option_list){list, 1};
            } else {
                c.host_suffix = (struct option_list){list, 1};
            }
            assert_int_equal(nginx_conf_write(&c, NULL, &out, &err), -EINVAL);
            assert_int_equal(strncmp(err.text, "--", 2), 0);
            buf_done(&out);
        }
    }
}

static void no_host_is_all_addresses_by_a_socket_for_each_family(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(65536);
    struct proxy_config c = config();
    char all[] = ":9000";
    char v6[] = "[fd00::1]:9000";
    AUTOCLOSE int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    c.listen = all;
    assert_int_equal(nginx_conf_write(&c, NULL, &out, NULL), 0);
    assert_non_null(strstr(buf_str(&out), "listen 9000;"));
    assert_int_equal(strstr(buf_str(&out), "listen [::]:9000;") != NULL, fd >= 0);
    buf_reset(&out);
    c.listen = v6;
    assert_int_equal(nginx_conf_write(&c, NULL, &out, NULL), 0);
    assert_non_null(strstr(buf_str(&out), "listen [fd00::1]:9000;"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_reaches_the_module),
        cmocka_unit_test(no_host_is_all_addresses_by_a_socket_for_each_family),
        cmocka_unit_test(a_certificate_makes_it_https),
        cmocka_unit_test(credentials_are_fetched_at_a_port_of_their_own),
        cmocka_unit_test(a_value_cannot_become_a_directive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
