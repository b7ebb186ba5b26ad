/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/faults.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/objstore_backend.h"
#include "util/clock.h"
#include "util/container.h"
#include "util/delay.h"
#include "util/mutex.h"
#include "util/random.h"
#include "util/slice.h"

enum { RULES_MAX = 32, CHANCE_SCALE = 1000000, HANG_DEFAULT_MS = 60000 };

enum fault_kind { FAULT_ERROR, FAULT_LOST, FAULT_DELAY, FAULT_CUT, FAULT_HANG, FAULT_CRASH };

struct rule {
    int op; /* -1: any */
    uint64_t first;
    bool onwards;
    uint32_t chance; /* in millionths; 0: by count */
    uint64_t seen;
    enum fault_kind kind;
    uint64_t number; /* errno, ms or bytes */
};

struct hit {
    struct delay_entry delay; /* DELAY: to be sent; HANG: to be given up */
    struct faults_store *store;
    struct objstore_request inner;
    struct objstore_request *outer;
    enum fault_kind kind;
    uint64_t number;
    uint64_t passed; /* CUT: bytes */
    uint32_t refs;   /* the request's, and that of who sends it */
    bool sent;       /* the inner store has it */
    bool over;       /* the inner store has answered */
    bool cancelled;
    bool resumed; /* before it was sent */
};

struct faults_store {
    struct objstore base;
    struct objstore *inner;
    struct delay *delay;
    struct mutex lock; /* of the rules and of hits' refs and flags */
    struct rule rules[RULES_MAX];
    size_t rule_count;
};

static const struct {
    const char *name;
    int value;
} errors[] = {
    {"EBUSY", EBUSY},
    {"EIO", EIO},
    {"ETIMEDOUT", ETIMEDOUT},
    {"ENOSPC", ENOSPC},
    {"EACCES", EACCES},
    {"ENOENT", ENOENT},
    {"ECONNRESET", ECONNRESET},
    {"EKEYEXPIRED", EKEYEXPIRED},
    {"ECONNREFUSED", ECONNREFUSED},
    {"ESTALE", ESTALE},
    {"EEXIST", EEXIST},
};

/* Text up to the separator; the rest stays in *text. */
static struct slice cut(struct slice *text, char separator)
{
    const char *end = text->len > 0 ? memchr(text->data, separator, text->len) : NULL;
    struct slice part = *text;

    if (end == NULL) {
        text->data += text->len;
        text->len = 0;
        return part;
    }
    part.len = (size_t)(end - text->data);
    text->len -= part.len + 1;
    text->data = end + 1;
    return part;
}

static bool parse_number(struct slice text, uint64_t *ret)
{
    uint64_t value = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || value > UINT32_MAX) {
            return false;
        }
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret = value;
    return text.len > 0;
}

static bool parse_op(struct slice text, struct rule *rule)
{
    rule->op = -1;
    for (int op = 0; op < OBJSTORE_OP_COUNT && !slice_eq_str(text, "*"); op++) {
        if (slice_eq_str(text, objstore_op_name((enum objstore_op)op))) {
            rule->op = op;
        }
    }
    return rule->op >= 0 || slice_eq_str(text, "*");
}

static bool parse_when(struct slice text, struct rule *rule)
{
    if (slice_eq_str(text, "*")) {
        rule->first = 1;
        rule->onwards = true;
        return true;
    }
    if (slice_starts_with(text, slice_of("p=0."))) {
        uint64_t scale = CHANCE_SCALE;
        uint64_t value = 0;

        for (size_t i = 4; i < text.len; i++) {
            scale /= 10;
            value +=
                scale *
                (uint64_t)(text.data[i] >= '0' && text.data[i] <= '9' ? text.data[i] - '0' : 0);
        }
        rule->chance = (uint32_t)value;
        return value > 0;
    }
    if (text.len > 0 && text.data[text.len - 1] == '+') {
        rule->onwards = true;
        text.len--;
    }
    return parse_number(text, &rule->first) && rule->first > 0;
}

static bool parse_what(struct slice text, struct rule *rule)
{
    static const struct {
        const char *prefix;
        enum fault_kind kind;
    } numbered[] = {{"delay=", FAULT_DELAY}, {"cut=", FAULT_CUT}};

    if (slice_eq_str(text, "lost") || slice_eq_str(text, "hang")) {
        rule->kind = text.data[0] == 'l' ? FAULT_LOST : FAULT_HANG;
        return true;
    }
    if (slice_eq_str(text, "crash")) {
        rule->kind = FAULT_CRASH;
        return true;
    }
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(numbered[i].prefix);

        if (slice_starts_with(text, slice_of(numbered[i].prefix))) {
            rule->kind = numbered[i].kind;
            return parse_number((struct slice){text.data + len, text.len - len}, &rule->number);
        }
    }
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (slice_eq_str(text, errors[i].name)) {
            rule->kind = FAULT_ERROR;
            rule->number = (uint64_t)errors[i].value;
            return true;
        }
    }
    return false;
}

