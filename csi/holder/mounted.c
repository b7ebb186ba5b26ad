/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/holder/mounted.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "csi/holder/process.h"
#include "mount/message.h"

enum { TEXT_MAX = 1 << 20 };

static bool is_name(const char *text, size_t size)
{
    size_t len = strlen(text);

    return len > 0 && len < size && text[0] != '.' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

int mounted_new(const char *key, struct mounted **ret)
{
    struct mounted *m;

    if (!is_name(key, sizeof(m->key))) {
        return -EINVAL;
    }
    m = calloc(1, sizeof(*m));
    if (m == NULL) {
        return -ENOMEM;
    }
    memcpy(m->key, key, strlen(key) + 1);
    m->waiter = -1;
    m->mounter_pidfd = -1;
    m->mounter_socket = -1;
    m->helper_pidfd = -1;
    m->deadline_ms = UINT64_MAX;
    *ret = m;
    return 0;
}

void mounted_free(struct mounted *m)
{
    if (m == NULL) {
        return;
    }
    for (unsigned i = 0; i < m->kept_count; i++) {
        (void)close(m->kept[i].fd);
    }
    cleanup_close(&m->waiter);
    cleanup_close(&m->mounter_pidfd);
    cleanup_close(&m->mounter_socket);
    cleanup_close(&m->helper_pidfd);
    free(m);
}

int mounted_fd(const struct mounted *m, const char *name)
{
    for (unsigned i = 0; i < m->kept_count; i++) {
        if (strcmp(m->kept[i].name, name) == 0) {
            return m->kept[i].fd;
        }
    }
    return -1;
}

int mounted_set_fd(struct mounted *m, const char *name, int fd)
{
    if (fd < 0 || !is_name(name, sizeof(m->kept[0].name))) {
        cleanup_close(&fd);
        return -EINVAL;
    }
    for (unsigned i = 0; i < m->kept_count; i++) {
        if (strcmp(m->kept[i].name, name) == 0) {
            (void)close(m->kept[i].fd);
            m->kept[i].fd = fd;
            return 0;
        }
    }
    if (m->kept_count == HOLDER_FDS_MAX) {
        (void)close(fd);
        return -ENOSPC;
    }
    memcpy(m->kept[m->kept_count].name, name, strlen(name) + 1);
    m->kept[m->kept_count++].fd = fd;
    return 0;
}

/* Sealed texts */

static int seal(struct mounted *m, const char *name, cJSON *json)
{
    AUTOFREE char *text = json != NULL ? cJSON_PrintUnformatted(json) : NULL;
    int fd = -1;
    int r;

    cJSON_Delete(json);
    if (text == NULL) {
        return -ENOMEM;
    }
    r = message_seal(name, text, strlen(text), &fd);
    return r < 0 ? r : mounted_set_fd(m, name, fd);
}

static char *read_text(int fd, size_t *ret_len)
{
    struct stat st;
    char *text;

    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size > TEXT_MAX) {
        return NULL;
    }
    text = malloc((size_t)st.st_size + 1);
    if (text == NULL || pread(fd, text, (size_t)st.st_size, 0) != st.st_size) {
        free(text);
        return NULL;
    }
    text[st.st_size] = '\0';
    *ret_len = (size_t)st.st_size;
    return text;
}

bool mounted_same_text(int a, int b)
{
    size_t a_len = 0;
    size_t b_len = 0;
    AUTOFREE char *a_text = read_text(a, &a_len);
    AUTOFREE char *b_text = read_text(b, &b_len);

    return a_text != NULL && b_text != NULL && a_len == b_len && memcmp(a_text, b_text, a_len) == 0;
}

int mounted_seal(struct mounted *m)
{
    cJSON *json = cJSON_CreateObject();

    if (json != NULL) {
        (void)cJSON_AddStringToObject(json, "target", m->target);
        (void)cJSON_AddStringToObject(json, "source", m->source);
        (void)cJSON_AddBoolToObject(json, "read_only", m->read_only);
        (void)cJSON_AddNumberToObject(json, "memory_bytes", (double)m->memory_bytes);
    }
    return seal(m, "mount", json);
}

static int parse(int fd, struct message *ret)
{
    size_t len = 0;
    AUTOFREE char *text = read_text(fd, &len);

    if (text == NULL) {
        return -EBADMSG;
    }
    ret->json = cJSON_ParseWithLength(text, len);
    return ret->json != NULL ? 0 : -EBADMSG;
}

int mounted_unseal(struct mounted *m)
{
    CLEANUP(message_done) struct message text = MESSAGE_INIT;
    int r = parse(mounted_fd(m, "mount"), &text);

    if (r < 0) {
        return r;
    }
    (void)snprintf(m->target, sizeof(m->target), "%s", message_string(&text, "target"));
    (void)snprintf(m->source, sizeof(m->source), "%s", message_string(&text, "source"));
    m->read_only = message_true(&text, "read_only");
    m->memory_bytes = message_number(&text, "memory_bytes");
    return m->target[0] == '/' ? 0 : -EBADMSG;
}

int mounted_seal_mounter(struct mounted *m)
{
    cJSON *json = cJSON_CreateObject();

    if (json != NULL) {
        (void)cJSON_AddNumberToObject(json, "pid", m->mounter);
        (void)cJSON_AddNumberToObject(json, "started", (double)process_start_time(m->mounter));
    }
    return seal(m, "mounter", json);
}

/* A process id alone may by now be somebody else's; with its start time it is not. */
pid_t mounted_unseal_mounter(const struct mounted *m)
{
    CLEANUP(message_done) struct message text = MESSAGE_INIT;
    pid_t pid;

    if (parse(mounted_fd(m, "mounter"), &text) < 0) {
        return 0;
    }
    pid = (pid_t)message_number(&text, "pid");
    if (pid <= 1 || process_start_time(pid) != message_number(&text, "started")) {
        return 0;
    }
    return pid;
}

enum holder_state mounted_state(const struct mounted *m)
{
    static const enum holder_state states[] = {
        [PHASE_MOUNTING] = HOLDER_STARTING,   [PHASE_STARTING] = HOLDER_STARTING,
        [PHASE_RUNNING] = HOLDER_RUNNING,     [PHASE_RESTARTING] = HOLDER_RESTARTING,
        [PHASE_BACKOFF] = HOLDER_RESTARTING,  [PHASE_ORPHAN] = HOLDER_RESTARTING,
        [PHASE_DRAINING] = HOLDER_UNMOUNTING, [PHASE_UNMOUNTING] = HOLDER_UNMOUNTING,
        [PHASE_FAILED] = HOLDER_FAILED,
    };

    return states[m->phase];
}
