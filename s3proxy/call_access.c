/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the bucket's policy lets the caller do what it asks for. A key that is bound to the
 * bucket may do all but what is denied; everybody else, also who signs nothing, only what is
 * allowed. What this worker does not remember is asked of the store before the operation starts and
 * before the body is read: the call is held until then.
 *
 * What only the body tells (which keys to delete, which tags to set) is looked at once more when it
 * is there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "s3/tags.h"
#include "s3proxy/call.h"
#include "s3proxy/policies.h"
#include "util/clock.h"

enum { ASK_MS = 10 * 1000, TEXT_MAX = 4096, BATCH_MS = 1000 };

enum question { THE_POLICY, THE_BLOCK, THE_TAGS };

/* The bucket that is asked for and the one that is copied from, where that is another. */
enum { TARGET, SOURCE, BUCKETS };

struct call_access {
    struct call *call;
    struct objstore_request op; /* the question under way */
    enum question question;
    int status; /* and the answer: the event loop's again when `asking` is over */
    char *text;

    const char *buckets[BUCKETS];
    struct bucket_rules *rules[BUCKETS];
    bool gone[BUCKETS]; /* there is no such bucket */
    size_t count, at;
    bool counted; /* the store tells of changes */
    uint64_t changes, began_ms;
    char *policy;                     /* of `at`, while the rest is asked for, */
    char owner[BUCKET_OWNER_MAX + 1]; /* and whose it is */

    bool over; /* all that was to be asked is known */
    bool failed;
    bool tags_known;
    struct s3_tags existing, requested;
    const char *requested_of; /* what `requested` was read from */
    const char *listed[3];    /* prefix, delimiter, max-keys */
    const char *copied;       /* "bucket/key" */
};

void call_access_done(struct call *call)
{
    struct call_access *a = call->access;

    for (size_t i = 0; a != NULL && i < BUCKETS; i++) {
        bucket_rules_unref(a->rules[i]);
    }
    if (a != NULL) {
        free(a->text);
        free(a->policy);
    }
}

/* By its name alone; that it is of another account only the store tells. */
static bool is_foreign(const struct call *call, const char *bucket)
{
    return call->anonymous || !call_sees(call, bucket);
}

static bool is_stranger(const struct call_access *a, size_t which)
{
    const char *account = a->call->account;

    if (is_foreign(a->call, a->buckets[which])) {
        return true;
    }
    if (account == NULL || a->rules[which] == NULL) {
        return false;
    }
    return strcmp(strcmp(account, CALL_OWNER) == 0 ? "" : account, a->rules[which]->owner) != 0;
}

void call_access_who(struct call *call)
{
    call->stranger =
        call->target.bucket[0] == '\0' ? call->anonymous : is_foreign(call, call->target.bucket);
    call->internal = call->internal && !call->stranger;
}

static int refuse(const struct call *call, bool stranger, struct s3_fault *fault)
{
    return s3_fault_set(fault, S3_ACCESS_DENIED,
                        !stranger         ? "the bucket's policy denies it"
                        : call->anonymous ? "anonymous requests are not allowed"
                                          : "this access key is for other buckets");
}

/* ---- what a request says ---- */

static struct slice tag_of(const struct s3_tags *tags, const char *name)
{
    for (size_t i = 0; i < tags->count; i++) {
        if (strcmp(tags->tags[i].name, name) == 0) {
            return slice_of(tags->tags[i].value);
        }
    }
    return (struct slice){0};
}

static struct slice requested_tag(struct call_access *a, const char *name)
{
    const char *text = a->call->op.tags;

    if (text == NULL) {
        return (struct slice){0};
    }
    if (text != a->requested_of &&
        s3_tags_from_query(slice_of(text), &a->call->arena, &a->requested, NULL) != 0) {
        a->failed = true;
        return (struct slice){0};
    }
    a->requested_of = text;
    return tag_of(&a->requested, name);
}

static struct slice header_said(struct call_access *a, enum s3_policy_key key)
{
    struct slice said = s3_message_header(&a->call->message, s3_policy_header(key));

    if (key == S3_KEY_CONTENT_SHA256) {
        return slice_of(a->call->auth->payload_hash);
    }
    if (key == S3_KEY_METADATA_DIRECTIVE && said.data != NULL) { /* which is taken in any case */
        return slice_of(said.len == 4 ? "COPY" : "REPLACE");
    }
    return said;
}

