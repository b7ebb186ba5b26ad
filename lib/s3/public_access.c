/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/public_access.h"

#include <errno.h>

#include "s3/xml_walk.h"

#define ROOT "PublicAccessBlockConfiguration"

enum { SWITCHES = 4 };

static const char *const names[SWITCHES] = {"BlockPublicAcls", "IgnorePublicAcls",
                                            "BlockPublicPolicy", "RestrictPublicBuckets"};

struct reader {
    bool *into[SWITCHES];
    bool seen[SWITCHES];
};

static int block_open(void *arg, const char *path, const char *type)
{
    (void)arg;
    (void)type;
    return strcmp(path, ROOT) == 0 || strncmp(path, ROOT "/", sizeof(ROOT)) == 0 ? 0 : -EINVAL;
}

static int block_text(void *arg, const char *path, struct slice text)
{
    struct reader *r = arg;

    if (strcmp(path, ROOT) == 0) {
        return 0;
    }
    for (size_t i = 0; i < SWITCHES; i++) {
        bool on = slice_eq_str(text, "true") || slice_eq_str(text, "TRUE");

        if (strcmp(path + sizeof(ROOT), names[i]) == 0) {
            if (r->seen[i] ||
                (!on && !slice_eq_str(text, "false") && !slice_eq_str(text, "FALSE"))) {
                return -EINVAL;
            }
            r->seen[i] = true;
            *r->into[i] = on;
            return 0;
        }
    }
    return -EINVAL;
}

int s3_public_access_parse(const void *body, size_t len, struct s3_public_access *ret,
                           struct s3_fault *fault)
{
    struct s3_public_access block = {0};
    struct reader reader = {.into = {&block.block_acls, &block.ignore_acls, &block.block_policy,
                                     &block.restrict_buckets}};
    const struct s3_xml_walker walker = {block_open, block_text, &reader};
    int error = s3_xml_walk(body, len, &walker, fault);

    if (error == 0) {
        *ret = block;
    }
    return error;
}

void s3_public_access_write(struct buf *out, const struct s3_public_access *block)
{
    const bool on[SWITCHES] = {block->block_acls, block->ignore_acls, block->block_policy,
                               block->restrict_buckets};

    buf_addstr(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<" ROOT
                    " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (size_t i = 0; i < SWITCHES; i++) {
        buf_addf(out, "<%s>%s</%s>", names[i], on[i] ? "true" : "false", names[i]);
    }
    buf_addstr(out, "</" ROOT ">");
}
