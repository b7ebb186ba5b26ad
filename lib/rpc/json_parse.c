/* SPDX-License-Identifier: Apache-2.0 */
/* json_parse.c - JSON into messages. Nesting is bounded by cJSON's own limit (1000). */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rpc/json.h"
#include "rpc/json_private.h"
#include "rpc/reflect.h"
#include "util/encode.h"

struct parse {
    struct arena *arena;
    struct error *err;
};

static int wrong(struct parse *p, const ProtobufCFieldDescriptor *field, const char *wanted)
{
    return error_set(p->err, -EINVAL, "field '%s' must be %s", field->name, wanted);
}

static int parse_value(struct parse *p, const cJSON *json, const ProtobufCFieldDescriptor *field,
                       void *ret);
static int parse_message(struct parse *p, const cJSON *json, const ProtobufCMessageDescriptor *type,
                         ProtobufCMessage **ret);

/* The range of an integer type as doubles that are exact. */
static bool in_range(const ProtobufCFieldDescriptor *field, double n)
{
    if (reflect_size(field) == 8) {
        return fabs(n) <= 9007199254740992.0 && (n >= 0 || !reflect_is_unsigned(field));
    }
    return reflect_is_unsigned(field) ? n >= 0 && n <= UINT32_MAX
                                      : n >= INT32_MIN && n <= INT32_MAX;
}

static int integer_text(const char *text, const ProtobufCFieldDescriptor *field, uint64_t *ret)
{
    bool digits = text[0] >= '0' && text[0] <= '9';
    char *end;

    if (!digits && (text[0] != '-' || reflect_is_unsigned(field))) {
        return -EINVAL;
    }
    errno = 0;
    *ret = digits && reflect_is_unsigned(field) ? (uint64_t)strtoull(text, &end, 10)
                                                : (uint64_t)strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0') {
        return -EINVAL;
    }
    return reflect_size(field) == 8 ||
                   in_range(field,
                            reflect_is_unsigned(field) ? (double)*ret : (double)(int64_t)*ret)
               ? 0
               : -EINVAL;
}

static int parse_integer(struct parse *p, const cJSON *json, const ProtobufCFieldDescriptor *field,
                         void *ret)
{
    uint64_t wide = 0;
    uint32_t narrow;
    int r = -EINVAL;

    if (cJSON_IsString(json)) {
        r = integer_text(json->valuestring, field, &wide);
    } else if (cJSON_IsNumber(json) && json->valuedouble == floor(json->valuedouble) &&
               in_range(field, json->valuedouble)) {
        wide = json->valuedouble < 0 ? (uint64_t)(int64_t)json->valuedouble
                                     : (uint64_t)json->valuedouble;
        r = 0;
    }
    if (r < 0) {
        return wrong(p, field, "a whole number that fits its type");
    }
    narrow = (uint32_t)wide;
    if (reflect_size(field) == 8) {
        memcpy(ret, &wide, sizeof(wide));
    } else {
        memcpy(ret, &narrow, sizeof(narrow));
    }
    return 0;
}

static int parse_enum(struct parse *p, const cJSON *json, const ProtobufCFieldDescriptor *field,
                      void *ret)
{
    const ProtobufCEnumValue *value;

    if (!cJSON_IsString(json)) {
        return parse_integer(p, json, field, ret);
    }
    value = protobuf_c_enum_descriptor_get_value_by_name(field->descriptor, json->valuestring);
    if (value == NULL) {
        return error_set(p->err, -EINVAL, "field '%s' has no value '%s'", field->name,
                         json->valuestring);
    }
    memcpy(ret, &value->value, sizeof(value->value));
    return 0;
}

