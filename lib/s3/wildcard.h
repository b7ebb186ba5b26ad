/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wildcard.h - patterns in which '*' stands for any characters and '?' for one.
 *
 * In the worst case the product of both lengths: only the last '*' is ever tried again. No state.
 */
#ifndef S3_WILDCARD_H
#define S3_WILDCARD_H

#include <stdbool.h>
#include <stdint.h>

#include "util/slice.h"

/* True if the pattern fits the whole text. `fold`: letters of ASCII in either case. A character is
 * one of UTF-8; bytes that are none count as those they follow. */
bool s3_wildcard_match(struct slice pattern, struct slice text, bool fold);

#endif
