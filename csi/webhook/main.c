/* SPDX-License-Identifier: Apache-2.0 */
/* skyvol-webhook: gives pods that ask for it the S3 sidecar, and keeps its own certificate. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "csi/webhook/certs.h"
#include "csi/webhook/review.h"
#include "kube/options.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/log.h"
#include "util/mutex.h"
#include "util/options.h"
#include "util/random.h"
#include "util/signals.h"
#include "util/status.h"
#include "util/web.h"

#define NAMESPACE_FILE "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

enum { NAME_LENGTH = 256, PAUSE_FIRST_MS = 500, DAYS_MAX = 3650 };

struct config {
    struct kube_options kube;
    char *listen, *status, *image, *trust, *space, *secret, *service, *configuration, *log_level;
    uint64_t days, look_ms, settle_ms;
};

static const struct option_spec specs[] = {
    OPTION(struct config, listen, OPTION_STRING, "listen", "ADDRESS", ":8443",
           "where the API server asks, by HTTPS"),
    {.name = "image",
     .type = OPTION_STRING,
     .offset = offsetof(struct config, image),
     .value = "IMAGE",
     .help = "of the sidecar: skyvol-s3",
     .required = true},
    OPTION(
        struct config, trust, OPTION_STRING, "trust", "NAME[/MEMBER]", NULL,
        "ConfigMap of pods' namespaces with the authorities of their stores, for pods without the "
        "annotation " INJECT_TRUST_ANNOTATION " (default: those of the sidecar's image)"),
    OPTION(struct config, space, OPTION_STRING, "namespace", "NAME", NULL,
           "of Secret and Service (default: our own)"),
    OPTION(struct config, service, OPTION_STRING, "service", "NAME", "skyvol-webhook",
           "Service by which we are asked: the certificate is for NAME.NAMESPACE.svc"),
    OPTION(struct config, secret, OPTION_STRING, "secret", "NAME", "skyvol-webhook-tls",
           "Secret that keeps the certificate; it must be there, empty at first"),
    OPTION(struct config, configuration, OPTION_STRING, "webhook-configuration", "NAME",
           "skyvol-webhook", "MutatingWebhookConfiguration that is told of the authority"),
    {.name = "certificate-days",
     .type = OPTION_NUMBER,
     .offset = offsetof(struct config, days),
     .value = "N",
     .fallback = "90",
     .min = 1,
     .max = DAYS_MAX,
     .help = "how long a certificate is valid; it is renewed in the last third"},
    OPTION(struct config, look_ms, OPTION_DURATION_MS, "look-every", "TIME", "1m",
           "how often Secret and configuration are looked at"),
    OPTION(struct config, settle_ms, OPTION_DURATION_MS, "settle", "TIME", "30s",
           "the API server has so long to learn of an authority before its certificate is used"),
    KUBE_OPTIONS(struct config, kube),
    OPTION(struct config, status, OPTION_STRING, "status", "ADDRESS", NULL,
           "serve /metrics and /healthz there"),
    OPTION(struct config, log_level, OPTION_STRING, "log-level", "LEVEL", "info",
           "error, warn, info or debug"),
};

static const struct options_program program = {
    .name = "skyvol-webhook",
    .summary = "admission webhook: pods with the annotation " INJECT_ANNOTATION
               " get the sidecar skyvol-s3",
    .environment = "SKYVOL_WEBHOOK_",
    .options = specs,
    .count = sizeof(specs) / sizeof(specs[0]),
};

struct running {
    const struct config *config;
    struct inject_config inject;
    char space[NAME_LENGTH];
    struct kube_client *client;
    struct kube_cancel *cancel;
    struct certs *certs;
    struct web *web; /* the thread's; NULL: there is no certificate yet */
    struct status *status;
    pthread_t thread;
    bool has_thread;
    atomic_bool serving;
    atomic_ullong reviews, patched, refused;
};

/* ---- the API server's questions ---- */

static void handle(void *context, const struct web_request *request, struct web_answer *answer)
{
    struct running *running = context;
    struct error err = ERROR_INIT;
    bool patched = false;
    int r;

    if (strcmp(request->path, "/mutate") != 0 || strcmp(request->method, "POST") != 0) {
        answer->status = 404;
        buf_addstr(&answer->body, "there is POST /mutate\n");
        return;
    }
    atomic_fetch_add(&running->reviews, 1);
    r = review_answer(&running->inject, request->body, &answer->body, &patched, &err);
    if (r < 0) {
        atomic_fetch_add(&running->refused, 1);
        buf_reset(&answer->body);
        answer->status = r == -EINVAL ? 400 : 500;
        buf_addf(&answer->body, "%s\n", error_text(&err, r));
        return;
    }
    atomic_fetch_add(&running->patched, patched);
    answer->content_type = "application/json";
}

/* ---- the certificate ---- */

static int serve(struct running *running, const struct key_pair *pair, struct error *err)
{
    const struct web_config web = {.address = running->config->listen,
                                   .certificate = pair->certificate,
                                   .key = pair->key,
                                   .body_max = REVIEW_MAX,
                                   .handle = handle,
                                   .context = running};
    int r = running->web != NULL ? web_certificate(running->web, pair->certificate, pair->key, err)
                                 : web_new(&web, &running->web, err);

    if (r == 0) {
        log_info("serving", "listen", running->config->listen, NULL);
        atomic_store(&running->serving, true);
    }
    return r;
}

