/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/nginx_conf.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "s3proxy/listen.h"

/* Where nginx sends what it refuses. No bucket can have that name. */
#define FAULT "/.skyvol-fault"

static int check(const char *name, const char *value, struct error *err)
{
    for (const char *c = value; c != NULL && *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || strchr("\"\\$'{};", *c) != NULL) {
            return error_set(err, -EINVAL,
                             "--%s: no quotes, '$', ';', braces or control characters", name);
        }
    }
    return 0;
}

static int check_all(const struct proxy_config *c, struct error *err)
{
    const struct {
        const char *name, *value;
    } values[] = {
        {"listen", c->listen},
        {"store", c->store},
        {"store-endpoint", c->store_endpoint},
        {"store-region", c->store_region},
        {"store-credentials-file", c->store_credentials},
        {"store-ca-file", c->store_ca},
        {"credentials-file", c->credentials},
        {"session-key-file", c->session_keys},
        {"identity-listen", c->identity},
        {"identity-token-file", c->identity_token},
        {"tls-cert-file", c->tls_cert},
        {"tls-key-file", c->tls_key},
        {"run-dir", c->run_dir},
        {"module", c->module},
        {"region", c->region},
    };
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < sizeof(values) / sizeof(values[0]); i++) {
        ret = check(values[i].name, values[i].value, err);
    }
    for (size_t i = 0; ret == 0 && i < c->host_suffix.count; i++) {
        ret = check("host-suffix", c->host_suffix.items[i], err);
    }
    for (size_t i = 0; ret == 0 && i < c->volumes.count; i++) {
        ret = check("volume", c->volumes.items[i], err);
    }
    return ret;
}

static void write_value(const char *directive, const char *value, struct buf *out)
{
    if (value != NULL) {
        buf_addf(out, "  %s \"%s\";\n", directive, value);
    }
}

static void write_limits(const struct proxy_config *c, struct buf *out)
{
    const struct {
        const char *name;
        uint64_t value;
    } limits[] = {
        {"requests", c->key_requests},       {"burst", c->key_burst},
        {"concurrent", c->key_concurrent},   {"upload", c->key_upload},
        {"download", c->key_download},       {"all", c->max_requests},
        {"per_address", c->max_per_address}, {"grace_ms", c->client_ms},
        {"least_rate", c->client_rate},      {"body_memory", c->body_memory},
    };

    buf_addf(out, "  skyvol_limits \"%s/limits\";\n", c->run_dir);
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        buf_addf(out, "  skyvol_limit %s %llu;\n", limits[i].name,
                 (unsigned long long)limits[i].value);
    }
    buf_addf(out,
             "  client_header_timeout %llums;\n  client_body_timeout %llums;\n"
             "  send_timeout %llums;\n  lingering_time 10s;\n  lingering_timeout 5s;\n",
             (unsigned long long)c->client_ms, (unsigned long long)c->client_ms,
             (unsigned long long)c->client_ms);
}

static void write_module(const struct proxy_config *c, struct buf *out)
{
    write_value("skyvol_store", c->store, out);
    write_value("skyvol_store_endpoint", c->store_endpoint, out);
    write_value("skyvol_store_region", c->store_region, out);
    write_value("skyvol_store_credentials", c->store_credentials, out);
    write_value("skyvol_store_ca", c->store_ca, out);
    buf_addf(out, "  skyvol_store_connections %llu;\n", (unsigned long long)c->store_connections);
    buf_addf(out, "  skyvol_store_virtual_host %s;\n", c->store_virtual_host ? "on" : "off");
    buf_addf(out, "  skyvol_reads_by_threads %s;\n", c->reads_by_threads ? "on" : "off");
    write_value("skyvol_credentials", c->credentials, out);
    write_value("skyvol_meta_keys", c->meta_keys, out);
    write_value("skyvol_session_keys", c->session_keys, out);
    write_value("skyvol_identity_token", c->identity_token, out);
    buf_addf(out, "  skyvol_session_lifetime %llus;\n", (unsigned long long)(c->session_ms / 1000));
    write_value("skyvol_region", c->region, out);
    buf_addf(out, "  skyvol_presign_v2 %s;\n", c->presign_v2 ? "on" : "off");
    if (c->status != NULL) {
        buf_addf(out, "  skyvol_counters \"%s/counters\";\n", c->run_dir);
    }
    write_limits(c, out);
    for (size_t i = 0; i < c->volumes.count; i++) {
        write_value("skyvol_volume", c->volumes.items[i], out);
    }
    for (size_t i = 0; i < c->host_suffix.count; i++) {
        write_value("skyvol_host_suffix", c->host_suffix.items[i], out);
    }
}

