/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount.c - skyvolctl mount: a volume of skyvol-meta, mounted by skyvol-mount.
 *
 * The keys that AttachVolume gives go into a sealed memfd that skyvol-mount inherits and reads as a
 * credentials file: they stand in no argument, variable or file.
 */
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/meta.h"
#include "cli/mounter.h"
#include "mount/channel.h"
#include "mount/message.h"
#include "rpc/client.h"
#include "util/cleanup.h"
#include "util/file.h"

enum { TEXT_MAX = 16384 };

struct options {
    struct meta_options meta;
    struct option_list mount_options;
    bool foreground;
    bool readonly;
    char *program;
};

static void wipe(char *text)
{
    if (text != NULL) {
        OPENSSL_cleanse(text, strlen(text));
    }
}

static void reply_done(Skyvol__Meta__V1__AttachVolumeResponse *reply)
{
    if (reply != NULL && reply->volume_token[0] != '\0') {
        wipe(reply->volume_token);
    }
    if (reply != NULL && reply->credentials != NULL && reply->credentials->secret_key[0] != '\0') {
        wipe(reply->credentials->secret_key);
    }
    rpc_message_free(reply);
}

static int seal_reply(const Skyvol__Meta__V1__Credentials *from, int *ret)
{
    const struct mount_credentials keys = {from != NULL ? from->access_key : NULL,
                                           from != NULL ? from->secret_key : NULL,
                                           from != NULL ? from->session_token : NULL};

    return mounter_seal_keys(&keys, ret);
}

static int read_pem(const char *path, char **ret, struct error *err)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(TEXT_MAX);
    int r = path != NULL ? file_read(path, &text) : 0;

    if (r == 0 && path != NULL) {
        *ret = strdup(buf_str(&text));
        r = *ret == NULL ? -ENOMEM : 0;
        OPENSSL_cleanse(text.data, text.len);
    }
    return r < 0 ? error_set(err, r, "cannot read %s: %s", path, strerrordesc_np(-r)) : 0;
}

static int format_channel(const struct options *o, const struct mount_ticket *ticket,
                          const Skyvol__Meta__V1__AttachVolumeResponse *reply, struct buf *out,
                          struct error *err)
{
    char host[256] = "";
    char place[PATH_MAX];
    char address[PATH_MAX + 8];
    struct mount_channel channel = {.address = address,
                                    .server_name = o->meta.call.server_name,
                                    .volume = reply->volume->id,
                                    .node = host,
                                    .mount = place};

    if (gethostname(host, sizeof(host) - 1) < 0 ||
        realpath(o->meta.words.items[1], place) == NULL) {
        return error_set(err, -errno, "%s: %s", o->meta.words.items[1], strerrordesc_np(errno));
    }
    /* As call.c has it: a path is a socket. It stays right when the mounter changes directory. */
    if (o->meta.address[0] == '/' || o->meta.address[0] == '.') {
        char real[PATH_MAX];

        if (realpath(o->meta.address, real) == NULL) {
            return error_set(err, -errno, "%s: %s", o->meta.address, strerrordesc_np(errno));
        }
        (void)snprintf(address, sizeof(address), "unix:%s", real);
    } else {
        (void)snprintf(address, sizeof(address), "%s", o->meta.address);
    }
    buf_addstr(out, "{\"channel\":");
    mount_channel_format(&channel, out);
    buf_addstr(out, ",\"ticket\":");
    mount_ticket_format(ticket, out);
    buf_addstr(out, "}");
    return buf_error(out);
}

/* How the mounter reaches the metaserver, as a descriptor that survives exec; -1: an older server,
 * the mount does without a session. */
static int seal_channel(const struct options *o,
                        const Skyvol__Meta__V1__AttachVolumeResponse *reply, int *ret,
                        struct error *err)
{
    CLEANUP(mount_ticket_done) struct mount_ticket ticket = MOUNT_TICKET_INIT;
    CLEANUP(buf_done) struct buf text = BUF_INIT(4 * TEXT_MAX);
    int r = 0;

    *ret = -1;
    if (reply->volume_token[0] == '\0') {
        return 0;
    }
    ticket.token = strdup(reply->volume_token);
    r = ticket.token == NULL ? -ENOMEM : 0;
    r = r < 0 ? r : read_pem(o->meta.call.ca, &ticket.ca, err);
    r = r < 0 ? r : read_pem(o->meta.call.cert, &ticket.cert, err);
    r = r < 0 ? r : read_pem(o->meta.call.key, &ticket.key, err);
    r = r < 0 ? r : format_channel(o, &ticket, reply, &text, err);
    return r < 0 ? r : mounter_seal("meta", &text, ret);
}

/* What follows -o: the store's, then the user's. */
static void add_options(struct buf *out, const struct options *o,
                        const Skyvol__Meta__V1__Store *store)
{
    buf_addf(out, "path_style=%s", store->virtual_host_style ? "false" : "true");
    if (store->endpoint[0] != '\0') {
        buf_addf(out, ",endpoint=%s", store->endpoint);
    }
    if (store->s3_region[0] != '\0') {
        buf_addf(out, ",region=%s", store->s3_region);
    }
    if (store->public_only) {
        buf_addstr(out, ",public_only=true");
    }
    if (o->readonly) {
        buf_addstr(out, ",ro");
    }
    for (size_t i = 0; i < o->mount_options.count; i++) {
        buf_addf(out, ",%s", o->mount_options.items[i]);
    }
}

