/* SPDX-License-Identifier: Apache-2.0 */
/* A session token as a client sends it; "@" stands for a true one, so that the MAC is got past. */
#include <string.h>

#include "fuzz.h"
#include "s3/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct key_file keys = {.count = 1, .keys = {{.id = "k1"}}};
    struct s3_session made, seen;
    char token[2 * S3_SESSION_TOKEN_SIZE];
    size_t n = 0;
    int ret;

    CHECK(s3_session_issue(&keys, "parent", 2000, &made) == 0);
    for (size_t i = 0; i < size && n < sizeof(token) - S3_SESSION_TOKEN_SIZE; i++) {
        if (data[i] == '@') {
            memcpy(token + n, made.token, strlen(made.token));
            n += strlen(made.token);
        } else if (data[i] != '\0') {
            token[n++] = (char)data[i];
        }
    }
    token[n] = '\0';
    ret = s3_session_check(&keys, made.access_key, token, 1999, &seen);
    CHECK((ret == 0) == (strcmp(token, made.token) == 0));
    if (ret == 0) {
        CHECK(strcmp(seen.secret_key, made.secret_key) == 0 && strcmp(seen.parent, "parent") == 0);
    }
    CHECK(s3_session_check(&keys, "ASIAAAAAAAAAAAAAAAAA", token, 0, &seen) != 0);
    return 0;
}
