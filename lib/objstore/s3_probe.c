/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BUCKET_PROBE: what a bucket can do is found out by doing it, on two keys with a random name under
 * the given prefix. Each step below is one ordinary request of this store: prepare() fills it (or
 * says false: not needed), judge() reads the outcome. A step that fails for another reason than
 * "this is not there" (network, refused credentials) ends the probe with that error, after an
 * attempt to clean up.
 *
 * Many stores accept a condition and ignore it, so each is tried with a wrong and a right value.
 */
#include <errno.h>
#include <stdio.h>

#include "objstore/s3_private.h"
#include "util/clock.h"
#include "util/random.h"

enum { PART_BYTES = 5 << 20, STEP_TIMEOUT_MS = 60000, CLEANUP_MS = 5000 };

static const char wrong_etag[] = "00000000000000000000000000000000";
static const struct objstore_checksum wrong_checksum = {.kind = OBJSTORE_CHECKSUM_CRC32C,
                                                        .value = "AAAAAA=="};

struct probe {
    struct objstore_request *request;
    struct objstore *store;
    struct s3_store *s3;
    uint32_t timeout_ms;  /* of each step: a slow store that gets on is not given up */
    uint64_t deadline_ms; /* of the cleanup after trouble */
    atomic_bool cancelled;
    size_t step;
    int error; /* of the step that ended it */
    struct error text;
    struct objstore_caps caps;

    char key[OBJSTORE_KEY_MAX + 1];
    char other[OBJSTORE_KEY_MAX + 1];
    char etag[OBJSTORE_ETAG_MAX]; /* of key */
    bool key_gone;
    bool refuses_wrong; /* what the first half of a pair of steps found */
    char upload_id[OBJSTORE_UPLOAD_MAX + 1];
    struct objstore_part parts[3];
    bool part_refused, sum_refused; /* with a wrong checksum */
    bool completed, complete_failed, again;
    struct objstore_victim victims[2];
    char *zeros; /* PART_BYTES + 1 */

    struct objstore_request sub;
};

typedef bool prepare_fn(struct probe *probe, struct objstore_request *sub);
typedef void judge_fn(struct probe *probe, const struct objstore_result *result);

static void copy_id(const char *from, char *to, size_t size)
{
    if (from != NULL && strlen(from) < size) {
        memcpy(to, from, strlen(from) + 1);
    } else {
        to[0] = '\0';
    }
}

/* An answer that says nothing of the feature: it ends the probe. */
static bool is_trouble(int status)
{
    return status == -EACCES || status == -EKEYEXPIRED || status == -ETIMEDOUT ||
           status == -ECONNREFUSED || status == -EHOSTUNREACH || status == -ECONNRESET ||
           status == -EPROTO || status == -ECANCELED || status == -ENOMEM || status == -ENOSPC;
}

/* ---- conditional PUT ---- */

static void fill_put(struct probe *probe, struct objstore_request *sub, const char *data)
{
    sub->op = OBJSTORE_PUT;
    sub->key = probe->key;
    sub->source.data = data;
    sub->source.size = 1;
}

static bool put_new(struct probe *probe, struct objstore_request *sub)
{
    fill_put(probe, sub, "1");
    return true;
}

static void judge_put_new(struct probe *probe, const struct objstore_result *result)
{
    if (result->status < 0) {
        probe->error = result->status; /* nothing works if this does not */
        probe->text = result->error;
    }
    copy_id(result->info.etag, probe->etag, sizeof(probe->etag));
    probe->caps.versions =
        result->info.version_id[0] != '\0' && strcmp(result->info.version_id, "null") != 0;
}

static bool put_over(struct probe *probe, struct objstore_request *sub)
{
    fill_put(probe, sub, "2");
    sub->if_none_match = "*";
    return true;
}

static void judge_put_over(struct probe *probe, const struct objstore_result *result)
{
    probe->caps.if_none_match_put = result->status == -EEXIST;
    if (result->status == 0) {
        copy_id(result->info.etag, probe->etag, sizeof(probe->etag));
    }
}