static struct slice signer_said(const struct call *call, enum s3_policy_key key)
{
    if (call->anonymous) {
        return (struct slice){0};
    }
    switch (key) {
    case S3_KEY_USERNAME:
        return slice_of(call->principal + sizeof(S3_POLICY_ARN) - 1);
    case S3_KEY_PRINCIPAL_ARN:
        return slice_of(call->principal);
    case S3_KEY_AUTH_TYPE:
        return slice_of(call->form != NULL                   ? "POST"
                        : call->auth->kind == S3_AUTH_HEADER ? "REST-HEADER"
                                                             : "REST-QUERY-STRING");
    default:
        return slice_of((call->form != NULL && call->form_v2) ||
                                call->auth->kind == S3_AUTH_QUERY_V2
                            ? "AWS"
                            : "AWS4-HMAC-SHA256");
    }
}

static struct slice say(void *arg, enum s3_policy_key key, const char *tag)
{
    struct call_access *a = arg;
    const struct call *call = a->call;

    switch (key) {
    case S3_KEY_SOURCE_IP:
        return slice_of(call->peer[0] != '\0' ? call->peer : NULL);
    case S3_KEY_SECURE_TRANSPORT:
        return slice_of(call->tls ? "true" : "false");
    case S3_KEY_REFERER:
        return s3_message_header(&call->message, "referer");
    case S3_KEY_USER_AGENT:
        return s3_message_header(&call->message, "user-agent");
    case S3_KEY_PREFIX:
    case S3_KEY_DELIMITER:
    case S3_KEY_MAX_KEYS:
        return slice_of(a->listed[key - S3_KEY_PREFIX]);
    case S3_KEY_VERSION_ID:
        return slice_of(call->op.source_key != NULL ? call->op.source_version_id
                                                    : call->op.version_id);
    case S3_KEY_COPY_SOURCE:
        return slice_of(a->copied);
    case S3_KEY_EXISTING_TAG:
        return tag_of(&a->existing, tag);
    case S3_KEY_REQUEST_TAG:
        return requested_tag(a, tag);
    default:
        return key >= S3_KEY_HEADER ? header_said(a, key) : signer_said(call, key);
    }
}

/* ---- decisions ---- */

static bool about_policy(enum s3_action action)
{
    return action == S3_ACTION_GET_BUCKET_POLICY || action == S3_ACTION_PUT_BUCKET_POLICY ||
           action == S3_ACTION_DELETE_BUCKET_POLICY;
}

/* Skyvol's own objects, also those of a volume at some prefix. */
static bool is_ours(const char *key)
{
    return strncmp(key, ".skyvol/", 8) == 0 || strstr(key, "/.skyvol/") != NULL;
}

static bool permitted(struct call_access *a, size_t which, enum s3_action action, const char *key)
{
    const struct call *call = a->call;
    const struct bucket_rules *rules = a->rules[which];
    bool stranger = is_stranger(a, which);
    const struct s3_policy_request request = {
        .action = action,
        .bucket = a->buckets[which],
        .key = key,
        .principal = call->anonymous ? NULL : call->principal + sizeof(S3_POLICY_ARN) - 1,
        .values = {say, a},
    };
    enum s3_policy_decision decision;

    if (!stranger && about_policy(action)) {
        return true; /* nobody locks himself out */
    }
    if (rules->broken || action == S3_ACTION_COUNT) {
        return false;
    }
    if (rules->policy == NULL) {
        return !stranger;
    }
    decision = s3_policy_decide(rules->policy, &request);
    if (!stranger) {
        return decision != S3_POLICY_DENY;
    }
    return decision == S3_POLICY_ALLOW && (key == NULL || !is_ours(key)) &&
           !(rules->block.restrict_buckets && s3_policy_public(rules->policy));
}

static bool is_copy(const struct call *call)
{
    return call->op.op == OBJSTORE_COPY || call->op.op == OBJSTORE_UPLOAD_PART_COPY;
}

/* Where the source is among the buckets. */
static size_t source_at(const struct call_access *a)
{
    return a->count - 1;
}

