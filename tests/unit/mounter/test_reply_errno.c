/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/session/reply_errno.h"

#include <errno.h>
#include <linux/fuse.h>

#include "test.h"

static void programs_see_no_error_of_the_network(void **state)
{
    static const int of_stores[] = {EBADMSG,      EBUSY, ECONNREFUSED, ECONNRESET,
                                    EHOSTUNREACH, EPIPE, EPROTO,       ETIMEDOUT};

    (void)state;
    for (size_t i = 0; i < sizeof(of_stores) / sizeof(of_stores[0]); i++) {
        assert_int_equal(reply_errno(of_stores[i], FUSE_READ), EIO);
    }
    assert_int_equal(reply_errno(EKEYEXPIRED, FUSE_FSYNC), EACCES);
}

static void what_is_said_of_files_stays(void **state)
{
    static const int of_files[] = {0,      ENOENT, EEXIST, EACCES,    ESTALE,
                                   ENOSPC, EIO,    EINTR,  ENOTEMPTY, ENODATA};

    (void)state;
    for (size_t i = 0; i < sizeof(of_files) / sizeof(of_files[0]); i++) {
        assert_int_equal(reply_errno(of_files[i], FUSE_RENAME), of_files[i]);
    }
    assert_int_equal(reply_errno(EBUSY, FUSE_RMDIR), EBUSY);
    assert_int_equal(reply_errno(EBUSY, FUSE_RENAME2), EBUSY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_see_no_error_of_the_network),
        cmocka_unit_test(what_is_said_of_files_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
