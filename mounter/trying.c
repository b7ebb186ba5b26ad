/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/trying.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "util/clock.h"
#include "util/log.h"
#include "util/url.h"

enum { FIRST_MS = 3000, AGAIN_MS = 15000, LOOK_MS = 100, DEADLINE_MS = 60000, MS_PER_S = 1000 };
enum { SILENT_MS = 5000 /* of a try that then tells more than the failure before it */ };

/* Of this process's tries: a process is one mount. */
static atomic_bool listening;
static struct mutex last_lock = {.impl = PTHREAD_MUTEX_INITIALIZER}; /* a leaf; of last */
static struct error last;

void trying_tried(int status, const char *text, uint64_t ms)
{
    if (!atomic_load_explicit(&listening, memory_order_relaxed)) {
        return;
    }
    mutex_lock(&last_lock);
    if (status == 0) {
        last = (struct error)ERROR_INIT;
    } else if (status != -ETIMEDOUT || last.code == 0 || ms >= SILENT_MS) {
        (void)error_set(&last, status, "%s", text);
    }
    mutex_unlock(&last_lock);
}

static struct error last_error(void)
{
    struct error copy;

    mutex_lock(&last_lock);
    copy = last;
    mutex_unlock(&last_lock);
    return copy;
}

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

/* Who says so at once will say it again: nobody need wait to hear of it. */
static bool is_refused(int error)
{
    return error == -ECONNREFUSED || error == -EHOSTUNREACH;
}

static void tell(const struct trying *t, const struct error *error)
{
    uint64_t now = now_ms();
    uint64_t left = t->until_ms > now ? (t->until_ms - now + MS_PER_S - 1) / MS_PER_S : 0;

    log_warn(is_refused(error->code)
                 ? "the store cannot be reached; it is tried again until the deadline"
                 : "the store has not answered yet; it is tried until the deadline",
             "store", url_shown(t->store), "error",
             error->code == 0               ? "no answer"
             : error->code == -ECONNREFUSED ? strerrordesc_np(ECONNREFUSED)
                                            : error->text,
             "seconds_left", log_num((int64_t)left), NULL);
}

/* For `told`: a kind of failure that it has not heard of last, or that there is no answer at all.
 */
static bool is_news(const struct trying *t, struct error *error, bool is_late, int *last_kind)
{
    enum { NO_ANSWER = 1 };
    int kind = error->code == 0 && is_late ? NO_ANSWER : error->code;

    if (t->told == NULL || kind == 0 || kind == *last_kind) {
        return false;
    }
    *last_kind = kind;
    if (kind == NO_ANSWER) {
        (void)error_set(error, -ETIMEDOUT, "no answer as yet");
    }
    return true;
}

static void *trying_main(void *arg)
{
    struct trying *t = arg;
    uint64_t next = now_ms() + FIRST_MS;
    bool refused = false;
    int told = 0;

    (void)pthread_setname_np(pthread_self(), "trying");
    mutex_lock(&t->lock);
    while (!t->ended) {
        struct error error = last_error();

        if (is_news(t, &error, now_ms() >= next, &told)) {
            mutex_unlock(&t->lock);
            t->told(t->context, &error);
            mutex_lock(&t->lock);
        } else if (now_ms() >= next || (!refused && is_refused(error.code))) {
            refused = refused || is_refused(error.code);
            next = now_ms() + AGAIN_MS;
            mutex_unlock(&t->lock);
            tell(t, &error);
            mutex_lock(&t->lock);
        } else {
            cond_wait_ms(&t->changed, &t->lock, LOOK_MS);
        }
    }
    mutex_unlock(&t->lock);
    return NULL;
}

void trying_begin(struct trying *t)
{
    t->until_ms = now_ms() + (t->deadline_ms != 0 ? t->deadline_ms : DEADLINE_MS);
    mutex_lock(&last_lock);
    last = (struct error)ERROR_INIT;
    mutex_unlock(&last_lock);
    atomic_store(&listening, true);
    mutex_init(&t->lock);
    cond_init(&t->changed);
    t->started = pthread_create(&t->thread, NULL, trying_main, t) == 0;
}

int trying_end(struct trying *t, int r, struct error *err)
{
    struct error cause = last_error();

    atomic_store(&listening, false);
    mutex_lock(&t->lock);
    t->ended = true;
    cond_signal(&t->changed);
    mutex_unlock(&t->lock);
    if (t->started) {
        (void)pthread_join(t->thread, NULL);
    }
    cond_done(&t->changed);
    mutex_done(&t->lock);
    if (cause.code != 0 && (r == -ETIMEDOUT || is_refused(r))) {
        r = error_set(err, cause.code, "trying out %s: %s", url_shown(t->store), cause.text);
    }
    return r;
}
