/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "csi/secrets.h"
#include "csi/token.h"
#include "test.h"
#include "util/cleanup.h"

static int find(const char *secret, const char *context, char **ret, struct error *err)
{
    struct csi_entry entries[2] = {{.key = CSI_TOKENS_KEY, .value = secret},
                                   {.key = CSI_TOKENS_KEY, .value = context}};
    const struct csi_entry *lists[2] = {&entries[0], &entries[1]};
    struct csi_map secrets = {.entries = &lists[0], .count = secret != NULL};
    struct csi_map contexts = {.entries = &lists[1], .count = context != NULL};

    return csi_token_find(&secrets, &contexts, CSI_TOKEN_AUDIENCE, ret, err);
}

static void test_the_token_of_our_audience_is_found_in_either_place(UNUSED void **state)
{
    static const char ours[] = "{\"a\":{\"token\":\"x\"},\"skyvol-meta\":{\"token\":\"t1\"}}";
    static const char older[] = "{\"skyvol-meta\":{\"token\":\"t2\"}}";
    AUTOFREE char *first = NULL;
    AUTOFREE char *second = NULL;
    struct error err = ERROR_INIT;

    assert_int_equal(find(ours, older, &first, &err), 0);
    assert_string_equal(first, "t1");
    assert_int_equal(find(NULL, older, &second, &err), 0);
    assert_string_equal(second, "t2");
}

static void test_without_one_there_is_none(UNUSED void **state)
{
    static const char *const texts[] = {NULL,
                                        "",
                                        "{}",
                                        "{\"other\":{\"token\":\"x\"}}",
                                        "{\"skyvol-meta\":{}}",
                                        "{\"skyvol-meta\":{\"token\":\"\"}}",
                                        "{\"skyvol-meta\":{\"token\":7}}",
                                        "{\"skyvol-meta\":\"x\"}"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct error err = ERROR_INIT;
        char *token = NULL;

        assert_int_equal(find(NULL, texts[i], &token, &err), 0);
        assert_null(token);
    }
}

static void test_what_is_no_json_is_refused_without_being_shown(UNUSED void **state)
{
    static const char *const texts[] = {"secret-words", "[\"secret-words\"]",
                                        "{\"skyvol-meta\":", "\"secret-words\""};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct error err = ERROR_INIT;
        char *token = NULL;

        assert_int_equal(find(texts[i], NULL, &token, &err), -EINVAL);
        assert_null(token);
        assert_null(strstr(err.text, "secret-words"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_token_of_our_audience_is_found_in_either_place),
        cmocka_unit_test(test_without_one_there_is_none),
        cmocka_unit_test(test_what_is_no_json_is_refused_without_being_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
