/* SPDX-License-Identifier: Apache-2.0 */
/*
 * advice.h - what a person can do about a mount that could not be made.
 *
 * Pure functions: any thread.
 */
#ifndef MOUNTER_ADVICE_H
#define MOUNTER_ADVICE_H

#include "util/error.h"

/* For a negative errno value and the text that came with it: one sentence, static; or NULL. */
const char *advice_for(int error, const char *text);

/* Where a volume is, as its words say it. */
struct advice_place {
    const char *location; /* s3://bucket/prefix */
    const char *endpoint; /* NULL: that of AWS */
};

/*
 * Rewrites what a store failed with as an event of a pod can show it, which may be cut: the cause,
 * then where, then what the author of the volume can do. It is the same text each time, or a
 * cluster could not count such events as one. The code becomes one that the holder does not use of
 * itself. Returns it; an error of another kind is left as it is.
 */
int advice_for_pod(const struct advice_place *place, int error, struct error *err);

#endif
