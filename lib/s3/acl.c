/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/acl.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

#include "s3/xml_walk.h"

enum { GRANTS_MAX = 100 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool among(struct slice word, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_eq_str(word, words[i])) {
            return true;
        }
    }
    return false;
}

/* ---- headers ---- */

static int canned(struct slice value, enum s3_acl *ret, struct s3_fault *fault)
{
    static const char *const enforced[] = {"private", "bucket-owner-full-control"};
    static const char *const others[] = {"public-read",        "public-read-write",
                                         "authenticated-read", "aws-exec-read",
                                         "bucket-owner-read",  "log-delivery-write"};

    *ret = among(value, enforced, COUNT(enforced)) ? S3_ACL_OWNER : S3_ACL_OTHER;
    return *ret == S3_ACL_OWNER || among(value, others, COUNT(others))
               ? 0
               : s3_fault_argument(fault, "x-amz-acl", value, "it names no canned list");
}

/* One "type=value" of a grant; the value may stand in quotes. */
static int grantee(struct slice text, const char *owner, bool *ret_owner, struct s3_fault *fault)
{
    const char *equals = text.len > 0 ? memchr(text.data, '=', text.len) : NULL;
    struct slice kind, value;

    if (equals == NULL) {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT, "Argument format not recognized");
    }
    kind = slice_trim((struct slice){text.data, (size_t)(equals - text.data)});
    value = slice_trim((struct slice){equals + 1, (size_t)(text.data + text.len - equals - 1)});
    if (value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"') {
        value = (struct slice){value.data + 1, value.len - 2};
    }
    if (slice_eq_str(kind, "emailAddress")) {
        return s3_fault_set(fault, S3_UNRESOLVABLE_GRANT, "%s", "");
    }
    if (!slice_eq_str(kind, "id") && !slice_eq_str(kind, "uri")) {
        return s3_fault_set(fault, S3_INVALID_ARGUMENT, "Argument format not recognized");
    }
    *ret_owner = slice_eq_str(kind, "id") && slice_eq_str(value, owner);
    return 0;
}

static int grant_header(const struct s3_header *header, const char *owner, enum s3_acl *ret,
                        struct s3_fault *fault)
{
    bool full = header->name.len == strlen("x-amz-grant-full-control") &&
                strncasecmp(header->name.data + 12, "full-control", 12) == 0;
    struct slice rest = header->value;

    do {
        const char *comma = rest.len > 0 ? memchr(rest.data, ',', rest.len) : NULL;
        size_t len = comma != NULL ? (size_t)(comma - rest.data) : rest.len;
        bool same = false;
        int error = grantee(slice_trim((struct slice){rest.data, len}), owner, &same, fault);

        if (error != 0 && fault != NULL && fault->code == S3_INVALID_ARGUMENT) {
            char name[32];

            (void)snprintf(name, sizeof(name), "%.*s", (int)header->name.len, header->name.data);
            return s3_fault_argument(fault, name, header->value, "Argument format not recognized");
        }
        if (error != 0) {
            return error;
        }
        *ret = full && same && *ret != S3_ACL_OTHER ? S3_ACL_OWNER : S3_ACL_OTHER;
        rest = comma != NULL ? (struct slice){comma + 1, rest.len - len - 1} : (struct slice){0};
    } while (rest.data != NULL);
    return 0;
}

int s3_acl_headers(const struct s3_message *message, const char *owner, enum s3_acl *ret,
                   struct s3_fault *fault)
{
    static const char prefix[] = "x-amz-grant-";
    struct slice value = s3_message_header(message, "x-amz-acl");
    enum s3_acl list = S3_ACL_NONE, grants = S3_ACL_NONE;
    int error = value.data != NULL ? canned(value, &list, fault) : 0;

    for (size_t i = 0; error == 0 && i < message->header_count; i++) {
        const struct s3_header *header = &message->headers[i];

        if (header->name.len > sizeof(prefix) - 1 &&
            strncasecmp(header->name.data, prefix, sizeof(prefix) - 1) == 0) {
            /* what would be refused anyway is not looked at closely */
            if (list == S3_ACL_OTHER) {
                grants = S3_ACL_OTHER;
                break;
            }
            error = grant_header(header, owner, &grants, fault);
        }
    }
    if (error != 0) {
        return error;
    }
    if (list == S3_ACL_OWNER && grants != S3_ACL_NONE) {
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Specifying both Canned ACLs and Header Grants is not allowed");
    }
    *ret = list > grants ? list : grants;
    return 0;
}

