/* SPDX-License-Identifier: Apache-2.0 */
/* skyvol-s3: the S3 endpoint. Writes nginx's configuration and runs nginx. */
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "s3proxy/credentials.h"
#include "s3proxy/limits.h"
#include "s3proxy/listen.h"
#include "s3proxy/nginx_conf.h"
#include "s3proxy/run_dir.h"
#include "s3proxy/stores.h"
#include "s3proxy/supervise.h"
#include "s3proxy/tls_files.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/key_file.h"
#include "util/log.h"
#include "util/random.h"

#define NUMBER(member_, name_, value_, fallback_, max_, help_)                                     \
    {                                                                                              \
        .name = (name_), .type = OPTION_NUMBER, .offset = offsetof(struct proxy_config, member_),  \
        .value = (value_), .fallback = (fallback_), .help = (help_), .max = (max_)                 \
    }
#define RATE(member_, name_, fallback_, help_)                                                     \
    {                                                                                              \
        .name = (name_), .type = OPTION_SIZE, .offset = offsetof(struct proxy_config, member_),    \
        .value = "SIZE", .fallback = (fallback_), .help = (help_), .max = KEY_LIMITS_BYTES_MAX     \
    }

static const struct option_spec options[] = {
    OPTION(struct proxy_config, listen, OPTION_STRING, "listen", "ADDRESS", "127.0.0.1:9000",
           "where to serve S3: host:port, :port (all addresses) or unix:/path"),
    OPTION(struct proxy_config, dir, OPTION_STRING, "dir", "ROOT", NULL,
           "serve the embedded store in this directory, made if absent"),
    OPTION(struct proxy_config, store, OPTION_STRING, "store", "LOCATION", NULL,
           "serve another store: s3://, dir:///ROOT or mem:// (for trying out)"),
    OPTION(
        struct proxy_config, volumes, OPTION_LIST, "volume", "BUCKET=LOCATION", NULL,
        "serve a volume as BUCKET: s3://bucket/prefix, dir:///ROOT/bucket/prefix; may be repeated"),
    OPTION(struct proxy_config, store_endpoint, OPTION_STRING, "store-endpoint", "URL", NULL,
           "of every s3:// above; default: AWS"),
    OPTION(struct proxy_config, store_region, OPTION_STRING, "store-region", "NAME", "us-east-1",
           "what requests to it are signed for"),
    OPTION(struct proxy_config, store_credentials, OPTION_STRING, "store-credentials-file", "FILE",
           NULL, "keys, as JSON or an AWS credentials file, mode 0600; default: anonymous"),
    OPTION(struct proxy_config, store_ca, OPTION_STRING, "store-ca-file", "FILE", NULL,
           "authorities beside the system's for its certificate"),
    {.name = "store-connections",
     .type = OPTION_NUMBER,
     .offset = offsetof(struct proxy_config, store_connections),
     .value = "N",
     .fallback = "64",
     .help = "to it from each worker, shared fairly by all volumes; 1 to 1024",
     .min = 1,
     .max = 1024},
    OPTION(struct proxy_config, store_virtual_host, OPTION_BOOL, "store-virtual-host", NULL,
           "false", "address its buckets as BUCKET.HOST"),
    OPTION(struct proxy_config, reads_by_threads, OPTION_BOOL, "reads-by-threads", NULL, "false",
           "let threads answer all reads of the embedded store, also of what is in memory"),
    OPTION(struct proxy_config, credentials, OPTION_STRING, "credentials-file", "FILE", NULL,
           "JSON with the access keys, mode 0600, or the directory of a mounted Secret; read again "
           "when it changes. Needed but with --meta or --sidecar"),
    OPTION(struct proxy_config, meta, OPTION_STRING, "meta", "ADDRESS", NULL,
           "skyvol-meta (host:port or unix:/path), whose access keys are accepted, too: skyvolctl "
           "keys"),
    OPTION(struct proxy_config, meta_ca, OPTION_STRING, "meta-ca-file", "FILE", NULL,
           "authority that its certificate must come from"),
    OPTION(struct proxy_config, meta_cert, OPTION_STRING, "meta-cert-file", "FILE", NULL,
           "our certificate for it"),
    OPTION(struct proxy_config, meta_key, OPTION_STRING, "meta-key-file", "FILE", NULL,
           "its private key"),
    OPTION(struct proxy_config, meta_name, OPTION_STRING, "meta-server-name", "NAME", NULL,
           "name expected in its certificate; default: the host of --meta"),
    {.name = "meta-keys-max-age",
     .type = OPTION_DURATION_MS,
     .offset = offsetof(struct proxy_config, meta_age_ms),
     .value = "TIME",
     .fallback = "24h",
     .help = "how long its keys are accepted while it does not answer",
     .min = 10 * 1000,
     .max = UINT64_C(30) * 24 * 3600 * 1000},
    OPTION(struct proxy_config, sidecar, OPTION_BOOL, "sidecar", NULL, "false",
           "serve one pod: listen on loopback or a unix socket only, one worker, and hand out "
           "temporary credentials at --identity-listen"),
    OPTION(struct proxy_config, identity, OPTION_STRING, "identity-listen", "ADDRESS", NULL,
           "loopback host:port for AWS_CONTAINER_CREDENTIALS_FULL_URI, which is "
           "http://ADDRESS/credentials; default with --sidecar: 127.0.0.1:9001"),
    OPTION(struct proxy_config, identity_token, OPTION_STRING, "identity-token-file", "FILE", NULL,
           "ask there for what is in this file (AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE); made with "
           "mode 0640 if absent"),
    OPTION(struct proxy_config, session_keys, OPTION_STRING, "session-key-file", "FILE", NULL,
           "keys that temporary credentials are made with, shared by who shall accept them; made "
           "if absent. Default with --identity-listen: session.keys in --run-dir"),
    {.name = "session-lifetime",
     .type = OPTION_DURATION_MS,
     .offset = offsetof(struct proxy_config, session_ms),
     .value = "TIME",
     .fallback = "1h",
     .help = "how long temporary credentials are valid",
     .min = 60 * 1000,
     .max = 12 * 3600 * 1000},
    OPTION(struct proxy_config, tls_cert, OPTION_STRING, "tls-cert-file", "FILE", NULL,
           "our certificate with its chain: serves https"),
    OPTION(struct proxy_config, tls_key, OPTION_STRING, "tls-key-file", "FILE", NULL,
           "its private key"),
    {.name = "workers",
     .type = OPTION_NUMBER,
     .offset = offsetof(struct proxy_config, workers),
     .value = "N",
     .help = "worker processes, 1 to 256; default: 2, with --sidecar 1",
     .min = 1,
     .max = 256},
    OPTION(struct proxy_config, run_dir, OPTION_STRING, "run-dir", "DIR", "/run/skyvol-s3",
           "for nginx.conf and temporary files; made with mode 0700. Of one skyvol-s3 only"),
    OPTION(struct proxy_config, module, OPTION_STRING, "module", "FILE", NULL,
           "ngx_http_skyvol_module.so; default: ../lib beside this program"),
    OPTION(struct proxy_config, region, OPTION_STRING, "region", "NAME", "us-east-1",
           "the region that requests must be signed for"),
    OPTION(struct proxy_config, host_suffix, OPTION_LIST, "host-suffix", "DOMAIN", NULL,
           "answer for BUCKET.DOMAIN too"),
    OPTION(struct proxy_config, presign_v2, OPTION_BOOL, "presign-v2", NULL, "true",
           "accept URLs presigned by Signature Version 2, as boto3, awscli and s3cmd make them by "
           "default; --no-presign-v2 refuses them"),
    NUMBER(key_requests, "key-requests-per-second", "N", "0", KEY_LIMITS_RATE_MAX,
           "requests that each access key may make; 0: no limit, here and below. A key of its own "
           "limits in --credentials-file or skyvol-meta has those"),
    NUMBER(key_burst, "key-request-burst", "N", "0", KEY_LIMITS_RATE_MAX,
           "of them at once after a pause; 0: one second's"),
    NUMBER(key_concurrent, "key-concurrent-requests", "N", "0", KEY_LIMITS_RATE_MAX,
           "requests of each access key at a time"),
    RATE(key_upload, "key-upload-rate", "0", "bytes a second from clients of each access key"),
    RATE(key_download, "key-download-rate", "0", "bytes a second to clients of each access key"),
    NUMBER(max_requests, "max-requests", "N", "1024", 65535,
           "requests at a time, of all keys together; beyond, 503 SlowDown"),
    {.name = "body-memory",
     .type = OPTION_SIZE,
     .offset = offsetof(struct proxy_config, body_memory),
     .value = "SIZE",
     .fallback = "16MiB",
     .help = "for bodies under way, of all workers together, beside 32 KiB for each; without it "
             "they go on at a higher cost. Twice as much for those that have to be whole first: "
             "beyond, 503 SlowDown",
     .min = 1024 * 1024,
     .max = UINT64_C(1) << 40},
    {.name = "max-connections",
     .type = OPTION_NUMBER,
     .offset = offsetof(struct proxy_config, max_connections),
     .value = "N",
     .fallback = "4096",
     .help = "connections of each worker, at most half of them without a request that was let in",
     .min = 32,
     .max = 65535},
    NUMBER(max_per_address, "max-connections-per-address", "N", "0", 65535,
           "connections from one address"),
    {.name = "client-timeout",
     .type = OPTION_DURATION_MS,
     .offset = offsetof(struct proxy_config, client_ms),
     .value = "TIME",
     .fallback = "60s",
     .help = "for the whole head of a request, for a pause in a body or in reading a reply, and "
             "before --client-rate counts",
     .min = 1000,
     .max = 3600 * 1000},
    RATE(client_rate, "client-rate", "1KiB",
         "bytes a second that a client must send or take on average"),
    OPTION(struct proxy_config, status, OPTION_STRING, "status", "ADDRESS", NULL,
           "serve /metrics and /healthz here, for operators only: 127.0.0.1:9100, unix:/path"),
    OPTION(struct proxy_config, nginx, OPTION_STRING, "nginx", "FILE", "/usr/sbin/nginx",
           "the nginx to run"),
    OPTION(struct proxy_config, log_level, OPTION_STRING, "log-level", "LEVEL", "warn",
           "of the log on stderr, ours and nginx's: error, warn, info or debug"),
};

