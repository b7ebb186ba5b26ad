/* SPDX-License-Identifier: Apache-2.0 */
#include "objstore/scrub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "objstore/objstore_call.h"
#include "s3/checksum.h"
#include "util/clock.h"

enum { PIECE = 4 << 20, PAGE = 500, MS_PER_S = 1000, NS_PER_MS = 1000000, WHY_MAX = 256 };

struct run {
    const struct scrub *scrub;
    struct objstore *store;
    const char *bucket;
    struct scrub_totals totals;
    uint64_t started_ms;
};

/* One object, as its HEAD told it, while its bytes are read. */
struct look {
    struct run *run;
    const char *key;
    const char *version; /* NULL: the bucket has none, or the store does not say */
    const struct objstore_info *info;
    enum s3_checksum_kind kind;
    struct s3_checksum sum;       /* of the whole, or of the part under way */
    struct s3_checksum composite; /* of the parts' sums */
    struct objstore_part *parts;  /* of a composite one */
    size_t part_count, part;
    uint64_t part_left; /* bytes of the part under way */
};

static void look_done(struct look *look)
{
    s3_checksum_done(&look->sum);
    s3_checksum_done(&look->composite);
    free(look->parts);
}

/* So slow that the rate is kept on the whole. */
static int pace(const struct run *run)
{
    const struct scrub *scrub = run->scrub;

    if (scrub->progress != NULL && !scrub->progress(scrub->arg, run->bucket, &run->totals)) {
        return -ECANCELED;
    }
    if (scrub->bytes_per_s != 0) {
        uint64_t spent = clock_monotonic_ms(clock_real()) - run->started_ms;
        double due = (double)run->totals.bytes * MS_PER_S / (double)scrub->bytes_per_s;

        if (due > (double)spent) {
            uint64_t wait_ms = (uint64_t)(due - (double)spent);
            const struct timespec pause = {.tv_sec = (time_t)(wait_ms / MS_PER_S),
                                           .tv_nsec = (long)(wait_ms % MS_PER_S) * NS_PER_MS};

            (void)nanosleep(&pause, NULL);
        }
    }
    return 0;
}

static void tell(struct look *look, const char *why)
{
    char longer[WHY_MAX + OBJSTORE_VERSION_MAX + 16];

    if (look->version != NULL) {
        (void)snprintf(longer, sizeof(longer), "version %s: %s", look->version, why);
        why = longer;
    }
    look->run->totals.damaged++;
    look->run->scrub->damaged(look->run->scrub->arg, look->run->bucket, look->key, why);
}

/* Pages of parts, appended. */
static int fetch_parts(struct look *look)
{
    char marker[16] = "0";
    bool more = true;

    while (more) {
        CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
        struct objstore_request head = {.op = OBJSTORE_HEAD,
                                        .bucket = look->run->bucket,
                                        .key = look->key,
                                        .version_id = look->version,
                                        .list_parts = true,
                                        .marker = marker};
        const struct objstore_result *result = &answer.result;
        struct objstore_part *parts;
        int ret = objstore_call(look->run->store, &head, &answer);

        if (ret != 0 || strcmp(result->info.etag, look->info->etag) != 0) {
            return ret != 0 ? ret : -ESTALE;
        }
        parts = realloc(look->parts, (look->part_count + result->count + 1) * sizeof(*parts));
        if (parts == NULL) {
            return -ENOMEM;
        }
        look->parts = parts;
        if (result->count > 0) {
            memcpy(parts + look->part_count, result->parts, result->count * sizeof(*parts));
            look->part_count += result->count;
            (void)snprintf(marker, sizeof(marker), "%u", parts[look->part_count - 1].number);
        }
        more = result->truncated && result->count > 0;
    }
    return 0;
}

static bool is_md5(const char *etag)
{
    return strlen(etag) == 32 && strspn(etag, "0123456789abcdef") == 32;
}

