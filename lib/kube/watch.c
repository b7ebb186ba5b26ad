/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.c - the transfer's thread only hands over bytes; the watch's own splits them, so that an
 * event may take its time. What is not taken yet is bounded: then the connection is not read.
 */
#include "kube/watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kube/frames.h"
#include "kube/kube_private.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/log.h"

enum { WATCH_S = 300, GRACE_S = 30, PAUSE_MAX_MS = 30000, HELD_MAX = 1 << 20, QUICK_MS = 1000 };

/* A watch that has been begun. */
struct stream {
    struct kube_transfer transfer;
    struct mutex lock;
    struct cond changed;
    struct buf held GUARDED_BY(lock); /* bytes that came */
    bool paused GUARDED_BY(lock);
    bool done GUARDED_BY(lock);
    int http_status;           /* before the first byte */
    struct http_result result; /* once done */
};

struct kube_watch {
    struct kube_watch_config config;
    struct kube_cancel *cancel;
    pthread_t thread;
    char version[KUBE_VERSION_MAX]; /* the thread's; "": a list is needed */
};

/* ---- the transfer's thread ---- */

static int on_head(struct http_request *request, const struct http_head *head)
{
    struct stream *s = request->arg;

    s->http_status = head->status;
    return 0;
}

static int on_write(struct http_request *request, const void *data, size_t len)
{
    struct stream *s = request->arg;
    int r = 0;

    mutex_lock(&s->lock);
    if (buf_len(&s->held) > 0 && buf_len(&s->held) + len > HELD_MAX) {
        s->paused = true;
        r = -EAGAIN;
    } else {
        buf_add(&s->held, data, len);
        r = buf_error(&s->held);
        cond_signal(&s->changed);
    }
    mutex_unlock(&s->lock);
    return r;
}

static void on_done(struct http_request *request, const struct http_result *result)
{
    struct stream *s = request->arg;

    mutex_lock(&s->lock);
    s->result = *result;
    s->done = true;
    cond_signal(&s->changed);
    mutex_unlock(&s->lock);
}

/* ---- events ---- */

static void tell(const struct kube_watch *watch, enum kube_event event, const cJSON *object)
{
    watch->config.event(watch->config.context, event, object);
}

/* 0, or why the watch cannot go on: -ESTALE: from a list only. */
static int take_frame(struct kube_watch *watch, const struct kube_frame *frame)
{
    static const enum kube_event events[] = {[KUBE_FRAME_ADDED] = KUBE_ADDED,
                                             [KUBE_FRAME_MODIFIED] = KUBE_MODIFIED,
                                             [KUBE_FRAME_DELETED] = KUBE_DELETED};

    if (frame->type == KUBE_FRAME_ERROR) {
        return frame->code == 410 ? -ESTALE : -ECONNREFUSED;
    }
    if (frame->type != KUBE_FRAME_BOOKMARK) {
        tell(watch, events[frame->type], frame->object);
    }
    (void)snprintf(watch->version, sizeof(watch->version), "%s", frame->version);
    return 0;
}

/* Bytes that came, or the end. */
static bool take_bytes(struct kube_watch *watch, struct stream *s, struct buf *ret)
{
    bool resume;
    bool done;

    mutex_lock(&s->lock);
    while (!s->done && buf_len(&s->held) == 0) {
        cond_wait(&s->changed, &s->lock);
    }
    *ret = s->held;
    s->held = (struct buf)BUF_INIT(KUBE_FRAME_MAX);
    resume = s->paused && !s->done;
    s->paused = false;
    done = s->done && buf_len(ret) == 0;
    mutex_unlock(&s->lock);
    if (resume) {
        http_resume(watch->config.client->http, &s->transfer.http);
    }
    return !done;
}

static int take_all(struct kube_watch *watch, struct stream *s, bool *ret_any)
{
    struct kube_frames frames = KUBE_FRAMES_INIT;
    struct buf bytes = BUF_INIT(KUBE_FRAME_MAX);
    struct kube_frame frame;
    int r = 0;

    while (r == 0 && take_bytes(watch, s, &bytes)) {
        if (s->http_status != 200) {
            buf_done(&bytes); /* a Status, whose code says enough */
            continue;
        }
        r = kube_frames_add(&frames, buf_str(&bytes), buf_len(&bytes));
        buf_done(&bytes);
        while (r == 0 && (r = kube_frames_next(&frames, &frame)) == 1) {
            r = take_frame(watch, &frame);
            *ret_any = *ret_any || r == 0;
            kube_frame_done(&frame);
        }
    }
    kube_frames_done(&frames);
    return r;
}

/* ---- one watch ---- */

static int stream_url(const struct kube_watch *watch, uint32_t seconds, struct buf *url)
{
    struct kube_request what = watch->config.what;
    char text[16];
    int r;

    what.verb = KUBE_LIST;
    buf_addstr(url, watch->config.client->server);
    r = kube_path(&what, url, NULL);
    (void)snprintf(text, sizeof(text), "%u", seconds);
    kube_path_add(url, "watch", "true");
    kube_path_add(url, "allowWatchBookmarks", "true");
    kube_path_add(url, "timeoutSeconds", text);
    kube_path_add(url, "resourceVersion", watch->version);
    return r < 0 ? r : buf_error(url);
}

static void finish(struct kube_watch *watch, struct stream *s)
{
    mutex_lock(&s->lock);
    if (!s->done) {
        http_cancel(watch->config.client->http, &s->transfer.http);
        buf_done(&s->held);
        s->held.max = KUBE_FRAME_MAX;
    }
    while (!s->done) {
        cond_wait(&s->changed, &s->lock);
    }
    mutex_unlock(&s->lock);
    kube_cancel_leave(watch->cancel, &s->transfer);
}

