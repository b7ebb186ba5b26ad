/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/tags.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "s3/names.h"
#include "s3/xml.h"
#include "s3/xml_parse.h"
#include "util/cleanup.h"
#include "util/encode.h"

static int bad_header(struct slice value, struct s3_fault *fault)
{
    return s3_fault_argument(
        fault, "x-amz-tagging", value,
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL "
        "query parameters without tag name duplicates.");
}

static bool comes_twice(const struct s3_tags *tags, size_t i)
{
    for (size_t k = 0; k < i; k++) {
        if (strcmp(tags->tags[k].name, tags->tags[i].name) == 0) {
            return true;
        }
    }
    return false;
}

/* Text up to the separator; the rest stays in *text. */
static struct slice cut(struct slice *text, char separator)
{
    const char *end = text->len > 0 ? memchr(text->data, separator, text->len) : NULL;
    struct slice part = *text;

    if (end == NULL) {
        *text = (struct slice){text->data + text->len, 0};
        return part;
    }
    part.len = (size_t)(end - text->data);
    *text = (struct slice){end + 1, text->len - part.len - 1};
    return part;
}

/* -EILSEQ: not encoded as it should be. */
static int decoded(struct slice text, struct arena *arena, const char **ret)
{
    CLEANUP(buf_done) struct buf plain = BUF_INIT(S3_TAGS_TEXT_MAX);
    struct slice out;

    if (decode_percent(&plain, text, true) < 0) {
        return -EILSEQ;
    }
    out = (struct slice){buf_str(&plain), buf_len(&plain)};
    if (!s3_utf8_valid(out) || memchr(out.data, '\0', out.len) != NULL) {
        return -EILSEQ;
    }
    *ret = arena_strndup(arena, out.data, out.len);
    return *ret != NULL ? 0 : -ENOMEM;
}

int s3_tags_from_query(struct slice text, struct arena *arena, struct s3_tags *ret,
                       struct s3_fault *fault)
{
    const struct slice whole = text;

    ret->count = 0;
    while (text.len > 0) {
        struct slice value = cut(&text, '&');
        size_t pair_len = value.len;
        struct slice name = cut(&value, '=');
        struct s3_tag *tag = &ret->tags[ret->count];
        int r;

        if (pair_len == 0) {
            continue; /* "&&" */
        }
        if (name.len == 0) {
            return bad_header(whole, fault);
        }
        if (ret->count == S3_TAGS_READ_MAX) {
            return s3_fault_set(fault, S3_INVALID_TAG, "too many tags");
        }
        r = decoded(name, arena, &tag->name);
        r = r == 0 ? decoded(value, arena, &tag->value) : r;
        if (r != 0) {
            return r == -ENOMEM ? s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory")
                                : bad_header(whole, fault);
        }
        if (comes_twice(ret, ret->count++)) {
            return bad_header(whole, fault);
        }
    }
    return 0;
}

int s3_tags_from_xml(const void *body, size_t len, struct arena *arena, struct s3_tags *ret,
                     struct s3_fault *fault)
{
    struct s3_xml_doc *doc = NULL;
    int r = s3_xml_parse(body, len, &doc, fault);

    ret->count = 0;
    if (r == 0 && (doc->root != S3_XML_TAGGING || !doc->tag_set)) {
        r = s3_fault_set(fault, S3_MALFORMED_XML, "%s", "");
    }
    if (r == 0 && doc->count > S3_TAGS_READ_MAX) {
        r = s3_fault_set(fault, S3_INVALID_TAG, "too many tags");
    }
    for (size_t i = 0; r == 0 && i < doc->count; i++) {
        struct s3_tag *tag = &ret->tags[ret->count++];

        tag->name = arena_strdup(arena, doc->items[i].key);
        tag->value = arena_strdup(arena, doc->items[i].value);
        if (tag->name == NULL || tag->value == NULL) {
            r = s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
        }
    }
    s3_xml_doc_free(doc);
    return r;
}

/* Characters of well-formed UTF-8; SIZE_MAX when one is not allowed. */
static size_t characters(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool ascii = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');

        if (c < 0x80 && !ascii && strchr(" +-=._:/@", c) == NULL) {
            return SIZE_MAX;
        }
        count += (c & 0xC0) != 0x80 ? 1 : 0;
    }
    return count;
}

int s3_tags_check(const struct s3_tags *tags, size_t max, struct s3_fault *fault)
{
    if (tags->count > max) {
        return max == S3_TAGS_OF_BUCKET
                   ? s3_fault_set(fault, S3_BAD_REQUEST,
                                  "Bucket tag count cannot be greater than 50")
                   : s3_fault_set(fault, S3_INVALID_TAG, "Object tags cannot be greater than 10");
    }
    for (size_t i = 0; i < tags->count; i++) {
        const struct s3_tag *tag = &tags->tags[i];

        if (tag->name[0] == '\0' || characters(tag->name) > S3_TAG_NAME_MAX) {
            return s3_fault_set(fault, S3_INVALID_TAG, "The TagKey you have provided is invalid");
        }
        if (characters(tag->value) > S3_TAG_VALUE_MAX) {
            return s3_fault_set(fault, S3_INVALID_TAG, "The TagValue you have provided is invalid");
        }
        if (strncasecmp(tag->name, "aws:", 4) == 0) {
            return s3_fault_set(fault, S3_INVALID_TAG,
                                "System tags cannot be added/updated by requester");
        }
        if (comes_twice(tags, i)) {
            return s3_fault_set(fault, S3_INVALID_TAG,
                                "Cannot provide multiple Tags with the same key");
        }
    }
    return 0;
}

size_t s3_tags_count(const char *query)
{
    size_t count = query != NULL && query[0] != '\0' ? 1 : 0;

    for (; count > 0 && *query != '\0'; query++) {
        count += *query == '&' ? 1 : 0;
    }
    return count;
}

void s3_tags_to_query(struct buf *out, const struct s3_tags *tags)
{
    for (size_t i = 0; i < tags->count; i++) {
        buf_addstr(out, i > 0 ? "&" : "");
        encode_percent(out, slice_of(tags->tags[i].name), false);
        buf_addstr(out, "=");
        encode_percent(out, slice_of(tags->tags[i].value), false);
    }
}

void s3_tags_to_xml(struct buf *out, const struct s3_tags *tags)
{
    buf_addstr(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                    "<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet>");
    for (size_t i = 0; i < tags->count; i++) {
        buf_addstr(out, "<Tag>");
        s3_xml_text(out, "Key", tags->tags[i].name);
        s3_xml_text(out, "Value", tags->tags[i].value);
        buf_addstr(out, "</Tag>");
    }
    buf_addstr(out, "</TagSet></Tagging>");
}
