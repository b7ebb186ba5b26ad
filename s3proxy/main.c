/* SPDX-License-Identifier: Apache-2.0 */
/* skyvol-s3: the S3 endpoint. Writes nginx's configuration and runs nginx. */
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "s3proxy/credentials.h"
#include "s3proxy/nginx_conf.h"
#include "s3proxy/stores.h"
#include "s3proxy/supervise.h"
#include "util/file.h"
#include "util/log.h"

static const struct option_spec options[] = {
    OPTION(struct proxy_config, listen, OPTION_STRING, "listen", "ADDRESS", "127.0.0.1:9000",
           "host:port to serve S3 on"),
    OPTION(struct proxy_config, dir, OPTION_STRING, "dir", "ROOT", NULL,
           "serve the embedded store in this directory, made if absent"),
    OPTION(struct proxy_config, store, OPTION_STRING, "store", "LOCATION", NULL,
           "serve another store: s3://, dir:///ROOT or mem:// (for trying out)"),
    OPTION(struct proxy_config, volumes, OPTION_LIST, "volume", "BUCKET=LOCATION", NULL,
           "serve a volume as BUCKET: s3://bucket/prefix, dir:///ROOT/bucket/prefix"),
    OPTION(struct proxy_config, store_endpoint, OPTION_STRING, "store-endpoint", "URL", NULL,
           "of every s3:// above; default: AWS"),
    OPTION(struct proxy_config, store_region, OPTION_STRING, "store-region", "NAME", "us-east-1",
           "what requests to it are signed for"),
    OPTION(struct proxy_config, store_credentials, OPTION_STRING, "store-credentials-file", "FILE",
           NULL, "JSON with access_key, secret_key, session_token, mode 0600; default: anonymous"),
    OPTION(struct proxy_config, store_ca, OPTION_STRING, "store-ca-file", "FILE", NULL,
           "authorities beside the system's for its certificate"),
    OPTION(struct proxy_config, store_virtual_host, OPTION_BOOL, "store-virtual-host", NULL,
           "false", "address its buckets as BUCKET.HOST"),
    {.name = "credentials-file",
     .type = OPTION_STRING,
     .offset = offsetof(struct proxy_config, credentials),
     .value = "FILE",
     .help = "JSON with the access keys, mode 0600; read again when it changes",
     .required = true},
    OPTION(struct proxy_config, tls_cert, OPTION_STRING, "tls-cert-file", "FILE", NULL,
           "our certificate with its chain: serves https"),
    OPTION(struct proxy_config, tls_key, OPTION_STRING, "tls-key-file", "FILE", NULL,
           "its private key"),
    {.name = "workers",
     .type = OPTION_NUMBER,
     .offset = offsetof(struct proxy_config, workers),
     .value = "N",
     .fallback = "2",
     .help = "worker processes",
     .min = 1,
     .max = 256},
    OPTION(struct proxy_config, run_dir, OPTION_STRING, "run-dir", "DIR", "/run/skyvol-s3",
           "for nginx.conf and temporary files; made with mode 0700"),
    OPTION(struct proxy_config, module, OPTION_STRING, "module", "FILE", NULL,
           "ngx_http_skyvol_module.so; default: ../lib beside this program"),
    OPTION(struct proxy_config, region, OPTION_STRING, "region", "NAME", "us-east-1",
           "the region that requests must be signed for"),
    OPTION(struct proxy_config, host_suffix, OPTION_LIST, "host-suffix", "DOMAIN", NULL,
           "answer for BUCKET.DOMAIN too"),
    OPTION(struct proxy_config, status, OPTION_STRING, "status", "ADDRESS", NULL,
           "serve /metrics and /healthz here, for operators only: 127.0.0.1:9100, unix:/path"),
    OPTION(struct proxy_config, nginx, OPTION_STRING, "nginx", "FILE", "/usr/sbin/nginx",
           "the nginx to run"),
    OPTION(struct proxy_config, log_level, OPTION_STRING, "log-level", "LEVEL", "warn",
           "of errors on stderr: error, warn, info or debug"),
};

static const struct options_program program = {
    .name = "skyvol-s3",
    .summary = "Skyvol's S3 endpoint, over a directory or in front of any store",
    .environment = "SKYVOL_S3_",
    .options = options,
    .count = sizeof(options) / sizeof(options[0]),
    .epilogue = "SIGTERM drains for at most 30 s, a second one ends at once; SIGHUP reloads "
                "certificates and the store's credentials.",
};

static int absolute(char **path, const char *name, struct error *err)
{
    char *real = *path != NULL ? realpath(*path, NULL) : NULL;

    if (*path == NULL) {
        return 0;
    }
    if (real == NULL) {
        return error_set(err, -errno, "--%s %s: %s", name, *path, strerror(errno));
    }
    free(*path);
    *path = real;
    return 0;
}

static int find_module(struct proxy_config *config, struct error *err)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (config->module != NULL) {
        return absolute(&config->module, "module", err);
    }
    if (n < 0) {
        return -errno;
    }
    self[n] = '\0';
    slash = strrchr(self, '/');
    *slash = '\0';
    if (asprintf(&config->module, "%s/../lib/ngx_http_skyvol_module.so", self) < 0) {
        config->module = NULL;
        return -ENOMEM;
    }
    return absolute(&config->module, "module", err);
}

