/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "csi/holder/process.h"
#include "csi/holder/supervisor_internal.h"
#include "mount/mountinfo.h"
#include "util/error.h"
#include "util/log.h"

enum { HELPER_MS = 10000, END_MS = 5000, EXPORT_MS = 120000, QUIET_DEATHS = 3 };

static void enter(struct mounted *m, enum phase phase, uint64_t for_ms)
{
    uint64_t now = supervisor_now_ms();

    m->phase = phase;
    m->deadline_ms = for_ms < UINT64_MAX - now ? now + for_ms : UINT64_MAX;
}

static void note_error(struct mounted *m, const char *text)
{
    (void)snprintf(m->error, sizeof(m->error), "%s", text);
}

static void set_helper(struct mounted *m, const struct process *p)
{
    m->helper = p->pid;
    m->helper_pidfd = p->pidfd;
}

static void end_mounter(struct mounted *m)
{
    if (m->mounter > 0) {
        (void)kill(m->mounter, SIGKILL);
    }
}

/* Mounting */

void life_mount(struct supervisor *s, struct mounted *m, uint64_t timeout_ms)
{
    struct process_mount config = {
        .target = m->target, .source = m->source, .read_only = m->read_only};
    struct process p = {.pidfd = -1};
    int r = mounted_set_fd(m, "device", open("/dev/fuse", O_RDWR | O_CLOEXEC));

    (void)timeout_ms;
    config.device = mounted_fd(m, "device");
    for (unsigned i = 0; r == 0 && i < m->kept_count; i++) {
        r = supervisor_keep(s, m, m->kept[i].name); /* before anybody depends on it */
    }
    if (r == 0) {
        r = process_start_mount(&config, &p);
    }
    if (r < 0) {
        supervisor_finish(m, r, "cannot begin to mount (is /dev/fuse there?)");
        supervisor_remove(s, m);
        return;
    }
    set_helper(m, &p);
    enter(m, PHASE_MOUNTING, HELPER_MS);
}

/* Mounters */

static int send_start(struct supervisor *s, struct mounted *m, int socket)
{
    cJSON *json = message_op("start");
    cJSON *names = json != NULL ? cJSON_AddArrayToObject(json, "names") : NULL;
    int fds[HOLDER_FDS_MAX];
    unsigned count = 1;

    if (names == NULL) {
        cJSON_Delete(json);
        return -ENOMEM;
    }
    (void)cJSON_AddStringToObject(json, "key", m->key);
    (void)cJSON_AddStringToObject(json, "socket", s->config->socket);
    (void)cJSON_AddBoolToObject(json, "resend", s->config->resend);
    (void)cJSON_AddNumberToObject(json, "memory_bytes", (double)m->memory_bytes);
    if (s->config->journal_dir != NULL) {
        (void)cJSON_AddStringToObject(json, "journal", s->config->journal_dir);
        (void)cJSON_AddNumberToObject(json, "journal_max", (double)s->config->journal_max);
    }
    fds[0] = mounted_fd(m, "device");
    for (unsigned i = 0; i < m->kept_count; i++) {
        if (strcmp(m->kept[i].name, "device") != 0) {
            (void)cJSON_AddItemToArray(names, cJSON_CreateString(m->kept[i].name));
            fds[count++] = m->kept[i].fd;
        }
    }
    return message_send(socket, json, fds, count, SEND_MS);
}

static int spawn(struct supervisor *s, struct mounted *m, bool export_journal)
{
    char cgroup[CGROUP_PATH_MAX];
    struct process_mounter config = {.program = s->config->mounter,
                                     .cgroups = s->config->cgroups,
                                     .export_journal = export_journal,
                                     .urgent = m->was_ready && !export_journal};
    struct process p = {.pidfd = -1};
    int pair[2];
    int r;

    if (cgroups_make(s->config->cgroups, m->key, m->memory_bytes, cgroup)) {
        config.cgroup = cgroup;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        return -errno;
    }
    config.socket = pair[1];
    m->cgroup_oom_kills = cgroups_oom_kills(s->config->cgroups, m->key);
    r = process_start_mounter(&config, &p);
    (void)close(pair[1]);
    if (r < 0) {
        (void)close(pair[0]);
        return r;
    }
    cleanup_close(&m->mounter_socket);
    cleanup_close(&m->mounter_pidfd);
    m->mounter = p.pid;
    m->mounter_pidfd = p.pidfd;
    m->mounter_socket = pair[0];
    m->trying[0] = '\0';
    r = mounted_seal_mounter(m);
    if (r == 0) {
        r = supervisor_keep(s, m, "mounter");
    }
    return r < 0 ? r : send_start(s, m, pair[0]);
}

