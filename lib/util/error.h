/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - a sentence for a person, beside the errno value that programs act on.
 *
 * Passed as the optional last argument of functions whose failure crosses a border: a gRPC
 * message, a refused mount, a configuration that cannot be used. The text says what failed and
 * what to do, and never holds a secret. No allocation, so it also works when memory is out:
 *
 *     if (strcmp(scheme, "https") != 0) {
 *         return error_set(err, -EINVAL, "endpoint '%s': only http and https are known", url);
 *     }
 *
 * `err` may be NULL everywhere. A struct error belongs to one thread at a time.
 */
#ifndef UTIL_ERROR_H
#define UTIL_ERROR_H

#include <stddef.h>

enum { ERROR_TEXT_MAX = 512 };

struct error {
    int code;                  /* negative errno value, 0 when none was set */
    char text[ERROR_TEXT_MAX]; /* always NUL-terminated; cut when too long */
};

#define ERROR_INIT                                                                                 \
    {                                                                                              \
        .code = 0                                                                                  \
    }

/* Set code and text (replacing what was there, which may be an argument) and return `code`, for
 * `return error_set(...)`. */
int error_set(struct error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "format: " before the text that is there. Returns err's code, or 0 when err is NULL. */
int error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The text, or strerror of `code` when no text was set. Valid while err lives unchanged. */
const char *error_text(const struct error *err, int code);

#endif