static int verdict(const struct stream *s, int r)
{
    if (r < 0) {
        return r;
    }
    if (s->http_status == 410) {
        return -ESTALE;
    }
    if (s->http_status != 0 && s->http_status != 200) {
        return s->http_status == 401 ? -EKEYREJECTED : -ECONNREFUSED;
    }
    return s->result.status;
}

static int stream_run(struct kube_watch *watch, struct stream *s, bool *ret_any)
{
    CLEANUP(buf_done) struct buf url = BUF_INIT(KUBE_URL_MAX);
    CLEANUP(buf_wipe) struct buf authorization = BUF_INIT(KUBE_TOKEN_MAX);
    struct http_header headers[] = {{"Accept", "application/json"}, {"Authorization", NULL}};
    uint32_t seconds =
        (uint32_t)kube_jitter(watch->config.watch_s != 0 ? watch->config.watch_s : WATCH_S);
    struct http_request *http = &s->transfer.http;
    int r = stream_url(watch, seconds, &url);

    r = r < 0 ? r : kube_authorization(watch->config.client, &authorization, NULL);
    if (r < 0) {
        return r;
    }
    headers[1].value = buf_str(&authorization);
    *http = (struct http_request){.method = "GET",
                                  .url = buf_str(&url),
                                  .headers = headers,
                                  .header_count = buf_len(&authorization) > 0 ? 2 : 1,
                                  .head = on_head,
                                  .write = on_write,
                                  .done = on_done,
                                  .timeout_ms = (seconds + GRACE_S) * 1000,
                                  .arg = s};
    if (!kube_cancel_enter(watch->cancel, &s->transfer)) {
        return -ECANCELED;
    }
    http_submit(watch->config.client->http, http);
    if (kube_pause(watch->cancel, 0) < 0) { /* since the entry */
        http_cancel(watch->config.client->http, http);
    }
    r = take_all(watch, s, ret_any);
    finish(watch, s);
    return verdict(s, r);
}

/* Watch from `version` on, until it ends. */
static int watch_once(struct kube_watch *watch, bool *ret_any)
{
    struct stream s = {.transfer = {.client = watch->config.client},
                       .held = BUF_INIT(KUBE_FRAME_MAX)};
    int r;

    mutex_init(&s.lock);
    cond_init(&s.changed);
    r = stream_run(watch, &s, ret_any);
    buf_done(&s.held);
    cond_done(&s.changed);
    mutex_done(&s.lock);
    return r;
}

/* ---- the thread ---- */

struct listing {
    struct kube_watch *watch;
    bool told; /* that a list begins */
};

static int on_item(void *context, const cJSON *item)
{
    struct listing *listing = context;

    if (!listing->told || item == NULL) {
        tell(listing->watch, KUBE_RESTARTED, NULL);
        listing->told = true;
    }
    if (item != NULL) {
        tell(listing->watch, KUBE_ADDED, item);
    }
    return 0;
}

static int list_once(struct kube_watch *watch)
{
    struct listing listing = {.watch = watch};
    struct kube_request what = watch->config.what;
    struct error err = ERROR_INIT;
    int r;

    what.cancel = watch->cancel;
    r = kube_list(watch->config.client, &what, on_item, &listing, watch->version, &err);
    if (r < 0) {
        watch->version[0] = '\0';
        log_debug("a list of the Kubernetes API failed", "error", error_text(&err, r), NULL);
        return r;
    }
    if (!listing.told) {
        tell(watch, KUBE_RESTARTED, NULL);
    }
    tell(watch, KUBE_SYNCED, NULL);
    return watch->version[0] != '\0' ? 0 : -EBADMSG;
}

static void *run(void *arg)
{
    struct kube_watch *watch = arg;
    uint64_t pause = KUBE_PAUSE_FIRST_MS;
    int r;

    (void)pthread_setname_np(pthread_self(), "kube-watch");
    do {
        uint64_t began = clock_monotonic_ms(clock_real());
        bool listed = watch->version[0] == '\0';
        bool any = false;
        bool good;

        if (listed) {
            r = list_once(watch);
            good = r == 0;
        } else {
            r = watch_once(watch, &any);
            good = any || (r == 0 && clock_monotonic_ms(clock_real()) - began > QUICK_MS);
            if (r == -ESTALE || r == -EBADMSG || r == -EFBIG) {
                watch->version[0] = '\0';
            }
        }
        if (good) {
            /* a list alone does not count: what is forgotten at once would be listed for ever */
            pause = listed ? pause : KUBE_PAUSE_FIRST_MS;
            r = kube_pause(watch->cancel, 0);
        } else {
            r = kube_pause(watch->cancel, kube_jitter(pause));
            pause = 2 * pause < PAUSE_MAX_MS ? 2 * pause : PAUSE_MAX_MS;
        }
    } while (r == 0);
    return NULL;
}

int kube_watch_new(const struct kube_watch_config *config, struct kube_watch **ret,
                   struct error *err)
{
    struct kube_watch *watch = calloc(1, sizeof(*watch));
    int r;

    if (watch == NULL) {
        return -ENOMEM;
    }
    watch->config = *config;
    r = kube_cancel_new(&watch->cancel);
    if (r == 0) {
        r = -pthread_create(&watch->thread, NULL, run, watch);
        r = r < 0 ? error_set(err, r, "cannot start a thread: %s", strerrordesc_np(-r)) : 0;
    }
    if (r < 0) {
        kube_cancel_free(watch->cancel);
        free(watch);
        return r;
    }
    *ret = watch;
    return 0;
}

void kube_watch_free(struct kube_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    kube_cancel_now(watch->cancel);
    (void)pthread_join(watch->thread, NULL);
    kube_cancel_free(watch->cancel);
    free(watch);
}
