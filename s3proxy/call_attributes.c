/* SPDX-License-Identifier: Apache-2.0 */
/* GetObjectAttributes: what a HEAD tells, and which parts an object was joined of, as XML. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "s3/xml.h"
#include "s3proxy/call.h"

enum attribute { ETAG = 1, CHECKSUM = 2, PARTS = 4, STORAGE_CLASS = 8, SIZE = 16 };

static const struct {
    const char *name;
    enum attribute attribute;
} names[] = {
    {"ETag", ETAG},         {"Checksum", CHECKSUM},
    {"ObjectParts", PARTS}, {"StorageClass", STORAGE_CLASS},
    {"ObjectSize", SIZE},
};

static unsigned attribute_of(struct slice word)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (slice_eq_str(word, names[i].name)) {
            return names[i].attribute;
        }
    }
    return 0;
}

/* The header may come several times, and hold several names. */
static int parse_names(struct call *call, struct s3_fault *fault)
{
    for (size_t i = 0; i < call->message.header_count; i++) {
        const struct s3_header *h = &call->message.headers[i];
        struct slice rest = h->value;

        if (h->name.len != 23 || strncasecmp(h->name.data, "x-amz-object-attributes", 23) != 0) {
            continue;
        }
        while (rest.len > 0) {
            const char *comma = memchr(rest.data, ',', rest.len);
            size_t len = comma != NULL ? (size_t)(comma - rest.data) : rest.len;
            unsigned bit = attribute_of(slice_trim((struct slice){rest.data, len}));

            if (bit == 0) {
                return s3_fault_argument(fault, "x-amz-object-attributes", h->value,
                                         "Invalid attribute name specified.");
            }
            call->attributes |= bit;
            len += comma != NULL ? 1 : 0;
            rest = (struct slice){rest.data + len, rest.len - len};
        }
    }
    return call->attributes != 0
               ? 0
               : s3_fault_set(fault, S3_INVALID_REQUEST,
                              "The x-amz-object-attributes header specifying the attributes to be "
                              "retrieved is either missing or empty");
}

/* Of a store that does not tell: what its ETag says of a multipart object. */
static uint32_t parts_total(const struct objstore_info *info)
{
    const char *dash = strrchr(info->etag, '-');
    unsigned long n = info->parts == 0 && dash != NULL ? strtoul(dash + 1, NULL, 10) : info->parts;

    return n <= OBJSTORE_PARTS_MAX ? (uint32_t)n : 0;
}

static void add_parts(struct call *call, const struct objstore_result *result)
{
    for (size_t i = 0; i < result->count && call->list.max_keys > 0; i++) {
        const struct objstore_part *p = &result->parts[i];
        const struct s3_xml_part part = {
            .number = p->number,
            .size = p->size,
            .checksum_kind = (enum s3_checksum_kind)p->checksum.kind,
            .checksum = p->checksum.value,
        };

        s3_xml_attributes_part(&call->reply.body, &part);
    }
}

static void format_attributes(struct call *call, const struct objstore_result *result)
{
    const struct objstore_info *info = &result->info;
    unsigned want = call->attributes;
    uint32_t total = parts_total(info);
    struct s3_xml_attributes a = {
        .etag = (want & ETAG) != 0 ? info->etag : NULL,
        .size = (want & SIZE) != 0 ? &info->size : NULL,
        .parts = (want & PARTS) != 0 && total > 0,
        .parts_total = total,
        .listed = result->parts != NULL,
        .max_parts = call->list.max_keys,
        .truncated = result->truncated,
    };

    if ((want & STORAGE_CLASS) != 0) {
        a.storage_class = info->meta.storage_class != NULL ? info->meta.storage_class : "STANDARD";
    }
    if ((want & CHECKSUM) != 0 && info->checksum.value[0] != '\0') {
        a.checksum_kind = (enum s3_checksum_kind)info->checksum.kind;
        a.checksum = call_checksum(call, info);
        a.composite = info->checksum.composite;
    }
    a.part_marker = call->op.marker != NULL ? (uint32_t)strtoul(call->op.marker, NULL, 10) : 0;
    if (call->list.max_keys > 0 && result->next_marker != NULL) {
        a.next_part_marker = (uint32_t)strtoul(result->next_marker, NULL, 10);
    }
    s3_xml_attributes_begin(&call->reply.body, &a);
    if (a.parts) {
        add_parts(call, result);
    }
    s3_xml_attributes_end(&call->reply.body, &a);
    call->reply.mtime_s = info->mtime_ns / 1000000000;
    reply_version(call, "x-amz-version-id", info->version_id);
    reply_xml(&call->reply);
}

/* A number in a header; absent: the fallback. */
static int number(struct call *call, const char *name, uint32_t fallback, uint32_t max,
                  uint32_t *ret, struct s3_fault *fault)
{
    const char *text = call_header(call, name);
    char *end;
    unsigned long n;

    *ret = fallback;
    if (text == NULL || text[0] == '\0') {
        return 0;
    }
    n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || n > INT32_MAX) {
        return s3_fault_argument(fault, name, slice_of(text), "it is not a number in range");
    }
    *ret = n < max ? (uint32_t)n : max;
    return 0;
}

int call_route_attributes(struct call *call, struct s3_fault *fault)
{
    uint32_t after;
    int ret;

    if (!slice_eq_str(call->message.method, "GET")) {
        return s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, "%s", "");
    }
    ret = parse_names(call, fault);
    ret = ret == 0 ? number(call, "x-amz-max-parts", OBJSTORE_BATCH_MAX, OBJSTORE_BATCH_MAX,
                            &call->list.max_keys, fault)
                   : ret;
    ret = ret == 0 ? number(call, "x-amz-part-number-marker", 0, INT32_MAX, &after, fault) : ret;
    call->op.op = OBJSTORE_HEAD;
    call->op.list_parts = (call->attributes & PARTS) != 0;
    call->op.max_entries = call->list.max_keys > 0 ? call->list.max_keys : 1;
    call->op.marker = call_header(call, "x-amz-part-number-marker");
    call->format = format_attributes;
    return ret;
}
