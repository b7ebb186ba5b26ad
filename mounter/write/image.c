/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dirty bytes on their way to the store, straight from kept memory. Their blocks are pinned: who
 * writes to one meanwhile gets a copy, so that what is sent is of one moment, also when it is sent
 * again, and may be read without the lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/fs.h"
#include "s3/checksum.h"

struct taking {
    struct data_image *image;
    bool failed;
};

static bool take_piece(void *arg, const struct data_piece *piece)
{
    struct taking *taking = arg;
    struct data_image *image = taking->image;

    if (image->count == image->cap) {
        size_t cap = image->cap == 0 ? 8 : 2 * image->cap;
        struct data_piece *pieces = realloc(image->pieces, cap * sizeof(*pieces));

        if (pieces == NULL) {
            taking->failed = true;
            return false;
        }
        image->pieces = pieces;
        image->cap = cap;
    }
    image->pieces[image->count++] = *piece;
    return true;
}

int data_image_take(struct fs *fs, struct node *node, uint64_t offset, uint64_t len,
                    struct data_image *ret)
{
    struct taking taking = {.image = ret};

    *ret = (struct data_image){.offset = offset, .len = len};
    data_each(fs, node, offset, len, take_piece, &taking);
    if (taking.failed || data_seqs_take(fs, node, offset, len, &ret->seqs) != 0) {
        ret->count = 0; /* none is pinned yet */
        data_image_done(fs, ret);
        return -ENOMEM;
    }
    for (size_t i = 0; i < ret->count; i++) {
        state_block_pin(fs->state, ret->pieces[i].block);
    }
    return 0;
}

void data_image_done(struct fs *fs, struct data_image *image)
{
    for (size_t i = 0; i < image->count; i++) {
        state_block_unpin(fs->state, image->pieces[i].block);
    }
    if (image->count > 0) {
        cond_broadcast(&fs->changed);
    }
    free(image->pieces);
    free(image->seqs.items);
    *image = (struct data_image){0};
}

ssize_t data_image_read(const struct state *state, struct data_image *image, void *buffer,
                        size_t cap)
{
    char *out = buffer;
    size_t done = 0;

    while (done < cap && image->at < image->len) {
        const struct data_piece *piece =
            image->piece < image->count ? &image->pieces[image->piece] : NULL;
        uint64_t here = image->offset + image->at;
        uint64_t stop = piece == NULL        ? image->offset + image->len
                        : here < piece->from ? piece->from
                                             : piece->to;
        size_t n = cap - done < stop - here ? cap - done : (size_t)(stop - here);

        if (piece == NULL || here < piece->from) {
            memset(out + done, 0, n);
        } else {
            memcpy(out + done, data_bytes(state, piece) + (here - piece->from), n);
            image->piece += here + n == piece->to;
        }
        image->at += n;
        done += n;
    }
    return (ssize_t)done;
}

void data_image_rewind(struct data_image *image)
{
    image->at = 0;
    image->piece = 0;
}

const char *data_image_whole(const struct state *state, const struct data_image *image)
{
    const char *start = image->count > 0 ? data_bytes(state, &image->pieces[0]) : NULL;
    uint64_t reached = image->offset;

    for (size_t i = 0; i < image->count; i++) {
        const struct data_piece *piece = &image->pieces[i];

        if (piece->from != reached ||
            data_bytes(state, piece) != start + (piece->from - image->offset)) {
            return NULL;
        }
        reached = piece->to;
    }
    return reached == image->offset + image->len ? start : NULL;
}

void data_image_sum(const struct fs *fs, const struct data_image *image,
                    struct objstore_request *request)
{
    static const char zeros[4096];
    bool checked = request->op == OBJSTORE_PUT ? fs->caps.checksums : fs->caps.part_checksums;
    uint64_t reached = image->offset;
    struct s3_checksum sum;

    if (!checked || request->source.size == 0 || s3_checksum_init(&sum, S3_CHECKSUM_CRC32C) != 0) {
        return;
    }
    if (request->source.data != NULL) {
        s3_checksum_add(&sum, request->source.data, (size_t)request->source.size);
        reached += image->len;
    }
    for (size_t i = 0; reached < image->offset + image->len;) {
        const struct data_piece *piece = i < image->count ? &image->pieces[i] : NULL;
        uint64_t stop = piece != NULL ? piece->from : image->offset + image->len;

        if (reached < stop) {
            uint64_t n = stop - reached < sizeof(zeros) ? stop - reached : sizeof(zeros);

            s3_checksum_add(&sum, zeros, (size_t)n);
            reached += n;
        } else {
            s3_checksum_add(&sum, data_bytes(fs->state, piece), (size_t)(piece->to - piece->from));
            reached = piece->to;
            i++;
        }
    }
    request->checksum.kind = OBJSTORE_CHECKSUM_CRC32C;
    s3_checksum_base64(&sum, request->checksum.value);
    request->checksum_is_checked = true;
    s3_checksum_done(&sum);
}

void data_image_lay(const struct state *state, const struct data_image *image, char *buffer)
{
    for (size_t i = 0; i < image->count; i++) {
        const struct data_piece *piece = &image->pieces[i];

        memcpy(buffer + (piece->from - image->offset), data_bytes(state, piece),
               (size_t)(piece->to - piece->from));
    }
}

/* ---- what is dirty ---- */

static int by_start(const void *a, const void *b)
{
    const struct parts_range *x = a;
    const struct parts_range *y = b;

    return x->from < y->from ? -1 : x->from > y->from;
}

/* Sorted; those that touch become one. */
static size_t join(struct parts_range *ranges, size_t count)
{
    size_t joined = 0;

    qsort(ranges, count, sizeof(*ranges), by_start);
    for (size_t i = 0; i < count; i++) {
        if (joined > 0 && ranges[i].from <= ranges[joined - 1].to) {
            if (ranges[i].to > ranges[joined - 1].to) {
                ranges[joined - 1].to = ranges[i].to;
            }
        } else {
            ranges[joined++] = ranges[i];
        }
    }
    return joined;
}

int data_ranges(struct fs *fs, const struct node *node, struct parts_range **ret, size_t *ret_count)
{
    size_t most = node->holes.count + 1;
    const struct block_ref *ref;
    struct parts_range *ranges;
    size_t count = 0;

    for (ref = node->blocks; ref != NULL; ref = ref->hh.next) {
        most += state_block(fs->state, ref->block)->count;
    }
    ranges = calloc(most, sizeof(*ranges));
    if (ranges == NULL) {
        return -ENOMEM;
    }
    for (ref = node->blocks; ref != NULL; ref = ref->hh.next) {
        const struct block_rec *rec = state_block(fs->state, ref->block);
        uint64_t start = rec->index * STATE_BLOCK_SIZE;

        for (uint32_t i = 0; i < rec->count; i++) {
            ranges[count++] =
                (struct parts_range){start + rec->extents[i].from, start + rec->extents[i].to};
        }
    }
    for (size_t i = 0; i < node->holes.count; i++) {
        ranges[count++] = (struct parts_range){node->holes.items[i].from, node->holes.items[i].to};
    }
    *ret_count = count > 0 ? join(ranges, count) : 0;
    *ret = ranges;
    return 0;
}
