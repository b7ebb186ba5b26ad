/* SPDX-License-Identifier: Apache-2.0 */
/* reflect.c - values are read by memcpy: their types are known only at run time. */
#include "rpc/reflect.h"

#include <string.h>

size_t reflect_size(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

bool reflect_is_unsigned(const ProtobufCFieldDescriptor *field)
{
    return field->type == PROTOBUF_C_TYPE_UINT32 || field->type == PROTOBUF_C_TYPE_FIXED32 ||
           field->type == PROTOBUF_C_TYPE_UINT64 || field->type == PROTOBUF_C_TYPE_FIXED64;
}

const char *reflect_string(const void *value)
{
    const char *text;

    memcpy(&text, value, sizeof(text));
    return text != NULL ? text : "";
}

ProtobufCBinaryData reflect_bytes(const void *value)
{
    ProtobufCBinaryData bytes;

    memcpy(&bytes, value, sizeof(bytes));
    return bytes;
}

const ProtobufCMessage *reflect_message(const void *value)
{
    const ProtobufCMessage *message;

    memcpy(&message, value, sizeof(void *));
    return message;
}

uint64_t reflect_uint(const ProtobufCFieldDescriptor *field, const void *value)
{
    uint64_t wide;
    uint32_t narrow;

    if (reflect_size(field) == sizeof(wide)) {
        memcpy(&wide, value, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, value, sizeof(narrow));
    return narrow;
}

int64_t reflect_int(const ProtobufCFieldDescriptor *field, const void *value)
{
    int64_t wide;
    int32_t narrow;

    if (reflect_size(field) == sizeof(wide)) {
        memcpy(&wide, value, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, value, sizeof(narrow));
    return narrow;
}

double reflect_double(const ProtobufCFieldDescriptor *field, const void *value)
{
    double wide;
    float narrow;

    if (field->type == PROTOBUF_C_TYPE_DOUBLE) {
        memcpy(&wide, value, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, value, sizeof(narrow));
    return (double)narrow;
}

const char *reflect_enum_name(const ProtobufCFieldDescriptor *field, int64_t value)
{
    const ProtobufCEnumValue *found =
        protobuf_c_enum_descriptor_get_value(field->descriptor, (int)value);

    return found != NULL ? found->name : NULL;
}

static bool is_set(const ProtobufCFieldDescriptor *field, const void *value)
{
    static const char zeros[sizeof(ProtobufCBinaryData)] = {0};

    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return reflect_string(value)[0] != '\0';
    case PROTOBUF_C_TYPE_BYTES:
        return reflect_bytes(value).len > 0;
    default:
        return memcmp(value, zeros, reflect_size(field)) != 0;
    }
}

size_t reflect_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const char *base = (const char *)message;
    const char *quantifier = base + field->quantifier_offset;
    uint32_t chosen;
    size_t count;

    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        memcpy(&count, quantifier, sizeof(count));
        return count;
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
        memcpy(&chosen, quantifier, sizeof(chosen));
        return chosen == field->id ? 1 : 0;
    }
    return is_set(field, base + field->offset) ? 1 : 0;
}

const void *reflect_value(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          size_t index)
{
    const char *place = (const char *)message + field->offset;
    const char *items;

    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        return place;
    }
    memcpy(&items, place, sizeof(items));
    return items + index * reflect_size(field);
}

bool reflect_is_entry(const ProtobufCMessageDescriptor *type)
{
    size_t len = strlen(type->short_name);

    return len > 5 && strcmp(type->short_name + len - 5, "Entry") == 0 && type->n_fields == 2 &&
           strcmp(type->fields[0].name, "key") == 0 && strcmp(type->fields[1].name, "value") == 0;
}

const char *reflect_entry_key(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;

    if (!reflect_is_entry(type) || type->fields[0].type != PROTOBUF_C_TYPE_STRING) {
        return NULL;
    }
    return reflect_string((const char *)message + type->fields[0].offset);
}