static int look_start(struct look *look)
{
    const struct objstore_checksum *checksum = &look->info->checksum;
    int ret = 0;

    look->kind =
        checksum->value[0] != '\0' ? (enum s3_checksum_kind)checksum->kind : S3_CHECKSUM_NONE;
    if (look->kind != S3_CHECKSUM_NONE && checksum->composite) {
        ret = fetch_parts(look);
        look->kind = look->part_count > 0 ? look->kind : S3_CHECKSUM_NONE;
        look->part_left = look->part_count > 0 ? look->parts[0].size : 0;
        ret = ret == 0 ? s3_checksum_init(&look->composite, look->kind) : ret;
    } else if (look->kind == S3_CHECKSUM_NONE && look->info->parts == 0 &&
               is_md5(look->info->etag)) {
        look->kind = S3_CHECKSUM_MD5;
    }
    return ret == 0 ? s3_checksum_init(&look->sum, look->kind) : ret;
}

static int add_composite(struct look *look, const char *bytes, size_t len)
{
    while (len > 0 && look->part < look->part_count) {
        size_t now = len < look->part_left ? len : (size_t)look->part_left;

        s3_checksum_add(&look->sum, bytes, now);
        bytes += now;
        len -= now;
        look->part_left -= now;
        if (look->part_left == 0) {
            unsigned char raw[S3_CHECKSUM_MAX];

            s3_checksum_raw(&look->sum, raw);
            s3_checksum_add(&look->composite, raw, s3_checksum_size(look->kind));
            s3_checksum_done(&look->sum);
            look->sum = (struct s3_checksum){0};
            look->part++;
            look->part_left = look->part < look->part_count ? look->parts[look->part].size : 0;
            if (s3_checksum_init(&look->sum, look->kind) != 0) {
                return -ENOMEM;
            }
        }
    }
    return 0;
}

static int read_piece(struct look *look, uint64_t offset, size_t len)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request get = {.op = OBJSTORE_GET,
                                   .bucket = look->run->bucket,
                                   .key = look->key,
                                   .version_id = look->version,
                                   .if_match = look->info->etag,
                                   .range = {offset, len}};
    int ret = objstore_call(look->run->store, &get, &answer);

    look->run->totals.bytes += buf_len(&answer.body);
    if (ret != 0) {
        return ret;
    }
    if (buf_len(&answer.body) != len) {
        return -EBADMSG;
    }
    if (look->part_count > 0) {
        return add_composite(look, buf_str(&answer.body), len);
    }
    if (look->kind != S3_CHECKSUM_NONE) {
        s3_checksum_add(&look->sum, buf_str(&answer.body), len);
    }
    return 0;
}

static bool is_right(struct look *look)
{
    const char *wanted = look->info->checksum.value;
    char text[2 * S3_CHECKSUM_MAX + 1];

    if (look->kind == S3_CHECKSUM_MD5) {
        s3_checksum_hex(&look->sum, text);
        return strcmp(text, look->info->etag) == 0;
    }
    s3_checksum_base64(look->part_count > 0 ? &look->composite : &look->sum, text);
    /* A composite one may be followed by "-" and the number of parts. */
    return strncmp(wanted, text, strlen(text)) == 0 &&
           (wanted[strlen(text)] == '\0' || (look->part_count > 0 && wanted[strlen(text)] == '-'));
}

static void judge(struct look *look)
{
    char why[WHY_MAX];

    if (look->part_count > 0 && look->part < look->part_count) {
        tell(look, "its parts are larger than the object");
    } else if (look->kind == S3_CHECKSUM_NONE) {
        look->run->totals.unchecked++;
    } else if (!is_right(look)) {
        (void)snprintf(why, sizeof(why), "its bytes do not have the %s it was stored with",
                       look->kind == S3_CHECKSUM_MD5 ? "MD5 (ETag)" : s3_checksum_name(look->kind));
        tell(look, why);
    }
}

static int read_all(struct look *look)
{
    uint64_t offset = 0;
    int ret = 0;

    while (ret == 0 && offset < look->info->size) {
        uint64_t left = look->info->size - offset;
        size_t len = left < PIECE ? (size_t)left : PIECE;

        ret = read_piece(look, offset, len);
        offset += len;
        ret = ret == 0 ? pace(look->run) : ret;
    }
    return ret;
}

/* Whether the whole store cannot be asked now, which is no object's damage. */
static bool is_about_store(int status)
{
    switch (status) {
    case -ECANCELED:
    case -ENOMEM:
    case -EACCES:
    case -EKEYEXPIRED:
    case -EBUSY:
    case -ETIMEDOUT:
    case -ECONNREFUSED:
    case -EHOSTUNREACH:
    case -ECONNRESET:
    case -EPROTO:
        return true;
    default:
        return false;
    }
}