static const struct options_program program = {
    .name = "skyvol-s3",
    .summary = "Skyvol's S3 endpoint, over a directory or in front of any store",
    .environment = "SKYVOL_S3_",
    .options = options,
    .count = sizeof(options) / sizeof(options[0]),
    .epilogue =
        "A sidecar: skyvol-s3 --sidecar --volume data=s3://bucket/prefix --run-dir DIR; its pod "
        "gets AWS_ENDPOINT_URL=http://127.0.0.1:9000, AWS_REGION and "
        "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9001/credentials.\n\n"
        "SIGTERM drains for at most 30 s, a second one ends at once; a "
        "replaced certificate is taken within seconds; SIGHUP does that at once, and reads the "
        "store's credentials anew.",
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

/* As absolute(), but links stay: the files of a Secret are renewed by another target of theirs. */
static int absolute_file(char **path, const char *name, struct error *err)
{
    AUTOFREE char *here = NULL;
    char *full = NULL;

    if (*path == NULL) {
        return 0;
    }
    if (access(*path, F_OK) < 0) {
        return error_set(err, -errno, "--%s %s: %s", name, *path, strerror(errno));
    }
    if (**path == '/') {
        return 0;
    }
    here = getcwd(NULL, 0);
    if (here == NULL || asprintf(&full, "%s/%s", here, *path) < 0) {
        return error_set(err, -ENOMEM, "--%s %s: no absolute path", name, *path);
    }
    free(*path);
    *path = full;
    return 0;
}

/* A path from the directory that we lie in. */
static int beside(const char *name, char **ret)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n < 0) {
        return -errno;
    }
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    if (asprintf(ret, "%s/%s", self, name) < 0) {
        *ret = NULL;
        return -ENOMEM;
    }
    return 0;
}

