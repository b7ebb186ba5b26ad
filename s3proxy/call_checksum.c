/* SPDX-License-Identifier: Apache-2.0 */
/* The checksums that a client sends with a body, and those that it is told. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "s3proxy/call.h"

static bool one_of(struct slice word, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (word.len == strlen(*words) && strncasecmp(word.data, *words, word.len) == 0) {
            return true;
        }
    }
    return false;
}

/* S3's, but not ours yet. */
static bool later_checksum(struct slice kind)
{
    static const char *const later[] = {"sha512", "md5", "xxhash64", "xxhash3", "xxhash128", NULL};

    return one_of(kind, later);
}

/* One that we would have to take unseen, while the client believes that it is checked. */
static int unknown_checksum(const struct call *call, struct s3_fault *fault)
{
    static const char prefix[] = "x-amz-checksum-";
    static const char *const others[] = {"algorithm", "type", "mode", NULL};

    for (size_t i = 0; i < call->message.header_count; i++) {
        struct slice name = call->message.headers[i].name, kind;

        if (name.len < sizeof(prefix) || strncasecmp(name.data, prefix, sizeof(prefix) - 1) != 0 ||
            s3_checksum_from_header(name) != S3_CHECKSUM_NONE) {
            continue;
        }
        kind = (struct slice){name.data + sizeof(prefix) - 1, name.len - (sizeof(prefix) - 1)};
        if (later_checksum(kind)) {
            return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "%.*s is not implemented", (int)name.len,
                                name.data);
        }
        if (!one_of(kind, others)) {
            return s3_fault_set(fault, S3_INVALID_REQUEST, "%.*s is no checksum", (int)name.len,
                                name.data);
        }
    }
    return 0;
}

/* What an SDK says it sends must be what it sends; the other spelling is for uploads in parts and
 * copies, but nobody can mean two kinds. */
static int announced_checksum(struct call *call, enum s3_checksum_kind kind, struct s3_fault *fault)
{
    static const char *const names[] = {"x-amz-sdk-checksum-algorithm", "x-amz-checksum-algorithm"};

    for (size_t i = 0; i < 2 && call->body_kind == CALL_BODY_PIPE; i++) {
        struct slice said = s3_message_header(&call->message, names[i]);

        if (said.data == NULL ||
            (kind != S3_CHECKSUM_NONE && s3_checksum_from_name(said) == kind)) {
            continue;
        }
        if (later_checksum(said)) {
            return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "%s of that kind is not implemented",
                                names[i]);
        }
        return kind == S3_CHECKSUM_NONE
                   ? s3_fault_set(fault, S3_INVALID_REQUEST,
                                  "%s specified, but no corresponding x-amz-checksum-* or "
                                  "x-amz-trailer headers were found.",
                                  names[i])
                   : s3_fault_set(fault, S3_INVALID_REQUEST, "Value for %s header is invalid.",
                                  names[i]);
    }
    return 0;
}

/* The checksum of a completion may end in how many parts it is of. */
static struct slice without_count(const struct call *call, struct slice value)
{
    const char *dash = call->op.op == OBJSTORE_UPLOAD_COMPLETE && value.len > 0
                           ? memchr(value.data, '-', value.len)
                           : NULL;

    return dash != NULL ? (struct slice){value.data, (size_t)(dash - value.data)} : value;
}

int call_put_checksum(struct call *call, struct s3_fault *fault)
{
    struct objstore_checksum *sum = &call->op.checksum;
    struct slice trailer = s3_message_header(&call->message, "x-amz-trailer");
    struct slice asked = s3_message_header(&call->message, "x-amz-checksum-algorithm");
    enum s3_checksum_kind kind = S3_CHECKSUM_NONE;
    bool valid = true;
    int ret = unknown_checksum(call, fault);

    if (ret != 0) {
        return ret;
    }
    for (enum s3_checksum_kind k = S3_CHECKSUM_CRC32; k <= S3_CHECKSUM_SHA256; k++) {
        struct slice value = s3_message_header(&call->message, s3_checksum_header(k));

        if (value.data == NULL) {
            continue;
        }
        if (kind != S3_CHECKSUM_NONE || trailer.data != NULL) {
            return s3_fault_set(fault, S3_INVALID_REQUEST,
                                "Expecting a single x-amz-checksum- header. Multiple checksum "
                                "Types are not allowed.");
        }
        valid = s3_checksum_valid(k, without_count(call, value));
        kind = k;
        (void)snprintf(sum->value, sizeof(sum->value), "%.*s", (int)value.len, value.data);
    }
    if (kind == S3_CHECKSUM_NONE && trailer.data != NULL) {
        kind = s3_checksum_from_header(trailer);
    } else if (kind == S3_CHECKSUM_NONE && asked.data != NULL) {
        kind = s3_checksum_from_name(asked);
        if (kind == S3_CHECKSUM_NONE) {
            return s3_fault_set(fault,
                                later_checksum(asked) ? S3_NOT_IMPLEMENTED : S3_INVALID_REQUEST,
                                "no such checksum algorithm here");
        }
    }
    if (!valid) { /* only now: empty ones are too many as well. No bytes have such a checksum */
        return s3_fault_set(fault, S3_BAD_DIGEST, "Value for %s header is invalid.",
                            s3_checksum_header(kind));
    }
    sum->kind = (enum objstore_checksum_kind)kind;
    sum->composite = false;
    return announced_checksum(call, kind, fault);
}

const char *call_checksum(struct call *call, const struct objstore_info *info)
{
    const struct objstore_checksum *sum = &info->checksum;
    const char *count = strrchr(info->etag, '-');
    size_t size = sizeof(sum->value) + sizeof(info->etag);
    char *text = arena_alloc(&call->arena, size);

    if (text == NULL) {
        return sum->value;
    }
    /* One of the parts' checksums says of how many, as the ETag does; some stores keep it apart. */
    (void)snprintf(text, size, "%s%s", sum->value,
                   sum->composite && call->op.part_number == 0 && count != NULL &&
                           strchr(sum->value, '-') == NULL
                       ? count
                       : "");
    return text;
}

void call_checksum_header(struct call *call, const struct objstore_info *info)
{
    const struct objstore_checksum *sum = &info->checksum;
    struct reply *reply = &call->reply;

    if (sum->kind != OBJSTORE_CHECKSUM_NONE && sum->value[0] != '\0') {
        reply_header(reply, s3_checksum_header((enum s3_checksum_kind)sum->kind),
                     call_checksum(call, info));
        reply_header(reply, "x-amz-checksum-type", sum->composite ? "COMPOSITE" : "FULL_OBJECT");
    }
}