static bool put_wrong(struct probe *probe, struct objstore_request *sub)
{
    fill_put(probe, sub, "3");
    sub->if_match = wrong_etag;
    return true;
}

static void judge_put_wrong(struct probe *probe, const struct objstore_result *result)
{
    probe->refuses_wrong = result->status == -ESTALE;
    if (result->status == 0) {
        copy_id(result->info.etag, probe->etag, sizeof(probe->etag));
    }
}

static bool put_right(struct probe *probe, struct objstore_request *sub)
{
    fill_put(probe, sub, "4");
    sub->if_match = probe->etag;
    return probe->refuses_wrong;
}

static void judge_put_right(struct probe *probe, const struct objstore_result *result)
{
    probe->caps.if_match_put = probe->refuses_wrong && result->status == 0;
    if (result->status == 0) {
        copy_id(result->info.etag, probe->etag, sizeof(probe->etag));
    }
}

/* ---- conditional COPY ---- */

/* Onto itself, with other metadata: else the store refuses for want of a change. */
static void fill_copy(struct probe *probe, struct objstore_request *sub)
{
    static const struct objstore_meta meta = {.content_type = "application/octet-stream"};

    sub->op = OBJSTORE_COPY;
    sub->key = probe->key;
    sub->source_bucket = sub->bucket;
    sub->source_key = probe->key;
    sub->replace_meta = true;
    sub->meta = &meta;
    sub->target_is_checked = true;
}

static bool copy_wrong(struct probe *probe, struct objstore_request *sub)
{
    fill_copy(probe, sub);
    sub->if_match = wrong_etag;
    return true;
}

static void judge_copy_wrong(struct probe *probe, const struct objstore_result *result)
{
    probe->refuses_wrong = result->status == -ESTALE;
    if (result->status == 0) {
        copy_id(result->info.etag, probe->etag, sizeof(probe->etag));
    }
}

static bool copy_over(struct probe *probe, struct objstore_request *sub)
{
    fill_copy(probe, sub);
    sub->if_none_match = "*";
    return probe->refuses_wrong;
}

static void judge_copy_over(struct probe *probe, const struct objstore_result *result)
{
    probe->refuses_wrong = result->status == -EEXIST;
    if (result->status == 0) {
        copy_id(result->info.etag, probe->etag, sizeof(probe->etag));
    }
}

static bool copy_right(struct probe *probe, struct objstore_request *sub)
{
    fill_copy(probe, sub);
    sub->if_match = probe->etag;
    return probe->refuses_wrong;
}

static void judge_copy_right(struct probe *probe, const struct objstore_result *result)
{
    probe->caps.conditional_copy = probe->refuses_wrong && result->status == 0;
    if (result->status == 0) {
        copy_id(result->info.etag, probe->etag, sizeof(probe->etag));
    }
}

/* ---- conditional DELETE ---- */

static bool delete_wrong(struct probe *probe, struct objstore_request *sub)
{
    sub->op = OBJSTORE_DELETE;
    sub->key = probe->key;
    sub->if_match = wrong_etag;
    return true;
}

static void judge_delete_wrong(struct probe *probe, const struct objstore_result *result)
{
    probe->caps.conditional_delete = result->status == -ESTALE;
    probe->key_gone = result->status == 0;
}

static bool put_back(struct probe *probe, struct objstore_request *sub)
{
    fill_put(probe, sub, "5");
    return probe->key_gone;
}

static void judge_nothing(struct probe *probe, const struct objstore_result *result)
{
    (void)probe;
    (void)result;
}

/* ---- multipart ---- */

static bool upload_create(struct probe *probe, struct objstore_request *sub)
{
    sub->op = OBJSTORE_UPLOAD_CREATE;
    sub->key = probe->key;
    probe->upload_id[0] = '\0';
    return true;
}

static void judge_upload_create(struct probe *probe, const struct objstore_result *result)
{
    if (result->status == 0) {
        copy_id(result->upload_id, probe->upload_id, sizeof(probe->upload_id));
    }
}

