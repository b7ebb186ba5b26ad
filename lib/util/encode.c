/* SPDX-License-Identifier: Apache-2.0 */
#include "util/encode.h"

#include <errno.h>

static const char hex_lower[] = "0123456789abcdef";
static const char hex_upper[] = "0123456789ABCDEF";
static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

void encode_hex(struct buf *out, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < len; i++) {
        char pair[2] = {hex_lower[p[i] >> 4], hex_lower[p[i] & 15]};
        buf_add(out, pair, sizeof(pair));
    }
}

int decode_hex(struct slice text, void *ret, size_t cap, size_t *ret_len)
{
    unsigned char *out = ret;

    if (text.len % 2 != 0) {
        return -EILSEQ;
    }
    if (text.len / 2 > cap) {
        return -EFBIG;
    }
    for (size_t i = 0; i < text.len; i += 2) {
        int high = hex_value(text.data[i]);
        int low = hex_value(text.data[i + 1]);
        if (high < 0 || low < 0) {
            return -EILSEQ;
        }
        out[i / 2] = (unsigned char)(high * 16 + low);
    }
    *ret_len = text.len / 2;
    return 0;
}

void encode_base64(struct buf *out, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < len; i += 3) {
        size_t rest = len - i;
        uint32_t v = (uint32_t)p[i] << 16;
        char quad[4];

        v |= rest > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        v |= rest > 2 ? (uint32_t)p[i + 2] : 0;
        quad[0] = base64_digits[v >> 18 & 63];
        quad[1] = base64_digits[v >> 12 & 63];
        quad[2] = '=';
        quad[3] = '=';
        if (rest > 1) {
            quad[2] = base64_digits[v >> 6 & 63];
        }
        if (rest > 2) {
            quad[3] = base64_digits[v & 63];
        }
        buf_add(out, quad, sizeof(quad));
    }
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int decode_base64(struct slice text, void *ret, size_t cap, size_t *ret_len)
{
    unsigned char *out = ret;
    size_t digits = text.len;
    size_t used = 0;
    uint32_t bits = 0;
    unsigned int count = 0;

    if (text.len % 4 != 0) {
        return -EILSEQ;
    }
    for (int i = 0; i < 2 && digits > 0 && text.data[digits - 1] == '='; i++) {
        digits--;
    }
    for (size_t i = 0; i < digits; i++) {
        int v = base64_value(text.data[i]);
        if (v < 0) {
            return -EILSEQ;
        }
        bits = bits << 6 | (uint32_t)v;
        count += 6;
        if (count >= 8) {
            count -= 8;
            if (used == cap) {
                return -EFBIG;
            }
            out[used++] = (unsigned char)(bits >> count);
        }
    }
    *ret_len = used;
    return (bits & ((1U << count) - 1U)) == 0 ? 0 : -EILSEQ;
}

/* Letters, digits, and "-._~". */
static bool unreserved(char c)
{
    static const bool is[256] = {
        [32] = 0,  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0,
        [48] = 1,  1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0,
        [64] = 0,  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        [80] = 1,  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1,
        [96] = 0,  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        [112] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 0,
    };

    return is[(unsigned char)c];
}

bool encode_percent_is_same(struct slice text)
{
    size_t i = 0;

    while (i < text.len && unreserved(text.data[i])) {
        i++;
    }
    return i == text.len;
}

static int upper_value(char c)
{
    return c >= 'a' ? -1 : hex_value(c);
}

bool encode_percent_is_done(struct slice text, bool keep_slash)
{
    size_t i = 0;

    while (i < text.len) {
        char c = text.data[i++];

        if (c == '%' && text.len - i >= 2) {
            int high = upper_value(text.data[i]), low = upper_value(text.data[i + 1]);

            if (high < 0 || low < 0) {
                return false;
            }
            c = (char)(high * 16 + low);
            if (unreserved(c) || (keep_slash && c == '/')) {
                return false;
            }
            i += 2;
        } else if (!unreserved(c) && !(keep_slash && c == '/')) {
            return false;
        }
    }
    return true;
}

/* Runs are appended as a whole: most text has nothing to encode. */
void encode_percent(struct buf *out, struct slice text, bool keep_slash)
{
    size_t run = 0;

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (!unreserved((char)c) && !(keep_slash && c == '/')) {
            char escape[3] = {'%', hex_upper[c >> 4], hex_upper[c & 15]};
            buf_add(out, text.data + run, i - run);
            buf_add(out, escape, sizeof(escape));
            run = i + 1;
        }
    }
    if (run < text.len) {
        buf_add(out, text.data + run, text.len - run);
    }
}

int decode_percent(struct buf *out, struct slice text, bool plus_is_space)
{
    size_t run = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c != '%' && !(c == '+' && plus_is_space)) {
            continue;
        }
        buf_add(out, text.data + run, i - run);
        if (c == '%') {
            int high = text.len - i > 2 ? hex_value(text.data[i + 1]) : -1;
            int low = text.len - i > 2 ? hex_value(text.data[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return -EILSEQ;
            }
            c = (char)(high * 16 + low);
            i += 2;
        } else {
            c = ' ';
        }
        buf_add(out, &c, 1);
        run = i + 1;
    }
    if (run < text.len) {
        buf_add(out, text.data + run, text.len - run);
    }
    return buf_error(out);
}
