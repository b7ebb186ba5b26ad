/* SPDX-License-Identifier: Apache-2.0 */
/* A request head as lines: "METHOD PATH?QUERY", then "Name:value" each. */
#include <string.h>

#include "fuzz.h"
#include "s3/sign.h"

enum { HEADERS = 16 };

static struct slice cut(struct slice *rest, char at)
{
    const char *end = rest->len > 0 ? memchr(rest->data, at, rest->len) : NULL;
    struct slice piece = {rest->data, end != NULL ? (size_t)(end - rest->data) : rest->len};

    *rest =
        end != NULL ? (struct slice){end + 1, rest->len - piece.len - 1} : (struct slice){NULL, 0};
    return piece;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct s3_auth_rules rules = {.now_s = 1369353600, .region = "us-east-1"};
    static const struct s3_signing_key key = {{1, 2, 3}};
    struct slice rest = {(const char *)data, size};
    struct slice line = cut(&rest, '\n');
    struct s3_header headers[HEADERS];
    struct s3_message message = {.headers = headers};
    struct s3_auth auth;
    struct s3_fault fault = S3_FAULT_INIT;
    struct arena arena = ARENA_INIT(64 * 1024);
    int ret;

    message.method = cut(&line, ' ');
    message.path = cut(&line, '?');
    message.query = line;
    while (rest.len > 0 && message.header_count < HEADERS) {
        line = cut(&rest, '\n');
        headers[message.header_count].name = cut(&line, ':');
        headers[message.header_count++].value = line;
    }
    ret = s3_auth_parse(&message, &rules, &arena, &auth, &fault);
    CHECK((ret == 0) == (fault.code == S3_OK));
    if (ret == 0) {
        CHECK(strlen(auth.payload_hash) < sizeof(auth.payload_hash));
        /* Nobody can guess a signature, and an anonymous request never verifies. */
        CHECK(s3_auth_verify(&message, &auth, &key, &fault) < 0);
    }
    arena_done(&arena);
    return 0;
}
