/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "mount/readahead.h"
#include "mounter/advice.h"
#include "mounter/journal/export.h"
#include "mounter/journal/journaled.h"
#include "mounter/names/shed.h"
#include "mounter/personal.h"
#include "mounter/place.h"
#include "mounter/rotate.h"
#include "mounter/session/held.h"
#include "mounter/session/session.h"
#include "mounter/setup.h"
#include "util/log.h"
#include "util/mutex.h"
#include "util/signals.h"
#include "util/status.h"
#include "volume/open.h"

enum { EXPORT_POOL_MIN = 1 << 20 };
enum { DRAIN_MS = 300000, QUICK_MS = 1000, STOP_MS = 20000, LOOK_MS = 100 };

/* What the holder's events need; set before held_ready(). */
struct life {
    struct held *held;
    struct fs *fs;
    struct session *session;
};

static int read_config(struct keep *keep, struct mount_config *ret, struct error *err)
{
    char *text = NULL;
    size_t len = 0;
    int r = keep_blob_get(keep, "config", &text, &len);

    if (r != 0) {
        return error_set(err, r, "the holder gave no configuration");
    }
    r = mount_config_parse(text, ret, err);
    keep_secret_free(text, len);
    return r;
}

static int read_credentials(struct keep *keep, struct mount_credentials *ret,
                            struct mount_ticket *ret_ticket, struct error *err)
{
    char *text = NULL;
    size_t len = 0;
    int r = keep_blob_get(keep, "credentials", &text, &len);

    memset(ret, 0, sizeof(*ret));
    memset(ret_ticket, 0, sizeof(*ret_ticket));
    if (r == -ENOENT) {
        return 0;
    }
    r = r == 0 ? mount_credentials_parse(text, ret, err) : r;
    r = r == 0 ? mount_ticket_parse(text, ret_ticket) : r;
    if (text != NULL) {
        keep_secret_free(text, len);
    }
    return r;
}

static void on_credentials(void *context)
{
    struct life *life = context;
    struct mount_credentials fresh;
    struct mount_ticket ticket;
    struct error err = ERROR_INIT;
    int ret = read_credentials(held_keep(life->held), &fresh, &ticket, &err);

    if (ret == 0 && fresh.access_key != NULL) {
        const struct volume_credentials use = {fresh.access_key, fresh.secret_key,
                                               fresh.session_token};

        ret = volume_set_credentials(life->fs->volume, &use);
    }
    /* Behind the keys: it has the session ask whether these are the newest. */
    if ((ret == 0 || ret == -ENOTSUP) && ticket.token != NULL && life->fs->managed != NULL) {
        ret = managed_set_ticket(life->fs->managed, &ticket);
    }
    mount_credentials_done(&fresh);
    mount_ticket_done(&ticket);
    if (ret != 0 && ret != -ENOTSUP) {
        log_error("credentials could not be taken over", "error", error_text(&err, ret), NULL);
    }
}

static void on_quiesce(void *context)
{
    struct life *life = context;

    session_stop(life->session);
}

static int on_drain(void *context, const struct held_drain *drain, uint32_t *kept_files,
                    struct error *err)
{
    struct life *life = context;

    return journaled_drain(life->fs, drain->deadline_ms, drain->keep, kept_files, err);
}

static void on_trying(void *context, const struct error *why)
{
    const struct life *life = context;

    held_trying(life->held, why);
}

/* More than its cgroup has is of no use to it: at that the kernel kills it. */
static void bound_memory(struct mount_config *config, uint64_t limit)
{
    uint64_t memory = setup_memory(config);

    if (limit != 0 && (memory == 0 || memory > limit)) {
        config->memory_bytes = limit;
    }
}

