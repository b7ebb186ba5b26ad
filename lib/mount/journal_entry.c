/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/journal_entry.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

const char *journal_kind_name(enum journal_kind kind)
{
    static const char *const names[] = {
        [JOURNAL_FILE] = "file",       [JOURNAL_DIR] = "dir",       [JOURNAL_SYMLINK] = "symlink",
        [JOURNAL_SPECIAL] = "special", [JOURNAL_DELETE] = "delete", [JOURNAL_RENAME] = "rename"};

    return kind >= JOURNAL_FILE && kind <= JOURNAL_RENAME ? names[kind] : "unknown";
}

/* ---- writing ---- */

static void put_number(struct buf *out, uint64_t n, size_t len)
{
    unsigned char bytes[sizeof(n)];

    for (size_t i = 0; i < len; i++) {
        bytes[i] = (unsigned char)(n >> (8 * i));
    }
    buf_add(out, bytes, len);
}

static void put32(struct buf *out, uint32_t n)
{
    put_number(out, n, 4);
}

static void put64(struct buf *out, uint64_t n)
{
    put_number(out, n, 8);
}

static void put_text(struct buf *out, const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;

    put32(out, (uint32_t)len);
    if (len > 0) {
        buf_add(out, text, len);
    }
}

void journal_entry_encode(const struct journal_entry *entry, struct buf *out)
{
    put32(out, (uint32_t)entry->kind);
    put32(out, entry->flags);
    put_text(out, entry->path);
    put_text(out, entry->target);
    put_text(out, entry->xattr);
    put_text(out, entry->etag);
    put_text(out, entry->upload_id);
    put64(out, entry->sequence);
    put64(out, entry->size);
    put64(out, entry->base_size);
    put64(out, entry->base_valid);
    put64(out, entry->token);
    put64(out, entry->attempt);
    put32(out, entry->mode);
    put32(out, entry->uid);
    put32(out, entry->gid);
    put32(out, entry->rdev);
    put64(out, (uint64_t)entry->mtime_ns);
    put64(out, (uint64_t)entry->ctime_ns);
    put64(out, (uint64_t)entry->atime_ns);
    put64(out, (uint64_t)entry->dirty_since_ns);
    put32(out, entry->parts_count);
    for (size_t i = 0; entry->parts_count > 0 && i < 4; i++) {
        put64(out, entry->schedule[i]);
    }
    for (uint32_t i = 0; i < entry->parts_count; i++) {
        put32(out, entry->parts[i].number);
        put64(out, entry->parts[i].offset);
        put_text(out, entry->parts[i].etag);
    }
    put32(out, entry->holes_count);
    for (uint32_t i = 0; i < entry->holes_count; i++) {
        put64(out, entry->holes[i].from);
        put64(out, entry->holes[i].to);
    }
    put32(out, entry->pieces_count);
    for (uint32_t i = 0; i < entry->pieces_count; i++) {
        put64(out, entry->pieces[i].offset);
        put32(out, entry->pieces[i].len);
        put32(out, entry->pieces[i].crc);
    }
}

/* ---- reading: what is missing reads as 0 and sets `bad` ---- */

struct reader {
    const unsigned char *at;
    size_t left;
    struct arena *arena;
    bool bad, no_memory;
};

static uint64_t get_number(struct reader *r, size_t len)
{
    uint64_t n = 0;

    if (r->left < len) {
        r->bad = true;
        r->left = 0;
        return 0;
    }
    for (size_t i = 0; i < len; i++) {
        n |= (uint64_t)r->at[i] << (8 * i);
    }
    r->at += len;
    r->left -= len;
    return n;
}

static uint32_t get32(struct reader *r)
{
    return (uint32_t)get_number(r, 4);
}

static uint64_t get64(struct reader *r)
{
    return get_number(r, 8);
}

/* `max` counts the NUL. */
static const char *get_text(struct reader *r, size_t max)
{
    size_t len = get32(r);
    char *text;

    if (len >= max || len > r->left || memchr(r->at, '\0', len) != NULL) {
        r->bad = true;
        return "";
    }
    text = arena_array(r->arena, len + 1, 1);
    if (text == NULL) {
        r->no_memory = true;
        return "";
    }
    memcpy(text, r->at, len);
    text[len] = '\0';
    r->at += len;
    r->left -= len;
    return text;
}

static void get_parts(struct reader *r, struct journal_entry *ret)
{
    uint32_t count = get32(r);
    struct journal_part *parts;

    if (count > JOURNAL_PARTS_MAX || count > r->left / 16) { /* the least that a part takes */
        r->bad = true;
        return;
    }
    for (size_t i = 0; count > 0 && i < 4; i++) {
        ret->schedule[i] = get64(r);
    }
    parts = arena_array(r->arena, count > 0 ? count : 1, sizeof(*parts));
    r->no_memory = r->no_memory || parts == NULL;
    for (uint32_t i = 0; parts != NULL && i < count && !r->bad; i++) {
        parts[i].number = get32(r);
        parts[i].offset = get64(r);
        parts[i].etag = get_text(r, JOURNAL_ETAG_MAX);
        r->bad = r->bad || parts[i].number == 0 || parts[i].number > JOURNAL_PARTS_MAX ||
                 (i > 0 && parts[i].number <= parts[i - 1].number);
    }
    ret->parts = parts;
    ret->parts_count = parts != NULL ? count : 0;
}

