/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/setup.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mount/journal.h"
#include "mount/readahead.h"
#include "mounter/advice.h"
#include "mounter/budget.h"
#include "mounter/probed.h"
#include "mounter/stats.h"
#include "mounter/trying.h"
#include "util/file.h"
#include "util/log.h"
#include "util/memory.h"
#include "volume/open.h"

enum {
    TRIES = 1000, /* the deadline ends them */
    CREDENTIALS_MAX = 65536,
    THREADS_DEFAULT = 4,
    JOURNAL_WAIT_MS = 3000,
    DRAIN_DEFAULT_MS = 60000,
    RECOVER_MS = 600000,
};
static const uint64_t cache_default = UINT64_C(10) << 30;

static uint64_t number(const struct mount_config *config, const char *name, uint64_t fallback,
                       int base)
{
    const char *text = mount_options_get(&config->options, name);

    return text != NULL ? strtoull(text, NULL, base) : fallback;
}

static uint64_t milliseconds(const struct mount_config *config, const char *name,
                             uint64_t fallback_ms)
{
    const char *text = mount_options_get(&config->options, name);

    return text != NULL ? (uint64_t)(strtod(text, NULL) * 1000.0) : fallback_ms;
}

unsigned setup_threads(const struct mount_config *config)
{
    uint64_t threads = number(config, "threads", THREADS_DEFAULT, 10);

    return threads < 1 ? 1 : threads > 64 ? 64 : (unsigned)threads;
}

uint64_t setup_deadline_ms(const struct mount_config *config)
{
    return milliseconds(config, "deadline", 0);
}

uint64_t setup_drain_ms(const struct mount_config *config)
{
    return milliseconds(config, "drain", DRAIN_DEFAULT_MS);
}

uint64_t setup_readahead(const struct mount_config *config)
{
    return number(config, "readahead", MOUNT_READAHEAD_DEFAULT, 10);
}

bool setup_resend(const struct mount_config *config)
{
    const char *text = mount_options_get(&config->options, "resend");

    return text == NULL || strcmp(text, "true") == 0;
}

static bool is_owner_told(const struct mount_config *config)
{
    static const char *const names[] = {"uid", "gid", "umask", "file_mode", "dir_mode"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (mount_options_get(&config->options, names[i]) != NULL) {
            return true;
        }
    }
    return false;
}

uint64_t setup_memory(const struct mount_config *config)
{
    return config->memory_bytes != 0 ? config->memory_bytes : number(config, "memory", 0, 10);
}

static uint64_t memory_of(const struct mount_config *config)
{
    struct memory_given given;
    uint64_t memory = setup_memory(config);

    if (memory == 0) {
        memory_given("", &given);
        memory = memory_share(&given);
    }
    return memory;
}

static struct budget divide_memory(const struct mount_config *config)
{
    struct budget budget;

    budget_of(&(struct budget_wish){.memory_bytes = memory_of(config),
                                    .threads = setup_threads(config),
                                    .connections = (uint32_t)number(config, "parallel", 0, 10)},
              &budget);
    return budget;
}

static void fill_options(const struct mount_config *config, const struct budget *budget,
                         struct fs_options *ret)
{
    const char *sync = mount_options_get(&config->options, "sync");
    const char *open = mount_options_get(&config->options, "open");
    const char *attrs = mount_options_get(&config->options, "attrs");
    const char *test_recover = getenv("SKYVOL_TEST_RECOVER_MS");
    uint32_t umask = (uint32_t)number(config, "umask", 0, 8);

