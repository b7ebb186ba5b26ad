/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mount/json_text.h"

enum { DEPTH_MAX = 4 };

struct member {
    const char *name;
    char **value;
};

static void add_members(struct buf *out, const struct member *members, size_t count)
{
    bool first = buf_len(out) > 0 && buf_str(out)[buf_len(out) - 1] == '{';

    for (size_t i = 0; i < count; i++) {
        if (*members[i].value != NULL) {
            buf_addf(out, "%s\"%s\":", first ? "" : ",", members[i].name);
            json_add_text(out, *members[i].value);
            first = false;
        }
    }
}

static int read_members(const cJSON *json, const struct member *members, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *text =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, members[i].name));

        *members[i].value = text != NULL ? strdup(text) : NULL;
        if (text != NULL && *members[i].value == NULL) {
            return -ENOMEM;
        }
    }
    return 0;
}

/* ---- the channel ---- */

enum { CHANNEL_MEMBERS = 5, TICKET_MEMBERS = 4 };
#define CHANNEL_TABLE(c)                                                                           \
    {                                                                                              \
        {"address", &(c)->address}, {"mount", &(c)->mount}, {"name", &(c)->server_name},           \
            {"node", &(c)->node},                                                                  \
        {                                                                                          \
            "volume", &(c)->volume                                                                 \
        }                                                                                          \
    }
#define TICKET_TABLE(t)                                                                            \
    {                                                                                              \
        {"ca", &(t)->ca}, {"cert", &(t)->cert}, {"key", &(t)->key},                                \
        {                                                                                          \
            "token", &(t)->token                                                                   \
        }                                                                                          \
    }

void mount_channel_done(struct mount_channel *channel)
{
    const struct member members[CHANNEL_MEMBERS] = CHANNEL_TABLE(channel);

    for (size_t i = 0; i < CHANNEL_MEMBERS; i++) {
        free(*members[i].value);
        *members[i].value = NULL;
    }
    channel->exclusive = false;
}

void mount_channel_format(const struct mount_channel *channel, struct buf *out)
{
    struct mount_channel c = *channel;
    const struct member members[CHANNEL_MEMBERS] = CHANNEL_TABLE(&c);

    if (c.address == NULL) {
        return;
    }
    buf_addf(out, "{\"exclusive\":%s", c.exclusive ? "true" : "false");
    add_members(out, members, CHANNEL_MEMBERS);
    buf_addstr(out, "}");
}

int mount_channel_read(const cJSON *json, struct mount_channel *ret)
{
    const struct member members[CHANNEL_MEMBERS] = CHANNEL_TABLE(ret);
    int r;

    memset(ret, 0, sizeof(*ret));
    if (json == NULL) {
        return 0;
    }
    r = read_members(json, members, CHANNEL_MEMBERS);
    ret->exclusive = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "exclusive"));
    if (r == 0 &&
        (ret->address == NULL || ret->volume == NULL || ret->node == NULL || ret->mount == NULL)) {
        r = -EINVAL;
    }
    if (r != 0) {
        mount_channel_done(ret);
    }
    return r;
}

/* ---- the ticket ---- */

static void wipe(char **text)
{
    if (*text != NULL) {
        explicit_bzero(*text, strlen(*text));
        free(*text);
        *text = NULL;
    }
}

void mount_ticket_done(struct mount_ticket *ticket)
{
    const struct member members[TICKET_MEMBERS] = TICKET_TABLE(ticket);

    for (size_t i = 0; i < TICKET_MEMBERS; i++) {
        wipe(members[i].value);
    }
}

void mount_ticket_format(const struct mount_ticket *ticket, struct buf *out)
{
    struct mount_ticket t = *ticket;
    const struct member members[TICKET_MEMBERS] = TICKET_TABLE(&t);

    if (t.token == NULL) {
        return;
    }
    buf_addstr(out, "{");
    add_members(out, members, TICKET_MEMBERS);
    buf_addstr(out, "}");
}

int mount_ticket_read(const cJSON *json, struct mount_ticket *ret)
{
    const struct member members[TICKET_MEMBERS] = TICKET_TABLE(ret);
    int files;
    int r;

    memset(ret, 0, sizeof(*ret));
    r = json != NULL ? read_members(json, members, TICKET_MEMBERS) : 0;
    files = (ret->ca != NULL) + (ret->cert != NULL) + (ret->key != NULL);
    if (r == 0 && files != 0 && files != 3) {
        r = -EINVAL;
    }
    if (r != 0) {
        mount_ticket_done(ret);
    }
    return r;
}

int mount_ticket_parse(const char *credentials, struct mount_ticket *ret)
{
    cJSON *json = credentials[0] != '\0' ? cJSON_Parse(credentials) : NULL;
    int r = mount_ticket_read(cJSON_GetObjectItemCaseSensitive(json, "meta"), ret);

    mount_json_wipe(json);
    return r;
}

static void wipe_texts(cJSON *json, int depth)
{
    cJSON *item;

    if (cJSON_IsString(json)) {
        explicit_bzero(json->valuestring, strlen(json->valuestring));
    }
    if (depth == 0) {
        return;
    }
    cJSON_ArrayForEach(item, json)
    {
        wipe_texts(item, depth - 1);
    }
}

void mount_json_wipe(cJSON *json)
{
    if (json != NULL) {
        wipe_texts(json, DEPTH_MAX);
        cJSON_Delete(json);
    }
}
