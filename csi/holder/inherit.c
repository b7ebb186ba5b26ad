/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "csi/holder/process.h"
#include "csi/holder/supervisor_internal.h"
#include "mount/mountinfo.h"
#include "util/error.h"
#include "util/log.h"

/*
 * A supervisor finds its mounts in three places, and asks them in this order: its keeper (the
 * supervisor before it died), the holder that still listens (an upgrade), and, once it listens
 * itself, mounters and the node plugin that lost their holder. A mount whose mounter is alive
 * waits a while for it to come; one whose mounter is dead gets another at once.
 */
enum { ORPHAN_MS = 3000 };

static struct mounted *get(struct supervisor *s, const char *key)
{
    struct mounted *m = supervisor_find(s, key);

    if (m == NULL && s->mount_count < HOLDER_LIST_MAX && mounted_new(key, &m) == 0) {
        m->phase = PHASE_ORPHAN;
        m->was_ready = true;
        supervisor_add(s, m);
    }
    return m;
}

static void from_keeper(void *context, const char *key, const char *name, int fd)
{
    struct mounted *m = get(context, key);

    if (m == NULL) {
        cleanup_close(&fd);
    } else if (mounted_set_fd(m, name, fd) < 0) {
        log_warn("an inherited descriptor is not usable", "mount", key, "name", name, NULL);
    }
}

static bool is_mounted(const struct mounted *m)
{
    struct mountinfo *info = malloc(sizeof(*info));
    bool mounted = info != NULL && mountinfo_find(m->target, info) == 0 &&
                   strcmp(info->type, "fuse.skyvol") == 0;

    free(info);
    return mounted;
}

void inherit_settle(struct supervisor *s, struct mounted *m)
{
    bool waited = m->phase == PHASE_ORPHAN && m->deadline_ms == UINT64_MAX && m->mounter > 0;
    pid_t pid;

    if (mounted_fd(m, "device") < 0 || mounted_unseal(m) < 0 || !is_mounted(m)) {
        log_warn("inherited a mount that is not there any more", "mount", m->key, NULL);
        supervisor_remove(s, m);
        return;
    }
    m->was_ready = true;
    if (waited) {
        log_warn("the mounter does not come; it is replaced", "mount", m->key, NULL);
        (void)kill(m->mounter, SIGKILL); /* its pidfd leads to the next one */
        return;
    }
    pid = mounted_unseal_mounter(m);
    if (pid == 0 || process_open(pid, &m->mounter_pidfd) < 0) {
        m->restarts++;
        life_start_mounter(s, m);
        return;
    }
    m->mounter = pid;
    m->phase = PHASE_ORPHAN;
    m->deadline_ms = supervisor_now_ms() + ORPHAN_MS;
}

/* Names and descriptors of one mount of the predecessor. */
static void from_predecessor(struct supervisor *s, struct message *message)
{
    struct mounted *m = get(s, message_string(message, "key"));
    const cJSON *name;
    unsigned i = 0;

    cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(message->json, "names"))
    {
        int fd = message_take_fd(message, i++);
        const char *text = name->valuestring != NULL ? name->valuestring : "";

        if (m == NULL) {
            cleanup_close(&fd);
        } else if (mounted_set_fd(m, text, fd) < 0 || supervisor_keep(s, m, text) < 0) {
            log_warn("an inherited descriptor is not usable", "mount", m->key, "name", text, NULL);
        }
    }
}

static int take_over(struct supervisor *s, int socket)
{
    int r = message_send(socket, message_op("takeover"), NULL, 0, ASK_MS);

    while (r == 0) {
        CLEANUP(message_done) struct message m = MESSAGE_INIT;

        r = message_receive(socket, ASK_MS, &m);
        if (r == 0 && cJSON_HasObjectItem(m.json, "result")) {
            r = cJSON_GetObjectItem(m.json, "result")->valueint;
            break;
        }
        if (r == 0) {
            from_predecessor(s, &m);
        }
    }
    return r < 0 ? r : message_send(socket, message_op("taken"), NULL, 0, ASK_MS);
}

int inherit_all(struct supervisor *s)
{
    AUTOCLOSE int socket = -1;
    struct mounted *m;
    struct mounted *next;
    int r = keeper_list(s->config->keeper, from_keeper, s);

    if (r < 0) {
        return r;
    }
    r = message_connect(s->config->socket, &socket);
    if (r == 0) {
        r = take_over(s, socket);
        if (r < 0 && r != -EPIPE) {
            log_error("the holder before us does not hand over", "error", error_text(NULL, r),
                      NULL);
            return r;
        }
    }
    for (m = TAILQ_FIRST(&s->mounts); m != NULL; m = next) {
        next = TAILQ_NEXT(m, link);
        inherit_settle(s, m);
    }
    return 0;
}
