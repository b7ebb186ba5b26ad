/* SPDX-License-Identifier: Apache-2.0 */
/* scrub.h - objstore/scrub.h on the store of a location. */
#ifndef VOLUME_SCRUB_H
#define VOLUME_SCRUB_H

#include "objstore/scrub.h"
#include "volume/open.h"

/* The location is a store's, without a bucket; a directory must be a store already (-ENOENT). Else
 * as volume_open_store() and scrub_run(). */
int volume_scrub_store(const struct volume_open_config *config, const struct scrub *scrub,
                       struct scrub_totals *ret, struct error *err)
    __attribute__((warn_unused_result));

#endif