static int find_module(struct proxy_config *config, struct error *err)
{
    int ret =
        config->module != NULL ? 0 : beside("../lib/ngx_http_skyvol_module.so", &config->module);

    return ret == 0 ? absolute(&config->module, "module", err) : ret;
}

/* What clients show at the identity endpoint: in a directory that they share with us. */
static int make_token(const char *path, struct error *err)
{
    char token[RANDOM_ID_SIZE];
    int ret = 0;

    if (access(path, F_OK) != 0) {
        random_id(token);
        ret = file_create(path, token, strlen(token), 0640);
        explicit_bzero(token, sizeof(token));
    }
    return ret == 0 || ret == -EEXIST
               ? 0
               : error_set(err, ret, "--identity-token-file %s: %s", path, strerror(-ret));
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
        .connections = 1,
        .volumes = (const char *const *)config->volumes.items,
    };
    struct stores stores;
    int ret = stores_init(&stores, &c, err);

    stores_done(&stores);
    return ret;
}

/* Files are there before the workers want them. */
static int prepare_identity(struct proxy_config *config, struct error *err)
{
    int ret = 0;

    if (config->meta != NULL &&
        asprintf(&config->meta_keys, "%s/meta-keys.json", config->run_dir) < 0) {
        config->meta_keys = NULL;
        return -ENOMEM;
    }
    if (config->identity != NULL && config->session_keys == NULL &&
        asprintf(&config->session_keys, "%s/session.keys", config->run_dir) < 0) {
        config->session_keys = NULL;
        return -ENOMEM;
    }
    if (config->session_keys != NULL) {
        ret = key_file_make(config->session_keys, err);
        ret = ret == 0 ? absolute_file(&config->session_keys, "session-key-file", err) : ret;
    }
    if (ret == 0 && config->identity_token != NULL) {
        ret = make_token(config->identity_token, err);
        ret = ret == 0 ? absolute_file(&config->identity_token, "identity-token-file", err) : ret;
    }
    return ret;
}