static bool part_copy(struct probe *probe, struct objstore_request *sub)
{
    sub->op = OBJSTORE_UPLOAD_PART_COPY;
    sub->key = probe->key;
    sub->upload_id = probe->upload_id;
    sub->part_number = 1;
    sub->source_bucket = sub->bucket;
    sub->source_key = probe->key;
    sub->range = (struct objstore_range){.offset = 0, .len = 1};
    return probe->upload_id[0] != '\0';
}

static void judge_part_copy(struct probe *probe, const struct objstore_result *result)
{
    probe->caps.part_copy = result->status == 0 && result->info.etag[0] != '\0';
}

/* Parts of 5 MiB, 5 MiB and a byte, and a byte: some stores want all but the last alike. */
static bool fill_part(struct probe *probe, struct objstore_request *sub, uint32_t number)
{
    static const uint64_t sizes[3] = {PART_BYTES, PART_BYTES + 1, 1};

    sub->op = OBJSTORE_UPLOAD_PART;
    sub->key = probe->key;
    sub->upload_id = probe->upload_id;
    sub->part_number = number;
    sub->source.data = probe->zeros;
    sub->source.size = sizes[number - 1];
    probe->parts[number - 1].number = number;
    return probe->upload_id[0] != '\0' && probe->zeros != NULL;
}

static bool part_1(struct probe *probe, struct objstore_request *sub)
{
    return fill_part(probe, sub, 1);
}

static bool part_2(struct probe *probe, struct objstore_request *sub)
{
    return fill_part(probe, sub, 2);
}

/* The upload was begun without a checksum: a store may refuse parts that have one, AWS does. */
static bool part_3_wrong(struct probe *probe, struct objstore_request *sub)
{
    sub->checksum = wrong_checksum;
    return fill_part(probe, sub, 3);
}

static bool part_3_right(struct probe *probe, struct objstore_request *sub)
{
    sub->checksum.kind = OBJSTORE_CHECKSUM_CRC32C;
    return fill_part(probe, sub, 3) && probe->part_refused;
}

static bool part_3_plain(struct probe *probe, struct objstore_request *sub)
{
    return fill_part(probe, sub, 3) && probe->parts[2].etag[0] == '\0';
}

static void judge_part(struct probe *probe, const struct objstore_result *result)
{
    struct objstore_part *part = &probe->parts[probe->sub.part_number - 1];

    copy_id(result->status == 0 ? result->info.etag : "", part->etag, sizeof(part->etag));
}

static void judge_part_wrong(struct probe *probe, const struct objstore_result *result)
{
    probe->part_refused = result->status == -EBADMSG || result->status == -EINVAL;
    judge_part(probe, result);
}

static void judge_part_right(struct probe *probe, const struct objstore_result *result)
{
    probe->caps.part_checksums = result->status == 0;
    judge_part(probe, result);
}

static bool complete(struct probe *probe, struct objstore_request *sub)
{
    sub->op = OBJSTORE_UPLOAD_COMPLETE;
    sub->key = probe->key;
    sub->upload_id = probe->upload_id;
    sub->parts = probe->parts;
    sub->parts_count = 3;
    return probe->upload_id[0] != '\0' && !probe->completed;
}

/* Or it takes them and then wants them named: so without, as we name none. */
static bool part_3_again(struct probe *probe, struct objstore_request *sub)
{
    bool again = probe->caps.part_checksums && probe->complete_failed && !probe->completed;

    probe->caps.part_checksums = probe->caps.part_checksums && !again;
    probe->again = again;
    return fill_part(probe, sub, 3) && again;
}

static bool complete_if_new(struct probe *probe, struct objstore_request *sub)
{
    sub->if_none_match = "*"; /* but the key is there */
    return complete(probe, sub);
}

static bool complete_if_new_again(struct probe *probe, struct objstore_request *sub)
{
    return complete_if_new(probe, sub) && probe->again;
}

static bool complete_again(struct probe *probe, struct objstore_request *sub)
{
    return complete(probe, sub) && probe->again;
}

static void judge_complete(struct probe *probe, const struct objstore_result *result)
{
    if (probe->sub.if_none_match != NULL) {
        probe->caps.conditional_complete = result->status == -EEXIST;
    }
    probe->completed = result->status == 0;
    probe->complete_failed = result->status < 0 && result->status != -EEXIST;
    probe->caps.unequal_parts = probe->caps.unequal_parts || result->status == 0;
}