/* ---- documents ---- */

struct acl_reader {
    const char *owner;
    unsigned int grants, owners;
    bool other;        /* a grant that the owner does not have anyway */
    bool full, mine;   /* of the grant that is open */
    bool named, typed; /* the grantee has a name of its kind; a right was given */
    const char *member;
};

#define ROOT "AccessControlPolicy"
#define GRANT ROOT "/AccessControlList/Grant"

static int acl_open(void *arg, const char *path, const char *type)
{
    static const char *const kinds[] = {"CanonicalUser", "AmazonCustomerByEmail", "Group"};
    static const char *const members[] = {GRANT "/Grantee/ID", GRANT "/Grantee/EmailAddress",
                                          GRANT "/Grantee/URI"};
    struct acl_reader *reader = arg;

    if (strchr(path, '/') == NULL && strcmp(path, ROOT) != 0) {
        return -EINVAL;
    }
    if (strcmp(path, GRANT) == 0) {
        reader->full = reader->mine = reader->named = reader->typed = false;
        reader->member = NULL;
        return ++reader->grants <= GRANTS_MAX ? 0 : -EINVAL;
    }
    if (strcmp(path, GRANT "/Grantee") == 0) {
        for (size_t i = 0; type != NULL && i < COUNT(kinds); i++) {
            reader->member = strcmp(type, kinds[i]) == 0 ? members[i] : reader->member;
        }
        return reader->member != NULL ? 0 : -EINVAL;
    }
    return 0;
}

static int acl_text(void *arg, const char *path, struct slice text)
{
    static const char *const rights[] = {"FULL_CONTROL", "READ", "READ_ACP", "WRITE", "WRITE_ACP"};
    struct acl_reader *reader = arg;

    if (strcmp(path, ROOT "/Owner/ID") == 0) {
        reader->owners++;
        return text.len > 0 ? 0 : -EINVAL;
    }
    if (strcmp(path, GRANT "/Permission") == 0) {
        reader->typed = true;
        reader->full = slice_eq_str(text, "FULL_CONTROL");
        return among(text, rights, COUNT(rights)) ? 0 : -EINVAL;
    }
    if (reader->member != NULL && strcmp(path, reader->member) == 0) {
        reader->named = text.len > 0;
        reader->mine =
            slice_eq_str(text, reader->owner) && strcmp(reader->member, GRANT "/Grantee/ID") == 0;
    }
    if (strcmp(path, GRANT) == 0) {
        reader->other = reader->other || !reader->full || !reader->mine;
        return reader->named && reader->typed ? 0 : -EINVAL;
    }
    return 0;
}

int s3_acl_body(const void *body, size_t len, const char *owner, enum s3_acl *ret,
                struct s3_fault *fault)
{
    struct acl_reader reader = {.owner = owner};
    const struct s3_xml_walker walker = {acl_open, acl_text, &reader};
    int error = s3_xml_walk(body, len, &walker, fault);

    if (error == -ENOMEM) {
        return error;
    }
    if (error != 0 || reader.owners != 1) {
        return s3_fault_set(fault, S3_MALFORMED_ACL, "%s", "");
    }
    *ret = reader.other || reader.grants != 1 ? S3_ACL_OTHER : S3_ACL_OWNER;
    return 0;
}

void s3_acl_write(struct buf *out, const char *owner, const char *name)
{
    buf_addf(out,
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<AccessControlPolicy "
             "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner><ID>%s</ID>"
             "<DisplayName>%s</DisplayName></Owner><AccessControlList><Grant><Grantee "
             "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
             "xsi:type=\"CanonicalUser\"><ID>%s</ID><DisplayName>%s</DisplayName></Grantee>"
             "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList>"
             "</AccessControlPolicy>",
             owner, name, owner, name);
}