/* -EINVAL: some of them and not all. */
static int check_meta(const struct proxy_config *config, struct error *err)
{
    int files =
        (config->meta_ca != NULL) + (config->meta_cert != NULL) + (config->meta_key != NULL);

    if (files != 0 && (files != 3 || config->meta == NULL)) {
        return error_set(err, -EINVAL,
                         "--meta with TLS needs all of --meta-ca-file, --meta-cert-file and "
                         "--meta-key-file");
    }
    if (config->identity != NULL && config->credentials == NULL && !config->sidecar) {
        return error_set(err, -EINVAL,
                         "--identity-listen needs --credentials-file, whose first key says what "
                         "temporary credentials may, or --sidecar");
    }
    if (config->credentials == NULL && config->meta == NULL && !config->sidecar) {
        return error_set(err, -EINVAL,
                         "--credentials-file is needed: the access keys of clients, as JSON (or "
                         "--meta, which knows some, or --sidecar, which makes temporary ones)");
    }
    return 0;
}

/* -EINVAL: a rate at which nothing would move. */
static int check_rates(const struct proxy_config *config, struct error *err)
{
    const uint64_t rates[] = {config->key_upload, config->key_download};

    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        if (rates[i] > 0 && rates[i] < KEY_LIMITS_BYTES_MIN) {
            return error_set(err, -EINVAL,
                             "--key-upload-rate and --key-download-rate: at least "
                             "1KiB, or 0");
        }
    }
    return 0;
}

