/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recover.h - upload what lies in a volume's journal, without a mount.
 *
 * The journal is taken in as at the beginning of a mount, and published as at its end: conditions,
 * conflict copies and unfinished uploads are those of publish.c. A line of JSON on stdout tells:
 *
 *     {"files":12,"uploaded":11,"conflicts":1,"damaged":0,"left":1}
 *
 * also when nothing could be uploaded, but for a path that is no usable journal.
 */
#ifndef MOUNTER_RECOVER_H
#define MOUNTER_RECOVER_H

#include <stdint.h>

struct recover_arguments {
    const char *path;    /* DIR/VOLUME */
    uint64_t timeout_ms; /* from the start; what is not uploaded by then stays in the journal */
};

/* Exit status: 0: nothing is left; 1: something is, and stderr says why. Signals must be blocked,
 * but for those that are to end it: nothing is lost by that. */
int recover_run(const struct recover_arguments *arguments);

#endif
