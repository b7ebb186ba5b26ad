/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/names.h"

#include <errno.h>
#include <string.h>

#include "s3/names.h"
#include "util/encode.h"

#define ESCAPE ".%"
#define ESCAPED_ESCAPE ".%%"
#define BESIDE ".%file%"
#define SPELT ".%name%"

static const struct {
    const char *component, *name;
} fixed[] = {
    {"", ".%empty"},
    {".", ".%dot"},
    {"..", ".%dotdot"},
};
enum { FIXED = sizeof(fixed) / sizeof(fixed[0]) };

static int join(const char *prefix, struct slice rest, char *ret, size_t max)
{
    size_t len = strlen(prefix);

    if (len + rest.len > max) {
        return -ENAMETOOLONG;
    }
    memcpy(ret, prefix, len);
    if (rest.len > 0) {
        memcpy(ret + len, rest.data, rest.len);
    }
    ret[len + rest.len] = '\0';
    return 0;
}

/* ---- names that are spelt ---- */

/* How many bytes at the beginning are one character; 0: it is no UTF-8. */
static size_t character(struct slice text)
{
    for (size_t len = 1; len <= 4 && len <= text.len; len++) {
        if (s3_utf8_valid((struct slice){text.data, len})) {
            return len;
        }
    }
    return 0;
}

static void spell(const char *name, char ret[NAMES_COMPONENT_MAX + 1])
{
    static const char digits[] = "0123456789ABCDEF";
    struct slice rest = slice_of(name);
    size_t len = strlen(SPELT);

    memcpy(ret, SPELT, len);
    while (rest.len > 0) {
        size_t taken = rest.data[0] != '%' ? character(rest) : 0;

        if (taken == 0) {
            ret[len++] = '%';
            ret[len++] = digits[(unsigned char)rest.data[0] >> 4];
            ret[len++] = digits[(unsigned char)rest.data[0] & 15];
            taken = 1;
        } else {
            memcpy(ret + len, rest.data, taken);
            len += taken;
        }
        rest.data += taken;
        rest.len -= taken;
    }
    ret[len] = '\0';
}

/* Names that have a component of their own kind, or none. 0, -EINVAL; 1: it must be spelt. */
static int plain(const char *name, bool *ret_beside, struct slice *ret);

static bool hex_byte(const char *digits, unsigned char *ret)
{
    size_t len;

    return decode_hex((struct slice){digits, 2}, ret, 1, &len) == 0;
}

/* What a component spells; false: nothing, or not as spell() would. */
static bool spelt(struct slice component, char ret[NAMES_MAX + 1])
{
    char again[NAMES_COMPONENT_MAX + 1];
    struct slice ignored;
    size_t len = 0;
    bool beside;

    if (!slice_starts_with(component, slice_of(SPELT)) || component.len > NAMES_COMPONENT_MAX) {
        return false;
    }
    for (size_t i = strlen(SPELT); i < component.len; i++) {
        unsigned char byte = (unsigned char)component.data[i];

        if (byte == '%' && (i + 2 >= component.len || !hex_byte(component.data + i + 1, &byte))) {
            return false;
        }
        if (len == NAMES_MAX || byte == '\0' || byte == '/') {
            return false;
        }
        i += component.data[i] == '%' ? 2 : 0;
        ret[len++] = (char)byte;
    }
    ret[len] = '\0';
    if (plain(ret, &beside, &ignored) != 1) {
        return false;
    }
    spell(ret, again);
    return slice_eq_str(component, again);
}

/* ---- both ways ---- */

static int plain(const char *name, bool *ret_beside, struct slice *ret)
{
    char ignored[NAMES_MAX + 1];

    *ret_beside = false;
    *ret = slice_of(name);
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return -EINVAL;
    }
    if (!s3_utf8_valid(*ret)) {
        return 1;
    }
    if (strncmp(name, ESCAPE, strlen(ESCAPE)) != 0) {
        return 0;
    }
    for (size_t i = 0; i < FIXED; i++) {
        if (strcmp(name, fixed[i].name) == 0) {
            *ret = slice_of(fixed[i].component);
            return 0;
        }
    }
    if (strncmp(name, BESIDE, strlen(BESIDE)) == 0) {
        *ret_beside = true;
        *ret = slice_of(name + strlen(BESIDE));
        return 0;
    }
    if (strncmp(name, NAMES_LONG, strlen(NAMES_LONG)) == 0 ||
        strncmp(name, NAMES_LONG_BESIDE, strlen(NAMES_LONG_BESIDE)) == 0) {
        return -EINVAL;
    }
    if (strncmp(name, ESCAPED_ESCAPE, strlen(ESCAPED_ESCAPE)) != 0) {
        return 1;
    }
    *ret = slice_of(name + strlen(ESCAPED_ESCAPE));
    return slice_starts_with(*ret, slice_of(ESCAPE)) && !spelt(*ret, ignored) ? 0 : 1;
}

int names_from_key(struct slice component, bool beside, char ret[NAMES_MAX + 1])
{
    if (beside) {
        return join(BESIDE, component, ret, NAMES_MAX);
    }
    for (size_t i = 0; i < FIXED; i++) {
        if (slice_eq_str(component, fixed[i].component)) {
            return join(fixed[i].name, (struct slice){0}, ret, NAMES_MAX);
        }
    }
    if (spelt(component, ret)) {
        return 0;
    }
    return join(slice_starts_with(component, slice_of(ESCAPE)) ? ESCAPED_ESCAPE : "", component,
                ret, NAMES_MAX);
}

int names_to_key(const char *name, bool *ret_beside, char ret[NAMES_COMPONENT_MAX + 1])
{
    struct slice component;
    int r;

    if (strlen(name) > NAMES_MAX) {
        return -ENAMETOOLONG;
    }
    r = plain(name, ret_beside, &component);
    if (r == 1) {
        spell(name, ret);
        return 0;
    }
    return r < 0 ? r : join("", component, ret, NAMES_COMPONENT_MAX);
}