static int look_at(struct run *run, const char *key, const char *version)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {
        .op = OBJSTORE_HEAD, .bucket = run->bucket, .key = key, .version_id = version};
    struct look look = {.run = run, .key = key, .version = version, .info = &answer.result.info};
    int ret = objstore_call(run->store, &head, &answer);

    ret = ret == 0 ? look_start(&look) : ret;
    ret = ret == 0 ? read_all(&look) : ret;
    if (ret == 0) {
        run->totals.objects++;
        judge(&look);
    } else if (ret == -ENOENT || ret == -ESTALE) {
        run->totals.changed++;
        ret = 0;
    } else if (!is_about_store(ret)) {
        char why[WHY_MAX];

        run->totals.objects++;
        (void)snprintf(why, sizeof(why), "it cannot be read: %s", strerror(-ret));
        tell(&look, why);
        ret = 0;
    }
    look_done(&look);
    return ret == 0 ? pace(run) : ret;
}

static int look_at_page(struct run *run, const struct objstore_result *page, bool versions)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < page->count; i++) {
        const struct objstore_entry *e = &page->entries[i];

        if (!e->delete_marker) {
            ret = look_at(run, e->key, versions ? e->info.version_id : NULL);
        }
    }
    return ret;
}

/* All versions of a bucket that has some, as far as the store says so unasked. */
static bool has_versions(const struct run *run)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request head = {.op = OBJSTORE_BUCKET_HEAD, .bucket = run->bucket};

    return objstore_call(run->store, &head, &answer) == 0 && answer.result.caps != NULL &&
           answer.result.caps->versions;
}

static int scrub_bucket(struct run *run, struct error *err)
{
    AUTOFREE char *after = NULL;
    AUTOFREE char *after_version = NULL;
    bool versions = has_versions(run);
    bool more = true;

    while (more) {
        CLEANUP(objstore_answer_done) struct objstore_answer page = OBJSTORE_ANSWER_INIT;
        struct objstore_request list = {.op = versions ? OBJSTORE_LIST_VERSIONS : OBJSTORE_LIST,
                                        .bucket = run->bucket,
                                        .key = run->scrub->prefix,
                                        .start_after = after,
                                        .marker = after,
                                        .marker2 = after_version,
                                        .max_entries = PAGE};
        int ret = objstore_call(run->store, &list, &page);

        if (ret != 0) {
            return error_set(err, ret, "bucket %s cannot be listed: %s", run->bucket,
                             error_text(&page.result.error, ret));
        }
        ret = look_at_page(run, &page.result, versions);
        if (ret != 0) {
            return error_set(err, ret, "bucket %s: %s", run->bucket, strerror(-ret));
        }
        more = page.result.truncated && page.result.count > 0;
        if (more) {
            const struct objstore_entry *last = &page.result.entries[page.result.count - 1];

            free(after);
            free(after_version);
            after = strdup(last->key);
            after_version = strdup(last->info.version_id);
            if (after == NULL || after_version == NULL) {
                return -ENOMEM;
            }
        }
    }
    return 0;
}

static int scrub_all(struct run *run, struct error *err)
{
    CLEANUP(objstore_answer_done) struct objstore_answer answer = OBJSTORE_ANSWER_INIT;
    struct objstore_request list = {.op = OBJSTORE_BUCKET_LIST};
    int ret = objstore_call(run->store, &list, &answer);

    if (ret != 0) {
        return error_set(err, ret, "cannot list the buckets: %s",
                         error_text(&answer.result.error, ret));
    }
    for (size_t i = 0; ret == 0 && i < answer.result.count; i++) {
        run->bucket = answer.result.buckets[i].name;
        ret = scrub_bucket(run, err);
    }
    return ret;
}

int scrub_run(struct objstore *store, const struct scrub *scrub, struct scrub_totals *ret,
              struct error *err)
{
    struct run run = {
        .scrub = scrub, .store = store, .started_ms = clock_monotonic_ms(clock_real())};
    const char *const *bucket = scrub->buckets;
    int r = bucket == NULL ? scrub_all(&run, err) : 0;

    for (; r == 0 && bucket != NULL && *bucket != NULL; bucket++) {
        run.bucket = *bucket;
        r = scrub_bucket(&run, err);
    }
    *ret = run.totals;
    return r;
}