    *ret = (struct fs_options){
        .uid = (uint32_t)number(config, "uid", 0, 10),
        .gid = (uint32_t)number(config, "gid", 0, 10),
        .one_group = mount_options_get(&config->options, "mount_group") != NULL,
        .group = (uint32_t)number(config, "mount_group", 0, 10),
        .file_mode = (uint32_t)number(config, "file_mode", 0666, 8) & ~umask & 07777,
        .dir_mode = (uint32_t)number(config, "dir_mode", 0777, 8) & ~umask & 07777,
        .sync = sync == NULL                 ? SYNC_CLOSE
                : strcmp(sync, "async") == 0 ? SYNC_ASYNC
                : strcmp(sync, "fsync") == 0 ? SYNC_FSYNC
                                             : SYNC_CLOSE,
        .open_asks = open != NULL ? strcmp(open, "revalidate") == 0
                                  : sync == NULL || strcmp(sync, "close") == 0,
        .owner_told = is_owner_told(config),
        .attrs = attrs == NULL || strcmp(attrs, "auto") == 0 ? ATTRS_AUTO
                 : strcmp(attrs, "list") == 0                ? ATTRS_LIST
                                                             : ATTRS_FULL,
        .attr_timeout_ms = milliseconds(config, "attr_timeout", 1000),
        .size_bytes = config->size_bytes,
        .recover_ms = test_recover != NULL ? strtoull(test_recover, NULL, 10) : RECOVER_MS,
        .memory_bytes = memory_of(config),
        .dirty_bytes = budget->dirty_bytes,
        .reader_bytes = budget->reader_bytes,
        .read_only = mount_options_true(&config->options, "ro"),
    };
}

static bool is_async(const struct mount_config *config)
{
    const char *sync = mount_options_get(&config->options, "sync");

    return sync != NULL && strcmp(sync, "async") == 0;
}

/* The words of the options win; "" : none. */
static int journal_dir(const struct mount_config *config, const struct setup_extra *journal,
                       struct buf *out)
{
    const char *dir = mount_options_get(&config->options, "journal");
    const char *cache = mount_options_get(&config->options, "cache");

    if (dir != NULL) {
        buf_addstr(out, dir);
    } else if (cache != NULL && strcmp(cache, "false") != 0) {
        buf_addf(out, "%s/journal", cache);
    } else {
        buf_addstr(out, journal->dir);
    }
    return buf_error(out);
}

int setup_check(const struct mount_config *config, const struct setup_extra *journal,
                struct error *err)
{
    CLEANUP(buf_done) struct buf dir = BUF_INIT(MOUNT_OPTION_VALUE_MAX + 16);
    int r = is_async(config) ? journal_dir(config, journal, &dir) : 0;

    return r == 0 && is_async(config) && buf_len(&dir) == 0
               ? error_set(err, -EINVAL,
                           "sync=async needs a directory on disk for what is not in the store yet: "
                           "-o cache=DIR or journal=DIR, or --journal-dir of skyvol-holder")
               : r;
}

/* Without a journal a mount is as good as one that has none; but sync=async stands on it. */
int setup_journal_open(const struct mount_config *config, const struct setup_extra *journal,
                       struct journal **ret, struct error *err)
{
    CLEANUP(buf_done) struct buf dir = BUF_INIT(MOUNT_OPTION_VALUE_MAX + 16);
    struct journal_config open = {.volume = config,
                                  .max_bytes =
                                      number(config, "journal_size", journal->max_bytes, 10),
                                  .wait_ms = JOURNAL_WAIT_MS};
    struct error why = ERROR_INIT;
    int r = setup_check(config, journal, err);

    *ret = NULL;
    r = r == 0 ? journal_dir(config, journal, &dir) : r;
    if (r < 0 || buf_len(&dir) == 0 || mount_options_true(&config->options, "ro")) {
        return r;
    }
    open.dir = buf_str(&dir);
    r = journal_open(&open, ret, &why);
    if (r < 0 && is_async(config)) {
        return error_set(err, r, "sync=async: %s", error_text(&why, r));
    }
    if (r < 0) {
        log_warn("this mount has no journal", "error", error_text(&why, r), NULL);
    }
    return 0;
}