static int start_held(struct life *life, struct error *err)
{
    CLEANUP(mount_config_done) struct mount_config config = MOUNT_CONFIG_INIT;
    CLEANUP(mount_ticket_done) struct mount_ticket ticket = MOUNT_TICKET_INIT;
    struct mount_credentials credentials;
    struct session_config session = {.ops = fs_ops(), .keep = held_keep(life->held)};
    struct setup_extra extra = {.ticket = &ticket, .trying = on_trying, .trying_context = life};
    int r = read_config(held_keep(life->held), &config, err);

    r = r == 0 ? read_credentials(held_keep(life->held), &credentials, &ticket, err) : r;
    if (r != 0) {
        return r;
    }
    extra.dir = held_journal(life->held, &extra.max_bytes);
    bound_memory(&config, held_memory(life->held));
    r = setup_fs(&config, &credentials, held_keep(life->held), &extra, &life->fs, err);
    mount_credentials_done(&credentials);
    if (r != 0) {
        return r;
    }
    session.userdata = life->fs;
    session.torn = lost_torn;
    session.device = held_device(life->held);
    session.threads = setup_threads(&config);
    session.deadline_ms = setup_deadline_ms(&config);
    session.resend = held_resend(life->held) && setup_resend(&config);
    session.stats = life->fs->options.stats;
    r = session_new(&session, &life->session, err);
    if (r == 0 && session_taken_over(life->session) && !state_adopted(life->fs->state)) {
        /* Its inodes are not known here: their numbers must not come to mean others. */
        r = error_set(err, -EUCLEAN, "kept memory is incomplete: 'state' is missing");
    }
    if (r == 0) {
        fs_set_session(life->fs, life->session);
        r = session_start(life->session, err);
    }
    return r == 0 ? held_ready(life->held, err) : r;
}

/* ---- after a mounter that dies again and again ---- */

static int export_held(struct held *held, uint32_t *ret_files, struct error *err)
{
    CLEANUP(mount_config_done) struct mount_config config = MOUNT_CONFIG_INIT;
    struct state_config want = {.keep = held_keep(held), .pool_bytes = EXPORT_POOL_MIN};
    CLEANUP(journal_free_p) struct journal *journal = NULL;
    CLEANUP(state_free_p) struct state *state = NULL;
    struct setup_extra where = {0};
    uint32_t removed;
    struct mutex lock;
    struct export x = {.lock = &lock};
    int r = read_config(held_keep(held), &config, err);

    r = r == 0 ? state_new(&want, &state, err) : r; /* kept tables are as large as they are */
    if (r != 0 || !state_adopted(state)) {
        return r;
    }
    where.dir = held_journal(held, &where.max_bytes);
    r = setup_journal_open(&config, &where, &journal, err);
    if (r == 0 && journal == NULL) {
        r = error_set(err, -ENOENT, "there is no journal");
    }
    if (r == 0) {
        mutex_init(&lock);
        x.state = state;
        x.journal = journal;
        r = export_all(&x, ret_files, err);
        r = r == 0 ? export_graves(&x, &removed) : r;
        mutex_done(&lock);
    }
    return r;
}

static void ignore_event(void *context)
{
    (void)context;
}

static int ignore_drain(void *context, const struct held_drain *drain, uint32_t *kept_files,
                        struct error *err)
{
    (void)context;
    (void)drain;
    *kept_files = 0;
    return error_set(err, -EBUSY, "this process only writes to the journal");
}

int run_export(int holder_fd)
{
    static const struct held_events events = {ignore_event, ignore_event, ignore_drain};
    struct held *held = NULL;
    struct error err = ERROR_INIT;
    uint32_t files = 0;
    int ret = held_new(holder_fd, &events, NULL, &held, &err);

    if (ret != 0) {
        log_error("cannot speak with the holder", "error", error_text(&err, ret), NULL);
        return 1;
    }
    ret = export_held(held, &files, &err);
    if (ret == 0) {
        log_warn("dirty data of a failed mount is in the journal", "mount", held_key(held), "files",
                 log_num(files), NULL);
    } else {
        log_error("dirty data of a failed mount cannot be written to the journal", "mount",
                  held_key(held), "error", error_text(&err, ret), NULL);
    }
    held_drained(held, files, ret, &err);
    held_free(held);
    return ret == 0 ? 0 : 1;
}

/* ---- a mount that a holder keeps ---- */

/* Unmounted: the journal takes what the store has not taken by then; without one, wait for it. */
static int end_drain(struct fs *fs, uint64_t keep_after_ms, uint32_t *ret_kept)
{
    struct error err = ERROR_INIT;
    int ret =
        journaled_drain(fs, fs->journal != NULL ? keep_after_ms : DRAIN_MS, true, ret_kept, &err);

    if (ret != 0 && fs->journal != NULL && !journaled_given_up(fs)) {
        log_error("the journal does not help: waiting for the store", "error",
                  error_text(&err, ret), NULL);
        ret = journaled_drain(fs, DRAIN_MS, true, ret_kept, &err);
    }
    if (ret != 0) {
        log_error("unmounted with files that are not in the store", "error", error_text(&err, ret),
                  NULL);
    }
    return ret;
}

