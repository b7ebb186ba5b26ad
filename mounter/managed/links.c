/* SPDX-License-Identifier: Apache-2.0 */
#include "mounter/managed/links.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mounter/fs.h"
#include "skyvol/meta/v1/meta.pb-c.h"
#include "util/log.h"

enum { CALL_MS = 5000, SESSION_MS = 3000, AGAIN_MS = 100, COUNT_MS = 1000, OFF_MS = 5000 };

/* A name space call; every one of them may be repeated. */
struct call {
    const char *method;
    ProtobufCMessage *message;
    char **session_id;
    uint64_t *epoch;
    uint64_t wait_ms; /* for a session */
};

static bool is_away(int error)
{
    return error == -ENOLCK || error == -ENOTCONN || error == -ECONNREFUSED ||
           error == -ETIMEDOUT || error == -EAGAIN || error == -ESTALE;
}

static int run_once(struct fs *fs, const struct call *call, uint64_t wait_ms,
                    ProtobufCMessage **ret)
{
    struct managed_session session;
    int r = managed_session(fs->managed, wait_ms, &session);

    if (r != 0) {
        return r;
    }
    *call->session_id = session.id;
    *call->epoch = session.epoch;
    return managed_call(
        fs->managed,
        &(struct managed_request){.service = &skyvol__meta__v1__namespace__descriptor,
                                  .method = call->method,
                                  .message = call->message,
                                  .timeout_ms = CALL_MS},
        ret, NULL);
}

static int run(struct fs *fs, const struct call *call, ProtobufCMessage **ret)
{
    uint64_t now = fs_now_ms();
    uint64_t until = now + call->wait_ms;
    int r = fs->managed == NULL ? -ENOTSUP : run_once(fs, call, call->wait_ms, ret);

    while (is_away(r) && (now = fs_now_ms()) < until) {
        (void)nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * 1000000L}, NULL);
        r = run_once(fs, call, until - now, ret);
    }
    if (is_away(r)) {
        log_warn("the metaserver cannot be asked for hard links", "call", call->method, "error",
                 strerror(-r), NULL);
        r = -EIO;
    }
    return r;
}

/* A text of ours for a message that does not change it. */
static char *text(const char *of)
{
    return (char *)(uintptr_t)of; /* NOLINT(performance-no-int-to-ptr) */
}

int links_add(struct fs *fs, const struct links_add *what, uint32_t *ret_links)
{
    Skyvol__Meta__V1__LinkRequest in = SKYVOL__META__V1__LINK_REQUEST__INIT;
    Skyvol__Meta__V1__LinkName names[2];
    Skyvol__Meta__V1__LinkName *list[2] = {&names[0], &names[1]};
    const struct call call = {"Link", &in.base, &in.session_id, &in.epoch, SESSION_MS};
    ProtobufCMessage *reply = NULL;
    int r;

    for (size_t i = 0; i < what->count; i++) {
        skyvol__meta__v1__link_name__init(&names[i]);
        names[i].number = what->names[i].number;
        names[i].key = text(what->names[i].key);
    }
    in.file = text(what->file);
    in.names = list;
    in.n_names = what->count;
    in.make = what->make;
    r = run(fs, &call, &reply);
    if (r == 0) {
        *ret_links = ((const Skyvol__Meta__V1__LinkResponse *)(const void *)reply)->links;
    }
    rpc_message_free(reply);
    return r;
}

int links_ready(struct fs *fs)
{
    Skyvol__Meta__V1__GetLinksRequest in = SKYVOL__META__V1__GET_LINKS_REQUEST__INIT;
    const struct call call = {"GetLinks", &in.base, &in.session_id, &in.epoch, SESSION_MS};
    ProtobufCMessage *reply = NULL;
    int r = run(fs, &call, &reply);

    rpc_message_free(reply);
    return r;
}

