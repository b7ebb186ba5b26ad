/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/journal.h"
#include "mount/journal_survey.h"
#include "test.h"

static char root[64];
static char dir[96];
static struct mount_config volume = MOUNT_CONFIG_INIT;

static int set_up(UNUSED void **state)
{
    (void)snprintf(root, sizeof(root), "/tmp/skyvol-journal-XXXXXX");
    assert_non_null(mkdtemp(root));
    (void)snprintf(dir, sizeof(dir), "%s/journal", root);
    volume.location = strdup("s3://team-data/exp 1");
    assert_int_equal(mount_options_set(&volume.options, "endpoint", "https://s3.example",
                                       MOUNT_OPTIONS_OPERATOR, NULL),
                     0);
    return 0;
}

static int tear_down(UNUSED void **state)
{
    char command[128];
    pid_t pid;

    mount_config_done(&volume);
    (void)snprintf(command, sizeof(command), "%s", root);
    pid = fork();
    if (pid == 0) {
        (void)execlp("rm", "rm", "-rf", command, (char *)NULL);
        _exit(1);
    }
    (void)waitpid(pid, NULL, 0);
    return 0;
}

static struct journal *open_journal(uint64_t max_bytes)
{
    struct journal_config config = {.dir = dir, .volume = &volume, .max_bytes = max_bytes};
    struct error err = ERROR_INIT;
    struct journal *journal = NULL;
    int r = journal_open(&config, &journal, &err);

    if (r != 0) {
        fail_msg("%s", error_text(&err, r));
    }
    return journal;
}

static char pattern(uint64_t at)
{
    return (char)(at * 31 + at / 251);
}

/* Two runs of bytes, the first of more than one piece. */
static int write_one(struct journal *journal, uint32_t number, const char *path)
{
    static const uint64_t runs[2][2] = {{4096, 150000}, {1 << 20, 10}};
    static const struct journal_part parts[] = {{1, 0, "\"e1\""}, {3, 16 << 20, "\"e3\""}};
    static const struct journal_hole holes[] = {{8, 4096}, {300000, 1 << 20}};
    struct journal_entry entry = {.kind = JOURNAL_FILE,
                                  .flags = JOURNAL_ATTRS,
                                  .path = path,
                                  .xattr = "user.a=b",
                                  .etag = "\"base\"",
                                  .upload_id = "upload",
                                  .size = (1 << 20) + 10,
                                  .base_size = 77,
                                  .base_valid = 70,
                                  .token = 5,
                                  .attempt = 6,
                                  .mode = 0100640,
                                  .uid = 7,
                                  .gid = 8,
                                  .mtime_ns = -9,
                                  .parts = parts,
                                  .parts_count = 2,
                                  .holes = holes,
                                  .holes_count = 2};
    struct journal_writer *w = NULL;
    int r = journal_begin(journal, number, &w);

    for (int i = 0; r == 0 && i < 2; i++) {
        char *bytes = malloc(runs[i][1]);

        for (uint64_t at = 0; at < runs[i][1]; at++) {
            bytes[at] = pattern(runs[i][0] + at);
        }
        r = journal_add(w, runs[i][0], bytes, runs[i][1]);
        free(bytes);
    }
    r = r == 0 ? journal_end(w, &entry) : r;
    r = r == 0 ? journal_commit(journal, &w, 1) : r;
    journal_drop(w);
    return r;
}

static void what_was_written_is_read_again_by_the_next_process(UNUSED void **state)
{
    struct journal *journal = open_journal(0);
    CLEANUP(journal_file_done) struct journal_file file = JOURNAL_FILE_INIT;
    char buffer[JOURNAL_PIECE_MAX];
    uint32_t *numbers = NULL;
    size_t count = 0;

    assert_int_equal(write_one(journal, journal_number(journal), "a/b c/d"), 0);
    assert_int_equal(write_one(journal, journal_number(journal), "second"), 0);
    assert_int_equal(journal_files(journal), 2);
    journal_free(journal);
    journal = open_journal(0);
    assert_int_equal(journal_list(journal, &numbers, &count), 0);
    assert_int_equal(count, 2);
    assert_int_equal(journal_number(journal), 3);
    assert_int_equal(journal_read(journal, numbers[0], &file, NULL), 0);
    assert_string_equal(file.entry.path, "a/b c/d");
    assert_string_equal(file.entry.xattr, "user.a=b");
    assert_string_equal(file.entry.etag, "\"base\"");
    assert_string_equal(file.entry.upload_id, "upload");
    assert_string_equal(file.entry.target, "");
    assert_int_equal(file.entry.mtime_ns, -9);
    assert_int_equal(file.entry.mode, 0100640);
    assert_int_equal(file.entry.parts_count, 2);
    assert_int_equal(file.entry.parts[1].number, 3);
    assert_string_equal(file.entry.parts[1].etag, "\"e3\"");
    assert_int_equal(file.entry.holes_count, 2);
    assert_int_equal(file.entry.holes[1].from, 300000);
    assert_int_equal(file.entry.pieces_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(journal_file_piece(&file, &file.entry.pieces[i], buffer), 0);
        for (uint32_t at = 0; at < file.entry.pieces[i].len; at++) {
            assert_int_equal(buffer[at], pattern(file.entry.pieces[i].offset + at));
        }
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(journal_remove(journal, numbers[i]), 0);
        assert_int_equal(journal_remove(journal, numbers[i]), 0);
    }
    assert_int_equal(journal_files(journal), 0);
    assert_int_equal(journal_bytes(journal), 0);
    free(numbers);
    journal_free(journal);
}

