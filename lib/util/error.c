/* SPDX-License-Identifier: Apache-2.0 */
#include "util/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int code, const char *format, ...)
{
    char text[ERROR_TEXT_MAX]; /* the arguments may be err's own text */
    va_list args;

    if (err == NULL) {
        return code;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    err->code = code;
    memcpy(err->text, text, strlen(text) + 1);
    return code;
}

int error_prefix(struct error *err, const char *format, ...)
{
    char old[ERROR_TEXT_MAX];
    va_list args;
    size_t used;

    if (err == NULL) {
        return 0;
    }
    memcpy(old, err->text, sizeof(old));
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    used = strlen(err->text);
    (void)snprintf(err->text + used, sizeof(err->text) - used, ": %s", old);
    return err->code;
}

const char *error_text(const struct error *err, int code)
{
    if (err != NULL && err->text[0] != '\0') {
        return err->text;
    }
    return strerrordesc_np(code < 0 ? -code : code);
}
