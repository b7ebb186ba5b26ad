/* SPDX-License-Identifier: Apache-2.0 */
/* Key components to names and back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mounter/names/names.h"
#include "s3/names.h"
#include "test.h"

static void a_component_and_its_name(const char *component, bool beside, const char *name)
{
    char got[NAMES_MAX + 1];
    char back[NAMES_COMPONENT_MAX + 1];
    bool is_beside;

    assert_int_equal(names_from_key(slice_of(component), beside, got), 0);
    assert_string_equal(got, name);
    assert_int_equal(names_to_key(name, &is_beside, back), 0);
    assert_string_equal(back, component);
    assert_int_equal(is_beside, beside);
}

static void good_names_are_their_own(UNUSED void **state)
{
    static const char *const good[] = {"a",        ".a", "...",  "%41", "a%",
                                       "\xc3\xbc", " ",  "\x01", "\\"};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        a_component_and_its_name(good[i], false, good[i]);
    }
}

static void components_that_are_no_names_have_one(UNUSED void **state)
{
    a_component_and_its_name("", false, ".%empty");
    a_component_and_its_name(".", false, ".%dot");
    a_component_and_its_name("..", false, ".%dotdot");
    a_component_and_its_name(".%dot", false, ".%%.%dot");
    a_component_and_its_name(".%", false, ".%%.%");
    a_component_and_its_name(".%%.%x", false, ".%%.%%.%x");
    a_component_and_its_name("a", true, ".%file%a");
    a_component_and_its_name(".%file%a", false, ".%%.%file%a");
}

static void names_that_are_no_keys_are_spelt(UNUSED void **state)
{
    a_component_and_its_name(".%name%%FF", false, "\xff");
    a_component_and_its_name(".%name%a%25%C3\xc3\xbc", false, "a%\xc3\xc3\xbc");
    a_component_and_its_name(".%name%.%25strange", false, ".%strange");
    a_component_and_its_name(".%name%.%25%25x", false, ".%%x");
    a_component_and_its_name(".%name%.%25", false, ".%");
    /* A key can hold what looks so and is not how we spell. */
    a_component_and_its_name(".%name%a", false, ".%%.%name%a");
    a_component_and_its_name(".%name%%ff", false, ".%%.%name%%ff");
    a_component_and_its_name(".%name%%4", false, ".%%.%name%%4");
    a_component_and_its_name(".%name%%00", false, ".%%.%name%%00");
    a_component_and_its_name(".%name%%2F%FF", false, ".%%.%name%%2F%FF");
    a_component_and_its_name(".%name%", false, ".%%.%name%");
    a_component_and_its_name(".%name%.", false, ".%%.%name%.");
    /* And a name can look like the name of what we spell. */
    a_component_and_its_name(".%name%.%25%25.%25name%25%25FF", false, ".%%.%name%%FF");
}

static void what_has_no_key_is_refused(UNUSED void **state)
{
    static const char *const bad[] = {"", ".", "..", ".%long%x", ".%lfile%y"};
    char component[NAMES_COMPONENT_MAX + 1];
    char name[NAMES_MAX + 2];
    bool beside;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(names_to_key(bad[i], &beside, component), -EINVAL);
    }
    memset(name, 0xff, sizeof(name));
    name[NAMES_MAX + 1] = '\0';
    assert_int_equal(names_to_key(name, &beside, component), -ENAMETOOLONG);
    name[NAMES_MAX] = '\0';
    assert_int_equal(names_to_key(name, &beside, component), 0);
    assert_int_equal(strlen(component), NAMES_COMPONENT_MAX);
    a_component_and_its_name(component, false, name);
}

/* Whatever bytes: a name leads to a key that leads back, and a key likewise. */
static void any_bytes_go_both_ways(UNUSED void **state)
{
    static const char alphabet[] = ".%.%name%%%FFfilelongdot\xff\xc3\xbc"
                                   "a25";
    unsigned seed = 20261121;

    for (int round = 0; round < 200000; round++) {
        char text[33];
        char other[NAMES_COMPONENT_MAX + 1];
        char back[NAMES_COMPONENT_MAX + 1];
        size_t len = (size_t)rand_r(&seed) % 20;
        size_t n = 0;
        bool beside;

        while (n < len) {
            if (n == 0 && rand_r(&seed) % 3 == 0) {
                n = (size_t)snprintf(text, sizeof(text), "%s",
                                     rand_r(&seed) % 2 == 0 ? ".%name%" : ".%%.%name%");
            } else {
                text[n++] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
            }
        }
        text[n] = '\0';
        if (names_to_key(text, &beside, other) == 0) {
            assert_true(s3_utf8_valid(slice_of(other)));
            assert_int_equal(names_from_key(slice_of(other), beside, back), 0);
            assert_string_equal(back, text);
        }
        if (s3_utf8_valid(slice_of(text))) {
            assert_int_equal(names_from_key(slice_of(text), false, other), 0);
            assert_int_equal(names_to_key(other, &beside, back), 0);
            assert_string_equal(back, text);
            assert_false(beside);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_names_are_their_own),
        cmocka_unit_test(components_that_are_no_names_have_one),
        cmocka_unit_test(names_that_are_no_keys_are_spelt),
        cmocka_unit_test(what_has_no_key_is_refused),
        cmocka_unit_test(any_bytes_go_both_ways),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
