/* SPDX-License-Identifier: Apache-2.0 */
/* A disk that is full: clients see it one request at a time, whoever could make room in the log. */
#include <errno.h>

#include "objstore/dir_internal.h"
#include "util/clock.h"
#include "util/log.h"

enum { TOLD_EVERY_MS = 60000 };

void dir_full_tell(struct job *job)
{
    struct dir_store *store = job->store;
    uint64_t now = clock_monotonic_ms(clock_real());
    uint64_t told = atomic_load(&store->full_told_ms);
    uint64_t refused = atomic_fetch_add(&store->full_refused, 1) + 1;
    uint64_t bytes = 0, files = 0;

    if ((told != 0 && now - told < TOLD_EVERY_MS) ||
        !atomic_compare_exchange_strong(&store->full_told_ms, &told, now)) {
        return;
    }
    (void)atomic_fetch_sub(&store->full_refused, refused);
    dir_files_room(store->files, &bytes, &files);
    log_error("store: no room left: writes fail (XStorageFull, 507), reads and deletions go on; "
              "delete objects, or give it more room or quota",
              "store", objstore_name(&store->base), "free_bytes", log_num(bytes), "free_files",
              log_num(files), "refused_since", log_num(refused), "error", job->result.error.text,
              NULL);
}
