/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/wildcard.h"

#include <ctype.h>

/* Bytes of the character at `at`: with those of UTF-8 that go on with it. */
static size_t character(struct slice text, size_t at)
{
    size_t len = 1;

    while (at + len < text.len && ((unsigned char)text.data[at + len] & 0xc0) == 0x80) {
        len++;
    }
    return len;
}

static bool same(char a, char b, bool fold)
{
    return a == b || (fold && tolower((unsigned char)a) == tolower((unsigned char)b));
}

bool s3_wildcard_match(struct slice pattern, struct slice text, bool fold)
{
    size_t p = 0, t = 0, star = SIZE_MAX, again = 0; /* after the last '*', and what it ate up to */

    while (t < text.len) {
        if (p < pattern.len && pattern.data[p] == '*') {
            star = ++p;
            again = t;
        } else if (p < pattern.len && pattern.data[p] == '?') {
            p++;
            t += character(text, t);
        } else if (p < pattern.len && same(pattern.data[p], text.data[t], fold)) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            again += character(text, again);
            p = star;
            t = again;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.data[p] == '*') {
        p++;
    }
    return p == pattern.len;
}
