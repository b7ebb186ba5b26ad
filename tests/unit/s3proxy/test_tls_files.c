/* SPDX-License-Identifier: Apache-2.0 */
#include "s3proxy/tls_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"
#include "util/authority.h"
#include "util/file.h"

static char directory[] = "/tmp/skyvol-tls-XXXXXX", cert[64], key[64];

static void write_file(const char *path, const char *text)
{
    assert_int_equal(file_replace(path, text, strlen(text), 0600), 0);
}

/* As if its time had come. */
static bool looks(struct tls_files *files)
{
    files->looked_ms -= TLS_FILES_LOOK_MS;
    return tls_files_changed(files);
}

static void only_a_new_pair_is_taken(void **state)
{
    struct key_pair first, second;
    struct tls_files files;
    struct error err = ERROR_INIT;

    (void)state;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(cert, sizeof(cert), "%s/cert", directory);
    (void)snprintf(key, sizeof(key), "%s/key", directory);
    assert_int_equal(authority_root("first", 1, &first, &err), 0);
    assert_int_equal(authority_root("second", 1, &second, &err), 0);
    write_file(cert, first.certificate);
    assert_int_equal(tls_files_check(cert, key, &err), -ENOENT);
    write_file(key, first.key);
    assert_int_equal(tls_files_check(cert, key, &err), 0);
    tls_files_init(&files, cert, key);
    assert_false(looks(&files));

    write_file(cert, second.certificate);
    assert_false(tls_files_changed(&files)); /* its time has not come */
    assert_false(looks(&files));             /* the old key */
    assert_int_equal(tls_files_check(cert, key, &err), -EINVAL);
    write_file(key, second.key);
    assert_true(looks(&files));
    assert_false(looks(&files));
    assert_int_equal(unlink(key), 0);
    assert_false(looks(&files));
    write_file(key, second.key); /* back again, the same or another: it is a new file */
    assert_true(looks(&files));
    write_file(cert, "");
    assert_int_equal(tls_files_check(cert, key, &err), -EINVAL);
    assert_non_null(strstr(error_text(&err, -EINVAL), "no PEM certificate"));

    key_pair_done(&first);
    key_pair_done(&second);
    assert_int_equal(unlink(cert) | unlink(key) | rmdir(directory), 0);
}

static void without_files_nothing_changes(void **state)
{
    struct tls_files files;

    (void)state;
    tls_files_init(&files, NULL, NULL);
    assert_false(looks(&files));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(only_a_new_pair_is_taken),
                                       cmocka_unit_test(without_files_nothing_changes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
