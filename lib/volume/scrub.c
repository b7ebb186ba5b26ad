/* SPDX-License-Identifier: Apache-2.0 */
#include "volume/scrub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/cleanup.h"

/* Opening would make a directory that is no store into one. */
static int must_be_there(const char *location, struct error *err)
{
    const char *root = strncmp(location, "dir://", 6) == 0 ? location + 6 : NULL;
    AUTOFREE char *path = NULL;

    if (root == NULL) {
        return 0;
    }
    if (asprintf(&path, "%s/format", root) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    if (access(path, F_OK) != 0) {
        return error_set(err, -errno, "there is no store at %s: give its root, as dir:///srv/store",
                         root);
    }
    return 0;
}

int volume_scrub_store(const struct volume_open_config *config, const struct scrub *scrub,
                       struct scrub_totals *ret, struct error *err)
{
    struct objstore *store = NULL;
    int r = must_be_there(config->location, err);

    r = r == 0 ? volume_open_store(config, &store, err) : r;
    r = r == 0 ? scrub_run(store, scrub, ret, err) : r;
    objstore_free(store);
    return r;
}
