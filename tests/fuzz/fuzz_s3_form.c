/* SPDX-License-Identifier: Apache-2.0 */
/* However a form is cut into pieces, it is the same form. The input's first byte says how. */
#include <stdio.h>
#include <string.h>

#include "fuzz.h"
#include "s3/form.h"
#include "s3/form_policy.h"

enum { FILE_MAX = 4096 };

struct outcome {
    int error;
    enum s3_code code;
    size_t len, fields;
    char file[FILE_MAX];
};

static void look_at(const struct s3_form *form)
{
    const struct s3_form_target target = {"bucket", "key"};
    struct s3_form_limits limits = {0, 0};
    struct s3_form_auth auth;
    struct s3_fault fault = S3_FAULT_INIT;

    if (s3_form_auth_parse(form, "us-east-1", &auth, &fault) == 0) {
        CHECK(auth.kind == S3_FORM_ANONYMOUS || s3_form_get(form, "policy") != NULL);
    } else {
        CHECK(fault.code != S3_OK);
    }
    fault = (struct s3_fault)S3_FAULT_INIT;
    if (s3_form_policy_check(form, &target, 1, &limits, &fault) != 0) {
        CHECK(fault.code != S3_OK);
    }
}

static void read_form(const uint8_t *data, size_t size, size_t step, struct outcome *out)
{
    const char *bytes = (const char *)data;
    struct s3_fault fault = S3_FAULT_INIT;
    struct s3_form *form;
    bool looked = false;

    *out = (struct outcome){0};
    out->error = s3_form_new(slice_of("multipart/form-data; boundary=b"), &form, &fault);
    CHECK(out->error == 0);
    while (size > 0 && out->error == 0) {
        size_t len = step < size ? step : size, eaten = 0;
        struct slice file;

        out->error = s3_form_feed(form, bytes, len, &eaten, &file, &fault);
        if (out->error != 0) {
            break;
        }
        CHECK((eaten > 0 || file.len > 0) && eaten <= len);
        CHECK(file.len == 0 || s3_form_opened(form));
        CHECK(file.len <= eaten + S3_FORM_HELD_MAX);
        for (size_t i = 0; i < file.len && out->len < FILE_MAX; i++) {
            out->file[out->len++] = file.data[i];
        }
        if (s3_form_opened(form) && !looked) {
            looked = true;
            look_at(form);
        }
        bytes += eaten;
        size -= eaten;
    }
    out->error = out->error == 0 ? s3_form_finish(form, &fault) : out->error;
    out->code = fault.code;
    (void)s3_form_fields(form, &out->fields);
    s3_form_free(form);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome whole, pieces;

    if (size == 0) {
        return 0;
    }
    read_form(data + 1, size - 1, size, &whole);
    read_form(data + 1, size - 1, (size_t)data[0] % 17 + 1, &pieces);
    CHECK(whole.error == pieces.error && whole.code == pieces.code);
    if (whole.error == 0) {
        CHECK(whole.len == pieces.len && memcmp(whole.file, pieces.file, whole.len) == 0);
        CHECK(whole.fields == pieces.fields);
    }
    return 0;
}
