/* SPDX-License-Identifier: Apache-2.0 */
/* advice.h - what a person can do about a mount that could not be made. */
#ifndef MOUNTER_ADVICE_H
#define MOUNTER_ADVICE_H

/* For a negative errno value and the text that came with it: one sentence, static; or NULL. */
const char *advice_for(int error, const char *text);

#endif