static void an_empty_journal_leaves_no_directory(UNUSED void **state)
{
    struct journal *journal = open_journal(0);
    AUTOFREE char *path = strdup(journal_path(journal));
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    journal_free(journal);
    assert_int_equal(stat(path, &st), -1);
}

static void one_process_has_a_volume_at_a_time(UNUSED void **state)
{
    struct journal *journal = open_journal(0);
    struct journal_config config = {.dir = dir, .volume = &volume};
    struct error err = ERROR_INIT;
    struct journal *second = NULL;

    assert_int_equal(journal_open(&config, &second, &err), -EBUSY);
    assert_non_null(strstr(err.text, "in use"));
    journal_free(journal);
    assert_int_equal(journal_open(&config, &second, &err), 0);
    journal_free(second);
}

/* The whole file, one bit in each of its bytes wrong, and every length that is too short. */
static void no_flipped_bit_and_no_missing_byte_goes_unseen(UNUSED void **state)
{
    struct journal *journal = open_journal(0);
    struct journal_entry entry = {.kind = JOURNAL_FILE, .path = "f", .size = 600};
    struct journal_writer *w = NULL;
    char bytes[600];
    char path[256];
    struct stat st;
    int fd;

    memset(bytes, 'x', sizeof(bytes));
    assert_int_equal(journal_begin(journal, 1, &w), 0);
    assert_int_equal(journal_add(w, 0, bytes, sizeof(bytes)), 0);
    assert_int_equal(journal_end(w, &entry), 0);
    assert_int_equal(journal_commit(journal, &w, 1), 0);
    (void)snprintf(path, sizeof(path), "%s/00000001.jrn", journal_path(journal));
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    for (off_t at = 0; at < st.st_size; at++) {
        CLEANUP(journal_file_done) struct journal_file file = JOURNAL_FILE_INIT;
        struct error err = ERROR_INIT;
        char byte;

        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte = (char)(byte ^ (1 << (at % 8)));
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        assert_int_equal(journal_read(journal, 1, &file, &err), -EBADMSG);
        assert_non_null(strstr(err.text, "00000001.jrn"));
        byte = (char)(byte ^ (1 << (at % 8)));
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    }
    {
        CLEANUP(journal_file_done) struct journal_file file = JOURNAL_FILE_INIT;

        assert_int_equal(journal_read(journal, 1, &file, NULL), 0);
    }
    for (off_t len = st.st_size - 1; len >= 0; len--) {
        CLEANUP(journal_file_done) struct journal_file file = JOURNAL_FILE_INIT;

        assert_int_equal(ftruncate(fd, len), 0);
        assert_int_equal(journal_read(journal, 1, &file, NULL), -EBADMSG);
    }
    (void)close(fd);
    assert_int_equal(journal_set_aside(journal, 1), 0);
    journal_free(journal);
}

static void what_is_set_aside_stays_and_is_told(UNUSED void **state)
{
    struct journal *journal = open_journal(0);
    struct journal_list list;
    uint32_t *numbers = NULL;
    size_t count = 1;

    assert_int_equal(write_one(journal, journal_number(journal), "x"), 0);
    assert_int_equal(journal_set_aside(journal, 1), 0);
    assert_int_equal(journal_list(journal, &numbers, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(write_one(journal, journal_number(journal), "y"), 0);
    assert_int_equal(journal_survey(dir, &list), 0);
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0].volume.location, "s3://team-data/exp 1");
    assert_int_equal(list.items[0].files, 1);
    assert_int_equal(list.items[0].damaged, 1);
    assert_true(list.items[0].in_use);
    assert_true(list.items[0].bytes > 150000 && list.items[0].oldest_ns > 0);
    journal_list_done(&list);
    free(numbers);
    journal_free(journal);
    assert_int_equal(journal_survey(dir, &list), 0);
    assert_false(list.items[0].in_use);
    journal_list_done(&list);
    assert_int_equal(journal_survey("/nonexistent/journal", &list), 0);
    assert_int_equal(list.count, 0);
}

