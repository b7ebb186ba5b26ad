/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xml_walk.h - the small documents that configure a bucket, element by element.
 *
 *     static int text(void *arg, const char *path, struct slice text);
 *     ret = s3_xml_walk(body, len, &(struct s3_xml_walker){.text = text, .arg = &acl}, &fault);
 *
 * `path` is the names of the open elements without namespaces, "AccessControlPolicy/Owner/ID"; it
 * and the text last as long as the call. open() comes when an element begins, text() when it ends,
 * with the text behind its last child. A negative answer ends the walk and is what it returns.
 *
 * Refused with -EINVAL and MalformedXML: document types, nesting deeper than 16, paths over 256
 * bytes, texts over 8 KiB, bodies over 1 MiB. No state: safe from any thread.
 */
#ifndef S3_XML_WALK_H
#define S3_XML_WALK_H

#include "s3/error.h"
#include "util/slice.h"

struct s3_xml_walker {
    /* type: the attribute of that name (xsi:type), or NULL. Both callbacks are optional. */
    int (*open)(void *arg, const char *path, const char *type);
    int (*text)(void *arg, const char *path, struct slice text);
    void *arg;
};

int s3_xml_walk(const void *body, size_t len, const struct s3_xml_walker *walker,
                struct s3_fault *fault) __attribute__((warn_unused_result));

#endif