/* "s3://" or "dir:///root" and the volume's bucket and prefix. */
static void add_location(struct buf *out, const Skyvol__Meta__V1__AttachVolumeResponse *reply)
{
    const char *base = reply->store->location[0] != '\0' ? reply->store->location : "s3://";
    size_t len = strlen(base);

    buf_addf(out, "%s%s%s", base, len > 0 && base[len - 1] == '/' ? "" : "/",
             reply->volume->bucket);
    if (reply->volume->prefix[0] != '\0') {
        buf_addf(out, "/%s", reply->volume->prefix);
    }
}

static int execute(const struct options *o, const Skyvol__Meta__V1__AttachVolumeResponse *reply,
                   struct error *err)
{
    CLEANUP(buf_done) struct buf options = BUF_INIT(TEXT_MAX);
    CLEANUP(buf_done) struct buf location = BUF_INIT(TEXT_MAX);
    AUTOCLOSE int keys = -1;
    AUTOCLOSE int channel = -1;
    char program[PATH_MAX];
    char size[24];
    char meta[32];
    char foreground[] = "-f";
    char *argv[10];
    int argc = 7;
    char *environment[MOUNTER_ENVIRONMENT_MAX];
    char file[64];
    int r;

    if (reply->volume == NULL || reply->store == NULL) {
        return error_set(err, -EBADMSG, "skyvol-meta answered without volume or store");
    }
    add_location(&location, reply);
    add_options(&options, o, reply->store);
    (void)snprintf(size, sizeof(size), "%llu", (unsigned long long)reply->volume->size_bytes);
    r = mounter_program(o->program, program, err);
    r = r < 0 ? r : buf_error(&location) < 0 ? buf_error(&location) : buf_error(&options);
    r = r < 0 ? r : seal_reply(reply->credentials, &keys);
    r = r < 0 ? r : seal_channel(o, reply, &channel, err);
    r = r < 0 ? r : mounter_environment(keys, file, environment);
    if (r < 0) {
        return r;
    }
    argv[0] = program;
    argv[1] = location.data;
    argv[2] = o->meta.words.items[1];
    argv[3] = (char[]){"-o"};
    argv[4] = options.data;
    argv[5] = (char[]){"--size"};
    argv[6] = size;
    (void)snprintf(meta, sizeof(meta), "--meta-fd=%d", channel);
    if (channel >= 0) {
        argv[argc++] = meta;
    }
    if (o->foreground) {
        argv[argc++] = foreground;
    }
    argv[argc] = NULL;
    (void)execve(program, argv, environment);
    return error_set(err, -errno, "cannot run '%s': %s", program, strerrordesc_np(errno));
}

static int attach(const struct options *o, Skyvol__Meta__V1__AttachVolumeResponse **ret,
                  struct error *err)
{
    CLEANUP(cJSON_Delete_p) cJSON *volume = NULL;
    struct call call = {.address = o->meta.address,
                        .options = &o->meta.call,
                        .service = &skyvol__meta__v1__volumes__descriptor,
                        .method = "AttachVolume"};
    Skyvol__Meta__V1__AttachVolumeRequest in = SKYVOL__META__V1__ATTACH_VOLUME_REQUEST__INIT;
    AUTOFREE char *id = NULL;
    ProtobufCMessage *reply = NULL;
    char host[256] = "";
    int r = meta_find_volume(&o->meta, o->meta.words.items[0], &volume, err);

    if (r < 0) {
        return r;
    }
    id = strdup(meta_text(volume, "id"));
    if (id == NULL || gethostname(host, sizeof(host) - 1) < 0) {
        return -ENOMEM;
    }
    in.id = id;
    in.node = host;
    in.read_only = o->readonly;
    r = meta_hint(&o->meta, call_message(&call, &in.base, &reply, err), err);
    if (r == 0) {
        *ret = (void *)reply;
    }
    return r;
}

static int mount_volume(const void *options, struct error *err)
{
    const struct options *o = options;
    Skyvol__Meta__V1__AttachVolumeResponse *reply = NULL;
    int r = attach(o, &reply, err);

    if (r == 0) {
        r = execute(o, reply, err); /* returns on failure only */
    }
    reply_done(reply);
    return r;
}

static int run_mount(int argc, char *const *argv)
{
    static const struct option_spec table[] = {
        META_OPTIONS(struct options, meta),
        {.name = "option",
         .letter = 'o',
         .type = OPTION_LIST,
         .offset = offsetof(struct options, mount_options),
         .value = "OPTION,...",
         .help = "mount options, as skyvol-mount --help lists them"},
        OPTION(struct options, readonly, OPTION_BOOL, "readonly", NULL, NULL, "mount it read-only"),
        {.name = "foreground",
         .letter = 'f',
         .type = OPTION_BOOL,
         .offset = offsetof(struct options, foreground),
         .help = "stay in the foreground"},
        OPTION(struct options, program, OPTION_STRING, "program", "FILE", NULL,
               "skyvol-mount, if it is not beside skyvolctl")};
    static const struct options_program program =
        META_PROGRAM(struct options, meta, "mount",
                     "Mount a volume of skyvol-meta by skyvol-mount. Unmount with fusermount3 -u.",
                     "ID-OR-NAME MOUNTPOINT", 2, 2);
    struct options o = {0};

    return command_with_options(&program, argc, argv, &o, mount_volume);
}

const struct command command_mount = {
    .name = "mount", .summary = "mount a volume here", .run = run_mount};
