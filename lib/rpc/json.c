/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - the way out; json_parse.c is the way in. */
#include "rpc/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "rpc/json_private.h"
#include "rpc/redact.h"
#include "rpc/reflect.h"
#include "util/buf.h"
#include "util/cleanup.h"
#include "util/encode.h"

enum { BYTES_MAX = 64 << 20 };

void json_name(const char *name, char ret[JSON_NAME_MAX])
{
    size_t len = 0;
    bool upper = false;

    for (; *name != '\0' && len + 1 < JSON_NAME_MAX; name++) {
        if (*name == '_') {
            upper = true;
            continue;
        }
        ret[len] = *name;
        if (upper && *name >= 'a' && *name <= 'z') {
            ret[len] -= 'a' - 'A';
        }
        len++;
        upper = false;
    }
    ret[len] = '\0';
}

bool json_is_timestamp(const ProtobufCMessageDescriptor *type)
{
    return strcmp(type->name, "google.protobuf.Timestamp") == 0;
}

bool json_is_wrapper(const ProtobufCMessageDescriptor *type)
{
    return strncmp(type->name, "google.protobuf.", 16) == 0 && type->n_fields == 1 &&
           strcmp(type->fields[0].name, "value") == 0;
}

static cJSON *bytes_json(ProtobufCBinaryData bytes)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(BYTES_MAX);

    encode_base64(&text, bytes.data, bytes.len);
    return buf_error(&text) == 0 ? cJSON_CreateString(buf_str(&text)) : NULL;
}

static cJSON *number_json(const ProtobufCFieldDescriptor *field, const void *value)
{
    char text[32];

    if (reflect_size(field) < sizeof(int64_t)) {
        return cJSON_CreateNumber(reflect_is_unsigned(field) ? (double)reflect_uint(field, value)
                                                             : (double)reflect_int(field, value));
    }
    if (reflect_is_unsigned(field)) {
        (void)snprintf(text, sizeof(text), "%" PRIu64, reflect_uint(field, value));
    } else {
        (void)snprintf(text, sizeof(text), "%" PRId64, reflect_int(field, value));
    }
    return cJSON_CreateString(text);
}

/* Seconds and nanoseconds since 1970 as RFC 3339 in UTC. */
static cJSON *timestamp_json(const ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *fields = message->descriptor->fields;
    time_t seconds = (time_t)reflect_int(&fields[0], reflect_value(message, &fields[0], 0));
    long nanos = (long)reflect_int(&fields[1], reflect_value(message, &fields[1], 0));
    char date[40];
    char text[64];
    struct tm tm;

    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        return cJSON_CreateNull();
    }
    if (nanos == 0) {
        (void)snprintf(text, sizeof(text), "%sZ", date);
    } else {
        (void)snprintf(text, sizeof(text), "%s.%09ldZ", date, nanos);
    }
    return cJSON_CreateString(text);
}

static cJSON *value_json(const ProtobufCFieldDescriptor *field, const void *value, bool secrets)
{
    const char *name;

    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return cJSON_CreateString(reflect_string(value));
    case PROTOBUF_C_TYPE_BYTES:
        return bytes_json(reflect_bytes(value));
    case PROTOBUF_C_TYPE_BOOL:
        return cJSON_CreateBool(reflect_int(field, value) != 0);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return cJSON_CreateNumber(reflect_double(field, value));
    case PROTOBUF_C_TYPE_ENUM:
        name = reflect_enum_name(field, reflect_int(field, value));
        return name != NULL ? cJSON_CreateString(name)
                            : cJSON_CreateNumber((double)reflect_int(field, value));
    case PROTOBUF_C_TYPE_MESSAGE:
        return rpc_json_from(reflect_message(value), secrets);
    default:
        return number_json(field, value);
    }
}

/* An entry of a map into its object. Keys that are no strings become their text. */
static bool add_entry(cJSON *object, const ProtobufCMessage *message,
                      const ProtobufCFieldDescriptor *field, const ProtobufCMessage *entry,
                      bool secrets)
{
    const ProtobufCFieldDescriptor *key_field = &entry->descriptor->fields[0];
    const ProtobufCFieldDescriptor *value_field = &entry->descriptor->fields[1];
    const char *key = reflect_entry_key(entry);
    cJSON *value;
    char text[32];

    if (key == NULL) {
        (void)snprintf(text, sizeof(text), "%" PRId64,
                       reflect_int(key_field, reflect_value(entry, key_field, 0)));
        key = text;
    }
    if (!secrets && rpc_redact_is_secret_key(message->descriptor->name, field->name, key)) {
        value = cJSON_CreateString("***");
    } else {
        value = value_json(value_field, reflect_value(entry, value_field, 0), secrets);
    }
    return cJSON_AddItemToObject(object, key, value);
}

static cJSON *repeated_json(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                            bool secrets)
{
    bool map = field->type == PROTOBUF_C_TYPE_MESSAGE && reflect_is_entry(field->descriptor);
    cJSON *json = map ? cJSON_CreateObject() : cJSON_CreateArray();
    size_t count = reflect_count(message, field);
    bool ok = json != NULL;

    for (size_t i = 0; i < count && ok; i++) {
        const void *value = reflect_value(message, field, i);

        ok = map ? add_entry(json, message, field, reflect_message(value), secrets)
                 : cJSON_AddItemToArray(json, value_json(field, value, secrets));
    }
    if (!ok) {
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}

static cJSON *field_json(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                         bool secrets)
{
    bool secret = !secrets && rpc_redact_is_secret(message->descriptor->name, field->name);

    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return secret && !(field->type == PROTOBUF_C_TYPE_MESSAGE &&
                           reflect_is_entry(field->descriptor))
                   ? cJSON_CreateString("***")
                   : repeated_json(message, field, secrets);
    }
    return secret ? cJSON_CreateString("***")
                  : value_json(field, reflect_value(message, field, 0), secrets);
}

cJSON *rpc_json_from(const ProtobufCMessage *message, bool with_secrets)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    char name[JSON_NAME_MAX];
    cJSON *json;

    if (json_is_timestamp(type)) {
        return timestamp_json(message);
    }
    if (json_is_wrapper(type)) {
        return value_json(&type->fields[0], reflect_value(message, &type->fields[0], 0),
                          with_secrets);
    }
    json = cJSON_CreateObject();
    for (unsigned i = 0; i < type->n_fields && json != NULL; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];

        if (reflect_count(message, field) == 0) {
            continue;
        }
        json_name(field->name, name);
        if (!cJSON_AddItemToObject(json, name, field_json(message, field, with_secrets))) {
            cJSON_Delete(json);
            return NULL;
        }
    }
    return json;
}
