/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/kept/state_internal.h"

#include "util/random.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    STATE_VERSION = 11,
    INODES_DEFAULT = 4 * 1024 * 1024,
    CELLS_PER_INODE = 3,
    APPLIED_COUNT = 2048,
    REPLY_INTENT = 0x7fffffff, /* as a length: the request is under way, see state_intend() */
};
static const uint64_t state_magic = UINT64_C(0x736b797374617465);

static const char *const region_names[R_COUNT] = {"state",   "inodes", "texts", "blocks", "uploads",
                                                  "applied", "pool",   "sums",  "graves"};

int free_list_push(struct free_list *list, uint32_t item)
{
    if (list->count == list->cap) {
        uint32_t cap = list->cap == 0 ? 64 : 2 * list->cap;
        uint32_t *items = realloc(list->items, cap * sizeof(*items));

        if (items == NULL) {
            return -ENOMEM; /* the record stays unused until the next start: a leak, not an error */
        }
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = item;
    return 0;
}

bool free_list_pop(struct free_list *list, uint32_t *ret)
{
    if (list->count == 0) {
        return false;
    }
    *ret = list->items[--list->count];
    return true;
}

static void carry_out(struct state *state, uint64_t len)
{
    const char *log = state->header->log;

    for (uint64_t pos = 0; pos < len;) {
        struct note note;

        memcpy(&note, log + pos, sizeof(note));
        memcpy((char *)state->regions[note.region].data + note.offset, log + pos + sizeof(note),
               note.len);
        pos += sizeof(note) + ((note.len + 7U) & ~7U);
    }
}

void state_begin(struct state *state)
{
    assert(!state->open);
    state->open = true;
    state->log_len = 0;
    state->pending_inode_high = state->header->inode_high;
    state->pending_cell_high = state->header->cell_high;
    state->pending_block_high = state->header->block_high;
}

static enum region region_of(const struct state *state, const void *pointer, uint64_t *ret_offset)
{
    const char *p = pointer;

    for (int i = 0; i < R_COUNT; i++) {
        const char *start = state->regions[i].data;

        if (p >= start && p < start + state->regions[i].size) {
            *ret_offset = (uint64_t)(p - start);
            return (enum region)i;
        }
    }
    abort(); /* not a record of this state: a programming error */
}

void state_set(struct state *state, void *pointer, const void *value, size_t len)
{
    struct note note = {.len = (uint32_t)len};
    size_t padded = (len + 7U) & ~(size_t)7U;
    char *log = state->header->log + state->log_len;

    assert(state->open);
    assert(state->log_len + sizeof(note) + padded <= LOG_SIZE);
    note.region = (uint32_t)region_of(state, pointer, &note.offset);
    memcpy(log, &note, sizeof(note));
    memcpy(log + sizeof(note), value, len);
    state->log_len += sizeof(note) + padded;
}

static void note_high(struct state *state, uint32_t *member, uint32_t value)
{
    if (*member != value) {
        state_set(state, member, &value, sizeof(value));
    }
}

void state_commit(struct state *state)
{
    struct header *h = state->header;

    assert(state->open);
    note_high(state, &h->inode_high, state->pending_inode_high);
    note_high(state, &h->cell_high, state->pending_cell_high);
    note_high(state, &h->block_high, state->pending_block_high);
    atomic_store(&h->log_len, state->log_len); /* from here on it has happened */
    carry_out(state, state->log_len);
    atomic_store(&h->log_len, 0);
    state->open = false;
}

void state_abort(struct state *state)
{
    /* Records taken in this transaction stay out of the free lists until the next start. */
    state->open = false;
    state->log_len = 0;
}

static struct applied *applied_find(const struct state *state, uint64_t unique)
{
    struct applied *table = state_at(state, R_APPLIED);

    for (uint64_t i = 0; i < APPLIED_COUNT; i++) {
        struct applied *a = &table[(unique / 2 + i) % APPLIED_COUNT]; /* uniques are even */

        if (a->unique == unique) {
            return a;
        }
        if (unique == 0 || i > 256) {
            break;
        }
    }
    return NULL;
}

static int applied_put(struct state *state, uint64_t unique, uint32_t reply_len, const void *reply,
                       size_t len)
{
    struct applied *table = state_at(state, R_APPLIED);
    struct applied *a;

    if (unique == 0) { /* not a request of the kernel's */
        return 0;
    }
    a = applied_find(state, unique);
    for (uint64_t i = 0; a == NULL && i <= 256; i++) {
        struct applied *next = &table[(unique / 2 + i) % APPLIED_COUNT];

        a = next->unique == 0 ? next : NULL;
    }
    if (a == NULL) {
        return -ENOSPC;
    }
    state_set(state, &a->len, &reply_len, sizeof(reply_len));
    if (len > 0) {
        state_set(state, a->reply, reply, len);
    }
    state_set(state, &a->unique, &unique, sizeof(unique));
    return 0;
}

int state_applied(struct state *state, uint64_t unique, const void *reply, size_t len)
{
    assert(len <= STATE_REPLY_MAX);
    return applied_put(state, unique, (uint32_t)len, reply, len);
}

int state_intend(struct state *state, const struct state_intent *intent)
{
    return applied_put(state, intent->unique, REPLY_INTENT, intent, sizeof(*intent));
}

/* From this record on, the first that may hold anything; holes are not made pages by reading. */
static void skip_holes(const struct state *state, enum region region, size_t size, uint32_t *at)
{
    const struct keep_region *r = &state->regions[region];
    size_t offset = *at * size;

    if (offset % PAGE < size) { /* once for each page */
        size_t next = keep_next_data(r, offset);

        *at = next > offset ? (uint32_t)((next + size - 1) / size) : *at;
        /* A record that begins in the hole before ends where data begins. */
        *at -= next > offset && next < r->size && next % size != 0 ? 1 : 0;
    }
}

bool state_next_intent(const struct state *state, uint32_t *at_index, struct state_intent *ret)
{
    const struct applied *table = state_at(state, R_APPLIED);

    while (*at_index < APPLIED_COUNT) {
        const struct applied *a;

        skip_holes(state, R_APPLIED, sizeof(*table), at_index);
        if (*at_index >= APPLIED_COUNT) {
            break;
        }
        a = &table[(*at_index)++];

        if (a->unique != 0 && a->len == REPLY_INTENT) {
            memcpy(ret, a->reply, sizeof(*ret));
            return true;
        }
    }
    return false;
}

bool state_find_intent(const struct state *state, uint64_t unique, struct state_intent *ret)
{
    const struct applied *a = unique != 0 ? applied_find(state, unique) : NULL;

    if (a == NULL || a->len != REPLY_INTENT) {
        return false;
    }
    memcpy(ret, a->reply, sizeof(*ret));
    return true;
}

bool state_intended(const struct state *state, uint64_t unique)
{
    struct state_intent ignored;

    return state_find_intent(state, unique, &ignored);
}

bool state_find_applied(const struct state *state, uint64_t unique, const void **ret,
                        size_t *ret_len)
{
    const struct applied *a = unique != 0 ? applied_find(state, unique) : NULL;

    if (a == NULL || a->len == REPLY_INTENT) {
        return false;
    }
    *ret = a->reply;
    *ret_len = a->len;
    return true;
}

void state_forget_applied(struct state *state, uint64_t unique)
{
    struct applied *a = unique != 0 ? applied_find(state, unique) : NULL;

    if (a != NULL) {
        atomic_store((_Atomic uint64_t *)&a->unique, 0);
    }
}

struct inode_rec *state_inode(const struct state *state, uint64_t ino)
{
    struct inode_rec *inodes = state_at(state, R_INODES);

    if (ino == 0 || ino >= state->header->inode_high || (inodes[ino].flags & INODE_USED) == 0) {
        return NULL;
    }
    return &inodes[ino];
}

uint32_t state_inode_limit(const struct state *state)
{
    return state->header->inode_high;
}

uint32_t state_inode_alloc(struct state *state)
{
    uint32_t ino;

    if (!free_list_pop(&state->inodes, &ino)) {
        if (state->pending_inode_high == state->header->inodes) {
            return 0;
        }
        ino = state->pending_inode_high++;
    }
    return ino;
}

void state_inode_fill(struct state *state, uint32_t ino, const struct inode_rec *rec)
{
    struct inode_rec *inodes = state_at(state, R_INODES);
    struct inode_rec fresh = *rec;

    fresh.generation = inodes[ino].generation + 1;
    state_set(state, &inodes[ino], &fresh, sizeof(fresh));
}

void state_inode_release(struct state *state, uint32_t ino)
{
    struct inode_rec *inodes = state_at(state, R_INODES);
    uint32_t flags = 0;

    state_text_release(state, inodes[ino].name);
    state_text_release(state, inodes[ino].target);
    state_text_release(state, inodes[ino].xattr);
    state_text_release(state, inodes[ino].hidden);
    state_text_release(state, inodes[ino].holes);
    state_text_release(state, inodes[ino].component);
    state_text_release(state, (inodes[ino].flags & INODE_COLLAPSE) != 0 ? inodes[ino].last : 0);
    state_set(state, &inodes[ino].flags, &flags, sizeof(flags));
    (void)free_list_push(&state->inodes, ino);
}

int state_text_new(struct state *state, const char *text, size_t len, uint32_t *ret)
{
    struct cell *cells = state_at(state, R_TEXTS);
    uint32_t next = 0;
    size_t room = sizeof(cells->text);
    size_t count = len == 0 ? 1 : (len + room - 1) / room;

    if (len > STATE_TEXT_MAX) {
        return -ENAMETOOLONG;
    }
    /* From the last cell to the first, so that each knows its successor. */
    for (size_t i = count; i-- > 0;) {
        size_t from = i * room;
        size_t here = len - from < room ? len - from : room;
        struct cell cell = {.next = next, .len = (uint8_t)here, .used = 1};
        uint32_t index;

        if (!free_list_pop(&state->cells, &index)) {
            if (state->pending_cell_high == state->cells_max) {
                return -ENOSPC;
            }
            index = state->pending_cell_high++;
        }
        if (here > 0) {
            memcpy(cell.text, text + from, here);
        }
        state_set(state, &cells[index], &cell, sizeof(cell));
        next = index;
    }
    *ret = next;
    return 0;
}

void state_text_release(struct state *state, uint32_t cell)
{
    struct cell *cells = state_at(state, R_TEXTS);
    uint8_t used = 0;

    while (cell != 0) {
        uint32_t next = cells[cell].next;

        state_set(state, &cells[cell].used, &used, sizeof(used));
        (void)free_list_push(&state->cells, cell);
        cell = next;
    }
}

void state_text_get(const struct state *state, uint32_t cell, struct buf *out)
{
    const struct cell *cells = state_at(state, R_TEXTS);

    for (; cell != 0; cell = cells[cell].next) {
        buf_add(out, cells[cell].text, cells[cell].len);
    }
}

bool state_text_equal(const struct state *state, uint32_t cell, const char *text)
{
    const struct cell *cells = state_at(state, R_TEXTS);

    for (; cell != 0; cell = cells[cell].next) {
        if (strnlen(text, cells[cell].len) < cells[cell].len ||
            memcmp(text, cells[cell].text, cells[cell].len) != 0) {
            return false;
        }
        text += cells[cell].len;
    }
    return *text == '\0';
}

bool state_next_grave(const struct state *state, uint32_t *at, uint32_t *ret)
{
    const struct grave_rec *graves = state_at(state, R_GRAVES);

    while (*at < STATE_GRAVES) {
        skip_holes(state, R_GRAVES, sizeof(*graves), at);
        if (*at < STATE_GRAVES && graves[(*at)++].key != 0) {
            *ret = *at - 1;
            return true;
        }
    }
    return false;
}

struct grave_rec *state_grave(const struct state *state, uint32_t grave)
{
    struct grave_rec *graves = state_at(state, R_GRAVES);

    return &graves[grave];
}

struct upload_rec *state_upload(const struct state *state, uint32_t upload)
{
    struct upload_rec *uploads = state_at(state, R_UPLOADS);

    return &uploads[upload];
}

uint32_t state_upload_take(struct state *state)
{
    for (uint32_t i = 0; i < STATE_UPLOADS; i++) {
        if (state_upload(state, i)->inode == 0) {
            return i;
        }
    }
    return UINT32_MAX;
}

const char *state_upload_etag(const struct upload_rec *upload, uint32_t part)
{
    return part <= upload->parts ? upload->etags[part - 1] : "";
}

/* What lies beyond `parts` is of an earlier upload, and was never touched if there was none. */
void state_upload_record(struct state *state, struct upload_rec *upload, uint32_t part,
                         const char *etag)
{
    char text[STATE_ETAG_SIZE] = "";

    for (uint32_t i = upload->parts; i + 1 < part; i++) {
        upload->etags[i][0] = '\0'; /* does not count yet */
    }
    memcpy(text, etag, strnlen(etag, sizeof(text) - 1));
    state_begin(state);
    state_set(state, upload->etags[part - 1], text, sizeof(text));
    if (part > upload->parts) {
        STATE_SET(state, upload->parts, part);
    }
    state_commit(state);
}

bool state_adopted(const struct state *state)
{
    return state->adopted;
}

uint64_t state_mount_id(const struct state *state)
{
    return state->header->mount_id;
}

static int map_regions(struct state *state, const struct state_config *config, struct error *err)
{
    uint64_t inodes = config->inodes != 0 ? config->inodes : INODES_DEFAULT;
    uint64_t blocks = state_pool_blocks(config->pool_bytes);
    const size_t sizes[R_COUNT] = {
        [R_HEADER] = sizeof(struct header),
        [R_INODES] = inodes * sizeof(struct inode_rec),
        [R_TEXTS] = inodes * CELLS_PER_INODE * sizeof(struct cell),
        [R_BLOCKS] = blocks * sizeof(struct block_rec),
        [R_UPLOADS] = STATE_UPLOADS * sizeof(struct upload_rec),
        [R_APPLIED] = APPLIED_COUNT * sizeof(struct applied),
        [R_POOL] = blocks * STATE_BLOCK_SIZE,
        [R_SUMS] = blocks * BLOCK_PAGES * sizeof(uint64_t),
        [R_GRAVES] = STATE_GRAVES * sizeof(struct grave_rec),
    };
    int ret = 0;

    for (int i = 0; ret == 0 && i < R_COUNT; i++) {
        ret = keep_region(config->keep, region_names[i], sizes[i], &state->regions[i], err);
    }
    return ret;
}

/* The free lists and the counts, from the tables. */
static int read_tables(struct state *state)
{
    const struct inode_rec *inodes = state_at(state, R_INODES);
    const struct cell *cells = state_at(state, R_TEXTS);
    int ret = 0;

    for (uint32_t i = STATE_ROOT + 1; ret == 0 && i < state->header->inode_high; i++) {
        ret = (inodes[i].flags & INODE_USED) == 0 ? free_list_push(&state->inodes, i) : 0;
    }
    for (uint32_t i = 1; ret == 0 && i < state->header->cell_high; i++) {
        ret = cells[i].used == 0 ? free_list_push(&state->cells, i) : 0;
    }
    return ret == 0 ? state_pool_read(state) : ret;
}

/* ---- what a successor finds ---- */

static void mark_lost(struct state *state, uint32_t ino)
{
    struct inode_rec *rec = state_inode(state, ino);

    if (rec != NULL && (rec->flags & INODE_LOST) == 0) {
        state_begin(state);
        STATE_SET(state, rec->flags, rec->flags | INODE_LOST);
        state_commit(state);
    }
}

static bool is_missing(const struct state *state, enum region region)
{
    return state->regions[region].fresh;
}

/* Whose dirty bytes are damaged or missing: nothing of them may be published. */
static void find_lost(struct state *state)
{
    struct header *h = state->header;
    bool no_blocks = is_missing(state, R_BLOCKS);
    bool no_bytes = is_missing(state, R_POOL) || is_missing(state, R_SUMS);

    if (h->writing != 0 && h->writing <= state_pool_blocks(h->pool_bytes)) {
        state_pool_sum(state, h->writing - 1, h->writing_from, h->writing_to); /* will come again */
    }
    h->writing = 0;
    for (uint32_t block = 0; !no_blocks && block < h->block_high; block++) {
        struct block_rec *rec = state_block(state, block);

        if (rec->inode != 0 && (no_bytes || !state_pool_is_whole(state, block))) {
            mark_lost(state, rec->inode);
            state_begin(state);
            STATE_SET(state, rec->inode, 0U);
            state_commit(state);
        }
    }
    for (uint32_t ino = STATE_ROOT + 1; ino < h->inode_high; ino++) {
        const struct inode_rec *rec = state_inode(state, ino);

        if (rec != NULL && ((no_blocks && (rec->flags & INODE_DIRTY) != 0) ||
                            (is_missing(state, R_UPLOADS) && rec->upload != 0))) {
            mark_lost(state, ino);
        }
    }
}

static int adopt(struct state *state, struct error *err)
{
    struct header *h = state->header;

    if (h->magic != state_magic || h->version != STATE_VERSION) {
        return error_set(err, -EUCLEAN, "kept memory is of another version of skyvol-mount");
    }
    if (is_missing(state, R_INODES) || is_missing(state, R_TEXTS)) {
        return error_set(err, -EUCLEAN, "kept memory is incomplete: '%s' is missing",
                         region_names[is_missing(state, R_INODES) ? R_INODES : R_TEXTS]);
    }
    state->adopted = true;
    carry_out(state, atomic_load(&h->log_len));
    atomic_store(&h->log_len, 0);
    find_lost(state);
    return 0;
}

void state_note_blind(struct state *state)
{
    atomic_store(&state->header->blind, 1U);
}

uint64_t state_blind_until(struct state *state, uint64_t until_ms)
{
    struct header *h = state->header;

    if (atomic_load(&h->blind) != 0) {
        h->blind_until_ms = until_ms;
        atomic_store(&h->blind, 0U);
    }
    return h->blind_until_ms;
}

static int lay_out(struct state *state, const struct state_config *config)
{
    struct header *h = state->header;
    struct inode_rec *inodes = state_at(state, R_INODES);

    h->version = STATE_VERSION;
    h->inodes = config->inodes != 0 ? config->inodes : INODES_DEFAULT;
    h->pool_bytes = config->pool_bytes;
    random_bytes(&h->mount_id, sizeof(h->mount_id));
    h->mount_id |= UINT64_C(1) << 63; /* 16 digits */
    h->inode_high = STATE_ROOT + 1;
    h->cell_high = 1; /* 0 means none */
    inodes[STATE_ROOT] = (struct inode_rec){.flags = INODE_USED, .generation = 1, .nlookup = 1};
    atomic_store((_Atomic uint64_t *)&h->magic, state_magic);
    return 0;
}

int state_new(const struct state_config *config, struct state **ret, struct error *err)
{
    CLEANUP(state_free_p) struct state *state = calloc(1, sizeof(*state));
    int r;

    if (state == NULL || config->pool_bytes < 8 * (uint64_t)STATE_BLOCK_SIZE) {
        r = state == NULL ? -ENOMEM : -EINVAL;
        return error_set(err, r, "memory for dirty bytes: at least 1 MiB");
    }
    r = map_regions(state, config, err);
    if (r != 0) {
        return r;
    }
    state->header = state_at(state, R_HEADER);
    if (state->header->magic == 0) { /* also when a predecessor died while laying it out */
        r = lay_out(state, config);
    } else {
        r = adopt(state, err);
        if (r != 0) {
            return r;
        }
    }
    state->cells_max = state->header->inodes * CELLS_PER_INODE;
    r = r == 0 ? state_pool_init(state, config->pool_bytes) : r;
    r = r == 0 ? read_tables(state) : r;
    if (r != 0) {
        return error_set(err, r, "out of memory");
    }
    *ret = TAKE(state);
    return 0;
}

void state_free(struct state *state)
{
    if (state != NULL) {
        free(state->inodes.items);
        free(state->cells.items);
        state_pool_done(state);
        free(state);
    }
}
