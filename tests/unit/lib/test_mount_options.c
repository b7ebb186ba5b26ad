/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "mount/options.h"
#include "mount/options_table.h"
#include "test.h"
#include "util/cleanup.h"

static void expect(const char *text, enum mount_options_source source, const char *json)
{
    CLEANUP(mount_options_done) struct mount_options o = MOUNT_OPTIONS_INIT;
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    struct error err = ERROR_INIT;

    if (mount_options_parse(&o, text, source, &err) < 0) {
        fail_msg("%s: %s", text, err.text);
    }
    mount_options_json(&o, &out);
    assert_string_equal(buf_str(&out), json);
}

static void refuse(const char *text, enum mount_options_source source, const char *why)
{
    CLEANUP(mount_options_done) struct mount_options o = MOUNT_OPTIONS_INIT;
    struct error err = ERROR_INIT;

    if (mount_options_parse(&o, text, source, &err) == 0) {
        fail_msg("'%s' was accepted", text);
    }
    assert_int_equal(err.code, -EINVAL);
    if (strstr(err.text, why) == NULL) {
        fail_msg("'%s' does not say '%s'", err.text, why);
    }
}

static void ours_are_understood_in_both_forms(UNUSED void **state)
{
    expect("sync=fsync,ro,uid=1000", MOUNT_OPTIONS_USER,
           "{\"ro\":\"true\",\"sync\":\"fsync\",\"uid\":\"1000\"}");
    expect("--sync fsync --ro --uid=1000", MOUNT_OPTIONS_USER,
           "{\"ro\":\"true\",\"sync\":\"fsync\",\"uid\":\"1000\"}");
    expect("  -o file_mode=644,dir-mode=0755 --memory 64M ", MOUNT_OPTIONS_OPERATOR,
           "{\"dir_mode\":\"0755\",\"file_mode\":\"0644\",\"memory\":\"67108864\"}");
    expect("", MOUNT_OPTIONS_USER, "{}");
}

static void geesefs_spellings_are_translated(UNUSED void **state)
{
    expect("--memory-limit 1000 --dir-mode 0777 --file-mode 0666 --no-systemd --list-type 2 "
           "--stat-cache-ttl 1m30s --max-flushers 32 --enable-perms",
           MOUNT_OPTIONS_OPERATOR,
           "{\"attr_timeout\":\"90\",\"attrs\":\"full\",\"dir_mode\":\"0777\",\"file_mode\":"
           "\"0666\",\"memory\":\"1048576000\",\"parallel\":\"32\"}");
}

static void s3fs_spellings_are_translated(UNUSED void **state)
{
    expect("url=https://s3.example.com,endpoint=eu-west-1,use_path_request_style,allow_other,"
           "umask=022,multipart_size=52,parallel_count=20,dbglevel=info",
           MOUNT_OPTIONS_USER,
           "{\"endpoint\":\"https://s3.example.com\",\"parallel\":\"20\",\"path_style\":\"true\","
           "\"region\":\"eu-west-1\",\"umask\":\"0022\"}");
}

static void rclone_spellings_are_translated(UNUSED void **state)
{
    expect("--vfs-cache-mode writes --allow-other --dir-cache-time 5s --file-perms 0664 "
           "--read-only --s3-chunk-size 16M --s3-region us-east-1",
           MOUNT_OPTIONS_USER, "{\"file_mode\":\"0664\",\"region\":\"us-east-1\",\"ro\":\"true\"}");
}

static void mountpoint_spellings_are_translated(UNUSED void **state)
{
    expect("--allow-delete --metadata-ttl indefinite --endpoint-url http://minio.lab:9000 "
           "--force-path-style --sse aws:kms --sse-kms-key-id arn:aws:kms:eu:1:key/2",
           MOUNT_OPTIONS_USER,
           "{\"attr_timeout\":\"31536000\",\"endpoint\":\"http://minio.lab:9000\",\"path_style\":"
           "\"true\",\"sse\":\"aws:kms\",\"sse_key\":\"arn:aws:kms:eu:1:key/2\"}");
}

