/* SPDX-License-Identifier: Apache-2.0 */
/* call.c - one call: tries, pauses, and the pages of a list. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kube/kube_private.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/random.h"

enum { BODY_MAX = 4 << 20, RETRY_AFTER_MAX_S = 30, TOKEN_PAUSE_MS = 500, LISTS_MAX = 3 };

struct
try {
    struct kube_transfer transfer;
    struct mutex lock;
    struct cond changed;
    bool done GUARDED_BY(lock);
    struct http_result result; /* once done */
    struct buf body;
    uint32_t retry_s;
};

/* What stays the same over all tries. */
struct call {
    struct kube_client *client;
    const struct kube_request *request;
    const char *url;
    const char *text; /* of the body; NULL: none */
    char words[256];
    struct kube_answer answer;
    struct error *err;
};

uint64_t kube_jitter(uint64_t ms)
{
    return ms / 2 + random_below(ms / 2 + 1);
}

int kube_pause(struct kube_cancel *cancel, uint64_t ms)
{
    const struct timespec time = {.tv_sec = (time_t)(ms / 1000),
                                  .tv_nsec = (long)(ms % 1000) * 1000000};
    uint64_t until = clock_monotonic_ms(clock_real()) + ms;
    bool now;

    if (cancel == NULL) {
        (void)nanosleep(&time, NULL);
        return 0;
    }
    mutex_lock(&cancel->lock);
    for (uint64_t at = until - ms; !cancel->now && at < until;
         at = clock_monotonic_ms(clock_real())) {
        cond_wait_ms(&cancel->changed, &cancel->lock, until - at);
    }
    now = cancel->now;
    mutex_unlock(&cancel->lock);
    return now ? -ECANCELED : 0;
}

/* ---- one try ---- */

static int on_head(struct http_request *request, const struct http_head *head)
{
    struct try *t = request->arg;
    struct slice after = http_head_get(head, "retry-after");
    uint32_t seconds = 0;

    for (size_t i = 0; i < after.len && i < 6 && after.data[i] >= '0' && after.data[i] <= '9';
         i++) {
        seconds = seconds * 10 + (uint32_t)(after.data[i] - '0');
    }
    t->retry_s = seconds;
    buf_reset(&t->body);
    return 0;
}

static int on_write(struct http_request *request, const void *data, size_t len)
{
    struct try *t = request->arg;

    buf_add(&t->body, data, len);
    return buf_error(&t->body);
}

static void on_done(struct http_request *request, const struct http_result *result)
{
    struct try *t = request->arg;

    mutex_lock(&t->lock);
    t->result = *result;
    t->done = true;
    cond_signal(&t->changed);
    mutex_unlock(&t->lock);
}

static void wait_done(struct try *t)
{
    mutex_lock(&t->lock);
    while (!t->done) {
        cond_wait(&t->changed, &t->lock);
    }
    mutex_unlock(&t->lock);
}

static const char *method_of(enum kube_verb verb)
{
    static const char *const methods[] = {
        [KUBE_GET] = "GET",     [KUBE_LIST] = "GET",         [KUBE_CREATE] = "POST",
        [KUBE_REPLACE] = "PUT", [KUBE_PATCH_JSON] = "PATCH", [KUBE_PATCH_MERGE] = "PATCH",
        [KUBE_APPLY] = "PATCH", [KUBE_DELETE] = "DELETE",
    };

    return methods[verb];
}

static const char *type_of(enum kube_verb verb)
{
    return verb == KUBE_PATCH_JSON    ? "application/json-patch+json"
           : verb == KUBE_PATCH_MERGE ? "application/merge-patch+json"
           : verb == KUBE_APPLY       ? "application/apply-patch+yaml" /* of which JSON is a part */
                                      : "application/json";
}

/* To be done twice. */
static bool harmless(const struct kube_request *request)
{
    return request->again || request->verb == KUBE_GET || request->verb == KUBE_LIST;
}

static void submit(struct call *call, struct try *t, const char *authorization, uint32_t timeout_ms)
{
    struct http_header headers[4] = {{"Accept", "application/json"}};
    struct http_request *http = &t->transfer.http;
    size_t count = 1;

    if (authorization[0] != '\0') {
        headers[count++] = (struct http_header){"Authorization", authorization};
    }
    if (call->text != NULL) {
        headers[count++] = (struct http_header){"Content-Type", type_of(call->request->verb)};
        http->has_body = true;
        http->data = call->text;
        http->size = strlen(call->text);
    }
    http->method = method_of(call->request->verb);
    http->url = call->url;
    http->headers = headers;
    http->header_count = count;
    http->once = !harmless(call->request);
    http->head = on_head;
    http->write = on_write;
    http->done = on_done;
    http->timeout_ms = timeout_ms;
    http->arg = t;
    http_submit(call->client->http, http);
    if (call->request->cancel != NULL) {
        /* Cancelled between the entry and the submit: nobody has told the transfer. */
        struct kube_cancel *cancel = call->request->cancel;

        mutex_lock(&cancel->lock);
        if (cancel->now) {
            http_cancel(call->client->http, http);
        }
        mutex_unlock(&cancel->lock);
    }
    wait_done(t);
}

