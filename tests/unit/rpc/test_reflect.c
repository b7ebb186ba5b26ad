/* SPDX-License-Identifier: Apache-2.0 */
/* Codes, texts, redaction and JSON: what needs no server. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <google/protobuf/timestamp.pb-c.h>
#include <google/protobuf/wrappers.pb-c.h>

#include "rpc/code.h"
#include "rpc/json.h"
#include "rpc/redact.h"
#include "rpc/utf8.h"
#include "tests/echo.pb-c.h"

static void every_code_comes_back_as_an_error_of_the_same_code(void **state UNUSED)
{
    for (int code = RPC_OK; code <= RPC_UNAUTHENTICATED; code++) {
        int error = rpc_code_to_errno((enum rpc_code)code);

        if (code != RPC_UNKNOWN) { /* EIO, which is INTERNAL */
            assert_int_equal(rpc_code_from_errno(error), code);
        }
        assert_string_not_equal(rpc_code_name((enum rpc_code)code), "");
    }
    assert_int_equal(rpc_code_to_errno((enum rpc_code)99), -EIO);
    assert_string_equal(rpc_code_name((enum rpc_code)99), "UNKNOWN");
    assert_int_equal(rpc_code_from_errno(-EXDEV), RPC_INTERNAL);
}

static void errors_map_to_the_codes_that_csi_wants(void **state UNUSED)
{
    static const struct {
        int error;
        enum rpc_code code;
    } expected[] = {
        {EINVAL, RPC_INVALID_ARGUMENT},   {ENOENT, RPC_NOT_FOUND},
        {EEXIST, RPC_ALREADY_EXISTS},     {EAGAIN, RPC_ABORTED},
        {EINPROGRESS, RPC_ABORTED},       {EBUSY, RPC_FAILED_PRECONDITION},
        {ENOSPC, RPC_RESOURCE_EXHAUSTED}, {ENOTSUP, RPC_UNIMPLEMENTED},
        {ERANGE, RPC_OUT_OF_RANGE},       {ECONNREFUSED, RPC_UNAVAILABLE},
        {EACCES, RPC_PERMISSION_DENIED},  {EKEYREJECTED, RPC_UNAUTHENTICATED},
    };

    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(rpc_code_from_errno(-expected[i].error), expected[i].code);
    }
}

static void text_is_made_valid_and_cut_at_a_character(void **state UNUSED)
{
    char out[8];

    assert_true(utf8_valid(slice_of("h\xc3\xa4 \xf0\x9f\x98\x80")));
    assert_false(utf8_valid(slice_of("\xc0\xaf")));         /* overlong */
    assert_false(utf8_valid(slice_of("\xed\xa0\x80")));     /* surrogate */
    assert_false(utf8_valid(slice_of("\xf4\x90\x80\x80"))); /* beyond U+10FFFF */
    assert_false(utf8_valid(slice_of("\xe2\x82")));         /* cut */
    assert_int_equal(utf8_clean(slice_of("a\n\xff\x7f"
                                         "b"),
                                out, sizeof(out)),
                     5);
    assert_string_equal(out, "a???b");
    assert_int_equal(utf8_clean(slice_of("123456\xc3\xa4"), out, sizeof(out)), 6);
    assert_string_equal(out, "123456");
}

static void secret_fields_never_reach_the_text(void **state UNUSED)
{
    Test__V1__SayRequest m = TEST__V1__SAY_REQUEST__INIT;
    Test__V1__SayRequest__SecretsEntry secret = TEST__V1__SAY_REQUEST__SECRETS_ENTRY__INIT;
    Test__V1__SayRequest__ContextEntry plain = TEST__V1__SAY_REQUEST__CONTEXT_ENTRY__INIT;
    Test__V1__SayRequest__ContextEntry token = TEST__V1__SAY_REQUEST__CONTEXT_ENTRY__INIT;
    struct buf text = BUF_INIT(4096);
    cJSON *json;
    char *printed;

    assert_int_equal(rpc_redact_add("test.v1.SayRequest", "secrets"), 0);
    assert_int_equal(rpc_redact_add("test.v1.SayRequest", "token"), 0);
    assert_int_equal(rpc_redact_add("test.v1.SayRequest", "token"), 0);
    assert_int_equal(rpc_redact_add_key("test.v1.SayRequest", "context", "sa.tokens"), 0);
    assert_true(rpc_redact_check(&test__v1__say_request__descriptor));
    assert_false(rpc_redact_check(&test__v1__say_reply__descriptor));
    secret.key = (char[]){"accessKeyID"};
    secret.value = (char[]){"HIDDEN1"};
    plain.key = (char[]){"bucket"};
    plain.value = (char[]){"b\"1"};
    token.key = (char[]){"sa.tokens"};
    token.value = (char[]){"HIDDEN2"};
    m.text = (char[]){"line\n"};
    m.token = (char[]){"HIDDEN3"};
    m.mood = TEST__V1__MOOD__LOUD;
    m.n_secrets = 1;
    m.secrets = (Test__V1__SayRequest__SecretsEntry *[]){&secret};
    m.n_context = 2;
    m.context = (Test__V1__SayRequest__ContextEntry *[]){&plain, &token};
    rpc_redact_text(&text, &m.base);
    assert_int_equal(buf_error(&text), 0);
    assert_string_equal(buf_str(&text),
                        "text: \"line\\x0a\" mood: LOUD context: [{key: \"bucket\" value: "
                        "\"b\\\"1\"} {key: \"sa.tokens\" value: \"***\"}] secrets: *** (1) "
                        "token: ***");
    buf_done(&text);
    json = rpc_json_from(&m.base, false);
    printed = cJSON_PrintUnformatted(json);
    assert_null(strstr(printed, "HIDDEN"));
    assert_non_null(strstr(printed, "\"secrets\":{\"accessKeyID\":\"***\"}"));
    cJSON_free(printed);
    cJSON_Delete(json);
    assert_int_equal(rpc_redact_add("test.v1.SayReply", "txt"), 0);
    assert_false(rpc_redact_check(&test__v1__say_reply__descriptor)); /* misspelt */
}

