/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crc32c.h - the CRC-32C (Castagnoli) of bytes, against damage on disk. No state; any thread.
 *
 *     crc = crc32c(0, first, len);
 *     crc = crc32c(crc, next, len);      the same as of both at once
 */
#ifndef UTIL_CRC32C_H
#define UTIL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

/* The one for processors without an instruction for it; public for its test. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t len);

#endif