/* What is cached belongs to one place in one store, whoever mounts it. */
static void fill_cache(const struct mount_config *config, struct buf *name, struct fs_options *ret)
{
    const char *dir = mount_options_get(&config->options, "cache");
    const char *endpoint = mount_options_get(&config->options, "endpoint");

    buf_addf(name, "%s %s", endpoint != NULL ? endpoint : "", config->location);
    if (dir == NULL || strcmp(dir, "false") == 0 || buf_error(name) != 0) {
        return;
    }
    ret->cache_dir = dir;
    ret->cache_name = buf_str(name);
    ret->cache_bytes = number(config, "cache_size", cache_default, 10);
}

struct opening {
    struct keep *keep;
    struct mount_stats *stats;
    const struct setup_extra *extra;
    struct advice_place place;
};

static void note_store(void *context, const struct objstore_watched *watched)
{
    stats_store(context, watched);
    trying_tried(watched->status, watched->text, watched->try_ms);
}

static void tell_holder(void *context, struct error *why)
{
    const struct opening *with = context;
    int r = advice_for_pod(&with->place, why->code, why);

    (void)r; /* it stands in why, too */
    with->extra->trying(with->extra->trying_context, why);
}

/* Who mounts by hand would wait in silence for as long as a store is tried. */
static int probe(const struct mount_config *config, struct volume *volume, struct opening *with,
                 struct error *err)
{
    const char *endpoint = with->place.endpoint;
    struct trying trying = {.store = endpoint != NULL ? endpoint : config->location,
                            .deadline_ms = setup_deadline_ms(config),
                            .told = with->extra->trying != NULL ? tell_holder : NULL,
                            .context = with};

    trying_begin(&trying);
    return trying_end(&trying, probed(volume, with->keep, err), err);
}

/* The store's words, and what helps: "ro" does not help who has something to upload. */
static int explain_denied(const struct opening *with, int error, struct error *err)
{
    return error_set(err, error,
                     "%s; the bucket is tried out by writing below .skyvol/probe/: %s, and "
                     "skyvol-s3 asks for a key with \"internal\": true in its key file",
                     error_text(err, error),
                     with->extra->recovers ? "the keys must allow it"
                                           : "the option ro does without");
}

static int open_volume(const struct mount_config *config,
                       const struct mount_credentials *credentials, struct opening *with,
                       struct volume **ret, struct error *err)
{
    bool anonymous = mount_options_true(&config->options, "anonymous");
    const char *path_style = mount_options_get(&config->options, "path_style");
    const char *endpoint = with->place.endpoint;
    const char *sse = mount_options_get(&config->options, "sse");
    const char *sse_key = mount_options_get(&config->options, "sse_key");
    const struct budget budget = divide_memory(config);
    const struct volume_open_config open = {
        .location = config->location,
        .endpoint = endpoint,
        .region = mount_options_get(&config->options, "region"),
        .credentials = {.access_key = anonymous ? NULL : credentials->access_key,
                        .secret_key = anonymous ? NULL : credentials->secret_key,
                        .session_token = anonymous ? NULL : credentials->session_token},
        .ca_file = mount_options_get(&config->options, "ca_file"),
        .public_only = mount_options_true(&config->options, "public_only"),
        .insecure = mount_options_true(&config->options, "insecure_tls"),
        .unsigned_payload = mount_options_true(&config->options, "unsigned_payload"),
        .wishes = {.storage_class = mount_options_get(&config->options, "storage_class"),
                   .acl = mount_options_get(&config->options, "acl"),
                   .sse = sse != NULL       ? sse
                          : sse_key != NULL ? "aws:kms"
                                            : NULL,
                   .sse_key = sse_key,
                   .requester_pays = mount_options_true(&config->options, "requester_pays")},
        .virtual_host_style =
            path_style != NULL ? strcmp(path_style, "true") != 0 : endpoint == NULL,
        .read_only = mount_options_true(&config->options, "ro"),
        .max_connections = budget.connections,
        .tries = (uint32_t)number(config, "retries", TRIES, 10),
        .request_timeout_ms = (uint32_t)milliseconds(config, "deadline", 0),
        .faults = getenv("SKYVOL_TEST_FAULTS"),
        .watch = note_store,
        .watch_context = with->stats,
    };
    int r = volume_open(&open, ret, err);

