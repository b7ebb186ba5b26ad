/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "csi.pb-c.h"
#include "csi/capability.h"
#include "csi/identity.h"
#include "csi/source.h"
#include "test.h"
#include "util/cleanup.h"

enum { PAIRS_MAX = 8 };

/* A map as protobuf-c has it, from "key=value" texts. */
struct pairs {
    struct csi_entry entries[PAIRS_MAX];
    struct csi_entry *list[PAIRS_MAX];
    char text[PAIRS_MAX][128];
    size_t count;
};

static struct csi_map map_of(struct pairs *p, const char *const *texts)
{
    for (p->count = 0; texts != NULL && texts[p->count] != NULL; p->count++) {
        char *text = p->text[p->count];
        char *equal;

        (void)snprintf(text, sizeof(p->text[0]), "%s", texts[p->count]);
        equal = strchr(text, '=');
        *equal = '\0';
        p->entries[p->count].key = text;
        p->entries[p->count].value = equal + 1;
        p->list[p->count] = &p->entries[p->count];
    }
    return (struct csi_map){.entries = p->list, .count = p->count};
}

#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int parse_as(const struct csi_policy *policy, const char *id, const char *const *context,
                    const char *const *secrets, struct csi_source *ret, struct error *err)
{
    struct pairs c;
    struct pairs s;
    struct csi_source_input input = {
        .volume_id = id, .context = map_of(&c, context), .secrets = map_of(&s, secrets)};

    return csi_source_parse(policy, &input, ret, err);
}

static int parse(const char *id, const char *const *context, const char *const *secrets,
                 struct csi_source *ret, struct error *err)
{
    return parse_as(&(struct csi_policy){.endpoints = NULL}, id, context, secrets, ret, err);
}

static void a_handle_is_a_bucket_or_a_bucket_and_prefix(UNUSED void **state)
{
    static const char *const cases[][2] = {
        {"team-data", "s3://team-data"},
        {"team-data/a/b", "s3://team-data/a/b/"},
        {"team-data/a/", "s3://team-data/a/"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(csi_source_done) struct csi_source s = CSI_SOURCE_INIT;

        assert_int_equal(parse(cases[i][0], NULL, NULL, &s, NULL), 0);
        assert_string_equal(s.location, cases[i][1]);
        assert_false(s.managed);
    }
}

static void hostile_handles_are_refused(UNUSED void **state)
{
    static const char *const cases[] = {"",          "ab",        "/etc",      "../etc",
                                        "a b c",     "team/../x", "team/a//b", "team/.skyvol/x",
                                        "team/a\nb", "te..am",    "team/./x"};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        CLEANUP(csi_source_done) struct csi_source s = CSI_SOURCE_INIT;

        assert_int_equal(parse(cases[i], NULL, NULL, &s, NULL), -EINVAL);
    }
}

static void any_id_does_with_attributes(UNUSED void **state)
{
    CLEANUP(csi_source_done) struct csi_source s = CSI_SOURCE_INIT;

    assert_int_equal(parse("any id", TEXTS("bucketName=data", "prefix=/x/y/"), NULL, &s, NULL), 0);
    assert_string_equal(s.location, "s3://data/x/y/");
}

static void the_secrets_of_other_drivers_are_understood(UNUSED void **state)
{
    static const char *const dialects[][3] = {
        {"accessKeyID=K", "secretAccessKey=S", NULL},
        {"AWS_ACCESS_KEY_ID=K", "AWS_SECRET_ACCESS_KEY=S", NULL},
        {"key_id=K", "access_key=S", NULL},
        {"access-key=K", "secret-key=S", NULL},
        {"access_key_id=K", "secret_access_key=S", NULL},
    };

    for (size_t i = 0; i < sizeof(dialects) / sizeof(dialects[0]); i++) {
        CLEANUP(csi_source_done) struct csi_source s = CSI_SOURCE_INIT;

        assert_int_equal(parse("data", NULL, dialects[i], &s, NULL), 0);
        assert_string_equal(s.credentials.access_key, "K");
        assert_string_equal(s.credentials.secret_key, "S");
    }
}

static void half_a_key_pair_is_refused_without_telling_it(UNUSED void **state)
{
    CLEANUP(csi_source_done) struct csi_source s = CSI_SOURCE_INIT;
    struct error err = ERROR_INIT;

    assert_int_equal(parse("data", NULL, TEXTS("secretAccessKey=hidden"), &s, &err), -EINVAL);
    assert_non_null(strstr(err.text, "accessKeyID"));
    assert_null(strstr(err.text, "hidden"));
}

