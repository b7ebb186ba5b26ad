/* SPDX-License-Identifier: Apache-2.0 */
/* redact.c - the rules are a flat table: there are a few dozen, and only debug logs ask often. */
#include "rpc/redact.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "rpc/reflect.h"
#include "util/url.h"

struct rule {
    const char *message;
    const char *field;
    const char *key; /* NULL: the whole field */
};

static struct rule rules[RPC_REDACT_MAX];
static size_t rule_count;

static bool same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool find(const char *message, const char *field, const char *key)
{
    for (size_t i = 0; i < rule_count; i++) {
        if (same(rules[i].message, message) && same(rules[i].field, field) &&
            same(rules[i].key, key)) {
            return true;
        }
    }
    return false;
}

static int add(const char *message, const char *field, const char *key)
{
    if (find(message, field, key)) {
        return 0;
    }
    if (rule_count == RPC_REDACT_MAX) {
        return -ENOSPC;
    }
    rules[rule_count++] = (struct rule){.message = message, .field = field, .key = key};
    return 0;
}

int rpc_redact_add(const char *message, const char *field)
{
    return add(message, field, NULL);
}

int rpc_redact_add_key(const char *message, const char *field, const char *key)
{
    return add(message, field, key);
}

bool rpc_redact_is_secret(const char *message, const char *field)
{
    return find(message, field, NULL);
}

bool rpc_redact_is_secret_key(const char *message, const char *field, const char *key)
{
    return find(message, field, NULL) || find(message, field, key);
}

bool rpc_redact_check(const ProtobufCMessageDescriptor *type)
{
    bool any = false;

    for (size_t i = 0; i < rule_count; i++) {
        if (!same(rules[i].message, type->name)) {
            continue;
        }
        if (protobuf_c_message_descriptor_get_field_by_name(type, rules[i].field) == NULL) {
            return false;
        }
        any = true;
    }
    return any;
}

static void add_escaped(struct buf *out, const char *text)
{
    if (strstr(text, "://") != NULL && url_may_hold_secret(text)) {
        text = "***"; /* in whatever field somebody has put it */
    }
    buf_addstr(out, "\"");
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            buf_addf(out, "\\%c", *p);
        } else if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            buf_addf(out, "\\x%02x", (unsigned char)*p);
        } else {
            buf_add(out, p, 1);
        }
    }
    buf_addstr(out, "\"");
}

static void add_value(struct buf *out, const ProtobufCFieldDescriptor *field, const void *value)
{
    const char *name;

    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        add_escaped(out, reflect_string(value));
        break;
    case PROTOBUF_C_TYPE_BYTES:
        buf_addf(out, "<%zu bytes>", reflect_bytes(value).len);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        buf_addstr(out, "{");
        rpc_redact_text(out, reflect_message(value));
        buf_addstr(out, "}");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        name = reflect_enum_name(field, reflect_int(field, value));
        if (name != NULL) {
            buf_addstr(out, name);
            break;
        }
        buf_addf(out, "%" PRId64, reflect_int(field, value));
        break;
    case PROTOBUF_C_TYPE_BOOL:
        buf_addstr(out, reflect_int(field, value) != 0 ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        buf_addf(out, "%.9g", reflect_double(field, value));
        break;
    default:
        if (reflect_is_unsigned(field)) {
            buf_addf(out, "%" PRIu64, reflect_uint(field, value));
        } else {
            buf_addf(out, "%" PRId64, reflect_int(field, value));
        }
    }
}

/* key: "value" of a map entry, the value "***" where the rule says so. */
static void add_entry(struct buf *out, const ProtobufCMessage *message,
                      const ProtobufCFieldDescriptor *field, const void *value)
{
    const char *key = reflect_entry_key(reflect_message(value));

    if (key != NULL && find(message->descriptor->name, field->name, key)) {
        buf_addstr(out, "{key: ");
        add_escaped(out, key);
        buf_addstr(out, " value: \"***\"}");
    } else {
        add_value(out, field, value);
    }
}

static void add_field(struct buf *out, const ProtobufCMessage *message,
                      const ProtobufCFieldDescriptor *field)
{
    size_t count = reflect_count(message, field);
    bool secret = rpc_redact_is_secret(message->descriptor->name, field->name);

    if (count == 0) {
        return;
    }
    buf_addstr(out, buf_len(out) > 0 && buf_str(out)[buf_len(out) - 1] != '{' ? " " : "");
    buf_addf(out, "%s: ", field->name);
    if (secret && field->label == PROTOBUF_C_LABEL_REPEATED) {
        buf_addf(out, "*** (%zu)", count);
        return;
    }
    if (secret) {
        buf_addstr(out, "***");
        return;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        buf_addstr(out, "[");
    }
    for (size_t i = 0; i < count; i++) {
        buf_addstr(out, i > 0 ? " " : "");
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            add_entry(out, message, field, reflect_value(message, field, i));
        } else {
            add_value(out, field, reflect_value(message, field, i));
        }
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        buf_addstr(out, "]");
    }
}

void rpc_redact_text(struct buf *out, const ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        add_field(out, message, &message->descriptor->fields[i]);
    }
}