int run_held(int holder_fd)
{
    static const struct held_events events = {on_credentials, on_quiesce, on_drain};
    struct life life = {0};
    struct error err = ERROR_INIT;
    int ret = held_new(holder_fd, &events, &life, &life.held, &err);

    if (ret != 0) {
        log_error("cannot speak with the holder", "error", error_text(&err, ret), NULL);
        return 1;
    }
    ret = start_held(&life, &err);
    if (ret != 0) {
        if (err.code == 0) { /* the text must not be printed into itself */
            (void)error_set(&err, ret, "%s", error_text(NULL, ret));
        }
        log_error("cannot mount", "error", err.text, NULL);
        held_failed(life.held, &err);
        return 1; /* the kernel's side stays with the holder: nothing to take down here */
    }
    ret = session_wait(life.session, UINT64_MAX);
    log_info("mounter ends", "reason", ret == -ENODEV ? "unmounted" : "asked to", NULL);
    if (ret == -ENODEV) { /* by somebody who did not ask us first: the holder forgets with us */
        uint32_t kept;

        ret = end_drain(life.fs, QUICK_MS, &kept);
        if (ret == 0 && kept == 0) {
            journaled_end(life.fs);
        }
        manage_stop(life.fs);
    }
    /* State and what is in flight lie in kept memory: ending here is what a crash would be. */
    _exit(ret == 0 ? 0 : 1);
}

/* ---- without a holder ---- */

/* A signal ends the process as long as nobody can have given it anything, then the session; the
 * next one the wait for the store. */
struct making {
    struct mutex lock;
    bool mounts; /* from here on it is to be unmounted */
    bool stopped;
    struct session *session;
    struct fs *fs;
    const struct mount_config *logs; /* its log, once it has one to reopen */
    char *target; /* the mount point without links, as it may be relative and we go elsewhere */
};

static void on_stop(void *context)
{
    struct making *making = context;
    struct session *session;
    bool mounts;

    mutex_lock(&making->lock);
    making->stopped = true;
    mounts = making->mounts;
    session = making->session;
    mutex_unlock(&making->lock);
    if (!mounts) {
        _exit(1); /* a store that does not answer is tried for a minute */
    }
    if (session != NULL) {
        session_stop(session);
    }
}

static void on_stop_again(void *context)
{
    struct making *making = context;
    struct fs *fs;

    mutex_lock(&making->lock);
    fs = making->fs;
    mutex_unlock(&making->lock);
    if (fs != NULL) {
        journaled_give_up(fs);
    }
}

static void on_reload(void *context)
{
    struct making *making = context;
    const struct mount_config *logs;

    mutex_lock(&making->lock);
    logs = making->logs;
    mutex_unlock(&making->lock);
    if (logs != NULL) {
        personal_log_reopen(logs);
    }
}

/* A session of NULL: it is about to be. */
static void note_mount(struct making *making, struct fs *fs, struct session *session)
{
    bool stopped;

    mutex_lock(&making->lock);
    making->mounts = true;
    making->fs = fs;
    making->session = session;
    stopped = making->stopped;
    mutex_unlock(&making->lock);
    if (stopped && session != NULL) {
        session_stop(session);
    }
}

/* Whoever loses patience with the parent ends the child with it. */
static void follow_parent(bool follow)
{
    (void)prctl(PR_SET_PDEATHSIG, follow ? SIGTERM : 0);
}

static void let_signals_end_us(void)
{
    sigset_t set;

    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* The parent waits for a byte: 0 for mounted. */
static int go_background(int *ret_pipe)
{
    int ends[2];
    pid_t child;
    char status = 1;

    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -errno;
    }
    child = fork();
    if (child < 0) {
        return -errno;
    }
    if (child == 0) {
        (void)close(ends[0]);
        *ret_pipe = ends[1];
        follow_parent(true);
        return setsid() < 0 ? -errno : 0;
    }
    (void)close(ends[1]);
    let_signals_end_us();
    if (read(ends[0], &status, 1) != 1) {
        status = 1;
    }
    _exit(status); /* what the child had to say, it has said on stderr */
}

