/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FIELDS: everything is kept in `head` and read part by part, until the file's part begins.
 * FILE:   bytes go through; `matched` of them may be the delimiter, and are held back.
 * TAIL:   the delimiter was there; the rest is nothing.
 * The boundary holds no '\r', so that a delimiter that breaks off can begin anew only at its first
 * byte: no more than `matched` has to be known.
 */
#include "s3/form.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "util/arena.h"
#include "util/buf.h"

enum state { FIELDS, FILE_BYTES, TAIL };

struct s3_form {
    enum state state;
    char delimiter[S3_FORM_HELD_MAX + 1]; /* CRLF, two dashes, boundary */
    size_t delimiter_len;
    size_t matched;
    struct buf head;
    size_t at;     /* where in `head` the next part begins: at its dashes */
    size_t before; /* bytes of head and of what was around */
    bool ended;    /* the last delimiter came, and no file */
    struct arena arena;
    struct s3_form_field fields[S3_FORM_FIELDS_MAX];
    size_t count;
    const char *filename;
};

static int malformed(struct s3_fault *fault)
{
    return s3_fault_set(fault, S3_MALFORMED_POST, "%s", "");
}

/* The parameter `name` of a header's value, with or without quotes; data NULL: absent. */
static struct slice parameter(struct slice value, const char *name)
{
    size_t len = strlen(name);
    bool quoted = false;

    for (size_t i = 0; i < value.len; i++) {
        struct slice found = {value.data + i + 1, value.len - i - 1};
        const char *end;

        quoted = value.data[i] == '"' ? !quoted : quoted;
        if (value.data[i] != ';' || quoted) {
            continue;
        }
        found = slice_trim(found);
        if (found.len <= len || strncasecmp(found.data, name, len) != 0 || found.data[len] != '=') {
            continue;
        }
        found = (struct slice){found.data + len + 1, found.len - len - 1};
        if (found.len > 0 && found.data[0] == '"') {
            end = memchr(found.data + 1, '"', found.len - 1);
            return end != NULL ? (struct slice){found.data + 1, (size_t)(end - found.data - 1)}
                               : (struct slice){0};
        }
        end = found.len > 0 ? memchr(found.data, ';', found.len) : NULL;
        return slice_trim(
            (struct slice){found.data, end != NULL ? (size_t)(end - found.data) : found.len});
    }
    return (struct slice){0};
}

int s3_form_new(struct slice content_type, struct s3_form **ret, struct s3_fault *fault)
{
    struct slice boundary = parameter(content_type, "boundary");
    struct s3_form *form;

    if (boundary.len == 0 || boundary.len > S3_FORM_BOUNDARY_MAX) {
        return malformed(fault);
    }
    for (size_t i = 0; i < boundary.len; i++) {
        if ((unsigned char)boundary.data[i] < ' ' || boundary.data[i] == 0x7f) {
            return malformed(fault);
        }
    }
    form = calloc(1, sizeof(*form));
    if (form == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    memcpy(form->delimiter, "\r\n--", 4);
    memcpy(form->delimiter + 4, boundary.data, boundary.len);
    form->delimiter_len = boundary.len + 4;
    form->head = (struct buf)BUF_INIT(S3_FORM_HEAD_MAX);
    form->arena = (struct arena)ARENA_INIT(4 * S3_FORM_HEAD_MAX);
    form->filename = "";
    *ret = form;
    return 0;
}

void s3_form_free(struct s3_form *form)
{
    if (form != NULL) {
        buf_done(&form->head);
        arena_done(&form->arena);
        free(form);
    }
}

/* ---- parts ---- */

/* The value of Content-Disposition among a part's header lines. */
static struct slice disposition(struct slice lines)
{
    static const char name[] = "content-disposition:";

    while (lines.len > 0) {
        const char *end = memmem(lines.data, lines.len, "\r\n", 2);
        size_t len = end != NULL ? (size_t)(end - lines.data) : lines.len;
        size_t next = end != NULL ? len + 2 : len;

        if (len >= sizeof(name) && strncasecmp(lines.data, name, sizeof(name) - 1) == 0) {
            return slice_trim(
                (struct slice){lines.data + sizeof(name) - 1, len - (sizeof(name) - 1)});
        }
        lines = (struct slice){lines.data + next, lines.len - next};
    }
    return (struct slice){0};
}

static int take_file(struct s3_form *form, struct slice header, struct s3_fault *fault)
{
    struct slice name = parameter(header, "filename");

    for (size_t i = name.len; i > 0; i--) {
        if (name.data[i - 1] == '/' || name.data[i - 1] == '\\') {
            name = (struct slice){name.data + i, name.len - i};
            break;
        }
    }
    form->filename = arena_strndup(&form->arena, name.len > 0 ? name.data : "", name.len);
    form->state = FILE_BYTES;
    return form->filename != NULL ? 0 : s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
}

static int take_field(struct s3_form *form, struct slice name, struct slice value,
                      struct s3_fault *fault)
{
    struct s3_form_field *field = &form->fields[form->count];

    if (form->count == S3_FORM_FIELDS_MAX) {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT, "too many fields");
    }
    if (value.len > 0 && memchr(value.data, '\0', value.len) != NULL) {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT, "a field holds a NUL");
    }
    field->name = arena_strndup(&form->arena, name.data, name.len);
    field->value = arena_strndup(&form->arena, value.data, value.len);
    if (field->name == NULL || field->value == NULL) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    if (s3_form_get(form, field->name) != NULL) {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT, "the field %.64s comes twice", field->name);
    }
    form->count++;
    return 0;
}

