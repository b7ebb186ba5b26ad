/* SPDX-License-Identifier: Apache-2.0 */
/* condition.h - what an operator can do about the trouble of a volume, in his words. */
#ifndef CSI_NODE_CONDITION_H
#define CSI_NODE_CONDITION_H

/* Of a store that fails with this (positive) errno value: what it means, and what helps. Static. */
const char *condition_of_error(int error);

#endif