static int parse_rules(struct faults_store *store, const char *text, struct error *err)
{
    struct slice rest = slice_of(text);

    while (rest.len > 0) {
        struct slice one = cut(&rest, ',');
        struct slice left = one;
        struct rule rule = {.op = -1};

        if (store->rule_count == RULES_MAX || !parse_op(cut(&left, ':'), &rule) ||
            !parse_when(cut(&left, ':'), &rule) || !parse_what(left, &rule)) {
            return error_set(err, -EINVAL, "fault rule \"%.*s\" is not understood (OP:WHEN:WHAT)",
                             (int)one.len, one.data);
        }
        store->rules[store->rule_count++] = rule;
    }
    return 0;
}

/* The first rule that applies to this request; every rule counts it. */
static const struct rule *match_locked(struct faults_store *store,
                                       const struct objstore_request *request)
    REQUIRES(&store->lock)
{
    const struct rule *found = NULL;

    for (size_t i = 0; i < store->rule_count; i++) {
        struct rule *rule = &store->rules[i];
        bool applies;

        if (rule->op >= 0 && rule->op != (int)request->op) {
            continue;
        }
        rule->seen++;
        applies = rule->chance > 0
                      ? random_below(CHANCE_SCALE) < rule->chance
                      : rule->seen == rule->first || (rule->onwards && rule->seen > rule->first);
        if (applies && found == NULL) {
            found = rule;
        }
    }
    return found;
}

static void hit_unref(struct hit *h)
{
    bool last;

    mutex_lock(&h->store->lock);
    last = --h->refs == 0;
    mutex_unlock(&h->store->lock);
    if (last) {
        free(h);
    }
}

static void hit_end(struct hit *h, const struct objstore_result *result)
{
    struct objstore_request *outer = h->outer;

    mutex_lock(&h->store->lock);
    outer->store_private[0] = NULL;
    mutex_unlock(&h->store->lock);
    outer->done(outer, result);
    hit_unref(h);
}

static void hit_fail(struct hit *h, int status)
{
    struct objstore_result result = {.status = status};

    (void)error_set(&result.error, status, "injected: %s", strerror(-status));
    hit_end(h, &result);
}

static void hit_done(struct objstore_request *inner, const struct objstore_result *result)
{
    struct hit *h = inner->arg;

    mutex_lock(&h->store->lock);
    h->over = true; /* from here on, nobody cancels or resumes it */
    mutex_unlock(&h->store->lock);
    if (h->kind == FAULT_LOST) {
        hit_fail(h, -ECONNRESET);
        return;
    }
    hit_end(h, result);
}

static int hit_info(struct objstore_request *inner, const struct objstore_info *info,
                    struct objstore_range range)
{
    struct hit *h = inner->arg;

    return h->outer->sink.info(h->outer, info, range);
}

static int hit_write(struct objstore_request *inner, const void *data, size_t len)
{
    struct hit *h = inner->arg;
    int ret;

    if (h->kind == FAULT_CUT && h->passed + len > h->number) {
        len = (size_t)(h->number - h->passed);
        ret = len > 0 ? h->outer->sink.write(h->outer, data, len) : 0;
        return ret == 0 ? -ECONNRESET : ret;
    }
    ret = h->outer->sink.write(h->outer, data, len);
    h->passed += ret == 0 ? len : 0;
    return ret;
}

static ssize_t hit_read(struct objstore_request *inner, void *buffer, size_t cap)
{
    struct hit *h = inner->arg;

    return h->outer->source.read(h->outer, buffer, cap);
}

static int hit_rewind(struct objstore_request *inner)
{
    struct hit *h = inner->arg;

    return h->outer->source.rewind(h->outer);
}

static void hit_send(struct hit *h)
{
    struct objstore_request *inner = &h->inner;

    *inner = *h->outer;
    memset(inner->store_private, 0, sizeof(inner->store_private));
    inner->arg = h;
    inner->done = hit_done;
    inner->sink.info = h->outer->sink.info != NULL ? hit_info : NULL;
    inner->sink.write = h->outer->sink.write != NULL ? hit_write : NULL;
    inner->sink.file = NULL; /* a fault may want to cut it */
    inner->source.lend = NULL;
    inner->source.sum = NULL; /* of other bytes, if they are changed */
    inner->source.read = h->outer->source.read != NULL ? hit_read : NULL;
    inner->source.rewind = h->outer->source.rewind != NULL ? hit_rewind : NULL;
    mutex_lock(&h->store->lock);
    h->refs++;
    mutex_unlock(&h->store->lock);
    objstore_submit(h->store->inner, inner);
    mutex_lock(&h->store->lock);
    h->sent = true;
    if (!h->over && h->cancelled) {
        objstore_cancel(h->store->inner, inner);
    } else if (!h->over && h->resumed) {
        objstore_resume(h->store->inner, inner);
    }
    mutex_unlock(&h->store->lock);
    hit_unref(h);
}

