/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reopen.h - an open() that the kernel has to look up anew first.
 *
 * What another mount has written has a size that the kernel does not know. Telling it that its
 * attributes are old is not enough: sendfile(2), splice(2) and mmap(2) go by the size that it has
 * and ask nobody. An answer to LOOKUP gives it the size, and ESTALE to an OPEN makes the kernel
 * look the name up and open again, once: a second ESTALE is the program's. So it is remembered
 * which thread was sent back; where that cannot be, the OPEN is answered.
 *
 * All under fs->lock.
 */
#ifndef MOUNTER_REOPEN_H
#define MOUNTER_REOPEN_H

#include <stdbool.h>
#include <stdint.h>

enum { REOPENS = 256 }; /* threads; a power of two */

struct reopen {
    uint64_t sent_ms; /* 0: nobody is out */
    uint64_t since;
    uint32_t thread; /* 0: one that is not of our process ids' space */
};

/*
 * To be called before an OPEN of the thread's is answered by ESTALE: its next one is then the
 * second. `since`: the turn at which the first began. False: it could not be told from another's.
 */
bool reopen_send(struct reopen table[REOPENS], uint64_t since, uint32_t thread, uint64_t now_ms);
/* The turn, if this thread is on its way back; else 0. */
uint64_t reopen_out(const struct reopen table[REOPENS], uint32_t thread, uint64_t now_ms);
/* True if this is that second one, and *ret_since is what was said; it is forgotten. */
bool reopen_take(struct reopen table[REOPENS], uint32_t thread, uint64_t now_ms,
                 uint64_t *ret_since);

#endif