/* Tags go along with a copy unless others are given. */
static bool may_carry_tags(struct call_access *a)
{
    const struct objstore_request *op = &a->call->op;

    return permitted(a, source_at(a),
                     op->source_version_id != NULL ? S3_ACTION_GET_VERSION_TAGGING
                                                   : S3_ACTION_GET_OBJECT_TAGGING,
                     op->source_key) &&
           permitted(a, TARGET, S3_ACTION_PUT_OBJECT_TAGGING, op->key);
}

/* Whether the tags that an object has decide something: of what is read, of what is copied. */
static bool wants_tags(struct call_access *a)
{
    const struct call *call = a->call;
    const struct objstore_request *op = &call->op;
    size_t which = is_copy(call) ? source_at(a) : TARGET;
    const struct s3_policy *policy = a->rules[which] != NULL ? a->rules[which]->policy : NULL;

    if (a->tags_known || call->form != NULL || a->gone[TARGET] || a->gone[which]) {
        return false;
    }
    switch (op->op) {
    case OBJSTORE_GET:
    case OBJSTORE_HEAD:
    case OBJSTORE_TAGS_GET:
    case OBJSTORE_TAGS_PUT:
    case OBJSTORE_TAGS_DELETE:
    case OBJSTORE_UPLOAD_PART_COPY:
        return policy != NULL && s3_policy_existing_tags(policy);
    case OBJSTORE_COPY:
        return (policy != NULL && s3_policy_existing_tags(policy)) ||
               (!op->replace_tags && !may_carry_tags(a));
    default:
        return false;
    }
}

/* What goes with a write: its tags and its access control list are written, too. */
static bool may_add(struct call_access *a)
{
    static const char *const lists[] = {"x-amz-acl",         "x-amz-grant-full-control",
                                        "x-amz-grant-read",  "x-amz-grant-read-acp",
                                        "x-amz-grant-write", "x-amz-grant-write-acp"};
    const struct call *call = a->call;
    bool listed = false;

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        listed = listed || s3_message_header(&call->message, lists[i]).data != NULL;
    }
    return (call->op.tags == NULL || call->op.tags[0] == '\0' ||
            permitted(a, TARGET, S3_ACTION_PUT_OBJECT_TAGGING, call->op.key)) &&
           (!listed || permitted(a, TARGET, S3_ACTION_PUT_OBJECT_ACL, call->op.key));
}

static bool may_copy(struct call_access *a)
{
    const struct objstore_request *op = &a->call->op;
    enum s3_action action =
        op->source_version_id != NULL ? S3_ACTION_GET_VERSION : S3_ACTION_GET_OBJECT;

    if (!permitted(a, source_at(a), action, op->source_key)) {
        return false;
    }
    return op->op != OBJSTORE_COPY || op->replace_tags || !a->tags_known ||
           a->existing.count == 0 || may_carry_tags(a);
}

/* Whether an ETag, size or date fits tells what the object is: that is for who may read it. */
static const char *told_by(const struct objstore_match *match, const char *etag)
{
    return match != NULL && (match->by_size || match->by_mtime) ? "" : etag;
}

static bool may_match(struct call_access *a, const char *etag, const char *key)
{
    const struct objstore_request *op = &a->call->op;

    return etag == NULL || strcmp(etag, "*") == 0 || objstore_op_reads(op->op) ||
           permitted(a, TARGET,
                     op->version_id != NULL ? S3_ACTION_GET_VERSION : S3_ACTION_GET_OBJECT, key);
}

/* Whether a key that is not there is told so: who may list names that begin with it knows that. */
static bool may_miss(struct call_access *a, size_t which, const char *key)
{
    const char *prefix = a->listed[0];
    bool good;

    a->listed[0] = key != NULL ? key : prefix;
    good = permitted(a, which, S3_ACTION_LIST_BUCKET, NULL);
    a->listed[0] = prefix;
    return good;
}

/* All that the operation is, but what the body adds. */
static bool may(struct call_access *a, enum s3_action action)
{
    const struct call *call = a->call;
    const char *key = call->target.key[0] != '\0' ? call->target.key : NULL;

    if (!permitted(a, TARGET, action, key)) {
        return false;
    }
    if (call->attributes != 0 &&
        !permitted(a, TARGET,
                   call->op.version_id != NULL ? S3_ACTION_GET_VERSION_ATTRIBUTES
                                               : S3_ACTION_GET_OBJECT_ATTRIBUTES,
                   key)) {
        return false;
    }
    if (action == S3_ACTION_PUT_OBJECT && !may_add(a)) {
        return false;
    }
    return may_match(a, told_by(call->op.match, call->op.if_match), key) &&
           (!is_copy(call) || may_copy(a));
}

