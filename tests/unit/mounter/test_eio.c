/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/session/eio.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test.h"

static char text[1 << 16];

/* What answering `errnum` writes to the log, `times` times. */
static const char *logged(uint32_t opcode, int errnum, int times)
{
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    size_t len;

    assert_non_null(file);
    (void)fflush(stderr);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    for (int i = 0; i < times; i++) {
        eio_log(opcode, 7, errnum);
    }
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    (void)close(kept);
    rewind(file);
    len = fread(text, 1, sizeof(text) - 1, file);
    text[len] = '\0';
    (void)fclose(file);
    return text;
}

static int lines(const char *of)
{
    int count = 0;

    for (; *of != '\0'; of++) {
        count += *of == '\n';
    }
    return count;
}

static void an_answer_tells_the_reason_that_its_thread_gave(void **state)
{
    (void)state;
    assert_int_equal(eio("no memory for the block"), -EIO);
    assert_non_null(strstr(logged(FUSE_WRITE, EIO, 1), "no memory for the block"));
    assert_non_null(strstr(text, "request=write"));
    assert_non_null(strstr(text, "inode=7"));
}

static void a_reason_is_told_once_and_of_one_request(void **state)
{
    (void)state;
    eio_note("old");
    eio_forget();
    assert_null(strstr(logged(FUSE_WRITE, EIO, 1), "old"));
    eio_note("old");
    assert_string_equal(logged(FUSE_WRITE, 0, 1), ""); /* it was tried again, and went well */
    assert_null(strstr(logged(FUSE_WRITE, EIO, 1), "old"));
}

static void an_error_that_programs_see_as_eio_is_logged_by_its_name(void **state)
{
    uint64_t before = eio_count();

    (void)state;
    assert_non_null(strstr(logged(FUSE_FSYNC, ETIMEDOUT, 1), strerror(ETIMEDOUT)));
    assert_int_equal(eio_count(), before + 1);
    assert_string_equal(logged(FUSE_FSYNC, ENOENT, 1), "");
    assert_int_equal(eio_count(), before + 1);
}

static void who_reads_is_told_no_error_without_a_line(void **state)
{
    uint64_t before = eio_count();

    (void)state;
    eio_about("%s %s: %d tries", "dir/file", "\"etag\"", 3);
    assert_non_null(strstr(logged(FUSE_READ, ESTALE, 1), strerror(ESTALE)));
    assert_non_null(strstr(text, "dir/file"));
    assert_non_null(strstr(text, "3 tries"));
    assert_null(strstr(logged(FUSE_READ, EACCES, 1), "dir/file")); /* that was of another answer */
    assert_non_null(strstr(logged(FUSE_FSYNC, ESTALE, 1), "request=fsync"));
    assert_string_equal(logged(FUSE_READ, EINTR, 1), "");
    assert_string_equal(logged(FUSE_WRITE, ENOSPC, 1), "");
    assert_string_equal(logged(FUSE_GETATTR, ESTALE, 1), ""); /* the kernel looks it up again */
    assert_int_equal(eio_count(), before);
}

static void a_storm_of_them_is_a_few_lines_and_the_number_left_out(void **state)
{
    uint64_t before = eio_count();

    (void)state;
    assert_in_range(lines(logged(FUSE_READ, EIO, 1000)), 1, 25); /* at the turn of a second twice */
    assert_int_equal(eio_count(), before + 1000);
    (void)sleep(1);
    assert_null(strstr(logged(FUSE_READ, EIO, 1), "left_out=0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_tells_the_reason_that_its_thread_gave),
        cmocka_unit_test(a_reason_is_told_once_and_of_one_request),
        cmocka_unit_test(an_error_that_programs_see_as_eio_is_logged_by_its_name),
        cmocka_unit_test(who_reads_is_told_no_error_without_a_line),
        cmocka_unit_test(a_storm_of_them_is_a_few_lines_and_the_number_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