void life_start_mounter(struct supervisor *s, struct mounted *m)
{
    int r = spawn(s, m, false);

    enter(m, m->was_ready ? PHASE_RESTARTING : PHASE_STARTING, s->config->start_timeout_ms);
    if (r < 0) {
        note_error(m, "cannot start the mounter");
        log_error("cannot start a mounter", "mount", m->key, "error", error_text(NULL, r), NULL);
        end_mounter(m);
        if (m->mounter == 0) {
            enter(m, PHASE_BACKOFF, 1000);
        }
    }
}

static void pause_ended(struct mounted *m)
{
    if (m->died_ms != 0) {
        m->pause_ms = supervisor_now_ms() - m->died_ms;
        m->pause_max_ms = m->pause_ms > m->pause_max_ms ? m->pause_ms : m->pause_max_ms;
        m->died_ms = 0;
    }
}

void life_ready(struct supervisor *s, struct mounted *m)
{
    (void)s;
    if (m->phase == PHASE_STARTING || m->phase == PHASE_RESTARTING || m->phase == PHASE_ORPHAN) {
        pause_ended(m);
        process_hurry(m->mounter, false);
        log_info(m->was_ready ? "mounter replaced" : "mounted", "mount", m->key, "mounter",
                 log_num(m->mounter), "restarts", log_num(m->restarts), "pause_ms",
                 log_num((long long)m->pause_ms), NULL);
        enter(m, PHASE_RUNNING, UINT64_MAX);
        m->was_ready = true;
        m->result = 0;
        m->error[0] = '\0';
        m->trying[0] = '\0';
        supervisor_finish(m, 0, NULL);
    }
}

void life_trying(struct mounted *m, int result, const char *text)
{
    m->trying_result = result < 0 ? result : -EIO;
    (void)snprintf(m->trying, sizeof(m->trying), "%s", text);
}

void life_failed(struct supervisor *s, struct mounted *m, int result, const char *text)
{
    (void)s;
    note_error(m, text[0] != '\0' ? text : "the mounter has failed");
    if (m->phase == PHASE_STARTING) {
        m->result = result < 0 ? result : -EIO;
    }
    /* It ends by itself; life_mounter_died() goes on from there. */
    enter(m, m->phase, END_MS);
}

/* Deaths */

static unsigned recent_deaths(const struct supervisor *s, struct mounted *m)
{
    uint64_t now = supervisor_now_ms();
    unsigned count = 0;
    unsigned known = m->deaths < MOUNTED_DEATHS_MAX ? m->deaths : MOUNTED_DEATHS_MAX;

    for (unsigned i = 0; i < known; i++) {
        count += now - m->deaths_ms[i] <= s->config->crash_window_ms;
    }
    return count;
}

/* What there was is in the journal, or stays with us. An unmount that waited for it goes on. */
static void export_ended(struct supervisor *s, struct mounted *m)
{
    m->exporting = false;
    m->exported = m->export_result == 0;
    enter(m, PHASE_FAILED, UINT64_MAX);
    if (m->exported) {
        log_warn("what the failed mount had not published is in the journal", "mount", m->key,
                 "journal", s->config->journal_dir, NULL);
        if (m->waiter >= 0) {
            life_unmount(s, m);
        }
        return;
    }
    log_error("what the failed mount has not published stays in memory: the journal cannot take it",
              "mount", m->key, "error", m->error, NULL);
    supervisor_finish(m, m->export_result,
                      m->error[0] != '\0' ? m->error : "its data cannot be saved to the journal");
}

/* From now on every call on the mount fails at once, instead of waiting for nobody. */
static void give_up(struct supervisor *s, struct mounted *m)
{
    struct process_unmount config = {.target = m->target, .only_abort = true};
    struct process p = {.pidfd = -1};

    log_error("mounter dies again and again; the mount is ended", "mount", m->key, "error",
              m->error, NULL);
    enter(m, PHASE_FAILED, UINT64_MAX);
    supervisor_finish(m, -EIO, m->error[0] != '\0' ? m->error : "the mounter dies again and again");
    if (process_start_unmount(&config, &p) == 0) {
        set_helper(m, &p);
    }
    if (life_holds_bytes(s, m)) {
        life_export(s, m);
    }
}

/*
 * Dirty bytes of a mount that has failed lie in descriptors that we keep. A process that serves no
 * requests, and so does not die of one, writes them to the journal; until it has, the mount is not
 * forgotten, not even by force.
 */
bool life_holds_bytes(const struct supervisor *s, const struct mounted *m)
{
    return s->config->journal_dir != NULL && !m->read_only && !m->exported && m->was_ready;
}

void life_export(struct supervisor *s, struct mounted *m)
{
    int r = spawn(s, m, true);

    m->exporting = true;
    m->export_result = r < 0 ? r : -EPIPE; /* until it says otherwise */
    enter(m, PHASE_FAILED, EXPORT_MS);
    if (r < 0) {
        end_mounter(m);
        if (m->mounter == 0) {
            export_ended(s, m);
        }
    }
}