static int transport_error(const struct call *call, const struct try *t)
{
    int r = t->result.status;

    if (r == -EFBIG) {
        return error_set(call->err, r, "Kubernetes, %s: the answer has more than %zu bytes",
                         call->words, t->body.max);
    }
    return error_set(call->err, r, "Kubernetes, %s: %s", call->words,
                     error_text(&t->result.error, r));
}

static int judge(struct call *call, struct try *t, cJSON **ret)
{
    cJSON *json;
    int r;

    call->answer =
        (struct kube_answer){.http_status = t->result.http_status, .retry_s = t->retry_s};
    if (t->result.status < 0) {
        return transport_error(call, t);
    }
    json = cJSON_ParseWithLength(buf_str(&t->body), buf_len(&t->body));
    if (t->result.http_status < 200 || t->result.http_status > 299) {
        r = kube_status(call->words, t->result.http_status, json, &call->answer, call->err);
        cJSON_Delete(json);
        return r;
    }
    if (!cJSON_IsObject(json)) {
        cJSON_Delete(json);
        return error_set(call->err, -EBADMSG, "Kubernetes, %s: the answer is no JSON object",
                         call->words);
    }
    *ret = json;
    return 0;
}

static int try_once(struct call *call, const char *authorization, uint32_t timeout_ms, cJSON **ret)
{
    struct kube_cancel *cancel = call->request->cancel;
    struct try t = {.transfer = {.client = call->client}, .body = BUF_INIT(KUBE_ANSWER_MAX)};
    int r;

    if (!kube_cancel_enter(cancel, &t.transfer)) {
        return error_set(call->err, -ECANCELED, "Kubernetes, %s: cancelled", call->words);
    }
    mutex_init(&t.lock);
    cond_init(&t.changed);
    submit(call, &t, authorization, timeout_ms);
    kube_cancel_leave(cancel, &t.transfer);
    r = judge(call, &t, ret);
    cond_done(&t.changed);
    mutex_done(&t.lock);
    buf_wipe(&t.body); /* it may be a Secret */
    return r;
}

/* ---- tries ---- */

static bool may_repeat(const struct call *call, int r)
{
    if (r == -EAGAIN) {
        return true; /* 429: it was not done */
    }
    if (r == -ECONNREFUSED || r == -EHOSTUNREACH) {
        /* The 503 of a proxy before the server may follow a request that was done. */
        return call->answer.http_status == 0 || harmless(call->request);
    }
    return r == -ECONNRESET && harmless(call->request);
}

/* A token that has ended may have been replaced just now: its file is looked at once more. */
static bool other_token(const struct call *call, struct buf *authorization)
{
    CLEANUP(buf_wipe) struct buf now = BUF_INIT(KUBE_TOKEN_MAX);

    if (kube_pause(call->request->cancel, TOKEN_PAUSE_MS) < 0 ||
        kube_authorization(call->client, &now, NULL) < 0 ||
        strcmp(buf_str(&now), buf_str(authorization)) == 0) {
        return false;
    }
    return true;
}

static int try_all(struct call *call, cJSON **ret)
{
    uint64_t now = clock_monotonic_ms(clock_real());
    uint64_t until =
        now + (call->request->timeout_ms != 0 ? call->request->timeout_ms : KUBE_TIMEOUT_MS);
    uint64_t pause = KUBE_PAUSE_FIRST_MS;
    bool refused = false;
    int r;

    for (;;) {
        CLEANUP(buf_wipe) struct buf authorization = BUF_INIT(KUBE_TOKEN_MAX);
        uint64_t wait = kube_jitter(pause);

        r = kube_authorization(call->client, &authorization, call->err);
        if (r < 0) {
            return r;
        }
        r = try_once(call, buf_str(&authorization), (uint32_t)(until - now), ret);
        if (r == -EKEYREJECTED && !refused && other_token(call, &authorization)) {
            refused = true;
            wait = 0;
        } else if (!may_repeat(call, r)) {
            return r;
        }
        if (call->answer.retry_s > 0) {
            wait = 1000ULL * (call->answer.retry_s < RETRY_AFTER_MAX_S ? call->answer.retry_s
                                                                       : RETRY_AFTER_MAX_S);
        }
        now = clock_monotonic_ms(clock_real());
        if (now + wait >= until) {
            return r;
        }
        if (kube_pause(call->request->cancel, wait) < 0) {
            return error_set(call->err, -ECANCELED, "Kubernetes, %s: cancelled", call->words);
        }
        now = clock_monotonic_ms(clock_real());
        now = now < until ? now : until - 1;
        pause = 2 * pause < KUBE_PAUSE_MAX_MS ? 2 * pause : KUBE_PAUSE_MAX_MS;
    }
}

