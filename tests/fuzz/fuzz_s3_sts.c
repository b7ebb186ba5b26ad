/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever an STS answers: keys that a header can carry, or a refusal that a log can, or neither.
 */
#include <string.h>

#include "fuzz.h"
#include "s3/sts.h"

static void check_text(const char *text, size_t cap, char first)
{
    size_t len = strnlen(text, cap);

    CHECK(len < cap);
    for (size_t i = 0; i < len; i++) {
        CHECK(text[i] >= first && text[i] < 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct s3_sts_answer answer;
    int r = s3_sts_answer_parse(data, size, &answer);

    check_text(answer.access_key, sizeof(answer.access_key), '!');
    check_text(answer.secret_key, sizeof(answer.secret_key), '!');
    check_text(answer.token, sizeof(answer.token), '!');
    check_text(answer.code, sizeof(answer.code), '.');
    check_text(answer.message, sizeof(answer.message), ' ');
    if (r != 0) {
        CHECK(answer.access_key[0] == '\0' && answer.code[0] == '\0');
    }
    CHECK((answer.secret_key[0] == '\0') == (answer.access_key[0] == '\0'));
    CHECK((answer.token[0] == '\0') == (answer.access_key[0] == '\0'));
    CHECK(answer.access_key[0] == '\0' || answer.expires_s > 0);
    CHECK(r != 0 || answer.access_key[0] != '\0' || answer.code[0] != '\0');
    s3_sts_answer_done(&answer);
    return 0;
}