/* Each connection may want another descriptor of the store. */
static void allow_files(struct proxy_config *config)
{
    struct rlimit limit;
    rlim_t most;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    most = limit.rlim_max / 2;
    if (config->max_connections > most) {
        config->max_connections = most > 32 ? most : 32;
        log_warn("fewer connections than --max-connections: the limit of open files is low",
                 "connections", log_num((int64_t)config->max_connections), NULL);
    }
}

/* What one wrong option makes impossible, before anything is touched. */
static int check(struct proxy_config *config, struct error *err)
{
    enum log_level level;
    int ret = options_log_level(config->log_level, &level, err);

    if (ret < 0) {
        return ret;
    }
    /* The few lines of this process, that it serves, was reloaded and has ended, are of all levels
     * but "error"; what nginx and its workers tell is of the level that was asked for. */
    log_set_level(level == LOG_WARN ? LOG_INFO : level);
    if ((config->tls_cert == NULL) != (config->tls_key == NULL)) {
        return error_set(err, -EINVAL, "--tls-cert-file and --tls-key-file go together");
    }
    if (config->sidecar && config->identity == NULL) {
        config->identity = strdup("127.0.0.1:9001");
        if (config->identity == NULL) {
            return -ENOMEM;
        }
    }
    config->workers = config->workers > 0 ? config->workers : config->sidecar ? 1 : 2;
    ret = check_meta(config, err);
    ret = ret == 0 ? check_rates(config, err) : ret;
    return ret == 0 ? listen_check(config, err) : ret;
}

static int prepare(struct proxy_config *config, int *ret_lock, struct error *err)
{
    struct credentials *credentials = NULL;
    int ret = check(config, err);

    ret = ret == 0 ? run_dir_take(config->run_dir, ret_lock, err) : ret;
    ret = ret == 0 ? listen_make_way(config, err) : ret;
    ret = ret == 0 ? find_dir(config, err) : ret;
    ret = ret == 0 ? absolute(&config->run_dir, "run-dir", err) : ret;
    ret = ret == 0 ? prepare_identity(config, err) : ret;
    ret = ret == 0
              ? credentials_new(&(struct credentials_config){config->credentials, config->meta_keys,
                                                             config->session_keys},
                                &credentials, err)
              : ret;
    credentials_free(credentials);
    ret = ret == 0 ? absolute_file(&config->credentials, "credentials-file", err) : ret;
    ret = ret == 0 ? absolute_file(&config->tls_cert, "tls-cert-file", err) : ret;
    ret = ret == 0 ? absolute_file(&config->tls_key, "tls-key-file", err) : ret;
    ret = ret == 0 && config->tls_cert != NULL
              ? tls_files_check(config->tls_cert, config->tls_key, err)
              : ret;
    ret = ret == 0 ? absolute_file(&config->store_ca, "store-ca-file", err) : ret;
    ret = ret == 0 ? absolute_file(&config->store_credentials, "store-credentials-file", err) : ret;
    ret = ret == 0 ? try_stores(config, err) : ret;
    return ret == 0 ? find_module(config, err) : ret;
}

static int find_helper(const struct proxy_config *config, char **ret, struct error *err)
{
    int r = config->meta != NULL ? beside("skyvol-s3-keys", ret) : 0;

    if (r == 0 && *ret != NULL && access(*ret, X_OK) < 0) {
        r = error_set(err, -errno, "--meta needs %s: %s", *ret, strerror(errno));
    }
    return r;
}

/* Its arguments are ours; `age` has room for a number. */
static void helper_arguments(const struct proxy_config *config, char *age, size_t size,
                             struct key_helper *helper)
{
    static char name[] = "skyvol-s3-keys", meta[] = "--meta", ca[] = "--meta-ca-file",
                cert[] = "--meta-cert-file", key[] = "--meta-key-file",
                server[] = "--meta-server-name", file[] = "--file",
                max_age[] = "--meta-keys-max-age", level[] = "--log-level";
    char *const pairs[][2] = {
        {meta, config->meta},    {ca, config->meta_ca},       {cert, config->meta_cert},
        {key, config->meta_key}, {server, config->meta_name}, {file, config->meta_keys},
        {max_age, age},          {level, config->log_level}};
    size_t count = 0;