static void wipe_text(char *const *text)
{
    if (*text != NULL) {
        explicit_bzero(*text, strlen(*text));
        cJSON_free(*text);
    }
}

static int call_url(struct kube_client *client, const struct kube_request *request,
                    const struct buf *url, cJSON **ret, struct error *err)
{
    CLEANUP(wipe_text) char *text = NULL;
    struct call call = {.client = client, .request = request, .url = buf_str(url), .err = err};
    cJSON *json = NULL;
    int r;

    kube_path_words(request, call.words, sizeof(call.words));
    if (request->body != NULL) {
        text = cJSON_PrintUnformatted(request->body);
        if (text == NULL) {
            return -ENOMEM;
        }
        if (strlen(text) > BODY_MAX) {
            return error_set(err, -EFBIG, "Kubernetes, %s: the object has more than %d bytes",
                             call.words, BODY_MAX);
        }
        call.text = text;
    }
    r = try_all(&call, &json);
    if (request->answer != NULL) {
        *request->answer = call.answer;
    }
    if (r == 0 && ret != NULL) {
        *ret = json;
    } else {
        cJSON_Delete(json);
    }
    return r;
}

int kube_call(struct kube_client *client, const struct kube_request *request, cJSON **ret,
              struct error *err)
{
    CLEANUP(buf_done) struct buf url = BUF_INIT(KUBE_URL_MAX);
    int r;

    buf_addstr(&url, client->server);
    r = kube_path(request, &url, err);
    return r < 0 ? r : call_url(client, request, &url, ret, err);
}

/* ---- lists ---- */

struct pages {
    int (*each)(void *context, const cJSON *item);
    void *context;
    char next[KUBE_URL_MAX / 2]; /* "": the last page was that */
    char version[KUBE_VERSION_MAX];
};

static int take_page(const cJSON *list, struct pages *pages, struct error *err)
{
    const char *next = kube_text(list, "metadata.continue");
    const char *version = kube_text(list, "metadata.resourceVersion");
    const cJSON *item;
    int r = 0;

    if (strlen(next) >= sizeof(pages->next) || strlen(version) >= sizeof(pages->version)) {
        return error_set(err, -EBADMSG, "Kubernetes: a list with metadata of that size is none");
    }
    (void)snprintf(pages->next, sizeof(pages->next), "%s", next);
    (void)snprintf(pages->version, sizeof(pages->version), "%s", version);
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(list, "items"))
    {
        r = r == 0 ? pages->each(pages->context, item) : r;
    }
    return r;
}

static int one_page(struct kube_client *client, const struct kube_request *request,
                    struct pages *pages, struct error *err)
{
    CLEANUP(buf_done) struct buf url = BUF_INIT(KUBE_URL_MAX);
    char limit[16];
    cJSON *list = NULL;
    int r;

    (void)snprintf(limit, sizeof(limit), "%d", KUBE_PAGE);
    buf_addstr(&url, client->server);
    r = kube_path(request, &url, err);
    kube_path_add(&url, "limit", limit);
    if (pages->next[0] != '\0') {
        kube_path_add(&url, "continue", pages->next);
    }
    r = r == 0 ? buf_error(&url) : r;
    r = r == 0 ? call_url(client, request, &url, &list, err) : r;
    r = r == 0 ? take_page(list, pages, err) : r;
    cJSON_Delete(list);
    return r;
}

int kube_list(struct kube_client *client, const struct kube_request *request,
              int (*each)(void *context, const cJSON *item), void *context,
              char ret_version[KUBE_VERSION_MAX], struct error *err)
{
    struct kube_answer answer = {0};
    struct kube_request page = *request;
    struct pages pages = {.each = each, .context = context};
    int begun = 1;
    int r;

    page.verb = KUBE_LIST;
    page.answer = &answer;
    do {
        bool first = pages.next[0] == '\0';

        r = one_page(client, &page, &pages, err);
        if (r == -ESTALE && answer.http_status == 410 && !first && begun < LISTS_MAX) {
            begun++;
            pages.next[0] = '\0';
            r = each(context, NULL);
            r = r == 0 ? 1 : r;
        } else if (r == 0) {
            r = pages.next[0] != '\0';
        }
    } while (r > 0);
    if (r == 0 && ret_version != NULL) {
        (void)snprintf(ret_version, KUBE_VERSION_MAX, "%s", pages.version);
    }
    if (request->answer != NULL) {
        *request->answer = answer;
    }
    return r;
}