static void what_is_not_known_is_refused_by_name(UNUSED void **state)
{
    CLEANUP(csi_source_done) struct csi_source s = CSI_SOURCE_INIT;
    struct error err = ERROR_INIT;

    assert_int_equal(parse("data", TEXTS("mirror=yes"), NULL, &s, &err), -EINVAL);
    assert_non_null(strstr(err.text, "mirror"));
    assert_int_equal(parse("data", TEXTS("mounter=nfs"), NULL, &s, &err), -EINVAL);
    assert_non_null(strstr(err.text, "nfs"));
    assert_int_equal(parse("data", TEXTS("endpoint=host:9000"), NULL, &s, &err), -EINVAL);
    assert_int_equal(parse("data", TEXTS("csi.storage.k8s.io/pod.name=p"), NULL, &s, &err), 0);
}

static void an_inline_volume_is_a_users(UNUSED void **state)
{
    CLEANUP(csi_source_done) struct csi_source s = CSI_SOURCE_INIT;
    char listed[] = "127.0.0.1";
    char *list[] = {listed};
    const struct csi_policy policy = {.endpoints = list, .endpoint_count = 1};
    const char *const *context =
        TEXTS("bucket=data", CSI_EPHEMERAL_KEY "=true", "endpoint=http://127.0.0.1:9000");

    assert_int_equal(parse("csi-1", context, NULL, &s, NULL), -EINVAL);
    assert_int_equal(parse_as(&policy, "csi-1", context, NULL, &s, NULL), 0);
    assert_true(s.ephemeral);
    assert_false(mount_options_true(&s.options, "public_only"));
    assert_int_equal(parse("csi-1",
                           TEXTS("bucket=data", CSI_EPHEMERAL_KEY "=true", "options=cache=/etc"),
                           NULL, &s, NULL),
                     -EINVAL);
    assert_int_equal(parse("csi-1",
                           TEXTS("bucket=data", CSI_EPHEMERAL_KEY "=true", CSI_MANAGED_KEY "=true"),
                           NULL, &s, NULL),
                     0);
    assert_true(mount_options_true(&s.options, "public_only")); /* by whatever name it goes */
    assert_false(s.managed); /* no pod's author gets the keys of a registered store */
}

/* A class can name a Secret of the claim's namespace: its endpoint is no operator's word. */
static void the_endpoint_of_a_secret_is_a_users(UNUSED void **state)
{
    CLEANUP(csi_source_done) struct csi_source s = CSI_SOURCE_INIT;
    struct error err = ERROR_INIT;
    char listed[] = "169.254.169.254";
    char *list[] = {listed};
    const struct csi_policy policy = {.endpoints = list, .endpoint_count = 1};
    const char *const *keys =
        TEXTS("accessKeyID=K", "secretAccessKey=S", "endpoint=https://s3.lan");
    const char *const *metadata = TEXTS("endpoint=http://169.254.169.254");

    for (const char *const *bad =
             TEXTS("endpoint=http://127.0.0.1:9000", "AWS_ENDPOINT_URL=http://[::1]",
                   "endpoint_url=http://169.254.169.254", "endpoint=http://2852039166",
                   "endpoint=http://localhost", "endpoint=http://[::ffff:127.0.0.1]");
         *bad; bad++) {
        assert_int_equal(parse("data", NULL, (const char *const[]){*bad, NULL}, &s, &err), -EINVAL);
        assert_non_null(strstr(err.text, "link-local"));
    }
    assert_int_equal(parse("data", NULL, keys, &s, NULL), 0);
    assert_true(mount_options_true(&s.options, "public_only")); /* its name resolves anywhere */
    assert_int_equal(parse("data", TEXTS(CSI_MANAGED_KEY "=true"), keys, &s, NULL), 0);
    assert_true(mount_options_true(&s.options, "public_only"));
    assert_int_equal(parse_as(&policy, "data", NULL, metadata, &s, NULL), 0);
    assert_false(mount_options_true(&s.options, "public_only"));
    /* A PersistentVolume's attribute is an administrator's, with whatever keys. */
    assert_int_equal(parse("data", TEXTS("endpoint=http://127.0.0.1:9000"),
                           TEXTS("accessKeyID=K", "secretAccessKey=S"), &s, NULL),
                     0);
    assert_false(mount_options_true(&s.options, "public_only"));
    assert_int_equal(parse("data", TEXTS("endpoint=http://127.0.0.1:9000"), keys, &s, NULL), 0);
    assert_string_equal(mount_options_get(&s.options, "endpoint"), "https://s3.lan");
    assert_true(mount_options_true(&s.options, "public_only")); /* the Secret's has come last */
}

