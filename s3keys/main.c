/* SPDX-License-Identifier: Apache-2.0 */
/* skyvol-s3-keys: started by skyvol-s3 --meta, so that gRPC is in memory only where it is used. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "s3keys/key_sync.h"
#include "util/log.h"
#include "util/options.h"

struct keys_options {
    char *address, *ca, *cert, *key, *name, *file, *log_level;
    uint64_t max_age_ms;
};

static const struct option_spec options[] = {
    {.name = "meta",
     .type = OPTION_STRING,
     .offset = offsetof(struct keys_options, address),
     .value = "ADDRESS",
     .help = "skyvol-meta: host:port or unix:/path",
     .required = true},
    OPTION(struct keys_options, ca, OPTION_STRING, "meta-ca-file", "FILE", NULL,
           "authority that its certificate must come from"),
    OPTION(struct keys_options, cert, OPTION_STRING, "meta-cert-file", "FILE", NULL,
           "our certificate for it"),
    OPTION(struct keys_options, key, OPTION_STRING, "meta-key-file", "FILE", NULL,
           "its private key"),
    OPTION(struct keys_options, name, OPTION_STRING, "meta-server-name", "NAME", NULL,
           "name expected in its certificate; default: the host of --meta"),
    {.name = "file",
     .type = OPTION_STRING,
     .offset = offsetof(struct keys_options, file),
     .value = "FILE",
     .help = "where the keys are written, mode 0600",
     .required = true},
    {.name = "meta-keys-max-age",
     .type = OPTION_DURATION_MS,
     .offset = offsetof(struct keys_options, max_age_ms),
     .value = "TIME",
     .fallback = "24h",
     .help = "how long the keys are accepted while skyvol-meta does not answer",
     .min = 10 * 1000,
     .max = UINT64_C(30) * 24 * 3600 * 1000},
    OPTION(struct keys_options, log_level, OPTION_STRING, "log-level", "LEVEL", "info",
           "error, warn, info or debug"),
};

static const struct options_program program = {
    .name = "skyvol-s3-keys",
    .summary = "Keeps the access keys of skyvol-meta in a file; skyvol-s3 --meta starts it",
    .options = options,
    .count = sizeof(options) / sizeof(options[0]),
    .epilogue = "Writes a line to stdout once it has asked for the first time, and goes on until "
                "SIGTERM.",
};

/* The threads that are made meanwhile leave signals to us. */
static int run(const struct keys_options *o, struct error *err)
{
    const struct key_sync_config config = {.address = o->address,
                                           .ca_file = o->ca,
                                           .cert_file = o->cert,
                                           .key_file = o->key,
                                           .server_name = o->name,
                                           .file = o->file,
                                           .max_age_ms = o->max_age_ms};
    struct key_sync *sync = NULL;
    sigset_t ends, all;
    int ret, number;

    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigaddset(&ends, SIGINT);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_BLOCK, &all, NULL);
    ret = key_sync_new(&config, &sync, err);
    if (ret != 0) {
        return ret;
    }
    (void)puts("asked");
    (void)fflush(stdout);
    while (sigwait(&ends, &number) != 0) {
    }
    key_sync_free(sync);
    return 0;
}

int main(int argc, char **argv)
{
    struct keys_options o = {0};
    struct error err = ERROR_INIT;
    enum log_level level;
    int ret = options_parse(&program, argc, argv, &o, &err);

    if (ret != 0) {
        return options_exit(&program, ret, &err);
    }
    ret = options_log_level(o.log_level, &level, &err);
    if (ret == 0) {
        log_set_level(level);
        ret = run(&o, &err);
    }
    if (ret < 0) {
        (void)fprintf(stderr, "skyvol-s3-keys: %s\n", error_text(&err, ret));
    }
    options_done(&program, &o);
    return ret < 0 ? 1 : 0;
}
