/* SPDX-License-Identifier: Apache-2.0 */
/*
 * objstore_suite.h - what every object store must do, whatever the backend.
 *
 * The tests work in a bucket of their own that they make and remove. What a store says it cannot do
 * (its capabilities) is tested to answer -ENOTSUP or left out.
 */
#ifndef TESTS_UNIT_OBJSTORE_SUITE_H
#define TESTS_UNIT_OBJSTORE_SUITE_H

#include "objstore/objstore.h"

/* Run all tests on both handles (two handles of one store, or the same twice). Returns failures. */
int objstore_suite_run(const char *name, struct objstore *one, struct objstore *two);

#endif
