/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "csi/webhook/review.h"
#include "kube/kube.h"
#include "test.h"
#include "util/encode.h"

static const struct inject_config config = {.image = "image"};

#define REVIEW(object)                                                                             \
    "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{\"uid\":"   \
    "\"u\",\"operation\":\"CREATE\",\"kind\":{\"group\":\"\",\"kind\":\"Pod\"},\"object\":" object \
    "}}"
#define ASKS "{\"metadata\":{\"annotations\":{\"skyvol.io/s3\":\"photos\"}},\"spec\":"

static cJSON *answer(const char *text, bool *patched)
{
    struct buf out = BUF_INIT(1 << 20);
    struct error err = ERROR_INIT;
    cJSON *json;

    assert_int_equal(review_answer(&config, slice_of(text), &out, patched, &err), 0);
    json = cJSON_Parse(buf_str(&out));
    assert_non_null(json);
    assert_string_equal(kube_text(json, "response.uid"), "u");
    buf_done(&out);
    return json;
}

static bool allowed(const cJSON *json)
{
    return cJSON_IsTrue(cJSON_GetObjectItem(cJSON_GetObjectItem(json, "response"), "allowed"));
}

static void test_a_pod_that_asks_is_patched(UNUSED void **state)
{
    bool patched = false;
    cJSON *json = answer(REVIEW(ASKS "{\"containers\":[{\"name\":\"a\"}]}}"), &patched);
    char text[8192] = "";
    size_t len = 0;

    assert_true(patched && allowed(json));
    assert_int_equal(
        decode_base64(slice_of(kube_text(json, "response.patch")), text, sizeof(text) - 1, &len),
        0);
    assert_non_null(
        strstr(text, "{\"op\":\"add\",\"path\":\"/spec/containers/0/env\",\"value\":[{"));
    assert_non_null(strstr(text, "\"path\":\"/spec/containers/0/env/-\""));
    assert_non_null(strstr(text, "\"path\":\"/spec/volumes\",\"value\":[{\"name\":"));
    assert_non_null(strstr(text, "\"path\":\"/spec/initContainers\",\"value\":[{\"name\":"));
    assert_non_null(strstr(text, "\"photos-s3\""));
    cJSON_Delete(json);
}

static void test_a_pod_that_does_not_ask_is_allowed_as_it_is(UNUSED void **state)
{
    static const char *const texts[] = {
        REVIEW("{\"spec\":{\"containers\":[{}]}}"), REVIEW("{}"), REVIEW("null"), REVIEW("7"),
        REVIEW("{\"metadata\":{\"annotations\":{\"skyvol.io/s3-secret\":\"x\"}}}")};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        bool patched = true;
        cJSON *json = answer(texts[i], &patched);

        assert_false(patched);
        assert_true(allowed(json));
        assert_string_equal(kube_text(json, "response.patch"), "");
        cJSON_Delete(json);
    }
}

static void test_a_wish_that_cannot_be_is_refused(UNUSED void **state)
{
    static const char *const texts[] = {
        REVIEW(ASKS "{}}"),
        REVIEW(ASKS "{\"containers\":[]}}"),
        REVIEW(ASKS "{\"hostNetwork\":true,\"containers\":[{}]}}"),
        REVIEW(ASKS "{\"containers\":[{},{\"name\":\"a\",\"ports\":[{\"containerPort\":9000}]}]}}"),
        REVIEW(ASKS "{\"containers\":[{}],\"initContainers\":[{\"ports\":[{},"
                    "{\"containerPort\":9002}]}]}}"),
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        bool patched = true;
        cJSON *json = answer(texts[i], &patched);

        assert_false(patched || allowed(json));
        assert_true(kube_text(json, "response.status.message")[0] != '\0');
        cJSON_Delete(json);
    }
}

static void test_a_name_that_no_bucket_can_have_is_refused(UNUSED void **state)
{
    static const char *const names[] = {"7",           "\"$(X)\"",        "\"-ab\"", "\"ab\"",
                                        "\"a..b\"",    "\"192.168.1.1\"", "\"A-b\"", "\"a.-b\"",
                                        "\"xn--abc\"", "\"abc-s3alias\"", "null",    "\"\""};
    char text[512];

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        bool patched = true;
        cJSON *json;

        (void)snprintf(text, sizeof(text),
                       REVIEW("{\"metadata\":{\"annotations\":{\"skyvol.io/s3\":%s}},"
                              "\"spec\":{\"containers\":[{}]}}"),
                       names[i]);
        json = answer(text, &patched);
        assert_false(patched || allowed(json));
        assert_non_null(strstr(kube_text(json, "response.status.message"), "3 to 63"));
        cJSON_Delete(json);
    }
}

static void test_what_is_no_review_is_said_to_be_none(UNUSED void **state)
{
    static const char *const texts[] = {
        "",
        "nonsense",
        "[]",
        "{}",
        "{\"kind\":\"AdmissionReview\"}",
        ("{\"apiVersion\":\"admission.k8s.io/v1beta1\",\"kind\":\"AdmissionReview\",\"request\":{"
         "\"uid\":\"u\"}}"),
        "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"request\":{}}"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct buf out = BUF_INIT(1 << 20);
        struct error err = ERROR_INIT;
        bool patched = false;

        assert_int_equal(review_answer(&config, slice_of(texts[i]), &out, &patched, &err), -EINVAL);
        assert_int_equal(buf_len(&out), 0);
        buf_done(&out);
    }
}

static void test_a_review_of_too_many_values_is_not_parsed(UNUSED void **state)
{
    static const char head[] = "{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":"
                               "\"AdmissionReview\",\"request\":{\"uid\":\"u\",\"x\":[";
    const size_t counts[] = {400000, 600000};

    for (size_t i = 0; i < 2; i++) {
        struct buf text = BUF_INIT(REVIEW_MAX), out = BUF_INIT(1 << 20);
        struct error err = ERROR_INIT;
        bool patched = false;

        buf_addstr(&text, head);
        for (size_t k = 0; k < counts[i]; k++) {
            buf_addstr(&text, k > 0 ? ",0" : "0");
        }
        buf_addstr(&text, "]}}");
        assert_int_equal(buf_error(&text), 0);
        assert_int_equal(review_answer(&config, (struct slice){buf_str(&text), buf_len(&text)},
                                       &out, &patched, &err),
                         i == 0 ? 0 : -EINVAL);
        buf_done(&text);
        buf_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pod_that_asks_is_patched),
        cmocka_unit_test(test_a_pod_that_does_not_ask_is_allowed_as_it_is),
        cmocka_unit_test(test_a_wish_that_cannot_be_is_refused),
        cmocka_unit_test(test_a_name_that_no_bucket_can_have_is_refused),
        cmocka_unit_test(test_what_is_no_review_is_said_to_be_none),
        cmocka_unit_test(test_a_review_of_too_many_values_is_not_parsed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