    if (r != 0) {
        return r;
    }
    r = probe(config, *ret, with, err);
    if (r == -EACCES && !open.read_only && strstr(error_text(err, r), "AccessDenied") != NULL) {
        (void)explain_denied(with, r, err);
    }
    if (r != 0) {
        r = with->extra->trying != NULL ? advice_for_pod(&with->place, r, err) : r;
        volume_free(*ret);
        *ret = NULL;
    }
    return r;
}

/*
 * Where memory is short it goes back to the kernel at once. Else an arena keeps a little, as page
 * faults and system calls cost more: by itself malloc(3) gives the end of an arena back and takes
 * it again about once for each file that is written.
 */
static void tune_malloc(const struct budget *budget)
{
    enum { MAPPED = 256 * 1024, MAPPED_MORE = 1 << 20, TRIMMED = 1 << 20 };
    bool is_short = budget->arenas == 1;

    (void)mallopt(M_ARENA_MAX, budget->arenas);
    (void)mallopt(M_MMAP_THRESHOLD, is_short ? MAPPED : MAPPED_MORE);
    (void)mallopt(M_TRIM_THRESHOLD, TRIMMED);
}

/* Where several nodes may have the volume, unless the option says otherwise. */
static int choose_locks(const struct mount_config *config, bool *ret_global, struct error *err)
{
    const char *locks = mount_options_get(&config->options, "locks");
    bool managed = config->channel.address != NULL;

    if (locks != NULL && strcmp(locks, "global") == 0 && !managed) {
        return error_set(err, -EINVAL,
                         "locks=global needs a managed volume: only skyvol-meta can lock for "
                         "several nodes");
    }
    *ret_global = locks == NULL || strcmp(locks, "auto") == 0
                      ? managed && !config->channel.exclusive
                      : strcmp(locks, "global") == 0;
    return 0;
}

int setup_fs(const struct mount_config *config, const struct mount_credentials *credentials,
             struct keep *keep, const struct setup_extra *extra, struct fs **ret, struct error *err)
{
    struct fs_config fs = {.keep = keep, .channel = &config->channel, .ticket = extra->ticket};
    const char *level = mount_options_get(&config->options, "log_level");
    enum log_level parsed;
    const struct budget budget = divide_memory(config);
    struct opening opening = {
        .keep = keep,
        .extra = extra,
        .place = {.location = config->location,
                  .endpoint = mount_options_get(&config->options, "endpoint")}};
    CLEANUP(buf_done) struct buf cache_name = BUF_INIT(MOUNT_OPTION_VALUE_MAX + 4096);
    int r = 0;

    tune_malloc(&budget);

    r = r == 0 ? choose_locks(config, &fs.global_locks, err) : r;
    if (level != NULL && log_parse_level(level, &parsed) == 0) {
        log_set_level(parsed);
    }
    r = r == 0 ? stats_open(keep, &opening.stats, err) : r;
    r = r == 0 ? open_volume(config, credentials, &opening, &fs.volume, err) : r;
    if (r == 0) {
        r = setup_journal_open(config, extra, &fs.journal, err);
        if (r != 0) {
            volume_free(fs.volume);
        }
    }
    if (r != 0) {
        return r;
    }
    fill_options(config, &budget, &fs.options);
    fs.options.stats = opening.stats;
    fill_cache(config, &cache_name, &fs.options);
    return fs_new(&fs, ret, err);
}

