/* SPDX-License-Identifier: Apache-2.0 */
/* objstore_suite_docs.h - the suite's tests of what hangs on buckets and objects. */
#ifndef TESTS_UNIT_OBJSTORE_SUITE_DOCS_H
#define TESTS_UNIT_OBJSTORE_SUITE_DOCS_H

#include "objstore/objstore.h"

/* `bucket`: new ones are named after it. */
void suite_documents(struct objstore *one, struct objstore *two, const char *bucket);
void suite_tags(struct objstore *one, struct objstore *two, const char *bucket);

#endif
