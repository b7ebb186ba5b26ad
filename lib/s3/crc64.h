/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crc64.h - CRC-64/NVME, which the packaged libraries of our oldest distribution do not know.
 *
 * By carry-less multiplication on x86-64 processors that have it, else by tables. Start with 0 and
 * go on with what was returned: crc64nvme(crc64nvme(0, a), b) is the CRC of a and b together.
 * Any thread may call.
 */
#ifndef S3_CRC64_H
#define S3_CRC64_H

#include <stddef.h>
#include <stdint.h>

/* The polynomial, bit-reflected. */
#define CRC64NVME_POLY 0x9A6C9329AC4BC9B5U

uint64_t crc64nvme(uint64_t crc, const void *bytes, size_t len);

/* The same by this way at most, or by the next below that the processor has; for tests. */
enum crc64_way { CRC64_TABLE, CRC64_FOLDING, CRC64_FOLDING_WIDE };
uint64_t crc64nvme_by(enum crc64_way way, uint64_t crc, const void *bytes, size_t len);

/* a * b modulo a polynomial, all bit-reflected; `top` stands for x^0: 1 << (width - 1). */
uint64_t crc_multiply(uint64_t a, uint64_t b, uint64_t poly, uint64_t top);

#endif