static void tell_parent(int pipe_fd, char status, bool own_stderr)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (pipe_fd < 0) {
        return;
    }
    follow_parent(false);
    (void)!write(pipe_fd, &status, 1);
    (void)close(pipe_fd);
    if (status == 0 && null >= 0) {
        (void)dup2(null, 0);
        (void)dup2(null, 1);
        if (!own_stderr) {
            (void)dup2(null, 2);
        }
        (void)!chdir("/");
    }
}

static int session_alone(const struct run_arguments *arguments, struct keep *keep, struct fs *fs,
                         const char *target, struct error *err)
{
    CLEANUP(buf_done) struct buf options = BUF_INIT(16384);
    struct session *made;
    struct session_config session = {.ops = fs_ops(),
                                     .userdata = fs,
                                     .keep = keep,
                                     .stats = fs->options.stats,
                                     .device = -1,
                                     .mountpoint = target,
                                     .threads = setup_threads(&arguments->config),
                                     .deadline_ms = setup_deadline_ms(&arguments->config)};
    int r;

    mount_options_hand(&arguments->config.options, arguments->config.location, &options);
    buf_addf(&options, ",subtype=skyvol,default_permissions%s%s",
             geteuid() == 0 ? ",allow_other" : "", fs->options.read_only ? ",ro" : "");
    session.options = buf_str(&options);
    r = buf_error(&options);
    r = r < 0 ? r : session_new(&session, &made, err);
    if (r == 0) {
        fs_set_session(fs, made);
        r = session_start(made, err);
    }
    if (r == 0) { /* after INIT, which can only lower it; best effort */
        (void)!mount_readahead_set(target, setup_readahead(&arguments->config));
    }
    return r;
}

static int start_alone(const struct run_arguments *arguments, struct keep *keep,
                       struct making *making, struct fs **ret, struct error *err)
{
    const struct setup_extra extra = {.dir = "", .ticket = &arguments->ticket};
    struct mount_credentials credentials;
    int r = place_ready(arguments->mountpoint, &making->target, err);

    r = r == 0 ? place_device(err) : r;
    if (r != 0) {
        return r;
    }
    r = setup_personal_credentials(&credentials, err);
    r = r == 0 ? setup_fs(&arguments->config, &credentials, keep, &extra, ret, err) : r;
    mount_credentials_done(&credentials);
    if (r != 0) {
        return r;
    }
    note_mount(making, *ret, NULL);
    r = session_alone(arguments, keep, *ret, making->target, err);
    if (r == 0) {
        note_mount(making, *ret, (*ret)->session);
    }
    return r;
}

/* Who has sent a signal once knows what another would mean. */
static void tell_stopping(struct fs *fs)
{
    size_t left = journaled_left(fs);

    if (left > 0) {
        log_info(
            fs->journal != NULL
                ? "another signal ends the wait for the store: the journal takes the rest"
                : "another signal ends the wait for the store: the rest is LOST then, as there "
                  "is no journal (-o journal=DIR)",
            "files_and_removals", log_num(left), NULL);
    }
}

/* Until unmounted or told to stop; then everything dirty goes to the store. */
static int serve_alone(struct fs *fs, uint64_t keep_after_ms, uint32_t *ret_kept)
{
    bool stopped = session_wait(fs->session, UINT64_MAX) == 0;
    uint64_t until = fs_now_ms() + STOP_MS;
    int ret;

    if (stopped) {
        tell_stopping(fs);
    }
    while (session_drain(fs->session, LOOK_MS) != 0 && fs_now_ms() < until &&
           !journaled_given_up(fs)) {
    }
    ret = end_drain(fs, keep_after_ms, ret_kept);
    if (*ret_kept > 0) {
        log_warn("to send what was kept: mount again with the same journal, or use --recover",
                 "recover", journal_path(fs->journal), "files", log_num(*ret_kept), NULL);
    }
    return ret;
}

/* Without taking anything down but the mount itself. */
static _Noreturn void end_at_once(struct fs *fs, const struct making *making, int status)
{
    if (session_abandon(fs->session)) {
        place_leave(making->target);
    }
    manage_stop(fs);
    _exit(status);
}

struct alone {
    const char *location;
    const struct mount_stats *stats;
};

static void write_stats(void *context, struct buf *out)
{
    const struct alone *alone = context;
    const struct mount_stats_of one = {.volume = alone->location, .stats = alone->stats};

    mount_stats_write(&one, 1, out);
}

