/* SPDX-License-Identifier: Apache-2.0 */
/*
 * form.h - a browser's upload (multipart/form-data) as S3 takes it, read while it comes.
 *
 *     ret = s3_form_new(content_type, &form, &fault);
 *     while bytes come:
 *         ret = s3_form_feed(form, bytes, len, &eaten, &file, &fault);   until all are eaten
 *         if (s3_form_opened(form)) the fields are there; `file` are bytes of the file
 *     ret = s3_form_finish(form, &fault);
 *
 * Fields count only when they come before the one named "file"; what follows it is thrown away.
 * Names are told apart without regard to case, and each may come once. Faults: MalformedPOSTRequest
 * (no boundary, a part without a name, a body that ends early), InvalidArgument (a field twice, no
 * file, more than S3_FORM_FIELDS_MAX fields), MaxPostPreDataLengthExceededError (fields over
 * S3_FORM_HEAD_MAX bytes with all that is around them). One thread at a time.
 */
#ifndef S3_FORM_H
#define S3_FORM_H

#include <stdbool.h>

#include "s3/error.h"
#include "util/slice.h"

enum {
    S3_FORM_HEAD_MAX = 20 * 1024,
    S3_FORM_FIELDS_MAX = 100,
    S3_FORM_BOUNDARY_MAX = 70,
    S3_FORM_HELD_MAX =
        S3_FORM_BOUNDARY_MAX + 4 /* bytes that may come out later than they went in */
};

struct s3_form;

struct s3_form_field {
    const char *name;  /* as it was written */
    const char *value; /* may hold anything but NUL */
};

int s3_form_new(struct slice content_type, struct s3_form **ret, struct s3_fault *fault)
    __attribute__((warn_unused_result));
void s3_form_free(struct s3_form *form);

/*
 * Take some bytes: *ret_eaten of them; *ret_file gets bytes of the file, often none, valid until
 * the next call and as long as `bytes`. One of both is not empty when len > 0. It stops eating
 * where the file begins, so that the fields can be looked at first.
 */
int s3_form_feed(struct s3_form *form, const char *bytes, size_t len, size_t *ret_eaten,
                 struct slice *ret_file, struct s3_fault *fault)
    __attribute__((warn_unused_result));
int s3_form_finish(const struct s3_form *form, struct s3_fault *fault)
    __attribute__((warn_unused_result));

/* True once the file has begun. */
bool s3_form_opened(const struct s3_form *form);
/* Bytes before the file, and those of the usual end behind it. */
size_t s3_form_before(const struct s3_form *form);
size_t s3_form_behind(const struct s3_form *form);

/* By name without regard to case; NULL: absent. Valid as long as the form. */
const char *s3_form_get(const struct s3_form *form, const char *name);
const struct s3_form_field *s3_form_fields(const struct s3_form *form, size_t *ret_count);
/* The name of the file without any folders, "" when it has none. */
const char *s3_form_filename(const struct s3_form *form);

#endif