/* Nobody but the caller is concerned, as most often. */
static bool nothing_to_decide(const struct call_access *a)
{
    for (size_t i = 0; i < a->count; i++) {
        const struct bucket_rules *rules = a->rules[i];

        if (is_stranger(a, i) || (rules != NULL && (rules->policy != NULL || rules->broken))) {
            return false;
        }
    }
    return true;
}

/* Whether there is a bucket is for those who know it; to them the operation says it. */
static int decide_gone(const struct call_access *a, struct s3_fault *fault)
{
    bool stranger = is_stranger(a, TARGET) || is_stranger(a, source_at(a));

    return stranger ? refuse(a->call, true, fault) : 0;
}

/* What only the body tells is decided when it is there. */
static bool waits_for_body(const struct call *call)
{
    return call->op.op == OBJSTORE_DELETE_BATCH || call->op.op == OBJSTORE_TAGS_PUT;
}

/* The store asks for the owner that the rules were found with, where nobody has named another. */
static void let_in(struct call_access *a)
{
    struct call *call = a->call;
    struct objstore_request *op = &call->op;

    if (is_stranger(a, TARGET) && a->rules[TARGET] != NULL &&
        s3_message_header(&call->message, "x-amz-expected-bucket-owner").data == NULL) {
        op->account = a->rules[TARGET]->owner;
    }
    if (op->source_bucket != NULL && is_stranger(a, source_at(a)) &&
        a->rules[source_at(a)] != NULL &&
        s3_message_header(&call->message, "x-amz-source-expected-bucket-owner").data == NULL) {
        op->source_account = a->rules[source_at(a)]->owner;
    }
}

static int decide(struct call_access *a, bool body, struct s3_fault *fault)
{
    struct call *call = a->call;
    bool stranger = is_stranger(a, TARGET);
    enum s3_action action;
    bool good;

    call->stranger = stranger;
    call->internal = call->internal && !stranger;
    if (nothing_to_decide(a)) {
        return 0;
    }
    if (a->gone[TARGET] || a->gone[source_at(a)]) {
        return decide_gone(a, fault);
    }
    let_in(a); /* or to be refused below */
    call->conceals = !may_miss(a, TARGET, call->op.key) ||
                     !may_miss(a, source_at(a), is_copy(call) ? call->op.source_key : call->op.key);
    if (!body && waits_for_body(call)) {
        return stranger && a->rules[TARGET]->policy == NULL ? refuse(call, true, fault) : 0;
    }
    action = call_action(call);
    good = may(a, action);
    if (a->failed) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    if (good && stranger && about_policy(action)) {
        return s3_fault_set(fault, S3_METHOD_NOT_ALLOWED,
                            "the policy of a bucket is for its own keys");
    }
    return good ? 0 : refuse(call, stranger || is_stranger(a, source_at(a)), fault);
}

/* ---- questions ---- */

static void answered(struct objstore_request *op, const struct objstore_result *result)
{
    struct call_access *a = op->arg;
    struct call *call = a->call;
    const struct call_server *server = call->server;
    bool begun;
    const char *text = a->question == THE_TAGS ? result->tags : result->document;

    a->status = result->status;
    if (a->question == THE_POLICY) {
        (void)snprintf(a->owner, sizeof(a->owner), "%s",
                       result->owner != NULL ? result->owner : "");
    }
    if (result->status == 0 && text != NULL) {
        a->text = strdup(text);
        a->status = a->text != NULL ? 0 : -ENOMEM;
    }
    mutex_lock(&call->lock);
    call->asking = false;
    call->answered = true;
    begun = call->wake(call);
    mutex_unlock(&call->lock);
    call_wake_end(server, begun);
}