/* One part of `head`: 1 when it was taken, 0 when more bytes are needed. */
static int take_part(struct s3_form *form, struct s3_fault *fault)
{
    struct slice dashes = {form->delimiter + 2, form->delimiter_len - 2};
    struct slice rest = {buf_str(&form->head) + form->at, buf_len(&form->head) - form->at};
    struct slice lines, header, name;
    const char *end;
    int ret;

    if (rest.len < dashes.len + 2) {
        return slice_starts_with(
                   dashes, (struct slice){rest.data, rest.len < dashes.len ? rest.len : dashes.len})
                   ? 0
                   : malformed(fault);
    }
    if (!slice_starts_with(rest, dashes)) {
        return malformed(fault);
    }
    rest = (struct slice){rest.data + dashes.len, rest.len - dashes.len};
    form->ended = memcmp(rest.data, "--", 2) == 0;
    if (form->ended) {
        return 0;
    }
    end = memmem(rest.data, rest.len, "\r\n\r\n", 4);
    if (memcmp(rest.data, "\r\n", 2) != 0 || end == NULL) {
        return memcmp(rest.data, "\r\n", 2) != 0 ? malformed(fault) : 0;
    }
    lines = (struct slice){rest.data + 2, end > rest.data ? (size_t)(end - rest.data - 2) : 0};
    header = disposition(lines);
    name = parameter(header, "name");
    if (name.len == 0 || memchr(name.data, '\0', name.len) != NULL) {
        return malformed(fault);
    }
    rest = (struct slice){end + 4, rest.len - (size_t)(end - rest.data) - 4};
    if (name.len == 4 && strncasecmp(name.data, "file", 4) == 0) {
        form->at = buf_len(&form->head) - rest.len;
        return take_file(form, header, fault) == 0 ? 1 : s3_code_errno(fault->code);
    }
    end = memmem(rest.data, rest.len, form->delimiter, form->delimiter_len);
    if (end == NULL) {
        return 0;
    }
    ret = take_field(form, name, (struct slice){rest.data, (size_t)(end - rest.data)}, fault);
    form->at = buf_len(&form->head) - rest.len + (size_t)(end - rest.data) + 2;
    return ret == 0 ? 1 : ret;
}

/* Bytes of `bytes` up to where the file begins are eaten, or all. */
static int feed_fields(struct s3_form *form, const char *bytes, size_t len, size_t *ret_eaten,
                       struct s3_fault *fault)
{
    size_t old = buf_len(&form->head), room = S3_FORM_HEAD_MAX - old;
    size_t taken = len < room ? len : room;
    int ret = 1;

    if (form->ended) { /* the epilogue */
        *ret_eaten = len;
        return 0;
    }
    buf_add(&form->head, bytes, taken);
    if (buf_error(&form->head) != 0) {
        return s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    }
    while (ret == 1 && form->state == FIELDS) {
        ret = take_part(form, fault);
    }
    if (ret < 0) {
        return ret;
    }
    if (form->state == FILE_BYTES) {
        form->before = form->at;
        taken = form->at > old ? form->at - old : 0;
    } else if (!form->ended && buf_len(&form->head) == S3_FORM_HEAD_MAX) {
        return s3_fault_set(fault, S3_POST_FIELDS_TOO_LARGE, "%s", "");
    }
    *ret_eaten = form->ended ? len : taken;
    return 0;
}

static void feed_file(struct s3_form *form, const char *bytes, size_t len, size_t *ret_eaten,
                      struct slice *ret_file)
{
    size_t i = 0;

    if (form->matched == 0) { /* what is surely the file's goes through as it is */
        const char *next = memchr(bytes, '\r', len);

        i = next != NULL ? (size_t)(next - bytes) : len;
        *ret_file = (struct slice){bytes, i};
        *ret_eaten = i;
        if (i > 0) {
            return;
        }
    }
    while (i < len && form->matched < form->delimiter_len &&
           bytes[i] == form->delimiter[form->matched]) {
        form->matched++;
        i++;
    }
    *ret_eaten = i;
    if (form->matched == form->delimiter_len) {
        form->state = TAIL;
    } else if (i < len) { /* it was the file's after all, and comes out of the delimiter */
        *ret_file = (struct slice){form->delimiter, form->matched};
        form->matched = 0;
    }
}

int s3_form_feed(struct s3_form *form, const char *bytes, size_t len, size_t *ret_eaten,
                 struct slice *ret_file, struct s3_fault *fault)
{
    *ret_file = (struct slice){0};
    *ret_eaten = len;
    if (len == 0 || form->state == TAIL) {
        return 0;
    }
    if (form->state == FIELDS) {
        return feed_fields(form, bytes, len, ret_eaten, fault);
    }
    feed_file(form, bytes, len, ret_eaten, ret_file);
    return 0;
}

int s3_form_finish(const struct s3_form *form, struct s3_fault *fault)
{
    if (form->state == FIELDS && form->ended) {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT,
                            "POST requires exactly one file upload per request.");
    }
    return form->state == TAIL ? 0 : malformed(fault);
}

bool s3_form_opened(const struct s3_form *form)
{
    return form->state != FIELDS;
}

size_t s3_form_before(const struct s3_form *form)
{
    return form->before;
}

size_t s3_form_behind(const struct s3_form *form)
{
    return form->delimiter_len + 4; /* "--" CRLF */
}

const char *s3_form_get(const struct s3_form *form, const char *name)
{
    for (size_t i = 0; i < form->count; i++) {
        if (strcasecmp(form->fields[i].name, name) == 0) {
            return form->fields[i].value;
        }
    }
    return NULL;
}

const struct s3_form_field *s3_form_fields(const struct s3_form *form, size_t *ret_count)
{
    *ret_count = form->count;
    return form->fields;
}

const char *s3_form_filename(const struct s3_form *form)
{
    return form->filename;
}