static int parse_bytes(struct parse *p, const cJSON *json, const ProtobufCFieldDescriptor *field,
                       void *ret)
{
    ProtobufCBinaryData bytes = {0};
    size_t len;

    if (!cJSON_IsString(json)) {
        return wrong(p, field, "base64 text");
    }
    len = strlen(json->valuestring);
    bytes.data = arena_alloc(p->arena, len + 1);
    if (bytes.data == NULL) {
        return -ENOMEM;
    }
    if (decode_base64(slice_of(json->valuestring), bytes.data, len + 1, &bytes.len) < 0) {
        return wrong(p, field, "base64 text");
    }
    memcpy(ret, &bytes, sizeof(bytes));
    return 0;
}

static int parse_real(struct parse *p, const cJSON *json, const ProtobufCFieldDescriptor *field,
                      void *ret)
{
    float narrow;

    if (!cJSON_IsNumber(json)) {
        return wrong(p, field, "a number");
    }
    narrow = (float)json->valuedouble;
    if (field->type == PROTOBUF_C_TYPE_DOUBLE) {
        memcpy(ret, &json->valuedouble, sizeof(double));
    } else {
        memcpy(ret, &narrow, sizeof(narrow));
    }
    return 0;
}

static int parse_value(struct parse *p, const cJSON *json, const ProtobufCFieldDescriptor *field,
                       void *ret)
{
    ProtobufCMessage *message;
    protobuf_c_boolean flag;
    char *text;
    int r;

    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        if (!cJSON_IsString(json)) {
            return wrong(p, field, "a string");
        }
        text = arena_strdup(p->arena, json->valuestring);
        memcpy(ret, &text, sizeof(text));
        return text != NULL ? 0 : -ENOMEM;
    case PROTOBUF_C_TYPE_BYTES:
        return parse_bytes(p, json, field, ret);
    case PROTOBUF_C_TYPE_BOOL:
        if (!cJSON_IsBool(json)) {
            return wrong(p, field, "true or false");
        }
        flag = cJSON_IsTrue(json);
        memcpy(ret, &flag, sizeof(flag));
        return 0;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return parse_real(p, json, field, ret);
    case PROTOBUF_C_TYPE_ENUM:
        return parse_enum(p, json, field, ret);
    case PROTOBUF_C_TYPE_MESSAGE:
        r = parse_message(p, json, field->descriptor, &message);
        if (r == 0) {
            memcpy(ret, &message, sizeof(void *));
        }
        return r;
    default:
        return parse_integer(p, json, field, ret);
    }
}

static int parse_entry(struct parse *p, const cJSON *item, const ProtobufCFieldDescriptor *field,
                       void *ret)
{
    const ProtobufCMessageDescriptor *type = field->descriptor;
    ProtobufCMessage *entry = arena_alloc(p->arena, type->sizeof_message);
    const cJSON key = {.type = cJSON_String, .valuestring = item->string};
    int r;

    if (entry == NULL) {
        return -ENOMEM;
    }
    protobuf_c_message_init(type, entry);
    r = parse_value(p, &key, &type->fields[0], (char *)entry + type->fields[0].offset);
    if (r == 0) {
        r = parse_value(p, item, &type->fields[1], (char *)entry + type->fields[1].offset);
    }
    memcpy(ret, &entry, sizeof(void *));
    return r < 0 ? error_prefix(p->err, "%s['%s']", field->name, item->string) : 0;
}

static int parse_repeated(struct parse *p, const cJSON *json, const ProtobufCFieldDescriptor *field,
                          char *message)
{
    bool map = field->type == PROTOBUF_C_TYPE_MESSAGE && reflect_is_entry(field->descriptor);
    size_t size = reflect_size(field);
    size_t count = 0;
    const cJSON *item;
    char *items;
    int r = 0;

    if (map ? !cJSON_IsObject(json) : !cJSON_IsArray(json)) {
        return wrong(p, field, map ? "an object" : "a list");
    }
    items = arena_array(p->arena, (size_t)cJSON_GetArraySize(json) + 1, size);
    if (items == NULL) {
        return -ENOMEM;
    }
    cJSON_ArrayForEach(item, json)
    {
        if (r == 0) {
            r = map ? parse_entry(p, item, field, items + count * size)
                    : parse_value(p, item, field, items + count * size);
        }
        count++;
    }
    memcpy(message + field->quantifier_offset, &count, sizeof(count));
    memcpy(message + field->offset, &items, sizeof(items));
    return r;
}