    (void)snprintf(age, size, "%llums", (unsigned long long)config->meta_age_ms);
    helper->arguments[count++] = name;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (pairs[i][1] != NULL) {
            helper->arguments[count++] = pairs[i][0];
            helper->arguments[count++] = pairs[i][1];
        }
    }
}

/* How many access keys clients have now, those of skyvol-meta too. */
static size_t count_keys(const struct proxy_config *config)
{
    const struct credentials_config files = {config->credentials, config->meta_keys, NULL};
    struct credentials *credentials = NULL;
    size_t count = 0;

    if (credentials_new(&files, &credentials, NULL) == 0) {
        count = credentials_count(credentials);
    }
    credentials_free(credentials);
    return count;
}

/* What is served where, and what bounds it. */
static void tell_start(const void *context)
{
    const struct proxy_config *c = context;
    const char *none = "none";

    log_info("serving S3", "version", SKYVOL_VERSION, "listen", c->listen, "scheme",
             c->tls_cert != NULL ? "https" : "http", "store", c->store != NULL ? c->store : none,
             "volumes", log_num(c->volumes.count), "keys", log_num(count_keys(c)), "meta",
             c->meta != NULL ? c->meta : none, "identity", c->identity != NULL ? c->identity : none,
             "status", c->status != NULL ? c->status : none, "workers", log_num(c->workers),
             "max_requests", log_num(c->max_requests), "body_memory", log_num(c->body_memory),
             NULL);
}

/* nginx's exit status, or negative. */
static int serve(const struct proxy_config *config, struct error *err)
{
    struct buf text = BUF_INIT(64 * 1024);
    const struct passwd *user = geteuid() == 0 ? getpwuid(0) : NULL;
    char path[PATH_MAX], counters[PATH_MAX], limits[PATH_MAX];
    char age[32];
    AUTOFREE char *path_of_helper = NULL;
    struct key_helper helper = {0};
    const struct supervise_config run = {.nginx = config->nginx,
                                         .run_dir = config->run_dir,
                                         .conf = path,
                                         .status = config->status,
                                         .counters = counters,
                                         .limits = limits,
                                         .tls_cert = config->tls_cert,
                                         .tls_key = config->tls_key,
                                         .helper = &helper,
                                         .workers = config->workers,
                                         .serves = tell_start,
                                         .context = config};
    int ret = nginx_conf_write(config, user != NULL ? user->pw_name : NULL, &text, err);

    (void)snprintf(path, sizeof(path), "%s/nginx.conf", config->run_dir);
    (void)snprintf(counters, sizeof(counters), "%s/counters", config->run_dir);
    if (ret == 0) {
        ret = file_replace(path, buf_str(&text), buf_len(&text), 0600);
        ret = ret != 0 ? error_set(err, ret, "%s: %s", path, strerror(-ret)) : 0;
    }
    buf_done(&text);
    (void)snprintf(limits, sizeof(limits), "%s/limits", config->run_dir);
    ret = ret == 0 ? find_helper(config, &path_of_helper, err) : ret;
    helper.program = path_of_helper;
    helper_arguments(config, age, sizeof(age), &helper);
    return ret == 0 ? supervise(&run, err) : ret;
}

int main(int argc, char **argv)
{
    struct proxy_config config = {0};
    struct error err = ERROR_INIT;
    AUTOCLOSE int lock = -1;
    int ret = options_parse(&program, argc, argv, &config, &err);

    if (ret != 0) {
        return options_exit(&program, ret, &err);
    }
    ret = prepare(&config, &lock, &err);
    allow_files(&config);
    ret = ret == 0 ? serve(&config, &err) : ret;
    if (ret < 0) {
        (void)fprintf(stderr, "skyvol-s3: %s\n", error_text(&err, ret));
    }
    free(config.meta_keys);
    options_done(&program, &config);
    return ret < 0 ? 1 : ret;
}