static void the_last_setting_wins(UNUSED void **state)
{
    CLEANUP(mount_options_done) struct mount_options o = MOUNT_OPTIONS_INIT;

    assert_int_equal(mount_options_parse(&o, "ro,uid=1,rw,uid=2", MOUNT_OPTIONS_USER, NULL), 0);
    assert_false(mount_options_true(&o, "ro"));
    assert_string_equal(mount_options_get(&o, "uid"), "2");
    assert_null(mount_options_get(&o, "gid"));
    assert_int_equal(mount_options_set(&o, "read-only", NULL, MOUNT_OPTIONS_USER, NULL), 0);
    assert_true(mount_options_true(&o, "ro"));
}

static void an_unknown_option_fails_by_name_and_suggests(UNUSED void **state)
{
    refuse("regin=x", MOUNT_OPTIONS_OPERATOR, "'regin' is unknown; did you mean 'region'");
    refuse("size=1G", MOUNT_OPTIONS_OPERATOR, "the argument --size");
    refuse("frobnicate", MOUNT_OPTIONS_OPERATOR, "'frobnicate' is unknown");
    refuse("--", MOUNT_OPTIONS_OPERATOR, "unknown");
    refuse("=x", MOUNT_OPTIONS_OPERATOR, "unknown");
    expect("x-systemd.automount", MOUNT_OPTIONS_USER, "{}");
}

static void values_out_of_range_are_refused(UNUSED void **state)
{
    refuse("uid=4294967295", MOUNT_OPTIONS_USER, "'uid'");
    refuse("uid=-1", MOUNT_OPTIONS_USER, "'uid'");
    refuse("file_mode=8", MOUNT_OPTIONS_USER, "'file_mode'");
    refuse("file_mode=10000", MOUNT_OPTIONS_USER, "'file_mode'");
    refuse("memory=99999999999T", MOUNT_OPTIONS_OPERATOR, "'memory'");
    refuse("memory=12Q", MOUNT_OPTIONS_OPERATOR, "'memory'");
    refuse("attr_timeout=5x", MOUNT_OPTIONS_USER, "'attr_timeout'");
    refuse("attr_timeout=", MOUNT_OPTIONS_USER, "'attr_timeout'");
    refuse("sync=never", MOUNT_OPTIONS_USER, "'sync'");
    refuse("ro=maybe", MOUNT_OPTIONS_USER, "'ro'");
    refuse("region=a;b", MOUNT_OPTIONS_USER, "'region'");
    refuse("endpoint=ftp://host", MOUNT_OPTIONS_USER, "'endpoint'");
    refuse("endpoint=127.0.0.1:9000", MOUNT_OPTIONS_OPERATOR, "write http:// or https:// before");
    refuse("endpoint=s3.example", MOUNT_OPTIONS_OPERATOR, "write http:// or https:// before");
    refuse("endpoint=http://user@host", MOUNT_OPTIONS_USER, "'endpoint'");
    refuse("--uid", MOUNT_OPTIONS_USER, "needs a value");
}