static int ask(struct call_access *a, enum question question)
{
    struct call *call = a->call;
    const struct objstore_request *op = &call->op;
    bool copy = is_copy(call);

    a->question = question;
    a->op = (struct objstore_request){
        .op = OBJSTORE_BUCKET_DOC_GET,
        .doc = question == THE_POLICY ? OBJSTORE_DOC_POLICY : OBJSTORE_DOC_PUBLIC_ACCESS_BLOCK,
        .bucket = a->buckets[a->at < a->count ? a->at : TARGET],
        .timeout_ms = ASK_MS,
        .done = answered,
        .arg = a,
    };
    if (question == THE_TAGS) {
        a->op.op = OBJSTORE_TAGS_GET;
        a->op.bucket = copy ? op->source_bucket : op->bucket;
        a->op.key = copy ? op->source_key : op->key;
        a->op.version_id = copy ? op->source_version_id : op->version_id;
    }
    mutex_lock(&call->lock);
    call->asking = true;
    call->answered = false;
    mutex_unlock(&call->lock);
    objstore_submit(call->server->stores.store, &a->op);
    return 1;
}

/* Both documents are there. */
static int make_rules(struct call_access *a)
{
    const char *bucket = a->buckets[a->at];
    int ret = bucket_rules_new(bucket, a->policy, a->text, &a->rules[a->at]);

    if (ret == 0) {
        (void)snprintf(a->rules[a->at]->owner, sizeof(a->rules[a->at]->owner), "%s", a->owner);
    }
    if (ret == 0 && a->counted) {
        policies_keep(a->call->server->policies, a->rules[a->at], a->changes, a->began_ms);
    }
    a->at++;
    return ret;
}

static int take_tags(struct call_access *a)
{
    a->tags_known = true;
    return a->text == NULL
               ? 0
               : s3_tags_from_query(slice_of(a->text), &a->call->arena, &a->existing, NULL);
}

/* 0: go on; 1: more is asked; negative: it cannot be known, and so not be allowed. */
static int take_answer(struct call_access *a)
{
    int ret = a->status;

    if ((ret == -ENOENT || ret == -EINVAL) && a->question != THE_TAGS) { /* or no name of one */
        a->gone[a->at++] = true;
        ret = 0;
    } else if (ret == 0 || ret == -ENODATA || ret == -ENOENT) {
        if (a->question == THE_POLICY) {
            a->policy = a->text;
            a->text = NULL;
            return ask(a, THE_BLOCK);
        }
        ret = a->question == THE_BLOCK ? make_rules(a) : take_tags(a);
    }
    free(a->text);
    free(a->policy);
    a->text = a->policy = NULL;
    return ret;
}

/* As take_answer(). */
static int look_up(struct call_access *a)
{
    const struct call_server *server = a->call->server;

    for (; a->at < a->count; a->at++) {
        a->began_ms = clock_monotonic_ms(clock_real());
        a->counted = objstore_changes(server->stores.store, &a->changes);
        if (a->counted) {
            a->rules[a->at] =
                policies_find(server->policies, a->buckets[a->at], a->changes, a->began_ms);
        }
        if (a->rules[a->at] == NULL) {
            return ask(a, THE_POLICY);
        }
    }
    return wants_tags(a) ? ask(a, THE_TAGS) : 0;
}

static int go_on(struct call_access *a, struct s3_fault *fault)
{
    int ret = look_up(a);

    if (ret > 0) {
        return ret;
    }
    a->over = true;
    return a->call->form == NULL ? decide(a, false, fault) : 0; /* its fields say whose it is */
}

int call_access_go_on(struct call *call, struct s3_fault *fault)
{
    struct call_access *a = call->access;
    int ret;

    mutex_lock(&call->lock);
    call->answered = false;
    mutex_unlock(&call->lock);
    ret = take_answer(a);
    if (ret < 0) {
        return s3_fault_set(fault, s3_code_from_errno(ret, false), "%s", "");
    }
    return ret > 0 ? ret : go_on(a, fault);
}

void call_access_cancel(struct call *call)
{
    objstore_cancel(call->server->stores.store, &call->access->op);
}

bool call_access_waits(const struct call *call)
{
    return call->access != NULL && !call->access->over;
}

/* ---- the begin and the body ---- */

/* In front of other stores, and of volumes, there are no policies that are looked at here. */
static bool has_policies(const struct call *call)
{
    const struct stores *stores = &call->server->stores;

    return call->op.bucket != NULL && call->op.op != OBJSTORE_BUCKET_CREATE &&
           stores->store != NULL && stores->embedded &&
           stores_volume(stores, call->op.bucket) == NULL;
}

