/* SPDX-License-Identifier: Apache-2.0 */
/* What a volume gains from its metaserver, put together: the session, and what stands on it. */
#include "mounter/fs.h"
#include "mounter/managed/keys.h"
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

static void session_sized(void *context, uint64_t size_bytes)
{
    usage_set_size(context, size_bytes);
}

/* A successor begins with what its predecessor had been told, not with what the mount began with.
 */
static int adopt_size(struct fs *fs, struct keep *keep, struct error *err)
{
    struct keep_region region;
    int r = keep_region(keep, "size", sizeof(*fs->kept_size), &region, err);

    if (r != 0) {
        return r;
    }
    fs->kept_size = region.data;
    if (fs->options.size_bytes != 0 && *fs->kept_size != 0) {
        fs->options.size_bytes = *fs->kept_size;
    }
    return 0;
}

/* The locks before the session: it may tell at once that it has ended. */
int manage_start(struct fs *fs, const struct fs_config *config, struct error *err)
{
    struct managed_config managed = {.channel = config->channel,
                                     .ticket = config->ticket,
                                     .keep = config->keep,
                                     .read_only = config->options.read_only,
                                     .lost = session_lost,
                                     .opened = session_opened,
                                     .sized = session_sized,
                                     .context = fs};
    struct keys_config keys = {
        .volume = fs->volume, .keep = config->keep, .stats = fs->options.stats};
    int r = 0;

    if (config->channel == NULL || config->channel->address == NULL) {
        return 0;
    }
    r = adopt_size(fs, config->keep, err);
    if (r == 0 && config->global_locks) {
        r = locks_new(fs, config->keep, &fs->locks, err);
    }
    keys.name = config->channel->volume;
    r = r == 0 ? keys_new(&keys, &fs->keys, err) : r;
    managed.keys = fs->keys;
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
    keys_free(fs->keys);
    locks_free(fs->locks);
    fs->facts = NULL;
    fs->managed = NULL;
    fs->keys = NULL;
    fs->locks = NULL;
}
