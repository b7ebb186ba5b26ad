/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes by volume, key and version: kept, replaced, forgotten, and begun anew when damaged. */
#include "file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "metaserver/facts.h"

struct fixture {
    struct file_fixture file;
    struct facts *facts;
};

static int setup(void **state)
{
    struct fixture *f = file_fixture_new(sizeof(*f));
    struct error err = ERROR_INIT;

    assert_int_equal(facts_open(f->file.path, &f->facts, &err), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    facts_close(f->facts);
    file_fixture_free(&f->file);
    return 0;
}

static void set(struct fixture *f, const char *volume, const char *key, const char *etag,
                const char *data)
{
    const struct fact fact = {.key = key, .etag = etag, .data = data, .len = strlen(data)};

    assert_int_equal(facts_set(f->facts, volume, &fact, 1), 0);
}

static const char *get(struct fixture *f, const char *volume, const char *key, const char *etag)
{
    struct fact fact = {.key = key, .etag = etag};

    assert_int_equal(facts_get(f->facts, volume, &fact, 1, &f->file.arena), 0);
    return fact.len > 0 ? fact.data : "none";
}

static void a_fact_is_of_one_version_of_one_key_of_one_volume(void **state)
{
    struct fixture *f = *state;

    set(f, "v", "k", "e1", "one");
    assert_string_equal(get(f, "v", "k", "e1"), "one");
    assert_string_equal(get(f, "v", "k", "e2"), "none");
    assert_string_equal(get(f, "v", "K", "e1"), "none");
    assert_string_equal(get(f, "w", "k", "e1"), "none");
    set(f, "w", "k", "e1", "other");
    set(f, "v", "k", "e2", "two");
    assert_string_equal(get(f, "v", "k", "e1"), "none");
    assert_string_equal(get(f, "v", "k", "e2"), "two");
    set(f, "v", "k", "", "");
    assert_string_equal(get(f, "v", "k", "e2"), "none");
    assert_int_equal(facts_drop(f->facts, "v"), 0);
    assert_int_equal(facts_drop(f->facts, "never"), 0);
    assert_string_equal(get(f, "w", "k", "e1"), "other");
}

static void what_is_old_is_swept(void **state)
{
    struct fixture *f = *state;

    set(f, "v", "k", "e", "one");
    assert_int_equal(facts_sweep(f->facts, facts_today()), 0);
    assert_string_equal(get(f, "v", "k", "e"), "one");
    assert_int_equal(facts_sweep(f->facts, facts_today() + 1), 1);
    assert_string_equal(get(f, "v", "k", "e"), "none");
}

static void a_damaged_file_is_begun_anew(void **state)
{
    struct fixture *f = *state;
    struct error err = ERROR_INIT;
    FILE *file;

    set(f, "v", "k", "e", "one");
    facts_close(f->facts);
    f->facts = NULL;
    file = fopen(f->file.path, "wb");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++) {
        (void)fputs("this is no database at all", file);
    }
    (void)fclose(file);
    assert_int_equal(facts_open(f->file.path, &f->facts, &err), 0);
    assert_string_equal(get(f, "v", "k", "e"), "none");
    set(f, "v", "k", "e", "two");
    assert_string_equal(get(f, "v", "k", "e"), "two");
}

static double seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* By hand: SKYVOL_FACTS=1000000 test_facts: how large, and how long a page of 1000 takes. */
static void many(void **state)
{
    struct fixture *f = *state;
    const char *wish = getenv("SKYVOL_FACTS");
    size_t total = wish != NULL ? strtoul(wish, NULL, 10) : 2000;
    static struct fact page[1000];
    static char keys[1000][64];
    static char etags[1000][40];
    static char data[58];
    double begun = seconds();
    double got;
    struct stat st;

    memset(data, 'x', sizeof(data));
    for (size_t i = 0; i < total; i += 1000) {
        for (size_t k = 0; k < 1000; k++) {
            (void)snprintf(keys[k], sizeof(keys[k]), "some/directory/d%04zu/file%06zu.dat",
                           (i + k) / 100, i + k);
            (void)snprintf(etags[k], sizeof(etags[k]), "%032zx", (i + k) * 7919);
            page[k] = (struct fact){.key = keys[k], .etag = etags[k], .data = data, .len = 58};
        }
        assert_int_equal(facts_set(f->facts, "v-1234", page, 1000), 0);
    }
    got = seconds();
    assert_int_equal(facts_get(f->facts, "v-1234", page, 1000, &f->file.arena), 0);
    assert_int_equal(page[999].len, 58);
    if (wish != NULL) {
        double done = seconds();

        facts_close(f->facts);
        f->facts = NULL;
        assert_int_equal(stat(f->file.path, &st), 0);
        print_message("%zu facts: %.0f bytes each, set in %.1f s, a page of 1000 in %.2f ms\n",
                      total, (double)st.st_size / (double)total, got - begun, (done - got) * 1000);
    }
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_fact_is_of_one_version_of_one_key_of_one_volume),
        T(what_is_old_is_swept),
        T(a_damaged_file_is_begun_anew),
        T(many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