static void ours_beyond_its_range_is_refused_with_the_range(UNUSED void **state)
{
    refuse("memory=1", MOUNT_OPTIONS_OPERATOR,
           "'memory': '1' is too little (possible: 16MiB to 1TiB)");
    refuse("memory=2T", MOUNT_OPTIONS_OPERATOR, "'2T' is too much (possible: 16MiB to 1TiB)");
    refuse("parallel=100000", MOUNT_OPTIONS_USER, "too much (possible: 1 to 512)");
    refuse("parallel=0", MOUNT_OPTIONS_USER, "'parallel'");
    refuse("threads=65", MOUNT_OPTIONS_OPERATOR, "too much (possible: 1 to 64)");
    refuse("retries=1000001", MOUNT_OPTIONS_USER, "too much");
    refuse("deadline=0", MOUNT_OPTIONS_USER, "'0' is too little (possible: 1s to 1d)");
    refuse("deadline=900ms", MOUNT_OPTIONS_USER, "too little");
    refuse("drain=25h", MOUNT_OPTIONS_OPERATOR, "too much (possible: 0 to 1d)");
    refuse("readahead=2G", MOUNT_OPTIONS_USER, "too much (possible: 0 to 1GiB)");
    refuse("cache_size=1K", MOUNT_OPTIONS_OPERATOR, "too little (possible: 1MiB to 16TiB)");
    refuse("journal_size=1K", MOUNT_OPTIONS_OPERATOR, "too little (possible: 1MiB to 16TiB)");
    expect("memory=16M,parallel=512,threads=64,deadline=1d,drain=0.3,readahead=0",
           MOUNT_OPTIONS_OPERATOR,
           "{\"deadline\":\"86400\",\"drain\":\"0.300\",\"memory\":\"16777216\",\"parallel\":"
           "\"512\",\"readahead\":\"0\",\"threads\":\"64\"}");
}

static void too_much_in_the_words_of_others_is_the_most_and_noted(UNUSED void **state)
{
    CLEANUP(mount_options_done) struct mount_options o = MOUNT_OPTIONS_INIT;

    assert_int_equal(
        mount_options_parse(&o, "max_flushers=100,threads=8", MOUNT_OPTIONS_OPERATOR, NULL), 0);
    assert_string_equal(o.note, "");
    assert_int_equal(mount_options_parse(&o, "--max-flushers 5000 --http_timeout -1",
                                         MOUNT_OPTIONS_OPERATOR, NULL),
                     0);
    assert_string_equal(mount_options_get(&o, "parallel"), "512");
    assert_string_equal(mount_options_get(&o, "deadline"), "86400");
    assert_string_equal(
        o.note, "mount option 'max_flushers': '5000' is more than is possible, 512 is taken; "
                "mount option 'http_timeout': '-1' is more than is possible, 1d is taken");
    for (int i = 0; i < 20; i++) { /* it has an end */
        assert_int_equal(mount_options_parse(&o, "max_threads=1000", MOUNT_OPTIONS_OPERATOR, NULL),
                         0);
    }
    assert_true(strlen(o.note) < MOUNT_OPTIONS_NOTE_MAX);
    assert_string_equal(mount_options_get(&o, "threads"), "64");
    refuse("memory_limit=8", MOUNT_OPTIONS_OPERATOR, "'8' is too little (possible: 16MiB");
}

static void ranges_stand_with_our_own_spelling_of_a_number(UNUSED void **state)
{
    for (size_t i = 0; i < mount_option_table_count; i++) {
        const struct mount_option_row *row = &mount_option_table[i];

        assert_true(row->least <= row->most);
        if (row->most != 0) {
            assert_non_null(row->help);
            assert_string_equal(row->spelling, row->ours);
            assert_true(row->kind == MOUNT_OPTION_SIZE || row->kind == MOUNT_OPTION_COUNT ||
                        row->kind == MOUNT_OPTION_SECONDS);
        } else if (row->help != NULL) { /* every number of ours that costs something has one */
            assert_true(row->kind != MOUNT_OPTION_SIZE && row->kind != MOUNT_OPTION_COUNT);
        }
    }
}

static void a_user_sets_nothing_of_the_operators(UNUSED void **state)
{
    for (size_t i = 0; i < mount_option_table_count; i++) {
        CLEANUP(mount_options_done) struct mount_options o = MOUNT_OPTIONS_INIT;
        const struct mount_option_row *row = &mount_option_table[i];

        if (row->kind == MOUNT_OPTION_PATH) {
            assert_int_equal(row->owner, MOUNT_OPTION_OF_OPERATOR);
            assert_int_equal(
                mount_options_set(&o, row->spelling, "/tmp/x", MOUNT_OPTIONS_USER, NULL), -EINVAL);
            assert_int_equal(
                mount_options_set(&o, row->spelling, "/tmp/x", MOUNT_OPTIONS_OPERATOR, NULL), 0);
        }
    }
    refuse("--memory-limit 4000", MOUNT_OPTIONS_USER, "operator's");
    refuse("no_check_certificate", MOUNT_OPTIONS_USER, "operator's");
    refuse("cache=/var", MOUNT_OPTIONS_USER, "path of the host");
    refuse("cache=relative", MOUNT_OPTIONS_OPERATOR, "'cache'");
}