static void beyond_the_limit_nothing_is_written_and_nothing_is_lost(UNUSED void **state)
{
    struct journal *journal = open_journal(400000);
    CLEANUP(journal_file_done) struct journal_file file = JOURNAL_FILE_INIT;

    assert_int_equal(write_one(journal, 1, "x"), 0);
    assert_int_equal(write_one(journal, 2, "y"), 0);
    assert_int_equal(write_one(journal, 3, "z"), -ENOSPC);
    assert_int_equal(write_one(journal, 2, "y"), -ENOSPC); /* both at once do not fit */
    assert_int_equal(journal_files(journal), 2);
    assert_int_equal(journal_read(journal, 2, &file, NULL), 0);
    assert_int_equal(journal_remove(journal, 1), 0);
    assert_int_equal(write_one(journal, 3, "z"), 0);
    journal_free(journal);
}

/* The file system's own limit; as the limit of a process where nobody may mount. */
static void a_full_disk_is_told_and_what_was_there_stays(UNUSED void **state)
{
    struct journal *journal;
    CLEANUP(journal_file_done) struct journal_file file = JOURNAL_FILE_INIT;
    bool mounted;
    int r = 0;

    assert_int_equal(mkdir(dir, 0700), 0);
    mounted = mount("journal", dir, "tmpfs", 0, "size=512k,mode=700") == 0;
    if (!mounted) {
        print_message("nobody may mount here: not tried\n");
        return;
    }
    journal = open_journal(0);
    for (uint32_t number = 1; r == 0 && number < 10; number++) {
        r = write_one(journal, number, "x");
    }
    assert_int_equal(r, -ENOSPC);
    assert_int_equal(journal_read(journal, 1, &file, NULL), 0);
    journal_file_done(&file);
    assert_int_equal(journal_remove(journal, 1), 0);
    assert_int_equal(write_one(journal, 20, "x"), 0); /* room that a failed one took is free */
    journal_free(journal);
    assert_int_equal(umount2(dir, MNT_DETACH), 0);
}

static void a_directory_that_others_may_write_to_is_refused(UNUSED void **state)
{
    struct journal_config config = {.dir = dir, .volume = &volume};
    struct journal *journal = NULL;
    struct error err = ERROR_INIT;
    char name[JOURNAL_NAME_MAX];
    char path[256];

    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(chmod(dir, 0777), 0);
    assert_int_equal(journal_open(&config, &journal, &err), -EPERM);
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(journal_volume_name(&volume, name), 0);
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_int_equal(journal_open(&config, &journal, &err), -ENOTDIR);
    config = (struct journal_config){.dir = dir, .name = "../x"};
    assert_int_equal(journal_open(&config, &journal, &err), -ENOENT);
}

static void what_a_dead_writer_left_is_removed(UNUSED void **state)
{
    struct journal *journal = open_journal(0);
    struct journal_writer *w = NULL;
    char path[256];
    struct stat st;

    assert_int_equal(write_one(journal, 1, "x"), 0);
    assert_int_equal(journal_begin(journal, 1, &w), 0);
    (void)snprintf(path, sizeof(path), "%s/00000001.tmp", journal_path(journal));
    assert_int_equal(stat(path, &st), 0);
    journal_drop(w);
    assert_int_equal(stat(path, &st), -1);
    (void)close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    journal_free(journal);
    journal = open_journal(0);
    assert_int_equal(stat(path, &st), -1);
    assert_int_equal(journal_files(journal), 1);
    journal_free(journal);
}

static void volumes_of_other_stores_have_other_names(UNUSED void **state)
{
    struct mount_config other = {.location = volume.location};
    char one[JOURNAL_NAME_MAX];
    char two[JOURNAL_NAME_MAX];

    assert_int_equal(journal_volume_name(&volume, one), 0);
    assert_int_equal(journal_volume_name(&other, two), 0);
    assert_string_not_equal(one, two);
    assert_memory_equal(one, "team-data_exp_1-", 16);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_was_written_is_read_again_by_the_next_process),
        TEST(an_empty_journal_leaves_no_directory),
        TEST(one_process_has_a_volume_at_a_time),
        TEST(no_flipped_bit_and_no_missing_byte_goes_unseen),
        TEST(what_is_set_aside_stays_and_is_told),
        TEST(beyond_the_limit_nothing_is_written_and_nothing_is_lost),
        TEST(a_full_disk_is_told_and_what_was_there_stays),
        TEST(a_directory_that_others_may_write_to_is_refused),
        TEST(what_a_dead_writer_left_is_removed),
        TEST(volumes_of_other_stores_have_other_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