static int look(struct running *running)
{
    struct error err = ERROR_INIT;
    const struct key_pair *pair;
    bool is_new = false;
    int r = certs_step(running->certs, &err);

    pair = certs_pair(running->certs, &is_new);
    if (r == 0 && pair != NULL && (is_new || running->web == NULL)) {
        r = serve(running, pair, &err);
    }
    if (r < 0 && r != -EAGAIN && r != -ECANCELED) {
        log_warn("the certificate could not be looked after, and will be again", "error",
                 error_text(&err, r), NULL);
    }
    return r;
}

static void *keep(void *arg)
{
    struct running *running = arg;
    uint64_t every = running->config->look_ms;
    uint64_t pause = PAUSE_FIRST_MS;

    (void)pthread_setname_np(pthread_self(), "certificates");
    for (;;) {
        int r = look(running);
        uint64_t wait = r == 0 ? every : pause / 2 + random_below(pause / 2 + 1);

        pause = r == 0 ? PAUSE_FIRST_MS : 2 * pause < every ? 2 * pause : every;
        if (r == -ECANCELED || kube_cancel_wait(running->cancel, wait) < 0) {
            return NULL;
        }
    }
}

/* ---- life ---- */

static int healthy(void *context, struct buf *text)
{
    struct running *running = context;

    if (!atomic_load(&running->serving)) {
        buf_addstr(text, "there is no certificate yet");
        return -EAGAIN;
    }
    return 0;
}

static void metrics(void *context, struct buf *out)
{
    struct running *running = context;

    buf_addf(out,
             "# HELP skyvol_webhook_reviews_total Pods that were looked at.\n"
             "# TYPE skyvol_webhook_reviews_total counter\nskyvol_webhook_reviews_total %llu\n"
             "# HELP skyvol_webhook_patched_total Pods that got something.\n"
             "# TYPE skyvol_webhook_patched_total counter\nskyvol_webhook_patched_total %llu\n"
             "# HELP skyvol_webhook_bad_requests_total Requests that were no reviews.\n"
             "# TYPE skyvol_webhook_bad_requests_total counter\n"
             "skyvol_webhook_bad_requests_total %llu\n",
             atomic_load(&running->reviews), atomic_load(&running->patched),
             atomic_load(&running->refused));
}

static int find_space(const struct config *config, char ret[NAME_LENGTH], struct error *err)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(NAME_LENGTH - 1);

    if (config->space != NULL) {
        buf_addstr(&text, config->space);
    } else if (file_read(NAMESPACE_FILE, &text) < 0) {
        return error_set(err, -ENOENT, "not in a Kubernetes cluster: set --namespace");
    }
    (void)snprintf(ret, NAME_LENGTH, "%.*s", (int)strcspn(buf_str(&text), " \r\n"), buf_str(&text));
    return buf_error(&text);
}

static int start(struct running *running, struct error *err)
{
    const struct config *config = running->config;
    const struct kube_config kube = kube_options_config(&config->kube);
    const struct status_config status = {
        .address = config->status, .health = healthy, .more = metrics, .context = running};
    struct certs_config certs = {.space = running->space,
                                 .secret = config->secret,
                                 .configuration = config->configuration,
                                 .service = config->service,
                                 .days = (uint32_t)config->days,
                                 .settle_ms = config->settle_ms};
    int r = find_space(config, running->space, err);

    r = r < 0 ? r : kube_client_new(&kube, &running->client, err);
    r = r < 0 ? r : kube_cancel_new(&running->cancel);
    certs.client = running->client;
    certs.cancel = running->cancel;
    r = r < 0 ? r : certs_new(&certs, &running->certs);
    if (r == 0 && config->status != NULL) {
        r = status_new(&status, &running->status, err);
    }
    if (r == 0) {
        r = -pthread_create(&running->thread, NULL, keep, running);
        running->has_thread = r == 0;
    }
    return r;
}

static void stop(struct running *running)
{
    if (running->has_thread) {
        kube_cancel_now(running->cancel);
        (void)pthread_join(running->thread, NULL);
    }
    status_free(running->status);
    web_free(running->web);
    certs_free(running->certs);
    kube_cancel_free(running->cancel);
    kube_client_free(running->client);
}

static int run(const struct config *config, struct error *err)
{
    struct running running = {.config = config,
                              .inject = {.image = config->image, .trust = config->trust}};
    struct signals *signals = NULL;
    enum log_level level = LOG_INFO;
    int r;

    r = options_log_level(config->log_level, &level, err);
    r = r < 0 ? r : inject_config_check(&running.inject, err);
    if (r < 0) {
        return r;
    }
    log_set_level(level);
    signals_block();
    r = signals_new(&(struct signals_config){.context = NULL}, &signals);
    r = r < 0 ? r : start(&running, err);
    if (r == 0) {
        signals_wait_stop(signals);
    }
    stop(&running);
    signals_free(signals);
    return r;
}

int main(int argc, char **argv)
{
    struct config config = {0};
    struct error err = ERROR_INIT;
    int r = options_parse(&program, argc, argv, &config, &err);

    if (r == 0) {
        r = run(&config, &err);
        options_done(&program, &config);
    }
    return r != 0 ? options_exit(&program, r, &err) : 0;
}
