/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.c - RFC 3629. */
#include "rpc/utf8.h"

#include <string.h>

#include "rpc/reflect.h"

/* The length of the well-formed character at `s`, 0 if there is none. */
static size_t character(const unsigned char *s, size_t len)
{
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t n;

    if (s[0] < 0x80) {
        return 1;
    }
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        n = 2;
    } else if ((s[0] & 0xf0) == 0xe0) {
        n = 3;
        low = s[0] == 0xe0 ? 0xa0 : low;
        high = s[0] == 0xed ? 0x9f : high;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        n = 4;
        low = s[0] == 0xf0 ? 0x90 : low;
        high = s[0] == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (len < n || s[1] < low || s[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return n;
}

bool utf8_valid(struct slice text)
{
    const unsigned char *s = (const unsigned char *)text.data;
    size_t n;

    for (size_t i = 0; i < text.len; i += n) {
        n = character(s + i, text.len - i);
        if (n == 0) {
            return false;
        }
    }
    return true;
}

size_t utf8_clean(struct slice text, char *ret, size_t size)
{
    const unsigned char *s = (const unsigned char *)text.data;
    size_t len = 0;

    for (size_t i = 0; i < text.len;) {
        size_t n = character(s + i, text.len - i);
        size_t step = n > 0 ? n : 1;

        if (len + step >= size) {
            break;
        }
        if (n == 0 || s[i] < 0x20 || s[i] == 0x7f) {
            ret[len] = '?';
        } else {
            memcpy(ret + len, s + i, n);
        }
        len += step;
        i += step;
    }
    ret[len] = '\0';
    return len;
}

static const char *bad_in_field(const ProtobufCMessage *message,
                                const ProtobufCFieldDescriptor *field)
{
    size_t count = 0;
    const char *bad = NULL;

    if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_MESSAGE) {
        count = reflect_count(message, field);
    }
    for (size_t i = 0; i < count && bad == NULL; i++) {
        const void *value = reflect_value(message, field, i);

        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            bad = utf8_bad_field(reflect_message(value));
        } else if (!utf8_valid(slice_of(reflect_string(value)))) {
            bad = field->name;
        }
    }
    return bad;
}

/* Recursion is bounded by the nesting of the message types, and by the unpacker's own. */
const char *utf8_bad_field(const ProtobufCMessage *message)
{
    const char *bad = NULL;

    for (unsigned i = 0; i < message->descriptor->n_fields && bad == NULL; i++) {
        bad = bad_in_field(message, &message->descriptor->fields[i]);
    }
    return bad;
}