/* The kernel's table is read, no path walked: quick, and safe on a stalled mount. */
static bool is_mounted(const struct mounted *m)
{
    struct mountinfo *info = malloc(sizeof(*info));
    bool mounted = info == NULL ||
                   (mountinfo_find(m->target, info) == 0 && strcmp(info->type, "fuse.skyvol") == 0);

    free(info);
    return mounted;
}

/* Said once for each: what the operator can do, for a kernel's log may be out of his reach. */
static void look_for_oom(const struct supervisor *s, struct mounted *m)
{
    enum { MIB = 1 << 20 };

    if (cgroups_oom_kills(s->config->cgroups, m->key) <= m->cgroup_oom_kills) {
        return;
    }
    m->oom_kills++;
    (void)snprintf(m->error, sizeof(m->error),
                   "the kernel killed the mounter: more than its %llu MiB of memory were needed; "
                   "raise memory= of this volume",
                   (unsigned long long)(m->memory_bytes / MIB));
    log_error("mounter killed for lack of memory", "mount", m->key, "limit_mib",
              log_num((long long)(m->memory_bytes / MIB)), "oom_kills", log_num(m->oom_kills),
              NULL);
}

static void repair(struct supervisor *s, struct mounted *m)
{
    unsigned recent;

    if (m->planned) {
        m->planned = false;
        life_start_mounter(s, m);
        return;
    }
    m->deaths_ms[m->deaths++ % MOUNTED_DEATHS_MAX] = supervisor_now_ms();
    m->restarts++;
    recent = recent_deaths(s, m);
    if (recent >= s->config->crash_limit && recent > 0) {
        give_up(s, m);
    } else if (recent <= QUIET_DEATHS || s->config->crash_limit > MOUNTED_DEATHS_MAX) {
        life_start_mounter(s, m); /* at once: programs are waiting */
    } else {
        enter(m, PHASE_BACKOFF, 50ULL << (recent - QUIET_DEATHS < 6 ? recent - QUIET_DEATHS : 6));
    }
}

void life_mounter_died(struct supervisor *s, struct mounted *m)
{
    int status = process_reap(m->mounter);

    log_warn("mounter ended", "mount", m->key, "status", log_num(status), NULL);
    m->mounter = 0;
    cleanup_close(&m->mounter_pidfd);
    m->mounter_pidfd = -1;
    cleanup_close(&m->mounter_socket);
    m->mounter_socket = -1;
    m->died_ms = m->phase == PHASE_RUNNING ? supervisor_now_ms() : m->died_ms;
    look_for_oom(s, m);
    if (m->exporting) {
        export_ended(s, m);
    } else if (m->phase == PHASE_UNMOUNTING && m->helper == 0) {
        supervisor_finish(m, m->result, m->error);
        supervisor_remove(s, m);
    } else if (m->phase == PHASE_UNMOUNTING || m->phase == PHASE_FAILED) {
        return; /* the helper's end decides */
    } else if (m->phase == PHASE_STARTING && !m->was_ready) {
        if (m->result == 0) {
            m->result = -EIO;
        }
        if (m->error[0] == '\0') {
            note_error(m, "the mounter ended while starting");
        }
        m->force = true;
        life_unmount(s, m);
    } else if (!is_mounted(m)) {
        log_info("unmounted by somebody else", "mount", m->key, NULL);
        supervisor_finish(m, 0, NULL);
        supervisor_remove(s, m);
    } else {
        if (m->phase == PHASE_DRAINING) {
            supervisor_finish(m, -EIO, "the mounter died while publishing; it is being replaced");
        }
        repair(s, m);
    }
}

int life_replace(struct supervisor *s, struct mounted *m)
{
    (void)s;
    if (m->phase != PHASE_RUNNING || m->planned || m->waiter >= 0 || m->mounter_socket < 0) {
        return -EBUSY;
    }
    supervisor_tell(m->mounter_socket, message_op("quiesce"), NULL, 0);
    m->planned = true;
    enter(m, PHASE_RUNNING, END_MS);
    return 0;
}

/* Unmounting */

void life_drain(struct supervisor *s, struct mounted *m, uint64_t drain_ms, bool keep)
{
    enum { GRACE_MS = 2000, KEEP_MS = 60000 };
    cJSON *json = message_op("drain");
    int r;

    (void)s;
    if (json != NULL) {
        (void)cJSON_AddNumberToObject(json, "deadline_ms", (double)drain_ms);
        (void)cJSON_AddBoolToObject(json, "keep", keep);
    }
    r = m->mounter_socket < 0 ? -EPIPE : message_send(m->mounter_socket, json, NULL, 0, SEND_MS);
    if (r < 0) {
        supervisor_finish(m, -EBUSY, "the mounter cannot be asked to publish now");
        return;
    }
    enter(m, PHASE_DRAINING, drain_ms + (keep ? KEEP_MS : GRACE_MS));
}