static bool upload_abort(struct probe *probe, struct objstore_request *sub)
{
    sub->op = OBJSTORE_UPLOAD_ABORT;
    sub->key = probe->key;
    sub->upload_id = probe->upload_id;
    return probe->upload_id[0] != '\0' && !probe->completed;
}

/* ---- checksums, batch delete ---- */

static bool put_bad_checksum(struct probe *probe, struct objstore_request *sub)
{
    fill_put(probe, sub, "6");
    sub->key = probe->other;
    sub->checksum = wrong_checksum;
    return true;
}

static void judge_bad_checksum(struct probe *probe, const struct objstore_result *result)
{
    probe->sum_refused = result->status == -EBADMSG || result->status == -EINVAL;
}

static bool put_good_checksum(struct probe *probe, struct objstore_request *sub)
{
    fill_put(probe, sub, "7");
    sub->key = probe->other;
    sub->checksum.kind = OBJSTORE_CHECKSUM_CRC32C;
    return probe->sum_refused;
}

static void judge_good_checksum(struct probe *probe, const struct objstore_result *result)
{
    probe->caps.checksums = result->status == 0;
}

static bool batch(struct probe *probe, struct objstore_request *sub)
{
    probe->victims[0] = (struct objstore_victim){.key = probe->key};
    probe->victims[1] = (struct objstore_victim){.key = probe->other};
    sub->op = OBJSTORE_DELETE_BATCH;
    sub->victims = probe->victims;
    sub->victims_count = 2;
    return true;
}

/* The first of the two is not what is meant, the second need not be there. */
static bool batch_wrong(struct probe *probe, struct objstore_request *sub)
{
    (void)batch(probe, sub);
    probe->victims[0].match.etag = wrong_etag;
    sub->match_is_checked = true;
    return probe->caps.conditional_delete;
}

static void judge_batch_wrong(struct probe *probe, const struct objstore_result *result)
{
    probe->caps.conditional_batch = result->status == 0 && result->s3_code == (int)S3_OK &&
                                    probe->victims[0].error == -ESTALE &&
                                    probe->victims[1].error == 0;
}

static void judge_batch(struct probe *probe, const struct objstore_result *result)
{
    probe->caps.batch_delete = result->status == 0 && result->s3_code == (int)S3_OK &&
                               probe->victims[0].error == 0 && probe->victims[1].error == 0;
}

static bool delete_key(struct probe *probe, struct objstore_request *sub)
{
    sub->op = OBJSTORE_DELETE;
    sub->key = probe->key;
    return !probe->caps.batch_delete;
}

static bool delete_other(struct probe *probe, struct objstore_request *sub)
{
    sub->op = OBJSTORE_DELETE;
    sub->key = probe->other;
    return !probe->caps.batch_delete;
}

static const struct {
    prepare_fn *prepare;
    judge_fn *judge;
} steps[] = {
    {put_new, judge_put_new},
    {put_over, judge_put_over},
    {put_wrong, judge_put_wrong},
    {put_right, judge_put_right},
    {copy_wrong, judge_copy_wrong},
    {copy_over, judge_copy_over},
    {copy_right, judge_copy_right},
    {delete_wrong, judge_delete_wrong},
    {put_back, judge_nothing},
    {upload_create, judge_upload_create},
    {part_copy, judge_part_copy},
    {part_1, judge_part},
    {part_2, judge_part},
    {part_3_wrong, judge_part_wrong},
    {part_3_right, judge_part_right},
    {part_3_plain, judge_part},
    {complete_if_new, judge_complete},
    {complete, judge_complete},
    {part_3_again, judge_part},
    {complete_if_new_again, judge_complete},
    {complete_again, judge_complete},
    {upload_abort, judge_nothing},
    {put_bad_checksum, judge_bad_checksum},
    {put_good_checksum, judge_good_checksum},
    {batch_wrong, judge_batch_wrong},
    {batch, judge_batch}, /* the cleanup begins here */
    {delete_key, judge_nothing},
    {delete_other, judge_nothing},
};
enum { STEPS = sizeof(steps) / sizeof(steps[0]), FIRST_CLEANUP = STEPS - 3 };

