/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory.h - how much memory there is for a program that was not told how much to use, and how a
 * program that will sleep gives back what only its start needed.
 */
#ifndef UTIL_MEMORY_H
#define UTIL_MEMORY_H

#include <stdint.h>

struct memory_given {
    uint64_t machine; /* bytes of the machine; 0: not known */
    uint64_t limit;   /* the least limit of this process's control groups, in bytes; 0: none */
};

/*
 * Control groups of both versions, the process's own and those above it that can be seen. What
 * cannot be read counts as absent. `root` comes before /proc and /sys; "" but in tests.
 */
void memory_given(const char *root, struct memory_given *ret);

/*
 * What a mount may use that was not told: half of the limit, from 64 MiB to 1 GiB, as others live
 * under it too; without one a 16th of the machine, from 256 MiB to 1 GiB.
 */
uint64_t memory_share(const struct memory_given *given);

/*
 * What is free in the heap, and the pages of code and constants, which the kernel reads again from
 * their files where they are needed once more. Any thread.
 */
void memory_give_back(void);

#endif