int call_access_check(const struct call *call, struct s3_fault *fault)
{
    const char *source = call->op.source_bucket;

    if (call->preflight || call->form != NULL || has_policies(call)) {
        return 0;
    }
    return call->stranger || (source != NULL && is_foreign(call, source))
               ? refuse(call, true, fault)
               : 0;
}

static int access_new(struct call *call, struct s3_fault *fault)
{
    const struct objstore_request *op = &call->op;
    struct call_access *a = arena_alloc(&call->arena, sizeof(*a));
    struct buf text = BUF_INIT(TEXT_MAX);

    if (a == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    call->access = a;
    a->call = call;
    a->buckets[a->count++] = op->bucket;
    if (op->source_bucket != NULL) {
        buf_addf(&text, "%s/%s", op->source_bucket, op->source_key);
        a->copied = buf_error(&text) == 0 ? arena_strdup(&call->arena, buf_str(&text)) : NULL;
        a->failed = a->copied == NULL;
        buf_done(&text);
        if (strcmp(op->source_bucket, op->bucket) != 0) {
            a->buckets[a->count++] = op->source_bucket;
        }
    }
    if (op->op == OBJSTORE_LIST || op->op == OBJSTORE_LIST_VERSIONS ||
        op->op == OBJSTORE_UPLOAD_LIST) {
        a->listed[0] = call_query(call, "prefix");
        a->listed[1] = call_query(call, "delimiter");
        a->listed[2] = call_query(call, "max-keys");
    }
    return 0;
}

int call_access_begin(struct call *call, struct s3_fault *fault)
{
    int ret;

    if (call->preflight || !has_policies(call)) {
        return 0;
    }
    ret = access_new(call, fault);
    ret = ret == 0 ? go_on(call->access, fault) : ret;
    call->held = ret > 0;
    return ret > 0 ? 0 : ret;
}

/* Its keys one by one: those that may not go are told so, beside those that do. A policy can be
 * made of patterns that take 20 ms a key: nobody else of this worker waits longer than BATCH_MS for
 * it. */
static int decide_batch(struct call_access *a, struct s3_fault *fault)
{
    struct call *call = a->call;
    struct objstore_victim *victims = call->op.victims;
    size_t count = call->op.victims_count, kept = 0;
    uint64_t end_ms = clock_monotonic_ms(clock_real()) + BATCH_MS;

    for (size_t i = 0; i < count; i++) {
        struct objstore_victim v = victims[i];
        bool good;

        if (clock_monotonic_ms(clock_real()) > end_ms) {
            return s3_fault_set(fault, S3_SLOW_DOWN,
                                "the bucket's policy takes too long for so many keys at once");
        }
        call->op.version_id = v.version_id;
        good = permitted(a, TARGET,
                         v.version_id != NULL ? S3_ACTION_DELETE_VERSION : S3_ACTION_DELETE_OBJECT,
                         v.key);
        good = good && may_match(a, told_by(&v.match, v.match.etag), v.key);
        if (good) {
            victims[i] = victims[kept];
            victims[kept++] = v;
        } else {
            victims[i].error = -EACCES;
        }
    }
    call->op.version_id = NULL;
    call->op.victims_count = kept;
    call->refused = count - kept;
    if (kept == 0) {
        call->op.op = OBJSTORE_BUCKET_HEAD; /* nothing is left to do but to answer */
    }
    return a->failed ? s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory") : 0;
}

int call_access_body(struct call *call, struct s3_fault *fault)
{
    struct call_access *a = call->access;

    if (a == NULL || !waits_for_body(call) || nothing_to_decide(a) || a->gone[TARGET]) {
        return 0;
    }
    return call->op.op == OBJSTORE_DELETE_BATCH ? decide_batch(a, fault) : decide(a, true, fault);
}

int call_access_form(struct call *call, struct s3_fault *fault)
{
    if (call->access != NULL) {
        return decide(call->access, true, fault);
    }
    return call->stranger ? refuse(call, true, fault) : 0;
}

const struct s3_public_access *call_public_access(const struct call *call)
{
    const struct call_access *a = call->access;

    return a != NULL && a->rules[TARGET] != NULL ? &a->rules[TARGET]->block : NULL;
}
