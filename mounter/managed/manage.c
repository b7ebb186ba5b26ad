/* SPDX-License-Identifier: Apache-2.0 */
/* What a volume gains from its metaserver, put together: the session, and what stands on it. */
#include "mounter/fs.h"
#include "mounter/names/heads.h"

static void session_lost(void *context)
{
    struct fs *fs = context;

    locks_lost(fs->locks);
}

static void session_opened(void *context)
{
    (void)context;
}

/* The locks before the session: it may tell at once that it has ended. */
int manage_start(struct fs *fs, const struct fs_config *config, struct error *err)
{
    const struct managed_config managed = {.channel = config->channel,
                                           .ticket = config->ticket,
                                           .keep = config->keep,
                                           .read_only = config->options.read_only,
                                           .lost = session_lost,
                                           .opened = session_opened,
                                           .context = fs};
    int r = 0;

    if (config->channel == NULL || config->channel->address == NULL) {
        return 0;
    }
    if (config->global_locks) {
        r = locks_new(fs, config->keep, &fs->locks, err);
    }
    r = r == 0 ? managed_new(&managed, &fs->managed, err) : r;
    return r == 0 ? facts_new(fs, &fs->facts, err) : r;
}

void manage_stop(struct fs *fs)
{
    facts_stop(fs->facts);
    managed_stop(fs->managed);
}

void manage_free(struct fs *fs)
{
    heads_stop(fs); /* tells fs->facts */
    manage_stop(fs);
    facts_free(fs->facts);
    managed_free(fs->managed);
    locks_free(fs->locks);
    fs->facts = NULL;
    fs->managed = NULL;
    fs->locks = NULL;
}