static int to_message(const char *text, struct arena *arena, Test__V1__SayRequest **ret,
                      struct error *err)
{
    cJSON *json = cJSON_Parse(text);
    ProtobufCMessage *message = NULL;
    int r = rpc_json_to(json, &test__v1__say_request__descriptor, arena, &message, err);

    *ret = (void *)message;
    cJSON_Delete(json);
    return r;
}

static void json_becomes_a_message_and_the_same_json_again(void **state UNUSED)
{
    static const char text[] =
        "{\"text\":\"hi\",\"error\":-3,\"sleepMs\":5,\"mood\":\"LOUD\",\"detail\":{\"note\":\"n\","
        "\"blob\":\"AAEC\"},\"context\":{\"a\":\"1\",\"b\":\"2\"},\"numbers\":[\"1\","
        "\"18446744073709551615\"],\"flag\":true,\"ratio\":0.5,\"words\":[\"x\",\"y\"],"
        "\"big\":\"-9223372036854775808\"}";
    struct arena arena = ARENA_INIT(1 << 20);
    struct error err = ERROR_INIT;
    Test__V1__SayRequest *m;
    cJSON *json;
    char *printed;

    assert_int_equal(to_message(text, &arena, &m, &err), 0);
    assert_int_equal(m->sleep_ms, 5);
    assert_int_equal(m->n_context, 2);
    assert_string_equal(m->context[1]->value, "2");
    assert_int_equal(m->detail->blob.len, 3);
    assert_int_equal(m->choice_case, TEST__V1__SAY_REQUEST__CHOICE_FLAG);
    assert_true(m->numbers[1] == UINT64_MAX);
    assert_true(m->big == INT64_MIN);
    json = rpc_json_from(&m->base, true);
    printed = cJSON_PrintUnformatted(json);
    assert_string_equal(printed, text);
    cJSON_free(printed);
    cJSON_Delete(json);
    arena_done(&arena);
}

static void json_that_does_not_fit_is_refused_by_name(void **state UNUSED)
{
    static const struct {
        const char *json;
        const char *text;
    } bad[] = {
        {"[]", "a SayRequest must be a JSON object"},
        {"{\"no\":1}", "a SayRequest has no field 'no'"},
        {"{\"text\":1}", "field 'text' must be a string"},
        {"{\"error\":1.5}", "field 'error' must be a whole number that fits its type"},
        {"{\"error\":2147483648}", "field 'error' must be a whole number that fits its type"},
        {"{\"error\":\"2147483648\"}", "field 'error' must be a whole number that fits its type"},
        {"{\"numbers\":[-1]}", "field 'numbers' must be a whole number that fits its type"},
        {"{\"numbers\":1}", "field 'numbers' must be a list"},
        {"{\"mood\":\"SAD\"}", "field 'mood' has no value 'SAD'"},
        {"{\"name\":\"x\",\"flag\":true}", "field 'flag' excludes another that is given"},
        {"{\"detail\":{\"blob\":\"*\"}}", "field 'blob' must be base64 text"},
        {"{\"context\":{\"k\":1}}", "context['k']: field 'value' must be a string"},
    };
    struct arena arena = ARENA_INIT(1 << 20);
    Test__V1__SayRequest *m;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = ERROR_INIT;

        assert_int_equal(to_message(bad[i].json, &arena, &m, &err), -EINVAL);
        assert_string_equal(err.text, bad[i].text);
    }
    arena_done(&arena);
}

static void times_and_wrappers_are_plain_values(void **state UNUSED)
{
    struct arena arena = ARENA_INIT(1 << 16);
    struct error err = ERROR_INIT;
    cJSON *json = cJSON_CreateString("2026-11-21T05:06:07.25Z");
    ProtobufCMessage *message;
    Google__Protobuf__Timestamp *time;
    Google__Protobuf__BoolValue yes = GOOGLE__PROTOBUF__BOOL_VALUE__INIT;
    cJSON *back;

    assert_int_equal(
        rpc_json_to(json, &google__protobuf__timestamp__descriptor, &arena, &message, &err), 0);
    time = (void *)message;
    assert_int_equal(time->seconds, 1795237567);
    assert_int_equal(time->nanos, 250000000);
    back = rpc_json_from(message, false);
    assert_string_equal(back->valuestring, "2026-11-21T05:06:07.250000000Z");
    cJSON_Delete(back);
    assert_int_equal(cJSON_SetValuestring(json, "yesterday") != NULL, 1);
    assert_int_equal(
        rpc_json_to(json, &google__protobuf__timestamp__descriptor, &arena, &message, &err),
        -EINVAL);
    cJSON_Delete(json);
    yes.value = 1;
    back = rpc_json_from(&yes.base, false);
    assert_true(cJSON_IsTrue(back));
    cJSON_Delete(back);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_comes_back_as_an_error_of_the_same_code),
        cmocka_unit_test(errors_map_to_the_codes_that_csi_wants),
        cmocka_unit_test(text_is_made_valid_and_cut_at_a_character),
        cmocka_unit_test(json_becomes_a_message_and_the_same_json_again),
        cmocka_unit_test(json_that_does_not_fit_is_refused_by_name),
        cmocka_unit_test(times_and_wrappers_are_plain_values),
        cmocka_unit_test(secret_fields_never_reach_the_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