static int private_dir(const char *path, struct error *err)
{
    struct stat st;

    if (mkdir(path, 0700) < 0 && errno != EEXIST) {
        return error_set(err, -errno, "--run-dir %s: %s", path, strerror(errno));
    }
    if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 077) != 0) {
        return error_set(err, -EPERM, "--run-dir %s: must be a directory of ours with mode 0700",
                         path);
    }
    return 0;
}

/* --dir is a shorter --store. */
static int find_dir(struct proxy_config *config, struct error *err)
{
    int ret = 0;

    if (config->dir == NULL) {
        return 0;
    }
    if (config->store != NULL) {
        return error_set(err, -EINVAL, "--dir and --store: only one of them");
    }
    if (mkdir(config->dir, 0700) < 0 && errno != EEXIST) {
        return error_set(err, -errno, "--dir %s: %s", config->dir, strerror(errno));
    }
    ret = absolute(&config->dir, "dir", err);
    if (ret == 0 && asprintf(&config->store, "dir://%s", config->dir) < 0) {
        config->store = NULL;
        ret = -ENOMEM;
    }
    return ret;
}

/* What a worker would not come up with is told before nginx starts. */
static int try_stores(const struct proxy_config *config, struct error *err)
{
    const struct stores_config c = {
        .store = config->store,
        .endpoint = config->store_endpoint,
        .region = config->store_region,
        .credentials_file = config->store_credentials,
        .ca_file = config->store_ca,
        .volumes = (const char *const *)config->volumes.items,
    };
    struct stores stores;
    int ret = stores_init(&stores, &c, err);

    stores_done(&stores);
    return ret;
}

static int prepare(struct proxy_config *config, struct error *err)
{
    struct credentials *credentials = NULL;
    enum log_level level;
    int ret;

    if (log_parse_level(config->log_level, &level) < 0) {
        return error_set(err, -EINVAL, "--log-level: '%s' is none", config->log_level);
    }
    if (strchr(config->listen, ':') == NULL) {
        return error_set(err, -EINVAL, "--listen %s: wants host:port", config->listen);
    }
    if ((config->tls_cert == NULL) != (config->tls_key == NULL)) {
        return error_set(err, -EINVAL, "--tls-cert-file and --tls-key-file go together");
    }
    ret = credentials_new(config->credentials, &credentials, err);
    credentials_free(credentials);
    ret = ret == 0 ? find_dir(config, err) : ret;
    ret = ret == 0 ? private_dir(config->run_dir, err) : ret;
    ret = ret == 0 ? absolute(&config->run_dir, "run-dir", err) : ret;
    ret = ret == 0 ? absolute(&config->credentials, "credentials-file", err) : ret;
    ret = ret == 0 ? absolute(&config->tls_cert, "tls-cert-file", err) : ret;
    ret = ret == 0 ? absolute(&config->tls_key, "tls-key-file", err) : ret;
    ret = ret == 0 ? absolute(&config->store_ca, "store-ca-file", err) : ret;
    ret = ret == 0 ? absolute(&config->store_credentials, "store-credentials-file", err) : ret;
    ret = ret == 0 ? try_stores(config, err) : ret;
    return ret == 0 ? find_module(config, err) : ret;
}

/* nginx's exit status, or negative. */
static int serve(const struct proxy_config *config, struct error *err)
{
    struct buf text = BUF_INIT(64 * 1024);
    const struct passwd *user = geteuid() == 0 ? getpwuid(0) : NULL;
    char path[PATH_MAX], counters[PATH_MAX];
    const struct supervise_config run = {.nginx = config->nginx,
                                         .run_dir = config->run_dir,
                                         .conf = path,
                                         .status = config->status,
                                         .counters = counters};
    int ret = nginx_conf_write(config, user != NULL ? user->pw_name : NULL, &text, err);

    (void)snprintf(path, sizeof(path), "%s/nginx.conf", config->run_dir);
    (void)snprintf(counters, sizeof(counters), "%s/counters", config->run_dir);
    if (ret == 0) {
        ret = file_replace(path, buf_str(&text), buf_len(&text), 0600);
        ret = ret != 0 ? error_set(err, ret, "%s: %s", path, strerror(-ret)) : 0;
    }
    buf_done(&text);
    return ret == 0 ? supervise(&run, err) : ret;
}

int main(int argc, char **argv)
{
    struct proxy_config config = {0};
    struct error err = ERROR_INIT;
    int ret = options_parse(&program, argc, argv, &config, &err);

    if (ret != 0) {
        return options_exit(&program, ret, &err);
    }
    ret = prepare(&config, &err);
    ret = ret == 0 ? serve(&config, &err) : ret;
    if (ret < 0) {
        (void)fprintf(stderr, "skyvol-s3: %s\n", error_text(&err, ret));
    }
    options_done(&program, &config);
    return ret < 0 ? 1 : ret;
}