static void a_user_reaches_neither_the_node_nor_its_metadata_service(UNUSED void **state)
{
    static const char *const hosts[] = {"localhost",
                                        "localhost.",
                                        "a.localhost",
                                        "127.0.0.1",
                                        "127.1",
                                        "0x7f000001",
                                        "2130706433",
                                        "0177.0.0.1",
                                        "0.0.0.0",
                                        "169.254.169.254",
                                        "[::1]",
                                        "[::]",
                                        "[fe80::1]",
                                        "[::ffff:169.254.169.254]",
                                        "[fd00:ec2::254]",
                                        "metadata.google.internal",
                                        "Metadata.Google.Internal."};

    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(256);

        buf_addf(&text, "endpoint=http://%s:80/x", hosts[i]);
        refuse(buf_str(&text), MOUNT_OPTIONS_USER, "link-local");
    }
    expect("endpoint=http://127.0.0.1:9000", MOUNT_OPTIONS_OPERATOR,
           "{\"endpoint\":\"http://127.0.0.1:9000\"}");
    expect("endpoint=http://10.0.0.5:9000", MOUNT_OPTIONS_USER,
           "{\"endpoint\":\"http://10.0.0.5:9000\"}");
    expect("endpoint=http://[2001:db8::1]:9000", MOUNT_OPTIONS_USER,
           "{\"endpoint\":\"http://[2001:db8::1]:9000\"}");
}

static void a_password_in_a_value_is_never_repeated(UNUSED void **state)
{
    static const char *const texts[] = {
        "endpoint=http://u:HUSH@h/",     "url=https://HUSH@h", "endpoint=http://u:HUSH",
        "endpoint=http://u:HU,SH@h/",    "uid=s3://K:HUSH@b",  "http://u:HUSH@h",
        "--endpoint http://u:HUSH@h:80", "memory=HUSH@x",      "endpoint=ftp://u:HUSH@h",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        for (int source = MOUNT_OPTIONS_OPERATOR; source <= MOUNT_OPTIONS_USER; source++) {
            CLEANUP(mount_options_done) struct mount_options o = MOUNT_OPTIONS_INIT;
            struct error err = ERROR_INIT;

            assert_int_equal(
                mount_options_parse(&o, texts[i], (enum mount_options_source)source, &err),
                -EINVAL);
            assert_null(strstr(err.text, "HU"));
            assert_null(strstr(err.text, "SH"));
            assert_non_null(strstr(err.text, "do not belong there"));
        }
    }
    refuse("uid=seven", MOUNT_OPTIONS_USER, "'seven'"); /* the rest is still told */
}

static void by_hand(const char *text, const char *json, const char *fuse)
{
    CLEANUP(mount_options_done) struct mount_options o = MOUNT_OPTIONS_INIT;
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf told = BUF_INIT(4096);
    struct error err = ERROR_INIT;

    if (mount_options_parse(&o, text, MOUNT_OPTIONS_BY_HAND, &err) < 0) {
        fail_msg("%s: %s", text, err.text);
    }
    mount_options_json(&o, &out);
    assert_string_equal(buf_str(&out), json);
    mount_options_hand(&o, "s3://b/a,b\\c", &told);
    assert_string_equal(buf_str(&told), fuse);
}

