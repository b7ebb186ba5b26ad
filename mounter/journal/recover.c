/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/journal/recover.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount/journal_survey.h"
#include "mounter/journal/journaled.h"
#include "mounter/setup.h"
#include "util/container.h"
#include "util/delay.h"
#include "util/log.h"

/* "DIR/VOLUME" into its two, absolute, and what VOLUME is. */
static int look(const char *path, char dir[PATH_MAX], struct journal_summary *ret,
                struct error *err)
{
    char *slash;
    int r;

    if (realpath(path, dir) == NULL || (slash = strrchr(dir, '/')) == NULL || slash == dir) {
        return error_set(err, -ENOENT, "%s is not the directory of a volume's journal", path);
    }
    *slash = '\0';
    r = journal_survey_one(dir, slash + 1, ret);
    if (r < 0) {
        return error_set(err, r, "%s: %s", path, strerror(-r));
    }
    if (ret->volume.location == NULL) {
        return error_set(err, -EBADMSG,
                         "%s/volume.json is missing or damaged: it tells where the data belongs",
                         path);
    }
    return mount_options_set(&ret->volume.options, "journal", dir, MOUNT_OPTIONS_OPERATOR, err);
}

/* The journal's own name has to come out again, or another one would be opened. */
static int check_name(const struct journal_summary *summary, struct error *err)
{
    char name[JOURNAL_NAME_MAX];
    int r = journal_volume_name(&summary->volume, name);

    return r < 0 || strcmp(name, summary->name) == 0
               ? r
               : error_set(err, -EBADMSG, "%s is not the journal of %s: its name would be %s",
                           summary->name, summary->volume.location, name);
}

static int open_all(const struct journal_summary *summary, struct keep *keep, struct fs **ret,
                    struct error *err)
{
    const struct setup_extra extra = {.dir = "", .recovers = true};
    struct mount_credentials credentials;
    int r = check_name(summary, err);

    r = r == 0 ? setup_personal_credentials(&credentials, err) : r;
    if (r != 0) {
        return r;
    }
    r = setup_fs(&summary->volume, &credentials, keep, &extra, ret, err);
    mount_credentials_done(&credentials);
    if (r == 0 && (*ret)->journal == NULL) {
        r = error_set(err, -EBUSY, "the journal cannot be used: is the volume mounted here?");
    }
    return r;
}

static void tell(const struct fs *fs, uint64_t left)
{
    uint64_t files = fs->imported.files;
    uint64_t tried = files + fs->imported.left;
    uint64_t all = tried + fs->imported.damaged;
    uint64_t uploaded = tried - (left < tried ? left : tried);

    (void)printf("{\"files\":%llu,\"uploaded\":%llu,\"conflicts\":%llu,\"damaged\":%u,"
                 "\"left\":%llu}\n",
                 (unsigned long long)all, (unsigned long long)uploaded,
                 (unsigned long long)fs->conflicts, fs->imported.damaged, (unsigned long long)left);
    (void)fflush(stdout);
}

/* Nothing has been sent yet: all of it is left. */
static void tell_untouched(const struct journal_summary *summary)
{
    unsigned long long files = summary->files;
    unsigned long long damaged = summary->damaged;

    (void)printf("{\"files\":%llu,\"uploaded\":0,\"conflicts\":0,\"damaged\":%llu,"
                 "\"left\":%llu}\n",
                 files + damaged, damaged, files);
    (void)fflush(stdout);
}

/* The time for all of it is over while the store is still being tried. */
struct limit {
    struct delay_entry entry;
    const struct journal_summary *summary;
    uint64_t timeout_ms;
};

static void on_limit(struct delay_entry *entry, bool early)
{
    const struct limit *limit = container_of(entry, struct limit, entry);

    if (!early) {
        tell_untouched(limit->summary);
        (void)fprintf(stderr,
                      "skyvol-mount: the store was not ready within the %llu s of --timeout: "
                      "nothing was uploaded\n",
                      (unsigned long long)(limit->timeout_ms / 1000));
        _exit(1); /* as a crash would: the journal has it all */
    }
}

static int open_in_time(const struct journal_summary *summary, uint64_t timeout_ms,
                        struct keep *keep, struct fs **ret, struct error *err)
{
    struct limit limit = {.summary = summary, .timeout_ms = timeout_ms};
    struct delay *delay = NULL;
    int r = delay_new(on_limit, &delay);

    if (r == 0 && !delay_add(delay, &limit.entry, fs_now_ms() + timeout_ms)) {
        r = -ENOMEM;
    }
    r = r == 0 ? open_all(summary, keep, ret, err) : r;
    delay_free(delay);
    if (r != 0) {
        tell_untouched(summary);
    }
    return r;
}

static int open_journal(const struct recover_arguments *arguments, struct keep *keep,
                        struct fs **ret, struct error *err)
{
    struct journal_summary summary = {.volume = MOUNT_CONFIG_INIT};
    char dir[PATH_MAX];
    int r = look(arguments->path, dir, &summary, err);

    r = r == 0 && summary.in_use
            ? error_set(err, -EBUSY, "%s is in use: a mount here uploads it", arguments->path)
            : r;
    r = r == 0 ? open_in_time(&summary, arguments->timeout_ms, keep, ret, err) : r;
    mount_config_done(&summary.volume);
    return r;
}

static int work(const struct recover_arguments *arguments, struct keep *keep, struct error *err)
{
    uint64_t until_ms = fs_now_ms() + arguments->timeout_ms;
    uint64_t now_ms;
    struct fs *fs = NULL;
    uint32_t kept = 0;
    uint32_t left;
    int r = open_journal(arguments, keep, &fs, err);

    if (r != 0) {
        return r;
    }
    now_ms = fs_now_ms();
    r = journaled_drain(fs, until_ms > now_ms ? until_ms - now_ms : 0, false, &kept, err);
    left = journal_files(fs->journal);
    tell(fs, left);
    if (r == 0 && left > 0) {
        r = error_set(err, -EAGAIN, "%u files are left in the journal; the log says why", left);
    }
    if (r != 0) {
        (void)fprintf(stderr, "skyvol-mount: %s\n", error_text(err, r));
        _exit(1); /* what the store does not answer is not waited for */
    }
    fs_free(fs);
    return 0;
}

int recover_run(const struct recover_arguments *arguments)
{
    struct error err = ERROR_INIT;
    struct keep *keep = NULL;
    int r = keep_new(&keep);

    r = r == 0 ? work(arguments, keep, &err) : r;
    keep_free(keep);
    if (r != 0) {
        (void)fprintf(stderr, "skyvol-mount: %s\n", error_text(&err, r));
    }
    return r == 0 ? 0 : 1;
}