static void next_step(struct probe *probe);

static void probe_end(struct probe *probe)
{
    struct objstore_request *request = probe->request;
    struct objstore_result result = {.status = probe->error, .error = probe->text};

    if (probe->error == 0) {
        probe->caps.part_min = 5ULL << 20;
        probe->caps.part_max = 5ULL << 30;
        /* AWS: 10,000 parts of 5 GiB. */
        probe->caps.object_max = probe->s3->aws ? 10000 * (5ULL << 30) : 5ULL << 40;
        probe->caps.copy_max = 5ULL << 30;
        s3_store_learn_caps(probe->s3, request->bucket, &probe->caps);
        result.caps = &probe->caps;
    }
    request->done(request, &result);
    free(probe->zeros);
    free(probe);
}

static void on_step_done(struct objstore_request *sub, const struct objstore_result *result)
{
    struct probe *probe = sub->arg;

    steps[probe->step].judge(probe, result);
    if (probe->error == 0 && (is_trouble(result->status) || atomic_load(&probe->cancelled))) {
        probe->error = atomic_load(&probe->cancelled) ? -ECANCELED : result->status;
        probe->text = result->error;
    }
    probe->step++;
    if (probe->error < 0 && probe->step < FIRST_CLEANUP) {
        probe->step = FIRST_CLEANUP;
        probe->deadline_ms = clock_monotonic_ms(clock_real()) + CLEANUP_MS;
    }
    if (probe->error == -ECANCELED) {
        probe->step = STEPS; /* the store may be closing: no further request */
    }
    next_step(probe);
}

static void next_step(struct probe *probe)
{
    uint64_t now = clock_monotonic_ms(clock_real());

    for (; probe->step < STEPS; probe->step++) {
        uint64_t left = probe->error == 0          ? probe->timeout_ms
                        : probe->deadline_ms > now ? probe->deadline_ms - now
                                                   : 0;

        left = left < probe->timeout_ms ? left : probe->timeout_ms;
        probe->sub = (struct objstore_request){.bucket = probe->request->bucket,
                                               .timeout_ms = (uint32_t)left,
                                               .done = on_step_done,
                                               .arg = probe};
        if (left == 0) {
            break;
        }
        if (steps[probe->step].prepare(probe, &probe->sub)) {
            objstore_submit(probe->store, &probe->sub);
            return;
        }
    }
    probe_end(probe);
}

void s3_probe_start(struct s3_store *store, struct objstore_request *request)
{
    struct probe *probe = calloc(1, sizeof(*probe));
    uint32_t timeout_ms = request->timeout_ms != 0 ? request->timeout_ms : store->timeout_ms;
    const char *prefix = request->key != NULL ? request->key : "";
    char id[RANDOM_ID_SIZE];

    if (probe == NULL || strlen(prefix) + RANDOM_ID_SIZE + 16 > OBJSTORE_KEY_MAX) {
        objstore_fail(request, probe == NULL ? -ENOMEM : -EINVAL, "the prefix is too long");
        free(probe);
        return;
    }
    random_id(id);
    atomic_init(&probe->cancelled, false);
    probe->request = request;
    probe->s3 = store;
    probe->store = &store->base;
    probe->timeout_ms = timeout_ms < STEP_TIMEOUT_MS ? timeout_ms : STEP_TIMEOUT_MS;
    probe->zeros = calloc(1, PART_BYTES + 1);
    (void)snprintf(probe->key, sizeof(probe->key), "%sprobe-%s", prefix, id);
    (void)snprintf(probe->other, sizeof(probe->other), "%sprobe-%s-sum", prefix, id);
    request->store_private[0] = probe;
    next_step(probe);
}

/* The step under way ends by itself, and no other is begun. */
void s3_probe_cancel(struct objstore_request *request)
{
    struct probe *probe = request->store_private[0];

    if (probe != NULL) {
        atomic_store(&probe->cancelled, true);
    }
}