/* Under a holder it is the node plugin that serves them. */
static int serve_metrics(const struct run_arguments *arguments, const struct fs *fs,
                         struct status **ret, struct error *err)
{
    static struct alone alone;
    const struct status_config config = {
        .address = mount_options_get(&arguments->config.options, "metrics"),
        .more = write_stats,
        .context = &alone};

    alone = (struct alone){.location = arguments->config.location, .stats = fs->options.stats};
    return config.address != NULL ? status_new(&config, ret, err) : 0;
}

/* What is mounted already is unmounted again. */
static void not_begun(struct making *making, int error, const struct error *err)
{
    const char *advice = advice_for(error, error_text(err, error));
    struct session *session;

    (void)fprintf(stderr, "skyvol-mount: %s\n", error_text(err, error));
    if (advice != NULL) {
        (void)fprintf(stderr, "skyvol-mount: %s\n", advice);
    }
    mutex_lock(&making->lock);
    session = making->session;
    mutex_unlock(&making->lock);
    if (session != NULL) {
        session_stop(session);
        if (session_wait(session, STOP_MS) == 0 && session_abandon(session)) {
            place_leave(making->target);
        }
    }
}

/* What is logged once the shell goes on has nobody there to read it. */
static void leave_terminal(const struct run_arguments *arguments, int pipe_fd, int log_fd,
                           struct making *making)
{
    personal_log_begin(log_fd, pipe_fd >= 0);
    mutex_lock(&making->lock);
    making->logs = &arguments->config;
    mutex_unlock(&making->lock);
    if (pipe_fd >= 0) {
        log_info("mounted", "location", arguments->config.location, "at", making->target, NULL);
    }
    tell_parent(pipe_fd, 0, log_fd >= 0);
}

static int mount_alone(const struct run_arguments *arguments)
{
    struct keep *keep = NULL;
    struct fs *fs = NULL;
    struct rotate *rotate = NULL;
    struct status *status = NULL;
    struct session *session;
    struct making making = {0};
    const struct signals_config stop = {
        .stop = on_stop, .again = on_stop_again, .reload = on_reload, .context = &making};
    struct signals *signals = NULL;
    struct error err = ERROR_INIT;
    uint32_t kept = 0;
    int pipe_fd = -1;
    int log_fd;
    int ret = personal_log_open(&arguments->config, &log_fd, &err);

    ret = ret == 0 && !arguments->foreground ? go_background(&pipe_fd) : ret;
    mutex_init(&making.lock);
    ret = ret == 0 ? signals_new(&stop, &signals) : ret;
    ret = ret == 0 ? keep_new(&keep) : ret;
    ret = ret == 0 ? start_alone(arguments, keep, &making, &fs, &err) : ret;
    ret = ret == 0 ? rotate_new(fs->volume, &rotate) : ret;
    ret = ret == 0 ? serve_metrics(arguments, fs, &status, &err) : ret;
    if (ret != 0) {
        not_begun(&making, ret, &err);
        tell_parent(pipe_fd, 1, true);
        signals_free(signals);
        return 1;
    }
    leave_terminal(arguments, pipe_fd, log_fd, &making);
    ret = serve_alone(fs, setup_drain_ms(&arguments->config), &kept);
    session = fs->session;
    if (journaled_given_up(fs) && (ret != 0 || kept > 0)) {
        end_at_once(fs, &making, 1);
    }
    rotate_free(rotate);
    status_free(status);
    /* The kernel has not answered it, or somebody still answers a request from the session's memory
     */
    if (!shed_stop(fs) || session_drain(session, 0) != 0) {
        end_at_once(fs, &making, ret == 0 ? 0 : 1);
    }
    signals_free(signals);
    mutex_done(&making.lock);
    free(making.target);
    fs_set_session(fs, NULL);
    session_free(session);
    if (kept > 0) { /* what the store does not answer is not waited for */
        _exit(0);
    }
    fs_free(fs);
    keep_free(keep);
    return ret == 0 ? 0 : 1;
}

int run_alone(const struct run_arguments *arguments)
{
    const struct setup_extra extra = {.dir = ""};
    struct error err = ERROR_INIT;
    int r = setup_check(&arguments->config, &extra, &err);

    if (r != 0) {
        (void)fprintf(stderr, "skyvol-mount: %s\n", error_text(&err, r));
        return 2;
    }
    return mount_alone(arguments);
}