static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type,
                                                  const char *name)
{
    char camel[JSON_NAME_MAX];

    for (unsigned i = 0; i < type->n_fields; i++) {
        json_name(type->fields[i].name, camel);
        if (strcmp(camel, name) == 0 || strcmp(type->fields[i].name, name) == 0) {
            return &type->fields[i];
        }
    }
    return NULL;
}

static int parse_field(struct parse *p, const cJSON *json, const ProtobufCFieldDescriptor *field,
                       char *message)
{
    uint32_t chosen = field->id;

    if (cJSON_IsNull(json)) {
        return 0;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return parse_repeated(p, json, field, message);
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        memcpy(&chosen, message + field->quantifier_offset, sizeof(chosen));
        if (chosen != 0) {
            return error_set(p->err, -EINVAL, "field '%s' excludes another that is given",
                             field->name);
        }
        chosen = field->id;
        memcpy(message + field->quantifier_offset, &chosen, sizeof(chosen));
    }
    return parse_value(p, json, field, message + field->offset);
}

/* "2026-11-21T05:00:00.5Z" into seconds and nanoseconds. */
static int parse_timestamp(struct parse *p, const cJSON *json, ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *fields = message->descriptor->fields;
    struct tm tm = {0};
    int32_t nanos = 0;
    int64_t seconds;
    const char *rest =
        cJSON_IsString(json) ? strptime(json->valuestring, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;

    if (rest != NULL && *rest == '.') {
        int32_t factor = 100000000;

        for (rest++; *rest >= '0' && *rest <= '9'; rest++, factor /= 10) {
            nanos += (*rest - '0') * factor;
        }
    }
    if (rest == NULL || strcmp(rest, "Z") != 0) {
        return error_set(p->err, -EINVAL, "a time must look like 2026-01-31T23:59:59Z");
    }
    seconds = (int64_t)timegm(&tm);
    memcpy((char *)message + fields[0].offset, &seconds, sizeof(seconds));
    memcpy((char *)message + fields[1].offset, &nanos, sizeof(nanos));
    return 0;
}

static int parse_fields(struct parse *p, const cJSON *json, ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    const cJSON *item;
    int r;

    if (!cJSON_IsObject(json)) {
        return error_set(p->err, -EINVAL, "a %s must be a JSON object", type->short_name);
    }
    cJSON_ArrayForEach(item, json)
    {
        const ProtobufCFieldDescriptor *field = find_field(type, item->string);

        if (field == NULL) {
            return error_set(p->err, -EINVAL, "a %s has no field '%s'", type->short_name,
                             item->string);
        }
        r = parse_field(p, item, field, (char *)message);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int parse_message(struct parse *p, const cJSON *json, const ProtobufCMessageDescriptor *type,
                         ProtobufCMessage **ret)
{
    ProtobufCMessage *message = arena_alloc(p->arena, type->sizeof_message);
    int r;

    if (message == NULL) {
        return -ENOMEM;
    }
    protobuf_c_message_init(type, message);
    if (json_is_timestamp(type)) {
        r = parse_timestamp(p, json, message);
    } else if (json_is_wrapper(type)) {
        r = parse_value(p, json, &type->fields[0], (char *)message + type->fields[0].offset);
    } else {
        r = parse_fields(p, json, message);
    }
    if (r == 0) {
        *ret = message;
    }
    return r;
}

int rpc_json_to(const cJSON *json, const ProtobufCMessageDescriptor *type, struct arena *arena,
                ProtobufCMessage **ret, struct error *err)
{
    struct parse p = {.arena = arena, .err = err};

    return parse_message(&p, json, type, ret);
}