static void write_http(const struct proxy_config *c, struct buf *out)
{
    static const char *const temporary[] = {"client_body", "proxy", "fastcgi", "uwsgi", "scgi"};

    for (size_t i = 0; i < sizeof(temporary) / sizeof(temporary[0]); i++) {
        buf_addf(out, "  %s_temp_path \"%s/%s\";\n", temporary[i], c->run_dir, temporary[i]);
    }
    /* No query string: that of a presigned URL is a secret. What a client chose is JSON in UTF-8
     * by our module, a method has capitals, '_' and '-' only. */
    buf_addstr(
        out, "  log_format json escape=none '{\"time\":\"$time_iso8601\","
             "\"client\":\"$remote_addr\",\"method\":\"$request_method\",\"path\":\"$skyvol_path\","
             "\"status\":$status,\"received\":$request_length,\"sent\":$bytes_sent,"
             "\"seconds\":$request_time,$skyvol_request}';\n"
             "  access_log /dev/stdout json buffer=4k flush=1s;\n"
             "  server_tokens off;\n  keepalive_timeout 75s;\n  keepalive_requests 100000;\n"
             "  sendfile on;\n  tcp_nodelay on;\n  default_type \"\";\n  client_max_body_size 0;\n"
             "  client_body_buffer_size 4k;\n"
             "  large_client_header_buffers 8 32k;\n  underscores_in_headers on;\n"
             "  ignore_invalid_headers off;\n  merge_slashes off;\n");
    write_module(c, out);
}

/* A port of its own, so that the data port has nothing but S3. */
static void write_identity(const struct proxy_config *c, struct buf *out)
{
    if (c->identity != NULL) {
        buf_addf(out,
                 "  server {\n    listen %s;\n    client_max_body_size 1k;\n"
                 "    location / {\n      skyvol_identity;\n    }\n  }\n",
                 c->identity);
    }
}

int nginx_conf_write(const struct proxy_config *c, const char *user, struct buf *out,
                     struct error *err)
{
    bool tls = c->tls_cert != NULL;
    int ret = check_all(c, err);

    if (ret != 0) {
        return ret;
    }
    buf_addf(out,
             "load_module \"%s\";\ndaemon off;\nmaster_process on;\nworker_processes %llu;\n"
             "pid \"%s/nginx.pid\";\nerror_log stderr %s;\nworker_shutdown_timeout 30s;\n",
             c->module, (unsigned long long)c->workers, c->run_dir,
             c->log_level != NULL ? c->log_level : "warn");
    if (user != NULL) {
        buf_addf(out, "user %s;\n", user);
    }
    buf_addf(out, "events {\n  worker_connections %llu;\n}\nhttp {\n",
             (unsigned long long)c->max_connections);
    write_http(c, out);
    buf_addstr(out, "  server {\n");
    listen_write(c->listen, tls ? " ssl" : "", out);
    if (tls) {
        buf_addf(out,
                 "    ssl_certificate \"%s\";\n    ssl_certificate_key \"%s\";\n"
                 "    ssl_protocols TLSv1.2 TLSv1.3;\n",
                 c->tls_cert, c->tls_key);
    }
    buf_addstr(out, "    error_page 400 405 413 414 494 497 500 501 502 503 504 505 " FAULT ";\n"
                    "    location = " FAULT " {\n      skyvol_fault;\n    }\n"
                    "    location / {\n      skyvol_s3;\n    }\n  }\n");
    write_identity(c, out);
    buf_addstr(out, "}\n");
    return buf_error(out);
}