int links_remove(struct fs *fs, uint64_t number, struct links_left *ret)
{
    Skyvol__Meta__V1__UnlinkRequest in = SKYVOL__META__V1__UNLINK_REQUEST__INIT;
    const struct call call = {"Unlink", &in.base, &in.session_id, &in.epoch, SESSION_MS};
    const Skyvol__Meta__V1__UnlinkResponse *out;
    ProtobufCMessage *reply = NULL;
    int r;

    *ret = (struct links_left){.links = 0};
    in.number = number;
    r = run(fs, &call, &reply);
    out = (const void *)reply;
    if (r == 0) {
        ret->links = out->links;
        ret->alone = out->alone;
        (void)snprintf(ret->file, sizeof(ret->file), "%s", out->file);
        ret->last_key = out->last_key[0] != '\0' ? strdup(out->last_key) : NULL;
    }
    rpc_message_free(reply);
    return r;
}

int links_count(struct fs *fs, const char *file, uint32_t *ret)
{
    Skyvol__Meta__V1__GetLinksRequest in = SKYVOL__META__V1__GET_LINKS_REQUEST__INIT;
    const struct call call = {"GetLinks", &in.base, &in.session_id, &in.epoch, COUNT_MS};
    const Skyvol__Meta__V1__GetLinksResponse *out;
    char *files[1] = {text(file)};
    ProtobufCMessage *reply = NULL;
    bool off;
    int r;

    mutex_lock(&fs->lock);
    off = fs_now_ms() < fs->links_off_ms;
    mutex_unlock(&fs->lock);
    in.files = files;
    in.n_files = 1;
    r = off ? -EIO : run(fs, &call, &reply);
    if (r == -EIO && !off) { /* who looks at files does not wait for it each time */
        mutex_lock(&fs->lock);
        fs->links_off_ms = fs_now_ms() + OFF_MS;
        mutex_unlock(&fs->lock);
    }
    out = (const void *)reply;
    if (r == 0) {
        r = out->n_found == 1 ? 0 : -ENOENT;
        *ret = r == 0 ? out->found[0]->links : 0;
    }
    rpc_message_free(reply);
    return r;
}

int links_drop(struct fs *fs, const char *file)
{
    Skyvol__Meta__V1__DropLinksRequest in = SKYVOL__META__V1__DROP_LINKS_REQUEST__INIT;
    const struct call call = {"DropLinks", &in.base, &in.session_id, &in.epoch, SESSION_MS};
    char *files[1] = {text(file)};
    ProtobufCMessage *reply = NULL;
    int r;

    in.files = files;
    in.n_files = 1;
    r = run(fs, &call, &reply);
    rpc_message_free(reply);
    return r;
}

/* The files that the question is about. *ret_reply is what the result lies in. */
static int find(struct fs *fs, bool single, ProtobufCMessage **ret_reply,
                const Skyvol__Meta__V1__GetLinksResponse **ret)
{
    Skyvol__Meta__V1__GetLinksRequest in = SKYVOL__META__V1__GET_LINKS_REQUEST__INIT;
    const struct call call = {"GetLinks", &in.base, &in.session_id, &in.epoch, 0};
    int r;

    in.single = single;
    in.unlinked = !single;
    r = run(fs, &call, ret_reply);
    *ret = (const void *)*ret_reply;
    return r;
}

int links_unlinked(struct fs *fs, void (*visit)(struct fs *fs, const char *file))
{
    const Skyvol__Meta__V1__GetLinksResponse *out = NULL;
    ProtobufCMessage *reply = NULL;
    int r = find(fs, false, &reply, &out);

    for (size_t i = 0; r == 0 && i < out->n_found; i++) {
        visit(fs, out->found[i]->file);
    }
    rpc_message_free(reply);
    return r;
}

int links_single(struct fs *fs,
                 void (*visit)(struct fs *fs, const char *file, const struct links_name *last))
{
    const Skyvol__Meta__V1__GetLinksResponse *out = NULL;
    ProtobufCMessage *reply = NULL;
    int r = find(fs, true, &reply, &out);

    for (size_t i = 0; r == 0 && i < out->n_found; i++) {
        const Skyvol__Meta__V1__Links *found = out->found[i];

        if (found->last != NULL) { /* an older metaserver does not know the question */
            visit(fs, found->file,
                  &(const struct links_name){found->last->number, found->last->key});
        }
    }
    rpc_message_free(reply);
    return r;
}