static void the_sts_of_a_secret_is_its_store_or_aws_or_listed(UNUSED void **state)
{
    static const char *const good[][4] = {
        {"endpoint=https://s3.lan:9000", "stsEndpoint=https://s3.lan:9000", "sts_duration=2h",
         NULL},
        {"stsEndpoint=https://sts.eu-west-1.amazonaws.com", "AWS_ROLE_ARN=arn:aws:iam::1:role/r",
         NULL},
        {"role-arn=arn:aws:iam::1:role/r", NULL},
    };
    static const char *const bad[][4] = {
        {"endpoint=https://s3.lan:9000", "stsEndpoint=https://other.lan", NULL},
        {"stsEndpoint=http://10.0.0.1", NULL},
        {"stsEndpoint=https://amazonaws.com.evil.org", NULL},
        {"stsEndpoint=https://u:p@sts.amazonaws.com", NULL},
    };
    char listed[] = "10.0.0.1";
    char *list[] = {listed};
    const struct csi_policy policy = {.endpoints = list, .endpoint_count = 1};
    CLEANUP(csi_source_done) struct csi_source s = CSI_SOURCE_INIT;
    struct error err = ERROR_INIT;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse("data", NULL, bad[i], &s, &err), -EACCES);
        assert_non_null(strstr(err.text, "--allow-endpoints"));
    }
    assert_int_equal(parse_as(&policy, "data", NULL, bad[1], &s, NULL), 0);
    assert_int_equal(parse("data", NULL, TEXTS("stsDuration=long"), &s, &err), -EINVAL);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        CLEANUP(csi_source_done) struct csi_source one = CSI_SOURCE_INIT;

        assert_int_equal(parse("data", NULL, good[i], &one, &err), 0);
        assert_int_equal(one.sts_endpoint != NULL, i < 2);
        assert_int_equal(one.role_arn != NULL, i > 0);
        assert_int_equal(one.sts_duration_s, i == 0 ? 7200 : 0);
    }
}