/* "key = value" lines of one [profile]. */
static int read_profile(char *text, const char *profile, struct mount_credentials *ret, bool *found)
{
    bool inside = false;
    char *save = NULL;

    for (char *line = strtok_r(text, "\r\n", &save); line != NULL;
         line = strtok_r(NULL, "\r\n", &save)) {
        char *equals = strchr(line, '=');
        char *name = line + strspn(line, " \t");
        size_t len;
        char **slot;

        if (name[0] == '[') {
            len = strcspn(name + 1, "]");
            inside = len == strlen(profile) && strncmp(name + 1, profile, len) == 0;
            *found = *found || inside;
            continue;
        }
        if (!inside || equals == NULL) {
            continue;
        }
        len = strcspn(name, " \t=");
        slot = len == 17 && strncmp(name, "aws_access_key_id", len) == 0       ? &ret->access_key
               : len == 21 && strncmp(name, "aws_secret_access_key", len) == 0 ? &ret->secret_key
               : len == 17 && strncmp(name, "aws_session_token", len) == 0     ? &ret->session_token
                                                                               : NULL;
        if (slot != NULL) {
            char *value = equals + 1 + strspn(equals + 1, " \t");

            value[strcspn(value, " \t")] = '\0';
            free(*slot);
            *slot = strdup(value);
            if (*slot == NULL) {
                return -ENOMEM;
            }
        }
    }
    return 0;
}

int setup_credentials_path(char **ret)
{
    const char *file = getenv("AWS_SHARED_CREDENTIALS_FILE");
    const char *home = getenv("HOME");
    char *path = NULL;

    *ret = NULL;
    if ((getenv("AWS_ACCESS_KEY_ID") != NULL && getenv("AWS_SECRET_ACCESS_KEY") != NULL) ||
        (file == NULL && home == NULL)) {
        return 0;
    }
    if (asprintf(&path, "%s%s", file != NULL ? file : home,
                 file != NULL ? "" : "/.aws/credentials") < 0) {
        return -ENOMEM;
    }
    if (file == NULL && getenv("AWS_PROFILE") == NULL && access(path, F_OK) != 0) {
        free(path);
        path = NULL;
    }
    *ret = path;
    return 0;
}

static int from_file(struct mount_credentials *ret, struct error *err)
{
    const char *profile = getenv("AWS_PROFILE");
    AUTOFREE char *path = NULL;
    CLEANUP(buf_wipe) struct buf text = BUF_INIT(CREDENTIALS_MAX);
    AUTOFREE char *copy = NULL;
    bool found = false;
    int r = setup_credentials_path(&path);

    if (path == NULL) {
        return r;
    }
    r = file_read(path, &text);
    if (r != 0) {
        (void)error_set(err, r, "cannot read %s: %s", path, strerror(-r));
    }
    copy = r == 0 ? strdup(buf_str(&text)) : NULL;
    r = r == 0 && copy == NULL ? -ENOMEM : r;
    if (r == 0) {
        r = read_profile(copy, profile != NULL ? profile : "default", ret, &found);
        explicit_bzero(copy, strlen(copy));
    }
    if (r == 0 && profile != NULL && !found) {
        r = error_set(err, -ENOENT, "there is no profile '%s' (AWS_PROFILE) in %s", profile, path);
    }
    if (r == 0 && (ret->access_key == NULL) != (ret->secret_key == NULL)) {
        r = error_set(err, -EINVAL, "profile '%s' in %s has no %s",
                      profile != NULL ? profile : "default", path,
                      ret->access_key == NULL ? "aws_access_key_id" : "aws_secret_access_key");
    }
    return r;
}

int setup_personal_credentials(struct mount_credentials *ret, struct error *err)
{
    const char *key = getenv("AWS_ACCESS_KEY_ID");
    const char *secret = getenv("AWS_SECRET_ACCESS_KEY");
    const char *token = getenv("AWS_SESSION_TOKEN");

    memset(ret, 0, sizeof(*ret));
    if ((key == NULL) != (secret == NULL)) {
        return error_set(err, -EINVAL, "%s is set, but %s is not: both are needed, or neither",
                         key != NULL ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                         key != NULL ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
    }
    if (key == NULL) {
        return from_file(ret, err);
    }
    ret->access_key = strdup(key);
    ret->secret_key = strdup(secret);
    ret->session_token = token != NULL ? strdup(token) : NULL;
    return ret->access_key != NULL && ret->secret_key != NULL ? 0 : -ENOMEM;
}