void life_drained(struct supervisor *s, struct mounted *m, const struct life_drained *end)
{
    if (m->exporting) {
        m->export_result = end->result;
        if (end->result < 0) {
            note_error(m, end->text);
        }
        return; /* its end decides */
    }
    if (m->phase != PHASE_DRAINING) {
        return;
    }
    if (end->result < 0 && !m->force) {
        enter(m, PHASE_RUNNING, UINT64_MAX);
        supervisor_finish(m, end->result, end->text);
        return;
    }
    m->error[0] = '\0';
    if (end->kept > 0) {
        (void)snprintf(m->error, sizeof(m->error),
                       "%u files that the store has not taken are in the journal of this node, for "
                       "the next mount here or skyvolctl recover",
                       end->kept);
    }
    life_unmount(s, m);
}

void life_unmount(struct supervisor *s, struct mounted *m)
{
    struct process_unmount config = {
        .target = m->target,
        .detach = m->force || m->phase == PHASE_FAILED,
        .abort = m->force || m->phase == PHASE_FAILED,
    };
    struct process p = {.pidfd = -1};
    int r = process_start_unmount(&config, &p);

    (void)s;
    if (r < 0) {
        supervisor_finish(m, r, "cannot begin to unmount");
        return;
    }
    cleanup_close(&m->helper_pidfd);
    set_helper(m, &p);
    enter(m, PHASE_UNMOUNTING, HELPER_MS);
}

static void mount_ended(struct supervisor *s, struct mounted *m, int status)
{
    if (status == 0) {
        life_start_mounter(s, m);
        return;
    }
    log_error("cannot mount", "mount", m->key, "target", m->target, "error",
              error_text(NULL, status), NULL);
    supervisor_finish(m, -status, error_text(NULL, status));
    supervisor_remove(s, m);
}

static void unmount_ended(struct supervisor *s, struct mounted *m, int status)
{
    if (status != 0) {
        enter(m, m->was_ready && m->mounter > 0 ? PHASE_RUNNING : PHASE_FAILED, UINT64_MAX);
        m->error[0] = '\0';
        supervisor_finish(m, -status, status == EBUSY ? "in use" : error_text(NULL, status));
    } else if (m->mounter > 0) {
        enter(m, PHASE_UNMOUNTING, END_MS); /* it reads ENODEV and ends */
    } else {
        supervisor_finish(m, m->result, m->error);
        supervisor_remove(s, m);
    }
}

void life_helper_ended(struct supervisor *s, struct mounted *m)
{
    int status = process_reap(m->helper);

    m->helper = 0;
    cleanup_close(&m->helper_pidfd);
    m->helper_pidfd = -1;
    if (m->phase == PHASE_MOUNTING) {
        mount_ended(s, m, status);
    } else if (m->phase == PHASE_UNMOUNTING) {
        unmount_ended(s, m, status);
    }
}

/* Deadlines */

/* Who waits is told what it was that took so long, if the mounter has said it. */
static void not_ready(struct mounted *m)
{
    if (m->error[0] == '\0' && m->trying[0] != '\0') {
        note_error(m, m->trying);
        if (m->phase == PHASE_STARTING && m->result == 0) {
            m->result = m->trying_result;
        }
    } else if (m->error[0] == '\0') {
        note_error(m, "the mounter was not ready in time");
    }
    end_mounter(m);
}

void life_deadline(struct supervisor *s, struct mounted *m)
{
    m->deadline_ms = UINT64_MAX;
    switch (m->phase) {
    case PHASE_BACKOFF:
        life_start_mounter(s, m);
        break;
    case PHASE_ORPHAN: /* alive, but it does not come: it cannot be trusted to */
        inherit_settle(s, m);
        break;
    case PHASE_DRAINING:
        life_drained(
            s, m,
            &(struct life_drained){-ETIMEDOUT, 0, "not everything could be published in time"});
        break;
    case PHASE_STARTING:
    case PHASE_RESTARTING:
        not_ready(m);
        break;
    case PHASE_MOUNTING:
        supervisor_finish(m, -ETIMEDOUT, "mounting hangs");
        break;
    case PHASE_UNMOUNTING:
        if (m->helper > 0) {
            supervisor_finish(m, -ETIMEDOUT, "unmounting hangs");
        }
        end_mounter(m);
        break;
    case PHASE_RUNNING: /* asked to make room for its successor */
        end_mounter(m);
        break;
    case PHASE_FAILED:
        if (m->exporting) {
            end_mounter(m);
        }
        break;
    }
}