static void the_operators_list_decides_for_everybody(UNUSED void **state)
{
    static const struct {
        const char *pattern, *endpoint;
        int result;
    } cases[] = {
        {"https://s3.example.com", "https://s3.example.com", 0},
        {"https://s3.example.com", "https://s3.example.com/", 0},
        {"https://s3.example.com", "https://s3.example.com.evil.org", -EACCES},
        {"https://s3.example.com", "http://s3.example.com", -EACCES},
        {"s3.example.com", "http://s3.example.com:9000", 0},
        {"s3.example.com", "http://s3.example.com@evil.org", -EACCES},
        {"*.example.com", "https://a.b.example.com", 0},
        {"*.example.com", "https://example.com", -EACCES},
        {"*.example.com", "https://evilexample.com", -EACCES},
        {"*.example.com", "https://evil.org/x.example.com", -EACCES},
        {"[::1]", "http://[::1]:80", 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTOFREE char *pattern = strdup(cases[i].pattern);
        const struct csi_policy policy = {.endpoints = &pattern, .endpoint_count = 1};

        assert_int_equal(csi_policy_check(&policy, cases[i].endpoint, NULL), cases[i].result);
    }
}

static void the_wish_is_the_same_with_and_without_the_secret(UNUSED void **state)
{
    CLEANUP(csi_source_done) struct csi_source with = CSI_SOURCE_INIT;
    CLEANUP(csi_source_done) struct csi_source without = CSI_SOURCE_INIT;
    const char *const *context = TEXTS("options=--uid 5");

    assert_int_equal(parse("data", context,
                           TEXTS("accessKeyID=K", "secretAccessKey=S", "endpoint=https://e.org"),
                           &with, NULL),
                     0);
    assert_int_equal(parse("data", context, NULL, &without, NULL), 0);
    assert_string_equal(with.wish, without.wish);
    assert_non_null(strstr(with.wish, "uid"));
}

static void sizes_are_those_of_kubernetes(UNUSED void **state)
{
    uint64_t n = 0;

    assert_int_equal(csi_size_parse("10Gi", &n), 0);
    assert_int_equal(n, UINT64_C(10) << 30);
    assert_int_equal(csi_size_parse("5G", &n), 0);
    assert_int_equal(n, UINT64_C(5000000000));
    assert_int_equal(csi_size_parse("1.5Ki", &n), 0);
    assert_int_equal(n, 1536);
    for (const char *const *bad = TEXTS("", "x", "-1", "0x10", "1e5", "5Gx", "5 G"); *bad; bad++) {
        assert_int_equal(csi_size_parse(*bad, &n), -EINVAL);
    }
    assert_int_equal(csi_size_parse("9000Pi", &n), -ERANGE);
}

static void capabilities_are_mounts_in_any_mode(UNUSED void **state)
{
    Csi__V1__VolumeCapability c = CSI__V1__VOLUME_CAPABILITY__INIT;
    Csi__V1__VolumeCapability__AccessMode mode = CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__INIT;

    c.access_mode = &mode;
    c.access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT;
    for (int m = 1; m <= 7; m++) {
        mode.mode = (Csi__V1__VolumeCapability__AccessMode__Mode)m;
        assert_int_equal(csi_capability_check(&c, NULL), 0);
    }
    mode.mode = (Csi__V1__VolumeCapability__AccessMode__Mode)0;
    assert_int_equal(csi_capability_check(&c, NULL), -EINVAL);
    mode.mode = (Csi__V1__VolumeCapability__AccessMode__Mode)8;
    assert_int_equal(csi_capability_check(&c, NULL), -EINVAL);
    mode.mode = (Csi__V1__VolumeCapability__AccessMode__Mode)5;
    c.access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK;
    assert_int_equal(csi_capability_check(&c, NULL), -EINVAL);
    assert_int_equal(csi_capability_check(NULL, NULL), -EINVAL);
    assert_int_equal(csi_capabilities_check(NULL, 0, NULL), -EINVAL);
}

static void capacity_is_what_is_required_within_the_limit(UNUSED void **state)
{
    Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
    uint64_t bytes = 0;

    assert_int_equal(csi_capacity(NULL, 7, &bytes, NULL), 0);
    assert_int_equal(bytes, 7);
    range.limit_bytes = 5;
    assert_int_equal(csi_capacity(&range, 7, &bytes, NULL), 0);
    assert_int_equal(bytes, 5);
    range.required_bytes = 6;
    assert_int_equal(csi_capacity(&range, 7, &bytes, NULL), -ERANGE);
    range.required_bytes = -1;
    assert_int_equal(csi_capacity(&range, 7, &bytes, NULL), -ERANGE);
}

static void paths_are_spelled_as_the_mount_table_does(UNUSED void **state)
{
    static const char *const bad[] = {"",     "a/b",  "/",   "//a",     "/a//b", "/a/",
                                      "/./a", "/a/.", "/..", "/a/../b", "/a/.."};
    char longer[CSI_PATH_MAX + 2];

    assert_int_equal(csi_path("/a", "p", NULL), 0);
    assert_int_equal(csi_path("/var/lib/..data/.x/a..", "p", NULL), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = {.text = ""};

        assert_int_equal(csi_path(bad[i], "target_path", &err), -EINVAL);
        assert_non_null(strstr(err.text, "target_path"));
    }
    memset(longer, 'a', sizeof(longer) - 1);
    longer[0] = '/';
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(csi_path(longer, "p", NULL), -EINVAL);
    assert_int_equal(csi_path_parts("some/path", "p", NULL), 0);
    assert_int_equal(csi_path_parts("some/../path", "p", NULL), -EINVAL);
}

static void driver_names_are_those_of_dns(UNUSED void **state)
{
    assert_int_equal(csi_identity_check(CSI_DRIVER_NAME, NULL), 0);
    assert_int_equal(csi_identity_check("", NULL), -EINVAL);
    assert_int_equal(csi_identity_check("1skyvol.io", NULL), -EINVAL);
    assert_int_equal(csi_identity_check("csi.skyvol.io.", NULL), -EINVAL);
    assert_int_equal(csi_identity_check("csi/skyvol", NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handle_is_a_bucket_or_a_bucket_and_prefix),
        cmocka_unit_test(hostile_handles_are_refused),
        cmocka_unit_test(any_id_does_with_attributes),
        cmocka_unit_test(the_secrets_of_other_drivers_are_understood),
        cmocka_unit_test(half_a_key_pair_is_refused_without_telling_it),
        cmocka_unit_test(what_is_not_known_is_refused_by_name),
        cmocka_unit_test(an_inline_volume_is_a_users),
        cmocka_unit_test(the_endpoint_of_a_secret_is_a_users),
        cmocka_unit_test(the_sts_of_a_secret_is_its_store_or_aws_or_listed),
        cmocka_unit_test(the_operators_list_decides_for_everybody),
        cmocka_unit_test(the_wish_is_the_same_with_and_without_the_secret),
        cmocka_unit_test(sizes_are_those_of_kubernetes),
        cmocka_unit_test(capabilities_are_mounts_in_any_mode),
        cmocka_unit_test(capacity_is_what_is_required_within_the_limit),
        cmocka_unit_test(paths_are_spelled_as_the_mount_table_does),
        cmocka_unit_test(driver_names_are_those_of_dns),
    };

    return cmocka_run_group_tests_name("source", tests, NULL, NULL);
}
