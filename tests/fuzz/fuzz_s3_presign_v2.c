/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two request heads, a NUL between; each as lines: "METHOD PATH?QUERY", then "Name:value". When
 * both are accepted and have the same string to sign, whoever has the URL of one has that of the
 * other: they must ask for the same.
 */
#include <string.h>
#include <strings.h>

#include "fuzz.h"
#include "s3/names.h"
#include "s3/sign_v2.h"

enum { HEADERS = 16, TEXT_MAX = 256 * 1024 };

struct request {
    struct s3_header headers[HEADERS];
    struct s3_message message;
    struct s3_auth auth;
    struct arena arena;
    struct buf text;
    int error;
};

static struct slice cut(struct slice *rest, char at)
{
    const char *end = rest->len > 0 ? memchr(rest->data, at, rest->len) : NULL;
    struct slice piece = {rest->data, end != NULL ? (size_t)(end - rest->data) : rest->len};

    *rest =
        end != NULL ? (struct slice){end + 1, rest->len - piece.len - 1} : (struct slice){NULL, 0};
    return piece;
}

/* nginx lets no such byte in a header through, and no name without a value. */
static struct slice clean(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.data[i] < ' ' || text.data[i] == 0x7f) {
            text.len = i;
        }
    }
    return text;
}

static void read_request(struct slice rest, struct request *r)
{
    static const struct s3_auth_rules rules = {.now_s = 1369353600, .v2 = true};
    static const struct slice host = {"b", 1};
    struct s3_fault fault = S3_FAULT_INIT;
    struct slice line = cut(&rest, '\n');

    *r = (struct request){.arena = ARENA_INIT(1 << 20), .text = BUF_INIT(TEXT_MAX)};
    r->message.headers = r->headers;
    r->message.method = cut(&line, ' ');
    r->message.path = cut(&line, '?');
    r->message.query = line;
    while (rest.len > 0 && r->message.header_count < HEADERS) {
        struct s3_header *header = &r->headers[r->message.header_count];

        line = cut(&rest, '\n');
        header->name = clean(cut(&line, ':'));
        header->value = clean(slice_trim(line));
        if (header->name.len > 0 && header->value.data != NULL) {
            r->message.header_count++;
        }
    }
    r->error = s3_auth_parse(&r->message, &rules, &r->arena, &r->auth, &fault);
    if (r->error == 0 && r->auth.kind != S3_AUTH_QUERY_V2) {
        r->error = -1; /* not ours */
        return;
    }
    r->error =
        r->error == 0 ? s3_v2_parse(&r->message, &rules, &r->arena, &r->auth, &fault) : r->error;
    CHECK((r->error == 0) == (fault.code == S3_OK));
    if (r->error == 0) { /* nobody can guess a signature */
        CHECK(s3_v2_verify(&r->message, host, &r->auth, "secret", &fault) < 0);
        r->error = s3_v2_string_to_sign(&r->message, (struct slice){0}, &r->auth, false, &r->text);
    }
}

/* The first header of each name that counts, and what counts of the query. */
static void compare(struct request *a, struct request *b)
{
    static const char *const read[] = {"acl",
                                       "versionId",
                                       "partNumber",
                                       "uploadId",
                                       "tagging",
                                       "uploads",
                                       "delete",
                                       "versions",
                                       "policy",
                                       "cors",
                                       "response-content-type",
                                       "response-content-disposition",
                                       "prefix",
                                       "list-type",
                                       "attributes",
                                       "location"};

    for (size_t i = 0; i < sizeof(read) / sizeof(read[0]); i++) {
        struct buf x = BUF_INIT(TEXT_MAX), y = BUF_INIT(TEXT_MAX);
        int one = s3_query_get(a->message.query, read[i], &x);
        int two = s3_query_get(b->message.query, read[i], &y);

        CHECK(one == two && one >= 0);
        CHECK(slice_eq((struct slice){buf_str(&x), buf_len(&x)},
                       (struct slice){buf_str(&y), buf_len(&y)}));
        buf_done(&x);
        buf_done(&y);
    }
    CHECK(slice_eq(a->message.method, b->message.method));
    CHECK(slice_eq(a->message.path, b->message.path));
    CHECK(strcmp(a->auth.session_token, b->auth.session_token) == 0);
    CHECK(a->auth.payload == b->auth.payload && a->auth.time_s == b->auth.time_s);
    for (size_t i = 0; i < a->message.header_count; i++) {
        char name[64];
        struct slice n = a->message.headers[i].name, x, y;

        if (n.len < 6 || n.len >= sizeof(name) || strncasecmp(n.data, "x-amz-", 6) != 0) {
            continue;
        }
        memcpy(name, n.data, n.len);
        name[n.len] = '\0';
        x = slice_trim(s3_message_header(&a->message, name));
        y = slice_trim(s3_message_header(&b->message, name));
        /* "a: 1" and "a: 2" are "a: 1,2" in HTTP */
        CHECK(y.data != NULL && (slice_starts_with(x, y) || slice_starts_with(y, x)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice second = {(const char *)data, size}, first = cut(&second, '\0');
    struct request a, b;

    read_request(first, &a);
    read_request(second, &b);
    if (a.error == 0 && b.error == 0 &&
        slice_eq((struct slice){buf_str(&a.text), buf_len(&a.text)},
                 (struct slice){buf_str(&b.text), buf_len(&b.text)})) {
        compare(&a, &b);
        compare(&b, &a);
    }
    buf_done(&a.text);
    buf_done(&b.text);
    arena_done(&a.arena);
    arena_done(&b.arena);
    return 0;
}