static void get_holes(struct reader *r, struct journal_entry *ret)
{
    uint32_t count = get32(r);
    struct journal_hole *holes;

    if (count > JOURNAL_HOLES_MAX || count > r->left / 16) {
        r->bad = true;
        return;
    }
    holes = arena_array(r->arena, count > 0 ? count : 1, sizeof(*holes));
    r->no_memory = r->no_memory || holes == NULL;
    for (uint32_t i = 0; holes != NULL && i < count && !r->bad; i++) {
        holes[i].from = get64(r);
        holes[i].to = get64(r);
        r->bad = holes[i].from >= holes[i].to || holes[i].to > INT64_MAX ||
                 (i > 0 && holes[i].from <= holes[i - 1].to);
    }
    ret->holes = holes;
    ret->holes_count = holes != NULL ? count : 0;
}

static void get_pieces(struct reader *r, uint64_t at, struct journal_entry *ret, uint64_t *ret_end)
{
    uint32_t count = get32(r);
    struct journal_piece *pieces;
    uint64_t before = 0;

    if (count > JOURNAL_PIECES_MAX || count > r->left / 16) {
        r->bad = true;
        return;
    }
    pieces = arena_array(r->arena, count > 0 ? count : 1, sizeof(*pieces));
    r->no_memory = r->no_memory || pieces == NULL;
    for (uint32_t i = 0; pieces != NULL && i < count && !r->bad; i++) {
        pieces[i].offset = get64(r);
        pieces[i].len = get32(r);
        pieces[i].crc = get32(r);
        pieces[i].at = at;
        at += pieces[i].len;
        r->bad = pieces[i].len == 0 || pieces[i].len > JOURNAL_PIECE_MAX ||
                 pieces[i].offset < before ||
                 pieces[i].offset > (uint64_t)INT64_MAX - pieces[i].len;
        before = pieces[i].offset + pieces[i].len;
    }
    ret->pieces = pieces;
    ret->pieces_count = pieces != NULL ? count : 0;
    *ret_end = at;
}

/* "a/b/c": no empty name, none that is "." or "..". */
static bool is_path(const char *path)
{
    for (;;) {
        size_t len = strcspn(path, "/");

        if (len == 0 || (len == 1 && path[0] == '.') || (len == 2 && strncmp(path, "..", 2) == 0)) {
            return false;
        }
        path += len;
        if (*path == '\0') {
            return true;
        }
        path++;
    }
}

/* The root of the volume may have attributes to keep, and has no name. */
static bool is_sound(const struct journal_entry *e)
{
    return e->kind >= JOURNAL_FILE && e->kind <= JOURNAL_RENAME &&
           (is_path(e->path) || (e->kind == JOURNAL_DIR && e->path[0] == '\0')) &&
           (e->kind != JOURNAL_RENAME || is_path(e->target)) &&
           (e->kind != JOURNAL_SYMLINK || e->target[0] != '\0') &&
           (e->kind == JOURNAL_FILE || e->kind == JOURNAL_DELETE ||
            (e->pieces_count == 0 && e->parts_count == 0 && e->holes_count == 0)) &&
           (e->parts_count == 0 || e->upload_id[0] != '\0') && e->size <= INT64_MAX &&
           e->base_size <= INT64_MAX && e->base_valid <= e->base_size;
}

int journal_entry_decode(const struct journal_bytes *bytes, struct arena *arena,
                         struct journal_entry *ret, uint64_t *ret_end, struct error *err)
{
    struct reader r = {.at = bytes->data, .left = bytes->len, .arena = arena};
    struct journal_entry e = {.kind = (enum journal_kind)get32(&r)};

    *ret_end = bytes->first_at;
    e.flags = get32(&r);
    e.path = get_text(&r, JOURNAL_PATH_MAX);
    e.target = get_text(&r, JOURNAL_PATH_MAX);
    e.xattr = get_text(&r, JOURNAL_PATH_MAX + 1);
    e.etag = get_text(&r, JOURNAL_ETAG_MAX);
    e.upload_id = get_text(&r, JOURNAL_UPLOAD_MAX);
    e.sequence = get64(&r);
    e.size = get64(&r);
    e.base_size = get64(&r);
    e.base_valid = get64(&r);
    e.token = get64(&r);
    e.attempt = get64(&r);
    e.mode = get32(&r);
    e.uid = get32(&r);
    e.gid = get32(&r);
    e.rdev = get32(&r);
    e.mtime_ns = (int64_t)get64(&r);
    e.ctime_ns = (int64_t)get64(&r);
    e.atime_ns = (int64_t)get64(&r);
    e.dirty_since_ns = (int64_t)get64(&r);
    get_parts(&r, &e);
    if (!r.bad) {
        get_holes(&r, &e);
    }
    if (!r.bad) {
        get_pieces(&r, bytes->first_at, &e, ret_end);
    }
    if (r.no_memory) {
        return -ENOMEM;
    }
    if (r.bad || r.left > 0 || !is_sound(&e)) {
        return error_set(err, -EBADMSG, "the entry is damaged, or not one of this version");
    }
    *ret = e;
    return 0;
}