static void faults_submit(struct objstore *base, struct objstore_request *request)
{
    struct faults_store *store = container_of(base, struct faults_store, base);
    struct hit *h = calloc(1, sizeof(*h));
    const struct rule *rule;
    uint64_t now = clock_monotonic_ms(clock_real());
    uint64_t limit = request->timeout_ms != 0 ? request->timeout_ms : HANG_DEFAULT_MS;
    bool waits = false;

    if (h == NULL) {
        objstore_fail(request, -ENOMEM, "out of memory");
        return;
    }
    h->store = store;
    h->refs = 1;
    h->outer = request;
    h->kind = FAULT_DELAY; /* of no time: nothing special */
    mutex_lock(&store->lock);
    request->store_private[0] = h;
    rule = match_locked(store, request);
    if (rule != NULL) {
        h->kind = rule->kind;
        h->number = rule->number;
        waits = h->kind == FAULT_HANG || (h->kind == FAULT_DELAY && h->number > 0);
    }
    mutex_unlock(&store->lock);
    if (h->kind == FAULT_CRASH) {
        abort();
    }
    if (waits) {
        if (!delay_add(store->delay, &h->delay,
                       now + (h->kind == FAULT_HANG ? limit : h->number))) {
            hit_fail(h, -ECANCELED);
        }
    } else if (h->kind == FAULT_ERROR) {
        hit_fail(h, -(int)h->number);
    } else {
        hit_send(h);
    }
}

static void due(struct delay_entry *entry, bool early)
{
    struct hit *h = container_of(entry, struct hit, delay);

    if (early) {
        hit_fail(h, -ECANCELED);
    } else if (h->kind == FAULT_HANG) {
        hit_fail(h, -ETIMEDOUT);
    } else {
        hit_send(h);
    }
}

/* Under the lock that the inner request's done() needs first: it cannot end meanwhile. */
static void faults_cancel(struct objstore *base, struct objstore_request *request)
{
    struct faults_store *store = container_of(base, struct faults_store, base);
    struct hit *h;

    mutex_lock(&store->lock);
    h = request->store_private[0];
    if (h != NULL) {
        h->cancelled = true;
        if (h->sent && !h->over) {
            objstore_cancel(store->inner, &h->inner);
        } else {
            (void)delay_cancel(store->delay, &h->delay);
        }
    }
    mutex_unlock(&store->lock);
}

static void faults_resume(struct objstore *base, struct objstore_request *request)
{
    struct faults_store *store = container_of(base, struct faults_store, base);
    struct hit *h;

    mutex_lock(&store->lock);
    h = request->store_private[0];
    if (h != NULL && h->sent && !h->over) {
        objstore_resume(store->inner, &h->inner);
    } else if (h != NULL) {
        h->resumed = true;
    }
    mutex_unlock(&store->lock);
}

static void faults_free(struct objstore *base)
{
    struct faults_store *store = container_of(base, struct faults_store, base);

    delay_end(store->delay); /* nothing is sent from there any more */
    objstore_free(store->inner);
    delay_free(store->delay);
    mutex_done(&store->lock);
    objstore_base_done(&store->base);
    free(store);
}

static const struct objstore_ops faults_ops = {
    .submit = faults_submit,
    .cancel = faults_cancel,
    .resume = faults_resume,
    .free = faults_free,
};

int objstore_faults_new(struct objstore *inner, const char *rules, struct objstore **ret,
                        struct error *err)
{
    struct faults_store *store = calloc(1, sizeof(*store));
    int r;

    if (store == NULL) {
        objstore_free(inner);
        return error_set(err, -ENOMEM, "out of memory");
    }
    store->inner = inner;
    store->base.changes = inner->changes;
    mutex_init(&store->lock);
    r = parse_rules(store, rules, err);
    r = r == 0 ? objstore_base_init(&store->base, &faults_ops, "%s", objstore_name(inner)) : r;
    r = r == 0 ? delay_new(due, &store->delay) : r;
    if (r != 0) {
        objstore_free(inner);
        mutex_done(&store->lock);
        objstore_base_done(&store->base);
        free(store);
        return r;
    }
    *ret = &store->base;
    return 0;
}
