/* SPDX-License-Identifier: Apache-2.0 */
/* objstore_suite_versions.h - the suite's tests of versions. */
#ifndef TESTS_UNIT_OBJSTORE_SUITE_VERSIONS_H
#define TESTS_UNIT_OBJSTORE_SUITE_VERSIONS_H

#include "objstore/objstore.h"

/* `bucket`: a new one is named after it. A store that has no versions is left alone. */
void suite_versions(struct objstore *one, struct objstore *two, const char *bucket);

#endif