static void what_mount_8_passes_is_taken(UNUSED void **state)
{
    static const char named[] = "fsname=s3://b/a\\,b\\\\c";

    by_hand("defaults,_netdev,auto,user=me,users,group,owner,nofail,async,lazytime,nolazytime,"
            "relatime,comment=x,X-mount.mkdir,x-systemd.automount",
            "{}", named);
    by_hand("rw,sync", "{\"ro\":\"false\",\"sync\":\"close\"}", named);
    by_hand("sync=fsync,async", "{\"sync\":\"fsync\"}", named);
    by_hand("exec,suid,dev", "{}", "fsname=s3://b/a\\,b\\\\c,exec,suid,dev");
    by_hand("suid,noexec,nosuid,nodev,fsname=a,fsname=data", "{}",
            "fsname=data,noexec,nosuid,nodev");
    refuse("sync=", MOUNT_OPTIONS_BY_HAND, "close fsync async");
    refuse("allow_root", MOUNT_OPTIONS_BY_HAND, "allow_other");
    refuse("fsname", MOUNT_OPTIONS_BY_HAND, "needs a text");
    refuse("fsname=a\x01", MOUNT_OPTIONS_BY_HAND, "control character");
}

static void what_the_kernel_is_told_is_of_mounts_by_hand(UNUSED void **state)
{
    expect("nosuid,nodev,exec,fsname=x", MOUNT_OPTIONS_USER, "{}");
    expect("nosuid,nodev,exec,fsname=x", MOUNT_OPTIONS_OPERATOR, "{}");
    refuse("noexec", MOUNT_OPTIONS_OPERATOR, "by hand");
    refuse("suid", MOUNT_OPTIONS_USER, "by hand");
    refuse("dev", MOUNT_OPTIONS_OPERATOR, "by hand");
}

static void spellings_are_unique_and_canonical(UNUSED void **state)
{
    for (size_t i = 0; i < mount_option_table_count; i++) {
        assert_null(strchr(mount_option_table[i].spelling, '-'));
        assert_true(strlen(mount_option_table[i].spelling) < 64);
        for (size_t j = 0; j < i; j++) {
            if (strcmp(mount_option_table[i].spelling, mount_option_table[j].spelling) == 0) {
                fail_msg("'%s' stands twice in the table", mount_option_table[i].spelling);
            }
        }
    }
}

static void help_names_each_of_ours(UNUSED void **state)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(65536);

    mount_options_help(&out);
    assert_int_equal(buf_error(&out), 0);
    assert_non_null(strstr(buf_str(&out), "  sync=close|fsync|async "));
    assert_non_null(strstr(buf_str(&out), "  memory=SIZE "));
    assert_null(strstr(buf_str(&out), "memory_limit"));
    assert_non_null(strstr(buf_str(&out), "; 16MiB to 1TiB [operator]\n"));
    assert_non_null(strstr(buf_str(&out), "transfers at a time (64); 1 to 512\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ours_are_understood_in_both_forms),
        cmocka_unit_test(geesefs_spellings_are_translated),
        cmocka_unit_test(s3fs_spellings_are_translated),
        cmocka_unit_test(rclone_spellings_are_translated),
        cmocka_unit_test(mountpoint_spellings_are_translated),
        cmocka_unit_test(the_last_setting_wins),
        cmocka_unit_test(an_unknown_option_fails_by_name_and_suggests),
        cmocka_unit_test(values_out_of_range_are_refused),
        cmocka_unit_test(ours_beyond_its_range_is_refused_with_the_range),
        cmocka_unit_test(too_much_in_the_words_of_others_is_the_most_and_noted),
        cmocka_unit_test(ranges_stand_with_our_own_spelling_of_a_number),
        cmocka_unit_test(a_user_sets_nothing_of_the_operators),
        cmocka_unit_test(a_user_reaches_neither_the_node_nor_its_metadata_service),
        cmocka_unit_test(a_password_in_a_value_is_never_repeated),
        cmocka_unit_test(what_mount_8_passes_is_taken),
        cmocka_unit_test(what_the_kernel_is_told_is_of_mounts_by_hand),
        cmocka_unit_test(spellings_are_unique_and_canonical),
        cmocka_unit_test(help_names_each_of_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
