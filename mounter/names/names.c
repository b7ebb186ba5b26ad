/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/names/names.h"

#include <errno.h>
#include <string.h>

#include "s3/names.h"

#define ESCAPE ".%"
#define ESCAPED_ESCAPE ".%%"
#define BESIDE ".%file%"

static const struct {
    const char *component, *name;
} fixed[] = {
    {"", ".%empty"},
    {".", ".%dot"},
    {"..", ".%dotdot"},
};
enum { FIXED = sizeof(fixed) / sizeof(fixed[0]) };

static int join(const char *prefix, struct slice rest, char ret[NAMES_MAX + 1])
{
    size_t len = strlen(prefix);

    if (len + rest.len > NAMES_MAX) {
        return -ENAMETOOLONG;
    }
    memcpy(ret, prefix, len);
    if (rest.len > 0) {
        memcpy(ret + len, rest.data, rest.len);
    }
    ret[len + rest.len] = '\0';
    return 0;
}

int names_from_key(struct slice component, bool beside, char ret[NAMES_MAX + 1])
{
    if (beside) {
        return join(BESIDE, component, ret);
    }
    for (size_t i = 0; i < FIXED; i++) {
        if (slice_eq_str(component, fixed[i].component)) {
            return join(fixed[i].name, (struct slice){0}, ret);
        }
    }
    return join(slice_starts_with(component, slice_of(ESCAPE)) ? ESCAPED_ESCAPE : "", component,
                ret);
}

int names_to_key(const char *name, bool *ret_beside, char ret[NAMES_MAX + 1])
{
    *ret_beside = false;
    if (!s3_utf8_valid(slice_of(name))) {
        return -EINVAL; /* stores refuse such keys: it would be taken and never be published */
    }
    if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return -EINVAL;
    }
    if (strncmp(name, ESCAPE, strlen(ESCAPE)) != 0) {
        return join("", slice_of(name), ret);
    }
    for (size_t i = 0; i < FIXED; i++) {
        if (strcmp(name, fixed[i].name) == 0) {
            return join(fixed[i].component, (struct slice){0}, ret);
        }
    }
    if (strncmp(name, BESIDE, strlen(BESIDE)) == 0) {
        *ret_beside = true;
        return join("", slice_of(name + strlen(BESIDE)), ret);
    }
    if (strncmp(name, ESCAPED_ESCAPE, strlen(ESCAPED_ESCAPE)) == 0) {
        const char *rest = name + strlen(ESCAPED_ESCAPE);

        return strncmp(rest, ESCAPE, strlen(ESCAPE)) == 0 ? join("", slice_of(rest), ret) : -EINVAL;
    }
    return -EINVAL;
}
