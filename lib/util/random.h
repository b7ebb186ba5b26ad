/* SPDX-License-Identifier: Apache-2.0 */
/* random.h - unpredictable bytes and identifiers from the kernel. Safe from any thread. */
#ifndef UTIL_RANDOM_H
#define UTIL_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fill with random bytes; aborts if the kernel cannot give any, as nothing secure can follow. */
void random_bytes(void *ret, size_t len);

/* A number from 0 to bound - 1, without bias; 0 when bound is 0. */
uint64_t random_below(uint64_t bound);

enum { RANDOM_ID_SIZE = 33 }; /* 32 hex digits and NUL: 128 random bits */
void random_id(char ret[RANDOM_ID_SIZE]);

/*
 * The same of bytes that were fetched for many: for names that are no secret, as what comes next
 * lies in memory. One thread; a process that forks has one of its own afterwards.
 */
struct random_pool {
    unsigned char bytes[1024];
    size_t left; /* 0 at first */
};
void random_pool_id(struct random_pool *pool, char ret[RANDOM_ID_SIZE]);

#endif
