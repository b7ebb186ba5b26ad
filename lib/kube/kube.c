/* SPDX-License-Identifier: Apache-2.0 */
/* kube.c - the client: where the server is and who we are. */
#include "kube/kube.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kube/kube_private.h"
#include "util/cleanup.h"
#include "util/file.h"
#include "util/slice.h"

#define ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount/"

enum { CONNECTIONS = 32, CONNECT_MS = 5000 };

/* As the kubelet tells every container. */
static int cluster_server(char **ret, struct error *err)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    bool v6 = host != NULL && strchr(host, ':') != NULL;

    if (host == NULL || host[0] == '\0' || port == NULL || port[0] == '\0') {
        return error_set(err, -ENOENT,
                         "not in a Kubernetes cluster: KUBERNETES_SERVICE_HOST and _PORT are not "
                         "set");
    }
    if (asprintf(ret, "https://%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port) < 0) {
        *ret = NULL;
        return -ENOMEM;
    }
    return 0;
}

/* Plain, for a proxy on this machine: no token leaves it. */
static bool is_here(const char *server)
{
    size_t at = server == NULL                                  ? 0
                : strncmp(server, "http://127.0.0.1:", 17) == 0 ? 17
                : strncmp(server, "http://[::1]:", 13) == 0     ? 13
                                                                : 0;

    return at > 0 && server[at + strspn(server + at, "0123456789/")] == '\0';
}

static int copy_server(const char *server, char **ret, struct error *err)
{
    size_t len = strlen(server);

    if (strncmp(server, "https://", 8) != 0 && !is_here(server)) {
        return error_set(err, -EINVAL, "Kubernetes API '%.128s': give https://host:port", server);
    }
    while (len > 0 && server[len - 1] == '/') {
        len--;
    }
    *ret = strndup(server, len);
    return *ret == NULL ? -ENOMEM : 0;
}

static const char *or_account(const char *given, const char *account)
{
    return given == NULL ? account : given[0] != '\0' ? given : NULL;
}

int kube_client_new(const struct kube_config *config, struct kube_client **ret, struct error *err)
{
    const char *ca = or_account(config->ca_file, ACCOUNT "ca.crt");
    const char *token = or_account(config->token_file, ACCOUNT "token");
    struct http_client_config http = {.threads = 1,
                                      .max_connections = CONNECTIONS,
                                      .connect_timeout_ms = CONNECT_MS,
                                      .ca_file = ca,
                                      .ca_only = ca != NULL,
                                      .cert_file = config->cert_file,
                                      .key_file = config->key_file};
    struct kube_client *client = calloc(1, sizeof(*client));
    int r;

    if (client == NULL) {
        return -ENOMEM;
    }
    if (is_here(config->server)) {
        http.ca_file = NULL;
        http.ca_only = false;
    }
    r = config->server != NULL ? copy_server(config->server, &client->server, err)
                               : cluster_server(&client->server, err);
    if (r == 0 && token != NULL) {
        client->token_file = strdup(token);
        r = client->token_file == NULL ? -ENOMEM : 0;
    }
    r = r < 0 ? r : http_client_new(&http, &client->http, err);
    if (r < 0) {
        kube_client_free(client);
        return r;
    }
    *ret = client;
    return 0;
}

void kube_client_free(struct kube_client *client)
{
    if (client != NULL) {
        http_client_free(client->http);
        free(client->server);
        free(client->token_file);
        free(client);
    }
}

int kube_authorization(const struct kube_client *client, struct buf *out, struct error *err)
{
    CLEANUP(buf_wipe) struct buf text = BUF_INIT(KUBE_TOKEN_MAX);
    struct slice token;
    bool good;
    int r;

    if (client->token_file == NULL) {
        return 0;
    }
    r = file_read(client->token_file, &text);
    if (r < 0) {
        return error_set(err, -EKEYREJECTED, "cannot read the token %s: %s", client->token_file,
                         strerrordesc_np(-r));
    }
    token = slice_of(buf_str(&text));
    while (token.len > 0 && strchr(" \t\r\n", token.data[token.len - 1]) != NULL) {
        token.len--;
    }
    good = token.len > 0;
    for (size_t i = 0; good && i < token.len; i++) {
        good = (unsigned char)token.data[i] > 0x20 && (unsigned char)token.data[i] < 0x7f;
    }
    if (!good) {
        return error_set(err, -EKEYREJECTED, "%s holds no token", client->token_file);
    }
    buf_addstr(out, "Bearer ");
    buf_add(out, token.data, token.len);
    return buf_error(out);
}

/* ---- cancellation ---- */

int kube_cancel_new(struct kube_cancel **ret)
{
    struct kube_cancel *cancel = calloc(1, sizeof(*cancel));

    if (cancel == NULL) {
        return -ENOMEM;
    }
    mutex_init(&cancel->lock);
    cond_init(&cancel->changed);
    LIST_INIT(&cancel->transfers);
    *ret = cancel;
    return 0;
}

void kube_cancel_now(struct kube_cancel *cancel)
{
    struct kube_transfer *t;

    mutex_lock(&cancel->lock);
    cancel->now = true;
    /* http_cancel() only leaves word for its thread. Under the lock no transfer can end. */
    LIST_FOREACH (t, &cancel->transfers, link) {
        http_cancel(t->client->http, &t->http);
    }
    cond_broadcast(&cancel->changed);
    mutex_unlock(&cancel->lock);
}

int kube_cancel_wait(struct kube_cancel *cancel, uint64_t ms)
{
    return kube_pause(cancel, ms);
}

void kube_cancel_free(struct kube_cancel *cancel)
{
    if (cancel != NULL) {
        cond_done(&cancel->changed);
        mutex_done(&cancel->lock);
        free(cancel);
    }
}

bool kube_cancel_enter(struct kube_cancel *cancel, struct kube_transfer *transfer)
{
    bool yes = true;

    if (cancel != NULL) {
        mutex_lock(&cancel->lock);
        yes = !cancel->now;
        if (yes) {
            LIST_INSERT_HEAD(&cancel->transfers, transfer, link);
        }
        mutex_unlock(&cancel->lock);
    }
    return yes;
}

void kube_cancel_leave(struct kube_cancel *cancel, struct kube_transfer *transfer)
{
    if (cancel != NULL) {
        mutex_lock(&cancel->lock);
        LIST_REMOVE(transfer, link);
        mutex_unlock(&cancel->lock);
    }
}
