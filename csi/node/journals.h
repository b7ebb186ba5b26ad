/* SPDX-License-Identifier: Apache-2.0 */
/*
 * journals.h - what was left behind when a mount of this node ended before its store had all.
 *
 * A volume is found there from the unstage on until it is staged again here, or skyvolctl recover
 * has uploaded it: that is what an operator must hear of. Journals in use by a mount are no news.
 */
#ifndef CSI_NODE_JOURNALS_H
#define CSI_NODE_JOURNALS_H

#include <stdint.h>

#include "util/buf.h"

/* Append skyvol_journal_* to Prometheus text. A directory that is not there has none. Any thread.
 */
void journals_write(const char *dir, struct buf *out);

/* Files of the volume that a store has not taken, of mounts that have ended; *ret_damaged beside.
 */
uint64_t journals_of(const char *dir, const char *volume, uint64_t *ret_damaged);

#endif
